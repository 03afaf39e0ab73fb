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

WEFT_BEGIN_DECLS

/*
 * Run fn(arg) on a thread of the blocking lane and wait for its result. What
 * the caller wrote before is visible to fn, and the other way round.
 *
 * fn runs on an ordinary thread stack (8 MiB, the system's default), is no
 * fiber, and may call weft's _try forms and whatever never waits.
 *
 * Blocks:   the calling fiber. A cancellation point until fn has begun: a
 *           job that is still queued is taken back; one that runs is waited
 *           for, since it uses what `arg` points to, and the cancel stays
 *           pending. From a fiber only.
 * Returns:  0           fn ran; *result is what it returned
 *           -EINVAL     fn is NULL
 *           -ECANCELED  the caller was cancelled; fn did not run
 *           -EAGAIN     the lane has no thread and the system gives none
 *           -EPERM      not on a fiber
 * Memory:   `arg` is handed on as it is; `result` may be NULL.
 */
WEFT_API int weft_blocking(void *(*fn)(void *), void *arg, void **result);

WEFT_END_DECLS

#endif
