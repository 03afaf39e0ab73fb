/*
 * The monitor: the thread that called weft_run, which is no worker.
 *
 * It looks every 1 ms while some workers run and others sleep, every 10 ms
 * while all run, and sleeps while all do: an idle process has no tick. At a
 * look it
 *
 *   - wakes a sleeper when a queue or next slot has stood since the last look
 *     while its owner made no turn (what weft__idle_hint() may have missed);
 *     where something stands that it sees for the first time it looks again
 *     after 100 us, once,
 *   - asks a worker that has not taken the long look for 1 ms to do so at its
 *     next turn, and wakes a sleeper to do it in its place (find.c) when its
 *     timers are due, or someone waits for the world,
 *   - asks a fiber that has not switched for 10 ms to yield at its next
 *     weft_checkpoint(),
 *   - lets surplus stacks give their pages back; while there are some it looks
 *     in a process that is asleep, too.
 *
 * The bell is a futex word that only grows; whoever has something to say
 * raises it. Before it sleeps for good it says so in monitor_asleep and looks
 * once more; a worker that gets up counts itself out and then looks there.
 */
#include "sched/monitor.h"

#include <stddef.h>

#include "sched/fatal.h"
#include "sched/inject.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/stack.h"
#include "sched/worker.h"

enum {
    LOOK_SOON = 1000000,   /* ns */
    LOOK_LATE = 10000000,
    LOOK_AGAIN = 100000,
    STUCK_AFTER = 10000000,
    CANCEL_AGAIN = 20000000
};

/* What the monitor saw of a worker at its last look. */
struct seen {
    uint64_t switches;
    int64_t since; /* when this number was first seen */
};

void weft__monitor_ring(void)
{
    /* release: what we did before; pairs with the monitor's acquire. */
    weft__fetch_add(&weft__sched.bell, 1, RELEASE);
    weft__os_futex_wake(&weft__sched.bell, 1);
}

/* Does any fiber wait for a descriptor or the like? */
static bool someone_waits_outside(void)
{
    uint64_t waits = 0;

    /* relaxed: a look; what it misses is there at the next one. */
    for (unsigned i = 0; i < weft__sched.count; i++) {
        struct weft__counters *c = &weft__sched.workers[i]->counters;

        waits += weft__load(&c->outside_begun, RELAXED) -
                 weft__load(&c->outside_over, RELAXED);
    }
    return waits != 0;
}

/* A worker that takes no long look: its timers and its loop may be due. */
static void look_unserved(struct weft__worker *w, int64_t now)
{
    weft__store(&w->turns, 0, RELAXED);
    if (weft__timer_head(w->timers) <= now ||
        (now - weft__load(&w->polled, RELAXED) >= LOOK_SOON &&
         someone_waits_outside()))
        weft__idle_wake_one();
}

/* Is there anything that the worker could run? */
static bool has_work(struct weft__worker *w)
{
    /* relaxed: a sleeper that finds nothing lies down again. */
    return weft__load(&w->next, RELAXED) != 0 || weft__runq_len(&w->runq) > 0;
}

/* true: something stands there that may be on its way, or not. */
static bool look_at(struct weft__worker *w, struct seen *seen, int64_t now)
{
    uint64_t switches = weft__load(&w->counters.switches, RELAXED);
    bool idle = weft__idle_sleeps(w->index);

    if (!idle && now - weft__load(&w->clock, RELAXED) >= LOOK_SOON)
        look_unserved(w, now);
    if (idle || switches != seen->switches) {
        seen->switches = switches;
        seen->since = now;
        return !idle && has_work(w);
    }
    if (now - seen->since >= STUCK_AFTER)
        weft__store(&w->preempt, 1, RELAXED);
    if (has_work(w) || weft__inject_len() > 0)
        weft__idle_wake_one();
    return false;
}

static void cancel_one(struct weft__fiber *f, uint64_t life, void *arg)
{
    (void)arg;
    weft__cancel(f, life);
}

/* How long until the next look; below 0: no look at all, everyone sleeps. */
static int64_t look_after(bool *slept)
{
    uint32_t idle = weft__load(&weft__sched.idle, RELAXED);

    if (idle == 0)
        return LOOK_LATE;
    if (idle < weft__sched.count)
        return LOOK_SOON;
    /* Once more before it sleeps for good: a process that does a little now
     * and then should not pay for a bell each time. */
    if (!*slept) {
        *slept = true;
        return LOOK_LATE;
    }
    return -1;
}

