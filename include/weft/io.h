/*
 * Descriptors
 *
 * The calls a program knows from POSIX, on plain file descriptors, that park
 * the calling fiber where those would block its thread:
 *
 *     char buf[4096];
 *     ssize_t n;
 *
 *     while ((n = weft_read(fd, buf, sizeof(buf))) > 0)
 *         if (weft_write_full(fd, buf, (size_t)n, NULL) != 0)
 *             break;
 *     weft_close(fd);
 *
 * Any number of fibers may wait on one descriptor. What weft made or accepted
 * is close-on-exec and non-blocking. Other sockets keep their mode while they
 * are only read and written; a listener or a connecting one is made
 * non-blocking at first use. Descriptors 0 to 2, terminals and pipes that
 * came from elsewhere keep theirs: a thread of a lane waits for them. So it
 * is with regular files, whose reads from the page cache need no thread.
 *
 * A descriptor that weft has been used on is closed by weft_close(), or given
 * up by weft_fd_forget() before something else closes it.
 *
 * A call that moved bytes returns their count, also when the deadline or a
 * cancel came meanwhile; the code comes from the next call. What a peer did
 * has one code everywhere: -EPIPE nobody is there to read what is written,
 * -ECONNRESET it broke off, -ECONNABORTED the kernel gave it up: it answered no
 * more, or there was no way to it. (A firewall may have the last word, by a code
 * of its own: -ECONNREFUSED, -EACCES.) -ETIMEDOUT is always a deadline: the
 * call's, or a limit of weft_serve().
 *
 * On a thread that runs no fiber these calls work as long as they need not
 * wait; only a read or write of a descriptor in blocking mode does wait there,
 * and blocks the thread, as without weft. SIGPIPE is never raised.
 */
#ifndef WEFT_IO_H
#define WEFT_IO_H

#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <weft/api.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

/*
 * Read up to n bytes into `buf`, as read(2).
 *
 * Blocks:   the calling fiber, until there is something to read, the end, or
 *           `deadline`. A cancellation point. From a foreign thread only if
 *           it need not wait; one in blocking mode it waits for itself.
 * Returns:  how many bytes; 0 at the end of the file or stream
 *           -EINVAL       buf is NULL, or n above SSIZE_MAX
 *           -EBADF        no such descriptor, not open for reading, or it was
 *                         closed meanwhile
 *           -EISDIR       a directory
 *           -EFAULT       buf is no memory of the caller's
 *           -ECONNRESET   the peer broke the connection off
 *           -ECONNREFUSED the peer's port is not there (datagrams)
 *           -ECONNABORTED the kernel gave the peer up
 *           -ENOTCONN     the socket is not connected
 *           -EIO          the device or terminal failed
 *           -ETIMEDOUT    the deadline passed first; nothing was read
 *           -ECANCELED    the fiber was cancelled first; nothing was read
 *           -EAGAIN       `deadline` is WEFT_NOW and nothing is there; or no
 *                         thread is to be had to wait for one in blocking mode
 *           -EMFILE, -ENFILE   nor a descriptor, which that takes
 *           -EPERM        it would have to wait, and the caller cannot park
 *           -ENOMEM       no memory to watch the descriptor
 * Memory:   `buf` stays the caller's.
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_read_until(int fd, void *buf, size_t n,
                                                 weft_time_t deadline);
/* weft_read_until(fd, buf, n, WEFT_FOREVER). */
WEFT_API ssize_t weft_read(int fd, void *buf, size_t n);

/*
 * Read into n buffers, as readv(2).
 *
 * Blocks:   as weft_read_until().
 * Returns:  as weft_read_until(), and
 *           -EINVAL  iov is NULL, or n is negative or above IOV_MAX
 * Memory:   the buffers stay the caller's.
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_readv_until(int fd,
                                                  const struct iovec *iov,
                                                  int n,
                                                  weft_time_t deadline);
/* weft_readv_until(fd, iov, n, WEFT_FOREVER). */
WEFT_API ssize_t weft_readv(int fd, const struct iovec *iov, int n);

/*
 * Read exactly n bytes. What was read is counted in *done (which may be
 * NULL), whatever the answer. It is one call, in however many portions: a
 * close ends it, and none of them is read from the number's next owner.
 *
 * Blocks:   as weft_read_until().
 * Returns:  0       n bytes are there
 *           -EPIPE  the end came first
 *           else as weft_read_until(), of the read that failed
 * Memory:   as weft_read_until().
 */
