/*
 * What runs next
 *
 * In the short way, taken at each switch: the next slot, for at most 61 turns
 * in a row while the ring holds anything (or a pair that readies each other
 * would starve it), then the ring. Every 61st turn takes the long way, in the
 * base context: the injection queue first, so that a busy worker does not
 * starve it, and the poller after 1 ms.
 *
 * A worker with nothing of its own looks at the others': it takes half of the
 * first ring that holds something. It takes a next slot only when nothing
 * else is to be had and its owner has made no turn for 50 us: usually the
 * owner is about to run it, with everything warm (tokio 4941 has the stall
 * when such a slot cannot be taken at all).
 */
#include <stddef.h>

#include "sched/inject.h"
#include "sched/park.h"
#include "sched/sanitizer.h"
#include "sched/worker.h"

enum {
    INJECT_BATCH = 64,
    POLL_EVERY = 1000000,   /* ns */
    SPIN_FOR = 20000,       /* ns a searcher looks around before it sleeps */
    NEXT_SLOT_AGE = 50000,  /* ns without a turn of its owner */
    SPIN_PAUSES = 16
};

static inline struct weft__fiber *take_next(struct weft__worker *w)
{
    uint32_t entry = weft__load(&w->next, RELAXED); /* the swap checks it */

    if (entry == 0 || !weft__worker_take_next(w, entry))
        return NULL;
    w->straight++;
    return weft__entry_claim(w, entry);
}

static inline struct weft__fiber *take_ring(struct weft__worker *w)
{
    uint32_t entry;

    while ((entry = weft__runq_pop(&w->runq)) != 0) {
        struct weft__fiber *f = weft__entry_claim(w, entry);

        w->straight = 0;
        if (f)
            return f;
    }
    return NULL;
}

static inline struct weft__fiber *take_local(struct weft__worker *w)
{
    struct weft__fiber *f = NULL;

    if (w->straight < WEFT__TURNS)
        f = take_next(w);
    if (!f)
        f = take_ring(w);
    if (!f) {
        w->straight = 0;
        f = take_next(w);
    }
    return f;
}

struct weft__fiber *weft__find_local(struct weft__worker *w)
{
    struct weft__fiber *f;

    if (w->turns == 0)
        return NULL;
    w->turns--;
    weft__order_hide();
    f = take_local(w);
    weft__order_show();
    return f;
}

/* Our share of what was injected: one to run, the others into our ring. */
static struct weft__fiber *take_injected(struct weft__worker *w)
{
    uint32_t entries[INJECT_BATCH];
    uint32_t share = weft__inject_len() / weft__sched.count + 1;
    uint32_t n = weft__inject_pop(entries, share < INJECT_BATCH
                                               ? share
                                               : (uint32_t)INJECT_BATCH);
    struct weft__fiber *f = NULL;

    for (uint32_t i = 0; i < n; i++) {
        if (!f)
            f = weft__entry_claim(w, entries[i]);
        else
            weft__worker_push(w, entries[i]);
    }
    return f;
}

/* --- Stealing --------------------------------------------------------------- */

static struct weft__fiber *steal_round(struct weft__worker *w)
{
    for (unsigned i = 0; i < weft__sched.count; i++) {
        struct weft__worker *victim;
        uint32_t entry, taken;
        struct weft__fiber *f;

        w->victim = (w->victim + 1) % weft__sched.count;
        victim = weft__sched.workers[w->victim];
        if (victim == w)
            continue;
        entry = weft__runq_steal(&w->runq, &victim->runq, &taken);
        if (entry == 0)
            continue;
        weft__count(&w->counters.steals, 1);
        weft__count(&w->counters.stolen, taken);
        f = weft__entry_claim(w, entry);
        if (!f)
            f = take_ring(w);
        if (f)
            return f;
    }
    return NULL;
}

/* A next slot whose owner stands still: who, what, and since when. */
struct stale {
    struct weft__worker *owner;
    uint32_t entry;
    uint64_t switches;
    int64_t since;
};

