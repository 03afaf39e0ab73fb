#include "netpoll/offload.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "sched/lock.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/sched.h"

#define LANE_LINGER ((int64_t)10 * 1000000000)

enum job_state { QUEUED, RUNNING, FINISHED, REFUSED };

struct job {
    struct job *next;
    void *(*fn)(void *);
    void *arg;
    void *result;
    struct weft__fiber *fiber;
    uint64_t gen;
    int64_t since;
    enum job_state state;
};

struct lane_thread {
    weft__os_thread thread;
    struct lane_thread *next;
};

/* All but the bell under the lock. */
static struct {
    weft__lock_t lock;
    weft__au32 bell; /* grows with each job and at the end: a futex */
    unsigned max;
    unsigned threads;
    unsigned idle;  /* of these, asleep and not called */
    unsigned calls; /* made, and not yet heard by one that was idle */
    unsigned running;
    unsigned queued;
    bool closing;
    struct job *first;
    struct job *last;
    struct lane_thread *over; /* ended, to be joined */
} lane;

/* --- The threads -------------------------------------------------------------- */

static struct job *queue_pop(void)
{
    struct job *job = lane.first;

    if (!job)
        return NULL;
    lane.first = job->next;
    if (!lane.first)
        lane.last = NULL;
    lane.queued--;
    return job;
}

/* A job that was taken off the queue: run it and let its fiber go. */
static void job_run(struct job *job)
{
    struct weft__fiber *fiber = job->fiber;
    void *result = job->fn(job->arg);
    bool won;

    weft__lock_acquire(&lane.lock);
    job->result = result;
    job->state = FINISHED;
    lane.running--;
    /* Lost: it leaves, and sees FINISHED when it gets the lock. Won or not,
     * the job is its fiber's from here on. */
    won = weft__claim(fiber, job->gen, WEFT__CAUSE_OK);
    weft__lock_release(&lane.lock);
    if (won)
        weft__ready(fiber);
}

/* Sleep until a job comes: false after ten seconds without one, or at the
 * end. The lock is held, before and after. */
static bool lane_wait(void)
{
    int status = 0;

    lane.idle++;
    while (lane.calls == 0 && !lane.closing && status != -ETIMEDOUT) {
        /* relaxed: written under the lock. */
        uint32_t bell = weft__load(&lane.bell, RELAXED);

        weft__lock_release(&lane.lock);
        status = weft__os_futex_wait(&lane.bell, bell, LANE_LINGER);
        weft__lock_acquire(&lane.lock);
    }
    if (lane.calls > 0) {
        lane.calls--;
        return true;
    }
    lane.idle--;
    return false;
}

static void *lane_main(void *arg)
{
    struct lane_thread *me = arg;
    struct job *job;

    weft__lane_thread_begin();
    weft__lock_acquire(&lane.lock);
    for (;;) {
        while ((job = queue_pop())) {
            job->state = RUNNING;
            lane.running++;
            weft__lock_release(&lane.lock);
            job_run(job);
            weft__lock_acquire(&lane.lock);
        }
        if (!lane_wait() && !lane.first)
            break;
    }
    lane.threads--;
    me->next = lane.over;
    lane.over = me;
    weft__lock_release(&lane.lock);
    weft__lane_thread_end();
    return NULL;
}

/* Wait for the threads of a list that have ended. */
static void threads_join(struct lane_thread *list)
{
    while (list) {
        struct lane_thread *next = list->next;

        weft__os_thread_join(list->thread);
        free(list);
        list = next;
    }
}

/* There is no thread, and none to be had: nobody would come for the jobs that
 * wait, among them those that found another's thread under way and made none.
 * The lock is held; the batch is let go after it. */
static void queue_refuse(struct weft__batch *batch)
{
    struct job *job;

    while ((job = queue_pop())) {
        job->state = REFUSED;
        if (weft__claim(job->fiber, job->gen, WEFT__CAUSE_RETRY))
            weft__batch_add(batch, job->fiber);
    }
}

/* One more thread, already counted. If it cannot be had and there is no other,
 * all jobs are refused. */
