/*
 * Cancelling: who can be cancelled and by whom, what it does to the waits that
 * come, and taking note of it. Each call that waits meets a cancel in
 * test_until.c, and at the instant of its success in stress_cancel.c; shields
 * are in test_shield.c.
 */
#include "tests/support_prim.h"

#include <sched.h>

static weft_chan_t *ch;
static weft__au32 step;

static void *nothing(void *arg)
{
    return arg;
}

/* --- Sticky ------------------------------------------------------------------- */

static void *receive_cancelled(void *arg)
{
    int x = -1;

    (void)arg;
    ck_code(weft_canceled(), 0);
    ck_code(weft_chan_recv(ch, &x), -ECANCELED);
    ck_code(weft_canceled(), 1);
    for (int i = 0; i < 3; i++)
        ck_code(weft_chan_recv(ch, &x), -ECANCELED);
    ck_code(weft_checkpoint(), -ECANCELED);
    ck_assert_int_eq(x, -1);
    return NULL;
}

WEFT_TEST(a_cancel_ends_the_wait_and_all_that_come)
{
    weft_fiber_t f;

    ch = new_chan(sizeof(int), 0);
    f = spawn(receive_cancelled, NULL);
    wait_until_parked(f);
    ck_code(weft_cancel(f), 0);
    join(f);
    weft_chan_unref(ch);
}
END_TEST

/* A value lies there; who was cancelled does not look. */
WEFT_TEST(nothing_is_tried_by_one_that_was_cancelled)
{
    weft_mutex_t m = WEFT_MUTEX_INIT;
    weft_waitgroup_t wg = WEFT_WAITGROUP_INIT;
    weft_fiber_t f = spawn(nothing, NULL);
    int x = 42;

    ch = new_chan(sizeof(int), 2);
    wait_until_ended(f);
    must_code(weft_chan_send(ch, &x), 0);
    ck_code(weft_cancel(weft_self()), 0);
    ck_code(weft_chan_recv(ch, &x), -ECANCELED);
    ck_code(weft_chan_send(ch, &x), -ECANCELED);
    ck_code(weft_mutex_lock_until(&m, WEFT_FOREVER), -ECANCELED);
    ck_code(weft_waitgroup_wait(&wg), -ECANCELED);
    ck_code(weft_join(f, NULL), -ECANCELED);
    ck_assert_uint_eq(weft_chan_len(ch), 1);

    /* What gives back, and what never waits, does not look at the cancel. */
    ck_code(weft_chan_recv_try(ch, &x), 0);
    ck_code(weft_chan_recv_until(ch, &x, WEFT_NOW), -EAGAIN);
    ck_code(weft_chan_send_try(ch, &x), 0);
    ck_code(weft_mutex_lock_try(&m), 0);
    ck_code(weft_mutex_unlock(&m), 0);
    ck_code(weft_mutex_lock(&m), 0);
    ck_code(weft_mutex_unlock(&m), 0);
    ck_code(weft_waitgroup_wait_try(&wg), 0);
    ck_code(weft_join_try(f, NULL), 0);
    ck_code(weft_chan_close(ch), 0);
    weft_chan_unref(ch);
}
END_TEST

static void *note_and_go_on(void *arg)
{
    int x = -1;

    for (int i = 0; i < 3; i++) {
        must_code(weft_chan_recv(ch, &x), -ECANCELED);
        weft_cancel_clear();
        ck_code(weft_canceled(), 0);
        ck_code(weft_checkpoint(), 0);
        weft__store(&step, 2 * (uint32_t)i + 1, RELEASE);
        must_code(weft_chan_recv(ch, &x), 0);
        ck_assert_int_eq(x, i);
        weft__store(&step, 2 * (uint32_t)i + 2, RELEASE);
    }
    return arg;
}

/* Who has taken note waits again, and can be cancelled again. */
WEFT_TEST(one_that_took_note_waits_again)
{
    weft_fiber_t f;

    ch = new_chan(sizeof(int), 0);
    f = spawn(note_and_go_on, NULL);
    for (int i = 0; i < 3; i++) {
        wait_until_parked(f);
        ck_code(weft_cancel(f), 0);
        wait_for(&step, 2 * (uint32_t)i + 1);
        must_code(weft_chan_send(ch, &i), 0);
        wait_for(&step, 2 * (uint32_t)i + 2);
    }
    join(f);
    weft_chan_unref(ch);
}
END_TEST

