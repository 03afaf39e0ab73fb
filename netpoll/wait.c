#include "netpoll/wait.h"

#include <errno.h>

#include "netpoll/os.h"
#include "netpoll/poller.h"
#include "sched/fatal.h"
#include "sched/os.h"
#include "sched/sched.h"
#include "sched/worker.h"

enum {
    ERROR_PAUSE = 1000000, /* ns before a handle is started again; doubled */
    ERROR_DOUBLINGS = 6
};

static struct weft__waitlist *list_of(struct weft__desc *d,
                                      enum weft__dir dir)
{
    return dir == WEFT__IN ? &d->in : dir == WEFT__OUT ? &d->out : &d->odd;
}

/* Nobody waits in this direction any more, if that is so. The lock is held.
 * acq_rel in the locked operations of this file: what an event or another
 * call did before it set a bit is seen by who finds the bit. */
static void waiters_settle(struct weft__desc *d, enum weft__dir dir)
{
    if (!list_of(d, dir)->first)
        weft__fetch_and(&d->flags, ~WEFT__FD_WAITERS(dir), ACQ_REL);
}

/* Claim the first waiter of a direction: NULL if there is none. */
static struct weft__fiber *take_first(struct weft__desc *d,
                                      enum weft__dir dir)
{
    struct weft__waiter *waiter;
    struct weft__fiber *fiber = NULL;

    weft__lock_acquire(&d->lock);
    waiter = weft__waitlist_claim(list_of(d, dir), WEFT__CAUSE_OK);
    if (waiter)
        fiber = waiter->fiber;
    waiters_settle(d, dir);
    weft__lock_release(&d->lock);
    return fiber;
}

/* --- Events ----------------------------------------------------------------- */

/* Set READY and wake the first waiter; after an error event all of them, since
 * nothing is watched until one of them waits again. */
static int event_told(struct weft__desc *d, enum weft__dir dir, uint32_t set,
                      struct weft__batch *batch)
{
    struct weft__fiber *fiber;
    int woken = 0;

    if (!(weft__fetch_or(&d->flags, set | WEFT__FD_READY(dir), ACQ_REL) &
          WEFT__FD_WAITERS(dir)))
        return 0;
    while ((fiber = take_first(d, dir))) {
        weft__batch_add(batch, fiber);
        woken++;
        if (!(set & WEFT__FD_STOPPED))
            break;
    }
    return woken;
}

/* Count it, and wake all of the odd. */
static int event_odd(struct weft__desc *d, struct weft__batch *batch)
{
    struct weft__fiber *fiber;
    int woken = 0;

    if (!(weft__fetch_add(&d->flags, WEFT__FD_ODD_ONE, ACQ_REL) &
          WEFT__FD_WAITERS(WEFT__ODD)))
        return 0;
    while ((fiber = take_first(d, WEFT__ODD))) {
        weft__batch_add(batch, fiber);
        woken++;
    }
    return woken;
}

static inline int event_in(struct weft__desc *d, enum weft__dir dir,
                           uint32_t set, struct weft__batch *batch)
{
    /* acquire: as above. Nothing new and nobody there, as for most sockets'
     * room to write: whoever clears READY from here on tries after that. */
    uint32_t flags = weft__load(&d->flags, ACQUIRE);

    if (flags & WEFT__FD_READY(dir) && !(flags & WEFT__FD_WAITERS(dir)) &&
        !(set & ~flags))
        return 0;
    return event_told(d, dir, set, batch);
}

/* libuv tells of a hang-up that comes beside room to write as of the room alone:
 * the master of a terminal whose other end was closed, a listener that was shut
 * down. So the kernel is asked; a hang-up that it forgets again does no harm. A
 * socket of weft's that is only read and written is connected, and its hang-up
 * comes with an end to read: no look each time there is room. Beside bytes it
 * keeps one to itself, too, of a pipe whose writer went (a socket's comes with
 * an end, which it tells): readers find the end behind the bytes, and only who
 * waits for no bytes has to be told. */
static bool hung_up(struct weft__desc *d, unsigned events)
{
    /* relaxed: who accepts or polls asks the kernel after it has set its flag. */
    uint32_t flags = weft__load(&d->flags, RELAXED);
    enum weft__kind kind = weft__load(&d->kind, RELAXED);
    bool socket = kind == WEFT__KIND_STREAM || kind == WEFT__KIND_SOCKET;

    if (events & ~WEFT__EVENT_OUT) {
        if (socket || !(flags & WEFT__FD_ODD))
            return false;
    } else if (socket && flags & WEFT__FD_MADE &&
               !(flags & (WEFT__FD_LISTENER | WEFT__FD_POLLED))) {
        return false;
    }
    return weft__fd_ask(d->fd, 0) & POLLHUP;
}

