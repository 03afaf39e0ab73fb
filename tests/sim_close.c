/*
 * Numbers that end under the simulation: closed under those who wait, under
 * those who are on their way, given up, closed behind weft's back, and used
 * again at once. No call touches the next owner's bytes, none sleeps on, and
 * no use is left over.
 */
#include "tests/sim_support_net.h"

#include <errno.h>
#include <string.h>

#include "sched/atomic.h"

enum { RUNS = 400, RING = 4, WORKERS = 3 };

enum { REFUSED = SIM_FIRST_FREE, SERVED = 2 * SIM_FIRST_FREE };

static struct {
    int fd[2];
    weft__au32 refused;
    weft__au32 served;
    weft__au32 closed;
} s;

static void fresh(void)
{
    memset(&s, 0, sizeof(s));
    net_pair(AF_INET, 4, s.fd);
}

static int met(void)
{
    return (weft__load(&s.refused, RELAXED) ? REFUSED : 0) |
           (weft__load(&s.served, RELAXED) ? SERVED : 0) | sim_did();
}

static void count(weft__au32 *n)
{
    (void)weft__fetch_add(n, 1, RELAXED);
}

/* --- Close against calls ---------------------------------------------------------- */

static void *read_old(void *arg)
{
    char c = 0;
    ssize_t got = weft_read(s.fd[0], &c, 1);

    sim_expect(got == -EBADF || (got == 1 && c == 'o'));
    count(got == 1 ? &s.served : &s.refused);
    return arg;
}

/* One call, more than there is room for, of which nothing is the next owner's. */
static void *write_old(void *arg)
{
    char bytes[40];

    memset(bytes, 'w', sizeof(bytes));
    sim_expect(weft_write_full(s.fd[0], bytes, sizeof(bytes), NULL) ==
               -EBADF);
    return arg;
}

static void *close_old(void *arg)
{
    int status = weft_close(s.fd[0]);

    sim_expect(status == 0 || status == -EBADF);
    if (status == 0)
        count(&s.closed);
    return arg;
}

/* Two readers, a writer, two closers: one of these closes, and when it is
 * back nobody is inside. The number is a new pair's at once, whose byte is
 * its owner's. */
static int closing(void *arg)
{
    bool byte = *(const bool *)arg;
    weft_fiber_t f[4];
    int next[2];
    char c;

    fresh();
    f[0] = net_spawn(read_old, NULL);
    f[1] = net_spawn(read_old, NULL);
    f[2] = net_spawn(write_old, NULL);
    net_wait_uses(s.fd[0], 3);
    if (byte)
        sim_expect(weft_write(s.fd[1], "o", 1) == 1);
    f[3] = net_spawn(close_old, NULL);
    close_old(NULL);
    net_join(f[3]);
    sim_expect(weft__load(&s.closed, RELAXED) == 1);

    net_pair(AF_INET, 4, next);
    sim_expect(next[0] == s.fd[0] || next[1] == s.fd[0]);
    sim_expect(weft_write(next[1], "n", 1) == 1);
    for (int i = 0; i < 3; i++)
        net_join(f[i]);
    sim_expect(weft_read(next[0], &c, 1) == 1 && c == 'n');
    sim_expect(weft_close(s.fd[1]) == 0);
    sim_expect(weft_close(next[0]) == 0 && weft_close(next[1]) == 0);
    net_settled();
    return met();
}

START_TEST(close_ends_every_call_before_the_number_is_free)
{
    static bool byte[] = { false, true };

    for (unsigned workers = 1; workers <= WORKERS; workers++)
        for (int i = 0; i < 2; i++) {
            struct sim_met m;

            ck_assert_int_eq(sim_runs(i ? "close/byte" : "close/parked",
                                      workers, RING, RUNS, closing, &byte[i],
                                      &m), RUNS);
            ck_assert_uint_gt(m.times[4], RUNS / 20);
            /* One worker hardly ever gets to it. */
            if (i && workers > 1)
                ck_assert_uint_gt(m.times[5], 0);
        }
}
END_TEST

