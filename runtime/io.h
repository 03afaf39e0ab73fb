/*
 * One call on a descriptor: what io.c, socket.c and poll.c share.
 *
 * A call is a try, a system call that never waits, and around it the loop
 * that waits for the descriptor and tries again.
 */
#ifndef WEFT_RUNTIME_IO_H
#define WEFT_RUNTIME_IO_H

#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "netpoll/wait.h"

struct weft__io {
    struct weft__use use;
    struct weft__fiber *self; /* NULL: a thread that cannot park */
    int64_t deadline;
    int fd;
    int flags;
    void *buf;
    size_t n;
    const struct iovec *iov;
    int iov_n;
    struct sockaddr *sa;
    socklen_t *sa_len;
    struct msghdr *msg;
    bool elsewhere; /* a datagram to an address that the call names */
    int shut;       /* the answer of what would wait on a socket that is shut
                       for reading */
};

/* A call with one buffer. Member by member: GCC would zero the whole by `rep
 * stos`, which takes longer to begin than all of this. */
static inline void weft__io_buffer(struct weft__io *io, int fd, void *buf,
                                   size_t n, int flags, int64_t deadline)
{
    io->deadline = deadline;
    io->fd = fd;
    io->flags = flags;
    io->buf = buf;
    io->n = n;
    io->iov = NULL;
    io->iov_n = 0;
    io->sa = NULL;
    io->sa_len = NULL;
    io->msg = NULL;
    io->elsewhere = false;
    io->shut = 0;
}

typedef ssize_t (*weft__io_try)(struct weft__io *io);

/* Look at the cancel, and hold the descriptor. 0, or the call's answer. */
int weft__io_begin(struct weft__io *io);
/* Let go of it; passes the answer through. */
ssize_t weft__io_end(struct weft__io *io, ssize_t answer);
/* A call on descriptors is over: now and then the caller lets others run. */
void weft__io_over(struct weft__fiber *self, int64_t deadline);

/* Read, or write, by `try`, and wait as long as it answers -EAGAIN. */
ssize_t weft__io_in(struct weft__io *io, weft__io_try try);
ssize_t weft__io_out(struct weft__io *io, weft__io_try try);

/* Sleep for `pause` ns before the next try: 0, or the call's answer. */
int weft__io_pause(struct weft__io *io, int64_t pause);

/* New descriptors, now weft's. -ENOMEM: and then they are closed again. */
int weft__io_made(int fd, enum weft__kind kind);
int weft__io_made_two(const int made[2], enum weft__kind kind, int fds[2]);

/* For a descriptor in blocking mode, fds[which]: into the set that is waited
 * for in its place. A set whose fd is below 0 is made. 0, or a code. */
int weft__poll_aside(struct pollfd *set, const struct pollfd *fds,
                     nfds_t which);

/* weft_accept() from a listener of this generation only: -EBADF, if the number
 * is another's by now. */
int weft__accept_only(int fd, uint64_t gen);

/* 0, or -EINVAL. */
int weft__io_check(const void *buf, size_t n);
int weft__io_check_iov(const struct iovec *iov, int n);

#endif
