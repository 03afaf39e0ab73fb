/*
 * Select under the simulation: two against two over two channels, select
 * against select, against close, cancel and deadline, against the end of who
 * is joined. Exactly one case happens; what did not happen has left no trace.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include <string.h>

#include "sched/atomic.h"
#include "sched/os.h"

enum { RUNS = 300, PLANTED_RUNS = 5000, RING = 2 };

enum { FIRST = SIM_FIRST_FREE, SECOND = 2 * FIRST, THIRD = 4 * FIRST };

static weft_chan_t *a, *b;

static void make_two(size_t cap)
{
    sim_expect(weft_chan_create(&a, sizeof(uint32_t), cap) == 0);
    sim_expect(weft_chan_create(&b, sizeof(uint32_t), cap) == 0);
}

static void drop_two(void)
{
    weft_chan_unref(a);
    weft_chan_unref(b);
}

static weft_fiber_t start(void *(*fn)(void *), void *arg)
{
    weft_fiber_t f = 0;

    sim_expect(weft_spawn(&f, fn, arg) == 0);
    return f;
}

static void *join(weft_fiber_t f)
{
    void *result = NULL;

    sim_expect(weft_join(f, &result) == 0);
    return result;
}

static void nobody_at(weft_chan_t *ch)
{
    uint32_t x = 0;

    sim_expect(weft_chan_send_try(ch, &x) == -EAGAIN);
    sim_expect(weft_chan_recv_try(ch, &x) == -EAGAIN);
}

/* --- Two against two ----------------------------------------------------------- */

enum { VALUES = 3 };

static weft__au32 sum;

static void *send_both(void *arg)
{
    uint32_t me = (uint32_t)(uintptr_t)arg;

    for (uint32_t i = 0; i < VALUES; i++) {
        uint32_t v = me * 100 + i;
        weft_case_t cases[] = { WEFT_SEND(a, &v), WEFT_SEND(b, &v) };

        sim_expect(weft_select(cases, 2) >= 0);
    }
    return NULL;
}

static void *recv_both(void *arg)
{
    for (uint32_t i = 0; i < VALUES; i++) {
        uint32_t v = 0;
        weft_case_t cases[] = { WEFT_RECV(b, &v), WEFT_RECV(a, &v),
                                WEFT_RECV(b, &v) };

        sim_expect(weft_select(cases, 3) >= 0);
        (void)weft__fetch_add(&sum, v, RELAXED);
    }
    return arg;
}

static int two_by_two(void *arg)
{
    size_t cap = *(const size_t *)arg;
    weft_fiber_t f[4];

    weft__store(&sum, 0, RELAXED);
    make_two(cap);
    for (uintptr_t i = 0; i < 2; i++) {
        f[i] = start(send_both, (void *)(i + 1));
        f[2 + i] = start(recv_both, NULL);
    }
    for (int i = 0; i < 4; i++)
        join(f[i]);
    sim_expect(weft__load(&sum, RELAXED) == 3 * (100 + 200) + 2 * 3);
    if (cap == 0) {
        nobody_at(a);
        nobody_at(b);
    }
    drop_two();
    return sim_did();
}

START_TEST(two_send_and_two_receive)
{
    static const size_t caps[] = { 0, 1 };

    for (unsigned workers = 1; workers <= 3; workers++)
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(sim_runs(i ? "select/2x2 buffered"
                                        : "select/2x2",
                                      workers, RING, RUNS, two_by_two,
                                      (void *)(uintptr_t)&caps[i], NULL),
                             RUNS);
}
END_TEST

/* --- Select against select -------------------------------------------------------- */

/* Each would do all: send and receive, on both. */
static void *do_either(void *arg)
{
    uintptr_t me = (uintptr_t)arg;
    uint32_t mine = (uint32_t)me, got = 0;
    weft_case_t cases[] = { WEFT_SEND(a, &mine), WEFT_RECV(b, &got),
                            WEFT_SEND(b, &mine), WEFT_RECV(a, &got) };
    int answer;

    if (me % 2) {
        cases[0].object = cases[3].object = b;
        cases[1].object = cases[2].object = a;
    }
    answer = weft_select(cases, 4);
    sim_expect(answer >= 0 && cases[answer].status == 0);
    sim_expect((answer % 2 == 1) == (got != 0));
    return (void *)(uintptr_t)got;
}

