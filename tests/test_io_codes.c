/*
 * Every code that reading and writing document, from every call: one
 * situation at a time, all calls that it is the same for.
 */
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <pty.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/support_net.h"

/* What a call is given. */
enum how { PLAIN, NO_BUFFER, NO_MEMORY, TOO_MANY, OUT_OF_BAND, TO_NOWHERE };

typedef long (*call_fn)(int fd, enum how how, weft_time_t deadline);

struct call {
    const char *name;
    call_fn call;
    bool socket; /* only for sockets */
};

static char *buffer(enum how how)
{
    static char byte[70000];

    return how == NO_BUFFER ? NULL
           : how == NO_MEMORY ? (char *)(uintptr_t)8
                              : byte;
}

static size_t length(enum how how)
{
    return how == TOO_MANY ? 70000 : 1;
}

static int flags(enum how how)
{
    return how == OUT_OF_BAND ? MSG_OOB : 0;
}

static struct iovec *vector(enum how how)
{
    static struct iovec one;

    one = (struct iovec){ buffer(how), length(how) };
    return how == NO_BUFFER ? NULL : &one;
}

/* --- The calls ------------------------------------------------------------------------ */

static long do_read(int fd, enum how how, weft_time_t deadline)
{
    return weft_read_until(fd, buffer(how), 1, deadline);
}

static long do_readv(int fd, enum how how, weft_time_t deadline)
{
    return weft_readv_until(fd, vector(how), 1, deadline);
}

static long do_read_full(int fd, enum how how, weft_time_t deadline)
{
    return weft_read_full_until(fd, buffer(how), 1, NULL, deadline);
}

static long do_recv(int fd, enum how how, weft_time_t deadline)
{
    return weft_recv_until(fd, buffer(how), 1, flags(how), deadline);
}

static long do_recvfrom(int fd, enum how how, weft_time_t deadline)
{
    return weft_recvfrom_until(fd, buffer(how), 1, flags(how), NULL, NULL,
                               deadline);
}

static long do_recvmsg(int fd, enum how how, weft_time_t deadline)
{
    struct msghdr msg = { .msg_iov = vector(how), .msg_iovlen = 1 };

    if (how == TOO_MANY)
        msg.msg_iovlen = IOV_MAX + 1;
    return weft_recvmsg_until(fd, how == NO_BUFFER ? NULL : &msg, flags(how),
                              deadline);
}

static long do_write(int fd, enum how how, weft_time_t deadline)
{
    return weft_write_until(fd, buffer(how), length(how), deadline);
}

static long do_writev(int fd, enum how how, weft_time_t deadline)
{
    return weft_writev_until(fd, vector(how), 1, deadline);
}

static long do_write_full(int fd, enum how how, weft_time_t deadline)
{
    return weft_write_full_until(fd, buffer(how), length(how), NULL,
                                 deadline);
}

static long do_send(int fd, enum how how, weft_time_t deadline)
{
    return weft_send_until(fd, buffer(how), length(how), flags(how),
                           deadline);
}

static struct sockaddr_in nowhere = { .sin_family = AF_INET }; /* port 0 */

static long do_sendto(int fd, enum how how, weft_time_t deadline)
{
    return weft_sendto_until(fd, buffer(how), length(how), flags(how),
                             how == TO_NOWHERE ? (struct sockaddr *)&nowhere
                                               : NULL,
                             how == TO_NOWHERE ? sizeof(nowhere) : 0,
                             deadline);
}

static long do_sendmsg(int fd, enum how how, weft_time_t deadline)
{
    struct msghdr msg = { .msg_iov = vector(how), .msg_iovlen = 1 };

    if (how == TO_NOWHERE) {
        msg.msg_name = &nowhere;
        msg.msg_namelen = sizeof(nowhere);
    }
    return weft_sendmsg_until(fd, how == NO_BUFFER ? NULL : &msg, flags(how),
                              deadline);
}

