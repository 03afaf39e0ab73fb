/*
 * Readiness without taking anything.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <weft/io.h>

#include "netpoll/os.h"
#include "runtime/io.h"
#include "sched/seam.h"
#include "sched/sched.h"
#include "sched/worker.h"

enum {
    POLL_MAX = 65536,
    POLL_INLINE = 4 /* descriptors that need no memory but the stack */
};

#define POLL_EVENTS (POLLIN | POLLOUT | POLLPRI | POLLRDHUP)

/* Ask all: how many have something. A closed one has POLLNVAL. The last is the
 * set of those in blocking mode, or none: it is asked first, so that what comes
 * after they were asked makes it ready again. What it says, they say better; if
 * someone else has taken that meanwhile, it is nothing. */
static int ask(struct weft__fd_wait *waits, struct pollfd *fds, nfds_t n)
{
    int ready = 0;

    if (fds[n - 1].fd >= 0)
        (void)weft__fd_wait_ask(&waits[n - 1]);
    for (nfds_t i = 0; i < n - 1; i++) {
        int found;

        fds[i].revents = 0;
        if (fds[i].fd < 0)
            continue;
        found = weft__fd_wait_ask(&waits[i]);
        fds[i].revents = found == -EBADF ? POLLNVAL : (short)found;
        ready += fds[i].revents != 0;
    }
    return ready;
}

/* Put a node on each list: false when one has become ready. */
static bool publish(struct weft__fd_wait *waits, const struct pollfd *fds,
                    nfds_t n, uint64_t gen)
{
    for (nfds_t i = 0; i < n; i++) {
        bool published;

        if (fds[i].fd < 0)
            continue;
        waits[i].in.gen = waits[i].out.gen = waits[i].odd.gen = gen;
        weft__lock_acquire(weft__fd_wait_lock(&waits[i]));
        published = weft__fd_wait_publish(&waits[i]);
        weft__lock_release(weft__fd_wait_lock(&waits[i]));
        if (!published)
            return false;
    }
    return true;
}

static void leave(struct weft__fd_wait *waits, const struct pollfd *fds,
                  nfds_t n)
{
    for (nfds_t i = 0; i < n; i++)
        if (fds[i].fd >= 0)
            weft__fd_wait_leave(&waits[i]);
}

/*
 * Ask, and if nothing is there wait and ask again. The wait is opened before
 * the nodes are published, one list after the other: nothing is taken, so it
 * does no harm that the first may be claimed while the last is not there yet.
 */
static int wait_and_ask(struct weft__fd_wait *waits, struct pollfd *fds,
                        nfds_t n, struct weft__fiber *self, int64_t deadline)
{
    int64_t until = deadline;

    /* Once: one who is woken for nothing has been idle all the same. */
    for (nfds_t i = 0; i < n; i++)
        if (fds[i].fd >= 0)
            until = weft__wait_clip(waits[i].use.desc, until);
    for (;;) {
        enum weft__cause cause = WEFT__CAUSE_OK;
        int ready = ask(waits, fds, n);
        int status;
        uint64_t gen;

        if (ready > 0)
            return ready;
        status = weft__wait_refused(self, until);
        if (status != 0)
            return status;

        gen = weft__park_open_until(self, 0, "descriptors", fds, until);
        weft__outside_begin(self);
        if (publish(waits, fds, n, gen))
            cause = weft__park(self);
        else
            (void)weft__park_revoke(self, &cause);
        weft__outside_end(self);
        leave(waits, fds, n);
        if (cause != WEFT__CAUSE_OK && cause != WEFT__CAUSE_CLOSED)
            return weft__cause_code(cause);
    }
}

/* The first `begun` waits are over. */
static void end(struct weft__fd_wait *waits, const struct pollfd *fds,
                nfds_t begun)
{
    for (nfds_t i = 0; i < begun; i++)
        if (fds[i].fd >= 0)
            weft__fd_wait_end(&waits[i]);
}

/*
 * Descriptors in blocking mode
 *
 * A loop would switch their mode for a moment, which others share. So they
 * come into an epoll set of their own, which is a descriptor, too, and that
 * one is waited for: the last of `fds`, where the caller has left a place.
 */
int weft__poll_aside(struct pollfd *set, const struct pollfd *fds,
                     nfds_t which)
{
    short events = fds[which].events;
    int status;

#ifdef WEFT_SIM
    /* No run depends on the outside. */
    if (weft__seam != NULL)
        return -ENOTSUP;
#endif
    if (set->fd < 0) {
        status = weft__fd_epoll_set();
        if (status < 0)
            return status;
        status = weft__io_made(status, WEFT__KIND_POLLED);
        if (status < 0)
            return status;
        *set = (struct pollfd){ .fd = status, .events = POLLIN };
    }
    /* It may be named twice. */
    for (nfds_t i = 0; i < which; i++)
        if (fds[i].fd == fds[which].fd)
            events |= fds[i].events;
    status = weft__fd_epoll_put(set->fd, fds[which].fd, events);
    /* The user's share of watches is used up: as for one that a loop takes. */
    return status == -ENOSPC ? -ENOMEM : status;
}