/* --- Who --------------------------------------------------------------------------- */

static void *wait_once(void *arg)
{
    weft__store(&step, 1, RELEASE);
    return (void *)(intptr_t)weft_chan_recv(arg, NULL);
}

/* It was asked to stop before it began: it begins, and is told. */
WEFT_TEST(an_unstarted_fiber_runs_and_its_first_wait_tells)
{
    weft_fiber_t f[20];

    ch = new_chan(0, 0);
    for (int i = 0; i < 20; i++) {
        f[i] = spawn(wait_once, ch);
        ck_code(weft_cancel(f[i]), 0);
    }
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq((intptr_t)join(f[i]), -ECANCELED);
    ck_assert_uint_eq(weft__load(&step, ACQUIRE), 1);
    weft_chan_unref(ch);
}
END_TEST

/* Until it is joined its id is good, and there is nothing to cancel. */
WEFT_TEST(one_that_has_ended_needs_no_cancel)
{
    weft_fiber_t f = spawn(nothing, (void *)7);

    wait_until_ended(f);
    ck_code(weft_cancel(f), 0);
    ck_assert_ptr_eq(join(f), (void *)7);
    ck_code(weft_cancel(f), -ESRCH);
    ck_code(weft_cancel(0), -ESRCH);
    ck_code(weft_cancel(UINT64_MAX), -ESRCH);
    ck_code(weft_cancel((weft_fiber_t)1 << 40), -ESRCH);
}
END_TEST

static void *not_cancelled(void *arg)
{
    ck_code(weft_canceled(), 0);
    weft_yield();
    ck_code(weft_canceled(), 0);
    return arg;
}

/* The record lives on with another fiber; the old id does not reach it. */
WEFT_TEST(a_stale_id_cancels_no_one)
{
    weft_fiber_t old[200];

    for (int i = 0; i < 200; i++) {
        old[i] = spawn(nothing, NULL);
        must_code(weft_cancel(old[i]), 0);
        join(old[i]);
    }
    for (int i = 0; i < 200; i++) {
        weft_fiber_t f = spawn(not_cancelled, NULL);

        for (int n = 0; n < 200; n++)
            must_code(weft_cancel(old[n]), -ESRCH);
        join(f);
    }
}
END_TEST

static weft_fiber_t victim;

static void cancel_victim(void *arg)
{
    (void)arg;
    ck_code(weft_cancel(victim), 0);
    ck_code(weft_cancel(0), -ESRCH);
}

/* By a fiber, by a thread that is not weft's, by a job of the lane. */
WEFT_TEST(anyone_may_cancel)
{
    ch = new_chan(sizeof(int), 0);
    victim = spawn(receive_cancelled, NULL);
    wait_until_parked(victim);
    if (_i == 0)
        cancel_victim(NULL);
    else if (_i == 1)
        on_thread(cancel_victim, NULL);
    else
        on_lane(cancel_victim, NULL);
    join(victim);
    weft_chan_unref(ch);
}
END_TEST

static void *cancel_it(void *arg)
{
    wait_until_parked(*(weft_fiber_t *)arg);
    ck_code(weft_cancel(*(weft_fiber_t *)arg), 0);
    return NULL;
}

/* The first fiber is one like others. */
WEFT_TEST(the_first_fiber_is_cancelled_by_its_child)
{
    weft_fiber_t me = weft_self();
    weft_fiber_t f = spawn(cancel_it, &me);
    int x;

    ch = new_chan(sizeof(int), 0);
    ck_code(weft_chan_recv(ch, &x), -ECANCELED);
    weft_cancel_clear();
    join(f);
    weft_chan_unref(ch);
}
END_TEST

static void *wait_for_ever(void *arg)
{
    return (void *)(intptr_t)weft_chan_recv(arg, NULL);
}

static void cancel_sleeper(void *arg)
{
    ck_code(weft_cancel(0), -ESRCH);
    weft__store(&step, 1, RELEASE);
    wait_for(&step, 2);
    wait_until_parked(*(weft_fiber_t *)arg);
    wait_until_all_idle();
    ck_code(weft_cancel(*(weft_fiber_t *)arg), 0);
}

