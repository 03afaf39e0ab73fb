/*
 * Calls on the program's descriptors, in the simulation: what weft makes is in
 * memory (net_sim.h). Regular files and directories are the process's, and
 * read with the real calls. What else comes from outside answers -ENOTSUP, so
 * that no run depends on it.
 */
#include "netpoll/os.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "netpoll/net_sim.h"

/* --- Bytes ------------------------------------------------------------------- */

static ssize_t move(int fd, const struct iovec *iov, int n, int flags,
                    bool write, const char *what)
{
    struct weft__net_call call;
    struct weft__net_file *f;
    ssize_t answer = -EBADF;

    if (!weft__net_is(fd))
        return -ENOTSUP;
    weft__net_enter(&call, what);
    f = weft__net_at(fd);
    if (f)
        answer = write ? weft__net_put(&call, f, iov, n)
                       : weft__net_take(&call, f, iov, n, flags);
    weft__net_leave(&call);
    return answer;
}

ssize_t weft__net_rw(int fd, bool write, const struct iovec *iov, int n)
{
    return move(fd, iov, n, 0, write, write ? "writev" : "readv");
}

ssize_t weft__fd_read(int fd, void *buf, size_t n)
{
    struct iovec one = { buf, n };

    return move(fd, &one, 1, 0, false, "read");
}

ssize_t weft__fd_recv(int fd, void *buf, size_t n, int flags)
{
    struct iovec one = { buf, n };

    return move(fd, &one, 1, flags, false, "recv");
}

ssize_t weft__fd_recvfrom(int fd, void *buf, size_t n, int flags,
                          struct sockaddr *sa, socklen_t *len)
{
    ssize_t answer = weft__fd_recv(fd, buf, n, flags);

    if (sa && len && answer >= 0)
        *len = 0; /* as a stream has it */
    return answer;
}

ssize_t weft__fd_recvmsg(int fd, struct msghdr *msg, int flags)
{
    ssize_t answer = move(fd, msg->msg_iov, (int)msg->msg_iovlen, flags,
                          false, "recvmsg");

    if (answer >= 0) {
        msg->msg_namelen = 0;
        msg->msg_controllen = 0;
        msg->msg_flags = 0;
    }
    return answer;
}

ssize_t weft__fd_write(int fd, const void *buf, size_t n)
{
    struct iovec one = { (void *)(uintptr_t)buf, n };

    return move(fd, &one, 1, 0, true, "write");
}

ssize_t weft__fd_send(int fd, const void *buf, size_t n, int flags)
{
    struct iovec one = { (void *)(uintptr_t)buf, n };

    if (flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE))
        return -EOPNOTSUPP;
    return move(fd, &one, 1, flags, true, "send");
}

ssize_t weft__fd_sendto(int fd, const void *buf, size_t n, int flags,
                        const struct sockaddr *sa, socklen_t len)
{
    (void)len;
    return sa ? -EISCONN : weft__fd_send(fd, buf, n, flags);
}

ssize_t weft__fd_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    if (msg->msg_controllen > 0 ||
        flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE))
        return -EOPNOTSUPP;
    return move(fd, msg->msg_iov, (int)msg->msg_iovlen, flags, true,
                "sendmsg");
}

/* --- Making ------------------------------------------------------------------ */

static bool is_inet(int domain)
{
    return domain == AF_INET || domain == AF_INET6;
}

static int kind_refused(int domain, int type)
{
    if (!is_inet(domain) && domain != AF_UNIX)
        return -EAFNOSUPPORT;
    return (type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) == SOCK_STREAM
               ? 0
               : -EPROTONOSUPPORT;
}

int weft__fd_socket(int domain, int type, int protocol)
{
    struct weft__net_call call;
    struct weft__net_file *f;
    int status = kind_refused(domain, type);

    (void)protocol;
    if (status != 0)
        return status;
    weft__net_enter(&call, "socket");
    status = weft__net_may_open();
    if (status == 0) {
        f = weft__net_new(WEFT__NET_SOCKET, domain);
        status = f ? weft__net_number(f) : -ENOMEM;
        if (f && status < 0)
            weft__net_free(&call, f);
    }
    weft__net_leave(&call);
    return status;
}

/* Two that are connected, with a number each. */
static int make_two(struct weft__net_call *call, enum weft__net_kind one,
                    enum weft__net_kind other, int domain, int fds[2])
{
    struct weft__net_file *f[2] = { NULL, NULL };
    int status = 0;

    for (int i = 0; i < 2 && status == 0; i++) {
        status = weft__net_may_open();
        if (status != 0)
            break;
        f[i] = weft__net_new(i == 0 ? one : other, domain);
        fds[i] = f[i] ? weft__net_number(f[i]) : -ENOMEM;
        status = fds[i] < 0 ? fds[i] : 0;
    }
    if (status == 0) {
        weft__net_pair(f[0], f[1]);
        return 0;
    }
    for (int i = 0; i < 2; i++)
        if (f[i])
            weft__net_free(call, f[i]);
    return status;
}

