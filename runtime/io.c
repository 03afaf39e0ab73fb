/*
 * Reading, writing and closing.
 */
#include "runtime/io.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <weft/io.h>

#include "netpoll/blocking.h"
#include "netpoll/file.h"
#include "netpoll/os.h"
#include "sched/sched.h"
#include "sched/worker.h"

enum {
    /* Calls in a row that found something at once, on one worker, before the
     * caller lets others run: a peer that always has more to say must not
     * keep a worker to itself. */
    IO_BUDGET = 64,
    IO_PAUSE = 1000000 /* ns: for what no event tells of */
};

int weft__io_begin(struct weft__io *io)
{
    io->self = weft__caller();
    if (weft__canceled_on_entry(io->self, io->deadline))
        return -ECANCELED;
    return weft__desc_use(io->fd, &io->use);
}

void weft__io_over(struct weft__fiber *self, int64_t deadline)
{
    weft__au64 *calls;

    if (!self || deadline == WEFT_NOW)
        return;
    calls = &self->worker->io_calls;
    weft__count(calls, 1);
    /* relaxed: the worker's own. */
    if (weft__load(calls, RELAXED) % IO_BUDGET == 0)
        weft__yield(self);
}

ssize_t weft__io_end(struct weft__io *io, ssize_t answer)
{
    weft__desc_done(&io->use);
    weft__io_over(io->self, io->deadline);
    return answer;
}

/* Has this read emptied the socket? See the short-read rule in
 * docs/netpoll.md. */
static bool drained(const struct weft__io *io, ssize_t got)
{
    const struct weft__desc *d = io->use.desc;

    return got > 0 && (size_t)got < io->n &&
           !(io->flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL)) &&
           weft__load(&d->kind, RELAXED) == WEFT__KIND_STREAM &&
           !(weft__load(&d->flags, RELAXED) &
             (WEFT__FD_URGENT | WEFT__FD_HANGUP));
}

/* -ETIMEDOUT is a deadline of ours and nothing else. When the kernel gives up on
 * a stream's peer it says that, or what the network said last. */
static ssize_t given_up(const struct weft__io *io, ssize_t answer)
{
    bool lost = answer == -ETIMEDOUT ||
                ((answer == -EHOSTUNREACH || answer == -ENETUNREACH) &&
                 !(io->flags & MSG_FASTOPEN) && /* it connects */
                 weft__load(&io->use.desc->kind, RELAXED) ==
                     WEFT__KIND_STREAM);

    return lost ? -ECONNABORTED : answer;
}

/* With these the kernel never waits, and looks elsewhere than at what there is
 * to read. */
#define IO_ASIDE (MSG_OOB | MSG_ERRQUEUE)

/* On some sockets that were shut for reading (datagrams, Unix listeners) only a
 * call that waits learns of it. */
static bool shut_for_reading(const struct weft__io *io)
{
    /* relaxed: a fact of the file. */
    enum weft__kind kind = weft__load(&io->use.desc->kind, RELAXED);

    return (kind == WEFT__KIND_STREAM || kind == WEFT__KIND_SOCKET) &&
           weft__fd_ask(io->fd, POLLRDHUP) & (POLLRDHUP | POLLHUP);
}

/* A peek at an offset (SO_PEEK_OFF) finds nothing behind the last byte, and says
 * EAGAIN: others have something to read all the same. */
static bool hidden(const struct weft__io *io, ssize_t got)
{
    return got == -EAGAIN && io->flags & MSG_PEEK &&
           weft__fd_ask(io->fd, POLLIN) & POLLIN;
}

ssize_t weft__io_in(struct weft__io *io, weft__io_try try)
{
    bool never_waits = io->flags & (MSG_DONTWAIT | IO_ASIDE);
    bool asked = false; /* nobody has waited: poll(2) says, go on */
    bool again = false; /* it has been hidden before */

    for (;;) {
        int status;

        /* A direction known to be empty is not tried, unless this is the only
         * chance. */
        if (weft__wait_try(&io->use, WEFT__IN) || never_waits ||
            weft__wait_refused(io->self, io->deadline) != 0) {
            ssize_t got = try(io);
            bool more = hidden(io, got);

            if (got != -EAGAIN)
                weft__wait_fetched(&io->use);
            if (!drained(io, got) &&
                (got != -EAGAIN || io->flags & IO_ASIDE || more))
                weft__wait_again(&io->use, WEFT__IN);
            if (got != -EAGAIN || never_waits)
                return given_up(io, got);
            if ((asked || again) && shut_for_reading(io))
                return io->shut;
            if (more) {
                /* No event tells of what comes behind it. */
                status = again ? weft__io_pause(io, IO_PAUSE) : 0;
                if (status != 0)
                    return status;
                again = true;
                continue;
            }
            /* Poll(2) and the call do not agree, and may not for long. */
            status = asked ? weft__io_pause(io, IO_PAUSE) : 0;
            if (status != 0)
                return status;
        }
        status = weft__wait(&io->use, WEFT__IN, io->self, io->deadline,
                            "descriptor to read from");
        if (status < 0)
            return status;
        asked = status > 0;
        /* Woken, and then closed by other means than weft's. */
        if (!weft__desc_same(&io->use))
            return -EBADF;
    }
}