WEFT_API WEFT_MUST_CHECK int weft_read_full_until(int fd, void *buf, size_t n,
                                                  size_t *done,
                                                  weft_time_t deadline);
/* weft_read_full_until(fd, buf, n, done, WEFT_FOREVER). */
WEFT_API int weft_read_full(int fd, void *buf, size_t n, size_t *done);

/*
 * Write up to n bytes of `buf`, as write(2).
 *
 * Blocks:   the calling fiber, until there is room for some of it, or
 *           `deadline`. A cancellation point. From a foreign thread only if
 *           it need not wait; one in blocking mode it waits for itself.
 * Returns:  how many bytes were taken
 *           -EINVAL       buf is NULL, or n above SSIZE_MAX
 *           -EBADF        no such descriptor, not open for writing, or it was
 *                         closed meanwhile
 *           -EFAULT       buf is no memory of the caller's
 *           -EPIPE        nobody is left to read it
 *           -ECONNRESET   the peer broke the connection off
 *           -ECONNREFUSED the peer's port is not there (datagrams)
 *           -ECONNABORTED the kernel gave the peer up
 *           -ENOTCONN     the socket is not connected
 *           -EDESTADDRREQ a datagram socket that has no peer
 *           -EMSGSIZE     too long for one datagram
 *           -ENOSPC       the disk is full
 *           -EDQUOT       the user's share of it is
 *           -EFBIG        the file would be too large
 *           -EIO          the device or terminal failed
 *           -ETIMEDOUT    the deadline passed first; nothing was written
 *           -ECANCELED    the fiber was cancelled first; nothing was written
 *           -EAGAIN       `deadline` is WEFT_NOW and there is no room; or no
 *                         thread is to be had to wait for one in blocking mode
 *           -EMFILE, -ENFILE   nor a descriptor, which that takes
 *           -EPERM        it would have to wait, and the caller cannot park
 *           -ENOMEM       no memory to watch the descriptor
 * Memory:   `buf` stays the caller's.
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_write_until(int fd, const void *buf,
                                                  size_t n,
                                                  weft_time_t deadline);
/* weft_write_until(fd, buf, n, WEFT_FOREVER). */
WEFT_API ssize_t weft_write(int fd, const void *buf, size_t n);

/*
 * Write from n buffers, as writev(2): where there is nothing in them nothing is
 * sent, while weft_write() of nothing to a datagram socket sends an empty one.
 *
 * Blocks:   as weft_write_until().
 * Returns:  as weft_write_until(), and
 *           -EINVAL  iov is NULL, or n is negative or above IOV_MAX
 * Memory:   the buffers stay the caller's.
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_writev_until(int fd,
                                                   const struct iovec *iov,
                                                   int n,
                                                   weft_time_t deadline);
/* weft_writev_until(fd, iov, n, WEFT_FOREVER). */
WEFT_API ssize_t weft_writev(int fd, const struct iovec *iov, int n);

/*
 * Write all n bytes. What was taken is counted in *done (which may be NULL),
 * whatever the answer. It is one call, as weft_read_full_until() is.
 *
 * Blocks:   as weft_write_until().
 * Returns:  0  all is written
 *           else as weft_write_until(), of the write that failed
 * Memory:   as weft_write_until().
 */
WEFT_API WEFT_MUST_CHECK int weft_write_full_until(int fd, const void *buf,
                                                   size_t n, size_t *done,
                                                   weft_time_t deadline);
/* weft_write_full_until(fd, buf, n, done, WEFT_FOREVER). */
WEFT_API int weft_write_full(int fd, const void *buf, size_t n, size_t *done);

/* --- Sockets ---------------------------------------------------------------- */

/*
 * Receive up to n bytes from a socket, as recv(2); `flags` are its MSG_*.
 * With MSG_DONTWAIT, MSG_OOB and MSG_ERRQUEUE it never waits; MSG_WAITALL does
 * not make it wait for more than there is (weft_read_full() does).
 *
 * Blocks:   as weft_read_until(), but a foreign thread only if it need not wait.
 * Returns:  as weft_read_until() (not -EISDIR, not -EIO, not -EMFILE, not
 *           -ENFILE), and
 *           -ENOTSOCK    not a socket
 *           -EOPNOTSUPP  a flag it does not know
 *           -EAGAIN      also with those flags: nothing is there
 * Memory:   `buf` stays the caller's.
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_recv_until(int fd, void *buf, size_t n,
                                                 int flags,
                                                 weft_time_t deadline);
/* weft_recv_until(fd, buf, n, flags, WEFT_FOREVER). */
WEFT_API ssize_t weft_recv(int fd, void *buf, size_t n, int flags);

