/*
 * Edges: what a call knows of its descriptor, and when it may sleep on it.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "netpoll/wait.h"
#include "runtime/io.h"
#include "tests/support_net.h"

/* The first look finds out that nothing is there; the next one knows. */
WEFT_TEST(dontwait_on_what_is_known_to_be_empty)
{
    char c;
    int fds[2];

    net_pair((enum net_kind)_i, fds);
    for (int i = 0; i < 3; i++)
        ck_code(weft_recv(fds[0], &c, 1, MSG_DONTWAIT), -EAGAIN);
    ck_assert_int_eq(weft_write(fds[1], "x", 1), 1);
    ck_assert_int_eq(weft_recv(fds[0], &c, 1, MSG_DONTWAIT), 1);
    net_fill(fds[1]);
    for (int i = 0; i < 3; i++)
        ck_code(weft_send(fds[1], &c, 1, MSG_DONTWAIT), -EAGAIN);
    net_close(fds);
}
END_TEST

/* As one writer sees it whose first try finds no room, while an event tells
 * of room before it has noted that: its second try takes everything. */
static int tries;

static ssize_t full_then_room(struct weft__io *io)
{
    (void)io;
    return ++tries == 1 ? -EAGAIN : 1;
}

WEFT_TEST(room_that_came_before_it_was_noted_is_not_forgotten)
{
    struct weft__io io = { .deadline = WEFT_FOREVER };
    int fds[2];

    net_pair(NET_TCP, fds);
    net_watch(fds[0]);
    tries = 0;
    io.fd = fds[0];
    ck_assert_int_eq(weft__io_begin(&io), 0);
    ck_assert_int_eq(weft__io_end(&io, weft__io_out(&io, full_then_room)), 1);
    ck_assert_int_eq(tries, 2);
    ck_assert_int_eq(weft_write_until(fds[0], "x", 1, weft_after(WEFT_SEC(2))),
                     1);
    net_close(fds);
}
END_TEST

/* A byte comes between a reader's EAGAIN and its sleep: at first no loop
 * watches the descriptor yet; later one does, and has told of it, too. */
static struct {
    int peer;
    bool watched;
} edge;

static ssize_t empty_then_a_byte(struct weft__io *io)
{
    char c;

    if (read(io->fd, &c, 1) == 1)
        return 1;
    must(errno == EAGAIN);
    must(weft_write(edge.peer, "x", 1) == 1);
    if (edge.watched)
        must_code(weft_sleep(WEFT_MS(5)), 0);
    return -EAGAIN;
}

WEFT_TEST(edge_between_eagain_and_park)
{
    int fds[2];

    net_pair((enum net_kind)_i, fds);
    edge.peer = fds[1];
    edge.watched = false;
    for (int i = 0; i < 3; i++) {
        struct weft__io io = { .fd = fds[0],
                               .deadline = weft_after(WEFT_SEC(2)) };

        ck_assert_int_eq(weft__io_begin(&io), 0);
        ck_assert_int_eq(
            weft__io_end(&io, weft__io_in(&io, empty_then_a_byte)), 1);
        edge.watched = true;
    }
    net_close(fds);
}
END_TEST

/* One waits for the peer's end only, beside bytes that nobody has read. */
WEFT_TEST(waiting_for_the_end_leaves_the_bytes_to_readers)
{
    char got[8];
    int fds[2];

    net_pair((enum net_kind)_i, fds);
    net_watch(fds[0]);
    ck_assert_int_eq(weft_write(fds[1], "abc", 3), 3);
    ck_code(weft_fd_wait_until(fds[0], POLLRDHUP, weft_after(WEFT_MS(20))),
            -ETIMEDOUT);
    ck_code(weft_fd_wait_until(fds[0], POLLPRI, weft_after(WEFT_MS(20))),
            -ETIMEDOUT);
    ck_assert_int_eq(
        weft_read_until(fds[0], got, 3, weft_after(WEFT_SEC(2))), 3);
    net_close(fds);
}
END_TEST

static void *wait_for_the_end(void *arg)
{
    return (void *)(intptr_t)weft_fd_wait_until(*(int *)arg, POLLRDHUP,
                                                weft_after(WEFT_SEC(5)));
}

