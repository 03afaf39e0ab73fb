/*
 * A whole program asleep: the entry's wait ends with -EDEADLK and stderr has
 * the list. Where a foreign thread may still come: test_deadlock_outside.c.
 */
#include "tests/support_deadlock.h"
#include "tests/support.h"

/* A call and its code, for the log that ck_code() writes. */
#define TOLD(call) told(#call, call)

static int told(const char *call, int code)
{
    log_code(call, code);
    return code;
}

/* --- Entries that sleep for ever ------------------------------------------------- */

static weft_chan_t *never;
static weft_mutex_t mutex = WEFT_MUTEX_INIT;

static void *sleep_for_ever(void *arg)
{
    weft_name("sleeper");
    return (void *)(intptr_t)weft_chan_recv(arg, NULL);
}

static void *lock_and_sleep(void *arg)
{
    weft_name("holder");
    if (weft_mutex_lock(&mutex) != 0)
        return NULL;
    weft_chan_recv(arg, NULL);
    weft_mutex_unlock(&mutex);
    return NULL;
}

static int on_receive(void)
{
    return TOLD(weft_chan_recv(never, NULL));
}

static int on_send(void)
{
    weft_chan_t *ch = new_chan(0, 0);
    int status = TOLD(weft_chan_send(ch, NULL));

    weft_chan_unref(ch);
    return status;
}

static int on_mutex(void)
{
    wait_until_parked(spawn(lock_and_sleep, never));
    return TOLD(weft_mutex_lock(&mutex));
}

static int on_join(void)
{
    weft_fiber_t f = spawn(sleep_for_ever, never);
    int status = TOLD(weft_join(f, NULL));

    ck_assert_int_eq(weft_join_try(f, NULL), -EAGAIN);
    return status;
}

static int on_waitgroup(void)
{
    weft_waitgroup_t wg = WEFT_WAITGROUP_INIT;

    weft_waitgroup_add(&wg, 1);
    return TOLD(weft_waitgroup_wait(&wg));
}

static weft_queue_t *new_queue(size_t capacity)
{
    weft_queue_t *q = NULL;

    ck_assert_int_eq(
        weft_queue_create(&q, WEFT_FIFO, sizeof(int), capacity, NULL), 0);
    return q;
}

static int on_get(void)
{
    weft_queue_t *q = new_queue(0);
    int value, status = TOLD(weft_queue_get(q, &value));

    weft_queue_unref(q);
    return status;
}

static int on_put(void)
{
    weft_queue_t *q = new_queue(1);
    int value = 1, status;

    ck_assert_int_eq(weft_queue_put(q, &value), 0);
    status = TOLD(weft_queue_put(q, &value));
    weft_queue_unref(q);
    return status;
}

static int on_queue_join(void)
{
    weft_queue_t *q = new_queue(1);
    int value = 1, status;

    ck_assert_int_eq(weft_queue_put(q, &value), 0);
    status = TOLD(weft_queue_join(q));
    weft_queue_unref(q);
    return status;
}

static const struct {
    int (*wait)(void);
    const char *list; /* what stands in the list */
} waits[] = {
    { on_receive, "\"main\" parked, waits for receive on channel" },
    { on_send, "\"main\" parked, waits for send on channel" },
    { on_mutex, "\"main\" parked, waits for mutex" },
    { on_join, "\"main\" parked, waits for join" },
    { on_waitgroup, "\"main\" parked, waits for wait group" },
    { on_get, "\"main\" parked, waits for get from queue" },
    { on_put, "\"main\" parked, waits for put to queue" },
    { on_queue_join, "\"main\" parked, waits for join of queue" },
};

enum { WAITS = sizeof(waits) / sizeof(*waits) };