/*
 * The same with the sender's address, as recvfrom(2).
 *
 * Blocks:   as weft_recv_until().
 * Returns:  as weft_recv_until(), and
 *           -EINVAL  sa without len, or a length that is negative
 * Memory:   `buf`, `sa` and `len` stay the caller's; sa may be NULL.
 */
WEFT_API WEFT_MUST_CHECK ssize_t
weft_recvfrom_until(int fd, void *buf, size_t n, int flags,
                    struct sockaddr *sa, socklen_t *len,
                    weft_time_t deadline);
/* weft_recvfrom_until(fd, buf, n, flags, sa, len, WEFT_FOREVER). */
WEFT_API ssize_t weft_recvfrom(int fd, void *buf, size_t n, int flags,
                               struct sockaddr *sa, socklen_t *len);

/*
 * Receive with buffers, address and ancillary data, as recvmsg(2). Received
 * descriptors are close-on-exec.
 *
 * Blocks:   as weft_recv_until().
 * Returns:  as weft_recv_until(), and
 *           -EINVAL    msg is NULL
 *           -EMSGSIZE  it has more than IOV_MAX buffers
 * Memory:   all stays the caller's.
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_recvmsg_until(int fd,
                                                    struct msghdr *msg,
                                                    int flags,
                                                    weft_time_t deadline);
/* weft_recvmsg_until(fd, msg, flags, WEFT_FOREVER). */
WEFT_API ssize_t weft_recvmsg(int fd, struct msghdr *msg, int flags);

/*
 * Send up to n bytes to a socket, as send(2); `flags` are its MSG_*. With
 * MSG_DONTWAIT it never waits.
 *
 * Blocks:   as weft_write_until(), but a foreign thread only if it need not
 *           wait.
 * Returns:  as weft_write_until() (not -ENOSPC, not -EDQUOT, not -EFBIG, not
 *           -EIO, not -EMFILE, not -ENFILE), and
 *           -ENOTSOCK     not a socket
 *           -EOPNOTSUPP   a flag it does not know
 *           -EAGAIN       also with MSG_DONTWAIT: there is no room
 * Memory:   `buf` stays the caller's.
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_send_until(int fd, const void *buf,
                                                 size_t n, int flags,
                                                 weft_time_t deadline);
/* weft_send_until(fd, buf, n, flags, WEFT_FOREVER). */
WEFT_API ssize_t weft_send(int fd, const void *buf, size_t n, int flags);

/*
 * The same to an address, as sendto(2).
 *
 * Blocks:   as weft_send_until().
 * Returns:  as weft_send_until(), and
 *           -EINVAL        the address has no sense
 *           -EAFNOSUPPORT  nor its family on this socket
 *           -ENETUNREACH   there is no way there
 *           -EACCES        a broadcast address, and no SO_BROADCAST
 *           -EISCONN       the socket is connected to another
 * Memory:   all stays the caller's.
 */
WEFT_API WEFT_MUST_CHECK ssize_t
weft_sendto_until(int fd, const void *buf, size_t n, int flags,
                  const struct sockaddr *sa, socklen_t len,
                  weft_time_t deadline);
/* weft_sendto_until(fd, buf, n, flags, sa, len, WEFT_FOREVER). */
WEFT_API ssize_t weft_sendto(int fd, const void *buf, size_t n, int flags,
                             const struct sockaddr *sa, socklen_t len);

/*
 * Send buffers and ancillary data, as sendmsg(2).
 *
 * Blocks:   as weft_send_until().
 * Returns:  as weft_sendto_until(), and
 *           -EINVAL    msg is NULL, or its ancillary data has no sense
 *           -EMSGSIZE  also for more than IOV_MAX buffers
 * Memory:   all stays the caller's.
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_sendmsg_until(int fd,
                                                    const struct msghdr *msg,
                                                    int flags,
                                                    weft_time_t deadline);
/* weft_sendmsg_until(fd, msg, flags, WEFT_FOREVER). */
WEFT_API ssize_t weft_sendmsg(int fd, const struct msghdr *msg, int flags);

