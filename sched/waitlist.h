/*
 * Wait lists: those who wait for an object, first come first.
 *
 * A waiter is a node on the stack of the fiber that waits, linked under the
 * object's inner lock. Whoever takes a node off under that lock and wins its
 * wait (weft__claim) has the fiber in hand; a waiter whose wait ended for
 * another reason takes the lock and unlinks itself.
 *
 * One wait may have several nodes, on several lists: all of one generation, so
 * that at most one of them is won. `won` says which, to the fiber when it is
 * back.
 *
 * The list is a ring with a pointer to its first node, so that it takes one
 * word in the object.
 */
#ifndef WEFT_SCHED_WAITLIST_H
#define WEFT_SCHED_WAITLIST_H

#include <stdbool.h>
#include <stddef.h>

#include "sched/park.h"

struct weft__waiter {
    struct weft__waiter *next; /* NULL: on no list */
    struct weft__waiter *prev;
    struct weft__fiber *fiber;
    uint64_t gen;
    void *value;   /* where to copy from or to */
    int64_t since; /* when it came */
    bool won;      /* it was by this node that its wait ended */
};

struct weft__waitlist {
    struct weft__waiter *first;
};

static inline void weft__waitlist_push(struct weft__waitlist *list,
                                       struct weft__waiter *waiter)
{
    struct weft__waiter *first = list->first;

    if (!first) {
        waiter->next = waiter->prev = waiter;
        list->first = waiter;
        return;
    }
    waiter->next = first;
    waiter->prev = first->prev;
    first->prev->next = waiter;
    first->prev = waiter;
}

static inline void weft__waitlist_push_front(struct weft__waitlist *list,
                                             struct weft__waiter *waiter)
{
    weft__waitlist_push(list, waiter);
    list->first = waiter;
}

/* Take a node off; nothing if it is on no list. */
static inline void weft__waitlist_remove(struct weft__waitlist *list,
                                         struct weft__waiter *waiter)
{
    if (!waiter->next)
        return;
    if (waiter->next == waiter) {
        list->first = NULL;
    } else {
        waiter->prev->next = waiter->next;
        waiter->next->prev = waiter->prev;
        if (list->first == waiter)
            list->first = waiter->next;
    }
    waiter->next = NULL;
}

/* Take off the first waiter whose wait can still be won with `cause`, and win
 * it; NULL: there is none. The node is the caller's to use until it lets the
 * fiber go by weft__ready(), after the inner lock is dropped. */
static inline struct weft__waiter *
weft__waitlist_claim(struct weft__waitlist *list, enum weft__cause cause)
{
    struct weft__waiter *waiter;

    while ((waiter = list->first)) {
        weft__waitlist_remove(list, waiter);
        if (weft__claim(waiter->fiber, waiter->gen, cause)) {
            waiter->won = true;
            return waiter;
        }
    }
    return NULL;
}

#endif
