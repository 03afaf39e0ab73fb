#include "netpoll/os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sched/fatal.h"

#ifdef WEFT_SIM
#include "netpoll/net_sim.h"
#include "sched/seam.h"
#endif

int weft__fd_event(void)
{
    int saved = errno;
    int fd;

#ifdef WEFT_SIM
    if (weft__seam != NULL && weft__seam->fault != NULL) {
        int status = weft__seam->fault(WEFT__FAULT_FD);

        if (status != 0)
            return status;
    }
#endif
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        fd = -errno;
    errno = saved;
    return fd;
}

void weft__fd_signal(int fd)
{
    int saved = errno;
    uint64_t one = 1;
    ssize_t done;

    do {
        done = write(fd, &one, sizeof(one));
    } while (done < 0 && errno == EINTR);
    /* EAGAIN: its count is at the maximum, and so it is readable. */
    WEFT__CHECK(done == sizeof(one) || errno == EAGAIN,
                "someone closed an eventfd of weft's");
    errno = saved;
}

void weft__fd_drain(int fd)
{
    int saved = errno;
    uint64_t count;
    ssize_t done;

    do {
        done = read(fd, &count, sizeof(count));
    } while (done < 0 && errno == EINTR);
    WEFT__CHECK(done == sizeof(count) || errno == EAGAIN,
                "someone closed an eventfd of weft's");
    errno = saved;
}

#ifdef WEFT_SIM
/* Those in memory, if there are any: how many have something. Nobody waits for
 * them here. */
static int poll_memory(struct pollfd *fds, nfds_t n, bool *any)
{
    int ready = 0;

    *any = false;
    for (nfds_t i = 0; i < n; i++) {
        if (!weft__net_is(fds[i].fd))
            continue;
        *any = true;
        fds[i].revents = weft__net_ask(fds[i].fd, fds[i].events);
        ready += fds[i].revents != 0;
    }
    for (nfds_t i = 0; *any && i < n; i++)
        if (!weft__net_is(fds[i].fd))
            fds[i].revents = 0;
    return ready;
}
#endif

/*
 * By select(2)
 *
 * ppoll(2) refuses more descriptors than RLIMIT_NOFILE allows, and a sandbox
 * may have lowered that to 0 since they were opened. No new descriptor is to be
 * had then, an epoll set neither; but select(2) does not look at the limit. It
 * cannot tell all that poll(2) can: a hang-up comes as POLLIN, and what asks
 * for neither POLLIN, POLLOUT nor POLLPRI is never ready.
 */
enum {
    SELECT_BITS = 8 * sizeof(unsigned long),
    SELECT_FEW = 1024 / SELECT_BITS, /* words on the stack */
    SELECT_SETS = 3
};

static const struct {
    short asked;
    short told;
} select_sets[SELECT_SETS] = {
    { POLLIN | POLLRDNORM, POLLIN },
    { POLLOUT | POLLWRNORM, POLLOUT },
    { POLLPRI, POLLPRI },
};

/* Those that are closed; the highest of the others. */
static int select_look(struct pollfd *fds, nfds_t n, int *top)
{
    int closed = 0;

    *top = -1;
    for (nfds_t i = 0; i < n; i++) {
        fds[i].revents = 0;
        if (fds[i].fd < 0)
            continue;
        if (fcntl(fds[i].fd, F_GETFD) < 0) {
            fds[i].revents = POLLNVAL;
            closed++;
        } else if (fds[i].fd > *top) {
            *top = fds[i].fd;
        }
    }
    return closed;
}

/* `words` are those of one set. -1: see errno. */
static int select_once(struct pollfd *fds, nfds_t n, int top,
                       unsigned long *sets, size_t words,
                       const struct timespec *timeout, const sigset_t *mask)
{
    fd_set *set[SELECT_SETS];
    int ready = 0;

    for (int k = 0; k < SELECT_SETS; k++) {
        set[k] = (fd_set *)(void *)&sets[(size_t)k * words];
        for (nfds_t i = 0; i < n; i++)
            if (fds[i].fd >= 0 && fds[i].revents == 0 &&
                fds[i].events & select_sets[k].asked)
                sets[(size_t)k * words + (size_t)fds[i].fd / SELECT_BITS] |=
                    1ul << fds[i].fd % SELECT_BITS;
    }
    if (pselect(top + 1, set[0], set[1], set[2], timeout, mask) < 0)
        return -1;
    for (nfds_t i = 0; i < n; i++) {
        for (int k = 0; k < SELECT_SETS; k++)
            if (fds[i].fd >= 0 && fds[i].revents != POLLNVAL &&
                fds[i].events & select_sets[k].asked &&
                sets[(size_t)k * words + (size_t)fds[i].fd / SELECT_BITS] &
                    1ul << fds[i].fd % SELECT_BITS)
                fds[i].revents |= select_sets[k].told;
        ready += fds[i].revents != 0;
    }
    return ready;
}

