/*
 * Jobs under the simulation, whose fibers are cancelled, late, or see their
 * descriptor closed, at each moment: a job that owns its memory is dropped
 * once, one that does not is never left running, and a close meets each.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include "netpoll/offload.h"
#include "sched/atomic.h"
#include "sched/os.h"
#include "sched/sched.h"

enum { RING = 4, RUNS = 300, PLANTED_RUNS = 3000, CALLERS = 3 };

#define LANE (&weft__lanes[WEFT__LANE_FD])

/* Plain counts: virtual threads share one OS thread. */
static unsigned ran, dropped, kept, ended;

/* --- Jobs that are abandoned --------------------------------------------------- */

struct own {
    struct weft__job job;
    bool live;
};

static struct own owns[CALLERS];

static void *own_run(void *arg)
{
    struct own *own = arg;

    for (int i = 0; i < 4; i++) {
        sim_expect(own->live);
        weft__os_point("works");
    }
    ran++;
    return own;
}

static void own_drop(struct weft__job *job)
{
    struct own *own = job->arg;

    sim_expect(own->live);
    own->live = false;
    dropped++;
}

static void *call_own(void *arg)
{
    struct own *own = arg;
    int status;

    own->live = true;
    own->job = (struct weft__job){ .fn = own_run,
                                   .arg = own,
                                   .what = "job",
                                   .fd = 7,
                                   .drop = own_drop };
    status = weft__lane_do(LANE, weft__fiber_self(), &own->job,
                           own == &owns[1] ? weft_after(WEFT_US(5))
                                           : WEFT_FOREVER);
    if (status == 0) {
        sim_expect(own->live && own->job.result == own);
        kept++;
        own_drop(&own->job);
    } else {
        sim_expect(status == -ECANCELED || status == -ETIMEDOUT ||
                   status == -EBADF);
        ended++;
    }
    return NULL;
}

static void *cancel_it(void *arg)
{
    (void)weft_cancel(*(weft_fiber_t *)arg);
    return NULL;
}

static int abandon(void *arg)
{
    weft_fiber_t f[CALLERS], c;

    (void)arg;
    ran = dropped = kept = ended = 0;
    for (int i = 0; i < CALLERS; i++)
        sim_expect(weft_spawn(&f[i], call_own, &owns[i]) == 0);
    sim_expect(weft_spawn(&c, cancel_it, &f[0]) == 0);
    for (int i = 0; i < CALLERS; i++)
        sim_expect(weft_join(f[i], NULL) == 0);
    sim_expect(weft_join(c, NULL) == 0);
    /* The last may still be at work. */
    while (dropped < CALLERS)
        weft_yield();
    sim_expect(kept + ended == CALLERS);
    return (ended > 0 ? 1 : 0) | (ran > kept ? 2 : 0) |
           (ran < CALLERS ? 4 : 0);
}

START_TEST(what_is_abandoned_is_dropped_once)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("lane/abandon", workers, RING, RUNS,
                                  abandon, NULL, &m),
                         RUNS);
        ck_assert_uint_gt(m.times[0], 0);
        ck_assert_uint_gt(m.times[1], 0);
        ck_assert_uint_gt(m.times[2], 0);
    }
}
END_TEST

/* --- Jobs that are closed ---------------------------------------------------------- */

static weft__au32 stop_word;
static unsigned inside;
static bool closed;

/* Like a thread that polls a descriptor: until it is told to stop. */
static void *poll_like(void *arg)
{
    inside++;
    sim_expect(!closed);
    while (!weft__load(&stop_word, ACQUIRE))
        (void)weft__os_futex_wait(&stop_word, 0, -1);
    sim_expect(!closed);
    inside--;
    return arg;
}

static void poll_stop(void *arg)
{
    (void)arg;
    weft__store(&stop_word, 1, RELEASE);
    weft__os_futex_wake(&stop_word, INT32_MAX);
}

static void *call_poll(void *arg)
{
    struct weft__job job = {
        .fn = poll_like, .arg = arg, .what = "job", .fd = 7, .stop = poll_stop
    };
    int status =
        weft__lane_do(LANE, weft__fiber_self(), &job, WEFT_FOREVER);

    sim_expect(status == 0 ? job.cause != WEFT__CAUSE_OK || inside == 0 ||
                                 weft__load(&stop_word, RELAXED) == 1
                           : status == -EBADF);
    if (status == 0)
        kept++;
    else
        ended++;
    return NULL;
}

/* The close comes when some have not come, some stand in the queue and some
 * run; all of them end, and when they have no one is inside any more. */
static int close_under_all(void *arg)
{
    struct weft__lane_bar bar;
    weft_fiber_t f[CALLERS];

    (void)arg;
    kept = ended = inside = 0;
    closed = false;
    weft__store(&stop_word, 0, RELAXED);
    for (int i = 0; i < CALLERS; i++)
        sim_expect(weft_spawn(&f[i], call_poll, NULL) == 0);
    weft_yield();
    weft__lane_bar(LANE, &bar, 7);
    for (int i = 0; i < CALLERS; i++)
        sim_expect(weft_join(f[i], NULL) == 0);
    closed = true;
    sim_expect(inside == 0 && kept + ended == CALLERS);
    weft__lane_unbar(LANE, &bar);
    return (kept > 0 ? 1 : 0) | (ended > 0 ? 2 : 0);
}

START_TEST(a_close_meets_each)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("lane/close", workers, RING, RUNS,
                                  close_under_all, NULL, &m),
                         RUNS);
        ck_assert_uint_gt(m.times[0], 0);
        ck_assert_uint_gt(m.times[1], 0);
    }
}
END_TEST

START_TEST(what_it_relies_on_is_missed)
{
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, abandon, NULL));
    ck_assert(
        sim_finds(SIM_LOST_WAKES, 2, RING, PLANTED_RUNS, abandon, NULL));
    ck_assert(sim_finds(SIM_LOST_WAKES, 2, RING, PLANTED_RUNS,
                        close_under_all, NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_lane");
    TCase *tc = tcase_create("lane");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, what_is_abandoned_is_dropped_once);
    tcase_add_test(tc, a_close_meets_each);
    tcase_add_test(tc, what_it_relies_on_is_missed);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
