/*
 * Parking: the waist of the house
 *
 * A fiber that goes to sleep and those who want it back meet in one word,
 * f->wake: a generation, which names one wait, and a state.
 *
 *     NEW -> RUNNING                  whoever starts it, by CAS
 *     RUNNING -> OPEN                 it publishes its next wait
 *     OPEN -> PARKED                  its registers are saved
 *     PARKED -> DONE(cause)           one waker wins, by CAS
 *     OPEN -> CLAIMED(cause)          one waker wins while it still runs
 *     CLAIMED -> CLAIMED_PARKED       its registers are saved
 *     CLAIMED | CLAIMED_PARKED -> DONE     the waker has let go
 *     DONE -> RUNNING                 it is back
 *
 * What holds:
 *   1. A waker has the record and the generation from where the waiter left
 *      them, never a pointer into its frame, and wins by compare-and-swap of
 *      that generation. So each wait ends once, and no late waker ends the
 *      next one: no tokens, no spurious returns.
 *   2. PARKED is set after the registers are saved, by whatever the worker
 *      runs next, as its first act (switch.c).
 *   3. A waker has two steps. weft__claim() wins the wait, under the
 *      primitive's inner lock, after the effect (a value copied, a lock handed
 *      over). weft__ready() lets the fiber go, after that lock is dropped. In
 *      between the fiber cannot run: from PARKED only its waker queues it,
 *      and from CLAIMED its own commit does not. So an object may be freed by
 *      the one it woke: dropping the lock was the waker's last touch of it.
 *   4. Whoever finds both its registers saved and the waker gone queues it:
 *      the waker, unless the commit comes last and finds DONE.
 *   5. A waiter that lost to another cause takes the inner lock to unlink
 *      itself; its buffer is there until the waker is done with it.
 *   6. A call leaves every list it stood on before it returns.
 *
 * Cancelling: the flag in the life word is set first (a locked operation, so
 * a full barrier), then the wake word is read. The waiter's commit is one
 * too, and reads the flag after it: one of the two sees the other. A wait
 * that is no cancellation point, or stands behind a shield, says so in a bit
 * of its OPEN and PARKED.
 *
 * The flag is taken back by the fiber alone, and never while it waits. The
 * canceller reads it again after the wake word: set, it stays set for as long
 * as that wait is open; cleared, the wait it found may have begun after that,
 * and is left alone. So whoever gets -ECANCELED finds the flag set.
 *
 * Why a generation and no simple token: DESIGN's proof is short because no
 * wait can ever be confused with another; with tokens each caller would have
 * to look at its condition again.
 */
#ifndef WEFT_SCHED_PARK_H
#define WEFT_SCHED_PARK_H

#include <errno.h>
#include <weft/time.h>

#include "sched/fiber.h"
#include "sched/os.h"

#define WEFT__WAKE_STATE_MASK ((uint64_t)15)
#define WEFT__WAKE_FREE ((uint64_t)0)
#define WEFT__WAKE_RUNNING ((uint64_t)1)
#define WEFT__WAKE_OPEN ((uint64_t)2)
#define WEFT__WAKE_PARKED ((uint64_t)3)
#define WEFT__WAKE_DONE ((uint64_t)4)
#define WEFT__WAKE_NEW ((uint64_t)5)
#define WEFT__WAKE_CLAIMED ((uint64_t)6)
#define WEFT__WAKE_CLAIMED_PARKED ((uint64_t)7)
#define WEFT__WAKE_NO_CANCEL ((uint64_t)16)
#define WEFT__WAKE_CAUSE_SHIFT 5
#define WEFT__WAKE_CAUSE_MASK ((uint64_t)7 << WEFT__WAKE_CAUSE_SHIFT)
#define WEFT__WAKE_GEN_SHIFT 16
#define WEFT__WAKE_GEN_ONE ((uint64_t)1 << WEFT__WAKE_GEN_SHIFT)
#define WEFT__WAKE_GEN_MASK (~(WEFT__WAKE_GEN_ONE - 1))

/* Why a wait ended. */
enum weft__cause {
    WEFT__CAUSE_OK,       /* what was waited for has happened */
    WEFT__CAUSE_RETRY,    /* it may be had now: try again */
    WEFT__CAUSE_CLOSED,   /* the object was closed */
    WEFT__CAUSE_CANCEL,   /* the fiber was cancelled */
    WEFT__CAUSE_TIMEOUT,  /* the deadline has passed */
    WEFT__CAUSE_DEADLOCK, /* the whole program was asleep */
    WEFT__CAUSE_SELF      /* its own commit found the event had come */
};