/* One more sleeps beside the entry: it is listed, and sleeps on. */
WEFT_TEST(an_entry_asleep_for_ever_is_told_and_the_list_says_for_what)
{
    weft_fiber_t other;

    never = new_chan(0, 0);
    other = spawn(sleep_for_ever, new_chan(0, 0));
    wait_until_parked(other);
    listen_to_stderr();
    ck_code(waits[_i].wait(), -EDEADLK);
    ck_assert_int_eq(times_said("deadlock"), 1);
    ck_assert_int_eq(times_said(waits[_i].list), 1);
    ck_assert_int_ge(
        times_said("\"sleeper\" parked, waits for receive on channel"), 1);
    if (waits[_i].wait == on_mutex)
        ck_assert_int_eq(times_said("\"holder\" parked"), 1);
    ck_assert(is_state(other, "parked"));
    ck_assert_int_eq(weft_audit(NULL), 0);
}
END_TEST

/* It is one wait that ends: the program may go on, and be told again. */
WEFT_TEST(each_deadlock_is_told)
{
    never = new_chan(0, 0);
    listen_to_stderr();
    for (int i = 1; i <= 100; i++) {
        int status = weft_chan_recv(never, NULL);

        if (status != -EDEADLK)
            ck_abort_msg("round %d: %s", i, weft_err_name(status));
        if (times_said("deadlock") != i)
            ck_abort_msg("round %d: said %d times", i,
                         times_said("deadlock"));
    }
}
END_TEST

static int sleep_at_once(void *arg)
{
    weft_chan_t *ch = arg;

    return weft_chan_recv(ch, NULL);
}

/* The start is no deadlock, however early the workers lie down. */
START_TEST(a_start_is_no_deadlock)
{
    weft_chan_t *ch = new_chan(0, 0);

    listen_to_stderr();
    for (int i = 1; i <= 200; i++) {
        int result = 0;

        ck_assert_int_eq(weft_run(NULL, sleep_at_once, ch, &result), 0);
        if (result != -EDEADLK || times_said("deadlock") != i)
            ck_abort_msg("round %d: %s, said %d times", i,
                         weft_err_name(result), times_said("deadlock"));
    }
    weft_chan_unref(ch);
}
END_TEST

/* --- Where someone may still come ------------------------------------------------- */

static void *job_beside_sleepers(void *arg)
{
    watch_them_sleep();
    return arg;
}

static void *do_nothing(void *arg)
{
    return arg;
}

WEFT_TEST(nothing_is_said_while_a_blocking_job_runs)
{
    void *result = NULL;
    weft_fiber_t other;

    never = new_chan(0, 0);
    other = spawn(sleep_for_ever, never);
    wait_until_parked(other);
    listen_to_stderr();
    ck_code(weft_blocking(job_beside_sleepers, &result, &result), 0);
    ck_assert_ptr_eq(result, &result);
    ck_assert_int_eq(times_said("deadlock"), 0);
    ck_assert(is_state(other, "parked"));
}
END_TEST

/* The job's end and the sleep follow each other closely: no sleep may pass
 * for one with a job. */
WEFT_TEST(a_sleep_right_behind_a_blocking_job_is_told)
{
    never = new_chan(0, 0);
    listen_to_stderr();
    for (int i = 0; i < 200; i++) {
        int status = weft_blocking(do_nothing, NULL, NULL);

        if (status == 0)
            status = weft_chan_recv(never, NULL);
        if (status != -EDEADLK)
            ck_abort_msg("round %d: %s", i, weft_err_name(status));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("deadlock");
    TCase *tc = tcase_create("declared");

    tcase_add_loop_test(
        tc, an_entry_asleep_for_ever_is_told_and_the_list_says_for_what, 0,
        WAITS);
    tcase_add_test(tc, each_deadlock_is_told);
    tcase_add_test(tc, a_start_is_no_deadlock);
    tcase_add_test(tc, a_sleep_right_behind_a_blocking_job_is_told);
    tcase_add_test(tc, nothing_is_said_while_a_blocking_job_runs);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
