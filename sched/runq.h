/*
 * Run queue: a bounded ring of fibers that are ready, one for each worker.
 *
 * The owner pushes at the tail and pops at the head, first in first out;
 * thieves take half from the head.
 *
 *        head                 tail
 *     ... | e | e | e | e | e | ...         used: tail - head entries
 *
 * What holds:
 *   1. Only the owner moves the tail. Everyone who takes entries moves the
 *      head by compare-and-swap, so each entry is taken once.
 *   2. Entries are read before that swap. They are what they were if the swap
 *      succeeds: the owner overwrites a place only when the head has passed
 *      it, and counters of 64 bits do not come round.
 *   3. The release of the tail publishes the entries; the acquire of the head
 *      by the owner orders its overwriting after the reads of the takers.
 *
 * An entry is the index of a record, shifted left once. The low bit says that
 * it is only a hint: that a NEW fiber was queued here. The right to start one
 * is in its wake word, so a hint may turn out to be dead.
 *
 * After the run queues of Go and tokio; there too half is stolen (Blumofe and
 * Leiserson's analysis asks for one; half costs fewer rounds).
 */
#ifndef WEFT_SCHED_RUNQ_H
#define WEFT_SCHED_RUNQ_H

#include <stdbool.h>

#include "sched/atomic.h"

#define WEFT__ENTRY_HINT ((uint32_t)1)

struct weft__runq {
    weft__au64 head __attribute__((aligned(64)));
    weft__au64 tail __attribute__((aligned(64)));
    uint64_t mask;
    weft__au32 *ring;
};

/* `size` is a power of two. The memory is weft__os_map's. -ENOMEM. */
int weft__runq_open(struct weft__runq *q, uint32_t size);
void weft__runq_close(struct weft__runq *q);

/* Push one entry; false: full. The owner's. */
static inline bool weft__runq_push(struct weft__runq *q, uint32_t entry)
{
    /* relaxed: the owner's own. */
    uint64_t tail = weft__load(&q->tail, RELAXED);

    /* acquire: whoever moved the head has read what we overwrite. */
    if (tail - weft__load(&q->head, ACQUIRE) > q->mask)
        return false;
    /* relaxed: published by the tail. */
    weft__store(&q->ring[tail & q->mask], entry, RELAXED);
    /* release: pairs with the acquire of a thief. */
    weft__store(&q->tail, tail + 1, RELEASE);
    return true;
}

/* Pop the oldest entry, or 0. The owner's. */
static inline uint32_t weft__runq_pop(struct weft__runq *q)
{
    uint64_t tail = weft__load(&q->tail, RELAXED); /* the owner's own */
    uint64_t head = weft__load(&q->head, RELAXED); /* the swap checks it */

    while (head != tail) {
        /* relaxed: the owner wrote it. */
        uint32_t entry = weft__load(&q->ring[head & q->mask], RELAXED);

        /* release: our read of the entry comes before its overwriting. */
        if (weft__cas(&q->head, &head, head + 1, ACQ_REL, RELAXED))
            return entry;
    }
    return 0;
}

/* Pop up to n of the oldest at once. The owner's. */
uint32_t weft__runq_pop_n(struct weft__runq *q, uint32_t *entries,
                          uint32_t n);

/* Move half of `from`'s entries to the caller's own queue, which is empty,
 * and answer one of them; 0: nothing there, or lost a race. *taken counts
 * them. The owner of `to`. */
uint32_t weft__runq_steal(struct weft__runq *to, struct weft__runq *from,
                          uint32_t *taken);

/* How many entries there are, at a glance. Anybody's. */
static inline uint64_t weft__runq_len(struct weft__runq *q)
{
    /* relaxed: a guess for others, exact for the owner but for thieves. */
    uint64_t head = weft__load(&q->head, RELAXED);
    uint64_t tail = weft__load(&q->tail, RELAXED);

    return tail > head ? tail - head : 0;
}

#endif
