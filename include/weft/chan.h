/*
 * Channels
 *
 * A channel hands values of one fixed size from those who send to those who
 * receive. With capacity 0 the two meet; with capacity n up to n values wait
 * in the channel. Values arrive in the order sent.
 *
 *     weft_chan_t *ch;
 *     if (weft_chan_create(&ch, sizeof(int), 16) == 0)
 *         weft_go(producer, ch);
 *     ...
 *     int x;
 *     while (weft_chan_recv(ch, &x) == 0)
 *         use(x);
 *     weft_chan_unref(ch);
 *
 * The one who has nothing more to send closes it: receivers take what is
 * left and then get -EPIPE.
 */
#ifndef WEFT_CHAN_H
#define WEFT_CHAN_H

#include <stddef.h>
#include <sys/types.h>

#include <weft/api.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

typedef struct weft_chan weft_chan_t;

/*
 * Make a channel for values of elem_size bytes with room for `capacity` of
 * them. Size 0 makes a signal channel: values are nothing but their coming,
 * and their pointers may be NULL.
 *
 * Blocks:   never. From anywhere, also before a start.
 * Returns:  0        *ch has one reference, the caller's
 *           -EINVAL  ch is NULL, elem_size is above 64 KiB, or the product
 *                    is too large for a size_t
 *           -ENOMEM
 * Memory:   weft_chan_unref() gives it back.
 */
WEFT_API int weft_chan_create(weft_chan_t **ch, size_t elem_size,
                              size_t capacity);

/*
 * Take one more reference; answers its argument, so that it can be handed on.
 * NULL is answered with NULL. From anywhere.
 */
WEFT_API weft_chan_t *weft_chan_ref(weft_chan_t *ch);

/*
 * Give a reference back; the last one frees the channel. NULL is ignored. The
 * caller makes sure that no one without a reference of its own still uses it.
 * From anywhere.
 */
WEFT_API void weft_chan_unref(weft_chan_t *ch);

/*
 * Send one value: copies the channel's element size from `value`.
 *
 * Values of one sender arrive in the order sent. What the sender wrote before
 * this call is visible to whoever receives the value.
 *
 * Blocks:   the calling fiber, until there is room or `deadline`; its worker
 *           runs other fibers meanwhile. A cancellation point. From a fiber;
 *           a foreign thread sends only where there is room.
 * Returns:  0           sent
 *           -EPIPE      the channel is closed; nothing was sent
 *           -EINVAL     ch is NULL, or value is NULL and the size is not 0
 *           -EAGAIN     no room, no one who receives is waiting, and the
 *                       deadline is WEFT_NOW
 *           -ETIMEDOUT  the deadline passed first; nothing was sent
 *           -ECANCELED  the caller was cancelled first; nothing was sent
 *           -EDEADLK    the whole program is asleep; nothing was sent
 *           -EPERM      no room, and the caller cannot park
 * Memory:   `value` stays the caller's and may be reused on return.
 */
WEFT_API WEFT_MUST_CHECK int weft_chan_send_until(weft_chan_t *ch,
                                                  const void *value,
                                                  weft_time_t deadline);

/*
 * weft_chan_send_until() with WEFT_FOREVER.
 *
 * Blocks:   as weft_chan_send_until().
 * Returns:  as weft_chan_send_until() (not -EAGAIN, not -ETIMEDOUT)
 */
WEFT_API int weft_chan_send(weft_chan_t *ch, const void *value);

/*
 * weft_chan_send_until() with WEFT_NOW: never waits, and does not look whether
 * the caller was cancelled.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0        sent
 *           -EAGAIN  no room, and no one who receives is waiting
 *           -EPIPE   the channel is closed
 *           -EINVAL  ch is NULL, or value is NULL and the size is not 0
 */
WEFT_API WEFT_MUST_CHECK int weft_chan_send_try(weft_chan_t *ch,
                                                const void *value);

/*
 * Receive one value into `value`.
 *
 * Blocks:   the calling fiber, until one comes or `deadline`. A cancellation
 *           point. From a fiber; a foreign thread receives only what is there.
 * Returns:  0           received
 *           -EPIPE      the channel is closed and drained
 *           -EINVAL     ch is NULL, or value is NULL and the size is not 0
 *           -EAGAIN     nothing there, no one who sends is waiting, and the
 *                       deadline is WEFT_NOW
 *           -ETIMEDOUT  the deadline passed first; nothing was taken
 *           -ECANCELED  the caller was cancelled first; nothing was taken
 *           -EDEADLK    the whole program is asleep; nothing was taken
 *           -EPERM      nothing there, and the caller cannot park
 * Memory:   `value` is the caller's; on failure it is not written.
 */
