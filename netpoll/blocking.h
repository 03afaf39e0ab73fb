/*
 * Descriptors in blocking mode: 0 to 2, terminals, pipes that were inherited.
 *
 * Their mode belongs to the open file, which other processes share, so it
 * stays as it is. Where the kernel promises not to wait (RWF_NOWAIT: pipes,
 * since Linux 6.4) a call is tried at once; else a thread of the descriptors'
 * lane waits with poll(2), on the descriptor and on an eventfd by which it is
 * called off, and then makes one call.
 *
 * Who ends the wait early says so in a word and rings. The thread looks at the
 * word before each call, and whoever waits for it goes on only when it has
 * left, with the outcome of the last one. So a call that answers -ECANCELED or
 * -ETIMEDOUT took no byte, and one that took any answers how many.
 *
 * What poll(2) says may be out of date: another process may read first, and a
 * terminal that is writable may have room for one byte. A terminal the thread
 * therefore opens once more, without blocking, for the time of its wait. What
 * is neither such a pipe nor such a terminal (a pipe on an older kernel, the
 * master of a pseudo-terminal) may block the thread in a call, and with it the
 * one fiber that waits for it; no other. It is written no more at a time than
 * a pipe that is writable has room for.
 *
 * A write goes on until all is written, as in a program without weft, or until
 * it is called off: then it answers how much was.
 */
#ifndef WEFT_NETPOLL_BLOCKING_H
#define WEFT_NETPOLL_BLOCKING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "netpoll/offload.h"

struct weft__fiber;

/*
 * Read or write. `self` is NULL on a thread that runs no fiber, which waits
 * itself. The look at the cancel on entry is the caller's.
 *
 * Returns the count; -EBADF: weft__blocking_close_begin() ended the wait;
 * -ECANCELED, -ETIMEDOUT, or -EAGAIN with WEFT_NOW: nothing was read or
 * written; -EAGAIN also when there is no thread; -EMFILE, -ENFILE, -ENOMEM: no
 * eventfd; or what the kernel says.
 */
ssize_t weft__blocking_rw(struct weft__fiber *self, int fd, bool write,
                          const struct iovec *iov, int n, int64_t deadline);

/*
 * From begin to end, waits on this descriptor end with -EBADF: those that are
 * under way, and those that come. For files too (file.h). In between the
 * closer waits until no call uses the number any more. Of each wait that was
 * under way the last system call is over when its call returns. `c` is the
 * closer's.
 */
struct weft__blocking_close {
    struct weft__lane_bar fd;
    struct weft__lane_bar file;
    struct weft__lane_bar guests;
};
void weft__blocking_close_begin(struct weft__blocking_close *c, int fd);
void weft__blocking_close_end(struct weft__blocking_close *c);

/* Close the eventfds that are kept for the next wait: at the end of a run. */
void weft__blocking_shut(void);

/* In a forked child: no one waits, and it has no eventfd of its parent's. */
void weft__blocking_forked(void);

#endif
