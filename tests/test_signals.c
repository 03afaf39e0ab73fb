/*
 * Signals: the thread that called weft_run takes them, with the mask it had,
 * and no other thread of weft's does.
 */
#include "tests/support.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "sched/os.h"

static void *nothing(void *arg)
{
    return arg;
}

static weft__au32 handled_by;

static void handle(int sig)
{
    (void)sig;
    weft__store(&handled_by, (uint32_t)weft__os_tid(), RELEASE);
}

/* To the process, many times: no worker and no thread of the lane takes it.
 * The first thread, which the kernel would rather have, blocks it. */
static int send_signals(void *arg)
{
    int caller = *(int *)arg;

    weft_blocking(nothing, NULL, NULL); /* the lane has a thread */
    for (int i = 0; i < 50; i++) {
        weft__store(&handled_by, 0, RELEASE);
        if (kill(getpid(), SIGUSR1) != 0)
            return -1;
        while (!weft__load(&handled_by, ACQUIRE))
            weft_yield();
        if ((int)weft__load(&handled_by, ACQUIRE) != caller)
            return -2;
    }
    return 0;
}

static void *run_and_take_signals(void *arg)
{
    int tid = weft__os_tid(), result = 1;
    sigset_t none;

    (void)arg;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    if (weft_run(NULL, send_signals, &tid, &result) != 0)
        return (void *)1;
    return (void *)(intptr_t)result;
}

START_TEST(signals_are_taken_by_the_thread_that_called_run)
{
    struct sigaction action = { .sa_handler = handle };
    sigset_t usr1;
    pthread_t thread;
    void *answer = (void *)1;

    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
    ck_assert_int_eq(
        pthread_create(&thread, NULL, run_and_take_signals, NULL), 0);
    pthread_join(thread, &answer);
    ck_assert_ptr_null(answer);
}
END_TEST

/* Nobody is left to take it: it stays pending, also for the threads that
 * sleep and those of the lane. */
static int send_what_nobody_takes(void *arg)
{
    sigset_t pending;

    (void)arg;
    weft_blocking(nothing, NULL, NULL);
    if (kill(getpid(), SIGUSR1) != 0)
        return 1;
    for (int i = 0; i < 100; i++) {
        weft_blocking(nothing, NULL, NULL);
        join(spawn(nothing, NULL));
    }
    sigemptyset(&pending);
    sigpending(&pending);
    if (weft__load(&handled_by, ACQUIRE) != 0)
        return 2;
    return sigismember(&pending, SIGUSR1) ? 0 : 3;
}

START_TEST(signals_that_the_caller_blocks_are_taken_by_no_worker)
{
    struct sigaction action = { .sa_handler = handle };
    sigset_t usr1;
    int result = -1;

    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
    ck_assert_int_eq(weft_run(NULL, send_what_nobody_takes, NULL, &result),
                     0);
    ck_assert_int_eq(result, 0);
}
END_TEST

static int spawn_one(void *arg)
{
    (void)arg;
    join(spawn(nothing, NULL));
    return 0;
}

static void *run_once(void *arg)
{
    sigset_t mine, after;

    (void)arg;
    sigemptyset(&mine);
    sigaddset(&mine, SIGUSR1);
    sigaddset(&mine, SIGINT);
    pthread_sigmask(SIG_SETMASK, &mine, NULL);
    if (weft_run(NULL, spawn_one, NULL, NULL) != 0)
        return (void *)1;
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int sig = 1; sig < 32; sig++)
        if (sigismember(&mine, sig) != sigismember(&after, sig))
            return (void *)2;
    return NULL;
}

START_TEST(a_thread_that_blocks_signals_keeps_its_mask)
{
    pthread_t thread;
    void *answer = (void *)3;

    ck_assert_int_eq(pthread_create(&thread, NULL, run_once, NULL), 0);
    pthread_join(thread, &answer);
    ck_assert_ptr_null(answer);
}
END_TEST

/* What asks is blocked, what a fault raises never. */
WEFT_TEST(a_fiber_runs_with_asynchronous_signals_blocked)
{
    static const int asked[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD,
                                 SIGALRM, SIGPIPE };
    static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP,
                                  SIGSYS, SIGABRT };
    sigset_t mask;

    ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    for (size_t i = 0; i < sizeof(asked) / sizeof(*asked); i++)
        ck_assert_int_eq(sigismember(&mask, asked[i]), 1);
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
        ck_assert_int_eq(sigismember(&mask, faults[i]), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("signals");
    TCase *tcase = tcase_create("signals");

    tcase_add_test(tcase, signals_are_taken_by_the_thread_that_called_run);
    tcase_add_test(tcase,
                   signals_that_the_caller_blocks_are_taken_by_no_worker);
    tcase_add_test(tcase, a_fiber_runs_with_asynchronous_signals_blocked);
    tcase_add_test(tcase, a_thread_that_blocks_signals_keeps_its_mask);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
