#include "tests/support_blocking_fd.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include "netpoll/blocking.h"

ssize_t rw(int fd, bool write, void *buf, size_t n, weft_time_t until)
{
    struct iovec iov = { buf, n };

    return weft__blocking_rw(self(), fd, write, &iov, 1, until);
}

ssize_t get(int fd, void *buf, size_t n)
{
    return rw(fd, false, buf, n, WEFT_FOREVER);
}

ssize_t put(int fd, const void *buf, size_t n)
{
    return rw(fd, true, (void *)(uintptr_t)buf, n, WEFT_FOREVER);
}

void open_ends(enum kind kind, int ends[2], int our, int as)
{
    if (kind == PIPE) {
        ck_assert_int_eq(pipe(ends), 0);
    } else {
        struct termios raw = { 0 };

        cfmakeraw(&raw);
        raw.c_cflag |= CS8 | CREAD;
        raw.c_cc[VMIN] = 1;
        /* The slave is the terminal: ours. */
        if (our == 0)
            ck_assert_int_eq(openpty(&ends[1], &ends[0], NULL, &raw, NULL),
                             0);
        else
            ck_assert_int_eq(openpty(&ends[0], &ends[1], NULL, &raw, NULL),
                             0);
    }
    if (as >= 0) {
        ck_assert_int_eq(dup2(ends[our], as), as);
        close(ends[our]);
        ends[our] = as;
    }
    ck_assert_int_eq(fcntl(ends[our], F_GETFL) & O_NONBLOCK, 0);
}

void close_ends(int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

void *call_one(void *arg)
{
    struct call *c = arg;

    return (void *)(intptr_t)rw(c->fd, c->write, c->buf, c->n,
                                c->until != 0 ? c->until : WEFT_FOREVER);
}

ssize_t answer(weft_fiber_t f)
{
    return (ssize_t)(intptr_t)join(f);
}

void wait_until_waiting(weft_fiber_t f)
{
    wait_for_jobs(WEFT__LANE_FD, 1, 0);
    wait_until_parked(f);
}

void await_bytes(int fd)
{
    struct pollfd one = { .fd = fd, .events = POLLIN };

    while (poll(&one, 1, 0) != 1)
        weft_yield();
}

char much[MUCH], got[MUCH];

void fill_much(void)
{
    for (int i = 0; i < MUCH; i++)
        much[i] = (char)('!' + (i * 11 + i / 77) % 90);
}
