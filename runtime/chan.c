/*
 * Channels
 *
 * One inner lock, a ring of values, and two wait lists. What holds under the
 * lock:
 *   1. Receivers wait only while the ring is empty and no sender waits.
 *   2. Senders wait only while the ring is full (with capacity 0: always) and
 *      no receiver waits.
 *   3. Once closed, nobody waits and nothing is added.
 *
 * Only a select may wait at both ends, and not for itself: while it runs it
 * stands on no list.
 *
 * So a value goes straight from a sender to a waiting receiver's buffer, and
 * the place that a receiver frees is filled by the oldest waiting sender.
 *
 * The head of a channel is slab memory: see slab.h for why.
 */
#include <weft/chan.h>

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/chan.h"
#include "runtime/slab.h"
#include "sched/fatal.h"
#include "sched/lock.h"
#include "sched/sched.h"
#include "sched/waitlist.h"

enum { CHAN_ELEM_MAX = 64 << 10 };

struct weft_chan {
    weft__lock_t lock;
    weft__au32 refs;
    bool closed;
    size_t elem_size;
    size_t cap;
    size_t len;
    size_t head; /* where the oldest value is */
    char *ring;
    struct weft__waitlist receivers;
    struct weft__waitlist senders;
};

_Static_assert(sizeof(struct weft_chan) <= WEFT__SLAB_SIZE - sizeof(void *),
               "the slab's link lies behind it");

/* --- Life -------------------------------------------------------------------- */

int weft_chan_create(weft_chan_t **out, size_t elem_size, size_t capacity)
{
    weft_chan_t *ch;
    char *ring = NULL;

    if (!out || elem_size > CHAN_ELEM_MAX ||
        (elem_size && capacity > SIZE_MAX / elem_size))
        return -EINVAL;
    if (elem_size * capacity > 0) {
        ring = malloc(elem_size * capacity);
        if (!ring)
            return -ENOMEM;
    }
    ch = weft__slab_take();
    if (!ch) {
        free(ring);
        return -ENOMEM;
    }
    /* The lock stays as it was: someone may still look at its byte. */
    weft__store(&ch->refs, 1, RELAXED);
    ch->closed = false;
    ch->elem_size = elem_size;
    ch->cap = capacity;
    ch->len = ch->head = 0;
    ch->ring = ring;
    ch->receivers.first = ch->senders.first = NULL;
    *out = ch;
    return 0;
}

weft_chan_t *weft_chan_ref(weft_chan_t *ch)
{
    /* relaxed: the caller has a reference to count from. */
    if (ch)
        weft__fetch_add(&ch->refs, 1, RELAXED);
    return ch;
}

void weft_chan_unref(weft_chan_t *ch)
{
    /* acq_rel: what all others did with it comes before its end. */
    if (!ch || weft__fetch_sub(&ch->refs, 1, ACQ_REL) != 1)
        return;
    WEFT__CHECK(!ch->receivers.first && !ch->senders.first,
                "a channel lost its last reference while fibers waited");
    free(ch->ring);
    weft__slab_give(ch);
}

/* --- Values ------------------------------------------------------------------ */

/* The common sizes as single moves. */
static inline void copy(void *to, const void *from, size_t size)
{
    if (size == 8)
        memcpy(to, from, 8);
    else if (size == 4)
        memcpy(to, from, 4);
    else if (size)
        memcpy(to, from, size);
}

/* Of an array of values. As a number, since that of a signal channel may be
 * NULL, to which C lets us add not even 0. */
static inline void *value_at(const void *array, size_t i, size_t size)
{
    return (void *)((uintptr_t)array + i * size);
}

static inline void ring_put(weft_chan_t *ch, const void *value)
{
    size_t at = ch->head + ch->len;

    if (at >= ch->cap)
        at -= ch->cap;
    copy(value_at(ch->ring, at, ch->elem_size), value, ch->elem_size);
    ch->len++;
}

static inline void ring_get(weft_chan_t *ch, void *value)
{
    copy(value, value_at(ch->ring, ch->head, ch->elem_size), ch->elem_size);
    ch->len--;
    if (++ch->head == ch->cap)
        ch->head = 0;
}