static int select_select(void *arg)
{
    int n = *(const int *)arg;
    weft_fiber_t f[4];
    uintptr_t from[4], met = 0;

    make_two(0);
    for (int i = 0; i < n; i++)
        f[i] = start(do_either, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < n; i++)
        from[i] = (uintptr_t)join(f[i]);
    /* Half of them have received, each from another, who sent. */
    for (int i = 0; i < n; i++) {
        if (!from[i])
            continue;
        met++;
        sim_expect(from[i] != (uintptr_t)i + 1 && !from[from[i] - 1]);
        for (int k = 0; k < i; k++)
            sim_expect(from[k] != from[i]);
    }
    sim_expect(met == (uintptr_t)n / 2);
    nobody_at(a);
    nobody_at(b);
    drop_two();
    return sim_did();
}

START_TEST(selects_meet_in_pairs)
{
    static const int n[] = { 2, 4 };

    for (unsigned workers = 1; workers <= 3; workers++)
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(sim_runs("select/select", workers, RING, RUNS,
                                      select_select,
                                      (void *)(uintptr_t)&n[i], NULL),
                             RUNS);
}
END_TEST

/* --- Against close, cancel, deadline ------------------------------------------------ */

struct waiting {
    weft_time_t deadline;
    int answer;
    int status;
    uint32_t got;
};

static void *wait_for_both(void *arg)
{
    struct waiting *w = arg;
    uint32_t mine = 7;
    weft_case_t cases[] = { WEFT_RECV(a, &w->got), WEFT_SEND(b, &mine),
                            WEFT_RECV(b, &w->got) };

    w->answer = weft_select_until(cases, 3, w->deadline);
    w->status = w->answer >= 0 ? cases[w->answer].status : 0;
    return NULL;
}

static void *close_it(void *arg)
{
    sim_expect(weft_chan_close(arg) == 0);
    return NULL;
}

static void *cancel_it(void *arg)
{
    (void)weft_cancel(*(weft_fiber_t *)arg);
    return NULL;
}

static void *try_to_send(void *arg)
{
    uint32_t v = 42;

    return (void *)(intptr_t)weft_chan_send_try(arg, &v);
}

/* Something is sent while the other channel is closed, or the select
 * cancelled, or its time is over: the sender and the select tell the same. */
static int against(void *arg)
{
    int what = *(const int *)arg;
    struct waiting w = { WEFT_FOREVER, -1, 0, 0 };
    weft_fiber_t f, sender, other = 0;
    bool sent;

    make_two(0);
    if (what == 2)
        w.deadline = weft_after(WEFT_US(20));
    f = start(wait_for_both, &w);
    weft_yield();
    sender = start(try_to_send, a);
    if (what < 2)
        other = what == 0 ? start(close_it, b) : start(cancel_it, &f);
    else
        sim_expect(weft_sleep_until(w.deadline - WEFT_US(1)) == 0);
    weft_yield();
    sent = join(sender) == NULL;
    if (other)
        join(other);
    join(f);
    if (sent)
        sim_expect(w.answer == 0 && w.got == 42 && w.status == 0);
    else if (what == 0)
        sim_expect((w.answer == 1 || w.answer == 2) && w.status == -EPIPE);
    else
        sim_expect(w.answer == (what == 1 ? -ECANCELED : -ETIMEDOUT));
    sim_expect(sent || w.got == 0);
    nobody_at(a);
    if (what != 0)
        nobody_at(b);
    drop_two();
    return (sent ? FIRST : SECOND) | sim_did();
}

START_TEST(a_value_comes_or_something_else_does)
{
    static const int what[] = { 0, 1, 2 };
    static const char *const names[] = { "select/close", "select/cancel",
                                         "select/deadline" };

    for (unsigned workers = 1; workers <= 3; workers++) {
        for (int i = 0; i < 3; i++) {
            struct sim_met m;

            ck_assert_int_eq(sim_runs(names[i], workers, RING, RUNS, against,
                                      (void *)(uintptr_t)&what[i], &m),
                             RUNS);
            if (workers > 1) {
                ck_assert_uint_gt(m.times[4], RUNS / 100);
                ck_assert_uint_gt(m.times[5], RUNS / 100);
            }
        }
    }
}
END_TEST

