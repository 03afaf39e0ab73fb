/*
 * Sockets by name: listening and connecting.
 *
 * Connecting tries several addresses at once, in one fiber: each attempt is a
 * non-blocking connect(2), and weft_poll() waits for all of them and for the
 * time of the next (RFC 8305, section 5; its delay of 250 ms).
 */
#include <weft/socket.h>

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <weft/io.h>
#include <weft/net.h>

#include "netpoll/os.h"
#include "netpoll/wait.h"
#include "runtime/io.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/sched.h"

enum {
    BACKLOG = 4096,
    ATTEMPTS = 16,            /* addresses tried, the first ones */
    ATTEMPT_DELAY = 250000000 /* ns */
};

#define LISTEN_FLAGS (WEFT_LISTEN_REUSEPORT | WEFT_LISTEN_V6ONLY)

/* --- Listening ------------------------------------------------------------------ */

static int options_of(const weft_listen_t *opt, weft_listen_t *out)
{
    *out = (weft_listen_t)WEFT_LISTEN_INIT;
    if (opt) {
        if (opt->size != sizeof(*opt) || opt->backlog < 0 ||
            opt->flags & ~LISTEN_FLAGS)
            return -EINVAL;
        *out = *opt;
    }
    if (out->backlog == 0)
        out->backlog = BACKLOG;
    return 0;
}

/* Bind a new socket to one address; with a backlog it listens. */
static int bind_one(const struct addrinfo *ai, const weft_listen_t *opt)
{
    int fd = weft_socket(ai->ai_family, ai->ai_socktype, ai->ai_protocol);
    bool stream = ai->ai_socktype == SOCK_STREAM;
    int status = 0;

    if (fd < 0)
        return fd;
    if (stream)
        status = weft__fd_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (status == 0 && opt->flags & WEFT_LISTEN_REUSEPORT)
        status = weft__fd_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (status == 0 && ai->ai_family == AF_INET6)
        status = weft__fd_option(fd, IPPROTO_IPV6, IPV6_V6ONLY,
                                 (opt->flags & WEFT_LISTEN_V6ONLY) != 0);
    if (status == 0)
        status = weft__fd_bind(fd, ai->ai_addr, ai->ai_addrlen);
    if (status == 0 && stream)
        status = weft__fd_listen(fd, opt->backlog);
    if (status == 0)
        return fd;
    weft_close(fd);
    return status;
}

/* An answer after which another address may do. */
static bool not_here(int status)
{
    return status == -EADDRNOTAVAIL || status == -EAFNOSUPPORT;
}

static int bind_name(const char *host, const char *service, int type,
                     const weft_listen_t *opt)
{
    struct addrinfo hints = { .ai_socktype = type, .ai_flags = AI_PASSIVE };
    struct addrinfo *list;
    int status;

    if (!service)
        return -EINVAL;
    status = weft_getaddrinfo(host, service, &hints, &list);
    if (status != 0)
        return status;

    status = -EADDRNOTAVAIL;
    /* Every address is one IPv6 socket, if the machine can: first those. */
    for (int pass = 0; pass < 2 && not_here(status); pass++) {
        for (struct addrinfo *ai = list; ai && not_here(status);
             ai = ai->ai_next) {
            bool early = host || ai->ai_family == AF_INET6;

            if (early == (pass == 0))
                status = bind_one(ai, opt);
        }
    }
    freeaddrinfo(list);
    return status;
}

int weft_tcp_listen(const char *host, const char *service,
                    const weft_listen_t *opt)
{
    weft_listen_t full;
    int status = options_of(opt, &full);

    return status != 0 ? status
                       : bind_name(host, service, SOCK_STREAM, &full);
}

int weft_udp_bind(const char *host, const char *service)
{
    weft_listen_t none = WEFT_LISTEN_INIT;

    return bind_name(host, service, SOCK_DGRAM, &none);
}

/* --- Unix sockets ----------------------------------------------------------------- */

static int path_address(const char *path, struct sockaddr_un *sa)
{
    size_t len = path ? strlen(path) : 0;

    if (len == 0)
        return -EINVAL;
    if (len >= sizeof(sa->sun_path))
        return -ENAMETOOLONG;
    memset(sa, 0, sizeof(*sa));
    sa->sun_family = AF_UNIX;
    memcpy(sa->sun_path, path, len);
    return 0;
}

int weft_unix_listen(const char *path, const weft_listen_t *opt)
{
    struct sockaddr_un sa;
    weft_listen_t full;
    int status = options_of(opt, &full);
    int fd;

    if (status == 0)
        status = path_address(path, &sa);
    if (status != 0)
        return status;
    fd = weft_socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return fd;
    status = weft__fd_bind(fd, (struct sockaddr *)&sa, sizeof(sa));
    if (status == 0)
        status = weft__fd_listen(fd, full.backlog);
    if (status == 0)
        return fd;
    weft_close(fd);
    return status;
}