/*
 * One value in, if that needs no waiting. Under the lock. 0; -EPIPE; -EAGAIN.
 * *woken is a receiver who got it, for weft__ready() after the lock. Inlined
 * by order: since select moves values, too, gcc would not do it by itself.
 */
static inline __attribute__((always_inline)) int
put_one(weft_chan_t *ch, const void *value, struct weft__fiber **woken)
{
    struct weft__waiter *waiter;

    if (ch->closed)
        return -EPIPE;
    if (ch->receivers.first &&
        (waiter = weft__waitlist_claim(&ch->receivers, WEFT__CAUSE_OK))) {
        copy(waiter->value, value, ch->elem_size);
        *woken = waiter->fiber;
        return 0;
    }
    if (ch->len == ch->cap)
        return -EAGAIN;
    ring_put(ch, value);
    return 0;
}

/* One value out, likewise; *woken is a sender whose value was taken. */
static inline __attribute__((always_inline)) int
get_one(weft_chan_t *ch, void *value, struct weft__fiber **woken)
{
    struct weft__waiter *waiter = NULL;

    if (ch->len > 0) {
        ring_get(ch, value);
        if (ch->senders.first &&
            (waiter = weft__waitlist_claim(&ch->senders, WEFT__CAUSE_OK)))
            ring_put(ch, waiter->value);
    } else if (ch->senders.first &&
               (waiter = weft__waitlist_claim(&ch->senders,
                                              WEFT__CAUSE_OK))) {
        copy(value, waiter->value, ch->elem_size);
    } else {
        return ch->closed ? -EPIPE : -EAGAIN;
    }
    if (waiter)
        *woken = waiter->fiber;
    return 0;
}

/* --- Waiting ----------------------------------------------------------------- */

/* Park on `list`; the lock is held, and dropped. 0: the value was moved by
 * the one who woke us, and the channel may be gone. */
static int chan_wait(weft_chan_t *ch, struct weft__waitlist *list,
                     struct weft__fiber *self, void *value, const char *what,
                     weft_time_t deadline)
{
    struct weft__waiter waiter; /* the rest is the list's and the winner's */
    enum weft__cause cause;

    waiter.fiber = self;
    waiter.value = value;
    weft__waitlist_push(list, &waiter);
    waiter.gen = weft__park_open_until(self, 0, what, ch, deadline);
    weft__lock_release(&ch->lock);

    cause = weft__park(self);
    if (cause == WEFT__CAUSE_OK)
        return 0;
    /* Whoever moves a value has won the wait first, so ours was not. */
    if (cause != WEFT__CAUSE_CLOSED) {
        weft__lock_acquire(&ch->lock);
        weft__waitlist_remove(list, &waiter);
        weft__lock_release(&ch->lock);
    }
    return weft__cause_code(cause);
}

static int chan_check(weft_chan_t *ch, const void *values, size_t n)
{
    if (!ch || (!values && ch->elem_size && n) || n > SSIZE_MAX)
        return -EINVAL;
    return 0;
}

/* One for all three forms, inlined: what a constant deadline rules out is not
 * asked for. */
static inline __attribute__((always_inline)) int
chan_send(weft_chan_t *ch, const void *value, weft_time_t deadline)
{
    struct weft__fiber *woken = NULL;
    struct weft__fiber *self;
    int status = chan_check(ch, value, 1);

    if (status != 0)
        return status;
    self = weft__caller();
    if (weft__canceled_on_entry(self, deadline))
        return -ECANCELED;
    weft__lock_acquire(&ch->lock);
    status = put_one(ch, value, &woken);
    if (status == -EAGAIN &&
        (status = weft__wait_refused(self, deadline)) == 0)
        return chan_wait(ch, &ch->senders, self, (void *)(uintptr_t)value,
                         "send on channel", deadline);
    weft__lock_release(&ch->lock);
    if (woken)
        weft__ready(woken);
    return status;
}

static inline __attribute__((always_inline)) int
chan_recv(weft_chan_t *ch, void *value, weft_time_t deadline)
{
    struct weft__fiber *woken = NULL;
    struct weft__fiber *self;
    int status = chan_check(ch, value, 1);

    if (status != 0)
        return status;
    self = weft__caller();
    if (weft__canceled_on_entry(self, deadline))
        return -ECANCELED;
    weft__lock_acquire(&ch->lock);
    status = get_one(ch, value, &woken);
    if (status == -EAGAIN &&
        (status = weft__wait_refused(self, deadline)) == 0)
        return chan_wait(ch, &ch->receivers, self, value,
                         "receive on channel", deadline);
    weft__lock_release(&ch->lock);
    if (woken)
        weft__ready(woken);
    return status;
}

