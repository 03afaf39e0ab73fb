/*
 * Cancel and deadline at the instant of success, of accept and connect: no
 * connection is lost, and an attempt that was given up goes on.
 *
 * About 10,000 rounds of each in CI, WEFT_TEST_ROUNDS to have it otherwise.
 */
#include <sys/un.h>
#include <unistd.h>

#include "tests/support_instant.h"

/* --- Accepting: no connection is lost ------------------------------------------------ */

static int client;

static long call_accept(const struct attempt *a, weft_time_t deadline)
{
    return weft_accept_until(a->fd, NULL, NULL, deadline);
}

static void connect_client(struct attempt *a)
{
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(client >= 0);
    must(connect(client, a->where, sizeof(struct sockaddr_in)) == 0);
}

WEFT_TEST(accept_takes_the_connection_or_leaves_it)
{
    struct sockaddr_in where;
    struct attempt a = { .call = call_accept, .where = &where };
    struct aim aim = { .seed = 3 };
    unsigned had;

    a.fd = net_listen(64, &where);
    had = open_descriptors();
    for (int i = 0; i < (int)instants(5000); i++) {
        long fd;

        meet(&a, _i, i, connect_client, &aim);
        fd = a.answer;
        if (fd < 0)
            fd = weft_accept_until(a.fd, NULL, NULL, weft_after(WEFT_SEC(5)));
        must(fd >= 0);
        must_code(weft_accept_until(a.fd, NULL, NULL, WEFT_NOW), -EAGAIN);
        /* Or thousands of ports would rest for a minute. */
        net_reset((int)fd);
        close(client);
    }
    aim_check(&aim);
    ck_assert_uint_eq(open_descriptors(), had);
    ck_code(weft_close(a.fd), 0);
}
END_TEST

/* --- Connecting: an attempt that was given up goes on, and can be awaited --------------- */

static long call_connect(const struct attempt *a, weft_time_t deadline)
{
    return weft_connect_until(a->fd, a->where, sizeof(struct sockaddr_in),
                              deadline);
}

static void do_nothing(struct attempt *a)
{
    (void)a;
}

WEFT_TEST(connect_succeeds_or_can_be_awaited)
{
    struct sockaddr_in where;
    struct attempt a = { .call = call_connect, .where = &where };
    int listener = net_listen(64, &where);
    struct aim aim = { .seed = 4 };
    unsigned had = open_descriptors();

    for (int i = 0; i < (int)instants(5000); i++) {
        int fd;

        a.fd = weft_socket(AF_INET, SOCK_STREAM, 0);
        must(a.fd >= 0);
        meet(&a, _i, i, do_nothing, &aim);
        if (a.answer < 0)
            must_code(call_connect(&a, WEFT_FOREVER), 0);
        fd = weft_accept(listener, NULL, NULL);
        must(fd >= 0);
        net_reset(fd);
        must_code(weft_close(a.fd), 0);
    }
    /* Of deadlines the kernel is nearly always ahead: it answers before weft
     * looks whether it is late. */
    if (_i == CANCEL)
        aim_check(&aim);
    ck_assert_uint_eq(open_descriptors(), had);
    ck_code(weft_close(listener), 0);
}
END_TEST

/* A Unix listener whose queue is full: one who connects sleeps, until another
 * is accepted. */
static int crowded;
static socklen_t path_len;

static long call_connect_unix(const struct attempt *a, weft_time_t deadline)
{
    return weft_connect_until(a->fd, a->where, path_len, deadline);
}

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
    struct attempt a = { .call = call_connect_unix, .where = &path };
    struct aim aim = { .seed = 6 };
    unsigned had;
    int waiting[8], n = 0;

    /* The kernel finds a name for it. */
    crowded = unix_client();
    must(bind(crowded, (struct sockaddr *)&path, sizeof(sa_family_t)) == 0);
    must(listen(crowded, 1) == 0);
    path_len = sizeof(path);
    must(getsockname(crowded, (struct sockaddr *)&path, &path_len) == 0);
    had = open_descriptors();
    do {
        must(n < 8);
        a.fd = waiting[n++] = unix_client();
    } while (call_connect_unix(&a, WEFT_NOW) == 0);

    for (int i = 0; i < (int)instants(1500); i++) {
        a.fd = unix_client();
        meet(&a, _i, i, accept_another, &aim);
        if (a.answer < 0)
            must_code(call_connect_unix(&a, WEFT_NOW), 0);
        must_code(weft_close(a.fd), 0);
        /* As full as before, and no fuller. */
        a.fd = waiting[n - 1];
        must_code(call_connect_unix(&a, WEFT_NOW), -EAGAIN);
    }
    aim_check(&aim);
    while (n > 0)
        must_code(weft_close(waiting[--n]), 0);
    ck_assert_uint_eq(open_descriptors(), had);
    ck_code(weft_close(crowded), 0);
}
END_TEST

