/*
 * Condition variables under the simulation: no signal is lost between the
 * unlock and the park; a signal that meets a waiter which is cancelled in the
 * same instant is that one's or the next one's; and the condition may be
 * freed by the last it woke.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include <string.h>

#include "sched/atomic.h"
#include "sched/os.h"
#include "sched/park.h"

enum { RUNS = 600, PLANTED_RUNS = 5000, RING = 2 };

enum { STOLEN = SIM_FIRST_FREE, TAKEN = 2 * SIM_FIRST_FREE };

struct guarded {
    weft_mutex_t m;
    weft_cond_t c;
    int waiting; /* all under m */
    int tokens;
    int got;
};

static struct guarded s;

static void lock(struct guarded *g)
{
    sim_expect(weft_mutex_lock(&g->m) == 0);
}

static void unlock(struct guarded *g)
{
    sim_expect(weft_mutex_unlock(&g->m) == 0);
}

static void fresh(void)
{
    memset(&s, 0, sizeof(s));
}

static void nobody_left(void)
{
    sim_expect(s.c.weft_private[0] == 0 && s.c.weft_private[1] == 0);
}

/* --- Tokens ----------------------------------------------------------------- */

enum { FIBERS = 3, EACH = 2 };

static void *get_tokens(void *arg)
{
    for (int i = 0; i < EACH; i++) {
        lock(&s);
        while (s.tokens == 0)
            sim_expect(weft_cond_wait(&s.c, &s.m) == 0);
        s.tokens--;
        s.got++;
        unlock(&s);
    }
    return arg;
}

/* Each gives in its own way. */
static void *give_tokens(void *arg)
{
    intptr_t how = (intptr_t)arg;

    for (int i = 0; i < EACH; i++) {
        lock(&s);
        s.tokens++;
        if (how == 0)
            sim_expect(weft_cond_signal(&s.c) == 0);
        unlock(&s);
        if (how == 1)
            sim_expect(weft_cond_signal_n(&s.c, 1) == 0);
        if (how == 2)
            sim_expect(weft_cond_broadcast(&s.c) == 0);
    }
    return NULL;
}

static int tokens(void *arg)
{
    weft_fiber_t f[2 * FIBERS];

    (void)arg;
    fresh();
    for (intptr_t i = 0; i < FIBERS; i++) {
        sim_expect(weft_spawn(&f[i], get_tokens, NULL) == 0);
        sim_expect(weft_spawn(&f[FIBERS + i], give_tokens, (void *)i) == 0);
    }
    for (int i = 0; i < 2 * FIBERS; i++)
        sim_expect(weft_join(f[i], NULL) == 0);
    sim_expect(s.tokens == 0 && s.got == FIBERS * EACH);
    nobody_left();
    return sim_did();
}

START_TEST(no_signal_is_lost_between_unlock_and_park)
{
    for (unsigned workers = 1; workers <= 3; workers++)
        ck_assert_int_eq(sim_runs("cond/tokens", workers, RING, RUNS, tokens,
                                  NULL, NULL), RUNS);
}
END_TEST

/* --- A stolen signal ------------------------------------------------------------ */

static int answers[2];

static void *wait_once(void *arg)
{
    intptr_t i = (intptr_t)arg;

    lock(&s);
    s.waiting++;
    answers[i] = weft_cond_wait(&s.c, &s.m);
    s.waiting--;
    unlock(&s);
    return NULL;
}

static void cancel(weft_fiber_t id)
{
    uint64_t life;
    struct weft__fiber *f = weft__fiber_find(id, &life);

    if (f)
        weft__cancel(f, life);
}

static void *cancel_it(void *arg)
{
    cancel(*(weft_fiber_t *)arg);
    return NULL;
}

static void *signal_once(void *arg)
{
    sim_expect(weft_cond_signal(&s.c) == 0);
    return arg;
}

static int waiting(void)
{
    int n;

    lock(&s);
    n = s.waiting;
    unlock(&s);
    return n;
}

