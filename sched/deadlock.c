/*
 * When the last worker lies down, every fiber is parked and every queue is
 * empty. If then no job is on a lane, no wait has a deadline or a descriptor,
 * and no foreign thread has ever called in, no one is left to make anything
 * ready: the program is asleep for ever. It is told so: the list of who waits
 * for what goes to stderr, and the wait of the first fiber (if that has gone: of
 * the one that has waited longest) ends with -EDEADLK.
 *
 * What holds: work comes from workers that are awake, from jobs that are
 * counted in `pending` until their fiber is back on a worker, and from
 * foreigners. So: `pending` is read as 0 before and after everyone is seen
 * asleep and every queue empty, and counts in its upper half what was ever
 * added: the same word twice means that nothing was pending all the while.
 *
 * Waits that something outside can end are counted by each worker for itself,
 * since a locked operation on a line of all would be paid by every such wait.
 * Their sum is right while no fiber runs: when all are asleep, and no worker
 * has made a switch from before that until after the counts were read. (A
 * fiber that counts has been switched to first, so whoever reads its count
 * reads that switch as well.)
 */
#include "sched/deadlock.h"

#include <stddef.h>
#include <string.h>

#include "sched/fatal.h"
#include "sched/inject.h"
#include "sched/os.h"
#include "sched/park.h"

/* The wait to end: the first fiber's, else the oldest. */
struct pick {
    struct weft__fiber *fiber;
    uint64_t gen;
    int64_t since;
};

static void consider(struct weft__fiber *f, uint64_t life, void *arg)
{
    struct pick *pick = arg;
    uint64_t wake = weft__load(&f->wake, ACQUIRE);
    int64_t since = weft__load(&weft__fiber_cold(f)->since, RELAXED);
    bool first = weft__fiber_id(f) == weft__sched.first;

    (void)life;
    if ((wake & WEFT__WAKE_STATE_MASK) != WEFT__WAKE_PARKED)
        return;
    if (first)
        since = INT64_MIN;
    if (pick->fiber && pick->since <= since)
        return;
    *pick = (struct pick){ f, wake & WEFT__WAKE_GEN_MASK, since };
}

static int line_out(const char *line, void *arg)
{
    (void)arg;
    weft__os_say(line, strlen(line));
    return 0;
}

void weft__deadlock_declare(void)
{
    struct pick pick = { 0 };

    weft__sched_each(consider, &pick);
    /* None: a foreign thread (`always`) has won the last wait already. */
    if (!pick.fiber)
        return;
    weft__log(WEFT_LOG_ERROR, "deadlock: every fiber is asleep, and nothing "
                              "is left that could wake one");
    weft__dump(line_out, NULL);
    weft__wake(pick.fiber, pick.gen, WEFT__CAUSE_DEADLOCK);
}

/* All switches so far. */
static uint64_t switches(void)
{
    uint64_t n = 0;

    /* acquire: not before or after its turn. */
    for (unsigned i = 0; i < weft__sched.count; i++)
        n += weft__load(&weft__sched.workers[i]->counters.switches, ACQUIRE);
    return n;
}

/* Waits that something outside can end. */
static uint64_t outside(void)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < weft__sched.count; i++) {
        struct weft__counters *c = &weft__sched.workers[i]->counters;

        /* acquire: pairs with weft__count_wait(). */
        n += weft__load(&c->outside_begun, ACQUIRE);
        n -= weft__load(&c->outside_over, ACQUIRE);
        n += weft__load(&c->timed_begun, ACQUIRE);
        n -= weft__load(&c->timed_over, ACQUIRE);
    }
    return n;
}

bool weft__deadlock_look(struct weft__worker *w)
{
    int mode = weft__sched.config.deadlock;
    uint64_t pending, before;

    if (mode == WEFT_DEADLOCK_NEVER ||
        (mode == WEFT_DEADLOCK_AUTO && weft__foreigners()))
        return false;
    /* acquire: the last job's wake comes before its count. */
    pending = weft__load(&weft__sched.pending, ACQUIRE);
    if (pending & UINT32_MAX)
        return false;
    /* seq_cst: everyone has set its bit and found nothing since. Read behind
     * that: when the entry has returned, the monitor is about to cancel. */
    weft__fence(SEQ_CST);
    before = switches();
    return weft__load(&weft__sched.idle, SEQ_CST) == weft__sched.count &&
           !weft__find_any(w) && weft__sched_live() != 0 &&
           !weft__load(&weft__sched.entry_done, ACQUIRE) &&
           outside() == 0 && switches() == before &&
           weft__load(&weft__sched.pending, SEQ_CST) == pending;
}
