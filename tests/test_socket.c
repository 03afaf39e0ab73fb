/* Sockets: messages, addresses, flags, descriptors; listening by name. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support_net.h"

#define ANY(where) (struct sockaddr *)&(where), sizeof(where)

static void close_at(int fd)
{
    ck_code(weft_close(fd), 0);
}

/* --- Datagrams -------------------------------------------------------------------- */

struct receiver {
    int fd;
    ssize_t answer;
    char got[8];
    struct sockaddr_in from;
};

static void *receive(void *arg)
{
    struct receiver *r = arg;
    socklen_t len = sizeof(r->from);

    r->answer = weft_recvfrom(r->fd, r->got, sizeof(r->got), 0,
                              (struct sockaddr *)&r->from, &len);
    return NULL;
}

/* Each datagram is one message, whose sender is told; a short one says
 * nothing of the next. */
WEFT_TEST(datagrams_with_their_senders)
{
    struct sockaddr_in a_name, b_name;
    int a = net_udp(&a_name), b = net_udp(&b_name);
    struct receiver r = { .fd = a };
    weft_fiber_t f = spawn(receive, &r);

    wait_until_parked(f);
    ck_code(weft_sendto(b, "one", 3, 0, ANY(a_name)), 3);
    join(f);
    ck_assert_int_eq(r.answer, 3);
    ck_assert_uint_eq(r.from.sin_port, b_name.sin_port);
    for (int i = 0; i < 20; i++)
        ck_code(weft_sendto(b, "another", 1 + (size_t)i % 7, 0, ANY(a_name)),
                1 + i % 7);
    for (int i = 0; i < 20; i++) {
        receive(&r);
        must(r.answer == 1 + i % 7);
    }
    ck_code(weft_sendto(b, "", 0, 0, ANY(a_name)), 0);
    receive(&r);
    ck_assert_int_eq(r.answer, 0);
    ck_code(weft_sendto(b, "too long a text", 15, 0, ANY(a_name)), 15);
    receive(&r);
    ck_assert_int_eq(r.answer, 8);
    close_at(a);
    close_at(b);
}
END_TEST

struct sender {
    int fd;
    struct sockaddr_un to;
    socklen_t len;
    ssize_t answer;
};

static void *send_unix(void *arg)
{
    struct sender *s = arg;

    s->answer = weft_sendto(s->fd, "x", 1, 0, (struct sockaddr *)&s->to,
                            s->len);
    return NULL;
}

/* A Unix datagram socket whose queue one sender has filled. Another, which is
 * connected to nobody, has room itself: no event tells of the receiver's, and
 * each try makes one of its own. It must not spin. */
WEFT_TEST(a_full_receiver_of_datagrams)
{
    struct sender s = { .to = { .sun_family = AF_UNIX },
                        .len = sizeof(s.to) };
    int fd = weft_socket(AF_UNIX, SOCK_DGRAM, 0);
    int filler = weft_socket(AF_UNIX, SOCK_DGRAM, 0);
    weft_stats_t before = { .size = sizeof(before) }, after = before;
    weft_fiber_t f;
    char c;
    unsigned n = 0;

    /* The kernel picks an abstract name. */
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&s.to,
                          sizeof(sa_family_t)),
                     0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&s.to, &s.len), 0);
    s.fd = weft_socket(AF_UNIX, SOCK_DGRAM, 0);
    while (weft_sendto_until(filler, "x", 1, 0, (struct sockaddr *)&s.to,
                             s.len, WEFT_NOW) == 1)
        n++;
    ck_assert_uint_gt(n, 0);
    ck_code(weft_sendto_until(s.fd, "x", 1, 0, (struct sockaddr *)&s.to, s.len,
                              weft_after(WEFT_MS(5))),
            -ETIMEDOUT);
    ck_code(weft_stats(&before), 0);
    ck_code(weft_sendto_until(s.fd, "x", 1, 0, (struct sockaddr *)&s.to, s.len,
                              weft_after(WEFT_MS(200))),
            -ETIMEDOUT);
    ck_code(weft_stats(&after), 0);
    ck_assert_uint_lt(after.total.parks - before.total.parks, 500);
    f = spawn(send_unix, &s);
    wait_until_parked(f);
    ck_assert_int_eq(weft_read(fd, &c, 1), 1);
    join(f);
    ck_assert_int_eq(s.answer, 1);
    close_at(filler);
    close_at(s.fd);
    close_at(fd);
}
END_TEST

