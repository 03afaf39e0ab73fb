/*
 * Every code that sockets and pipes document where they are made, shut and
 * looked up; what is refused to one without descriptors or rights; and that
 * what goes well says so.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support_net.h"

/* --- Making --------------------------------------------------------------------------- */

WEFT_TEST(making_and_shutting)
{
    int fds[2], fd;

    fd = weft_socket(AF_INET, SOCK_STREAM, 0);
    log_code("weft_socket()", fd);
    ck_code(weft_shutdown(fd, SHUT_RD), -ENOTCONN);
    ck_code(weft_close(fd), 0);
    ck_code(weft_socket(4711, SOCK_STREAM, 0), -EAFNOSUPPORT);
    ck_code(weft_socket(AF_INET, 99, 0), -EINVAL);
    ck_code(weft_socket(AF_INET, SOCK_STREAM, 250), -EPROTONOSUPPORT);
    ck_code(weft_socketpair(AF_UNIX, SOCK_STREAM, 0, NULL), -EINVAL);
    ck_code(weft_socketpair(AF_UNIX, 99, 0, fds), -EINVAL);
    ck_code(weft_socket(AF_INET, SOCK_RDM, 0), -ESOCKTNOSUPPORT);
    ck_code(weft_socketpair(AF_UNIX, SOCK_RDM, 0, fds), -ESOCKTNOSUPPORT);
    ck_code(weft_socketpair(4711, SOCK_STREAM, 0, fds), -EAFNOSUPPORT);
    ck_code(weft_socketpair(AF_INET, SOCK_STREAM, 0, fds), -EOPNOTSUPP);
    ck_code(weft_socketpair(AF_UNIX, SOCK_STREAM, 250, fds),
            -EPROTONOSUPPORT);
    net_pair(NET_PIPE, fds);
    ck_code(weft_shutdown(fds[0], SHUT_RD), -ENOTSOCK);
    net_close(fds);
    net_pair(NET_UNIX, fds);
    ck_code(weft_shutdown(fds[0], 77), -EINVAL);
    net_close(fds);
    ck_code(weft_shutdown(-1, SHUT_RD), -EBADF);
    ck_code(weft_shutdown(9999, SHUT_RD), -EBADF);
}
END_TEST

/* Answers that are logged when the log can be opened again. */
struct later {
    const char *name;
    long answer;
};

static void look_later(const struct later *l, size_t n, long code)
{
    for (size_t i = 0; i < n; i++) {
        log_code(l[i].name, l[i].answer);
        ck_assert_msg(l[i].answer == code, "%s is %s", l[i].name,
                      weft_err_name((int)l[i].answer));
    }
}

#define LATER(call) { #call, (call) }
#define LOOK_LATER(list, code)                                              \
    look_later(list, sizeof(list) / sizeof(*(list)), code)

WEFT_TEST(no_descriptor_is_left)
{
    enum { LIMIT = 200 };
    static int taken[LIMIT];
    struct sockaddr_in where;
    int fds[2], pipe_fds[2], listener = net_listen(4, &where);
    int client = net_connect(&where);
    unsigned n;

    ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
    n = leave_descriptors(0, taken, LIMIT);
    {
        struct pollfd one = { .fd = pipe_fds[0], .events = POLLIN };
        const struct later list[] = {
            LATER(weft_socket(AF_INET, SOCK_STREAM, 0)),
            LATER(weft_socketpair(AF_UNIX, SOCK_STREAM, 0, fds)),
            LATER(weft_pipe(fds)),
            LATER(weft_tcp_listen("127.0.0.1", "0", NULL)),
            LATER(weft_udp_bind("127.0.0.1", "0")),
            LATER(weft_tcp_connect_until("127.0.0.1", "9", WEFT_FOREVER)),
            LATER(weft_unix_listen("/tmp/weft-test-none", NULL)),
            LATER(weft_unix_connect_until("/tmp/weft-test-none",
                                          WEFT_FOREVER)),
            LATER(weft_accept_until(listener, NULL, NULL, WEFT_NOW)),
            LATER(weft_poll_until(&one, 1, WEFT_FOREVER)),
            LATER(weft_fd_wait_until(pipe_fds[0], POLLIN, WEFT_FOREVER)),
        };

        while (n > 0)
            close(taken[--n]);
        LOOK_LATER(list, -EMFILE);
    }
    net_close(pipe_fds);
    ck_code(weft_close(client), 0);
    ck_code(weft_close(listener), 0);
}
END_TEST

/* As one who may not: a port that needs a privilege, a folder of another's, a
 * raw socket. */
