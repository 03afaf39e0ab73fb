/*
 * Mutexes
 *
 * The word (wordlock.h): the owner's record index in the low half, 0 when
 * free; WAITERS while the list is not empty; WAKING while a woken waiter is
 * on its way.
 *
 * Locking a free mutex with no one waiting, and unlocking it, is one
 * compare-and-swap each. A contended unlock frees the mutex and wakes the
 * oldest waiter, which tries again: meanwhile any running fiber may take it,
 * so a mutex that is used in short sections moves at the speed of the running
 * fibers and not at that of wake-ups. One waiter is woken at a time (WAKING).
 * One that finds it taken again goes back to the front with its old time; if
 * the oldest has waited 1 ms, unlock hands the mutex over to it.
 *
 * After Go's sync.Mutex (normal and starvation mode), which has the bound of
 * 1 ms from measurements of both extremes.
 */
#include <weft/mutex.h>

#include <errno.h>

#include "runtime/mutex.h"
#include "sched/fatal.h"
#include "sched/os.h"
#include "sched/sched.h"
#include "sched/waitlist.h"
#include "sched/wordlock.h"
#include "sched/worker.h"

#define MUTEX_OWNER ((uint64_t)0xffffffff)
#define MUTEX_WAITERS WEFT__WORD_FLAG(0)
#define MUTEX_WAKING WEFT__WORD_FLAG(1)

enum {
    MUTEX_PATIENCE = 1000000, /* ns a waiter is passed by */
    MUTEX_SPINS = 30
};

struct mutex {
    weft__au64 word;
    struct weft__waitlist waiters;
};

_Static_assert(sizeof(struct mutex) == sizeof(weft_mutex_t), "16 bytes");

static struct mutex *mutex_of(weft_mutex_t *m)
{
    return (struct mutex *)(void *)m;
}

bool weft__mutex_held(weft_mutex_t *mutex, const struct weft__fiber *self)
{
    /* relaxed: only the owner writes its own index there, or takes it out. */
    return (weft__load(&mutex_of(mutex)->word, RELAXED) & MUTEX_OWNER) ==
           weft__fiber_index(self);
}

/* Take it if it is free, whoever waits. */
static bool mutex_grab(struct mutex *m, uint64_t me, uint64_t drop)
{
    uint64_t seen = weft__load(&m->word, RELAXED); /* the swap checks it */

    while (!(seen & (MUTEX_OWNER | WEFT__WORD_INNER))) {
        /* acquire: what the last owner wrote. */
        if (weft__cas(&m->word, &seen, (seen & ~drop) | me, ACQUIRE, RELAXED))
            return true;
    }
    return false;
}

/* The owner may be about to unlock, on another core. */
static bool mutex_spin(struct mutex *m, uint64_t me)
{
    int spins = weft__sched.count > 1 && weft__os_multicore() ? MUTEX_SPINS
                                                              : 0;

    /* Not where others wait already: then looking only moves the line from
     * core to core, and who waits costs its worker nothing. relaxed: a look;
     * mutex_grab() checks. */
    while (spins-- > 0 &&
           !(weft__load(&m->word, RELAXED) & MUTEX_WAITERS)) {
        weft__os_pause();
        if (mutex_grab(m, me, 0))
            return true;
    }
    return false;
}

/* The wait has ended, and not by an unlock. The node is on the list, unless
 * an unlock found it lost and took it off. Nothing was meant for us: who was
 * woken is another, or the owner has still to unlock. */
static void mutex_leave(struct mutex *m, struct weft__waiter *waiter)
{
    uint64_t word = weft__word_lock(&m->word);

    weft__waitlist_remove(&m->waiters, waiter);
    weft__word_unlock(&m->word,
                      m->waiters.first ? word : word & ~MUTEX_WAITERS);
}

/*
 * `flags` is WEFT__WAKE_NO_CANCEL for the plain lock.
 *
 * One that was woken speaks for all who wait: as long as WAKING stands, unlocks
 * free the mutex and wake no one. So it takes WAKING back by one of two steps,
 * under the inner lock or as one: it takes the mutex, and will unlock it; or it
 * sees an owner, who will, and goes back to the list or, if its time is up, on
 * its way. Either way someone unlocks after it and sees who waits.
 */
static __attribute__((noinline)) int mutex_lock_slow(struct mutex *m,
                                                     struct weft__fiber *self,
                                                     uint64_t flags,
                                                     weft_time_t deadline)
{
    uint64_t me = weft__fiber_index(self);
    struct weft__waiter waiter = { .fiber = self };
    uint64_t waking = 0; /* MUTEX_WAKING once we are the one it speaks of */

    if (mutex_spin(m, me))
        return 0;
    for (;;) {
        uint64_t word = weft__word_lock(&m->word);
        enum weft__cause cause;
        int status;

        if (!(word & MUTEX_OWNER)) {
            weft__word_unlock(&m->word, (word & ~waking) | me);
            return 0;
        }
        status = weft__wait_refused(self, deadline);
        if (status != 0) {
            weft__word_unlock(&m->word, word & ~waking);
            return status;
        }
        if (waking) {
            weft__waitlist_push_front(&m->waiters, &waiter);
        } else {
            waiter.since = weft__os_now();
            weft__waitlist_push(&m->waiters, &waiter);
        }
        waiter.gen = weft__park_open_until(self, flags, "mutex", m, deadline);
        weft__word_unlock(&m->word, (word & ~waking) | MUTEX_WAITERS);

        cause = weft__park(self);
        if (cause == WEFT__CAUSE_OK)
            return 0; /* handed over */
        if (cause == WEFT__CAUSE_RETRY) {
            waking = MUTEX_WAKING;
            if (mutex_grab(m, me, waking))
                return 0;
            continue;
        }
        mutex_leave(m, &waiter);
        return weft__cause_code(cause);
    }
}

