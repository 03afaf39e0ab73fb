#include "netpoll/offload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sched/os.h"
#include "sched/sched.h"

#ifdef WEFT_SIM
#include "sched/seam.h"
#endif

#define LANE_LINGER ((int64_t)10 * 1000000000)

struct weft__lane_thread {
    struct weft__lane *lane;
    weft__os_thread thread;
    struct weft__lane_thread *next;
    bool left; /* detached, and the lane's no more: see threads_leave() */
};

struct weft__lane weft__lanes[WEFT__LANES] = {
    [WEFT__LANE_USER] = { .name = "weft-lane" },
    [WEFT__LANE_FILE] = { .name = "weft-file" },
    [WEFT__LANE_FD] = { .name = "weft-fd" },
    [WEFT__LANE_RESOLVE] = { .name = "weft-resolve" },
};

/* --- Lists of jobs ------------------------------------------------------------ */

static void jobs_push(struct weft__jobs *list, struct weft__job *job)
{
    job->next = NULL;
    job->prev = list->last;
    if (list->last)
        list->last->next = job;
    else
        list->first = job;
    list->last = job;
}

static void jobs_remove(struct weft__jobs *list, struct weft__job *job)
{
    if (job->prev)
        job->prev->next = job->next;
    else
        list->first = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        list->last = job->prev;
}

static struct weft__job *queue_pop(struct weft__lane *lane)
{
    struct weft__job *job = lane->queue.first;

    if (!job)
        return NULL;
    jobs_remove(&lane->queue, job);
    lane->queued--;
    return job;
}

/* --- The threads -------------------------------------------------------------- */

/* A job that was taken off the queue: run it and let its fiber go. The lock is
 * held, before and after. */
static void job_run(struct weft__lane_thread *me, struct weft__job *job)
{
    struct weft__lane *lane = me->lane;
    void *result;
    bool won = false;

    job->state = WEFT__JOB_RUNNING;
    job->thread = me;
    jobs_push(&lane->run, job);
    lane->running++;
    lane->begun++;
    weft__lock_release(&lane->lock);
    result = job->fn(job->arg);
    weft__lock_acquire(&lane->lock);

    if (!me->left) {
        jobs_remove(&lane->run, job);
        lane->running--;
    }
    if (job->state == WEFT__JOB_ABANDONED) {
        weft__lock_release(&lane->lock);
        job->drop(job);
    } else {
        struct weft__fiber *fiber = job->fiber;

        job->result = result;
        job->state = WEFT__JOB_FINISHED;
        /* Lost: its wait was ended, and its fiber sees FINISHED when it gets
         * the lock. Won or not, the job is its fiber's from here on. */
        won = weft__claim(fiber, job->gen, WEFT__CAUSE_OK);
        weft__lock_release(&lane->lock);
        if (won)
            weft__ready(fiber);
    }
    weft__lock_acquire(&lane->lock);
}

/* Sleep until a job comes: false after ten seconds without one, or at the
 * end. The lock is held, before and after. */
static bool lane_wait(struct weft__lane *lane)
{
    int status = 0;

    lane->idle++;
    while (lane->calls == 0 && !lane->closing && status != -ETIMEDOUT) {
        /* relaxed: written under the lock. */
        uint32_t bell = weft__load(&lane->bell, RELAXED);

        weft__lock_release(&lane->lock);
        status = weft__os_futex_wait(&lane->bell, bell, LANE_LINGER);
        weft__lock_acquire(&lane->lock);
    }
    if (lane->calls > 0) {
        lane->calls--;
        return true;
    }
    lane->idle--;
    return false;
}

static void *lane_main(void *arg)
{
    struct weft__lane_thread *me = arg;
    struct weft__lane *lane = me->lane;
    struct weft__job *job;

    weft__lane_thread_begin();
    weft__lock_acquire(&lane->lock);
    for (;;) {
        while (!me->left && (job = queue_pop(lane)))
            job_run(me, job);
        if (me->left || (!lane_wait(lane) && !lane->queue.first))
            break;
    }
    if (me->left) {
        weft__lock_release(&lane->lock);
        free(me);
    } else {
        lane->threads--;
        me->next = lane->over;
        lane->over = me;
        weft__lock_release(&lane->lock);
    }
    weft__lane_thread_end();
    return NULL;
}

/* Wait for the threads of a list that have ended. */
static void threads_join(struct weft__lane_thread *list)
{
    while (list) {
        struct weft__lane_thread *next = list->next;

        weft__os_thread_join(list->thread);
        free(list);
        list = next;
    }
}

/* A thread could not be had, and threads that are free come for the first in the
 * queue only. Of those behind, among them some that found another's thread under
 * way and made none, who may stay? If there are threads at work, those that wait
 * for one of them. But not those that may not wait, nor those that wait for the
 * outside: so do the ones at work, and perhaps for ever. The lock is held; the
 * batch is let go after it. */
