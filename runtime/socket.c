/*
 * Sockets: the calls that only they have.
 */
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <weft/io.h>

#include "netpoll/os.h"
#include "runtime/io.h"
#include "sched/os.h"
#include "sched/sched.h"

enum {
    SCARCE_FIRST = 1000000, /* ns between two tries for a descriptor */
    SCARCE_LAST = 100000000,
    BACKLOG_PAUSE = 1000000 /* a Unix listener that is full tells no one */
};

/* --- Receiving and sending --------------------------------------------------- */

static ssize_t try_recv(struct weft__io *io)
{
    return weft__fd_recv(io->fd, io->buf, io->n, io->flags);
}

static ssize_t try_recvfrom(struct weft__io *io)
{
    return weft__fd_recvfrom(io->fd, io->buf, io->n, io->flags, io->sa,
                             io->sa_len);
}

/* Descriptors that came along have numbers that may have been weft's before. */
static ssize_t try_recvmsg(struct weft__io *io)
{
    ssize_t got = weft__fd_recvmsg(io->fd, io->msg, io->flags);

    if (got < 0 || !io->msg->msg_control)
        return got;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(io->msg); c;
         c = CMSG_NXTHDR(io->msg, c)) {
        const unsigned char *data = CMSG_DATA(c);
        int fd;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t n = c->cmsg_len - CMSG_LEN(0); n >= sizeof(fd);
             n -= sizeof(fd), data += sizeof(fd)) {
            memcpy(&fd, data, sizeof(fd));
            weft__desc_received(fd);
        }
    }
    return got;
}

static ssize_t try_send(struct weft__io *io)
{
    return weft__fd_send(io->fd, io->buf, io->n, io->flags);
}

static ssize_t try_sendto(struct weft__io *io)
{
    return weft__fd_sendto(io->fd, io->buf, io->n, io->flags, io->sa,
                           *io->sa_len);
}

static ssize_t try_sendmsg(struct weft__io *io)
{
    return weft__fd_sendmsg(io->fd, io->msg, io->flags);
}

static ssize_t receive(struct weft__io *io, weft__io_try try)
{
    ssize_t answer = weft__io_begin(io);

    if (answer != 0)
        return answer;
    /* The short-read rule wants to know. */
    (void)weft__desc_kind(io->use.desc);
    if (io->flags & MSG_OOB)
        weft__wait_urgent(&io->use);
    return weft__io_end(io, weft__io_in(io, try));
}

static ssize_t transmit(struct weft__io *io, weft__io_try try)
{
    ssize_t answer = weft__io_begin(io);

    if (answer != 0)
        return answer;
    io->elsewhere = (io->sa || (io->msg && io->msg->msg_name)) &&
                    weft__desc_kind(io->use.desc) == WEFT__KIND_SOCKET;
    return weft__io_end(io, weft__io_out(io, try));
}

ssize_t weft_recv_until(int fd, void *buf, size_t n, int flags,
                        weft_time_t deadline)
{
    struct weft__io io;

    weft__io_buffer(&io, fd, buf, n, flags, deadline);
    return weft__io_check(buf, n) != 0 ? -EINVAL : receive(&io, try_recv);
}

ssize_t weft_recv(int fd, void *buf, size_t n, int flags)
{
    return weft_recv_until(fd, buf, n, flags, WEFT_FOREVER);
}

/* An address wants a length, and that one may not be negative. */
static bool address_ok(const struct sockaddr *sa, const socklen_t *len)
{
    return !sa || (len && *len <= INT_MAX);
}

ssize_t weft_recvfrom_until(int fd, void *buf, size_t n, int flags,
                            struct sockaddr *sa, socklen_t *len,
                            weft_time_t deadline)
{
    struct weft__io io = { .fd = fd, .buf = buf, .n = n, .flags = flags,
                           .sa = sa, .sa_len = len, .deadline = deadline };

    if (weft__io_check(buf, n) != 0 || !address_ok(sa, len))
        return -EINVAL;
    return receive(&io, try_recvfrom);
}

ssize_t weft_recvfrom(int fd, void *buf, size_t n, int flags,
                      struct sockaddr *sa, socklen_t *len)
{
    return weft_recvfrom_until(fd, buf, n, flags, sa, len, WEFT_FOREVER);
}

ssize_t weft_recvmsg_until(int fd, struct msghdr *msg, int flags,
                           weft_time_t deadline)
{
    struct weft__io io = { .fd = fd, .msg = msg, .flags = flags,
                           .deadline = deadline };

    return msg ? receive(&io, try_recvmsg) : -EINVAL;
}

