/*
 * Sleeping: never less than asked for, beside others, and until cancelled.
 */
#include "tests/support_prim.h"

#include <pthread.h>
#include <signal.h>

/* --- How long ------------------------------------------------------------- */

WEFT_TEST(a_sleep_is_never_shorter_than_asked_for)
{
    for (int i = 0; i < 200; i++) {
        weft_time_t duration = WEFT_US(i * i % 1777);
        weft_time_t start = weft_now();

        ck_code(weft_sleep(duration), 0);
        ck_assert_int_ge(weft_now() - start, duration);
    }
}
END_TEST

WEFT_TEST(sleep_until_ends_at_a_point_in_time)
{
    weft_time_t when = weft_after(WEFT_MS(5));

    ck_code(weft_sleep_until(when), 0);
    ck_assert_int_ge(weft_now(), when);
    /* It has passed: at once. */
    ck_code(weft_sleep_until(when), 0);
}
END_TEST

static void *count_up(void *arg)
{
    weft__fetch_add((weft__au32 *)arg, 1, RELAXED);
    return NULL;
}

static void sleep_of_nothing(int i)
{
    static const weft_time_t none[] = { 0, -1, -WEFT_SEC(1), INT64_MIN };
    weft__au32 turns = { 0 };
    weft_fiber_t f = spawn(count_up, &turns);

    ck_code(weft_sleep(none[i]), 0);
    ck_assert_uint_eq(weft__load(&turns, RELAXED), 1);
    join(f);
    f = spawn(count_up, &turns);
    ck_code(weft_sleep_until(none[i]), 0);
    ck_assert_uint_eq(weft__load(&turns, RELAXED), 2);
    join(f);
}

/* Zero, negative, a point in the past: others get a turn, and no more. On one
 * worker, so that it is this one's. */
START_TEST(a_sleep_of_nothing_lets_others_run)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    unsetenv("WEFT_WORKERS");
    config.workers = 1;
    ck_assert_int_eq(run_with(&config, sleep_of_nothing, _i), 0);
}
END_TEST

static void *sleep_for(void *arg)
{
    return (void *)(intptr_t)weft_sleep(*(weft_time_t *)arg);
}

/* The second one arms ahead of the first. */
WEFT_TEST(a_shorter_sleep_ends_before_a_longer_one)
{
    weft_time_t longer = WEFT_SEC(20), shorter = WEFT_MS(2);
    weft_fiber_t f = spawn(sleep_for, &longer);

    wait_until_parked(f);
    ck_assert_int_eq((intptr_t)join(spawn(sleep_for, &shorter)), 0);
    ck_assert(is_state(f, "parked"));
    ck_code(weft_cancel(f), 0);
    ck_assert_int_eq((intptr_t)join(f), -ECANCELED);
}
END_TEST

/* --- Cancelled -------------------------------------------------------------- */

WEFT_TEST(a_sleeper_is_cancelled)
{
    weft_time_t times[] = { WEFT_SEC(20), WEFT_FOREVER };

    for (unsigned i = 0; i < 2; i++) {
        weft_fiber_t f = spawn(sleep_for, &times[i]);

        wait_until_parked(f);
        ck_code(weft_cancel(f), 0);
        ck_code((int)(intptr_t)join(f), -ECANCELED);
    }
}
END_TEST

static void *cancel_self_and_sleep(void *arg)
{
    ck_code(weft_cancel(weft_self()), 0);
    ck_code(weft_sleep(WEFT_SEC(20)), -ECANCELED);
    ck_code(weft_sleep_until(WEFT_FOREVER), -ECANCELED);
    /* The look at the cancel comes before that at the clock. */
    ck_code(weft_sleep(0), -ECANCELED);
    return arg;
}

WEFT_TEST(a_cancelled_fiber_does_not_sleep)
{
    join(spawn(cancel_self_and_sleep, NULL));
}
END_TEST

/* --- Elsewhere ---------------------------------------------------------------- */

static void sleep_here(void *arg)
{
    weft_time_t start = weft_now();

    (void)arg;
    must_code(weft_sleep(WEFT_MS(3)), 0);
    must(weft_now() - start >= WEFT_MS(3));
    must_code(weft_sleep(-WEFT_SEC(1)), 0);
    must_code(weft_sleep_until(WEFT_NOW), 0);
    must_code(weft_sleep(0), 0);
}

