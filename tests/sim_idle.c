/*
 * Idle against wake under the simulation: workers lie down while work comes
 * in, from outside and from each other; nothing is slept over. And the next
 * slot: what stands there while its owner computes is taken by another.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include "sched/atomic.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/sched.h"
#include "sched/worker.h"

enum { RUNS = 1000, PLANTED_RUNS = 10000, RING = 4, ROUNDS = 4 };

static struct {
    weft__aptr sleeper;
    weft__au64 gen;
    weft__au32 flag;
    weft__au32 count;
} s;

static struct weft__fiber *self_opens(void)
{
    struct weft__fiber *self = weft__fiber_self();
    uint64_t gen = weft__park_open(self, 0, "work from outside", &s);

    weft__store(&s.sleeper, self, RELAXED);
    weft__store(&s.gen, gen, RELEASE);
    return self;
}

/* --- From outside -------------------------------------------------------- */

/* A thread that runs no fiber wakes one, round after round; in between all
 * workers go to sleep, or are on their way. */
static void *outsider(void *arg)
{
    uint64_t last = 0;

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t gen;

        while ((gen = weft__load(&s.gen, ACQUIRE)) == last)
            weft__os_pause();
        last = gen;
        sim_expect(weft__wake(weft__load(&s.sleeper, RELAXED), gen,
                              WEFT__CAUSE_OK));
    }
    weft__pending_done();
    return arg;
}

/* Once, and late: the whole runtime sleeps by then, or is just about to. The
 * monitor looks twice, 10 ms apart, before it sleeps for good. */
static void *outsider_late(void *arg)
{
    uint64_t gen;

    while ((gen = weft__load(&s.gen, ACQUIRE)) == 0)
        weft__os_pause();
    weft__os_futex_wait(&s.flag, 0,
                        WEFT_MS(9) + WEFT_US(100) *
                                         (int64_t)(weft__sim_last()->seed %
                                                   40));
    weft__wake(weft__load(&s.sleeper, RELAXED), gen, WEFT__CAUSE_OK);
    weft__pending_done();
    return arg;
}

static int woken_from_outside(void *arg)
{
    weft__os_thread thread;

    (void)arg;
    weft__pending_add();
    sim_expect(weft__os_thread_create(&thread, "o", outsider, NULL) == 0);
    for (int i = 0; i < ROUNDS; i++)
        sim_expect(weft__park(self_opens()) == WEFT__CAUSE_OK);
    weft__os_thread_join(thread);
    return sim_did();
}

START_TEST(work_from_outside_is_not_slept_over)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("idle/outside", workers, RING, RUNS,
                                  woken_from_outside, NULL, &m), RUNS);
        ck_assert_uint_gt(m.times[2], RUNS / 4);
    }
}
END_TEST

START_TEST(without_fences_it_is_slept_over)
{
    ck_assert(sim_finds(SIM_NO_FENCE, 1, RING, PLANTED_RUNS,
                        woken_from_outside, NULL));
    ck_assert(sim_finds(SIM_LOST_WAKES, 1, RING, PLANTED_RUNS,
                        woken_from_outside, NULL));
}
END_TEST

/* --- From outside, by two ---------------------------------------------------- */

enum { TIMES = 2 * ROUNDS };

static weft__au64 due_at;

static bool all_sleep(void)
{
    return weft__load(&weft__sched.idle, SEQ_CST) == weft__sched.count;
}

/* Comes to wake when a timer is due, and may find that the sleeper has just got
 * up. */
static void *outsider_in_vain(void *arg)
{
    uint64_t due, last = 0;

    while ((due = weft__load(&due_at, ACQUIRE)) != UINT64_MAX) {
        if (due == last) {
            weft__os_pause();
            continue;
        }
        last = due;
        weft__os_sleep_until((int64_t)due);
        weft__idle_wake_one();
    }
    weft__pending_done();
    return arg;
}

/* Brings work when all sleep. */
static void *outsider_at_rest(void *arg)
{
    uint64_t last = 0;

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t gen;

        while ((gen = weft__load(&s.gen, ACQUIRE)) == last || !all_sleep())
            weft__os_pause();
        last = gen;
        sim_expect(weft__wake(weft__load(&s.sleeper, RELAXED), gen,
                              WEFT__CAUSE_OK));
    }
    weft__pending_done();
    return arg;
}