/*
 * Accept a connection, as accept4(2): the new descriptor is close-on-exec and
 * non-blocking. Where the process or the machine has no descriptor or memory
 * left the connection stays in the kernel's queue, and the call waits and tries
 * again, from 1 ms up to 100 ms apart: it never spins, and never gives up for
 * that. (One that there is no memory to keep a record of is broken off.)
 *
 * Blocks:   the calling fiber, until one comes, or `deadline`. A cancellation
 *           point. From a foreign thread only if it need not wait.
 * Returns:  the new descriptor
 *           -EBADF       no such descriptor, or it was closed meanwhile
 *           -EINVAL      it does not listen; sa without len, or a negative
 *                        length
 *           -ENOTSOCK    not a socket
 *           -EOPNOTSUPP  not of a kind that accepts
 *           -EFAULT      sa or len is no memory of the caller's
 *           -ETIMEDOUT   the deadline passed first; none was accepted
 *           -ECANCELED   the fiber was cancelled first
 *           -EAGAIN      `deadline` is WEFT_NOW and none is there
 *           -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM   it would have to wait for
 *                        a descriptor, or memory, and the deadline is WEFT_NOW
 *                        or the caller cannot park
 *           -EPERM       it would have to wait, and the caller cannot park
 * Memory:   sa and len stay the caller's; both may be NULL.
 */
WEFT_API WEFT_MUST_CHECK int weft_accept_until(int fd, struct sockaddr *sa,
                                               socklen_t *len,
                                               weft_time_t deadline);
/* weft_accept_until(fd, sa, len, WEFT_FOREVER). */
WEFT_API int weft_accept(int fd, struct sockaddr *sa, socklen_t *len);

/*
 * Connect a socket, as connect(2), and wait until it is. The socket is made
 * non-blocking.
 *
 * After -ETIMEDOUT or -ECANCELED the attempt may still go on in the kernel:
 * close the socket, or call again to wait on.
 *
 * Blocks:   the calling fiber, until it is connected or cannot be, or
 *           `deadline`. A cancellation point. From a foreign thread only if
 *           it need not wait.
 * Returns:  0
 *           -EBADF         no such descriptor, or it was closed meanwhile
 *           -EINVAL        sa is NULL, or the address has no sense
 *           -EFAULT        sa is no memory of the caller's
 *           -ENOTSOCK      not a socket
 *           -EAFNOSUPPORT  the family is not the socket's
 *           -ECONNREFUSED  nobody listens there
 *           -ECONNRESET    the peer broke it off
 *           -ENETUNREACH   there is no way there
 *           -EHOSTUNREACH  nor to that host, or the kernel gave it up
 *           -ENOENT        there is no such path (a Unix socket)
 *           -ENOTDIR        nor such a folder
 *           -EACCES        not allowed to go there
 *           -EISCONN       it is connected already
 *           -EADDRNOTAVAIL no local port is left
 *           -ETIMEDOUT     the deadline passed first
 *           -ECANCELED     the fiber was cancelled first
 *           -EAGAIN        `deadline` is WEFT_NOW and it is not connected yet
 *           -EPERM         it would have to wait, and the caller cannot park
 *           -ENOMEM        no memory to watch the descriptor
 * Memory:   sa stays the caller's.
 */
WEFT_API WEFT_MUST_CHECK int weft_connect_until(int fd,
                                                const struct sockaddr *sa,
                                                socklen_t len,
                                                weft_time_t deadline);
/* weft_connect_until(fd, sa, len, WEFT_FOREVER). */
WEFT_API int weft_connect(int fd, const struct sockaddr *sa, socklen_t len);

/* --- Readiness ---------------------------------------------------------------- */

/*
 * Wait until one of n descriptors is ready, as poll(2), and take nothing from
 * it. Negative descriptors are left out.
 *
 * Blocks:   the calling fiber, until one is ready or `deadline`. A
 *           cancellation point. From a foreign thread only if it need not
 *           wait.
 * Returns:  how many have something in `revents`; one that is not open has
 *           POLLNVAL, one that is closed meanwhile ends the call with it
 *           -EINVAL     fds is NULL with n above 0, or n is above 65536, or
 *                       above what the process may have open
 *           -EFAULT     fds is no memory of the caller's
 *           -ETIMEDOUT  the deadline passed first; revents are all 0
 *           -ECANCELED  the fiber was cancelled first
 *           -EAGAIN     `deadline` is WEFT_NOW and none is ready
 *           -EPERM      it would have to wait, and the caller cannot park
 *           -ENOMEM     no memory to watch them
 *           -EMFILE, -ENFILE   no descriptor to watch one in blocking mode
 * Memory:   fds stays the caller's.
 */
WEFT_API WEFT_MUST_CHECK int weft_poll_until(struct pollfd *fds, nfds_t n,
                                             weft_time_t deadline);