WEFT_TEST(not_allowed)
{
    char folder[] = "/tmp/weft-test-XXXXXX", path[64];
    bool root = geteuid() == 0;
    int fd;

    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/socket", folder);
    fd = weft_unix_listen(path, NULL);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(chmod(folder, 0), 0);
    if (root)
        ck_assert_int_eq(seteuid(65534), 0);
    {
        const struct later raw[] = {
            LATER(weft_socket(AF_INET, SOCK_RAW, 1)),
        };
        const struct later list[] = {
            LATER(weft_unix_listen(path, NULL)),
            LATER(weft_unix_connect_until(path, WEFT_FOREVER)),
        };
        const struct later ports[] = {
            LATER(weft_tcp_listen("127.0.0.1", "1", NULL)),
            LATER(weft_udp_bind("127.0.0.1", "1")),
        };

        if (root)
            ck_assert_int_eq(seteuid(0), 0);
        LOOK_LATER(raw, -EPERM);
        LOOK_LATER(list, -EACCES);
        /* Some machines ask for no privilege. */
        if (ports[0].answer < 0)
            LOOK_LATER(ports, -EACCES);
    }
    ck_code(weft_close(fd), 0);
    ck_assert_int_eq(chmod(folder, 0700), 0);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

/* A name cannot be looked up here, or by one who is cancelled. */
static void names_elsewhere(void *arg)
{
    (void)arg;
    ck_code(weft_tcp_listen("localhost", "0", NULL), -EPERM);
    ck_code(weft_udp_bind("localhost", "0"), -EPERM);
}

WEFT_TEST(names_that_cannot_be_looked_up)
{
    on_thread(names_elsewhere, NULL);
    ck_code(weft_cancel(weft_self()), 0);
    ck_code(weft_tcp_listen("localhost", "0", NULL), -ECANCELED);
    ck_code(weft_udp_bind("localhost", "0"), -ECANCELED);
    weft_cancel_clear();
}
END_TEST

/* And all that goes well. */
#define GOES_WELL(call)                                                     \
    do {                                                                    \
        long answer_ = (call);                                              \
        log_code(strstr(#call, "weft_"), answer_ < 0 ? answer_ : 0);        \
        ck_assert_msg(answer_ >= 0, "%s is %s", #call,                      \
                      weft_err_name((int)answer_));                         \
    } while (0)

WEFT_TEST(all_goes_well)
{
    char folder[] = "/tmp/weft-test-XXXXXX", path[64], port[8];
    struct sockaddr_in where;
    struct iovec iov = { "x", 1 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    char got[4];
    struct iovec in = { got, 1 };
    struct msghdr to = { .msg_iov = &in, .msg_iovlen = 1 };
    struct pollfd one = { .events = POLLOUT };
    int fds[2], l, a, b;

    net_pair(NET_UNIX, fds);
    one.fd = fds[0];
    GOES_WELL(weft_send(fds[0], "x", 1, 0));
    GOES_WELL(weft_recv(fds[1], got, 1, 0));
    GOES_WELL(weft_sendmsg(fds[0], &msg, 0));
    GOES_WELL(weft_recvmsg(fds[1], &to, 0));
    GOES_WELL(weft_writev(fds[0], &iov, 1));
    GOES_WELL(weft_recvfrom(fds[1], got, 1, 0, NULL, NULL));
    GOES_WELL(weft_poll(&one, 1));
    GOES_WELL(weft_poll_until(&one, 1, WEFT_FOREVER));
    GOES_WELL(weft_fd_wait(fds[0], POLLOUT));
    GOES_WELL(weft_fd_wait_until(fds[0], POLLOUT, WEFT_FOREVER));
    net_close(fds);

    GOES_WELL(l = weft_tcp_listen("127.0.0.1", "0", NULL));
    where = net_name(l);
    snprintf(port, sizeof(port), "%d", ntohs(where.sin_port));
    GOES_WELL(a = weft_tcp_connect("127.0.0.1", port));
    ck_code(weft_close(a), 0);
    GOES_WELL(a = weft_tcp_connect_until("127.0.0.1", port, WEFT_FOREVER));
    ck_code(weft_close(a), 0);
    a = weft_socket(AF_INET, SOCK_STREAM, 0);
    GOES_WELL(weft_connect_until(a, (struct sockaddr *)&where, sizeof(where),
                                 WEFT_FOREVER));
    ck_code(weft_close(a), 0);
    GOES_WELL(a = weft_accept(l, NULL, NULL));
    GOES_WELL(b = weft_accept_until(l, NULL, NULL, WEFT_FOREVER));
    ck_code(weft_close(a), 0);
    ck_code(weft_close(b), 0);
    ck_code(weft_close(l), 0);
    GOES_WELL(a = weft_udp_bind("127.0.0.1", "0"));
    ck_code(weft_close(a), 0);

    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/socket", folder);
    GOES_WELL(l = weft_unix_listen(path, NULL));
    GOES_WELL(a = weft_unix_connect(path));
    GOES_WELL(b = weft_unix_connect_until(path, WEFT_FOREVER));
    ck_code(weft_close(a), 0);
    ck_code(weft_close(b), 0);
    ck_code(weft_close(l), 0);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("socket_codes");
    TCase *tc = tcase_create("socket_codes");

    tcase_add_test(tc, making_and_shutting);
    tcase_add_test(tc, no_descriptor_is_left);
    tcase_add_test(tc, not_allowed);
    tcase_add_test(tc, names_that_cannot_be_looked_up);
    tcase_add_test(tc, all_goes_well);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
