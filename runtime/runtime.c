/*
 * Start and stop.
 */
#include <weft/runtime.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "netpoll/blocking.h"
#include "netpoll/desc.h"
#include "netpoll/offload.h"
#include "netpoll/os.h"
#include "netpoll/poller.h"
#include "netpoll/signal.h"
#include "runtime/config.h"
#include "runtime/slab.h"
#include "sched/atomic.h"
#include "sched/fatal.h"
#include "sched/os.h"
#include "sched/sched.h"
#include "sched/worker.h"
#ifdef WEFT_SIM
#include "runtime/sim/sim.h"
#endif

/* LEFT: a run has returned -EBUSY, and its workers still live. */
enum { STOPPED, RUNNING, LEFT, FORKED };

static weft__au32 state;
static weft__au32 worker_count;

/* --- The poller, as the scheduler sees it --------------------------------- */

static int poll_open(void **poller)
{
    return weft__poller_open((struct weft__poller **)poller);
}

static void poll_close(void *poller)
{
    weft__poller_close(poller);
}

static int poll_pass(void *poller)
{
    return weft__poller_pass(poller);
}

static void poll_sleep(void *poller, int64_t until)
{
    weft__poller_sleep(poller, until);
}

static void poll_wake(void *poller)
{
    weft__poller_wake(poller);
}

/* --- fork ------------------------------------------------------------------ */

/* The child has one thread and none of ours: it may exec or _exit, and every
 * call that needs a fiber answers -EPERM. */
