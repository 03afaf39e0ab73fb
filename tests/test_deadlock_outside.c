/*
 * Asleep for ever or not: once a thread that is not weft's has called in, by
 * whatever call, it may come again, and nothing is said.
 */
#include "tests/support_deadlock.h"
#include "tests/support.h"

#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netpoll/desc.h"
#include "sched/os.h"

static void *do_nothing(void *arg)
{
    return arg;
}

/* --- Ways to call in -------------------------------------------------------------- */

static void *call_in(void *arg)
{
    if (weft_chan_send_try(arg, NULL) != -EAGAIN)
        abort();
    return NULL;
}

static void by_read(const int fds[2])
{
    char c;

    if (weft_read_until(fds[0], &c, 1, WEFT_NOW) != -EAGAIN)
        abort();
}

static void by_poll(const int fds[2])
{
    struct pollfd one = { .fd = fds[0], .events = POLLIN };

    if (weft_poll_until(&one, 1, WEFT_NOW) != -EAGAIN)
        abort();
}

static void by_shutdown(const int fds[2])
{
    if (weft_shutdown(fds[0], SHUT_RD) != -ENOTSOCK)
        abort();
}

static void by_close(const int fds[2])
{
    if (weft_close(dup(fds[0])) != 0)
        abort();
}

static void by_pipe(const int fds[2])
{
    int more[2];

    (void)fds;
    if (weft_pipe(more) != 0 || close(more[0]) != 0 || close(more[1]) != 0)
        abort();
}

static void by_join(const int fds[2])
{
    (void)fds;
    if (weft_join_try(0, NULL) != -ESRCH)
        abort();
}

static void by_sleep(const int fds[2])
{
    (void)fds;
    if (weft_sleep(1) != 0)
        abort();
}

static void by_signal(const int fds[2])
{
    sigset_t set;

    (void)fds;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    if (weft_signal_wait_until(&set, NULL, WEFT_NOW) >= 0)
        abort();
}

static void by_name(const int fds[2])
{
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST };
    struct addrinfo *list;

    (void)fds;
    if (weft_getaddrinfo("127.0.0.1", "80", &hints, &list) == 0)
        freeaddrinfo(list);
}

static void by_detach(const int fds[2])
{
    (void)fds;
    if (weft_detach(0) != -ESRCH)
        abort();
}

static void by_cancel(const int fds[2])
{
    (void)fds;
    if (weft_cancel(0) != -ESRCH)
        abort();
}

static void by_spawn(const int fds[2])
{
    (void)fds;
    if (weft_go(do_nothing, NULL) != -EPERM)
        abort();
}

static void by_length(const int fds[2])
{
    weft_chan_t *ch = new_chan(0, 1);

    (void)fds;
    if (weft_chan_len(ch) != 0)
        abort();
    weft_chan_unref(ch);
}

static weft_queue_t *any_queue(void)
{
    weft_queue_t *q;

    if (weft_queue_create(&q, WEFT_FIFO, 1, 1, NULL) != 0)
        abort();
    return q;
}

static void by_queue_length(const int fds[2])
{
    weft_queue_t *q = any_queue();

    (void)fds;
    if (weft_queue_len(q) != 0)
        abort();
    weft_queue_unref(q);
}

static void by_queue_join(const int fds[2])
{
    weft_queue_t *q = any_queue();

    (void)fds;
    if (weft_queue_join_try(q) != 0)
        abort();
    weft_queue_unref(q);
}

static void by_queue(const int fds[2])
{
    weft_queue_t *q = any_queue();
    char c = 0;

    (void)fds;
    if (weft_queue_put_try(q, &c) != 0)
        abort();
    weft_queue_unref(q);
}

static void by_group(const int fds[2])
{
    weft_waitgroup_t wg = WEFT_WAITGROUP_INIT;

    (void)fds;
    if (weft_waitgroup_wait_try(&wg) != 0)
        abort();
}

