#include "sched/sched.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sched/fatal.h"
#include "sched/inject.h"
#include "sched/lock.h"
#include "sched/monitor.h"
#include "sched/park.h"
#include "sched/sanitizer.h"
#include "sched/worker.h"

struct weft__sched weft__sched;

/* --- Starting ---------------------------------------------------------------- */

/* Worker records are kept for the next start: who reads counters late, or
 * wakes someone late, never meets freed memory. */
static struct weft__worker *kept[WEFT__WORKERS_MAX];

/* A loop, not memset: TSan would look into that, and it does not know that a
 * fiber of the last run ended with its worker. */
static void clear(void *p, size_t size)
{
    uint64_t *words = p;

    for (size_t i = 0; i < size / sizeof(*words); i++)
        words[i] = 0;
}

static int workers_make(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!kept[i])
            kept[i] = weft__os_map(sizeof(struct weft__worker));
        if (!kept[i])
            return -ENOMEM;
        clear(kept[i], sizeof(*kept[i]));
    }
    return 0;
}

static void workers_join(void)
{
    /* release: pairs with the acquire of a worker's loop. */
    weft__store(&weft__sched.quit, 1, SEQ_CST);
    weft__idle_wake_all();
    for (unsigned i = 0; i < weft__sched.started; i++)
        weft__os_thread_join(weft__sched.workers[i]->thread);
    /* For those who come to look. seq_cst: pairs with weft__visit_run(). */
    weft__store(&weft__sched.running, 0, SEQ_CST);
    /* Nobody sleeps any more: who took a sleeper's mark is still to ring. */
    weft__visits_wait();
    for (unsigned i = 0; i < weft__sched.count; i++)
        weft__worker_close(weft__sched.workers[i]);
    weft__timer_clear(weft__sched.count);
    weft__stack_unreserve(weft__sched.config.stack_class,
                          (size_t)weft__sched.count * WEFT__STACK_SPARE);
    weft__overflow_end();
    weft__stack_trim_all();
    weft__sched.count = 0;
}

static int workers_start(void)
{
    struct weft__sched *s = &weft__sched;
    int status;

    for (unsigned i = 0; i < s->count; i++) {
        status = weft__worker_open(s->workers[i], i);
        if (status != 0)
            return status;
    }
    for (; s->started < s->count; s->started++) {
        status = weft__os_thread_create(&s->workers[s->started]->thread,
                                        "weft", weft__worker_main,
                                        s->workers[s->started]);
        if (status != 0)
            return status;
    }
    return 0;
}

static int sched_start(const struct weft__sched_config *config)
{
    struct weft__sched *s = &weft__sched;
    int status;

    clear(s, sizeof(*s));
    weft__foreigners_begin();
    s->config = *config;
    s->workers = kept;
    weft__lock_asymmetric = weft__os_membarrier_init();
    weft__stack_setup(config->guard);
    if ((status = weft__fiber_setup(config->stack_class)) != 0 ||
        (status = weft__inject_setup()) != 0 ||
        (status = weft__timer_setup(config->workers)) != 0 ||
        (status = workers_make(config->workers)) != 0 ||
        (status = weft__stack_reserve(config->stack_class,
                                      (size_t)config->workers *
                                          WEFT__STACK_SPARE)) != 0)
        return status;

    s->count = config->workers;
    weft__overflow_begin();
    status = workers_start();
    if (status != 0) {
        workers_join();
        return status;
    }
    weft__store(&s->running, 1, RELEASE);
    return 0;
}

/* --- Fibers -------------------------------------------------------------------- */

/* Fill a record in; it may be started as soon as this returns and someone
 * learns of it. */
