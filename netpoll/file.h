/*
 * Regular files, and whatever else epoll refuses (/dev/null, /proc): reading
 * and writing them never waits for an event, but may wait for a disk. What the
 * page cache has is read at once, where the kernel promises not to wait;
 * everything else is a job of the file lane.
 */
#ifndef WEFT_NETPOLL_FILE_H
#define WEFT_NETPOLL_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct weft__fiber;

/*
 * readv(2) or writev(2) at the file's position. `self` is NULL on a thread
 * that runs no fiber, which makes the call itself. The look at the cancel on
 * entry is the caller's.
 *
 * Returns the count; -EISDIR; -EBADF also when weft__blocking_close_begin()
 * ended the wait; -ECANCELED, -ETIMEDOUT, or -EAGAIN with WEFT_NOW: nothing
 * was read or written; -EAGAIN also when there is no thread; or what the
 * kernel says.
 */
ssize_t weft__file_rw(struct weft__fiber *self, int fd, bool write,
                      const struct iovec *iov, int n, int64_t deadline);

#endif
