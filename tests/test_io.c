/* Reading, writing and closing: what io.h promises. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weft/weft.h>

struct reader {
    int fd;
    ssize_t answer;
    char got[64];
};

static void *read_some(void *arg)
{
    struct reader *r = arg;

    r->answer = weft_read(r->fd, r->got, sizeof(r->got));
    return NULL;
}

static void pair(int fds[2])
{
    ck_code(weft_socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
}

/* The reader sleeps first, and the bytes wake it. */
WEFT_TEST(read_asleep_first_gets_the_bytes)
{
    int fds[2];
    struct reader r;
    weft_fiber_t f;

    pair(fds);
    r.fd = fds[0];
    f = spawn(read_some, &r);
    wait_until_parked(f);
    ck_assert_int_eq(weft_write(fds[1], "hello", 5), 5);
    ck_code(weft_join(f, NULL), 0);
    ck_assert_int_eq(r.answer, 5);
    ck_assert_mem_eq(r.got, "hello", 5);
    ck_code(weft_close(fds[0]), 0);
    ck_code(weft_close(fds[1]), 0);
}
END_TEST

/* The bytes are there before anyone reads. */
WEFT_TEST(read_of_what_is_there_does_not_wait)
{
    int fds[2];
    char got[8];

    ck_code(weft_pipe(fds), 0);
    ck_assert_int_eq(weft_write(fds[1], "abc", 3), 3);
    ck_assert_int_eq(weft_read_until(fds[0], got, sizeof(got), WEFT_NOW), 3);
    ck_code((int)weft_read_until(fds[0], got, sizeof(got), WEFT_NOW),
            -EAGAIN);
    ck_code(weft_close(fds[1]), 0);
    ck_assert_int_eq(weft_read(fds[0], got, sizeof(got)), 0);
    ck_code(weft_close(fds[0]), 0);
}
END_TEST

/* Two fibers pass one byte to and fro, over pipes, and over sockets. */
struct player {
    int in;
    int out;
    int rounds;
};

static void *play(void *arg)
{
    struct player *p = arg;

    for (int i = 0; i < p->rounds; i++) {
        char c;

        if (weft_read(p->in, &c, 1) != 1 || weft_write(p->out, &c, 1) != 1)
            return (void *)1;
    }
    return NULL;
}

static void ping_pong(int a_in, int a_out, int b_in, int b_out, int rounds)
{
    struct player a = { a_in, a_out, rounds };
    struct player b = { b_in, b_out, rounds };
    weft_fiber_t fa = spawn(play, &a);
    weft_fiber_t fb = spawn(play, &b);
    void *result;

    ck_assert_int_eq(weft_write(b_out, "x", 1), 1);
    ck_code(weft_join(fa, &result), 0);
    ck_assert_ptr_null(result);
    ck_code(weft_join(fb, &result), 0);
    ck_assert_ptr_null(result);
}

WEFT_TEST(ping_pong_over_pipes)
{
    int there[2], back[2];

    ck_code(weft_pipe(there), 0);
    ck_code(weft_pipe(back), 0);
    ping_pong(there[0], back[1], back[0], there[1], 2000);
    for (int i = 0; i < 2; i++) {
        ck_code(weft_close(there[i]), 0);
        ck_code(weft_close(back[i]), 0);
    }
}
END_TEST

WEFT_TEST(ping_pong_over_sockets)
{
    int fds[2];

    pair(fds);
    ping_pong(fds[0], fds[0], fds[1], fds[1], 2000);
    ck_code(weft_close(fds[0]), 0);
    ck_code(weft_close(fds[1]), 0);
}
END_TEST

/* A reader and a writer on one descriptor, while the peer echoes: neither
 * wakes for the other's event and stays asleep for its own. */
enum { STREAM_BYTES = 4 << 20 };

static void *echo_all(void *arg)
{
    int fd = *(int *)arg;
    char buf[16384];
    ssize_t n;

    while ((n = weft_read(fd, buf, sizeof(buf))) > 0)
        if (weft_write_full(fd, buf, (size_t)n, NULL) != 0)
            return (void *)1;
    return (void *)-n;
}

