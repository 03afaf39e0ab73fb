/*
 * Start and stop: what becomes of those who still live when the entry
 * returns, of one that never ends, and of a second start.
 */
#include "tests/support.h"

#include <pthread.h>
#include <unistd.h>

#include "sched/os.h"
#include "sched/sched.h"
#include "sched/worker.h"

enum { NOT_YET = 12345 };

static void *nothing(void *arg)
{
    return arg;
}

/* --- The end of a run ---------------------------------------------------------------- */

/* A call and its code, for the log that ck_code() writes. */
#define TOLD(call) told(#call, call)

static int told(const char *call, int code)
{
    log_code(call, code);
    return code;
}

static weft_chan_t *never;
static weft_chan_t *full;
static weft_mutex_t mutex = WEFT_MUTEX_INIT;
static weft_waitgroup_t group = WEFT_WAITGROUP_INIT;
static weft_queue_t *empty_queue;
static weft_queue_t *full_queue;
static weft_fiber_t joined, joined_by_select;
static weft_sem_t no_permits;
static weft_cond_t never_signalled = WEFT_COND_INIT;
static weft_mutex_t of_never = WEFT_MUTEX_INIT;
static weft__au32 joiner_left;
static weft__au32 queued_left; /* the one with a job in the queue */
static weft__au32 job_runs;

static int in_receive(void)
{
    return TOLD(weft_chan_recv(never, NULL));
}

static int in_send(void)
{
    return TOLD(weft_chan_send(full, NULL));
}

/* Holds the mutex until it is cancelled. */
static int in_receive_with_mutex(void)
{
    int status = weft_mutex_lock(&mutex);

    if (status == 0)
        status = weft_chan_recv(never, NULL);
    weft_mutex_unlock(&mutex);
    return status;
}

/* Waits until it is done, cancelled or not; the next wait tells. */
static int in_lock(void)
{
    int status = weft_mutex_lock(&mutex);

    if (status != 0)
        return status;
    weft_mutex_unlock(&mutex);
    return weft_chan_recv(never, NULL) == -ECANCELED ? 0 : NOT_YET;
}

static int in_group(void)
{
    return TOLD(weft_waitgroup_wait(&group));
}

/* Cancelled or not, it ends after its joiner. */
static void *stay(void *arg)
{
    (void)arg;
    while (!weft__load(&joiner_left, ACQUIRE))
        weft_yield();
    return NULL;
}

static int in_join(void)
{
    int status = TOLD(weft_join(joined, NULL));

    weft__store(&joiner_left, 1, RELEASE);
    return status;
}

static int in_get(void)
{
    int value;

    return TOLD(weft_queue_get(empty_queue, &value));
}

static int in_put(void)
{
    int value = 1;

    return TOLD(weft_queue_put(full_queue, &value));
}

static int in_queue_join(void)
{
    return TOLD(weft_queue_join(full_queue));
}

static void *job_until_queued_left(void *arg)
{
    weft__store(&job_runs, 1, RELEASE);
    while (!weft__load(&queued_left, ACQUIRE))
        weft__os_thread_yield();
    return arg;
}

/* Its job runs: waited for. */
static int in_running_job(void)
{
    return TOLD(weft_blocking(job_until_queued_left, NULL, NULL));
}

/* The lane has one thread: this job does not begin. */
static int in_queued_job(void)
{
    int status = TOLD(weft_blocking(nothing, NULL, NULL));

    weft__store(&queued_left, 1, RELEASE);
    return status;
}

static int in_semaphore(void)
{
    return TOLD(weft_sem_acquire(&no_permits, 1));
}

/* The mutex is the caller's again. */
static int in_condition(void)
{
    int status;

    ck_assert_int_eq(weft_mutex_lock(&of_never), 0);
    status = TOLD(weft_cond_wait(&never_signalled, &of_never));
    ck_assert_int_eq(weft_mutex_unlock(&of_never), 0);
    return status;
}

static int in_select(void)
{
    weft_case_t cases[] = { WEFT_RECV(never, NULL), WEFT_SEND(full, NULL),
                            WEFT_JOIN(joined_by_select, NULL) };

    return TOLD(weft_select(cases, 3));
}