int weft_chan_send_until(weft_chan_t *ch, const void *value,
                         weft_time_t deadline)
{
    return chan_send(ch, value, deadline);
}

int weft_chan_send(weft_chan_t *ch, const void *value)
{
    return chan_send(ch, value, WEFT_FOREVER);
}

int weft_chan_send_try(weft_chan_t *ch, const void *value)
{
    return chan_send(ch, value, WEFT_NOW);
}

int weft_chan_recv_until(weft_chan_t *ch, void *value, weft_time_t deadline)
{
    return chan_recv(ch, value, deadline);
}

int weft_chan_recv(weft_chan_t *ch, void *value)
{
    return chan_recv(ch, value, WEFT_FOREVER);
}

int weft_chan_recv_try(weft_chan_t *ch, void *value)
{
    return chan_recv(ch, value, WEFT_NOW);
}

/* --- Batches ----------------------------------------------------------------- */

enum { CHAN_BATCH = 64 }; /* values moved before others get the lock */

typedef int (*move_one)(weft_chan_t *ch, char *value,
                        struct weft__fiber **woken);

static int send_one(weft_chan_t *ch, char *value, struct weft__fiber **woken)
{
    return put_one(ch, value, woken);
}

static int recv_one(weft_chan_t *ch, char *value, struct weft__fiber **woken)
{
    return get_one(ch, value, woken);
}

/* Move up to n values that can be moved at once. *status says why it ended:
 * 0: all moved. */
static size_t move_some(weft_chan_t *ch, char *values, size_t n, move_one move,
                        int *status)
{
    size_t done = 0;

    *status = 0;
    while (done < n && *status == 0) {
        struct weft__batch batch = { 0 };

        weft__lock_acquire(&ch->lock);
        for (int i = 0; i < CHAN_BATCH && done < n; i++) {
            struct weft__fiber *woken = NULL;

            *status = move(ch, value_at(values, done, ch->elem_size), &woken);
            if (*status != 0)
                break;
            if (woken)
                weft__batch_add(&batch, woken);
            done++;
        }
        weft__lock_release(&ch->lock);
        weft__batch_ready(&batch);
    }
    return done;
}

static ssize_t moved(size_t done, size_t n, int status)
{
    return done > 0 || n == 0 ? (ssize_t)done : status;
}

static inline __attribute__((always_inline)) ssize_t
chan_send_n(weft_chan_t *ch, const void *values, size_t n,
            weft_time_t deadline)
{
    char *from = (char *)(uintptr_t)values;
    int status = chan_check(ch, values, n);
    struct weft__fiber *self;
    size_t done = 0;
    size_t size;

    if (status != 0)
        return status;
    self = weft__caller();
    if (!self || deadline == WEFT_NOW) {
        done = move_some(ch, from, n, send_one, &status);
        if (status == -EAGAIN)
            status = weft__wait_refused(self, deadline);
        return moved(done, n, status);
    }
    /* Read once: who got the last value may free the channel. */
    size = ch->elem_size;
    while (done < n) {
        /* One that may wait, then all that need not. */
        status = deadline == WEFT_FOREVER
                     ? weft_chan_send(ch, value_at(from, done, size))
                     : weft_chan_send_until(ch, value_at(from, done, size),
                                            deadline);
        if (status != 0)
            break;
        done++;
        done += move_some(ch, value_at(from, done, size), n - done, send_one,
                          &status);
    }
    return moved(done, n, status);
}

static inline __attribute__((always_inline)) ssize_t
chan_recv_n(weft_chan_t *ch, void *values, size_t n, weft_time_t deadline)
{
    int status = chan_check(ch, values, n);
    size_t done, size;

    if (status != 0)
        return status;
    if (deadline == WEFT_NOW) {
        weft__caller();
        done = move_some(ch, values, n, recv_one, &status);
        return moved(done, n, status);
    }
    if (n == 0)
        return 0;
    /* Read before: whose value was taken may free the channel, if it was the
     * only one wanted. */
    size = ch->elem_size;
    status = deadline == WEFT_FOREVER
                 ? weft_chan_recv(ch, values)
                 : weft_chan_recv_until(ch, values, deadline);
    if (status != 0)
        return status;
    return (ssize_t)(1 + move_some(ch, value_at(values, 1, size), n - 1,
                                   recv_one, &status));
}

