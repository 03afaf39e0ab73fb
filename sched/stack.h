/*
 * Stacks
 *
 * A stack is a slot of a power of two bytes in an arena, a large mapping that
 * the kernel backs page by page as it is touched. The lowest page of a slot is
 * its guard. Slots of one size form a class.
 *
 *     low                                                       high
 *     | guard | ............ free ............ | in use | colour |
 *
 * What holds:
 *   1. Whoever takes a stack has reserved it before: the arenas of a class
 *      hold at least as many slots as are reserved, so taking never fails.
 *      A worker reserves for itself what no one else can take meanwhile: what
 *      its cache may hold, and the stack of a fiber that has just ended.
 *   2. Reserving is what may fail, and it is spawn that reserves.
 *   3. A slot goes from taker to giver to taker, warm, last in first out:
 *      through the worker's own cache, in batches through the class's depot.
 *   4. Never a silent stack without a guard: a slot whose guard could not be
 *      installed carries a canary, is counted, and is looked at at each park.
 *
 * The first address in use is one of 16 colours of 64 bytes below the top, or
 * the hot ends of all stacks would fall into the same cache sets.
 *
 * Guards are MADV_GUARD_INSTALL (kernel 6.13), which splits no mapping; else
 * mprotect, two mappings a slot, until the process nears vm.max_map_count;
 * else the canary. Stacks are never unmapped. What a depot holds beyond
 * STACK_WARM_MAX and has not been wanted for a second gives its pages back, the
 * longest idle first, a few at a time, on the monitor's thread: a call for each
 * stack that comes back interrupts all other cores, and the next burst wants
 * the pages again.
 */
#ifndef WEFT_SCHED_STACK_H
#define WEFT_SCHED_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A slot's base with its class and flags in the low bits; a base of 0 is a
 * stack that has not been taken yet. */
typedef uintptr_t weft__stack_t;

#define WEFT__STACK_CLASS_MASK ((uintptr_t)31)
#define WEFT__STACK_CANARY ((uintptr_t)32)
#define WEFT__STACK_BASE_MASK (~(uintptr_t)4095)

enum {
    WEFT__STACK_MIN_LOG = 14, /* 16 KiB */
    WEFT__STACK_MAX_LOG = 30, /* 1 GiB */
    WEFT__STACK_CLASSES = WEFT__STACK_MAX_LOG - WEFT__STACK_MIN_LOG + 1,
    WEFT__STACK_CACHE = 64,
    WEFT__STACK_SPARE = WEFT__STACK_CACHE + 1 /* what a worker reserves */
};

/* A worker's own stacks of the default class. */
struct weft__stack_cache {
    unsigned count;
    weft__stack_t stacks[WEFT__STACK_CACHE];
};

struct weft__stack_stats {
    uint64_t slots;     /* carved so far: in use or kept */
    uint64_t bytes;     /* address space of all arenas */
    uint64_t unguarded; /* slots with a canary for a guard */
};

/* Choose how guards are made (WEFT_GUARD_*), and prove one. Called at each
 * start, before any other call. */
void weft__stack_setup(int guard);

/* The class of a stack of `size` bytes with its guard; -EINVAL above 1 GiB. */
int weft__stack_class(size_t size);
size_t weft__stack_class_size(unsigned class);

/* Make sure that `n` more stacks of a class can be taken. -ENOMEM. */
int weft__stack_reserve(unsigned class, size_t n);
void weft__stack_unreserve(unsigned class, size_t n);

/* Take a reserved stack; `cache` is the caller's worker's, or NULL. */
weft__stack_t weft__stack_take(struct weft__stack_cache *cache,
                               unsigned class, unsigned cache_class);
void weft__stack_give(struct weft__stack_cache *cache, weft__stack_t stack,
                      unsigned cache_class);
/* Hand a whole cache to the depot: its worker ends. */
void weft__stack_cache_flush(struct weft__stack_cache *cache,
                             unsigned cache_class);

/* For the monitor, now and then: let some surplus stacks give their pages back.
 * When to call again; INT64_MAX: there is no surplus. */
int64_t weft__stack_trim(int64_t now);
/* All of it at once: no worker runs. */
void weft__stack_trim_all(void);

static inline char *weft__stack_base(weft__stack_t stack)
{
    return (char *)(stack & WEFT__STACK_BASE_MASK);
}

static inline unsigned weft__stack_class_of(weft__stack_t stack)
{
    return (unsigned)(stack & WEFT__STACK_CLASS_MASK);
}

static inline size_t weft__stack_size(weft__stack_t stack)
{
    return (size_t)1 << (WEFT__STACK_MIN_LOG + weft__stack_class_of(stack));
}

/* Where a context may start. */
char *weft__stack_top(weft__stack_t stack);
/* The lowest address that may be used. */
char *weft__stack_limit(weft__stack_t stack);
/* The most that was ever in use, counted in pages. */
size_t weft__stack_high_water(weft__stack_t stack);
void weft__stack_stats(struct weft__stack_stats *out);

/* In a forked child: no other thread is at the depots. */
void weft__stack_forked(void);

#endif
