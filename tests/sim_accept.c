/*
 * Listeners under the simulation: several who accept on one, no number left
 * when someone knocks, connections behind weft's back, and weft_serve() that
 * is stopped in the middle. Every client is served once.
 */
#include "tests/sim_support_net.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "netpoll/os.h"
#include "sched/atomic.h"

enum { RUNS = 300, RING = 4, WORKERS = 3, CLIENTS = 3 };

enum { SCARCE = SIM_FIRST_FREE, CUT = 2 * SIM_FIRST_FREE };

static struct {
    int listener;
    int domain;
    weft__au32 served;
    weft__au32 cut;
    weft__au32 scarce;
} s;

static const struct sockaddr_in port = { .sin_family = AF_INET };
static const struct sockaddr name = { .sa_family = AF_UNIX, .sa_data = "x" };

static const struct sockaddr *where(socklen_t *len)
{
    *len = s.domain == AF_INET ? sizeof(port) : sizeof(name);
    return s.domain == AF_INET ? (const void *)&port : &name;
}

static void fresh(int domain)
{
    const struct sockaddr *sa;
    socklen_t len;

    memset(&s, 0, sizeof(s));
    s.domain = domain;
    weft__net_room(8);
    sa = where(&len);
    s.listener = weft_socket(domain, SOCK_STREAM, 0);
    sim_expect(s.listener >= 0);
    sim_expect(weft__fd_bind(s.listener, sa, len) == 0);
    sim_expect(weft__fd_listen(s.listener, 1) == 0);
}

static int met(void)
{
    return (weft__load(&s.cut, RELAXED) ? CUT : 0) |
           (weft__load(&s.scarce, RELAXED) ? SCARCE : 0) | sim_did();
}

static void count(weft__au32 *n)
{
    (void)weft__fetch_add(n, 1, RELAXED);
}

/* --- Several who accept --------------------------------------------------------------- */

/* One byte there and back. */
static void *client(void *arg)
{
    socklen_t len;
    const struct sockaddr *sa = where(&len);
    int fd = weft_socket(s.domain, SOCK_STREAM, 0);
    char c;

    while (fd == -EMFILE) {
        count(&s.scarce);
        sim_expect(weft_sleep(1000000) == 0);
        fd = weft_socket(s.domain, SOCK_STREAM, 0);
    }
    sim_expect(fd >= 0);
    sim_expect(weft_connect(fd, sa, len) == 0);
    sim_expect(weft_write(fd, "q", 1) == 1);
    sim_expect(weft_read(fd, &c, 1) == 1 && c == 'a');
    sim_expect(weft_close(fd) == 0);
    return arg;
}

static void answer(int fd)
{
    char c;

    sim_expect(weft_read(fd, &c, 1) == 1 && c == 'q');
    count(&s.served);
    sim_expect(weft_write(fd, "a", 1) == 1);
}

static void *acceptor(void *arg)
{
    for (;;) {
        int fd = weft_accept(s.listener, NULL, NULL);

        if (fd == -EBADF)
            return arg;
        sim_expect(fd >= 0);
        answer(fd);
        sim_expect(weft_close(fd) == 0);
    }
}

static int acceptors(void *arg)
{
    weft_fiber_t a[2], c[CLIENTS];

    fresh(*(int *)arg);
    for (int i = 0; i < 2; i++)
        a[i] = net_spawn(acceptor, NULL);
    for (int i = 0; i < CLIENTS; i++)
        c[i] = net_spawn(client, NULL);
    for (int i = 0; i < CLIENTS; i++)
        net_join(c[i]);
    sim_expect(weft__load(&s.served, RELAXED) == CLIENTS);
    net_wait_uses(s.listener, 2);
    sim_expect(weft_close(s.listener) == 0);
    for (int i = 0; i < 2; i++)
        net_join(a[i]);
    net_settled();
    return met();
}

START_TEST(several_acceptors_serve_every_client_once)
{
    static int domain[] = { AF_INET, AF_UNIX };

    for (unsigned workers = 1; workers <= WORKERS; workers++)
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(sim_runs(i ? "accept/unix" : "accept/tcp",
                                      workers, RING, RUNS, acceptors,
                                      &domain[i], NULL), RUNS);
}
END_TEST

/* --- No number left -------------------------------------------------------------------- */

/* Numbers for the listener and three more: one for each end of a connection,
 * and one client that waits. Who finds none tries again when one is free; and
 * a listener is closed although there is none. */
static int scarce(void *arg)
{
    weft_fiber_t a[2], c[CLIENTS];
    int last[2];

    fresh(*(int *)arg);
    weft__net_limit(4);
    for (int i = 0; i < 2; i++)
        a[i] = net_spawn(acceptor, NULL);
    for (int i = 0; i < CLIENTS - 1; i++)
        c[i] = net_spawn(client, NULL);
    for (int i = 0; i < CLIENTS - 1; i++)
        net_join(c[i]);
    sim_expect(weft__load(&s.served, RELAXED) == CLIENTS - 1);
    weft__net_limit(3);
    while (weft_socketpair(AF_UNIX, SOCK_STREAM, 0, last) != 0)
        net_linger(1);
    sim_expect(weft_close(s.listener) == 0);
    for (int i = 0; i < 2; i++)
        net_join(a[i]);
    sim_expect(weft_close(last[0]) == 0 && weft_close(last[1]) == 0);
    net_settled();
    return met();
}

