/*
 * Wait groups
 *
 * Count what is under way, and wait until nothing is. 24 bytes, valid when
 * zero-filled:
 *
 *     weft_waitgroup_t wg = WEFT_WAITGROUP_INIT;
 *     weft_waitgroup_add(&wg, n);          before the n are started
 *     ...                                  each of them: weft_waitgroup_done
 *     status = weft_waitgroup_wait(&wg);
 *
 * Whoever gets 0 from the wait may free the group at once. Whoever is cancelled
 * gets -ECANCELED, and the n are still at it: a group on the stack, or whatever
 * else the n use, calls for a shield around the wait (weft_shield_begin()).
 */
#ifndef WEFT_WAITGROUP_H
#define WEFT_WAITGROUP_H

#include <stdint.h>

#include <weft/api.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

typedef struct weft_waitgroup {
    uint64_t weft_private[3];
} weft_waitgroup_t;

#define WEFT_WAITGROUP_INIT { { 0, 0, 0 } }

/*
 * Add `n` to the count; n may be negative. A count that reaches 0 frees all
 * who wait.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0
 *           -EINVAL  wg is NULL, or the count would fall below zero or rise
 *                    above INT32_MAX; nothing is changed
 */
WEFT_API int weft_waitgroup_add(weft_waitgroup_t *wg, int n);

/* weft_waitgroup_add(wg, -1): the same answers. */
WEFT_API int weft_waitgroup_done(weft_waitgroup_t *wg);

/*
 * Wait until the count is 0; at once if it is.
 *
 * Blocks:   the calling fiber, until then or `deadline`. A cancellation point.
 *           From a fiber; a foreign thread gets its answer only when the count
 *           is 0.
 * Returns:  0           the count was 0
 *           -EINVAL     wg is NULL
 *           -EAGAIN     the count is not 0, and the deadline is WEFT_NOW
 *           -ETIMEDOUT  the deadline passed first
 *           -ECANCELED  the caller was cancelled first
 *           -EDEADLK    the whole program is asleep
 *           -EPERM      the count is not 0, and the caller cannot park
 * Memory:   after anything but 0 the group must still be there: who gave up
 *           takes itself off its list before the call returns.
 */
WEFT_API WEFT_MUST_CHECK int weft_waitgroup_wait_until(weft_waitgroup_t *wg,
                                                       weft_time_t deadline);

/*
 * weft_waitgroup_wait_until() with WEFT_FOREVER.
 *
 * Blocks:   as weft_waitgroup_wait_until().
 * Returns:  as weft_waitgroup_wait_until() (not -EAGAIN, not -ETIMEDOUT)
 */
WEFT_API int weft_waitgroup_wait(weft_waitgroup_t *wg);

/*
 * Is the count 0? As weft_waitgroup_wait_until() with WEFT_NOW.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0        it is
 *           -EAGAIN  it is not
 *           -EINVAL  wg is NULL
 */
WEFT_API WEFT_MUST_CHECK int weft_waitgroup_wait_try(weft_waitgroup_t *wg);

WEFT_END_DECLS

#endif
