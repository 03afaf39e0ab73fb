/* Serving: limits, stops, stats, and what goes wrong. */
#include <arpa/inet.h>
#include <sys/resource.h>
#include <unistd.h>

#include "netpoll/desc.h"
#include "sched/atomic.h"
#include "tests/support_net.h"

/* --- A server in a fiber ----------------------------------------------------------- */

struct server {
    int listener;
    struct sockaddr_in where;
    void (*handler)(int fd, void *arg);
    weft_serve_t opt;
    weft_serve_stats_t stats;
    weft_fiber_t fiber;
    int answer;
    weft__au32 inside; /* handlers that have begun */
    weft__au32 code;   /* what a handler's call answered, negated */
};

static void *server_main(void *arg)
{
    struct server *s = arg;

    s->answer = weft_serve(s->listener, s->handler, s, &s->opt);
    /* A stop by a cancel leaves it pending. */
    must(weft_canceled() == (s->answer == -ECANCELED));
    return NULL;
}

static void server_open(struct server *s, void (*handler)(int, void *))
{
    *s = (struct server){ .handler = handler, .opt = WEFT_SERVE_INIT };
    s->opt.stats = &s->stats;
    s->stats = (weft_serve_stats_t){ 9, 9, 9, 9, 9 }; /* of another server */
    s->opt.grace = -1;
    s->listener = net_listen(1024, &s->where);
}

static void server_start(struct server *s)
{
    s->fiber = spawn(server_main, s);
    wait_until_parked(s->fiber);
}

static void server_stop(struct server *s)
{
    ck_code(weft_cancel(s->fiber), 0);
    join(s->fiber);
    ck_code(s->answer, -ECANCELED);
    ck_assert_uint_eq(s->stats.active, 0);
    ck_code(weft_close(s->listener), 0);
}

static void echo(int fd, void *arg)
{
    struct server *s = arg;
    char buf[256];
    ssize_t n;

    weft__fetch_add(&s->inside, 1, RELEASE);
    while ((n = weft_read(fd, buf, sizeof(buf))) > 0)
        if (weft_write_full(fd, buf, (size_t)n, NULL) != 0)
            break;
    if (n < 0)
        weft__store(&s->code, (uint32_t)-n, RELAXED);
}

static bool is_answered(int fd)
{
    char c;

    must(weft_write(fd, "x", 1) == 1);
    return weft_read_until(fd, &c, 1, weft_after(WEFT_MS(30))) == 1;
}

static uint64_t figure(const uint64_t *of)
{
    return __atomic_load_n(of, __ATOMIC_RELAXED);
}

static void wait_for_figure(const uint64_t *of, uint64_t value)
{
    while (figure(of) != value)
        weft_yield();
}

/* --- The loop ------------------------------------------------------------------------- */

