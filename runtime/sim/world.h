/*
 * The world of one run: its virtual threads, its clock, its choices.
 *
 * All virtual threads share one OS thread, so nothing here is locked. Exactly
 * one of them moves; each operation of the seam begins with weft__step(),
 * where the world may let another go on instead.
 */
#ifndef WEFT_RUNTIME_SIM_WORLD_H
#define WEFT_RUNTIME_SIM_WORLD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/sim/buffer.h"
#include "runtime/sim/chooser.h"
#include "runtime/sim/coro.h"
#include "runtime/sim/schedule.h"
#include "runtime/sim/sim.h"

enum weft__vstate {
    VTHREAD_FREE,
    VTHREAD_RUNNABLE,
    VTHREAD_SLEEPING, /* on a futex */
    VTHREAD_JOINING,
    VTHREAD_ENDED /* until someone joins it */
};

struct weft__vthread {
    struct weft__coro coro;
    unsigned index;
    enum weft__vstate state;
    bool started; /* has it ever moved? */
    struct weft__fiber *self;
    struct weft__buffer buffer;

    const volatile void *word; /* SLEEPING on this futex, */
    int64_t deadline;          /* until then at most (INT64_MAX: for ever), */
    uint64_t ticket;           /* and came in this order */
    int answer;                /* what the wait returns */
    unsigned joins;            /* JOINING this one */

    const char *what; /* its last operation, for reports */
    void *(*fn)(void *);
    void *arg;
};

struct weft__world {
    bool active;
    pthread_t os_thread; /* the one that everything runs on */
    weft_sim_t set;      /* with no defaults left open */
    const struct weft__chooser *chooser;
    struct weft__vthread thread[WEFT__SIM_THREADS];
    unsigned threads; /* slots ever used in this run */

    unsigned current;
    uint64_t runnable; /* masks of thread numbers */
    uint64_t dirty;    /* something is in its buffer */
    uint64_t paused;   /* waits in a loop for another to move */
    uint64_t awaited;  /* the run is over when these have ended */

    int64_t now;
    int64_t earliest; /* of all deadlines */
    uint64_t tickets;
    uint64_t steps;

    struct weft__schedule schedule;
    struct weft__sim_result result;
    bool misfit; /* a draw did not fit the schedule */
    bool hosted; /* does the run go back to `host` when it is over? */
    bool dumping;
    struct weft__coro host;
};

extern struct weft__world weft__world;

static inline struct weft__vthread *weft__current(void)
{
    return &weft__world.thread[weft__world.current];
}

/* A choice point: someone moves, perhaps the caller. `what` names the
 * operation that the caller is about to do. */
void weft__step(const char *what);

/* One of the n things that the world may do: see sched/seam.h. */
unsigned weft__sim_draw(unsigned n);

/* The caller can move no more: others do, until it is made runnable. */
void weft__step_blocked(void);

/* Let time pass to the earliest deadline; those who waited for it move. */
void weft__clock_expire(void);
void weft__clock_recompute(void);

/* A new virtual thread that runs fn(arg) and ends. Returns its number,
 * -EAGAIN when there are too many, or -ENOMEM. */
int weft__vthread_new(void *(*fn)(void *), void *arg);

/* Virtual thread 0 of an empty world is the caller, where it stands. */
void weft__vthread_adopt(void);

/* The run is over: back to the host, or, if there is none, the end of the
 * program. A verdict other than SOUND is reported. */
_Noreturn void weft__run_over(enum weft__sim_verdict verdict,
                              const char *what);

/* Reports, on stderr: report.c. */
void weft__report_failure(void);
void weft__report_catch(void);   /* signals of a dying program */
void weft__report_release(void); /* and no more */
/* Called by a virtual thread that was switched to for its backtrace. */
void weft__report_backtrace(void);

/* Faults: fault.c. */
int weft__fault_happens(enum weft__seam_fault kind);

#endif
