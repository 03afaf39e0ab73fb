/*
 * What the kernel may refuse for reasons that no test can bring about: full
 * tables, no memory, quotas, broken disks, missing routes. Each call says so,
 * with the kernel's code.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support_net.h"
#include "tests/support_refuse.h"

/* Filters stay for good: each case is a process of its own. */

static char byte = 'b';
static struct iovec one_byte = { &byte, 1 };
static struct msghdr message = { .msg_iov = &one_byte, .msg_iovlen = 1 };

/* Each call that reads or writes, on a descriptor where it has to wait. */
static void reads_and_writes(int in, int out, int code)
{
    ck_code(weft_read_until(in, &byte, 1, WEFT_FOREVER), code);
    ck_code(weft_readv_until(in, &one_byte, 1, WEFT_FOREVER), code);
    ck_code(weft_read_full_until(in, &byte, 1, NULL, WEFT_FOREVER), code);
    ck_code(weft_write_until(out, &byte, 1, WEFT_FOREVER), code);
    ck_code(weft_writev_until(out, &one_byte, 1, WEFT_FOREVER), code);
    ck_code(weft_write_full_until(out, &byte, 1, NULL, WEFT_FOREVER), code);
}

static void sends_and_receives(int in, int out, int code)
{
    ck_code(weft_recv_until(in, &byte, 1, 0, WEFT_FOREVER), code);
    ck_code(weft_recvfrom_until(in, &byte, 1, 0, NULL, NULL, WEFT_FOREVER),
            code);
    ck_code(weft_recvmsg_until(in, &message, 0, WEFT_FOREVER), code);
    ck_code(weft_send_until(out, &byte, 1, 0, WEFT_FOREVER), code);
    ck_code(weft_sendto_until(out, &byte, 1, 0, NULL, 0, WEFT_FOREVER), code);
    ck_code(weft_sendmsg_until(out, &message, 0, WEFT_FOREVER), code);
}

static void readiness(int in, int code)
{
    struct pollfd one = { .fd = in, .events = POLLIN };
    weft_case_t cases[] = { WEFT_READABLE(in) };

    ck_code(weft_poll_until(&one, 1, WEFT_FOREVER), code);
    ck_code(weft_fd_wait_until(in, POLLIN, WEFT_FOREVER), code);
    ck_code(weft_select_until(cases, 1, WEFT_FOREVER), code);
    ck_code(weft_select(cases, 1), code);
}

/* --- Waiting ------------------------------------------------------------------------ */

static const int of_watches[] = { ENOMEM, ENOSPC };

/* The kernel has no memory for a watch, or the user's share is used up. */
WEFT_TEST(a_watch_is_refused)
{
    int fds[2];

    net_pair(NET_UNIX, fds);
    net_fill(fds[1]);
    refuse(SCMP_SYS(epoll_ctl), of_watches[_i], 2, fds[1]);
    reads_and_writes(fds[1], fds[1], -ENOMEM);
    sends_and_receives(fds[1], fds[1], -ENOMEM);
    readiness(fds[1], -ENOMEM);
    net_close(fds);
}
END_TEST

WEFT_TEST(a_watch_for_a_connection_is_refused)
{
    struct sockaddr_in where;
    int listener = net_listen(1, &where), clients[9], n = 0, status;

    /* One that nobody accepts, soon: there is no room for it. */
    do {
        must(n < 8);
        clients[n] = weft_socket(AF_INET, SOCK_STREAM, 0);
        status = weft_connect_until(clients[n++], (struct sockaddr *)&where,
                                    sizeof(where), weft_after(WEFT_MS(30)));
    } while (status == 0);
    clients[n] = weft_socket(AF_INET, SOCK_STREAM, 0);
    refuse(SCMP_SYS(epoll_ctl), ENOMEM, 2, clients[n]);
    ck_code(weft_connect_until(clients[n++], (struct sockaddr *)&where,
                               sizeof(where), WEFT_FOREVER),
            -ENOMEM);
    while (n > 0)
        ck_code(weft_close(clients[--n]), 0);
    ck_code(weft_close(listener), 0);
}
END_TEST

static const int of_tables[] = { ENFILE, EMFILE };

