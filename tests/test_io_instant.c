/*
 * Cancel and deadline at the instant of success: either the effect happened
 * and the call says so, or it did not and nothing is lost.
 *
 * 10,000 rounds of each call in CI, WEFT_TEST_ROUNDS to have it otherwise.
 */
#include <sys/un.h>
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
    int64_t spread; /* the end comes within so many ns; 0: by default */
    struct sockaddr_in where;
    const struct sockaddr_un *path; /* connect there instead, if set */
    socklen_t path_len;
    long answer;
    long then; /* the next call that would wait: tells of a late cancel */
};

static int connect_until(const struct attempt *a, weft_time_t deadline)
{
    if (a->path)
        return weft_connect_until(a->fd, (const struct sockaddr *)a->path,
                                  a->path_len, deadline);
    return weft_connect_until(a->fd, (const struct sockaddr *)&a->where,
                              sizeof(a->where), deadline);
}

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
        a->answer = connect_until(a, a->deadline);
        break;
    default:
        a->answer = weft_poll_until(&one, 1, a->deadline);
        break;
    }
    a->then = weft_sleep_until(weft_now());
    return NULL;
}

static void check(const struct attempt *a, int way)
{
    if (a->answer < 0)
        must_code(a->answer, way == CANCEL ? -ECANCELED : -ETIMEDOUT);
    /* One that came too late stays pending, if it came at all. */
    must(a->then == 0 || (a->then == -ECANCELED && way == CANCEL));
}

/* One wait, ended by what `help` does or by the other way, about at once. */
static void meet(struct attempt *a, int way, int round,
                 void (*help)(struct attempt *a), uint32_t *seed)
{
    weft_fiber_t f;

    a->deadline = WEFT_FOREVER;
    if (way == DEADLINE)
        a->deadline = weft_after((int64_t)next_random(seed) %
                                 (a->spread ? a->spread : WEFT_US(60)));
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
        if (way == CANCEL && a->spread)
            must_code(weft_sleep((int64_t)next_random(seed) % a->spread), 0);
        if (way == CANCEL)
            (void)weft_cancel(f);
    }
    join_one(f);
    check(a, way);
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
            must_code(connect_until(&a, WEFT_FOREVER), 0);
        fd = weft_accept(listener, NULL, NULL);
        must(fd >= 0);
        net_reset(fd);
        must_code(weft_close(a.fd), 0);
    }
    ck_assert_uint_eq(open_descriptors(), had);
    ck_code(weft_close(listener), 0);
}
END_TEST

/* A Unix listener whose queue is full: one who connects sleeps, until another
 * is accepted. */
static int crowded;

static void accept_another(struct attempt *a)
{
    int fd = weft_accept(crowded, NULL, NULL);

    (void)a;
    must(fd >= 0);
    must_code(weft_close(fd), 0);
}

static int unix_client(void)
{
    int fd = weft_socket(AF_UNIX, SOCK_STREAM, 0);

    must(fd >= 0);
    return fd;
}

WEFT_TEST(connect_to_a_full_listener_succeeds_or_takes_no_place)
{
    struct sockaddr_un path = { .sun_family = AF_UNIX };
    struct attempt a = { .call = CONNECT, .path = &path,
                         .spread = WEFT_US(1500) };
    uint32_t seed = 6;
    unsigned had;
    int waiting[8], n = 0;

    /* The kernel finds a name for it. */
    crowded = unix_client();
    must(bind(crowded, (struct sockaddr *)&path, sizeof(sa_family_t)) == 0);
    must(listen(crowded, 1) == 0);
    a.path_len = sizeof(path);
    must(getsockname(crowded, (struct sockaddr *)&path, &a.path_len) == 0);
    had = open_descriptors();
    do {
        must(n < 8);
        a.fd = waiting[n++] = unix_client();
    } while (connect_until(&a, WEFT_NOW) == 0);

    for (int i = 0; i < rounds(1000); i++) {
        a.fd = unix_client();
        meet(&a, _i, i, accept_another, &seed);
        if (a.answer < 0)
            must_code(connect_until(&a, WEFT_NOW), 0);
        must_code(weft_close(a.fd), 0);
        /* As full as before, and no fuller. */
        a.fd = waiting[n - 1];
        must_code(connect_until(&a, WEFT_NOW), -EAGAIN);
    }
    while (n > 0)
        must_code(weft_close(waiting[--n]), 0);
    ck_assert_uint_eq(open_descriptors(), had);
    ck_code(weft_close(crowded), 0);
}
END_TEST

/* A TCP listener whose queue is full: the kernel drops what comes, and asks
 * again after about a second. Then there is room, and all are answered at
 * once, while one after the other is late or cancelled. */
enum { CLIENTS = 200, FILL = 8 };

struct late_cancel {
    weft_fiber_t whom;
    weft_time_t when;
};

static void *cancel_at(void *arg)
{
    struct late_cancel *c = arg;

    must_code(weft_sleep_until(c->when), 0);
    (void)weft_cancel(c->whom);
    return NULL;
}

WEFT_TEST(connect_is_answered_or_can_be_awaited)
{
    static struct attempt a[CLIENTS], fill[FILL];
    static struct late_cancel c[CLIENTS];
    weft_fiber_t f[CLIENTS], g[CLIENTS];
    struct sockaddr_in where;
    int listener = net_listen(1, &where), n = 0;
    weft_time_t when;

    do {
        must(n < FILL);
        fill[n].where = where;
        fill[n].fd = weft_socket(AF_INET, SOCK_STREAM, 0);
    } while (connect_until(&fill[n++], weft_after(WEFT_MS(30))) == 0);

    when = weft_after(WEFT_MS(990));
    for (int i = 0; i < CLIENTS; i++) {
        when += WEFT_US(500);
        a[i] = (struct attempt){ .call = CONNECT, .where = where,
                                 .deadline = WEFT_FOREVER };
        a[i].fd = weft_socket(AF_INET, SOCK_STREAM, 0);
        if (_i == DEADLINE)
            a[i].deadline = when;
        f[i] = spawn_one(attempt_main, &a[i]);
        c[i] = (struct late_cancel){ f[i], when };
        if (_i == CANCEL)
            g[i] = spawn_one(cancel_at, &c[i]);
    }
    /* All have knocked; on a slow machine the first are late by now. */
    for (int i = 0; i < CLIENTS; i++)
        while (!is_state(f[i], "parked") && weft_now() < when)
            weft_yield();
    must(listen(listener, 1024) == 0);
    for (int i = 0; i < CLIENTS; i++) {
        join_one(f[i]);
        if (_i == CANCEL)
            join_one(g[i]);
        check(&a[i], _i);
        if (a[i].answer < 0)
            must_code(connect_until(&a[i], WEFT_FOREVER), 0);
    }
    must_code(connect_until(&fill[n - 1], WEFT_FOREVER), 0);
    for (int i = 0; i < CLIENTS + n; i++)
        must_code(weft_close(weft_accept(listener, NULL, NULL)), 0);
    must_code(weft_accept_until(listener, NULL, NULL, WEFT_NOW), -EAGAIN);
    for (int i = 0; i < CLIENTS; i++)
        must_code(weft_close(a[i].fd), 0);
    while (n > 0)
        must_code(weft_close(fill[--n].fd), 0);
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
    tcase_add_loop_test(tc,
                        connect_to_a_full_listener_succeeds_or_takes_no_place,
                        0, WAYS);
    tcase_add_loop_test(tc, connect_is_answered_or_can_be_awaited, 0, WAYS);
    tcase_add_loop_test(tc, poll_takes_nothing, 0, 2 * WAYS);
    return run_suite(suite);
}