/* Two of them, and a reader who sleeps before them: all are told. */
WEFT_TEST(the_end_is_told_to_all_who_wait_for_it)
{
    int fds[2];
    struct net_reader r = { 0 };
    weft_fiber_t f[3];

    net_pair((enum net_kind)_i, fds);
    r.fd = fds[0];
    f[0] = spawn(read_one, &r);
    wait_until_parked(f[0]);
    for (int i = 1; i < 3; i++) {
        f[i] = spawn(wait_for_the_end, &fds[0]);
        wait_until_parked(f[i]);
    }
    ck_code(weft_shutdown(fds[1], SHUT_WR), 0);
    ck_assert_ptr_null(join(f[0]));
    ck_assert_int_eq(r.answer, 0);
    for (int i = 1; i < 3; i++)
        ck_assert_int_gt((int)(intptr_t)join(f[i]) & POLLRDHUP, 0);
    net_close(fds);
}
END_TEST

/* What looks elsewhere never waits, and takes no reader's readiness. */
WEFT_TEST(error_queue_and_urgent_data_are_looked_at_without_waiting)
{
    char c;
    int fds[2];

    net_pair(NET_TCP, fds);
    for (int i = 0; i < 2; i++) {
        ck_code(weft_recv(fds[0], &c, 1, MSG_ERRQUEUE), -EAGAIN);
        ck_code(weft_recv(fds[0], &c, 1, MSG_OOB), -EINVAL);
    }
    net_watch(fds[0]);
    ck_assert_int_eq(weft_write(fds[1], "x", 1), 1);
    /* The event has been seen to. */
    ck_code(weft_sleep(WEFT_MS(5)), 0);
    ck_code(weft_recv(fds[0], &c, 1, MSG_ERRQUEUE), -EAGAIN);
    ck_assert_int_eq(
        weft_read_until(fds[0], &c, 1, weft_after(WEFT_SEC(2))), 1);
    net_close(fds);
}
END_TEST

/* A short read means an empty socket, but not where it stopped at the mark of
 * urgent data: whether someone asks for that or not, and whether the loop has
 * told of it or is about to. */
WEFT_TEST(urgent_data_ends_the_short_read_rule)
{
    char got[64];
    int fds[2];

    net_pair(NET_TCP, fds);
    net_watch(fds[0]);
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(weft_send(fds[1], "abc", 3, 0), 3);
        ck_assert_int_eq(weft_send(fds[1], "!", 1, MSG_OOB), 1);
        ck_assert_int_eq(weft_send(fds[1], "defg", 4, 0), 4);
        if (i % 2)
            ck_code(weft_sleep(WEFT_MS(2)), 0);
        if (_i == 0) {
            ck_assert_int_gt(weft_fd_wait(fds[0], POLLPRI), 0);
            ck_assert_int_eq(weft_recv(fds[0], got, 1, MSG_OOB), 1);
        }
        for (size_t sum = 0; sum < 7;) {
            ssize_t n = weft_read_until(fds[0], got, sizeof(got),
                                        weft_after(WEFT_SEC(5)));

            ck_assert_int_gt(n, 0);
            sum += (size_t)n;
        }
    }
    net_close(fds);
}
END_TEST

/* Zero bytes are there at once, as with read(2). */
WEFT_TEST(reading_nothing_does_not_wait)
{
    char c;
    struct iovec none = { &c, 0 };
    int fds[2];

    net_pair((enum net_kind)_i, fds);
    ck_code(weft_read(fds[0], &c, 0), 0);
    ck_code(weft_readv(fds[0], &none, 1), 0);
    ck_code(weft_readv(fds[0], NULL, 0), 0);
    ck_code(weft_write(fds[1], &c, 0), 0);
    net_close(fds);
}
END_TEST

/* writev(2) of nothing sends no datagram, unlike write(2) of nothing; and looks
 * at the descriptor only. */
WEFT_TEST(writing_nothing_by_vector_sends_nothing)
{
    char c[2];
    struct iovec none[] = { { c, 0 }, { NULL, 0 } };
    int type = _i == 0 ? SOCK_DGRAM : SOCK_STREAM;
    int fds[2];

    ck_code(weft_socketpair(AF_UNIX, type, 0, fds), 0);
    ck_code(weft_writev(fds[0], none, 1), 0);
    ck_code(weft_writev(fds[0], none, 2), 0);
    ck_code(weft_writev(fds[0], NULL, 0), 0);
    ck_code(weft_recv(fds[1], c, sizeof(c), MSG_DONTWAIT), -EAGAIN);
    ck_code(weft_write(fds[0], c, 0), 0);
    ck_code(weft_recv(fds[1], c, sizeof(c), MSG_DONTWAIT),
            _i == 0 ? 0 : -EAGAIN);
    ck_code(weft_shutdown(fds[0], SHUT_WR), 0);
    ck_code(weft_writev(fds[0], none, 2), 0);
    net_close(fds);
    ck_code(weft_writev(fds[0], none, 2), -EBADF);
}
END_TEST