/* --- Messages with descriptors ------------------------------------------------------- */

static ssize_t send_descriptor(int to, int fd)
{
    char space[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec iov = { (void *)(uintptr_t) "x", 1 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
                          .msg_control = space,
                          .msg_controllen = sizeof(space) };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
    return weft_sendmsg(to, &msg, 0);
}

static void *receive_descriptor(void *arg)
{
    char space[CMSG_SPACE(sizeof(int))], byte;
    struct iovec iov = { &byte, 1 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
                          .msg_control = space,
                          .msg_controllen = sizeof(space) };
    int fd = -1;

    must(weft_recvmsg(*(int *)arg, &msg, 0) == 1);
    must(CMSG_FIRSTHDR(&msg));
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
    return (void *)(intptr_t)fd;
}

WEFT_TEST(descriptors_travel_in_messages)
{
    int fds[2], pipe_fds[2], got;
    weft_fiber_t f;
    char c;

    net_pair(NET_UNIX, fds);
    net_pair(NET_PIPE, pipe_fds);
    f = spawn(receive_descriptor, &fds[0]);
    wait_until_parked(f);
    ck_code(send_descriptor(fds[1], pipe_fds[1]), 1);
    got = (int)(intptr_t)join(f);
    ck_assert(fcntl(got, F_GETFD) & FD_CLOEXEC);
    ck_assert_int_eq(weft_write(got, "y", 1), 1);
    ck_assert_int_eq(weft_read(pipe_fds[0], &c, 1), 1);
    ck_assert_int_eq(c, 'y');
    close_at(got);
    ck_code(send_descriptor(fds[1], -1), -EBADF);
    net_close(fds);
    net_close(pipe_fds);
}
END_TEST

/* --- Flags --------------------------------------------------------------------------- */

static void *write_in_two(void *arg)
{
    must(weft_write(*(int *)arg, "abc", 3) == 3);
    must_code(weft_sleep(WEFT_MS(10)), 0);
    must(weft_write(*(int *)arg, "def", 3) == 3);
    return NULL;
}

/* A look takes nothing; MSG_WAITALL takes what is there (the full forms wait
 * for more). */
WEFT_TEST(flags_of_receiving)
{
    char got[8];
    int fds[2];
    weft_fiber_t f;
    size_t sum = 0;

    net_pair((enum net_kind)_i, fds);
    f = spawn(write_in_two, &fds[1]);
    for (int i = 0; i < 3; i++) {
        ssize_t n = weft_recv(fds[0], got, sizeof(got), MSG_PEEK);

        ck_assert_int_ge(n, 3);
        ck_assert_mem_eq(got, "abc", 3);
    }
    while (sum < 6) {
        ssize_t n = weft_recv(fds[0], got, 6 - sum, MSG_WAITALL);

        ck_assert_int_gt(n, 0);
        sum += (size_t)n;
    }
    join(f);
    ck_code(weft_recv_until(fds[0], got, 8, MSG_PEEK, WEFT_NOW), -EAGAIN);
    ck_code(weft_recv_until(fds[0], got, 8, MSG_PEEK,
                            weft_after(WEFT_MS(3))),
            -ETIMEDOUT);
    net_close(fds);
}
END_TEST

static void *peek_one(void *arg)
{
    char got[8];

    must_code(weft_recv(*(int *)arg, got, sizeof(got), MSG_PEEK), 3);
    return NULL;
}

/* Behind the last byte there is nothing to see; what is there is read all the
 * same, by the one who looked and by another. */
WEFT_TEST(a_peek_at_an_offset_hides_nothing_from_others)
{
    int fds[2], offset = 0;
    weft_fiber_t f;
    char got[8];

    net_pair(NET_UNIX, fds);
    ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_PEEK_OFF, &offset,
                                sizeof(offset)),
                     0);
    for (int i = 0; i < 3; i++) {
        ck_code(weft_write(fds[1], "abcd", 4), 4);
        ck_code(weft_recv(fds[0], got, sizeof(got), MSG_PEEK), 4);
        if (i == 0)
            ck_code(weft_recv_until(fds[0], got, 8, MSG_PEEK,
                                    weft_after(WEFT_MS(3))),
                    -ETIMEDOUT);
        else
            ck_code(weft_recv_until(fds[0], got, 8,
                                    MSG_PEEK | (i == 1 ? MSG_DONTWAIT : 0),
                                    WEFT_NOW),
                    -EAGAIN);
        ck_code(weft_recv(fds[0], got, 8, 0), 4);
    }
    ck_code(weft_write(fds[1], "abcd", 4), 4);
    ck_code(weft_recv(fds[0], got, sizeof(got), MSG_PEEK), 4);
    f = spawn(peek_one, fds);
    wait_until_parked(f);
    ck_code(weft_recv(fds[0], got, sizeof(got), 0), 4);
    ck_code(weft_write(fds[1], "efg", 3), 3);
    join(f);
    net_close(fds);
}
END_TEST

