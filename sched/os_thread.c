/*
 * The operating system: threads
 *
 * Threads, the futexes they sleep on, the cores they run on. What sched/os.c
 * says of its calls holds for these too.
 */
#include "sched/os.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sched/fatal.h"
#include "sched/sanitizer.h"
#include "sched/seam.h"

/* --- Threads ------------------------------------------------------------ */

struct thread_start {
    void *(*fn)(void *);
    void *arg;
    char name[16]; /* what the kernel keeps */
};

/* The name is given from inside: for itself a thread needs a prctl only, for
 * another it would open a file in /proc. */
static void *thread_main(void *arg)
{
    struct thread_start start = *(struct thread_start *)arg;

    free(arg);
    (void)pthread_setname_np(pthread_self(), start.name);
    return start.fn(start.arg);
}

/* All signals but those that a thread brings upon itself. */
static void thread_signals(sigset_t *blocked)
{
    static const int open[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL,
                                SIGTRAP, SIGSYS, SIGABRT };

    sigfillset(blocked);
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++)
        sigdelset(blocked, open[i]);
}

int weft__os_thread_create(weft__os_thread *thread, const char *name,
                           void *(*fn)(void *), void *arg)
{
    int saved = errno;
    int status = WEFT__SEAM_FAULT(WEFT__FAULT_THREAD);
    struct thread_start *start;
    pthread_attr_t attr;
    sigset_t blocked;
    pthread_t id;

    if (status != 0)
        return status;
#ifdef WEFT_SIM
    if (WEFT__SEAM(thread_create))
        return weft__seam->thread_create(thread, fn, arg);
#endif

    start = malloc(sizeof(*start));
    if (start == NULL) {
        status = -ENOMEM;
        goto restore_errno;
    }
    start->fn = fn;
    start->arg = arg;
    strncpy(start->name, name, sizeof(start->name) - 1);
    start->name[sizeof(start->name) - 1] = '\0';

    status = -pthread_attr_init(&attr);
    if (status != 0)
        goto free_start;

    /* In the attributes, not around the call: so the thread never runs with
     * another mask, and the caller's own mask stays what it is. */
    thread_signals(&blocked);
    status = -pthread_attr_setsigmask_np(&attr, &blocked);
    if (status == 0)
        status = -pthread_create(&id, &attr, thread_main, start);
    pthread_attr_destroy(&attr);
    if (status != 0)
        goto free_start;

    *thread = (weft__os_thread)id;
    errno = saved;
    return 0;

free_start:
    free(start);
restore_errno:
    errno = saved;
    return status;
}

void weft__os_thread_join(weft__os_thread thread)
{
#ifdef WEFT_SIM
    if (WEFT__SEAM(thread_join)) {
        weft__seam->thread_join(thread);
        return;
    }
#endif
    WEFT__CHECK(pthread_join((pthread_t)thread, NULL) == 0,
                "a thread to be joined is none");
}

void weft__os_thread_detach(weft__os_thread thread)
{
    WEFT__CHECK(pthread_detach((pthread_t)thread) == 0,
                "a thread to be left alone is none");
}

/* One key for all threads; deleted with the library, so that no thread calls
 * into one that has been unloaded. */
struct exit_call {
    void (*fn)(void *);
    void *arg;
};
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static int exit_status = -EAGAIN;

static void exit_run(void *call)
{
    struct exit_call *last = call;

    last->fn(last->arg);
    free(last);
}

static void exit_key_create(void)
{
    exit_status = -pthread_key_create(&exit_key, exit_run);
}

static __attribute__((destructor)) void exit_key_delete(void)
{
    if (exit_status == 0)
        pthread_key_delete(exit_key);
}

int weft__os_at_thread_exit(void (*fn)(void *), void *arg)
{
    struct exit_call *call;
    int status;

    pthread_once(&exit_once, exit_key_create);
    if (exit_status != 0)
        return exit_status;
    call = malloc(sizeof(*call));
    if (call == NULL)
        return -ENOMEM;
    *call = (struct exit_call){ fn, arg };
    status = -pthread_setspecific(exit_key, call);
    if (status != 0)
        free(call);
    return status;
}

void weft__os_timer_slack(uint64_t ns)
{
    int saved = errno;

#ifdef WEFT_SIM
    if (weft__seam != NULL)
        return; /* the one OS thread is the caller's own */
#endif
    (void)prctl(PR_SET_TIMERSLACK, (unsigned long)ns, 0, 0, 0);
    errno = saved;
}

int weft__os_tid(void)
{
    return (int)gettid();
}

weft__os_thread weft__os_thread_self(void)
{
    return (weft__os_thread)pthread_self();
}

/* --- Futexes ------------------------------------------------------------ */

