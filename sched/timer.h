/*
 * Timers: the deadlines of parked waits.
 *
 * Each worker has a heap of the times at which someone has to look at a
 * fiber. A fiber has at most one entry, in the heap of the worker on which it
 * last needed one. The entry says "look at this record at this time" and no
 * more: whether a wait is over is decided by the wait's own deadline, in the
 * cold record, and by its generation. So an entry may stand too early, for a
 * wait that has ended, or for a fiber that has: it is put right when it comes
 * up. A wake does not touch it, and a deadline that is later than the entry
 * leaves it where it is; only an earlier one moves it.
 *
 * Where an entry stands is in cold->timer, `the mark`:
 *
 *     NONE             nowhere
 *     when | heap      in that heap, with that time (cut to 256 ns, the room
 *                      for the heap's number)
 *     GONE | heap      taken out; whoever did it holds that heap's lock and
 *                      is about to say NONE or a time
 *
 * What holds:
 *   1. NONE is left by the fiber itself and by no one else, under the lock of
 *      the heap it puts its entry into: that of its own worker, which is
 *      awake. So nobody is ever woken for an entry.
 *   2. Every other change of the mark is made under the lock of the heap it
 *      names. No one holds two heap locks, and no entry is on its way between
 *      two heaps: the fiber takes its own out of one (NONE) and then puts it
 *      into the other.
 *   3. A fiber with an open wait and a deadline has an entry that comes up by
 *      then (or at most 256 ns later), or someone holds it GONE and will see
 *      that wait:
 *
 *          the waiter                   who takes an entry out
 *          1 store the deadline         1 mark it GONE
 *          2 publish OPEN               2 full fence
 *          3 full fence                 3 read the wake word
 *          4 read the mark              4 read the deadline
 *
 *      One of the two sees the other. If the waiter read the mark as it was
 *      before, its fence came first, and step 3 reads its OPEN or something
 *      later. If it read GONE or what came after, it goes by the lock. So of
 *      what step 3 reads every later wait looks after itself: when no wait is
 *      open there, or the claim of that generation is lost, or its deadline
 *      is none, the entry is dropped without a second look.
 *   4. A claim that is won was won with the right deadline: the word names the
 *      generation from before that deadline was read until after.
 *   5. There is always room: see "Room" in timer.c. A park cannot fail.
 *
 * The end of a fiber does nothing here. The entry stays with the record, whose
 * next fiber finds it standing and uses it: where each connection is a fiber
 * with a deadline of a minute, the heap is not touched for most of them. What
 * is left over at the stop is cleared.
 *
 * Why a wait relies on the mark and not on the heap: a deadline renewed for
 * each request costs a store, a fence and a look.
 */
#ifndef WEFT_SCHED_TIMER_H
#define WEFT_SCHED_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weft/time.h>

#include "sched/atomic.h"
#include "sched/fiber.h"
#include "sched/lock.h"

/* The mark: a time in steps of 256 ns, and the number of a heap. */
#define WEFT__TIMER_NONE ((uint64_t)0)
#define WEFT__TIMER_HEAP_MASK ((uint64_t)255)
#define WEFT__TIMER_WHEN_MASK (~WEFT__TIMER_HEAP_MASK)
/* Later than every deadline, so that no wait relies on it. */
#define WEFT__TIMER_GONE ((uint64_t)WEFT_FOREVER & WEFT__TIMER_WHEN_MASK)

enum {
    WEFT__TIMER_CHUNK = 4096, /* entries of a heap are kept in chunks */
    WEFT__TIMER_CHUNKS = (WEFT__FIBER_MAX + 3) / WEFT__TIMER_CHUNK + 1
};

struct weft__timer_entry {
    int64_t when;
    uint32_t fiber; /* index of its record */
};

struct weft__timer_heap {
    weft__lock_t lock;
    uint32_t len;
    uint32_t chunks;  /* held */
    weft__ai64 head;  /* when the first comes up; WEFT_FOREVER: none */
    /* Counters, written under the lock. */
    weft__au64 standing; /* len, for those who do not hold it */
    weft__au64 armed;
    weft__au64 expired;
    struct weft__timer_entry *chunk[WEFT__TIMER_CHUNKS];
} __attribute__((aligned(64)));

/* One a worker; mapped once a process. */
extern struct weft__timer_heap *weft__timer_heaps;

/* Room for `workers` heaps, and for an entry of each of `records` fibers.
 * Before these exist. -ENOMEM. */
int weft__timer_setup(unsigned workers);
int weft__timer_reserve(uint32_t records);
/* The workers have ended: no entry is left. */
void weft__timer_clear(unsigned workers);

/* When someone has to look at this heap; WEFT_FOREVER: never. Anybody's. */
static inline int64_t weft__timer_head(const struct weft__timer_heap *heap)
{
    /* relaxed: only its worker puts anything in, and knows. */
    return weft__load(&heap->head, RELAXED);
}

/* The slow way of weft__timer_arm(): put an entry there, or bring it forward. */
void weft__timer_put(struct weft__fiber *self, int64_t deadline);

/* See that someone looks at the calling fiber at `deadline`: that of its wait,
 * which is OPEN. */
static inline void weft__timer_arm(struct weft__fiber *self, int64_t deadline)
{
    struct weft__fiber_cold *cold = weft__fiber_cold(self);
    uint64_t mark = weft__load(&cold->timer, RELAXED); /* looked at again */

    if (mark != WEFT__TIMER_NONE) {
        /* seq_cst: our OPEN, then our look: invariant 3. */
        weft__fence(SEQ_CST);
        mark = weft__load(&cold->timer, RELAXED);
        if (mark != WEFT__TIMER_NONE &&
            (int64_t)(mark & WEFT__TIMER_WHEN_MASK) <= deadline)
            return;
    }
    weft__timer_put(self, deadline);
}

/*
 * Look at all whose time has come: end the waits whose deadline has passed.
 * Their fibers go to the back of the queue of the calling worker, on whose
 * base context this runs; the heap may be another's. So many at once as are
 * run until the next look; more may be due.
 */
void weft__timer_expire(struct weft__worker *w, struct weft__timer_heap *heap,
                        int64_t now);

/* The number of entries out of order, or whose place is not what their record
 * says. Takes the lock. */
uint64_t weft__timer_audit(struct weft__timer_heap *heap);

/* In a forked child: no other thread is at the room. */
void weft__timer_forked(void);

#endif