int weft__fd_socketpair(int domain, int type, int protocol, int fds[2])
{
    struct weft__net_call call;
    int status = kind_refused(domain, type);

    (void)protocol;
    /* The kernel has pairs for AF_UNIX alone. Here scenarios may have one
     * that is TCP: the short-read rule is for those. */
    if (status != 0)
        return status;
    weft__net_enter(&call, "socketpair");
    status = make_two(&call, WEFT__NET_STREAM, WEFT__NET_STREAM, domain, fds);
    weft__net_leave(&call);
    return status;
}

int weft__fd_pipe(int fds[2])
{
    struct weft__net_call call;
    int status;

    weft__net_enter(&call, "pipe");
    status = make_two(&call, WEFT__NET_PIPE_IN, WEFT__NET_PIPE_OUT, AF_UNIX,
                      fds);
    weft__net_leave(&call);
    return status;
}

/* --- Names ------------------------------------------------------------------- */

static int name_it(struct weft__net_file *f, const struct sockaddr *sa,
                   socklen_t len)
{
    if (len > sizeof(f->name) || len < sizeof(sa->sa_family))
        return -EINVAL;
    if (sa->sa_family != f->domain)
        return -EAFNOSUPPORT;
    memcpy(&f->name, sa, len);
    f->name_len = len;
    return 0;
}

int weft__fd_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
    struct weft__net_call call;
    struct weft__net_file *f;
    int status = -EBADF;

    if (!weft__net_is(fd))
        return -ENOTSUP;
    weft__net_enter(&call, "bind");
    f = weft__net_at(fd);
    if (f)
        status = f->kind == WEFT__NET_SOCKET ? name_it(f, sa, len) : -EINVAL;
    if (status == 0 && weft__net_listener(f))
        status = -EADDRINUSE;
    weft__net_leave(&call);
    return status;
}

int weft__fd_listen(int fd, int backlog)
{
    struct weft__net_call call;
    struct weft__net_file *f;
    int status = -EBADF;

    if (!weft__net_is(fd))
        return -ENOTSUP;
    weft__net_enter(&call, "listen");
    f = weft__net_at(fd);
    if (f) {
        f->backlog = backlog;
        status = f->kind == WEFT__NET_LISTENER ? 0
                 : f->kind != WEFT__NET_SOCKET || f->name_len == 0 ? -EINVAL
                 : weft__net_listener(f) ? -EADDRINUSE
                                         : 0;
    }
    if (status == 0)
        f->kind = WEFT__NET_LISTENER;
    weft__net_leave(&call);
    return status;
}

int weft__fd_accept(int fd, struct sockaddr *sa, socklen_t *len)
{
    struct weft__net_call call;
    struct weft__net_file *l, *f;
    int answer;

    if (!weft__net_is(fd))
        return -ENOTSUP;
    weft__net_enter(&call, "accept");
    l = weft__net_at(fd);
    /* As in the kernel the number comes first: a full table is told even
     * when nobody knocks. */
    if (!l)
        answer = -EBADF;
    else if (l->kind != WEFT__NET_LISTENER)
        answer = -EINVAL;
    else if ((answer = weft__net_may_open()) == 0)
        answer = l->queue ? weft__net_number(l->queue) : -EAGAIN;
    if (answer >= 0) {
        f = l->queue;
        l->queue = f->behind;
        f->behind = NULL;
        if (sa && len)
            *len = 0;
    }
    weft__net_leave(&call);
    return answer;
}

static int connect_now(struct weft__net_call *call, struct weft__net_file *f,
                       const struct sockaddr *sa, socklen_t len)
{
    int64_t delay;
    int status;

    if (f->kind == WEFT__NET_CONNECTING)
        return -EALREADY;
    if (f->kind != WEFT__NET_SOCKET)
        return f->kind == WEFT__NET_STREAM ? -EISCONN : -EINVAL;
    if (f->error != 0) {
        status = f->error; /* of the attempt before */
        f->error = 0;
        return status;
    }
    status = name_it(f, sa, len);
    if (status != 0)
        return status;
    delay = is_inet(f->domain) ? weft__net_delay() : 0;
    if (delay == 0) {
        status = weft__net_attempt(call, f);
        if (status != -EAGAIN || !is_inet(f->domain))
            return status;
        delay = 1000000;
    }
    f->kind = WEFT__NET_CONNECTING;
    f->due = call->now + delay;
    return -EINPROGRESS;
}

int weft__fd_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
    struct weft__net_call call;
    struct weft__net_file *f;
    int status = -EBADF;

    if (!weft__net_is(fd))
        return -ENOTSUP;
    weft__net_enter(&call, "connect");
    f = weft__net_at(fd);
    if (f)
        status = connect_now(&call, f, sa, len);
    weft__net_leave(&call);
    return status;
}

