/*
 * Stacks under fibers: when a fiber gets one, how large it is, and what
 * happens when there is none to be had. The allocator by itself is in
 * test_stack.c.
 */
#include "tests/support.h"

#include <sys/resource.h>
#include <unistd.h>

#include "sched/os.h"
#include "tests/support_stack.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { KIB = 1024 };

/* A single worker runs nothing before the test lets it. */
static void run_on(unsigned n, size_t stack_size, void (*body)(int))
{
    weft_config_t config = WEFT_CONFIG_INIT;

    unsetenv("WEFT_WORKERS");
    config.workers = n;
    config.stack_size = stack_size;
    ck_assert_int_eq(run_with(&config, body, 0), 0);
}

static void *nothing(void *arg)
{
    return arg;
}

static void *receive(void *ch)
{
    return (void *)(intptr_t)weft_chan_recv(ch, NULL);
}

static weft_stats_t get_stats(void)
{
    weft_stats_t s = { .size = sizeof(s) };

    ck_code(weft_stats(&s), 0);
    return s;
}

static void spawn_many(int i)
{
    enum { N = 5000 };
    static weft_fiber_t f[N];
    uint64_t before = get_stats().stacks;

    (void)i;
    for (int n = 0; n < N; n++)
        f[n] = spawn(nothing, NULL);
    ck_assert_uint_eq(get_stats().stacks, before);
    for (int n = 0; n < N; n++)
        ck_code(weft_join(f[n], NULL), 0);
    /* One after the other they ran on the same few. */
    ck_assert_uint_le(get_stats().stacks, before + 2);
}

START_TEST(a_fiber_that_has_not_run_has_no_stack)
{
    run_on(1, 0, spawn_many);
}
END_TEST

WEFT_TEST(a_parked_fiber_keeps_its_stack)
{
    enum { N = 300 };
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t f[N];

    for (int i = 0; i < N; i++)
        f[i] = spawn(receive, ch);
    for (int i = 0; i < N; i++)
        wait_until_parked(f[i]);
    ck_assert_uint_ge(get_stats().stacks, N + 1);
    ck_code(weft_chan_close(ch), 0);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq((intptr_t)join(f[i]), -EPIPE);
    weft_chan_unref(ch);
}
END_TEST

static void *stack_left(void *arg)
{
    (void)arg;
    return (void *)weft_stack_left();
}

static size_t stack_of(size_t size)
{
    weft_attr_t attr = WEFT_ATTR_INIT;
    weft_fiber_t f;

    attr.stack_size = size;
    ck_code(weft_spawn_with(&f, &attr, stack_left, NULL), 0);
    return (size_t)join(f);
}

/* What is left in a fiber's first frame: all but the guard page, the colour,
 * and the frames of weft itself. */
static void check_size(size_t left, size_t size)
{
    ck_assert_uint_lt(left, size - WEFT__PAGE);
    ck_assert_uint_gt(left, size - WEFT__PAGE - 3072);
}

WEFT_TEST(the_attribute_chooses_the_size_of_the_stack)
{
    static const struct { size_t asked, size; } sizes[] = {
        { 0, 64 * KIB },           { 1, 16 * KIB },
        { 16 * KIB, 16 * KIB },    { 64 * KIB, 64 * KIB },
        { 100000, 128 * KIB },     { 1024 * KIB, 1024 * KIB },
        { 3000000, 4096 * KIB },   { 64 * 1024 * KIB, 64 * 1024 * KIB }
    };

    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            check_size(stack_of(sizes[i].asked), sizes[i].size);
    ck_assert_int_eq(weft_audit(stderr), 0);
}
END_TEST

WEFT_TEST(a_stack_of_more_than_a_gibibyte_is_refused)
{
    static const size_t sizes[] = { ((size_t)1 << 30) + 1, (size_t)1 << 40,
                                    SIZE_MAX - 4096, SIZE_MAX };
    weft_attr_t attr = WEFT_ATTR_INIT;
    weft_fiber_t f;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        attr.stack_size = sizes[i];
        ck_code(weft_spawn_with(&f, &attr, nothing, NULL), -EINVAL);
    }
    attr.stack_size = (size_t)1 << 30;
    ck_code(weft_spawn_with(&f, &attr, nothing, NULL), 0);
    ck_code(weft_join(f, NULL), 0);
}
END_TEST

