/*
 * Spawn, end and join under the simulation: the child unstarted, running,
 * ended, stolen; joined by its parent or by a stranger; detached before,
 * during and after its end.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include "sched/atomic.h"
#include "sched/os.h"
#include "sched/sched.h"

enum { RUNS = 500, PLANTED_RUNS = 5000, RING = 2 };

static void *answer(void *arg)
{
    return (char *)arg + 1;
}

static void *answer_later(void *arg)
{
    for (int i = 0; i < 3; i++)
        weft__os_point("a child computes");
    return (char *)arg + 1;
}

static void *answer_after_yield(void *arg)
{
    weft_yield();
    return (char *)arg + 1;
}

static void *(*const children[])(void *) = { answer, answer_later,
                                             answer_after_yield };
static char base[64];

static void expect_join(weft_fiber_t f, int i)
{
    void *result = NULL;

    sim_expect(weft_join(f, &result) == 0);
    sim_expect(result == base + i + 1);
    sim_expect(weft_join(f, &result) == -ESRCH);
}

/* --- The parent joins ---------------------------------------------------- */

/* Each child is joined at once: most have not started yet. */
static int join_one_by_one(void *arg)
{
    (void)arg;
    for (int i = 0; i < 6; i++) {
        weft_fiber_t f;

        sim_expect(weft_spawn(&f, children[i % 3], base + i) == 0);
        expect_join(f, i);
    }
    return sim_did();
}

/* All are spawned first; the ring of two overflows, thieves come. */
static int join_many(void *arg)
{
    weft_fiber_t f[7];

    (void)arg;
    for (int i = 0; i < 7; i++)
        sim_expect(weft_spawn(&f[i], children[i % 3], base + i) == 0);
    weft_yield();
    for (int i = 0; i < 7; i++)
        expect_join(f[i], i);
    return sim_did();
}

static void *tree(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    weft_fiber_t left, right;
    void *a, *b;

    if (depth == 0)
        return (void *)1;
    sim_expect(weft_spawn(&left, tree, (void *)(depth - 1)) == 0);
    sim_expect(weft_spawn(&right, tree, (void *)(depth - 1)) == 0);
    sim_expect(weft_join(left, &a) == 0);
    sim_expect(weft_join(right, &b) == 0);
    return (void *)((intptr_t)a + (intptr_t)b);
}

static int join_tree(void *arg)
{
    (void)arg;
    sim_expect(tree((void *)3) == (void *)8);
    return sim_did();
}

START_TEST(the_parent_joins)
{
    static const unsigned workers[] = { 1, 2, 3 };
    unsigned w = workers[_i];
    struct sim_met m;

    ck_assert_int_eq(sim_runs("spawn/one_by_one", w, RING, RUNS,
                              join_one_by_one, NULL, &m), RUNS);
    ck_assert_int_eq(sim_runs("spawn/many", w, RING, RUNS, join_many, NULL,
                              &m), RUNS);
    ck_assert_uint_gt(m.times[1], RUNS / 20);
    if (w > 1)
        ck_assert_uint_gt(m.times[0], RUNS / 20);
    ck_assert_int_eq(sim_runs("spawn/tree", w, RING, RUNS, join_tree, NULL,
                              &m), RUNS);
}
END_TEST

/* --- A stranger joins, the parent detaches ------------------------------- */

static struct {
    weft_fiber_t child;
    weft__au32 joined;
} s;

static void *stranger(void *arg)
{
    void *result;
    int status = weft_join(s.child, &result);

    (void)arg;
    if (status == 0) {
        sim_expect(result == base + 1);
        (void)weft__fetch_add(&s.joined, 1, RELAXED);
    } else {
        sim_expect(status == -EBUSY || status == -ESRCH || status == -EINVAL);
    }
    return NULL;
}

