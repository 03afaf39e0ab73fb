/*
 * The shared library, loaded by a program that has never heard of it: load,
 * run a thousand fibers, stop, unload; and again.
 */
#include <check.h>
#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/weft.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

enum { FIBERS = 1000, LOADS = 2 };

/* What is taken from the library: the program calls it by these alone. */
static struct {
    int (*run)(const weft_config_t *, int (*)(void *), void *, int *);
    int (*spawn)(weft_fiber_t *, void *(*)(void *), void *);
    int (*join)(weft_fiber_t, void **);
    void (*yield)(void);
    weft_fiber_t (*self)(void);
    int (*blocking)(void *(*)(void *), void *, void **);
    unsigned (*workers)(void);
} weft;

static void *library;

static void *symbol(const char *name)
{
    void *p = dlsym(library, name);

    ck_assert_msg(p != NULL, "%s", dlerror());
    return p;
}

/* A function pointer out of a void pointer, as POSIX wants it. */
#define TAKE(member, name)                                                  \
    do {                                                                    \
        void *p_ = symbol(name);                                            \
        memcpy(&weft.member, &p_, sizeof(p_));                              \
    } while (0)

static void load(void)
{
    library = dlopen(TEST_LIBWEFT, RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(library != NULL, "%s", dlerror());
    TAKE(run, "weft_run");
    TAKE(spawn, "weft_spawn");
    TAKE(join, "weft_join");
    TAKE(yield, "weft_yield");
    TAKE(self, "weft_self");
    TAKE(blocking, "weft_blocking");
    TAKE(workers, "weft_workers");
}

static unsigned count(const char *path)
{
    DIR *dir = opendir(path);
    unsigned n = 0;

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static bool is_mapped(const char *name)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096];
    bool found = false;

    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof(line), maps))
        found |= strstr(line, name) != NULL;
    fclose(maps);
    return found;
}

static void *add_up(void *arg)
{
    intptr_t n = (intptr_t)arg;
    weft_fiber_t self = weft.self();

    for (int i = 0; i < 3; i++)
        weft.yield();
    return weft.self() == self ? (void *)(n * 2) : NULL;
}

static void *add_one(void *arg)
{
    return (void *)((intptr_t)arg + 1);
}

static int run_fibers(void *arg)
{
    static weft_fiber_t f[FIBERS];
    intptr_t sum = 0;
    void *result;

    (void)arg;
    for (intptr_t i = 0; i < FIBERS; i++)
        if (weft.spawn(&f[i], add_up, (void *)i) != 0)
            return -1;
    for (int i = 0; i < FIBERS; i++) {
        if (weft.join(f[i], &result) != 0)
            return -1;
        sum += (intptr_t)result;
    }
    if (weft.blocking(add_one, (void *)sum, &result) != 0)
        return -1;
    return (int)(intptr_t)result;
}

/* What it put into the process is gone with it: threads, descriptors, the
 * handler of SIGSEGV; and it starts afresh when it is loaded again. */
START_TEST(a_library_that_is_loaded_runs_and_is_unloaded_twice)
{
    static const unsigned worker_counts[] = { 1, 2, 4, 8 };
    weft_config_t config = WEFT_CONFIG_INIT;
    struct sigaction before, after;
    unsigned descriptors, threads;
    bool uv_stays = is_mapped("libuv.so");
    int result;

    unsetenv("WEFT_WORKERS");
    config.workers = worker_counts[_i];
    ck_assert_int_eq(sigaction(SIGSEGV, NULL, &before), 0);
    descriptors = count("/proc/self/fd");
    threads = count("/proc/self/task");
    for (int i = 0; i < LOADS; i++) {
        ck_assert(!is_mapped("libweft.so"));
        load();
        ck_assert_uint_eq(weft.workers(), 0);
        result = 0;
        ck_assert_int_eq(weft.run(&config, run_fibers, NULL, &result), 0);
        ck_assert_int_eq(result, FIBERS * (FIBERS - 1) + 1);
        ck_assert_int_eq(dlclose(library), 0);
        /* A sanitizer starts a thread of its own when the first one is made. */
        if (i == 0 && count("/proc/self/task") == threads + 1 && SANITIZED)
            threads++;

        /* A libuv that this program has loaded itself keeps what it opened for
         * its first loop. */
        if (i == 0 && uv_stays)
            descriptors = count("/proc/self/fd");
        ck_assert_uint_eq(count("/proc/self/fd"), descriptors);
        for (int turn = 0; turn < 100000 && count("/proc/self/task") > threads;
             turn++)
            continue;
        ck_assert_uint_eq(count("/proc/self/task"), threads);
        ck_assert_int_eq(sigaction(SIGSEGV, NULL, &after), 0);
        ck_assert(after.sa_handler == before.sa_handler);
    }
    ck_assert(!is_mapped("libweft.so"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dlopen");
    TCase *tc = tcase_create("dlopen");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(
        tc, a_library_that_is_loaded_runs_and_is_unloaded_twice, 0, 4);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