int weft__wait_event(struct weft__poller *poller, int fd, unsigned events,
                     struct weft__batch *batch)
{
    struct weft__desc *d = weft__desc_look(fd);
    uint32_t set = 0;
    int woken = 0;

    /* Of a file that is no longer watched here. acquire: pairs with the
     * release of who registered it. */
    if (weft__load(&d->home, ACQUIRE) != poller)
        return 0;

    if (!(events & (WEFT__EVENT_HANGUP | WEFT__EVENT_ERROR)) &&
        hung_up(d, events))
        events |= WEFT__EVENT_HANGUP;
    if (events & WEFT__EVENT_HANGUP)
        set |= WEFT__FD_HANGUP;
    if (events & WEFT__EVENT_URGENT)
        set |= WEFT__FD_URGENT;
    if (events & WEFT__EVENT_ERROR)
        set |= WEFT__FD_HANGUP | WEFT__FD_STOPPED;
    if (events & ~WEFT__EVENT_OUT)
        woken += event_in(d, WEFT__IN, set, batch);
    if (events & (WEFT__EVENT_OUT | WEFT__EVENT_HANGUP | WEFT__EVENT_ERROR))
        woken += event_in(d, WEFT__OUT, set, batch);
    if (events & (WEFT__EVENT_HANGUP | WEFT__EVENT_URGENT | WEFT__EVENT_ERROR))
        woken += event_odd(d, batch);
    return woken;
}

void weft__wait_orphan(struct weft__poller *poller, int fd)
{
    struct weft__desc *d = weft__desc_look(fd);

    if (!d || weft__load(&d->home, RELAXED) != poller)
        return;
    weft__store(&d->home, (void *)NULL, RELEASE);
    /* Nothing is known of it when the next runtime begins. */
    weft__fetch_or(&d->flags, WEFT__FD_READY_ALL, RELAXED);
}

/* --- One call, one direction ------------------------------------------------ */

bool weft__wait_try(struct weft__use *use, enum weft__dir dir)
{
    struct weft__desc *d = use->desc;
    /* acquire: with an event's release. */
    uint32_t flags = weft__load(&d->flags, ACQUIRE);

    if (!(flags & WEFT__FD_READY(dir)) &&
        !(dir == WEFT__IN && flags & WEFT__FD_HANGUP))
        return false;
    /* Locked, so that it is done before the read begins; see 2. */
    if (dir == WEFT__IN)
        weft__fetch_and(&d->flags, ~WEFT__FD_READY(dir), SEQ_CST);
    return true;
}

bool weft__wait_full(struct weft__use *use)
{
    return weft__fetch_and(&use->desc->flags, ~WEFT__FD_READY(WEFT__OUT),
                           SEQ_CST) &
           WEFT__FD_READY(WEFT__OUT);
}

void weft__wait_again(struct weft__use *use, enum weft__dir dir)
{
    struct weft__fiber *fiber = NULL;

    if (weft__fetch_or(&use->desc->flags, WEFT__FD_READY(dir), ACQ_REL) &
        WEFT__FD_WAITERS(dir))
        fiber = take_first(use->desc, dir);
    if (fiber)
        weft__ready(fiber);
}

void weft__wait_urgent(struct weft__use *use)
{
    if (!(weft__fetch_or(&use->desc->flags, WEFT__FD_URGENT, ACQ_REL) &
          WEFT__FD_URGENT))
        weft__wait_again(use, WEFT__IN);
}

int64_t weft__wait_clip(struct weft__desc *d, int64_t deadline)
{
    /* relaxed: see weft__desc_limit(). */
    int64_t idle = weft__load(&d->idle, RELAXED);
    int64_t expires = weft__load(&d->expires, RELAXED);

    if (idle > 0) {
        int64_t now = weft__os_now();
        /* A limit of WEFT_FOREVER is none. */
        int64_t until = idle < INT64_MAX - now ? now + idle : INT64_MAX;

        deadline = until < deadline ? until : deadline;
    }
    if (expires > 0 && expires < deadline)
        deadline = expires;
    return deadline;
}

/* --- Registration ------------------------------------------------------------ */

struct watching {
    struct weft__desc *desc;
    int status;
};

