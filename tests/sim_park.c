/*
 * Parking under the simulation: one fiber waits, several want to wake it.
 *
 * The wakers are a fiber on another worker and a thread that runs none, so
 * both ways back are taken: a worker's next slot and the injection queue.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include "sched/atomic.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/sched.h"

enum { RUNS = 1000, PLANTED_RUNS = 5000, RING = 8, ROUNDS = 3 };

enum { FIBER_WON = SIM_FIRST_FREE, THREAD_WON = 2 * SIM_FIRST_FREE,
       CANCEL_WON = 4 * SIM_FIRST_FREE, REVOKED = 8 * SIM_FIRST_FREE };

static struct {
    weft__aptr sleeper;
    weft__au64 gen; /* of the wait that is open */
    weft__au32 done;
    unsigned winner; /* plain: the effect of who won */
    unsigned wins;
} s;

/* Try to end each wait there is; whoever wins leaves its number. */
static void wake_all_rounds(unsigned me, void (*rest)(void))
{
    uint64_t tried = 0;

    while (!weft__load(&s.done, ACQUIRE)) {
        uint64_t gen = weft__load(&s.gen, ACQUIRE);
        struct weft__fiber *f = weft__load(&s.sleeper, RELAXED);

        if (gen == tried) {
            rest();
            continue;
        }
        tried = gen;
        if (!weft__claim(f, gen, WEFT__CAUSE_OK))
            continue;
        s.wins++;
        s.winner = me;
        weft__ready(f);
        /* That wait is over: no one ends it again. */
        sim_expect(!weft__claim(f, gen, WEFT__CAUSE_CLOSED));
    }
}

static void *fiber_waker(void *arg)
{
    wake_all_rounds(1, weft_yield);
    return arg;
}

static void *thread_waker(void *arg)
{
    wake_all_rounds(2, weft__os_pause);
    weft__pending_done();
    return arg;
}

/* Open a wait and tell its generation to the wakers. */
static uint64_t open_wait(struct weft__fiber *self, uint64_t flags)
{
    uint64_t gen;

    s.winner = 0;
    gen = weft__park_open(self, flags, "a waker", &s);
    weft__store(&s.sleeper, self, RELAXED);
    /* release: pairs with the wakers' acquire. */
    weft__store(&s.gen, gen, RELEASE);
    return gen;
}

static int park_against_two_wakers(void *arg)
{
    struct weft__fiber *self = weft__fiber_self();
    weft__os_thread thread;
    weft_fiber_t f;
    int met = 0;

    (void)arg;
    weft__pending_add();
    sim_expect(weft__os_thread_create(&thread, "t", thread_waker, NULL) == 0);
    sim_expect(weft_spawn(&f, fiber_waker, NULL) == 0);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        enum weft__cause cause;

        open_wait(self, 0);
        cause = weft__park(self);
        sim_expect(cause == WEFT__CAUSE_OK);
        sim_expect(s.wins == i && s.winner != 0);
        met |= s.winner == 1 ? FIBER_WON : THREAD_WON;
    }
    weft__store(&s.done, 1, RELEASE);
    sim_expect(weft_join(f, NULL) == 0);
    weft__os_thread_join(thread);
    return met | sim_did();
}

START_TEST(one_of_two_wakers_wins)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("park/two_wakers", workers, RING, RUNS,
                                  park_against_two_wakers, NULL, &m), RUNS);
        ck_assert_uint_gt(m.times[5], RUNS / 10);
        if (workers > 1)
            ck_assert_uint_gt(m.times[4], RUNS / 10);
    }
}
END_TEST

/* --- A wait that is taken back ------------------------------------------- */

static int revoke_against_a_waker(void *arg)
{
    struct weft__fiber *self = weft__fiber_self();
    weft__os_thread thread;
    unsigned wins = 0;
    int met = 0;

    (void)arg;
    weft__pending_add();
    sim_expect(weft__os_thread_create(&thread, "t", thread_waker, NULL) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        enum weft__cause cause;

        open_wait(self, 0);
        for (int n = 0; n < 3; n++)
            weft__os_point("before the revoke");
        if (weft__park_revoke(self, &cause)) {
            met |= REVOKED;
            sim_expect(s.wins == wins);
        } else {
            met |= THREAD_WON;
            sim_expect(cause == WEFT__CAUSE_OK && s.wins == ++wins);
        }
    }
    weft__store(&s.done, 1, RELEASE);
    weft__os_thread_join(thread);
    return met;
}

