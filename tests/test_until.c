/*
 * Deadlines and cancels, for each call that waits: what is refused, what is
 * done all the same, what ends a wait, and what is true of the world
 * afterwards. The situations are those of waits.h; three that meet at the same
 * instant are in stress_cancel.c and sim_cancel.c.
 */
#include "tests/support_prim.h"

#include <limits.h>
#include <sched.h>

/* A call and its code, for the log that ck_code() writes. */
#define TELL(call) told(#call, call)

static int told(const char *call, long long code)
{
    log_code(call, code);
    return (int)code;
}

#include "tests/waits.h"

static const struct wait_kind *kind;
static struct spot spot;

/* Play test `body` with the n-th call, on a lane with few threads. */
static void play(int n, void (*body)(int))
{
    weft_config_t config = WEFT_CONFIG_INIT;

    kind = &wait_kinds[n];
    config.lane_threads = WAIT_LANES;
    ck_code(run_with(&config, body, n), 0);
}

#define EACH_WAIT(name)                                                     \
    static void name##_fiber(int i);                                        \
    START_TEST(name)                                                        \
    {                                                                       \
        play(_i, name##_fiber);                                             \
    }                                                                       \
    END_TEST                                                                \
    static void name##_fiber(int i CK_ATTRIBUTE_UNUSED)

static void *call_now(void *arg)
{
    return (void *)(intptr_t)kind->call(&spot, *(weft_time_t *)arg);
}

/* In a fiber of its own: the caller holds the mutex. */
static int call_until(weft_time_t deadline)
{
    return (int)(intptr_t)join(spawn(call_now, &deadline));
}

static void finish(int status)
{
    kind->give(&spot);
    kind->check(&spot, status);
}

/* One that waits on after it was given something: others in line are served
 * first, or it wants more. */
static bool waits_on(void)
{
    return kind->make == make_two_receivers ||
           kind->make == make_mutex_crowd ||
           kind->make == make_cond_crowd || kind->call == call_send_n;
}

/* --- What need not wait -------------------------------------------------------- */

/* Given before it came: it is done, however late it is. */
EACH_WAIT(what_can_be_done_at_once_is_done_after_the_deadline)
{
    int status;

    if (!kind->at_once)
        return;
    for (int round = 0; round < 3; round++) {
        const weft_time_t deadlines[] = { weft_now() - 1, 1, WEFT_NOW };

        memset(&spot, 0, sizeof(spot));
        kind->make(&spot);
        kind->give(&spot);
        status = kind->call(&spot, deadlines[round]);
        ck_assert_int_ge(status, 0);
        kind->check(&spot, status);
    }
}
END_TEST

/* A job is done while its caller waits: a deadline that has passed is too
 * late for it, and a thread that is free does not make it early. */
WEFT_TEST(a_job_is_nothing_at_once)
{
    weft__store(&spot.gate, 1, RELAXED);
    ck_code(weft_blocking_until(job_that_counts, &spot, NULL, 1), -ETIMEDOUT);
    ck_code(weft_blocking_until(job_that_counts, &spot, NULL, WEFT_NOW),
            -EAGAIN);
    ck_assert_uint_eq(weft__load(&spot.ran, ACQUIRE), 0);
    ck_code(weft_blocking_until(job_that_counts, &spot, NULL,
                                weft_after(WEFT_SEC(20))), 0);
    ck_assert_uint_eq(weft__load(&spot.ran, ACQUIRE), 1);
}
END_TEST

/* --- What would have to wait ---------------------------------------------------- */

EACH_WAIT(a_deadline_that_has_passed_refuses_the_wait)
{
    int status;

    kind->make(&spot);
    status = call_until(weft_now());
    ck_assert_int_eq(status, -ETIMEDOUT);
    finish(status);
}
END_TEST

EACH_WAIT(now_is_the_deadline_that_says_again)
{
    int status;

    kind->make(&spot);
    status = call_until(WEFT_NOW);
    ck_assert_int_eq(status, -EAGAIN);
    finish(status);
}
END_TEST

/* Cancelled and late: the cancel is looked at first. But not by one who will
 * not wait anyhow. */
static void *call_cancelled(void *arg)
{
    (void)arg;
    must_code(weft_cancel(weft_self()), 0);
    must_code(kind->call(&spot, 1), -ECANCELED);
    must_code(kind->call(&spot, WEFT_FOREVER), -ECANCELED);
    must_code(kind->call(&spot, WEFT_NOW), -EAGAIN);
    return NULL;
}

EACH_WAIT(a_cancel_on_entry_comes_before_all)
{
    kind->make(&spot);
    join(spawn(call_cancelled, NULL));
    finish(-ECANCELED);
}
END_TEST

/* --- While parked ------------------------------------------------------------------ */

static void *call_until_soon(void *arg)
{
    weft_time_t deadline = weft_after(WEFT_MS(5));
    int status = kind->call(&spot, deadline);

    (void)arg;
    ck_assert_int_ge(weft_now(), deadline);
    return (void *)(intptr_t)status;
}

/* Not before it, and nothing has happened. */
EACH_WAIT(the_deadline_ends_the_wait)
{
    int status;

    kind->make(&spot);
    status = (int)(intptr_t)join(spawn(call_until_soon, NULL));
    ck_assert_int_eq(status, -ETIMEDOUT);
    finish(status);
}
END_TEST

static const weft_time_t waits[] = { WEFT_FOREVER, WEFT_SEC(1000) };

EACH_WAIT(a_cancel_ends_the_wait)
{
    for (int round = 0; round < 2; round++) {
        weft_time_t deadline = round ? weft_after(waits[1]) : waits[0];
        weft_fiber_t f;
        int status;

        memset(&spot, 0, sizeof(spot));
        kind->make(&spot);
        f = spawn(call_now, &deadline);
        wait_until_parked(f);
        must_code(weft_cancel(f), 0);
        status = (int)(intptr_t)join(f);
        ck_assert_int_eq(status, -ECANCELED);
        finish(status);
    }
}
END_TEST

static weft__au32 given;

/* By itself: what it got may be its own. */
static void *call_in_time(void *arg)
{
    int status = kind->call(&spot, weft_after(WEFT_SEC(1000)));

    ck_assert_int_ge(status, 0);
    wait_for(&given, 1);
    kind->check(&spot, status);
    return arg;
}

EACH_WAIT(what_is_given_in_time_counts)
{
    weft_fiber_t f;

    if (waits_on())
        return;
    kind->make(&spot);
    f = spawn(call_in_time, NULL);
    wait_until_parked(f);
    kind->give(&spot);
    weft__store(&given, 1, RELEASE);
    join(f);
}
END_TEST

/* A part was sent: that is how many, and the code comes from the next call. */
WEFT_TEST(a_batch_that_ran_out_of_time_tells_how_much_it_sent)
{
    long values[] = { 1, 2, 3 };
    weft_chan_t *ch = new_chan(sizeof(long), 2);

    ck_code(weft_chan_send_n_until(ch, values, 3, weft_after(WEFT_MS(5))), 2);
    ck_code(weft_chan_send_n_until(ch, values, 3, weft_after(WEFT_MS(5))),
            -ETIMEDOUT);
    ck_code(weft_chan_send_n_until(ch, values, 0, 1), 0);
    ck_code(weft_chan_recv_n_until(ch, values, 0, 1), 0);
    ck_code(weft_chan_recv_n_until(ch, values, 3, 1), 2);
    weft_chan_unref(ch);
}
END_TEST

/* --- Behind a shield ------------------------------------------------------------------ */

static void *call_shielded(void *arg)
{
    int status;

    (void)arg;
    must_code(weft_cancel(weft_self()), 0);
    weft_shield_begin();
    status = (int)(intptr_t)call_until_soon(NULL);
    weft_shield_end();
    weft_cancel_clear();
    return (void *)(intptr_t)status;
}

/* The cancel is lifted; a deadline that the caller gave himself is not. */
EACH_WAIT(a_shield_lifts_no_deadline)
{
    int status;

    kind->make(&spot);
    status = (int)(intptr_t)join(spawn(call_shielded, NULL));
    ck_assert_int_eq(status, -ETIMEDOUT);
    finish(status);
}
END_TEST

/* --- From outside ------------------------------------------------------------------------ */

static void call_outside(void *arg)
{
    (void)arg;
    ck_assert_int_eq(kind->call(&spot, WEFT_FOREVER), -EPERM);
    ck_assert_int_eq(kind->call(&spot, weft_after(WEFT_SEC(1000))), -EPERM);
    ck_assert_int_eq(kind->call(&spot, 1), -EPERM);
    if (kind->call == call_blocking || kind->call == take_token)
        return; /* these have nothing to try */
    ck_assert_int_eq(kind->call(&spot, WEFT_NOW), -EAGAIN);
}

EACH_WAIT(a_thread_that_runs_no_fiber_cannot_wait)
{
    kind->make(&spot);
    /* The other one has let go of the mutex, which a thread cannot wait for. */
    if (kind->make == make_cond_crowd)
        wait_until_parked(spot.other[0]);
    on_thread(call_outside, NULL);
    /* The lane's threads are busy, when it is the lane. */
    if (kind->call != call_blocking)
        on_lane(call_outside, NULL);
    finish(-EPERM);
}
END_TEST

/* --- The lane ------------------------------------------------------------------------------ */

static void *job_until_late(void *arg)
{
    weft_time_t deadline = *(weft_time_t *)arg;

    while (weft_now() <= deadline + WEFT_MS(5))
        sched_yield();
    return arg;
}

/* It has begun in time, and uses what is its caller's. */
WEFT_TEST(a_job_that_began_is_waited_for_after_the_deadline)
{
    weft_time_t deadline = weft_after(WEFT_MS(50));
    void *result = NULL;
    int status = weft_blocking_until(job_until_late, &deadline, &result,
                                     deadline);

    /* On a machine with no time at all it may not have begun. */
    if (status == -ETIMEDOUT)
        return;
    ck_assert_int_eq(status, 0);
    ck_assert_ptr_eq(result, &deadline);
    ck_assert_int_gt(weft_now(), deadline);
}
END_TEST

/* --- Misuse ----------------------------------------------------------------------------------- */

WEFT_TEST(misuse_is_told)
{
    weft_mutex_t m = WEFT_MUTEX_INIT;
    weft_chan_t *ch = new_chan(4, 1);
    weft_queue_t *q;
    int x = 0;
    weft_fiber_t f;

    must_code(weft_queue_create(&q, WEFT_FIFO, 4, 1, NULL), 0);
    ck_code(weft_chan_send_until(NULL, &x, WEFT_FOREVER), -EINVAL);
    ck_code(weft_chan_send_until(ch, NULL, WEFT_FOREVER), -EINVAL);
    ck_code(weft_chan_recv_until(NULL, &x, WEFT_FOREVER), -EINVAL);
    ck_code(weft_chan_recv_until(ch, NULL, 1), -EINVAL);
    ck_code(weft_chan_send_n_until(ch, NULL, 1, WEFT_NOW), -EINVAL);
    ck_code(weft_chan_send_n_until(ch, &x, SIZE_MAX, 1), -EINVAL);
    ck_code(weft_chan_recv_n_until(ch, NULL, 1, 1), -EINVAL);
    ck_code(weft_queue_put_until(NULL, &x, 1), -EINVAL);
    ck_code(weft_queue_put_until(q, NULL, 1), -EINVAL);
    ck_code(weft_queue_get_until(q, NULL, 1), -EINVAL);
    ck_code(weft_queue_join_until(NULL, 1), -EINVAL);
    ck_code(weft_waitgroup_wait_until(NULL, 1), -EINVAL);
    ck_code(weft_mutex_lock_until(NULL, 1), -EINVAL);
    ck_code(weft_mutex_lock_until(NULL, WEFT_NOW), -EINVAL);
    ck_code(weft_blocking_until(NULL, NULL, NULL, 1), -EINVAL);

    ck_code(weft_mutex_lock_until(&m, WEFT_FOREVER), 0);
    ck_code(weft_mutex_lock_until(&m, WEFT_FOREVER), -EDEADLK);
    ck_code(weft_mutex_lock_until(&m, 1), -EDEADLK);
    ck_code(weft_mutex_unlock(&m), 0);

    ck_code(weft_join_until(weft_self(), NULL, 1), -EDEADLK);
    ck_code(weft_join_until(0, NULL, WEFT_FOREVER), -ESRCH);
    f = spawn(end_at_gate, &spot);
    must_code(weft_detach(f), 0);
    ck_code(weft_join_until(f, NULL, WEFT_FOREVER), -EINVAL);
    ck_code(weft_join_until(f, NULL, 1), -EINVAL);
    weft__store(&spot.gate, 1, RELEASE);

    must_code(weft_chan_close(ch), 0);
    ck_code(weft_chan_send_until(ch, &x, 1), -EPIPE);
    ck_code(weft_chan_recv_until(ch, &x, 1), -EPIPE);
    ck_code(weft_chan_send_n_until(ch, &x, 1, 1), -EPIPE);
    ck_code(weft_chan_recv_n_until(ch, &x, 1, 1), -EPIPE);
    must_code(weft_queue_close(q), 0);
    ck_code(weft_queue_put_until(q, &x, 1), -EPIPE);
    ck_code(weft_queue_get_until(q, &x, 1), -EPIPE);
    weft_queue_unref(q);
    weft_chan_unref(ch);
}
END_TEST

static void *join_first(void *arg)
{
    must_code(weft_join(*(weft_fiber_t *)arg, NULL), 0);
    return NULL;
}

WEFT_TEST(a_second_joiner_does_not_wait_for_the_deadline)
{
    weft_fiber_t child = spawn(end_at_gate, &spot);
    weft_fiber_t f = spawn(join_first, &child);

    wait_until_parked(f);
    ck_code(weft_join_until(child, NULL, WEFT_FOREVER), -EBUSY);
    ck_code(weft_join_until(child, NULL, 1), -EBUSY);
    weft__store(&spot.gate, 1, RELEASE);
    join(f);
}
END_TEST

/* --- Asleep for ever ---------------------------------------------------------------------------- */

static void never_look(int level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
}

static void *hold(void *arg)
{
    must_code(weft_mutex_lock(arg), 0);
    return NULL;
}

static void *receive_for_ever(void *arg)
{
    return (void *)(intptr_t)weft_chan_recv(arg, NULL);
}

/* Without a deadline nothing would end these waits. */
WEFT_TEST(a_program_asleep_is_told)
{
    weft_mutex_t m = WEFT_MUTEX_INIT;
    weft_waitgroup_t wg = WEFT_WAITGROUP_INIT;
    weft_chan_t *ch = new_chan(sizeof(int), 1);
    weft_chan_t *never = new_chan(0, 0);
    weft_queue_t *q;
    weft_fiber_t f;
    int x = 0;

    weft_set_log(never_look, NULL);
    must_code(weft_queue_create(&q, WEFT_FIFO, sizeof(int), 1, NULL), 0);
    ck_code(weft_chan_recv_until(ch, &x, WEFT_FOREVER), -EDEADLK);
    ck_code(weft_chan_recv_n_until(ch, &x, 1, WEFT_FOREVER), -EDEADLK);
    ck_code(weft_queue_get_until(q, &x, WEFT_FOREVER), -EDEADLK);
    must_code(weft_chan_send(ch, &x), 0);
    must_code(weft_queue_put(q, &x), 0);
    ck_code(weft_chan_send_until(ch, &x, WEFT_FOREVER), -EDEADLK);
    ck_code(weft_chan_send_n_until(ch, &x, 1, WEFT_FOREVER), -EDEADLK);
    ck_code(weft_queue_put_until(q, &x, WEFT_FOREVER), -EDEADLK);
    ck_code(weft_queue_join_until(q, WEFT_FOREVER), -EDEADLK);
    must_code(weft_waitgroup_add(&wg, 1), 0);
    ck_code(weft_waitgroup_wait_until(&wg, WEFT_FOREVER), -EDEADLK);
    join(spawn(hold, &m));
    ck_code(weft_mutex_lock_until(&m, WEFT_FOREVER), -EDEADLK);
    f = spawn(receive_for_ever, never);
    ck_code(weft_join_until(f, NULL, WEFT_FOREVER), -EDEADLK);
    must_code(weft_cancel(f), 0);
    join(f);
    /* One with a deadline is not lost: it will come. */
    ck_code(weft_chan_send_until(ch, &x, weft_after(WEFT_MS(5))), -ETIMEDOUT);
    weft_set_log(NULL, NULL);
    weft_queue_unref(q);
    weft_chan_unref(never);
    weft_chan_unref(ch);
}
END_TEST

/* --- Order -------------------------------------------------------------------------------------- */

enum { IN_LINE = 9 };

static weft_mutex_t line_mutex;
static int entered[IN_LINE], entries;

static void *stand_in_line(void *arg)
{
    intptr_t i = (intptr_t)arg;
    int status;

    if (i % 3 == 1)
        status = weft_mutex_lock_until(&line_mutex, weft_after(WEFT_MS(5)));
    else
        status = weft_mutex_lock_until(&line_mutex, WEFT_FOREVER);
    if (status == 0) {
        entered[entries++] = (int)i;
        must_code(weft_mutex_unlock(&line_mutex), 0);
    }
    return (void *)(intptr_t)status;
}

/* Of three the second has no patience and the third is cancelled; the others
 * enter, in the order they came. */
WEFT_TEST(those_who_gave_up_leave_the_line_in_order)
{
    weft_fiber_t f[IN_LINE];

    must_code(weft_mutex_lock(&line_mutex), 0);
    for (intptr_t i = 0; i < IN_LINE; i++) {
        f[i] = spawn(stand_in_line, (void *)i);
        if (i % 3 != 1)
            wait_until_parked(f[i]);
    }
    for (int i = 0; i < IN_LINE; i++)
        if (i % 3 == 2)
            must_code(weft_cancel(f[i]), 0);
    for (int i = 0; i < IN_LINE; i++) {
        if (i % 3 == 1)
            ck_assert_int_eq((intptr_t)join(f[i]), -ETIMEDOUT);
        if (i % 3 == 2)
            ck_assert_int_eq((intptr_t)join(f[i]), -ECANCELED);
    }
    must_code(weft_mutex_unlock(&line_mutex), 0);
    for (int i = 0; i < IN_LINE; i += 3)
        ck_assert_int_eq((intptr_t)join(f[i]), 0);
    ck_assert_int_eq(entries, IN_LINE / 3);
    for (int i = 0; i < entries; i++)
        ck_assert_int_eq(entered[i], 3 * i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("until");
    TCase *tcase = tcase_create("until");

    tcase_add_loop_test(tcase,
                        what_can_be_done_at_once_is_done_after_the_deadline, 0,
                        WAIT_KINDS);
    tcase_add_test(tcase, a_job_is_nothing_at_once);
    tcase_add_loop_test(tcase, a_deadline_that_has_passed_refuses_the_wait, 0,
                        WAIT_KINDS);
    tcase_add_loop_test(tcase, now_is_the_deadline_that_says_again, 0,
                        WAIT_KINDS);
    tcase_add_loop_test(tcase, a_cancel_on_entry_comes_before_all, 0,
                        WAIT_KINDS);
    tcase_add_loop_test(tcase, the_deadline_ends_the_wait, 0, WAIT_KINDS);
    tcase_add_loop_test(tcase, a_cancel_ends_the_wait, 0, WAIT_KINDS);
    tcase_add_loop_test(tcase, what_is_given_in_time_counts, 0, WAIT_KINDS);
    tcase_add_test(tcase, a_batch_that_ran_out_of_time_tells_how_much_it_sent);
    tcase_add_loop_test(tcase, a_shield_lifts_no_deadline, 0, WAIT_KINDS);
    tcase_add_loop_test(tcase, a_thread_that_runs_no_fiber_cannot_wait, 0,
                        WAIT_KINDS);
    tcase_add_test(tcase, a_job_that_began_is_waited_for_after_the_deadline);
    tcase_add_test(tcase, misuse_is_told);
    tcase_add_test(tcase, a_second_joiner_does_not_wait_for_the_deadline);
    tcase_add_test(tcase, a_program_asleep_is_told);
    tcase_add_test(tcase, those_who_gave_up_leave_the_line_in_order);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
