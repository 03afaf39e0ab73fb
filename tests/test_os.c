/*
 * The operating system's side of the scheduler: memory and guards, threads,
 * futexes, clocks and "who am I". Needs no runtime.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sched/os.h"

#define MS INT64_C(1000000)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

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

/* --- Threads -------------------------------------------------------------- */

struct seen {
    sigset_t mask;
    char name[16];
    int tid;
};

static void *look_around(void *arg)
{
    struct seen *seen = arg;

    pthread_sigmask(SIG_SETMASK, NULL, &seen->mask);
    prctl(PR_GET_NAME, seen->name);
    seen->tid = weft__os_tid();
    return NULL;
}

START_TEST(a_thread_blocks_all_asynchronous_signals)
{
    static const int open[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL,
                                SIGTRAP, SIGSYS, SIGABRT };
    struct seen seen;
    weft__os_thread thread;
    sigset_t before;
    sigset_t after;

    pthread_sigmask(SIG_SETMASK, NULL, &before);
    ck_assert_int_eq(
        weft__os_thread_create(&thread, "weft", look_around, &seen), 0);
    weft__os_thread_join(thread);

    for (int number = 1; number <= SIGRTMAX; number++) {
        bool is_open =
            number == SIGRTMIN + 3 || number == SIGKILL || number == SIGSTOP;

        for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++)
            is_open = is_open || open[i] == number;
        if (number >= 32 && number < SIGRTMIN)
            continue; /* glibc's own */
        ck_assert_msg((sigismember(&seen.mask, number) == 0) == is_open,
                      "signal %d", number);
    }
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int number = 1; number < SIGRTMIN; number++)
        ck_assert_int_eq(sigismember(&after, number),
                         sigismember(&before, number));
}
END_TEST

START_TEST(a_thread_bears_its_name_cut_to_what_fits)
{
    struct seen seen;
    weft__os_thread thread;

    ck_assert_int_eq(
        weft__os_thread_create(&thread, "weft-worker-7", look_around, &seen),
        0);
    weft__os_thread_join(thread);
    ck_assert_str_eq(seen.name, "weft-worker-7");
    ck_assert_int_ne(seen.tid, weft__os_tid());

    ck_assert_int_eq(weft__os_thread_create(&thread, "weft-worker-123456",
                                            look_around, &seen),
                     0);
    weft__os_thread_join(thread);
    ck_assert_str_eq(seen.name, "weft-worker-123");
}
END_TEST

#ifndef SANITIZED
/* No room for another stack. */
START_TEST(a_thread_that_cannot_be_made_is_an_error)
{
    struct rlimit limit = { 0, RLIM_INFINITY };
    struct seen seen;
    weft__os_thread thread;
    int status;

    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = 1;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    status = weft__os_thread_create(&thread, "weft", look_around, &seen);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_AS, &limit);
    ck_assert_int_eq(status, -EAGAIN);
}
END_TEST
#endif

START_TEST(timer_slack_is_that_of_the_caller)
{
    weft__os_timer_slack(1);
    ck_assert_int_eq(prctl(PR_GET_TIMERSLACK), 1);
}
END_TEST

START_TEST(affinity_counts_the_mask)
{
    unsigned all = weft__os_affinity();
    bool several = weft__os_multicore();
    cpu_set_t mask;
    size_t first = 0;

    ck_assert_uint_ge(all, 1);
    ck_assert_int_eq(several, all > 1);

    ck_assert_int_eq(sched_getaffinity(0, sizeof(mask), &mask), 0);
    while (!CPU_ISSET(first, &mask))
        first++;
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    ck_assert_int_eq(sched_setaffinity(0, sizeof(mask), &mask), 0);
    ck_assert_uint_eq(weft__os_affinity(), 1);
    /* Asked once; the rest of the process may still have several. */
    ck_assert_int_eq(weft__os_multicore(), several);
}
END_TEST

START_TEST(membarrier_works_once_it_is_registered)
{
    if (weft__os_membarrier_init()) {
        ck_assert(weft__os_membarrier_init());
        weft__os_membarrier();
    }
    weft__os_pause();
    weft__os_thread_yield();
}
END_TEST

