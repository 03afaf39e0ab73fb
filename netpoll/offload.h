/*
 * Offload lanes: threads for code that blocks.
 *
 * A lane is a bounded, elastic pool: a job that finds no idle thread makes
 * one, up to the lane's bound, and a thread that has had nothing to do for ten
 * seconds ends. Jobs begin in the order they came. There are several lanes, so
 * that what blocks in one never keeps another from its work: name servers that
 * do not answer leave the files alone.
 *
 * A job's wait may end before the job does, by a cancel, a deadline, or a
 * close of the descriptor it works on. One that is still queued is then taken
 * back. One that runs is waited for, since it uses what belongs to its fiber;
 * `stop` asks it to hurry. If it owns what it uses, and says how to `drop` it,
 * it is left alone instead: its fiber goes on at once, and the thread finishes
 * into memory that nobody needs.
 *
 *     QUEUED -> RUNNING -> FINISHED     the fiber's again
 *        |         \-----> ABANDONED    the thread's, which drops it
 *        |\--------------> REFUSED      no thread is to be had for it
 *        \---------------> taken back
 *
 * All of it under the lane's lock.
 */
#ifndef WEFT_NETPOLL_OFFLOAD_H
#define WEFT_NETPOLL_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "sched/fiber.h"
#include "sched/lock.h"
#include "sched/park.h"

struct weft__lane_thread;

enum weft__job_state {
    WEFT__JOB_QUEUED,
    WEFT__JOB_RUNNING,
    WEFT__JOB_FINISHED,
    WEFT__JOB_ABANDONED,
    WEFT__JOB_REFUSED
};

struct weft__job {
    void *(*fn)(void *arg);
    void *arg;
    const char *what;               /* for dumps */
    int fd;                         /* the descriptor it works on, or -1 */
    void (*stop)(void *arg);        /* or NULL; by its fiber, at most once. Who
                                       has one waits for the outside */
    void (*drop)(struct weft__job *job); /* or NULL: not to be abandoned */
    bool eager; /* if it would be queued: -EAGAIN */

    void *result;           /* what fn returned */
    enum weft__cause cause; /* why the wait ended; OK: the job did */

    /* The lane's. */
    struct weft__job *next;
    struct weft__job *prev;
    struct weft__fiber *fiber;
    uint64_t gen;
    int64_t since;
    struct weft__lane_thread *thread;
    enum weft__job_state state;
    bool awaited; /* its wait has ended, and its end is waited for */
};

struct weft__jobs {
    struct weft__job *first;
    struct weft__job *last;
};

/* Of descriptors that are being closed: see weft__lane_bar(). */
struct weft__lane_bar {
    struct weft__lane_bar *next;
    int fd;
};

/* All but the bell under the lock. */
struct weft__lane {
    const char *name; /* of its threads */
    weft__lock_t lock;
    weft__au32 bell; /* grows with each job and at the end: a futex */
    unsigned max;
    unsigned threads;
    unsigned idle;  /* of these, asleep and not called */
    unsigned calls; /* made, and not yet heard by one that was idle */
    unsigned queued;
    unsigned running;
    bool closing;
    uint64_t begun; /* jobs, since the start */
    struct weft__jobs queue;
    struct weft__jobs run;
    struct weft__lane_bar *bars;
    struct weft__lane_thread *over; /* ended, to be joined */
};

enum weft__lane_kind {
    WEFT__LANE_USER,    /* weft_blocking() */
    WEFT__LANE_FILE,    /* regular files */
    WEFT__LANE_FD,      /* descriptors in blocking mode */
    WEFT__LANE_RESOLVE, /* names */
    WEFT__LANES
};

extern struct weft__lane weft__lanes[WEFT__LANES];

struct weft__lane_stats {
    uint64_t threads;
    uint64_t queued;
    uint64_t running;
    uint64_t begun;
    int64_t age; /* ns the oldest queued job has waited */
};

/* Start with no thread. `max`: how many there may be. */
void weft__lane_open(struct weft__lane *lane, unsigned max);
/*
 * End all threads. No job is queued or running, but for abandoned ones: their
 * threads are left to themselves, and end with them.
 */
void weft__lane_close(struct weft__lane *lane);

/*
 * Run fn(arg) on the lane and park `self` meanwhile. A job that is still
 * queued when the fiber is cancelled, or at `deadline`, is taken back; one
 * that runs is waited for, and its result counts.
 *
 * Returns 0; -ECANCELED or -ETIMEDOUT (-EAGAIN with WEFT_NOW): fn did not run;
 * -EAGAIN: the system gives no thread, and the lane has none (or none that is
 * free, for a job that waits for the outside); -EPERM: `self` is NULL. The look at the cancel on entry is the caller's.
 */
int weft__lane_run(struct weft__lane *lane, struct weft__fiber *self,
                   void *(*fn)(void *), void *arg, void **result,
                   int64_t deadline);

/*
 * The same for a job of the caller's making: its upper part is filled in, the
 * rest zero. Returns 0: it ran, job->result is its result and job->cause why
 * the wait for it ended. Else as above, and -EBADF: its descriptor is being
 * closed; then it did not run, or was abandoned. One with a `drop` is gone
 * then: dropped, now or later.
 */
int weft__lane_do(struct weft__lane *lane, struct weft__fiber *self,
                  struct weft__job *job, int64_t deadline);

/* From here to weft__lane_unbar() no job on this descriptor begins, and those
 * that wait do so no longer: -EBADF. `bar` is the caller's. */
void weft__lane_bar(struct weft__lane *lane, struct weft__lane_bar *bar,
                    int fd);
void weft__lane_unbar(struct weft__lane *lane, struct weft__lane_bar *bar);

/* In a forked child, which has none of the threads, and no one who waits. */
void weft__lane_forked(struct weft__lane *lane);

void weft__lane_stats(struct weft__lane *lane, struct weft__lane_stats *out);

#endif