static void *be_woken(void *arg)
{
    for (int i = 0; i < ROUNDS; i++)
        sim_expect(weft__park(self_opens()) == WEFT__CAUSE_OK);
    return arg;
}

/* Timers get the workers up by themselves: who came to wake then and found
 * nobody is no one on whom another may rely who brings work. */
static int woken_by_two(void *arg)
{
    weft__os_thread thread[2];
    weft_fiber_t f;

    (void)arg;
    weft__store(&due_at, 0, RELAXED);
    weft__pending_add();
    weft__pending_add();
    sim_expect(weft_spawn(&f, be_woken, NULL) == 0);
    sim_expect(weft__os_thread_create(&thread[0], "o", outsider_in_vain,
                                      NULL) == 0);
    sim_expect(weft__os_thread_create(&thread[1], "o", outsider_at_rest,
                                      NULL) == 0);
    for (int i = 0; i < TIMES; i++) {
        weft_time_t due = weft_after(WEFT_NS(400));

        weft__store(&due_at, (uint64_t)due, RELEASE);
        sim_expect(weft_sleep_until(due) == 0);
    }
    weft__store(&due_at, UINT64_MAX, RELEASE);
    sim_expect(weft_join(f, NULL) == 0);
    for (int i = 0; i < 2; i++)
        weft__os_thread_join(thread[i]);
    return sim_did();
}

START_TEST(who_woke_nobody_keeps_no_other_from_waking)
{
    for (unsigned workers = 1; workers <= 2; workers++)
        ck_assert_int_eq(sim_runs("idle/two outside", workers, RING, 2 * RUNS,
                                  woken_by_two, NULL, NULL), 2 * RUNS);
}
END_TEST

/* --- From each other ----------------------------------------------------- */

static void *computes(void *arg)
{
    for (int i = 0; i < 20; i++)
        weft__os_point("computes");
    (void)weft__fetch_add(&s.count, 1, RELAXED);
    return arg;
}

/* Bursts, with pauses in between in which others lie down. */
static int bursts(void *arg)
{
    weft_fiber_t f[3];

    (void)arg;
    for (int burst = 0; burst < 3; burst++) {
        for (int i = 0; i < 3; i++)
            sim_expect(weft_spawn(&f[i], computes, NULL) == 0);
        for (int i = 0; i < 3; i++)
            sim_expect(weft_join(f[i], NULL) == 0);
        for (int i = 0; i < 200; i++)
            weft__os_point("nothing to do for others");
    }
    sim_expect(weft__load(&s.count, RELAXED) == 9);
    return sim_did();
}

START_TEST(bursts_are_shared)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("idle/bursts", workers, RING, RUNS, bursts,
                                  NULL, &m), RUNS);
        if (workers > 1) {
            ck_assert_uint_gt(m.times[0], RUNS / 20);
            ck_assert_uint_gt(m.times[3], RUNS / 20);
        }
    }
}
END_TEST

/* Children that others take from us while we send for a sleeper; one that gets up
 * by itself before, runs the child and lies down again is not counted twice: or
 * all would seem to sleep, and the one who is parked be told of a deadlock. */
static void *counts(void *arg)
{
    (void)weft__fetch_add(&s.count, 1, RELAXED);
    return arg;
}

static void *waits(void *ch)
{
    return (void *)(intptr_t)weft_chan_recv(ch, NULL);
}

static int hands_out(void *arg)
{
    uint64_t seed = weft__sim_last()->seed;
    weft_chan_t *ch;
    weft_fiber_t parked;
    void *got;

    sim_expect(weft_chan_create(&ch, 0, 0) == 0);
    sim_expect(weft_spawn(&parked, waits, ch) == 0);
    weft_yield();
    for (uint64_t round = 0; round < ROUNDS; round++) {
        sim_expect(weft_go(counts, arg) == 0);
        for (uint64_t i = 0; i < (seed + round * 29) % 120; i++)
            weft__os_point("computes");
    }
    sim_expect(weft_chan_send(ch, NULL) == 0);
    sim_expect(weft_join(parked, &got) == 0 && got == NULL);
    weft_chan_unref(ch);
    return sim_did();
}

START_TEST(nobody_is_counted_asleep_twice)
{
    for (unsigned workers = 2; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("idle/hands out", workers, RING, RUNS,
                                  hands_out, NULL, &m), RUNS);
        ck_assert_uint_gt(m.times[0], m.runs / 10);
    }
}
END_TEST