static void by_mutex(const int fds[2])
{
    weft_mutex_t m = WEFT_MUTEX_INIT;

    (void)fds;
    if (weft_mutex_lock(&m) != 0 || weft_mutex_unlock(&m) != 0)
        abort();
}

static void by_sem(const int fds[2])
{
    weft_sem_t sem = WEFT_SEM_INIT(1);

    (void)fds;
    if (weft_sem_acquire_try(&sem, 1) != 0)
        abort();
}

static void by_cond(const int fds[2])
{
    weft_cond_t cond = WEFT_COND_INIT;

    (void)fds;
    if (weft_cond_signal(&cond) != 0)
        abort();
}

static void by_select(const int fds[2])
{
    (void)fds;
    if (weft_select_try(NULL, 0) != -EAGAIN)
        abort();
}

static void (*const ways_in[])(const int fds[2]) = {
    by_read, by_poll, by_shutdown, by_close, by_pipe,
    by_join, by_detach, by_cancel, by_spawn, by_sleep,
    by_signal, by_name, by_length, by_queue, by_queue_length,
    by_queue_join, by_group, by_mutex, by_sem, by_cond,
    by_select,
};

enum { WAYS_IN = sizeof(ways_in) / sizeof(*ways_in) };

struct visit {
    void (*way)(const int fds[2]);
    int fds[2];
};

static void *visit_main(void *arg)
{
    struct visit *v = arg;

    v->way(v->fds);
    return NULL;
}

/* --- Once it has called -------------------------------------------------------- */

static void *watch_and_send(void *arg)
{
    watch_them_sleep();
    while (weft_chan_send_try(arg, NULL) == -EAGAIN)
        weft__os_thread_yield();
    return NULL;
}

/* The entry sleeps; a foreign thread sees it sleep, and wakes it. */
static void be_woken_from_outside(int i)
{
    weft_chan_t *ch = new_chan(0, 0);
    pthread_t outside;

    (void)i;
    listen_to_stderr();
    ck_assert_int_eq(pthread_create(&outside, NULL, call_in, ch), 0);
    pthread_join(outside, NULL);
    ck_assert_int_eq(pthread_create(&outside, NULL, watch_and_send, ch), 0);
    ck_code(weft_chan_recv(ch, NULL), 0);
    pthread_join(outside, NULL);
    ck_assert_int_eq(times_said("deadlock"), 0);
    weft_chan_unref(ch);
}

WEFT_TEST(nothing_is_said_once_a_foreign_thread_has_called_in)
{
    be_woken_from_outside(0);
}
END_TEST

static void be_woken_by_the_first_call(int i)
{
    weft_chan_t *ch = new_chan(0, 0);
    pthread_t outside;

    (void)i;
    listen_to_stderr();
    ck_assert_int_eq(pthread_create(&outside, NULL, watch_and_send, ch), 0);
    ck_code(weft_chan_recv(ch, NULL), 0);
    pthread_join(outside, NULL);
    ck_assert_int_eq(times_said("deadlock"), 0);
    weft_chan_unref(ch);
}

/* Before the run, too: it may be about to come again. */
START_TEST(nothing_is_said_if_a_foreign_thread_called_before_the_start)
{
    weft_chan_t *ch = new_chan(0, 0);
    pthread_t outside;

    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&outside, NULL, call_in, ch), 0);
        pthread_join(outside, NULL);
        if (_i == 0)
            call_in(ch);
        ck_assert_int_eq(run_with(NULL, be_woken_by_the_first_call, 0), 0);
    }
    weft_chan_unref(ch);
}
END_TEST

static void sleep_for_ever(int i)
{
    weft_chan_t *ch = new_chan(0, 0);

    (void)i;
    listen_to_stderr();
    ck_code(weft_chan_recv(ch, NULL), -EDEADLK);
    ck_assert_int_eq(times_said("deadlock"), 1);
    weft_chan_unref(ch);
}

static int run_asleep(void)
{
    return run_with(NULL, sleep_for_ever, 0);
}