/* To wait for one in blocking mode takes a descriptor. */
WEFT_TEST(a_descriptor_to_wait_by_is_refused)
{
    int in[2], out[2], code = of_tables[_i];

    ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
    while (write(out[1], &byte, 1) == 1) {
    }
    ck_assert_int_eq(fcntl(out[1], F_SETFL, 0), 0);
    refuse(SCMP_SYS(eventfd2), code, ANY, 0);
    refuse(SCMP_SYS(epoll_create1), code, ANY, 0);
    reads_and_writes(in[0], out[1], -code);
    readiness(in[0], -code);
    net_close(in);
    net_close(out);
}
END_TEST

/* --- Making --------------------------------------------------------------------------- */

static const int of_making[] = { ENFILE, ENOMEM, ENOBUFS };

WEFT_TEST(a_new_descriptor_is_refused)
{
    int fds[2], code = of_making[_i];

    refuse(SCMP_SYS(socket), code, ANY, 0);
    refuse(SCMP_SYS(socketpair), code, ANY, 0);
    refuse(SCMP_SYS(pipe2), code, ANY, 0);
    ck_code(weft_socket(AF_INET, SOCK_STREAM, 0), -code);
    ck_code(weft_socketpair(AF_UNIX, SOCK_STREAM, 0, fds), -code);
    ck_code(weft_tcp_listen("127.0.0.1", "0", NULL), -code);
    ck_code(weft_tcp_connect_until("127.0.0.1", "9", WEFT_FOREVER), -code);
    ck_code(weft_udp_bind("127.0.0.1", "0"), -code);
    if (code == ENOBUFS)
        return; /* no answer for the others */
    ck_code(weft_pipe(fds), -code);
    ck_code(weft_unix_listen("/tmp/weft-test-none", NULL), -code);
    ck_code(weft_unix_connect_until("/tmp/weft-test-none", WEFT_FOREVER),
            -code);
}
END_TEST

/* Who cannot wait for better times is told. */
WEFT_TEST(a_connection_finds_no_descriptor)
{
    struct sockaddr_in where;
    int listener = net_listen(4, &where), client = net_connect(&where);
    int code = of_making[_i];

    refuse(SCMP_SYS(accept4), code, 0, listener);
    ck_code(weft_accept_until(listener, NULL, NULL, WEFT_NOW), -code);
    ck_code(weft_close(client), 0);
    ck_code(weft_close(listener), 0);
}
END_TEST

static int never_run(void *arg)
{
    (void)arg;
    ck_abort_msg("there were descriptors");
    return 0;
}

START_TEST(a_start_finds_the_machines_table_full)
{
    refuse(SCMP_SYS(eventfd2), ENFILE, ANY, 0);
    refuse(SCMP_SYS(epoll_create1), ENFILE, ANY, 0);
    ck_code(weft_run(NULL, never_run, NULL, NULL), -ENFILE);
}
END_TEST

/* --- Disks -------------------------------------------------------------------------- */