/* All of weft sleeps; a thread that has called before ends it. */
WEFT_TEST(a_thread_cancels_in_a_program_that_is_asleep)
{
    struct foreign t;
    weft_fiber_t f;

    ch = new_chan(0, 0);
    foreign_start(&t, cancel_sleeper, &f);
    wait_for(&step, 1);
    f = spawn(wait_for_ever, ch);
    weft__store(&step, 2, RELEASE);
    ck_assert_int_eq((intptr_t)join(f), -ECANCELED);
    foreign_join(&t);
    weft_chan_unref(ch);
}
END_TEST

/* --- What is no cancellation point -------------------------------------------------- */

static weft_mutex_t mutex;

static void *lock_and_look(void *arg)
{
    ck_code(weft_mutex_lock(&mutex), 0);
    ck_code(weft_canceled(), 1);
    ck_code(weft_mutex_unlock(&mutex), 0);
    ck_code(weft_mutex_lock_until(&mutex, WEFT_FOREVER), -ECANCELED);
    return arg;
}

WEFT_TEST(a_plain_lock_is_left_alone)
{
    weft_fiber_t f;

    must_code(weft_mutex_lock(&mutex), 0);
    f = spawn(lock_and_look, NULL);
    wait_until_parked(f);
    ck_code(weft_cancel(f), 0);
    for (int i = 0; i < 100; i++)
        weft_yield();
    ck_assert(is_state(f, "parked"));
    must_code(weft_mutex_unlock(&mutex), 0);
    join(f);
}
END_TEST

static void *job(void *arg)
{
    weft__store(&step, 1, RELEASE);
    while (weft__load(&step, ACQUIRE) < 2)
        sched_yield();
    return arg;
}

static void *run_job(void *arg)
{
    ck_code(weft_blocking(job, arg, NULL), 0);
    ck_code(weft_canceled(), 1);
    ck_code(weft_blocking(job, arg, NULL), -ECANCELED);
    return NULL;
}

/* The job uses what is the fiber's: it is waited for. */
WEFT_TEST(a_running_job_is_waited_for)
{
    weft_fiber_t f = spawn(run_job, NULL);

    wait_for(&step, 1);
    ck_code(weft_cancel(f), 0);
    for (int i = 0; i < 100; i++)
        weft_yield();
    wait_until_parked(f);
    weft__store(&step, 2, RELEASE);
    join(f);
}
END_TEST

/* --- Elsewhere ---------------------------------------------------------------------------- */

static void call_outside(void *arg)
{
    (void)arg;
    weft_shield_begin();
    weft_shield_end();
    weft_shield_end();
    weft_cancel_clear();
    ck_code(weft_canceled(), 0);
    ck_code(weft_checkpoint(), 0);
}

WEFT_TEST(on_a_thread_that_runs_no_fiber_it_does_nothing)
{
    on_thread(call_outside, NULL);
    on_lane(call_outside, NULL);
}
END_TEST

/* Before there ever was a runtime. */
START_TEST(without_a_runtime_there_is_no_one_to_cancel)
{
    call_outside(NULL);
    ck_code(weft_cancel(1), -ESRCH);
    ck_code(weft_cancel(0), -ESRCH);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cancel");
    TCase *tcase = tcase_create("cancel");

    tcase_add_test(tcase, a_cancel_ends_the_wait_and_all_that_come);
    tcase_add_test(tcase, nothing_is_tried_by_one_that_was_cancelled);
    tcase_add_test(tcase, one_that_took_note_waits_again);
    tcase_add_test(tcase, an_unstarted_fiber_runs_and_its_first_wait_tells);
    tcase_add_test(tcase, one_that_has_ended_needs_no_cancel);
    tcase_add_test(tcase, a_stale_id_cancels_no_one);
    tcase_add_loop_test(tcase, anyone_may_cancel, 0, 3);
    tcase_add_test(tcase, the_first_fiber_is_cancelled_by_its_child);
    tcase_add_test(tcase, a_thread_cancels_in_a_program_that_is_asleep);
    tcase_add_test(tcase, a_plain_lock_is_left_alone);
    tcase_add_test(tcase, a_running_job_is_waited_for);
    tcase_add_test(tcase, on_a_thread_that_runs_no_fiber_it_does_nothing);
    tcase_add_test(tcase, without_a_runtime_there_is_no_one_to_cancel);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
