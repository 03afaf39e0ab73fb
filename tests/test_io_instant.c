/*
 * Cancel and deadline at the instant of success: either the effect happened
 * and the call says so, or it did not and nothing is lost.
 *
 * 10,000 rounds of each call in CI, WEFT_TEST_ROUNDS to have it otherwise.
 */
#include <unistd.h>

#include "tests/support_net.h"

enum { CANCEL, DEADLINE, WAYS };
enum call { READ, WRITE, ACCEPT, CONNECT, POLL };

static int rounds(int n)
{
    const char *text = getenv("WEFT_TEST_ROUNDS");

    return text ? atoi(text) : ROUNDS(n);
}

struct attempt {
    enum call call;
    int fd;
    weft_time_t deadline;
    struct sockaddr_in where;
    long answer;
    long then; /* the next call that would wait: tells of a late cancel */
};

static void *attempt_main(void *arg)
{
    struct attempt *a = arg;
    struct pollfd one = { .fd = a->fd, .events = POLLIN };
    char byte = 'b';

    switch (a->call) {
    case READ:
        a->answer = weft_read_until(a->fd, &byte, 1, a->deadline);
        break;
    case WRITE:
        a->answer = weft_write_until(a->fd, &byte, 1, a->deadline);
        break;
    case ACCEPT:
        a->answer = weft_accept_until(a->fd, NULL, NULL, a->deadline);
        break;
    case CONNECT:
        a->answer = weft_connect_until(a->fd, (struct sockaddr *)&a->where,
                                       sizeof(a->where), a->deadline);
        break;
    default:
        a->answer = weft_poll_until(&one, 1, a->deadline);
        break;
    }
    a->then = weft_sleep_until(weft_now());
    return NULL;
}

/* One wait, ended by what `help` does or by the other way, about at once. */
static void meet(struct attempt *a, int way, int round,
                 void (*help)(struct attempt *a), uint32_t *seed)
{
    weft_fiber_t f;

    a->deadline = WEFT_FOREVER;
    if (way == DEADLINE)
        a->deadline = weft_after(WEFT_US(next_random(seed) % 60));
    f = spawn_one(attempt_main, a);
    if (round % 4 == 0)
        weft_yield();
    else if (round % 4 == 1)
        for (int i = 0; i < 100 && !is_state(f, "parked"); i++)
            weft_yield();
    if (way == CANCEL && round % 2) {
        (void)weft_cancel(f);
        help(a);
    } else {
        help(a);
        if (way == CANCEL)
            (void)weft_cancel(f);
    }
    join_one(f);
    if (a->answer < 0)
        must_code(a->answer, way == CANCEL ? -ECANCELED : -ETIMEDOUT);
    /* One that came too late stays pending, if it came at all. */
    must(a->then == 0 || (a->then == -ECANCELED && way == CANCEL));
}

/* --- Reading: bytes are counted ---------------------------------------------------- */

static int peer;

static void send_byte(struct attempt *a)
{
    (void)a;
    must(weft_write(peer, "x", 1) == 1);
}

WEFT_TEST(read_takes_the_byte_or_leaves_it)
{
    uint32_t seed = 1;
    int fds[2];

    net_pair(_i / WAYS ? NET_TCP : NET_UNIX, fds);
    peer = fds[1];
    for (int i = 0; i < rounds(5000); i++) {
        struct attempt a = { .call = READ, .fd = fds[0] };
        char c;

        meet(&a, _i % WAYS, i, send_byte, &seed);
        must(weft_read_until(fds[0], &c, 1, WEFT_NOW) ==
             (a.answer == 1 ? -EAGAIN : 1));
    }
    net_close(fds);
}
END_TEST

/* --- Writing: the socket is full, and half of it is read ----------------------------- */

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
    uint32_t seed = 2;
    int fds[2];

    net_pair(NET_PIPE, fds);
    peer = fds[0];
    for (int i = 0; i < rounds(5000); i++) {
        struct attempt a = { .call = WRITE, .fd = fds[1] };
        size_t filled;

        drain(NULL);
        filled = net_fill(fds[1]);
        drained = 0;
        meet(&a, _i % WAYS, i, drain, &seed);
        drain(NULL);
        must(drained == filled + (a.answer == 1));
    }
    net_close(fds);
}
END_TEST

