/*
 * Condition variables: who is woken by which signal, what a waiter that gives
 * up leaves, and the mutex in between. Schedules in between are in
 * sim_cond.c, freeing on return in test_free.c.
 */
#include "tests/support_prim.h"

#include <stdint.h>

static weft_mutex_t m;
static weft_cond_t c;
static int woken; /* under m */

static void *wait_once(void *arg)
{
    must_code(weft_mutex_lock(&m), 0);
    ck_code(weft_cond_wait(&c, &m), 0);
    /* The mutex is ours. */
    ck_code(weft_mutex_lock_try(&m), -EDEADLK);
    woken++;
    ck_code(weft_mutex_unlock(&m), 0);
    return arg;
}

static weft_fiber_t parked_waiter(void *(*how)(void *), void *arg)
{
    weft_fiber_t f = spawn(how, arg);

    wait_until_parked(f);
    return f;
}

/* --- Signals ------------------------------------------------------------------ */

WEFT_TEST(a_signal_without_a_waiter_is_nothing)
{
    weft_cond_t zero = WEFT_COND_INIT;
    weft_fiber_t f;

    ck_assert_uint_eq(sizeof(weft_cond_t), 24);
    c = zero;
    ck_code(weft_cond_signal(&c), 0);
    ck_code(weft_cond_signal_n(&c, 7), 0);
    ck_code(weft_cond_broadcast(&c), 0);
    f = parked_waiter(wait_once, NULL);
    ck_code(weft_cond_signal(&c), 0);
    join(f);
    ck_assert_int_eq(woken, 1);
}
END_TEST

WEFT_TEST(signals_wake_in_the_order_they_came)
{
    enum { N = 6 };
    weft_fiber_t f[N];

    for (int i = 0; i < N; i++)
        f[i] = parked_waiter(wait_once, NULL);
    for (int i = 0; i < N; i++) {
        ck_code(weft_cond_signal(&c), 0);
        join(f[i]);
        for (int k = i + 1; k < N; k++)
            ck_assert(is_state(f[k], "parked"));
    }
    ck_assert_int_eq(woken, N);
}
END_TEST

WEFT_TEST(signal_n_wakes_the_n_oldest_and_broadcast_the_rest)
{
    enum { N = 9 };
    weft_fiber_t f[N];

    for (int i = 0; i < N; i++)
        f[i] = parked_waiter(wait_once, NULL);
    ck_code(weft_cond_signal_n(&c, 0), 0);
    ck_code(weft_cond_signal_n(&c, 4), 0);
    for (int i = 0; i < 4; i++)
        join(f[i]);
    for (int i = 4; i < N; i++)
        ck_assert(is_state(f[i], "parked"));
    ck_assert_int_eq(woken, 4);
    ck_code(weft_cond_broadcast(&c), 0);
    for (int i = 4; i < N; i++)
        join(f[i]);
    ck_assert_int_eq(woken, N);
    ck_code(weft_cond_signal_n(&c, UINT32_MAX), 0);
}
END_TEST

/* The signal comes under the mutex: the woken one returns after the unlock. */
WEFT_TEST(a_woken_waiter_waits_for_the_mutex)
{
    weft_fiber_t f = parked_waiter(wait_once, NULL);

    must_code(weft_mutex_lock(&m), 0);
    ck_code(weft_cond_signal(&c), 0);
    wait_until_parked(f);
    for (int i = 0; i < 100; i++)
        weft_yield();
    ck_assert_int_eq(woken, 0);
    must_code(weft_mutex_unlock(&m), 0);
    join(f);
    ck_assert_int_eq(woken, 1);
}
END_TEST

/* --- A buffer: what it is for ----------------------------------------------------- */

enum { PLACES = 3, EACH = 400, ENDS = 4 };

static struct {
    weft_cond_t nonempty, nonfull;
    int value[PLACES];
    int n, head;
    long sum_in, sum_out;
} buffer;

static void *put_all(void *arg)
{
    for (int i = 0; i < EACH; i++) {
        must_code(weft_mutex_lock(&m), 0);
        while (buffer.n == PLACES)
            must_code(weft_cond_wait(&buffer.nonfull, &m), 0);
        buffer.value[(buffer.head + buffer.n++) % PLACES] = i;
        buffer.sum_in += i;
        must_code(weft_cond_signal(&buffer.nonempty), 0);
        must_code(weft_mutex_unlock(&m), 0);
    }
    return arg;
}

static void *get_all(void *arg)
{
    for (int i = 0; i < EACH; i++) {
        must_code(weft_mutex_lock(&m), 0);
        while (buffer.n == 0)
            must_code(weft_cond_wait(&buffer.nonempty, &m), 0);
        buffer.sum_out += buffer.value[buffer.head];
        buffer.head = (buffer.head + 1) % PLACES;
        buffer.n--;
        must_code(weft_mutex_unlock(&m), 0);
        /* Without the mutex: also right. */
        must_code(weft_cond_signal(&buffer.nonfull), 0);
    }
    return arg;
}