WEFT_TEST(attributes_of_an_unknown_size_are_refused)
{
    weft_attr_t attr = WEFT_ATTR_INIT;
    weft_fiber_t f;

    attr.size = 0;
    ck_code(weft_spawn_with(&f, &attr, nothing, NULL), -EINVAL);
    attr.size = sizeof(attr) + 8;
    ck_code(weft_spawn_with(&f, &attr, nothing, NULL), -EINVAL);
}
END_TEST

static size_t default_size;

static void check_default(int i)
{
    (void)i;
    check_size((size_t)join(spawn(stack_left, NULL)), default_size);
    check_size(weft_stack_left() & ~(size_t)511, default_size);
    check_size(stack_of(128 * KIB), 128 * KIB);
}

START_TEST(the_variable_wins_over_the_configured_stack_size)
{
    default_size = 256 * KIB;
    run_on(1, 200000, check_default);
    setenv("WEFT_STACK_SIZE", "1M", 1);
    default_size = 1024 * KIB;
    run_on(1, 200000, check_default);
    setenv("WEFT_STACK_SIZE", "16K", 1);
    default_size = 16 * KIB;
    run_on(1, 200000, check_default);
    /* The default again, as a class by attribute was: its stacks are there. */
    setenv("WEFT_STACK_SIZE", "131072", 1);
    default_size = 128 * KIB;
    run_on(1, 0, check_default);
}
END_TEST

/* --- All stacks of all records at once ------------------------------------------ */

static struct {
    weft__au32 here; /* fibers that have started */
    weft__au32 go;
    weft_chan_t *ch;
} all;

static void wait_for_all(unsigned n)
{
    /* Not a yield of weft's: the other worker shall run them. */
    while (weft__load(&all.here, ACQUIRE) < n)
        weft__os_thread_yield();
}

/* A worker with nothing else to do is lost to all others. */
static void *keep_busy(void *arg)
{
    weft__fetch_add(&all.here, 1, ACQ_REL);
    while (!weft__load(&all.go, ACQUIRE))
        weft__os_thread_yield();
    return arg;
}

static void *receive_all(void *arg)
{
    weft__fetch_add(&all.here, 1, ACQ_REL);
    ck_assert_int_eq(weft_chan_recv(all.ch, NULL), -EPIPE);
    return arg;
}

static void join_without_yield(weft_fiber_t f)
{
    int status;

    while ((status = weft_join_try(f, NULL)) == -EAGAIN)
        weft__os_thread_yield();
    ck_code(status, 0);
}

static void use_all_records(int i)
{
    enum { CACHED = 30, N = 62 };
    weft_fiber_t f[N], hog;

    (void)i;
    ck_assert_uint_eq(get_stats().records, N + 2);
    /* They live and end on the other worker, whose cache has their stacks. */
    all.ch = new_chan(0, 0);
    for (int n = 0; n < CACHED; n++)
        f[n] = spawn(receive_all, NULL);
    wait_for_all(CACHED);
    ck_code(weft_chan_close(all.ch), 0);
    for (int n = 0; n < CACHED; n++)
        join_without_yield(f[n]);
    weft_chan_unref(all.ch);

    /* It has something else to do now, and gives none back. */
    weft__store(&all.here, 0, RELEASE);
    hog = spawn(keep_busy, NULL);
    wait_for_all(1);

    all.ch = new_chan(0, 0);
    for (int n = 0; n < N; n++)
        f[n] = spawn(receive_all, NULL);
    ck_assert_uint_eq(get_stats().records, N + 2);
    while (weft__load(&all.here, ACQUIRE) < N + 1)
        weft_yield();
    weft__store(&all.go, 1, RELEASE);
    ck_code(weft_chan_close(all.ch), 0);
    for (int n = 0; n < N; n++)
        ck_code(weft_join(f[n], NULL), 0);
    ck_code(weft_join(hog, NULL), 0);
    weft_chan_unref(all.ch);
}

/* Each record has a stack reserved, also when another worker keeps idle ones
 * in its cache. Stacks of 16 MiB: of these there is none to spare. */
START_TEST(stacks_in_the_cache_of_another_worker_are_not_missed)
{
    run_on(2, (size_t)16 << 20, use_all_records);
}
END_TEST