/* Poll(2) asks for more room than a write does, and so does the event. */
WEFT_TEST(a_write_finds_the_room_that_a_poll_does_not)
{
    static char block[4096];
    int fds[2];

    net_pair(_i == 0 ? NET_UNIX : NET_TCP, fds);
    do {
        struct pollfd one = { .fd = fds[1], .events = POLLOUT };

        ck_code(weft_write(fds[1], block, sizeof(block)), sizeof(block));
        if (poll(&one, 1, 0) == 0)
            break;
    } while (true);
    ck_code(weft_fd_wait_until(fds[1], POLLOUT, weft_after(WEFT_MS(1))),
            -ETIMEDOUT);
    ck_code(weft_write_until(fds[1], block, 1, weft_after(WEFT_SEC(5))), 1);
    net_close(fds);
}
END_TEST

/* --- Half close, byte by byte, fast and slow -------------------------------------------- */

struct stream {
    int fd;
    size_t n;
    size_t step;
    bool slow;
    bool open; /* the writer stays, and the reader knows how much comes */
};

static void *stream_out(void *arg)
{
    struct stream *s = arg;
    unsigned char block[8192];

    for (size_t sent = 0; sent < s->n;) {
        size_t n = s->n - sent < s->step ? s->n - sent : s->step;

        for (size_t i = 0; i < n; i++)
            block[i] = (unsigned char)((sent + i) % 251);
        must_code(weft_write_full(s->fd, block, n, NULL), 0);
        sent += n;
    }
    if (!s->open)
        must_code(weft_shutdown(s->fd, SHUT_WR), 0);
    return NULL;
}

