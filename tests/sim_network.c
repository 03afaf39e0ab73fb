/*
 * The simulated network itself: what it draws is part of the schedule, it is
 * there without a simulation, and lets nothing in from outside.
 */
#include "tests/sim_support_net.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "netpoll/os.h"
#include "sched/os.h"

static struct {
    int fd[2];
    size_t bytes;
} s;

static void bare_writer(void *arg)
{
    (void)arg;
    for (size_t put = 0; put < s.bytes;) {
        unsigned char c[2] = { net_byte(put), net_byte(put + 1) };
        ssize_t n = weft__fd_send(s.fd[1], c, sizeof(c), 0);

        sim_expect(n > 0 || n == -EAGAIN);
        if (n > 0)
            put += (size_t)n;
        else
            weft__os_pause();
    }
}

static void bare_reader(void *arg)
{
    (void)arg;
    for (size_t got = 0; got < s.bytes;) {
        unsigned char c[3];
        ssize_t n = weft__fd_recv(s.fd[0], c, sizeof(c), 0);

        sim_expect(n > 0 || n == -EAGAIN);
        for (ssize_t i = 0; i < n; i++)
            sim_expect(c[i] == net_byte(got + (size_t)i));
        if (n > 0)
            got += (size_t)n;
        else
            weft__os_pause();
    }
}

static int bare_run(const weft_sim_t *sim)
{
    void (*const fns[])(void *) = { bare_writer, bare_reader };
    int status;

    memset(&s, 0, sizeof(s));
    s.bytes = 20;
    weft__net_room(6);
    ck_assert_int_eq(weft__fd_socketpair(AF_INET, SOCK_STREAM, 0, s.fd), 0);
    status = weft__sim_threads(sim, fns, 2, NULL, NULL);
    ck_assert_int_eq(weft__net_close(s.fd[0]), 0);
    ck_assert_int_eq(weft__net_close(s.fd[1]), 0);
    return status;
}

/* What it drew is part of the schedule, and is drawn again. */
START_TEST(what_the_network_does_is_replayed)
{
    static char text[1 << 20];
    unsigned odd = 0;

    for (uint64_t seed = 1; seed <= 50; seed++) {
        weft_sim_t sim = WEFT_SIM_INIT;
        uint64_t hash;

        sim.seed = seed;
        ck_assert_int_eq(bare_run(&sim), 0);
        hash = weft__sim_last()->hash;
        ck_assert_uint_lt(weft__sim_schedule(text, sizeof(text)),
                          sizeof(text));
        odd += strstr(text, "d2") != NULL;
        sim.replay = text;
        ck_assert_int_eq(bare_run(&sim), 0);
        ck_assert_uint_eq(weft__sim_last()->hash, hash);
    }
    ck_assert_uint_gt(odd, 10);
}
END_TEST

static void *send_all(void *arg)
{
    (void)arg;
    for (size_t put = 0; put < s.bytes; put++) {
        unsigned char c = net_byte(put);

        sim_expect(weft_write(s.fd[1], &c, 1) == 1);
    }
    sim_expect(weft_shutdown(s.fd[1], SHUT_WR) == 0);
    return NULL;
}

static int stream(void *arg)
{
    weft_fiber_t f;
    unsigned char c;
    ssize_t n;
    size_t got = 0;

    memset(&s, 0, sizeof(s));
    s.bytes = 2000;
    net_pair(*(int *)arg, 16, s.fd);
    f = net_spawn(send_all, NULL);
    while ((n = weft_read(s.fd[0], &c, 1)) == 1)
        sim_expect(c == net_byte(got++));
    sim_expect(n == 0 && got == s.bytes);
    net_join(f);
    sim_expect(weft_close(s.fd[0]) == 0 && weft_close(s.fd[1]) == 0);
    net_settled();
    return 0;
}

/* With real threads it is the same, and nothing is drawn. */
START_TEST(without_a_simulation_the_network_is_there)
{
    static int domain[] = { AF_INET, AF_UNIX };
    int answer = -1;

    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(weft_run(NULL, stream, &domain[i], &answer), 0);
        ck_assert_int_eq(answer, 0);
    }
}
END_TEST

static int foreign(void *arg)
{
    int fd = *(int *)arg;
    char c;

    sim_expect(weft_read(fd, &c, 1) == -ENOTSUP);
    sim_expect(weft_write(fd, "x", 1) == -ENOTSUP);
    return 0;
}

START_TEST(a_descriptor_from_outside_is_refused)
{
    weft_sim_t sim = WEFT_SIM_INIT;
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(weft_sim_run(&sim, foreign, &fds[0]), 0);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_network");
    TCase *tc = tcase_create("network");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, what_the_network_does_is_replayed);
    tcase_add_test(tc, without_a_simulation_the_network_is_there);
    tcase_add_test(tc, a_descriptor_from_outside_is_refused);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
