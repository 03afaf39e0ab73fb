/*
 * Blocking code
 *
 * A call that blocks its OS thread stops every fiber of that worker. Give it
 * to a thread that exists for this: a bounded pool, the blocking lane, that
 * grows while its jobs wait and shrinks when it is idle.
 *
 *     void *answer;
 *     int status = weft_blocking(ask_the_database, &query, &answer);
 */
#ifndef WEFT_BLOCKING_H
#define WEFT_BLOCKING_H

#include <weft/api.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

/*
 * Run fn(arg) on a thread of the blocking lane and wait for its result. What
 * the caller wrote before is visible to fn, and the other way round.
 *
 * fn runs on an ordinary thread stack (8 MiB, the system's default), is no
 * fiber, and may call weft's _try forms and whatever never waits.
 *
 * The deadline is for the beginning: until it, or until a cancel, a job that
 * is still queued waits for a thread, and then it is taken back. One that runs
 * cannot be stopped and uses what `arg` points to, so it is waited for, and
 * the call succeeds however late that is; a cancel stays pending. Code that
 * may block for too long has to bring a limit of its own.
 *
 * Blocks:   the calling fiber, until `deadline` or, once fn has begun, until
 *           it has returned. A cancellation point until then. From a fiber
 *           only.
 * Returns:  0           fn ran; *result is what it returned
 *           -EINVAL     fn is NULL
 *           -ETIMEDOUT  the deadline passed first; fn did not run
 *           -ECANCELED  the caller was cancelled first; fn did not run
 *           -EAGAIN     the lane has no thread and the system gives none; or
 *                       the deadline is WEFT_NOW, and fn did not run
 *           -EPERM      not on a fiber
 * Memory:   `arg` is handed on as it is; `result` may be NULL.
 */
WEFT_API WEFT_MUST_CHECK int weft_blocking_until(void *(*fn)(void *),
                                                 void *arg, void **result,
                                                 weft_time_t deadline);

/*
 * weft_blocking_until() with WEFT_FOREVER.
 *
 * Blocks:   as weft_blocking_until().
 * Returns:  as weft_blocking_until() (not -ETIMEDOUT)
 */
WEFT_API int weft_blocking(void *(*fn)(void *), void *arg, void **result);

WEFT_END_DECLS

#endif