/* --- Futexes -------------------------------------------------------------- */

START_TEST(futex_wait_on_another_value_returns_at_once)
{
    weft__au32 word;

    weft__init(&word, 7);
    ck_assert_int_eq(weft__os_futex_wait(&word, 8, -1), -EAGAIN);
}
END_TEST

START_TEST(futex_wait_times_out_and_never_early)
{
    static const int64_t lengths[] = { 0, 1, 1000, MS, 20 * MS };
    weft__au32 word;

    weft__init(&word, 7);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        int64_t begin = weft__os_now();

        ck_assert_int_eq(weft__os_futex_wait(&word, 7, lengths[i]), -ETIMEDOUT);
        ck_assert_int_ge(weft__os_now() - begin, lengths[i]);
    }
}
END_TEST

struct sleepers {
    weft__au32 word;
    weft__au32 awake;
};

static void *sleep_on_word(void *arg)
{
    struct sleepers *s = arg;

    while (weft__load(&s->word, ACQUIRE) == 0)
        (void)weft__os_futex_wait(&s->word, 0, -1);
    weft__fetch_add(&s->awake, 1, RELAXED);
    return NULL;
}

START_TEST(futex_wake_wakes_all_who_wait)
{
    struct sleepers s;
    weft__os_thread threads[4];

    weft__init(&s.word, 0);
    weft__init(&s.awake, 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(
            weft__os_thread_create(&threads[i], "s", sleep_on_word, &s), 0);
    usleep(10000);
    ck_assert_uint_eq(weft__load(&s.awake, RELAXED), 0);
    weft__store(&s.word, 1, RELEASE);
    weft__os_futex_wake(&s.word, 4);
    for (int i = 0; i < 4; i++)
        weft__os_thread_join(threads[i]);
    ck_assert_uint_eq(weft__load(&s.awake, RELAXED), 4);
}
END_TEST

static void ignore_signal(int number)
{
    (void)number;
}

struct interrupted {
    pthread_t whom;
    weft__au32 returned;
};

/* Again and again: the first may come before the wait. */
static void *interrupt(void *arg)
{
    struct interrupted *i = arg;

    while (weft__load(&i->returned, RELAXED) == 0) {
        pthread_kill(i->whom, SIGUSR1);
        usleep(1000);
    }
    return NULL;
}

START_TEST(futex_wait_ends_when_a_handler_ran)
{
    struct sigaction action = { .sa_handler = ignore_signal };
    struct interrupted i = { .whom = pthread_self() };
    weft__os_thread thread;
    weft__au32 word;

    sigaction(SIGUSR1, &action, NULL);
    weft__init(&word, 0);
    ck_assert_int_eq(weft__os_thread_create(&thread, "weft", interrupt, &i), 0);
    ck_assert_int_eq(weft__os_futex_wait(&word, 0, -1), 0);
    weft__store(&i.returned, 1, RELAXED);
    weft__os_thread_join(thread);
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

START_TEST(every_call_leaves_errno_alone)
{
    struct seen seen;
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
    weft__os_thread_create(&thread, "weft", look_around, &seen);
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
    TCase *thread = tcase_create("thread");
    TCase *futex = tcase_create("futex");
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

    tcase_add_test(thread, a_thread_blocks_all_asynchronous_signals);
    tcase_add_test(thread, a_thread_bears_its_name_cut_to_what_fits);
#ifndef SANITIZED
    tcase_add_test(thread, a_thread_that_cannot_be_made_is_an_error);
#endif
    tcase_add_test(thread, timer_slack_is_that_of_the_caller);
    tcase_add_test(thread, affinity_counts_the_mask);
    tcase_add_test(thread, membarrier_works_once_it_is_registered);
    suite_add_tcase(suite, thread);

    tcase_add_test(futex, futex_wait_on_another_value_returns_at_once);
    tcase_add_test(futex, futex_wait_times_out_and_never_early);
    tcase_add_test(futex, futex_wake_wakes_all_who_wait);
    tcase_add_test(futex, futex_wait_ends_when_a_handler_ran);
    suite_add_tcase(suite, futex);

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
