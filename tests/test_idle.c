/*
 * Sleeping: a process with nothing to run uses no CPU, and no sleep lasts
 * when something comes.
 */
#include "tests/support.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sched/os.h"
#include "sched/sanitizer.h"
#include "sched/sched.h"
#include "sched/worker.h"

enum { SLEEPERS = 10000 };

static void *sleep_on(void *arg)
{
    return (void *)(intptr_t)weft_chan_recv(arg, NULL);
}

static bool file_says(const char *path, const char *words)
{
    char *text = weft__os_read_file(path);
    bool says = text && strstr(text, words);

    free(text);
    return says;
}

static long file_number(const char *path, const char *key)
{
    char *text = weft__os_read_file(path);
    char *at = text ? strstr(text, key) : NULL;
    long n = at ? strtol(at + strlen(key), NULL, 10) : 0;

    free(text);
    return n;
}

/* Under TSan the monitor gets up now and then, on purpose: see
 * weft__os_futex_wait(). */
#ifdef WEFT__TSAN
static const bool monitor_counts = false;
#else
static const bool monitor_counts = true;
#endif

/* How often weft's threads and the monitor have slept since they began, and
 * whether they all do now: the job's own thread and those of a sanitizer do not
 * count. */
static long sleeps(bool *asleep)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    long sum = 0;

    ck_assert_ptr_nonnull(tasks);
    *asleep = true;
    while ((task = readdir(tasks))) {
        int tid = atoi(task->d_name);
        bool monitor = tid == getpid();
        char path[300], *name;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task->d_name);
        name = tid > 0 && tid != weft__os_tid() ? weft__os_read_file(path)
                                                : NULL;
        if (name &&
            (monitor ? monitor_counts : !strncmp(name, "weft", 4))) {
            snprintf(path, sizeof(path), "/proc/self/task/%s/status",
                     task->d_name);
            sum += file_number(path, "\nvoluntary_ctxt_switches:");
            *asleep = *asleep && file_says(path, "\nState:\tS");
        }
        free(name);
    }
    closedir(tasks);
    return sum;
}

/* Everyone has lain down, the monitor too: has said so, and sleeps. */
static void await_silence(void)
{
    bool asleep;

    do {
        usleep(1000);
        (void)sleeps(&asleep);
    } while (weft__load(&weft__sched.idle, SEQ_CST) != weft__sched.count ||
             !weft__load(&weft__sched.monitor_asleep, SEQ_CST) || !asleep);
}

static int64_t cpu_ns(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return ((int64_t)usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) *
               1000000000 +
           ((int64_t)usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

struct silence {
    long sleeps;
    int64_t cpu;
};

/* A second in which nobody has anything to do. */
static void *measure_silence(void *arg)
{
    struct silence *silence = arg;
    bool asleep;
    long slept;
    int64_t cpu;

    await_silence();
    slept = sleeps(&asleep);
    cpu = cpu_ns();
    sleep(1);
    silence->cpu = cpu_ns() - cpu;
    silence->sleeps = sleeps(&asleep) - slept;
    return NULL;
}

/* Whoever does anything sleeps again afterwards: so no thread of weft's has
 * run at all. The bound of 20 ms in 10 s is for the whole process, and here
 * for one second. */
WEFT_TEST(a_process_with_ten_thousand_asleep_uses_no_cpu)
{
    static weft_fiber_t f[SLEEPERS];
    weft_chan_t *ch = new_chan(0, 0);
    struct silence silence = { -1, -1 };

    for (int i = 0; i < SLEEPERS; i++)
        f[i] = spawn(sleep_on, ch);
    wait_until_n_parked(SLEEPERS);
    ck_assert_int_eq(weft_blocking(measure_silence, &silence, NULL), 0);
    ck_assert_int_eq(silence.sleeps, 0);
#if !defined(WEFT__ASAN) && !defined(WEFT__TSAN)
    ck_assert_int_lt(silence.cpu, 20 * 1000000);
#endif
    for (int i = 0; i < SLEEPERS; i++)
        ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    for (int i = 0; i < SLEEPERS; i++)
        join(f[i]);
    weft_chan_unref(ch);
}
END_TEST

static weft__au32 told;

static void *tell_from_outside(void *arg)
{
    for (int i = 0; i < 500; i++) {
        /* Everyone asleep, or nearly so: the wake meets the lying down. */
        if (i % 2)
            while (weft__load(&weft__sched.idle, SEQ_CST) !=
                   weft__sched.count)
                weft__os_thread_yield();
        while (weft_chan_send_try(arg, NULL) == -EAGAIN)
            weft__os_thread_yield();
        while (weft__load(&told, ACQUIRE) != (uint32_t)i + 1)
            weft__os_thread_yield();
    }
    return NULL;
}

/* A wake that came while the last worker lay down would be lost for ever. */
WEFT_TEST(no_wake_from_outside_is_lost)
{
    weft_chan_t *ch = new_chan(0, 0);
    pthread_t outside;

    /* A foreigner is known from its first call. */
    weft__foreigner_note();
    ck_assert_int_eq(pthread_create(&outside, NULL, tell_from_outside, ch),
                     0);
    for (uint32_t i = 1; i <= 500; i++) {
        int status = weft_chan_recv(ch, NULL);

        if (status != 0)
            ck_abort_msg("round %u: %s", i, weft_err_name(status));
        weft__store(&told, i, RELEASE);
    }
    pthread_join(outside, NULL);
    weft_chan_unref(ch);
}
END_TEST

static void *count_in(void *arg)
{
    weft__fetch_add(&told, 1, RELAXED);
    while (weft__load(&told, ACQUIRE) < (uint32_t)(uintptr_t)arg)
        ;
    return NULL;
}

/* As many that compute as there are workers, each until all do: every worker
 * has been woken for one. */
WEFT_TEST(there_is_work_for_all_and_all_get_up)
{
    weft_fiber_t f[8];
    uint32_t all = workers();

    ck_assert_uint_le(all, 8);
    for (int round = 0; round < 10; round++) {
        weft__store(&told, 0, RELEASE);
        for (uint32_t i = 0; i < all; i++)
            f[i] = spawn(count_in, (void *)(uintptr_t)all);
        for (uint32_t i = 0; i < all; i++)
            join(f[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("idle");
    TCase *tcase = tcase_create("idle");

    tcase_add_test(tcase, a_process_with_ten_thousand_asleep_uses_no_cpu);
    tcase_add_test(tcase, no_wake_from_outside_is_lost);
    tcase_add_test(tcase, there_is_work_for_all_and_all_get_up);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