ssize_t weft__io_out(struct weft__io *io, weft__io_try try)
{
    bool never_waits = io->flags & MSG_DONTWAIT;
    bool cleared = false;
    /* READY is taken back when poll(2) sees no room, too, which asks for more of
     * it than a write does: a third, or half of the buffer. So it is tried once,
     * unless others stand in line: then it would have what they wait for, and
     * the buffer never get so empty that they are told. (Those who wait for room
     * at another receiver are in nobody's way.) relaxed: a look. */
    bool first = io->elsewhere ||
                 !(weft__load(&io->use.desc->flags, RELAXED) &
                   WEFT__FD_WAITERS(WEFT__OUT));

    for (;;) {
        int status;

        if (first || weft__wait_try(&io->use, WEFT__OUT) || cleared ||
            never_waits || weft__wait_refused(io->self, io->deadline) != 0) {
            ssize_t put = try(io);

            first = false;
            if (put != -EAGAIN) {
                weft__wait_fetched(&io->use);
                /* The edge may have come before the clear. */
                if (cleared)
                    weft__wait_again(&io->use, WEFT__OUT);
                else
                    weft__wait_pass_on(&io->use, WEFT__OUT);
                return given_up(io, put);
            }
            if (never_waits)
                return -EAGAIN;
            cleared = weft__wait_full(&io->use);
            if (cleared)
                continue;
            if (io->elsewhere && weft__fd_ask(io->fd, POLLOUT) & POLLOUT) {
                /* There is room here, and none at the receiver, of which no
                 * event tells; and each try makes one of its own. */
                status = weft__io_pause(io, IO_PAUSE);
                if (status != 0)
                    return status;
                cleared = true;
                continue;
            }
        }
        status = weft__wait(&io->use, WEFT__OUT, io->self, io->deadline,
                            "descriptor to write to");
        if (status != 0)
            return status;
        /* Woken, and then closed by other means than weft's. */
        if (!weft__desc_same(&io->use))
            return -EBADF;
    }
}

int weft__io_pause(struct weft__io *io, int64_t pause)
{
    int64_t deadline = weft__wait_clip(io->use.desc, io->deadline);
    int status = weft__wait_refused(io->self, deadline);

    if (status == 0)
        status = weft__wait_pause(io->self, pause, deadline);
    if (status == 0 && !weft__desc_current(&io->use))
        status = -EBADF;
    return status;
}

int weft__io_check(const void *buf, size_t n)
{
    return (!buf && n > 0) || n > SSIZE_MAX ? -EINVAL : 0;
}

int weft__io_check_iov(const struct iovec *iov, int n)
{
    return (!iov && n > 0) || n < 0 || n > IOV_MAX ? -EINVAL : 0;
}

/* --- By kind ------------------------------------------------------------------ */

static ssize_t try_recv_plain(struct weft__io *io)
{
    return weft__fd_recv(io->fd, io->buf, io->n, 0);
}

static ssize_t try_read(struct weft__io *io)
{
    return weft__fd_read(io->fd, io->buf, io->n);
}

static ssize_t try_recv_iov(struct weft__io *io)
{
    struct msghdr msg = {
        .msg_iov = (struct iovec *)(uintptr_t)io->iov,
        .msg_iovlen = (size_t)io->iov_n,
    };

    return weft__fd_recvmsg(io->fd, &msg, 0);
}

static ssize_t try_readv(struct weft__io *io)
{
    return weft__fd_rw(io->fd, false, io->iov, io->iov_n);
}

static ssize_t try_send_plain(struct weft__io *io)
{
    return weft__fd_send(io->fd, io->buf, io->n, 0);
}

static ssize_t try_write(struct weft__io *io)
{
    return weft__fd_write(io->fd, io->buf, io->n);
}

static ssize_t try_send_iov(struct weft__io *io)
{
    struct msghdr msg = {
        .msg_iov = (struct iovec *)(uintptr_t)io->iov,
        .msg_iovlen = (size_t)io->iov_n,
    };

    return weft__fd_sendmsg(io->fd, &msg, 0);
}