/* --- Against the end of who is joined ------------------------------------------------- */

static void *end_soon(void *arg)
{
    return arg;
}

static void *send_one(void *arg)
{
    uint32_t v = 42;
    int status = weft_chan_send_until(arg, &v, WEFT_FOREVER);

    return (void *)(uintptr_t)(status == 0);
}

/* Two children end while a value comes. The select has one of the three;
 * whatever it did not join can be joined, and the value is sent once. */
static int against_the_end(void *arg)
{
    void *result[2] = { NULL, NULL };
    uint32_t got = 0;
    weft_fiber_t child[2], sender;
    int answer;

    (void)arg;
    make_two(0);
    for (uintptr_t i = 0; i < 2; i++)
        child[i] = start(end_soon, (void *)(i + 1));
    sender = start(send_one, a);
    {
        weft_case_t cases[] = { WEFT_JOIN(child[0], &result[0]),
                                WEFT_JOIN(child[1], &result[1]),
                                WEFT_RECV(a, &got),
                                WEFT_JOIN(child[0], &result[0]) };

        answer = weft_select(cases, 4);
        sim_expect(answer >= 0 && cases[answer].status == 0);
        if (answer == 3)
            answer = 0;
    }
    for (int i = 0; i < 2; i++) {
        sim_expect((result[i] != NULL) == (answer == i));
        if (answer != i)
            result[i] = join(child[i]);
        else
            sim_expect(weft_join_try(child[i], NULL) == -ESRCH);
        sim_expect((uintptr_t)result[i] == (uintptr_t)i + 1);
    }
    sim_expect((got == 42) == (answer == 2));
    if (answer != 2)
        sim_expect(weft_chan_recv(a, &got) == 0 && got == 42);
    sim_expect(join(sender) == (void *)1);
    nobody_at(a);
    drop_two();
    return (answer == 0 ? FIRST : answer == 1 ? SECOND : THIRD) | sim_did();
}

START_TEST(a_join_happens_or_leaves_it_joinable)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("select/join", workers, RING, 4 * RUNS,
                                  against_the_end, NULL, &m), 4 * RUNS);
        if (workers > 1)
            for (int i = 4; i < 7; i++)
                ck_assert_uint_gt(m.times[i], RUNS / 100);
    }
}
END_TEST

/* Steps of its own, so that its end falls on each moment of the select. */
struct ending {
    weft__au32 here, go;
    uint32_t steps;
};

static void *end_when_told(void *arg)
{
    struct ending *e = arg;

    weft__store(&e->here, 1, RELEASE);
    while (!weft__load(&e->go, ACQUIRE))
        weft_yield();
    for (uint32_t i = 0; i < e->steps; i++)
        (void)weft__load(&e->go, RELAXED);
    return e;
}

static weft_fiber_t start_ending(struct ending *e, uint32_t steps)
{
    weft_fiber_t f;

    weft__store(&e->here, 0, RELAXED);
    weft__store(&e->go, 0, RELAXED);
    e->steps = steps;
    f = start(end_when_told, e);
    while (!weft__load(&e->here, ACQUIRE))
        weft_yield();
    return f;
}

/* One child, which ends while the select is on its way to sleep: one of the two
 * sees the other. */
static int end_or_sleep(void *arg)
{
    struct ending e;

    make_two(0);
    for (uint32_t i = 0; i < 8; i++) {
        void *result = NULL;
        uint32_t got;
        weft_fiber_t f = start_ending(&e, 4 * i);
        weft_case_t cases[] = { WEFT_RECV(a, &got), WEFT_JOIN(f, &result) };

        weft__store(&e.go, 1, RELEASE);
        sim_expect(weft_select(cases, 2) == 1 && cases[1].status == 0);
        sim_expect(result == &e);
    }
    (void)arg;
    drop_two();
    return sim_did();
}

