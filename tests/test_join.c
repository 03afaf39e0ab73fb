/*
 * Joining: before, during and after the end; unstarted children, whoever has
 * their queue entry; misuse; and that nothing is left behind.
 */
#include "tests/support.h"

#include "sched/park.h"
#include "sched/sched.h"
#include "sched/worker.h"

static void *answer(void *arg)
{
    return arg;
}

static void *answer_after_a_yield(void *arg)
{
    weft_yield();
    return arg;
}

/* Sleeps until its channel says so. */
static void *answer_when_told(void *arg)
{
    weft_chan_t *ch = arg;
    int status = weft_chan_recv(ch, NULL);

    return (void *)(intptr_t)(status == 0 ? 42 : status);
}

/* Wait until no worker but the caller's runs anything, so that counts of
 * records stand. */
static void settle(unsigned live)
{
    while (weft__sched_live() > live)
        weft_yield();
}

static uint64_t records(void)
{
    weft_stats_t stats = { .size = sizeof(stats) };

    ck_assert_int_eq(weft_stats(&stats), 0);
    return stats.records;
}

/* --- When ------------------------------------------------------------------------ */

WEFT_TEST(join_before_the_end_waits_for_the_result)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t f = spawn(answer_when_told, ch);
    void *result = NULL;

    wait_until_parked(f);
    ck_assert_int_eq(weft_join_try(f, &result), -EAGAIN);
    ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    ck_code(weft_join(f, &result), 0);
    ck_assert_int_eq((intptr_t)result, 42);
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(join_after_the_end_gives_the_result)
{
    weft_fiber_t f = spawn(answer, (void *)7);
    void *result = NULL;

    wait_until_ended(f);
    ck_code(weft_join(f, &result), 0);
    ck_assert_int_eq((intptr_t)result, 7);
}
END_TEST

/* A child that ends while its joiner is on its way to sleep. */
WEFT_TEST(join_during_the_end_gives_the_result)
{
    for (intptr_t i = 1; i <= 5000; i++) {
        weft_fiber_t f = spawn(answer_after_a_yield, (void *)i);
        void *result = NULL;
        int status;

        if (i % 3 == 0)
            weft_yield();
        if (i % 3 == 1)
            wait_until_ended(f);
        status = weft_join(f, &result);
        if (status != 0 || (intptr_t)result != i)
            ck_abort_msg("round %d: %s, %d", (int)i, weft_err_name(status),
                         (int)(intptr_t)result);
    }
}
END_TEST

WEFT_TEST(a_result_nobody_wants_is_dropped)
{
    weft_fiber_t f = spawn(answer, (void *)7);

    ck_code(weft_join(f, NULL), 0);
    f = spawn(answer, (void *)7);
    wait_until_ended(f);
    ck_code(weft_join_try(f, NULL), 0);
}
END_TEST

WEFT_TEST(join_try_answers_at_once)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t f = spawn(answer_when_told, ch);
    void *result = (void *)1;

    ck_code(weft_join_try(f, &result), -EAGAIN); /* not started */
    wait_until_parked(f);
    ck_code(weft_join_try(f, &result), -EAGAIN);
    ck_assert_ptr_eq(result, (void *)1);
    ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    wait_until_ended(f);
    ck_code(weft_join_try(f, &result), 0);
    ck_assert_int_eq((intptr_t)result, 42);
    ck_code(weft_join_try(f, &result), -ESRCH);
    weft_chan_unref(ch);
}
END_TEST

/* What the child wrote is there: plain memory, many rounds. */
static int written;

static void *write_it(void *arg)
{
    written = (int)(intptr_t)arg;
    return NULL;
}

WEFT_TEST(what_the_child_wrote_is_seen)
{
    for (intptr_t i = 1; i <= 2000; i++) {
        join(spawn(write_it, (void *)i));
        if (written != i)
            ck_abort_msg("round %d: %d", (int)i, written);
    }
}
END_TEST

/* --- Unstarted children ------------------------------------------------------------ */

/* The child is still in its parent's next slot. */
WEFT_TEST(an_unstarted_child_is_started_by_its_parents_join)
{
    for (intptr_t i = 1; i <= 2000; i++)
        if ((intptr_t)join(spawn(answer, (void *)i)) != i)
            ck_abort_msg("round %d: another result", (int)i);
}
END_TEST