/* Until the end: how many bytes, each in its place. */
static size_t stream_in(struct stream *s)
{
    unsigned char block[8192];
    size_t got = 0;
    ssize_t n = 0;

    while (!(s->open && got == s->n) &&
           (n = weft_read(s->fd, block, s->step)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            must(block[i] == (unsigned char)((got + (size_t)i) % 251));
        got += (size_t)n;
        if (s->slow && got % 7 == 0)
            must_code(weft_sleep(WEFT_US(50)), 0);
    }
    must(s->open || n == 0);
    return got;
}

/* The writer shuts its side; the other way still works. */
WEFT_TEST(half_close)
{
    int fds[2];
    struct stream in, out;
    weft_fiber_t f;
    char c;

    net_pair((enum net_kind)_i, fds);
    out = (struct stream){ .fd = fds[1], .n = 100000, .step = 5000 };
    in = (struct stream){ .fd = fds[0], .step = 3000 };
    f = spawn(stream_out, &out);
    ck_assert_uint_eq(stream_in(&in), 100000);
    join(f);
    ck_code(weft_write(fds[1], "x", 1), -EPIPE);
    ck_assert_int_eq(weft_write(fds[0], "y", 1), 1);
    ck_assert_int_eq(weft_read(fds[1], &c, 1), 1);
    ck_code(weft_shutdown(fds[0], SHUT_WR), 0);
    ck_assert_int_eq(weft_read(fds[1], &c, 1), 0);
    net_close(fds);
}
END_TEST

/* One side moves single bytes. The peer stays: once it hangs up, reading is
 * tried whatever was known of the socket. */
WEFT_TEST(one_byte_at_a_time)
{
    int fds[2];
    struct stream in, out;
    weft_fiber_t f;

    net_pair((enum net_kind)(_i % 2), fds);
    out = (struct stream){ .fd = fds[1], .n = ROUNDS(20000), .step = 1,
                           .open = true };
    in = (struct stream){ .fd = fds[0], .n = out.n, .step = 1, .open = true };
    if (_i < 2)
        in.step = 4096;
    else
        out.step = 4096;
    f = spawn(stream_out, &out);
    ck_assert_uint_eq(stream_in(&in), out.n);
    join(f);
    net_close(fds);
}
END_TEST

/* The writer is always ahead: it sleeps on a full socket again and again. */
WEFT_TEST(a_slow_reader_and_a_fast_writer)
{
    int fds[2], small = 16384;
    struct stream in, out;
    weft_fiber_t f;

    net_pair((enum net_kind)_i, fds);
    must(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) ==
         0);
    must(setsockopt(fds[0], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) ==
         0);
    out = (struct stream){ .fd = fds[1], .n = 300000,
                           .step = 8192 };
    in = (struct stream){ .fd = fds[0], .step = 700, .slow = true };
    f = spawn(stream_out, &out);
    ck_assert_uint_eq(stream_in(&in), out.n);
    join(f);
    net_close(fds);
}
END_TEST

/* --- Listening by name -------------------------------------------------------------------- */

WEFT_TEST(every_address_is_one_socket)
{
    int fd = weft_tcp_listen(NULL, "0", NULL), c;
    struct sockaddr_in6 where = { 0 };
    socklen_t len = sizeof(where);
    char port[8];

    ck_code(fd < 0 ? fd : 0, 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&where, &len), 0);
    snprintf(port, sizeof(port), "%d", ntohs(where.sin6_port));
    c = weft_tcp_connect("127.0.0.1", port);
    ck_assert_int_ge(c, 0);
    close_at(c);
    if (where.sin6_family == AF_INET6) {
        c = weft_tcp_connect("::1", port);
        ck_assert_int_ge(c, 0);
        close_at(c);
    }
    close_at(fd);
}
END_TEST

