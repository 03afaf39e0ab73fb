/*
 * The server: its connections, and how they come to an end.
 */
#include "httpd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

void server_enter(struct server *server, struct conn *c)
{
    port_lock();
    c->next = server->conns;
    if (c->next != NULL)
        c->next->prev = c;
    server->conns = c;
    server->connections++;
    port_unlock();
}

void server_leave(struct server *server, struct conn *c)
{
    port_lock();
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        server->conns = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    server->requests += c->requests;
    port_unlock();
}

/*
 * A connection says that it is idle, and then looks whether we stop; we say
 * that we stop, and then look whether it is idle. Both are sequentially
 * consistent, so one of the two sees the other, and no connection sleeps its
 * idle time out.
 *
 * What is shut down here is still in the list, so its number is still its own.
 * The half that is shut is the one it reads from: a request that is on its way
 * into the buffer at this moment is still read and answered.
 */
void server_stop(struct server *server)
{
    port_lock();
    atomic_store(&server->stopping, true);
    for (struct conn *c = server->conns; c != NULL; c = c->next)
        if (atomic_load(&c->idle))
            sys_shutdown(c->fd, SHUT_RD);
    port_unlock();
}

static void server_report(const struct server *server)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    printf("{\"server\": \"%s\", \"requests\": %" PRIu64
           ", \"connections\": %" PRIu64 ", \"cut\": %" PRIu64
           ", \"user_us\": %lld, \"system_us\": %lld}\n",
           port_program, server->requests, server->connections, server->cut,
           usage.ru_utime.tv_sec * 1000000LL + usage.ru_utime.tv_usec,
           usage.ru_stime.tv_sec * 1000000LL + usage.ru_stime.tv_usec);
    fflush(stdout);
}

static int server_fail(const char *what, int status)
{
    fprintf(stderr, "%s: %s: %s\n", port_program, what, strerror(-status));
    return 1;
}

int server_main(void *arg)
{
    struct server server = { .options = arg };
    const struct options *options = arg;
    int status;

    server.root_fd = sys_open(options->root, O_PATH | O_DIRECTORY);
    if (server.root_fd < 0)
        return server_fail(options->root, server.root_fd);
    server.listen_fd = port_listen(options);
    if (server.listen_fd < 0) {
        sys_close(server.root_fd);
        return server_fail("cannot listen", server.listen_fd);
    }
    printf("listening %d\n", sys_port(server.listen_fd));
    fflush(stdout);

    status = port_serve(&server);
    sys_close(server.root_fd);
    if (status < 0)
        return server_fail("cannot serve", status);
    server_report(&server);
    return 0;
}