WEFT_TEST(a_disk_refuses)
{
    static const int at_close[] = { EIO, ENOSPC, EDQUOT };
    char path[] = "/tmp/weft-test-XXXXXX";
    int fd = mkstemp(path), other = open(path, O_RDWR | O_CLOEXEC);

    unlink(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(other, 0);
    refuse(SCMP_SYS(write), EDQUOT, 0, fd);
    refuse(SCMP_SYS(writev), EDQUOT, 0, fd);
    ck_code(weft_write_until(fd, &byte, 1, WEFT_FOREVER), -EDQUOT);
    ck_code(weft_writev_until(fd, &one_byte, 1, WEFT_FOREVER), -EDQUOT);
    ck_code(weft_write_full_until(fd, &byte, 1, NULL, WEFT_FOREVER),
            -EDQUOT);
    refuse(SCMP_SYS(close), at_close[_i], 0, fd);
    ck_code(weft_close(fd), -at_close[_i]);
    refuse(SCMP_SYS(write), EIO, 0, other);
    /* It stays open: its number would be the log's, and no good. */
    ck_code(weft_dump(other), -EIO);
}
END_TEST

/* --- Routes --------------------------------------------------------------------------- */

static const int of_routes[] = { EADDRNOTAVAIL, EHOSTUNREACH, ENETUNREACH,
                                 ECONNRESET };

WEFT_TEST(there_is_no_way)
{
    struct sockaddr_in where, me;
    int listener = net_listen(4, &where), code = of_routes[_i];
    int client = weft_socket(AF_INET, SOCK_STREAM, 0), udp = net_udp(&me);
    struct msghdr to_me = { .msg_name = &me, .msg_namelen = sizeof(me),
                            .msg_iov = &one_byte, .msg_iovlen = 1 };
    char port[8];

    snprintf(port, sizeof(port), "%d", ntohs(where.sin_port));
    refuse(SCMP_SYS(connect), code, ANY, 0);
    ck_code(weft_connect_until(client, (struct sockaddr *)&where,
                               sizeof(where), WEFT_FOREVER),
            -code);
    ck_code(weft_tcp_connect_until("127.0.0.1", port, WEFT_FOREVER), -code);
    if (code == ENETUNREACH) {
        refuse(SCMP_SYS(sendto), code, 0, udp);
        refuse(SCMP_SYS(sendmsg), code, 0, udp);
        ck_code(weft_sendto_until(udp, &byte, 1, 0, (struct sockaddr *)&me,
                                  sizeof(me), WEFT_FOREVER),
                -code);
        ck_code(weft_sendmsg_until(udp, &to_me, 0, WEFT_FOREVER), -code);
    }
    ck_code(weft_close(udp), 0);
    ck_code(weft_close(client), 0);
    ck_code(weft_close(listener), 0);
}
END_TEST

/* What the kernel says of a peer that answers no more depends on what the network
 * said last. */
WEFT_TEST(a_peer_is_given_up)
{
    static const int of_peers[] = { ETIMEDOUT, EHOSTUNREACH, ENETUNREACH };
    int code = of_peers[_i], fds[2];

    net_pair(NET_TCP, fds);
    refuse(SCMP_SYS(recvfrom), code, 0, fds[0]);
    refuse(SCMP_SYS(recvmsg), code, 0, fds[0]);
    refuse(SCMP_SYS(sendto), code, 0, fds[0]);
    refuse(SCMP_SYS(sendmsg), code, 0, fds[0]);
    ck_code(weft_read(fds[0], &byte, 1), -ECONNABORTED);
    ck_code(weft_readv(fds[0], &one_byte, 1), -ECONNABORTED);
    ck_code(weft_recv(fds[0], &byte, 1, 0), -ECONNABORTED);
    ck_code(weft_write(fds[0], &byte, 1), -ECONNABORTED);
    ck_code(weft_writev(fds[0], &one_byte, 1), -ECONNABORTED);
    ck_code(weft_send(fds[0], &byte, 1, 0), -ECONNABORTED);
    net_close(fds);
}
END_TEST

/* --- Memory ------------------------------------------------------------------------- */

enum { MANY = 40 };

static void never_served(int fd, void *arg)
{
    (void)fd;
    (void)arg;
    ck_abort_msg("there was memory");
}

WEFT_TEST(memory_is_refused)
{
    weft_serve_t options = WEFT_SERVE_INIT;
    struct sockaddr_in where;
    int listener = net_listen(4, &where), fds[2];
    weft_case_t cases[MANY];
    struct memory memory;
    int tried, served;

    net_pair(NET_UNIX, fds);
    for (int i = 0; i < MANY; i++)
        cases[i] = (weft_case_t)WEFT_READABLE(fds[0]);
    memory_gone(&memory);
    tried = weft_select_try(cases, MANY);
    served = weft_serve(listener, never_served, NULL, &options);
    memory_back(&memory);
    log_code("weft_select_try()", tried);
    log_code("weft_serve()", served);
    ck_assert_int_eq(tried, -ENOMEM);
    ck_assert_int_eq(served, -ENOMEM);
    ck_code(weft_close(listener), 0);
    net_close(fds);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int main(void)
{
    Suite *suite = suite_create("refused");
    TCase *tc = tcase_create("refused");

    tcase_add_loop_test(tc, a_watch_is_refused, 0, COUNT(of_watches));
    tcase_add_test(tc, a_watch_for_a_connection_is_refused);
    tcase_add_loop_test(tc, a_peer_is_given_up, 0, 3);
    tcase_add_loop_test(tc, a_descriptor_to_wait_by_is_refused, 0,
                        COUNT(of_tables));
    tcase_add_loop_test(tc, a_new_descriptor_is_refused, 0,
                        COUNT(of_making));
    tcase_add_loop_test(tc, a_connection_finds_no_descriptor, 0,
                        COUNT(of_making));
    tcase_add_test(tc, a_start_finds_the_machines_table_full);
    tcase_add_loop_test(tc, a_disk_refuses, 0, 3);
    tcase_add_loop_test(tc, there_is_no_way, 0, COUNT(of_routes));
    /* The sanitizers have a heap of their own, and stop without one. */
    if (!SANITIZED)
        tcase_add_test(tc, memory_is_refused);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
