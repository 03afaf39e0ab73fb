/*
 * The operating system's threads: what they start with, the cores they may run on, and
 * the futexes they sleep on. Needs no runtime.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sched/os.h"

#define MS INT64_C(1000000)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

/* --- Threads -------------------------------------------------------------- */

struct seen {
    sigset_t mask;
    char name[16];
    int tid;
};

static void *look_around(void *arg)
{
    struct seen *seen = arg;

    pthread_sigmask(SIG_SETMASK, NULL, &seen->mask);
    prctl(PR_GET_NAME, seen->name);
    seen->tid = weft__os_tid();
    return NULL;
}

START_TEST(a_thread_blocks_all_asynchronous_signals)
{
    static const int open[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL,
                                SIGTRAP, SIGSYS, SIGABRT };
    struct seen seen;
    weft__os_thread thread;
    sigset_t before;
    sigset_t after;

    pthread_sigmask(SIG_SETMASK, NULL, &before);
    ck_assert_int_eq(
        weft__os_thread_create(&thread, "weft", look_around, &seen), 0);
    weft__os_thread_join(thread);

    for (int number = 1; number <= SIGRTMAX; number++) {
        bool is_open = number == SIGKILL || number == SIGSTOP;

        for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++)
            is_open = is_open || open[i] == number;
        if (number >= 32 && number < SIGRTMIN)
            continue; /* glibc's own */
        ck_assert_msg((sigismember(&seen.mask, number) == 0) == is_open,
                      "signal %d", number);
    }
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int number = 1; number < SIGRTMIN; number++)
        ck_assert_int_eq(sigismember(&after, number),
                         sigismember(&before, number));
}
END_TEST

START_TEST(a_thread_bears_its_name_cut_to_what_fits)
{
    struct seen seen;
    weft__os_thread thread;

    ck_assert_int_eq(
        weft__os_thread_create(&thread, "weft-worker-7", look_around, &seen),
        0);
    weft__os_thread_join(thread);
    ck_assert_str_eq(seen.name, "weft-worker-7");
    ck_assert_int_ne(seen.tid, weft__os_tid());

    ck_assert_int_eq(weft__os_thread_create(&thread, "weft-worker-123456",
                                            look_around, &seen),
                     0);
    weft__os_thread_join(thread);
    ck_assert_str_eq(seen.name, "weft-worker-123");
}
END_TEST

#ifndef SANITIZED
/* No room for another stack. */
START_TEST(a_thread_that_cannot_be_made_is_an_error)
{
    struct rlimit limit = { 0, RLIM_INFINITY };
    struct seen seen;
    weft__os_thread thread;
    int status;

    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = 1;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    status = weft__os_thread_create(&thread, "weft", look_around, &seen);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_AS, &limit);
    ck_assert_int_eq(status, -EAGAIN);
}
END_TEST
#endif

START_TEST(timer_slack_is_that_of_the_caller)
{
    weft__os_timer_slack(1);
    ck_assert_int_eq(prctl(PR_GET_TIMERSLACK), 1);
}
END_TEST

START_TEST(affinity_counts_the_mask)
{
    unsigned all = weft__os_affinity();
    bool several = weft__os_multicore();
    cpu_set_t mask;
    size_t first = 0;

    ck_assert_uint_ge(all, 1);
    ck_assert_int_eq(several, all > 1);

    ck_assert_int_eq(sched_getaffinity(0, sizeof(mask), &mask), 0);
    while (!CPU_ISSET(first, &mask))
        first++;
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    ck_assert_int_eq(sched_setaffinity(0, sizeof(mask), &mask), 0);
    ck_assert_uint_eq(weft__os_affinity(), 1);
    /* Asked once; the rest of the process may still have several. */
    ck_assert_int_eq(weft__os_multicore(), several);
}
END_TEST

START_TEST(membarrier_works_once_it_is_registered)
{
    if (weft__os_membarrier_init()) {
        ck_assert(weft__os_membarrier_init());
        weft__os_membarrier();
    }
    weft__os_pause();
    weft__os_thread_yield();
}
END_TEST