enum { CHILDREN = 50 };

/* Those before the last went to the ring; their entries stay there, dead. */
WEFT_TEST(unstarted_children_are_joined_in_any_order)
{
    for (int round = 0; round < 200; round++) {
        weft_fiber_t f[CHILDREN];

        for (intptr_t i = 0; i < CHILDREN; i++)
            f[i] = spawn(answer, (void *)i);
        for (intptr_t i = 0; i < CHILDREN; i++) {
            intptr_t at = round % 2 ? i : (i * 7 + round) % CHILDREN;

            if ((intptr_t)join(f[at]) != at)
                ck_abort_msg("round %d: another result", round);
        }
    }
}
END_TEST

/* Each of many spawns, and lets the others run and thieves take what it has,
 * before it joins: then its child may be new in another's queue, running
 * there, or ended. */
static void *parent_with_thieves(void *arg)
{
    intptr_t n = (intptr_t)arg;
    weft_fiber_t f[8];
    intptr_t sum = 0;

    for (intptr_t i = 0; i < 8; i++)
        f[i] = spawn(i % 2 ? answer : answer_after_a_yield, (void *)(n + i));
    if (n % 2)
        weft_yield();
    for (int i = 7; i >= 0; i--)
        sum += (intptr_t)join(f[i]);
    return (void *)(sum - 8 * n - 28);
}

WEFT_TEST(an_unstarted_child_in_a_thiefs_queue_is_joined_by_its_victim)
{
    for (int round = 0; round < 30; round++) {
        weft_fiber_t f[CHILDREN];

        for (intptr_t i = 0; i < CHILDREN; i++)
            f[i] = spawn(parent_with_thieves, (void *)(i * 100));
        for (int i = 0; i < CHILDREN; i++)
            if (join(f[i]))
                ck_abort_msg("round %d: another sum", round);
    }
}
END_TEST

static void *join_stranger(void *arg)
{
    void *result = NULL;
    int status = weft_join((weft_fiber_t)(uintptr_t)arg, &result);

    return status == 0 ? result : (void *)(intptr_t)status;
}

/* The one who joins is not the one who spawned: the entry is in neither its
 * next slot nor its ring. */
WEFT_TEST(an_unstarted_child_is_joined_by_a_stranger)
{
    for (intptr_t i = 1; i <= 1000; i++) {
        weft_fiber_t f = spawn(answer, (void *)i);
        weft_fiber_t by = spawn(join_stranger, (void *)(uintptr_t)f);

        if ((intptr_t)join(by) != i)
            ck_abort_msg("round %d: another result", (int)i);
        if (weft_join(f, NULL) != -ESRCH)
            ck_abort_msg("round %d: it can be joined twice", (int)i);
    }
}
END_TEST

/* --- Misuse -------------------------------------------------------------------------- */

WEFT_TEST(a_second_joiner_is_refused)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t f = spawn(answer_when_told, ch);
    weft_fiber_t first;

    wait_until_parked(f);
    first = spawn(join_stranger, (void *)(uintptr_t)f);
    wait_until_parked(first);
    ck_code(weft_join(f, NULL), -EBUSY);
    ck_code(weft_join_try(f, NULL), -EBUSY);
    ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    ck_assert_int_eq((intptr_t)join(first), 42);
    ck_code(weft_join(f, NULL), -ESRCH);
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(detach_under_a_joiner_is_refused)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t f = spawn(answer_when_told, ch);
    weft_fiber_t first;

    wait_until_parked(f);
    first = spawn(join_stranger, (void *)(uintptr_t)f);
    wait_until_parked(first);
    ck_code(weft_detach(f), -EBUSY);
    ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    ck_assert_int_eq((intptr_t)join(first), 42);
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(a_detached_fiber_can_not_be_joined)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t f = spawn(answer_when_told, ch);

    ck_code(weft_detach(f), 0);
    ck_code(weft_join(f, NULL), -EINVAL);
    ck_code(weft_join_try(f, NULL), -EINVAL);
    ck_code(weft_detach(f), -EINVAL);
    ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    settle(1);
    ck_code(weft_join(f, NULL), -ESRCH);
    ck_code(weft_detach(f), -ESRCH);
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(detach_of_one_that_has_ended_takes_it_away)
{
    weft_fiber_t f = spawn(answer, NULL);

    wait_until_ended(f);
    ck_code(weft_detach(f), 0);
    ck_code(weft_detach(f), -ESRCH);
    ck_code(weft_join(f, NULL), -ESRCH);
}
END_TEST