/* The peer writes and goes: all of it is read, and then the end. */
WEFT_TEST(hang_up_with_data)
{
    enum { BYTES = 50000 };
    static char block[BYTES];
    char got[999];
    int fds[2];

    for (int asleep = 0; asleep < 2; asleep++) {
        struct net_reader r = { .n = 1 };
        weft_fiber_t f = 0;
        size_t sum = 0;
        ssize_t n;

        net_pair((enum net_kind)_i, fds);
        r.fd = fds[0];
        if (asleep) {
            f = spawn(read_one, &r);
            wait_until_parked(f);
        }
        ck_code(weft_write_full(fds[1], block, BYTES, NULL), 0);
        ck_code(weft_close(fds[1]), 0);
        if (asleep) {
            join(f);
            ck_assert_int_eq(r.answer, 1);
            sum = 1;
        }
        while ((n = weft_read(fds[0], got, sizeof(got))) > 0)
            sum += (size_t)n;
        ck_assert_int_eq(n, 0);
        ck_assert_uint_eq(sum, BYTES);
        ck_assert_int_eq(weft_read(fds[0], got, 1), 0);
        ck_code(weft_close(fds[0]), 0);
    }
}
END_TEST

/* Three sleep; the peer writes a little and goes. One of them gets the bytes,
 * and the others are told of the end, of which no event of its own need
 * tell. */
WEFT_TEST(hang_up_with_data_is_told_to_all_readers)
{
    for (int i = 0; i < 20; i++) {
        struct net_reader r[3] = { { 0 }, { 0 }, { 0 } };
        weft_fiber_t f[3];
        int fds[2];
        ssize_t sum = 0;

        net_pair((enum net_kind)_i, fds);
        for (int k = 0; k < 3; k++) {
            r[k].fd = fds[0];
            f[k] = spawn(read_one, &r[k]);
            wait_until_parked(f[k]);
        }
        ck_assert_int_eq(weft_write(fds[1], "abc", 3), 3);
        ck_code(weft_close(fds[1]), 0);
        for (int k = 0; k < 3; k++) {
            join(f[k]);
            ck_assert(r[k].answer == 3 || r[k].answer == 0);
            sum += r[k].answer;
        }
        ck_assert_int_eq(sum, 3);
        ck_code(weft_close(fds[0]), 0);
    }
}
END_TEST

/* The peer breaks off: a reader that sleeps, a writer that sleeps, and those
 * who come later. */
static void *write_one(void *arg)
{
    struct net_reader *r = arg;

    r->answer = weft_write(r->fd, r->got, sizeof(r->got));
    return NULL;
}

WEFT_TEST(peer_resets)
{
    char c = 0;
    int fds[2];
    struct net_reader r = { 0 }, w = { 0 };
    weft_fiber_t fr, fw;

    net_pair(NET_TCP, fds);
    r.fd = w.fd = fds[0];
    net_fill(fds[0]);
    fr = spawn(read_one, &r);
    fw = spawn(write_one, &w);
    wait_until_parked(fr);
    wait_until_parked(fw);
    net_reset(fds[1]);
    join(fr);
    join(fw);
    /* One of them fetches the error, the other finds what is left. */
    ck_assert(r.answer == -ECONNRESET || w.answer == -ECONNRESET);
    ck_assert(r.answer == -ECONNRESET || r.answer == 0);
    ck_assert(w.answer == -ECONNRESET || w.answer == -EPIPE);
    ck_code(weft_read(fds[0], &c, 1), 0);
    ck_code(weft_write(fds[0], &c, 1), -EPIPE);
    ck_code(weft_close(fds[0]), 0);

    net_pair(NET_TCP, fds);
    net_reset(fds[1]);
    ck_code(_i ? weft_write(fds[0], &c, 1) : weft_read(fds[0], &c, 1),
            -ECONNRESET);
    ck_code(weft_close(fds[0]), 0);
}
END_TEST

/* Nobody is at a datagram's port: each time the error is told once, and the
 * socket stays as good as new. */
