/*
 * What the sanitizers and valgrind are told about stacks and switches. Empty
 * in a release build, but for a look whether valgrind runs the program.
 */
#ifndef WEFT_SCHED_SANITIZER_H
#define WEFT_SCHED_SANITIZER_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEFT__ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define WEFT__TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define WEFT__ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define WEFT__TSAN 1
#endif

#ifdef WEFT__ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WEFT__TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if defined(__has_include) && !defined(WEFT__ASAN) && !defined(WEFT__TSAN)
#if __has_include(<valgrind/memcheck.h>)
#define WEFT__VALGRIND 1
#include <valgrind/memcheck.h>
#endif
#endif

/* Does the program run under valgrind? Asked once: a request costs twenty
 * instructions even where nobody listens. */
#if defined(WEFT__VALGRIND)
extern unsigned weft__on_valgrind;
#endif

static inline bool weft__valgrind_runs(void)
{
#if defined(WEFT__VALGRIND)
    return weft__on_valgrind != 0;
#else
    return false;
#endif
}

/* Does anyone want to know which memory is in use? Ask before you tell: who is
 * told costs twenty instructions, and what to tell is computed first. */
static inline bool weft__memory_watched(void)
{
#if defined(WEFT__ASAN)
    return true;
#else
    return __builtin_expect(weft__valgrind_runs(), 0);
#endif
}

/* A stack slot that no one uses: touching it is a bug. */
static inline void weft__poison(void *p, size_t size)
{
#if defined(WEFT__ASAN)
    ASAN_POISON_MEMORY_REGION(p, size);
#elif defined(WEFT__VALGRIND)
    VALGRIND_MAKE_MEM_NOACCESS(p, size);
#else
    (void)p, (void)size;
#endif
}

/* A slot that someone takes: usable, its contents undefined. */
static inline void weft__unpoison(void *p, size_t size)
{
#if defined(WEFT__ASAN)
    ASAN_UNPOISON_MEMORY_REGION(p, size);
#elif defined(WEFT__VALGRIND)
    VALGRIND_MAKE_MEM_UNDEFINED(p, size);
#else
    (void)p, (void)size;
#endif
}

/* A slot that exists from now on: valgrind tells stacks apart by this. */
static inline void weft__stack_register(void *low, void *high)
{
#if defined(WEFT__VALGRIND)
    (void)VALGRIND_STACK_REGISTER(low, high);
#else
    (void)low, (void)high;
#endif
}

/*
 * TSan takes every acquire that meets a release for an order that the program
 * asked for. Queues, depots and commits make such orders between fibers of one
 * worker that have nothing to do with each other, and their races would go
 * unseen; so these parts are run with an eye shut, and the orders that hold
 * are told: from a spawn to the start, and, by the wake and life words, from
 * a waker to the one woken and from an end to the join.
 */
#ifdef WEFT__TSAN
void AnnotateIgnoreSyncBegin(const char *file, int line);
void AnnotateIgnoreSyncEnd(const char *file, int line);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#endif

/* TSan calls mapping memory a write to all of it. */
static inline void weft__write_hide(void)
{
#ifdef WEFT__TSAN
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
}

static inline void weft__write_show(void)
{
#ifdef WEFT__TSAN
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
#endif
}

/* TSan takes a call on a descriptor for a read of it. */
static inline void weft__read_hide(void)
{
#ifdef WEFT__TSAN
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
#endif
}

static inline void weft__read_show(void)
{
#ifdef WEFT__TSAN
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
}

static inline void weft__order_hide(void)
{
#ifdef WEFT__TSAN
    AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
#endif
}

static inline void weft__order_show(void)
{
#ifdef WEFT__TSAN
    AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
#endif
}

/* What the caller did so far comes before what follows weft__order_after(). */
static inline void weft__order_before(void *p)
{
#ifdef WEFT__TSAN
    __tsan_release(p);
#else
    (void)p;
#endif
}

static inline void weft__order_after(void *p)
{
#ifdef WEFT__TSAN
    __tsan_acquire(p);
#else
    (void)p;
#endif
}

#endif
