/*
 * Fibers
 *
 * A fiber is a green thread: a function with a stack of its own that weft
 * runs on one of its workers. Where it would wait it parks, and the worker
 * runs another. A fiber that has started may wake up on another worker.
 *
 *     static void *square(void *arg) { ... return arg; }
 *
 *     weft_fiber_t f;
 *     if (weft_spawn(&f, square, &x) == 0)
 *         weft_join(f, NULL);
 *
 * Ids are versioned: one that is stale answers -ESRCH and is never a wild
 * pointer.
 */
#ifndef WEFT_FIBER_H
#define WEFT_FIBER_H

#include <stddef.h>
#include <stdint.h>

#include <weft/api.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

/* A fiber's id; 0 is none. */
typedef uint64_t weft_fiber_t;

/* The longest name that is kept, with its final zero. */
#define WEFT_NAME_MAX 32

/* What a fiber may be told at its birth. Zero and NULL mean the default. */
typedef struct weft_attr {
    size_t size;       /* sizeof(weft_attr_t): set by the macro */
    const char *name;  /* copied; cut to WEFT_NAME_MAX - 1 bytes */
    size_t stack_size; /* bytes with the guard page; made a power of two,
                          16 KiB to 1 GiB; default: the configuration's */
} weft_attr_t;

#define WEFT_ATTR_INIT { sizeof(weft_attr_t), 0, 0 }

/*
 * Start a fiber that someone will join (or detach): entry(arg). It gets its
 * stack when it first runs; no start order is promised.
 *
 * Blocks:   never. From a fiber only.
 * Returns:  0          *f is its id
 *           -EINVAL    f or entry is NULL
 *           -ENOMEM    no room for its record or its stack: the fiber will
 *                      not start. One that was started will always run
 *           -EPERM     not on a fiber
 *           -ECANCELED the runtime is stopping, and the caller is not yet
 *                      cancelled; once it is, it may start helpers
 * Memory:   `arg` is handed on as it is.
 */
WEFT_API int weft_spawn(weft_fiber_t *f, void *(*entry)(void *), void *arg);

/*
 * weft_spawn() with attributes; `attr` may be NULL.
 *
 * Blocks:   never. From a fiber only.
 * Returns:  as weft_spawn(), and
 *           -EINVAL  an attribute has no sense: its size is none that weft
 *                    knows, or the stack size is above 1 GiB
 * Memory:   `attr` and its name are copied.
 */
WEFT_API int weft_spawn_with(weft_fiber_t *f, const weft_attr_t *attr,
                             void *(*entry)(void *), void *arg);

/*
 * Start a detached fiber: no one joins it, its result is dropped.
 *
 * Blocks:   never. From a fiber only.
 * Returns:  0
 *           -EINVAL    entry is NULL
 *           -ENOMEM    no room for its record or its stack
 *           -EPERM     not on a fiber
 *           -ECANCELED the runtime is stopping, and the caller is not yet
 *                      cancelled; once it is, it may start helpers
 */
WEFT_API int weft_go(void *(*entry)(void *), void *arg);

/*
 * Wait for a fiber to end and take its result. Success consumes the id. What
 * the fiber wrote before it ended is visible to the caller.
 *
 * Blocks:   the calling fiber, until `f` has ended or `deadline`. A
 *           cancellation point. From a fiber; a foreign thread may only join
 *           one that has ended.
 * Returns:  0           joined; *result is what entry returned
 *           -ESRCH      no such fiber: never was, or already joined
 *           -EINVAL     f is detached
 *           -EBUSY      someone else is joining it
 *           -EAGAIN     f has not ended, and the deadline is WEFT_NOW
 *           -ETIMEDOUT  the deadline passed first; f can still be joined
 *           -ECANCELED  the caller was cancelled; f can still be joined
 *           -EDEADLK    f is the caller, or the whole program is asleep
 *           -EPERM      f has not ended, and the caller cannot park
 * Memory:   `result` may be NULL.
 */
WEFT_API WEFT_MUST_CHECK int weft_join_until(weft_fiber_t f, void **result,
                                             weft_time_t deadline);

/*
 * weft_join_until() with WEFT_FOREVER.
 *
 * Blocks:   as weft_join_until().
 * Returns:  as weft_join_until() (not -EAGAIN, not -ETIMEDOUT)
 */
WEFT_API int weft_join(weft_fiber_t f, void **result);

/*
 * weft_join_until() with WEFT_NOW: never waits, and does not look whether the
 * caller was cancelled.
 *
 * Blocks:   never. From anywhere.
 * Returns:  as weft_join_until() (not -ETIMEDOUT, not -ECANCELED, not -EPERM)
 */