/* On the base context of a worker: its loop takes the descriptor, unless
 * another's has. */
static void watch_here(void *arg)
{
    struct watching *w = arg;
    struct weft__desc *d = w->desc;
    struct weft__poller *here = weft__worker_self()->poller;
    void *home = NULL;
    uint32_t flags;

    /* First the claim, so that one loop has it; what waits for it meanwhile
     * is told by the kernel's first look at the registration. acquire, release:
     * the record and its home go together. seq_cst: then the look at the flags,
     * see weft__wait_switch(). */
    if (!weft__cas(&d->home, &home, (void *)here, SEQ_CST, ACQUIRE)) {
        if (!(weft__load(&d->flags, RELAXED) & WEFT__FD_STOPPED))
            return;
        here = home;
    }
    flags = weft__fetch_and(&d->flags, ~WEFT__FD_STOPPED, SEQ_CST);
    w->status = weft__poller_add(
        here, d->fd, !(flags & (WEFT__FD_MADE | WEFT__FD_SWITCHED)));
    if (w->status == 0)
        return;
    weft__store(&d->home, (void *)NULL, RELEASE);
    /* Who relied on it shall find out by itself. */
    weft__fetch_or(&d->flags, WEFT__FD_READY_ALL, ACQ_REL);
    weft__fetch_add(&d->flags, WEFT__FD_ODD_ONE, ACQ_REL);
    weft__desc_wake_all(d, WEFT__CAUSE_OK);
}

int weft__wait_switch(struct weft__use *use)
{
    struct weft__desc *d = use->desc;

    /* seq_cst: the flag, then the look for a loop. Of us and of one that takes
     * the descriptor into a loop, one sees the other; and of a thread that is
     * no worker and the poller's end. */
    if (!(weft__fetch_or(&d->flags, WEFT__FD_SWITCHED, SEQ_CST) &
          WEFT__FD_SWITCHED)) {
        bool visit = weft__visit_begin();
        struct weft__poller *home = weft__load(&d->home, SEQ_CST);

        /* Under way, it may put the old mode back: only before we go on. */
        if (home)
            weft__poller_settle(home);
        weft__visit_end(visit);
    }
    return weft__fd_nonblocking(d->fd, true);
}

int weft__wait_pause(struct weft__fiber *self, int64_t pause,
                     int64_t deadline)
{
    int64_t until = weft__os_now() + pause;
    bool late = deadline <= until;
    enum weft__cause cause;

    weft__park_open_until(self, 0, "a pause before the next try", NULL,
                          late ? deadline : until);
    weft__outside_begin(self);
    cause = weft__park(self);
    weft__outside_end(self);
    if (cause == WEFT__CAUSE_TIMEOUT && !late)
        return 0;
    return weft__cause_code(cause);
}

/* An error event that no call could fetch: libuv would report it for ever. */
static __attribute__((noinline)) int error_pause(struct weft__desc *d,
                                                 struct weft__fiber *self,
                                                 int64_t deadline)
{
    /* relaxed: how long a pause is, is no one's life. */
    uint32_t errors = weft__load(&d->errors, RELAXED);

    if (errors < ERROR_DOUBLINGS)
        weft__store(&d->errors, errors + 1, RELAXED);
    if (errors == 0)
        return 0;
    return weft__wait_pause(self, (int64_t)ERROR_PAUSE << (errors - 1),
                            deadline);
}

#ifdef WEFT_DEBUG
/* Is it still the file that was registered? Only the debug build pays for the
 * look: weft made it, so who closes it tells weft. */
static void same_file(struct weft__desc *d)
{
    uint64_t device, inode;

    weft__fd_identity(d->fd, &device, &inode);
    weft__lock_acquire(&d->lock);
    /* relaxed: under the lock. */
    if (weft__load(&d->device, RELAXED) == 0 &&
        weft__load(&d->inode, RELAXED) == 0) {
        weft__store(&d->device, device, RELAXED);
        weft__store(&d->inode, inode, RELAXED);
    }
    WEFT__CHECK(weft__load(&d->device, RELAXED) == device &&
                    weft__load(&d->inode, RELAXED) == inode,
                "a descriptor of weft's was closed and its number used again "
                "without weft_fd_forget()");
    weft__lock_release(&d->lock);
}
#else
#define same_file(d) ((void)0)
#endif

