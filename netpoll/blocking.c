#include "netpoll/blocking.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "netpoll/desc.h"
#include "netpoll/iov.h"
#include "netpoll/os.h"
#include "sched/atomic.h"
#include "sched/lock.h"
#include "sched/os.h"

#ifdef WEFT_SIM
#include "sched/seam.h"
#endif

enum {
    WRITE_MOST = 4096, /* what a pipe that is writable takes */
    WRITE_IOV = 64,

    /* Ready, and yet EAGAIN: a terminal has room, but too little. ns. */
    AGAIN_AFTER = 1000000
};

/* What one who waits and the thread that waits for it share. */
struct wait {
    int fd;
    uint64_t gen; /* of the number, when the call began */
    short events;
    bool write;
    bool nowait; /* the kernel knows RWF_NOWAIT for it */
    int again;   /* a terminal, opened once more; or -1 */
    const struct iovec *iov;
    int n;
    size_t total;
    size_t done;
    bool refused;     /* it was ready, and the call said EAGAIN */
    bool broken;      /* a call said EPIPE, and left a signal behind */
    bool over;        /* the last call was made */
    ssize_t result;   /* why it was the last; or why none was made */
    int64_t deadline; /* of the thread; that of a fiber is the lane's */

    weft__au32 stop; /* 1: no call begins any more */
    weft__au32 bell; /* the number of an eventfd and 1; 0: none yet */
    struct bell *own; /* the thread's, to give back */
};

/* --- Bells --------------------------------------------------------------------- */

/*
 * Eventfds by which a thread is called out of its poll(2), kept for the next
 * wait. One may be rung late, for a wait that is over: so whoever hears it
 * looks, and a bell that rings for nothing does no harm.
 */
struct bell {
    struct bell *next;
    int fd;
};

static weft__lock_t bells_lock;
static struct bell *bells;

static int bell_take(struct bell **bell)
{
    struct bell *one;

    weft__lock_acquire(&bells_lock);
    one = bells;
    if (one)
        bells = one->next;
    weft__lock_release(&bells_lock);
    if (!one) {
        one = malloc(sizeof(*one));
        if (!one)
            return -ENOMEM;
        one->fd = weft__fd_event();
        if (one->fd < 0) {
            int code = one->fd;

            free(one);
            return code;
        }
    }
    *bell = one;
    return 0;
}

static void bell_give(struct bell *bell)
{
    weft__lock_acquire(&bells_lock);
    bell->next = bells;
    bells = bell;
    weft__lock_release(&bells_lock);
}

void weft__blocking_shut(void)
{
    struct bell *list;

    weft__lock_acquire(&bells_lock);
    list = bells;
    bells = NULL;
    weft__lock_release(&bells_lock);
    while (list) {
        struct bell *next = list->next;

        weft__fd_close(list->fd);
        free(list);
        list = next;
    }
}

/* --- The thread that waits ------------------------------------------------------- */

/* Call it off. The wait is still there: its fiber waits for the job, and a
 * guest for whoever has it in hand. */
static void wait_stop(void *arg)
{
    struct wait *w = arg;
    uint32_t bell;

    /* seq_cst: our word, then the look at the bell; the thread shows its bell
     * and then looks at the word. */
    weft__store(&w->stop, 1, SEQ_CST);
    bell = weft__load(&w->bell, SEQ_CST);
    if (bell != 0)
        weft__fd_signal((int)bell - 1);
}

static ssize_t wait_call(struct wait *w, short revents,
                         const struct iovec *iov, int n)
{
    if (w->nowait)
        return weft__fd_rw_nowait(w->fd, w->write, iov, n);
    /* One that was hung up is so for us; it may be someone else's by now. */
    if (w->again >= 0 && !(revents & (POLLHUP | POLLERR)))
        return weft__fd_rw(w->again, w->write, iov, n);
    return weft__fd_rw(w->fd, w->write, iov, n);
}

/* The descriptor is ready: one call. true: the wait is over. */
static bool wait_turn(struct wait *w, short revents)
{
    size_t most = w->nowait || w->again >= 0 ? SIZE_MAX : WRITE_MOST;
    struct iovec part[WRITE_IOV];
    ssize_t r;

    if (w->write) {
        int n = weft__iov_slice(part, WRITE_IOV, w->iov, w->n, w->done, most);

        r = wait_call(w, revents, part, n);
    } else {
        r = wait_call(w, revents, w->iov, w->n);
    }
    if (r < 0 && r != -EAGAIN) {
        w->broken = r == -EPIPE;
        w->result = r;
        return true;
    }
    if (r >= 0)
        w->done += (size_t)r;
    w->refused = r == -EAGAIN;
    return r >= 0 && (!w->write || r == 0 || w->done == w->total);
}

/* Until the descriptor is ready, someone rings, or a guest's deadline has
 * passed. true: ready, as revents says. */
