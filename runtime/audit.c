/*
 * The audit: do the runtime's invariants hold?
 *
 * Each check counts what is wrong. Counts that others may be changing while
 * they are read are compared again, a few times: a difference that stands
 * still is a fault.
 */
#include <weft/runtime.h>

#include <errno.h>
#include <limits.h>
#include <stdint.h>

#include "sched/guard.h"
#include "sched/inject.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/worker.h"

enum { TRIES = 20 };

struct audit {
    FILE *out;
    int faults;
    uint64_t listed;
};

static void fault(struct audit *audit, const char *what, uint64_t is,
                  uint64_t should)
{
    audit->faults++;
    if (audit->out)
        fprintf(audit->out, "weft: audit: %s: %llu, and should be %llu\n",
                what, (unsigned long long)is, (unsigned long long)should);
}

static void check_fiber(struct weft__fiber *f, uint64_t life, void *arg)
{
    struct audit *audit = arg;
    /* acquire: the stack of that wait, if the word is still the same then. */
    uint64_t wake = weft__load(&f->wake, ACQUIRE);
    uintptr_t stack = weft__load(&f->stack, ACQUIRE);

    audit->listed++;
    if ((wake & WEFT__WAKE_STATE_MASK) != WEFT__WAKE_PARKED)
        return;
    /* A parked fiber has a stack, and its canary lives; look again at the
     * word: it may have ended meanwhile. */
    if (!(stack & WEFT__STACK_BASE_MASK) &&
        weft__load(&f->wake, ACQUIRE) == wake)
        fault(audit, "a parked fiber has no stack", weft__fiber_index(f), 0);
    else if (!weft__guard_intact(stack) &&
             weft__load(&f->wake, ACQUIRE) == wake)
        fault(audit, "a parked fiber overflowed", weft__fiber_index(f), 0);
    if (life & WEFT__LIFE_DETACHED && life & WEFT__LIFE_JOINED)
        fault(audit, "a detached fiber has a joiner", weft__fiber_index(f),
              0);
}

static uint64_t idle_bits(void)
{
    uint64_t bits = 0;

    for (int i = 0; i < WEFT__MASK_WORDS; i++)
        bits += (uint64_t)__builtin_popcountll(
            weft__load(&weft__sched.idle_mask[i], RELAXED));
    return bits;
}

/* Those who were sent for and are not up yet have no bit; they are spinners. */
static void check_idle(struct audit *audit)
{
    uint64_t bits = 0, count = 0;

    for (int i = 0; i < TRIES; i++) {
        bits = idle_bits();
        count = weft__load(&weft__sched.idle, RELAXED);
        if (bits <= count &&
            count - bits <= weft__load(&weft__sched.spinners, RELAXED))
            return;
        weft__os_thread_yield();
    }
    fault(audit, "sleepers counted", count, bits);
}

/* How many fibers have come and gone. */
static uint64_t turnover(void)
{
    weft_worker_stats_t all;

    weft__sched_counters(UINT_MAX, &all);
    return all.spawned + all.ended;
}

/* It takes its time: only what nobody came or went under counts. */
static void check_live(struct audit *audit)
{
    uint64_t live = 0, quiet = 0;

    for (int i = 0; i < TRIES; i++) {
        uint64_t before = turnover();

        audit->listed = 0;
        weft__sched_each(check_fiber, audit);
        live = weft__sched_live();
        if (live == audit->listed || audit->faults)
            return;
        quiet += turnover() == before;
        weft__os_thread_yield();
    }
    if (quiet == TRIES)
        fault(audit, "fibers listed", audit->listed, live);
}

static void check_queues(struct audit *audit)
{
    uint64_t most = 2 * (uint64_t)weft__fiber_made();

    for (unsigned i = 0; i < weft__sched.count; i++) {
        struct weft__runq *q = &weft__sched.workers[i]->runq;
        uint64_t len = weft__runq_len(q);

        /* Head and tail are not read at one instant: look twice. */
        if (len > q->mask + 1 && weft__runq_len(q) > q->mask + 1)
            fault(audit, "entries in a run queue", len, q->mask + 1);
    }
    if (weft__inject_len() > most)
        fault(audit, "entries in the injection queue", weft__inject_len(),
              most);
}

static void check_timers(struct audit *audit)
{
    for (unsigned i = 0; i < weft__sched.count; i++) {
        uint64_t wrong = 0;

        /* An entry that is moved is out of its heap for a moment. */
        for (int k = 0; k < TRIES; k++) {
            wrong = weft__timer_audit(weft__sched.workers[i]->timers);
            if (!wrong)
                break;
            weft__os_thread_yield();
        }
        if (wrong)
            fault(audit, "timers out of order", wrong, 0);
    }
}

int weft_audit(FILE *out)
{
    struct audit audit = { .out = out };
    bool visit;

    if (!weft__visit_run(&visit))
        return -EPERM;
    check_live(&audit);
    check_idle(&audit);
    check_queues(&audit);
    check_timers(&audit);
    weft__visit_end(visit);
    return audit.faults;
}