enum { IN = 6, OUT = 12 };
static const struct call calls[OUT] = {
    { "weft_read_until()", do_read, false },
    { "weft_readv_until()", do_readv, false },
    { "weft_read_full_until()", do_read_full, false },
    { "weft_recv_until()", do_recv, true },
    { "weft_recvfrom_until()", do_recvfrom, true },
    { "weft_recvmsg_until()", do_recvmsg, true },
    { "weft_write_until()", do_write, false },
    { "weft_writev_until()", do_writev, false },
    { "weft_write_full_until()", do_write_full, false },
    { "weft_send_until()", do_send, true },
    { "weft_sendto_until()", do_sendto, true },
    { "weft_sendmsg_until()", do_sendmsg, true },
};

static void expect(const struct call *c, int fd, enum how how,
                   weft_time_t deadline, long code)
{
    long answer = c->call(fd, how, deadline);

    log_code(c->name, answer);
    ck_assert_msg(code < 0 ? answer == code : answer >= 0,
                  "%s is %s (%ld), and should be %s", c->name,
                  weft_err_name((int)answer), answer,
                  weft_err_name((int)code));
}

static bool reads(const struct call *c)
{
    return c < calls + IN;
}

#define EACH(c, first, last)                                                \
    for (const struct call *c = calls + (first); c < calls + (last); c++)

/* --- The situations ------------------------------------------------------------------- */

WEFT_TEST(bytes_and_room)
{
    int fds[2];

    net_pair(NET_UNIX, fds);
    EACH(c, 0, OUT)
    {
        ck_assert_int_eq(weft_write(fds[1], "x", 1), 1);
        expect(c, reads(c) ? fds[0] : fds[1], PLAIN, WEFT_FOREVER, 0);
    }
    net_close(fds);
}
END_TEST

WEFT_TEST(wrong_arguments)
{
    int fds[2], folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int udp = net_udp(&nowhere);

    nowhere.sin_port = 0;
    net_pair(NET_UNIX, fds);
    ck_assert_int_eq(weft_write(fds[1], "x", 1), 1);
    EACH(c, 0, OUT)
    {
        int fd = reads(c) ? fds[0] : fds[1];

        expect(c, fd, NO_BUFFER, WEFT_FOREVER, -EINVAL);
        expect(c, -1, PLAIN, WEFT_FOREVER, -EBADF);
        expect(c, 9999, PLAIN, WEFT_FOREVER, -EBADF);
        expect(c, fd, NO_MEMORY, WEFT_FOREVER, -EFAULT);
        if (c->socket)
            expect(c, folder, PLAIN, WEFT_FOREVER, -ENOTSOCK);
        else if (reads(c))
            expect(c, folder, PLAIN, WEFT_FOREVER, -EISDIR);
    }
    expect(&calls[IN - 1], fds[0], TOO_MANY, WEFT_FOREVER, -EMSGSIZE);
    EACH(c, OUT - 2, OUT)
    {
        expect(c, udp, TO_NOWHERE, WEFT_FOREVER, -EINVAL);
        expect(c, fds[1], TO_NOWHERE, WEFT_FOREVER, -EISCONN);
    }
    close(folder);
    ck_code(weft_close(udp), 0);
    net_close(fds);
}
END_TEST

static void on_no_fiber(void *arg)
{
    const int *fds = arg;

    EACH(c, 0, OUT)
        expect(c, reads(c) ? fds[0] : fds[1], PLAIN, WEFT_FOREVER, -EPERM);
}

/* Nothing to read, and no room. */
WEFT_TEST(waiting_that_is_ended)
{
    int fds[2];

    net_pair(NET_UNIX, fds);
    net_fill(fds[1]);
    EACH(c, 0, OUT)
    {
        int fd = reads(c) ? fds[0] : fds[1];

        /* One that is empty, and one whose peer is full. */
        if (reads(c))
            fd = fds[1];
        expect(c, fd, PLAIN, WEFT_NOW, -EAGAIN);
        expect(c, fd, PLAIN, weft_now(), -ETIMEDOUT);
        expect(c, fd, PLAIN, weft_after(WEFT_MS(2)), -ETIMEDOUT);
        ck_code(weft_cancel(weft_self()), 0);
        expect(c, fd, PLAIN, WEFT_FOREVER, -ECANCELED);
        weft_cancel_clear();
    }
    on_thread(on_no_fiber, (int[]){ fds[1], fds[1] });
    net_close(fds);
}
END_TEST