static bool wait_poll(struct wait *w, int bell, short *revents)
{
    struct pollfd fds[2] = {
        { .fd = w->fd, .events = w->events },
        { .fd = bell, .events = POLLIN },
    };
    int64_t left = -1;

    /* Only a terminal can go on being ready. */
    if (w->refused && w->again >= 0)
        (void)weft__fd_poll(&fds[1], 1, AGAIN_AFTER);
    if (w->deadline != WEFT_FOREVER) {
        int64_t now = weft__os_now();

        left = w->deadline > now ? w->deadline - now : 0;
    }
    if (weft__fd_poll(fds, 2, left) < 0)
        return false;
    if (fds[1].revents != 0)
        weft__fd_drain(bell);
    *revents = fds[0].revents;
    return fds[0].revents != 0;
}

/* seq_cst: pairs with wait_stop(). */
static bool wait_stopped(struct wait *w)
{
    return weft__load(&w->stop, SEQ_CST) != 0;
}

static bool wait_late(const struct wait *w)
{
    return w->deadline != WEFT_FOREVER && w->deadline <= weft__os_now();
}

/* Wait and call until it is over, or called off. The bell stays w's. */
static void wait_run(struct wait *w)
{
    struct bell *bell;

    w->result = bell_take(&bell);
    if (w->result != 0)
        return;
    w->own = bell;
    /* seq_cst: pairs with wait_stop(). */
    weft__store(&w->bell, (uint32_t)bell->fd + 1, SEQ_CST);
    w->again = w->nowait ? -1 : weft__fd_terminal(w->fd, w->write);
    while (!w->over && !wait_stopped(w)) {
        short revents = 0;

        if (!wait_poll(w, bell->fd, &revents)) {
            if (wait_late(w))
                break;
            continue;
        }
        if (wait_stopped(w))
            break;
        /* Closed by other means than weft's: what is ready was another file's,
         * or is. */
        if (weft__desc_gen(w->fd) != w->gen) {
            w->result = -EBADF;
            break;
        }
        w->over = wait_turn(w, revents);
        /* One that goes on being ready and takes nothing. */
        if (!w->over && w->refused && wait_late(w))
            break;
    }
    if (w->again >= 0)
        weft__fd_close(w->again);
}

/* Nobody rings any more who would not be waited for before the run's end. */
static void wait_end(struct wait *w)
{
    if (w->own)
        bell_give(w->own);
}

/* On the lane. The one who may ring is w's fiber, and the run ends after it. */
static void *wait_main(void *arg)
{
    wait_run(arg);
    wait_end(arg);
    return NULL;
}

/* --- Guests: threads that wait themselves -------------------------------------------- */

struct guest {
    struct guest *next;
    struct wait *w;
    unsigned hands; /* closers that are about to ring */
    bool closed;
};

static weft__lock_t guests_lock;
static struct guest *guests;
static struct weft__lane_bar *guests_bars;

static void guests_end(int fd)
{
    struct guest *g;

    do {
        weft__lock_acquire(&guests_lock);
        for (g = guests; g; g = g->next) {
            if (g->w->fd == fd && !g->closed)
                break;
        }
        if (g) {
            g->closed = true;
            g->hands++;
        }
        weft__lock_release(&guests_lock);
        if (!g)
            break;
        wait_stop(g->w);
        weft__lock_acquire(&guests_lock);
        g->hands--;
        weft__lock_release(&guests_lock);
    } while (g);
}

static void guest_come(struct guest *g)
{
    weft__lock_acquire(&guests_lock);
    for (struct weft__lane_bar *bar = guests_bars; bar; bar = bar->next)
        g->closed = g->closed || bar->fd == g->w->fd;
    g->next = guests;
    guests = g;
    weft__lock_release(&guests_lock);
}

static void guest_leave(struct guest *g)
{
    struct guest **link;
    bool held;

    weft__lock_acquire(&guests_lock);
    for (link = &guests; *link != g;)
        link = &(*link)->next;
    *link = g->next;
    held = g->hands > 0;
    weft__lock_release(&guests_lock);
    while (held) {
        weft__os_thread_yield();
        weft__lock_acquire(&guests_lock);
        held = g->hands > 0;
        weft__lock_release(&guests_lock);
    }
}

static int guest_wait(struct wait *w)
{
    struct guest g = { .w = w };

    guest_come(&g);
    if (!g.closed)
        wait_run(w);
    /* First until no closer has a hand on it: the end of the run, which does
     * not wait for threads, closes the bells that were given back. */
    guest_leave(&g);
    wait_end(w);
    return g.closed ? -EBADF : -ETIMEDOUT;
}

/* --- The calls --------------------------------------------------------------------- */

static int fiber_wait(struct wait *w, struct weft__fiber *self,
                      int64_t deadline, bool eager)
{
    struct weft__job job = {
        .fn = wait_main,
        .arg = w,
        .what = w->write ? "write to a blocking descriptor"
                         : "read from a blocking descriptor",
        .fd = w->fd,
        .stop = wait_stop,
        .eager = eager
    };
    int status = weft__lane_do(&weft__lanes[WEFT__LANE_FD], self, &job,
                               deadline);

    if (status != 0)
        return status;
    return job.cause == WEFT__CAUSE_CLOSED ? -EBADF
                                           : weft__cause_code(job.cause);
}