WEFT_TEST(joining_oneself_is_a_deadlock)
{
    ck_code(weft_join(weft_self(), NULL), -EDEADLK);
    ck_code(weft_join_try(weft_self(), NULL), -EDEADLK);
}
END_TEST

static void *join_self(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)weft_join(weft_self(), NULL);
}

/* Also while someone else is at it, who gets the result. */
WEFT_TEST(joining_oneself_leaves_one_joinable)
{
    ck_assert_int_eq((intptr_t)join(spawn(join_self, NULL)), -EDEADLK);
}
END_TEST

/* Never given out, given out and joined, and its record in its next life. */
WEFT_TEST(a_stale_id_is_no_fiber)
{
    weft_fiber_t f = spawn(answer, NULL), next;
    void *result = (void *)1;

    ck_code(weft_join(0, &result), -ESRCH);
    ck_code(weft_join(UINT64_MAX, &result), -ESRCH);
    ck_code(weft_join((weft_fiber_t)0xffffff, &result), -ESRCH);
    ck_code(weft_detach(0), -ESRCH);
    join(f);
    ck_code(weft_join(f, &result), -ESRCH);
    ck_code(weft_join_try(f, &result), -ESRCH);
    ck_code(weft_detach(f), -ESRCH);
    do {
        next = spawn(answer, NULL);
        ck_assert_uint_ne(next, f);
        if ((uint32_t)next == (uint32_t)f) {
            ck_code(weft_join(f, &result), -ESRCH);
            ck_code(weft_detach(f), -ESRCH);
        }
        join(next);
    } while ((uint32_t)next != (uint32_t)f);
    ck_assert_ptr_eq(result, (void *)1);
}
END_TEST

/* --- Cancelled joiners ------------------------------------------------------------- */

static weft_fiber_t joined;

static void *join_it(void *arg)
{
    void *result = NULL;
    int status = weft_join(joined, &result);

    (void)arg;
    return status == 0 ? result : (void *)(intptr_t)status;
}

static void cancel_fiber(weft_fiber_t id)
{
    uint64_t life;
    struct weft__fiber *f = weft__fiber_find(id, &life);

    if (f)
        weft__cancel(f, life);
}

WEFT_TEST(a_cancelled_joiner_leaves_it_joinable)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t by;

    joined = spawn(answer_when_told, ch);
    wait_until_parked(joined);
    by = spawn(join_it, NULL);
    wait_until_parked(by);
    cancel_fiber(by);
    ck_assert_int_eq((intptr_t)join(by), -ECANCELED);
    ck_code(weft_join_try(joined, NULL), -EAGAIN);
    ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    ck_assert_int_eq((intptr_t)join(joined), 42);
    weft_chan_unref(ch);
}
END_TEST

static void *join_cancelled(void *arg)
{
    cancel_fiber(weft_self());
    return (void *)(intptr_t)weft_join((weft_fiber_t)(uintptr_t)arg, NULL);
}

WEFT_TEST(a_join_of_one_who_is_cancelled_takes_nothing)
{
    weft_fiber_t f = spawn(answer, (void *)7);

    wait_until_ended(f);
    ck_assert_int_eq(
        (intptr_t)join(spawn(join_cancelled, (void *)(uintptr_t)f)),
        -ECANCELED);
    ck_assert_int_eq((intptr_t)join(f), 7);
}
END_TEST

static void *send_it(void *arg)
{
    return (void *)(intptr_t)weft_chan_send(arg, NULL);
}

/* The end and the cancel come at the same instant: the joiner has the result,
 * or it can still be had; and the record is given back once in either case. */
