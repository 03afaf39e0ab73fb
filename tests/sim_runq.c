/*
 * The run queue under the simulation: an owner with a ring of two (or four)
 * that pushes and pops, and two thieves. Each entry is taken once, by whoever.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include "sched/runq.h"

enum { RUNS = 2000, PLANTED_RUNS = 20000, ENTRIES = 8, RING_MOST = 4 };

static struct {
    uint32_t ring;
    struct weft__runq own, thief[2];
    unsigned taken[ENTRIES + 1];
    unsigned overflows;
    unsigned stolen;
    unsigned along; /* steals of more than one */
} s;

static void fresh(void *arg)
{
    (void)arg;
    if (s.own.ring == NULL) {
        weft__runq_open(&s.own, s.ring);
        weft__runq_open(&s.thief[0], s.ring);
        weft__runq_open(&s.thief[1], s.ring);
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
    uint32_t old[RING_MOST];
    uint32_t n = weft__runq_pop_n(&s.own, old, s.ring);

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
    sim_expect(weft__runq_len(&s.own) == 0);
}

/* Three times: take half, and all that came along. The thief's own queue is
 * empty when it steals. */
static void steal(struct weft__runq *mine, struct weft__runq *from)
{
    for (int i = 0; i < 3; i++) {
        uint32_t n, entry = weft__runq_steal(mine, from, &n);

        sim_expect((entry != 0) == (n > 0));
        s.stolen += n;
        s.along += n > 1;
        if (entry == 0)
            continue;
        took(entry);
        while ((entry = weft__runq_pop(mine)) != 0)
            took(entry);
        sim_expect(weft__runq_len(mine) == 0);
    }
}

static void steal_first(void *arg)
{
    (void)arg;
    steal(&s.thief[0], &s.own);
}

static void steal_second(void *arg)
{
    (void)arg;
    steal(&s.thief[1], &s.own);
}

/* A thief of a thief: its ring is the one that is stolen into. */
static void steal_from_thief(void *arg)
{
    (void)arg;
    steal(&s.thief[1], &s.thief[0]);
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

    s.ring = _i == 0 ? 2 : RING_MOST;
    ck_assert_int_eq(search(two_thieves, RUNS), RUNS);
    ck_assert_int_eq(search(a_chain, RUNS), RUNS);
    /* The scenario reached what it is about. */
    ck_assert_uint_gt(s.overflows, RUNS / 10);
    ck_assert_uint_gt(s.stolen, RUNS / 10);
    if (s.ring > 2)
        ck_assert_uint_gt(s.along, RUNS / 10);
    sim_print(_i == 0 ? "runq/ring=2" : "runq/ring=4", 2 * RUNS,
              sim_seconds() - start);
}
END_TEST

START_TEST(with_a_torn_swap_one_is_taken_twice)
{
    s.ring = 2;
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
    tcase_add_loop_test(tc, each_entry_is_taken_once, 0, 2);
    tcase_add_test(tc, with_a_torn_swap_one_is_taken_twice);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