/* Is it ready now? revents; 0: no. */
static short ready_now(int fd, short events)
{
    struct pollfd one = { .fd = fd, .events = events };

    return weft__fd_poll(&one, 1, 0) > 0 ? one.revents : 0;
}

/* The answer: `code` counts only if there is no other. */
static ssize_t wait_answer(const struct wait *w, ssize_t code)
{
    if (w->done > 0)
        return (ssize_t)w->done;
    if (w->over || w->result < 0)
        return w->result;
    return code;
}

/*
 * What could not be had at once. A call that may not wait any more still gets
 * what is there, by a thread too, since a rival may be faster; but by one that
 * is free now.
 */
static ssize_t wait_for_it(struct wait *w, struct weft__fiber *self,
                           int64_t deadline)
{
    int refused = weft__wait_refused(self, deadline);
    int code;

    if (!self && refused == -EPERM)
        refused = deadline != WEFT_FOREVER && deadline <= weft__os_now()
                      ? -ETIMEDOUT
                      : 0;
    if (refused != 0 && (w->nowait || !ready_now(w->fd, w->events)))
        return wait_answer(w, refused);

    w->deadline = refused != 0 ? WEFT_NOW : self ? WEFT_FOREVER : deadline;
    if (!self)
        code = guest_wait(w);
    else if (refused != 0)
        code = fiber_wait(w, self, WEFT_FOREVER, true);
    else
        code = fiber_wait(w, self, deadline, false);
    return wait_answer(w, refused != 0 && code != -EBADF ? refused : code);
}

/* *broken: a call said EPIPE, also if the answer is what was written before. */
static ssize_t blocking_rw(struct weft__fiber *self, int fd, bool write,
                           const struct iovec *iov, int n, int64_t deadline,
                           bool *broken)
{
    struct wait w = { .fd = fd,
                      .gen = weft__desc_gen(fd),
                      .events = write ? POLLOUT : POLLIN,
                      .write = write,
                      .nowait = true,
                      .iov = iov,
                      .n = n,
                      .total = weft__iov_total(iov, n) };
    ssize_t r;

    if (w.total == 0)
        return weft__fd_rw(fd, write, iov, n);
    r = weft__fd_rw_nowait(fd, write, iov, n);
    *broken = r == -EPIPE;
    if (r == -EOPNOTSUPP)
        w.nowait = false;
    else if (r >= 0)
        w.done = (size_t)r;
    else if (r != -EAGAIN)
        return r;
    if (r == 0 || (r > 0 && (!write || w.done == w.total)))
        return r;
    r = wait_for_it(&w, self, deadline);
    *broken = w.broken;
    return r;
}

ssize_t weft__blocking_rw(struct weft__fiber *self, int fd, bool write,
                          const struct iovec *iov, int n, int64_t deadline)
{
    struct weft__sigpipe sigpipe;
    bool broken = false;
    ssize_t r;

#ifdef WEFT_SIM
    /* No run depends on the outside. */
    if (weft__seam != NULL)
        return -ENOTSUP;
#endif
    if (n < 0 || n > WEFT__IOV_MAX)
        return -EINVAL;
    if (self || !write)
        return blocking_rw(self, fd, write, iov, n, deadline, &broken);
    weft__sigpipe_hide(&sigpipe);
    r = blocking_rw(self, fd, write, iov, n, deadline, &broken);
    weft__sigpipe_show(&sigpipe, broken);
    return r;
}

/* --- Closing ----------------------------------------------------------------------- */

void weft__blocking_close_begin(struct weft__blocking_close *c, int fd)
{
    weft__lane_bar(&weft__lanes[WEFT__LANE_FD], &c->fd, fd);
    weft__lane_bar(&weft__lanes[WEFT__LANE_FILE], &c->file, fd);
    c->guests.fd = fd;
    weft__lock_acquire(&guests_lock);
    c->guests.next = guests_bars;
    guests_bars = &c->guests;
    weft__lock_release(&guests_lock);
    guests_end(fd);
}

void weft__blocking_close_end(struct weft__blocking_close *c)
{
    struct weft__lane_bar **link = &guests_bars;

    weft__lane_unbar(&weft__lanes[WEFT__LANE_FD], &c->fd);
    weft__lane_unbar(&weft__lanes[WEFT__LANE_FILE], &c->file);
    weft__lock_acquire(&guests_lock);
    while (*link != &c->guests)
        link = &(*link)->next;
    *link = c->guests.next;
    weft__lock_release(&guests_lock);
}

/* --- fork ----------------------------------------------------------------------- */

/* Of the parent's threads none is here, and those of its bells that are kept
 * would be rung by both. */
void weft__blocking_forked(void)
{
    bells_lock = (weft__lock_t)WEFT__LOCK_INIT(WEFT__RANK_PRIMITIVE);
    guests_lock = (weft__lock_t)WEFT__LOCK_INIT(WEFT__RANK_PRIMITIVE);
    guests = NULL;
    guests_bars = NULL;
    weft__blocking_shut();
}
