/*
 * Channels under the simulation: senders, receivers and a close that comes
 * in between. What is sent arrives once, in its sender's order, or its sender
 * is told that it did not.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include <string.h>

#include "sched/atomic.h"
#include "sched/os.h"

enum { RUNS = 500, PLANTED_RUNS = 5000, RING = 2, VALUES = 4 };

enum { SENT_ALL = SIM_FIRST_FREE, REFUSED = 2 * SIM_FIRST_FREE };

static struct {
    weft_chan_t *ch;
    weft__au32 sent[2];     /* how many values each sender got rid of */
    weft__au32 received[2]; /* how many of each sender's came */
} s;

struct value {
    uint32_t sender;
    uint32_t number;
    uint64_t check;
};

static struct value value_of(uint32_t sender, uint32_t number)
{
    return (struct value){ sender, number, sender * 1000003u ^ number };
}

static void *sender(void *arg)
{
    uint32_t me = (uint32_t)(intptr_t)arg;

    for (uint32_t i = 0; i < VALUES; i++) {
        struct value v = value_of(me, i);
        int status = i % 2 == 0 ? weft_chan_send(s.ch, &v)
                                : weft_chan_send_try(s.ch, &v);

        if (status == -EAGAIN)
            status = weft_chan_send(s.ch, &v);
        if (status == -EPIPE)
            break;
        sim_expect(status == 0);
        (void)weft__fetch_add(&s.sent[me], 1, RELAXED);
    }
    weft_chan_unref(s.ch);
    return NULL;
}

/* Two receivers see each sender's values in order, each for itself. */
static void *receiver(void *arg)
{
    uint32_t next[2] = { 0, 0 };
    struct value v;
    int status;

    while ((status = weft_chan_recv(s.ch, &v)) == 0) {
        sim_expect(v.sender < 2 && v.number >= next[v.sender]);
        sim_expect(v.check == value_of(v.sender, v.number).check);
        next[v.sender] = v.number + 1;
        (void)weft__fetch_add(&s.received[v.sender], 1, RELAXED);
    }
    sim_expect(status == -EPIPE);
    sim_expect(weft_chan_recv_try(s.ch, &v) == -EPIPE);
    weft_chan_unref(s.ch);
    return arg;
}

static int all_arrived(void)
{
    unsigned sent = 0;

    for (int i = 0; i < 2; i++) {
        unsigned n = weft__load(&s.sent[i], RELAXED);

        sim_expect(weft__load(&s.received[i], RELAXED) == n);
        sent += n;
    }
    return sent == 2 * VALUES ? SENT_ALL : REFUSED;
}

static void start(weft_fiber_t *f, void *(*fn)(void *), int i)
{
    weft_chan_ref(s.ch);
    sim_expect(weft_spawn(f, fn, (void *)(intptr_t)i) == 0);
}

/* The senders end first, then comes the close: all arrives. */
static int send_and_drain(void *arg)
{
    weft_fiber_t tx[2], rx[2];

    sim_expect(weft_chan_create(&s.ch, sizeof(struct value),
                                *(const size_t *)arg) == 0);
    for (int i = 0; i < 2; i++)
        start(&tx[i], sender, i);
    for (int i = 0; i < 2; i++)
        start(&rx[i], receiver, i);
    for (int i = 0; i < 2; i++)
        sim_expect(weft_join(tx[i], NULL) == 0);
    sim_expect(weft_chan_close(s.ch) == 0);
    for (int i = 0; i < 2; i++)
        sim_expect(weft_join(rx[i], NULL) == 0);
    weft_chan_unref(s.ch);
    sim_expect(all_arrived() == SENT_ALL);
    return sim_did();
}

/* The close comes at any time: what was refused stays its sender's. */
static int close_in_between(void *arg)
{
    weft_fiber_t tx[2], rx[2];

    sim_expect(weft_chan_create(&s.ch, sizeof(struct value),
                                *(const size_t *)arg) == 0);
    for (int i = 0; i < 2; i++) {
        start(&rx[i], receiver, i);
        start(&tx[i], sender, i);
    }
    weft_yield();
    for (int i = 0; i < 5; i++)
        weft__os_point("before the close");
    sim_expect(weft_chan_close(s.ch) == 0);
    sim_expect(weft_chan_close(s.ch) == -EPIPE);
    for (int i = 0; i < 2; i++) {
        sim_expect(weft_join(tx[i], NULL) == 0);
        sim_expect(weft_join(rx[i], NULL) == 0);
    }
    weft_chan_unref(s.ch);
    return all_arrived() | sim_did();
}

static const size_t capacities[] = { 0, 1, 3 };

START_TEST(each_value_arrives_once)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        char name[32];

        snprintf(name, sizeof(name), "chan/drain cap=%zu", capacities[_i]);
        ck_assert_int_eq(sim_runs(name, workers, RING, RUNS, send_and_drain,
                                  (void *)(uintptr_t)&capacities[_i], NULL),
                         RUNS);
    }
}
END_TEST

START_TEST(a_close_refuses_or_lets_through)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;
        char name[32];

        snprintf(name, sizeof(name), "chan/close cap=%zu", capacities[_i]);
        ck_assert_int_eq(sim_runs(name, workers, RING, RUNS, close_in_between,
                                  (void *)(uintptr_t)&capacities[_i], &m),
                         RUNS);
        if (workers > 1)
            ck_assert_uint_gt(m.times[5], RUNS / 20);
    }
}
END_TEST

/* --- Freed by the one that was woken ------------------------------------- */

static void *send_once(void *arg)
{
    struct value v = value_of(1, 7);

    sim_expect(weft_chan_send(arg, &v) == 0);
    return NULL;
}

/* The receiver drops the last reference as soon as it is back, and the memory
 * goes to the next one who asks: the sender has no business there any more. */
static int free_on_return(void *arg)
{
    weft_fiber_t f;
    struct value v;

    (void)arg;
    for (int i = 0; i < 3; i++) {
        weft_chan_t *ch, *next;

        sim_expect(weft_chan_create(&ch, sizeof(v), 0) == 0);
        sim_expect(weft_spawn(&f, send_once, ch) == 0);
        sim_expect(weft_chan_recv(ch, &v) == 0);
        sim_expect(v.check == value_of(1, 7).check);
        weft_chan_unref(ch);
        sim_expect(weft_chan_create(&next, sizeof(v), 1) == 0);
        sim_expect(weft_chan_send(next, &v) == 0);
        sim_expect(weft_join(f, NULL) == 0);
        sim_expect(weft_chan_len(next) == 1);
        sim_expect(weft_chan_recv(next, &v) == 0);
        weft_chan_unref(next);
    }
    return sim_did();
}

START_TEST(freed_by_the_one_it_woke)
{
    for (unsigned workers = 1; workers <= 2; workers++)
        ck_assert_int_eq(sim_runs("chan/free", workers, RING, RUNS,
                                  free_on_return, NULL, NULL), RUNS);
}
END_TEST

START_TEST(what_it_relies_on_is_missed)
{
    void *one = (void *)(uintptr_t)&capacities[1];

    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, send_and_drain,
                        one));
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, close_in_between,
                        one));
    ck_assert(sim_finds(SIM_LOST_WAKES, 2, RING, PLANTED_RUNS, send_and_drain,
                        one));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_chan");
    TCase *tc = tcase_create("chan");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_loop_test(tc, each_value_arrives_once, 0, 3);
    tcase_add_loop_test(tc, a_close_refuses_or_lets_through, 0, 3);
    tcase_add_test(tc, freed_by_the_one_it_woke);
    tcase_add_test(tc, what_it_relies_on_is_missed);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
