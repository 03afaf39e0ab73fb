/*
 * Select over joins and deadlines; who may call it and with what; cancelling.
 * Channels are in test_select.c.
 */
#include "tests/support_prim.h"

#include <stdint.h>

static weft_chan_t *ch;

static void *answer(void *arg)
{
    return arg;
}

/* Sleeps until its channel says so. */
static void *answer_when_told(void *arg)
{
    return weft_chan_recv(arg, NULL) == 0 ? (void *)42 : NULL;
}

struct selecting {
    weft_case_t *cases;
    size_t n;
    weft_time_t deadline;
    int answer;
};

static void *select_once(void *arg)
{
    struct selecting *s = arg;

    s->answer = weft_select_until(s->cases, s->n, s->deadline);
    log_code("weft_select_until(", s->answer > 0 ? 0 : s->answer);
    return NULL;
}

static weft_fiber_t parked_select(struct selecting *s)
{
    weft_fiber_t f = spawn(select_once, s);

    wait_until_parked(f);
    return f;
}

/* --- Joins --------------------------------------------------------------------- */

/* Ended before, not started, and while the select waits. */
WEFT_TEST(a_join_happens_and_consumes_the_id)
{
    void *result = NULL;
    int x;

    ch = new_chan(0, 0);
    for (int i = 0; i < 3; i++) {
        weft_fiber_t f = i < 2 ? spawn(answer, (void *)42)
                               : spawn(answer_when_told, ch);
        weft_chan_t *never = new_chan(4, 0);
        weft_case_t cases[] = { WEFT_RECV(never, &x),
                                WEFT_JOIN(f, &result) };
        struct selecting s = { cases, 2, WEFT_FOREVER, -1 };

        result = NULL;
        if (i == 0)
            wait_until_ended(f);
        if (i < 2) {
            ck_code(weft_select(cases, 2), 1);
        } else {
            weft_fiber_t waiting = parked_select(&s);

            must_code(weft_chan_send(ch, NULL), 0);
            join(waiting);
            ck_assert_int_eq(s.answer, 1);
        }
        ck_assert_int_eq(cases[1].status, 0);
        ck_assert_ptr_eq(result, (void *)42);
        ck_assert_int_eq(weft_join_try(f, NULL), -ESRCH);
        weft_chan_unref(never);
    }
    weft_chan_unref(ch);
}
END_TEST

/* Many rounds: the end comes at every moment of the select. */
WEFT_TEST(a_join_at_the_instant_of_the_end_happens)
{
    weft_time_t until = weft_now() + WEFT_MS(300);

    for (uintptr_t i = 1; i < 20000 && weft_now() < until; i++) {
        weft_fiber_t f[3];
        void *result[3] = { NULL, NULL, NULL };
        uintptr_t sum = 0;

        for (uintptr_t k = 0; k < 3; k++)
            f[k] = spawn(answer, (void *)(i + k));
        for (uintptr_t n = i % 4; n > 0; n--)
            weft_yield();
        for (int left = 3; left > 0; left--) {
            weft_case_t cases[] = { WEFT_JOIN(f[0], &result[0]),
                                    WEFT_JOIN(f[1], &result[1]),
                                    WEFT_JOIN(f[2], &result[2]) };
            int k = weft_select(cases, 3);

            must(k >= 0 && k < 3);
            must_code(cases[k].status, 0);
            must(f[k] != 0 && result[k] == (void *)(i + (uintptr_t)k));
            f[k] = 0;
            sum += (uintptr_t)k;
        }
        must(sum == 3);
    }
}
END_TEST

/* The select went elsewhere: who it would have joined is as before, running
 * or ended. */
WEFT_TEST(a_join_that_did_not_happen_leaves_it_joinable)
{
    weft_chan_t *other = new_chan(0, 0);
    void *result = NULL;

    ch = new_chan(0, 0);
    for (int i = 0; i < 3; i++) {
        weft_fiber_t f = spawn(answer_when_told, ch);
        weft_case_t cases[] = { WEFT_JOIN(f, &result),
                                WEFT_RECV(other, NULL) };
        struct selecting s = { cases, 2, WEFT_FOREVER, -1 };
        weft_fiber_t waiting = parked_select(&s);

        if (i == 0)
            must_code(weft_chan_send(other, NULL), 0);
        else if (i == 1)
            must_code(weft_cancel(waiting), 0);
        else
            must_code(weft_chan_close(other), 0);
        join(waiting);
        ck_assert_int_eq(s.answer, i == 1 ? -ECANCELED : 1);
        ck_assert_ptr_null(result);
        ck_assert_int_eq(weft_join_try(f, NULL), -EAGAIN);
        must_code(weft_chan_send(ch, NULL), 0);
        ck_assert_ptr_eq(join(f), (void *)42);
    }
    weft_chan_unref(ch);
    weft_chan_unref(other);
}
END_TEST