/* What the caller of weft_run() did before it, or the parent's threads did, says
 * nothing of who may come. */
START_TEST(it_is_said_if_nobody_else_has_called)
{
    weft_chan_t *ch = new_chan(0, 0);
    pthread_t outside;

    call_in(ch);
    ck_assert_int_eq(run_asleep(), 0);
    ck_assert_int_eq(pthread_create(&outside, NULL, call_in, ch), 0);
    pthread_join(outside, NULL);
    if (_i == 1) {
        pid_t child = fork();
        int status = 0;

        if (child == 0)
            _exit(run_asleep() != 0);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
    }
    weft_chan_unref(ch);
}
END_TEST

struct outside {
    pthread_t thread;
    struct weft__use use;
};

static void *end_the_use(void *arg)
{
    watch_them_sleep();
    weft__desc_done(&((struct outside *)arg)->use);
    return NULL;
}

/* A thread is inside a call on the descriptor that the entry closes. */
WEFT_TEST(nothing_is_said_while_a_close_waits_for_a_call_of_a_thread)
{
    struct outside o;
    int fds[2];

    ck_code(weft_pipe(fds), 0);
    ck_assert_int_eq(weft__desc_use(fds[0], &o.use), 0);
    listen_to_stderr();
    ck_assert_int_eq(pthread_create(&o.thread, NULL, end_the_use, &o), 0);
    ck_code(weft_close(fds[0]), 0);
    pthread_join(o.thread, NULL);
    ck_assert_int_eq(times_said("deadlock"), 0);
    ck_code(weft_close(fds[1]), 0);
}
END_TEST

/* It reads from a descriptor, say, and later wakes someone. */
WEFT_TEST(nothing_is_said_whatever_a_foreign_thread_has_called)
{
    struct visit v = { .way = ways_in[_i] };
    pthread_t outside;

    ck_code(weft_pipe(v.fds), 0);
    ck_assert_int_eq(pthread_create(&outside, NULL, visit_main, &v), 0);
    pthread_join(outside, NULL);
    be_woken_by_the_first_call(0);
    ck_code(weft_close(v.fds[0]), 0);
    ck_code(weft_close(v.fds[1]), 0);
}
END_TEST

START_TEST(never_says_nothing_at_all)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    config.deadlock = WEFT_DEADLOCK_NEVER;
    ck_assert_int_eq(run_with(&config, be_woken_by_the_first_call, 0), 0);
}
END_TEST

static void sleep_after_a_call_from_outside(int i)
{
    weft_chan_t *ch = new_chan(0, 0);
    pthread_t outside;

    (void)i;
    listen_to_stderr();
    ck_assert_int_eq(pthread_create(&outside, NULL, call_in, ch), 0);
    pthread_join(outside, NULL);
    ck_code(weft_chan_recv(ch, NULL), -EDEADLK);
    ck_assert_int_eq(times_said("deadlock"), 1);
    weft_chan_unref(ch);
}

START_TEST(always_says_so_whoever_called_in)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    config.deadlock = WEFT_DEADLOCK_ALWAYS;
    ck_assert_int_eq(run_with(&config, sleep_after_a_call_from_outside, 0),
                     0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("deadlock_outside");
    TCase *tc = tcase_create("outside");

    tcase_add_test(tc, nothing_is_said_once_a_foreign_thread_has_called_in);
    tcase_add_loop_test(
        tc, nothing_is_said_if_a_foreign_thread_called_before_the_start, 0,
        2);
    tcase_add_loop_test(tc, it_is_said_if_nobody_else_has_called, 0, 2);
    tcase_add_test(
        tc, nothing_is_said_while_a_close_waits_for_a_call_of_a_thread);
    tcase_add_loop_test(tc,
                        nothing_is_said_whatever_a_foreign_thread_has_called,
                        0, WAYS_IN);
    tcase_add_test(tc, never_says_nothing_at_all);
    tcase_add_test(tc, always_says_so_whoever_called_in);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