static bool stale_same(const struct stale *stale)
{
    /* relaxed: a guess; the swap on the slot decides. */
    return stale->owner &&
           weft__load(&stale->owner->next, RELAXED) == stale->entry &&
           weft__load(&stale->owner->counters.switches, RELAXED) ==
               stale->switches;
}

static struct weft__fiber *steal_next(struct weft__worker *w,
                                      struct stale *stale, int64_t now)
{
    if (!stale_same(stale)) {
        stale->owner = NULL;
        for (unsigned i = 0; i < weft__sched.count; i++) {
            struct weft__worker *other = weft__sched.workers[i];
            uint32_t entry = weft__load(&other->next, RELAXED);

            if (other == w || entry == 0)
                continue;
            *stale = (struct stale){
                .owner = other,
                .entry = entry,
                .switches = weft__load(&other->counters.switches, RELAXED),
                .since = now,
            };
            break;
        }
        return NULL;
    }
    if (now - stale->since < NEXT_SLOT_AGE ||
        !weft__worker_take_next(stale->owner, stale->entry))
        return NULL;
    stale->owner = NULL;
    weft__count(&w->counters.steals, 1);
    weft__count(&w->counters.stolen, 1);
    return weft__entry_claim(w, stale->entry);
}

/* Look around for a while. A worker that the monitor woke for a slot that
 * stands stays until it may take it. On one core nothing changes while we look
 * around; there we only let the owner of such a slot go on, and look again. */
static struct weft__fiber *search(struct weft__worker *w)
{
    struct stale stale = { 0 };
    struct weft__fiber *f = steal_round(w);
    bool multicore = weft__os_multicore();
    int64_t start;

    if (f)
        return f;
    start = weft__os_now();
    for (;;) {
        int64_t now = weft__os_now();

        if ((f = steal_round(w)) || (f = steal_next(w, &stale, now)) ||
            (f = take_injected(w)))
            return f;
        if (now - start > (stale.owner ? 2 * NEXT_SLOT_AGE : SPIN_FOR) ||
            weft__load(&weft__sched.quit, RELAXED))
            return NULL;
        if (!multicore && !stale.owner)
            return NULL;
        if (!multicore)
            weft__os_thread_yield();
        for (int i = 0; multicore && i < SPIN_PAUSES; i++)
            weft__os_pause();
    }
}

/* --- The long way ----------------------------------------------------------- */

static void look_at_world(struct weft__worker *w)
{
    weft__count(&w->counters.polls, 1);
    w->polled = w->clock;
    weft__sched.config.poll.pass(w->poller);
}

/* Everything but other workers' queues. */
static struct weft__fiber *find_own(struct weft__worker *w)
{
    struct weft__fiber *f = NULL;

    if (weft__timer_head(w->timers) <= w->clock)
        weft__timer_expire(w, w->timers, w->clock);

    if (w->turns == 0) {
        w->turns = WEFT__TURNS;
        f = take_injected(w);
    }
    if (w->clock - w->polled >= POLL_EVERY)
        look_at_world(w);
    if (f || (f = take_local(w)) || (f = take_injected(w)))
        return f;
    look_at_world(w);
    return take_local(w);
}

struct weft__fiber *weft__find(struct weft__worker *w)
{
    struct weft__fiber *f;

    w->clock = weft__os_now();
    /* relaxed: the monitor asks again if this answers an older wish. */
    weft__store(&w->preempt, 0, RELAXED);
    f = find_own(w);
    if (!f && weft__idle_spin_begin(w))
        f = search(w);
    if (w->spinning)
        weft__idle_spin_end(w, f != NULL);
    return f;
}

bool weft__find_any(struct weft__worker *w)
{
    if (weft__inject_len() > 0)
        return true;
    for (unsigned i = 0; i < weft__sched.count; i++) {
        struct weft__worker *other = weft__sched.workers[i];

        if (weft__runq_len(&other->runq) > 0)
            return true;
    }
    /* relaxed: the caller's own. */
    return weft__load(&w->next, RELAXED) != 0;
}