WEFT_TEST(names_of_listeners)
{
    weft_listen_t opt = WEFT_LISTEN_INIT, bad = WEFT_LISTEN_INIT;
    struct sockaddr_in where;
    int fd = net_listen(4, &where), other, fds[2];
    char port[8];

    snprintf(port, sizeof(port), "%d", ntohs(where.sin_port));
    ck_code(weft_tcp_listen("127.0.0.1", port, NULL), -EADDRINUSE);
    ck_code(weft_tcp_listen("127.0.0.1", NULL, NULL), -EINVAL);
    bad.size = 0;
    ck_code(weft_tcp_listen("127.0.0.1", "0", &bad), -EINVAL);
    bad.size = sizeof(bad);
    bad.backlog = -1;
    ck_code(weft_tcp_listen("127.0.0.1", "0", &bad), -EINVAL);
    bad.backlog = 0;
    bad.flags = 64;
    ck_code(weft_tcp_listen("127.0.0.1", "0", &bad), -EINVAL);
    ck_code(weft_tcp_listen("198.51.100.7", "0", NULL), -EADDRNOTAVAIL);
    ck_code(weft_udp_bind("198.51.100.7", "0"), -EADDRNOTAVAIL);
    ck_code(weft_udp_bind("127.0.0.1", NULL), -EINVAL);

    /* The port is free as soon as its owner has gone, connections or not. */
    other = net_connect(&where);
    fds[0] = weft_accept(fd, NULL, NULL);
    fds[1] = other;
    close_at(fd);
    net_close(fds);
    opt.flags = WEFT_LISTEN_REUSEPORT;
    fd = weft_tcp_listen("127.0.0.1", port, &opt);
    ck_assert_int_ge(fd, 0);
    other = weft_tcp_listen("127.0.0.1", port, &opt);
    ck_assert_int_ge(other, 0);
    close_at(other);
    close_at(fd);

    fd = weft_udp_bind("127.0.0.1", "0");
    ck_assert_int_ge(fd, 0);
    snprintf(port, sizeof(port), "%d", ntohs(net_name(fd).sin_port));
    ck_code(weft_udp_bind("127.0.0.1", port), -EADDRINUSE);
    close_at(fd);

    opt.flags = WEFT_LISTEN_V6ONLY;
    fd = weft_tcp_listen("::1", "0", &opt);
    if (fd >= 0)
        close_at(fd);
}
END_TEST

static void connect_elsewhere(void *arg)
{
    (void)arg;
    ck_code(weft_tcp_connect_until("127.0.0.1", "9", WEFT_FOREVER), -EPERM);
}

WEFT_TEST(connecting_by_name)
{
    struct sockaddr_in where, nobody = net_nobody();
    int listener = net_listen(4, &where), fd;
    char port[8], dead[8];

    snprintf(port, sizeof(port), "%d", ntohs(where.sin_port));
    snprintf(dead, sizeof(dead), "%d", ntohs(nobody.sin_port));
    fd = weft_tcp_connect("127.0.0.1", port);
    ck_assert_int_ge(fd, 0);
    close_at(fd);
    ck_code(weft_tcp_connect_until("127.0.0.1", dead, WEFT_FOREVER),
            -ECONNREFUSED);
    ck_code(weft_tcp_connect_until(NULL, port, WEFT_FOREVER), -EINVAL);
    ck_code(weft_tcp_connect_until("127.0.0.1", NULL, WEFT_FOREVER), -EINVAL);
    ck_code(weft_tcp_connect_until("255.255.255.255", port, WEFT_FOREVER),
            -ENETUNREACH);
    ck_code(weft_cancel(weft_self()), 0);
    ck_code(weft_tcp_connect_until("127.0.0.1", port, WEFT_FOREVER),
            -ECANCELED);
    weft_cancel_clear();
    on_thread(connect_elsewhere, NULL);
    close_at(listener);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("socket");
    TCase *tc = tcase_create("socket");

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, datagrams_with_their_senders);
    tcase_add_test(tc, a_full_receiver_of_datagrams);
    tcase_add_test(tc, descriptors_travel_in_messages);
    tcase_add_loop_test(tc, flags_of_receiving, 0, NET_PIPE);
    tcase_add_test(tc, a_peek_at_an_offset_hides_nothing_from_others);
    tcase_add_loop_test(tc, a_write_finds_the_room_that_a_poll_does_not, 0, 2);
    tcase_add_loop_test(tc, half_close, 0, NET_PIPE);
    tcase_add_loop_test(tc, one_byte_at_a_time, 0, 4);
    tcase_add_loop_test(tc, a_slow_reader_and_a_fast_writer, 0, NET_PIPE);
    tcase_add_test(tc, every_address_is_one_socket);
    tcase_add_test(tc, names_of_listeners);
    tcase_add_test(tc, connecting_by_name);
    return run_suite(suite);
}
