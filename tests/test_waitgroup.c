/* Wait groups: who waits, until when, and what a change may not do. */
#include "tests/support_prim.h"

#include <limits.h>

static weft_waitgroup_t group;
static weft__au32 finished, returned;

static void *work(void *arg)
{
    for (long i = 0; i < (long)arg; i++)
        weft_yield();
    (void)weft__fetch_add(&finished, 1, RELAXED);
    ck_code(weft_waitgroup_done(&group), 0);
    return NULL;
}

static void *wait_all(void *arg)
{
    ck_code(weft_waitgroup_wait(&group), 0);
    (void)weft__fetch_add(&returned, 1, RELEASE);
    return arg;
}

/* A group that counts nothing holds nobody up. */
WEFT_TEST(an_empty_group_is_waited_for_at_once)
{
    ck_code(weft_waitgroup_wait(&group), 0);
    ck_code(weft_waitgroup_wait_try(&group), 0);
}
END_TEST

/* Some workers finish before the wait begins, most after. */
WEFT_TEST(wait_returns_when_all_are_done)
{
    ck_code(weft_waitgroup_add(&group, 100), 0);
    for (long i = 0; i < 100; i++)
        must_code(weft_go(work, (void *)(i % 5)), 0);
    ck_code(weft_waitgroup_wait(&group), 0);
    ck_assert_uint_eq(weft__load(&finished, RELAXED), 100);
    ck_code(weft_waitgroup_wait_try(&group), 0);
}
END_TEST

WEFT_TEST(the_last_done_frees_all_who_wait)
{
    weft_fiber_t f[10];

    must_code(weft_waitgroup_add(&group, 2), 0);
    for (int i = 0; i < 10; i++) {
        f[i] = spawn(wait_all, NULL);
        wait_until_parked(f[i]);
    }
    ck_code(weft_waitgroup_wait_try(&group), -EAGAIN);
    must_code(weft_waitgroup_done(&group), 0);
    for (int i = 0; i < 10; i++)
        wait_until_parked(f[i]);
    ck_assert_uint_eq(weft__load(&returned, ACQUIRE), 0);
    must_code(weft_waitgroup_done(&group), 0);
    for (int i = 0; i < 10; i++)
        join(f[i]);
    ck_assert_uint_eq(weft__load(&returned, ACQUIRE), 10);
}
END_TEST

/* Work that starts work adds before it is done itself. */
static void *branch(void *arg)
{
    long depth = (long)arg;

    if (depth > 0) {
        must_code(weft_waitgroup_add(&group, 2), 0);
        must_code(weft_go(branch, (void *)(depth - 1)), 0);
        must_code(weft_go(branch, (void *)(depth - 1)), 0);
    }
    (void)weft__fetch_add(&finished, 1, RELAXED);
    must_code(weft_waitgroup_done(&group), 0);
    return NULL;
}

WEFT_TEST(a_tree_that_grows_while_it_is_waited_for)
{
    must_code(weft_waitgroup_add(&group, 1), 0);
    must_code(weft_go(branch, (void *)10), 0);
    must_code(weft_waitgroup_wait(&group), 0);
    ck_assert_uint_eq(weft__load(&finished, RELAXED), 2047);
}
END_TEST

/* One who waits sees all that was written before each done. */
static struct {
    long value[64];
} plain;

static void *write_plain(void *arg)
{
    plain.value[(long)arg] = (long)arg + 1;
    must_code(weft_waitgroup_done(&group), 0);
    return NULL;
}

WEFT_TEST(what_came_before_done_is_seen_after_wait)
{
    for (int round = 0; round < ROUNDS(200); round++) {
        memset(&plain, 0, sizeof(plain));
        must_code(weft_waitgroup_add(&group, 64), 0);
        for (long i = 0; i < 64; i++)
            must_code(weft_go(write_plain, (void *)i), 0);
        must_code(weft_waitgroup_wait(&group), 0);
        for (long i = 0; i < 64; i++)
            must(plain.value[i] == i + 1);
    }
}
END_TEST

/* --- Limits ------------------------------------------------------------------ */

/* Refused changes change nothing, with someone waiting and without. */
static void refuse(int count)
{
    ck_code(weft_waitgroup_add(&group, -count - 1), -EINVAL);
    ck_code(weft_waitgroup_add(&group, INT_MIN), -EINVAL);
    ck_code(weft_waitgroup_add(&group, INT_MAX), count ? -EINVAL : 0);
    if (count == 0)
        ck_code(weft_waitgroup_add(&group, -INT_MAX), 0);
}

WEFT_TEST(a_count_below_zero_or_above_the_limit_is_refused)
{
    weft_fiber_t f;

    ck_code(weft_waitgroup_done(&group), -EINVAL);
    refuse(0);
    ck_code(weft_waitgroup_wait_try(&group), 0);

    must_code(weft_waitgroup_add(&group, 3), 0);
    f = spawn(wait_all, NULL);
    wait_until_parked(f);
    refuse(3);
    ck_code(weft_waitgroup_add(&group, 0), 0);
    ck_assert(is_state(f, "parked"));
    ck_code(weft_waitgroup_add(&group, -2), 0);
    ck_code(weft_waitgroup_add(&group, -2), -EINVAL);
    ck_assert(is_state(f, "parked"));
    ck_code(weft_waitgroup_add(&group, -1), 0);
    join(f);
}
END_TEST

/* --- Cancelling, foreign threads ------------------------------------------------ */

