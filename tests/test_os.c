/*
 * The operating system's side of the scheduler: memory and guards, the clock,
 * files and "who am I". Needs no runtime.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sched/os.h"

/* --- Memory --------------------------------------------------------------- */

START_TEST(mapped_memory_is_zero_and_writable)
{
    size_t size = 64 * WEFT__PAGE;
    unsigned char *p = weft__os_map(size);

    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < size; i++)
        ck_assert_uint_eq(p[i], 0);
    memset(p, 1, size);
    weft__os_unmap(p, size);
}
END_TEST

/* Far more than there is: address space only. */
START_TEST(mapped_memory_costs_nothing_until_touched)
{
    size_t size = (size_t)64 << 30;
    char *p = weft__os_map(size);

    ck_assert_ptr_nonnull(p);
    p[0] = 1;
    p[size - 1] = 1;
    ck_assert_uint_eq(weft__os_touched(p + size / 2, 64 * WEFT__PAGE), 0);
    weft__os_unmap(p, size);
}
END_TEST

START_TEST(more_address_space_than_there_is_is_refused)
{
    ck_assert_ptr_null(weft__os_map((size_t)1 << 62));
}
END_TEST

/* Huge pages would back a whole arena for the sake of one parked fiber. */
START_TEST(one_touched_page_is_one_page)
{
    size_t size = (size_t)8 << 20;
    char *p = weft__os_map(size);
    unsigned char resident[(8 << 20) / 4096];
    int pages = 0;

    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < size; i += (size_t)1 << 20)
        p[i] = 1;
    ck_assert_int_eq(mincore(p, size, resident), 0);
    for (size_t i = 0; i < sizeof(resident); i++)
        pages += resident[i] & 1;
    ck_assert_int_eq(pages, 8);
    weft__os_unmap(p, size);
}
END_TEST

/* The same where huge pages are given without being asked for: the mapping
 * says of itself that it wants none. */
START_TEST(mapped_memory_declines_huge_pages)
{
    size_t size = (size_t)8 << 20;
    char *p = weft__os_map(size);
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512];
    bool ours = false;
    bool declined = false;

    if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0 ||
        maps == NULL)
        return; /* there are none here */
    while (fgets(line, sizeof(line), maps) != NULL) {
        unsigned long begin;
        unsigned long end;

        if (sscanf(line, "%lx-%lx", &begin, &end) == 2)
            ours = begin <= (uintptr_t)p && (uintptr_t)p < end;
        if (ours && strncmp(line, "VmFlags:", 8) == 0)
            declined = strstr(line, " nh") != NULL;
    }
    fclose(maps);
    ck_assert(declined);
    weft__os_unmap(p, size);
}
END_TEST

START_TEST(discarded_memory_reads_as_zero_again)
{
    char *p = weft__os_map(4 * WEFT__PAGE);

    memset(p, 1, 4 * WEFT__PAGE);
    weft__os_discard(p + WEFT__PAGE, 2 * WEFT__PAGE);
    ck_assert_int_eq(p[WEFT__PAGE - 1], 1);
    ck_assert_int_eq(p[WEFT__PAGE], 0);
    ck_assert_int_eq(p[3 * WEFT__PAGE - 1], 0);
    ck_assert_int_eq(p[3 * WEFT__PAGE], 1);
    weft__os_unmap(p, 4 * WEFT__PAGE);
}
END_TEST

START_TEST(touched_counts_from_the_lowest_touched_page)
{
    size_t pages = 1000;
    size_t size = pages * WEFT__PAGE;
    char *p = weft__os_map(size);

    ck_assert_uint_eq(weft__os_touched(p, size), 0);
    p[size - 1] = 1;
    ck_assert_uint_eq(weft__os_touched(p, size), WEFT__PAGE);
    /* A frame of 300 pages that nobody wrote to lies between. */
    p[size - 302 * WEFT__PAGE] = 1;
    ck_assert_uint_eq(weft__os_touched(p, size), 302 * WEFT__PAGE);
    p[0] = 1;
    ck_assert_uint_eq(weft__os_touched(p, size), size);
    weft__os_discard(p, size);
    ck_assert_uint_eq(weft__os_touched(p, size), 0);
    ck_assert_uint_eq(weft__os_touched(p, 0), 0);
    weft__os_unmap(p, size);
}
END_TEST

/* --- Guards --------------------------------------------------------------- */