static void *write_stream(void *arg)
{
    int fd = *(int *)arg;
    unsigned char buf[7001];
    size_t sent = 0;

    while (sent < STREAM_BYTES) {
        size_t n = STREAM_BYTES - sent < sizeof(buf) ? STREAM_BYTES - sent
                                                     : sizeof(buf);

        for (size_t i = 0; i < n; i++)
            buf[i] = (unsigned char)((sent + i) % 251);
        if (weft_write_full(fd, buf, n, NULL) != 0)
            return (void *)1;
        sent += n;
    }
    return NULL;
}

static void *read_stream(void *arg)
{
    int fd = *(int *)arg;
    unsigned char buf[9999];
    size_t got = 0;

    while (got < STREAM_BYTES) {
        ssize_t n = weft_read(fd, buf, sizeof(buf));

        if (n <= 0)
            return (void *)1;
        for (ssize_t i = 0; i < n; i++)
            if (buf[i] != (unsigned char)((got + (size_t)i) % 251))
                return (void *)2;
        got += (size_t)n;
    }
    return NULL;
}

static void stream_through(int fds[2])
{
    weft_fiber_t e = spawn(echo_all, &fds[1]);
    weft_fiber_t w = spawn(write_stream, &fds[0]);
    weft_fiber_t r = spawn(read_stream, &fds[0]);
    void *result;

    ck_code(weft_join(w, &result), 0);
    ck_assert_ptr_null(result);
    ck_code(weft_join(r, &result), 0);
    ck_assert_ptr_null(result);
    ck_code(weft_shutdown(fds[0], SHUT_WR), 0);
    ck_code(weft_join(e, &result), 0);
    ck_assert_ptr_null(result);
    ck_code(weft_close(fds[0]), 0);
    ck_code(weft_close(fds[1]), 0);
}

WEFT_TEST(reader_and_writer_on_one_descriptor)
{
    int fds[2];

    pair(fds);
    stream_through(fds);
}
END_TEST

/* A waiter is told that its descriptor is closed, and the number is free when
 * the closer returns. */
WEFT_TEST(close_wakes_those_who_wait)
{
    int fds[2];
    struct reader r[3];
    weft_fiber_t f[3];

    pair(fds);
    for (int i = 0; i < 3; i++) {
        r[i].fd = fds[0];
        f[i] = spawn(read_some, &r[i]);
        wait_until_parked(f[i]);
    }
    ck_code(weft_close(fds[0]), 0);
    ck_assert_int_lt(fcntl(fds[0], F_GETFD), 0);
    for (int i = 0; i < 3; i++) {
        ck_code(weft_join(f[i], NULL), 0);
        ck_code((int)r[i].answer, -EBADF);
    }
    ck_code(weft_close(fds[0]), -EBADF);
    ck_code(weft_close(fds[1]), 0);
}
END_TEST

/* The number comes back as another file: waiters of the old one are gone, and
 * nothing of it reaches the new one. */
WEFT_TEST(number_used_again_after_weft_close)
{
    for (int i = 0; i < 200; i++) {
        int fds[2], again[2];
        struct reader r = { 0 };
        weft_fiber_t f;

        pair(fds);
        r.fd = fds[0];
        f = spawn(read_some, &r);
        if (i % 2)
            wait_until_parked(f);
        ck_code(weft_close(fds[0]), 0);
        ck_code(weft_close(fds[1]), 0);
        ck_code(weft_join(f, NULL), 0);
        ck_assert_int_le((int)r.answer, 0);

        pair(again);
        r.fd = again[0];
        f = spawn(read_some, &r);
        if (i % 3 == 0)
            wait_until_parked(f);
        ck_assert_int_eq(weft_write(again[1], "new", 3), 3);
        ck_code(weft_join(f, NULL), 0);
        ck_assert_int_eq(r.answer, 3);
        ck_code(weft_close(again[0]), 0);
        ck_code(weft_close(again[1]), 0);
    }
}
END_TEST

