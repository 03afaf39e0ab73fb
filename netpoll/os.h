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
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* A new eventfd: close-on-exec, non-blocking. A descriptor, -EMFILE, -ENFILE
 * or -ENOMEM. */
int weft__fd_event(void);
/* Make an eventfd readable. */
void weft__fd_signal(int fd);
/* Make it unreadable again. */
void weft__fd_drain(int fd);

/* ppoll(2) for at most timeout_ns (below 0: for ever), also where the limit of
 * descriptors is below n. How many are ready, or -EINTR, -ENOMEM. */
int weft__fd_poll(struct pollfd *fds, nfds_t n, int64_t timeout_ns);
/* The same with another signal mask meanwhile. */
int weft__fd_poll_open(struct pollfd *fds, nfds_t n, int64_t timeout_ns,
                       const sigset_t *mask);

void weft__fd_close(int fd);

/* readv(2) or writev(2); begun again after a signal. */
ssize_t weft__fd_rw(int fd, bool write, const struct iovec *iov, int n);
/* The same, from the file's position, if it can be done without waiting:
 * else -EAGAIN, or -EOPNOTSUPP where this kernel or file cannot promise it. */
ssize_t weft__fd_rw_nowait(int fd, bool write, const struct iovec *iov, int n);

/* A terminal opened once more, for one direction and in non-blocking mode; the
 * descriptor given keeps its own. -ENOTTY: it is none, or a pseudo-terminal's
 * master, of which that would make another; or what open(2) says. */
int weft__fd_terminal(int fd, bool write);

/* Is it a directory? */
bool weft__fd_is_dir(int fd);

/*
 * Keep a write to a broken pipe from killing the process: for threads that
 * are not weft's, whose signal mask is their own. `broken`: a write between
 * the two said -EPIPE, and left a signal behind.
 */
struct weft__sigpipe {
    sigset_t mask; /* as it was */
    bool pending;  /* one was there before, and stays */
};
void weft__sigpipe_hide(struct weft__sigpipe *saved);
void weft__sigpipe_show(const struct weft__sigpipe *saved, bool broken);
/* --- Descriptors of the program ---------------------------------------------- */

/* Each is the system call it is named for: its result, or a negative code.
 * Sockets are read and written without waiting, and raise no SIGPIPE;
 * descriptors that are made are close-on-exec and non-blocking. */
ssize_t weft__fd_read(int fd, void *buf, size_t n);
ssize_t weft__fd_recv(int fd, void *buf, size_t n, int flags);
ssize_t weft__fd_recvfrom(int fd, void *buf, size_t n, int flags,
                          struct sockaddr *sa, socklen_t *len);
ssize_t weft__fd_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t weft__fd_write(int fd, const void *buf, size_t n);
ssize_t weft__fd_send(int fd, const void *buf, size_t n, int flags);
ssize_t weft__fd_sendto(int fd, const void *buf, size_t n, int flags,
                        const struct sockaddr *sa, socklen_t len);
ssize_t weft__fd_sendmsg(int fd, const struct msghdr *msg, int flags);
int weft__fd_accept(int fd, struct sockaddr *sa, socklen_t *len);
int weft__fd_connect(int fd, const struct sockaddr *sa, socklen_t len);
int weft__fd_socket(int domain, int type, int protocol);
int weft__fd_socketpair(int domain, int type, int protocol, int fds[2]);
int weft__fd_pipe(int fds[2]);
int weft__fd_shutdown(int fd, int how);
int weft__fd_bind(int fd, const struct sockaddr *sa, socklen_t len);
int weft__fd_listen(int fd, int backlog);
int weft__fd_option(int fd, int level, int name, int value);
/* The error that waits on a socket, as a negative code, or 0. */
int weft__fd_error(int fd);
int weft__fd_close_status(int fd);

/* poll(2) for one, without waiting: its revents. */
short weft__fd_ask(int fd, short events);

/* poll(2) of what a program named, without waiting: how many, or -EINVAL (more
 * than it may have open), -EFAULT, -ENOMEM. */
int weft__fd_look(struct pollfd *fds, nfds_t n);

/* Above 0: non-blocking; 0: blocking; or -EBADF. */
int weft__fd_flags(int fd);
int weft__fd_nonblocking(int fd, bool on);

enum weft__fd_is {
    WEFT__FD_IS_NOTHING,
    WEFT__FD_IS_STREAM, /* TCP, with no protocol above it */
    WEFT__FD_IS_SOCKET,
    WEFT__FD_IS_FOLDER,
    WEFT__FD_IS_FILE, /* a regular file, or a device that epoll refuses */
    WEFT__FD_IS_OTHER
};
enum weft__fd_is weft__fd_what(int fd);
/* Which file it is. */
void weft__fd_identity(int fd, uint64_t *device, uint64_t *inode);

/* Add to an epoll set, or arm again, for all events, at each edge; -EEXIST,
 * -ENOENT, -EPERM, -ENOSPC, -ENOMEM, -EBADF. */
int weft__fd_epoll_add(int set, int fd);
int weft__fd_epoll_arm(int set, int fd);
/* A new epoll set, or the code; and a descriptor in it, by level, for these
 * events of poll(2) in place of earlier ones. */
int weft__fd_epoll_set(void);
int weft__fd_epoll_put(int set, int fd, short events);

#endif
