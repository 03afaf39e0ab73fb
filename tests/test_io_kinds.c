/*
 * Kinds of files: what each is to the calls, and the mode it keeps; and calls
 * from threads that run no fiber.
 */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tests/support_lane.h"
#include "tests/support_net.h"

static bool is_blocking(int fd)
{
    return !(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

/* --- Files --------------------------------------------------------------------------- */

WEFT_TEST(regular_file_is_read_and_written)
{
    char path[] = "/tmp/weft-test-XXXXXX", got[32];
    int fd = mkstemp(path);
    struct iovec iov[2] = { { got, 3 }, { got + 3, 3 } };

    ck_assert_int_ge(fd, 0);
    unlink(path);
    ck_code(weft_write(fd, "0123456789", 10), 10);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    ck_code(weft_read(fd, got, 4), 4);
    ck_assert_int_eq(weft_readv(fd, iov, 2), 6);
    ck_assert_mem_eq(got, "456789", 6);
    ck_code(weft_read(fd, got, 4), 0);
    ck_assert_int_eq(weft_fd_wait(fd, POLLIN), POLLIN);
    ck_code(weft_fd_wait_until(fd, POLLPRI, weft_after(WEFT_MS(5))),
            -ETIMEDOUT);
    ck_code(weft_read_full(fd, got, 1, NULL), -EPIPE);
    ck_code(weft_close(fd), 0);
}
END_TEST

/* What makes no promise to answer at once (/proc, here) does not keep a worker
 * waiting. */
WEFT_TEST(regular_file_that_may_wait_is_read_in_the_lane)
{
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    char got[64];

    ck_assert_int_ge(fd, 0);
    ck_code(weft_read_until(fd, got, sizeof(got), WEFT_NOW), -EAGAIN);
    ck_assert_uint_eq(jobs_begun(WEFT__LANE_FILE), 0);
    ck_assert_int_gt(weft_read(fd, got, sizeof(got)), 10);
    ck_assert_uint_eq(jobs_begun(WEFT__LANE_FILE), 1);
    ck_code(weft_close(fd), 0);
}
END_TEST

WEFT_TEST(directory_is_no_file)
{
    char c;
    struct iovec iov = { &c, 1 };
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    ck_code(weft_read(fd, &c, 1), -EISDIR);
    ck_code(weft_read(fd, &c, 0), -EISDIR);
    ck_code(weft_readv(fd, &iov, 1), -EISDIR);
    ck_code(weft_read_full(fd, &c, 1, NULL), -EISDIR);
    ck_code(weft_write(fd, &c, 1), -EBADF);
    ck_code(weft_close(fd), 0);
}
END_TEST

/* What epoll refuses. */
WEFT_TEST(devices_and_proc_are_files)
{
    char got[64];
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    ck_code(weft_read(fd, got, 1), 0);
    ck_code(weft_write(fd, "x", 1), 1);
    ck_assert_int_gt(weft_fd_wait(fd, POLLIN), 0);
    ck_code(weft_close(fd), 0);
    fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ck_assert_int_gt(weft_read(fd, got, sizeof(got)), 10);
    ck_code(weft_close(fd), 0);
    fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    ck_code(weft_write(fd, "x", 1), -ENOSPC);
    ck_code(weft_close(fd), 0);
}
END_TEST

/* --- Counters -------------------------------------------------------------------------- */

static void *post_later(void *arg)
{
    uint64_t three = 3;

    must_code(weft_sleep(WEFT_MS(5)), 0);
    must(write(*(int *)arg, &three, sizeof(three)) == sizeof(three));
    return NULL;
}

WEFT_TEST(eventfd_in_either_mode)
{
    int fd = eventfd(0, EFD_CLOEXEC | (_i ? EFD_NONBLOCK : 0));
    uint64_t count;
    char c;

    ck_code(weft_read(fd, &c, 1), -EINVAL);
    for (int i = 0; i < 5; i++) {
        weft_fiber_t f = spawn(post_later, &fd);

        if (i % 2)
            ck_assert_int_eq(weft_fd_wait(fd, POLLIN), POLLIN);
        ck_assert_int_eq(weft_read(fd, &count, sizeof(count)), 8);
        ck_assert_uint_eq(count, 3);
        join(f);
    }
    ck_code(weft_read_until(fd, &count, 8, weft_after(WEFT_MS(5))),
            -ETIMEDOUT);
    ck_assert_int_eq(is_blocking(fd), !_i);
    ck_code(weft_close(fd), 0);
}
END_TEST

WEFT_TEST(timerfd_in_either_mode)
{
    struct itimerspec soon = { .it_value = { 0, 3000000 } };
    int fd = timerfd_create(CLOCK_MONOTONIC,
                            TFD_CLOEXEC | (_i ? TFD_NONBLOCK : 0));
    uint64_t count;

    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(timerfd_settime(fd, 0, &soon, NULL), 0);
        ck_assert_int_eq(weft_read(fd, &count, sizeof(count)), 8);
        ck_assert_uint_eq(count, 1);
    }
    ck_assert_int_eq(is_blocking(fd), !_i);
    ck_code(weft_close(fd), 0);
}
END_TEST

/* --- Modes -------------------------------------------------------------------------------- */

/* Foreign sockets are read and written with MSG_DONTWAIT and keep their mode,
 * also while someone waits for them. */
WEFT_TEST(foreign_sockets_keep_their_mode)
{
    int fds[2];
    struct net_reader r = { 0 };
    struct iovec iov = { (void *)(uintptr_t) "def", 3 };
    weft_fiber_t f;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    r.fd = fds[0];
    for (int i = 0; i < 10; i++) {
        f = spawn(read_one, &r);
        wait_until_parked(f);
        ck_assert(is_blocking(fds[0]));
        ck_assert_int_eq(i % 2 ? weft_write(fds[1], "abc", 3)
                               : weft_writev(fds[1], &iov, 1),
                         3);
        join(f);
        ck_assert_int_eq(r.answer, 3);
    }
    net_fill(fds[1]);
    ck_assert(is_blocking(fds[0]));
    ck_assert(is_blocking(fds[1]));
    net_close(fds);
}
END_TEST

/* So do pipes, whose lane's threads wait for them; nobody else is stopped. */
WEFT_TEST(foreign_pipes_keep_their_mode)
{
    int fds[2];
    struct net_reader r = { 0 };
    weft_fiber_t f;

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    r.fd = fds[0];
    f = spawn(read_one, &r);
    wait_until_parked(f);
    for (int i = 0; i < 100; i++)
        weft_yield();
    ck_assert(is_blocking(fds[0]));
    ck_assert_int_eq(weft_write(fds[1], "abc", 3), 3);
    join(f);
    ck_assert_int_eq(r.answer, 3);
    ck_assert_int_eq(weft_fd_wait(fds[1], POLLOUT), POLLOUT);
    ck_assert(is_blocking(fds[0]));
    ck_assert(is_blocking(fds[1]));
    net_close(fds);
}
END_TEST

/* Standard input, a socket or a pipe, in its number. */
WEFT_TEST(standard_input_keeps_its_mode)
{
    int fds[2];
    struct net_reader r = { .fd = STDIN_FILENO };
    weft_fiber_t f;

    if (_i)
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    else
        ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    ck_code(weft_fd_forget(STDIN_FILENO), 0);
    ck_assert_int_eq(dup2(fds[0], STDIN_FILENO), STDIN_FILENO);
    f = spawn(read_one, &r);
    wait_until_parked(f);
    ck_assert(is_blocking(STDIN_FILENO));
    ck_assert_int_eq(write(fds[1], "abc", 3), 3);
    join(f);
    ck_assert_int_eq(r.answer, 3);
    ck_assert(is_blocking(STDIN_FILENO));
    net_close(fds);
}
END_TEST

/* A call that fails switches nothing: only a listener and a socket that is to
 * be connected are made non-blocking. */
WEFT_TEST(only_sockets_are_switched)
{
    struct sockaddr_in nobody = net_nobody();
    int fds[2], fd;

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    ck_code(weft_accept_until(fds[0], NULL, NULL, WEFT_FOREVER), -ENOTSOCK);
    ck_code(weft_connect_until(fds[0], (struct sockaddr *)&nobody, sizeof(nobody),
                                WEFT_FOREVER),
            -ENOTSOCK);
    ck_assert(is_blocking(fds[0]));
    net_close(fds);

    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_code(weft_connect_until(fd, (struct sockaddr *)&nobody, sizeof(nobody),
                                WEFT_FOREVER),
            -ECONNREFUSED);
    ck_assert(!is_blocking(fd));
    ck_code(weft_close(fd), 0);
}
END_TEST

/* What weft makes: non-blocking, and closed by exec. */
static void check_made(int fd)
{
    ck_assert_int_ge(fd, 0);
    ck_assert(!is_blocking(fd));
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    ck_code(weft_close(fd), 0);
}

WEFT_TEST(what_weft_makes_is_non_blocking)
{
    struct sockaddr_in where;
    int fds[2], listener = net_listen(4, &where);

    for (enum net_kind kind = NET_UNIX; kind < NET_KINDS; kind++) {
        net_pair(kind, fds);
        check_made(fds[0]);
        check_made(fds[1]);
    }
    check_made(net_connect(&where));
    check_made(weft_accept(listener, NULL, NULL));
    check_made(listener);
    check_made(net_udp(&where));
}
END_TEST

/* --- Elsewhere than on a fiber ---------------------------------------------------------------- */

static void calls_elsewhere(void *kind)
{
    struct sockaddr_in where;
    struct pollfd one = { .events = POLLIN };
    int fds[2], listener, fd;
    char c = 0;

    net_pair(*(enum net_kind *)kind, fds);
    ck_code(weft_read(fds[0], &c, 1), -EPERM);
    ck_code(weft_read_until(fds[0], &c, 1, WEFT_NOW), -EAGAIN);
    ck_code(weft_fd_wait_until(fds[0], POLLIN, WEFT_FOREVER), -EPERM);
    ck_assert_int_eq(weft_write(fds[1], "xy", 2), 2);
    one.fd = fds[0];
    ck_assert_int_eq(weft_poll(&one, 1), 1);
    ck_assert_int_eq(weft_fd_wait(fds[0], POLLIN), POLLIN);
    ck_assert_int_eq(weft_read(fds[0], &c, 1), 1);
    ck_assert_int_eq(weft_read(fds[0], &c, 1), 1);
    ck_code(weft_poll_until(&one, 1, WEFT_FOREVER), -EPERM);
    net_fill(fds[1]);
    ck_code(weft_write(fds[1], &c, 1), -EPERM);
    ck_code(weft_close(fds[0]), 0);
    ck_code(weft_write(fds[1], &c, 1), -EPIPE);
    ck_code(weft_close(fds[1]), 0);

    listener = net_listen(4, &where);
    ck_code(weft_accept_until(listener, NULL, NULL, WEFT_FOREVER), -EPERM);
    fd = weft_socket(AF_INET, SOCK_STREAM, 0);
    ck_code(weft_connect(fd, (struct sockaddr *)&where, sizeof(where)), 0);
    ck_code(weft_close(fd), 0);
    fd = weft_accept(listener, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    ck_code(weft_close(fd), 0);
    ck_code(weft_close(listener), 0);
}

WEFT_TEST(on_a_thread_calls_work_that_need_not_wait)
{
    /* Not TCP: net_pair() waits for it. */
    enum net_kind kind = _i % 2 ? NET_PIPE : NET_UNIX;

    if (_i < 2)
        on_thread(calls_elsewhere, &kind);
    else
        on_lane(calls_elsewhere, &kind);
}
END_TEST

/* A sandbox: no descriptor may be opened any more, nor several be polled. Who
 * sleeps, or waits for a loop or a lane, goes on. */
WEFT_TEST(under_a_limit_of_no_descriptors_waits_go_on)
{
    struct net_reader r[2] = { { .n = 5 }, { .n = 5 } };
    struct rlimit limit;
    int made[2], blocking[2];
    weft_fiber_t f[2];
    char c;

    net_pair(NET_UNIX, made);
    ck_assert_int_eq(pipe(blocking), 0);
    r[0].fd = made[0];
    r[1].fd = blocking[0];
    /* The lane's thread has a descriptor of its own, from its first wait on. */
    while (jobs_begun(WEFT__LANE_FD) == 0)
        ck_code(weft_read_until(blocking[0], &c, 1, weft_after(WEFT_MS(1))),
                -ETIMEDOUT);
    for (int i = 0; i < 2; i++) {
        f[i] = spawn(read_one, &r[i]);
        wait_until_parked(f[i]);
    }
    wait_for_jobs(WEFT__LANE_FD, 1, 0);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = (rlim_t)_i;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_code(weft_sleep(WEFT_MS(20)), 0);
    ck_assert_int_eq(write(made[1], "hello", 5), 5);
    ck_assert_int_eq(write(blocking[1], "hello", 5), 5);
    for (int i = 0; i < 2; i++) {
        join(f[i]);
        ck_assert_int_eq(r[i].answer, 5);
    }
    ck_code(weft_fd_wait_until(made[0], POLLIN, weft_after(WEFT_MS(5))),
            _i == 0 ? -EINVAL : -ETIMEDOUT);
    limit.rlim_cur = limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    net_close(made);
    close(blocking[0]);
    close(blocking[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_kinds");
    TCase *tc = tcase_create("io_kinds");

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, regular_file_is_read_and_written);
    tcase_add_test(tc, regular_file_that_may_wait_is_read_in_the_lane);
    tcase_add_test(tc, directory_is_no_file);
    tcase_add_test(tc, devices_and_proc_are_files);
    tcase_add_loop_test(tc, eventfd_in_either_mode, 0, 2);
    tcase_add_loop_test(tc, timerfd_in_either_mode, 0, 2);
    tcase_add_test(tc, foreign_sockets_keep_their_mode);
    tcase_add_test(tc, foreign_pipes_keep_their_mode);
    tcase_add_loop_test(tc, standard_input_keeps_its_mode, 0, 2);
    tcase_add_test(tc, only_sockets_are_switched);
    tcase_add_test(tc, what_weft_makes_is_non_blocking);
    tcase_add_loop_test(tc, under_a_limit_of_no_descriptors_waits_go_on, 0, 2);
    tcase_add_loop_test(tc, on_a_thread_calls_work_that_need_not_wait, 0,
                        4);
    return run_suite(suite);
}
