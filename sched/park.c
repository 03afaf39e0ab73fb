#include "sched/park.h"

#include "sched/fatal.h"
#include "sched/guard.h"
#include "sched/inject.h"
#include "sched/lock.h"
#include "sched/sanitizer.h"
#include "sched/worker.h"

static uint64_t wake_state(uint64_t wake)
{
    return wake & WEFT__WAKE_STATE_MASK;
}

uint64_t weft__park_open_until(struct weft__fiber *self, uint64_t flags,
                               const char *what, void *object,
                               int64_t deadline)
{
    struct weft__fiber_cold *cold = weft__fiber_cold(self);
    /* relaxed: while it runs no one else writes the word. */
    uint64_t gen = (weft__load(&self->wake, RELAXED) & WEFT__WAKE_GEN_MASK) +
                   WEFT__WAKE_GEN_ONE;

    /* relaxed: its own. */
    if (__builtin_expect(
            (weft__load(&self->stack, RELAXED) & WEFT__FIBER_SHIELDED) != 0,
            0))
        flags |= WEFT__WAKE_NO_CANCEL;
    /* relaxed: dumps take what they get. */
    weft__store(&cold->what, what, RELAXED);
    weft__store(&cold->object, object, RELAXED);
    weft__store(&cold->since, weft__load(&self->worker->clock, RELAXED),
                RELAXED);
    weft__store(&cold->deadline, deadline, RELAXED);
    /* release: who claims this wait sees what we wrote before it. */
    weft__store(&self->wake, gen | flags | WEFT__WAKE_OPEN, RELEASE);
    return gen;
}

/* The wait is DONE: be RUNNING again, and say why. */
static enum weft__cause park_over(struct weft__fiber *self)
{
    /* acquire: the effect of whoever ended the wait. */
    uint64_t wake = weft__load(&self->wake, ACQUIRE);

    WEFT__DCHECK(wake_state(wake) == WEFT__WAKE_DONE,
                 "a fiber was resumed while its wait was open");
    /* relaxed: no one else writes the word of a RUNNING fiber. */
    weft__store(&self->wake,
                (wake & WEFT__WAKE_GEN_MASK) | WEFT__WAKE_RUNNING, RELAXED);
    return (enum weft__cause)((wake & WEFT__WAKE_CAUSE_MASK) >>
                              WEFT__WAKE_CAUSE_SHIFT);
}

/* Always inline: it is part of the shortest way, whoever else calls it. */
static inline __attribute__((always_inline)) void
park_check(struct weft__fiber *self)
{
    uintptr_t stack = weft__load(&self->stack, RELAXED); /* its own */

    weft__lock_debug_none();
    WEFT__DCHECK((char *)__builtin_frame_address(0) >
                         weft__stack_limit(stack) &&
                     (char *)__builtin_frame_address(0) <
                         weft__stack_top(stack),
                 "a fiber parks on a stack that is not its own");
    if (stack & WEFT__STACK_CANARY)
        weft__guard_check(stack);
    weft__count(&self->worker->counters.parks, 1);
}

/* Of the wait that is open; its own, so relaxed. */
static int64_t park_deadline(const struct weft__fiber *self)
{
    return weft__load(&weft__fiber_cold(self)->deadline, RELAXED);
}

/* A wait with a deadline: it is seen to after OPEN and before the switch, see
 * timer.h. noinline: the others stay as short as they are. */
static __attribute__((noinline)) enum weft__cause
park_until(struct weft__fiber *self, struct weft__fiber *child,
           uint64_t version, struct weft__fiber *to)
{
    struct weft__worker *w = self->worker;

    park_check(self);
    weft__count_wait(&w->counters.timed_begun);
    weft__timer_arm(self, park_deadline(self));
    if (!to)
        to = weft__find_local(w);
    w->left_child = child;
    w->left_version = version;
    weft__switch(w, self, to ? to : &w->base, WEFT__LEFT_PARK);
    weft__count_wait(&self->worker->counters.timed_over);
    return park_over(self);
}

enum weft__cause weft__park(struct weft__fiber *self)
{
    if (park_deadline(self) != WEFT_FOREVER)
        return park_until(self, NULL, 0, NULL);
    park_check(self);
    weft__switch_away(self, WEFT__LEFT_PARK);
    return park_over(self);
}