static void forked(void)
{
    weft__sched_forked();
    weft__slab_forked();
    weft__desc_forked();
    for (int i = 0; i < WEFT__LANES; i++)
        weft__lane_forked(&weft__lanes[i]);
    weft__blocking_forked();
    weft__signal_forked();
    if (weft__load(&state, RELAXED) == STOPPED)
        return;
    weft__store(&state, FORKED, RELAXED);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void once_init(void)
{
    pthread_atfork(NULL, NULL, forked);
}

/* --- The lanes ---------------------------------------------------------------- */

static void lanes_open(const weft_config_t *config)
{
    weft__lane_open(&weft__lanes[WEFT__LANE_USER], config->lane_threads);
    weft__lane_open(&weft__lanes[WEFT__LANE_FILE], config->file_threads);
    weft__lane_open(&weft__lanes[WEFT__LANE_FD], config->fd_threads);
    weft__lane_open(&weft__lanes[WEFT__LANE_RESOLVE],
                    config->resolve_threads);
}

static void lanes_close(void)
{
    for (int i = 0; i < WEFT__LANES; i++)
        weft__lane_close(&weft__lanes[i]);
    weft__blocking_shut();
    weft__signal_close();
}

static void lane_stats(enum weft__lane_kind kind, weft_lane_stats_t *out)
{
    struct weft__lane_stats lane;

    weft__lane_stats(&weft__lanes[kind], &lane);
    *out = (weft_lane_stats_t){ lane.threads, lane.queued, lane.running,
                                lane.begun, lane.age };
}

/* --- weft_run --------------------------------------------------------------- */

/* The one who moves the state to RUNNING starts. */
static int run_begin(void)
{
    uint32_t seen = STOPPED;

    if (weft__fiber_self() || weft__on_lane())
        return -EPERM;
    pthread_once(&once, once_init);
    /* acquire: what the last run left. */
    if (weft__cas(&state, &seen, RUNNING, ACQUIRE, ACQUIRE))
        return 0;
    if (seen == FORKED)
        return -EPERM;
    if (seen != LEFT || !weft__cas(&state, &seen, RUNNING, ACQUIRE, RELAXED))
        return -EBUSY;
    if (weft__sched_finish() == 0) {
        lanes_close();
        return 0;
    }
    weft__store(&state, LEFT, RELEASE);
    return -EBUSY;
}

static int run(const weft_config_t *config, int (*entry)(void *), void *arg,
               int *result)
{
    struct weft__sched_config sched = {
        .workers = config->workers,
        .stack_class = (unsigned)weft__stack_class(config->stack_size),
        .ring = 2048,
        .stop_timeout = config->stop_timeout,
        .deadlock = config->deadlock,
        .guard = config->guard,
        .poll = { poll_open, poll_close, poll_pass, poll_sleep, poll_wake },
    };
    int status;

    lanes_open(config);
    /* relaxed: as in weft_workers(). */
    weft__store(&worker_count, config->workers, RELAXED);
    status = weft__sched_run(&sched, entry, arg, result);
    if (status == -EBUSY)
        return status;
    lanes_close();
    weft__store(&worker_count, 0, RELAXED);
    return status;
}

static int run_checked(const weft_config_t *config, int (*entry)(void *),
                       void *arg, int *result)
{
    weft_config_t full;
    int status = weft__config_load(&full, config);

    if (status != 0)
        return status;
    status = run_begin();
    if (status != 0)
        return status;
#ifdef WEFT_SIM
    weft__sim_has_workers(full.workers);
#endif
    status = run(&full, entry, arg, result);
    /* release: pairs with the next run's acquire. */
    weft__store(&state, status == -EBUSY ? LEFT : STOPPED, RELEASE);
    return status;
}

int weft_run(const weft_config_t *config, int (*entry)(void *), void *arg,
             int *result)
{
    int status;

    if (!entry)
        return -EINVAL;
#ifdef WEFT_SIM
    if (weft__sim_wanted()) {
        status = weft__sim_enter(NULL);
        if (status != 0)
            return status;
        status = run_checked(config, entry, arg, result);
        weft__sim_leave();
        return status;
    }
#endif
    status = run_checked(config, entry, arg, result);
    return status;
}

/* --- Looking in -------------------------------------------------------------- */

/* acquire: what is of this run. */
static bool running(void)
{
    uint32_t now = weft__load(&state, ACQUIRE);

    return now == RUNNING || now == LEFT;
}

unsigned weft_workers(void)
{
    /* relaxed: 0 while it starts. */
    return running() ? weft__load(&worker_count, RELAXED) : 0;
}

int weft_stats(weft_stats_t *out)
{
    struct weft__stack_stats stacks;
    weft_lane_stats_t lane;
    bool visit;

    if (!out || out->size != sizeof(*out))
        return -EINVAL;
    memset(out, 0, sizeof(*out));
    out->size = sizeof(*out);
    if (!weft__visit_run(&visit))
        return 0;
    out->workers = weft_workers();
    out->live = weft__sched_live();
    weft__sched_counters(UINT_MAX, &out->total);
    out->records = weft__fiber_made();
    weft__stack_stats(&stacks);
    out->stacks = stacks.slots;
    out->stack_bytes = stacks.bytes;
    out->stacks_unguarded = stacks.unguarded;
    lane_stats(WEFT__LANE_USER, &lane);
    out->lane_threads = lane.threads;
    out->lane_queued = lane.queued;
    out->lane_running = lane.running;
    out->lane_age = lane.age;
    lane_stats(WEFT__LANE_FILE, &out->file_lane);
    lane_stats(WEFT__LANE_FD, &out->fd_lane);
    lane_stats(WEFT__LANE_RESOLVE, &out->resolve_lane);
    weft__sched_timers(&out->timers, &out->timers_armed,
                       &out->timers_expired);
    out->descriptors = weft__desc_watched();
    weft__visit_end(visit);
    return 0;
}

int weft_stats_worker(unsigned index, weft_worker_stats_t *out)
{
    bool visit;
    int status;

    /* UINT_MAX would mean all of them. */
    if (!out || index == UINT_MAX || !weft__visit_run(&visit))
        return -EINVAL;
    status = weft__sched_counters(index, out);
    weft__visit_end(visit);
    return status;
}

#define DUMP_LOOK ((int64_t)10 * 1000000)

/* Held, or the rest could go to the number's next owner; without memory for
 * that it goes as it is. */
struct dump_to {
    int fd;
    bool held;
    struct weft__use use;
};

static int dump_line(const char *line, void *arg)
{
    const struct dump_to *to = arg;
    size_t left = strlen(line);

    while (left > 0) {
        ssize_t done;

        if (to->held && !weft__desc_current(&to->use))
            return -EBADF;
        done = write(to->fd, line, left);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno == EAGAIN) {
            struct pollfd one = { .fd = to->fd, .events = POLLOUT };

            /* Not for ever: it may be closed meanwhile. */
            (void)weft__fd_poll(&one, 1, DUMP_LOOK);
            continue;
        }
        if (done < 0)
            return -errno;
        line += done;
        left -= (size_t)done;
    }
    return 0;
}

int weft_dump(int fd)
{
    /* Workers block SIGPIPE; another thread may not. */
    bool outside = !weft__fiber_self();
    struct dump_to to = { .fd = fd };
    struct weft__sigpipe sigpipe;
    int status;

    if (!running())
        return -EPERM;
    status = weft__desc_use(fd, &to.use);
    to.held = status == 0;
    if (status == -EBADF)
        return status;
    if (outside)
        weft__sigpipe_hide(&sigpipe);
    status = weft__dump(dump_line, &to);
    if (outside)
        weft__sigpipe_show(&sigpipe, status == -EPIPE);
    if (to.held)
        weft__desc_done(&to.use);
    return status;
}
