/*
 * Semaphores: what is taken and given, who is served first, and what those
 * who give up leave behind. Schedules in between are in sim_sem.c, freeing on
 * return in test_free.c.
 */
#include "tests/support_prim.h"

#include <limits.h>
#include <stdint.h>

static weft_sem_t sem;

/* How many permits there are, as far as anyone can tell from outside. */
static uint32_t permits(void)
{
    uint32_t n = 0;

    while (weft_sem_acquire_try(&sem, 1) == 0)
        n++;
    must_code(weft_sem_release(&sem, n), 0);
    return n;
}

static void *acquire(void *arg)
{
    ck_code(weft_sem_acquire(&sem, (uint32_t)(uintptr_t)arg), 0);
    return arg;
}

static weft_fiber_t parked_for(uint32_t n)
{
    weft_fiber_t f = spawn(acquire, (void *)(uintptr_t)n);

    wait_until_parked(f);
    return f;
}

/* --- Counting --------------------------------------------------------------- */

WEFT_TEST(a_zeroed_semaphore_has_no_permits)
{
    ck_assert_uint_eq(sizeof(weft_sem_t), 24);
    memset(&sem, 0, sizeof(sem));
    ck_code(weft_sem_acquire_try(&sem, 1), -EAGAIN);
    ck_code(weft_sem_release(&sem, 1), 0);
    ck_code(weft_sem_acquire_try(&sem, 1), 0);
    ck_code(weft_sem_acquire_try(&sem, 1), -EAGAIN);
}
END_TEST

WEFT_TEST(permits_are_taken_several_at_a_time)
{
    weft_sem_t ten = WEFT_SEM_INIT(10);

    sem = ten;
    ck_code(weft_sem_acquire(&sem, 7), 0);
    ck_code(weft_sem_acquire_try(&sem, 4), -EAGAIN);
    ck_assert_uint_eq(permits(), 3);
    ck_code(weft_sem_acquire_until(&sem, 3, WEFT_FOREVER), 0);
    ck_code(weft_sem_release(&sem, 10), 0);
    ck_code(weft_sem_acquire_try(&sem, 11), -EAGAIN);
    ck_code(weft_sem_acquire_try(&sem, 10), 0);
}
END_TEST

WEFT_TEST(nothing_is_always_had)
{
    ck_code(weft_sem_acquire(&sem, 0), 0);
    ck_code(weft_sem_acquire_try(&sem, 0), 0);
    ck_code(weft_sem_acquire_until(&sem, 0, weft_now()), 0);
    ck_code(weft_sem_release(&sem, 0), 0);
    ck_assert_uint_eq(permits(), 0);
}
END_TEST

WEFT_TEST(more_than_the_limit_is_refused_and_changes_nothing)
{
    weft_sem_t full = WEFT_SEM_INIT(UINT32_MAX);
    weft_fiber_t f;

    sem = full;
    ck_code(weft_sem_release(&sem, 1), -EOVERFLOW);
    ck_code(weft_sem_release(&sem, UINT32_MAX), -EOVERFLOW);
    ck_code(weft_sem_release(&sem, 0), 0);
    ck_code(weft_sem_acquire(&sem, UINT32_MAX), 0);
    ck_code(weft_sem_acquire_try(&sem, 1), -EAGAIN);

    /* The same while someone waits. */
    ck_code(weft_sem_release(&sem, 2), 0);
    f = parked_for(UINT32_MAX);
    ck_code(weft_sem_release(&sem, UINT32_MAX - 1), -EOVERFLOW);
    ck_assert(is_state(f, "parked"));
    ck_code(weft_sem_release(&sem, UINT32_MAX - 2), 0);
    join(f);
    ck_assert_uint_eq(permits(), 0);
}
END_TEST

/* --- Waiting, in order --------------------------------------------------------- */

WEFT_TEST(a_release_serves_those_who_wait_in_the_order_they_came)
{
    enum { N = 6 };
    weft_fiber_t f[N];

    for (int i = 0; i < N; i++)
        f[i] = parked_for(1);
    for (int i = 0; i < N; i++) {
        ck_code(weft_sem_release(&sem, 1), 0);
        join(f[i]);
        if (i + 1 < N)
            ck_assert(is_state(f[i + 1], "parked"));
    }
    ck_assert_uint_eq(permits(), 0);
}
END_TEST

/* Three wait; the first wants most. What the others want is there all the
 * while, and they get it after it. */
