/*
 * The run queue under the simulation: an owner with a ring of two that
 * pushes and pops, and two thieves. Each entry is taken once, by whoever.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include "sched/runq.h"

enum { RUNS = 2000, PLANTED_RUNS = 20000, ENTRIES = 8, RING = 2 };

static struct {
    struct weft__runq own, thief[2];
    unsigned taken[ENTRIES + 1];
    unsigned overflows;
    unsigned stolen;
} s;

static void fresh(void *arg)
{
    (void)arg;
    if (s.own.ring == NULL) {
        weft__runq_open(&s.own, RING);
        weft__runq_open(&s.thief[0], RING);
        weft__runq_open(&s.thief[1], RING);
    }
    for (int i = 0; i <= ENTRIES; i++)
        s.taken[i] = 0;
}

static void took(uint32_t entry)
{
    sim_expect(entry >= 1 && entry <= ENTRIES);
    s.taken[entry]++;
}

/* Overflow in small: the oldest make room. */
static void make_room(void)
{
    uint32_t old[RING];
    uint32_t n = weft__runq_pop_n(&s.own, old, RING);

    for (uint32_t i = 0; i < n; i++)
        took(old[i]);
    s.overflows += n > 0;
}

static void own(void *arg)
{
    uint32_t entry;

    (void)arg;
    for (uint32_t i = 1; i <= ENTRIES; i++) {
        while (!weft__runq_push(&s.own, i))
            make_room();
        if (i % 3 == 0 && (entry = weft__runq_pop(&s.own)) != 0)
            took(entry);
    }
    while ((entry = weft__runq_pop(&s.own)) != 0)
        took(entry);
}

static void steal_into(struct weft__runq *mine)
{
    for (int i = 0; i < 3; i++) {
        uint32_t n, entry = weft__runq_steal(mine, &s.own, &n);

        sim_expect((entry != 0) == (n > 0));
        s.stolen += n;
        if (entry == 0)
            continue;
        took(entry);
        while ((entry = weft__runq_pop(mine)) != 0)
            took(entry);
    }
}

static void steal_first(void *arg)
{
    (void)arg;
    steal_into(&s.thief[0]);
}

static void steal_second(void *arg)
{
    (void)arg;
    steal_into(&s.thief[1]);
}

/* A thief of a thief: its ring is the one that is stolen into. */
static void steal_from_thief(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        uint32_t n, entry = weft__runq_steal(&s.thief[1], &s.thief[0], &n);

        if (entry == 0)
            continue;
        took(entry);
        while ((entry = weft__runq_pop(&s.thief[1])) != 0)
            took(entry);
    }
}

static int each_taken_once(void *arg)
{
    (void)arg;
    for (int i = 1; i <= ENTRIES; i++)
        if (s.taken[i] != 1)
            return -EPROTO;
    return 0;
}

static void (*const two_thieves[])(void *) = { own, steal_first,
                                               steal_second };
static void (*const a_chain[])(void *) = { own, steal_first,
                                           steal_from_thief };

static int search(void (*const fns[])(void *), unsigned runs)
{
    weft_sim_t sim = sim_of(2);

    return weft__sim_search(&sim, runs, fns, 3, NULL, fresh, each_taken_once);
}

START_TEST(each_entry_is_taken_once)
{
    double start = sim_seconds();

    ck_assert_int_eq(search(two_thieves, RUNS), RUNS);
    ck_assert_int_eq(search(a_chain, RUNS), RUNS);
    /* The scenario reached what it is about. */
    ck_assert_uint_gt(s.overflows, RUNS / 10);
    ck_assert_uint_gt(s.stolen, RUNS / 10);
    sim_print("runq/ring2", 2 * RUNS, sim_seconds() - start, 0);
}
END_TEST

START_TEST(with_a_torn_swap_one_is_taken_twice)
{
    weft__sim_quiet(true);
    sim_plant(SIM_TORN_CAS);
    ck_assert_int_eq(search(two_thieves, PLANTED_RUNS), -EPROTO);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_runq");
    TCase *tc = tcase_create("runq");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, each_entry_is_taken_once);
    tcase_add_test(tc, with_a_torn_swap_one_is_taken_twice);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