/* Someone closes plainly, and weft receives the number again: what was left
 * behind is cleared, its waiter told. */
WEFT_TEST(number_used_again_after_plain_close)
{
    int fds[2], again[2];
    struct reader old = { 0 }, new = { 0 };
    weft_fiber_t f, g;

    pair(fds);
    old.fd = fds[0];
    f = spawn(read_some, &old);
    wait_until_parked(f);
    close(fds[0]);
    close(fds[1]);
    pair(again);
    ck_assert_int_eq(again[0], fds[0]);
    ck_code(weft_join(f, NULL), 0);
    ck_code((int)old.answer, -EBADF);

    new.fd = again[0];
    g = spawn(read_some, &new);
    wait_until_parked(g);
    ck_assert_int_eq(weft_write(again[1], "new", 3), 3);
    ck_code(weft_join(g, NULL), 0);
    ck_assert_int_eq(new.answer, 3);
    ck_code(weft_close(again[0]), 0);
    ck_code(weft_close(again[1]), 0);
}
END_TEST

/* What is watched is counted, and is no longer when it is closed. */
WEFT_TEST(stats_count_what_is_watched)
{
    weft_stats_t stats = { .size = sizeof(stats) };
    struct reader r[8];
    weft_fiber_t f[8];
    int fds[8][2];

    for (int i = 0; i < 8; i++) {
        pair(fds[i]);
        r[i].fd = fds[i][0];
        f[i] = spawn(read_some, &r[i]);
        wait_until_parked(f[i]);
    }
    ck_code(weft_stats(&stats), 0);
    ck_assert_uint_eq(stats.descriptors, 8);
    for (int i = 0; i < 8; i++) {
        ck_code(weft_close(fds[i][0]), 0);
        ck_code(weft_close(fds[i][1]), 0);
        ck_code(weft_join(f[i], NULL), 0);
    }
    ck_code(weft_stats(&stats), 0);
    ck_assert_uint_eq(stats.descriptors, 0);
}
END_TEST

/* A number that weft did not make is closed and made again by others. It may
 * have been one of weft's before, and given back. */