/*
 * Publish a wait of the calling fiber, for dumps under the name `what`. From
 * here on wakers that know the answer, its generation, may win it. `flags` is
 * 0 or WEFT__WAKE_NO_CANCEL, which an open shield adds; at `deadline` the wait
 * ends by itself.
 */
uint64_t weft__park_open_until(struct weft__fiber *self, uint64_t flags,
                               const char *what, void *object,
                               int64_t deadline);

/* One without a deadline. */
static inline uint64_t weft__park_open(struct weft__fiber *self,
                                       uint64_t flags, const char *what,
                                       void *object)
{
    return weft__park_open_until(self, flags, what, object, WEFT_FOREVER);
}

/* Give the worker away until the open wait is DONE. */
enum weft__cause weft__park(struct weft__fiber *self);

/* The same for a join (join.h): the commit looks at the child once more. `to`
 * is the child if the caller has won the right to start it, or NULL. */
enum weft__cause weft__park_join(struct weft__fiber *self,
                                 struct weft__fiber *child, uint64_t version,
                                 struct weft__fiber *to);

/* Take back an open wait: nothing is waited for after all. true: taken back;
 * false: a waker was faster, and *cause is its cause. */
bool weft__park_revoke(struct weft__fiber *self, enum weft__cause *cause);

/* Win a wait, from any thread. true: the fiber is the caller's, who lets it go
 * by weft__ready() as soon as no inner lock is held. */
bool weft__claim(struct weft__fiber *f, uint64_t gen, enum weft__cause cause);

/* Let a claimed fiber go: it will run, here or elsewhere. From any thread. */
void weft__ready(struct weft__fiber *f);

/* The same without queueing it, so that the caller may switch to it: false if
 * it has not parked yet, and will queue itself. */
bool weft__release(struct weft__fiber *f);

/*
 * Several claimed fibers in one hand, in order; they are let go together and
 * wake one sleeping worker for all.
 */
struct weft__batch {
    struct weft__fiber *first;
    struct weft__fiber *last;
};
void weft__batch_add(struct weft__batch *batch, struct weft__fiber *f);
void weft__batch_ready(struct weft__batch *batch);
/* The same from the base context of a worker, which is about to run one of
 * them itself: others are woken only for what is left. */
void weft__batch_keep(struct weft__batch *batch);

/* Claim and ready in one: where no lock is held anyway. */
bool weft__wake(struct weft__fiber *f, uint64_t gen, enum weft__cause cause);

/* Set the cancel flag of the fiber whose life word was `life`, and end its
 * wait if it is a cancellation point. false: that life is over. */
bool weft__cancel(struct weft__fiber *f, uint64_t life);

/* Has the calling fiber been cancelled, shield or not? */
static inline bool weft__cancel_pending(const struct weft__fiber *self)
{
    /* relaxed: a canceller that comes later ends the wait itself. */
    return weft__load(&self->life, RELAXED) & WEFT__LIFE_CANCEL;
}

/* Shall the calling fiber not wait, since it was cancelled? */
static inline bool weft__canceled(const struct weft__fiber *self)
{
    /* relaxed: its own. */
    return weft__cancel_pending(self) &&
           !(weft__load(&self->stack, RELAXED) & WEFT__FIBER_SHIELDED);
}

/* The fiber takes back what its cancellers set. */
void weft__cancel_clear(struct weft__fiber *self);

/* Shields nest. The end of one that was not begun does nothing. */
void weft__shield_begin(struct weft__fiber *self);
void weft__shield_end(struct weft__fiber *self);

/* The look at the cancel on entry of a call that may wait. A `_try` form, the
 * deadline WEFT_NOW, does not look. */
static inline bool weft__canceled_on_entry(const struct weft__fiber *self,
                                           int64_t deadline)
{
    return deadline != WEFT_NOW && self && weft__canceled(self);
}

/* What a call answers that would have to wait now: 0: it may wait. `self` is
 * NULL on a thread that runs no fiber. */
static inline int weft__wait_refused(const struct weft__fiber *self,
                                     int64_t deadline)
{
    if (!self)
        return deadline == WEFT_NOW ? -EAGAIN : -EPERM;
    if (deadline == WEFT_FOREVER)
        return 0;
    if (deadline == WEFT_NOW)
        return -EAGAIN;
    return deadline <= weft__os_now() ? -ETIMEDOUT : 0;
}

/* The code for a cause other than OK. */
int weft__cause_code(enum weft__cause cause);

#endif