WEFT_TEST(port_of_a_datagram_is_not_there)
{
    struct sockaddr_in nobody = net_nobody(), me;
    int fd = net_udp(&me);
    struct net_reader r = { .fd = fd };

    ck_code(weft_connect(fd, (struct sockaddr *)&nobody, sizeof(nobody)), 0);
    for (int i = 0; i < 50; i++) {
        weft_fiber_t f = spawn(read_one, &r);

        if (i % 2)
            wait_until_parked(f);
        ck_assert_int_eq(weft_write(fd, "x", 1), 1);
        join(f);
        ck_code(r.answer, -ECONNREFUSED);
        ck_assert_uint_le(weft__load(&weft__desc_look(fd)->errors, RELAXED), 1);
    }
    ck_assert_int_eq(weft_write(fd, "x", 1), 1);
    ck_code(weft_write(fd, "x", 1), -ECONNREFUSED);
    ck_code(weft_close(fd), 0);
}
END_TEST

/* With IP_RECVERR an error also stands in a queue that recv(2) cannot fetch:
 * epoll reports it as long as it does. Whoever waits meanwhile sleeps, and
 * gets what comes. */
WEFT_TEST(error_that_no_read_can_fetch_does_not_spin)
{
    struct sockaddr_in nobody = net_nobody(), me;
    int fd = net_udp(&me), other, on = 1;
    struct net_reader r = { .fd = fd };
    weft_stats_t before = { .size = sizeof(before) }, after = before;
    char c, control[512];
    struct iovec iov = { &c, 1 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
                          .msg_control = control,
                          .msg_controllen = sizeof(control) };
    weft_fiber_t f;
    int64_t cpu;

    ck_assert_int_eq(setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)),
                     0);
    ck_code(weft_connect(fd, (struct sockaddr *)&nobody, sizeof(nobody)), 0);
    ck_assert_int_eq(weft_write(fd, "x", 1), 1);
    ck_code(weft_read(fd, &c, 1), -ECONNREFUSED);

    cpu = cpu_time();
    ck_code(weft_stats(&before), 0);
    ck_code(weft_read_until(fd, &c, 1, weft_after(WEFT_MS(500))), -ETIMEDOUT);
    ck_code(weft_stats(&after), 0);
    ck_assert_int_lt(cpu_time() - cpu, WEFT_MS(250));
    ck_assert_uint_lt(after.total.parks - before.total.parks, 200);

    f = spawn(read_one, &r);
    wait_until_parked(f);
    other = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(other, (struct sockaddr *)&nobody, sizeof(nobody)),
                     0);
    ck_assert_int_eq(sendto(other, "y", 1, 0, (struct sockaddr *)&me,
                            sizeof(me)),
                     1);
    join(f);
    ck_assert_int_eq(r.answer, 1);
    ck_assert_int_eq(weft_recvmsg(fd, &msg, MSG_ERRQUEUE), 1);
    close(other);
    ck_code(weft_close(fd), 0);
}
END_TEST

/* Three bytes for three who want one each, and the first wake is for one. */
WEFT_TEST(a_reader_that_leaves_some_wakes_the_next)
{
    int fds[2];
    struct net_reader r[3] = { { 0 }, { 0 }, { 0 } };
    weft_fiber_t f[3];

    net_pair((enum net_kind)_i, fds);
    for (int i = 0; i < 3; i++) {
        r[i].fd = fds[0];
        r[i].n = 1;
        f[i] = spawn(read_one, &r[i]);
        wait_until_parked(f[i]);
    }
    ck_assert_int_eq(weft_write(fds[1], "abc", 3), 3);
    for (int i = 0; i < 3; i++) {
        join(f[i]);
        ck_assert_int_eq(r[i].answer, 1);
    }
    ck_assert_int_eq(r[0].got[0], 'a');
    net_close(fds);
}
END_TEST

/* The first to wait leaves by its deadline, or a cancel, about when the byte
 * comes. Either it has the byte, or the second one has: then a second byte is
 * for whoever is left. */
