/*
 * Queues
 *
 * One inner lock, the values in one array, and three wait lists. The array is
 * a ring (WEFT_FIFO), a stack (WEFT_LIFO), or a binary heap (WEFT_PRIORITY)
 * whose elements carry the number they came with, so that equals leave in
 * that order.
 *
 * What holds under the lock: getters wait only while the queue is empty,
 * putters only while it is full, and nobody once it is closed. So a value
 * goes straight to a waiting getter, and a freed place to a waiting putter.
 *
 * An unbounded queue doubles its array. The new one is allocated with the
 * lock free, for an allocator may call the kernel.
 */
#include <weft/queue.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/heap.h"
#include "runtime/slab.h"
#include "sched/fatal.h"
#include "sched/lock.h"
#include "sched/sched.h"
#include "sched/waitlist.h"

enum { QUEUE_ELEM_MAX = 64 << 10, QUEUE_FIRST = 16 };

/* What does not fit into the slab's item, and is not looked at late. */
struct store {
    struct weft__heap heap;
    size_t len;
    size_t room; /* of the array, in values */
    size_t head; /* of a ring */
    char *array;
};

struct weft_queue {
    weft__lock_t lock;
    weft__au32 refs;
    bool closed;
    int order;
    size_t elem_size;
    size_t cap; /* 0: none */
    size_t unfinished;
    struct store *store;
    struct weft__waitlist getters;
    struct weft__waitlist putters;
    struct weft__waitlist joiners;
};

_Static_assert(sizeof(struct weft_queue) <= WEFT__SLAB_SIZE - sizeof(void *),
               "the slab's link lies behind it");

/* --- Values ------------------------------------------------------------------ */

static void store_put(weft_queue_t *q, const void *value)
{
    struct store *store = q->store;
    size_t at = store->len;

    if (q->order == WEFT_PRIORITY) {
        weft__heap_put(&store->heap, store->array, store->len++, value);
        return;
    }
    if (q->order == WEFT_FIFO)
        at = (store->head + store->len) % store->room;
    memcpy(store->array + at * q->elem_size, value, q->elem_size);
    store->len++;
}

static void store_get(weft_queue_t *q, void *value)
{
    struct store *store = q->store;
    size_t at = --store->len;

    if (q->order == WEFT_PRIORITY) {
        weft__heap_get(&store->heap, store->array, store->len + 1, value);
        return;
    }
    if (q->order == WEFT_FIFO) {
        at = store->head;
        store->head = (store->head + 1) % store->room;
    }
    memcpy(value, store->array + at * q->elem_size, q->elem_size);
}

/* How many bytes a value takes in the array. */
static size_t slot_size(const weft_queue_t *q)
{
    return q->order == WEFT_PRIORITY ? weft__heap_slot(q->elem_size)
                                     : q->elem_size;
}

static char *array_make(const weft_queue_t *q, size_t room)
{
    size_t slot = slot_size(q);

    /* A heap uses two slots more, to swap through. */
    if (room >= SIZE_MAX / slot - 2)
        return NULL;
    return malloc((room + 2) * slot);
}

/* The array is full and has no bound: move to one of twice the room. Called
 * with the lock held, and again held on return; others may have put and got
 * meanwhile. -ENOMEM. */
static int store_grow(weft_queue_t *q)
{
    struct store *store = q->store;
    size_t room = store->room;
    size_t next = room * 2;
    size_t slot = slot_size(q);
    char *old, *array;

    weft__lock_release(&q->lock);
    array = next > room ? array_make(q, next) : NULL;
    weft__lock_acquire(&q->lock);
    if (!array)
        return -ENOMEM;
    if (store->room != room) {
        old = array; /* someone else was faster */
    } else {
        size_t first = q->order == WEFT_FIFO ? room - store->head : room;

        old = store->array;
        if (first > store->len)
            first = store->len;
        memcpy(array, old + store->head * slot, first * slot);
        memcpy(array + first * slot, old, (store->len - first) * slot);
        store->array = array;
        store->room = next;
        store->head = 0;
    }
    weft__lock_release(&q->lock);
    free(old);
    weft__lock_acquire(&q->lock);
    return 0;
}

/* --- Life -------------------------------------------------------------------- */