START_TEST(a_wait_is_taken_back_or_won)
{
    struct sim_met m;

    ck_assert_int_eq(sim_runs("park/revoke", 1, RING, RUNS,
                              revoke_against_a_waker, NULL, &m), RUNS);
    ck_assert_uint_gt(m.times[5], RUNS / 20);
    ck_assert_uint_gt(m.times[7], RUNS / 20);
}
END_TEST

/* --- Cancel -------------------------------------------------------------- */

static void *canceller(void *arg)
{
    struct weft__fiber *f = arg;
    uint64_t life = weft__load(&f->life, ACQUIRE);

    for (int i = 0; i < 4; i++)
        weft__os_point("before the cancel");
    sim_expect(weft__cancel(f, life));
    weft__pending_done();
    return NULL;
}

/* A cancel and a waker meet. A shielded wait belongs to the waker; once the
 * flag is set, each later wait ends by it, wherever the cancel came in. */
static int cancel_against_a_waker(void *arg)
{
    struct weft__fiber *self = weft__fiber_self();
    weft__os_thread waker, other;
    enum weft__cause cause;
    unsigned wins = 0;
    int met = 0;

    (void)arg;
    weft__pending_add();
    weft__pending_add();
    sim_expect(weft__os_thread_create(&waker, "w", thread_waker, NULL) == 0);
    sim_expect(weft__os_thread_create(&other, "c", canceller, self) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        open_wait(self, i == 0 ? WEFT__WAKE_NO_CANCEL : 0);
        cause = weft__park(self);
        sim_expect(cause == WEFT__CAUSE_OK || cause == WEFT__CAUSE_CANCEL);
        sim_expect(i > 0 || cause == WEFT__CAUSE_OK);
        if (cause == WEFT__CAUSE_OK)
            wins++;
        sim_expect(s.wins == wins);
        met |= cause == WEFT__CAUSE_OK ? THREAD_WON : CANCEL_WON;
    }
    weft__os_thread_join(other);
    sim_expect(weft__canceled(self));
    weft__store(&s.done, 1, RELEASE);
    weft__os_thread_join(waker);

    /* Nobody is left to end this one but the flag. */
    weft__park_open(self, 0, "nothing", NULL);
    sim_expect(weft__park(self) == WEFT__CAUSE_CANCEL);
    return met;
}

/* The cancel comes while the wait is being committed, and nobody else does. */
static int cancel_alone(void *arg)
{
    struct weft__fiber *self = weft__fiber_self();
    weft__os_thread other;

    (void)arg;
    weft__pending_add();
    sim_expect(weft__os_thread_create(&other, "c", canceller, self) == 0);
    weft__park_open(self, 0, "the cancel", NULL);
    sim_expect(weft__park(self) == WEFT__CAUSE_CANCEL);
    weft__os_thread_join(other);
    return 0;
}

START_TEST(a_cancel_meets_a_waker)
{
    struct sim_met m;

    for (unsigned workers = 1; workers <= 2; workers++) {
        ck_assert_int_eq(sim_runs("park/cancel", workers, RING, RUNS,
                                  cancel_against_a_waker, NULL, &m), RUNS);
        ck_assert_uint_gt(m.times[6], RUNS / 20);
        ck_assert_int_eq(sim_runs("park/cancel_alone", workers, RING, RUNS,
                                  cancel_alone, NULL, &m), RUNS);
    }
}
END_TEST

START_TEST(what_it_relies_on_is_missed)
{
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS,
                        park_against_two_wakers, NULL));
    ck_assert(sim_finds(SIM_TORN_CAS, 1, RING, PLANTED_RUNS,
                        revoke_against_a_waker, NULL));
    ck_assert(sim_finds(SIM_TORN_CAS, 1, RING, PLANTED_RUNS,
                        cancel_against_a_waker, NULL));
    ck_assert(sim_finds(SIM_LOST_WAKES, 1, RING, PLANTED_RUNS, cancel_alone,
                        NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_park");
    TCase *tc = tcase_create("park");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, one_of_two_wakers_wins);
    tcase_add_test(tc, a_wait_is_taken_back_or_won);
    tcase_add_test(tc, a_cancel_meets_a_waker);
    tcase_add_test(tc, what_it_relies_on_is_missed);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
