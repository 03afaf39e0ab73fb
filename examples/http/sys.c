#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Also against optimisation at link time, which would inline across files. */
#define NOINLINE __attribute__((noinline))

static int answer(int result)
{
    return result < 0 ? -errno : result;
}

/* ---- files --------------------------------------------------------------- */

/*
 * What openat2 does, by hand: a step a component, from a directory in hand to
 * the next, so that a link put in place of a directory meanwhile is met by
 * O_NOFOLLOW. Links that stay inside are refused too; to tell them apart would
 * take the kernel's own eyes.
 */
static int open_walk(int root, const char *path, int flags)
{
    char name[256];
    int dir = root;

    for (;;) {
        size_t n = strcspn(path, "/");
        const char *rest = path + n;
        int fd;

        if (n >= sizeof(name)) {
            fd = -ENAMETOOLONG;
        } else {
            memcpy(name, path, n);
            name[n] = '\0';
            rest += strspn(rest, "/");
            if (n == 0 || strcmp(name, "..") == 0)
                fd = -EXDEV;
            else if (*rest == '\0')
                fd = answer(openat(dir, name,
                                   flags | O_NOFOLLOW |
                                       (path[n] == '/' ? O_DIRECTORY : 0)));
            else
                fd = answer(openat(
                    dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        }
        if (dir != root)
            close(dir);
        if (fd < 0 || *rest == '\0')
            return fd;
        dir = fd;
        path = rest;
    }
}

NOINLINE int sys_open_beneath(int root, const char *path, int flags,
                              bool cached, bool walk)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    long fd;

    if (cached)
        how.resolve |= RESOLVE_CACHED;
    if (!walk) {
        fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
        if (fd >= 0)
            return (int)fd;
        /* -EAGAIN without RESOLVE_CACHED: something was renamed while ".."
         * or a link was looked at; the caller may try again. */
        if (cached && errno == EINVAL)
            return -EAGAIN;
        /* An old kernel, or a container's filter that answers EPERM for calls
         * it does not know. */
        if (errno != ENOSYS && errno != EPERM)
            return -errno;
    }
    return cached ? -EAGAIN : open_walk(root, path, flags | O_CLOEXEC);
}

NOINLINE int sys_open(const char *path, int flags)
{
    return answer(open(path, flags | O_CLOEXEC));
}

NOINLINE int sys_fstat(int fd, struct stat *st)
{
    return answer(fstat(fd, st));
}

NOINLINE ssize_t sys_read(int fd, void *buf, size_t n)
{
    ssize_t got;

    do {
        got = read(fd, buf, n);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

NOINLINE int sys_close(int fd)
{
    return answer(close(fd));
}

NOINLINE int sys_shutdown(int fd, int how)
{
    return answer(shutdown(fd, how));
}

NOINLINE void sys_want_files(size_t n)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    /* A connection and the file it sends, and some for everything else. */
    n = 2 * n + 64;
    if (limit.rlim_cur >= n)
        return;
    limit.rlim_cur = limit.rlim_max < n ? limit.rlim_max : n;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- sockets ------------------------------------------------------------- */

/* Less than a millisecond is rounded up: 0 would mean for ever. */
NOINLINE int sys_timeout(int fd, int option, int64_t timeout)
{
    int64_t ns = timeout > 1000000 ? timeout : 1000000;
    struct timeval tv = { .tv_sec = ns / NS_PER_SEC,
                          .tv_usec = ns % NS_PER_SEC / 1000 };

    return answer(setsockopt(fd, SOL_SOCKET, option, &tv, sizeof(tv)));
}

NOINLINE int sys_no_delay(int fd)
{
    int on = 1;

    return answer(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
}

/* All is set before it listens: the kernel accepts without us, and copies what
 * it finds then. */
static int listen_at(const struct addrinfo *info, int64_t timeout)
{
    int on = 1;
    int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC,
                    info->ai_protocol);

    if (fd < 0)
        return -errno;
    if (sys_timeout(fd, SO_RCVTIMEO, timeout) == 0 &&
        sys_timeout(fd, SO_SNDTIMEO, timeout) == 0 && sys_no_delay(fd) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, 4096) == 0)
        return fd;
    on = -errno;
    close(fd);
    return on;
}

NOINLINE int sys_listen(const char *host, const char *service, int64_t timeout)
{
    struct addrinfo hints = {
        .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
    };
    struct addrinfo *info;
    int fd;

    if (getaddrinfo(host, service, &hints, &info) != 0)
        return -EINVAL;
    fd = listen_at(info, timeout);
    freeaddrinfo(info);
    return fd;
}

NOINLINE int sys_port(int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);

    if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
        return -errno;
    return sa.ss_family == AF_INET6
               ? ntohs(((struct sockaddr_in6 *)&sa)->sin6_port)
               : ntohs(((struct sockaddr_in *)&sa)->sin_port);
}

/* ---- the clock ----------------------------------------------------------- */

int64_t sys_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}
