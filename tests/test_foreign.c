/*
 * Threads that are not weft's, at odd moments: while a run begins or ends, in
 * their very first call, in their last.
 */
#include "tests/support_prim.h"

#include <pthread.h>

static int do_nothing(void *arg)
{
    (void)arg;
    weft_yield();
    return 0;
}

/* --- Looking in while runs come and go ---------------------------------------- */

static weft__au32 looks, enough;

static void *look_in(void *arg)
{
    while (!weft__load(&enough, ACQUIRE)) {
        weft_stats_t stats = { .size = sizeof(stats) };
        weft_worker_stats_t worker;
        unsigned workers;
        int status;

        must(weft_stats(&stats) == 0);
        must(stats.workers == 0 || stats.workers == 4);
        status = weft_stats_worker(3, &worker);
        must(status == 0 || status == -EINVAL);
        workers = weft_workers();
        must(workers == 0 || workers == 4);
        status = weft_audit(NULL);
        must(status >= 0 || status == -EPERM);
        (void)weft__fetch_add(&looks, 1, RELAXED);
    }
    return arg;
}

/* Whoever gathers figures does not know when a run is about to begin. */
START_TEST(figures_are_asked_for_while_runs_begin_and_end)
{
    weft_config_t config = WEFT_CONFIG_INIT;
    pthread_t thread;
    uint32_t seen = 0;

    unsetenv("WEFT_WORKERS");
    config.workers = 4;
    ck_assert_int_eq(pthread_create(&thread, NULL, look_in, NULL), 0);
    for (int i = 0; i < ROUNDS(300) || seen < 300; i++) {
        ck_code(weft_run(&config, do_nothing, NULL, NULL), 0);
        seen = weft__load(&looks, RELAXED);
    }
    weft__store(&enough, 1, RELEASE);
    pthread_join(thread, NULL);
}
END_TEST

/* --- The first call ------------------------------------------------------------ */

enum { FIRST = 4 };

static pthread_barrier_t all_here;

static void *lock_once(void *arg)
{
    weft_mutex_t m = WEFT_MUTEX_INIT;

    pthread_barrier_wait(&all_here);
    must(weft_mutex_lock(&m) == 0);
    must(weft_mutex_unlock(&m) == 0);
    return arg;
}

static int spawn_some(void *arg)
{
    weft_fiber_t f[200];

    (void)arg;
    for (int i = 0; i < 200; i++)
        f[i] = spawn(lock_once, NULL);
    for (int i = 0; i < 200; i++)
        join(f[i]);
    return 0;
}

/* Several threads are the first to need a record, while the first run, with
 * stacks of another size, begins. A case is a process of its own. */
START_TEST(first_calls_of_many_threads_and_the_first_run)
{
    weft_config_t config = WEFT_CONFIG_INIT;
    pthread_t thread[FIRST];

    config.stack_size = 32768;
    ck_assert_int_eq(pthread_barrier_init(&all_here, NULL, FIRST + 1), 0);
    for (int i = 0; i < FIRST; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, lock_once, NULL),
                         0);
    pthread_barrier_wait(&all_here);
    ck_code(weft_run(&config, do_nothing, NULL, NULL), 0);
    for (int i = 0; i < FIRST; i++)
        pthread_join(thread[i], NULL);
    ck_assert_int_eq(pthread_barrier_destroy(&all_here), 0);
    ck_assert_int_eq(pthread_barrier_init(&all_here, NULL, 1), 0);
    ck_code(weft_run(&config, spawn_some, NULL, NULL), 0);
}
END_TEST

/* --- The last call --------------------------------------------------------------- */

static weft_mutex_t held = WEFT_MUTEX_INIT;
static weft__au32 called;

/* Runs after weft has taken the thread's record back: keys are gone through in
 * the order in which they were made. */
static void call_at_the_end(void *arg)
{
    (void)arg;
    must(weft_self() == 0);
    weft_yield();
    must(weft_sleep(1000) == 0);
    must(weft_mutex_lock(&held) == -EPERM);
    must(weft_mutex_lock_try(&held) == -EAGAIN);
    weft__store(&called, 1, RELEASE);
}

static void *end_with_a_call(void *arg)
{
    weft_mutex_t m = WEFT_MUTEX_INIT;
    pthread_key_t key;

    must(weft_mutex_lock(&m) == 0);
    must(weft_mutex_unlock(&m) == 0);
    must(pthread_key_create(&key, call_at_the_end) == 0);
    must(pthread_setspecific(key, &called) == 0);
    return arg;
}

WEFT_TEST(a_thread_calls_from_a_destructor)
{
    pthread_t thread;

    ck_code(weft_mutex_lock(&held), 0);
    for (int i = 0; i < 20; i++) {
        weft__store(&called, 0, RELAXED);
        ck_assert_int_eq(pthread_create(&thread, NULL, end_with_a_call, NULL),
                         0);
        pthread_join(thread, NULL);
        ck_assert_uint_eq(weft__load(&called, ACQUIRE), 1);
    }
    ck_code(weft_mutex_unlock(&held), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("foreign");
    TCase *tc = tcase_create("foreign");

    tcase_add_test(tc, figures_are_asked_for_while_runs_begin_and_end);
    tcase_add_loop_test(tc, first_calls_of_many_threads_and_the_first_run, 0,
                        20);
    tcase_add_test(tc, a_thread_calls_from_a_destructor);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
