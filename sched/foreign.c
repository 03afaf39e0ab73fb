/*
 * Threads that run no fiber: the lanes', and those that are not weft's.
 *
 * Such a thread gets a record of the pool when it first owns something, a
 * mutex say: owner words hold record indices. The record is no fiber: it is
 * never queued, listed or joined. It goes back when the thread ends.
 *
 * Such a thread may be here at any time, also while a run ends and the next one
 * begins. What ends with the run (a poller, the marks of who sleeps) it touches
 * in a visit only: it counts itself in, then looks whether the thing is there.
 * The end takes the thing out of sight, and then waits until no visit is under
 * way. Of the two one sees the other.
 */
#include <stddef.h>

#include "sched/fatal.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/worker.h"

#ifdef WEFT_SIM
#include "sched/seam.h"
#endif

static void record_end(void *record)
{
    struct weft__fiber *f = record;
    uint64_t next = (weft__life_version(weft__load(&f->life, RELAXED)) + 1)
                    << WEFT__LIFE_VERSION_SHIFT;

    /* Other destructors of the thread may still call us. */
    weft__set_self(NULL);
    weft__store(&f->stack, 0, RELAXED);
    /* release: as the end of a life. */
    weft__store(&f->life, next, RELEASE);
    weft__record_give(NULL, f);
}

struct weft__fiber *weft__owner_self(void)
{
    struct weft__fiber *self = weft__self();

    if (self)
        return self;
    if (weft__fiber_map() != 0)
        return NULL;
    self = weft__record_take(NULL);
    if (!self)
        return NULL;
    weft__store(&self->stack, WEFT__FIBER_FOREIGN, RELAXED);
    self->worker = NULL;
    if (weft__os_at_thread_exit(record_end, self) != 0) {
        record_end(self);
        return NULL;
    }
    weft__set_self(self);
    return self;
}

bool weft__on_lane(void)
{
    struct weft__fiber *self = weft__self();

    /* relaxed: its own. */
    return self && weft__load(&self->stack, RELAXED) & WEFT__FIBER_LANE;
}

/* Neither of the two is in weft__sched, which the next start clears: who called
 * in before it may come again. */
static weft__au64 foreigner; /* 0; the one that called in; or several */
static weft__au32 visits;

#define FOREIGNER_SEVERAL UINT64_MAX

void weft__foreigner_note(void)
{
    uint64_t seen, me;

    /* A lane's jobs are counted: see weft__pending_add(). */
    if (weft__on_lane())
        return;
    me = weft__os_thread_self();
    /* relaxed: a mark that stays. */
    seen = weft__load(&foreigner, RELAXED);
    /* release: pairs with weft__foreigners(). */
    while (seen != me && seen != FOREIGNER_SEVERAL &&
           !weft__cas(&foreigner, &seen, seen == 0 ? me : FOREIGNER_SEVERAL,
                      RELEASE, RELAXED)) {
    }
}

bool weft__foreigners(void)
{
    return weft__load(&foreigner, ACQUIRE) != 0;
}

void weft__foreigners_begin(void)
{
    uint64_t me = weft__os_thread_self();

#ifdef WEFT_SIM
    /* A simulated world has no past. */
    if (weft__seam != NULL) {
        weft__init(&foreigner, 0);
        return;
    }
#endif
    (void)weft__cas(&foreigner, &me, 0, RELAXED, RELAXED);
}

void weft__foreigners_forked(void)
{
    weft__store(&foreigner, 0, RELAXED);
    weft__store(&visits, 0, RELAXED);
}

bool weft__visit_begin(void)
{
    if (weft__worker_self())
        return false;
    /* seq_cst: counted, then the look at what may be gone; pairs with the
     * fence below. */
    weft__fetch_add(&visits, 1, SEQ_CST);
    return true;
}

void weft__visit_end(bool visit)
{
    /* release: what the visitor touched comes before its end. */
    if (visit)
        weft__fetch_sub(&visits, 1, RELEASE);
}

bool weft__visit_run(bool *visit)
{
    *visit = weft__visit_begin();
    /* seq_cst: as in weft__visit_begin(). acquire: what the start made. */
    if (weft__load(&weft__sched.running, SEQ_CST))
        return true;
    weft__visit_end(*visit);
    return false;
}

void weft__visits_wait(void)
{
    weft__fence(SEQ_CST);
    while (weft__load(&visits, ACQUIRE) != 0)
        weft__os_thread_yield();
}

void weft__lane_thread_begin(void)
{
    struct weft__fiber *self = weft__owner_self();

    if (self)
        weft__store(&self->stack, WEFT__FIBER_FOREIGN | WEFT__FIBER_LANE,
                    RELAXED);
}

void weft__lane_thread_end(void)
{
    /* The record goes back when the thread ends; see weft__owner_self(). */
    weft__set_self(NULL);
}
