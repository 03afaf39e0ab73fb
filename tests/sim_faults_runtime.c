/*
 * A runtime that cannot get what it asks for: threads, memory, descriptors and
 * guards, at the start and later. On real threads: the passthrough of
 * libweft-sim orders the faults.
 */
#include "tests/sim.h"

#include <dirent.h>
#include <string.h>

#include "sched/atomic.h"

enum { WORKERS = 4, MOST = 4096 };

static weft__au32 entered;
static weft__au32 ran;

static int enter(void *arg)
{
    (void)arg;
    weft__fetch_add(&entered, 1, RELAXED);
    return 7;
}

static int start(int (*entry)(void *), void *arg, int *result)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    config.workers = WORKERS;
    return weft_run(&config, entry, arg, result);
}

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
    unsigned n = entries("/proc/self/task");

    for (int i = 0; i < 100000 && n > 3; i++)
        n = entries("/proc/self/task");
    return n;
}

/* --- At the start ---------------------------------------------------------------- */

static const struct {
    enum weft__seam_fault kind;
    int code; /* what the call answers, and so the start */
} kinds[] = {
    { WEFT__FAULT_THREAD, -EAGAIN },
    { WEFT__FAULT_THREAD, -ENOMEM },
    { WEFT__FAULT_MAP, -ENOMEM },
    { WEFT__FAULT_FD, -EMFILE },
    { WEFT__FAULT_FD, -ENFILE }
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* Each call in turn fails, until a start has no call left that could. */
START_TEST(a_start_that_cannot_get_something_says_so_and_leaves_nothing)
{
    unsigned refused = 0;
    unsigned fds = entries("/proc/self/fd");
    int result;

    weft__sim_passthrough(true);
    for (unsigned nth = 1;; nth++) {
        int status;

        ck_assert_uint_lt(nth, 1000);
        weft__store(&entered, 0, RELAXED);
        result = 0;
        weft__sim_fault(kinds[_i].kind, nth, kinds[_i].code);
        status = start(enter, NULL, &result);
        if (status == 0) {
            /* It did without, or did not come so far. */
            ck_assert_uint_eq(weft__load(&entered, RELAXED), 1);
            ck_assert_int_eq(result, 7);
            if (weft__sim_fault_calls(kinds[_i].kind) < nth)
                break;
        } else {
            ck_assert_int_eq(status, kinds[_i].code);
            ck_assert_uint_eq(weft__load(&entered, RELAXED), 0);
            refused++;
        }
        ck_assert_uint_eq(weft_workers(), 0);
        ck_assert_uint_eq(entries("/proc/self/fd"), fds);
        ck_assert_uint_eq(threads(), 3);
    }
    /* A thread and a descriptor a worker, and at the least one mapping. */
    ck_assert_uint_ge(refused,
                      kinds[_i].kind == WEFT__FAULT_MAP ? 1 : WORKERS);
    weft__sim_passthrough(false);
}
END_TEST

/* --- At a spawn ------------------------------------------------------------------ */

static void *count_run(void *arg)
{
    weft__fetch_add(&ran, 1, RELAXED);
    return arg;
}

/* No more memory: the spawn that needs some is refused, and each one before
 * it keeps its promise. */
static int spawn_until_refused(void *arg)
{
    const weft_attr_t *attr = arg;
    static weft_fiber_t f[MOST];
    unsigned n = 0;
    int status = 0;

    weft__sim_fault(WEFT__FAULT_MAP, 0, -ENOMEM);
    while (n < MOST &&
           (status = weft_spawn_with(&f[n], attr, count_run, NULL)) == 0)
        n++;
    ck_assert_int_eq(status, -ENOMEM);
    for (unsigned i = 0; i < n; i++)
        ck_assert_int_eq(weft_join(f[i], NULL), 0);
    ck_assert_uint_eq(weft__load(&ran, RELAXED), n);

    weft__sim_fault(WEFT__FAULT_MAP, 0, 0);
    ck_assert_int_eq(weft_spawn_with(&f[0], attr, count_run, NULL), 0);
    ck_assert_int_eq(weft_join(f[0], NULL), 0);
    ck_assert_int_eq(weft_audit(stderr), 0);
    return (int)n;
}

START_TEST(a_spawn_without_memory_is_refused_and_all_others_run)
{
    static const size_t sizes[] = { 0, 16 << 10, 8 << 20 };
    weft_attr_t attr = WEFT_ATTR_INIT;
    int n = 0;

    attr.stack_size = sizes[_i];
    weft__sim_passthrough(true);
    ck_assert_int_eq(start(spawn_until_refused, &attr, &n), 0);
    /* The default's arena has room for many; another class has none yet. */
    if (_i == 0)
        ck_assert_int_gt(n, 100);
    else
        ck_assert_int_eq(n, 0);
    weft__sim_passthrough(false);
}
END_TEST

/* --- Guards ---------------------------------------------------------------------- */

static weft__au32 lines;

static void count_line(int level, const char *line, void *arg)
{
    (void)arg;
    if (level == WEFT_LOG_WARNING && strstr(line, "canary"))
        weft__fetch_add(&lines, 1, RELAXED);
}

static void *receive(void *ch)
{
    return (void *)(intptr_t)weft_chan_recv(ch, NULL);
}

/* Two hundred at once, each with a stack of its own. */
static int park_many(void *arg)
{
    enum { N = 200 };
    weft_stats_t stats = { .size = sizeof(stats) };
    weft_fiber_t f[N];
    weft_chan_t *ch;
    void *result;

    (void)arg;
    ck_assert_int_eq(weft_chan_create(&ch, 0, 0), 0);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(weft_spawn(&f[i], receive, ch), 0);
    do {
        weft_yield();
        ck_assert_int_eq(weft_stats(&stats), 0);
    } while (stats.stacks < N);
    ck_assert_int_eq(weft_chan_close(ch), 0);
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(weft_join(f[i], &result), 0);
        ck_assert_int_eq((intptr_t)result, -EPIPE);
    }
    weft_chan_unref(ch);
    ck_assert_int_eq(weft_audit(stderr), 0);
    ck_assert_int_eq(weft_stats(&stats), 0);
    return (int)stats.stacks_unguarded;
}

