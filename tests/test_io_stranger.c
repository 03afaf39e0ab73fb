/*
 * Numbers that are not weft's: in the mode that others want, closed and used
 * again by others, received from elsewhere.
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sched/os.h"
#include "tests/support_net.h"

/* A listener that is in blocking mode, and none of weft's. */
static int plain_listener(void)
{
    struct sockaddr_in any = { .sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    must(fd >= 0);
    must(bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0);
    must(listen(fd, 5) == 0);
    return fd;
}

static int listener;
static weft__au32 turn;

static void linger(uint32_t *state, uint32_t most)
{
    for (uint32_t n = next_random(state) % most; n > 0; n--)
        weft__os_pause();
}

static void *look_at_it(void *arg)
{
    uint32_t state = (uint32_t)(uintptr_t)arg;

    wait_for(&turn, 1);
    linger(&state, 50);
    must(weft_fd_wait_until(listener, POLLIN, weft_after(WEFT_MS(1))) ==
         -ETIMEDOUT);
    return NULL;
}

static void *accept_from_it(void *arg)
{
    uint32_t state = (uint32_t)(uintptr_t)arg + 1;

    wait_for(&turn, 1);
    linger(&state, 500);
    must(weft_accept_until(listener, NULL, NULL, weft_after(WEFT_MS(1))) ==
         -ETIMEDOUT);
    return NULL;
}

/* The loop puts back the mode that a library wants; an acceptor would then hold
 * up its worker in the kernel. */
WEFT_TEST(an_acceptor_of_a_blocking_listener_that_another_waits_for)
{
    for (int i = 0; i < ROUNDS(500); i++) {
        weft_fiber_t f[2];
        int made = plain_listener();

        weft__store(&turn, 0, RELAXED);
        /* A number that no loop has seen. */
        listener = fcntl(made, F_DUPFD, 50 + i);
        must(listener >= 0 && close(made) == 0);
        f[0] = spawn_one(look_at_it, (void *)(uintptr_t)i);
        f[1] = spawn_one(accept_from_it, (void *)(uintptr_t)i);
        weft__store(&turn, 1, RELEASE);
        join_one(f[0]);
        join_one(f[1]);
        must(weft_close(listener) == 0);
    }
}
END_TEST

/* What is known of a number that was closed plainly holds up no worker. */
WEFT_TEST(a_number_that_others_use_again_in_blocking_mode)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int ends[2] = { -1, -1 };
    char c;

    ck_assert_int_ge(fd, 0);
    ck_code(weft_read_until(fd, &c, 1, WEFT_NOW), -EINVAL);
    ck_code(weft_fd_wait_until(fd, POLLIN, weft_after(1)), -ETIMEDOUT);
    if (_i == 0) {
        ck_assert_int_eq(pipe(ends), 0);
        ck_assert_int_eq(dup2(ends[0], fd), fd);
        ck_code(weft_read_until(fd, &c, 1, WEFT_NOW), -EAGAIN);
        ck_assert_int_eq(write(ends[1], "x", 1), 1);
        ck_assert_int_eq(weft_read_until(fd, &c, 1, WEFT_NOW), 1);
        ck_assert_int_eq(close(ends[0]) | close(ends[1]), 0);
    } else {
        ends[0] = plain_listener();
        ck_assert_int_eq(dup2(ends[0], fd), fd);
        ck_code(weft_accept_until(fd, NULL, NULL, WEFT_NOW), -EAGAIN);
        ck_assert_int_eq(close(ends[0]), 0);
    }
    ck_code(weft_close(fd), 0);
}
END_TEST

static void send_number(int through, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec one = { .iov_base = "n", .iov_len = 1 };
    struct msghdr msg = { .msg_iov = &one,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = sizeof(control.bytes) };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    ck_assert_int_eq(weft_sendmsg(through, &msg, 0), 1);
}

static int receive_number(int through)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    char n;
    struct iovec one = { .iov_base = &n, .iov_len = 1 };
    struct msghdr msg = { .msg_iov = &one,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = sizeof(control.bytes) };
    struct cmsghdr *c;
    int fd;

    ck_assert_int_eq(weft_recvmsg(through, &msg, 0), 1);
    c = CMSG_FIRSTHDR(&msg);
    ck_assert_ptr_nonnull(c);
    memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

/* One that was weft's, and was closed plainly: what comes in its place is
 * another file, and its bytes are told of. */
WEFT_TEST(a_number_that_comes_in_a_message)
{
    struct net_reader r = { 0 };
    int way[2], old[2], sent[2];
    weft_fiber_t f;

    net_pair(NET_UNIX, way);
    net_pair(NET_UNIX, old);
    net_watch(old[0]);
    ck_assert_int_eq(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sent), 0);
    send_number(way[0], sent[0]);
    close(old[0]);
    r.fd = receive_number(way[1]);
    ck_assert_int_eq(r.fd, old[0]);
    f = spawn(read_one, &r);
    wait_until_parked(f);
    ck_assert_int_eq(write(sent[1], "hello", 5), 5);
    join(f);
    ck_assert_int_eq(r.answer, 5);
    ck_code(weft_close(r.fd), 0);
    ck_code(weft_close(old[1]), 0);
    net_close(way);
    close(sent[0]);
    close(sent[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_stranger");
    TCase *tc = tcase_create("io_stranger");

    suite_add_tcase(suite, tc);
    tcase_add_test(tc,
                   an_acceptor_of_a_blocking_listener_that_another_waits_for);
    tcase_add_loop_test(tc, a_number_that_others_use_again_in_blocking_mode,
                        0, 2);
    tcase_add_test(tc, a_number_that_comes_in_a_message);
    return run_suite(suite);
}