static struct {
    int (*wait)(void);
    int expected;
    int status;
    weft_fiber_t fiber;
} parked[] = {
    { in_receive, -ECANCELED, NOT_YET, 0 },
    { in_send, -ECANCELED, NOT_YET, 0 },
    { in_receive_with_mutex, -ECANCELED, NOT_YET, 0 },
    { in_lock, 0, NOT_YET, 0 },
    { in_group, -ECANCELED, NOT_YET, 0 },
    { in_join, -ECANCELED, NOT_YET, 0 },
    { in_get, -ECANCELED, NOT_YET, 0 },
    { in_put, -ECANCELED, NOT_YET, 0 },
    { in_queue_join, -ECANCELED, NOT_YET, 0 },
    { in_semaphore, -ECANCELED, NOT_YET, 0 },
    { in_condition, -ECANCELED, NOT_YET, 0 },
    { in_select, -ECANCELED, NOT_YET, 0 },
    { in_running_job, 0, NOT_YET, 0 },
    { in_queued_job, -ECANCELED, NOT_YET, 0 },
};

enum { PARKED = sizeof(parked) / sizeof(*parked) };

static void *wait_here(void *arg)
{
    uintptr_t i = (uintptr_t)arg;

    parked[i].status = parked[i].wait();
    return NULL;
}

static int leave_them_parked(void *arg)
{
    int value = 1;

    (void)arg;
    never = new_chan(0, 0);
    full = new_chan(0, 1);
    ck_assert_int_eq(weft_chan_send(full, NULL), 0);
    ck_assert_int_eq(weft_waitgroup_add(&group, 1), 0);
    ck_assert_int_eq(
        weft_queue_create(&empty_queue, WEFT_FIFO, sizeof(int), 0, NULL), 0);
    ck_assert_int_eq(
        weft_queue_create(&full_queue, WEFT_FIFO, sizeof(int), 1, NULL), 0);
    ck_assert_int_eq(weft_queue_put(full_queue, &value), 0);
    joined = spawn(stay, NULL);
    joined_by_select = spawn(stay, NULL);
    for (uintptr_t i = 0; i < PARKED; i++) {
        parked[i].fiber = spawn(wait_here, (void *)i);
        wait_until_parked(parked[i].fiber);
        while (parked[i].wait == in_running_job &&
               !weft__load(&job_runs, ACQUIRE))
            weft_yield();
    }
    return 7;
}

START_TEST(the_entry_returns_with_fibers_parked_on_everything)
{
    weft_config_t config = WEFT_CONFIG_INIT;
    int result = 0;

    config.lane_threads = 1;
    ck_code(weft_run(&config, leave_them_parked, NULL, &result), 0);
    ck_assert_int_eq(result, 7);
    for (int i = 0; i < PARKED; i++)
        ck_assert_msg(parked[i].status == parked[i].expected,
                      "wait %d ended with %s", i,
                      weft_err_name(parked[i].status));
    weft_chan_unref(never);
    weft_chan_unref(full);
    weft_queue_unref(empty_queue);
    weft_queue_unref(full_queue);
}
END_TEST

static weft__au32 ended;

static void *end_at_cancel(void *arg)
{
    weft_chan_recv(arg, NULL);
    weft__fetch_add(&ended, 1, RELAXED);
    return NULL;
}

static void *spawn_until_refused(void *arg)
{
    while (weft_go(end_at_cancel, arg) == 0 && weft_checkpoint() == 0)
        weft_yield();
    return NULL;
}

static int leave_spawners(void *arg)
{
    for (int i = 0; i < 4; i++)
        spawn(spawn_until_refused, arg);
    for (int i = 0; i < 50; i++)
        weft_yield();
    return 0;
}

/* Born while the list of fibers is gone through: they are cancelled too. */
START_TEST(fibers_born_at_the_end_end_too)
{
    weft_chan_t *ch = new_chan(0, 0);

    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(weft_run(NULL, leave_spawners, ch, NULL), 0);
    weft_chan_unref(ch);
}
END_TEST

static int leave_one_asleep(void *arg)
{
    wait_until_parked(spawn(end_at_cancel, arg));
    return 0;
}

static void count_line(int level, const char *line, void *arg)
{
    (void)level, (void)line;
    weft__fetch_add((weft__au32 *)arg, 1, RELAXED);
}

/* The entry has gone and the others sleep: for a moment nobody is there to
 * wake them. */
START_TEST(the_end_of_the_entry_is_no_deadlock)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft__au32 lines = { 0 };

    weft_set_log(count_line, &lines);
    for (int i = 0; i < 200; i++)
        ck_assert_int_eq(weft_run(NULL, leave_one_asleep, ch, NULL), 0);
    ck_assert_uint_eq(weft__load(&lines, RELAXED), 0);
    weft_chan_unref(ch);
}
END_TEST

static int leave_unstarted(void *arg)
{
    for (int i = 0; i < 1000; i++)
        if (weft_go(end_at_cancel, arg) != 0)
            return -1;
    return 0;
}

