#include "netpoll/file.h"

#include <errno.h>
#include <stddef.h>

#include "netpoll/desc.h"
#include "netpoll/iov.h"
#include "netpoll/offload.h"
#include "netpoll/os.h"

#ifdef WEFT_SIM
#include "sched/seam.h"
#endif

enum {
    /* More than this is copied for longer than the way to the lane takes. */
    FILE_INLINE_MAX = 128 << 10,
    FILE_INLINE_IOV = 8, /* they stand on the fiber's stack */
    FILE_REST_IOV = 64
};

struct file_call {
    int fd;
    uint64_t gen; /* of the number, when the call began */
    bool write;
    const struct iovec *iov;
    int n;
    size_t done;
    ssize_t result; /* of the lane's call, if nothing was done before */
};

/*
 * What the cache has. A short count may mean the end of the file or of what
 * is cached, so the rest is asked for until the kernel says which: a program
 * that takes a short read for the end of the file is right, as ever. 0: done;
 * -EAGAIN: the rest has to wait; or an error.
 */
static int file_inline(struct file_call *call, size_t total)
{
    struct iovec part[FILE_INLINE_IOV];

    while (call->done < total) {
        int n = weft__iov_slice(part, FILE_INLINE_IOV, call->iov, call->n,
                                call->done, total);
        ssize_t r = weft__fd_rw_nowait(call->fd, call->write, part, n);

        if (r == 0)
            return 0;
        if (r == -EOPNOTSUPP)
            return -EAGAIN;
        if (r < 0)
            return (int)r;
        call->done += (size_t)r;
    }
    return 0;
}

/* Or was it closed by other means than weft's, and is another file's by now? */
static bool still_ours(const struct file_call *call)
{
    return weft__desc_gen(call->fd) == call->gen;
}

/* On a thread that may block. */
static void *file_block(void *arg)
{
    struct file_call *call = arg;
    struct iovec rest[FILE_REST_IOV];
    size_t begun = call->done;

    if (!still_ours(call)) {
        call->result = -EBADF;
        return NULL;
    }
    if (begun == 0) {
        call->result = weft__fd_rw(call->fd, call->write, call->iov, call->n);
        return NULL;
    }
    /* The end of what was begun before, in as many calls as it takes. */
    while (still_ours(call)) {
        int n = weft__iov_slice(rest, FILE_REST_IOV, call->iov, call->n,
                                call->done, SIZE_MAX);
        ssize_t r = n > 0 ? weft__fd_rw(call->fd, call->write, rest, n) : 0;

        if (r <= 0)
            break;
        call->done += (size_t)r;
        if ((size_t)r < weft__iov_total(rest, n))
            break;
    }
    call->result = 0;
    return NULL;
}

static int file_lane(struct file_call *call, struct weft__fiber *self,
                     int64_t deadline)
{
    struct weft__job job = { .fn = file_block,
                             .arg = call,
                             .what = call->write ? "write to file"
                                                 : "read from file",
                             .fd = call->fd };

#ifdef WEFT_SIM
    /* No run depends on how long a disk takes. */
    if (weft__seam != NULL)
        self = NULL;
#endif
    if (self)
        return weft__lane_do(&weft__lanes[WEFT__LANE_FILE], self, &job,
                             deadline);
    file_block(call);
    return 0;
}

static ssize_t file_code(const struct file_call *call, ssize_t code)
{
    if (call->done > 0)
        return (ssize_t)call->done;
    /* What is open for reading only says so before what it is. */
    if (code == -EBADF && call->write && weft__fd_is_dir(call->fd))
        return -EISDIR;
    return code;
}

ssize_t weft__file_rw(struct weft__fiber *self, int fd, bool write,
                      const struct iovec *iov, int n, int64_t deadline)
{
    struct file_call call = {
        .fd = fd, .gen = weft__desc_gen(fd), .write = write, .iov = iov, .n = n
    };
    size_t total;
    int status;

    if (n < 0 || n > WEFT__IOV_MAX)
        return -EINVAL;
    total = weft__iov_total(iov, n);
    /* Nothing to move: the kernel has its say all the same. */
    if (total == 0)
        return file_code(&call, weft__fd_rw(fd, write, iov, n));
    if (total <= FILE_INLINE_MAX) {
        status = file_inline(&call, total);
        if (status != -EAGAIN)
            return file_code(&call, status);
    }
    status = file_lane(&call, self, deadline);
    if (status == 0 && call.result > 0)
        call.done += (size_t)call.result;
    return file_code(&call, status != 0 ? status : call.result);
}
