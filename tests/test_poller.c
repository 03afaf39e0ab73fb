/*
 * The poller: sleeping, waking, and what it does to the process's table of
 * descriptors. Needs no runtime.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "netpoll/poller.h"
#include "sched/atomic.h"
#include "sched/os.h"

#define MS INT64_C(1000000)
/* Above this no test opens a descriptor. */
#define TABLE 256

static int open_descriptors(void)
{
    int count = 0;

    /* Asked one by one: a look into /proc would open one more. */
    for (int fd = 0; fd < TABLE; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static struct weft__poller *open_poller(void)
{
    struct weft__poller *p = NULL;

    ck_assert_int_eq(weft__poller_open(&p), 0);
    ck_assert_ptr_nonnull(p);
    return p;
}

static void wake_after_10_ms(struct weft__poller *p, pthread_t *thread);

static int64_t cpu_time(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return ((int64_t)use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000 * MS +
           ((int64_t)use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1000;
}

/* --- Descriptors --------------------------------------------------------- */

START_TEST(a_thousand_openings_leave_no_descriptor_behind)
{
    int before;

    /* The first one opens two for libuv, for good. */
    weft__poller_close(open_poller());
    before = open_descriptors();
    for (int i = 0; i < 1000; i++)
        weft__poller_close(open_poller());
    ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(a_used_poller_leaves_no_descriptor_behind)
{
    int before;

    weft__poller_close(open_poller());
    before = open_descriptors();
    for (int i = 0; i < 100; i++) {
        struct weft__poller *p = open_poller();

        weft__poller_wake(p);
        weft__poller_sleep(p, INT64_MAX);
        ck_assert_int_eq(weft__poller_pass(p), 0);
        weft__poller_sleep(p, INT64_MIN);
        weft__poller_close(p);
    }
    ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(every_descriptor_is_closed_on_exec)
{
    bool before[TABLE];
    struct weft__poller *p;

    for (int fd = 0; fd < TABLE; fd++)
        before[fd] = fcntl(fd, F_GETFD) >= 0;
    p = open_poller();
    for (int fd = 0; fd < TABLE; fd++) {
        int flags = fcntl(fd, F_GETFD);

        if (!before[fd] && flags >= 0)
            ck_assert_msg(flags & FD_CLOEXEC, "descriptor %d", fd);
    }
    weft__poller_close(p);
}
END_TEST

/* With room for 0, 1, 2 ... descriptors, in a process that has never entered
 * libuv: its first call would abort where we answer. */
START_TEST(with_too_few_descriptors_nothing_stays_behind)
{
    struct rlimit limit;
    int first = dup(STDERR_FILENO);
    int last = first;
    bool opened = false;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = TABLE;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int fd; (fd = dup(STDERR_FILENO)) >= 0;)
        last = fd;
    ck_assert_int_eq(errno, EMFILE);

    for (int room = 0; !opened; room++) {
        struct weft__poller *p = NULL;
        int before = open_descriptors();
        int status;

        ck_assert_int_eq(before, TABLE - room);
        ck_assert_int_lt(room, 12);
        status = weft__poller_open(&p);
        if (status == 0) {
            opened = true;
            ck_assert_int_ge(room, 5);
            weft__poller_close(p);
        } else {
            ck_assert_int_eq(status, -EMFILE);
            ck_assert_ptr_null(p);
            ck_assert_int_eq(open_descriptors(), before);
            close(last--);
        }
    }

    /* And again now that libuv has what it keeps: room for 7, then less. */
    for (int room = 7; room >= 0; room--) {
        struct weft__poller *p = NULL;
        int before;
        int status;

        while (open_descriptors() < TABLE - room)
            ck_assert_int_ge(dup(STDERR_FILENO), 0);
        before = open_descriptors();
        status = weft__poller_open(&p);
        ck_assert_int_eq(status, room >= 5 ? 0 : -EMFILE);
        if (status == 0)
            weft__poller_close(p);
        ck_assert_int_eq(open_descriptors(), before);
    }

    /* Tools that look at the process at its end want some, too. */
    for (int fd = first; fd < TABLE; fd++)
        close(fd);
}
END_TEST

/* --- Sleeping ------------------------------------------------------------- */

START_TEST(sleep_ends_when_its_time_has_passed_and_never_before)
{
    static const int64_t lengths[] = {
        1, 999, 1000, 50000, MS, 3 * MS, 20 * MS
    };
    struct weft__poller *p = open_poller();

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (int round = 0; round < 10; round++) {
            int64_t until = weft__os_now() + lengths[i];

            weft__poller_sleep(p, until);
            ck_assert_int_ge(weft__os_now(), until);
        }
    }
    weft__poller_close(p);
}
END_TEST

START_TEST(sleep_until_a_past_time_returns_at_once)
{
    struct weft__poller *p = open_poller();
    int64_t begin = weft__os_now();

    weft__poller_sleep(p, begin);
    weft__poller_sleep(p, begin - MS);
    weft__poller_sleep(p, 0);
    weft__poller_sleep(p, -1);
    weft__poller_sleep(p, INT64_MIN);
    ck_assert_int_lt(weft__os_now() - begin, 1000 * MS);
    weft__poller_close(p);
}
END_TEST

/* A sandbox has taken away the right to open descriptors, also that to poll so
 * many at once as are open: the sleep is as long, and ends when it is to. The
 * descriptors have high numbers, or not. */
START_TEST(sleep_under_a_limit_below_what_it_polls)
{
    struct rlimit limit;
    struct weft__poller *p;
    pthread_t thread;
    int64_t until, used;
    int high = 0;

    getrlimit(RLIMIT_NOFILE, &limit);
    for (int fd = 0; _i >= 2 && fd >= 0 && fd < 1500;)
        high = fd = dup(STDERR_FILENO);
    ck_assert(_i < 2 || high == 1500);
    p = open_poller();
    limit.rlim_cur = (rlim_t)(_i % 2);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);

    used = cpu_time();
    until = weft__os_now() + 100 * MS;
    weft__poller_sleep(p, until);
    ck_assert_int_ge(weft__os_now(), until);
    ck_assert_int_lt(cpu_time() - used, 50 * MS);
    weft__poller_wake(p);
    weft__poller_sleep(p, INT64_MAX);
    wake_after_10_ms(p, &thread);
    weft__poller_sleep(p, INT64_MAX);
    pthread_join(thread, NULL);
    weft__poller_close(p);

    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}
END_TEST

static void ignore_signal(int number)
{
    (void)number;
}

/* A signal every millisecond: each interrupts the ppoll. */
START_TEST(sleep_goes_on_after_a_signal)
{
    struct sigaction action = { .sa_handler = ignore_signal };
    struct itimerval often = { { 0, 1000 }, { 0, 1000 } };
    struct itimerval never = { { 0, 0 }, { 0, 0 } };
    struct weft__poller *p = open_poller();
    int64_t until;

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    until = weft__os_now() + 30 * MS;
    weft__poller_sleep(p, until);
    ck_assert_int_ge(weft__os_now(), until);
    setitimer(ITIMER_REAL, &never, NULL);
    weft__poller_close(p);
}
END_TEST

/* An epoll set that is always ready, or a loop that cannot wait, would show
 * as a full core. */
START_TEST(sleep_uses_no_processor_time)
{
    struct weft__poller *p = open_poller();
    int64_t used = cpu_time();

    weft__poller_sleep(p, weft__os_now() + 300 * MS);
    used = cpu_time() - used;
    ck_assert_int_lt(used, 100 * MS);
    weft__poller_close(p);
}
END_TEST

START_TEST(sleep_and_pass_leave_errno_alone)
{
    struct weft__poller *p = open_poller();

    errno = 4711;
    weft__poller_wake(p);
    weft__poller_sleep(p, INT64_MAX);
    weft__poller_sleep(p, weft__os_now() + MS);
    weft__poller_pass(p);
    weft__poller_close(p);
    ck_assert_int_eq(errno, 4711);
}
END_TEST

/* --- Waking --------------------------------------------------------------- */

START_TEST(wake_before_sleep_ends_that_sleep)
{
    struct weft__poller *p = open_poller();

    weft__poller_wake(p);
    weft__poller_sleep(p, INT64_MAX);
    weft__poller_close(p);
}
END_TEST

START_TEST(wake_of_a_sleeper_ends_its_sleep)
{
    struct weft__poller *p = open_poller();
    pthread_t thread;

    wake_after_10_ms(p, &thread);
    weft__poller_sleep(p, INT64_MAX);
    pthread_join(thread, NULL);
    weft__poller_close(p);
}
END_TEST

START_TEST(a_thousand_wakes_end_one_sleep)
{
    struct weft__poller *p = open_poller();
    int64_t until;

    for (int i = 0; i < 1000; i++)
        weft__poller_wake(p);
    weft__poller_sleep(p, INT64_MAX);

    until = weft__os_now() + 20 * MS;
    weft__poller_sleep(p, until);
    ck_assert_int_ge(weft__os_now(), until);

    weft__poller_wake(p);
    weft__poller_sleep(p, INT64_MAX);
    weft__poller_close(p);
}
END_TEST

START_TEST(wake_during_a_sleep_that_timed_out_ends_the_next)
{
    struct weft__poller *p = open_poller();

    for (int i = 0; i < 1000; i++) {
        weft__poller_sleep(p, weft__os_now() + 1000);
        weft__poller_wake(p);
        weft__poller_sleep(p, INT64_MAX);
    }
    weft__poller_close(p);
}
END_TEST

static void *wake_later(void *arg)
{
    usleep(10000);
    weft__poller_wake(arg);
    return NULL;
}

static void wake_after_10_ms(struct weft__poller *p, pthread_t *thread)
{
    ck_assert_int_eq(pthread_create(thread, NULL, wake_later, p), 0);
}

/*
 * Wakers announce news and wake; the sleeper takes all there is and sleeps
 * again, for ever. A wake that is lost, or that comes without its news, is a
 * sleep that does not end: the case runs into its time limit. The news is
 * relaxed on purpose: only the poller orders it.
 */
#define WAKERS 3
#define NEWS   30000

struct exchange {
    struct weft__poller *poller;
    weft__au32 told;
    weft__au32 heard;
};

static void *tell_news(void *arg)
{
    struct exchange *x = arg;

    for (int i = 0; i < NEWS; i++) {
        uint32_t mine = weft__fetch_add(&x->told, 1, RELAXED) + 1;

        weft__poller_wake(x->poller);
        /* Now and then wait until it was heard, so that the sleeper really
         * sleeps and the next wake is alone. */
        while (i % 3 == 0 &&
               (int32_t)(weft__load(&x->heard, RELAXED) - mine) < 0)
            weft__os_thread_yield();
    }
    return NULL;
}

START_TEST(no_wake_is_lost_between_three_wakers_and_a_sleeper)
{
    struct exchange x = { .poller = open_poller() };
    pthread_t wakers[WAKERS];

    for (int i = 0; i < WAKERS; i++)
        ck_assert_int_eq(pthread_create(&wakers[i], NULL, tell_news, &x), 0);
    for (uint32_t heard = 0; heard < WAKERS * NEWS;) {
        weft__poller_sleep(x.poller, INT64_MAX);
        heard = weft__load(&x.told, RELAXED);
        weft__store(&x.heard, heard, RELAXED);
    }
    for (int i = 0; i < WAKERS; i++)
        pthread_join(wakers[i], NULL);
    weft__poller_close(x.poller);
}
END_TEST

/* Others serve the loop while its owner sleeps and wakes. */
struct passing {
    struct weft__poller *poller;
    weft__au32 stop;
};

static void *pass_on_and_on(void *arg)
{
    struct passing *x = arg;

    while (weft__load(&x->stop, RELAXED) == 0) {
        weft__poller_pass(x->poller);
        weft__poller_wake(x->poller);
    }
    return NULL;
}

START_TEST(two_strangers_pass_while_the_owner_sleeps)
{
    struct passing x = { .poller = open_poller() };
    pthread_t strangers[2];

    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(
            pthread_create(&strangers[i], NULL, pass_on_and_on, &x), 0);
    for (int i = 0; i < 5000; i++) {
        weft__poller_sleep(x.poller, INT64_MAX);
        weft__poller_pass(x.poller);
    }
    weft__store(&x.stop, 1, RELAXED);
    for (int i = 0; i < 2; i++)
        pthread_join(strangers[i], NULL);
    weft__poller_close(x.poller);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("poller");
    TCase *fds = tcase_create("descriptors");
    TCase *sleep = tcase_create("sleep");
    TCase *wake = tcase_create("wake");
    SRunner *runner;
    int failed;

    tcase_add_test(fds, a_thousand_openings_leave_no_descriptor_behind);
    tcase_add_test(fds, a_used_poller_leaves_no_descriptor_behind);
    tcase_add_test(fds, every_descriptor_is_closed_on_exec);
    tcase_add_test(fds, with_too_few_descriptors_nothing_stays_behind);
    suite_add_tcase(suite, fds);

    tcase_add_test(sleep, sleep_ends_when_its_time_has_passed_and_never_before);
    tcase_add_test(sleep, sleep_until_a_past_time_returns_at_once);
    tcase_add_loop_test(sleep, sleep_under_a_limit_below_what_it_polls, 0, 4);
    tcase_add_test(sleep, sleep_goes_on_after_a_signal);
    tcase_add_test(sleep, sleep_uses_no_processor_time);
    tcase_add_test(sleep, sleep_and_pass_leave_errno_alone);
    suite_add_tcase(suite, sleep);

    tcase_add_test(wake, wake_before_sleep_ends_that_sleep);
    tcase_add_test(wake, wake_of_a_sleeper_ends_its_sleep);
    tcase_add_test(wake, a_thousand_wakes_end_one_sleep);
    tcase_add_test(wake, wake_during_a_sleep_that_timed_out_ends_the_next);
    tcase_add_test(wake, no_wake_is_lost_between_three_wakers_and_a_sleeper);
    tcase_add_test(wake, two_strangers_pass_while_the_owner_sleeps);
    suite_add_tcase(suite, wake);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