static __attribute__((noinline)) int
poll_by_select(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
               const sigset_t *mask)
{
    static const struct timespec none = { 0, 0 };
    unsigned long few[SELECT_SETS * SELECT_FEW];
    unsigned long *sets = few;
    size_t words = SELECT_FEW;
    int top, ready;

    /* One that is closed ends the wait. */
    if (select_look(fds, n, &top) > 0)
        timeout = &none;
    if (top >= SELECT_FEW * SELECT_BITS) {
        words = (size_t)top / SELECT_BITS + 1;
        sets = malloc(SELECT_SETS * words * sizeof(*sets));
    }
    if (!sets) {
        /* As if a signal had come; whoever waits comes again. */
        errno = EINTR;
        return -1;
    }
    memset(sets, 0, SELECT_SETS * words * sizeof(*sets));
    ready = select_once(fds, n, top, sets, words, timeout, mask);
    /* Closed between the look and the call: look again. */
    if (ready < 0 && errno == EBADF)
        errno = EINTR;
    if (sets != few)
        free(sets);
    return ready;
}

int weft__fd_poll(struct pollfd *fds, nfds_t n, int64_t timeout_ns)
{
    return weft__fd_poll_open(fds, n, timeout_ns, NULL);
}

int weft__fd_poll_open(struct pollfd *fds, nfds_t n, int64_t timeout_ns,
                       const sigset_t *mask)
{
#ifdef WEFT_SIM
    bool any;
    int in_memory = poll_memory(fds, n, &any);

    if (any)
        return in_memory;
#endif
    int saved = errno;
    struct timespec timeout, *limit = NULL;
    int ready;

    if (timeout_ns >= 0) {
        timeout.tv_sec = timeout_ns / 1000000000;
        timeout.tv_nsec = timeout_ns % 1000000000;
        limit = &timeout;
    }
    ready = ppoll(fds, n, limit, mask);
    if (ready < 0 && errno == EINVAL)
        ready = poll_by_select(fds, n, limit, mask);
    if (ready < 0) {
        ready = -errno;
        WEFT__CHECK(ready == -EINTR || ready == -ENOMEM,
                    "the kernel refuses to poll");
    }
    errno = saved;
    return ready;
}

void weft__fd_close(int fd)
{
    int saved = errno;

#ifdef WEFT_SIM
    if (weft__net_is(fd)) {
        (void)weft__net_close(fd);
        return;
    }
#endif
    /* Linux frees the number whatever the answer is. */
    (void)close(fd);
    errno = saved;
}

/* --- Reading and writing ---------------------------------------------------- */

ssize_t weft__fd_rw(int fd, bool write, const struct iovec *iov, int n)
{
    int saved = errno;
    ssize_t done;

#ifdef WEFT_SIM
    if (weft__net_is(fd))
        return weft__net_rw(fd, write, iov, n);
#endif
    do {
        done = write ? writev(fd, iov, n) : readv(fd, iov, n);
    } while (done < 0 && errno == EINTR);
    if (done < 0)
        done = -errno;
    errno = saved;
    return done;
}

ssize_t weft__fd_rw_nowait(int fd, bool write, const struct iovec *iov, int n)
{
#ifdef WEFT_SIM
    /* A run shall not depend on what is in the page cache. */
    if (weft__seam != NULL && weft__seam->draw != NULL)
        return weft__fd_rw(fd, write, iov, n);
#endif
    int saved = errno;
    ssize_t done;

    do {
        done = write ? pwritev2(fd, iov, n, -1, RWF_NOWAIT)
                     : preadv2(fd, iov, n, -1, RWF_NOWAIT);
    } while (done < 0 && errno == EINTR);
    if (done < 0)
        done = errno == ENOSYS ? -EOPNOTSUPP : -errno;
    errno = saved;
    return done;
}

int weft__fd_terminal(int fd, bool write)
{
    int saved = errno;
    char path[32];
    int number;
    int again = -ENOTTY;

    if (isatty(fd) && ioctl(fd, TIOCGPTN, &number) != 0) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        again = open(path, (write ? O_WRONLY : O_RDONLY) | O_NONBLOCK |
                               O_NOCTTY | O_CLOEXEC);
        if (again < 0)
            again = -errno;
    }
    errno = saved;
    return again;
}

bool weft__fd_is_dir(int fd)
{
    int saved = errno;
    struct stat st;
    bool dir = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);

    errno = saved;
    return dir;
}

void weft__sigpipe_hide(struct weft__sigpipe *saved)
{
    sigset_t pipe, pending;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigemptyset(&pending);
    sigpending(&pending);
    saved->pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe, &saved->mask);
}

void weft__sigpipe_show(const struct weft__sigpipe *saved, bool broken)
{
    static const struct timespec none = { 0, 0 };
    int errno_before = errno;
    sigset_t pipe;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    if (broken && !saved->pending)
        (void)sigtimedwait(&pipe, NULL, &none);
    pthread_sigmask(SIG_SETMASK, &saved->mask, NULL);
    errno = errno_before;
}
