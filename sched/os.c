/*
 * The operating system
 *
 * Thin wrappers: each makes one call, answers a negative errno value where
 * something can go wrong, and puts errno back, so that code which runs on
 * another's thread, or inside a signal handler, leaves no trace there.
 *
 * In libweft-sim the calls that another virtual worker could notice go to the
 * seam first, if the table is there and has that entry; the release library
 * contains none of it.
 *
 * This file is below sched/atomic.h as well as below everything else: the
 * few words of its own that several threads share use the compiler's builtins
 * and are no choice points.
 */
#include "sched/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sched/fatal.h"
#include "sched/sanitizer.h"

#ifdef WEFT_SIM
#include "sched/seam.h"
#define SEAM(member)     (weft__seam != NULL && weft__seam->member != NULL)
#define SEAM_FAULT(what) (SEAM(fault) ? weft__seam->fault(what) : 0)
#else
#define SEAM_FAULT(what) 0
#endif

/* Since Linux 6.13; older headers do not know it. */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
/* Since Linux 5.18. */
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* --- Memory ------------------------------------------------------------- */

void *weft__os_map(size_t size)
{
    int saved = errno;
    void *p;

    if (SEAM_FAULT(WEFT__FAULT_MAP) != 0)
        return NULL;

    weft__write_hide();
    p = mmap(NULL, size, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    weft__write_show();
    if (p == MAP_FAILED)
        p = NULL;
    else
        /* A kernel built without huge pages answers EINVAL: all is well. */
        (void)madvise(p, size, MADV_NOHUGEPAGE);

    errno = saved;
    return p;
}

void weft__os_unmap(void *p, size_t size)
{
    int saved = errno;

    /* It can fail: cutting a mapping in two needs one more of them. What is
     * ours to give back is a whole one. */
    WEFT__CHECK(munmap(p, size) == 0, "memory could not be unmapped");
    errno = saved;
}

void weft__os_discard(void *p, size_t size)
{
    int saved = errno;

    /* Under mlockall(2) only the second form is allowed (Linux 5.18). */
    WEFT__CHECK(madvise(p, size, MADV_DONTNEED) == 0 ||
                    madvise(p, size, MADV_DONTNEED_LOCKED) == 0,
                "memory could not be given back");
    errno = saved;
}

size_t weft__os_touched(void *p, size_t size)
{
    int saved = errno;
    unsigned char here[256]; /* on a fiber's stack, perhaps: small */
    size_t pages = size / WEFT__PAGE;
    size_t at = 0;
    size_t touched = 0;

    /* A stack grows down, and a frame may leave pages in its middle alone:
     * the lowest page that was touched tells. */
    while (at < pages && touched == 0) {
        size_t n = pages - at < sizeof(here) ? pages - at : sizeof(here);

        if (mincore((char *)p + at * WEFT__PAGE, n * WEFT__PAGE, here) != 0)
            break;
        for (size_t i = 0; i < n; i++) {
            if (here[i] & 1) {
                touched = (pages - at - i) * WEFT__PAGE;
                break;
            }
        }
        at += n;
    }

    errno = saved;
    return touched;
}

int weft__os_guard(void *page, enum weft__guard how)
{
    int saved = errno;
    int status = SEAM_FAULT(WEFT__FAULT_GUARD);
    int result;

    if (status != 0)
        return status;

    if (how == WEFT__GUARD_MADVISE)
        result = madvise(page, WEFT__PAGE, MADV_GUARD_INSTALL);
    else
        result = mprotect(page, WEFT__PAGE, PROT_NONE);
    if (result != 0)
        status = -errno;

    errno = saved;
    return status;
}

/*
 * Any system call that reads there would do. This one opens no descriptor, so
 * it works in a process that has none left, and it is handed to the kernel as
 * it is by valgrind and qemu-user, which act on some others themselves. The
 * word differs (EAGAIN), or the wait of no time is over (ETIMEDOUT), or it
 * cannot be read.
 */
bool weft__os_guarded(const void *page)
{
    static const struct timespec none = { 0, 0 };
    int saved = errno;
    long result = syscall(SYS_futex, page, FUTEX_WAIT_PRIVATE, 1, &none);
    bool guarded = result != 0 && errno == EFAULT;

    errno = saved;
    return guarded;
}

size_t weft__os_map_limit(void)
{
    size_t limit = 65530; /* the kernel's default since 2.4 */
    char *text = weft__os_read_file("/proc/sys/vm/max_map_count");

    if (text != NULL) {
        size_t n = 0;

        for (char *c = text; *c >= '0' && *c <= '9'; c++)
            n = n * 10 + (size_t)(*c - '0');
        if (n > 0)
            limit = n;
        free(text);
    }
    return limit;
}

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

/* All signals but those that a thread brings upon itself, and the one by
 * which the monitor asks a worker for its stack. */
static void thread_signals(sigset_t *blocked)
{
    static const int open[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL,
                                SIGTRAP, SIGSYS, SIGABRT };

    sigfillset(blocked);
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++)
        sigdelset(blocked, open[i]);
    sigdelset(blocked, SIGRTMIN + 3);
}