int weft_unix_connect_until(const char *path, weft_time_t deadline)
{
    struct sockaddr_un sa;
    int status = path_address(path, &sa);
    int fd;

    if (status != 0)
        return status;
    fd = weft_socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return fd;
    status = weft_connect_until(fd, (struct sockaddr *)&sa, sizeof(sa),
                                deadline);
    if (status == 0)
        return fd;
    weft_close(fd);
    return status;
}

int weft_unix_connect(const char *path)
{
    return weft_unix_connect_until(path, WEFT_FOREVER);
}

/* --- Connecting -------------------------------------------------------------------- */

/* Attempts under way, and those still to come. */
struct race {
    const struct addrinfo *next;
    int64_t next_at;
    struct pollfd fds[ATTEMPTS]; /* fd below 0: over */
    nfds_t begun;
    unsigned running;
    int failure; /* of the last that failed */
};

/* From this address on, the first one of that family, or not of it. */
static const struct addrinfo *next_of(const struct addrinfo *ai, int family,
                                      bool same)
{
    while (ai && (ai->ai_family == family) != same)
        ai = ai->ai_next;
    return ai;
}

/* The addresses in turns, one of the first one's family and one of another:
 * how many. */
static unsigned interleave(const struct addrinfo *list,
                           const struct addrinfo *out[ATTEMPTS])
{
    int family = list->ai_family;
    const struct addrinfo *of[2] = { list, next_of(list, family, false) };
    unsigned n = 0;

    for (unsigned turn = 0; n < ATTEMPTS && (of[0] || of[1]); turn++) {
        const struct addrinfo **from = &of[turn % 2];

        if (!*from)
            continue;
        out[n++] = *from;
        *from = next_of((*from)->ai_next, family, turn % 2 == 0);
    }
    return n;
}

/* Begin an attempt: above or equal 0: connected at once. -EINPROGRESS: it is
 * under way, or has failed at once and the next is due. */
static int attempt(struct race *race, const struct addrinfo *ai)
{
    struct pollfd *slot = &race->fds[race->begun++];
    int fd = weft_socket(ai->ai_family, ai->ai_socktype, ai->ai_protocol);
    int status = fd;

    slot->fd = -1;
    if (fd >= 0)
        status = weft__fd_connect(fd, ai->ai_addr, ai->ai_addrlen);
    if (status == 0)
        return fd;
    if (status == -EINPROGRESS) {
        *slot = (struct pollfd){ .fd = fd, .events = POLLOUT };
        race->running++;
        race->next_at = weft__os_now() + ATTEMPT_DELAY;
        return status;
    }
    if (fd >= 0)
        weft_close(fd);
    /* A family that this machine lacks says nothing about the peer. */
    if (status != -EAFNOSUPPORT || race->begun == 1)
        race->failure = status;
    race->next_at = 0;
    return -EINPROGRESS;
}

/* One of those under way has ended: the descriptor, or -EINPROGRESS. */
static int attempt_over(struct race *race, struct pollfd *slot)
{
    int fd = slot->fd;
    int status = weft__fd_error(fd);

    slot->fd = -1;
    race->running--;
    if (status == 0)
        return fd;
    weft_close(fd);
    race->failure = status == -ETIMEDOUT ? -EHOSTUNREACH : status;
    race->next_at = 0;
    return -EINPROGRESS;
}

static int race_run(struct race *race, const struct addrinfo *list,
                    int64_t deadline)
{
    const struct addrinfo *order[ATTEMPTS];
    unsigned n = interleave(list, order);

    for (;;) {
        bool more = race->begun < n;
        int64_t until = deadline;
        int status;

        if (more && (race->running == 0 ||
                     race->next_at <= weft__os_now())) {
            status = attempt(race, order[race->begun]);
            if (status != -EINPROGRESS)
                return status;
            continue;
        }
        if (race->running == 0)
            return race->failure;
        if (more && race->next_at < until)
            until = race->next_at;
        status = weft_poll_until(race->fds, race->begun, until);
        if (status < 0 &&
            (status != -ETIMEDOUT || deadline <= weft__os_now()))
            return status;
        for (nfds_t i = 0; status > 0 && i < race->begun; i++) {
            if (race->fds[i].fd < 0 || race->fds[i].revents == 0)
                continue;
            status = attempt_over(race, &race->fds[i]);
            if (status >= 0)
                return status;
            status = 1;
        }
    }
}

int weft_tcp_connect_until(const char *host, const char *service,
                           weft_time_t deadline)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct race race = { .failure = -EADDRNOTAVAIL };
    struct weft__fiber *self = weft__fiber_self();
    struct addrinfo *list;
    int status;

    if (!host || !service)
        return -EINVAL;
    if (!self)
        return -EPERM;
    if (weft__canceled_on_entry(self, deadline))
        return -ECANCELED;
    status = weft_getaddrinfo_until(host, service, &hints, &list, deadline);
    if (status != 0)
        return status;
    status = race_run(&race, list, deadline);
    freeaddrinfo(list);
    for (nfds_t i = 0; i < race.begun; i++)
        if (race.fds[i].fd >= 0)
            weft_close(race.fds[i].fd);
    return status;
}

int weft_tcp_connect(const char *host, const char *service)
{
    return weft_tcp_connect_until(host, service, WEFT_FOREVER);
}
