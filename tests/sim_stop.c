/*
 * The end of a run under the simulation: entry returns while fibers wait for
 * everything there is, spawn, join and compute. All waits end by the cancel,
 * every fiber comes to its end, and the run with it.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include <stdlib.h>

#include "sched/atomic.h"
#include "sched/os.h"

enum { RUNS = 600, PLANTED_RUNS = 5000, RING = 2 };

enum { CANCELED = SIM_FIRST_FREE };

static struct {
    weft_chan_t *ch;
    weft_queue_t *q;
    weft_mutex_t m;
    weft_waitgroup_t wg;
    weft__au32 canceled;
    weft__au32 ended;
} s;

static void *end(int status)
{
    if (status == -ECANCELED)
        (void)weft__fetch_add(&s.canceled, 1, RELAXED);
    else
        sim_expect(status == 0);
    (void)weft__fetch_add(&s.ended, 1, RELAXED);
    return NULL;
}

static void *receives(void *arg)
{
    int x;

    (void)arg;
    return end(weft_chan_recv(s.ch, &x));
}

static void *gets(void *arg)
{
    int x;

    (void)arg;
    return end(weft_queue_get(s.q, &x));
}

static void *waits(void *arg)
{
    (void)arg;
    return end(weft_waitgroup_wait(&s.wg));
}

static void *child(void *arg)
{
    weft_yield();
    return arg;
}

/* Spawns and joins until it is told to stop: by the spawn, or by the join,
 * whose child then is its own to clean up after. */
static void *spawns(void *arg)
{
    void *mine[1];
    int status;

    (void)arg;
    for (;;) {
        weft_fiber_t f;
        void *result = NULL;

        status = weft_spawn(&f, child, mine);
        if (status != 0)
            break;
        status = weft_join(f, &result);
        if (status != 0) {
            sim_expect(weft_detach(f) == 0);
            break;
        }
        sim_expect(result == mine);
    }
    return end(status);
}

/* Joins one that joins one that waits for ever. */
static void *joins(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    weft_fiber_t f;
    int status = weft_spawn(&f, depth > 0 ? joins : receives,
                            (void *)(depth - 1));

    if (status != 0)
        return end(status);
    status = weft_join(f, NULL);
    if (status != 0)
        sim_expect(weft_detach(f) == 0);
    return end(status);
}

/* A plain lock is no cancellation point: both get the mutex. */
static void *locks(void *arg)
{
    for (int i = 0; i < 2; i++) {
        sim_expect(weft_mutex_lock(&s.m) == 0);
        weft_yield();
        sim_expect(weft_mutex_unlock(&s.m) == 0);
    }
    (void)weft__fetch_add(&s.ended, 1, RELAXED);
    return arg;
}

static void *computes(void *arg)
{
    while (weft_checkpoint() != -ECANCELED)
        weft__os_point("computes");
    (void)weft__fetch_add(&s.ended, 1, RELAXED);
    return arg;
}

/* Who starts one, and has it counted, if it may. */
static void go(void *(*fn)(void *), intptr_t arg)
{
    sim_expect(weft_go(fn, (void *)arg) == 0);
}

static int leaves_waiters(void *arg)
{
    (void)arg;
    sim_expect(weft_chan_create(&s.ch, sizeof(int), 0) == 0);
    sim_expect(weft_queue_create(&s.q, WEFT_FIFO, sizeof(int), 1, NULL) == 0);
    sim_expect(weft_waitgroup_add(&s.wg, 1) == 0);
    go(receives, 0);
    go(gets, 0);
    go(waits, 0);
    go(locks, 0);
    go(locks, 0);
    for (int i = 0; i < 3; i++)
        weft_yield();
    return 0;
}

static int leaves_joiners(void *arg)
{
    (void)arg;
    sim_expect(weft_chan_create(&s.ch, sizeof(int), 0) == 0);
    go(spawns, 0);
    go(joins, 1);
    for (int i = 0; i < 4; i++)
        weft_yield();
    return 0;
}

static int leaves_spawners(void *arg)
{
    (void)arg;
    go(spawns, 0);
    go(spawns, 0);
    go(computes, 0);
    for (int i = 0; i < 10; i++)
        weft__os_point("late");
    return 0;
}

START_TEST(everyone_who_waits_is_sent_home)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        ck_assert_int_eq(sim_runs("stop/waiters", workers, RING, RUNS,
                                  leaves_waiters, NULL, NULL), RUNS);
        ck_assert_int_eq(sim_runs("stop/joiners", workers, RING, RUNS,
                                  leaves_joiners, NULL, NULL), RUNS);
        if (workers > 1)
            ck_assert_int_eq(sim_runs("stop/spawners", workers, RING, RUNS,
                                      leaves_spawners, NULL, NULL), RUNS);
    }
}
END_TEST

static int leaves_nobody(void *arg)
{
    (void)arg;
    return 0;
}

/* No time for others is time enough for the first fiber, which rings before it
 * counts itself out. */
START_TEST(a_stop_without_time_waits_for_what_has_ended)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    setenv("WEFT_STOP_TIMEOUT", "0", 1);
    for (sim.workers = 1; sim.workers <= 3; sim.workers++)
        ck_assert_int_eq(weft_explore(&sim, RUNS, leaves_nobody, NULL), RUNS);
}
END_TEST

START_TEST(what_it_relies_on_is_missed)
{
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, leaves_joiners,
                        NULL));
    ck_assert(sim_finds(SIM_LOST_WAKES, 2, RING, PLANTED_RUNS, leaves_waiters,
                        NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_stop");
    TCase *tc = tcase_create("stop");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, everyone_who_waits_is_sent_home);
    tcase_add_test(tc, a_stop_without_time_waits_for_what_has_ended);
    tcase_add_test(tc, what_it_relies_on_is_missed);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
