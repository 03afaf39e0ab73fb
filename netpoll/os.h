/*
 * The operating system, as netpoll/ sees it: calls on descriptors.
 *
 * What sched/os.h is for memory, threads and clocks. Nothing else in weft
 * makes these calls, so tests can make them fail. They answer a negative
 * errno value and leave errno as they found it.
 */
#ifndef WEFT_NETPOLL_OS_H
#define WEFT_NETPOLL_OS_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* A new eventfd: close-on-exec, non-blocking. A descriptor, -EMFILE, -ENFILE
 * or -ENOMEM. */
int weft__fd_event(void);
/* Make an eventfd readable. */
void weft__fd_signal(int fd);
/* Make it unreadable again. */
void weft__fd_drain(int fd);

/* ppoll(2) for at most timeout_ns (below 0: for ever). How many are ready, or
 * -EINTR. */
int weft__fd_poll(struct pollfd *fds, nfds_t n, int64_t timeout_ns);

void weft__fd_close(int fd);

/* readv(2) or writev(2); begun again after a signal. */
ssize_t weft__fd_rw(int fd, bool write, const struct iovec *iov, int n);
/* The same, from the file's position, if it can be done without waiting:
 * else -EAGAIN, or -EOPNOTSUPP where this kernel or file cannot promise it. */
ssize_t weft__fd_rw_nowait(int fd, bool write, const struct iovec *iov, int n);

/* Is it a directory? */
bool weft__fd_is_dir(int fd);

/*
 * Keep a write to a broken pipe from killing the process: for threads that
 * are not weft's, whose signal mask is their own. `broken`: the write between
 * the two said -EPIPE, and left a signal behind.
 */
struct weft__sigpipe {
    sigset_t mask; /* as it was */
    bool pending;  /* one was there before, and stays */
};
void weft__sigpipe_hide(struct weft__sigpipe *saved);
void weft__sigpipe_show(const struct weft__sigpipe *saved, bool broken);

#endif
