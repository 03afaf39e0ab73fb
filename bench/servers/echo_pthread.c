/*
 * Echo with a thread per connection: what does the plain way cost?
 *
 * Threads with stacks of 64 KiB, blocking calls, two system calls a request.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/servers/server.h"

static bool conn_send(int fd, const char *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = send(fd, bytes + done, length - done, MSG_NOSIGNAL);

        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            return false;
    }
    return true;
}

static void *conn_thread(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buffer[SERVER_BUFFER];

    for (;;) {
        ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || !conn_send(fd, buffer, (size_t)n))
            break;
        server_count(&server_requests, 1);
    }
    close(fd);
    return NULL;
}

/* Out of descriptors or of threads: a while later there may be some. */
static void accept_rest(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static void *accept_thread(void *arg)
{
    struct server *server = arg;

    for (;;) {
        int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS)
                accept_rest();
            continue;
        }
        server_count(&server_connections, 1);
        while (server_thread(conn_thread, (void *)(intptr_t)fd) != 0)
            accept_rest();
    }
    return NULL;
}

static int echo_serve(struct server *server)
{
    return -server_thread(accept_thread, server);
}

int main(int argc, char **argv)
{
    return server_main(argc, argv, "echo-pthread", SERVER_LISTENS, echo_serve);
}
