/*
 * Calls on the program's descriptors. The simulation has others (net_sim.c).
 */
#include "netpoll/os.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sched/sanitizer.h"

/*
 * The hot ones by syscall(2): in a process with threads glibc's wrappers change
 * the thread's cancel state around each call, two locked operations, and no
 * thread of weft's is ever cancelled. The sanitizers see the wrappers only.
 */
#if !defined(WEFT__TSAN) && !defined(WEFT__ASAN)
#define read(fd, buf, n) syscall(SYS_read, fd, buf, n)
#define write(fd, buf, n) syscall(SYS_write, fd, buf, n)
#define recv(fd, buf, n, flags)                                             \
    syscall(SYS_recvfrom, fd, buf, n, flags, NULL, NULL)
#define send(fd, buf, n, flags)                                             \
    syscall(SYS_sendto, fd, buf, n, flags, NULL, 0)
#define recvmsg(fd, msg, flags) syscall(SYS_recvmsg, fd, msg, flags)
#define sendmsg(fd, msg, flags) syscall(SYS_sendmsg, fd, msg, flags)
#endif

/* TSan takes a connect that succeeds for the birth of its descriptor, a write
 * that races with what a poller has done with it. One that has slept asks by
 * connect(2) how the attempt has ended, and is in an epoll set by then. */
#ifdef WEFT__TSAN
#define connect(fd, sa, len) syscall(SYS_connect, fd, sa, len)
#endif

/* The answer of a call, without a trace in errno; once more when a signal
 * came first. */
#define ANSWER(type, call)                                                  \
    int saved = errno;                                                      \
    type answer;                                                            \
                                                                            \
    do {                                                                    \
        answer = (call);                                                    \
    } while (answer < 0 && errno == EINTR);                                 \
    if (answer < 0) {                                                       \
        answer = -errno;                                                    \
        errno = saved;                                                      \
    }                                                                       \
    return answer

ssize_t weft__fd_read(int fd, void *buf, size_t n)
{
    ANSWER(ssize_t, read(fd, buf, n));
}

ssize_t weft__fd_recv(int fd, void *buf, size_t n, int flags)
{
    ANSWER(ssize_t, recv(fd, buf, n, flags | MSG_DONTWAIT));
}

ssize_t weft__fd_recvfrom(int fd, void *buf, size_t n, int flags,
                          struct sockaddr *sa, socklen_t *len)
{
    ANSWER(ssize_t, recvfrom(fd, buf, n, flags | MSG_DONTWAIT, sa, len));
}