/* --- Given up ----------------------------------------------------------------------- */

/* The program closes it itself, after weft has let go of it. */
static int forgetting(void *arg)
{
    weft_fiber_t f[2];
    int next[2];
    char c;

    (void)arg;
    fresh();
    f[0] = net_spawn(read_old, NULL);
    f[1] = net_spawn(read_old, NULL);
    net_wait_uses(s.fd[0], 2);
    sim_expect(weft_fd_forget(s.fd[0]) == 0);
    sim_expect(weft_close(s.fd[0]) == 0);
    net_pair(AF_INET, 4, next);
    sim_expect(weft_write(next[1], "n", 1) == 1);
    net_join(f[0]);
    net_join(f[1]);
    sim_expect(weft_read(next[0], &c, 1) == 1 && c == 'n');
    sim_expect(weft_close(s.fd[1]) == 0);
    sim_expect(weft_close(next[0]) == 0 && weft_close(next[1]) == 0);
    net_settled();
    return met();
}

START_TEST(what_is_forgotten_ends_its_calls_and_stays_open)
{
    for (unsigned workers = 1; workers <= WORKERS; workers++)
        ck_assert_int_eq(sim_runs("close/forget", workers, RING, RUNS,
                                  forgetting, NULL, NULL), RUNS);
}
END_TEST

/* --- Behind weft's back -------------------------------------------------------------- */

/* Woken for nothing just before, it may read what is the number's then. */
static void *parked_then_gone(void *arg)
{
    char c;
    ssize_t got = weft_read(s.fd[0], &c, 1);

    sim_expect(got == -EBADF || (got == 1 && c == 'n'));
    count(got == 1 ? &s.served : &s.refused);
    return arg;
}

static void *read_new(void *arg)
{
    char c;

    sim_expect(weft_read(s.fd[0], &c, 1) == 1 && c == 'n');
    return arg;
}

/* Parked readers, and perhaps one who closes; the number is closed by
 * close(2), and weft gets it again. They end, and the new file has nothing of
 * their past. */
static int plain_close(void *arg)
{
    bool closer = *(const bool *)arg;
    weft_fiber_t f[4];
    int next[2];

    fresh();
    f[0] = net_spawn(parked_then_gone, NULL);
    f[1] = net_spawn(parked_then_gone, NULL);
    net_wait_readers(s.fd[0], 2);
    sim_expect(weft__net_close(s.fd[0]) == 0);
    f[2] = closer ? net_spawn(close_old, NULL) : 0;
    net_pair(AF_INET, 4, next);
    sim_expect(next[0] == s.fd[0]);
    net_join(f[0]);
    net_join(f[1]);
    if (closer)
        net_join(f[2]);
    if (!weft__load(&s.closed, RELAXED)) {
        f[3] = net_spawn(read_new, NULL);
        sim_expect(weft_write(next[1], "n", 1) == 1);
        net_join(f[3]);
        sim_expect(weft_close(next[0]) == 0);
    }
    sim_expect(weft_close(s.fd[1]) == 0);
    sim_expect(weft_close(next[1]) == 0);
    net_settled();
    return met();
}

START_TEST(a_number_closed_behind_wefts_back_begins_anew)
{
    static bool closer[] = { false, true };

    for (unsigned workers = 1; workers <= WORKERS; workers++)
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(sim_runs("close/plain", workers, RING, RUNS,
                                      plain_close, &closer[i], NULL), RUNS);
}
END_TEST

static void add(Suite *suite, const char *name, const TTest *test)
{
    TCase *tc = tcase_create(name);

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, test);
    suite_add_tcase(suite, tc);
}

int main(void)
{
    Suite *suite = suite_create("sim_close");

    add(suite, "close", close_ends_every_call_before_the_number_is_free);
    add(suite, "forget", what_is_forgotten_ends_its_calls_and_stays_open);
    add(suite, "plain", a_number_closed_behind_wefts_back_begins_anew);
    return sim_main(suite);
}