WEFT_TEST(a_foreign_thread_and_a_lane_job_sleep_themselves)
{
    on_thread(sleep_here, NULL);
    on_lane(sleep_here, NULL);
}
END_TEST

static void handler(int number)
{
    (void)number;
}

/* A signal handler that runs meanwhile does not shorten it. */
START_TEST(a_sleep_without_a_runtime_is_whole_under_signals)
{
    struct sigaction action = { .sa_handler = handler };
    struct itimerspec every = { { 0, 1000000 }, { 0, 1000000 } };
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL,
                              .sigev_signo = SIGUSR1 };
    timer_t timer;
    weft_time_t start;

    ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
    ck_assert_int_eq(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    ck_assert_int_eq(timer_settime(timer, 0, &every, NULL), 0);
    start = weft_now();
    ck_code(weft_sleep(WEFT_MS(20)), 0);
    ck_assert_int_ge(weft_now() - start, WEFT_MS(20));
    timer_delete(timer);
}
END_TEST

/* --- The whole program ---------------------------------------------------------- */

static weft_chan_t *never;

static void *receive_for_ever(void *arg)
{
    return (void *)(intptr_t)weft_chan_recv(never, arg);
}

/* Fibers that nobody will ever wake, and one that sleeps: it may wake them,
 * so the program is not dead. When it has ended, it is. */
WEFT_TEST(a_program_with_a_sleeper_is_not_asleep_for_ever)
{
    weft_time_t shortly = WEFT_MS(30);
    weft_fiber_t f, sleeper;
    int status;

    never = new_chan(0, 0);
    f = spawn(receive_for_ever, NULL);
    wait_until_parked(f);
    for (int i = 0; i < 3; i++)
        ck_code(weft_sleep(WEFT_MS(5)), 0);
    sleeper = spawn(sleep_for, &shortly);
    status = weft_chan_recv(never, NULL);
    ck_assert_int_eq(status, -EDEADLK);
    ck_assert_int_eq(weft_join_try(sleeper, NULL), 0);
    ck_assert(is_state(f, "parked"));
    ck_assert_int_eq(weft_chan_close(never), 0);
    join(f);
    weft_chan_unref(never);
}
END_TEST

WEFT_TEST(a_program_that_sleeps_for_ever_is_told)
{
    ck_code(weft_sleep(WEFT_FOREVER), -EDEADLK);
    ck_code(weft_sleep_until(WEFT_FOREVER), -EDEADLK);
}
END_TEST

static void leave_sleepers(int i)
{
    static weft_time_t times[] = { WEFT_SEC(20), WEFT_FOREVER, WEFT_MS(1) };

    (void)i;
    for (unsigned k = 0; k < 3; k++)
        wait_until_parked(spawn(sleep_for, &times[k]));
}

/* The entry returns while others sleep: they are cancelled, and the next run
 * finds no entry of theirs. */
START_TEST(the_end_of_a_run_wakes_its_sleepers)
{
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(run_with(NULL, leave_sleepers, 0), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sleep");
    TCase *tc = tcase_create("sleep");

    tcase_add_test(tc, a_sleep_is_never_shorter_than_asked_for);
    tcase_add_test(tc, sleep_until_ends_at_a_point_in_time);
    tcase_add_loop_test(tc, a_sleep_of_nothing_lets_others_run, 0, 4);
    tcase_add_test(tc, a_shorter_sleep_ends_before_a_longer_one);
    tcase_add_test(tc, a_sleeper_is_cancelled);
    tcase_add_test(tc, a_cancelled_fiber_does_not_sleep);
    tcase_add_test(tc, a_foreign_thread_and_a_lane_job_sleep_themselves);
    tcase_add_test(tc, a_sleep_without_a_runtime_is_whole_under_signals);
    tcase_add_test(tc, a_program_with_a_sleeper_is_not_asleep_for_ever);
    tcase_add_test(tc, a_program_that_sleeps_for_ever_is_told);
    tcase_add_test(tc, the_end_of_a_run_wakes_its_sleepers);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