WEFT_TEST(a_bounded_buffer_loses_no_signal)
{
    weft_fiber_t f[2 * ENDS];

    for (int i = 0; i < ENDS; i++) {
        f[i] = spawn(put_all, NULL);
        f[ENDS + i] = spawn(get_all, NULL);
    }
    for (int i = 0; i < 2 * ENDS; i++)
        join(f[i]);
    ck_assert_int_eq(buffer.n, 0);
    ck_assert_int_eq(buffer.sum_in, buffer.sum_out);
}
END_TEST

/* --- No spurious wake-ups ----------------------------------------------------------- */

static weft__au32 returns;

static void *count_returns(void *arg)
{
    must_code(weft_mutex_lock(&m), 0);
    while (weft_cond_wait(&c, &m) == 0)
        (void)weft__fetch_add(&returns, 1, RELAXED);
    must_code(weft_mutex_unlock(&m), 0);
    return arg;
}

/* Nobody returns but by a signal: as many returns as signals that met a
 * waiter, which all of them do here. */
WEFT_TEST(as_many_return_as_were_signalled)
{
    enum { N = 5 };
    weft_fiber_t f[N];

    for (int i = 0; i < N; i++)
        f[i] = parked_waiter(count_returns, NULL);
    for (uint32_t i = 0; i < (uint32_t)ROUNDS(2000); i++) {
        must_code(weft_cond_signal(&c), 0);
        wait_for(&returns, i + 1);
        wait_until_n_parked(N);
        must(weft__load(&returns, RELAXED) == i + 1);
    }
    for (int i = 0; i < N; i++)
        (void)weft_cancel(f[i]);
    for (int i = 0; i < N; i++)
        join(f[i]);
}
END_TEST

/* --- Giving up ---------------------------------------------------------------------- */

static void *wait_cancelled(void *arg)
{
    must_code(weft_mutex_lock(&m), 0);
    ck_code(weft_cond_wait(&c, &m), -ECANCELED);
    ck_code(weft_mutex_lock_try(&m), -EDEADLK);
    /* Looked at on entry: the mutex stays locked. */
    ck_code(weft_cond_wait(&c, &m), -ECANCELED);
    ck_code(weft_cond_wait_until(&c, &m, WEFT_FOREVER), -ECANCELED);
    ck_code(weft_cond_signal_n(&c, 0), 0);
    woken++;
    ck_code(weft_mutex_unlock(&m), 0);
    return arg;
}

WEFT_TEST(a_cancelled_waiter_has_the_mutex_and_the_next_the_signal)
{
    weft_fiber_t a = parked_waiter(wait_cancelled, NULL);
    weft_fiber_t b = parked_waiter(wait_once, NULL);

    /* While it is on its way out it stays on the list: the mutex is ours. */
    must_code(weft_mutex_lock(&m), 0);
    ck_code(weft_cancel(a), 0);
    ck_code(weft_cond_signal(&c), 0);
    must_code(weft_mutex_unlock(&m), 0);
    join(b);
    join(a);
    ck_assert_int_eq(woken, 2);
}
END_TEST

/* The re-lock is no cancellation point: it is cancelled while it waits for
 * the mutex, and returns with it. */
WEFT_TEST(a_cancel_during_the_relock_waits_for_the_mutex)
{
    weft_fiber_t f = parked_waiter(_i ? wait_once : wait_cancelled, NULL);

    must_code(weft_mutex_lock(&m), 0);
    if (_i)
        ck_code(weft_cond_signal(&c), 0);
    else
        ck_code(weft_cancel(f), 0);
    wait_until_parked(f);
    if (_i)
        ck_code(weft_cancel(f), 0);
    for (int i = 0; i < 100; i++)
        weft_yield();
    ck_assert_int_eq(woken, 0);
    must_code(weft_mutex_unlock(&m), 0);
    join(f);
    ck_assert_int_eq(woken, 1);
}
END_TEST

WEFT_TEST(a_deadline_that_has_passed_keeps_the_mutex)
{
    must_code(weft_mutex_lock(&m), 0);
    ck_code(weft_cond_wait_until(&c, &m, weft_now() - 1), -ETIMEDOUT);
    ck_code(weft_cond_wait_until(&c, &m, WEFT_NOW), -EAGAIN);
    ck_code(weft_mutex_unlock(&m), 0);
    /* Nobody waits, so another mutex will do. */
    ck_assert_int_eq(c.weft_private[0] == 0, 1);
}
END_TEST