ssize_t weft_recvmsg(int fd, struct msghdr *msg, int flags)
{
    return weft_recvmsg_until(fd, msg, flags, WEFT_FOREVER);
}

ssize_t weft_send_until(int fd, const void *buf, size_t n, int flags,
                        weft_time_t deadline)
{
    struct weft__io io;

    weft__io_buffer(&io, fd, (void *)(uintptr_t)buf, n, flags, deadline);
    return weft__io_check(buf, n) != 0 ? -EINVAL : transmit(&io, try_send);
}

ssize_t weft_send(int fd, const void *buf, size_t n, int flags)
{
    return weft_send_until(fd, buf, n, flags, WEFT_FOREVER);
}

ssize_t weft_sendto_until(int fd, const void *buf, size_t n, int flags,
                          const struct sockaddr *sa, socklen_t len,
                          weft_time_t deadline)
{
    struct weft__io io = { .fd = fd, .buf = (void *)(uintptr_t)buf, .n = n,
                           .flags = flags,
                           .sa = (struct sockaddr *)(uintptr_t)sa,
                           .sa_len = &len, .deadline = deadline };

    return weft__io_check(buf, n) != 0 ? -EINVAL : transmit(&io, try_sendto);
}

ssize_t weft_sendto(int fd, const void *buf, size_t n, int flags,
                    const struct sockaddr *sa, socklen_t len)
{
    return weft_sendto_until(fd, buf, n, flags, sa, len, WEFT_FOREVER);
}

ssize_t weft_sendmsg_until(int fd, const struct msghdr *msg, int flags,
                           weft_time_t deadline)
{
    struct weft__io io = { .fd = fd,
                           .msg = (struct msghdr *)(uintptr_t)msg,
                           .flags = flags, .deadline = deadline };

    return msg ? transmit(&io, try_sendmsg) : -EINVAL;
}

ssize_t weft_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return weft_sendmsg_until(fd, msg, flags, WEFT_FOREVER);
}

/* --- Accepting ------------------------------------------------------------------ */

static bool is_scarce(ssize_t answer)
{
    return answer == -EMFILE || answer == -ENFILE || answer == -ENOBUFS ||
           answer == -ENOMEM;
}

/* What accept(2) answers about a connection that has gone already, and not
 * about the listener. */