static void fiber_make(struct weft__fiber *f, const weft_attr_t *attr,
                       unsigned class, void *(*entry)(void *), void *arg,
                       const void *site, uint64_t flags)
{
    /* relaxed: the record is ours alone. */
    uint64_t life = weft__load(&f->life, RELAXED);
    uint64_t gen = weft__load(&f->wake, RELAXED) & WEFT__WAKE_GEN_MASK;
    uintptr_t stack = class;

    f->entry = entry;
    f->arg = arg;
    f->worker = NULL;
    f->site = site;
    if (attr && attr->name) {
        struct weft__fiber_cold *cold = weft__fiber_cold(f);

        strncpy(cold->name, attr->name, WEFT_NAME_MAX - 1);
        stack |= WEFT__FIBER_NAMED;
    }
    weft__store(&f->stack, stack, RELAXED);
    weft__store(&f->joiner_gen, 0, RELAXED);
    weft__order_before(f);
    weft__store(&f->wake, gen | WEFT__WAKE_NEW, RELAXED);
    /* release: who finds this version finds the fiber. */
    weft__store(&f->life, life | WEFT__LIFE_BORN | WEFT__LIFE_HINT | flags,
                RELEASE);
}

/* The attributes' say about the stack: a class, or -EINVAL. */
static int attr_class(const weft_attr_t *attr)
{
    if (!attr)
        return (int)weft__sched.config.stack_class;
    if (attr->size != sizeof(*attr))
        return -EINVAL;
    return attr->stack_size ? weft__stack_class(attr->stack_size)
                            : (int)weft__sched.config.stack_class;
}

int weft__sched_spawn(weft_fiber_t *id, const weft_attr_t *attr,
                      void *(*entry)(void *), void *arg, const void *site,
                      uint64_t flags)
{
    struct weft__fiber *self = weft__caller();
    struct weft__worker *w;
    struct weft__fiber *f;
    unsigned own = weft__sched.config.stack_class;
    int class = attr_class(attr);

    if (class < 0 || !entry)
        return -EINVAL;
    if (!self)
        return -EPERM;
    /* A fiber that was cancelled may need helpers to clean up; they are
     * cancelled from birth. relaxed: the stop goes through all fibers. */
    if (weft__load(&weft__sched.stopping, RELAXED)) {
        if (!weft__cancel_pending(self))
            return -ECANCELED;
        flags |= WEFT__LIFE_CANCEL;
    }
    if ((unsigned)class != own &&
        weft__stack_reserve((unsigned)class, 1) != 0)
        return -ENOMEM;
    w = self->worker;
    f = weft__record_take(&w->records);
    if (!f) {
        if ((unsigned)class != own)
            weft__stack_unreserve((unsigned)class, 1);
        return -ENOMEM;
    }
    fiber_make(f, attr, (unsigned)class, entry, arg, site, flags);
    weft__count(&w->counters.spawned, 1);
    if (id)
        *id = weft__fiber_id(f);
    weft__worker_push_next(w, weft__fiber_index(f) << 1 | WEFT__ENTRY_HINT);
    return 0;
}

void weft__yield(struct weft__fiber *self)
{
    struct weft__worker *w = self->worker;
    struct weft__fiber *next = weft__find_local(w);

    /* relaxed: a guess. */
    if (!next && weft__load(&w->turns, RELAXED) > 0 && weft__inject_len() == 0 &&
        !weft__load(&w->preempt, RELAXED))
        return;
    weft__count(&w->counters.yields, 1);
    weft__switch(w, self, next ? next : &w->base, WEFT__LEFT_YIELD);
}

uint64_t weft__sched_live(void)
{
    uint64_t ended = 0, spawned;

    /* All that ended first: each was spawned before, so the difference is
     * never too small; and when it is 0, nothing lived at that moment.
     * acquire: pairs with the release of each end (switch.c). */
    for (unsigned i = 0; i < weft__sched.count; i++)
        ended += weft__load(&weft__sched.workers[i]->counters.ended, ACQUIRE);
    weft__fence(SEQ_CST);
    spawned = weft__load(&weft__sched.spawned, ACQUIRE);
    for (unsigned i = 0; i < weft__sched.count; i++)
        spawned +=
            weft__load(&weft__sched.workers[i]->counters.spawned, ACQUIRE);
    return spawned - ended;
}

