/*
 * The scheduler as runtime/ sees it: start, run the first fiber, stop; spawn;
 * and who is calling.
 */
#ifndef WEFT_SCHED_SCHED_H
#define WEFT_SCHED_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weft/fiber.h>
#include <weft/runtime.h>

#include "sched/fiber.h"
#include "sched/os.h"

enum { WEFT__WORKERS_MAX = 256 };

/* How workers wait for the world: runtime/ hands in netpoll's. */
struct weft__poll_hooks {
    int (*open)(void **poller);
    void (*close)(void *poller);
    int (*pass)(void *poller);
    void (*sleep)(void *poller, int64_t until);
    void (*wake)(void *poller);
};

struct weft__sched_config {
    unsigned workers;
    unsigned stack_class; /* of fibers that do not ask for another */
    uint32_t ring;        /* entries of a run queue, a power of two */
    int64_t stop_timeout; /* nanoseconds */
    int deadlock;         /* WEFT_DEADLOCK_* */
    int guard;            /* WEFT_GUARD_* */
    struct weft__poll_hooks poll;
};

/*
 * Start workers, run entry(arg) as the first fiber, watch over them as the
 * monitor, and stop. As weft_run(); the caller has seen to it that no other
 * runtime runs.
 */
int weft__sched_run(const struct weft__sched_config *config,
                    int (*entry)(void *), void *arg, int *result);

/* Finish a stop that did not end in time. -EBUSY: it still has not. */
int weft__sched_finish(void);

/* Start a fiber; `flags` is WEFT__LIFE_DETACHED or 0. See weft_spawn_with(). */
int weft__sched_spawn(weft_fiber_t *id, const weft_attr_t *attr,
                      void *(*entry)(void *), void *arg, const void *site,
                      uint64_t flags);

/* The calling fiber, or NULL on any other thread. */
static inline struct weft__fiber *weft__fiber_self(void)
{
    struct weft__fiber *self = weft__self();

    /* relaxed: its own. */
    if (!self || weft__load(&self->stack, RELAXED) &
                     (WEFT__FIBER_BASE | WEFT__FIBER_FOREIGN))
        return NULL;
    return self;
}

/*
 * Whoever may own something: the calling fiber, or the record of the calling
 * thread, made at its first call. NULL: no memory.
 */
struct weft__fiber *weft__owner_self(void);

/* A thread that is not ours has called in, and may do so again: a program
 * asleep is not dead. Cheap. */
void weft__foreigner_note(void);
/* Has one ever, in this run or before it? */
bool weft__foreigners(void);
/* The start of a run: what its caller did itself does not count. */
void weft__foreigners_begin(void);
/* A forked child: the others are not here. */
void weft__foreigners_forked(void);
/* The same for all of sched/: no run, and every inner lock free. What another thread
 * was changing is as it left it. */
void weft__sched_forked(void);

/* The calling fiber; NULL: a thread that runs none, which is noted. */
static inline struct weft__fiber *weft__caller(void)
{
    struct weft__fiber *self = weft__fiber_self();

    if (!self)
        weft__foreigner_note();
    return self;
}

/* From begin to end the run does not end, if it had not before: see foreign.c.
 * Short, and without waiting. On a worker nothing. */
bool weft__visit_begin(void);
void weft__visit_end(bool visit);
/* The same to look at the workers of a run. false: there are none now, and no
 * visit has begun. */
bool weft__visit_run(bool *visit);
/* Of the run's end: until no visit is under way that has seen what is gone. */
void weft__visits_wait(void);

/* A thread of a lane: what it does is counted, so it is no foreigner. */
void weft__lane_thread_begin(void);
void weft__lane_thread_end(void);
bool weft__on_lane(void);

/* Something outside may wake a fiber: a job on a lane. Done is called by that
 * fiber when it runs again, and by no one earlier. */
void weft__pending_add(void);
void weft__pending_done(void);

/* Run fn(arg) on the base context of the calling fiber's worker, and go on;
 * fn must not park. On another thread (self NULL) just runs it. */
void weft__on_base(struct weft__fiber *self, void (*fn)(void *), void *arg);

/* Let others run. */
void weft__yield(struct weft__fiber *self);

/* Fibers that have not ended. */
uint64_t weft__sched_live(void);

/* Called for each fiber that has not ended, while it may still change. */
void weft__sched_each(void (*fn)(struct weft__fiber *f, uint64_t life,
                                 void *arg),
                      void *arg);

/* Add up the counters of one worker (or all: index UINT_MAX). */
int weft__sched_counters(unsigned index, weft_worker_stats_t *out);

/* Entries in the heaps of timers now, and what became of them so far. */
void weft__sched_timers(uint64_t *standing, uint64_t *armed,
                        uint64_t *expired);

/* The state of a fiber in a word: for dumps. */
const char *weft__fiber_state(const struct weft__fiber *f);

/* Writes the list of fibers; `write` gets a line at a time. Returns how many,
 * or write's negative answer. */
int weft__dump(int (*write)(const char *line, void *arg), void *arg);

#endif
