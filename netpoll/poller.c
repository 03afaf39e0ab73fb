/*
 * The poller, on libuv
 *
 * libuv never waits here. A pass is uv_run(NOWAIT) under the loop's lock; a
 * sleep is a ppoll(2) of our own, without that lock, on two descriptors: the
 * loop's epoll set, which is itself pollable (asking takes no edge from it),
 * and an eventfd by which others end the sleep.
 *
 * Waking
 *
 * `signalled` folds many wakes into one write:
 *
 *     waker    exchange signalled to 1; if it was 0, write the eventfd
 *     sleeper  if the eventfd is readable: drain it, then exchange signalled
 *              to 0, then return
 *
 * Why no wake is lost. Take a wake that found 1 and wrote nothing. The 1 is
 * from an earlier waker, and since then no sleeper has exchanged it to 0. So
 * the earlier write is still to be drained, or is on its way (that waker is
 * between its two steps, and will write), or has been drained and the
 * sleeper is between its two steps, and will return. In each case a sleep
 * ends after this wake began, and none that begins later is longer for it.
 *
 * The sleeper's second step is an exchange, not a store: it reads the last
 * waker's 1, and so sees what each of them wrote before (acquire; their
 * exchanges continue one release sequence). A store could pass over a wake
 * whose news the sleeper has not seen. And the order is drain, then clear:
 * the other way round a wake in between leaves a 1 with nothing to read, and
 * every later wake folds into it.
 *
 * A sleep that ends for another reason clears nothing; a wake that came
 * meanwhile ends the next one.
 *
 * Watching
 *
 * A handle belongs to a number on this loop: initialised once, then started
 * and stopped, and closed with the loop. It is started for everything, once.
 * libuv watches by level; in its first callback we make that edges, by an
 * epoll_ctl of our own on the loop's set, and never start it again while it
 * is watched: so a request costs no call for its registration.
 *
 * libuv calls abort when an epoll_ctl of its own fails. So weft__poller_add()
 * adds the number itself first, and returns what the kernel says; libuv then
 * meets EEXIST and modifies. Adding one that is ready reports it.
 *
 * What starts a handle is done by libuv at the next pass. So that comes at
 * once, under the same hold of the lock: a descriptor that somebody closes by
 * plain close(2) before it would make the epoll_ctl of that pass fail.
 *
 * An error event makes libuv stop the handle and call back with EBADF. The
 * calls fetch the real error; the next wait adds the number again.
 *
 * uv_poll_init() makes the descriptor non-blocking. That mode belongs to the
 * open file, others may share it, and weft does not need it: for a number that
 * is not weft's it is put back at once.
 *
 * What libuv 1.44 does without descriptors
 *
 * The first uv_loop_init() of a process opens a pipe for signals and calls
 * abort() if it cannot; so we see first whether there are descriptors enough
 * and answer -EMFILE ourselves. Another thread that takes them between the
 * look and the call can still bring the abort about; only libuv can change
 * that. Later inits report the error but leak their epoll set (until 1.51).
 */
#include "netpoll/poller.h"

#include <errno.h>
#include <stdlib.h>

#include <uv.h>

#include "netpoll/os.h"
#include "netpoll/wait.h"
#include "sched/atomic.h"
#include "sched/fatal.h"
#include "sched/lock.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/sanitizer.h"
#include "sched/sched.h"

enum { WATCH_CHUNK = 256 };

/* A number on a loop. Under the loop's lock. */
struct watch {
    uv_poll_t handle;
    bool known;  /* the handle is initialised */
    bool active; /* and started */
    bool edge;   /* and no longer watched by level */
};

struct weft__poller {
    weft__au32 signalled; /* 1: a write to `event` is due or made */
    int event;            /* the eventfd of wakes */
    int backend;          /* the loop's epoll set */
    weft__lock_t lock;    /* the loop's: held across a pass */
    uv_loop_t loop;
    /* Active for ever: without an active handle uv_run() does not poll, and
     * a sleeper whose epoll set is ready would spin. */
    uv_prepare_t anchor;
    struct watch **chunks; /* by number; the rest under the lock */
    unsigned chunk_count;
    struct weft__batch *batch; /* of the pass under way */
    int woken;
};

/* What a loop opens: epoll, two for signals, one for uv_async_t. */
#define LOOP_DESCRIPTORS 4
/* What the first loop of a process opens beside that, for good. */
#define FIRST_DESCRIPTORS 2

static weft__au32 poller_libuv_started;

/* Are n descriptors to be had, at this moment? */
static int poller_look_for_descriptors(int n)
{
    int fds[LOOP_DESCRIPTORS + FIRST_DESCRIPTORS];
    int status = 0;
    int got = 0;

    while (got < n && status == 0) {
        fds[got] = weft__fd_event();
        if (fds[got] < 0)
            status = fds[got];
        else
            got++;
    }
    while (got > 0)
        weft__fd_close(fds[--got]);
    return status;
}

