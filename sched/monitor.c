/*
 * The monitor: the thread that called weft_run, which is no worker.
 *
 * It looks every 1 ms while some workers run and others sleep, every 10 ms
 * while all run, and sleeps while all do: an idle process has no tick. At a
 * look it
 *
 *   - wakes a sleeper when a queue or next slot has stood since the last look
 *     while its owner made no turn (what weft__idle_hint() may have missed),
 *   - asks a fiber that has not switched for 10 ms to yield at its next
 *     weft_checkpoint().
 *
 * The bell is a futex word that only grows; whoever has something to say
 * raises it. Before it sleeps for good it says so in monitor_asleep and looks
 * once more; a worker that gets up clears its bit and then looks there.
 */
#include "sched/monitor.h"

#include <stddef.h>

#include "sched/fatal.h"
#include "sched/inject.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/worker.h"

enum {
    LOOK_SOON = 1000000,   /* ns */
    LOOK_LATE = 10000000,
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

static bool is_idle(unsigned index)
{
    /* relaxed: a look. */
    return weft__load(&weft__sched.idle_mask[index / 64], RELAXED) >>
               (index % 64) & 1;
}

static void look_at(struct weft__worker *w, struct seen *seen, int64_t now)
{
    uint64_t switches = weft__load(&w->counters.switches, RELAXED);

    if (switches != seen->switches || is_idle(w->index)) {
        seen->switches = switches;
        seen->since = now;
        return;
    }
    if (now - seen->since >= STUCK_AFTER)
        weft__store(&w->preempt, 1, RELAXED);
    /* relaxed: a sleeper that finds nothing lies down again. */
    if (weft__load(&w->next, RELAXED) != 0 || weft__runq_len(&w->runq) > 0 ||
        weft__inject_len() > 0)
        weft__idle_wake_one();
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

/* Wait for the bell, or for the time of the next look. */
static void monitor_wait(uint32_t bell, int64_t timeout)
{
    if (timeout >= 0) {
        weft__os_futex_wait(&weft__sched.bell, bell, timeout);
        return;
    }
    /* seq_cst: our note, then our look; pairs with weft__idle(). */
    weft__store(&weft__sched.monitor_asleep, 1, SEQ_CST);
    weft__fence(SEQ_CST);
    if (weft__load(&weft__sched.idle, SEQ_CST) == weft__sched.count)
        weft__os_futex_wait(&weft__sched.bell, bell, -1);
    weft__store(&weft__sched.monitor_asleep, 0, RELAXED);
}

static void stop_begin(void)
{
    /* release: the spawns that see it come after the first fiber's end. */
    weft__store(&weft__sched.stopping, 1, SEQ_CST);
    weft__sched_each(cancel_one, NULL);
}

bool weft__monitor_watch(void)
{
    struct seen seen[WEFT__WORKERS_MAX] = { 0 };
    int64_t deadline = INT64_MAX, cancelled = 0;
    bool slept = false;

    for (;;) {
        /* acquire: what the ringers did. Read first: a bell that rings
         * while we look ends the wait at once. */
        uint32_t bell = weft__load(&weft__sched.bell, ACQUIRE);
        int64_t now = weft__os_now();
        int64_t timeout;

        if (deadline == INT64_MAX &&
            weft__load(&weft__sched.entry_done, ACQUIRE)) {
            stop_begin();
            cancelled = now;
            deadline = now + weft__sched.config.stop_timeout;
        }
        if (deadline != INT64_MAX) {
            if (weft__sched_live() == 0)
                return true;
            if (now >= deadline)
                return false;
            /* Some were born while we went through the list. */
            if (now - cancelled >= CANCEL_AGAIN) {
                weft__sched_each(cancel_one, NULL);
                cancelled = now;
            }
        }
        for (unsigned i = 0; i < weft__sched.count; i++)
            look_at(weft__sched.workers[i], &seen[i], now);

        timeout = look_after(&slept);
        if (timeout != LOOK_LATE)
            slept = slept && timeout < 0;
        if (deadline != INT64_MAX &&
            (timeout < 0 || timeout > deadline - now))
            timeout = deadline - now < LOOK_LATE ? deadline - now : LOOK_LATE;
        monitor_wait(bell, timeout);
    }
}
