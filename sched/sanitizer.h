/*
 * What the sanitizers and valgrind are told about stacks and switches. Empty
 * in a release build, but for a look whether valgrind runs the program.
 */
#ifndef WEFT_SCHED_SANITIZER_H
#define WEFT_SCHED_SANITIZER_H

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

/* A stack slot that no one uses: touching it is a bug. */
static inline void weft__poison(void *p, size_t size)
{
#if defined(WEFT__ASAN)
    ASAN_POISON_MEMORY_REGION(p, size);
#elif defined(WEFT__VALGRIND)
    if (__builtin_expect(weft__on_valgrind, 0))
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
    if (__builtin_expect(weft__on_valgrind, 0))
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

#endif