int weft_queue_create(weft_queue_t **out, int order, size_t elem_size,
                      size_t capacity,
                      int (*compare)(const void *a, const void *b))
{
    weft_queue_t *q;
    struct store *store;
    size_t room = capacity ? capacity : QUEUE_FIRST;

    if (!out || order < WEFT_FIFO || order > WEFT_PRIORITY ||
        elem_size == 0 || elem_size > QUEUE_ELEM_MAX ||
        capacity > SIZE_MAX / elem_size ||
        (compare != NULL) != (order == WEFT_PRIORITY))
        return -EINVAL;
    store = calloc(1, sizeof(*store));
    if (!store)
        return -ENOMEM;
    q = weft__slab_take();
    if (!q)
        goto free_store;
    /* The lock stays as it was: someone may still look at its byte. */
    weft__store(&q->refs, 1, RELAXED);
    q->closed = false;
    q->order = order;
    q->elem_size = elem_size;
    q->cap = capacity;
    q->unfinished = 0;
    q->getters.first = q->putters.first = q->joiners.first = NULL;
    q->store = store;
    store->heap = (struct weft__heap){ elem_size, compare, 0 };
    store->room = room;
    store->array = array_make(q, room);
    if (!store->array)
        goto free_queue;
    *out = q;
    return 0;

free_queue:
    weft__slab_give(q);
free_store:
    free(store);
    return -ENOMEM;
}

weft_queue_t *weft_queue_ref(weft_queue_t *q)
{
    /* relaxed: the caller has a reference to count from. */
    if (q)
        weft__fetch_add(&q->refs, 1, RELAXED);
    return q;
}

void weft_queue_unref(weft_queue_t *q)
{
    /* acq_rel: what all others did with it comes before its end. */
    if (!q || weft__fetch_sub(&q->refs, 1, ACQ_REL) != 1)
        return;
    WEFT__CHECK(!q->getters.first && !q->putters.first && !q->joiners.first,
                "a queue lost its last reference while fibers waited");
    free(q->store->array);
    free(q->store);
    weft__slab_give(q);
}

/* --- Put and get -------------------------------------------------------------- */

/* One value in, without waiting. Under the lock (which growing drops for a
 * while). 0; -EPIPE; -EAGAIN; -ENOMEM. */
static int put_one(weft_queue_t *q, const void *value,
                   struct weft__fiber **woken)
{
    struct weft__waiter *waiter;

    for (;;) {
        if (q->closed)
            return -EPIPE;
        if ((waiter = weft__waitlist_claim(&q->getters, WEFT__CAUSE_OK))) {
            memcpy(waiter->value, value, q->elem_size);
            *woken = waiter->fiber;
            break;
        }
        if (q->store->len < q->store->room) {
            store_put(q, value);
            break;
        }
        if (q->cap)
            return -EAGAIN;
        if (store_grow(q) != 0)
            return -ENOMEM;
    }
    q->unfinished++;
    return 0;
}

/* One value out, likewise. 0; -EPIPE; -EAGAIN. */
static int get_one(weft_queue_t *q, void *value, struct weft__fiber **woken)
{
    struct weft__waiter *waiter;

    if (q->store->len == 0)
        return q->closed ? -EPIPE : -EAGAIN;
    store_get(q, value);
    if ((waiter = weft__waitlist_claim(&q->putters, WEFT__CAUSE_OK))) {
        store_put(q, waiter->value);
        q->unfinished++;
        *woken = waiter->fiber;
    }
    return 0;
}

/* Park on `list`; the lock is held, and dropped. */
static int queue_wait(weft_queue_t *q, struct weft__waitlist *list,
                      struct weft__fiber *self, void *value, const char *what,
                      weft_time_t deadline)
{
    struct weft__waiter waiter = { .fiber = self, .value = value };
    enum weft__cause cause;

    weft__waitlist_push(list, &waiter);
    waiter.gen = weft__park_open_until(self, 0, what, q, deadline);
    weft__lock_release(&q->lock);

    cause = weft__park(self);
    if (cause == WEFT__CAUSE_OK)
        return 0;
    if (cause != WEFT__CAUSE_CLOSED) {
        weft__lock_acquire(&q->lock);
        weft__waitlist_remove(list, &waiter);
        weft__lock_release(&q->lock);
    }
    return weft__cause_code(cause);
}

typedef int (*step)(weft_queue_t *q, void *value, struct weft__fiber **woken);

static int put_step(weft_queue_t *q, void *value, struct weft__fiber **woken)
{
    return put_one(q, value, woken);
}

/* One for all three forms, inlined: what a constant deadline rules out is not
 * asked for. */