ssize_t weft__fd_recvmsg(int fd, struct msghdr *msg, int flags)
{
    ANSWER(ssize_t,
           recvmsg(fd, msg, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
}

ssize_t weft__fd_write(int fd, const void *buf, size_t n)
{
    ANSWER(ssize_t, write(fd, buf, n));
}

ssize_t weft__fd_send(int fd, const void *buf, size_t n, int flags)
{
    ANSWER(ssize_t, send(fd, buf, n, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
}

ssize_t weft__fd_sendto(int fd, const void *buf, size_t n, int flags,
                        const struct sockaddr *sa, socklen_t len)
{
    ANSWER(ssize_t, sendto(fd, buf, n, flags | MSG_DONTWAIT | MSG_NOSIGNAL,
                           sa, len));
}

ssize_t weft__fd_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    ANSWER(ssize_t, sendmsg(fd, msg, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
}

int weft__fd_accept(int fd, struct sockaddr *sa, socklen_t *len)
{
    ANSWER(int, accept4(fd, sa, len, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

int weft__fd_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
    int saved = errno;
    /* Not again after EINTR: the attempt goes on, as after EINPROGRESS. */
    int answer = connect(fd, sa, len) == 0 ? 0 : -errno;

    errno = saved;
    return answer == -EINTR ? -EINPROGRESS : answer;
}

int weft__fd_socket(int domain, int type, int protocol)
{
    ANSWER(int,
           socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
}

int weft__fd_socketpair(int domain, int type, int protocol, int fds[2])
{
    ANSWER(int, socketpair(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK,
                           protocol, fds));
}

int weft__fd_pipe(int fds[2])
{
    ANSWER(int, pipe2(fds, O_CLOEXEC | O_NONBLOCK));
}

int weft__fd_shutdown(int fd, int how)
{
    ANSWER(int, shutdown(fd, how));
}

int weft__fd_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
    ANSWER(int, bind(fd, sa, len));
}

int weft__fd_listen(int fd, int backlog)
{
    ANSWER(int, listen(fd, backlog));
}

int weft__fd_option(int fd, int level, int name, int value)
{
    ANSWER(int, setsockopt(fd, level, name, &value, sizeof(value)));
}

int weft__fd_error(int fd)
{
    int saved = errno;
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    errno = saved;
    return -error;
}

int weft__fd_close_status(int fd)
{
    int saved = errno;
    int answer = close(fd) == 0 ? 0 : -errno;

    errno = saved;
    /* Linux frees the number whatever the answer is. */
    return answer == -EINTR ? 0 : answer;
}

short weft__fd_ask(int fd, short events)
{
    struct pollfd one = { .fd = fd, .events = events };

    return weft__fd_poll(&one, 1, 0) > 0 ? one.revents : 0;
}

int weft__fd_look(struct pollfd *fds, nfds_t n)
{
    ANSWER(int, poll(fds, n, 0));
}

int weft__fd_flags(int fd)
{
    int saved = errno;
    int flags = fcntl(fd, F_GETFL);

    errno = saved;
    if (flags < 0)
        return -EBADF;
    return (flags & O_NONBLOCK) != 0;
}

int weft__fd_nonblocking(int fd, bool on)
{
    int saved = errno;
    int flags = fcntl(fd, F_GETFL);
    int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    int status = flags < 0 ? -errno : 0;

    if (status == 0 && wanted != flags && fcntl(fd, F_SETFL, wanted) != 0)
        status = -errno;
    errno = saved;
    return status;
}

static int option_of(int fd, int level, int name)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, level, name, &value, &len) == 0 ? value : -1;
}

/* A protocol above TCP (kernel TLS) hands out records, and a short read says
 * nothing of what is left. */
static bool has_protocol_above(int fd)
{
    char name[16];
    socklen_t len = sizeof(name);

    return getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &len) == 0 && len > 0;
}

static enum weft__fd_is socket_what(int fd)
{
    int domain = option_of(fd, SOL_SOCKET, SO_DOMAIN);

    if ((domain == AF_INET || domain == AF_INET6) &&
        option_of(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP &&
        !has_protocol_above(fd))
        return WEFT__FD_IS_STREAM;
    return WEFT__FD_IS_SOCKET;
}

/* Does epoll take such a file? Only it can tell. */
static bool pollable(int fd)
{
    struct epoll_event event = { .events = 0 };
    int set = epoll_create1(EPOLL_CLOEXEC);
    bool takes = true;

    if (set < 0)
        return true;
    if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) != 0 && errno == EPERM)
        takes = false;
    close(set);
    return takes;
}

enum weft__fd_is weft__fd_what(int fd)
{
    int saved = errno;
    enum weft__fd_is what = WEFT__FD_IS_NOTHING;
    struct stat s;

    if (fstat(fd, &s) == 0) {
        if (S_ISSOCK(s.st_mode))
            what = socket_what(fd);
        else if (S_ISDIR(s.st_mode))
            what = WEFT__FD_IS_FOLDER;
        else if (S_ISREG(s.st_mode) || S_ISBLK(s.st_mode) || !pollable(fd))
            what = WEFT__FD_IS_FILE;
        else
            what = WEFT__FD_IS_OTHER;
    }
    errno = saved;
    return what;
}

void weft__fd_identity(int fd, uint64_t *device, uint64_t *inode)
{
    int saved = errno;
    struct stat s;

    *device = *inode = 0;
    if (fstat(fd, &s) == 0) {
        *device = s.st_dev;
        *inode = s.st_ino;
    }
    errno = saved;
}

static int epoll_change(int set, int fd, int how)
{
    int saved = errno;
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
        .data.fd = fd,
    };
    int status = epoll_ctl(set, how, fd, &event) == 0 ? 0 : -errno;

    errno = saved;
    return status;
}

int weft__fd_epoll_add(int set, int fd)
{
    return epoll_change(set, fd, EPOLL_CTL_ADD);
}

int weft__fd_epoll_arm(int set, int fd)
{
    return epoll_change(set, fd, EPOLL_CTL_MOD);
}

int weft__fd_epoll_set(void)
{
    ANSWER(int, epoll_create1(EPOLL_CLOEXEC));
}

int weft__fd_epoll_put(int set, int fd, short events)
{
    /* The two name them by the same bits. */
    struct epoll_event event = { .events = (uint32_t)(unsigned short)events };
    int saved = errno;
    int status = epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;

    if (status == -EEXIST)
        status = epoll_ctl(set, EPOLL_CTL_MOD, fd, &event) == 0 ? 0 : -errno;
    errno = saved;
    return status;
}
