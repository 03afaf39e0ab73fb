/*
 * Runs in a row: what a run takes it gives back, or keeps for the next one. A
 * thousand runs leave behind what ten do.
 */
#include "tests/support_lane.h"

#include <dirent.h>
#include <unistd.h>

#include "sched/os.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

/* A thousand with a sanitizer takes minutes, and its own memory grows. */
#ifdef SANITIZED
enum { WARM = 10, CYCLES = 100 };
#else
enum { WARM = 10, CYCLES = 1000 };
#endif

struct held {
    unsigned mappings;
    unsigned descriptors;
    unsigned threads;
    size_t resident; /* pages */
};

static unsigned entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned n = 0;

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* A thread that was joined may still be listed for a moment. */
static unsigned threads(void)
{
    while (threads_named("weft") + threads_named("weft-lane") > 0)
        weft__os_thread_yield();
    return entries("/proc/self/task");
}

static struct held held(void)
{
    struct held held = { 0 };
    char *maps = weft__os_read_file("/proc/self/maps");
    char *statm = weft__os_read_file("/proc/self/statm");

    ck_assert_ptr_nonnull(maps);
    ck_assert_ptr_nonnull(statm);
    for (const char *c = maps; *c; c++)
        held.mappings += *c == '\n';
    held.resident = strtoul(strchr(statm, ' '), NULL, 10);
    free(maps);
    free(statm);
    held.descriptors = entries("/proc/self/fd");
    held.threads = threads();
    return held;
}

static weft_chan_t *ch;
static weft_mutex_t mutex;

static void *work(void *arg)
{
    int value = 0;

    weft_yield();
    ck_assert_int_eq(weft_mutex_lock(&mutex), 0);
    weft_yield();
    ck_assert_int_eq(weft_mutex_unlock(&mutex), 0);
    if (arg)
        return (void *)(intptr_t)weft_chan_send(ch, &value);
    return (void *)(intptr_t)weft_chan_recv(ch, &value);
}

static void *block(void *arg)
{
    return arg;
}

static void *receive_nothing(void *arg)
{
    int value;

    return (void *)(intptr_t)weft_chan_recv(arg, &value);
}

static void *park_for_ever(void *arg)
{
    weft_chan_t *mine = arg;
    int value, status = weft_chan_recv(mine, &value);

    weft_chan_unref(mine);
    return (void *)(intptr_t)status;
}

/* A bit of everything: fibers of two sizes of stack, a channel, a mutex, a job
 * on the lane, and one that the end of the run has to cancel. */
static void one_run(int i)
{
    enum { N = 20 };
    weft_attr_t attr = WEFT_ATTR_INIT;
    weft_fiber_t f[N];
    void *result;

    (void)i;
    attr.stack_size = 256 << 10;
    ch = new_chan(sizeof(int), 0);
    for (int n = 0; n < N; n++)
        ck_assert_int_eq(weft_spawn_with(&f[n], n % 4 ? NULL : &attr, work,
                                         n % 2 ? &ch : NULL),
                         0);
    for (int n = 0; n < N; n++)
        ck_assert_ptr_null(join(f[n]));
    weft_chan_unref(ch);
    ck_assert_int_eq(weft_blocking(block, &ch, &result), 0);
    ck_assert_ptr_eq(result, &ch);
    ck_assert_int_eq(weft_go(park_for_ever, new_chan(sizeof(int), 0)), 0);
}

/* More fibers alive at once than chance ever brings in the runs above: so they
 * find warm stacks and records. */
static void warm_run(int i)
{
    enum { N = 200 };
    weft_attr_t attr = WEFT_ATTR_INIT;
    weft_fiber_t f[N];

    one_run(i);
    attr.stack_size = 256 << 10;
    ch = new_chan(sizeof(int), 0);
    for (int n = 0; n < N; n++)
        ck_assert_int_eq(weft_spawn_with(&f[n], n % 2 ? NULL : &attr,
                                         receive_nothing, ch),
                         0);
    for (int n = 0; n < N; n++)
        wait_until_parked(f[n]);
    ck_assert_int_eq(weft_chan_close(ch), 0);
    for (int n = 0; n < N; n++)
        ck_assert_int_eq(weft_join(f[n], NULL), 0);
    weft_chan_unref(ch);
}

/* The last fiber is parked for ever, and the run is over: that is no deadlock,
 * and nothing else that a run would have to say something about. */
static weft__au32 lines;

static void count_line(int level, const char *line, void *arg)
{
    (void)level, (void)arg;
    if (weft__fetch_add(&lines, 1, RELAXED) == 0)
        fprintf(stderr, "logged: %s\n", line);
}

static const unsigned worker_counts[] = { 1, 2, 4, 8 };

/* Resident memory may differ by a little. A page every twentieth run would be
 * a leak. */
START_TEST(a_thousand_runs_leave_behind_what_ten_do)
{
    weft_config_t config = WEFT_CONFIG_INIT;
    struct held first, last;

    unsetenv("WEFT_WORKERS");
    config.workers = worker_counts[_i];
    weft_set_log(count_line, NULL);
    for (int i = 0; i < WARM; i++)
        ck_assert_int_eq(run_with(&config, warm_run, 0), 0);
    first = held();
    for (int i = WARM; i < CYCLES; i++)
        ck_assert_int_eq(run_with(&config, one_run, 0), 0);
    last = held();
    printf("workers=%u runs=%d mappings=%u descriptors=%u threads=%u resident=%zu "
           "then mappings=%u descriptors=%u threads=%u resident=%zu\n",
           config.workers, CYCLES, first.mappings, first.descriptors, first.threads,
           first.resident, last.mappings, last.descriptors, last.threads,
           last.resident);
    ck_assert_uint_eq(weft__load(&lines, RELAXED), 0);
    ck_assert_uint_eq(last.descriptors, first.descriptors);
    ck_assert_uint_eq(last.threads, first.threads);
#ifndef SANITIZED
    ck_assert_uint_le(last.mappings, first.mappings);
    ck_assert_uint_le(last.resident, first.resident + CYCLES / 20);
#endif
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cycles");
    TCase *tc = tcase_create("cycles");

    /* A thousand runs take as long as the machine likes. */
    tcase_set_timeout(tc, 100);
    tcase_add_loop_test(tc, a_thousand_runs_leave_behind_what_ten_do, 0, 4);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
