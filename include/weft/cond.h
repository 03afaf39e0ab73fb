/*
 * Condition variables
 *
 * To wait, under a mutex, until what it guards has become different. 24
 * bytes, valid when zero-filled:
 *
 *     weft_mutex_lock(&m);
 *     while (queue_empty() && status == 0)
 *         status = weft_cond_wait(&nonempty, &m);
 *     if (status == 0)
 *         ...                              there is something in it
 *     weft_mutex_unlock(&m);
 *
 * A wait ends by a signal, and never by itself: no spurious wake-ups. The loop
 * is there because another fiber may come first to the mutex; it looks at the
 * answer because one who is cancelled does not wait any more. A signal wakes
 * the one who has waited longest; if that one has just given up, the next.
 * Whoever a signal let go may free the condition at once, if no one else will
 * use it.
 */
#ifndef WEFT_COND_H
#define WEFT_COND_H

#include <stdint.h>

#include <weft/api.h>
#include <weft/mutex.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

typedef struct weft_cond {
    uint64_t weft_private[3];
} weft_cond_t;

#define WEFT_COND_INIT { { 0, 0, 0 } }

/*
 * Unlock `m`, wait for a signal, lock `m` again. Who signals after it has
 * locked `m` finds the caller waiting. The mutex is locked on every return,
 * also that of a cancelled caller, but for one kind of -EDEADLK.
 *
 * Blocks:   the calling fiber, until it is signalled and has the mutex. A
 *           cancellation point until the signal. From a fiber.
 * Returns:  0           signalled
 *           -EINVAL     c or m is NULL, or others wait at c with another mutex
 *           -EPERM      the caller does not hold m, or cannot park
 *           -ECANCELED  the caller was cancelled; it took no signal
 *           -EDEADLK    the whole program is asleep. If it was m that could
 *                       not be had again it is not locked, and to unlock it
 *                       answers -EPERM
 */
WEFT_API int weft_cond_wait(weft_cond_t *c, weft_mutex_t *m);

/*
 * weft_cond_wait() that gives up at `deadline`. If that has passed already
 * the mutex is not unlocked in between.
 *
 * Blocks:   as weft_cond_wait(), until `deadline` at most, and then until it
 *           has the mutex.
 * Returns:  as weft_cond_wait(), and
 *           -ETIMEDOUT  the deadline passed first; it took no signal
 *           -EAGAIN     the same, where the deadline is WEFT_NOW
 */
WEFT_API WEFT_MUST_CHECK int weft_cond_wait_until(weft_cond_t *c,
                                                  weft_mutex_t *m,
                                                  weft_time_t deadline);

/*
 * Wake the one who has waited longest; nothing is kept when no one waits. With
 * or without the mutex.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0
 *           -EINVAL  c is NULL
 */
WEFT_API int weft_cond_signal(weft_cond_t *c);

/* weft_cond_signal() for up to `n` of them, the oldest first. */
WEFT_API int weft_cond_signal_n(weft_cond_t *c, uint32_t n);

/* weft_cond_signal() for all who wait now. */
WEFT_API int weft_cond_broadcast(weft_cond_t *c);

WEFT_END_DECLS

#endif