/* Wait for the bell, or for the time of the next look. `errand`: the time, or -1,
 * until there is something to do that is no look at the workers. */
static void monitor_wait(uint32_t bell, int64_t timeout, int64_t errand)
{
    if (timeout >= 0) {
        weft__os_futex_wait(&weft__sched.bell, bell,
                            errand >= 0 && errand < timeout ? errand
                                                            : timeout);
        return;
    }
    /* seq_cst: our note, then our look; pairs with weft__idle(). */
    weft__store(&weft__sched.monitor_asleep, 1, SEQ_CST);
    weft__fence(SEQ_CST);
    if (weft__load(&weft__sched.idle, SEQ_CST) == weft__sched.count)
        weft__os_futex_wait(&weft__sched.bell, bell, errand);
    weft__store(&weft__sched.monitor_asleep, 0, RELAXED);
}

/* Answers when the stop has taken too long: before INT64_MAX, which is for no
 * stop at all. */
static int64_t stop_begin(int64_t now)
{
    int64_t timeout = weft__sched.config.stop_timeout;

    /* release: the spawns that see it come after the first fiber's end. */
    weft__store(&weft__sched.stopping, 1, SEQ_CST);
    weft__sched_each(cancel_one, NULL);
    return timeout < INT64_MAX - now ? now + timeout : INT64_MAX - 1;
}

/* The time is up. Who has ended all but for counting itself, the first fiber among
 * them, may have lost its processor there: that takes no time of the program's. */
static bool ended_after_all(void)
{
    enum { LOOKS = 100, APART = 100000 };

    for (int i = 0; i < LOOKS; i++) {
        /* acquire: as in weft__monitor_watch(). */
        uint32_t bell = weft__load(&weft__sched.bell, ACQUIRE);

        if (weft__sched_live() == 0)
            return true;
        weft__os_futex_wait(&weft__sched.bell, bell, APART);
    }
    return weft__sched_live() == 0;
}

void weft__monitor_nudge(void)
{
    for (unsigned i = 0; i < weft__sched.count; i++) {
        struct weft__worker *w = weft__sched.workers[i];

        /* relaxed: seen at its next turn, or its next checkpoint. */
        weft__store(&w->preempt, 1, RELAXED);
        weft__store(&w->turns, 0, RELAXED);
    }
    weft__idle_wake_all();
}

bool weft__monitor_watch(void)
{
    struct seen seen[WEFT__WORKERS_MAX] = { 0 };
    int64_t deadline = INT64_MAX, cancelled = 0;
    bool slept = false, again = false;

    for (;;) {
        /* acquire: what the ringers did. Read first: a bell that rings
         * while we look ends the wait at once. */
        uint32_t bell = weft__load(&weft__sched.bell, ACQUIRE);
        int64_t now = weft__os_now();
        int64_t trim = weft__stack_trim(now);
        int64_t timeout;
        bool stands = false;

        if (deadline == INT64_MAX &&
            weft__load(&weft__sched.entry_done, ACQUIRE)) {
            deadline = stop_begin(now);
            cancelled = now;
        }
        if (deadline != INT64_MAX) {
            if (weft__sched_live() == 0)
                return true;
            if (now >= deadline)
                return ended_after_all();
            /* Some were born while we went through the list. */
            if (now - cancelled >= CANCEL_AGAIN) {
                weft__sched_each(cancel_one, NULL);
                cancelled = now;
            }
        }
        for (unsigned i = 0; i < weft__sched.count; i++)
            stands |= look_at(weft__sched.workers[i], &seen[i], now);

        timeout = look_after(&slept);
        again = stands && !again && timeout == LOOK_SOON;
        if (again)
            timeout = LOOK_AGAIN;
        if (timeout != LOOK_LATE)
            slept = slept && timeout < 0;
        if (deadline != INT64_MAX &&
            (timeout < 0 || timeout > deadline - now))
            timeout = deadline - now < LOOK_LATE ? deadline - now : LOOK_LATE;
        monitor_wait(bell, timeout, trim < INT64_MAX ? trim - now : -1);
    }
}
