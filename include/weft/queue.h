/*
 * Queues
 *
 * A queue keeps values until someone gets them: in the order they came
 * (WEFT_FIFO), the newest first (WEFT_LIFO), or the smallest first by a
 * comparison of yours (WEFT_PRIORITY; equals leave in the order they came).
 * It also counts what was put and not yet declared done, so that a producer
 * can wait until all its work is finished:
 *
 *     weft_queue_t *q;
 *     weft_queue_create(&q, WEFT_FIFO, sizeof(struct job), 0, NULL);
 *     ...
 *     while (weft_queue_get(q, &job) == 0) {
 *         work(&job);
 *         weft_queue_done(q);
 *     }
 *
 * A channel is the faster one where a fixed capacity and order of arrival
 * are all you need.
 */
#ifndef WEFT_QUEUE_H
#define WEFT_QUEUE_H

#include <stddef.h>

#include <weft/api.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

typedef struct weft_queue weft_queue_t;

/* The order in which values leave. */
enum { WEFT_FIFO = 0, WEFT_LIFO = 1, WEFT_PRIORITY = 2 };

/*
 * Make a queue for values of elem_size bytes. A capacity of 0 means no bound:
 * put never waits then.
 *
 * Blocks:   never. From anywhere, also before a start.
 * Returns:  0        *q has one reference, the caller's
 *           -EINVAL  q is NULL, the order is unknown, elem_size is 0 or above
 *                    64 KiB, the product is too large for a size_t, or
 *                    compare is NULL for WEFT_PRIORITY or not NULL otherwise
 *           -ENOMEM
 * Memory:   weft_queue_unref() gives it back. `compare(a, b)` answers below
 *           zero if a leaves before b; it runs under the queue's lock: it
 *           must not call weft and should be short.
 */
WEFT_API int weft_queue_create(weft_queue_t **q, int order, size_t elem_size,
                               size_t capacity,
                               int (*compare)(const void *a, const void *b));

/* One more reference; answers its argument. NULL is answered with NULL. */
WEFT_API weft_queue_t *weft_queue_ref(weft_queue_t *q);

/* Give a reference back; the last one frees the queue. NULL is ignored. */
WEFT_API void weft_queue_unref(weft_queue_t *q);

/*
 * Put a copy of `value`; it counts as unfinished until weft_queue_done().
 *
 * Blocks:   the calling fiber, while a bounded queue is full, until
 *           `deadline`. A cancellation point. From a fiber; a foreign thread
 *           puts only where there is room.
 * Returns:  0           put
 *           -EPIPE      the queue is closed; nothing was put
 *           -EINVAL     q or value is NULL
 *           -ENOMEM     an unbounded queue could not grow
 *           -EAGAIN     no room, and the deadline is WEFT_NOW
 *           -ETIMEDOUT  the deadline passed first; nothing was put
 *           -ECANCELED  the caller was cancelled first; nothing was put
 *           -EDEADLK    the whole program is asleep; nothing was put
 *           -EPERM      no room, and the caller cannot park
 */
WEFT_API WEFT_MUST_CHECK int weft_queue_put_until(weft_queue_t *q,
                                                  const void *value,
                                                  weft_time_t deadline);

/*
 * weft_queue_put_until() with WEFT_FOREVER.
 *
 * Blocks:   as weft_queue_put_until().
 * Returns:  as weft_queue_put_until() (not -EAGAIN, not -ETIMEDOUT)
 */
WEFT_API int weft_queue_put(weft_queue_t *q, const void *value);

/* weft_queue_put_until() with WEFT_NOW, which never waits: -EAGAIN when full.
 * Does not look whether the caller was cancelled. From anywhere. */
WEFT_API WEFT_MUST_CHECK int weft_queue_put_try(weft_queue_t *q,
                                                const void *value);

/*
 * Get the next value.
 *
 * Blocks:   the calling fiber, until there is one or `deadline`. A
 *           cancellation point. From a fiber; a foreign thread gets only what
 *           is there.
 * Returns:  0           got
 *           -EPIPE      the queue is closed and drained
 *           -EINVAL     q or value is NULL
 *           -EAGAIN     nothing there, and the deadline is WEFT_NOW
 *           -ETIMEDOUT  the deadline passed first; nothing was taken
 *           -ECANCELED  the caller was cancelled first; nothing was taken
 *           -EDEADLK    the whole program is asleep; nothing was taken
 *           -EPERM      nothing there, and the caller cannot park
 */
WEFT_API WEFT_MUST_CHECK int weft_queue_get_until(weft_queue_t *q, void *value,
                                                  weft_time_t deadline);

/*
 * weft_queue_get_until() with WEFT_FOREVER.
 *
 * Blocks:   as weft_queue_get_until().
 * Returns:  as weft_queue_get_until() (not -EAGAIN, not -ETIMEDOUT)
 */
WEFT_API int weft_queue_get(weft_queue_t *q, void *value);

/* weft_queue_get_until() with WEFT_NOW, which never waits: -EAGAIN when empty.
 * Does not look whether the caller was cancelled. From anywhere. */
WEFT_API WEFT_MUST_CHECK int weft_queue_get_try(weft_queue_t *q, void *value);

/*
 * Declare one value that was got finished.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0
 *           -EINVAL  q is NULL, or more were declared done than were got
 */
WEFT_API int weft_queue_done(weft_queue_t *q);

/*
 * Wait until everything that was put has been declared done.
 *
 * Blocks:   the calling fiber, until then or `deadline`. A cancellation point.
 *           From a fiber; a foreign thread gets its answer only when nothing
 *           is unfinished.
 * Returns:  0
 *           -EINVAL     q is NULL
 *           -EAGAIN     something is unfinished, and the deadline is WEFT_NOW
 *           -ETIMEDOUT  the deadline passed first
 *           -ECANCELED  the caller was cancelled first
 *           -EDEADLK    the whole program is asleep
 *           -EPERM      something is unfinished, and the caller cannot park
 */
WEFT_API WEFT_MUST_CHECK int weft_queue_join_until(weft_queue_t *q,
                                                   weft_time_t deadline);

/*
 * weft_queue_join_until() with WEFT_FOREVER.
 *
 * Blocks:   as weft_queue_join_until().
 * Returns:  as weft_queue_join_until() (not -EAGAIN, not -ETIMEDOUT)
 */
WEFT_API int weft_queue_join(weft_queue_t *q);

/* weft_queue_join_until() with WEFT_NOW, which never waits: -EAGAIN while
 * something is unfinished. From anywhere. */
WEFT_API WEFT_MUST_CHECK int weft_queue_join_try(weft_queue_t *q);

/*
 * Close: nothing more is put. Those who wait to put get -EPIPE; those who get
 * take what is left and then get -EPIPE.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0
 *           -EPIPE   it was closed already
 *           -EINVAL  q is NULL
 */
WEFT_API int weft_queue_close(weft_queue_t *q);

/* How many values wait in the queue, at this moment; 0 for NULL. */
WEFT_API size_t weft_queue_len(weft_queue_t *q);

WEFT_END_DECLS

#endif