static bool is_passing(ssize_t answer)
{
    switch (answer) {
    case -ECONNABORTED:
    case -ENETDOWN:
    case -EPROTO:
    case -ENOPROTOOPT:
    case -EHOSTDOWN:
    case -ENONET:
    case -EHOSTUNREACH:
    case -ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static ssize_t try_accept(struct weft__io *io)
{
    ssize_t answer;

    do {
        answer = weft__fd_accept(io->fd, io->sa, io->sa_len);
    } while (is_passing(answer));
    return answer;
}

/* A listener, or a socket that connects, would block its worker: it is switched.
 * Not once and for all: a number that weft did not make may have become
 * another's, of another kind. What is no socket keeps its mode: the call will
 * say so. */
static int never_block(struct weft__use *use)
{
    enum weft__kind kind;

    /* relaxed: a fact of the file. */
    if (weft__load(&use->desc->flags, RELAXED) & WEFT__FD_MADE)
        return 0;
    weft__store(&use->desc->kind, WEFT__KIND_UNKNOWN, RELAXED);
    kind = weft__desc_kind(use->desc);
    if (kind != WEFT__KIND_STREAM && kind != WEFT__KIND_SOCKET)
        return 0;
    return weft__wait_switch(use);
}

/* A connection; with `only`, if the listener is of that generation. */
static int accept_io(struct weft__io *io, const uint64_t *only)
{
    int64_t pause = SCARCE_FIRST;
    enum weft__kind kind;
    ssize_t answer = weft__io_begin(io);

    if (answer != 0)
        return (int)answer;
    if (only && io->use.gen != *only)
        return (int)weft__io_end(io, -EBADF);
    answer = never_block(&io->use);
    kind = weft__desc_kind(io->use.desc);
    weft__wait_accepts(&io->use);
    while (answer == 0) {
        answer = weft__io_in(io, try_accept);
        if (answer >= 0)
            answer = weft__io_made((int)answer, kind == WEFT__KIND_STREAM
                                                    ? WEFT__KIND_STREAM
                                                    : WEFT__KIND_SOCKET);
        /* WEFT_NOW, and a thread that cannot park: what is missing. */
        if (!is_scarce(answer) || io->deadline == WEFT_NOW || !io->self)
            break;
        /* The kernel keeps the connection; someone may close something. */
        answer = weft__io_pause(io, pause);
        pause = pause < SCARCE_LAST / 2 ? pause * 2 : SCARCE_LAST;
    }
    return (int)weft__io_end(io, answer);
}

int weft_accept_until(int fd, struct sockaddr *sa, socklen_t *len,
                      weft_time_t deadline)
{
    struct weft__io io = { .fd = fd, .sa = sa, .sa_len = len,
                           .deadline = deadline, .shut = -EINVAL };

    return address_ok(sa, len) ? accept_io(&io, NULL) : -EINVAL;
}

int weft__accept_only(int fd, uint64_t gen)
{
    struct weft__io io = { .fd = fd, .deadline = WEFT_FOREVER,
                           .shut = -EINVAL };

    return accept_io(&io, &gen);
}

int weft_accept(int fd, struct sockaddr *sa, socklen_t *len)
{
    return weft_accept_until(fd, sa, len, WEFT_FOREVER);
}

/* --- Connecting ------------------------------------------------------------------ */

/* How an attempt that was under way has ended: -EINPROGRESS: it has not. Asked
 * by connect(2) and not by SO_ERROR, after which the kernel would take the
 * socket's next attempt for this one. */
static int connect_outcome(const struct weft__io *io)
{
    int status = weft__fd_connect(io->fd, io->sa, *io->sa_len);

    if (status == -EALREADY)
        return -EINPROGRESS;
    return status == -EISCONN ? 0 : status;
}

/* Wait for the end of an attempt that is under way. */
static int connect_wait(struct weft__io *io)
{
    int status;

    for (;;) {
        (void)weft__wait_full(&io->use);
        status = connect_outcome(io);
        if (status != -EINPROGRESS)
            return status;
        status = weft__wait(&io->use, WEFT__OUT, io->self, io->deadline,
                            "connection");
        if (status != 0)
            return status == -ETIMEDOUT ? -ETIME : status;
        /* Woken, and then closed by other means than weft's. */
        if (!weft__desc_same(&io->use))
            return -EBADF;
    }
}

static int connect_io(struct weft__io *io)
{
    int status = never_block(&io->use);

    while (status == 0) {
        status = weft__fd_connect(io->fd, io->sa, *io->sa_len);
        if (status == -EINPROGRESS || status == -EALREADY)
            return connect_wait(io);
        if (status != -EAGAIN)
            return status;
        /* A Unix listener whose queue is full. */
        status = weft__io_pause(io, BACKLOG_PAUSE);
        if (status == -ETIMEDOUT)
            return -ETIME;
    }
    return status;
}

int weft_connect_until(int fd, const struct sockaddr *sa, socklen_t len,
                       weft_time_t deadline)
{
    struct weft__io io = { .fd = fd,
                           .sa = (struct sockaddr *)(uintptr_t)sa,
                           .sa_len = &len, .deadline = deadline };
    int status;

    if (!sa)
        return -EINVAL;
    status = weft__io_begin(&io);
    if (status != 0)
        return status;
    status = connect_io(&io);
    /* A deadline of ours was -ETIME so far, to tell it from the kernel's. */
    if (status == -ETIMEDOUT)
        status = -EHOSTUNREACH;
    else if (status == -ETIME)
        status = -ETIMEDOUT;
    /* Others may write now. */
    weft__wait_again(&io.use, WEFT__OUT);
    return (int)weft__io_end(&io, status);
}

int weft_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
    return weft_connect_until(fd, sa, len, WEFT_FOREVER);
}

/* --- Making ----------------------------------------------------------------------- */

static enum weft__kind kind_of(int domain, int type)
{
    type &= ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
    return (domain == AF_INET || domain == AF_INET6) && type == SOCK_STREAM
               ? WEFT__KIND_UNKNOWN /* TCP, or something else: see desc.c */
               : WEFT__KIND_SOCKET;
}

int weft_socket(int domain, int type, int protocol)
{
    int fd = weft__fd_socket(domain, type, protocol);

    return fd < 0 ? fd : weft__io_made(fd, kind_of(domain, type));
}

int weft_socketpair(int domain, int type, int protocol, int fds[2])
{
    int made[2];
    int status;

    if (!fds)
        return -EINVAL;
    status = weft__fd_socketpair(domain, type, protocol, made);
    return status != 0 ? status
                       : weft__io_made_two(made, kind_of(domain, type), fds);
}

int weft_shutdown(int fd, int how)
{
    struct weft__use use;
    int status;

    (void)weft__caller();
    status = weft__desc_use(fd, &use);
    if (status != 0)
        return status == -ENOMEM ? weft__fd_shutdown(fd, how) : status;
    status = weft__fd_shutdown(fd, how);
    weft__desc_done(&use);
    return status;
}