START_TEST(a_fiber_that_was_spawned_runs_even_if_the_entry_has_gone)
{
    weft_chan_t *ch = new_chan(0, 0);
    int result = 1;

    ck_assert_int_eq(weft_run(NULL, leave_unstarted, ch, &result), 0);
    ck_assert_int_eq(result, 0);
    ck_assert_uint_eq(weft__load(&ended, RELAXED), 1000);
    weft_chan_unref(ch);
}
END_TEST

/* --- Spawning at the end ------------------------------------------------------------- */

static struct {
    int spawned;
    int helper; /* what the helper's wait said */
} cleanup = { NOT_YET, NOT_YET };

static void *help(void *arg)
{
    cleanup.helper = weft_chan_recv(arg, NULL);
    return NULL;
}

static void *clean_up_with_help(void *arg)
{
    if (weft_chan_recv(arg, NULL) == -ECANCELED)
        cleanup.spawned = weft_go(help, arg);
    return NULL;
}

static int leave_one_with_clean_up(void *arg)
{
    wait_until_parked(spawn(clean_up_with_help, arg));
    return 0;
}

START_TEST(a_cancelled_fiber_may_spawn_for_its_clean_up)
{
    weft_chan_t *ch = new_chan(0, 0);

    ck_assert_int_eq(weft_run(NULL, leave_one_with_clean_up, ch, NULL), 0);
    ck_code(cleanup.spawned, 0);
    ck_assert_int_eq(cleanup.helper, -ECANCELED); /* from birth */
    weft_chan_unref(ch);
}
END_TEST

/* The mark of the stop stands, and this fiber was not reached yet. */
WEFT_TEST(a_fiber_that_is_not_cancelled_may_not_spawn_at_the_end)
{
    weft_fiber_t f;

    weft__store(&weft__sched.stopping, 1, SEQ_CST);
    ck_code(weft_spawn(&f, nothing, NULL), -ECANCELED);
    ck_code(weft_spawn_with(&f, NULL, nothing, NULL), -ECANCELED);
    ck_code(weft_go(nothing, NULL), -ECANCELED);
    weft__store(&weft__sched.stopping, 0, SEQ_CST);
    ck_code(weft_spawn(&f, nothing, NULL), 0);
    join(f);
}
END_TEST

/* --- One that never ends --------------------------------------------------------------- */

static weft__au32 may_end;
static weft__au32 lines_kept;
static char first_line[256];

static void keep_line(int level, const char *line, void *arg)
{
    (void)arg;
    if (level == WEFT_LOG_WARNING &&
        weft__fetch_add(&lines_kept, 1, RELAXED) == 0)
        strncpy(first_line, line, sizeof(first_line) - 1);
}

static void *never_end(void *arg)
{
    while (!weft__load(&may_end, ACQUIRE))
        weft_yield();
    return arg;
}

static int leave_one_that_never_ends(void *arg)
{
    (void)arg;
    spawn(never_end, NULL);
    return 9;
}

static int entry_of_the_next;

static int count_entry(void *arg)
{
    (void)arg;
    entry_of_the_next++;
    join(spawn(nothing, NULL));
    return 11;
}

START_TEST(one_that_never_ends_is_listed_and_bars_the_next_start)
{
    weft_config_t config = WEFT_CONFIG_INIT;
    int result = 0, status;

    config.stop_timeout = WEFT_MS(30);
    weft_set_log(keep_line, NULL);
    ck_code(weft_run(&config, leave_one_that_never_ends, NULL, &result),
            -EBUSY);
    ck_assert_int_eq(result, 9);
    ck_assert_uint_eq(weft__load(&lines_kept, RELAXED), 1);
    ck_assert_ptr_nonnull(strstr(first_line, "did not end in time"));

    result = 0;
    ck_code(weft_run(NULL, count_entry, NULL, &result), -EBUSY);
    ck_code(weft_run(&config, count_entry, NULL, &result), -EBUSY);
    ck_assert_int_eq(entry_of_the_next, 0);
    ck_assert_int_eq(result, 0);

    weft__store(&may_end, 1, RELEASE);
    while ((status = weft_run(NULL, count_entry, NULL, &result)) == -EBUSY)
        usleep(1000);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(result, 11);
    ck_assert_int_eq(entry_of_the_next, 1);
    ck_assert_int_eq(weft_run(NULL, count_entry, NULL, &result), 0);
}
END_TEST

static weft__au32 left, helped;

static void *help_when_asked(void *arg)
{
    weft_shield_begin();
    ck_assert_int_eq(weft_chan_recv(arg, NULL), 0);
    weft__store(&helped, 1, RELEASE);
    return NULL;
}

/* Of those who look only when they are asked to. */
static void *compute_until_helped(void *arg)
{
    weft_shield_begin();
    while (!weft__load(&left, ACQUIRE))
        weft__os_pause();
    ck_assert_int_eq(weft_chan_send(arg, NULL), 0);
    while (!weft__load(&helped, ACQUIRE))
        (void)weft_checkpoint();
    return NULL;
}