/* Two wait. One signal; the older waiter is cancelled in the same instant. One
 * of the two returns 0, and only one. */
static int stolen(void *arg)
{
    weft_fiber_t f[2], canceller, signaller;

    (void)arg;
    fresh();
    for (intptr_t i = 0; i < 2; i++) {
        sim_expect(weft_spawn(&f[i], wait_once, (void *)i) == 0);
        while (waiting() != i + 1)
            weft_yield();
    }
    sim_expect(weft_spawn(&canceller, cancel_it, &f[0]) == 0);
    sim_expect(weft_spawn(&signaller, signal_once, NULL) == 0);
    weft_yield();
    sim_expect(weft_join(canceller, NULL) == 0);
    sim_expect(weft_join(signaller, NULL) == 0);
    sim_expect(weft_join(f[0], NULL) == 0);
    if (answers[0] == 0) {
        sim_expect(waiting() == 1);
        sim_expect(weft_cond_signal(&s.c) == 0);
    } else {
        sim_expect(answers[0] == -ECANCELED);
    }
    sim_expect(weft_join(f[1], NULL) == 0);
    sim_expect(answers[1] == 0);
    nobody_left();
    return (answers[0] == 0 ? TAKEN : STOLEN) | sim_did();
}

START_TEST(a_stolen_signal_goes_to_the_next)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("cond/stolen", workers, RING, RUNS, stolen,
                                  NULL, &m), RUNS);
        if (workers == 1)
            continue;
        ck_assert_uint_gt(m.times[4], RUNS / 20);
        ck_assert_uint_gt(m.times[5], RUNS / 20);
    }
}
END_TEST

/* --- Freed by the last it woke ----------------------------------------------------- */

enum { GONE = 0x5a };

static struct guarded *shared;

/* All are woken by one broadcast; who is the last one out frees it. */
static void *wait_and_free(void *arg)
{
    struct guarded *g = shared;
    bool last;

    lock(g);
    g->waiting++;
    while (g->tokens == 0)
        sim_expect(weft_cond_wait(&g->c, &g->m) == 0);
    last = --g->waiting == 0 && g->got++ == 0;
    unlock(g);
    if (last)
        memset(g, GONE, sizeof(*g));
    return arg;
}

static int broadcast_and_free(void *arg)
{
    struct guarded g = { 0 };
    unsigned char gone[sizeof(g)];
    weft_fiber_t f[2];
    int n;

    (void)arg;
    shared = &g;
    for (int i = 0; i < 2; i++)
        sim_expect(weft_spawn(&f[i], wait_and_free, NULL) == 0);
    do {
        weft_yield();
        lock(&g);
        n = g.waiting;
        if (n == 2)
            g.tokens = 1;
        unlock(&g);
    } while (n < 2);
    sim_expect(weft_cond_broadcast(&g.c) == 0);
    for (int i = 0; i < 2; i++)
        sim_expect(weft_join(f[i], NULL) == 0);
    memset(gone, GONE, sizeof(gone));
    sim_expect(memcmp(&g, gone, sizeof(gone)) == 0);
    return sim_did();
}

START_TEST(a_condition_is_freed_by_the_last_it_woke)
{
    for (unsigned workers = 1; workers <= 3; workers++)
        ck_assert_int_eq(sim_runs("cond/free", workers, RING, RUNS,
                                  broadcast_and_free, NULL, NULL), RUNS);
}
END_TEST

START_TEST(what_it_relies_on_is_missed)
{
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, tokens, NULL));
    ck_assert(sim_finds(SIM_LOST_WAKES, 2, RING, PLANTED_RUNS, tokens, NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_cond");
    TCase *tc = tcase_create("cond");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, no_signal_is_lost_between_unlock_and_park);
    tcase_add_test(tc, a_stolen_signal_goes_to_the_next);
    tcase_add_test(tc, a_condition_is_freed_by_the_last_it_woke);
    tcase_add_test(tc, what_it_relies_on_is_missed);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
