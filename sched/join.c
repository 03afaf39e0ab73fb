#include "sched/join.h"

#include <errno.h>

#include "sched/park.h"

/* Marks in joiner_gen, where a generation has no bits. */
#define JOIN_ONE_OF ((uint64_t)1)
#define JOIN_WON ((uint64_t)2)

/* The record cache of the worker that the caller runs on, or NULL. */
static struct weft__record_cache *records_here(void)
{
    struct weft__worker *w = weft__worker_self();

    return w ? &w->records : NULL;
}

/* --- The ender ------------------------------------------------------------- */

/* The joiner has been claimed. If it is parked go straight to it, unless those
 * in the queue have waited for long enough, or a long look is due. */
static struct weft__fiber *joiner_next(struct weft__worker *w,
                                       struct weft__fiber *joiner)
{
    /* relaxed: the monitor's wish, for once. */
    if (w->straight >= w->budget || weft__load(&w->turns, RELAXED) == 0) {
        weft__ready(joiner);
        return NULL;
    }
    w->straight++;
    return weft__release(joiner) ? joiner : NULL;
}

struct weft__fiber *weft__join_end(struct weft__worker *w,
                                   struct weft__fiber *f)
{
    struct weft__fiber *joiner;
    uint64_t gen;
    bool free;
    uint64_t life = weft__life_end(f, &free);

    if (free)
        weft__record_give(&w->records, f);
    if (!(life & WEFT__LIFE_JOINED))
        return NULL;

    /* acquire: pairs with the joiner's release; after ENDED, and the record
     * is still ours to look at: no joiner recycles it before REAPED. */
    gen = weft__load(&f->joiner_gen, ACQUIRE);
    joiner = weft__life_joiner(life);
    if (gen != 0 && weft__claim(joiner, gen, WEFT__CAUSE_OK))
        return joiner_next(w, joiner);
    if (gen & JOIN_ONE_OF &&
        weft__claim(joiner, gen & WEFT__WAKE_GEN_MASK, WEFT__CAUSE_OK)) {
        /* relaxed: reaches it with what lets it go. */
        weft__store(&f->joiner_gen, JOIN_WON, RELAXED);
        return joiner_next(w, joiner);
    }
    /* It was on its way in, or on its way out, and sees ENDED by itself. */
    if (weft__life_reap(f) && weft__life_consume(f))
        weft__record_give(&w->records, f);
    return NULL;
}

/* --- The joiner ------------------------------------------------------------ */

void weft__join_commit(struct weft__fiber *joiner, uint64_t gen,
                       struct weft__fiber *child, uint64_t version)
{
    /* relaxed: ordered by the barrier of the commit; who acts on it claims. */
    uint64_t life = weft__load(&child->life, RELAXED);

    if (weft__life_version(life) == version && life & WEFT__LIFE_ENDED)
        weft__wake(joiner, gen, WEFT__CAUSE_SELF);
}

/* Start the child ourselves if no one has: true if it is ours to run. */
static inline bool child_claim(struct weft__fiber *self,
                               struct weft__fiber *child)
{
    uint64_t wake = weft__load(&child->wake, RELAXED); /* the swap checks */
    uint64_t running;

    if ((wake & WEFT__WAKE_STATE_MASK) != WEFT__WAKE_NEW)
        return false;
    running = (wake & WEFT__WAKE_GEN_MASK) | WEFT__WAKE_RUNNING;

    /* In our own next slot: with the hint in hand no one else can start it. */
    if (weft__worker_take_next(self->worker, weft__fiber_index(child) << 1 |
                                                 WEFT__ENTRY_HINT)) {
        uintptr_t stack = weft__load(&child->stack, RELAXED);

        weft__store(&child->stack, stack | WEFT__FIBER_OWNS_HINT, RELAXED);
        weft__store(&child->wake, running, RELAXED);
        return true;
    }
    /* acquire: what its spawner wrote. The hint stays where it is, dead. */
    return weft__cas(&child->wake, &wake, running, ACQ_REL, RELAXED);
}

