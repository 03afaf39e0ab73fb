/*
 * Ends of which no event tells, or none that libuv passes on, and where poll(2)
 * and the calls do not agree.
 */
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/un.h>
#include <unistd.h>

#include "netpoll/desc.h"
#include "netpoll/wait.h"
#include "tests/support_net.h"

/* --- Shut for reading ----------------------------------------------------------- */

/* Nothing but a call that waits learns of it. */
WEFT_TEST(a_receiver_of_datagrams_that_is_shut_gets_the_end)
{
    struct net_reader r = { 0 };
    struct sockaddr_in me, other;
    weft_fiber_t f;
    int fds[2];

    if (_i == 0) {
        ck_code(weft_socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
    } else {
        fds[0] = net_udp(&me);
        fds[1] = net_udp(&other);
        ck_code(weft_connect(fds[0], (struct sockaddr *)&other,
                             sizeof(other)),
                0);
    }
    r.fd = fds[0];
    f = spawn(read_one, &r);
    wait_until_parked(f);
    ck_code(weft_shutdown(fds[0], SHUT_RD), 0);
    join(f);
    ck_assert_int_eq(r.answer, 0);
    /* And one that comes later. */
    ck_assert_int_eq(weft_recv(fds[0], r.got, sizeof(r.got), 0), 0);
    ck_assert_int_eq(weft_recv_until(fds[0], r.got, sizeof(r.got), MSG_PEEK,
                                     weft_after(WEFT_SEC(5))),
                     0);
    net_close(fds);
}
END_TEST

static void *accept_one(void *listener)
{
    int fd = *(const int *)listener;

    return (void *)(intptr_t)weft_accept(fd, NULL, NULL);
}

WEFT_TEST(an_acceptor_of_a_listener_that_is_shut_is_told)
{
    struct sockaddr_in where;
    char path[64];
    weft_fiber_t f;
    int fd;

    snprintf(path, sizeof(path), "@weft-test-hangup-%d", (int)getpid());
    fd = _i == 0 ? weft_unix_listen(path, NULL) : net_listen(5, &where);
    ck_assert_int_ge(fd, 0);
    f = spawn(accept_one, &fd);
    wait_until_parked(f);
    ck_code(weft_shutdown(fd, SHUT_RD), 0);
    ck_code((long)(intptr_t)join(f), -EINVAL);
    ck_code(weft_accept(fd, NULL, NULL), -EINVAL);
    ck_code(weft_close(fd), 0);
}
END_TEST

/* --- A hang-up beside room to write ------------------------------------------------ */

static void *await_readable(void *fd)
{
    return (void *)(intptr_t)weft_fd_wait(*(const int *)fd, POLLIN);
}

/* As when the child of a web terminal ends. */
WEFT_TEST(the_master_of_a_terminal_whose_other_end_is_closed)
{
    struct net_reader r = { 0 };
    weft_fiber_t reader, looker;
    int master, slave;

    ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
    ck_assert_int_eq(fcntl(master, F_SETFL, O_NONBLOCK), 0);
    r.fd = master;
    reader = spawn(read_one, &r);
    wait_until_parked(reader);
    looker = spawn(await_readable, &master);
    wait_until_parked(looker);
    close(slave);
    join(reader);
    ck_code(r.answer, -EIO);
    ck_assert_int_ne((int)(intptr_t)join(looker) & POLLHUP, 0);
    ck_code(weft_close(master), 0);
}
END_TEST

WEFT_TEST(who_waits_for_a_listener_that_is_shut_is_told)
{
    struct sockaddr_in where;
    int fd = net_listen(5, &where);
    weft_fiber_t f = spawn(await_readable, &fd);

    wait_until_parked(f);
    ck_code(weft_shutdown(fd, SHUT_RD), 0);
    ck_assert_int_ne((int)(intptr_t)join(f) & POLLHUP, 0);
    ck_code(weft_close(fd), 0);
}
END_TEST

enum { MUCH = 1 << 20 };

static void *write_much(void *fd)
{
    static const char block[MUCH];

    must_code(weft_write_full(*(const int *)fd, block, sizeof(block), NULL),
              0);
    return NULL;
}

/* Room is no news for readers: each look would cost a call, and who closed the
 * number meanwhile, and has a duplicate, would find the reader gone. */
WEFT_TEST(room_to_write_wakes_no_reader)
{
    struct net_reader r = { 0 };
    weft_fiber_t reader, writer;
    struct weft__fiber *parked;
    uint64_t life, wake;
    size_t left;
    int fds[2];

    if (_i < NET_PIPE)
        net_pair((enum net_kind)_i, fds);
    else
        ck_assert_int_eq(
            socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    r.fd = fds[0];
    reader = spawn(read_one, &r);
    wait_until_parked(reader);
    parked = weft__fiber_find(reader, &life);
    wake = weft__load(&parked->wake, RELAXED);
    /* The writer waits for room at least once, and is told of it. */
    left = net_fill(fds[0]) + MUCH;
    writer = spawn(write_much, &fds[0]);
    wait_until_parked(writer);
    while (left > 0) {
        char got[4096];
        ssize_t n = weft_read(fds[1], got, sizeof(got));

        ck_assert_int_gt(n, 0);
        left -= (size_t)n;
    }
    join(writer);
    ck_assert_uint_eq(weft__load(&parked->wake, RELAXED), wake);
    ck_code(weft_cancel(reader), 0);
    join(reader);
    ck_code(r.answer, -ECANCELED);
    net_close(fds);
}
END_TEST

/* --- Errors that are over --------------------------------------------------------- */

/* The pauses after errors that nobody could fetch end with what is fetched. */
WEFT_TEST(pauses_after_errors_end_with_success)
{
    struct weft__desc *d;
    int fds[2];
    char c;

    net_pair(NET_UNIX, fds);
    d = weft__desc_look(fds[0]);
    for (int i = 0; i < 2; i++) {
        weft__store(&d->errors, 6, RELAXED);
        weft__fetch_or(&d->flags, WEFT__FD_HANGUP, SEQ_CST);
        ck_assert_int_eq(weft_write(fds[1], "x", 1), 1);
        if (i == 0)
            ck_assert_int_eq(weft_read(fds[0], &c, 1), 1);
        else
            ck_assert_int_eq(weft_write(fds[0], "y", 1), 1);
        ck_assert_uint_eq(weft__load(&d->errors, RELAXED), 0);
    }
    net_close(fds);
}
END_TEST

/* And who asks by poll(2) anyway does not pause. */
WEFT_TEST(who_polls_does_not_pause_after_errors)
{
    struct weft__desc *d;
    struct pollfd one = { .events = POLLIN };
    int fds[2];

    net_pair(NET_UNIX, fds);
    net_watch(fds[0]);
    d = weft__desc_look(fds[0]);
    weft__store(&d->errors, 2, RELAXED);
    weft__fetch_or(&d->flags, WEFT__FD_STOPPED, SEQ_CST);
    one.fd = fds[0];
    ck_code(weft_poll_until(&one, 1, weft_after(WEFT_MS(2))), -ETIMEDOUT);
    /* A pause would have counted. */
    ck_assert_uint_eq(weft__load(&d->errors, RELAXED), 2);
    net_close(fds);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_hangup");
    TCase *tc = tcase_create("io_hangup");

    suite_add_tcase(suite, tc);
    tcase_add_loop_test(
        tc, a_receiver_of_datagrams_that_is_shut_gets_the_end, 0, 2);
    tcase_add_loop_test(tc, an_acceptor_of_a_listener_that_is_shut_is_told,
                        0, 2);
    tcase_add_test(tc, the_master_of_a_terminal_whose_other_end_is_closed);
    tcase_add_test(tc, who_waits_for_a_listener_that_is_shut_is_told);
    tcase_add_loop_test(tc, room_to_write_wakes_no_reader, 0, 3);
    tcase_add_test(tc, pauses_after_errors_end_with_success);
    tcase_add_test(tc, who_polls_does_not_pause_after_errors);
    return run_suite(suite);
}