WEFT_TEST(a_deadline_ends_the_wait_with_the_mutex_locked)
{
    weft_time_t soon = weft_after(WEFT_MS(3));

    must_code(weft_mutex_lock(&m), 0);
    ck_code(weft_cond_wait_until(&c, &m, soon), -ETIMEDOUT);
    ck_assert(weft_now() >= soon);
    ck_assert_int_eq(c.weft_private[0] == 0, 1);
    ck_code(weft_mutex_unlock(&m), 0);
}
END_TEST

WEFT_TEST(a_program_asleep_at_a_condition_is_told)
{
    must_code(weft_mutex_lock(&m), 0);
    ck_code(weft_cond_wait(&c, &m), -EDEADLK);
    ck_code(weft_mutex_unlock(&m), 0);
    must_code(weft_mutex_lock(&m), 0);
    ck_code(weft_cond_wait_until(&c, &m, WEFT_FOREVER), -EDEADLK);
    ck_code(weft_mutex_unlock(&m), 0);
}
END_TEST

static void *keep_the_mutex(void *arg)
{
    must_code(weft_mutex_lock(&m), 0);
    must_code(weft_cond_signal(&c), 0);
    must_code(weft_chan_recv(arg, NULL), 0);
    must_code(weft_mutex_unlock(&m), 0);
    return NULL;
}

/* The one way to return without the mutex: who has it sleeps for ever. */
WEFT_TEST(a_mutex_that_cannot_be_had_again_is_told)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t f;

    must_code(weft_mutex_lock(&m), 0);
    f = spawn(keep_the_mutex, ch);
    ck_code(weft_cond_wait(&c, &m), -EDEADLK);
    ck_code(weft_mutex_unlock(&m), -EPERM);
    must_code(weft_chan_send(ch, NULL), 0);
    join(f);
    weft_chan_unref(ch);
}
END_TEST

/* --- Misuse --------------------------------------------------------------------------- */

static void *wait_unowned(void *arg)
{
    ck_code(weft_cond_wait(&c, &m), -EPERM);
    ck_code(weft_cond_wait_until(&c, &m, WEFT_FOREVER), -EPERM);
    return arg;
}

static void use_outside(void *arg)
{
    weft_mutex_t mine = WEFT_MUTEX_INIT;

    (void)arg;
    must_code(weft_mutex_lock(&mine), 0);
    ck_code(weft_cond_wait(&c, &mine), -EPERM);
    ck_code(weft_cond_wait_until(&c, &mine, WEFT_FOREVER), -EPERM);
    must_code(weft_mutex_unlock(&mine), 0);
    ck_code(weft_cond_wait(NULL, &mine), -EINVAL);
    ck_code(weft_cond_wait(&c, NULL), -EINVAL);
    ck_code(weft_cond_wait_until(NULL, &mine, WEFT_FOREVER), -EINVAL);
    ck_code(weft_cond_wait_until(&c, NULL, WEFT_NOW), -EINVAL);
    ck_code(weft_cond_signal(NULL), -EINVAL);
    ck_code(weft_cond_signal_n(NULL, 1), -EINVAL);
    ck_code(weft_cond_broadcast(NULL), -EINVAL);
}

WEFT_TEST(only_the_owner_of_the_mutex_waits)
{
    wait_unowned(NULL);
    must_code(weft_mutex_lock(&m), 0);
    join(spawn(wait_unowned, NULL));
    must_code(weft_mutex_unlock(&m), 0);
    on_thread(use_outside, NULL);
    on_lane(use_outside, NULL);
}
END_TEST

WEFT_TEST(all_wait_with_the_same_mutex)
{
    weft_mutex_t other = WEFT_MUTEX_INIT;
    weft_fiber_t f = parked_waiter(wait_once, NULL);

    must_code(weft_mutex_lock(&other), 0);
    ck_code(weft_cond_wait(&c, &other), -EINVAL);
    ck_code(weft_cond_wait_until(&c, &other, WEFT_FOREVER), -EINVAL);
    must_code(weft_cond_signal(&c), 0);
    join(f);
    ck_code(weft_cond_wait_until(&c, &other, WEFT_NOW), -EAGAIN);
    ck_code(weft_mutex_unlock(&other), 0);
}
END_TEST

/* --- From outside ------------------------------------------------------------------------ */

static void signal_from_outside(void *arg)
{
    ck_code(weft_cond_signal(&c), 0);
    weft__store((weft__au32 *)arg, 1, RELEASE);
    wait_for(arg, 2);
    wait_until_all_idle();
    ck_code(weft_cond_broadcast(&c), 0);
}

