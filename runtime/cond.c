/*
 * Condition variables
 *
 * The word (wordlock.h): WAITERS while the list is not empty. Beside the list
 * stands the mutex of those who are on it.
 *
 * A waiter publishes its wait, then unlocks the mutex, then parks; it may be
 * claimed as soon as it is published. So whoever signals under the mutex, or
 * after it has held it, finds the waiter.
 *
 * A signal takes off the oldest whose wait it can win. One that was cancelled
 * or ran out of time in the same instant cannot be won any more, and the
 * signal goes to the next: none is consumed by one who does not return 0.
 */
#include <weft/cond.h>

#include <errno.h>
#include <stdint.h>

#include "runtime/mutex.h"
#include "sched/fatal.h"
#include "sched/sched.h"
#include "sched/waitlist.h"
#include "sched/wordlock.h"

#define COND_WAITERS WEFT__WORD_FLAG(0)

struct cond {
    weft__au64 word;
    struct weft__waitlist waiters;
    weft_mutex_t *mutex; /* of those who wait */
};

_Static_assert(sizeof(struct cond) == sizeof(weft_cond_t), "24 bytes");

static struct cond *cond_of(weft_cond_t *c)
{
    return (struct cond *)(void *)c;
}

static uint64_t cond_word(const struct cond *c)
{
    return c->waiters.first ? COND_WAITERS : 0;
}

int weft_cond_wait_until(weft_cond_t *cond, weft_mutex_t *mutex,
                         weft_time_t deadline)
{
    struct cond *c = cond_of(cond);
    struct weft__fiber *self = weft__fiber_self();
    struct weft__waiter waiter = { .fiber = self };
    enum weft__cause cause;
    int status, locked;

    if (!c || !mutex)
        return -EINVAL;
    if (!self || !weft__mutex_held(mutex, self))
        return -EPERM;
    if (weft__canceled_on_entry(self, deadline))
        return -ECANCELED;
    status = weft__wait_refused(self, deadline);

    (void)weft__word_lock(&c->word);
    if (c->waiters.first && c->mutex != mutex)
        status = -EINVAL;
    if (status != 0) {
        weft__word_unlock(&c->word, cond_word(c));
        return status;
    }
    c->mutex = mutex;
    weft__waitlist_push(&c->waiters, &waiter);
    waiter.gen = weft__park_open_until(self, 0, "condition", c, deadline);
    weft__word_unlock(&c->word, COND_WAITERS);

    /* The wait is open, and we still run: this readies another, and gives
     * nothing away. */
    status = weft_mutex_unlock(mutex);
    WEFT__DCHECK(status == 0, "a mutex that was held cannot be unlocked");

    cause = weft__park(self);
    if (cause != WEFT__CAUSE_OK) {
        (void)weft__word_lock(&c->word);
        weft__waitlist_remove(&c->waiters, &waiter);
        weft__word_unlock(&c->word, cond_word(c));
    }
    /* From an OK on the condition may be gone; the mutex may not. */
    locked = weft_mutex_lock(mutex);
    return locked != 0 ? locked : weft__cause_code(cause);
}

int weft_cond_wait(weft_cond_t *cond, weft_mutex_t *mutex)
{
    return weft_cond_wait_until(cond, mutex, WEFT_FOREVER);
}

int weft_cond_signal_n(weft_cond_t *cond, uint32_t n)
{
    struct cond *c = cond_of(cond);
    struct weft__batch batch = { 0 };
    struct weft__waiter *waiter;

    if (!c)
        return -EINVAL;
    if (!weft__fiber_self())
        weft__foreigner_note();
    /* relaxed: a waiter that we have to find was published before it unlocked
     * the mutex that we have held since. INNER counts: the list may be about
     * to change. */
    if (n == 0 || !weft__load(&c->word, RELAXED))
        return 0;

    (void)weft__word_lock(&c->word);
    while (n-- > 0 &&
           (waiter = weft__waitlist_claim(&c->waiters, WEFT__CAUSE_OK)))
        weft__batch_add(&batch, waiter->fiber);
    weft__word_unlock(&c->word, cond_word(c));
    weft__batch_ready(&batch);
    return 0;
}

int weft_cond_signal(weft_cond_t *cond)
{
    return weft_cond_signal_n(cond, 1);
}

int weft_cond_broadcast(weft_cond_t *cond)
{
    return weft_cond_signal_n(cond, UINT32_MAX);
}
