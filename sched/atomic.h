/*
 * Atomics
 *
 * Every atomic of weft is one of these types and goes through these calls: a
 * plain access to such a variable does not compile by accident, and the
 * simulation can stand between each of them. In the release library they are
 * the compiler's builtins and nothing else.
 *
 *     weft__au32 count;
 *     weft__fetch_add(&count, 1, RELAXED);
 *
 * The order is given by its bare name: RELAXED, ACQUIRE, RELEASE, ACQ_REL or
 * SEQ_CST. Each use says what it pairs with.
 *
 * weft__init() gives a first value to what no one else can see yet.
 */
#ifndef WEFT_SCHED_ATOMIC_H
#define WEFT_SCHED_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#define weft__atomic(T) struct { T v; }

typedef weft__atomic(uint8_t) weft__au8;
typedef weft__atomic(uint32_t) weft__au32;
typedef weft__atomic(uint64_t) weft__au64;
typedef weft__atomic(int64_t) weft__ai64;
typedef weft__atomic(void *) weft__aptr;

#define weft__init(a, x) __atomic_store_n(&(a)->v, (x), __ATOMIC_RELAXED)

/* Keeps the compiler, and only it, from moving accesses across. */
#define weft__compiler_fence() __atomic_signal_fence(__ATOMIC_SEQ_CST)

#ifndef WEFT_SIM

#define weft__load(a, o) __atomic_load_n(&(a)->v, __ATOMIC_##o)
#define weft__store(a, x, o) __atomic_store_n(&(a)->v, (x), __ATOMIC_##o)
#define weft__exchange(a, x, o) __atomic_exchange_n(&(a)->v, (x), __ATOMIC_##o)
#define weft__fetch_add(a, x, o) \
    __atomic_fetch_add(&(a)->v, (x), __ATOMIC_##o)
#define weft__fetch_sub(a, x, o) \
    __atomic_fetch_sub(&(a)->v, (x), __ATOMIC_##o)
#define weft__fetch_or(a, x, o) __atomic_fetch_or(&(a)->v, (x), __ATOMIC_##o)
#define weft__fetch_and(a, x, o) \
    __atomic_fetch_and(&(a)->v, (x), __ATOMIC_##o)

/* Strong compare-and-swap: `seen` is a pointer to what is expected, and holds
 * what was found when it fails. `o` is the order of success, `f` of failure. */
#define weft__cas(a, seen, next, o, f)                                      \
    __atomic_compare_exchange_n(&(a)->v, (seen), (next), false,             \
                                __ATOMIC_##o, __ATOMIC_##f)

/* A fence orders atomics only; it never publishes plain data (the thread
 * sanitizer does not model it). */
#define weft__fence(o) __atomic_thread_fence(__ATOMIC_##o)

#else /* WEFT_SIM */

#include "sched/seam.h"

/* As the type of *a. An argument is cast; a result is a statement's value,
 * which may go unused without a warning. */
#define weft__cast(a, x) ((__typeof__((a)->v))(x))
#define weft__value(a, x)                                                   \
    __extension__({                                                         \
        __typeof__((a)->v) weft_v_ = weft__cast(a, x);                      \
        weft_v_;                                                            \
    })

#define weft__load(a, o)                                                    \
    weft__value(a, weft__seam_load(&(a)->v, sizeof((a)->v), __ATOMIC_##o))
#define weft__store(a, x, o)                                                \
    weft__seam_store(&(a)->v, (uint64_t)weft__cast(a, x),                  \
                     sizeof((a)->v), __ATOMIC_##o)
#define weft__seam_rmw_as(a, op, x, o)                                      \
    weft__value(a, weft__seam_rmw(&(a)->v, op, (uint64_t)(x),               \
                                  sizeof((a)->v), __ATOMIC_##o))
#define weft__exchange(a, x, o)                                             \
    weft__seam_rmw_as(a, WEFT__SEAM_XCHG, weft__cast(a, x), o)
#define weft__fetch_add(a, x, o) weft__seam_rmw_as(a, WEFT__SEAM_ADD, x, o)
#define weft__fetch_sub(a, x, o) weft__seam_rmw_as(a, WEFT__SEAM_SUB, x, o)
#define weft__fetch_or(a, x, o) weft__seam_rmw_as(a, WEFT__SEAM_OR, x, o)
#define weft__fetch_and(a, x, o) weft__seam_rmw_as(a, WEFT__SEAM_AND, x, o)
#define weft__cas(a, seen, next, o, f)                                      \
    weft__seam_cas(&(a)->v, (seen), (uint64_t)weft__cast(a, next),         \
                   sizeof((a)->v), __ATOMIC_##o)
#define weft__fence(o) weft__seam_fence(__ATOMIC_##o)

#endif

#endif