int weft__os_thread_create(weft__os_thread *thread, const char *name,
                           void *(*fn)(void *), void *arg)
{
    int saved = errno;
    int status = SEAM_FAULT(WEFT__FAULT_THREAD);
    struct thread_start *start;
    pthread_attr_t attr;
    sigset_t blocked;
    pthread_t id;

    if (status != 0)
        return status;
#ifdef WEFT_SIM
    if (SEAM(thread_create))
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
    if (SEAM(thread_join)) {
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
    if (SEAM(futex_wait))
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
    if (SEAM(futex_wake)) {
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

void weft__os_pause(void)
{
#ifdef WEFT_SIM
    if (SEAM(pause)) {
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
    if (SEAM(pause)) {
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
    if (SEAM(membarrier))
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
    if (SEAM(membarrier)) {
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
    if (SEAM(point))
        weft__seam->point(what);
}
#endif

/* --- Clocks ------------------------------------------------------------- */

int64_t weft__os_now(void)
{
    struct timespec now;

#ifdef WEFT_SIM
    if (SEAM(now))
        return weft__seam->now();
#endif
    /* Cannot fail, and so leaves errno alone. */
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void weft__os_sleep_until(int64_t when)
{
    struct timespec until = { .tv_sec = when / 1000000000,
                              .tv_nsec = when % 1000000000 };

#ifdef WEFT_SIM
    if (SEAM(futex_wait)) {
        weft__au32 nobody = { 0 };
        int64_t now;

        while ((now = weft__os_now()) < when)
            (void)weft__os_futex_wait(&nobody, 0, when - now);
        return;
    }
#endif
    if (when <= 0)
        return;
    /* The error is its answer: errno stays as it was. A signal handler that
     * ran ends it early. */
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) ==
           EINTR)
        ;
}

/* --- Files and messages -------------------------------------------------- */

char *weft__os_read_file(const char *path)
{
    int saved = errno;
    size_t size = 4096;
    size_t n = 0;
    char *text = malloc(size);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0 || text == NULL)
        goto fail;

    /* Files of /proc have no size: read until there is no more. */
    for (;;) {
        ssize_t got = read(fd, text + n, size - n - 1);

        if (got == 0)
            break;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            goto fail;
        n += (size_t)got;
        if (n + 1 == size) {
            char *more =
                size < WEFT__READ_FILE_MAX ? realloc(text, size * 2) : NULL;
            if (more == NULL)
                goto fail;
            text = more;
            size *= 2;
        }
    }
    close(fd);
    text[n] = '\0';
    errno = saved;
    return text;

fail:
    if (fd >= 0)
        close(fd);
    free(text);
    errno = saved;
    return NULL;
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

void weft__os_say(const char *text, size_t n)
{
    int saved = errno;

    while (n > 0) {
        ssize_t done = write(STDERR_FILENO, text, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            break; /* there is nobody left to complain to */
        text += done;
        n -= (size_t)done;
    }
    errno = saved;
}

/* --- Who am I ------------------------------------------------------------ */

/* initial-exec: one load relative to the thread pointer in the shared library
 * too, and no call into the loader, which may allocate. It is eight bytes of
 * the room that glibc keeps for libraries loaded late. */
static __thread struct weft__fiber *os_self
    __attribute__((tls_model("initial-exec")));

/* The empty asm hides from the compiler that two calls yield the same
 * address, and makes the function one with an effect, so that a link-time
 * optimiser does not fold two of its calls into one. */
static inline struct weft__fiber **os_self_here(void)
{
    struct weft__fiber **here = &os_self;

    __asm__ volatile("" : "+r"(here) : : "memory");
    return here;
}

__attribute__((noinline)) struct weft__fiber *weft__self(void)
{
#ifdef WEFT_SIM
    if (SEAM(self))
        return weft__seam->self();
#endif
    return *os_self_here();
}

__attribute__((noinline)) void weft__set_self(struct weft__fiber *self)
{
#ifdef WEFT_SIM
    if (SEAM(set_self)) {
        weft__seam->set_self(self);
        return;
    }
#endif
    *os_self_here() = self;
}