WEFT_TEST(a_foreign_thread_ends_the_wait)
{
    weft__au32 step = { 0 };
    struct foreign t;

    foreign_start(&t, signal_from_outside, &step);
    wait_for(&step, 1);
    must_code(weft_mutex_lock(&m), 0);
    weft__store(&step, 2, RELEASE);
    ck_code(weft_cond_wait_until(&c, &m, WEFT_FOREVER), 0);
    must_code(weft_mutex_unlock(&m), 0);
    foreign_join(&t);
}
END_TEST

/* --- At the instant of success ------------------------------------------------------------ */

static int answers[2];

static void *wait_and_tell(void *arg)
{
    int i = (int)(intptr_t)arg;

    must_code(weft_mutex_lock(&m), 0);
    woken++;
    answers[i] = weft_cond_wait(&c, &m);
    must_code(weft_mutex_unlock(&m), 0);
    return NULL;
}

static void wait_until_both_wait(void)
{
    int n;

    do {
        weft_yield();
        must_code(weft_mutex_lock(&m), 0);
        n = woken;
        must_code(weft_mutex_unlock(&m), 0);
    } while (n < 2);
}

/* Two wait; the older is cancelled while one signal comes. Whoever took it,
 * it was exactly one of the two. */
WEFT_TEST(a_signal_stolen_by_a_cancel_goes_to_the_next)
{
    weft_time_t until = weft_now() + WEFT_MS(300);

    for (int i = 0; i < 5000 && weft_now() < until; i++) {
        weft_fiber_t f[2];

        woken = 0;
        for (intptr_t k = 0; k < 2; k++)
            f[k] = spawn(wait_and_tell, (void *)k);
        wait_until_both_wait();
        if (i % 2)
            must_code(weft_cond_signal(&c), 0);
        (void)weft_cancel(f[i / 2 % 2]);
        if (i % 2 == 0)
            must_code(weft_cond_signal(&c), 0);
        join(f[i / 2 % 2]);
        /* If that one took the signal, the other still waits. */
        if (answers[i / 2 % 2] == 0)
            must_code(weft_cond_signal(&c), 0);
        join(f[1 - i / 2 % 2]);
        must_code(answers[1 - i / 2 % 2], 0);
    }
}
END_TEST

/* Deadline and signal at the same instant: whoever says 0 took it. */
static int late;

static void *wait_shortly(void *arg)
{
    must_code(weft_mutex_lock(&m), 0);
    late = weft_cond_wait_until(&c, &m, weft_after(*(weft_time_t *)arg));
    must_code(weft_mutex_unlock(&m), 0);
    return NULL;
}

WEFT_TEST(a_deadline_at_the_instant_of_the_signal_is_one_or_the_other)
{
    weft_time_t until = weft_now() + WEFT_MS(300);

    for (int i = 0; i < 5000 && weft_now() < until; i++) {
        weft_time_t wait = WEFT_US(i % 30);
        weft_fiber_t f = spawn(wait_shortly, &wait);

        for (int n = i % 5; n > 0; n--)
            weft_yield();
        must_code(weft_cond_signal(&c), 0);
        join(f);
        must(late == 0 || late == -ETIMEDOUT);
        must(c.weft_private[0] == 0 && c.weft_private[1] == 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cond");
    TCase *tcase = tcase_create("cond");

    tcase_add_test(tcase, a_signal_without_a_waiter_is_nothing);
    tcase_add_test(tcase, signals_wake_in_the_order_they_came);
    tcase_add_test(tcase, signal_n_wakes_the_n_oldest_and_broadcast_the_rest);
    tcase_add_test(tcase, a_woken_waiter_waits_for_the_mutex);
    tcase_add_test(tcase, a_bounded_buffer_loses_no_signal);
    tcase_add_test(tcase, as_many_return_as_were_signalled);
    tcase_add_test(tcase,
                   a_cancelled_waiter_has_the_mutex_and_the_next_the_signal);
    tcase_add_loop_test(tcase, a_cancel_during_the_relock_waits_for_the_mutex,
                        0, 2);
    tcase_add_test(tcase, a_deadline_that_has_passed_keeps_the_mutex);
    tcase_add_test(tcase, a_deadline_ends_the_wait_with_the_mutex_locked);
    tcase_add_test(tcase, a_program_asleep_at_a_condition_is_told);
    tcase_add_test(tcase, a_mutex_that_cannot_be_had_again_is_told);
    tcase_add_test(tcase, only_the_owner_of_the_mutex_waits);
    tcase_add_test(tcase, all_wait_with_the_same_mutex);
    tcase_add_test(tcase, a_foreign_thread_ends_the_wait);
    tcase_add_test(tcase, a_signal_stolen_by_a_cancel_goes_to_the_next);
    tcase_add_test(
        tcase, a_deadline_at_the_instant_of_the_signal_is_one_or_the_other);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
