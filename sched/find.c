/*
 * What runs next
 *
 * In the short way, taken at each switch: the next slot, for at most 61 turns
 * or about a millisecond in a row while the ring holds anything (or a pair that
 * readies each other would starve it), then the ring. Every 61st turn takes the
 * long way, in the base context: timers that are due, the injection queue, so
 * that a busy worker does not starve it, and the poller.
 *
 * Where these turns took longer than a millisecond there are fewer until the
 * next long look, so that it comes about that often; and the monitor ends them
 * when they suddenly last. (Its store to `turns` may be lost against our
 * count; then it makes it again.) So no turn has to read the clock.
 *
 * The poller costs a system call. It is asked at each long look while a fiber
 * that parked here waits for the world, but not twice in 16 us, and else once
 * a millisecond.
 *
 * Once a millisecond, and when there is nothing else to do, a worker looks
 * after those who have not taken the long way for a millisecond and do not
 * sleep either: it ends the waits in their heaps and dispatches in their
 * loops.
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
    POLL_LEAST = 16000,     /* ns between two passes while something runs */
    SPIN_FOR = 20000,       /* ns a searcher looks around before it sleeps */
    NEXT_SLOT_AGE = 50000,  /* ns without a turn of its owner */
    SPIN_PAUSES = 16,
    LUCK_MAX = 4, /* failures in a row */
    SPIN_SELDOM = 16
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

    if (w->straight < w->budget)
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
    uint32_t turns = weft__load(&w->turns, RELAXED);

    if (turns == 0)
        return NULL;
    /* relaxed: see above. */
    weft__store(&w->turns, turns - 1, RELAXED);
    weft__order_hide();
    f = take_local(w);
    weft__order_show();
    return f;
}

/*
 * Our share of what was injected: one to run, the others into our ring. Only
 * one if the ring is half full already: it would overflow, and those who were
 * made ready since would go to the end of a queue of a million new ones.
 */
static struct weft__fiber *take_injected(struct weft__worker *w)
{
    uint32_t entries[INJECT_BATCH];
    uint32_t share = weft__inject_len() / weft__sched.count + 1;
    struct weft__fiber *f = NULL;
    uint32_t n;

    if (share > INJECT_BATCH)
        share = INJECT_BATCH;
    if (weft__runq_len(&w->runq) > w->runq.mask / 2)
        share = 1;
    n = weft__inject_pop(entries, share);

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

/* Dispatch in the loop of `of`, which may be the caller. */
static void look_at_world(struct weft__worker *w, struct weft__worker *of,
                          int64_t now)
{
    weft__count(&w->counters.polls, 1);
    /* relaxed: for whoever thinks of doing the same. */
    weft__store(&of->polled, now, RELAXED);
    w->woken = weft__sched.config.poll.pass(of->poller);
}

/* Does a fiber that parked here wait for the world? (Or here was one that
 * woke elsewhere: then we ask too often.) */
static bool waits_for_world(const struct weft__worker *w)
{
    /* relaxed: the owner's own. */
    return weft__load(&w->counters.outside_begun, RELAXED) !=
           weft__load(&w->counters.outside_over, RELAXED);
}

/* Is a pass due, though there may be other things to do? */
static bool poll_due(const struct weft__worker *w, int64_t now)
{
    int64_t since = now - weft__load(&w->polled, RELAXED);

    return since >= POLL_EVERY || (since >= POLL_LEAST && waits_for_world(w));
}

/* Others that have not come by here for long, and do not sleep. */
static void look_after_others(struct weft__worker *w, int64_t now)
{
    w->helped = now;
    for (unsigned i = 0; i < weft__sched.count; i++) {
        struct weft__worker *other = weft__sched.workers[i];

        /* relaxed: looks; what is done then takes locks. */
        if (other == w || weft__idle_sleeps(other->index) ||
            now - weft__load(&other->clock, RELAXED) < POLL_EVERY)
            continue;
        if (weft__timer_head(other->timers) <= now)
            weft__timer_expire(w, other->timers, now);
        if (now - weft__load(&other->polled, RELAXED) >= POLL_EVERY)
            look_at_world(w, other, now);
    }
}

/* The turns are used up: so many until the next long look. As many as fit a
 * millisecond, if those since the last one took `took`. */
static void turns_renew(struct weft__worker *w, int64_t took)
{
    int64_t next = 2 * w->budget;

    if (took > POLL_EVERY)
        next = w->budget * (int64_t)POLL_EVERY / took;
    w->budget = next < 1 ? 1 : next < WEFT__TURNS ? (uint32_t)next
                                                  : (uint32_t)WEFT__TURNS;
    weft__store(&w->turns, w->budget, RELAXED);
}

/* Everything but other workers' queues. */
static struct weft__fiber *find_own(struct weft__worker *w, int64_t now,
                                    int64_t took)
{
    struct weft__fiber *f = NULL;

    if (weft__timer_head(w->timers) <= now)
        weft__timer_expire(w, w->timers, now);
    if (now - w->helped >= POLL_EVERY)
        look_after_others(w, now);
    if (weft__load(&w->turns, RELAXED) == 0) {
        turns_renew(w, took);
        f = take_injected(w);
    }
    if (poll_due(w, now))
        look_at_world(w, w, now);
    if (f || (f = take_local(w)) || (f = take_injected(w)))
        return f;
    look_after_others(w, now);
    /* If the last look found one fiber, and that one has parked again, the
     * next look is left to the sleep: its one call asks, too. */
    if (w->woken != 1)
        look_at_world(w, w, now);
    else
        w->woken = 0;
    return take_local(w);
}

/*
 * Looking around before one sleeps saves a wake-up when work of other workers
 * is near, and is lost processor time for one who waits for the world. So: as
 * long as it found something now and then; after a row of failures every 16th
 * time. Who was woken to look has no choice.
 */
static bool worth_a_spin(struct weft__worker *w)
{
    return w->spinning || w->luck > 0 || ++w->no_spin % SPIN_SELDOM == 0;
}

struct weft__fiber *weft__find(struct weft__worker *w)
{
    struct weft__fiber *f;
    int64_t now = weft__os_now();
    int64_t took = now - weft__load(&w->clock, RELAXED);

    /* relaxed: for those who wonder whether we are stuck. */
    weft__store(&w->clock, now, RELAXED);
    /* relaxed: the monitor asks again if this answers an older wish. */
    weft__store(&w->preempt, 0, RELAXED);
    f = find_own(w, now, took);
    if (!f && weft__sched.count > 1 && worth_a_spin(w) &&
        weft__idle_spin_begin(w)) {
        f = search(w);
        w->luck = f ? LUCK_MAX : w->luck - (w->luck > 0);
    }
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