/* --- The next slot ------------------------------------------------------- */

static void *set_flag(void *arg)
{
    weft__store(&s.flag, 1, RELEASE);
    return arg;
}

/* The child waits in our next slot and we never give the worker away: only
 * another worker can run it. If none comes the run never ends. */
static int compute_until_child_ran(void *arg)
{
    weft_fiber_t f;

    (void)arg;
    sim_expect(weft_spawn(&f, set_flag, NULL) == 0);
    while (!weft__load(&s.flag, ACQUIRE))
        weft__os_point("computes");
    sim_expect(weft_join(f, NULL) == 0);
    return sim_did();
}

/* The same after everyone has slept, the monitor too: whoever gets up has to
 * get it up as well. */
static int compute_after_sleep(void *arg)
{
    weft__os_thread thread;

    weft__pending_add();
    sim_expect(weft__os_thread_create(&thread, "o", outsider_late, NULL) == 0);
    sim_expect(weft__park(self_opens()) == WEFT__CAUSE_OK);
    weft__os_thread_join(thread);
    return compute_until_child_ran(arg);
}

START_TEST(a_next_slot_whose_owner_computes_is_taken)
{
    for (unsigned workers = 2; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("idle/next_slot", workers, RING, RUNS / 4,
                                  compute_until_child_ran, NULL, &m),
                         RUNS / 4);
        ck_assert_uint_eq(m.times[0], m.runs);
        ck_assert_int_eq(sim_runs("idle/after_sleep", workers, RING, RUNS,
                                  compute_after_sleep, NULL, &m), RUNS);
    }
}
END_TEST

/* Two that ready each other through the next slot, and a third in the ring:
 * it gets its turn. */
static struct {
    weft__aptr fiber[2];
    weft__au64 gen[2];
    unsigned turns;
    bool third_ran;
} p;

static void *ping_pong(void *arg)
{
    int me = (int)(intptr_t)arg;
    struct weft__fiber *self = weft__fiber_self();

    while (!p.third_ran) {
        uint64_t other;

        sim_expect(p.turns++ < 200);
        weft__store(&p.gen[me], weft__park_open(self, 0, "ping", &p), RELAXED);
        weft__store(&p.fiber[me], self, RELEASE);
        other = weft__load(&p.gen[!me], RELAXED);
        if (other != 0) {
            weft__store(&p.gen[!me], 0, RELAXED);
            weft__wake(weft__load(&p.fiber[!me], ACQUIRE), other,
                       WEFT__CAUSE_OK);
        }
        sim_expect(weft__park(self) == WEFT__CAUSE_OK);
    }
    /* Both leave: the other may still be parked. */
    if (weft__load(&p.gen[!me], RELAXED) != 0)
        weft__wake(weft__load(&p.fiber[!me], ACQUIRE),
                   weft__load(&p.gen[!me], RELAXED), WEFT__CAUSE_OK);
    return NULL;
}

static void *third(void *arg)
{
    p.third_ran = true;
    return arg;
}

static int ping_pong_and_a_third(void *arg)
{
    weft_fiber_t f[3];

    (void)arg;
    sim_expect(weft_spawn(&f[2], third, NULL) == 0);
    sim_expect(weft_spawn(&f[0], ping_pong, (void *)0) == 0);
    sim_expect(weft_spawn(&f[1], ping_pong, (void *)1) == 0);
    for (int i = 0; i < 3; i++)
        sim_expect(weft_join(f[i], NULL) == 0);
    return 0;
}

START_TEST(a_pair_in_the_next_slot_starves_nobody)
{
    ck_assert_int_eq(sim_runs("idle/ping_pong", 1, RING, RUNS / 10,
                              ping_pong_and_a_third, NULL, NULL), RUNS / 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_idle");
    TCase *tc = tcase_create("idle");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, work_from_outside_is_not_slept_over);
    tcase_add_test(tc, who_woke_nobody_keeps_no_other_from_waking);
    tcase_add_test(tc, without_fences_it_is_slept_over);
    tcase_add_test(tc, bursts_are_shared);
    tcase_add_test(tc, nobody_is_counted_asleep_twice);
    tcase_add_test(tc, a_next_slot_whose_owner_computes_is_taken);
    tcase_add_test(tc, a_pair_in_the_next_slot_starves_nobody);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