static void *send_signal(void *arg)
{
    must_code(weft_chan_send(arg, NULL), 0);
    return NULL;
}

/* The child ends while the select leaves it: it can still be joined, once. */
WEFT_TEST(one_that_ends_while_it_is_left_can_be_joined)
{
    weft_time_t until = weft_now() + WEFT_MS(400);
    weft_chan_t *other = new_chan(0, 0);
    int joined = 0;

    ch = new_chan(0, 0);
    for (int i = 0; i < 10000 && weft_now() < until; i++) {
        void *result = NULL;
        weft_fiber_t f = spawn(answer_when_told, ch);
        weft_case_t cases[] = { WEFT_JOIN(f, &result),
                                WEFT_RECV(other, NULL) };
        struct selecting s = { cases, 2, WEFT_FOREVER, -1 };
        weft_fiber_t waiting = parked_select(&s);
        weft_fiber_t one, two;

        wait_until_parked(f);
        one = spawn(send_signal, i % 2 ? ch : other);
        two = spawn(send_signal, i % 2 ? other : ch);
        join(waiting);
        if (s.answer == 0) {
            joined++;
            must(result == (void *)42);
            must_code(weft_join_try(f, NULL), -ESRCH);
            must_code(weft_chan_recv(other, NULL), 0);
        } else {
            must(s.answer == 1 && !result);
            must(join(f) == (void *)42);
        }
        join(one);
        join(two);
    }
    ck_assert_int_gt(joined, 0);
    weft_chan_unref(ch);
    weft_chan_unref(other);
}
END_TEST

struct third {
    weft_chan_t *start;
    weft_chan_t *told;
    weft_fiber_t child;
};

static void *end_after_two_sends(void *arg)
{
    struct third *t = arg;

    must_code(weft_chan_recv(t->start, NULL), 0);
    must_code(weft_chan_send(ch, NULL), 0);
    must_code(weft_chan_send(t->told, NULL), 0);
    return t;
}

/* Comes before the select that was woken first, and has to come again. */
static void *join_until_it_may(void *arg)
{
    struct third *t = arg;
    void *result = NULL;
    int code;

    must_code(weft_chan_recv(t->told, NULL), 0);
    while ((code = weft_join(t->child, &result)) == -EBUSY)
        weft_yield();
    must_code(code, 0);
    must_code(weft_join_try(t->child, NULL), -ESRCH);
    return result;
}

/* Who has ended under a select that was woken by something else, and has not
 * run since, is busy: it is there for others when the select has left. */
WEFT_TEST(one_that_ended_is_busy_until_the_select_has_left_it)
{
    struct third t = { .start = new_chan(0, 0), .told = new_chan(0, 0) };

    ch = new_chan(0, 0);
    for (int i = 0; i < 300; i++) {
        weft_fiber_t child = spawn(end_after_two_sends, &t);
        weft_case_t cases[] = { WEFT_RECV(ch, NULL), WEFT_JOIN(child, NULL) };
        struct selecting s = { cases, 2, WEFT_FOREVER, -1 };
        weft_fiber_t waiting = parked_select(&s);
        weft_fiber_t other = spawn(join_until_it_may, &t);

        t.child = child;
        wait_until_parked(other);
        must_code(weft_chan_send(t.start, NULL), 0);
        ck_assert_ptr_eq(join(other), &t);
        join(waiting);
        ck_assert_int_eq(s.answer, 0);
    }
    weft_chan_unref(ch);
    weft_chan_unref(t.start);
    weft_chan_unref(t.told);
}
END_TEST