/* Does a child that writes there come to a bad end? */
static bool kills(volatile char *p)
{
    int status;
    pid_t child = fork();

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        int nowhere = open("/dev/null", O_WRONLY);

        dup2(nowhere, STDERR_FILENO);
        signal(SIGSEGV, SIG_DFL);
        *p = 1;
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void check_guard(enum weft__guard how)
{
    char *p = weft__os_map(3 * WEFT__PAGE);
    int status = weft__os_guard(p + WEFT__PAGE, how);

    if (how == WEFT__GUARD_MADVISE && status == -EINVAL) {
        /* Before Linux 6.13. */
        ck_assert(!weft__os_guarded(p + WEFT__PAGE));
        weft__os_unmap(p, 3 * WEFT__PAGE);
        return;
    }
    ck_assert_int_eq(status, 0);
    ck_assert(weft__os_guarded(p + WEFT__PAGE));
    ck_assert(weft__os_guarded(p + 2 * WEFT__PAGE - 4));
    ck_assert(kills(p + WEFT__PAGE));
    ck_assert(kills(p + 2 * WEFT__PAGE - 1));

    /* The neighbours are as they were. */
    ck_assert(!weft__os_guarded(p));
    ck_assert(!weft__os_guarded(p + 2 * WEFT__PAGE));
    ck_assert(!kills(p + WEFT__PAGE - 1));
    ck_assert(!kills(p + 2 * WEFT__PAGE));

    /* It stays when all is given back, and counts as untouched. */
    memset(p, 1, WEFT__PAGE);
    weft__os_discard(p, 3 * WEFT__PAGE);
    ck_assert_int_eq(p[0], 0);
    ck_assert(weft__os_guarded(p + WEFT__PAGE));
    ck_assert_uint_eq(weft__os_touched(p, 3 * WEFT__PAGE), 3 * WEFT__PAGE);
    ck_assert_uint_eq(weft__os_touched(p + WEFT__PAGE, 2 * WEFT__PAGE), 0);
    weft__os_unmap(p, 3 * WEFT__PAGE);
}

START_TEST(guard_by_madvise_faults)
{
    check_guard(WEFT__GUARD_MADVISE);
}
END_TEST

START_TEST(guard_by_mprotect_faults)
{
    check_guard(WEFT__GUARD_MPROTECT);
}
END_TEST

/* The word at the address is what the question compares with, in turn. */
START_TEST(memory_of_any_content_is_not_guarded)
{
    uint32_t *p = weft__os_map(WEFT__PAGE);

    for (uint32_t word = 0; word < 3; word++) {
        *p = word;
        ck_assert(!weft__os_guarded(p));
    }
    weft__os_unmap(p, WEFT__PAGE);
    ck_assert(weft__os_guarded(p));
}
END_TEST

/* A start that runs out of descriptors must not come to think that guards do
 * not work here. */
START_TEST(guards_are_seen_without_any_descriptor)
{
    char *p = weft__os_map(2 * WEFT__PAGE);
    struct rlimit limit;
    struct rlimit none;

    ck_assert_int_eq(weft__os_guard(p, WEFT__GUARD_MPROTECT), 0);
    getrlimit(RLIMIT_NOFILE, &limit);
    none = limit;
    none.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert_int_lt(dup(STDERR_FILENO), 0);
    ck_assert(weft__os_guarded(p));
    ck_assert(!weft__os_guarded(p + WEFT__PAGE));
    setrlimit(RLIMIT_NOFILE, &limit);
    weft__os_unmap(p, 2 * WEFT__PAGE);
}
END_TEST

START_TEST(guard_of_memory_that_is_not_there_fails)
{
    char *p = weft__os_map(WEFT__PAGE);

    weft__os_unmap(p, WEFT__PAGE);
    ck_assert_int_lt(weft__os_guard(p, WEFT__GUARD_MADVISE), 0);
    ck_assert_int_eq(weft__os_guard(p, WEFT__GUARD_MPROTECT), -ENOMEM);
}
END_TEST

START_TEST(the_limit_of_mappings_is_the_kernels)
{
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    size_t limit = 65530;

    if (file != NULL) {
        ck_assert_int_eq(fscanf(file, "%zu", &limit), 1);
        fclose(file);
    }
    ck_assert_uint_eq(weft__os_map_limit(), limit);
}
END_TEST

/* --- Clock, files, self ---------------------------------------------------- */

START_TEST(the_clock_never_runs_back)
{
    int64_t last = weft__os_now();

    for (int i = 0; i < 10000; i++) {
        int64_t now = weft__os_now();

        ck_assert_int_ge(now, last);
        last = now;
    }
}
END_TEST

START_TEST(a_file_is_read_whole)
{
    char path[] = "/tmp/weft-os-XXXXXX";
    int fd = mkstemp(path);
    static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 100000 };
    char *text;

    ck_assert_int_ge(fd, 0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        ck_assert_int_eq(ftruncate(fd, 0), 0);
        for (size_t n = 0; n < sizes[i]; n++)
            ck_assert_int_eq(pwrite(fd, "x", 1, (off_t)n), 1);
        text = weft__os_read_file(path);
        ck_assert_ptr_nonnull(text);
        ck_assert_uint_eq(strlen(text), sizes[i]);
        free(text);
    }
    ck_assert_int_eq(ftruncate(fd, (off_t)WEFT__READ_FILE_MAX + 1), 0);
    ck_assert_ptr_null(weft__os_read_file(path));
    close(fd);
    unlink(path);
    ck_assert_ptr_null(weft__os_read_file(path));
    ck_assert_ptr_null(weft__os_read_file("/"));
}
END_TEST

