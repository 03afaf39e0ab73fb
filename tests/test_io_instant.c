/*
 * Cancel and deadline at the instant of success, of the calls that wait for a
 * descriptor: a byte is taken or left, given or kept, and readiness stays.
 *
 * About 10,000 rounds of each call in CI, WEFT_TEST_ROUNDS to have it
 * otherwise.
 */
#include <unistd.h>

#include "tests/support_instant.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* What a case does next: one call after the other, each with all beginnings. */
#define NEXT_CALL(calls, round) \
    ((calls)[(unsigned)(round) / BEGINNINGS % COUNT(calls)])

typedef long call_fn(const struct attempt *a, weft_time_t deadline);

static int peer;

/* --- Reading: bytes are counted ---------------------------------------------------- */

static char taken;
static struct iovec to_taken = { &taken, 1 };

static long call_read(const struct attempt *a, weft_time_t deadline)
{
    return weft_read_until(a->fd, &taken, 1, deadline);
}

static long call_readv(const struct attempt *a, weft_time_t deadline)
{
    return weft_readv_until(a->fd, &to_taken, 1, deadline);
}

static long call_read_full(const struct attempt *a, weft_time_t deadline)
{
    size_t done = 7;
    int status = weft_read_full_until(a->fd, &taken, 1, &done, deadline);

    must(done == (status == 0));
    return status < 0 ? status : 1;
}

static long call_recv(const struct attempt *a, weft_time_t deadline)
{
    return weft_recv_until(a->fd, &taken, 1, 0, deadline);
}

static long call_recvfrom(const struct attempt *a, weft_time_t deadline)
{
    return weft_recvfrom_until(a->fd, &taken, 1, 0, NULL, NULL, deadline);
}

static long call_recvmsg(const struct attempt *a, weft_time_t deadline)
{
    struct msghdr message = { .msg_iov = &to_taken, .msg_iovlen = 1 };

    return weft_recvmsg_until(a->fd, &message, 0, deadline);
}

static void send_byte(struct attempt *a)
{
    (void)a;
    must(weft_write(peer, "x", 1) == 1);
}

WEFT_TEST(read_takes_the_byte_or_leaves_it)
{
    static call_fn *const calls[] = { call_read, call_readv, call_read_full,
                                      call_recv, call_recvfrom,
                                      call_recvmsg };
    struct aim aim = { .seed = 1 };
    int fds[2];

    net_pair(_i / WAYS ? NET_TCP : NET_UNIX, fds);
    peer = fds[1];
    for (int i = 0; i < (int)instants(6000); i++) {
        struct attempt a = { .call = NEXT_CALL(calls, i), .fd = fds[0] };
        char c;

        meet(&a, _i % WAYS, i, send_byte, &aim);
        must(weft_read_until(fds[0], &c, 1, WEFT_NOW) ==
             (a.answer == 1 ? -EAGAIN : 1));
    }
    aim_check(&aim);
    net_close(fds);
}
END_TEST

/* --- Writing: it is full, and then read empty ----------------------------------------- */

static struct iovec of_b = { (void *)"b", 1 };

static long call_write(const struct attempt *a, weft_time_t deadline)
{
    return weft_write_until(a->fd, "b", 1, deadline);
}

static long call_writev(const struct attempt *a, weft_time_t deadline)
{
    return weft_writev_until(a->fd, &of_b, 1, deadline);
}

static long call_write_full(const struct attempt *a, weft_time_t deadline)
{
    size_t done = 7;
    int status = weft_write_full_until(a->fd, "b", 1, &done, deadline);

    must(done == (status == 0));
    return status < 0 ? status : 1;
}

static long call_send(const struct attempt *a, weft_time_t deadline)
{
    return weft_send_until(a->fd, "b", 1, 0, deadline);
}

static long call_sendto(const struct attempt *a, weft_time_t deadline)
{
    return weft_sendto_until(a->fd, "b", 1, 0, NULL, 0, deadline);
}

static long call_sendmsg(const struct attempt *a, weft_time_t deadline)
{
    struct msghdr message = { .msg_iov = &of_b, .msg_iovlen = 1 };

    return weft_sendmsg_until(a->fd, &message, 0, deadline);
}

static size_t drained;

static void drain(struct attempt *a)
{
    static char block[16384];
    ssize_t n;

    (void)a;
    while ((n = weft_read_until(peer, block, sizeof(block), WEFT_NOW)) > 0)
        drained += (size_t)n;
}

WEFT_TEST(write_gives_the_byte_or_keeps_it)
{
    static call_fn *const of_sockets[] = { call_write, call_send,
                                           call_sendto, call_sendmsg };
    static call_fn *const of_pipes[] = { call_write, call_writev,
                                         call_write_full };
    bool pipe = _i / WAYS == 0;
    struct aim aim = { .seed = 2 };
    int fds[2];

    net_pair(pipe ? NET_PIPE : NET_UNIX, fds);
    peer = fds[0];
    for (int i = 0; i < (int)instants(6000); i++) {
        struct attempt a = { .call = pipe ? NEXT_CALL(of_pipes, i)
                                          : NEXT_CALL(of_sockets, i),
                             .fd = fds[1] };
        size_t filled;

        drain(NULL);
        filled = net_fill(fds[1]);
        drained = 0;
        meet(&a, _i % WAYS, i, drain, &aim);
        drain(NULL);
        must(drained == filled + (a.answer == 1));
    }
    aim_check(&aim);
    net_close(fds);
}
END_TEST

/* --- Polling: nothing is taken, and others are told ------------------------------------ */

static long call_poll(const struct attempt *a, weft_time_t deadline)
{
    struct pollfd one = { .fd = a->fd, .events = POLLIN };

    return weft_poll_until(&one, 1, deadline);
}

static long call_fd_wait(const struct attempt *a, weft_time_t deadline)
{
    return weft_fd_wait_until(a->fd, POLLIN, deadline);
}

static long call_select(const struct attempt *a, weft_time_t deadline)
{
    weft_case_t cases[] = { WEFT_READABLE(a->fd) };

    return weft_select_until(cases, 1, deadline);
}

WEFT_TEST(poll_takes_nothing)
{
    static call_fn *const calls[] = { call_poll, call_fd_wait, call_select };
    struct aim aim = { .seed = 5 };
    int fds[2];

    net_pair(_i / WAYS ? NET_TCP : NET_UNIX, fds);
    peer = fds[1];
    for (int i = 0; i < (int)instants(6000); i++) {
        struct attempt a = { .call = NEXT_CALL(calls, i), .fd = fds[0] };
        struct net_reader r = { .fd = fds[0], .n = 1 };
        weft_fiber_t f = 0;

        if (i % 4 == 0)
            f = spawn_one(read_one, &r);
        meet(&a, _i % WAYS, i, send_byte, &aim);
        if (f)
            join_one(f);
        else
            read_one(&r);
        must(r.answer == 1);
    }
    aim_check(&aim);
    net_close(fds);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_instant");
    TCase *tc = tcase_create("io_instant");

    suite_add_tcase(suite, tc);
    tcase_add_loop_test(tc, read_takes_the_byte_or_leaves_it, 0, 2 * WAYS);
    tcase_add_loop_test(tc, write_gives_the_byte_or_keeps_it, 0, 2 * WAYS);
    tcase_add_loop_test(tc, poll_takes_nothing, 0, 2 * WAYS);
    return run_suite(suite);
}
