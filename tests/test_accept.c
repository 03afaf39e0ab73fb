/* Accepting: several on one listener, no descriptors, modes, codes. */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support_net.h"

/* --- Several acceptors ------------------------------------------------------------ */

enum { ACCEPTORS = 4 };

struct acceptor {
    int listener;
    unsigned accepted;
    unsigned char *seen; /* by the number that each connection sends */
    int end;
};

static void *accept_all(void *arg)
{
    struct acceptor *a = arg;
    int fd;

    while ((fd = weft_accept(a->listener, NULL, NULL)) >= 0) {
        uint32_t number;

        must_code(weft_read_full(fd, &number, sizeof(number), NULL), 0);
        must(__atomic_fetch_add(&a->seen[number], 1, __ATOMIC_RELAXED) == 0);
        must_code(weft_close(fd), 0);
        a->accepted++;
    }
    a->end = fd;
    return NULL;
}

/* Each connection goes to one of them, none is lost, and none of them has it
 * all where all are asleep each time. */
WEFT_TEST(several_acceptors_on_one_listener)
{
    enum { CONNECTIONS = 400 };
    static unsigned char seen[CONNECTIONS];
    struct acceptor a[ACCEPTORS];
    weft_fiber_t f[ACCEPTORS];
    struct sockaddr_in where;
    int listener = net_listen(CONNECTIONS, &where);
    unsigned sum = 0;

    memset(seen, 0, sizeof(seen));
    for (int i = 0; i < ACCEPTORS; i++) {
        a[i] = (struct acceptor){ .listener = listener, .seen = seen };
        f[i] = spawn(accept_all, &a[i]);
        wait_until_parked(f[i]);
    }
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        int fd = net_connect(&where);

        must_code(weft_write_full(fd, &i, sizeof(i), NULL), 0);
        if (i % 3 == 0) {
            char c;

            must(weft_read(fd, &c, 1) == 0);
        }
        must_code(weft_close(fd), 0);
    }
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        while (!__atomic_load_n(&seen[i], __ATOMIC_RELAXED))
            weft_yield();
    for (int i = 0; i < ACCEPTORS; i++)
        wait_until_parked(f[i]);
    ck_code(weft_close(listener), 0);
    for (int i = 0; i < ACCEPTORS; i++) {
        join(f[i]);
        ck_code(a[i].end, -EBADF);
        ck_assert_uint_ge(a[i].accepted, CONNECTIONS / ACCEPTORS / 8);
        sum += a[i].accepted;
    }
    ck_assert_uint_eq(sum, CONNECTIONS);
}
END_TEST

/* A burst: all are in the kernel's queue before the first acceptor runs, and
 * one edge tells of them. */
WEFT_TEST(a_burst_reaches_all_acceptors)
{
    enum { BURST = 64 };
    static unsigned char seen[BURST];
    struct acceptor a[ACCEPTORS];
    weft_fiber_t f[ACCEPTORS];
    struct sockaddr_in where;
    int listener = net_listen(BURST, &where), fds[BURST];
    unsigned sum = 0;

    memset(seen, 0, sizeof(seen));
    for (int i = 0; i < ACCEPTORS; i++) {
        a[i] = (struct acceptor){ .listener = listener, .seen = seen };
        f[i] = spawn(accept_all, &a[i]);
        wait_until_parked(f[i]);
    }
    for (uint32_t i = 0; i < BURST; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(connect(fds[i], (struct sockaddr *)&where, sizeof(where)) == 0);
        must(write(fds[i], &i, sizeof(i)) == sizeof(i));
    }
    for (uint32_t i = 0; i < BURST; i++)
        while (!__atomic_load_n(&seen[i], __ATOMIC_RELAXED))
            weft_yield();
    for (int i = 0; i < ACCEPTORS; i++)
        wait_until_parked(f[i]);
    ck_code(weft_close(listener), 0);
    for (int i = 0; i < ACCEPTORS; i++) {
        join(f[i]);
        sum += a[i].accepted;
    }
    ck_assert_uint_eq(sum, BURST);
    for (int i = 0; i < BURST; i++)
        close(fds[i]);
}
END_TEST

/* --- No descriptor left --------------------------------------------------------------- */

enum { LIMIT = 200 };
static int taken[LIMIT];

static void *accept_one(void *arg)
{
    struct acceptor *a = arg;

    a->end = weft_accept(a->listener, NULL, NULL);
    return NULL;
}

/* The connection stays in the kernel's queue; the acceptor sleeps and asks now
 * and then; as soon as there is a descriptor it is served, and later ones
 * are. */