/* The end, for those who want all, and nobody there. */
WEFT_TEST(peer_that_has_gone)
{
    int fds[2];

    EACH(c, 0, OUT)
    {
        net_pair(NET_TCP, fds);
        net_reset(fds[1]);
        expect(c, fds[0], PLAIN, WEFT_FOREVER, -ECONNRESET);
        ck_code(weft_close(fds[0]), 0);
    }
    net_pair(NET_UNIX, fds);
    ck_code(weft_close(fds[1]), 0);
    expect(&calls[2], fds[0], PLAIN, WEFT_FOREVER, -EPIPE);
    EACH(c, IN, OUT)
        expect(c, fds[0], PLAIN, WEFT_FOREVER, -EPIPE);
    ck_code(weft_close(fds[0]), 0);
}
END_TEST

/* The peer takes nothing for longer than the kernel has patience. */
WEFT_TEST(peer_that_the_kernel_gives_up)
{
    int fds[OUT][2], patience = 1;

    for (int i = 0; i < OUT; i++) {
        net_pair(NET_TCP, fds[i]);
        net_fill(fds[i][0]);
        ck_assert_int_eq(setsockopt(fds[i][0], IPPROTO_TCP, TCP_USER_TIMEOUT,
                                    &patience, sizeof(patience)),
                         0);
    }
    for (int i = 0; i < OUT; i++) {
        long answer;

        /* A little may find room still. */
        do {
            answer = calls[i].call(fds[i][0], PLAIN, WEFT_FOREVER);
        } while (answer >= 0);
        log_code(calls[i].name, answer);
        ck_assert_msg(answer == -ECONNABORTED, "%s is %s", calls[i].name,
                      weft_err_name((int)answer));
        net_close(fds[i]);
    }
}
END_TEST

WEFT_TEST(datagrams)
{
    struct sockaddr_in nobody = net_nobody(), me;
    int udp = net_udp(&me);
    int lonely = weft_socket(AF_UNIX, SOCK_DGRAM, 0);

    EACH(c, IN, OUT)
        expect(c, udp, PLAIN, WEFT_FOREVER, -EDESTADDRREQ);
    EACH(c, 0, OUT)
        if (c->socket)
            expect(c, lonely, OUT_OF_BAND, WEFT_FOREVER, -EOPNOTSUPP);
    ck_code(weft_connect(udp, (struct sockaddr *)&nobody, sizeof(nobody)), 0);
    EACH(c, 0, OUT)
    {
        ck_assert_int_eq(weft_write(udp, "x", 1), 1);
        expect(c, udp, PLAIN, WEFT_FOREVER, -ECONNREFUSED);
        if (!reads(c))
            expect(c, udp, TOO_MANY, WEFT_FOREVER, -EMSGSIZE);
    }
    ck_code(weft_close(udp), 0);
    ck_code(weft_close(lonely), 0);
}
END_TEST

