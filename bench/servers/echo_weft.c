/*
 * Echo on weft: a fiber per connection, written as one would write it.
 */
#include <pthread.h>
#include <stdint.h>

#include <weft/weft.h>

#include "bench/servers/server.h"

static int conn_send(int fd, const char *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = weft_send(fd, bytes + done, length - done, 0);

        if (n < 0)
            return (int)n;
        done += (size_t)n;
    }
    return 0;
}

static void *conn_fiber(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buffer[SERVER_BUFFER];
    ssize_t n;

    while ((n = weft_recv(fd, buffer, sizeof(buffer), 0)) > 0) {
        if (conn_send(fd, buffer, (size_t)n) != 0)
            break;
        server_count(&server_requests, 1);
    }
    weft_close(fd);
    return NULL;
}

/* The first fiber. */
static int accept_loop(void *arg)
{
    const struct server *server = arg;

    for (;;) {
        int fd = weft_accept(server->listen_fd, NULL, NULL);

        if (fd < 0)
            server_die("weft_accept", -fd);
        server_count(&server_connections, 1);
        if (weft_go(conn_fiber, (void *)(intptr_t)fd) != 0)
            weft_close(fd);
    }
    return 0;
}

static void *runtime_thread(void *arg)
{
    const struct server *server = arg;
    weft_config_t config = WEFT_CONFIG_INIT;
    int code;

    config.workers = server->workers;
    code = weft_run(&config, accept_loop, arg, NULL);
    if (code != 0)
        server_die("weft_run", -code);
    return NULL;
}

static int echo_serve(struct server *server)
{
    pthread_t thread;

    return -pthread_create(&thread, NULL, runtime_thread, server);
}

int main(int argc, char **argv)
{
    return server_main(argc, argv, "echo-weft", SERVER_LISTENS, echo_serve);
}