START_TEST(no_end_is_missed_by_one_that_goes_to_sleep)
{
    for (unsigned workers = 1; workers <= 3; workers++)
        ck_assert_int_eq(sim_runs("select/end", workers, RING, 4 * RUNS,
                                  end_or_sleep, NULL, NULL), 4 * RUNS);
}
END_TEST

/* Two children that end at about the same time, joined by one select: it has
 * the result of one, and leaves the other, ended or not, to be joined. */
static int two_ends(void *arg)
{
    struct ending e[2];

    make_two(0);
    for (uint32_t i = 0; i < 4; i++) {
        void *result[2] = { NULL, NULL };
        weft_fiber_t f[2] = { start_ending(&e[0], 30 + 2 * i),
                              start_ending(&e[1], 30) };
        weft_case_t cases[] = { WEFT_JOIN(f[0], &result[0]),
                                WEFT_JOIN(f[1], &result[1]) };
        int answer;

        weft__store(&e[0].go, 1, RELEASE);
        weft__store(&e[1].go, 1, RELEASE);
        answer = weft_select(cases, 2);
        sim_expect(answer >= 0 && cases[answer].status == 0);
        sim_expect(result[answer] == &e[answer] && !result[!answer]);
        sim_expect(weft_join_try(f[answer], NULL) == -ESRCH);
        sim_expect(join(f[!answer]) == &e[!answer]);
    }
    (void)arg;
    drop_two();
    return sim_did();
}

START_TEST(of_two_ends_the_one_that_woke_it_is_taken)
{
    for (unsigned workers = 1; workers <= 3; workers++)
        ck_assert_int_eq(sim_runs("select/two ends", workers, RING, 2 * RUNS,
                                  two_ends, NULL, NULL), 2 * RUNS);
}
END_TEST

/* --- Nothing is missed ------------------------------------------------------------------ */

/* A value is in one of the two at every instant. */
static void *carry(void *arg)
{
    for (int i = 0; i < 2; i++) {
        uint32_t v = 1;

        sim_expect(weft_chan_send(b, &v) == 0);
        sim_expect(weft_chan_recv(a, &v) == 0);
        sim_expect(weft_chan_send(a, &v) == 0);
        sim_expect(weft_chan_recv(b, &v) == 0);
    }
    return arg;
}

static int try_both(void *arg)
{
    uint32_t v = 1;
    weft_fiber_t f;

    (void)arg;
    make_two(2);
    sim_expect(weft_chan_send(a, &v) == 0);
    f = start(carry, NULL);
    weft_yield();
    for (int i = 0; i < 5; i++) {
        weft_case_t cases[] = { WEFT_RECV(a, &v), WEFT_RECV(b, &v) };
        int answer = weft_select_try(cases, 2);

        sim_expect(answer >= 0);
        sim_expect(weft_chan_send(answer ? b : a, &v) == 0);
    }
    join(f);
    drop_two();
    return sim_did();
}

START_TEST(what_is_ready_at_every_instant_is_never_missed)
{
    for (unsigned workers = 1; workers <= 3; workers++)
        ck_assert_int_eq(sim_runs("select/try", workers, RING, RUNS, try_both,
                                  NULL, NULL), RUNS);
}
END_TEST

START_TEST(what_it_relies_on_is_missed)
{
    static const size_t cap = 0;
    static const int two = 2;

    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, two_by_two,
                        (void *)(uintptr_t)&cap));
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, select_select,
                        (void *)(uintptr_t)&two));
    ck_assert(sim_finds(SIM_NO_FENCE, 2, RING, PLANTED_RUNS, end_or_sleep,
                        NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_select");
    TCase *tc = tcase_create("select");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, two_send_and_two_receive);
    tcase_add_test(tc, selects_meet_in_pairs);
    tcase_add_test(tc, a_value_comes_or_something_else_does);
    tcase_add_test(tc, a_join_happens_or_leaves_it_joinable);
    tcase_add_test(tc, no_end_is_missed_by_one_that_goes_to_sleep);
    tcase_add_test(tc, of_two_ends_the_one_that_woke_it_is_taken);
    tcase_add_test(tc, what_is_ready_at_every_instant_is_never_missed);
    tcase_add_test(tc, what_it_relies_on_is_missed);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
