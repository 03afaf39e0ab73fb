/*
 * The inner lock
 *
 * One small lock for all that is short: a primitive's list, the depot, a
 * loop. Four bytes, zero is free. It spins a little and then sleeps on a
 * futex. It is never held across a switch, a system call, a user's callback
 * or a ready (the loop's lock is the one exception), and taken in the order
 * primitive, descriptor, heap, park.
 *
 *     byte 0   1 while someone holds it
 *     byte 1   1 while someone may sleep for it
 *
 * Unlock is a release store to byte 0 and then a plain look at byte 1, with
 * no locked operation: the store may still be on its way when the look reads
 * an old 0. The sleeper pays for that. It sets byte 1, makes every running
 * thread pass a full barrier (membarrier), and looks at byte 0 again. Then
 * either the unlocker looked after the barrier, and sees byte 1, or it
 * stored before, and the sleeper sees the lock free. Where the kernel has no
 * membarrier, unlock exchanges byte 0, which is the barrier.
 *
 * Byte 2 is the lock's rank, for the debug build: with one lock held only one
 * of a higher rank is taken, or of the same at a higher address (a select has
 * several); and with any held no one switches or readies.
 *
 * An unlocker that saw byte 1 clears it and wakes all; who comes back and
 * finds the lock taken sets it again. The futex compares all four bytes, so
 * who is about to sleep when byte 1 is cleared does not.
 */
#ifndef WEFT_SCHED_LOCK_H
#define WEFT_SCHED_LOCK_H

#include <stdbool.h>

#include "sched/atomic.h"

typedef union weft__lock {
    struct {
        weft__au8 held;
        weft__au8 sleeper;
        uint8_t rank; /* WEFT__RANK_*; set once */
    } b;
    weft__au32 word; /* for the futex alone */
} weft__lock_t;

/* Ranks, in the order of taking. A lock that is zero is a primitive's. */
enum {
    WEFT__RANK_PRIMITIVE,
    WEFT__RANK_DESCRIPTOR,
    WEFT__RANK_HEAP,
    WEFT__RANK_POOL,
    WEFT__RANK_LEAF
};

#define WEFT__LOCK_INIT(r) { .b = { .rank = (r) } }

/* The debug build's account of the inner locks that a worker holds. */
#ifdef WEFT_DEBUG
void weft__lock_debug_take(const void *lock, int rank);
void weft__lock_debug_drop(const void *lock);
void weft__lock_debug_none(void);
#else
#define weft__lock_debug_take(lock, rank) ((void)0)
#define weft__lock_debug_drop(lock) ((void)0)
#define weft__lock_debug_none() ((void)0)
#endif

void weft__lock_slow(weft__lock_t *lock);
void weft__lock_wake(weft__lock_t *lock);

/* Does membarrier work? Set before the second thread exists. */
extern bool weft__lock_asymmetric;

static inline bool weft__lock_try(weft__lock_t *lock)
{
    uint8_t seen = 0;

    /* acquire: pairs with the release in weft__lock_release(). */
    if (!weft__cas(&lock->b.held, &seen, 1, ACQUIRE, RELAXED))
        return false;
    weft__lock_debug_take(lock, lock->b.rank);
    return true;
}

static inline void weft__lock_acquire(weft__lock_t *lock)
{
    if (!weft__lock_try(lock))
        weft__lock_slow(lock);
}

static inline void weft__lock_release(weft__lock_t *lock)
{
    weft__lock_debug_drop(lock);
    /* release: what we did under the lock is seen by who takes it next. */
    if (weft__lock_asymmetric)
        weft__store(&lock->b.held, 0, RELEASE);
    else
        (void)weft__exchange(&lock->b.held, 0, SEQ_CST);
    /* The compiler, too, must not move the look before the store. relaxed:
     * the sleeper's membarrier orders the two. */
    weft__compiler_fence();
    if (weft__load(&lock->b.sleeper, RELAXED))
        weft__lock_wake(lock);
}

#endif