WEFT_TEST(a_big_request_at_the_head_is_not_overtaken)
{
    weft_fiber_t big = parked_for(5);
    weft_fiber_t small = parked_for(1);
    weft_fiber_t next = parked_for(2);

    ck_code(weft_sem_release(&sem, 4), 0);
    ck_assert(is_state(big, "parked"));
    ck_assert(is_state(small, "parked"));
    ck_code(weft_sem_acquire_try(&sem, 1), -EAGAIN);
    ck_code(weft_sem_acquire_try(&sem, 4), -EAGAIN);

    ck_code(weft_sem_release(&sem, 2), 0);
    join(big);
    join(small);
    ck_assert(is_state(next, "parked"));
    ck_code(weft_sem_release(&sem, 1), 0);
    ck_assert(is_state(next, "parked"));
    ck_code(weft_sem_release(&sem, 2), 0);
    join(next);
    ck_assert_uint_eq(permits(), 1);
}
END_TEST

WEFT_TEST(one_release_serves_many)
{
    enum { N = 40 };
    weft_fiber_t f[N];

    for (uint32_t i = 0; i < N; i++)
        f[i] = parked_for(1 + i % 3);
    ck_code(weft_sem_release(&sem, 3 * N), 0);
    for (int i = 0; i < N; i++)
        join(f[i]);
    /* 40 wanted 1, 2, 3, 1, ...: 79. */
    ck_assert_uint_eq(permits(), 3 * N - 79);
}
END_TEST

/* --- Giving up ------------------------------------------------------------------- */

static void *acquire_cancelled(void *arg)
{
    uint32_t n = (uint32_t)(uintptr_t)arg;

    ck_code(weft_sem_acquire(&sem, n), -ECANCELED);
    /* Looked at on entry, also where nothing would have to be waited for. */
    ck_code(weft_sem_acquire(&sem, 0), -ECANCELED);
    ck_code(weft_sem_acquire_until(&sem, 1, WEFT_FOREVER), -ECANCELED);
    return NULL;
}

/* The big one at the head goes: those behind it find what it left. */
WEFT_TEST(a_cancelled_head_lets_the_next_have_the_permits)
{
    weft_fiber_t big, small, last;

    big = spawn(acquire_cancelled, (void *)5);
    wait_until_parked(big);
    small = parked_for(2);
    last = parked_for(2);
    must_code(weft_sem_release(&sem, 3), 0);
    ck_code(weft_cancel(big), 0);
    join(small);
    join(big);
    ck_assert(is_state(last, "parked"));
    ck_code(weft_sem_release(&sem, 1), 0);
    join(last);
    ck_assert_uint_eq(permits(), 0);
}
END_TEST

WEFT_TEST(a_cancelled_waiter_in_the_middle_takes_nothing)
{
    weft_fiber_t a = parked_for(1), b, c;

    b = spawn(acquire_cancelled, (void *)1);
    wait_until_parked(b);
    c = parked_for(1);
    ck_code(weft_cancel(b), 0);
    join(b);
    must_code(weft_sem_release(&sem, 2), 0);
    join(a);
    join(c);
    ck_assert_uint_eq(permits(), 0);
}
END_TEST

static void *use_while_cancelled(void *arg)
{
    ck_code(weft_sem_acquire(&sem, 1), -ECANCELED);
    ck_code(weft_sem_release(&sem, 2), 0);
    ck_code(weft_sem_acquire_try(&sem, 1), 0);
    ck_code(weft_sem_acquire_until(&sem, 1, WEFT_NOW), 0);
    ck_code(weft_sem_release(&sem, 1), 0);
    return arg;
}

/* What gives, and what never waits, may be used for cleaning up. */
WEFT_TEST(a_cancelled_fiber_may_release_and_try)
{
    weft_fiber_t f = spawn(use_while_cancelled, NULL);

    wait_until_parked(f);
    ck_code(weft_cancel(f), 0);
    join(f);
    ck_assert_uint_eq(permits(), 1);
}
END_TEST

/* The only one who waited is gone: the fast paths work again. */
WEFT_TEST(a_semaphore_that_all_have_left_is_as_before)
{
    weft_fiber_t f = spawn(acquire_cancelled, (void *)3);

    wait_until_parked(f);
    ck_code(weft_cancel(f), 0);
    join(f);
    ck_code(weft_sem_acquire_try(&sem, 1), -EAGAIN);
    ck_code(weft_sem_release(&sem, 2), 0);
    ck_code(weft_sem_acquire_try(&sem, 2), 0);
    ck_assert_int_eq(sem.weft_private[0] == 0, 1);
}
END_TEST