static int poller_loop_open(uv_loop_t *loop)
{
    /* relaxed: who misses another's 1 asks for two descriptors more. */
    bool first = weft__load(&poller_libuv_started, RELAXED) == 0;
    int status = poller_look_for_descriptors(
        first ? LOOP_DESCRIPTORS + FIRST_DESCRIPTORS : LOOP_DESCRIPTORS);

    if (status != 0)
        return status;

    status = uv_loop_init(loop);
    if (status == 0) {
        weft__store(&poller_libuv_started, 1, RELAXED);
        return 0;
    }
    /* 0 may be the number of an epoll set, or mean that it came to none; then
     * we rather lose one descriptor than close a stranger's. */
    if (uv_version() < ((1u << 16) | (51u << 8)) && uv_backend_fd(loop) > 0)
        weft__fd_close(uv_backend_fd(loop));
    return status;
}

static void poller_anchor(uv_prepare_t *anchor)
{
    (void)anchor;
}

int weft__poller_open(struct weft__poller **poller)
{
    int saved = errno; /* libuv leaves its traces */
    struct weft__poller *p = calloc(1, sizeof(*p));
    int status = -ENOMEM;

    if (p == NULL)
        goto restore_errno;

    status = weft__fd_event();
    if (status < 0)
        goto free_poller;
    p->event = status;

    status = poller_loop_open(&p->loop);
    if (status != 0)
        goto close_event;
    p->backend = uv_backend_fd(&p->loop);
    p->loop.data = p;

    /* Neither fails with these arguments. */
    WEFT__CHECK(uv_prepare_init(&p->loop, &p->anchor) == 0 &&
                    uv_prepare_start(&p->anchor, poller_anchor) == 0,
                "libuv refuses a prepare handle");

    *poller = p;
    errno = saved;
    return 0;

close_event:
    weft__fd_close(p->event);
free_poller:
    free(p);
restore_errno:
    errno = saved;
    return status;
}

/* Of a poller that ends: let go of a number, also of one that has stopped,
 * whose record still names this poller. Who closes it on another thread comes
 * before us, or finds it let go: then libuv's epoll_ctl is over, too. */
static void watch_end(struct weft__poller *p, struct watch *watch, int fd)
{
    bool watched;

    weft__lock_acquire(&p->lock);
    watched = watch->active;
    /* libuv asks the kernel to take the number out, also where it is out and may
     * be another's by now: that finds nothing, and waits for no one. */
    if (!watched)
        weft__read_hide();
    uv_close((uv_handle_t *)&watch->handle, NULL);
    if (!watched)
        weft__read_show();
    watch->known = false;
    weft__lock_release(&p->lock);
    weft__wait_orphan(p, fd);
}

/* The workers have ended: nobody passes, sleeps or wakes any more. What was
 * watched is forgotten; its descriptors are the program's. */
void weft__poller_close(struct weft__poller *poller)
{
    int saved = errno;

    for (unsigned i = 0; i < poller->chunk_count; i++) {
        struct watch *chunk = poller->chunks[i];

        for (int k = 0; chunk && k < WATCH_CHUNK; k++)
            if (chunk[k].known)
                watch_end(poller, &chunk[k], (int)i * WATCH_CHUNK + k);
    }
    /* Who closes a descriptor on another thread may have found us. */
    weft__visits_wait();
    uv_close((uv_handle_t *)&poller->anchor, NULL);
    /* The round in which libuv lets go of the handles. */
    uv_run(&poller->loop, UV_RUN_NOWAIT);
    for (unsigned i = 0; i < poller->chunk_count; i++)
        free(poller->chunks[i]);
    free(poller->chunks);
    WEFT__CHECK(uv_loop_close(&poller->loop) == 0,
                "a loop is closed while something is registered with it");
    weft__fd_close(poller->event);
    free(poller);
    errno = saved;
}

/* The lock is held. Those who are woken are the caller's to let go. */
static int poller_run(struct weft__poller *poller, struct weft__batch *batch)
{
    poller->batch = batch;
    poller->woken = 0;
    uv_run(&poller->loop, UV_RUN_NOWAIT);
    poller->batch = NULL;
    return poller->woken;
}

int weft__poller_pass(struct weft__poller *poller)
{
    struct weft__batch batch = { 0 };
    int saved = errno;
    int woken;

    if (!weft__lock_try(&poller->lock))
        return 0;
    woken = poller_run(poller, &batch);
    weft__lock_release(&poller->lock);
    errno = saved;
    weft__batch_keep(&batch);
    return woken;
}

/* --- Watching ------------------------------------------------------------------ */

/* The watch of a number, made if need be. NULL: no memory. */
static struct watch *watch_at(struct weft__poller *p, int fd)
{
    unsigned chunk = (unsigned)fd / WATCH_CHUNK;

    if (chunk >= p->chunk_count) {
        unsigned count = p->chunk_count ? p->chunk_count : 4;
        struct watch **chunks;

        while (count <= chunk)
            count *= 2;
        chunks = realloc(p->chunks, count * sizeof(struct watch *));
        if (!chunks)
            return NULL;
        for (unsigned i = p->chunk_count; i < count; i++)
            chunks[i] = NULL;
        p->chunks = chunks;
        p->chunk_count = count;
    }
    if (!p->chunks[chunk])
        p->chunks[chunk] = calloc(WATCH_CHUNK, sizeof(struct watch));
    return p->chunks[chunk] ? &p->chunks[chunk][fd % WATCH_CHUNK] : NULL;
}