WEFT_TEST(a_fiber_for_each_connection)
{
    enum { CLIENTS = 50 };
    struct server s;
    int fd[CLIENTS];
    unsigned had;

    server_open(&s, echo);
    server_start(&s);
    had = open_descriptors();
    for (int i = 0; i < CLIENTS; i++)
        fd[i] = net_connect(&s.where);
    for (int i = 0; i < CLIENTS; i++)
        while (!is_answered(fd[i])) {
        }
    ck_assert_uint_eq(figure(&s.stats.active), CLIENTS);
    ck_assert_uint_eq(figure(&s.stats.accepted), CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        ck_code(weft_close(fd[i]), 0);
    wait_for_figure(&s.stats.active, 0);
    ck_assert_uint_eq(open_descriptors(), had);
    server_stop(&s);
    ck_assert_uint_eq(s.stats.most, CLIENTS);
    ck_assert_uint_eq(s.stats.refused, 0);
    ck_assert_uint_eq(s.stats.late, 0);
}
END_TEST

/* More come than may be there: they wait in the kernel's queue, and are served
 * as others leave. */
WEFT_TEST(no_more_than_max_connections)
{
    struct server s;
    int fd[4];

    server_open(&s, echo);
    s.opt.max_connections = 2;
    server_start(&s);
    for (int i = 0; i < 4; i++)
        fd[i] = net_connect(&s.where);
    while (!is_answered(fd[0]) || !is_answered(fd[1])) {
    }
    ck_assert(!is_answered(fd[2]));
    ck_code(weft_close(fd[0]), 0);
    ck_code(weft_close(fd[1]), 0);
    while (!is_answered(fd[2]) || !is_answered(fd[3])) {
    }
    for (int i = 2; i < 4; i++)
        ck_code(weft_close(fd[i]), 0);
    wait_for_figure(&s.stats.active, 0);
    server_stop(&s);
    ck_assert_uint_eq(s.stats.most, 2);
    ck_assert_uint_eq(s.stats.accepted, 4);
}
END_TEST

/* At the limit the listener is closed, or the server cancelled. */
WEFT_TEST(stopped_at_the_limit)
{
    struct server s;
    int fd;

    server_open(&s, echo);
    s.opt.max_connections = 1;
    server_start(&s);
    fd = net_connect(&s.where);
    while (!is_answered(fd)) {
    }
    if (_i == 0) {
        server_stop(&s);
    } else {
        ck_code(weft_close(s.listener), 0);
        join(s.fiber);
        ck_code(s.answer, -EBADF);
    }
    ck_assert_uint_eq(s.stats.late, 1);
    ck_code(weft_close(fd), 0);
}
END_TEST

/* A call on the connection waits for so long and no longer. */
WEFT_TEST(idle_and_total_time)
{
    struct server s;
    int fd;

    server_open(&s, echo);
    if (_i == 0)
        s.opt.idle_timeout = WEFT_MS(200);
    else
        s.opt.total_timeout = WEFT_MS(200);
    server_start(&s);
    fd = net_connect(&s.where);
    while (_i == 0 && !is_answered(fd)) {
    }
    /* Renewed by each call, or not: in the end the handler leaves. */
    for (int i = 0; _i == 1 && figure(&s.stats.accepted) == 0; i++)
        weft_yield();
    wait_for_figure(&s.stats.active, 0);
    ck_assert_uint_eq(weft__load(&s.code, RELAXED), ETIMEDOUT);
    ck_code(weft_close(fd), 0);
    server_stop(&s);
}
END_TEST

/* No limit, in the words of the calls. */
WEFT_TEST(limits_of_for_ever_are_none)
{
    struct server s;
    int fd;

    server_open(&s, echo);
    s.opt.idle_timeout = s.opt.total_timeout = WEFT_FOREVER - _i;
    server_start(&s);
    fd = net_connect(&s.where);
    wait_for(&s.inside, 1);
    ck_code(weft_sleep(WEFT_MS(20)), 0);
    ck_assert_uint_eq(figure(&s.stats.active), 1);
    while (!is_answered(fd)) {
    }
    ck_code(weft_close(fd), 0);
    wait_for_figure(&s.stats.active, 0);
    ck_assert_uint_eq(weft__load(&s.code, RELAXED), 0);
    server_stop(&s);
}
END_TEST

/* --- The stop ----------------------------------------------------------------------------- */

/* Busy with a request that takes longer, and not to be hurried: */
static void slow_answer(int fd, void *arg)
{
    struct server *s = arg;
    char c;

    weft__fetch_add(&s->inside, 1, RELEASE);
    if (weft_read(fd, &c, 1) != 1)
        return;
    weft__fetch_add(&s->inside, 1, RELEASE);
    if (weft_sleep(WEFT_MS(60)) == 0)
        (void)weft_write(fd, &c, 1);
}

/* Who is answering goes on during the grace period; who waits for a request
 * reads the end with WEFT_SERVE_SHUT_READS, and else is cancelled at its
 * end. */
WEFT_TEST(a_stop_with_grace)
{
    struct server s;
    int busy, idle;
    char c;

    server_open(&s, slow_answer);
    s.opt.grace = _i == 0 ? WEFT_SEC(2) : WEFT_SEC(20);
    s.opt.flags = _i == 0 ? 0 : WEFT_SERVE_SHUT_READS;
    server_start(&s);
    busy = net_connect(&s.where);
    idle = net_connect(&s.where);
    ck_assert_int_eq(weft_write(busy, "x", 1), 1);
    wait_for(&s.inside, 3);
    server_stop(&s);
    ck_assert_int_eq(weft_read(busy, &c, 1), 1);
    ck_assert_int_eq(weft_read(busy, &c, 1), 0);
    ck_assert_int_eq(weft_read(idle, &c, 1), 0);
    ck_assert_uint_eq(s.stats.late, _i == 0 ? 1 : 0);
    ck_code(weft_close(busy), 0);
    ck_code(weft_close(idle), 0);
}
END_TEST

static void until_told(int fd, void *arg)
{
    struct server *s = arg;
    char c;

    weft__fetch_add(&s->inside, 1, RELEASE);
    (void)weft_read(fd, &c, 1);
}

/* The listener is closed while the server waits for room, and another listener
 * gets its number: its clients are its own. */
WEFT_TEST(a_listener_whose_number_is_given_to_another)
{
    struct server s;
    struct sockaddr_in where;
    int fd, other, client;

    server_open(&s, until_told);
    s.opt.max_connections = 1;
    server_start(&s);
    fd = net_connect(&s.where);
    wait_for(&s.inside, 1);
    wait_until_parked(s.fiber);
    ck_code(weft_close(s.listener), 0);
    other = net_listen(5, &where);
    ck_assert_int_eq(other, s.listener);
    client = net_connect(&where);
    ck_assert_int_eq(weft_write(fd, "x", 1), 1);
    join(s.fiber);
    ck_code(s.answer, -EBADF);
    ck_assert_uint_eq(s.stats.accepted, 1);
    ck_code(weft_close(fd), 0);
    fd = weft_accept_until(other, NULL, NULL, WEFT_NOW);
    ck_assert_int_ge(fd, 0);
    ck_code(weft_close(fd), 0);
    ck_code(weft_close(client), 0);
    ck_code(weft_close(other), 0);
}
END_TEST

/* It takes its time, cancelled or not. */
static void unhurried(int fd, void *arg)
{
    struct server *s = arg;
    char c;

    weft__fetch_add(&s->inside, 1, RELEASE);
    (void)weft_read(fd, &c, 1);
    weft_shield_begin();
    (void)weft_sleep(WEFT_MS(80));
    weft_shield_end();
}

WEFT_TEST(who_is_late_is_counted_once)
{
    struct server s;
    int fd[3];

    server_open(&s, unhurried);
    server_start(&s);
    for (int i = 0; i < 3; i++)
        fd[i] = net_connect(&s.where);
    wait_for(&s.inside, 3);
    server_stop(&s);
    ck_assert_uint_eq(s.stats.late, 3);
    for (int i = 0; i < 3; i++)
        ck_code(weft_close(fd[i]), 0);
}
END_TEST

/* A thousand connections, half of them with a request on its way, all of them
 * gone when weft_serve() returns. */
WEFT_TEST(stopped_while_a_thousand_connections_are_busy)
{
    enum { CLIENTS = SANITIZED ? 200 : 1000 };
    static int fd[CLIENTS];
    struct server s;
    unsigned had;
    char c;

    server_open(&s, echo);
    s.opt.grace = WEFT_MS(50);
    s.opt.flags = _i ? WEFT_SERVE_SHUT_READS : 0;
    server_start(&s);
    had = open_descriptors();
    for (int i = 0; i < CLIENTS; i++) {
        fd[i] = net_connect(&s.where);
        must(weft_write(fd[i], "x", 1) == 1);
        if (i % 2)
            must(weft_read(fd[i], &c, 1) == 1);
    }
    wait_for_figure(&s.stats.active, CLIENTS);
    for (int i = 0; i < CLIENTS; i += 2)
        must(weft_write(fd[i], "y", 1) == 1);
    ck_code(weft_cancel(s.fiber), 0);
    join(s.fiber);
    ck_code(s.answer, -ECANCELED);
    ck_assert_uint_eq(s.stats.accepted, CLIENTS);
    ck_assert_uint_eq(s.stats.active, 0);
    for (int i = 0; i < CLIENTS; i++)
        must_code(weft_close(fd[i]), 0);
    ck_assert_uint_eq(open_descriptors(), had);
    ck_code(weft_close(s.listener), 0);
}
END_TEST

WEFT_TEST(stopped_by_closing_the_listener)
{
    struct server s;
    int fd;

    server_open(&s, echo);
    server_start(&s);
    fd = net_connect(&s.where);
    while (!is_answered(fd)) {
    }
    wait_until_parked(s.fiber);
    ck_code(weft_close(s.listener), 0);
    join(s.fiber);
    ck_code(s.answer, -EBADF);
    ck_code(weft_close(fd), 0);
}
END_TEST

/* --- Handlers and their descriptors --------------------------------------------------------- */

static weft__au32 given; /* a descriptor that a handler has let go of */

static void closes_itself(int fd, void *arg)
{
    struct server *s = arg;
    int again[2];

    must_code(weft_close(fd), 0);
    /* The number is another's now, and stays open. */
    net_pair(NET_PIPE, again);
    must(again[0] == fd || again[1] == fd);
    weft__store(&s->code, (uint32_t)again[0] << 16 | (uint32_t)again[1],
                RELAXED);
    weft__fetch_add(&s->inside, 1, RELEASE);
}

static void lets_go(int fd, void *arg)
{
    struct server *s = arg;

    must_code(weft_fd_forget(fd), 0);
    weft__store(&given, (uint32_t)fd, RELAXED);
    weft__fetch_add(&s->inside, 1, RELEASE);
}

WEFT_TEST(a_handler_closes_its_own)
{
    struct server s;
    uint32_t both;
    int fd, fds[2];
    char c;

    server_open(&s, closes_itself);
    server_start(&s);
    fd = net_connect(&s.where);
    ck_assert_int_eq(weft_read(fd, &c, 1), 0);
    wait_for(&s.inside, 1);
    wait_for_figure(&s.stats.active, 0);
    both = weft__load(&s.code, RELAXED);
    fds[0] = (int)(both >> 16);
    fds[1] = (int)(both & 0xffff);
    ck_assert_int_eq(weft_write(fds[1], "x", 1), 1);
    ck_assert_int_eq(weft_read(fds[0], &c, 1), 1);
    net_close(fds);
    ck_code(weft_close(fd), 0);
    server_stop(&s);
}
END_TEST

WEFT_TEST(a_handler_lets_go_of_its_own)
{
    struct server s;
    int fd, kept;
    char c;

    server_open(&s, lets_go);
    server_start(&s);
    fd = net_connect(&s.where);
    wait_for(&s.inside, 1);
    wait_for_figure(&s.stats.active, 0);
    kept = (int)weft__load(&given, RELAXED);
    ck_assert_int_eq(weft_write(kept, "x", 1), 1);
    ck_assert_int_eq(weft_read(fd, &c, 1), 1);
    ck_code(weft_close(kept), 0);
    ck_code(weft_close(fd), 0);
    server_stop(&s);
}
END_TEST

/* --- What goes wrong --------------------------------------------------------------------------- */

/* No descriptor is left: nobody is turned away, and nothing spins. */
WEFT_TEST(no_descriptor_is_left_for_a_while)
{
    enum { LIMIT = 200 };
    static int taken[LIMIT];
    struct server s;
    int fd[3];
    unsigned n;
    int64_t cpu;

    server_open(&s, echo);
    server_start(&s);
    for (int i = 0; i < 3; i++)
        fd[i] = weft_socket(AF_INET, SOCK_STREAM, 0);
    n = leave_descriptors(0, taken, LIMIT);
    for (int i = 0; i < 3; i++)
        ck_code(weft_connect(fd[i], (struct sockaddr *)&s.where,
                             sizeof(s.where)),
                0);
    cpu = cpu_time();
    ck_code(weft_sleep(WEFT_MS(300)), 0);
    ck_assert_int_lt(cpu_time() - cpu, WEFT_MS(150));
    ck_assert_uint_eq(figure(&s.stats.active), 0);
    while (n > 0)
        close(taken[--n]);
    for (int i = 0; i < 3; i++)
        while (!is_answered(fd[i])) {
        }
    for (int i = 0; i < 3; i++)
        ck_code(weft_close(fd[i]), 0);
    wait_for_figure(&s.stats.active, 0);
    server_stop(&s);
}
END_TEST

/* No memory for a fiber: the connection is closed at once, and counted; the
 * server goes on. */
WEFT_TEST(no_fiber_can_be_had)
{
    struct server s;
    struct rlimit before, none;
    int fd;
    char c;

    if (SANITIZED)
        return; /* the address space is theirs */
    server_open(&s, echo);
    s.opt.stack_size = (size_t)64 << 20;
    server_start(&s);
    fd = weft_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    none = before;
    none.rlim_cur = 1 << 20;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &none), 0);
    ck_code(weft_connect(fd, (struct sockaddr *)&s.where, sizeof(s.where)),
            0);
    ck_assert_int_eq(weft_read(fd, &c, 1), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    ck_assert_uint_ge(figure(&s.stats.refused), 1);
    ck_code(weft_close(fd), 0);
    fd = net_connect(&s.where);
    while (!is_answered(fd)) {
    }
    ck_code(weft_close(fd), 0);
    wait_for_figure(&s.stats.active, 0);
    server_stop(&s);
}
END_TEST