/* Take the result of a child that has ended under us, though it was not its
 * end that woke us: see invariant 2. */
static void join_reap(struct weft__fiber *child, void **result)
{
    if (result)
        *result = child->result;
    if (weft__life_reap_joined(child) && weft__life_consume(child))
        weft__record_give(records_here(), child);
}

/* The wait is over for another reason than the child's end. */
static int join_leave(struct weft__fiber *child, enum weft__cause cause,
                      void **result)
{
    uint64_t life;

    /* release: before JOINED is taken back. */
    weft__store(&child->joiner_gen, 0, RELEASE);
    life = weft__load(&child->life, ACQUIRE);
    while (!(life & WEFT__LIFE_ENDED)) {
        uint64_t next =
            life & ~(WEFT__LIFE_JOINED | WEFT__LIFE_JOINER_MASK);

        /* release: joiner_gen is 0 for the next joiner. acquire: the result,
         * if it has ended. */
        if (weft__cas(&child->life, &life, next, ACQ_REL, ACQUIRE))
            return weft__cause_code(cause);
    }
    join_reap(child, result);
    return 0;
}

/* For both forms, inlined: a plain join asks for no deadline. */
static inline __attribute__((always_inline)) int
join_wait(struct weft__fiber *self, struct weft__fiber *child, uint64_t life,
          void **result, int64_t deadline)
{
    enum weft__cause cause;
    uint64_t gen;
    uint64_t version = weft__life_version(life);
    int status = weft__join_try(child, life, result);

    if (status != -EAGAIN)
        return status;
    status = weft__wait_refused(self, deadline);
    if (status != 0)
        return status;

    gen = weft__park_open_until(self, 0, "join", child, deadline);
    for (;;) {
        uint64_t next;

        life = weft__load(&child->life, ACQUIRE);
        next = life | WEFT__LIFE_JOINED |
               (uint64_t)weft__fiber_index(self) << WEFT__LIFE_JOINER_SHIFT;
        if (weft__life_version(life) != version ||
            life & (WEFT__LIFE_ENDED | WEFT__LIFE_JOINED |
                    WEFT__LIFE_DETACHED | WEFT__LIFE_CONSUMED)) {
            weft__park_revoke(self, &cause);
            if (weft__life_version(life) != version)
                return -ESRCH;
            status = weft__join_try(child, life, result);
            if (status != -EAGAIN)
                return status;
            gen = weft__park_open_until(self, 0, "join", child, deadline);
            continue;
        }
        /* acq_rel: the child's fields if we start it; and our wait. */
        if (weft__cas(&child->life, &life, next, ACQ_REL, RELAXED))
            break;
    }
    /* release: pairs with the ender's load. */
    weft__store(&child->joiner_gen, gen, RELEASE);

    cause = weft__park_join(self, child, version,
                            child_claim(self, child) ? child : NULL);
    if (cause != WEFT__CAUSE_OK)
        return join_leave(child, cause, result);

    if (result)
        *result = child->result;
    if (weft__life_consume(child))
        weft__record_give(&self->worker->records, child);
    return 0;
}

int weft__join(struct weft__fiber *self, struct weft__fiber *child,
               uint64_t life, void **result)
{
    return join_wait(self, child, life, result, WEFT_FOREVER);
}

int weft__join_until(struct weft__fiber *self, struct weft__fiber *child,
                     uint64_t life, void **result, int64_t deadline)
{
    return join_wait(self, child, life, result, deadline);
}

/* --- Without waiting ------------------------------------------------------- */

/* What a life word says to one who wants to join or detach: 0 if he may,
 * -EAGAIN while it runs, or the error. */
static int join_look(uint64_t life, uint64_t version)
{
    if (weft__life_version(life) != version)
        return -ESRCH;
    if (life & WEFT__LIFE_DETACHED)
        return -EINVAL;
    /* REAPED, too: by the end of one whose select is on its way out. */
    if (life & WEFT__LIFE_JOINED)
        return -EBUSY;
    if (life & WEFT__LIFE_REAPED)
        return -ESRCH; /* by a joiner, who has the result */
    return life & WEFT__LIFE_ENDED ? 0 : -EAGAIN;
}