static void *self_of_this_thread(void *arg)
{
    struct weft__fiber *mine = arg;

    if (weft__self() != NULL)
        return NULL;
    weft__set_self(mine);
    return weft__self();
}

START_TEST(self_is_one_for_each_thread)
{
    char mark;
    char other;
    struct weft__fiber *mine = (struct weft__fiber *)(void *)&mark;
    pthread_t thread;
    void *result;

    ck_assert_ptr_null(weft__self());
    weft__set_self(mine);
    ck_assert_int_eq(pthread_create(&thread, NULL, self_of_this_thread, &other),
                     0);
    pthread_join(thread, &result);
    ck_assert_ptr_eq(result, &other);
    ck_assert_ptr_eq(weft__self(), mine);
    weft__set_self(NULL);
    ck_assert_ptr_null(weft__self());
}
END_TEST

static void *nothing(void *arg)
{
    return arg;
}

/* Of the calls in sched/os_thread.c too. */
START_TEST(every_call_leaves_errno_alone)
{
    weft__os_thread thread;
    weft__au32 word;
    char *p;

    weft__init(&word, 0);
    errno = 4711;
    (void)weft__os_map((size_t)1 << 62);
    p = weft__os_map(2 * WEFT__PAGE);
    weft__os_discard(p, WEFT__PAGE);
    weft__os_touched(p, 2 * WEFT__PAGE);
    weft__os_touched(p + 1, WEFT__PAGE);
    weft__os_guard(p + 1, WEFT__GUARD_MADVISE);
    weft__os_guard(p + 1, WEFT__GUARD_MPROTECT);
    weft__os_guard(p, WEFT__GUARD_MPROTECT);
    weft__os_guarded(p);
    weft__os_guarded(p + WEFT__PAGE);
    weft__os_unmap(p, 2 * WEFT__PAGE);
    weft__os_map_limit();
    weft__os_thread_create(&thread, "weft", nothing, NULL);
    weft__os_thread_join(thread);
    weft__os_timer_slack(1);
    weft__os_tid();
    weft__os_futex_wait(&word, 1, -1);
    weft__os_futex_wait(&word, 0, 1);
    weft__os_futex_wake(&word, 1);
    weft__os_pause();
    weft__os_thread_yield();
    weft__os_multicore();
    weft__os_affinity();
    if (weft__os_membarrier_init())
        weft__os_membarrier();
    weft__os_now();
    free(weft__os_read_file("/nonexistent"));
    weft__set_self(weft__self());
    ck_assert_int_eq(errno, 4711);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("os");
    TCase *memory = tcase_create("memory");
    TCase *guard = tcase_create("guard");
    TCase *rest = tcase_create("rest");
    SRunner *runner;
    int failed;

    tcase_add_test(memory, mapped_memory_is_zero_and_writable);
    tcase_add_test(memory, mapped_memory_costs_nothing_until_touched);
    tcase_add_test(memory, more_address_space_than_there_is_is_refused);
    tcase_add_test(memory, one_touched_page_is_one_page);
    tcase_add_test(memory, mapped_memory_declines_huge_pages);
    tcase_add_test(memory, discarded_memory_reads_as_zero_again);
    tcase_add_test(memory, touched_counts_from_the_lowest_touched_page);
    suite_add_tcase(suite, memory);

    tcase_add_test(guard, guard_by_madvise_faults);
    tcase_add_test(guard, guard_by_mprotect_faults);
    tcase_add_test(guard, memory_of_any_content_is_not_guarded);
    tcase_add_test(guard, guards_are_seen_without_any_descriptor);
    tcase_add_test(guard, guard_of_memory_that_is_not_there_fails);
    tcase_add_test(guard, the_limit_of_mappings_is_the_kernels);
    suite_add_tcase(suite, guard);

    tcase_add_test(rest, the_clock_never_runs_back);
    tcase_add_test(rest, a_file_is_read_whole);
    tcase_add_test(rest, self_is_one_for_each_thread);
    tcase_add_test(rest, every_call_leaves_errno_alone);
    suite_add_tcase(suite, rest);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