static void queue_refuse(struct weft__lane *lane, struct weft__batch *batch)
{
    unsigned free = lane->threads - lane->running;
    struct weft__job *job, *next;

    for (job = lane->queue.first; job; job = next) {
        next = job->next;
        if (free > 0) {
            free--;
            continue;
        }
        if (lane->threads > 0 && !job->stop && !job->eager)
            continue;
        jobs_remove(&lane->queue, job);
        lane->queued--;
        job->state = WEFT__JOB_REFUSED;
        if (weft__claim(job->fiber, job->gen, WEFT__CAUSE_RETRY))
            weft__batch_add(batch, job->fiber);
    }
}

/* One more thread, already counted. */
static void thread_add(struct weft__lane *lane)
{
    struct weft__lane_thread *one = malloc(sizeof(*one));
    struct weft__batch batch = { 0 };
    struct weft__lane_thread *over;
    bool made = false;

    if (one) {
        one->lane = lane;
        one->left = false;
        made = weft__os_thread_create(&one->thread, lane->name, lane_main,
                                      one) == 0;
    }
    if (!made)
        free(one);
    weft__lock_acquire(&lane->lock);
    if (!made) {
        lane->threads--;
        queue_refuse(lane, &batch);
    }
    over = lane->over;
    lane->over = NULL;
    weft__lock_release(&lane->lock);
    weft__batch_ready(&batch);
    threads_join(over);
}

/* --- Open and close ------------------------------------------------------------ */

void weft__lane_open(struct weft__lane *lane, unsigned max)
{
    weft__lock_acquire(&lane->lock);
    lane->max = max;
    lane->closing = false;
    lane->begun = 0;
    weft__lock_release(&lane->lock);
}

/* Only abandoned jobs run any more. Their threads are no longer this lane's;
 * each ends with its job. The lock is held. */
static void threads_leave(struct weft__lane *lane)
{
    struct weft__job *job, *next;

#ifdef WEFT_SIM
    /* A simulated world is not over before all that happens in it is. */
    if (weft__seam != NULL)
        return;
#endif
    for (job = lane->run.first; job; job = next) {
        next = job->next;
        if (job->state != WEFT__JOB_ABANDONED)
            continue;
        jobs_remove(&lane->run, job);
        lane->running--;
        lane->threads--;
        job->thread->left = true;
        weft__os_thread_detach(job->thread->thread);
    }
}

void weft__lane_close(struct weft__lane *lane)
{
    struct weft__lane_thread *over;
    bool more;

    do {
        weft__lock_acquire(&lane->lock);
        lane->closing = true;
        weft__fetch_add(&lane->bell, 1, RELEASE);
        threads_leave(lane);
        more = lane->threads > 0;
        over = lane->over;
        lane->over = NULL;
        weft__lock_release(&lane->lock);
        weft__os_futex_wake(&lane->bell, INT32_MAX);
        threads_join(over);
        if (more)
            weft__os_thread_yield();
    } while (more);
}

/* --- The fibers --------------------------------------------------------------- */

/* Append a job; true: the lane needs one more thread for it. The lock is
 * held. */
static bool queue_push(struct weft__lane *lane, struct weft__job *job,
                       bool *ring)
{
    jobs_push(&lane->queue, job);
    lane->queued++;
    *ring = lane->idle > 0;
    if (*ring) {
        lane->idle--;
        lane->calls++;
        weft__fetch_add(&lane->bell, 1, RELEASE);
        return false;
    }
    if (lane->threads >= lane->max)
        return false;
    lane->threads++;
    return true;
}

static int job_code(const struct weft__job *job)
{
    if (job->cause == WEFT__CAUSE_RETRY)
        return -EAGAIN; /* refused */
    if (job->cause == WEFT__CAUSE_CLOSED)
        return -EBADF;
    return weft__cause_code(job->cause);
}

/* It will not run, or no longer matters. */
static int job_drop(struct weft__job *job, int code)
{
    if (job->drop)
        job->drop(job);
    return code;
}

/* The wait ended before the job: take the job back, leave it alone, or wait
 * for its end. 0: it ran. */
static int job_left(struct weft__lane *lane, struct weft__job *job)
{
    int code = job_code(job);
    bool leave = job->drop;
    enum weft__job_state was;

    weft__lock_acquire(&lane->lock);
    was = job->state;
    if (was == WEFT__JOB_QUEUED) {
        jobs_remove(&lane->queue, job);
        lane->queued--;
    } else if (was == WEFT__JOB_RUNNING && leave) {
        job->state = WEFT__JOB_ABANDONED;
    } else if (was == WEFT__JOB_RUNNING) {
        job->awaited = true;
        job->gen = weft__park_open(job->fiber, WEFT__WAKE_NO_CANCEL,
                                   job->what, job);
    }
    weft__lock_release(&lane->lock);

    if (was == WEFT__JOB_FINISHED)
        return 0;
    if (was != WEFT__JOB_RUNNING)
        return job_drop(job, code);
    if (leave)
        return code; /* the job is the thread's, or gone */
    if (job->stop)
        job->stop(job->arg);
    weft__park(job->fiber);
    return 0;
}

