/*
 * Echo on raw epoll: how cheap can it be?
 *
 * One thread, edge-triggered. A descriptor is registered once, for both
 * directions, and never again: two system calls a request, recv and send, and a
 * share of an epoll_wait. What was received is sent at once. A recv that comes
 * back short has drained the socket, so the call that would only say EAGAIN is
 * not made; what arrives after it is a new edge. Where the peer is done sending
 * (EPOLLRDHUP) reading goes on to the end.
 *
 * It counts its own system calls: at most 2.05 a request where many
 * connections are busy, or the comparison is not worth much.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/servers/server.h"

enum { EVENTS = 1024 };

#define CONN_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
#define CONN_ENDED  (EPOLLRDHUP | EPOLLHUP | EPOLLERR)

/* What a peer that does not read has not taken yet; else nothing is kept. */
struct rest {
    char *bytes;
    size_t length;
    size_t sent;
};

struct echo {
    int epoll_fd;
    int listen_fd;
    bool full; /* accept met a limit: a close makes room, no edge will say so */
    struct rest *rests; /* by descriptor */

    /* Of this turn. */
    unsigned long long calls, requests, connections;

    char buffer[SERVER_BUFFER];
};

/* ---- one connection ---- */

static void echo_accept(struct echo *echo);

static void conn_close(struct echo *echo, int fd)
{
    struct rest *rest = &echo->rests[fd];

    free(rest->bytes);
    *rest = (struct rest){ NULL, 0, 0 };
    echo->calls++;
    close(fd);
    if (echo->full)
        echo_accept(echo);
}

enum sent { SENT_ALL, SENT_PART, SENT_FAILED };

static enum sent conn_send(struct echo *echo, int fd, const char *bytes,
                           size_t length, size_t *done)
{
    while (*done < length) {
        ssize_t n;

        echo->calls++;
        n = send(fd, bytes + *done, length - *done, MSG_NOSIGNAL);
        if (n >= 0)
            *done += (size_t)n;
        else if (errno == EAGAIN)
            return SENT_PART;
        else if (errno != EINTR)
            return SENT_FAILED;
    }
    return SENT_ALL;
}

/* The buffer is for the next one; what was not sent is kept. */
static enum sent conn_answer(struct echo *echo, int fd, size_t length)
{
    struct rest *rest = &echo->rests[fd];
    size_t done = 0;
    enum sent sent = conn_send(echo, fd, echo->buffer, length, &done);

    if (sent != SENT_PART)
        return sent;
    rest->bytes = malloc(length - done);
    if (rest->bytes == NULL)
        return SENT_FAILED;
    memcpy(rest->bytes, echo->buffer + done, length - done);
    rest->length = length - done;
    rest->sent = 0;
    return SENT_PART;
}

static enum sent conn_send_rest(struct echo *echo, int fd)
{
    struct rest *rest = &echo->rests[fd];
    enum sent sent =
        conn_send(echo, fd, rest->bytes, rest->length, &rest->sent);

    if (sent == SENT_ALL) {
        free(rest->bytes);
        *rest = (struct rest){ NULL, 0, 0 };
    }
    return sent;
}

static void conn_event(struct echo *echo, int fd, uint32_t events)
{
    /* A rest was sent: what came meanwhile is not announced again. */
    bool to_the_end = (events & CONN_ENDED) != 0;

    if (echo->rests[fd].bytes != NULL) {
        switch (conn_send_rest(echo, fd)) {
        case SENT_ALL:
            to_the_end = true;
            break;
        case SENT_PART:
            return;
        case SENT_FAILED:
            conn_close(echo, fd);
            return;
        }
    } else if ((events & (EPOLLIN | CONN_ENDED)) == 0) {
        return;
    }

    for (;;) {
        ssize_t n;

        echo->calls++;
        n = recv(fd, echo->buffer, sizeof(echo->buffer), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            conn_close(echo, fd);
            return;
        }
        echo->requests++;
        switch (conn_answer(echo, fd, (size_t)n)) {
        case SENT_ALL:
            break;
        case SENT_PART:
            return;
        case SENT_FAILED:
            conn_close(echo, fd);
            return;
        }
        if (n < SERVER_BUFFER && !to_the_end)
            return;
    }
}

/* ---- the listener ---- */

static void echo_accept(struct echo *echo)
{
    echo->full = false;
    for (;;) {
        struct epoll_event event = { .events = CONN_EVENTS };
        int fd;

        echo->calls++;
        fd = accept4(echo->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0) {
            echo->full = errno == EMFILE || errno == ENFILE ||
                         errno == ENOBUFS || errno == ENOMEM;
            if (echo->full)
                return;
            continue; /* the connection was gone before we took it */
        }
        echo->connections++;
        event.data.fd = fd;
        echo->calls++;
        if (epoll_ctl(echo->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
            echo->calls++;
            close(fd);
        }
    }
}

/* ---- the loop ---- */

static void echo_publish(struct echo *echo)
{
    server_count(&server_requests, echo->requests);
    server_count(&server_connections, echo->connections);
    server_count(&server_calls, echo->calls);
    echo->requests = echo->connections = echo->calls = 0;
}

static void *echo_loop(void *arg)
{
    static struct epoll_event events[EVENTS];
    struct echo *echo = arg;

    for (;;) {
        int n;

        echo->calls++;
        n = epoll_wait(echo->epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == echo->listen_fd)
                echo_accept(echo);
            else
                conn_event(echo, events[i].data.fd, events[i].events);
        }
        echo_publish(echo);
    }
    return NULL;
}

static int echo_serve(struct server *server)
{
    static struct echo echo;
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };
    struct rlimit limit;

    if (server->workers != 1)
        return -EINVAL;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return -errno;
    echo.rests = calloc(limit.rlim_cur, sizeof(*echo.rests));
    echo.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    echo.listen_fd = event.data.fd = server->listen_fd;
    if (echo.rests == NULL || echo.epoll_fd < 0)
        return -errno;
    if (fcntl(server->listen_fd, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(echo.epoll_fd, EPOLL_CTL_ADD, server->listen_fd, &event) != 0)
        return -errno;
    return -server_thread(echo_loop, &echo);
}

int main(int argc, char **argv)
{
    return server_main(argc, argv, "echo-epoll", SERVER_LISTENS, echo_serve);
}