static inline __attribute__((always_inline)) int
queue_do(weft_queue_t *q, void *value, step one, bool put,
         weft_time_t deadline)
{
    struct weft__fiber *self = weft__fiber_self();
    struct weft__fiber *woken = NULL;
    int status;

    if (!q || !value)
        return -EINVAL;
    if (!self)
        weft__foreigner_note();
    if (weft__canceled_on_entry(self, deadline))
        return -ECANCELED;
    weft__lock_acquire(&q->lock);
    status = one(q, value, &woken);
    if (status == -EAGAIN &&
        (status = weft__wait_refused(self, deadline)) == 0)
        return put ? queue_wait(q, &q->putters, self, value, "put to queue",
                                deadline)
                   : queue_wait(q, &q->getters, self, value,
                                "get from queue", deadline);
    weft__lock_release(&q->lock);
    if (woken)
        weft__ready(woken);
    return status;
}

int weft_queue_put_until(weft_queue_t *q, const void *value,
                         weft_time_t deadline)
{
    return queue_do(q, (void *)(uintptr_t)value, put_step, true, deadline);
}

int weft_queue_put(weft_queue_t *q, const void *value)
{
    return queue_do(q, (void *)(uintptr_t)value, put_step, true,
                    WEFT_FOREVER);
}

int weft_queue_put_try(weft_queue_t *q, const void *value)
{
    return queue_do(q, (void *)(uintptr_t)value, put_step, true, WEFT_NOW);
}

int weft_queue_get_until(weft_queue_t *q, void *value, weft_time_t deadline)
{
    return queue_do(q, value, get_one, false, deadline);
}

int weft_queue_get(weft_queue_t *q, void *value)
{
    return queue_do(q, value, get_one, false, WEFT_FOREVER);
}

int weft_queue_get_try(weft_queue_t *q, void *value)
{
    return queue_do(q, value, get_one, false, WEFT_NOW);
}

/* --- Done and join ------------------------------------------------------------ */

int weft_queue_done(weft_queue_t *q)
{
    struct weft__batch batch = { 0 };
    struct weft__waiter *waiter;
    int status = -EINVAL;

    if (!q)
        return -EINVAL;
    if (!weft__fiber_self())
        weft__foreigner_note();
    weft__lock_acquire(&q->lock);
    if (q->unfinished > q->store->len) {
        status = 0;
        q->unfinished--;
    }
    while (q->unfinished == 0 &&
           (waiter = weft__waitlist_claim(&q->joiners, WEFT__CAUSE_OK)))
        weft__batch_add(&batch, waiter->fiber);
    weft__lock_release(&q->lock);
    weft__batch_ready(&batch);
    return status;
}

int weft_queue_join_until(weft_queue_t *q, weft_time_t deadline)
{
    struct weft__fiber *self = weft__caller();
    int status = 0;

    if (!q)
        return -EINVAL;
    if (weft__canceled_on_entry(self, deadline))
        return -ECANCELED;
    weft__lock_acquire(&q->lock);
    if (q->unfinished > 0 &&
        (status = weft__wait_refused(self, deadline)) == 0)
        return queue_wait(q, &q->joiners, self, NULL, "join of queue",
                          deadline);
    weft__lock_release(&q->lock);
    return status;
}

int weft_queue_join(weft_queue_t *q)
{
    return weft_queue_join_until(q, WEFT_FOREVER);
}

int weft_queue_join_try(weft_queue_t *q)
{
    return weft_queue_join_until(q, WEFT_NOW);
}

/* --- Closing, looking ---------------------------------------------------------- */

int weft_queue_close(weft_queue_t *q)
{
    struct weft__batch batch = { 0 };
    struct weft__waiter *waiter;

    if (!q)
        return -EINVAL;
    if (!weft__fiber_self())
        weft__foreigner_note();
    weft__lock_acquire(&q->lock);
    if (q->closed) {
        weft__lock_release(&q->lock);
        return -EPIPE;
    }
    q->closed = true;
    while ((waiter = weft__waitlist_claim(&q->getters, WEFT__CAUSE_CLOSED)))
        weft__batch_add(&batch, waiter->fiber);
    while ((waiter = weft__waitlist_claim(&q->putters, WEFT__CAUSE_CLOSED)))
        weft__batch_add(&batch, waiter->fiber);
    weft__lock_release(&q->lock);
    weft__batch_ready(&batch);
    return 0;
}

size_t weft_queue_len(weft_queue_t *q)
{
    size_t len;

    if (!q)
        return 0;
    weft__caller();
    weft__lock_acquire(&q->lock);
    len = q->store->len;
    weft__lock_release(&q->lock);
    return len;
}
