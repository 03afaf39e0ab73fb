/*
 * Select over descriptors under the simulation, on its network in memory: a
 * byte, a value, a close and a cancel in the same instant, and a reader who
 * waits behind. One case happens; bytes are still there; who waits behind is
 * told; no use and no waiter is left.
 */
#include "tests/sim_support_net.h"

#include <errno.h>
#include <string.h>

#include "sched/atomic.h"
#include "sched/os.h"

enum { RUNS = 300, RING = 4, WORKERS = 3 };

enum { FD = SIM_FIRST_FREE, VALUE = 2 * FD, ENDED = 4 * FD };

static struct {
    int fd[2];
    weft_chan_t *ch;
    int answer;
    int status;
    uint32_t got;
    weft__au32 read;
} s;

static void fresh(void)
{
    memset(&s, 0, sizeof(s));
    net_pair(AF_INET, 4, s.fd);
    sim_expect(weft_chan_create(&s.ch, sizeof(uint32_t), 0) == 0);
}

static void settled(void)
{
    uint32_t x = 0;

    sim_expect(weft_chan_send_try(s.ch, &x) == -EAGAIN);
    sim_expect(weft_chan_recv_try(s.ch, &x) == -EAGAIN);
    weft_chan_unref(s.ch);
    sim_expect(weft_close(s.fd[1]) == 0);
    net_settled();
}

static void *select_one(void *arg)
{
    weft_case_t cases[] = { WEFT_RECV(s.ch, &s.got), WEFT_READABLE(s.fd[0]) };

    s.answer = weft_select(cases, 2);
    s.status = s.answer >= 0 ? cases[s.answer].status : 0;
    return arg;
}

static void *send_value(void *arg)
{
    uint32_t v = 42;

    *(int *)arg = weft_chan_send_try(s.ch, &v);
    return NULL;
}

static void *write_byte(void *arg)
{
    ssize_t n = weft_write(s.fd[1], "b", 1);

    /* `arg`: nobody may be at the other end. */
    sim_expect(n == 1 || (arg && (n == -EPIPE || n == -ECONNRESET)));
    return NULL;
}

static int met(void)
{
    return (s.answer == 1 && s.status == 0 ? FD : 0) |
           (s.answer == 0 ? VALUE : 0) |
           (s.answer < 0 || s.status < 0 ? ENDED : 0) | sim_did();
}

/* --- A byte and a value ------------------------------------------------------------ */

static int both_ready(void *arg)
{
    weft_fiber_t f, sender, writer;
    int sent = -1;
    char c = 0;

    (void)arg;
    fresh();
    f = net_spawn(select_one, NULL);
    weft_yield();
    sender = net_spawn(send_value, &sent);
    writer = net_spawn(write_byte, NULL);
    net_join(sender);
    net_join(writer);
    net_join(f);
    sim_expect(s.answer >= 0 && s.status == 0);
    sim_expect((sent == 0) == (s.answer == 0));
    sim_expect((s.got == 42) == (s.answer == 0));
    sim_expect(weft_read(s.fd[0], &c, 1) == 1 && c == 'b');
    sim_expect(weft_close(s.fd[0]) == 0);
    settled();
    return met();
}

START_TEST(a_byte_or_a_value)
{
    for (unsigned workers = 1; workers <= WORKERS; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("select_fd/both", workers, RING, RUNS,
                                  both_ready, NULL, &m), RUNS);
        if (workers > 1) {
            ck_assert_uint_gt(m.times[4], 0);
            ck_assert_uint_gt(m.times[5], 0);
        }
    }
}
END_TEST

/* --- Close and cancel --------------------------------------------------------------- */

/* Before the byte has come, at once with it, or after. */
static void linger(void)
{
    unsigned any = (unsigned)(weft_now() / 10);

    for (unsigned n = any % 60; n > 0; n--)
        weft__os_point("lingers");
    if (any % 2)
        (void)weft_sleep(WEFT_NS(200) * (any / 2 % 50));
}

static void *close_it(void *arg)
{
    linger();
    sim_expect(weft_close(s.fd[0]) == 0);
    return arg;
}

static void *cancel_it(void *arg)
{
    linger();
    net_cancel(*(weft_fiber_t *)arg);
    return NULL;
}

static int ended(void *arg)
{
    bool close = *(const bool *)arg;
    weft_fiber_t f, other, writer;
    char c;

    fresh();
    f = net_spawn(select_one, NULL);
    weft_yield();
    other = close ? net_spawn(close_it, NULL) : net_spawn(cancel_it, &f);
    writer = net_spawn(write_byte, close ? &s : NULL);
    net_join(other);
    net_join(f);
    net_join(writer);
    if (close) {
        sim_expect(s.answer == 1);
        sim_expect(s.status == 0 || s.status == -EBADF);
    } else {
        sim_expect(s.answer == 1 || s.answer == -ECANCELED);
        sim_expect(s.status == 0);
        sim_expect(weft_read(s.fd[0], &c, 1) == 1);
        sim_expect(weft_close(s.fd[0]) == 0);
    }
    settled();
    return met();
}

START_TEST(a_close_and_a_cancel_end_the_wait)
{
    static bool close[] = { true, false };

    for (unsigned workers = 1; workers <= WORKERS; workers++)
        for (int i = 0; i < 2; i++) {
            struct sim_met m;

            ck_assert_int_eq(sim_runs(i ? "select_fd/cancel"
                                        : "select_fd/close",
                                      workers, RING, RUNS, ended, &close[i],
                                      &m), RUNS);
            if (workers > 1) {
                printf("    read %u, ended %u\n", m.times[4], m.times[6]);
                ck_assert_uint_gt(m.times[4], 0);
                ck_assert_uint_gt(m.times[6], 0);
            }
        }
}
END_TEST

/* --- One who waits behind ----------------------------------------------------------- */

static void *read_byte(void *arg)
{
    char c = 0;

    sim_expect(weft_read(s.fd[0], &c, 1) == 1 && c == 'b');
    (void)weft__fetch_add(&s.read, 1, RELAXED);
    return arg;
}

/* The byte wakes the select, and it goes for the value: the reader gets the
 * byte all the same. */
static int behind(void *arg)
{
    weft_fiber_t f, reader, sender, writer;
    int sent = -1;

    (void)arg;
    fresh();
    f = net_spawn(select_one, NULL);
    weft_yield();
    reader = net_spawn(read_byte, NULL);
    net_wait_uses(s.fd[0], 1);
    writer = net_spawn(write_byte, NULL);
    sender = net_spawn(send_value, &sent);
    net_join(sender);
    net_join(writer);
    net_join(reader);
    net_cancel(f);
    net_join(f);
    sim_expect((sent == 0) == (s.answer == 0));
    sim_expect(weft__load(&s.read, RELAXED) == 1);
    sim_expect(weft_close(s.fd[0]) == 0);
    settled();
    return met();
}

START_TEST(who_waits_behind_is_told)
{
    for (unsigned workers = 1; workers <= WORKERS; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("select_fd/behind", workers, RING, 2 * RUNS,
                                  behind, NULL, &m), 2 * RUNS);
        if (workers > 1)
            ck_assert_uint_gt(m.times[5], 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_select_fd");
    TCase *tc = tcase_create("select_fd");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, a_byte_or_a_value);
    tcase_add_test(tc, a_close_and_a_cancel_end_the_wait);
    tcase_add_test(tc, who_waits_behind_is_told);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