enum weft__cause weft__park_join(struct weft__fiber *self,
                                 struct weft__fiber *child, uint64_t version,
                                 struct weft__fiber *to)
{
    struct weft__worker *w = self->worker;

    if (park_deadline(self) != WEFT_FOREVER)
        return park_until(self, child, version, to);
    park_check(self);
    if (!to)
        to = weft__find_local(w);
    w->left_child = child;
    w->left_version = version;
    weft__switch(w, self, to ? to : &w->base, WEFT__LEFT_PARK);
    return park_over(self);
}

bool weft__park_revoke(struct weft__fiber *self, enum weft__cause *cause)
{
    uint64_t wake = weft__load(&self->wake, RELAXED); /* the swap checks */

    while (wake_state(wake) == WEFT__WAKE_OPEN) {
        uint64_t next = (wake & WEFT__WAKE_GEN_MASK) | WEFT__WAKE_RUNNING;

        /* acquire: as park_over(), when someone was faster. */
        if (weft__cas(&self->wake, &wake, next, ACQUIRE, ACQUIRE))
            return true;
    }
    /* The waker may not have let go yet, and will queue us: so park. */
    *cause = weft__park(self);
    return false;
}

bool weft__claim(struct weft__fiber *f, uint64_t gen, enum weft__cause cause)
{
    /* relaxed: the swap checks it. */
    uint64_t wake = weft__load(&f->wake, RELAXED);
    uint64_t won = gen | (uint64_t)cause << WEFT__WAKE_CAUSE_SHIFT;

    while ((wake & WEFT__WAKE_GEN_MASK) == gen) {
        uint64_t next;

        if (wake_state(wake) == WEFT__WAKE_PARKED)
            next = won | WEFT__WAKE_DONE;
        else if (wake_state(wake) == WEFT__WAKE_OPEN)
            next = won | WEFT__WAKE_CLAIMED;
        else
            break;
        /* acquire: the registers, from PARKED. release: our effect reaches
         * the fiber, through its own acquire in park_over(). */
        if (weft__cas(&f->wake, &wake, next, ACQ_REL, RELAXED))
            return true;
    }
    return false;
}

/* An effect after the claim reaches the fiber through the queue: its worker
 * takes the entry and then switches. TSan does not follow that last step, so
 * it is told by the word that the fiber itself looks at. */
static inline void tell_effect(struct weft__fiber *f)
{
#ifdef WEFT__TSAN
    weft__fetch_or(&f->wake, 0, RELEASE);
#else
    (void)f;
#endif
}

bool weft__release(struct weft__fiber *f)
{
    /* relaxed: from DONE it is ours, and no one writes; else the swap
     * checks it. */
    uint64_t wake = weft__load(&f->wake, RELAXED);
    bool parked;

    do {
        if (wake_state(wake) == WEFT__WAKE_DONE) {
            tell_effect(f);
            return true;
        }
        parked = wake_state(wake) == WEFT__WAKE_CLAIMED_PARKED;
        /* acquire: the registers. release: our effect, as in the claim. */
    } while (!weft__cas(&f->wake, &wake,
                        (wake & ~WEFT__WAKE_STATE_MASK) | WEFT__WAKE_DONE,
                        ACQ_REL, RELAXED));
    return parked;
}

void weft__ready(struct weft__fiber *f)
{
    struct weft__worker *w = weft__worker_self();
    uint32_t entry = weft__fiber_index(f) << 1;

    weft__lock_debug_none();
    if (!weft__release(f))
        return;
    if (w) {
        weft__worker_push_next(w, entry);
        return;
    }
    weft__inject_push(&entry, 1);
    /* seq_cst: our push, then our look at the sleepers; pairs with the fence
     * of a worker that goes to sleep. */
    weft__fence(SEQ_CST);
    weft__idle_wake_one();
}

void weft__batch_add(struct weft__batch *batch, struct weft__fiber *f)
{
    weft__fiber_cold(f)->in_hand = NULL;
    if (batch->last)
        weft__fiber_cold(batch->last)->in_hand = f;
    else
        batch->first = f;
    batch->last = f;
}