static int leave_two(void *arg)
{
    wait_until_parked(spawn(help_when_asked, arg));
    spawn(compute_until_helped, arg);
    return 0;
}

/* The monitor has gone with the call: each start that is refused looks after those
 * who bar it. */
START_TEST(those_who_are_left_are_looked_after)
{
    weft_config_t config = WEFT_CONFIG_INIT;
    weft_chan_t *ch = new_chan(0, 0);
    int status;

    config.workers = 1;
    config.stop_timeout = WEFT_MS(30);
    ck_code(weft_run(&config, leave_two, ch, NULL), -EBUSY);
    weft__store(&left, 1, RELEASE);
    while ((status = weft_run(NULL, count_entry, NULL, NULL)) == -EBUSY)
        usleep(1000);
    ck_assert_int_eq(status, 0);
    weft_chan_unref(ch);
}
END_TEST

/* No time for others is time enough for all that has ended. */
START_TEST(a_stop_without_time_waits_for_what_has_ended)
{
    setenv("WEFT_STOP_TIMEOUT", "0", 1);
    for (int i = 0; i < 200; i++)
        ck_code(weft_run(NULL, count_entry, NULL, NULL), 0);
}
END_TEST

/* It is busy for a while after the cancel. */
static void *leave_late(void *arg)
{
    weft_shield_begin();
    (void)weft_sleep(WEFT_MS(30));
    weft_shield_end();
    *(bool *)arg = true;
    return NULL;
}

static int leave_one_that_ends_late(void *arg)
{
    wait_until_parked(spawn(leave_late, arg));
    return 0;
}

START_TEST(a_stop_without_a_limit_waits)
{
    weft_config_t config = WEFT_CONFIG_INIT;
    bool has_ended = false;

    config.stop_timeout = WEFT_FOREVER - _i;
    ck_code(weft_run(&config, leave_one_that_ends_late, &has_ended, NULL), 0);
    ck_assert(has_ended);
}
END_TEST

/* --- Who may start ------------------------------------------------------------------------ */

static void *run_in_a_job(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)weft_run(NULL, count_entry, NULL, NULL);
}

WEFT_TEST(a_fiber_and_a_job_may_not_start)
{
    void *status = NULL;

    ck_code(weft_run(NULL, count_entry, NULL, NULL), -EPERM);
    ck_assert_int_eq(weft_blocking(run_in_a_job, NULL, &status), 0);
    ck_code((intptr_t)status, -EPERM);
    ck_assert_int_eq(entry_of_the_next, 0);
}
END_TEST

/* Another thread runs one already. */
WEFT_TEST(a_second_start_is_refused_while_one_runs)
{
    pthread_t outside;
    void *status = NULL;

    ck_assert_int_eq(pthread_create(&outside, NULL, run_in_a_job, NULL), 0);
    pthread_join(outside, &status);
    ck_code((intptr_t)status, -EBUSY);
    ck_assert_int_eq(entry_of_the_next, 0);
}
END_TEST

START_TEST(an_entry_there_must_be)
{
    int result = 3;

    ck_code(weft_run(NULL, NULL, NULL, &result), -EINVAL);
    ck_assert_int_eq(result, 3);
    ck_assert_int_eq(weft_run(NULL, count_entry, NULL, NULL), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stop");
    TCase *end = tcase_create("end");
    TCase *start = tcase_create("start");

    tcase_add_test(end, the_entry_returns_with_fibers_parked_on_everything);
    tcase_add_test(end, fibers_born_at_the_end_end_too);
    tcase_add_test(end, the_end_of_the_entry_is_no_deadlock);
    tcase_add_test(end,
                   a_fiber_that_was_spawned_runs_even_if_the_entry_has_gone);
    tcase_add_test(end, a_cancelled_fiber_may_spawn_for_its_clean_up);
    tcase_add_test(end,
                   a_fiber_that_is_not_cancelled_may_not_spawn_at_the_end);
    tcase_add_test(end, one_that_never_ends_is_listed_and_bars_the_next_start);
    tcase_add_test(end, those_who_are_left_are_looked_after);
    tcase_add_test(end, a_stop_without_time_waits_for_what_has_ended);
    tcase_add_loop_test(end, a_stop_without_a_limit_waits, 0, 2);
    suite_add_tcase(suite, end);

    tcase_add_test(start, a_fiber_and_a_job_may_not_start);
    tcase_add_test(start, a_second_start_is_refused_while_one_runs);
    tcase_add_test(start, an_entry_there_must_be);
    suite_add_tcase(suite, start);
    return run_suite(suite);
}