static void *acquire_shortly(void *arg)
{
    weft_time_t soon = weft_after(WEFT_MS(20));

    ck_code(weft_sem_acquire_until(&sem, (uint32_t)(uintptr_t)arg, soon),
            -ETIMEDOUT);
    return NULL;
}

/* What can be had is had, whatever the deadline. */
WEFT_TEST(a_deadline_that_has_passed_refuses_only_what_would_wait)
{
    weft_time_t past = weft_now() - 1;

    must_code(weft_sem_release(&sem, 2), 0);
    ck_code(weft_sem_acquire_until(&sem, 2, past), 0);
    ck_code(weft_sem_acquire_until(&sem, 1, past), -ETIMEDOUT);
    ck_code(weft_sem_acquire_until(&sem, 1, WEFT_NOW), -EAGAIN);
    must_code(weft_sem_release(&sem, 1), 0);
    ck_code(weft_sem_acquire_until(&sem, 1, WEFT_NOW), 0);
}
END_TEST

/* The head's time is over: those behind it get what it kept from them. */
WEFT_TEST(a_deadline_passes_on_what_it_kept_from_others)
{
    weft_time_t soon = weft_after(WEFT_MS(3));
    weft_fiber_t f;

    must_code(weft_sem_release(&sem, 1), 0);
    ck_code(weft_sem_acquire_until(&sem, 2, soon), -ETIMEDOUT);
    ck_assert(weft_now() >= soon);
    ck_assert_uint_eq(permits(), 1);

    f = spawn(acquire_shortly, (void *)5);
    wait_until_parked(f);
    ck_code(weft_sem_acquire(&sem, 1), 0);
    join(f);
    ck_assert_uint_eq(permits(), 0);
}
END_TEST

WEFT_TEST(a_program_asleep_at_a_semaphore_is_told)
{
    ck_code(weft_sem_acquire(&sem, 1), -EDEADLK);
    ck_code(weft_sem_acquire_until(&sem, 1, WEFT_FOREVER), -EDEADLK);
    ck_code(weft_sem_release(&sem, 1), 0);
    ck_code(weft_sem_acquire(&sem, 1), 0);
}
END_TEST

/* --- From outside ------------------------------------------------------------------ */

static void use_outside(void *arg)
{
    (void)arg;
    ck_code(weft_sem_acquire(&sem, 1), -EPERM);
    ck_code(weft_sem_acquire_until(&sem, 1, weft_after(WEFT_SEC(1))), -EPERM);
    ck_code(weft_sem_acquire_try(&sem, 1), -EAGAIN);
    ck_code(weft_sem_release(&sem, 2), 0);
    ck_code(weft_sem_acquire(&sem, 1), 0);
    ck_code(weft_sem_acquire_until(&sem, 1, WEFT_FOREVER), 0);
    ck_code(weft_sem_acquire(NULL, 1), -EINVAL);
    ck_code(weft_sem_acquire_until(NULL, 1, WEFT_FOREVER), -EINVAL);
    ck_code(weft_sem_acquire_try(NULL, 1), -EINVAL);
    ck_code(weft_sem_release(NULL, 1), -EINVAL);
}

WEFT_TEST(a_foreign_thread_takes_what_is_there)
{
    if (_i)
        on_lane(use_outside, NULL);
    else
        on_thread(use_outside, NULL);
}
END_TEST

static void release_from_outside(void *arg)
{
    ck_code(weft_sem_release(&sem, 1), 0);
    ck_code(weft_sem_acquire_try(&sem, 1), 0);
    weft__store((weft__au32 *)arg, 1, RELEASE);
    wait_for(arg, 2);
    wait_until_all_idle();
    ck_code(weft_sem_release(&sem, 3), 0);
}

WEFT_TEST(a_foreign_thread_ends_the_wait)
{
    weft__au32 step = { 0 };
    struct foreign t;

    foreign_start(&t, release_from_outside, &step);
    wait_for(&step, 1);
    weft__store(&step, 2, RELEASE);
    ck_code(weft_sem_acquire(&sem, 3), 0);
    foreign_join(&t);
}
END_TEST

/* --- Many at once -------------------------------------------------------------------- */

enum { SLOTS = 5, USERS = 12 };

static weft__au32 in_use, got, gave_up;

