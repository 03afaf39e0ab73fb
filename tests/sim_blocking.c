/*
 * A blocking lane that gets no thread, and a thread that gets no record: on
 * real threads, by the faults of libweft-sim's passthrough.
 */
#include "tests/sim.h"
#include "tests/codelog.h"

#include <pthread.h>
#include <sched.h>

#include "netpoll/offload.h"
#include "sched/atomic.h"
#include "sched/sched.h"

/* As in support.h, which belongs to the other library. */
#define ck_code(call, expected)                                             \
    do {                                                                    \
        long long code_ = (long long)(call);                                \
        codelog(#call, code_);                                              \
        ck_assert_msg(code_ == (long long)(expected),                       \
                      "%s is %lld, and should be %s", #call, code_,         \
                      #expected);                                           \
    } while (0)

static weft__au32 ran, refused, gate;

static void *count(void *arg)
{
    (void)weft__fetch_add(&ran, 1, RELAXED);
    return arg;
}

static void run(int (*entry)(void *))
{
    weft__sim_passthrough(true);
    ck_assert_int_eq(weft_run(NULL, entry, NULL, NULL), 0);
    weft__sim_fault(WEFT__FAULT_THREAD, 0, 0);
    weft__sim_passthrough(false);
}

static weft_stats_t stats(void)
{
    weft_stats_t out = { .size = sizeof(out) };

    ck_assert_int_eq(weft_stats(&out), 0);
    return out;
}

/* --- No thread at all ------------------------------------------------------------- */

static int refuse_then_run(void *arg)
{
    void *result = arg;

    weft__sim_fault(WEFT__FAULT_THREAD, 1, -EAGAIN);
    ck_code(weft_blocking(count, &gate, &result), -EAGAIN);
    ck_assert_ptr_eq(result, arg);
    ck_assert_uint_eq(weft__load(&ran, RELAXED), 0);
    ck_assert_uint_eq(stats().lane_threads, 0);
    ck_assert_uint_eq(stats().lane_queued, 0);
    /* The next one asks again, and gets it. */
    ck_code(weft_blocking(count, &gate, &result), 0);
    ck_assert_ptr_eq(result, &gate);
    return 0;
}

START_TEST(a_lane_without_a_thread_says_so)
{
    run(refuse_then_run);
}
END_TEST

/* --- None, for many at once --------------------------------------------------------- */

static void *block(void *arg)
{
    int status = weft_blocking(count, arg, NULL);

    ck_assert(status == 0 || status == -EAGAIN);
    if (status == -EAGAIN)
        (void)weft__fetch_add(&refused, 1, RELAXED);
    return NULL;
}

enum { MANY = 8 };

static void many_at_once(void)
{
    weft_fiber_t f[MANY];

    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(weft_spawn(&f[i], block, NULL), 0);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(weft_join(f[i], NULL), 0);
}

/* One whose own thread could not be made had counted on another's, which
 * could not be made either: it is told as well, and does not wait for ever. */
static int refuse_many(void *arg)
{
    (void)arg;
    weft__sim_fault(WEFT__FAULT_THREAD, 0, -EAGAIN);
    for (int round = 0; round < 2000; round++)
        many_at_once();
    ck_assert_uint_eq(weft__load(&ran, RELAXED), 0);
    ck_assert_uint_eq(weft__load(&refused, RELAXED), 2000 * MANY);
    ck_assert_uint_eq(stats().lane_threads, 0);
    return 0;
}

START_TEST(all_who_wait_for_a_thread_that_never_comes_are_told)
{
    run(refuse_many);
}
END_TEST

/* --- One, and no more ---------------------------------------------------------------- */

static void *wait_at_gate(void *arg)
{
    while (!weft__load(&gate, ACQUIRE))
        sched_yield();
    return count(arg);
}

static void *block_at_gate(void *arg)
{
    ck_assert_int_eq(weft_blocking(wait_at_gate, NULL, NULL), 0);
    return arg;
}

/* The lane has a thread, busy; those that get none of their own wait for it. */
static int wait_for_the_one(void *arg)
{
    weft_fiber_t f[4];

    (void)arg;
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(weft_spawn(&f[i], block_at_gate, NULL), 0);
        while (stats().lane_running != 1 || stats().lane_queued != i)
            weft_yield();
        weft__sim_fault(WEFT__FAULT_THREAD, 0, -EAGAIN);
    }
    /* The last one is counted until it could not be made. */
    while (stats().lane_threads != 1)
        weft_yield();
    weft__store(&gate, 1, RELEASE);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(weft_join(f[i], NULL), 0);
    ck_assert_uint_eq(weft__load(&ran, RELAXED), 4);
    return 0;
}

START_TEST(who_gets_no_thread_waits_for_one_that_is_there)
{
    run(wait_for_the_one);
}
END_TEST

/* --- One that waits for the outside, and no more ------------------------------------- */

static void stop_nothing(void *arg)
{
    (void)arg;
}

static void *wait_for_the_outside(void *arg)
{
    struct weft__job job = { .fn = wait_at_gate,
                             .what = "test",
                             .fd = -1,
                             .stop = stop_nothing,
                             .eager = arg != NULL };

    return (void *)(intptr_t)weft__lane_do(&weft__lanes[WEFT__LANE_FD],
                                           weft__fiber_self(), &job,
                                           WEFT_FOREVER);
}

static long join_answer(weft_fiber_t f)
{
    void *answer;

    ck_assert_int_eq(weft_join(f, &answer), 0);
    return (long)(intptr_t)answer;
}

/* The lane has a thread that waits for input that may never come: who gets none
 * of its own is told, whether it may wait or not. */
static int refuse_behind_the_outside(void *arg)
{
    weft_fiber_t first, f;

    (void)arg;
    ck_assert_int_eq(weft_spawn(&first, wait_for_the_outside, NULL), 0);
    while (stats().fd_lane.running != 1)
        weft_yield();
    for (int eager = 0; eager < 2; eager++) {
        weft__sim_fault(WEFT__FAULT_THREAD, 1, -EAGAIN);
        ck_assert_int_eq(
            weft_spawn(&f, wait_for_the_outside, eager ? &gate : NULL), 0);
        ck_assert_int_eq(join_answer(f), -EAGAIN);
        ck_assert_uint_eq(stats().fd_lane.threads, 1);
        ck_assert_uint_eq(stats().fd_lane.queued, 0);
    }
    weft__store(&gate, 1, RELEASE);
    ck_assert_int_eq(join_answer(first), 0);
    return 0;
}

START_TEST(who_waits_for_the_outside_is_not_queued_behind_another)
{
    run(refuse_behind_the_outside);
}
END_TEST

/* --- Now and then ---------------------------------------------------------------------- */

/* Now and then a thread can be had: each job runs or is refused. */
static int sometimes(void *arg)
{
    (void)arg;
    for (unsigned round = 0; round < 500; round++) {
        weft__sim_fault(WEFT__FAULT_THREAD, round % 5 + 1, -EAGAIN);
        many_at_once();
    }
    ck_assert_uint_eq(weft__load(&ran, RELAXED) +
                          weft__load(&refused, RELAXED),
                      500 * MANY);
    return 0;
}

START_TEST(each_job_runs_or_is_refused)
{
    run(sometimes);
}
END_TEST

/* --- The dispatcher of signals ---------------------------------------------------------- */

static int signals_without(void *arg)
{
    static const int codes[] = { -ENOMEM, -EAGAIN };
    static const int fd_codes[] = { -EMFILE, -ENFILE };
    sigset_t set;

    (void)arg;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    for (int i = 0; i < 2; i++) {
        weft__sim_fault(WEFT__FAULT_THREAD, 1, codes[i]);
        ck_code(weft_signal_wait(&set, NULL), codes[i]);
        weft__sim_fault(WEFT__FAULT_THREAD, 1, codes[i]);
        ck_code(weft_signal_wait_until(&set, NULL, WEFT_FOREVER), codes[i]);
        weft__sim_fault(WEFT__FAULT_FD, 1, fd_codes[i]);
        ck_code(weft_signal_wait(&set, NULL), fd_codes[i]);
        weft__sim_fault(WEFT__FAULT_FD, 1, fd_codes[i]);
        ck_code(weft_signal_wait_until(&set, NULL, WEFT_FOREVER),
                fd_codes[i]);
    }
    /* The next one gets it. */
    ck_code(weft_signal_wait_until(&set, NULL, weft_after(WEFT_MS(1))),
            -ETIMEDOUT);
    return 0;
}

START_TEST(a_wait_for_a_signal_says_what_it_lacks)
{
    run(signals_without);
}
END_TEST

/* --- A foreign thread's record ------------------------------------------------------------ */

static weft_mutex_t mutex;

static void *lock_without_memory(void *arg)
{
    weft__sim_fault(WEFT__FAULT_MAP, 0, -ENOMEM);
    ck_code(weft_mutex_lock_try(&mutex), -ENOMEM);
    ck_code(weft_mutex_lock_until(&mutex, WEFT_NOW), -ENOMEM);
    ck_code(weft_mutex_lock(&mutex), -EPERM);
    ck_code(weft_mutex_unlock(&mutex), -EPERM);
    weft__sim_fault(WEFT__FAULT_MAP, 0, 0);
    ck_code(weft_mutex_lock_try(&mutex), 0);
    ck_code(weft_mutex_unlock(&mutex), 0);
    return arg;
}

/* The first owner of the process: there is no pool yet, and no memory. */
START_TEST(a_thread_that_gets_no_record_owns_nothing)
{
    pthread_t t;

    weft__sim_passthrough(true);
    ck_assert_int_eq(pthread_create(&t, NULL, lock_without_memory, NULL), 0);
    ck_assert_int_eq(pthread_join(t, NULL), 0);
    weft__sim_passthrough(false);
}
END_TEST

/* The head's memory: the buffer that was taken before it is given back. */
START_TEST(a_channel_or_queue_without_memory_is_not_made)
{
    weft_chan_t *ch;
    weft_queue_t *q;

    weft__sim_passthrough(true);
    weft__sim_fault(WEFT__FAULT_MAP, 0, -ENOMEM);
    ck_code(weft_chan_create(&ch, 8, 8), -ENOMEM);
    ck_code(weft_queue_create(&q, WEFT_FIFO, 8, 8, NULL), -ENOMEM);
    weft__sim_fault(WEFT__FAULT_MAP, 0, 0);
    ck_code(weft_chan_create(&ch, 8, 8), 0);
    ck_code(weft_queue_create(&q, WEFT_FIFO, 8, 8, NULL), 0);
    weft_chan_unref(ch);
    weft_queue_unref(q);
    weft__sim_passthrough(false);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_blocking");
    TCase *tc = tcase_create("blocking");

    tcase_add_test(tc, a_lane_without_a_thread_says_so);
    tcase_add_test(tc, all_who_wait_for_a_thread_that_never_comes_are_told);
    tcase_add_test(tc, who_gets_no_thread_waits_for_one_that_is_there);
    tcase_add_test(tc, who_waits_for_the_outside_is_not_queued_behind_another);
    tcase_add_test(tc, each_job_runs_or_is_refused);
    tcase_add_test(tc, a_wait_for_a_signal_says_what_it_lacks);
    tcase_add_test(tc, a_thread_that_gets_no_record_owns_nothing);
    tcase_add_test(tc, a_channel_or_queue_without_memory_is_not_made);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