WEFT_API WEFT_MUST_CHECK int weft_join_try(weft_fiber_t f, void **result);

/*
 * Give up the right to join a fiber: it cleans up after itself.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0
 *           -ESRCH   no such fiber
 *           -EINVAL  already detached
 *           -EBUSY   someone is joining it
 */
WEFT_API int weft_detach(weft_fiber_t f);

/*
 * Cancel a fiber: its waits answer -ECANCELED from now on, the one it is in
 * and all that come, until it calls weft_cancel_clear(). What had happened
 * before the cancel came counts: that call succeeds, and the next one tells.
 * A wait that is no cancellation point (weft_mutex_lock) goes on, and so does
 * a blocking job that has begun. One that has not started yet will run, and
 * its first wait answers -ECANCELED. A fiber may cancel itself.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0       cancelled, or it has ended and is yet to be joined
 *           -ESRCH  no such fiber: never was, or already joined
 */
WEFT_API int weft_cancel(weft_fiber_t f);

/*
 * Has the calling fiber been cancelled? Also behind a shield, which changes
 * what a cancel does and not that it came. From anywhere.
 *
 * Returns:  1 or 0; 0 on a thread that runs no fiber
 */
WEFT_API int weft_canceled(void);

/*
 * The calling fiber takes note of its cancel and may wait again. A cancel
 * that comes later counts anew, and when a run ends its fibers are cancelled
 * again. From anywhere; on a thread that runs no fiber it does nothing.
 */
WEFT_API void weft_cancel_clear(void);

/*
 * From here to weft_shield_end() the calling fiber waits as if it had not been
 * cancelled: for clean-up that has to wait. Shields nest. A cancel that comes
 * meanwhile is kept, and delivered at the first wait behind the last end.
 *
 *     weft_shield_begin();
 *     weft_chan_send(log, &farewell);
 *     weft_shield_end();
 *
 * The end of a run does not wait for a shielded fiber longer than for others:
 * see stop_timeout. A fiber that ends takes its open shields along. An end
 * without a begin does nothing. From anywhere; on a thread that runs no fiber
 * both do nothing.
 */
WEFT_API void weft_shield_begin(void);
WEFT_API void weft_shield_end(void);

/* The calling fiber's id; 0 on a thread that runs none. From anywhere. */
WEFT_API weft_fiber_t weft_self(void);

/*
 * Let others run: the caller goes to the back of its worker's queue.
 *
 * Blocks:   the calling fiber, until its turn comes. No cancellation point.
 *           From a foreign thread: sched_yield(2).
 */
WEFT_API void weft_yield(void);

/*
 * Sleep for a while: never for less than `duration`, and on an idle machine
 * for some microseconds more. A duration of 0 or less only lets others run.
 *
 * Blocks:   the calling fiber. A cancellation point. A foreign thread sleeps
 *           itself.
 * Returns:  0
 *           -ECANCELED  the fiber was cancelled, before or meanwhile
 *           -EDEADLK    `duration` is WEFT_FOREVER and the whole program is
 *                       asleep
 */
WEFT_API int weft_sleep(weft_time_t duration);

/*
 * Sleep until `when`, a point in time as weft_now() gives it. One that has
 * passed only lets others run; WEFT_FOREVER sleeps until cancelled. Its answer
 * may be ignored, as that of weft_sleep(): there is nothing it could have done.
 *
 * Blocks:   as weft_sleep().
 * Returns:  as weft_sleep().
 */
WEFT_API int weft_sleep_until(weft_time_t when);

/*
 * For loops that compute and never wait: costs about a nanosecond, and
 * yields when the fiber has run for 10 ms while the runtime wants its worker.
 *
 * Blocks:   as weft_yield(), if it yields. From anywhere; on a foreign
 *           thread it does nothing.
 * Returns:  0
 *           -ECANCELED  the calling fiber was cancelled, and no shield is open
 */
WEFT_API int weft_checkpoint(void);

/*
 * Bytes left on the calling fiber's stack. From anywhere; SIZE_MAX on a
 * thread that runs no fiber.
 */
WEFT_API size_t weft_stack_left(void);

/*
 * Name the calling fiber: dumps, the overflow report and the deadlock list
 * show it. Cut to WEFT_NAME_MAX - 1 bytes.
 *
 * Blocks:   never.
 * Returns:  0
 *           -EINVAL  name is NULL
 *           -EPERM   not on a fiber
 * Memory:   `name` is copied.
 */
WEFT_API int weft_name(const char *name);

WEFT_END_DECLS

#endif