static void thread_add(void)
{
    struct lane_thread *one = malloc(sizeof(*one));
    struct weft__batch batch = { 0 };
    struct lane_thread *over;
    bool made = one && weft__os_thread_create(&one->thread, "weft-lane",
                                              lane_main, one) == 0;

    if (!made)
        free(one);
    weft__lock_acquire(&lane.lock);
    if (!made && --lane.threads == 0)
        queue_refuse(&batch);
    over = lane.over;
    lane.over = NULL;
    weft__lock_release(&lane.lock);
    weft__batch_ready(&batch);
    threads_join(over);
}

void weft__lane_open(unsigned max)
{
    lane.max = max;
    lane.closing = false;
}

void weft__lane_close(void)
{
    struct lane_thread *over;
    bool more;

    do {
        weft__lock_acquire(&lane.lock);
        lane.closing = true;
        weft__fetch_add(&lane.bell, 1, RELEASE);
        more = lane.threads > 0;
        over = lane.over;
        lane.over = NULL;
        weft__lock_release(&lane.lock);
        weft__os_futex_wake(&lane.bell, INT32_MAX);
        threads_join(over);
        if (more)
            weft__os_thread_yield();
    } while (more);
}

/* --- The fibers --------------------------------------------------------------- */

static void queue_remove(struct job *job)
{
    struct job **link = &lane.first;
    struct job *before = NULL;

    while (*link != job) {
        before = *link;
        link = &before->next;
    }
    *link = job->next;
    if (lane.last == job)
        lane.last = before;
    lane.queued--;
}

/* Append a job; true: the lane needs one more thread for it. The lock is
 * held. */
static bool queue_push(struct job *job, bool *ring)
{
    job->next = NULL;
    if (lane.last)
        lane.last->next = job;
    else
        lane.first = job;
    lane.last = job;
    lane.queued++;
    *ring = lane.idle > 0;
    if (*ring) {
        lane.idle--;
        lane.calls++;
        weft__fetch_add(&lane.bell, 1, RELEASE);
        return false;
    }
    if (lane.threads >= lane.max)
        return false;
    lane.threads++;
    return true;
}

/* The wait was ended by a cancel or its deadline: take the job back, or, if it
 * has begun, wait for its end. */
static int job_leave(struct job *job, enum weft__cause cause, void **result)
{
    weft__lock_acquire(&lane.lock);
    if (job->state == QUEUED || job->state == REFUSED) {
        if (job->state == QUEUED)
            queue_remove(job);
        weft__lock_release(&lane.lock);
        return weft__cause_code(cause);
    }
    if (job->state == RUNNING) {
        job->gen = weft__park_open(job->fiber, WEFT__WAKE_NO_CANCEL,
                                   "blocking call", job);
        weft__lock_release(&lane.lock);
        weft__park(job->fiber);
    } else {
        weft__lock_release(&lane.lock);
    }
    if (result)
        *result = job->result;
    return 0;
}

int weft__lane_run(struct weft__fiber *self, void *(*fn)(void *), void *arg,
                   void **result, int64_t deadline)
{
    struct job job = {
        .fn = fn, .arg = arg, .fiber = self, .since = weft__os_now()
    };
    enum weft__cause cause;
    int status = 0;
    bool grow, ring;

    weft__pending_add();
    weft__lock_acquire(&lane.lock);
    job.gen =
        weft__park_open_until(self, 0, "blocking call", &job, deadline);
    grow = queue_push(&job, &ring);
    weft__lock_release(&lane.lock);
    if (ring)
        weft__os_futex_wake(&lane.bell, 1);
    if (grow)
        thread_add();

    cause = weft__park(self);
    if (cause == WEFT__CAUSE_RETRY)
        status = -EAGAIN; /* refused */
    else if (cause != WEFT__CAUSE_OK)
        status = job_leave(&job, cause, result);
    else if (result)
        *result = job.result;
    /* Here and not in the lane, which would come too late: the fiber may run,
     * and the last worker lie down, before the thread that let it go has told
     * that its job is over; then no one would look for a deadlock again. */
    weft__pending_done();
    return status;
}

void weft__lane_stats(struct weft__lane_stats *out)
{
    weft__lock_acquire(&lane.lock);
    out->threads = lane.threads;
    out->queued = lane.queued;
    out->running = lane.running;
    out->age = lane.first ? weft__os_now() - lane.first->since : 0;
    weft__lock_release(&lane.lock);
}
