/*
 * Descriptors under the simulation: bytes that arrive in pieces and late,
 * events that come late or for nothing, and several who wait on one
 * descriptor. No byte is lost or read twice, and nobody sleeps beside what he
 * waits for.
 */
#include "tests/sim_support_net.h"

#include <errno.h>
#include <string.h>

#include "sched/atomic.h"

enum { RUNS = 500, PLANTED_RUNS = 3000, RING = 4, WORKERS = 3 };

static struct {
    int fd[2];
    size_t bytes;
    weft__au32 got;
    weft__au32 sum;
    weft__au32 ended;
    weft__au32 left; /* cancelled, or too late */
} s;

static void fresh(int domain, size_t room, size_t bytes)
{
    memset(&s, 0, sizeof(s));
    s.bytes = bytes;
    net_pair(domain, room, s.fd);
}

static uint32_t sum_of(size_t bytes)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < bytes; i++)
        sum += net_byte(i);
    return sum;
}

static void all_got(size_t bytes)
{
    sim_expect(weft__load(&s.got, RELAXED) == bytes);
    sim_expect(weft__load(&s.sum, RELAXED) == sum_of(bytes));
}

static void close_both(void)
{
    for (int i = 0; i < 2; i++)
        sim_expect(weft_close(s.fd[i]) == 0);
    net_settled();
}

/* Send bytes 0 to s.bytes - 1 and then the end. */
static void *send_all(void *arg)
{
    unsigned char buf[5];
    size_t put = 0;

    while (put < s.bytes) {
        size_t n = 1 + put % sizeof(buf);
        ssize_t more;

        if (n > s.bytes - put)
            n = s.bytes - put;
        for (size_t i = 0; i < n; i++)
            buf[i] = net_byte(put + i);
        more = weft_write(s.fd[1], buf, n);
        sim_expect(more > 0);
        put += (size_t)more;
    }
    sim_expect(weft_shutdown(s.fd[1], SHUT_WR) == 0);
    return arg;
}

static void note(const unsigned char *buf, ssize_t n)
{
    for (ssize_t i = 0; i < n; i++)
        (void)weft__fetch_add(&s.sum, buf[i], RELAXED);
    (void)weft__fetch_add(&s.got, (uint32_t)n, RELAXED);
}

/* Read to the end, `arg` bytes at a time. */
static void *read_all(void *arg)
{
    unsigned char buf[8];
    size_t n = (size_t)(uintptr_t)arg;
    ssize_t got;

    while ((got = weft_read(s.fd[0], buf, n)) > 0)
        note(buf, got);
    sim_expect(got == 0);
    return NULL;
}

/* --- One reader, in order ------------------------------------------------------ */

static int stream(void *arg)
{
    int domain = *(int *)arg;
    weft_fiber_t f;
    unsigned char buf[4];
    size_t n = 0;
    ssize_t got;

    fresh(domain, 6, 16);
    f = net_spawn(send_all, NULL);
    while ((got = weft_read(s.fd[0], buf, sizeof(buf))) > 0)
        for (ssize_t i = 0; i < got; i++, n++)
            sim_expect(buf[i] == net_byte(n));
    sim_expect(got == 0 && n == s.bytes);
    net_join(f);
    close_both();
    return sim_did();
}

START_TEST(a_stream_arrives_whole_and_in_order)
{
    static int domain[] = { AF_INET, AF_UNIX };

    for (unsigned workers = 1; workers <= WORKERS; workers++)
        for (int i = 0; i < 2; i++) {
            struct sim_met m;

            ck_assert_int_eq(sim_runs(i ? "net/unix" : "net/tcp", workers,
                                      RING, RUNS, stream, &domain[i], &m),
                             RUNS);
            ck_assert_uint_gt(m.times[2], RUNS / 20);
        }
}
END_TEST

/* --- Several readers, several writers -------------------------------------------- */

/* Reads that are full wake the next reader, and so does the end. */
static int readers(void *arg)
{
    weft_fiber_t f[3];

    fresh(*(int *)arg, 8, 10);
    for (uintptr_t i = 0; i < 2; i++)
        f[i] = net_spawn(read_all, (void *)(1 + 2 * i));
    f[2] = net_spawn(send_all, NULL);
    for (int i = 0; i < 3; i++)
        net_join(f[i]);
    all_got(s.bytes);
    close_both();
    return sim_did();
}

START_TEST(readers_of_one_descriptor_share_its_bytes)
{
    static int domain[] = { AF_INET, AF_UNIX };

    for (unsigned workers = 1; workers <= WORKERS; workers++)
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(sim_runs(i ? "net/readers unix"
                                        : "net/readers tcp",
                                      workers, RING, RUNS, readers,
                                      &domain[i], NULL), RUNS);
}
END_TEST

/* Each byte is one of those that belong to one writer. */
static void *send_some(void *arg)
{
    unsigned char c[3];

    memset(c, (int)(uintptr_t)arg, sizeof(c));
    for (int put = 0; put < 6;) {
        ssize_t n = weft_write(s.fd[1], c, sizeof(c));

        sim_expect(n > 0);
        put += (int)n;
        (void)weft__fetch_add(&s.left, (uint32_t)n, RELAXED);
    }
    (void)weft__fetch_add(&s.ended, 1, RELAXED);
    return NULL;
}

static int writers(void *arg)
{
    weft_fiber_t f[3];

    fresh(*(int *)arg, 3, 0);
    for (uintptr_t i = 0; i < 2; i++)
        f[i] = net_spawn(send_some, (void *)(1 + i));
    f[2] = net_spawn(read_all, (void *)2);
    net_join(f[0]);
    net_join(f[1]);
    sim_expect(weft_shutdown(s.fd[1], SHUT_WR) == 0);
    net_join(f[2]);
    sim_expect(weft__load(&s.got, RELAXED) == weft__load(&s.left, RELAXED));
    close_both();
    return sim_did();
}

START_TEST(writers_against_a_full_buffer_all_find_room)
{
    static int domain[] = { AF_INET, AF_UNIX };

    for (unsigned workers = 1; workers <= WORKERS; workers++)
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(sim_runs(i ? "net/writers unix"
                                        : "net/writers tcp",
                                      workers, RING, RUNS, writers,
                                      &domain[i], NULL), RUNS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_net");
    TCase *tc = tcase_create("net");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, a_stream_arrives_whole_and_in_order);
    tcase_add_test(tc, readers_of_one_descriptor_share_its_bytes);
    tcase_add_test(tc, writers_against_a_full_buffer_all_find_room);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
