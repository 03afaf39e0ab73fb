/*
 * The inner lock under the simulation: three threads, one lock, with the
 * asymmetric barrier and without. And that the scenario would notice: what
 * the lock relies on is taken away, one thing at a time.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include <string.h>

#include "sched/lock.h"
#include "sched/os.h"

enum { RUNS = 1500, PLANTED_RUNS = 20000, THREADS = 3, ROUNDS = 3 };

static struct {
    weft__lock_t lock;
    unsigned inside;
    unsigned count;
} s;

static void fresh(void *arg)
{
    (void)arg;
    memset(&s, 0, sizeof(s));
}

static void inside(void)
{
    sim_expect(s.inside++ == 0);
    weft__os_point("inside");
    s.count++;
    s.inside--;
}

static void take_turns(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        weft__lock_acquire(&s.lock);
        inside();
        weft__lock_release(&s.lock);
    }
}

static void try_turns(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        while (!weft__lock_try(&s.lock))
            weft__os_pause();
        inside();
        weft__lock_release(&s.lock);
    }
}

static int all_came_in(void *arg)
{
    (void)arg;
    return s.count == THREADS * ROUNDS && s.lock.b.held.v == 0 ? 0 : -EPROTO;
}

static void (*const waiters[THREADS])(void *) = { take_turns, take_turns,
                                                  take_turns };
static void (*const mixed[THREADS])(void *) = { take_turns, try_turns,
                                                take_turns };

static int search(void (*const fns[])(void *), unsigned runs)
{
    weft_sim_t sim = sim_of(2);

    return weft__sim_search(&sim, runs, fns, THREADS, NULL, fresh,
                            all_came_in);
}

START_TEST(one_at_a_time_and_nobody_forgotten)
{
    double start = sim_seconds();

    weft__lock_asymmetric = _i;
    ck_assert_int_eq(search(waiters, RUNS), RUNS);
    ck_assert_int_eq(search(mixed, RUNS), RUNS);
    sim_print(_i ? "lock/asymmetric" : "lock/exchange", 2 * RUNS,
              sim_seconds() - start);
}
END_TEST

START_TEST(without_membarrier_a_sleeper_is_forgotten)
{
    weft__lock_asymmetric = true;
    weft__sim_quiet(true);
    sim_plant(SIM_NO_MEMBARRIER);
    /* A few runs in a hundred thousand: a hundred looks at the lock lie
     * before the one that matters. */
    ck_assert_int_eq(search(waiters, 50 * PLANTED_RUNS), -EDEADLK);
}
END_TEST

START_TEST(without_wakes_a_sleeper_is_forgotten)
{
    weft__lock_asymmetric = _i;
    weft__sim_quiet(true);
    sim_plant(SIM_LOST_WAKES);
    ck_assert_int_eq(search(waiters, PLANTED_RUNS), -EDEADLK);
}
END_TEST

START_TEST(with_a_torn_swap_two_come_in)
{
    weft__lock_asymmetric = _i;
    weft__sim_quiet(true);
    sim_plant(SIM_TORN_CAS);
    ck_assert_int_eq(search(waiters, PLANTED_RUNS), -EPROTO);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_lock");
    TCase *tc = tcase_create("lock");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_loop_test(tc, one_at_a_time_and_nobody_forgotten, 0, 2);
    tcase_add_test(tc, without_membarrier_a_sleeper_is_forgotten);
    tcase_add_loop_test(tc, without_wakes_a_sleeper_is_forgotten, 0, 2);
    tcase_add_loop_test(tc, with_a_torn_swap_two_come_in, 0, 2);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
