/*
 * main() of both twins.
 */
#include "httpd.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct options options;
    int status = options_parse(&options, argc, argv);

    if (status >= 0)
        return status;
    signal(SIGPIPE, SIG_IGN);
    sys_want_files(options.connections);
    status = port_run(&options, server_main, &options);
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", port_program, strerror(-status));
        return 1;
    }
    return status;
}