static void serve_elsewhere(void *arg)
{
    ck_code(weft_serve(*(int *)arg, echo, NULL, NULL), -EPERM);
}

WEFT_TEST(nonsense_is_refused)
{
    weft_serve_t opt = WEFT_SERVE_INIT;
    struct sockaddr_in where;
    int listener = net_listen(4, &where), fds[2];

    ck_code(weft_serve(listener, NULL, NULL, NULL), -EINVAL);
    opt.size = 7;
    ck_code(weft_serve(listener, echo, NULL, &opt), -EINVAL);
    opt = (weft_serve_t)WEFT_SERVE_INIT;
    opt.flags = 8;
    ck_code(weft_serve(listener, echo, NULL, &opt), -EINVAL);
    opt = (weft_serve_t)WEFT_SERVE_INIT;
    opt.idle_timeout = -1;
    ck_code(weft_serve(listener, echo, NULL, &opt), -EINVAL);
    opt = (weft_serve_t)WEFT_SERVE_INIT;
    opt.total_timeout = -1;
    ck_code(weft_serve(listener, echo, NULL, &opt), -EINVAL);
    opt = (weft_serve_t)WEFT_SERVE_INIT;
    opt.stack_size = SIZE_MAX;
    ck_code(weft_serve(listener, echo, NULL, &opt), -EINVAL);
    on_thread(serve_elsewhere, &listener);
    on_lane(serve_elsewhere, &listener);
    ck_code(weft_cancel(weft_self()), 0);
    ck_code(weft_serve(listener, echo, NULL, NULL), -ECANCELED);
    weft_cancel_clear();
    ck_code(weft_close(listener), 0);

    ck_code(weft_serve(-1, echo, NULL, NULL), -EBADF);
    ck_code(weft_serve(9999, echo, NULL, NULL), -EBADF);
    net_pair(NET_UNIX, fds);
    ck_code(weft_serve(fds[0], echo, NULL, NULL), -EINVAL);
    net_close(fds);
    net_pair(NET_PIPE, fds);
    ck_code(weft_serve(fds[0], echo, NULL, NULL), -ENOTSOCK);
    net_close(fds);
    fds[0] = net_udp(&where);
    ck_code(weft_serve(fds[0], echo, NULL, NULL), -EOPNOTSUPP);
    ck_code(weft_close(fds[0]), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("serve");
    TCase *tc = tcase_create("serve");

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, a_fiber_for_each_connection);
    tcase_add_test(tc, no_more_than_max_connections);
    tcase_add_loop_test(tc, stopped_at_the_limit, 0, 2);
    tcase_add_loop_test(tc, idle_and_total_time, 0, 2);
    tcase_add_loop_test(tc, limits_of_for_ever_are_none, 0, 2);
    tcase_add_loop_test(tc, a_stop_with_grace, 0, 2);
    tcase_add_test(tc, a_listener_whose_number_is_given_to_another);
    tcase_add_test(tc, who_is_late_is_counted_once);
    tcase_add_loop_test(tc, stopped_while_a_thousand_connections_are_busy, 0,
                        2);
    tcase_add_test(tc, stopped_by_closing_the_listener);
    tcase_add_test(tc, a_handler_closes_its_own);
    tcase_add_test(tc, a_handler_lets_go_of_its_own);
    tcase_add_test(tc, no_descriptor_is_left_for_a_while);
    tcase_add_test(tc, no_fiber_can_be_had);
    tcase_add_test(tc, nonsense_is_refused);
    return run_suite(suite);
}