/* Nobody has it, but someone is at its list: who has given up waiting, say, and
 * may lose its processor there. That is no one to say -EAGAIN for. */
static __attribute__((noinline)) int mutex_try_slow(struct mutex *m,
                                                    uint64_t me)
{
    uint64_t word = weft__word_lock(&m->word);
    bool free = !(word & MUTEX_OWNER);

    weft__word_unlock(&m->word, free ? word | me : word);
    return free ? 0 : -EAGAIN;
}

int weft_mutex_lock_try(weft_mutex_t *mutex)
{
    struct mutex *m = mutex_of(mutex);
    struct weft__fiber *self;
    uint64_t me, seen = 0;

    if (!m)
        return -EINVAL;
    self = weft__owner_self();
    if (!self)
        return -ENOMEM;
    /* An owner outside: those who sleep for the mutex are not lost. relaxed:
     * its own. */
    if (weft__load(&self->stack, RELAXED) & WEFT__FIBER_FOREIGN)
        weft__foreigner_note();
    me = weft__fiber_index(self);
    /* acquire: what the last owner wrote. */
    if (weft__cas(&m->word, &seen, me, ACQUIRE, RELAXED) ||
        mutex_grab(m, me, 0))
        return 0;
    if ((seen & MUTEX_OWNER) == me)
        return -EDEADLK;
    /* relaxed: whoever owns it, owns it while we are here. */
    return weft__load(&m->word, RELAXED) & MUTEX_OWNER ? -EAGAIN
                                                       : mutex_try_slow(m, me);
}

/* On a thread that runs no fiber, which may own but not wait. */
static __attribute__((noinline)) int mutex_lock_foreign(weft_mutex_t *mutex)
{
    int status = weft_mutex_lock_try(mutex);

    return status == -EAGAIN || status == -ENOMEM ? -EPERM : status;
}

int weft_mutex_lock(weft_mutex_t *mutex)
{
    struct mutex *m = mutex_of(mutex);
    struct weft__fiber *self = weft__fiber_self();
    uint64_t me, seen = 0;

    if (!self)
        return mutex_lock_foreign(mutex);
    if (!m)
        return -EINVAL;
    me = weft__fiber_index(self);
    /* acquire: what the last owner wrote. */
    if (weft__cas(&m->word, &seen, me, ACQUIRE, RELAXED))
        return 0;
    if ((seen & MUTEX_OWNER) == me)
        return -EDEADLK;
    return mutex_lock_slow(m, self, WEFT__WAKE_NO_CANCEL, WEFT_FOREVER);
}

int weft_mutex_lock_until(weft_mutex_t *mutex, weft_time_t deadline)
{
    struct mutex *m = mutex_of(mutex);
    struct weft__fiber *self = weft__fiber_self();
    uint64_t me, seen = 0;

    if (deadline == WEFT_NOW)
        return weft_mutex_lock_try(mutex);
    if (!self)
        return mutex_lock_foreign(mutex);
    if (!m)
        return -EINVAL;
    if (weft__canceled(self))
        return -ECANCELED;
    me = weft__fiber_index(self);
    /* acquire: what the last owner wrote. */
    if (weft__cas(&m->word, &seen, me, ACQUIRE, RELAXED))
        return 0;
    if ((seen & MUTEX_OWNER) == me)
        return -EDEADLK;
    return mutex_lock_slow(m, self, 0, deadline);
}

/* Someone waits, or someone is at the list. */
static __attribute__((noinline)) int mutex_unlock_slow(struct mutex *m,
                                                       uint64_t seen)
{
    struct weft__waiter *first;
    enum weft__cause cause;
    uint64_t word;

    /* A woken one is on its way: just free it. */
    while (seen & MUTEX_WAKING && !(seen & WEFT__WORD_INNER)) {
        /* release: what we wrote as the owner. */
        if (weft__cas(&m->word, &seen, seen & ~MUTEX_OWNER, RELEASE, RELAXED))
            return 0;
    }

    word = weft__word_lock(&m->word) & ~MUTEX_OWNER;
    first = m->waiters.first;
    cause = WEFT__CAUSE_RETRY;
    if (first && weft__os_now() - first->since >= MUTEX_PATIENCE)
        cause = WEFT__CAUSE_OK;
    first = word & MUTEX_WAKING ? NULL
                                : weft__waitlist_claim(&m->waiters, cause);
    if (!m->waiters.first)
        word &= ~MUTEX_WAITERS;
    if (first && cause == WEFT__CAUSE_OK)
        word |= weft__fiber_index(first->fiber);
    else if (first)
        word |= MUTEX_WAKING;

    /* The node is on a stack that may be gone after the ready. */
    struct weft__fiber *fiber = first ? first->fiber : NULL;

    weft__word_unlock(&m->word, word);
    if (fiber)
        weft__ready(fiber);
    return 0;
}

int weft_mutex_unlock(weft_mutex_t *mutex)
{
    struct mutex *m = mutex_of(mutex);
    struct weft__fiber *self = weft__self();
    uint64_t me, seen;

    if (!m)
        return -EINVAL;
    if (!self)
        return -EPERM;
    me = weft__fiber_index(self);
    seen = me;
    /* release: what we wrote as the owner. */
    if (weft__cas(&m->word, &seen, 0, RELEASE, RELAXED))
        return 0;
    WEFT__DCHECK((seen & MUTEX_OWNER) <= weft__fiber_made(),
                 "a mutex's owner word names no record: was it zeroed, or "
                 "overwritten?");
    if ((seen & MUTEX_OWNER) != me)
        return -EPERM;
    return mutex_unlock_slow(m, seen);
}