static void *use_slots(void *arg)
{
    uint32_t state = (uint32_t)(uintptr_t)arg;

    for (int i = 0; i < ROUNDS(500); i++) {
        uint32_t n = 1 + next_random(&state) % SLOTS;
        int status = next_random(&state) % 4 == 0
                         ? weft_sem_acquire_try(&sem, n)
                         : weft_sem_acquire(&sem, n);

        if (status == -EAGAIN)
            continue;
        if (status == -ECANCELED) {
            (void)weft__fetch_add(&gave_up, 1, RELAXED);
            return NULL;
        }
        must_code(status, 0);
        must(weft__fetch_add(&in_use, n, RELAXED) + n <= SLOTS);
        (void)weft__fetch_add(&got, 1, RELAXED);
        if (next_random(&state) % 3 == 0)
            weft_yield();
        (void)weft__fetch_sub(&in_use, n, RELAXED);
        must_code(weft_sem_release(&sem, n), 0);
    }
    return NULL;
}

/* Some of those who wait are cancelled, at any moment: no permit is lost, and
 * there are never more in use than there are. */
WEFT_TEST(never_more_in_use_than_there_are_and_none_is_lost)
{
    weft_sem_t slots = WEFT_SEM_INIT(SLOTS);
    weft_fiber_t f[USERS];
    uint32_t state = 7;

    sem = slots;
    for (uintptr_t i = 0; i < USERS; i++)
        f[i] = spawn(use_slots, (void *)(i + 1));
    for (int i = 0; i < USERS / 2; i++) {
        for (uint32_t n = next_random(&state) % 50; n > 0; n--)
            weft_yield();
        (void)weft_cancel(f[i]);
    }
    for (int i = 0; i < USERS; i++)
        join(f[i]);
    ck_assert_uint_eq(permits(), SLOTS);
    ck_assert_uint_ge(weft__load(&got, RELAXED), USERS / 2);
}
END_TEST

/* Cancel, deadline and release at the same instant: the permit is the waiter's or the
 * semaphore's, and the answer says which. */
static int answer;

static void *acquire_and_tell(void *arg)
{
    weft_time_t *wait = arg;

    answer = *wait ? weft_sem_acquire_until(&sem, 1, weft_after(*wait))
                   : weft_sem_acquire(&sem, 1);
    return NULL;
}

WEFT_TEST(a_cancel_at_the_instant_of_success_is_one_or_the_other)
{
    weft_time_t until = weft_now() + WEFT_MS(300);

    for (uint32_t i = 0; i < 10000 && weft_now() < until; i++) {
        weft_time_t wait = i % 5 < 2 ? WEFT_US(1 + i % 30) : 0;
        weft_fiber_t f = spawn(acquire_and_tell, &wait);

        for (uint32_t n = i % 3; n > 0; n--)
            weft_yield();
        if (i % 2)
            must_code(weft_sem_release(&sem, 1), 0);
        (void)weft_cancel(f);
        if (i % 2 == 0)
            must_code(weft_sem_release(&sem, 1), 0);
        join(f);
        must(answer == 0 || answer == -ECANCELED ||
             (wait && answer == -ETIMEDOUT));
        must_code(weft_sem_acquire_try(&sem, 1),
                  answer == 0 ? -EAGAIN : 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sem");
    TCase *tcase = tcase_create("sem");

    tcase_add_test(tcase, a_zeroed_semaphore_has_no_permits);
    tcase_add_test(tcase, permits_are_taken_several_at_a_time);
    tcase_add_test(tcase, nothing_is_always_had);
    tcase_add_test(tcase, more_than_the_limit_is_refused_and_changes_nothing);
    tcase_add_test(tcase,
                   a_release_serves_those_who_wait_in_the_order_they_came);
    tcase_add_test(tcase, a_big_request_at_the_head_is_not_overtaken);
    tcase_add_test(tcase, one_release_serves_many);
    tcase_add_test(tcase, a_cancelled_head_lets_the_next_have_the_permits);
    tcase_add_test(tcase, a_cancelled_waiter_in_the_middle_takes_nothing);
    tcase_add_test(tcase, a_cancelled_fiber_may_release_and_try);
    tcase_add_test(tcase, a_semaphore_that_all_have_left_is_as_before);
    tcase_add_test(tcase,
                   a_deadline_that_has_passed_refuses_only_what_would_wait);
    tcase_add_test(tcase, a_deadline_passes_on_what_it_kept_from_others);
    tcase_add_test(tcase, a_program_asleep_at_a_semaphore_is_told);
    tcase_add_loop_test(tcase, a_foreign_thread_takes_what_is_there, 0, 2);
    tcase_add_test(tcase, a_foreign_thread_ends_the_wait);
    tcase_add_test(tcase, never_more_in_use_than_there_are_and_none_is_lost);
    tcase_add_test(tcase,
                   a_cancel_at_the_instant_of_success_is_one_or_the_other);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