WEFT_TEST(no_descriptor_is_left_for_a_while)
{
    struct sockaddr_in where;
    struct acceptor a = { .listener = net_listen(8, &where) };
    weft_stats_t before = { .size = sizeof(before) }, after = before;
    int client[3];
    unsigned n;
    weft_fiber_t f;
    int64_t cpu;

    for (int i = 0; i < 3; i++)
        client[i] = net_connect(&where);
    n = leave_descriptors(0, taken, LIMIT);
    ck_code(weft_accept_until(a.listener, NULL, NULL, WEFT_NOW), -EMFILE);
    ck_code(weft_accept_until(a.listener, NULL, NULL, weft_now()),
            -ETIMEDOUT);
    ck_code(weft_accept_until(a.listener, NULL, NULL,
                              weft_after(WEFT_MS(5))),
            -ETIMEDOUT);

    f = spawn(accept_one, &a);
    wait_until_parked(f);
    cpu = cpu_time();
    ck_code(weft_stats(&before), 0);
    ck_code(weft_sleep(WEFT_MS(500)), 0);
    ck_code(weft_stats(&after), 0);
    ck_assert_uint_lt(after.total.parks - before.total.parks, 50);
    ck_assert_int_lt(cpu_time() - cpu, WEFT_MS(250));
    for (int i = 0; i < 3; i++) {
        close(taken[--n]);
        if (i == 0)
            join(f);
        else
            a.end = weft_accept(a.listener, NULL, NULL);
        ck_assert_int_ge(a.end, 0);
        taken[n++] = a.end;
    }
    while (n > 0)
        ck_code(weft_close(taken[--n]), 0);
    for (int i = 0; i < 3; i++)
        ck_code(weft_close(client[i]), 0);
    ck_code(weft_close(a.listener), 0);
}
END_TEST

/* Whoever waits for a descriptor is told of a cancel and of a close. */
WEFT_TEST(waiting_for_a_descriptor_can_be_ended)
{
    struct sockaddr_in where;
    struct acceptor a = { .listener = net_listen(8, &where) };
    int client = net_connect(&where);
    unsigned n = leave_descriptors(0, taken, LIMIT);
    weft_fiber_t f = spawn(accept_one, &a);

    wait_until_parked(f);
    if (_i == 0)
        ck_code(weft_cancel(f), 0);
    else
        ck_code(weft_close(a.listener), 0);
    join(f);
    ck_code(a.end, _i == 0 ? -ECANCELED : -EBADF);
    if (_i == 0)
        ck_code(weft_close(a.listener), 0);
    while (n > 0)
        close(taken[--n]);
    ck_code(weft_close(client), 0);
}
END_TEST

static void accept_elsewhere(void *arg)
{
    ck_code(weft_accept_until(*(int *)arg, NULL, NULL, WEFT_FOREVER), -EMFILE);
}

/* The C library's, which is asked for a thousand records at once: here it may
 * say no. The sanitizers have one of their own. */
static weft__au32 no_memory;

#if !SANITIZED
int posix_memalign(void **memory, size_t alignment, size_t size)
{
    *memory = NULL;
    if (weft__load(&no_memory, RELAXED) == 0)
        *memory = aligned_alloc(alignment, size);
    return *memory ? 0 : ENOMEM;
}
#endif

/* The number is the first of a thousand, and there is no memory for what weft
 * keeps of them: the connection is broken off, the acceptor stays. */
WEFT_TEST(no_memory_is_left_for_a_while)
{
    enum { FIRST = 4096 };
    struct sockaddr_in where;
    struct acceptor a = { .listener = net_listen(8, &where) };
    int client = net_connect(&where);
    struct rlimit files;
    static int fill[FIRST];
    int n = 0;
    weft_fiber_t f;
    char c;

    if (SANITIZED)
        return;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur < FIRST + 64)
        return;
    while (n == 0 || fill[n - 1] < FIRST - 1)
        fill[n++] = dup(STDERR_FILENO);

    weft__store(&no_memory, 1, RELAXED);
    f = spawn(accept_one, &a);
    ck_code(weft_read(client, &c, 1), 0);
    wait_until_parked(f);
    weft__store(&no_memory, 0, RELAXED);

    close(fill[--n]);
    ck_code(weft_close(client), 0);
    client = net_connect(&where);
    join(f);
    ck_assert_int_ge(a.end, 0);
    ck_code(weft_close(a.end), 0);
    ck_code(weft_close(client), 0);
    ck_code(weft_close(a.listener), 0);
    while (n > 0)
        close(fill[--n]);
}
END_TEST

WEFT_TEST(no_descriptor_on_a_thread)
{
    struct sockaddr_in where;
    int listener = net_listen(8, &where), client = net_connect(&where);
    unsigned n = leave_descriptors(0, taken, LIMIT);

    on_thread(accept_elsewhere, &listener);
    while (n > 0)
        close(taken[--n]);
    ck_code(weft_close(client), 0);
    ck_code(weft_close(listener), 0);
}
END_TEST

