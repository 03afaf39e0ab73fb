/*
 * Select
 *
 * Wait for several things at once, and have exactly one of them happen:
 *
 *     int x;
 *     weft_case_t cases[] = { WEFT_RECV(requests, &x),
 *                             WEFT_JOIN(worker, NULL),
 *                             WEFT_AFTER(weft_after(WEFT_SEC(1))) };
 *
 *     switch (weft_select(cases, 3)) {
 *     case 0:
 *         if (cases[0].status == 0)
 *             serve(x);
 *         break;
 *     case 1:
 *         ...
 *     }
 *
 * The answer is the index of the case that happened; its status says how. If
 * several could, each of them is as likely to as any other. Of the others
 * nothing happens: nothing is sent or taken, and who was to be joined can
 * still be joined.
 *
 * A case whose object is NULL, whose fiber is 0, whose descriptor is negative
 * or whose deadline is WEFT_FOREVER never happens: so a case is switched off. The same channel may
 * stand in several cases, to send and to receive; a select never meets itself.
 */
#ifndef WEFT_SELECT_H
#define WEFT_SELECT_H

#include <stddef.h>

#include <weft/api.h>
#include <weft/chan.h>
#include <weft/fiber.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

/* The most cases that one select takes. */
#define WEFT_SELECT_MAX 64

enum weft_case_kind {
    WEFT_CASE_RECV = 1,
    WEFT_CASE_SEND,
    WEFT_CASE_JOIN,
    WEFT_CASE_AFTER,
    WEFT_CASE_READABLE,
    WEFT_CASE_WRITABLE
};

/* One case: made by the macros below, which give every member. */
typedef struct weft_case {
    int kind;
    int status; /* of the case that happened: 0, or a code */
    int fd;
    int spare;
    void *object;     /* the channel */
    const void *from; /* where a value is taken from, */
    void *to;         /* and where one goes */
    weft_fiber_t fiber;
    weft_time_t deadline;
} weft_case_t;

/*
 * Receive from a channel into *value. Status:
 *     0       received
 *     -EPIPE  the channel is closed and drained
 */
#define WEFT_RECV(ch, value)                                                \
    { WEFT_CASE_RECV, 0, -1, 0, 1 ? (ch) : (weft_chan_t *)0, 0, (value), 0, 0 }

/*
 * Send *value to a channel. Status:
 *     0       sent
 *     -EPIPE  the channel is closed
 */
#define WEFT_SEND(ch, value)                                                \
    { WEFT_CASE_SEND, 0, -1, 0, 1 ? (ch) : (weft_chan_t *)0, (value), 0, 0, 0 }

/*
 * Join a fiber; its result goes to *result, a void *, unless that is NULL.
 * Status: as weft_join_try() (not -EAGAIN). While a select waits for a fiber
 * it is its joiner, and others get -EBUSY.
 */
#define WEFT_JOIN(fiber, result)                                            \
    { WEFT_CASE_JOIN, 0, -1, 0, 0, 0, (result), (fiber), 0 }

/* Wait until a point in time. Status: 0. */
#define WEFT_AFTER(deadline)                                                \
    { WEFT_CASE_AFTER, 0, -1, 0, 0, 0, 0, 0, (deadline) }

/*
 * Wait until a descriptor has something to read, or room to write; the end,
 * a hang-up or an error counts, too. Nothing is read or written: another fiber
 * may be faster, so the call that follows may wait. Status:
 *     0           ready
 *     -EBADF      not open, or closed while the select waited
 *     -ETIMEDOUT  the descriptor's own limit passed (weft_serve)
 */
#define WEFT_READABLE(fd)                                                   \
    { WEFT_CASE_READABLE, 0, (fd), 0, 0, 0, 0, 0, 0 }
#define WEFT_WRITABLE(fd)                                                   \
    { WEFT_CASE_WRITABLE, 0, (fd), 0, 0, 0, 0, 0, 0 }

/*
 * Wait until one of `n` cases happens, 0 to WEFT_SELECT_MAX.
 *
 * Blocks:   the calling fiber. A cancellation point. From a fiber; a foreign
 *           thread gets only what can be had at once.
 * Returns:  the index of the case that happened; or, when none has happened
 *           and nothing was sent or taken,
 *           -EINVAL     cases is NULL (and n is not 0), n is too large, a
 *                       case is of no kind, or its value is NULL and the
 *                       channel's size is not 0
 *           -ECANCELED  the caller was cancelled
 *           -EDEADLK    no case can ever happen, or the whole program is
 *                       asleep
 *           -EPERM      it would wait, and the caller cannot park
 *           -ENOMEM     no memory to watch its descriptors
 *           -EMFILE, -ENFILE   no descriptor to watch one in blocking mode
 * Memory:   the cases, what they point to and their objects are in use until
 *           the call returns. What came with the case that happened may be
 *           freed before by the other side, unless it stands in several.
 */
WEFT_API int weft_select(weft_case_t *cases, size_t n);

/*
 * weft_select() that gives up at `deadline`.
 *
 * Blocks:   as weft_select(), until `deadline` at most.
 * Returns:  as weft_select(), and
 *           -ETIMEDOUT  the deadline passed first
 *           -EAGAIN     the same, where the deadline is WEFT_NOW
 */
WEFT_API WEFT_MUST_CHECK int weft_select_until(weft_case_t *cases, size_t n,
                                               weft_time_t deadline);

/*
 * weft_select() that never waits. What could be had at every instant of the
 * call is had.
 *
 * Blocks:   never. From anywhere.
 * Returns:  the index of the case that happened, or
 *           -EAGAIN  none can at once
 *           -EINVAL  the cases are none that weft_select takes
 *           -ENOMEM  no memory
 */
WEFT_API WEFT_MUST_CHECK int weft_select_try(weft_case_t *cases, size_t n);

WEFT_END_DECLS

#endif