/* A TCP listener whose queue is full: the kernel drops what comes, and asks
 * again after about a second. Then there is room, and all are answered within
 * a twentieth of a second. Some are late then, by chance; or cancelled, as
 * soon as the kernel has their answer. */
enum { CLIENTS = 2500, FILL = 8 };

static struct attempt clients[CLIENTS];
static weft_fiber_t knocking[CLIENTS];

/* Each has another time, from when it knocks: about half within the twentieth,
 * the last so long that a busy machine keeps them. */
static long call_connect_in_time(const struct attempt *a, weft_time_t deadline)
{
    int64_t i = a - clients;
    int64_t more = WEFT_MS(400) * i / CLIENTS * i / CLIENTS * i / CLIENTS;

    (void)deadline;
    return call_connect(a, weft_after(WEFT_SEC(1) + more));
}

static void knock(int way, const struct sockaddr_in *where)
{
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct attempt){
            .call = way == DEADLINE ? call_connect_in_time : call_connect,
            .where = where,
            .fd = weft_socket(AF_INET, SOCK_STREAM, 0),
            .deadline = WEFT_FOREVER,
        };
        must(clients[i].fd >= 0);
        knocking[i] = spawn_one(attempt_main, &clients[i]);
    }
}

static void cancel_who_is_answered(void)
{
    static struct pollfd fds[CLIENTS];

    for (int i = 0; i < CLIENTS; i++)
        fds[i] = (struct pollfd){ .fd = clients[i].fd, .events = POLLOUT };
    for (int left = CLIENTS; left > 0; weft_yield()) {
        int n = poll(fds, CLIENTS, 0);

        left -= n;
        for (int i = 0; n > 0; i++)
            if (fds[i].revents) {
                (void)weft_cancel(knocking[i]);
                fds[i].fd = -1;
                n--;
            }
    }
}

/* How many were in time; below 0: the machine was too slow to tell. */
static int knock_at_once(int way, int listener,
                         const struct sockaddr_in *where)
{
    weft_time_t first = weft_after(WEFT_SEC(1));
    int in_time = 0;
    bool slow;

    knock(way, where);
    /* All have knocked; or the first do so again by now. */
    for (int i = 0; i < CLIENTS; i++)
        while (!is_state(knocking[i], "parked") && weft_now() < first)
            weft_yield();
    must(listen(listener, 4096) == 0);
    slow = weft_now() >= first;
    if (way == CANCEL)
        cancel_who_is_answered();
    for (int i = 0; i < CLIENTS; i++) {
        join_one(knocking[i]);
        attempt_check(&clients[i], way);
        in_time += clients[i].answer >= 0;
        if (clients[i].answer < 0)
            must_code(call_connect(&clients[i], WEFT_FOREVER), 0);
    }
    return slow ? -1 : in_time;
}

WEFT_TEST(connect_is_answered_or_can_be_awaited)
{
    for (unsigned all = 0; all == 0 || all < instants(CLIENTS);
         all += CLIENTS) {
        struct sockaddr_in where;
        struct attempt fill[FILL];
        int listener = net_listen(1, &where), n = 0, in_time;

        do {
            must(n < FILL);
            fill[n] = (struct attempt){
                .where = &where,
                .fd = weft_socket(AF_INET, SOCK_STREAM, 0),
            };
        } while (call_connect(&fill[n++], weft_after(WEFT_MS(30))) == 0);
        in_time = knock_at_once(_i, listener, &where);
        printf("%d of %d in time\n", in_time, CLIENTS);
        if (_i == DEADLINE && in_time >= 0) {
            must(in_time > 0);
            must(in_time < CLIENTS);
        }
        must_code(call_connect(&fill[n - 1], WEFT_FOREVER), 0);
        for (int i = 0; i < CLIENTS + n; i++) {
            int fd = weft_accept(listener, NULL, NULL);

            must(fd >= 0);
            net_reset(fd);
        }
        for (int i = 0; i < CLIENTS; i++)
            must_code(weft_close(clients[i].fd), 0);
        while (n > 0)
            must_code(weft_close(fill[--n].fd), 0);
        must_code(weft_accept_until(listener, NULL, NULL, WEFT_NOW),
                  -EAGAIN);
        must_code(weft_close(listener), 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connect_instant");
    TCase *tc = tcase_create("connect_instant");

    suite_add_tcase(suite, tc);
    tcase_add_loop_test(tc, accept_takes_the_connection_or_leaves_it, 0,
                        WAYS);
    tcase_add_loop_test(tc, connect_succeeds_or_can_be_awaited, 0, WAYS);
    tcase_add_loop_test(tc,
                        connect_to_a_full_listener_succeeds_or_takes_no_place,
                        0, WAYS);
    tcase_add_loop_test(tc, connect_is_answered_or_can_be_awaited, 0, WAYS);
    return run_suite(suite);
}
