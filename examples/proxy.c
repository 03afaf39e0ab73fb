/*
 * A TCP proxy: what comes in on one side goes out on the other, in both
 * directions at once. Each direction is a fiber, so a side that is slow to read
 * holds up only the bytes that are meant for it. The end of one direction is
 * passed on as a half close; the other goes on until it ends, too.
 *
 * Usage: proxy PORT HOST SERVICE
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <weft.h>

#include "port.h"

struct target {
    const char *host;
    const char *service;
};

struct half {
    int from;
    int to;
};

static void *copy(void *arg)
{
    const struct half *half = arg;
    char buf[16384];
    ssize_t n;

    while ((n = weft_read(half->from, buf, sizeof(buf))) > 0)
        if (weft_write_full(half->to, buf, (size_t)n, NULL) != 0)
            break;
    /* Its reader shall see the end; and if that went wrong, so shall the one
     * whose bytes nobody takes any more. */
    weft_shutdown(half->to, SHUT_WR);
    if (n > 0)
        weft_shutdown(half->from, SHUT_RD);
    return NULL;
}

static void relay(int client, void *arg)
{
    const struct target *target = arg;
    int server = weft_tcp_connect_until(target->host, target->service,
                                        weft_after(WEFT_SEC(10)));
    struct half there = { client, server };
    struct half back = { server, client };
    weft_fiber_t f;

    if (server < 0) {
        fprintf(stderr, "proxy: %s %s: %s\n", target->host, target->service,
                weft_strerror(server));
        return;
    }
    if (weft_spawn(&f, copy, &there) == 0) {
        copy(&back);
        /* Not a plain join: a cancel must not leave `there` behind. */
        while (weft_join(f, NULL) == -ECANCELED) {
            weft_cancel(f);
            weft_cancel_clear();
        }
    }
    weft_close(server);
}

struct options {
    const char *port;
    struct target target;
};

static int entry(void *arg)
{
    struct options *options = arg;
    int fd = weft_tcp_listen(NULL, options->port, NULL);

    if (fd < 0)
        return fd;
    say_port(fd);
    return weft_serve(fd, relay, &options->target, NULL);
}

int main(int argc, char **argv)
{
    struct options options;
    int result = 0;
    int status;

    if (argc != 4) {
        fprintf(stderr, "usage: proxy PORT HOST SERVICE\n");
        return 2;
    }
    options = (struct options){ argv[1], { argv[2], argv[3] } };
    status = weft_run(NULL, entry, &options, &result);
    if (status == 0)
        status = result;
    fprintf(stderr, "proxy: %s\n", weft_strerror(status));
    return 1;
}