/* --- Futexes -------------------------------------------------------------- */

START_TEST(futex_wait_on_another_value_returns_at_once)
{
    weft__au32 word;

    weft__init(&word, 7);
    ck_assert_int_eq(weft__os_futex_wait(&word, 8, -1), -EAGAIN);
}
END_TEST

START_TEST(futex_wait_times_out_and_never_early)
{
    static const int64_t lengths[] = { 0, 1, 1000, MS, 20 * MS };
    weft__au32 word;

    weft__init(&word, 7);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        int64_t begin = weft__os_now();

        ck_assert_int_eq(weft__os_futex_wait(&word, 7, lengths[i]), -ETIMEDOUT);
        ck_assert_int_ge(weft__os_now() - begin, lengths[i]);
    }
}
END_TEST

struct sleepers {
    weft__au32 word;
    weft__au32 awake;
};

static void *sleep_on_word(void *arg)
{
    struct sleepers *s = arg;

    while (weft__load(&s->word, ACQUIRE) == 0)
        (void)weft__os_futex_wait(&s->word, 0, -1);
    weft__fetch_add(&s->awake, 1, RELAXED);
    return NULL;
}

START_TEST(futex_wake_wakes_all_who_wait)
{
    struct sleepers s;
    weft__os_thread threads[4];

    weft__init(&s.word, 0);
    weft__init(&s.awake, 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(
            weft__os_thread_create(&threads[i], "s", sleep_on_word, &s), 0);
    usleep(10000);
    ck_assert_uint_eq(weft__load(&s.awake, RELAXED), 0);
    weft__store(&s.word, 1, RELEASE);
    weft__os_futex_wake(&s.word, 4);
    for (int i = 0; i < 4; i++)
        weft__os_thread_join(threads[i]);
    ck_assert_uint_eq(weft__load(&s.awake, RELAXED), 4);
}
END_TEST

static void ignore_signal(int number)
{
    (void)number;
}

struct interrupted {
    pthread_t whom;
    weft__au32 returned;
};

/* Again and again: the first may come before the wait. */
static void *interrupt(void *arg)
{
    struct interrupted *i = arg;

    while (weft__load(&i->returned, RELAXED) == 0) {
        pthread_kill(i->whom, SIGUSR1);
        usleep(1000);
    }
    return NULL;
}

START_TEST(futex_wait_ends_when_a_handler_ran)
{
    struct sigaction action = { .sa_handler = ignore_signal };
    struct interrupted i = { .whom = pthread_self() };
    weft__os_thread thread;
    weft__au32 word;

    sigaction(SIGUSR1, &action, NULL);
    weft__init(&word, 0);
    ck_assert_int_eq(weft__os_thread_create(&thread, "weft", interrupt, &i), 0);
    ck_assert_int_eq(weft__os_futex_wait(&word, 0, -1), 0);
    weft__store(&i.returned, 1, RELAXED);
    weft__os_thread_join(thread);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("os_thread");
    TCase *thread = tcase_create("thread");
    TCase *futex = tcase_create("futex");
    SRunner *runner;
    int failed;

    tcase_add_test(thread, a_thread_blocks_all_asynchronous_signals);
    tcase_add_test(thread, a_thread_bears_its_name_cut_to_what_fits);
#ifndef SANITIZED
    tcase_add_test(thread, a_thread_that_cannot_be_made_is_an_error);
#endif
    tcase_add_test(thread, timer_slack_is_that_of_the_caller);
    tcase_add_test(thread, affinity_counts_the_mask);
    tcase_add_test(thread, membarrier_works_once_it_is_registered);
    suite_add_tcase(suite, thread);

    tcase_add_test(futex, futex_wait_on_another_value_returns_at_once);
    tcase_add_test(futex, futex_wait_times_out_and_never_early);
    tcase_add_test(futex, futex_wake_wakes_all_who_wait);
    tcase_add_test(futex, futex_wait_ends_when_a_handler_ran);
    suite_add_tcase(suite, futex);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
