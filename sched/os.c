/*
 * The operating system
 *
 * Thin wrappers: each makes one call, answers a negative errno value where
 * something can go wrong, and puts errno back, so that code which runs on
 * another's thread, or inside a signal handler, leaves no trace there. Here
 * are memory, clocks, files and "who am I"; threads are in sched/os_thread.c.
 *
 * In libweft-sim the calls that another virtual worker could notice go to the
 * seam first, if the table is there and has that entry; the release library
 * contains none of it.
 *
 * These two files are below sched/atomic.h as well as below everything else:
 * the few words of their own that several threads share use the compiler's
 * builtins and are no choice points.
 */
#include "sched/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "sched/fatal.h"
#include "sched/sanitizer.h"
#include "sched/seam.h"

/* Since Linux 6.13; older headers do not know it. */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
/* Since Linux 5.18. */
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* The caller's own process, in place of a descriptor: newer than
 * MADV_GUARD_INSTALL; older kernels answer EBADF. */
#ifndef PIDFD_SELF
#define PIDFD_SELF (-10000)
#endif

/* --- Memory ------------------------------------------------------------- */

void *weft__os_map(size_t size)
{
    int saved = errno;
    void *p;

    if (WEFT__SEAM_FAULT(WEFT__FAULT_MAP) != 0)
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

    /* Under mlockall(2) only the second form is allowed, and neither before
     * Linux 5.18: then the pages stay. */
    if (madvise(p, size, MADV_DONTNEED) != 0)
        (void)madvise(p, size, MADV_DONTNEED_LOCKED);
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
    int status = WEFT__SEAM_FAULT(WEFT__FAULT_GUARD);
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

size_t weft__os_guards(char *first, size_t stride, size_t n)
{
    struct iovec pages[WEFT__OS_GUARDS];
    int saved = errno;
    long bytes;

    if (WEFT__SEAM_FAULT(WEFT__FAULT_GUARD) != 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        pages[i] = (struct iovec){ first + i * stride, WEFT__PAGE };
    bytes = syscall(SYS_process_madvise, PIDFD_SELF, pages, n,
                    MADV_GUARD_INSTALL, 0);
    errno = saved;
    return bytes > 0 ? (size_t)bytes / WEFT__PAGE : 0;
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

/* --- Clocks ------------------------------------------------------------- */

int64_t weft__os_now(void)
{
    struct timespec now;

#ifdef WEFT_SIM
    if (WEFT__SEAM(now))
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
    if (WEFT__SEAM(futex_wait)) {
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
    if (WEFT__SEAM(self))
        return weft__seam->self();
#endif
    return *os_self_here();
}

__attribute__((noinline)) void weft__set_self(struct weft__fiber *self)
{
#ifdef WEFT_SIM
    if (WEFT__SEAM(set_self)) {
        weft__seam->set_self(self);
        return;
    }
#endif
    *os_self_here() = self;
}