/* No guard can be installed: each stack has a canary, is counted, and the log
 * says so once. */
START_TEST(stacks_without_guards_are_counted_and_told_once)
{
    int unguarded = 0;

    weft_set_log(count_line, NULL);
    weft__sim_passthrough(true);
    weft__sim_fault(WEFT__FAULT_GUARD, 0, -ENOMEM);
    ck_assert_int_eq(start(park_many, NULL, &unguarded), 0);
    ck_assert_int_ge(unguarded, 200);
    ck_assert_uint_eq(weft__load(&lines, RELAXED), 1);
    weft__sim_passthrough(false);
}
END_TEST

/* The proof at the start fails, as before Linux 6.13: mprotect takes over. Or
 * one guard fails later (no memory for it), or the call that makes a dozen. */
START_TEST(where_one_way_to_guard_fails_the_other_is_taken)
{
    static const unsigned fails[] = { 1, 5, 25 };
    static const unsigned calls[] = { 200, 30, 40 };
    int unguarded = -1;

    weft_set_log(count_line, NULL);
    weft__sim_passthrough(true);
    weft__sim_fault(WEFT__FAULT_GUARD, fails[_i], -EINVAL);
    ck_assert_int_eq(start(park_many, NULL, &unguarded), 0);
    ck_assert_uint_ge(weft__sim_fault_calls(WEFT__FAULT_GUARD), calls[_i]);
    ck_assert_int_eq(unguarded, 0);
    ck_assert_uint_eq(weft__load(&lines, RELAXED), 0);
    weft__sim_passthrough(false);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_faults_runtime");
    TCase *tc = tcase_create("runtime");

    tcase_add_loop_test(
        tc, a_start_that_cannot_get_something_says_so_and_leaves_nothing, 0,
        KINDS);
    tcase_add_loop_test(
        tc, a_spawn_without_memory_is_refused_and_all_others_run, 0, 3);
    tcase_add_test(tc, stacks_without_guards_are_counted_and_told_once);
    tcase_add_loop_test(tc, where_one_way_to_guard_fails_the_other_is_taken,
                        0, 3);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