WEFT_TEST(a_joiner_cancelled_at_the_end_takes_the_result_or_leaves_it)
{
    weft_chan_t *ch = new_chan(0, 0);
    uint64_t before = 0;

    for (int i = 0; i < 3000; i++) {
        weft_fiber_t by, end;
        intptr_t got;

        joined = spawn(answer_when_told, ch);
        wait_until_parked(joined);
        by = spawn(join_it, NULL);
        if (i % 4)
            wait_until_parked(by);
        end = spawn(send_it, ch);
        if (i % 2)
            weft_yield();
        cancel_fiber(by);
        got = (intptr_t)join(by);
        if (got != 42 && got != -ECANCELED)
            ck_abort_msg("round %d: the joiner got %d", i, (int)got);
        if (got == 42 && weft_join(joined, NULL) != -ESRCH)
            ck_abort_msg("round %d: its result can be had twice", i);
        if (got != 42 && (intptr_t)join(joined) != 42)
            ck_abort_msg("round %d: the result is lost", i);
        join(end);
        if (i == 100)
            before = records();
    }
    ck_assert_uint_le(records(), before + workers() * WEFT__RECORD_CACHE);
    weft_chan_unref(ch);
}
END_TEST

/* --- Nothing is left ----------------------------------------------------------------- */

static void *family(void *arg)
{
    weft_fiber_t f[4];
    weft_fiber_t own = spawn(answer, arg);

    for (int i = 0; i < 4; i++)
        f[i] = spawn(i % 2 ? answer : answer_after_a_yield, arg);
    weft_detach(f[0]); /* ended or not */
    weft_yield();
    weft_detach(f[1]);
    join(f[2]);
    join(f[3]);
    weft_go(answer, NULL);
    return join(own);
}

static void families(int n)
{
    weft_fiber_t f[16];

    for (int i = 0; i < n; i++) {
        for (int k = 0; k < 16; k++)
            f[k] = spawn(family, NULL);
        for (int k = 0; k < 16; k++)
            join(f[k]);
        settle(1);
    }
}

/* Joined, detached before and after the end, and never joinable: however they
 * end, their records are used again. */
WEFT_TEST(records_do_not_leak)
{
    uint64_t before;

    /* Each worker keeps a cache of its own. */
    families(100);
    before = records();
    families(400);
    ck_assert_uint_le(records(),
                      before + workers() * WEFT__RECORD_CACHE);
    ck_assert_int_eq(weft_audit(stderr), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("join");
    TCase *when = tcase_create("when");
    TCase *unstarted = tcase_create("unstarted");
    TCase *misuse = tcase_create("misuse");
    TCase *cancel = tcase_create("cancel");

    tcase_add_test(when, join_before_the_end_waits_for_the_result);
    tcase_add_test(when, join_after_the_end_gives_the_result);
    tcase_add_test(when, join_during_the_end_gives_the_result);
    tcase_add_test(when, a_result_nobody_wants_is_dropped);
    tcase_add_test(when, join_try_answers_at_once);
    tcase_add_test(when, what_the_child_wrote_is_seen);
    tcase_add_test(when, records_do_not_leak);
    suite_add_tcase(suite, when);

    tcase_add_test(unstarted,
                   an_unstarted_child_is_started_by_its_parents_join);
    tcase_add_test(unstarted, unstarted_children_are_joined_in_any_order);
    tcase_add_test(
        unstarted,
        an_unstarted_child_in_a_thiefs_queue_is_joined_by_its_victim);
    tcase_add_test(unstarted, an_unstarted_child_is_joined_by_a_stranger);
    suite_add_tcase(suite, unstarted);

    tcase_add_test(misuse, a_second_joiner_is_refused);
    tcase_add_test(misuse, detach_under_a_joiner_is_refused);
    tcase_add_test(misuse, a_detached_fiber_can_not_be_joined);
    tcase_add_test(misuse, detach_of_one_that_has_ended_takes_it_away);
    tcase_add_test(misuse, joining_oneself_is_a_deadlock);
    tcase_add_test(misuse, joining_oneself_leaves_one_joinable);
    tcase_add_test(misuse, a_stale_id_is_no_fiber);
    suite_add_tcase(suite, misuse);

    tcase_add_test(cancel, a_cancelled_joiner_leaves_it_joinable);
    tcase_add_test(cancel, a_join_of_one_who_is_cancelled_takes_nothing);
    tcase_add_test(
        cancel, a_joiner_cancelled_at_the_end_takes_the_result_or_leaves_it);
    suite_add_tcase(suite, cancel);
    return run_suite(suite);
}