/* The last of the n is the set. */
static int poll_waits(struct weft__fd_wait *waits, struct pollfd *fds,
                      nfds_t n, struct weft__fiber *self, int64_t deadline)
{
    struct pollfd *set = &fds[n - 1];
    int status = 0;
    nfds_t begun = 0;

    /* To begin one may take a while, in which another is closed. */
    for (nfds_t i = 0; i < n - 1; i++)
        if (fds[i].fd >= 0)
            weft__fd_wait_note(&waits[i], fds[i].fd);
    for (; begun < n && status == 0; begun++) {
        if (fds[begun].fd < 0)
            continue;
        if (begun == n - 1)
            weft__fd_wait_note(&waits[begun], set->fd);
        status = weft__fd_wait_begin(&waits[begun], fds[begun].fd,
                                     fds[begun].events, self);
        if (status == 0 && waits[begun].blocking) {
            status = weft__poll_aside(set, fds, begun);
            if (status != 0)
                weft__fd_wait_end(&waits[begun]);
        }
        if (status != 0)
            break;
    }
    if (status == 0) {
        status = wait_and_ask(waits, fds, n, self, deadline);
    } else if (status == -EBADF) {
        fds[begun].revents = POLLNVAL;
        status = 1;
    }
    end(waits, fds, begun);
    if (set->fd >= 0)
        weft_close(set->fd);
    return status;
}

static int poll_all(struct pollfd *fds, nfds_t n, struct weft__fiber *self,
                    int64_t deadline)
{
    struct weft__fd_wait few[POLL_INLINE + 1];
    struct pollfd few_fds[POLL_INLINE + 1];
    struct weft__fd_wait *waits = few;
    struct pollfd *all = few_fds;
    int ready;

    if (n > POLL_INLINE) {
        waits = malloc((n + 1) * (sizeof(*waits) + sizeof(*all)));
        if (!waits)
            return -ENOMEM;
        all = (struct pollfd *)(void *)&waits[n + 1];
    }
    for (nfds_t i = 0; i < n; i++)
        all[i] = fds[i];
    all[n] = (struct pollfd){ .fd = -1 };
    ready = poll_waits(waits, all, n + 1, self, deadline);
    for (nfds_t i = 0; ready > 0 && i < n; i++)
        fds[i].revents = all[i].revents;
    if (waits != few)
        free(waits);
    return ready;
}

/* The caller may take urgent data by any call. */
static void note_urgent(const struct pollfd *fds, nfds_t n)
{
    for (nfds_t i = 0; i < n; i++) {
        struct weft__use use;

        if (fds[i].fd < 0 || !(fds[i].revents & POLLPRI) ||
            weft__desc_use(fds[i].fd, &use) != 0)
            continue;
        /* It may be another's by now. */
        if (weft__fd_ask(fds[i].fd, POLLPRI) & POLLPRI)
            weft__wait_urgent(&use);
        weft__desc_done(&use);
    }
}

int weft_poll_until(struct pollfd *fds, nfds_t n, weft_time_t deadline)
{
    struct weft__fiber *self = weft__caller();
    int ready;

    if ((!fds && n > 0) || n > POLL_MAX)
        return -EINVAL;
    if (weft__canceled_on_entry(self, deadline))
        return -ECANCELED;
    ready = weft__fd_look(fds, n);
    if (ready == 0)
        ready = weft__wait_refused(self, deadline);
    if (ready == 0)
        ready = poll_all(fds, n, self, deadline);
    if (ready > 0)
        note_urgent(fds, n);
    weft__io_over(self, deadline);
    return ready;
}

int weft_poll(struct pollfd *fds, nfds_t n)
{
    return weft_poll_until(fds, n, WEFT_FOREVER);
}

int weft_fd_wait_until(int fd, int events, weft_time_t deadline)
{
    struct pollfd one = { .fd = fd, .events = (short)events };
    int ready;

    if (fd < 0)
        return -EBADF;
    if (!(events & POLL_EVENTS) || events & ~POLL_EVENTS)
        return -EINVAL;
    ready = weft_poll_until(&one, 1, deadline);
    if (ready <= 0)
        return ready;
    return one.revents & POLLNVAL ? -EBADF : one.revents;
}

int weft_fd_wait(int fd, int events)
{
    return weft_fd_wait_until(fd, events, WEFT_FOREVER);
}