ssize_t weft_chan_send_n_until(weft_chan_t *ch, const void *values, size_t n,
                               weft_time_t deadline)
{
    return chan_send_n(ch, values, n, deadline);
}

ssize_t weft_chan_send_n(weft_chan_t *ch, const void *values, size_t n)
{
    return chan_send_n(ch, values, n, WEFT_FOREVER);
}

ssize_t weft_chan_send_n_try(weft_chan_t *ch, const void *values, size_t n)
{
    return chan_send_n(ch, values, n, WEFT_NOW);
}

ssize_t weft_chan_recv_n_until(weft_chan_t *ch, void *values, size_t n,
                               weft_time_t deadline)
{
    return chan_recv_n(ch, values, n, deadline);
}

ssize_t weft_chan_recv_n(weft_chan_t *ch, void *values, size_t n)
{
    return chan_recv_n(ch, values, n, WEFT_FOREVER);
}

ssize_t weft_chan_recv_n_try(weft_chan_t *ch, void *values, size_t n)
{
    return chan_recv_n(ch, values, n, WEFT_NOW);
}

/* --- Closing, looking --------------------------------------------------------- */

int weft_chan_close(weft_chan_t *ch)
{
    struct weft__batch batch = { 0 };
    struct weft__waiter *waiter;

    if (!ch)
        return -EINVAL;
    weft__caller();
    weft__lock_acquire(&ch->lock);
    if (ch->closed) {
        weft__lock_release(&ch->lock);
        return -EPIPE;
    }
    ch->closed = true;
    while ((waiter = weft__waitlist_claim(&ch->receivers,
                                          WEFT__CAUSE_CLOSED)))
        weft__batch_add(&batch, waiter->fiber);
    while ((waiter = weft__waitlist_claim(&ch->senders,
                                          WEFT__CAUSE_CLOSED)))
        weft__batch_add(&batch, waiter->fiber);
    weft__lock_release(&ch->lock);
    weft__batch_ready(&batch);
    return 0;
}

size_t weft_chan_len(weft_chan_t *ch)
{
    size_t len;

    if (!ch)
        return 0;
    weft__caller();
    weft__lock_acquire(&ch->lock);
    len = ch->len;
    weft__lock_release(&ch->lock);
    return len;
}

size_t weft_chan_cap(weft_chan_t *ch)
{
    return ch ? ch->cap : 0;
}

/* --- For select --------------------------------------------------------------- */

int weft__chan_check(weft_chan_t *ch, const void *value)
{
    return chan_check(ch, value, 1);
}

void weft__chan_lock(weft_chan_t *ch)
{
    weft__lock_acquire(&ch->lock);
}

void weft__chan_unlock(weft_chan_t *ch)
{
    weft__lock_release(&ch->lock);
}

bool weft__chan_ready(const weft_chan_t *ch, enum weft__chan_end end)
{
    if (ch->closed)
        return true;
    if (end == WEFT__CHAN_SEND)
        return ch->receivers.first || ch->len < ch->cap;
    return ch->senders.first || ch->len > 0;
}

int weft__chan_move(weft_chan_t *ch, enum weft__chan_end end, void *value,
                    struct weft__fiber **woken)
{
    return end == WEFT__CHAN_SEND ? put_one(ch, value, woken)
                                  : get_one(ch, value, woken);
}

static struct weft__waitlist *line_of(weft_chan_t *ch, enum weft__chan_end end)
{
    return end == WEFT__CHAN_SEND ? &ch->senders : &ch->receivers;
}

void weft__chan_enter(weft_chan_t *ch, enum weft__chan_end end,
                      struct weft__waiter *waiter)
{
    weft__waitlist_push(line_of(ch, end), waiter);
}

void weft__chan_leave(weft_chan_t *ch, enum weft__chan_end end,
                      struct weft__waiter *waiter)
{
    weft__waitlist_remove(line_of(ch, end), waiter);
}
