/*
 * The blocking lane: its bound and its growth, who waits and who does not,
 * cancelling, and the end of a run. A lane that gets no thread is in
 * sim_blocking.c.
 */
#include "tests/support_prim.h"

#include <dirent.h>
#include <sched.h>

static weft__au32 gate, ran, running, most;
static int order[64];

static weft_stats_t stats(void)
{
    weft_stats_t out = { .size = sizeof(out) };

    must_code(weft_stats(&out), 0);
    return out;
}

static void wait_for_lane(uint64_t busy, uint64_t queued)
{
    for (;;) {
        weft_stats_t s = stats();

        must(s.lane_running <= busy);
        if (s.lane_running == busy && s.lane_queued == queued)
            return;
        weft_yield();
    }
}

/* A run with this many threads in the lane. */
static void run_bounded(unsigned threads, void (*body)(int), int i)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    config.lane_threads = threads;
    ck_code(run_with(&config, body, i), 0);
}

/* --- What a job is ------------------------------------------------------------- */

static void *twice(void *arg)
{
    *(int *)arg *= 2;
    return arg;
}

WEFT_TEST(the_result_comes_back)
{
    void *result = NULL;
    int x = 21;

    ck_code(weft_blocking(twice, &x, &result), 0);
    ck_assert_ptr_eq(result, &x);
    ck_assert_int_eq(x, 42);
    ck_code(weft_blocking(twice, &x, NULL), 0);
    ck_assert_int_eq(x, 84);
    ck_code(weft_blocking(NULL, &x, &result), -EINVAL);
}
END_TEST

/* 2 MiB would not fit on a fiber's stack. */
static void *use_much_stack(void *arg)
{
    volatile char big[2 << 20];

    for (size_t i = 0; i < sizeof(big); i += 4096)
        big[i] = 1;
    *(int *)arg += big[4096];
    return arg;
}

WEFT_TEST(a_job_has_a_threads_stack)
{
    int touched = 0;
    void *result;

    ck_code(weft_blocking(use_much_stack, &touched, &result), 0);
    ck_assert_ptr_eq(result, &touched);
    ck_assert_int_eq(touched, 1);
}
END_TEST

static void *wait_at_gate(void *arg)
{
    uint32_t now = weft__fetch_add(&running, 1, ACQ_REL) + 1;
    uint32_t seen = weft__load(&most, RELAXED);

    while (now > seen && !weft__cas(&most, &seen, now, RELAXED, RELAXED))
        ;
    while (!weft__load(&gate, ACQUIRE))
        sched_yield();
    order[weft__fetch_add(&ran, 1, ACQ_REL)] = (int)(long)arg;
    (void)weft__fetch_sub(&running, 1, ACQ_REL);
    return arg;
}

static void *block(void *arg)
{
    void *result;

    ck_code(weft_blocking(wait_at_gate, arg, &result), 0);
    ck_assert_ptr_eq(result, arg);
    return NULL;
}

static void *open_gate(void *arg)
{
    for (int i = 0; i < 100; i++)
        weft_yield();
    weft__store(&gate, 1, RELEASE);
    return arg;
}

/* On one worker too: while the job waits, the fiber runs that it waits for. */
WEFT_TEST(other_fibers_run_while_a_job_blocks)
{
    weft_fiber_t f = spawn(open_gate, NULL);

    block((void *)1);
    join(f);
}
END_TEST

/* --- Bound, growth, order ---------------------------------------------------------- */

enum { JOBS = 40 };

static void more_than_the_bound(int bound)
{
    weft_fiber_t f[JOBS];
    weft_stats_t s;
    weft_time_t age;

    for (long i = 0; i < JOBS; i++)
        f[i] = spawn(block, (void *)i);
    wait_for_lane((uint64_t)bound, (uint64_t)(JOBS - bound));
    s = stats();
    ck_assert_uint_eq(s.lane_threads, (uint64_t)bound);
    age = s.lane_age;
    ck_assert_int_gt(age, 0);
    /* The oldest is still the same, and gets older. */
    while (stats().lane_age <= age)
        weft_yield();
    weft__store(&gate, 1, RELEASE);
    for (int i = 0; i < JOBS; i++)
        join(f[i]);
    ck_assert_uint_eq(weft__load(&most, RELAXED), (uint32_t)bound);
    ck_assert_uint_eq(weft__load(&ran, RELAXED), JOBS);
    s = stats();
    ck_assert_uint_eq(s.lane_queued, 0);
    ck_assert_uint_eq(s.lane_running, 0);
    ck_assert_int_eq(s.lane_age, 0);
}

static const unsigned bounds[] = { 1, 2, 7 };

START_TEST(no_more_jobs_run_than_the_lane_has_threads)
{
    run_bounded(bounds[_i], more_than_the_bound, (int)bounds[_i]);
}
END_TEST