static ssize_t try_writev(struct weft__io *io)
{
    return weft__fd_rw(io->fd, true, io->iov, io->iov_n);
}

/* The same for a descriptor that a lane waits for: in pieces. */
static ssize_t by_lane(struct weft__io *io, bool write, enum weft__kind kind)
{
    struct iovec one = { .iov_base = io->buf, .iov_len = io->n };
    const struct iovec *iov = io->iov ? io->iov : &one;
    int n = io->iov ? io->iov_n : 1;

    return kind == WEFT__KIND_FILE
               ? weft__file_rw(io->self, io->fd, write, iov, n, io->deadline)
               : weft__blocking_rw(io->self, io->fd, write, iov, n,
                                   io->deadline);
}

static ssize_t read_any(struct weft__io *io)
{
    enum weft__kind kind = weft__desc_kind(io->use.desc);

    /* As read(2), and not recv(2), has it. */
    if (io->n == 0 && kind != WEFT__KIND_FOLDER)
        return weft__fd_read(io->fd, io->buf, 0);
    switch (kind) {
    case WEFT__KIND_STREAM:
    case WEFT__KIND_SOCKET:
        return weft__io_in(io, io->iov ? try_recv_iov : try_recv_plain);
    case WEFT__KIND_POLLED:
        return weft__io_in(io, io->iov ? try_readv : try_read);
    case WEFT__KIND_BLOCKING:
    case WEFT__KIND_FILE:
        return by_lane(io, false, kind);
    case WEFT__KIND_FOLDER:
        return -EISDIR;
    case WEFT__KIND_UNKNOWN:
        break;
    }
    return -EBADF;
}

static ssize_t write_any(struct weft__io *io)
{
    enum weft__kind kind = weft__desc_kind(io->use.desc);
    struct weft__sigpipe held;
    ssize_t put;

    switch (kind) {
    case WEFT__KIND_STREAM:
    case WEFT__KIND_SOCKET:
        /* writev(2) of nothing sends nothing, where write(2) and sendmsg(2)
         * send an empty datagram. */
        if (io->iov && io->n == 0)
            return try_writev(io);
        return weft__io_out(io, io->iov ? try_send_iov : try_send_plain);
    case WEFT__KIND_POLLED:
        /* Workers block SIGPIPE; another thread may not. */
        if (!io->self)
            weft__sigpipe_hide(&held);
        put = weft__io_out(io, io->iov ? try_writev : try_write);
        if (!io->self)
            weft__sigpipe_show(&held, put == -EPIPE);
        return put;
    case WEFT__KIND_BLOCKING:
    case WEFT__KIND_FILE:
        return by_lane(io, true, kind);
    case WEFT__KIND_FOLDER:
    case WEFT__KIND_UNKNOWN:
        break;
    }
    return -EBADF;
}

typedef ssize_t mover(struct weft__io *io);

/* What is a socket no longer was closed behind our back: look again. */
static ssize_t once(struct weft__io *io, mover *move)
{
    ssize_t answer = move(io);

    if (answer == -ENOTSOCK && weft__desc_same(&io->use)) {
        weft__store(&io->use.desc->kind, WEFT__KIND_UNKNOWN, RELAXED);
        answer = move(io);
    }
    return answer;
}

static ssize_t any(struct weft__io *io, mover *move)
{
    ssize_t answer = weft__io_begin(io);

    return answer != 0 ? answer : weft__io_end(io, once(io, move));
}

/* Until all of it is moved, or one answers `end` or less: that. One use for all
 * of them, or the number could be another's between two. */
static ssize_t all(struct weft__io *io, mover *move, ssize_t end)
{
    ssize_t answer = weft__io_begin(io);

    if (answer != 0)
        return answer;
    while ((answer = once(io, move)) > end) {
        io->buf = (char *)io->buf + answer;
        io->n -= (size_t)answer;
        if (io->n == 0)
            break;
        weft__io_over(io->self, io->deadline);
        if (!weft__desc_current(&io->use))
            answer = -EBADF;
        else if (weft__canceled_on_entry(io->self, io->deadline))
            answer = -ECANCELED;
        else
            continue;
        break;
    }
    return weft__io_end(io, answer);
}

/* --- Reading and writing -------------------------------------------------------- */

ssize_t weft_read_until(int fd, void *buf, size_t n, weft_time_t deadline)
{
    struct weft__io io;

    weft__io_buffer(&io, fd, buf, n, 0, deadline);
    return weft__io_check(buf, n) != 0 ? -EINVAL : any(&io, read_any);
}