static bool lane_barred(const struct weft__lane *lane, int fd)
{
    for (const struct weft__lane_bar *bar = lane->bars; bar; bar = bar->next) {
        if (bar->fd == fd)
            return true;
    }
    return false;
}

/* Why this job may not be handed in; 0: it may. */
static int lane_refuses(const struct weft__lane *lane,
                        const struct weft__job *job)
{
    if (job->fd >= 0 && lane_barred(lane, job->fd))
        return -EBADF;
    /* A thread that has done its job and not yet lain down is free too. */
    if (job->eager && lane->threads >= lane->max &&
        lane->threads - lane->running <= lane->queued)
        return -EAGAIN;
    return 0;
}

/* Hand the job in and wait. */
static int job_wait(struct weft__lane *lane, struct weft__job *job,
                    int64_t deadline)
{
    bool grow, ring;
    int status;

    weft__lock_acquire(&lane->lock);
    status = lane_refuses(lane, job);
    if (status != 0) {
        weft__lock_release(&lane->lock);
        return job_drop(job, status);
    }
    /* An eager one is a call that may not wait, by a thread that comes at once:
     * like such a call it does not look at the cancel. */
    job->gen = weft__park_open_until(job->fiber,
                                     job->eager ? WEFT__WAKE_NO_CANCEL : 0,
                                     job->what, job, deadline);
    grow = queue_push(lane, job, &ring);
    weft__lock_release(&lane->lock);
    if (ring)
        weft__os_futex_wake(&lane->bell, 1);
    if (grow)
        thread_add(lane);

    job->cause = weft__park(job->fiber);
    return job->cause == WEFT__CAUSE_OK ? 0 : job_left(lane, job);
}

int weft__lane_do(struct weft__lane *lane, struct weft__fiber *self,
                  struct weft__job *job, int64_t deadline)
{
    int status = weft__wait_refused(self, deadline);

    if (status != 0)
        return job_drop(job, status);
    job->fiber = self;
    job->since = weft__os_now();
    job->state = WEFT__JOB_QUEUED;
    weft__pending_add();
    status = job_wait(lane, job, deadline);
    /* Here and not in the lane, which would come too late: the fiber may run,
     * and the last worker lie down, before the thread that let it go has told
     * that its job is over; then no one would look for a deadlock again. */
    weft__pending_done();
    return status;
}

int weft__lane_run(struct weft__lane *lane, struct weft__fiber *self,
                   void *(*fn)(void *), void *arg, void **result,
                   int64_t deadline)
{
    struct weft__job job = {
        .fn = fn, .arg = arg, .what = "blocking call", .fd = -1
    };
    int status = weft__lane_do(lane, self, &job, deadline);

    if (status == 0 && result)
        *result = job.result;
    return status;
}

/* --- Descriptors that are closed ------------------------------------------------- */

static void jobs_end(struct weft__jobs *list, int fd,
                     struct weft__batch *batch)
{
    for (struct weft__job *job = list->first; job; job = job->next) {
        if (job->fd == fd && !job->awaited &&
            job->state != WEFT__JOB_ABANDONED &&
            weft__claim(job->fiber, job->gen, WEFT__CAUSE_CLOSED))
            weft__batch_add(batch, job->fiber);
    }
}

void weft__lane_bar(struct weft__lane *lane, struct weft__lane_bar *bar,
                    int fd)
{
    struct weft__batch batch = { 0 };

    bar->fd = fd;
    weft__lock_acquire(&lane->lock);
    bar->next = lane->bars;
    lane->bars = bar;
    jobs_end(&lane->queue, fd, &batch);
    jobs_end(&lane->run, fd, &batch);
    weft__lock_release(&lane->lock);
    weft__batch_ready(&batch);
}

void weft__lane_unbar(struct weft__lane *lane, struct weft__lane_bar *bar)
{
    struct weft__lane_bar **link = &lane->bars;

    weft__lock_acquire(&lane->lock);
    while (*link != bar)
        link = &(*link)->next;
    *link = bar->next;
    weft__lock_release(&lane->lock);
}

/* --- fork ----------------------------------------------------------------------- */

void weft__lane_forked(struct weft__lane *lane)
{
    const char *name = lane->name;

    memset(lane, 0, sizeof(*lane));
    lane->name = name;
}

/* --- Looking in --------------------------------------------------------------- */

void weft__lane_stats(struct weft__lane *lane, struct weft__lane_stats *out)
{
    weft__lock_acquire(&lane->lock);
    out->threads = lane->threads;
    out->queued = lane->queued;
    out->running = lane->running;
    out->begun = lane->begun;
    out->age =
        lane->queue.first ? weft__os_now() - lane->queue.first->since : 0;
    weft__lock_release(&lane->lock);
}