WEFT_API WEFT_MUST_CHECK int weft_chan_recv_until(weft_chan_t *ch, void *value,
                                                  weft_time_t deadline);

/*
 * weft_chan_recv_until() with WEFT_FOREVER.
 *
 * Blocks:   as weft_chan_recv_until().
 * Returns:  as weft_chan_recv_until() (not -EAGAIN, not -ETIMEDOUT)
 */
WEFT_API int weft_chan_recv(weft_chan_t *ch, void *value);

/*
 * weft_chan_recv_until() with WEFT_NOW: never waits, and does not look whether
 * the caller was cancelled.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0        received
 *           -EAGAIN  nothing there, and no one who sends is waiting
 *           -EPIPE   the channel is closed and drained
 *           -EINVAL  ch is NULL, or value is NULL and the size is not 0
 */
WEFT_API WEFT_MUST_CHECK int weft_chan_recv_try(weft_chan_t *ch, void *value);

/*
 * Send `n` values that lie one behind the other, in order, and wait until
 * all are sent. Other senders' values may come in between.
 *
 * Blocks:   as weft_chan_send_until().
 * Returns:  how many were sent: n, or fewer when the channel was closed, the
 *           deadline passed or the caller was cancelled on the way (the next
 *           call says which)
 *           -EPIPE, -EINVAL, -EAGAIN, -ETIMEDOUT, -ECANCELED, -EDEADLK, -EPERM
 *           none was sent; as weft_chan_send_until(); -EINVAL also for n above
 *           SSIZE_MAX
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_chan_send_n_until(weft_chan_t *ch,
                                                        const void *values,
                                                        size_t n,
                                                        weft_time_t deadline);

/*
 * weft_chan_send_n_until() with WEFT_FOREVER.
 *
 * Blocks:   as weft_chan_send_until().
 * Returns:  as weft_chan_send_n_until() (not -EAGAIN, not -ETIMEDOUT)
 */
WEFT_API ssize_t weft_chan_send_n(weft_chan_t *ch, const void *values,
                                  size_t n);

/* As weft_chan_send_n(), never waiting: what can be sent at once is sent;
 * -EAGAIN when that is nothing and n is not 0. From anywhere. */
WEFT_API WEFT_MUST_CHECK ssize_t weft_chan_send_n_try(weft_chan_t *ch,
                                                      const void *values,
                                                      size_t n);

/*
 * Receive up to `n` values: waits for the first, then takes what is there.
 *
 * Blocks:   as weft_chan_recv_until().
 * Returns:  how many were received: 1 to n (0 if n is 0)
 *           -EPIPE, -EINVAL, -EAGAIN, -ETIMEDOUT, -ECANCELED, -EDEADLK, -EPERM
 *           none was received; as weft_chan_recv_until(); -EINVAL also for n
 *           above SSIZE_MAX
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_chan_recv_n_until(weft_chan_t *ch,
                                                        void *values, size_t n,
                                                        weft_time_t deadline);

/*
 * weft_chan_recv_n_until() with WEFT_FOREVER.
 *
 * Blocks:   as weft_chan_recv_until().
 * Returns:  as weft_chan_recv_n_until() (not -EAGAIN, not -ETIMEDOUT)
 */
WEFT_API ssize_t weft_chan_recv_n(weft_chan_t *ch, void *values, size_t n);

/* As weft_chan_recv_n(), never waiting; -EAGAIN when there is nothing and n
 * is not 0. From anywhere. */
WEFT_API WEFT_MUST_CHECK ssize_t weft_chan_recv_n_try(weft_chan_t *ch,
                                                      void *values, size_t n);

/*
 * Close: nothing more is sent. Those who wait to send get -EPIPE and keep
 * their value; those who receive take what is left and then get -EPIPE.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0
 *           -EPIPE   it was closed already
 *           -EINVAL  ch is NULL
 */
WEFT_API int weft_chan_close(weft_chan_t *ch);

/* How many values wait in the channel, at this moment; 0 for NULL. */
WEFT_API size_t weft_chan_len(weft_chan_t *ch);

/* The capacity it was made with; 0 for NULL. */
WEFT_API size_t weft_chan_cap(weft_chan_t *ch);

WEFT_END_DECLS

#endif
