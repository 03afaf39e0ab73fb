/*
 * Signals under the simulation, which sends them itself: waiters that come,
 * are served, cancelled and late, while handlers are put up and taken back. A
 * handler that is put up or taken back twice ends the run (os_signal_sim.c).
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include <string.h>

#include "netpoll/os_signal_sim.h"
#include "sched/atomic.h"

enum { RING = 4, RUNS = 300, PLANTED_RUNS = 3000, SENT = 4 };

/* Of this run. Plain counts: virtual threads share one OS thread. */
static unsigned sent, got, ended;
static unsigned next_value;

static sigset_t set_of(int a, int b)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, a);
    if (b != 0)
        sigaddset(&set, b);
    return set;
}

static void *wait_one(void *arg)
{
    sigset_t set = set_of(SIGRTMIN, arg ? SIGTERM : 0);
    siginfo_t info;
    int answer = weft_signal_wait(&set, &info);

    if (answer == -ECANCELED) {
        ended++;
        return NULL;
    }
    sim_expect(answer == SIGRTMIN && info.si_signo == SIGRTMIN);
    sim_expect(info.si_value.sival_int < SENT);
    got++;
    return NULL;
}

static void *wait_late(void *arg)
{
    sigset_t set = set_of(SIGRTMIN, 0);
    int answer =
        weft_signal_wait_until(&set, NULL, weft_after(WEFT_US(20)));

    sim_expect(answer == SIGRTMIN || answer == -ETIMEDOUT);
    if (answer == SIGRTMIN)
        got++;
    else
        ended++;
    return arg;
}

/* Only those that weft's handler takes count: the others are the host's. */
static void *send_some(void *arg)
{
    for (int i = 0; i < SENT; i++) {
        if (weft__sig_raise(SIGRTMIN, (int)next_value))
            sent++;
        next_value = (next_value + 1) % SENT;
        weft_yield();
    }
    return arg;
}

static void *cancel_it(void *arg)
{
    (void)weft_cancel(*(weft_fiber_t *)arg);
    return NULL;
}

/* What was sent is got, now or by who comes later; no one waits for ever, and
 * in the end no handler stands. */
static int signals(void *arg)
{
    sigset_t set = set_of(SIGRTMIN, 0);
    weft_fiber_t f[3], tx, c;
    unsigned kept = 0;

    (void)arg;
    sent = got = ended = next_value = 0;
    sim_expect(weft_spawn(&f[0], wait_one, NULL) == 0);
    sim_expect(weft_spawn(&f[1], wait_one, &set) == 0);
    sim_expect(weft_spawn(&f[2], wait_late, NULL) == 0);
    sim_expect(weft_spawn(&tx, send_some, NULL) == 0);
    sim_expect(weft_spawn(&c, cancel_it, &f[0]) == 0);
    sim_expect(weft_join(tx, NULL) == 0);
    sim_expect(weft_join(c, NULL) == 0);
    sim_expect(weft_cancel(f[1]) == 0 || got > 0);
    for (int i = 0; i < 3; i++)
        sim_expect(weft_join(f[i], NULL) == 0);
    sim_expect(got + ended == 3);
    sim_expect(!weft__sig_raise(SIGRTMIN, 0));
    sim_expect(!weft__sig_raise(SIGTERM, 0));
    /* The dispatcher may still be about to keep one. */
    for (int i = 0; got + kept < sent && i < 1000; i++) {
        if (weft_signal_wait_until(&set, NULL, WEFT_NOW) == SIGRTMIN)
            kept++;
        weft_yield();
    }
    sim_expect(got + kept == sent);
    return (got > 0 ? 1 : 0) | (ended > 0 ? 2 : 0) | (kept > 0 ? 4 : 0);
}

START_TEST(each_signal_is_had_once)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("signal", workers, RING, RUNS, signals,
                                  NULL, &m),
                         RUNS);
        ck_assert_uint_gt(m.times[0], 0);
        ck_assert_uint_gt(m.times[1], 0);
        ck_assert_uint_gt(m.times[2], 0);
    }
}
END_TEST

START_TEST(what_it_relies_on_is_missed)
{
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, signals, NULL));
    ck_assert(
        sim_finds(SIM_LOST_WAKES, 2, RING, PLANTED_RUNS, signals, NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_signal");
    TCase *tc = tcase_create("signal");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, each_signal_is_had_once);
    tcase_add_test(tc, what_it_relies_on_is_missed);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