START_TEST(accept_without_a_number_waits_and_serves_later)
{
    static int domain[] = { AF_INET, AF_UNIX };

    for (unsigned workers = 1; workers <= WORKERS; workers++)
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(sim_runs(i ? "accept/scarce unix"
                                        : "accept/scarce tcp",
                                      workers, RING, RUNS, scarce,
                                      &domain[i], NULL), RUNS);
}
END_TEST

/* --- A number that comes back through accept --------------------------------------------- */

static int old[2];

static void *reader_of_old(void *arg)
{
    char c;
    ssize_t got = weft_read(old[0], &c, 1);

    sim_expect(got == -EBADF);
    return arg;
}

/* The next one that is accepted has the number of a pair's end that was closed
 * by close(2), with a reader parked on it. (One that is woken for nothing just
 * then would read on, of whatever has its number.) */
static int again(void *arg)
{
    weft_fiber_t f, c;
    int fd;

    fresh(*(int *)arg);
    net_pair(AF_INET, 8, old);
    weft__net_calm(true);
    f = net_spawn(reader_of_old, NULL);
    net_wait_readers(old[0], 1);
    c = net_spawn(client, NULL);
    while (weft_fd_wait_until(s.listener, POLLIN, weft_after(1000)) <= 0)
        ;
    sim_expect(weft__net_close(old[0]) == 0);
    fd = weft_accept(s.listener, NULL, NULL);
    sim_expect(fd == old[0]);
    net_join(f);
    answer(fd);
    net_join(c);
    sim_expect(weft_close(fd) == 0 && weft_close(old[1]) == 0);
    sim_expect(weft_close(s.listener) == 0);
    net_settled();
    return met();
}

START_TEST(a_number_that_accept_gives_again_has_no_past)
{
    static int domain[] = { AF_INET, AF_UNIX };

    for (unsigned workers = 1; workers <= WORKERS; workers++)
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(sim_runs("accept/again", workers, RING, RUNS,
                                      again, &domain[i], NULL), RUNS);
}
END_TEST

/* --- The server ---------------------------------------------------------------------------- */

static void handler(int fd, void *arg)
{
    char c;

    (void)arg;
    if (weft_read(fd, &c, 1) == 1 && weft_write(fd, "a", 1) == 1)
        count(&s.served);
}

static void *server(void *arg)
{
    weft_serve_t opt = WEFT_SERVE_INIT;
    int status;

    opt.max_connections = 2;
    opt.grace = WEFT_MS(1);
    opt.flags = WEFT_SERVE_SHUT_READS;
    status = weft_serve(s.listener, handler, NULL, &opt);
    /* Between two accepts the number may become a client's. */
    sim_expect(status == -EBADF || status == -ECANCELED || status == -EINVAL);
    return arg;
}

/* A client of a server that may go before it has answered. */
static void *hopeful(void *arg)
{
    socklen_t len;
    const struct sockaddr *sa = where(&len);
    int fd = weft_socket(s.domain, SOCK_STREAM, 0);
    int status;
    ssize_t got = -1;
    char c;

    sim_expect(fd >= 0);
    status = weft_connect(fd, sa, len);
    sim_expect(status == 0 || status == -ECONNREFUSED ||
               status == -ECONNRESET);
    if (status == 0 && weft_write(fd, "q", 1) == 1)
        got = weft_read(fd, &c, 1);
    if (got != 1)
        count(&s.cut);
    sim_expect(weft_close(fd) == 0);
    return arg;
}

/* Its listener is closed, or it is cancelled, while clients come. */
static int serving(void *arg)
{
    weft_fiber_t srv, c[CLIENTS];

    fresh(AF_INET);
    srv = net_spawn(server, NULL);
    for (int i = 0; i < CLIENTS; i++)
        c[i] = net_spawn(hopeful, NULL);
    net_linger(6);
    if (arg) {
        net_cancel(srv);
        net_join(srv);
        sim_expect(weft_close(s.listener) == 0);
    } else {
        sim_expect(weft_close(s.listener) == 0);
        net_join(srv);
    }
    for (int i = 0; i < CLIENTS; i++)
        net_join(c[i]);
    net_settled();
    return met();
}

START_TEST(a_server_that_is_stopped_leaves_nothing_open)
{
    for (unsigned workers = 1; workers <= WORKERS; workers++)
        for (int i = 0; i < 2; i++) {
            struct sim_met m;

            ck_assert_int_eq(sim_runs(i ? "accept/serve cancelled"
                                        : "accept/serve closed",
                                      workers, RING, RUNS, serving,
                                      i ? &s : NULL, &m), RUNS);
            ck_assert_uint_gt(m.times[5], RUNS / 20);
        }
}
END_TEST

static void add(Suite *suite, const char *what, const TTest *test)
{
    TCase *tc = tcase_create(what);

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, test);
    suite_add_tcase(suite, tc);
}

int main(void)
{
    Suite *suite = suite_create("sim_accept");

    add(suite, "accept", several_acceptors_serve_every_client_once);
    add(suite, "scarce", accept_without_a_number_waits_and_serves_later);
    add(suite, "again", a_number_that_accept_gives_again_has_no_past);
    add(suite, "serve", a_server_that_is_stopped_leaves_nothing_open);
    return sim_main(suite);
}