/* How it cannot be joined is a status too. */
WEFT_TEST(a_join_that_cannot_be_is_a_case_that_happened)
{
    weft_fiber_t f, waiting;
    void *result = (void *)1;

    ch = new_chan(0, 0);
    f = spawn(answer, NULL);
    join(f);
    {
        weft_case_t stale[] = { WEFT_JOIN(f, &result) };
        weft_case_t own[] = { WEFT_JOIN(weft_self(), &result) };
        weft_case_t wild[] = { WEFT_JOIN(UINT64_MAX, &result) };

        ck_code(weft_select(stale, 1), 0);
        ck_assert_int_eq(stale[0].status, -ESRCH);
        ck_code(weft_select_try(wild, 1), 0);
        ck_assert_int_eq(wild[0].status, -ESRCH);
        ck_code(weft_select(own, 1), 0);
        ck_assert_int_eq(own[0].status, -EDEADLK);
    }
    f = spawn(answer_when_told, ch);
    {
        weft_case_t one[] = { WEFT_JOIN(f, NULL) };
        weft_case_t two[] = { WEFT_JOIN(f, &result) };
        struct selecting s = { one, 1, WEFT_FOREVER, -1 };

        ck_code(weft_select_try(two, 1), -EAGAIN);
        waiting = parked_select(&s);
        ck_code(weft_select(two, 1), 0);
        ck_assert_int_eq(two[0].status, -EBUSY);
        ck_assert_int_eq(weft_join(f, NULL), -EBUSY);
        ck_assert_int_eq(weft_detach(f), -EBUSY);
        must_code(weft_cancel(waiting), 0);
        join(waiting);

        must_code(weft_detach(f), 0);
        ck_code(weft_select(two, 1), 0);
        ck_assert_int_eq(two[0].status, -EINVAL);
        must_code(weft_chan_send(ch, NULL), 0);
    }
    ck_assert_ptr_eq(result, (void *)1);
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(the_same_fiber_may_stand_in_two_cases)
{
    void *result[2] = { NULL, NULL };
    weft_fiber_t f, waiting;

    ch = new_chan(0, 0);
    f = spawn(answer_when_told, ch);
    {
        weft_case_t cases[] = { WEFT_JOIN(f, &result[0]),
                                WEFT_JOIN(f, &result[1]) };
        struct selecting s = { cases, 2, WEFT_FOREVER, -1 };

        waiting = parked_select(&s);
        must_code(weft_chan_send(ch, NULL), 0);
        join(waiting);
        ck_assert(s.answer == 0 || s.answer == 1);
        ck_assert_ptr_eq(result[s.answer], (void *)42);
        ck_assert_ptr_null(result[1 - s.answer]);
    }
    weft_chan_unref(ch);
}
END_TEST

/* --- Deadlines --------------------------------------------------------------------- */

WEFT_TEST(a_deadline_is_a_case_that_happens)
{
    weft_time_t soon = weft_after(WEFT_MS(5));
    weft_case_t past[] = { WEFT_AFTER(WEFT_NOW) };
    weft_case_t cases[] = { WEFT_AFTER(weft_after(WEFT_SEC(100))),
                            WEFT_AFTER(soon), WEFT_AFTER(WEFT_FOREVER) };

    ck_code(weft_select(past, 1), 0);
    ck_code(weft_select_try(past, 1), 0);
    ck_code(weft_select_try(cases, 3), -EAGAIN);
    cases[1].status = -1;
    ck_code(weft_select(cases, 3), 1);
    ck_assert_int_eq(cases[1].status, 0);
    ck_assert(weft_now() >= soon);
}
END_TEST

/* Its own, and that of a case: the earlier one says how it ends. */
WEFT_TEST(the_earlier_of_case_and_deadline_ends_the_wait)
{
    weft_time_t soon = weft_after(WEFT_MS(5));
    weft_time_t late = weft_after(WEFT_SEC(100));
    int x;

    ch = new_chan(sizeof(int), 0);
    {
        weft_case_t cases[] = { WEFT_RECV(ch, &x), WEFT_AFTER(late) };
        weft_case_t both[] = { WEFT_RECV(ch, &x), WEFT_AFTER(soon) };

        ck_code(weft_select_until(cases, 2, soon), -ETIMEDOUT);
        ck_assert(weft_now() >= soon);
        soon = weft_after(WEFT_MS(5));
        both[1].deadline = soon;
        ck_code(weft_select_until(both, 2, late), 1);
        soon = weft_after(WEFT_MS(5));
        both[1].deadline = soon;
        ck_code(weft_select_until(both, 2, soon), 1);
        ck_assert_int_eq(weft_chan_send_try(ch, &x), -EAGAIN);

        /* What can be had is had, whatever the deadline. */
        ck_code(weft_select_until(cases, 2, weft_now() - 1), -ETIMEDOUT);
        must_code(weft_chan_close(ch), 0);
        ck_code(weft_select_until(cases, 2, weft_now() - 1), 0);
        ck_code(weft_select_until(cases, 2, WEFT_NOW), 0);
    }
    weft_chan_unref(ch);
}
END_TEST

/* A deadline while it waits for a fiber: that can be joined afterwards. */
WEFT_TEST(a_deadline_leaves_everything_as_it_was)
{
    void *result = NULL;
    weft_fiber_t f;

    ch = new_chan(0, 0);
    f = spawn(answer_when_told, ch);
    {
        weft_case_t cases[] = { WEFT_JOIN(f, &result) };

        ck_code(weft_select_until(cases, 1, weft_after(WEFT_MS(2))),
                -ETIMEDOUT);
    }
    must_code(weft_chan_send(ch, NULL), 0);
    ck_assert_ptr_eq(join(f), (void *)42);
    weft_chan_unref(ch);
}
END_TEST

/* --- Nothing that can happen ---------------------------------------------------------- */

WEFT_TEST(what_is_switched_off_never_happens)
{
    weft_chan_t *none = NULL;
    int x = 0;
    weft_case_t cases[] = { WEFT_RECV(none, &x), WEFT_SEND(NULL, &x),
                            WEFT_JOIN(0, NULL), WEFT_AFTER(WEFT_FOREVER),
                            WEFT_RECV(ch, NULL) };

    ck_code(weft_select(NULL, 0), -EDEADLK);
    ck_code(weft_select(cases, 0), -EDEADLK);
    ck_code(weft_select(cases, 4), -EDEADLK);
    ck_code(weft_select_until(cases, 4, WEFT_FOREVER), -EDEADLK);
    ck_code(weft_select_try(cases, 4), -EAGAIN);
    ck_code(weft_select_until(cases, 4, WEFT_NOW), -EAGAIN);
    ck_code(weft_select_until(cases, 4, weft_after(WEFT_MS(2))), -ETIMEDOUT);
    ck_code(weft_select_until(NULL, 0, weft_after(WEFT_MS(2))), -ETIMEDOUT);

    ch = new_chan(0, 1);
    cases[4].object = ch;
    ck_code(weft_select_try(cases, 5), -EAGAIN);
    must_code(weft_chan_send(ch, NULL), 0);
    ck_code(weft_select(cases, 5), 4);
    /* The whole program sleeps at what nobody will send. */
    ck_code(weft_select(cases, 5), -EDEADLK);
    ck_code(weft_select_until(cases, 5, WEFT_FOREVER), -EDEADLK);
    weft_chan_unref(ch);
}
END_TEST

/* --- Misuse ------------------------------------------------------------------------------ */

static void misuse(void *arg)
{
    static weft_case_t many[WEFT_SELECT_MAX + 1];
    int x = 0;
    weft_case_t none[] = { WEFT_RECV(ch, NULL) };
    weft_case_t nothing[] = { WEFT_SEND(ch, NULL) };
    weft_case_t odd[] = { WEFT_RECV(ch, &x) };

    (void)arg;
    ck_code(weft_select(NULL, 1), -EINVAL);
    ck_code(weft_select_until(NULL, 1, WEFT_NOW), -EINVAL);
    ck_code(weft_select_try(NULL, 1), -EINVAL);
    ck_code(weft_select(many, WEFT_SELECT_MAX + 1), -EINVAL);
    ck_code(weft_select_try(many, SIZE_MAX), -EINVAL);
    ck_code(weft_select(none, 1), -EINVAL);
    ck_code(weft_select_until(nothing, 1, WEFT_FOREVER), -EINVAL);
    odd[0].kind = 0;
    ck_code(weft_select(odd, 1), -EINVAL);
    odd[0].kind = 1000;
    ck_code(weft_select_try(odd, 1), -EINVAL);
}

WEFT_TEST(misuse_is_refused)
{
    ch = new_chan(sizeof(int), 1);
    misuse(NULL);
    on_thread(misuse, NULL);
    on_lane(misuse, NULL);
    ck_assert_uint_eq(weft_chan_len(ch), 0);
    weft_chan_unref(ch);
}
END_TEST

static void select_outside(void *arg)
{
    int x = 0, y = 7;
    weft_case_t cases[] = { WEFT_RECV(ch, &x), WEFT_JOIN(*(uint64_t *)arg, 0),
                            WEFT_AFTER(weft_after(WEFT_SEC(100))) };
    weft_case_t sends[] = { WEFT_SEND(ch, &y) };

    ck_code(weft_select(cases, 3), -EPERM);
    ck_code(weft_select_until(cases, 3, weft_after(WEFT_SEC(1))), -EPERM);
    ck_code(weft_select_try(cases, 3), -EAGAIN);
    ck_code(weft_select(sends, 1), 0);
    ck_code(weft_select(cases, 3), 0);
    ck_assert_int_eq(x, 7);
}

WEFT_TEST(a_foreign_thread_has_what_is_ready)
{
    weft_chan_t *told = new_chan(0, 0);
    weft_fiber_t f = spawn(answer_when_told, told);

    ch = new_chan(sizeof(int), 1);
    if (_i)
        on_lane(select_outside, &f);
    else
        on_thread(select_outside, &f);
    must_code(weft_chan_send(told, NULL), 0);
    join(f);
    weft_chan_unref(ch);
    weft_chan_unref(told);
}
END_TEST

/* --- Cancelling ------------------------------------------------------------------------------ */

static void *select_cancelled(void *arg)
{
    int x = 0;
    weft_case_t cases[] = { WEFT_RECV(ch, &x), WEFT_SEND(arg, &x) };

    ck_code(weft_select(cases, 2), -ECANCELED);
    /* Looked at on entry, though it could be had; trying does not look. */
    must_code(weft_chan_close(ch), 0);
    ck_code(weft_select(cases, 2), -ECANCELED);
    ck_code(weft_select_until(cases, 2, weft_now() - 1), -ECANCELED);
    ck_code(weft_select_try(cases, 2), 0);
    return NULL;
}

WEFT_TEST(a_cancelled_select_leaves_all_lines)
{
    weft_chan_t *other = new_chan(sizeof(int), 0);
    weft_fiber_t f;
    int x;

    ch = new_chan(sizeof(int), 0);
    f = spawn(select_cancelled, other);
    wait_until_parked(f);
    must_code(weft_cancel(f), 0);
    join(f);
    ck_assert_int_eq(weft_chan_recv_try(other, &x), -EAGAIN);
    weft_chan_unref(ch);
    weft_chan_unref(other);
}
END_TEST

/* Cancel, deadline and success in the same instant: if it was sent, the select
 * says so, and else it was not. */
WEFT_TEST(a_cancel_at_the_instant_of_success_is_one_or_the_other)
{
    weft_time_t until = weft_now() + WEFT_MS(400);

    ch = new_chan(sizeof(int), 0);
    for (int i = 1; i < 20000 && weft_now() < until; i++) {
        int x = 0;
        weft_case_t cases[] = { WEFT_RECV(ch, &x), WEFT_RECV(ch, &x) };
        struct selecting s = { cases, 2, WEFT_FOREVER, -1 };
        weft_fiber_t f;
        int sent;

        if (i % 3 == 0)
            s.deadline = weft_after(WEFT_US(i % 20));
        f = spawn(select_once, &s);
        for (int n = i % 4; n > 0; n--)
            weft_yield();
        if (i % 2)
            (void)weft_cancel(f);
        sent = weft_chan_send_try(ch, &i);
        (void)weft_cancel(f);
        join(f);
        must((sent == 0) == (s.answer >= 0));
        must((sent == 0) == (x == i));
    }
    weft_chan_unref(ch);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("select_more");
    TCase *tcase = tcase_create("select_more");

    tcase_add_test(tcase, a_join_happens_and_consumes_the_id);
    tcase_add_test(tcase, a_join_at_the_instant_of_the_end_happens);
    tcase_add_test(tcase, a_join_that_did_not_happen_leaves_it_joinable);
    tcase_add_test(tcase, one_that_ends_while_it_is_left_can_be_joined);
    tcase_add_test(tcase,
                   one_that_ended_is_busy_until_the_select_has_left_it);
    tcase_add_test(tcase, a_join_that_cannot_be_is_a_case_that_happened);
    tcase_add_test(tcase, the_same_fiber_may_stand_in_two_cases);
    tcase_add_test(tcase, a_deadline_is_a_case_that_happens);
    tcase_add_test(tcase, the_earlier_of_case_and_deadline_ends_the_wait);
    tcase_add_test(tcase, a_deadline_leaves_everything_as_it_was);
    tcase_add_test(tcase, what_is_switched_off_never_happens);
    tcase_add_test(tcase, misuse_is_refused);
    tcase_add_loop_test(tcase, a_foreign_thread_has_what_is_ready, 0, 2);
    tcase_add_test(tcase, a_cancelled_select_leaves_all_lines);
    tcase_add_test(tcase,
                   a_cancel_at_the_instant_of_success_is_one_or_the_other);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