/* Of three who would join it one does; the others hear why not. */
static int strangers_join(void *arg)
{
    weft_fiber_t f[2];
    void *result;
    int status;

    (void)arg;
    sim_expect(weft_spawn(&s.child, answer_later, base) == 0);
    sim_expect(weft_spawn(&f[0], stranger, NULL) == 0);
    sim_expect(weft_spawn(&f[1], stranger, NULL) == 0);
    status = weft_join(s.child, &result);
    sim_expect(status == 0 || status == -EBUSY || status == -ESRCH);
    sim_expect(status != 0 || result == base + 1);
    sim_expect(weft_join(f[0], NULL) == 0);
    sim_expect(weft_join(f[1], NULL) == 0);
    sim_expect(weft__load(&s.joined, RELAXED) + (status == 0) == 1);
    return (status == 0 ? SIM_FIRST_FREE : 2 * SIM_FIRST_FREE) | sim_did();
}

/* A detach and a join meet; exactly one of the two gets the child. */
static int detach_meets_join(void *arg)
{
    weft_fiber_t f;
    int status;

    (void)arg;
    sim_expect(weft_spawn(&s.child, answer, base) == 0);
    sim_expect(weft_spawn(&f, stranger, NULL) == 0);
    for (int i = 0; i < 3; i++)
        weft__os_point("before the detach");
    status = weft_detach(s.child);
    sim_expect(status == 0 || status == -EBUSY || status == -ESRCH);
    sim_expect(weft_join(f, NULL) == 0);
    sim_expect(weft__load(&s.joined, RELAXED) + (status == 0) == 1);
    return status == 0 ? SIM_FIRST_FREE : 2 * SIM_FIRST_FREE;
}

static void *count(void *arg)
{
    (void)weft__fetch_add((weft__au32 *)arg, 1, RELAXED);
    return NULL;
}

/* Detached ones end by themselves, and their records are used again. */
static int go_many(void *arg)
{
    weft__au32 counter;

    (void)arg;
    weft__init(&counter, 0);
    for (int i = 0; i < 8; i++)
        sim_expect(weft_go(count, &counter) == 0);
    while (weft__load(&counter, RELAXED) != 8)
        weft_yield();
    return sim_did();
}

static int try_until_joined(void *arg)
{
    weft_fiber_t f;
    void *result;
    int status, tries = 0;

    (void)arg;
    sim_expect(weft_spawn(&f, answer_after_yield, base) == 0);
    while ((status = weft_join_try(f, &result)) == -EAGAIN) {
        tries++;
        weft_yield();
    }
    sim_expect(status == 0 && result == base + 1);
    sim_expect(weft_join_try(f, &result) == -ESRCH);
    return tries > 0 ? SIM_FIRST_FREE : 0;
}

START_TEST(others_join)
{
    struct sim_met m;

    ck_assert_int_eq(sim_runs("spawn/strangers", 2, RING, RUNS, strangers_join,
                              NULL, &m), RUNS);
    ck_assert_uint_gt(m.times[4], RUNS / 20);
    ck_assert_uint_gt(m.times[5], 0);
    ck_assert_int_eq(sim_runs("spawn/strangers", 3, RING, RUNS, strangers_join,
                              NULL, &m), RUNS);
    ck_assert_int_eq(sim_runs("spawn/detach", 2, RING, RUNS, detach_meets_join,
                              NULL, &m), RUNS);
    ck_assert_uint_gt(m.times[4], RUNS / 20);
    ck_assert_uint_gt(m.times[5], 0);
    ck_assert_int_eq(sim_runs("spawn/go", 2, RING, RUNS, go_many, NULL, &m),
                     RUNS);
    ck_assert_int_eq(sim_runs("spawn/try", 2, RING, RUNS, try_until_joined,
                              NULL, &m), RUNS);
}
END_TEST

START_TEST(what_it_relies_on_is_missed)
{
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, join_many, NULL));
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, strangers_join,
                        NULL));
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS,
                        detach_meets_join, NULL));
    ck_assert(sim_finds(SIM_TORN_RMW, 2, RING, PLANTED_RUNS, go_many, NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_spawn");
    TCase *tc = tcase_create("spawn");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_loop_test(tc, the_parent_joins, 0, 3);
    tcase_add_test(tc, others_join);
    tcase_add_test(tc, what_it_relies_on_is_missed);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