/* See to it that events of the descriptor reach a loop. */
static int watch(struct weft__desc *d, struct weft__fiber *self)
{
    /* acquire: the home that it names. */
    struct weft__poller *home = weft__load(&d->home, ACQUIRE);
    uint32_t flags = weft__load(&d->flags, RELAXED);
    struct watching w = { .desc = d };
    int status;

    if (home && !(flags & WEFT__FD_STOPPED)) {
        if (flags & WEFT__FD_MADE) {
            same_file(d);
            return 0;
        }
        /* It may have been closed and made again by those who know nothing
         * of weft: an edge that never comes would hang its next reader. */
        status = weft__poller_rearm(home, d->fd);
        if (status != -ENOENT)
            return status;
        weft__on_base(self, weft__desc_unwatch, d);
    }
    weft__on_base(self, watch_here, &w);
    return w.status;
}

/* --- The wait ---------------------------------------------------------------- */

/* Put a waiter on its list unless there is something to try (of the odd: unless
 * the count has changed), or nothing is watched any more. The lock is held. */
static bool publish(struct weft__desc *d, enum weft__dir dir,
                    struct weft__waiter *waiter, uint32_t odd_count)
{
    uint32_t flags = weft__fetch_or(&d->flags, WEFT__FD_WAITERS(dir), ACQ_REL);
    bool news = dir == WEFT__ODD ? WEFT__FD_ODD_COUNT(flags) != odd_count
                                 : flags & WEFT__FD_READY(dir);

    if (news || flags & WEFT__FD_STOPPED) {
        waiters_settle(d, dir);
        return false;
    }
    weft__waitlist_push(list_of(d, dir), waiter);
    return true;
}

int weft__wait(struct weft__use *use, enum weft__dir dir,
               struct weft__fiber *self, int64_t deadline, const char *what)
{
    struct weft__desc *d = use->desc;
    struct weft__waiter waiter = { .fiber = self };
    enum weft__cause cause;
    int status;

    deadline = weft__wait_clip(d, deadline);
    status = weft__wait_refused(self, deadline);
    if (status == 0 && weft__load(&d->flags, RELAXED) & WEFT__FD_STOPPED)
        status = error_pause(d, self, deadline);
    if (status == 0)
        status = watch(d, self);
    if (status != 0)
        return status;
    /* No edge follows a hang-up: what is there is asked for. An error is not:
     * the handle is watched again, so it is told of, and one that no call can
     * fetch would be found here for ever. relaxed: a hang-up that comes now
     * sets READY, too. */
    if (dir == WEFT__IN &&
        weft__load(&d->flags, RELAXED) & WEFT__FD_HANGUP &&
        weft__fd_ask(d->fd, POLLIN) & ~POLLERR)
        return 1;

    weft__lock_acquire(&d->lock);
    if (!weft__desc_current(use)) {
        weft__lock_release(&d->lock);
        return -EBADF;
    }
    if (!publish(d, dir, &waiter, 0)) {
        weft__lock_release(&d->lock);
        return 0;
    }
    waiter.gen = weft__park_open_until(self, 0, what,
                                       (void *)(intptr_t)d->fd, deadline);
    weft__lock_release(&d->lock);

    weft__outside_begin(self);
    cause = weft__park(self);
    weft__outside_end(self);
    if (cause == WEFT__CAUSE_OK)
        return 0;
    if (cause == WEFT__CAUSE_CLOSED)
        return -EBADF;
    weft__lock_acquire(&d->lock);
    weft__waitlist_remove(list_of(d, dir), &waiter);
    waiters_settle(d, dir);
    weft__lock_release(&d->lock);
    return weft__cause_code(cause);
}

/* --- Several at once --------------------------------------------------------- */

#define WANTS_IN (POLLIN | POLLRDNORM)

/* What comes with room to write: its band, too, on sockets that have one. */
static short wants_out(const struct weft__fd_wait *w)
{
    /* relaxed: found out when the wait began; one that changes is a number that
     * is another's, which is looked at elsewhere. */
    bool band = weft__load(&w->use.desc->kind, RELAXED) == WEFT__KIND_SOCKET;

    return POLLOUT | POLLWRNORM | (band ? POLLWRBAND : 0);
}

/* Nothing at all is the wait for an error or a hang-up. */
static bool wants(const struct weft__fd_wait *w, enum weft__dir dir)
{
    short out = wants_out(w);

    switch (dir) {
    case WEFT__IN:
        return w->events & WANTS_IN;
    case WEFT__OUT:
        return w->events & out;
    case WEFT__ODD:
        break;
    }
    return w->events & ~(WANTS_IN | out) || w->events == 0;
}