#ifdef WEFT__TSAN
static int futex_look_up(weft__au32 *word, uint32_t expected)
{
    int status = weft__os_futex_wait(word, expected, 20000000);

    return status == -ETIMEDOUT ? 0 : status;
}
#endif

int weft__os_futex_wait(weft__au32 *word, uint32_t expected, int64_t timeout_ns)
{
    int saved = errno;
    struct timespec timeout;
    int status = 0;

#ifdef WEFT_SIM
    if (WEFT__SEAM(futex_wait))
        return weft__seam->futex_wait(&word->v, expected, timeout_ns);
#endif

#ifdef WEFT__TSAN
    /* It runs a signal's handler when the thread next calls what it knows,
     * and does not know this call. So who sleeps for good gets up now and
     * then, for nothing. */
    if (timeout_ns < 0)
        return futex_look_up(word, expected);
#endif
    if (timeout_ns >= 0) {
        timeout.tv_sec = timeout_ns / 1000000000;
        timeout.tv_nsec = timeout_ns % 1000000000;
    }
    if (syscall(SYS_futex, &word->v, FUTEX_WAIT_PRIVATE, expected,
                timeout_ns >= 0 ? &timeout : NULL, NULL, 0) != 0) {
        /* A signal handler ran: woken for nothing. */
        if (errno != EINTR)
            status = -errno;
        WEFT__CHECK(status == 0 || status == -EAGAIN || status == -ETIMEDOUT,
                    "the kernel refuses to wait on a futex");
    }

    errno = saved;
    return status;
}

void weft__os_futex_wake(weft__au32 *word, int count)
{
    int saved = errno;

#ifdef WEFT_SIM
    if (WEFT__SEAM(futex_wake)) {
        weft__seam->futex_wake(&word->v, count);
        return;
    }
#endif
    /* The word may be gone already, freed by the one that a store to it let
     * go on; then nobody waits there and the kernel says EFAULT at worst. */
    (void)syscall(SYS_futex, &word->v, FUTEX_WAKE_PRIVATE, count, NULL, NULL,
                  0);
    errno = saved;
}

/* --- Cores -------------------------------------------------------------- */

void weft__os_pause(void)
{
#ifdef WEFT_SIM
    if (WEFT__SEAM(pause)) {
        weft__seam->pause();
        return;
    }
#endif
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    /* yield is a no-op on most cores; isb waits for about as long as x86's
     * pause does. */
    __asm__ volatile("isb" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

void weft__os_thread_yield(void)
{
#ifdef WEFT_SIM
    if (WEFT__SEAM(pause)) {
        weft__seam->pause();
        return;
    }
#endif
    (void)sched_yield();
}

unsigned weft__os_affinity(void)
{
    int saved = errno;
    unsigned count = 1;

    /* The kernel refuses a mask shorter than its own, whose length it does
     * not tell: double until it fits. */
    for (size_t cpus = 1024; cpus <= 1024 * 1024; cpus *= 2) {
        size_t size = CPU_ALLOC_SIZE(cpus);
        cpu_set_t *set = CPU_ALLOC(cpus);
        bool short_mask;

        if (set == NULL)
            break;
        if (sched_getaffinity(0, size, set) == 0) {
            int n = CPU_COUNT_S(size, set);

            if (n > 0)
                count = (unsigned)n;
            short_mask = false;
        } else {
            short_mask = errno == EINVAL;
        }
        CPU_FREE(set);
        if (!short_mask)
            break;
    }

    errno = saved;
    return count;
}

bool weft__os_multicore(void)
{
    enum { UNKNOWN, NO, YES };
    static unsigned char answer;
    unsigned char known;

#ifdef WEFT_SIM
    /* Virtual workers do run side by side, on whatever machine. */
    if (weft__seam != NULL)
        return true;
#endif
    /* relaxed: whoever finds it unknown computes the same answer. */
    known = __atomic_load_n(&answer, __ATOMIC_RELAXED);
    if (known == UNKNOWN) {
        known = weft__os_affinity() > 1 ? YES : NO;
        __atomic_store_n(&answer, known, __ATOMIC_RELAXED);
    }
    return known == YES;
}

bool weft__os_membarrier_init(void)
{
    int saved = errno;
    bool done;

#ifdef WEFT_SIM
    if (WEFT__SEAM(membarrier))
        return true;
#endif
    done = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0,
                   0) == 0;
    errno = saved;
    return done;
}

void weft__os_membarrier(void)
{
    int saved = errno;

#ifdef WEFT_SIM
    if (WEFT__SEAM(membarrier)) {
        weft__seam->membarrier();
        return;
    }
#endif
    WEFT__CHECK(
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0,
        "membarrier fails after it was registered");
    errno = saved;
}

#ifdef WEFT_SIM
void weft__os_point(const char *what)
{
    if (WEFT__SEAM(point))
        weft__seam->point(what);
}
#endif
