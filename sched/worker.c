#include "sched/worker.h"

#include <errno.h>

#include "sched/fatal.h"
#include "sched/inject.h"
#include "sched/park.h"
#include "sched/sanitizer.h"

enum { OVERFLOW_BATCH = 256 };

/* Neighbours times this are far apart: the golden ratio's. */
#define SCATTER 2654435769u

/* Marsaglia's xorshift. What is not 0 never becomes 0. */
static uint32_t xorshift(uint32_t x)
{
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

uint32_t weft__random(void)
{
    static weft__au32 foreign; /* of threads that are no workers */
    struct weft__worker *w = weft__worker_self();

    if (w)
        return w->random = xorshift(w->random);
    /* relaxed: only the number counts. */
    return xorshift(weft__fetch_add(&foreign, 1, RELAXED) * SCATTER);
}

int weft__worker_open(struct weft__worker *w, unsigned index)
{
    int status;

    w->index = index;
    w->victim = index + 1;
    w->random = (index + 1) * SCATTER;
    w->base.worker = w;
    w->timers = &weft__timer_heaps[index];
    weft__init(&w->base.stack, WEFT__FIBER_BASE | WEFT__STACK_BASE_MASK);
    status = weft__runq_open(&w->runq, weft__sched.config.ring);
    if (status == 0)
        status = weft__sched.config.poll.open(&w->poller);
    return status;
}

void weft__worker_close(struct weft__worker *w)
{
    weft__record_cache_flush(&w->records);
    weft__stack_cache_flush(&w->stacks, weft__sched.config.stack_class);
    if (w->poller)
        weft__sched.config.poll.close(w->poller);
    weft__runq_close(&w->runq);
}

/* --- Errands ----------------------------------------------------------------- */

/* A fiber wants something done on a stack with room, or under a lock that no
 * fiber may hold: do it and go back to it. It is RUNNING all the while, and
 * the right to run it is here. */
static void errands_run(struct weft__worker *w)
{
    weft__errand_fn errand;

    /* acquire and release, here and below: two contexts of one thread want no
     * barrier, but TSan takes them for two threads. */
    while ((errand = weft__load(&w->errand, ACQUIRE))) {
        errand(w->errand_arg);
        weft__store(&w->errand, (weft__errand_fn)NULL, RELEASE);
        weft__switch(w, &w->base, w->errand_of, WEFT__LEFT_BASE);
    }
}

void weft__on_base(struct weft__fiber *self, weft__errand_fn fn, void *arg)
{
    struct weft__worker *w;

    if (!self) {
        fn(arg);
        return;
    }
    w = self->worker;
    w->errand_arg = arg;
    w->errand_of = self;
    weft__store(&w->errand, fn, RELEASE);
    weft__switch(w, self, &w->base, WEFT__LEFT_BASE);
    (void)weft__load(&w->errand, ACQUIRE);
}

void *weft__worker_main(void *worker)
{
    struct weft__worker *w = worker;
    void *alternate;

    weft__os_timer_slack(1);
    weft__set_self(&w->base);
    weft__switch_thread_begin(w);
    alternate = weft__overflow_thread_begin();
    weft__store(&w->clock, weft__os_now(), RELAXED);
    w->budget = WEFT__TURNS;
    for (;;) {
        struct weft__fiber *f = weft__find(w);

        if (f) {
            weft__switch(w, &w->base, f, WEFT__LEFT_BASE);
            errands_run(w);
            continue;
        }
        /* acquire: pairs with the release of the stop. */
        if (weft__load(&weft__sched.quit, ACQUIRE))
            break;
        weft__idle(w);
    }
    weft__overflow_thread_end(alternate);
    weft__set_self(NULL);
    return NULL;
}

/* --- Queues of one worker -------------------------------------------------- */

static void drop(struct weft__worker *w, uint32_t entry)
{
    struct weft__fiber *f = weft__fiber_at(entry >> 1);

    if (weft__life_drop_hint(f))
        weft__record_give(&w->records, f);
}

/* Says "new" of a fiber that has been started by another way. */
static bool is_dead(uint32_t entry)
{
    /* relaxed: NEW never comes back while the hint is out. */
    return entry & WEFT__ENTRY_HINT &&
           (weft__load(&weft__fiber_at(entry >> 1)->wake, RELAXED) &
            WEFT__WAKE_STATE_MASK) != WEFT__WAKE_NEW;
}

/*
 * The ring is full. Dead hints are dropped first: a tree of joins leaves many
 * and needs no other room. Then those that have not started go to the
 * injection queue, a batch at a time, the oldest first. Who has started stays,
 * behind the others: it was made ready for a reason (a value, a deadline), and
 * in the injection queue it would wait for all who were spawned before.
 *
 * noinline: the array would be part of every user's frame.
 */
__attribute__((noinline)) void weft__worker_overflow(struct weft__worker *w)
{
    uint32_t entries[OVERFLOW_BATCH];
    uint32_t n = weft__runq_pop_n(&w->runq, entries, OVERFLOW_BATCH);
    uint32_t fresh = 0, dead = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (is_dead(entries[i])) {
            drop(w, entries[i]);
            dead++;
        } else if (entries[i] & WEFT__ENTRY_HINT) {
            entries[fresh++] = entries[i];
        } else {
            /* There is room: we have just taken it out. */
            weft__runq_push(&w->runq, entries[i]);
        }
    }
    weft__count(&w->counters.overflows, 1);
    if (dead > n / 2) {
        for (uint32_t i = 0; i < fresh; i++)
            weft__runq_push(&w->runq, entries[i]);
        return;
    }
    /* Nothing but fibers that have started: so these. */
    if (fresh + dead == 0)
        fresh = weft__runq_pop_n(&w->runq, entries, OVERFLOW_BATCH);
    if (fresh == 0)
        return;
    weft__inject_push(entries, fresh);
    /* seq_cst: as in weft__ready(). */
    weft__fence(SEQ_CST);
    weft__idle_wake_one();
}

void weft__worker_push_next(struct weft__worker *w, uint32_t entry)
{
    /* relaxed: only the owner fills the slot. */
    uint32_t old = weft__load(&w->next, RELAXED);

    weft__order_hide();
    if (old == 0) {
        /* release: pairs with the acquire of whoever takes it. Nobody is
         * woken for it: the owner is about to come by. */
        weft__store(&w->next, entry, RELEASE);
    } else if ((old = weft__exchange(&w->next, entry, ACQ_REL)) != 0) {
        weft__worker_push(w, old);
        weft__idle_hint();
    }
    weft__order_show();
}

struct weft__fiber *weft__hint_claim(struct weft__worker *w, uint32_t entry)
{
    struct weft__fiber *f = weft__fiber_at(entry >> 1);
    uint64_t wake;

    /* relaxed: the swap checks it. */
    wake = weft__load(&f->wake, RELAXED);
    if ((wake & WEFT__WAKE_STATE_MASK) == WEFT__WAKE_NEW) {
        uint64_t running = (wake & WEFT__WAKE_GEN_MASK) | WEFT__WAKE_RUNNING;

        /* acquire: what its spawner wrote. */
        if (weft__cas(&f->wake, &wake, running, ACQ_REL, RELAXED)) {
            uintptr_t stack = weft__load(&f->stack, RELAXED); /* ours now */

            weft__store(&f->stack, stack | WEFT__FIBER_OWNS_HINT, RELAXED);
            return f;
        }
    }
    drop(w, entry);
    return NULL;
}
