/*
 * A whole program asleep: the entry's wait ends with -EDEADLK and stderr has
 * the list; and it is not said where someone may still come.
 */
#include "tests/support.h"

#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netpoll/desc.h"
#include "sched/os.h"
#include "sched/sched.h"
#include "sched/worker.h"

/* --- What stderr says ---------------------------------------------------------- */

static int said = -1;

static void listen_to_stderr(void)
{
    said = memfd_create("stderr", MFD_CLOEXEC);
    ck_assert_int_ge(said, 0);
    ck_assert_int_ge(dup2(said, STDERR_FILENO), 0);
}

/* How often `words` stand there. */
static int times_said(const char *words)
{
    static char text[1 << 20];
    ssize_t n = pread(said, text, sizeof(text) - 1, 0);
    int times = 0;

    ck_assert_int_ge(n, 0);
    text[n] = '\0';
    for (char *at = text; (at = strstr(at, words)); at++)
        times++;
    return times;
}

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

static bool all_asleep(void)
{
    return weft__load(&weft__sched.idle, SEQ_CST) == weft__sched.count;
}

/* Everyone has lain down, and had time to say what there is to say. */
static void watch_them_sleep(void)
{
    while (!all_asleep())
        weft__os_thread_yield();
    for (int i = 0; i < 20; i++)
        usleep(1000);
}

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

static void *call_in(void *arg)
{
    if (weft_chan_send_try(arg, NULL) != -EAGAIN)
        abort();
    return NULL;
}

/* Other ways to do so. */
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

static void (*const ways_in[])(const int fds[2]) = {
    by_read, by_poll, by_shutdown, by_close, by_pipe,
    by_join, by_sleep, by_signal, by_name,
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
    Suite *suite = suite_create("deadlock");
    TCase *declared = tcase_create("declared");
    TCase *silent = tcase_create("silent");

    tcase_add_loop_test(
        declared, an_entry_asleep_for_ever_is_told_and_the_list_says_for_what, 0,
        WAITS);
    tcase_add_test(declared, each_deadlock_is_told);
    tcase_add_test(declared, a_start_is_no_deadlock);
    tcase_add_test(declared, a_sleep_right_behind_a_blocking_job_is_told);
    tcase_add_test(declared, always_says_so_whoever_called_in);
    suite_add_tcase(suite, declared);

    tcase_add_test(silent, nothing_is_said_while_a_blocking_job_runs);
    tcase_add_test(silent,
                   nothing_is_said_once_a_foreign_thread_has_called_in);
    tcase_add_test(
        silent, nothing_is_said_while_a_close_waits_for_a_call_of_a_thread);
    tcase_add_loop_test(silent,
                        nothing_is_said_whatever_a_foreign_thread_has_called,
                        0, WAYS_IN);
    tcase_add_test(silent, never_says_nothing_at_all);
    suite_add_tcase(suite, silent);
    return run_suite(suite);
}