/* Into the caller's ring, or for anyone's. */
static void batch_queue(struct weft__worker *w, const struct weft__batch *batch)
{
    struct weft__fiber *next;

    weft__lock_debug_none();
    for (struct weft__fiber *f = batch->first; f; f = next) {
        uint32_t entry = weft__fiber_index(f) << 1;

        next = weft__fiber_cold(f)->in_hand;
        if (!weft__release(f))
            continue;
        if (w)
            weft__worker_push(w, entry);
        else
            weft__inject_push(&entry, 1);
    }
}

void weft__batch_ready(struct weft__batch *batch)
{
    batch_queue(weft__worker_self(), batch);
    if (!batch->first)
        return;
    /* seq_cst: as in weft__ready(). */
    weft__fence(SEQ_CST);
    weft__idle_wake_one();
}

void weft__batch_keep(struct weft__batch *batch)
{
    struct weft__worker *w = weft__worker_self();

    batch_queue(w, batch);
    if (w && weft__runq_len(&w->runq) > 1)
        weft__idle_hint();
}

bool weft__wake(struct weft__fiber *f, uint64_t gen, enum weft__cause cause)
{
    if (!weft__claim(f, gen, cause))
        return false;
    weft__ready(f);
    return true;
}

bool weft__cancel(struct weft__fiber *f, uint64_t life)
{
    uint64_t version = weft__life_version(life);
    uint64_t wake, state;

    /* seq_cst: the flag, then the look at the wake word; pairs with the
     * commit in switch.c. */
    do {
        if (weft__life_version(life) != version ||
            life & (WEFT__LIFE_ENDED | WEFT__LIFE_CONSUMED))
            return false;
    } while (!weft__cas(&f->life, &life, life | WEFT__LIFE_CANCEL, SEQ_CST,
                        RELAXED));

    /* acquire: pairs with the release of the wait's opening, so that below we
     * see a flag that the fiber cleared before it. */
    wake = weft__load(&f->wake, ACQUIRE);
    life = weft__load(&f->life, ACQUIRE);
    /* Another life, and the generation is none of its waits; cleared, and the
     * wait may be one that began later. */
    if (weft__life_version(life) != version || !(life & WEFT__LIFE_CANCEL))
        return true;
    state = wake_state(wake);
    if ((state == WEFT__WAKE_OPEN || state == WEFT__WAKE_PARKED) &&
        !(wake & WEFT__WAKE_NO_CANCEL))
        weft__wake(f, wake & WEFT__WAKE_GEN_MASK, WEFT__CAUSE_CANCEL);
    return true;
}

void weft__cancel_clear(struct weft__fiber *self)
{
    /* relaxed: a locked operation on the word that cancellers look at again,
     * and published with the next wait. */
    if (weft__cancel_pending(self))
        weft__fetch_and(&self->life, ~WEFT__LIFE_CANCEL, RELAXED);
}

void weft__shield_begin(struct weft__fiber *self)
{
    struct weft__fiber_cold *cold = weft__fiber_cold(self);
    uintptr_t stack = weft__load(&self->stack, RELAXED); /* its own, both */

    weft__store(&cold->shields, weft__load(&cold->shields, RELAXED) + 1,
                RELAXED);
    weft__store(&self->stack, stack | WEFT__FIBER_SHIELDED, RELAXED);
}

void weft__shield_end(struct weft__fiber *self)
{
    struct weft__fiber_cold *cold = weft__fiber_cold(self);
    uintptr_t stack = weft__load(&self->stack, RELAXED); /* its own, both */
    uint64_t left = weft__load(&cold->shields, RELAXED);

    if (left == 0)
        return;
    weft__store(&cold->shields, left - 1, RELAXED);
    if (left == 1)
        weft__store(&self->stack, stack & ~WEFT__FIBER_SHIELDED, RELAXED);
}

int weft__cause_code(enum weft__cause cause)
{
    switch (cause) {
    case WEFT__CAUSE_CLOSED:
        return -EPIPE;
    case WEFT__CAUSE_CANCEL:
        return -ECANCELED;
    case WEFT__CAUSE_TIMEOUT:
        return -ETIMEDOUT;
    case WEFT__CAUSE_DEADLOCK:
        return -EDEADLK;
    case WEFT__CAUSE_OK:
    case WEFT__CAUSE_RETRY:
    case WEFT__CAUSE_SELF:
        break;
    }
    return 0;
}
