/*
 * Semaphores under the simulation: permits in batches, taken by several at
 * once, by waiters that are cancelled in the same instant, and freed by the
 * last who got some. No permit is lost, none is had twice, no one sleeps
 * beside permits that are his.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include <string.h>

#include "sched/atomic.h"
#include "sched/os.h"
#include "sched/park.h"

enum { RUNS = 600, PLANTED_RUNS = 5000, RING = 2, FIBERS = 4, PERMITS = 3 };

enum { CANCELED = SIM_FIRST_FREE, TOO_LATE = 2 * SIM_FIRST_FREE };

static struct {
    weft_sem_t sem;
    weft__au32 in_use;
    weft__au32 canceled;
    weft__au32 got; /* by those who are cancelled */
} s;

static void fresh(uint32_t permits)
{
    weft_sem_t sem = WEFT_SEM_INIT(permits);

    memset(&s, 0, sizeof(s));
    s.sem = sem;
}

/* All of them are there, and nobody is noted as waiting. */
static void all_there(uint32_t permits)
{
    sim_expect(weft_sem_acquire_try(&s.sem, permits) == 0);
    sim_expect(weft_sem_acquire_try(&s.sem, 1) == -EAGAIN);
    for (int i = 0; i < 3; i++)
        sim_expect(s.sem.weft_private[i] == 0 || i == 2);
}

/* --- Batches --------------------------------------------------------------- */

static void *use_some(void *arg)
{
    uint32_t me = (uint32_t)(uintptr_t)arg;

    for (uint32_t i = 0; i < 3; i++) {
        uint32_t n = 1 + (me + i) % PERMITS;
        int status = -EAGAIN;

        if (me == 0)
            status = weft_sem_acquire_try(&s.sem, n);
        if (status == -EAGAIN)
            status = weft_sem_acquire(&s.sem, n);
        sim_expect(status == 0);
        sim_expect(weft__fetch_add(&s.in_use, n, RELAXED) + n <= PERMITS);
        if (i % 2)
            weft_yield();
        (void)weft__fetch_sub(&s.in_use, n, RELAXED);
        sim_expect(weft_sem_release(&s.sem, n) == 0);
    }
    return NULL;
}

static int batches(void *arg)
{
    weft_fiber_t f[FIBERS];

    (void)arg;
    fresh(PERMITS);
    for (uintptr_t i = 0; i < FIBERS; i++)
        sim_expect(weft_spawn(&f[i], use_some, (void *)i) == 0);
    for (int i = 0; i < FIBERS; i++)
        sim_expect(weft_join(f[i], NULL) == 0);
    all_there(PERMITS);
    return sim_did();
}

START_TEST(a_semaphore_batch_loses_no_permit)
{
    for (unsigned workers = 1; workers <= 3; workers++)
        ck_assert_int_eq(sim_runs("sem/batch", workers, RING, RUNS, batches,
                                  NULL, NULL), RUNS);
}
END_TEST

/* --- A cancelled head -------------------------------------------------------- */

static void *want(void *arg)
{
    uint32_t n = (uint32_t)(uintptr_t)arg;
    int status = weft_sem_acquire(&s.sem, n);

    sim_expect(status == 0 || status == -ECANCELED);
    (void)weft__fetch_add(status == 0 ? &s.got : &s.canceled, 1, RELAXED);
    if (status == 0)
        sim_expect(weft_sem_release(&s.sem, n) == 0);
    return NULL;
}

static void *want_one(void *arg)
{
    sim_expect(weft_sem_acquire(&s.sem, 1) == 0);
    sim_expect(weft_sem_release(&s.sem, 1) == 0);
    return arg;
}

static void *give_two(void *arg)
{
    sim_expect(weft_sem_release(&s.sem, 1) == 0);
    sim_expect(weft_sem_release(&s.sem, 1) == 0);
    return arg;
}

static void cancel(weft_fiber_t id)
{
    uint64_t life;
    struct weft__fiber *f = weft__fiber_find(id, &life);

    if (f)
        weft__cancel(f, life);
}

/* One wants two and is cancelled while they come; behind it one wants one. It
 * gets it, whether the first has had its own, or has left. */
static int cancelled_head(void *arg)
{
    weft_fiber_t big, small, giver;

    (void)arg;
    fresh(0);
    sim_expect(weft_spawn(&big, want, (void *)2) == 0);
    sim_expect(weft_spawn(&small, want_one, NULL) == 0);
    sim_expect(weft_spawn(&giver, give_two, NULL) == 0);
    weft_yield();
    cancel(big);
    sim_expect(weft_join(big, NULL) == 0);
    sim_expect(weft_join(small, NULL) == 0);
    sim_expect(weft_join(giver, NULL) == 0);
    all_there(2);
    return (weft__load(&s.canceled, RELAXED) ? CANCELED : TOO_LATE) |
           sim_did();
}

START_TEST(a_cancelled_head_passes_on_what_it_kept_from_others)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("sem/cancel", workers, RING, RUNS,
                                  cancelled_head, NULL, &m), RUNS);
        ck_assert_uint_gt(m.times[4], RUNS / 20);
        if (workers > 1)
            ck_assert_uint_gt(m.times[5], RUNS / 50);
    }
}
END_TEST

/* --- Freed by the last who got some -------------------------------------------- */

enum { GONE = 0x5a };

static weft_sem_t *shared;

static void *give(void *arg)
{
    sim_expect(weft_sem_release(shared, 1) == 0);
    return arg;
}

/* `early`: the waiter is parked, or on its way; else a fast path gets it. */
static int take_and_free(void *arg)
{
    bool early = *(const bool *)arg;
    union {
        weft_sem_t sem;
        unsigned char bytes[sizeof(weft_sem_t)];
    } u = { WEFT_SEM_INIT(0) };
    unsigned char gone[sizeof(u)];

    shared = &u.sem;
    for (int i = 0; i < 3; i++)
        sim_expect(weft_go(give, NULL) == 0);
    if (early)
        sim_expect(weft_sem_acquire(&u.sem, 3) == 0);
    else
        while (weft_sem_acquire_try(&u.sem, 3) != 0)
            weft_yield();
    memset(&u, GONE, sizeof(u));
    for (int i = 0; i < 50; i++)
        weft_yield();
    memset(gone, GONE, sizeof(gone));
    sim_expect(memcmp(&u, gone, sizeof(gone)) == 0);
    return sim_did();
}

START_TEST(a_semaphore_is_freed_by_the_one_that_got_its_permits)
{
    static const bool early[] = { true, false };

    for (unsigned workers = 1; workers <= 3; workers++)
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(sim_runs(early[i] ? "sem/free slow"
                                               : "sem/free fast",
                                      workers, RING, RUNS, take_and_free,
                                      (void *)(uintptr_t)&early[i], NULL),
                             RUNS);
}
END_TEST

START_TEST(what_it_relies_on_is_missed)
{
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, batches, NULL));
    ck_assert(sim_finds(SIM_LOST_WAKES, 2, RING, PLANTED_RUNS, batches,
                        NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_sem");
    TCase *tc = tcase_create("sem");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, a_semaphore_batch_loses_no_permit);
    tcase_add_test(tc, a_cancelled_head_passes_on_what_it_kept_from_others);
    tcase_add_test(tc, a_semaphore_is_freed_by_the_one_that_got_its_permits);
    tcase_add_test(tc, what_it_relies_on_is_missed);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
