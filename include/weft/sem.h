/*
 * Semaphores
 *
 * A number of permits that fibers take and give back, one or several at a
 * time. 24 bytes, valid when zero-filled, which is a semaphore without
 * permits:
 *
 *     weft_sem_t slots = WEFT_SEM_INIT(10);      at most ten at once
 *     if (weft_sem_acquire(&slots, 1) != 0)
 *         return;                                cancelled: it has none
 *     ...
 *     weft_sem_release(&slots, 1);
 *
 * First come, first served: one who wants many is not overtaken by those who
 * want few, and so gets them in the end. Permits belong to nobody: whoever
 * likes may release. Whoever has got permits may free the semaphore at once, if
 * no one else will use it.
 */
#ifndef WEFT_SEM_H
#define WEFT_SEM_H

#include <stdint.h>

#include <weft/api.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

typedef struct weft_sem {
    uint64_t weft_private[3];
} weft_sem_t;

/* With `n` permits, 0 to UINT32_MAX. */
#define WEFT_SEM_INIT(n) { { (uint32_t)(n), 0, 0 } }

/*
 * Take `n` permits, all at once. None at all is done without waiting.
 *
 * What came before the release of a permit is visible to whoever takes it.
 *
 * Blocks:   the calling fiber, until those who came before have theirs and
 *           there are `n`. A cancellation point. From a fiber; a foreign
 *           thread takes only what is there.
 * Returns:  0           taken
 *           -EINVAL     s is NULL
 *           -ECANCELED  the caller was cancelled; nothing was taken
 *           -EDEADLK    the whole program is asleep; nothing was taken
 *           -EPERM      it would wait, and the caller cannot park
 */
WEFT_API int weft_sem_acquire(weft_sem_t *s, uint32_t n);

/*
 * weft_sem_acquire() that gives up at `deadline`.
 *
 * Blocks:   as weft_sem_acquire(), until `deadline` at most.
 * Returns:  as weft_sem_acquire(), and
 *           -ETIMEDOUT  the deadline passed first; nothing was taken
 *           -EAGAIN     the same, where the deadline is WEFT_NOW
 */
WEFT_API WEFT_MUST_CHECK int weft_sem_acquire_until(weft_sem_t *s, uint32_t n,
                                                    weft_time_t deadline);

/*
 * weft_sem_acquire() that never waits.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0        taken
 *           -EAGAIN  there are too few, or someone came before
 *           -EINVAL  s is NULL
 */
WEFT_API WEFT_MUST_CHECK int weft_sem_acquire_try(weft_sem_t *s, uint32_t n);

/*
 * Give `n` permits, to those who wait in the order they came.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0
 *           -EINVAL     s is NULL
 *           -EOVERFLOW  there would be more than UINT32_MAX; nothing is
 *                       changed
 */
WEFT_API int weft_sem_release(weft_sem_t *s, uint32_t n);

WEFT_END_DECLS

#endif