/* --- No memory ------------------------------------------------------------------ */

#ifndef SANITIZED

static weft__au32 ran;

static void *count_run(void *arg)
{
    weft__fetch_add(&ran, 1, RELAXED);
    return arg;
}

/* Let the process have `more` bytes of address space beside what it has. */
static void limit_memory(size_t more)
{
    char *text = weft__os_read_file("/proc/self/statm");
    struct rlimit limit;

    ck_assert_ptr_nonnull(text);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = strtoul(text, NULL, 10) * WEFT__PAGE + more;
    free(text);
    /* Not an assertion of Check's, which wants memory itself. */
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        abort();
}

static void unlimit_memory(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_AS, &limit) != 0)
        abort();
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        abort();
}

/* Spawn with `attr` until it fails; all the others run. Nothing is asserted
 * under the limit: Check itself wants memory. The limit leaves room for what
 * malloc maps for each worker. */
static void spawn_until_refused(const weft_attr_t *attr)
{
    enum { MOST = 20000 };
    static weft_fiber_t f[MOST];
    unsigned n = 0, joined = 0;
    int status = 0;

    limit_memory((size_t)512 << 20);
    while (n < MOST && (status = weft_spawn_with(&f[n], attr, count_run,
                                                 NULL)) == 0)
        n++;
    for (unsigned i = 0; i < n; i++)
        joined += weft_join(f[i], NULL) == 0;
    unlimit_memory();
    ck_code(status, -ENOMEM);
    ck_assert_uint_gt(n, 0);
    ck_assert_uint_eq(joined, n);
    ck_assert_uint_eq(weft__load(&ran, RELAXED), n);
    ck_assert_int_eq(weft_audit(stderr), 0);
    f[0] = spawn(count_run, NULL);
    ck_code(weft_join(f[0], NULL), 0);
}

/* Those that were spawned start, though nothing more can be mapped. */
WEFT_TEST(spawn_without_memory_is_refused_and_all_others_run)
{
    weft_attr_t attr = WEFT_ATTR_INIT;

    attr.stack_size = _i ? (size_t)1 << 20 : 0;
    spawn_until_refused(&attr);
}
END_TEST

#endif

/* --- After a burst ----------------------------------------------------------- */

/* Its surplus stacks, of 16 KiB, in the depot. */
enum { BURST = 16384 + 600 };
static weft__stack_t burst[BURST];

static void *wait_for_the_first(void *arg)
{
    while (weft__stack_high_water(burst[0]) > 0)
        usleep(1000);
    return arg;
}

static void leave_a_burst(int i)
{
    (void)i;
    take_and_give(burst, BURST);
    ck_assert_uint_gt(weft__stack_high_water(burst[0]), 0);
}

WEFT_TEST(what_a_burst_leaves_goes_back_while_all_sleep)
{
    leave_a_burst(0);
    ck_code(weft_blocking(wait_for_the_first, NULL, NULL), 0);
}
END_TEST

START_TEST(what_a_burst_leaves_goes_back_with_the_run)
{
    run_on(2, 0, leave_a_burst);
    ck_assert_uint_eq(weft__stack_high_water(burst[0]), 0);
    ck_assert_uint_gt(weft__stack_high_water(burst[BURST - 2]), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stack_fiber");
    TCase *tc = tcase_create("fiber");

    tcase_add_test(tc, a_fiber_that_has_not_run_has_no_stack);
    tcase_add_test(tc, a_parked_fiber_keeps_its_stack);
    tcase_add_test(tc, the_attribute_chooses_the_size_of_the_stack);
    tcase_add_test(tc, a_stack_of_more_than_a_gibibyte_is_refused);
    tcase_add_test(tc, attributes_of_an_unknown_size_are_refused);
    tcase_add_test(tc, the_variable_wins_over_the_configured_stack_size);
    tcase_add_test(tc,
                   stacks_in_the_cache_of_another_worker_are_not_missed);
#ifndef SANITIZED
    tcase_add_loop_test(
        tc, spawn_without_memory_is_refused_and_all_others_run, 0, 2);
#endif
    tcase_add_test(tc, what_a_burst_leaves_goes_back_while_all_sleep);
    tcase_add_test(tc, what_a_burst_leaves_goes_back_with_the_run);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