int weft__join_try(struct weft__fiber *child, uint64_t life, void **result)
{
    uint64_t version = weft__life_version(life);
    int status;
    bool free;

    while ((status = join_look(life, version)) == 0) {
        void *value = child->result;

        if (weft__life_consume_at(child, &life, &free)) {
            if (result)
                *result = value;
            if (free)
                weft__record_give(records_here(), child);
            return 0;
        }
    }
    return status;
}

int weft__detach(struct weft__fiber *child, uint64_t life)
{
    uint64_t version = weft__life_version(life);
    bool free;

    for (;;) {
        int status = join_look(life, version);

        if (status == 0) {
            if (!weft__life_consume_at(child, &life, &free))
                continue;
            if (free)
                weft__record_give(records_here(), child);
            return 0;
        }
        if (status != -EAGAIN)
            return status;
        /* release: as the end of a life. */
        if (weft__cas(&child->life, &life, life | WEFT__LIFE_DETACHED,
                      ACQ_REL, ACQUIRE))
            return 0;
    }
}

/* --- As one of several ------------------------------------------------------- */

int weft__join_look(uint64_t life)
{
    return join_look(life, weft__life_version(life));
}

enum weft__join_entered weft__join_enter(struct weft__fiber *self,
                                         struct weft__fiber *child,
                                         uint64_t version, uint64_t gen)
{
    uint64_t life = weft__load(&child->life, RELAXED); /* the swap checks */
    uint64_t me = (uint64_t)weft__fiber_index(self)
                  << WEFT__LIFE_JOINER_SHIFT;

    do {
        if (weft__life_version(life) != version ||
            life & (WEFT__LIFE_ENDED | WEFT__LIFE_DETACHED |
                    WEFT__LIFE_CONSUMED))
            return WEFT__JOIN_AGAIN;
        if (life & WEFT__LIFE_JOINED)
            return (life & WEFT__LIFE_JOINER_MASK) == me ? WEFT__JOIN_TWICE
                                                         : WEFT__JOIN_AGAIN;
        /* acq_rel: as in weft__join(). */
    } while (!weft__cas(&child->life, &life, life | WEFT__LIFE_JOINED | me,
                        ACQ_REL, RELAXED));
    /* release: pairs with the ender's load. */
    weft__store(&child->joiner_gen, gen | JOIN_ONE_OF, RELEASE);
    return WEFT__JOIN_ENTERED;
}

bool weft__join_ended(const struct weft__fiber *child)
{
    /* relaxed: ordered by the caller's barrier; as in weft__join_commit(). */
    return weft__load(&child->life, RELAXED) & WEFT__LIFE_ENDED;
}

bool weft__join_won(const struct weft__fiber *child)
{
    /* relaxed: written before we were let go, by the one who did. */
    return weft__load(&child->joiner_gen, RELAXED) == JOIN_WON;
}

void weft__join_take(struct weft__fiber *child, void **result)
{
    if (result)
        *result = child->result;
    if (weft__life_consume(child))
        weft__record_give(records_here(), child);
}

void weft__join_quit(struct weft__fiber *self, struct weft__fiber *child)
{
    uint64_t life;

    /* release: before JOINED is taken back. */
    weft__store(&child->joiner_gen, 0, RELEASE);
    life = weft__load(&child->life, RELAXED); /* the swap checks */
    for (;;) {
        uint64_t next = life & ~(WEFT__LIFE_JOINED | WEFT__LIFE_JOINER_MASK |
                                 WEFT__LIFE_REAPED);

        if ((life & (WEFT__LIFE_ENDED | WEFT__LIFE_REAPED)) ==
            WEFT__LIFE_ENDED) {
            weft__yield(self);
            life = weft__load(&child->life, RELAXED);
            continue;
        }
        /* release: joiner_gen is 0 for the next joiner. acquire: what the
         * ender did with the record comes before what that one does. */
        if (weft__cas(&child->life, &life, next, ACQ_REL, RELAXED))
            return;
    }
}
