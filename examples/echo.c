/* A TCP echo server: a fiber per connection, in plain blocking style.
 * Usage: echo PORT        (0: any free one) */
#include <stdio.h>
#include <weft.h>

#include "port.h"

static void echo(int fd, void *arg)
{
    char buf[4096];
    ssize_t n;

    (void)arg;
    while ((n = weft_read(fd, buf, sizeof(buf))) > 0)
        if (weft_write_full(fd, buf, (size_t)n, NULL) != 0)
            return;
}

static int entry(void *port)
{
    int fd = weft_tcp_listen(NULL, port, NULL);

    if (fd < 0)
        return fd;
    say_port(fd);
    return weft_serve(fd, echo, NULL, NULL);
}

int main(int argc, char **argv)
{
    int result = 0;
    int status = weft_run(NULL, entry, argc > 1 ? argv[1] : "7777", &result);

    if (status == 0)
        status = result;
    fprintf(stderr, "echo: %s\n", weft_strerror(status));
    return 1;
}