ssize_t weft_read(int fd, void *buf, size_t n)
{
    return weft_read_until(fd, buf, n, WEFT_FOREVER);
}

ssize_t weft_write_until(int fd, const void *buf, size_t n,
                         weft_time_t deadline)
{
    struct weft__io io;

    weft__io_buffer(&io, fd, (void *)(uintptr_t)buf, n, 0, deadline);
    return weft__io_check(buf, n) != 0 ? -EINVAL : any(&io, write_any);
}

ssize_t weft_write(int fd, const void *buf, size_t n)
{
    return weft_write_until(fd, buf, n, WEFT_FOREVER);
}

/* How much the buffers hold; -EINVAL where that is no ssize_t. */
static ssize_t iov_bytes(const struct iovec *iov, int n)
{
    size_t bytes = 0;

    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > SSIZE_MAX - bytes)
            return -EINVAL;
        bytes += iov[i].iov_len;
    }
    return (ssize_t)bytes;
}

static ssize_t iov_any(int fd, const struct iovec *iov, int n,
                       weft_time_t deadline, mover *move)
{
    static const struct iovec none;
    struct weft__io io = {
        .fd = fd, .iov = iov ? iov : &none, .iov_n = n, .deadline = deadline
    };
    ssize_t bytes = weft__io_check_iov(iov, n);

    if (bytes == 0)
        bytes = iov_bytes(iov, n);
    if (bytes < 0)
        return bytes;
    io.n = (size_t)bytes;
    return any(&io, move);
}

ssize_t weft_readv_until(int fd, const struct iovec *iov, int n,
                         weft_time_t deadline)
{
    return iov_any(fd, iov, n, deadline, read_any);
}

ssize_t weft_readv(int fd, const struct iovec *iov, int n)
{
    return weft_readv_until(fd, iov, n, WEFT_FOREVER);
}

ssize_t weft_writev_until(int fd, const struct iovec *iov, int n,
                          weft_time_t deadline)
{
    return iov_any(fd, iov, n, deadline, write_any);
}

ssize_t weft_writev(int fd, const struct iovec *iov, int n)
{
    return weft_writev_until(fd, iov, n, WEFT_FOREVER);
}

int weft_read_full_until(int fd, void *buf, size_t n, size_t *done,
                         weft_time_t deadline)
{
    ssize_t answer = weft__io_check(buf, n);
    struct weft__io io;

    weft__io_buffer(&io, fd, buf, n, 0, deadline);
    if (answer == 0 && n > 0)
        answer = all(&io, read_any, 0);
    if (done)
        *done = n - io.n;
    if (answer < 0)
        return (int)answer;
    return io.n == 0 ? 0 : -EPIPE;
}

int weft_read_full(int fd, void *buf, size_t n, size_t *done)
{
    return weft_read_full_until(fd, buf, n, done, WEFT_FOREVER);
}

int weft_write_full_until(int fd, const void *buf, size_t n, size_t *done,
                          weft_time_t deadline)
{
    ssize_t answer = weft__io_check(buf, n);
    struct weft__io io;

    weft__io_buffer(&io, fd, (void *)(uintptr_t)buf, n, 0, deadline);
    if (answer == 0 && n > 0)
        answer = all(&io, write_any, -1);
    if (done)
        *done = n - io.n;
    return answer < 0 ? (int)answer : 0;
}

int weft_write_full(int fd, const void *buf, size_t n, size_t *done)
{
    return weft_write_full_until(fd, buf, n, done, WEFT_FOREVER);
}

/* --- Making and closing --------------------------------------------------------------- */

int weft__io_made(int fd, enum weft__kind kind)
{
    int status;

    (void)weft__caller();
    status = weft__desc_fresh(fd, kind);
    if (status == 0)
        return fd;
    weft__fd_close(fd);
    return status;
}

int weft__io_made_two(const int made[2], enum weft__kind kind, int fds[2])
{
    int status = weft__io_made(made[0], kind);

    if (status < 0) {
        weft__fd_close(made[1]);
        return status;
    }
    status = weft__io_made(made[1], kind);
    if (status < 0) {
        weft__desc_retire(made[0], true);
        return status;
    }
    fds[0] = made[0];
    fds[1] = made[1];
    return 0;
}

int weft_pipe(int fds[2])
{
    int made[2];
    int status;

    if (!fds)
        return -EINVAL;
    status = weft__fd_pipe(made);
    if (status != 0)
        return status;
    return weft__io_made_two(made, WEFT__KIND_POLLED, fds);
}

int weft_close(int fd)
{
    return weft__desc_retire(fd, true);
}

int weft_fd_forget(int fd)
{
    return weft__desc_retire(fd, false);
}