/* Each job that finds no idle thread makes one. */
WEFT_TEST(the_lane_grows_while_jobs_wait)
{
    weft_fiber_t f[JOBS];

    ck_assert_uint_eq(stats().lane_threads, 0);
    for (uint64_t i = 0; i < JOBS; i++) {
        f[i] = spawn(block, NULL);
        wait_for_lane(i + 1, 0);
        ck_assert_uint_eq(stats().lane_threads, i + 1);
    }
    weft__store(&gate, 1, RELEASE);
    for (int i = 0; i < JOBS; i++)
        join(f[i]);
}
END_TEST

static void jobs_in_line(int i)
{
    weft_fiber_t f[JOBS];

    (void)i;
    for (long n = 0; n < JOBS; n++) {
        f[n] = spawn(block, (void *)n);
        wait_for_lane(1, (uint64_t)n);
    }
    weft__store(&gate, 1, RELEASE);
    for (int n = 0; n < JOBS; n++)
        join(f[n]);
    for (int n = 0; n < JOBS; n++)
        ck_assert_int_eq(order[n], n);
}

START_TEST(jobs_begin_in_the_order_they_came)
{
    run_bounded(1, jobs_in_line, 0);
}
END_TEST

static void *count(void *arg)
{
    (void)weft__fetch_add(&ran, 1, RELAXED);
    return arg;
}

static void *block_often(void *arg)
{
    for (long i = 0; i < (long)arg; i++) {
        void *result = NULL;

        must_code(weft_blocking(count, (void *)i, &result), 0);
        must(result == (void *)i);
    }
    return NULL;
}

static void often(int i)
{
    long each = ROUNDS(1000);
    weft_fiber_t f[8];

    (void)i;
    for (int n = 0; n < 8; n++)
        f[n] = spawn(block_often, (void *)each);
    for (int n = 0; n < 8; n++)
        join(f[n]);
    ck_assert_uint_eq(weft__load(&ran, RELAXED), (uint32_t)(8 * each));
}

/* Threads lie down and are called again: no call is lost. */
START_TEST(no_job_is_forgotten)
{
    run_bounded(bounds[_i], often, 0);
}
END_TEST

/* --- Cancelling ------------------------------------------------------------------- */

static void *block_cancelled(void *arg)
{
    ck_code(weft_blocking(wait_at_gate, arg, NULL), -ECANCELED);
    ck_code(weft_blocking(wait_at_gate, arg, NULL), -ECANCELED);
    return NULL;
}

/* The job could not be stopped, so its result counts; the cancel stays. */
static void *block_cancelled_late(void *arg)
{
    block(arg);
    ck_code(weft_blocking(wait_at_gate, arg, NULL), -ECANCELED);
    return NULL;
}

/* One runs and four wait: of these one in the middle goes, then the last. */
static void cancel_some(int i)
{
    weft_fiber_t f[6];

    (void)i;
    for (long n = 0; n < 5; n++) {
        f[n] = spawn(n == 0             ? block_cancelled_late
                     : n == 2 || n == 4 ? block_cancelled
                                        : block,
                     (void *)n);
        wait_for_lane(1, (uint64_t)n);
    }
    must_code(weft_cancel(f[2]), 0);
    join(f[2]);
    ck_assert_uint_eq(stats().lane_queued, 3);
    must_code(weft_cancel(f[4]), 0);
    join(f[4]);
    ck_assert_uint_eq(stats().lane_queued, 2);
    f[5] = spawn(block, (void *)5);
    wait_for_lane(1, 3);
    must_code(weft_cancel(f[0]), 0);
    for (int n = 0; n < 100; n++)
        weft_yield();
    ck_assert_uint_eq(stats().lane_running, 1);
    weft__store(&gate, 1, RELEASE);
    join(f[0]);
    join(f[1]);
    join(f[3]);
    join(f[5]);
    ck_assert_uint_eq(weft__load(&ran, RELAXED), 4);
    ck_assert_int_eq(order[0], 0);
    ck_assert_int_eq(order[1], 1);
    ck_assert_int_eq(order[2], 3);
    ck_assert_int_eq(order[3], 5);
}

START_TEST(a_queued_job_is_taken_back_and_a_running_one_waited_for)
{
    run_bounded(1, cancel_some, 0);
}
END_TEST

/* --- The end of a run ----------------------------------------------------------------- */

static weft_chan_t *never;

static void *open_gate_at_stop(void *arg)
{
    int x;

    ck_code(weft_chan_recv(never, &x), -ECANCELED);
    /* Those in line have been cancelled too. */
    wait_for_lane(1, 0);
    weft__store(&gate, 1, RELEASE);
    return arg;
}

static void leave_jobs(int i)
{
    (void)i;
    must_code(weft_go(block_cancelled_late, (void *)1), 0);
    wait_for_lane(1, 0);
    must_code(weft_go(block_cancelled, (void *)2), 0);
    must_code(weft_go(block_cancelled, (void *)3), 0);
    wait_for_lane(1, 2);
    must_code(weft_go(open_gate_at_stop, NULL), 0);
}

/* The running one ends, and the run with it; those in line never run. */
START_TEST(a_run_that_ends_waits_for_the_running_job_only)
{
    never = new_chan(sizeof(int), 0);
    run_bounded(1, leave_jobs, 0);
    ck_assert_uint_eq(weft__load(&ran, RELAXED), 1);
    ck_assert_int_eq(order[0], 1);
    weft_chan_unref(never);
}
END_TEST