WEFT_TEST(not_connected)
{
    int tcp = weft_socket(AF_INET, SOCK_STREAM, 0);
    int local = weft_socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_in me, broadcast = { .sin_family = AF_INET,
                                         .sin_port = htons(9) };
    struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
    struct iovec iov = { "x", 1 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    int udp = net_udp(&me);

    EACH(c, 0, OUT)
        expect(c, reads(c) ? tcp : local, PLAIN, WEFT_FOREVER, -ENOTCONN);
    ck_code(weft_close(tcp), 0);
    ck_code(weft_close(local), 0);

    broadcast.sin_addr.s_addr = htonl(INADDR_BROADCAST);
    ck_code(weft_sendto_until(udp, "x", 1, 0, (struct sockaddr *)&broadcast,
                              sizeof(broadcast), WEFT_FOREVER),
            -EACCES);
    ck_code(weft_sendto_until(udp, "x", 1, 0, (struct sockaddr *)&six,
                              sizeof(six), WEFT_FOREVER),
            -EAFNOSUPPORT);
    msg.msg_name = &broadcast;
    msg.msg_namelen = sizeof(broadcast);
    ck_code(weft_sendmsg_until(udp, &msg, 0, WEFT_FOREVER), -EACCES);
    msg.msg_name = &six;
    msg.msg_namelen = sizeof(six);
    ck_code(weft_sendmsg_until(udp, &msg, 0, WEFT_FOREVER), -EAFNOSUPPORT);
    ck_code(weft_close(udp), 0);
}
END_TEST

/* Terminals whose other side has gone; a full disk; a file that may not
 * grow. */
WEFT_TEST(devices_and_files)
{
    char path[] = "/tmp/weft-test-XXXXXX";
    struct rlimit limit;
    int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    int file = mkstemp(path), master, slave;

    unlink(path);
    ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
    close(slave);
    EACH(c, 0, 3)
        expect(c, master, PLAIN, WEFT_FOREVER, -EIO);
    ck_code(weft_close(master), 0);
    ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
    close(master);
    EACH(c, IN, IN + 3)
    {
        expect(c, slave, PLAIN, WEFT_FOREVER, -EIO);
        expect(c, full, PLAIN, WEFT_FOREVER, -ENOSPC);
    }
    ck_code(weft_close(slave), 0);
    ck_code(weft_close(full), 0);

    ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(lseek(file, 100, SEEK_SET), 100);
    EACH(c, IN, IN + 3)
    {
        rlim_t had = limit.rlim_cur;
        long answer;

        limit.rlim_cur = 100;
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        answer = c->call(file, PLAIN, WEFT_FOREVER);
        limit.rlim_cur = had;
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        log_code(c->name, answer);
        ck_assert_int_eq(answer, -EFBIG);
    }
    ck_code(weft_close(file), 0);
}
END_TEST

/* Where the log cannot be opened for each answer at once. */
static struct {
    const char *call;
    long answer;
} kept[6];
static int kept_count;

#define KEEP(what)                                                          \
    (kept[kept_count].call = #what, kept[kept_count++].answer = (what))

/* A thread waits for those, and wants an eventfd to be called off by. */
WEFT_TEST(no_descriptor_to_wait_for_one_in_blocking_mode)
{
    struct rlimit old, none;
    char c = 'x';
    struct iovec one = { &c, 1 };
    int in[2], out[2];

    ck_assert_int_eq(pipe(in), 0);
    ck_assert_int_eq(pipe(out), 0);
    ck_assert_int_eq(fcntl(out[1], F_SETFL, O_NONBLOCK), 0);
    while (write(out[1], &c, 1) == 1) {
    }
    ck_assert_int_eq(fcntl(out[1], F_SETFL, 0), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    KEEP(weft_read_until(in[0], &c, 1, WEFT_FOREVER));
    KEEP(weft_readv_until(in[0], &one, 1, WEFT_FOREVER));
    KEEP(weft_read_full_until(in[0], &c, 1, NULL, WEFT_FOREVER));
    KEEP(weft_write_until(out[1], &c, 1, WEFT_FOREVER));
    KEEP(weft_writev_until(out[1], &one, 1, WEFT_FOREVER));
    KEEP(weft_write_full_until(out[1], &c, 1, NULL, WEFT_FOREVER));
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    for (int i = 0; i < kept_count; i++) {
        log_code(kept[i].call, kept[i].answer);
        ck_assert_msg(kept[i].answer == -EMFILE, "%s is %ld", kept[i].call,
                      kept[i].answer);
    }
    for (int i = 0; i < 2; i++) {
        close(in[i]);
        close(out[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_codes");
    TCase *tc = tcase_create("io_codes");

    tcase_add_test(tc, bytes_and_room);
    tcase_add_test(tc, wrong_arguments);
    tcase_add_test(tc, waiting_that_is_ended);
    tcase_add_test(tc, peer_that_has_gone);
    tcase_add_test(tc, peer_that_the_kernel_gives_up);
    tcase_add_test(tc, datagrams);
    tcase_add_test(tc, not_connected);
    tcase_add_test(tc, devices_and_files);
    tcase_add_test(tc, no_descriptor_to_wait_for_one_in_blocking_mode);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