/* --- Accepting: no connection is lost -------------------------------------------------- */

static int client;

static void connect_client(struct attempt *a)
{
    (void)a;
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(client >= 0);
    must(connect(client, (struct sockaddr *)&a->where, sizeof(a->where)) ==
         0);
}

WEFT_TEST(accept_takes_the_connection_or_leaves_it)
{
    struct attempt a = { .call = ACCEPT };
    uint32_t seed = 3;
    unsigned had;

    a.fd = net_listen(64, &a.where);
    had = open_descriptors();
    for (int i = 0; i < rounds(5000); i++) {
        long fd;

        meet(&a, _i % WAYS, i, connect_client, &seed);
        fd = a.answer;
        if (fd < 0)
            fd = weft_accept_until(a.fd, NULL, NULL, weft_after(WEFT_SEC(5)));
        must(fd >= 0);
        must_code(weft_accept_until(a.fd, NULL, NULL, WEFT_NOW), -EAGAIN);
        /* Or thousands of ports would rest for a minute. */
        net_reset((int)fd);
        close(client);
    }
    ck_assert_uint_eq(open_descriptors(), had);
    ck_code(weft_close(a.fd), 0);
}
END_TEST

/* --- Connecting: an attempt that was given up goes on, and can be awaited ---------------- */

static void do_nothing(struct attempt *a)
{
    (void)a;
}

WEFT_TEST(connect_succeeds_or_can_be_awaited)
{
    struct attempt a = { .call = CONNECT };
    int listener = net_listen(64, &a.where);
    uint32_t seed = 4;
    unsigned had = open_descriptors();

    for (int i = 0; i < rounds(5000); i++) {
        int fd;

        a.fd = weft_socket(AF_INET, SOCK_STREAM, 0);
        must(a.fd >= 0);
        meet(&a, _i % WAYS, i, do_nothing, &seed);
        if (a.answer < 0)
            must_code(weft_connect(a.fd, (struct sockaddr *)&a.where,
                                   sizeof(a.where)),
                      0);
        fd = weft_accept(listener, NULL, NULL);
        must(fd >= 0);
        net_reset(fd);
        must_code(weft_close(a.fd), 0);
    }
    ck_assert_uint_eq(open_descriptors(), had);
    ck_code(weft_close(listener), 0);
}
END_TEST

/* --- Polling: nothing is taken, and others are told -------------------------------------- */

WEFT_TEST(poll_takes_nothing)
{
    uint32_t seed = 5;
    int fds[2];

    net_pair(_i / WAYS ? NET_TCP : NET_UNIX, fds);
    peer = fds[1];
    for (int i = 0; i < rounds(5000); i++) {
        struct attempt a = { .call = POLL, .fd = fds[0] };
        struct net_reader r = { .fd = fds[0], .n = 1 };
        weft_fiber_t f = 0;

        if (i % 3 == 0)
            f = spawn_one(read_one, &r);
        meet(&a, _i % WAYS, i, send_byte, &seed);
        if (f)
            join_one(f);
        else
            read_one(&r);
        must(r.answer == 1);
    }
    net_close(fds);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_instant");
    TCase *tc = tcase_create("io_instant");

    suite_add_tcase(suite, tc);
    tcase_add_loop_test(tc, read_takes_the_byte_or_leaves_it, 0, 2 * WAYS);
    tcase_add_loop_test(tc, write_gives_the_byte_or_keeps_it, 0, WAYS);
    tcase_add_loop_test(tc, accept_takes_the_connection_or_leaves_it, 0,
                        WAYS);
    tcase_add_loop_test(tc, connect_succeeds_or_can_be_awaited, 0, WAYS);
    tcase_add_loop_test(tc, poll_takes_nothing, 0, 2 * WAYS);
    return run_suite(suite);
}