void weft__sched_each(void (*fn)(struct weft__fiber *f, uint64_t life,
                                 void *arg),
                      void *arg)
{
    uint32_t made = weft__fiber_made();

    for (uint32_t i = 1; i <= made; i++) {
        struct weft__fiber *f = weft__fiber_at(i);
        /* acquire: the record as its spawner or its end left it. */
        uint64_t life = weft__load(&f->life, ACQUIRE);

        if ((weft__load(&f->wake, RELAXED) & WEFT__WAKE_STATE_MASK) !=
                WEFT__WAKE_FREE &&
            !(life & (WEFT__LIFE_ENDED | WEFT__LIFE_CONSUMED)))
            fn(f, life, arg);
    }
}

void weft__pending_add(void)
{
    /* relaxed: counted before the job can be seen by a lane. */
    weft__fetch_add(&weft__sched.pending, WEFT__PENDING_ADDED + 1, RELAXED);
}

void weft__pending_done(void)
{
    /* By the fiber that was waited for, awake again: a worker that lies down
     * later looks for a deadlock. release: pairs with that look. */
    weft__fetch_sub(&weft__sched.pending, 1, RELEASE);
}

/* --- The first fiber, and the end ------------------------------------------------ */

struct first {
    int (*entry)(void *);
    void *arg;
    int result;
};

static void *first_main(void *arg)
{
    struct first *first = arg;

    weft__pending_done();
    first->result = first->entry(first->arg);
    /* release: the result; pairs with the monitor's acquire. */
    weft__store(&weft__sched.entry_done, 1, RELEASE);
    weft__monitor_ring();
    return NULL;
}

static int first_spawn(struct first *first)
{
    struct weft__fiber *f = weft__record_take(NULL);
    uint32_t entry;
    static const weft_attr_t attr = { sizeof(attr), "main", 0 };

    if (!f)
        return -ENOMEM;
    fiber_make(f, &attr, weft__sched.config.stack_class, first_main, first,
               (const void *)(uintptr_t)first->entry, WEFT__LIFE_DETACHED);
    weft__sched.first = weft__fiber_id(f);
    /* Counted and not yet queued, it would look like a deadlock to a worker
     * that lies down meanwhile; so it is pending until it runs. */
    weft__pending_add();
    weft__fetch_add(&weft__sched.spawned, 1, RELEASE);
    entry = weft__fiber_index(f) << 1 | WEFT__ENTRY_HINT;
    weft__inject_push(&entry, 1);
    /* seq_cst: as in weft__ready(). */
    weft__fence(SEQ_CST);
    weft__idle_wake_one();
    return 0;
}

static void list_one(struct weft__fiber *f, uint64_t life, void *arg)
{
    (void)life, (void)arg;
    weft__log(WEFT_LOG_WARNING, "did not end in time: fiber %llu:%llu, %s",
              (unsigned long long)(weft__fiber_id(f) & UINT32_MAX),
              (unsigned long long)(weft__fiber_id(f) >> 32),
              weft__fiber_state(f));
}

int weft__sched_finish(void)
{
    if (weft__sched.count == 0)
        return 0;
    if (weft__sched_live() != 0) {
        /* Nobody else looks after them any more. */
        weft__monitor_nudge();
        return -EBUSY;
    }
    workers_join();
    return 0;
}

int weft__sched_run(const struct weft__sched_config *config,
                    int (*entry)(void *), void *arg, int *result)
{
    /* Static: fibers that outlive the call may still use the first one's
     * result; there is one runtime at a time. */
    static struct first first;
    int status = sched_start(config);

    if (status != 0)
        return status;
    first = (struct first){ .entry = entry, .arg = arg };
    status = first_spawn(&first);
    if (status != 0) {
        workers_join();
        return status;
    }
    if (weft__monitor_watch()) {
        workers_join();
    } else {
        weft__sched_each(list_one, NULL);
        status = -EBUSY;
    }
    if (result)
        *result = first.result;
    return status;
}

void weft__sched_forked(void)
{
    weft__set_self(NULL);
    weft__fiber_forked();
    weft__inject_forked();
    weft__timer_forked();
    weft__stack_forked();
    weft__log_forked();
    weft__foreigners_forked();
    weft__store(&weft__sched.running, 0, RELAXED);
}