WEFT_TEST(a_waiter_that_leaves_passes_it_on)
{
    int fds[2];

    net_pair(NET_TCP, fds);
    for (int i = 0; i < ROUNDS(3000); i++) {
        struct net_reader r[2] = { { .fd = fds[0], .n = 1 },
                                   { .fd = fds[0], .n = 1 } };
        weft_fiber_t f[2];
        unsigned got = 0;

        if (_i == 0)
            r[0].deadline = weft_after(WEFT_US(i % 150));
        for (int k = 0; k < 2; k++) {
            f[k] = spawn_one(read_one, &r[k]);
            if (i % 3)
                weft_yield();
        }
        if (i % 3)
            wait_until_parked(f[1]);
        must(weft_write(fds[1], "x", 1) == 1);
        if (_i == 1)
            (void)weft_cancel(f[0]);
        if (i % 2)
            weft_yield();
        must(weft_write(fds[1], "y", 1) == 1);
        for (int k = 0; k < 2; k++) {
            join_one(f[k]);
            got += r[k].answer == 1;
        }
        must(r[1].answer == 1);
        must(r[0].answer == 1 ||
             r[0].answer == (_i == 0 ? -ETIMEDOUT : -ECANCELED));
        for (; got < 2; got++) {
            char c;

            must(weft_read(fds[0], &c, 1) == 1);
        }
    }
    net_close(fds);
}
END_TEST

/* The first to wait was woken for the one byte, and is cancelled or late
 * before it runs. It takes the byte, or the second one gets it. */
WEFT_TEST(a_woken_waiter_that_leaves_passes_it_on)
{
    int fds[2];

    net_pair(NET_TCP, fds);
    for (int i = 0; i < ROUNDS(200); i++) {
        struct net_reader r[2] = { { .fd = fds[0], .n = 1 },
                                   { .fd = fds[0], .n = 1 } };
        weft_fiber_t f[2];

        if (_i == 0)
            r[0].deadline = weft_after(WEFT_MS(1));
        r[1].deadline = weft_after(WEFT_SEC(5));
        for (int k = 0; k < 2; k++) {
            f[k] = spawn_one(read_one, &r[k]);
            /* Not for ever: it may be late already. */
            for (int n = 0; n < 100 && !is_state(f[k], "parked"); n++)
                weft_yield();
        }
        must(weft_write(fds[1], "x", 1) == 1);
        /* A late event of the last round may have put it behind the other. */
        while (is_state(f[0], "parked") && is_state(f[1], "parked"))
            weft_yield();
        if (_i == 1)
            (void)weft_cancel(f[0]);
        while (_i == 0 && weft_now() <= r[0].deadline) {
        }
        join_one(f[0]);
        if (r[0].answer == 1)
            must(weft_write(fds[1], "y", 1) == 1);
        else
            must(r[0].answer == (_i == 0 ? -ETIMEDOUT : -ECANCELED));
        join_one(f[1]);
        must(r[1].answer == 1);
    }
    net_close(fds);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_edge");
    TCase *tc = tcase_create("io_edge");

    suite_add_tcase(suite, tc);
    tcase_add_loop_test(tc, dontwait_on_what_is_known_to_be_empty, 0,
                        NET_PIPE);
    tcase_add_test(tc, room_that_came_before_it_was_noted_is_not_forgotten);
    tcase_add_loop_test(tc, edge_between_eagain_and_park, 0, NET_KINDS);
    tcase_add_loop_test(tc, waiting_for_the_end_leaves_the_bytes_to_readers,
                        0, NET_PIPE);
    tcase_add_loop_test(tc, the_end_is_told_to_all_who_wait_for_it, 0,
                        NET_PIPE);
    tcase_add_test(tc,
                   error_queue_and_urgent_data_are_looked_at_without_waiting);
    tcase_add_loop_test(tc, urgent_data_ends_the_short_read_rule, 0, 2);
    tcase_add_loop_test(tc, reading_nothing_does_not_wait, 0, NET_KINDS);
    tcase_add_loop_test(tc, writing_nothing_by_vector_sends_nothing, 0, 2);
    tcase_add_loop_test(tc, hang_up_with_data, 0, NET_PIPE);
    tcase_add_loop_test(tc, hang_up_with_data_is_told_to_all_readers, 0,
                        NET_KINDS);
    tcase_add_loop_test(tc, peer_resets, 0, 2);
    tcase_add_test(tc, port_of_a_datagram_is_not_there);
    tcase_add_test(tc, error_that_no_read_can_fetch_does_not_spin);
    tcase_add_loop_test(tc, a_reader_that_leaves_some_wakes_the_next, 0,
                        NET_KINDS);
    tcase_add_loop_test(tc, a_waiter_that_leaves_passes_it_on, 0, 2);
    tcase_add_loop_test(tc, a_woken_waiter_that_leaves_passes_it_on, 0, 2);
    return run_suite(suite);
}
