/*
 * The operating system, as sched/ sees it: memory, threads, futexes, clocks
 * and "who am I". Nothing else in weft makes these calls, so the simulation
 * can stand in for them and tests can make them fail.
 *
 * Calls answer 0 or a negative errno value and leave errno as they found it.
 */
#ifndef WEFT_SCHED_OS_H
#define WEFT_SCHED_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sched/atomic.h"

struct weft__fiber;

/* --- Memory ------------------------------------------------------------- */

#define WEFT__PAGE ((size_t)4096)

/* Address space, private, zero, readable and writable, not backed before it
 * is touched and never by huge pages. NULL: there is none. */
void *weft__os_map(size_t size);
void weft__os_unmap(void *p, size_t size);
/* Give the pages back, if the kernel takes them; they read as zero then. Guards
 * stay. */
void weft__os_discard(void *p, size_t size);
/* How many bytes at the end of [p, p + size) have ever been touched, counted
 * in pages; 0 if the kernel does not say. */
size_t weft__os_touched(void *p, size_t size);

enum weft__guard { WEFT__GUARD_MADVISE, WEFT__GUARD_MPROTECT };

/* Make a page that faults when touched. */
int weft__os_guard(void *page, enum weft__guard how);
/* The same with MADV_GUARD_INSTALL for up to WEFT__OS_GUARDS pages, `stride` bytes
 * apart, in one system call: how many of the first ones are guarded now. 0 where
 * the kernel has no such call; 6.18 has. */
enum { WEFT__OS_GUARDS = 32 };
size_t weft__os_guards(char *first, size_t stride, size_t n);
/* Is a guard at this address one that faults? Asks the kernel to read there
 * and looks for EFAULT. */
bool weft__os_guarded(const void *page);
/* vm.max_map_count, or its usual default. */
size_t weft__os_map_limit(void);

/* --- Threads ------------------------------------------------------------ */

typedef uintptr_t weft__os_thread;

/* The new thread blocks all asynchronous signals. */
int weft__os_thread_create(weft__os_thread *thread, const char *name,
                           void *(*fn)(void *), void *arg);
void weft__os_thread_join(weft__os_thread thread);
/* Nobody will join it. Not in a simulated run. */
void weft__os_thread_detach(weft__os_thread thread);
/* Run fn(arg) when the calling thread ends; one such call a thread. -ENOMEM,
 * -EAGAIN. */
int weft__os_at_thread_exit(void (*fn)(void *), void *arg);
/* Timer slack of the calling thread, nanoseconds. */
void weft__os_timer_slack(uint64_t ns);
/* The kernel's id of the calling thread. */
int weft__os_tid(void);
/* The calling thread as pthread_self() has it; never 0. */
weft__os_thread weft__os_thread_self(void);

/* Wait while *word == expected, for at most timeout_ns (below 0: for ever).
 * Answers 0 when woken (perhaps for nothing), -EAGAIN when the word differs,
 * -ETIMEDOUT. */
int weft__os_futex_wait(weft__au32 *word, uint32_t expected,
                        int64_t timeout_ns);
void weft__os_futex_wake(weft__au32 *word, int count);

/* One turn of a loop that waits for another core. */
void weft__os_pause(void);
/* Let another thread have this core. */
void weft__os_thread_yield(void);
/* Is waiting by spinning of any use here: more than one core? */
bool weft__os_multicore(void);

/* How many processors the calling thread may run on; 1 if it cannot be told. */
unsigned weft__os_affinity(void);

/* Register for membarrier; false where the kernel has none. Once a process. */
bool weft__os_membarrier_init(void);
/* A full barrier on every running thread of the process. */
void weft__os_membarrier(void);

/* A choice point of the simulation; nothing in the release library. */
#ifdef WEFT_SIM
void weft__os_point(const char *what);
#else
#define weft__os_point(what) ((void)0)
#endif

/* --- Clocks ------------------------------------------------------------- */

/* CLOCK_MONOTONIC, nanoseconds. */
int64_t weft__os_now(void);
/* The calling thread sleeps until then, and not less. */
void weft__os_sleep_until(int64_t when);

/* --- Files and messages -------------------------------------------------- */

/* A whole small file, such as one of /proc, with a zero behind it; the
 * caller frees it. NULL: it cannot be read, or is longer than the limit. */
#define WEFT__READ_FILE_MAX ((size_t)16 << 20)
char *weft__os_read_file(const char *path);

/* Write to stderr, as far as it takes it. Fit for a signal handler. */
void weft__os_say(const char *text, size_t n);

/* --- Who am I ------------------------------------------------------------ */

/*
 * The calling thread's one thread-local: the fiber it runs, the base context
 * of a worker, the record of a lane or foreign thread, or NULL.
 *
 * Never inlined, and laundered: compilers keep the address of a thread-local
 * across calls, and a fiber may wake up on another thread. So ask again after
 * anything that may park, or keep the fiber's own pointer, which stays right.
 */
struct weft__fiber *weft__self(void);
void weft__set_self(struct weft__fiber *self);

#endif