/* weft_poll_until(fds, n, WEFT_FOREVER). */
WEFT_API int weft_poll(struct pollfd *fds, nfds_t n);

/*
 * Wait until `fd` is ready for one of `events` (POLLIN, POLLOUT, POLLPRI,
 * POLLRDHUP), and take nothing: for the loops of libpq, curl or OpenSSL.
 *
 * Blocks:   as weft_poll_until().
 * Returns:  above 0: the events that are there, POLLERR and POLLHUP included
 *           -EBADF      no such descriptor, or it was closed meanwhile
 *           -EINVAL     events has none of these, or others
 *           -ETIMEDOUT  the deadline passed first
 *           -ECANCELED  the fiber was cancelled first
 *           -EAGAIN     `deadline` is WEFT_NOW and it is not ready
 *           -EPERM      it would have to wait, and the caller cannot park
 *           -ENOMEM     no memory to watch it
 *           -EMFILE, -ENFILE   no descriptor to watch one in blocking mode
 */
WEFT_API WEFT_MUST_CHECK int weft_fd_wait_until(int fd, int events,
                                                weft_time_t deadline);
/* weft_fd_wait_until(fd, events, WEFT_FOREVER). */
WEFT_API int weft_fd_wait(int fd, int events);

/* --- Making and closing -------------------------------------------------------- */

/*
 * A new socket, as socket(2): close-on-exec and non-blocking.
 *
 * Blocks:   never. From anywhere.
 * Returns:  the descriptor
 *           -EAFNOSUPPORT     no such family
 *           -EINVAL           no such type
 *           -ESOCKTNOSUPPORT  nor in this family
 *           -EPROTONOSUPPORT  no such protocol
 *           -EPERM            not allowed to (raw sockets)
 *           -EMFILE, -ENFILE  no descriptor is left
 *           -ENOMEM, -ENOBUFS no memory
 */
WEFT_API int weft_socket(int domain, int type, int protocol);

/*
 * Two connected sockets, as socketpair(2), close-on-exec and non-blocking.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0, or as weft_socket() (not -EPERM), and
 *           -EINVAL      fds is NULL
 *           -EOPNOTSUPP  a family without pairs
 */
WEFT_API int weft_socketpair(int domain, int type, int protocol, int fds[2]);

/*
 * A pipe, as pipe(2): fds[0] to read from and fds[1] to write to, both
 * close-on-exec and non-blocking.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0
 *           -EINVAL          fds is NULL
 *           -EMFILE, -ENFILE no descriptor is left
 *           -ENOMEM          no memory
 */
WEFT_API int weft_pipe(int fds[2]);

/*
 * End one or both directions of a connection, as shutdown(2).
 *
 * Blocks:   never. From anywhere.
 * Returns:  0
 *           -EBADF     no such descriptor
 *           -ENOTSOCK  not a socket
 *           -ENOTCONN  not connected
 *           -EINVAL    `how` is no SHUT_*
 */
WEFT_API int weft_shutdown(int fd, int how);

/*
 * Close a descriptor. Calls of others that wait on it return -EBADF; this one
 * returns when they have left and the number is free. It never calls
 * shutdown(2): a duplicate of the descriptor goes on.
 *
 * The kernel's close(2) is made on the spot. Where that takes long (a socket
 * with SO_LINGER and bytes that its peer does not take, a network file system)
 * the worker is held up in it: hand such a close to weft_blocking(). The kernel
 * may give the number out again before that close is over; every call of weft's
 * on it, this one too, waits for that first, whatever its deadline.
 *
 * Blocks:   the calling fiber or thread, until calls under way on the
 *           descriptor have ended. No cancellation point.
 * Returns:  0
 *           -EBADF  no such descriptor, or someone is closing it
 *           -EIO, -ENOSPC, -EDQUOT  the kernel's last word on what was
 *                   written; the number is free all the same
 */
WEFT_API int weft_close(int fd);

/*
 * Let go of a descriptor without closing it: before close(2), before dup2(2)
 * onto its number, before a library closes it itself, and after a change that
 * weft has to learn of (TCP_ULP, O_NONBLOCK). Calls of others that wait on it
 * return -EBADF. Any call may be made on it afterwards.
 *
 * Blocks:   as weft_close().
 * Returns:  0
 *           -EBADF  no such descriptor, or someone is closing it
 */
WEFT_API int weft_fd_forget(int fd);

WEFT_END_DECLS

#endif