/* How many of the process's threads are a lane's, by their names. */
static unsigned lane_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    unsigned n = 0;

    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir))) {
        char path[300], name[32] = "";
        FILE *file;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
                 entry->d_name);
        file = fopen(path, "r");
        if (!file)
            continue;
        if (fgets(name, sizeof(name), file))
            n += !strncmp(name, "weft-lane", 9);
        fclose(file);
    }
    closedir(dir);
    return n;
}

static void many_jobs(int i)
{
    weft_fiber_t f[JOBS];

    (void)i;
    weft__store(&gate, 0, RELAXED);
    for (int n = 0; n < JOBS; n++)
        f[n] = spawn(block, NULL);
    wait_for_lane(JOBS, 0);
    ck_assert_uint_eq(lane_threads(), JOBS);
    weft__store(&gate, 1, RELEASE);
    for (int n = 0; n < JOBS; n++)
        join(f[n]);
}

/* A thread that has ended may be listed for a moment longer. */
START_TEST(the_lanes_threads_end_with_the_run)
{
    for (int round = 0; round < 5; round++) {
        weft__store(&ran, 0, RELAXED);
        run_bounded(64, many_jobs, 0);
        while (lane_threads() > 0)
            sched_yield();
    }
}
END_TEST

/* --- Asleep ---------------------------------------------------------------------------- */

static void *feed(void *arg)
{
    int x = 42;

    /* Everyone sleeps, for this job. */
    wait_until_all_idle();
    must_code(weft_chan_send_try(arg, &x), 0);
    return NULL;
}

static void *block_feeding(void *arg)
{
    must_code(weft_blocking(feed, arg, NULL), 0);
    return NULL;
}

/* A program that sleeps while a job runs is not dead: the job may wake it. */
WEFT_TEST(a_job_wakes_a_program_that_is_asleep)
{
    weft_chan_t *ch = new_chan(sizeof(int), 0);
    weft_fiber_t f = spawn(block_feeding, ch);
    int x = 0;

    ck_code(weft_chan_recv(ch, &x), 0);
    ck_assert_int_eq(x, 42);
    join(f);
    weft_chan_unref(ch);
}
END_TEST

static void never_look(int level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
}

/* And one that sleeps after its last job ended is, however soon after. */
WEFT_TEST(a_program_asleep_after_its_jobs_is_told)
{
    weft_chan_t *ch = new_chan(sizeof(int), 0);
    int x;

    weft_set_log(never_look, NULL);
    for (int i = 0; i < 50; i++) {
        must_code(weft_blocking(count, NULL, NULL), 0);
        must_code(weft_chan_recv(ch, &x), -EDEADLK);
    }
    weft_set_log(NULL, NULL);
    weft_chan_unref(ch);
}
END_TEST

/* --- A job calls in ---------------------------------------------------------------------- */

static int in_a_job(void *arg)
{
    (void)arg;
    return 0;
}

/* A thread that is not weft's could start a runtime, were there none. */
static void call_from_thread(void *arg)
{
    weft_fiber_t f;
    int run = arg ? -EPERM : -EBUSY;

    ck_code(weft_blocking(count, NULL, NULL), -EPERM);
    ck_code(weft_spawn(&f, count, NULL), -EPERM);
    ck_code(weft_go(count, NULL), -EPERM);
    ck_code(weft_name("job"), -EPERM);
    ck_code(weft_run(NULL, in_a_job, NULL, NULL), run);
    ck_assert_uint_eq(weft_self(), 0);
    weft_yield();
    ck_code(weft_checkpoint(), 0);
}

WEFT_TEST(a_job_is_no_fiber)
{
    int lane;

    on_lane(call_from_thread, &lane);
    on_thread(call_from_thread, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("blocking");
    TCase *tcase = tcase_create("blocking");

    tcase_add_test(tcase, the_result_comes_back);
    tcase_add_test(tcase, a_job_has_a_threads_stack);
    tcase_add_test(tcase, other_fibers_run_while_a_job_blocks);
    tcase_add_loop_test(tcase, no_more_jobs_run_than_the_lane_has_threads, 0,
                        3);
    tcase_add_test(tcase, the_lane_grows_while_jobs_wait);
    tcase_add_test(tcase, jobs_begin_in_the_order_they_came);
    tcase_add_loop_test(tcase, no_job_is_forgotten, 0, 3);
    tcase_add_test(tcase,
                   a_queued_job_is_taken_back_and_a_running_one_waited_for);
    tcase_add_test(tcase, a_run_that_ends_waits_for_the_running_job_only);
    tcase_add_test(tcase, the_lanes_threads_end_with_the_run);
    tcase_add_test(tcase, a_job_wakes_a_program_that_is_asleep);
    tcase_add_test(tcase, a_program_asleep_after_its_jobs_is_told);
    tcase_add_test(tcase, a_job_is_no_fiber);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