static void *wait_cancelled(void *arg)
{
    ck_code(weft_waitgroup_wait(&group), -ECANCELED);
    /* And again: looked at on entry. */
    ck_code(weft_waitgroup_wait(&group), -ECANCELED);
    /* What gives back does not look. */
    if (arg)
        ck_code(weft_waitgroup_done(&group), 0);
    return NULL;
}

WEFT_TEST(a_cancelled_waiter_leaves_and_the_others_stay)
{
    weft_fiber_t a, b, c;

    must_code(weft_waitgroup_add(&group, 2), 0);
    a = spawn(wait_all, NULL);
    wait_until_parked(a);
    b = spawn(wait_cancelled, &group);
    wait_until_parked(b);
    c = spawn(wait_all, NULL);
    wait_until_parked(c);
    must_code(weft_cancel(b), 0);
    join(b);
    ck_assert(is_state(a, "parked"));
    ck_assert(is_state(c, "parked"));
    must_code(weft_waitgroup_done(&group), 0);
    join(a);
    join(c);
}
END_TEST

/* The only waiter is gone: the last done has nobody to wake, and one who
 * comes later is woken as ever. */
WEFT_TEST(a_group_whose_only_waiter_was_cancelled_still_works)
{
    weft_fiber_t f;

    must_code(weft_waitgroup_add(&group, 1), 0);
    f = spawn(wait_cancelled, NULL);
    wait_until_parked(f);
    must_code(weft_cancel(f), 0);
    join(f);
    f = spawn(wait_all, NULL);
    wait_until_parked(f);
    must_code(weft_waitgroup_done(&group), 0);
    join(f);
    ck_code(weft_waitgroup_wait_try(&group), 0);
}
END_TEST

static void done_from_outside(void *arg)
{
    wait_for(arg, 1);
    wait_until_all_idle();
    ck_code(weft_waitgroup_done(&group), 0);
}

/* All of weft sleeps, and a thread that has said before that it exists ends
 * that. */
static void add_from_outside(void *arg)
{
    ck_code(weft_waitgroup_add(&group, 1), 0);
    weft__store((weft__au32 *)arg, 1, RELEASE);
    done_from_outside(arg);
}

WEFT_TEST(a_foreign_thread_ends_the_wait)
{
    struct foreign t;
    weft__au32 added = { 0 };

    foreign_start(&t, add_from_outside, &added);
    wait_for(&added, 1);
    ck_code(weft_waitgroup_wait(&group), 0);
    foreign_join(&t);
}
END_TEST

static void never_look(int level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
}

WEFT_TEST(a_program_asleep_for_a_group_is_told)
{
    weft_set_log(never_look, NULL);
    must_code(weft_waitgroup_add(&group, 1), 0);
    ck_code(weft_waitgroup_wait(&group), -EDEADLK);
    /* Off the list: the last done wakes nobody. */
    must_code(weft_waitgroup_done(&group), 0);
    ck_code(weft_waitgroup_wait(&group), 0);
    weft_set_log(NULL, NULL);
}
END_TEST

/* --- Races ----------------------------------------------------------------------- */

static weft__au32 turn; /* or OVER */
enum { OVER = INT_MAX };

static void *wait_rounds(void *arg)
{
    for (uint32_t i = 1;; i++) {
        wait_for(&turn, i);
        if (weft__load(&turn, ACQUIRE) == OVER)
            return arg;
        must_code(weft_waitgroup_wait(&group), 0);
        (void)weft__fetch_add(&returned, 1, RELEASE);
    }
}

/* The last done against waiters that are just lying down: none is missed. */
WEFT_TEST(no_waiter_misses_the_last_done)
{
    enum { N = 3 };
    weft_time_t until = weft_now() + WEFT_MS(500);
    weft_fiber_t f[N];

    must_code(weft_waitgroup_add(&group, 2), 0);
    for (int i = 0; i < N; i++)
        f[i] = spawn(wait_rounds, NULL);
    for (uint32_t i = 1; i < 10000 && weft_now() < until; i++) {
        weft__store(&turn, i, RELEASE);
        must_code(weft_waitgroup_done(&group), 0);
        if (i % 3 == 0)
            weft_yield();
        must_code(weft_waitgroup_done(&group), 0);
        wait_for(&returned, i * N);
        must_code(weft_waitgroup_add(&group, 2), 0);
    }
    weft__store(&turn, OVER, RELEASE);
    for (int i = 0; i < N; i++)
        join(f[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("waitgroup");
    TCase *tcase = tcase_create("waitgroup");

    tcase_add_test(tcase, an_empty_group_is_waited_for_at_once);
    tcase_add_test(tcase, wait_returns_when_all_are_done);
    tcase_add_test(tcase, the_last_done_frees_all_who_wait);
    tcase_add_test(tcase, a_tree_that_grows_while_it_is_waited_for);
    tcase_add_test(tcase, what_came_before_done_is_seen_after_wait);
    tcase_add_test(tcase, a_count_below_zero_or_above_the_limit_is_refused);
    tcase_add_test(tcase, a_cancelled_waiter_leaves_and_the_others_stay);
    tcase_add_test(tcase,
                   a_group_whose_only_waiter_was_cancelled_still_works);
    tcase_add_test(tcase, a_foreign_thread_ends_the_wait);
    tcase_add_test(tcase, a_program_asleep_for_a_group_is_told);
    tcase_add_test(tcase, no_waiter_misses_the_last_done);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