void weft__fd_wait_note(struct weft__fd_wait *w, int fd)
{
    w->use.gen = weft__desc_gen(fd);
}

int weft__fd_wait_begin(struct weft__fd_wait *w, int fd, short events,
                        struct weft__fiber *self)
{
    uint64_t noted = w->use.gen;
    uint32_t marks;
    int status;

    *w = (struct weft__fd_wait){ .events = events,
                                 .in.fiber = self,
                                 .out.fiber = self,
                                 .odd.fiber = self };
    status = weft__desc_use(fd, &w->use);
    if (status == 0 && w->use.gen != noted) {
        weft__desc_done(&w->use);
        status = -EBADF;
    }
    if (status != 0 || !self)
        return status;
    w->blocking = weft__desc_kind(w->use.desc) == WEFT__KIND_BLOCKING;
    if (w->blocking)
        return 0;
    /* relaxed: see hung_up(). */
    marks = WEFT__FD_POLLED | (wants(w, WEFT__ODD) ? WEFT__FD_ODD : 0);
    if (marks & ~weft__load(&w->use.desc->flags, RELAXED))
        weft__fetch_or(&w->use.desc->flags, marks, RELAXED);
    status = watch(w->use.desc, self);
    /* What epoll refuses is always ready: `ask` will say so. */
    if (status == 0 || status == -EPERM)
        return 0;
    weft__desc_done(&w->use);
    return status;
}

static struct weft__waiter *node_of(struct weft__fd_wait *w,
                                    enum weft__dir dir)
{
    return dir == WEFT__IN ? &w->in : dir == WEFT__OUT ? &w->out : &w->odd;
}

int weft__fd_wait_ask(struct weft__fd_wait *w)
{
    struct weft__desc *d = w->use.desc;
    uint32_t clear = 0;

    if (!weft__desc_current(&w->use))
        return -EBADF;
    for (enum weft__dir dir = WEFT__IN; dir <= WEFT__OUT; dir++)
        if (wants(w, dir))
            clear |= WEFT__FD_READY(dir);
    /* As a reader does; see 2. */
    w->odd_count = WEFT__FD_ODD_COUNT(
        weft__fetch_and(&d->flags, ~clear, SEQ_CST));
    w->revents = weft__fd_ask(d->fd, w->events);
    /* An error event has come since, and poll(2) finds no error: at once, since
     * one that stays would be found. */
    if (w->revents == 0 && w->in.fiber && !w->blocking &&
        weft__load(&d->flags, RELAXED) & WEFT__FD_STOPPED) {
        struct watching again = { .desc = d };

        weft__on_base(w->in.fiber, watch_here, &again);
        if (again.status != 0)
            w->revents = POLLERR;
    }
    if (w->revents != 0)
        w->owed = true;
    return w->revents;
}

/* The lock is held. */
static void fd_wait_unlink(struct weft__fd_wait *w)
{
    struct weft__desc *d = w->use.desc;

    for (enum weft__dir dir = WEFT__IN; dir <= WEFT__ODD; dir++) {
        weft__waitlist_remove(list_of(d, dir), node_of(w, dir));
        waiters_settle(d, dir);
    }
}

bool weft__fd_wait_publish(struct weft__fd_wait *w)
{
    struct weft__desc *d = w->use.desc;

    if (!weft__desc_current(&w->use))
        return false;
    w->in.next = w->out.next = w->odd.next = NULL;
    w->in.won = w->out.won = w->odd.won = false;
    for (enum weft__dir dir = WEFT__IN; dir <= WEFT__ODD; dir++) {
        if (!wants(w, dir) ||
            publish(d, dir, node_of(w, dir), w->odd_count))
            continue;
        fd_wait_unlink(w);
        return false;
    }
    return true;
}

void weft__fd_wait_leave(struct weft__fd_wait *w)
{
    struct weft__desc *d = w->use.desc;

    if (w->in.won || w->out.won)
        w->owed = true;
    weft__lock_acquire(&d->lock);
    fd_wait_unlink(w);
    weft__lock_release(&d->lock);
}

void weft__fd_wait_end(struct weft__fd_wait *w)
{
    if (w->owed && weft__desc_current(&w->use))
        for (enum weft__dir dir = WEFT__IN; dir <= WEFT__OUT; dir++)
            if (wants(w, dir))
                weft__wait_again(&w->use, dir);
    weft__desc_done(&w->use);
}