int weft__fd_shutdown(int fd, int how)
{
    struct weft__net_call call;
    struct weft__net_file *f;
    int status = -EBADF;

    if (!weft__net_is(fd))
        return -ENOTSUP;
    weft__net_enter(&call, "shutdown");
    f = weft__net_at(fd);
    if (f)
        status = f->kind == WEFT__NET_STREAM ? 0 : -ENOTCONN;
    if (status == 0 && how != SHUT_WR && !f->read_shut) {
        f->read_shut = true;
        weft__net_edge(&call, f);
        if (f->peer)
            weft__net_room_edge(&call, f->peer);
    }
    if (status == 0 && how != SHUT_RD) {
        f->write_shut = true;
        if (f->peer)
            weft__net_end(&call, f->peer);
        weft__net_edge(&call, f);
    }
    weft__net_leave(&call);
    return status;
}

int weft__fd_option(int fd, int level, int name, int value)
{
    (void)level, (void)name, (void)value;
    return weft__net_is(fd) ? 0 : -ENOTSUP;
}

int weft__fd_error(int fd)
{
    struct weft__net_call call;
    struct weft__net_file *f;
    int error = -EBADF;

    if (!weft__net_is(fd))
        return -ENOTSUP;
    weft__net_enter(&call, "getsockopt");
    f = weft__net_at(fd);
    if (f) {
        error = f->error;
        f->error = 0;
    }
    weft__net_leave(&call);
    return error;
}

/* --- What they are ------------------------------------------------------------- */

int weft__fd_close_status(int fd)
{
    int saved = errno;
    int answer;

    if (weft__net_is(fd))
        return weft__net_close(fd);
    answer = close(fd) == 0 ? 0 : -errno;
    errno = saved;
    return answer == -EINTR ? 0 : answer;
}

short weft__fd_ask(int fd, short events)
{
    struct pollfd one = { .fd = fd, .events = events };

    return weft__fd_poll(&one, 1, 0) > 0 ? one.revents : 0;
}

int weft__fd_look(struct pollfd *fds, nfds_t n)
{
    return weft__fd_poll(fds, n, 0);
}

/* What is in blocking mode comes from outside. */
int weft__fd_epoll_set(void)
{
    return -ENOTSUP;
}

int weft__fd_epoll_put(int set, int fd, short events)
{
    (void)set, (void)fd, (void)events;
    return -ENOTSUP;
}

short weft__net_ask(int fd, short events)
{
    struct weft__net_call call;
    struct weft__net_file *f;
    short state = POLLNVAL;

    weft__net_enter(&call, "poll");
    f = weft__net_at(fd);
    if (f) {
        short all = weft__net_state(f);

        /* Who is told that there is no room is told when there is. */
        if (events & POLLOUT && !(all & POLLOUT))
            f->full = true;
        state = (short)(all & (events | POLLERR | POLLHUP));
    }
    weft__net_leave(&call);
    return state;
}

int weft__fd_flags(int fd)
{
    int saved = errno;
    int flags;

    if (weft__net_is(fd))
        return weft__net_at(fd) ? 1 : -EBADF;
    flags = fcntl(fd, F_GETFL);
    errno = saved;
    if (flags < 0)
        return -EBADF;
    return (flags & O_NONBLOCK) != 0;
}

int weft__fd_nonblocking(int fd, bool on)
{
    (void)on;
    if (!weft__net_is(fd))
        return -ENOTSUP;
    return weft__net_at(fd) ? 0 : -EBADF;
}

static enum weft__fd_is what_in_memory(const struct weft__net_file *f)
{
    if (!f)
        return WEFT__FD_IS_NOTHING;
    if (f->kind == WEFT__NET_PIPE_IN || f->kind == WEFT__NET_PIPE_OUT)
        return WEFT__FD_IS_OTHER;
    return is_inet(f->domain) ? WEFT__FD_IS_STREAM : WEFT__FD_IS_SOCKET;
}

enum weft__fd_is weft__fd_what(int fd)
{
    int saved = errno;
    enum weft__fd_is what = WEFT__FD_IS_NOTHING;
    struct stat s;

    if (weft__net_is(fd))
        return what_in_memory(weft__net_at(fd));
    if (fstat(fd, &s) == 0) {
        if (S_ISDIR(s.st_mode))
            what = WEFT__FD_IS_FOLDER;
        else if (S_ISREG(s.st_mode))
            what = WEFT__FD_IS_FILE;
        else
            what = WEFT__FD_IS_SOCKET; /* whose calls say -ENOTSUP */
    }
    errno = saved;
    return what;
}

void weft__fd_identity(int fd, uint64_t *device, uint64_t *inode)
{
    const struct weft__net_file *f = weft__net_at(fd);

    *device = 0;
    *inode = f ? f->serial : 0;
}