static void watch_event(uv_poll_t *handle, int status, int events)
{
    struct watch *watch = (struct watch *)handle; /* its first member */
    struct weft__poller *p = handle->loop->data;
    int fd = (int)(intptr_t)handle->data;
    unsigned what = 0;

    if (status < 0) {
        watch->active = watch->edge = false;
        what = WEFT__EVENT_ERROR;
    } else if (!watch->edge) {
        /* The number may have been closed behind our back: then no event
         * comes any more, and whoever waits next adds it again. */
        (void)weft__fd_epoll_arm(p->backend, fd);
        watch->edge = true;
    }
    if (events & UV_READABLE)
        what |= WEFT__EVENT_IN;
    if (events & UV_WRITABLE)
        what |= WEFT__EVENT_OUT;
    if (events & UV_DISCONNECT)
        what |= WEFT__EVENT_HANGUP;
    if (events & UV_PRIORITIZED)
        what |= WEFT__EVENT_URGENT;
    p->woken += weft__wait_event(p, fd, what, p->batch);
}

static int watch_init(struct weft__poller *p, struct watch *watch, int fd,
                      bool keep_mode)
{
    int mode = keep_mode ? weft__fd_flags(fd) : 1;
    int status;

    if (mode < 0)
        return mode;
    status = uv_poll_init(&p->loop, &watch->handle, fd);
    if (mode == 0)
        (void)weft__fd_nonblocking(fd, false);
    if (status != 0)
        return status;
    watch->handle.data = (void *)(intptr_t)fd;
    watch->known = true;
    return 0;
}

/* The lock is held. */
static int watch_start(struct weft__poller *p, int fd, bool keep_mode)
{
    struct watch *watch = watch_at(p, fd);
    int status = 0;

    if (!watch)
        return -ENOMEM;
    if (!watch->known)
        status = watch_init(p, watch, fd, keep_mode);
    if (status == 0)
        status = uv_poll_start(&watch->handle,
                               UV_READABLE | UV_WRITABLE | UV_DISCONNECT |
                                   UV_PRIORITIZED,
                               watch_event);
    if (status != 0)
        return status;
    watch->active = true;
    watch->edge = false;
    status = weft__fd_epoll_add(p->backend, fd);
    if (status == 0 || status == -EEXIST)
        return 0;
    uv_poll_stop(&watch->handle);
    watch->active = false;
    return status;
}

int weft__poller_add(struct weft__poller *poller, int fd, bool keep_mode)
{
    struct weft__batch batch = { 0 };
    int saved = errno;
    int status;

    weft__lock_acquire(&poller->lock);
    status = watch_start(poller, fd, keep_mode);
    if (status == 0)
        (void)poller_run(poller, &batch);
    weft__lock_release(&poller->lock);
    errno = saved;
    weft__batch_ready(&batch);
    return status == -ENOSPC ? -ENOMEM : status;
}

void weft__poller_remove(struct weft__poller *poller, int fd)
{
    int saved = errno;
    struct watch *watch;

    weft__lock_acquire(&poller->lock);
    watch = watch_at(poller, fd);
    if (watch && watch->known) {
        uv_poll_stop(&watch->handle);
        watch->active = watch->edge = false;
    }
    weft__lock_release(&poller->lock);
    errno = saved;
}

void weft__poller_settle(struct weft__poller *poller)
{
    weft__lock_acquire(&poller->lock);
    weft__lock_release(&poller->lock);
}

int weft__poller_rearm(struct weft__poller *poller, int fd)
{
    return weft__fd_epoll_arm(poller->backend, fd);
}

/* --- Sleeping ------------------------------------------------------------------ */

void weft__poller_sleep(struct weft__poller *poller, int64_t until)
{
    struct pollfd fds[2] = {
        { .fd = poller->event, .events = POLLIN },
        { .fd = poller->backend, .events = POLLIN },
    };
    int64_t left = -1;
    int ready;

    /* The kernel may count a timeout short by less than a tick of its clock,
     * and a signal handler may run: look at the clock, and go on. */
    do {
        if (until != INT64_MAX) {
            int64_t now = weft__os_now();

            left = until > now ? until - now : 0;
        }
        ready = weft__fd_poll(fds, 2, left);
    } while (ready <= 0 && left != 0);

    if (ready <= 0)
        return;
    if (fds[0].revents != 0) {
        weft__fd_drain(poller->event);
        /* acquire: see above; pairs with the exchange in a wake. */
        (void)weft__exchange(&poller->signalled, 0, ACQUIRE);
    }
    /* If the loop has something: the owner looks there first when it is up. */
}

void weft__poller_wake(struct weft__poller *poller)
{
    /* release: what the waker did before is seen by the sleeper whose
     * exchange reads this one. acquire, too, would add nothing: a waker that
     * finds 1 relies on no plain data of the other. */
    if (weft__exchange(&poller->signalled, 1, RELEASE) == 0)
        weft__fd_signal(poller->event);
}
