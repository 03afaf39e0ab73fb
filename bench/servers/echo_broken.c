/*
 * Echo that goes wrong on purpose: does the load generator notice?
 *
 *     BROKEN=byte echo-broken
 *
 * One request in a thousand (of the whole server) is answered with a wrong
 * byte, not at all (`drop`), one byte short (`short`), one byte too long
 * (`long`), with the answer of the request before it (`old`), or by closing
 * the connection (`close`). `split` does nothing wrong: it answers byte by byte.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/servers/server.h"

enum { ONE_IN = 1000 };

static const char *how = "";

static bool is(const char *name)
{
    return strcmp(how, name) == 0;
}

static void conn_send(int fd, const char *bytes, size_t length)
{
    size_t step = is("split") ? 1 : length;

    for (size_t i = 0; i < length; i += step)
        if (send(fd, bytes + i, step, MSG_NOSIGNAL) < 0)
            return;
}

/* False: close it. */
static bool conn_break(int fd, char *bytes, size_t length, const char *before)
{
    if (is("drop"))
        return true;
    if (is("close"))
        return false;
    if (is("byte"))
        bytes[length / 2] ^= 1;
    else if (is("old"))
        memcpy(bytes, before, length);
    else if (is("short"))
        length--;
    else if (is("long"))
        length++;
    conn_send(fd, bytes, length);
    return true;
}

static void *conn_thread(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char bytes[SERVER_BUFFER + 1] = "", before[SERVER_BUFFER] = "";
    ssize_t n;

    while ((n = recv(fd, bytes, SERVER_BUFFER, 0)) > 0) {
        bool now = atomic_fetch_add(&server_requests, 1) % ONE_IN == ONE_IN - 1;
        char kept[SERVER_BUFFER];

        memcpy(kept, bytes, (size_t)n);
        if (!now || is("split"))
            conn_send(fd, bytes, (size_t)n);
        else if (!conn_break(fd, bytes, (size_t)n, before))
            break;
        memcpy(before, kept, (size_t)n);
    }
    close(fd);
    return NULL;
}

static void *accept_thread(void *arg)
{
    struct server *server = arg;

    for (;;) {
        int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0 && server_thread(conn_thread, (void *)(intptr_t)fd) != 0)
            close(fd);
    }
    return NULL;
}

static int echo_serve(struct server *server)
{
    how = getenv("BROKEN");
    if (how == NULL)
        return -EINVAL;
    return -server_thread(accept_thread, server);
}

int main(int argc, char **argv)
{
    return server_main(argc, argv, "echo-broken", SERVER_LISTENS, echo_serve);
}