/* --- Modes, addresses, codes -------------------------------------------------------------- */

/* A listener of the program's own, in blocking mode. */
WEFT_TEST(a_foreign_listener_is_made_non_blocking)
{
    struct sockaddr_in where = { .sin_family = AF_INET };
    struct acceptor a = { .listener = socket(
                              AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    weft_fiber_t f;
    int client;

    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(bind(a.listener, (struct sockaddr *)&where,
                          sizeof(where)),
                     0);
    ck_assert_int_eq(listen(a.listener, 4), 0);
    where = net_name(a.listener);
    for (int i = 0; i < 3; i++) {
        f = spawn(accept_one, &a);
        wait_until_parked(f);
        ck_assert(fcntl(a.listener, F_GETFL) & O_NONBLOCK);
        client = net_connect(&where);
        join(f);
        ck_assert_int_ge(a.end, 0);
        ck_code(weft_close(a.end), 0);
        ck_code(weft_close(client), 0);
    }
    ck_code(weft_close(a.listener), 0);
}
END_TEST

WEFT_TEST(the_peers_address_is_told)
{
    struct sockaddr_in where, peer, me;
    socklen_t len = sizeof(peer);
    int listener = net_listen(4, &where), client = net_connect(&where);
    int fd = weft_accept(listener, (struct sockaddr *)&peer, &len);

    ck_assert_int_ge(fd, 0);
    me = net_name(client);
    ck_assert_uint_eq(len, sizeof(peer));
    ck_assert_uint_eq(peer.sin_port, me.sin_port);
    ck_code(weft_close(fd), 0);
    ck_code(weft_close(client), 0);
    ck_code(weft_close(listener), 0);
}
END_TEST

WEFT_TEST(nonsense_is_refused)
{
    struct sockaddr_in where, sa;
    socklen_t len = sizeof(sa), negative = (socklen_t)-1;
    int listener = net_listen(4, &where), client, fds[2];
    struct sockaddr *any = (struct sockaddr *)&sa;

    ck_code(weft_accept_until(listener, any, NULL, WEFT_FOREVER), -EINVAL);
    ck_code(weft_accept_until(listener, any, &negative, WEFT_FOREVER), -EINVAL);
    ck_code(weft_accept_until(listener, NULL, NULL, WEFT_NOW), -EAGAIN);
    ck_code(weft_accept_until(listener, NULL, NULL, weft_after(WEFT_MS(2))),
            -ETIMEDOUT);
    client = net_connect(&where);
    ck_code(weft_accept_until(listener, (struct sockaddr *)(uintptr_t)8, &len,
                                WEFT_FOREVER),
            -EFAULT);
    ck_code(weft_close(client), 0);
    ck_code(weft_accept_until(-1, NULL, NULL, WEFT_FOREVER), -EBADF);
    ck_code(weft_accept_until(9999, NULL, NULL, WEFT_FOREVER), -EBADF);
    net_pair(NET_TCP, fds);
    ck_code(weft_accept_until(fds[0], NULL, NULL, WEFT_FOREVER), -EINVAL);
    net_close(fds);
    net_pair(NET_PIPE, fds);
    ck_code(weft_accept_until(fds[0], NULL, NULL, WEFT_FOREVER), -ENOTSOCK);
    net_close(fds);
    fds[0] = net_udp(&where);
    ck_code(weft_accept_until(fds[0], NULL, NULL, WEFT_FOREVER), -EOPNOTSUPP);
    ck_code(weft_close(fds[0]), 0);
    ck_code(weft_cancel(weft_self()), 0);
    ck_code(weft_accept_until(listener, NULL, NULL, WEFT_FOREVER), -ECANCELED);
    weft_cancel_clear();
    /* Somebody shuts the listener under an acceptor. */
    {
        struct acceptor a = { .listener = listener };
        weft_fiber_t f = spawn(accept_one, &a);

        wait_until_parked(f);
        ck_assert_int_eq(shutdown(listener, SHUT_RD), 0);
        join(f);
        ck_code(a.end, -EINVAL);
    }
    ck_code(weft_close(listener), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("accept");
    TCase *tc = tcase_create("accept");

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, several_acceptors_on_one_listener);
    tcase_add_test(tc, a_burst_reaches_all_acceptors);
    tcase_add_test(tc, no_descriptor_is_left_for_a_while);
    tcase_add_loop_test(tc, waiting_for_a_descriptor_can_be_ended, 0, 2);
    tcase_add_test(tc, no_memory_is_left_for_a_while);
    tcase_add_test(tc, no_descriptor_on_a_thread);
    tcase_add_test(tc, a_foreign_listener_is_made_non_blocking);
    tcase_add_test(tc, the_peers_address_is_told);
    tcase_add_test(tc, nonsense_is_refused);
    return run_suite(suite);
}
