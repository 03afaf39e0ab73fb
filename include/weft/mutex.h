/*
 * Mutexes
 *
 * One fiber at a time. A weft_mutex_t is 16 bytes, valid when zero-filled, so
 * it lives inside your structs and needs no destroy:
 *
 *     weft_mutex_t m = WEFT_MUTEX_INIT;
 *     weft_mutex_lock(&m);
 *     ...
 *     weft_mutex_unlock(&m);
 *
 * Waiters are served first come, first served, but a running fiber may take a
 * free mutex before a waiter that is still on its way, until the oldest has
 * waited for 1 ms: from then on the lock is handed over, so none starves.
 * Whoever holds a mutex that no one else will use may free it right after the
 * unlock.
 */
#ifndef WEFT_MUTEX_H
#define WEFT_MUTEX_H

#include <stdint.h>

#include <weft/api.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

typedef struct weft_mutex {
    uint64_t weft_private[2];
} weft_mutex_t;

#define WEFT_MUTEX_INIT { { 0, 0 } }

/*
 * Lock, or give up. With WEFT_FOREVER it is the lock that a cancel ends.
 *
 * Blocks:   the calling fiber, until the mutex is its own or `deadline`. A
 *           cancellation point. From a fiber; a foreign thread may lock a free
 *           mutex only.
 * Returns:  0           locked
 *           -EINVAL     m is NULL
 *           -EAGAIN     someone else holds it, and the deadline is WEFT_NOW
 *           -ETIMEDOUT  the deadline passed first; it is not locked
 *           -ECANCELED  the caller was cancelled first; it is not locked
 *           -EDEADLK    the caller holds it already, or the whole program is
 *                       asleep and this wait was chosen to say so
 *           -EPERM      it is taken, and the caller cannot park
 *           -ENOMEM     a foreign thread's first call found no memory
 */
WEFT_API WEFT_MUST_CHECK int weft_mutex_lock_until(weft_mutex_t *m,
                                                   weft_time_t deadline);

/*
 * Lock. Waits until it is done, also when the caller is cancelled: code that
 * does not look at the answer is right.
 *
 * Blocks:   the calling fiber, until the mutex is its own. No cancellation
 *           point. From a fiber; a foreign thread may lock a free mutex only.
 * Returns:  0         locked
 *           -EINVAL   m is NULL
 *           -EDEADLK  the caller holds it already, or the whole program is
 *                     asleep and this wait was chosen to say so
 *           -EPERM    it is taken, and the caller cannot park
 */
WEFT_API int weft_mutex_lock(weft_mutex_t *m);

/*
 * weft_mutex_lock_until() with WEFT_NOW: never waits, and does not look
 * whether the caller was cancelled.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0         locked
 *           -EAGAIN   someone else holds it
 *           -EINVAL   m is NULL
 *           -EDEADLK  the caller holds it already
 *           -ENOMEM   a foreign thread's first call found no memory
 */
WEFT_API WEFT_MUST_CHECK int weft_mutex_lock_try(weft_mutex_t *m);

/*
 * Unlock.
 *
 * Blocks:   never. From the owner.
 * Returns:  0
 *           -EINVAL  m is NULL
 *           -EPERM   the caller does not hold it
 */
WEFT_API int weft_mutex_unlock(weft_mutex_t *m);

WEFT_END_DECLS

#endif