WEFT_TEST(number_used_again_by_others)
{
    int fds[2], before[2];
    struct reader r = { 0 };

    pair(before);
    for (int i = 0; i < 2; i++)
        ck_code(weft_close(before[i]), 0);
    for (int i = 0; i < 20; i++) {
        weft_fiber_t f;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        ck_assert_int_eq(fds[0], before[0]);
        r.fd = fds[0];
        f = spawn(read_some, &r);
        wait_until_parked(f);
        ck_assert_int_eq(write(fds[1], "abc", 3), 3);
        ck_code(weft_join(f, NULL), 0);
        ck_assert_int_eq(r.answer, 3);
        ck_assert_int_eq(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
        close(fds[0]);
        close(fds[1]);
    }
}
END_TEST

/* After weft_fd_forget() any call may be made on the number. */
WEFT_TEST(forget_lets_go_and_wakes)
{
    int fds[2];
    struct reader r = { 0 };
    weft_fiber_t f;

    pair(fds);
    r.fd = fds[0];
    f = spawn(read_some, &r);
    wait_until_parked(f);
    ck_code(weft_fd_forget(fds[0]), 0);
    ck_code(weft_join(f, NULL), 0);
    ck_code((int)r.answer, -EBADF);
    ck_assert_int_eq(write(fds[1], "abc", 3), 3);
    ck_assert_int_eq(read(fds[0], r.got, 3), 3);
    close(fds[0]);
    ck_code(weft_fd_forget(fds[0]), -EBADF);
    ck_code(weft_close(fds[1]), 0);
}
END_TEST

WEFT_TEST(read_and_write_full)
{
    int fds[2];
    char got[16];
    size_t done;

    pair(fds);
    ck_code(weft_write_full(fds[1], "0123456789", 10, &done), 0);
    ck_assert_uint_eq(done, 10);
    ck_code(weft_read_full(fds[0], got, 6, NULL), 0);
    ck_code(weft_shutdown(fds[1], SHUT_WR), 0);
    ck_code(weft_read_full(fds[0], got, 6, &done), -EPIPE);
    ck_assert_uint_eq(done, 4);
    ck_code(weft_close(fds[0]), 0);
    ck_code(weft_write_full(fds[1], "x", 1, &done), -EPIPE);
    ck_assert_uint_eq(done, 0);
    ck_code(weft_close(fds[1]), 0);
}
END_TEST

WEFT_TEST(vectors_of_buffers)
{
    int fds[2];
    char a[2], b[3];
    struct iovec out[2] = { { "ab", 2 }, { "cde", 3 } };
    struct iovec in[2] = { { a, 2 }, { b, 3 } };

    pair(fds);
    ck_assert_int_eq(weft_writev(fds[1], out, 2), 5);
    ck_assert_int_eq(weft_readv(fds[0], in, 2), 5);
    ck_assert_mem_eq(a, "ab", 2);
    ck_assert_mem_eq(b, "cde", 3);
    ck_code((int)weft_readv(fds[0], in, -1), -EINVAL);
    ck_code((int)weft_readv(fds[0], NULL, 1), -EINVAL);
    ck_code((int)weft_writev(fds[0], out, IOV_MAX + 1), -EINVAL);
    ck_code(weft_close(fds[0]), 0);
    ck_code(weft_close(fds[1]), 0);
}
END_TEST

WEFT_TEST(nonsense_is_refused)
{
    char c;
    int fds[2];

    ck_code((int)weft_read(-1, &c, 1), -EBADF);
    ck_code((int)weft_read(999999, &c, 1), -EBADF);
    ck_code((int)weft_read(INT_MAX, &c, 1), -EBADF);
    ck_code((int)weft_write(-1, &c, 1), -EBADF);
    ck_code((int)weft_read(0, NULL, 1), -EINVAL);
    ck_code((int)weft_write(0, &c, (size_t)SSIZE_MAX + 1), -EINVAL);
    ck_code(weft_close(-1), -EBADF);
    ck_code(weft_close(INT_MAX), -EBADF);
    ck_code(weft_fd_forget(-1), -EBADF);
    ck_code(weft_pipe(NULL), -EINVAL);
    ck_code(weft_pipe(fds), 0);
    ck_code((int)weft_read(fds[1], &c, 1), -EBADF);
    ck_code((int)weft_write(fds[0], &c, 1), -EBADF);
    ck_code((int)weft_recv(fds[0], &c, 1, 0), -ENOTSOCK);
    ck_code((int)weft_read(fds[0], (void *)(uintptr_t)8, 0), 0);
    ck_code(weft_close(fds[0]), 0);
    ck_code((int)weft_write(fds[1], &c, 1), -EPIPE);
    ck_code(weft_close(fds[1]), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io");
    TCase *tc = tcase_create("io");

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, read_asleep_first_gets_the_bytes);
    tcase_add_test(tc, read_of_what_is_there_does_not_wait);
    tcase_add_test(tc, ping_pong_over_pipes);
    tcase_add_test(tc, ping_pong_over_sockets);
    tcase_add_test(tc, reader_and_writer_on_one_descriptor);
    tcase_add_test(tc, close_wakes_those_who_wait);
    tcase_add_test(tc, number_used_again_after_weft_close);
    tcase_add_test(tc, number_used_again_after_plain_close);
    tcase_add_test(tc, stats_count_what_is_watched);
    tcase_add_test(tc, number_used_again_by_others);
    tcase_add_test(tc, forget_lets_go_and_wakes);
    tcase_add_test(tc, read_and_write_full);
    tcase_add_test(tc, vectors_of_buffers);
    tcase_add_test(tc, nonsense_is_refused);
    return run_suite(suite);
}
