/*
 * Mutexes and wait groups under the simulation: one at a time, nobody
 * forgotten, and the object may be freed by whoever is told it may.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include <string.h>

#include "sched/atomic.h"
#include "sched/os.h"
#include "sched/sched.h"
#include "sched/wordlock.h"

enum { RUNS = 600, PLANTED_RUNS = 5000, RING = 2, FIBERS = 4, ROUNDS = 3 };

enum { TRIED = SIM_FIRST_FREE };

static struct {
    weft_mutex_t m;
    unsigned inside; /* plain: that is what the mutex is for */
    unsigned count;
    weft__au32 refused;
} s;

static void critical(bool yields)
{
    sim_expect(s.inside++ == 0);
    if (yields)
        weft_yield();
    else
        weft__os_point("inside");
    s.count++;
    sim_expect(--s.inside == 0);
}

static void *take_turns(void *arg)
{
    bool yields = (intptr_t)arg % 2 != 0;

    for (int i = 0; i < ROUNDS; i++) {
        sim_expect(weft_mutex_lock(&s.m) == 0);
        critical(yields);
        sim_expect(weft_mutex_unlock(&s.m) == 0);
    }
    return NULL;
}

static void *try_turns(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        int status;

        while ((status = weft_mutex_lock_try(&s.m)) == -EAGAIN) {
            (void)weft__fetch_add(&s.refused, 1, RELAXED);
            weft_yield();
        }
        sim_expect(status == 0);
        sim_expect(weft_mutex_lock(&s.m) == -EDEADLK);
        critical(false);
        sim_expect(weft_mutex_unlock(&s.m) == 0);
        sim_expect(weft_mutex_unlock(&s.m) == -EPERM);
    }
    return arg;
}

static int mutual_exclusion(void *arg)
{
    weft_fiber_t f[FIBERS];

    (void)arg;
    for (int i = 0; i < FIBERS; i++)
        sim_expect(weft_spawn(&f[i], i == 0 ? try_turns : take_turns,
                              (void *)(intptr_t)i) == 0);
    for (int i = 0; i < FIBERS; i++)
        sim_expect(weft_join(f[i], NULL) == 0);
    sim_expect(s.count == FIBERS * ROUNDS);
    /* Free, and nothing left behind in its word. */
    sim_expect(weft_mutex_lock_try(&s.m) == 0);
    sim_expect(weft_mutex_unlock(&s.m) == 0);
    return (weft__load(&s.refused, RELAXED) ? TRIED : 0) | sim_did();
}

START_TEST(one_at_a_time_and_nobody_forgotten)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("mutex/turns", workers, RING, RUNS,
                                  mutual_exclusion, NULL, &m), RUNS);
        if (workers > 1)
            ck_assert_uint_gt(m.times[4], RUNS / 20);
    }
}
END_TEST

/* --- Freed by the one that got it ---------------------------------------- */

struct boxed {
    weft_mutex_t m;
    unsigned users;
};

enum { GONE = 0x5a };

static struct boxed *box;

/* Whoever is the last inside frees it right after its unlock; others have
 * unlocked before, and must be done with it. */
static void *use_and_maybe_free(void *arg)
{
    struct boxed *b = box;
    bool last;

    sim_expect(weft_mutex_lock(&b->m) == 0);
    last = --b->users == 0;
    sim_expect(weft_mutex_unlock(&b->m) == 0);
    if (last)
        memset(b, GONE, sizeof(*b));
    return arg;
}

static int free_after_unlock(void *arg)
{
    weft_fiber_t f[3];
    struct boxed b = { WEFT_MUTEX_INIT, 3 };
    unsigned char gone[sizeof(b)];

    (void)arg;
    box = &b;
    for (int i = 0; i < 3; i++)
        sim_expect(weft_spawn(&f[i], use_and_maybe_free, NULL) == 0);
    for (int i = 0; i < 3; i++)
        sim_expect(weft_join(f[i], NULL) == 0);
    memset(gone, GONE, sizeof(gone));
    sim_expect(memcmp(&b, gone, sizeof(gone)) == 0);
    return sim_did();
}

START_TEST(a_mutex_is_freed_by_the_next_owner)
{
    for (unsigned workers = 1; workers <= 3; workers++)
        ck_assert_int_eq(sim_runs("mutex/free", workers, RING, RUNS,
                                  free_after_unlock, NULL, NULL), RUNS);
}
END_TEST

/* --- Freed by the one that was passed ------------------------------------ */

/* Set in a mutex's word while a waiter that was woken is on its way. */
#define WAKING WEFT__WORD_FLAG(1)

enum { PASSED = SIM_FIRST_FREE };

static weft__au32 held, again, passed;

/* Own it twice, and pass the waiter in between if that is slow to come. A
 * thread, so that the waiter is sent to another worker. */
static void *own_twice(void *arg)
{
    weft_mutex_t *m = arg;

    sim_expect(weft_mutex_lock_try(m) == 0);
    weft__store(&held, 1, RELEASE);
    for (int i = 0; i < 40; i++)
        weft__os_point("holds it");
    sim_expect(weft_mutex_unlock(m) == 0);
    while (weft_mutex_lock_try(m) != 0)
        weft__os_pause();
    weft__store(&again, 1, RELAXED);
    weft__store(&passed, (m->weft_private[0] & WAKING) != 0, RELAXED);
    /* The last touch: whoever gets it now frees it. */
    sim_expect(weft_mutex_unlock(m) == 0);
    weft__pending_done();
    return NULL;
}

/* The unlock that finds a waiter on its way wakes no one and only frees the
 * mutex: that waiter may be there at once, unlock, and free its memory. */
static int free_when_passed(void *arg)
{
    union {
        weft_mutex_t m;
        unsigned char bytes[sizeof(weft_mutex_t)];
    } u = { WEFT_MUTEX_INIT };
    unsigned char gone[sizeof(u)];
    weft__os_thread thread;
    bool last = false;

    (void)arg;
    weft__pending_add();
    sim_expect(weft__os_thread_create(&thread, "t", own_twice, &u.m) == 0);
    while (!weft__load(&held, ACQUIRE))
        weft_yield();
    while (!last) {
        sim_expect(weft_mutex_lock(&u.m) == 0);
        last = weft__load(&again, RELAXED);
        sim_expect(weft_mutex_unlock(&u.m) == 0);
    }
    memset(&u, GONE, sizeof(u));
    weft__os_thread_join(thread);
    memset(gone, GONE, sizeof(gone));
    sim_expect(memcmp(&u, gone, sizeof(gone)) == 0);
    return (weft__load(&passed, RELAXED) ? PASSED : 0) | sim_did();
}

START_TEST(a_mutex_is_freed_by_the_waiter_that_was_passed)
{
    for (unsigned workers = 1; workers <= 2; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("mutex/free passed", workers, RING,
                                  5 * RUNS, free_when_passed, NULL, &m),
                         5 * RUNS);
        printf("    passed in %u\n", m.times[4]);
        ck_assert_uint_gt(m.times[4], RUNS / 20);
    }
}
END_TEST

/* --- Wait groups --------------------------------------------------------- */

static weft_waitgroup_t *group;
static weft__au32 finished;

static void *work_and_done(void *arg)
{
    (void)weft__fetch_add(&finished, 1, RELAXED);
    sim_expect(weft_waitgroup_done(group) == 0);
    return arg;
}

static void *wait_too(void *arg)
{
    sim_expect(weft_waitgroup_wait(arg) == 0);
    sim_expect(weft__load(&finished, RELAXED) == 3);
    return NULL;
}

/* The wait group lies on the stack, and is gone when its waiter returns; the
 * slow path (parked) and the fast one (the count is 0 already) both. */
static int wait_and_free(void *arg)
{
    bool early = *(const bool *)arg;
    union {
        weft_waitgroup_t wg;
        unsigned char bytes[sizeof(weft_waitgroup_t)];
    } u = { WEFT_WAITGROUP_INIT };
    unsigned char gone[sizeof(u)];

    group = &u.wg;
    sim_expect(weft_waitgroup_add(&u.wg, 3) == 0);
    for (int i = 0; i < 3; i++)
        sim_expect(weft_go(work_and_done, NULL) == 0);
    for (int i = 0; !early && i < 30; i++)
        weft__os_point("late");
    if (early)
        sim_expect(weft_waitgroup_wait(&u.wg) == 0);
    else
        while (weft_waitgroup_wait_try(&u.wg) != 0)
            weft_yield();
    memset(&u, GONE, sizeof(u));
    sim_expect(weft__load(&finished, RELAXED) == 3);

    /* Let the others come to their ends. */
    for (int i = 0; i < 50; i++)
        weft_yield();
    memset(gone, GONE, sizeof(gone));
    sim_expect(memcmp(&u, gone, sizeof(gone)) == 0);
    return sim_did();
}

static int two_wait(void *arg)
{
    weft_waitgroup_t wg = WEFT_WAITGROUP_INIT;
    weft_fiber_t f[2];

    (void)arg;
    group = &wg;
    sim_expect(weft_waitgroup_add(&wg, 3) == 0);
    for (int i = 0; i < 2; i++)
        sim_expect(weft_spawn(&f[i], wait_too, &wg) == 0);
    for (int i = 0; i < 3; i++)
        sim_expect(weft_go(work_and_done, NULL) == 0);
    for (int i = 0; i < 2; i++)
        sim_expect(weft_join(f[i], NULL) == 0);
    sim_expect(weft_waitgroup_done(&wg) == -EINVAL);
    return sim_did();
}

START_TEST(a_wait_group_is_freed_by_its_waiter)
{
    static const bool early[] = { true, false };

    for (unsigned workers = 1; workers <= 3; workers++) {
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(sim_runs(early[i] ? "waitgroup/free slow"
                                               : "waitgroup/free fast",
                                      workers, RING, RUNS, wait_and_free,
                                      (void *)(uintptr_t)&early[i], NULL),
                             RUNS);
        ck_assert_int_eq(sim_runs("waitgroup/two", workers, RING, RUNS,
                                  two_wait, NULL, NULL), RUNS);
    }
}
END_TEST

START_TEST(what_it_relies_on_is_missed)
{
    static const bool early = true;

    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, mutual_exclusion,
                        NULL));
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, free_after_unlock,
                        NULL));
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, wait_and_free,
                        (void *)(uintptr_t)&early));
    ck_assert(sim_finds(SIM_LOST_WAKES, 2, RING, PLANTED_RUNS,
                        mutual_exclusion, NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_mutex");
    TCase *tc = tcase_create("mutex");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, one_at_a_time_and_nobody_forgotten);
    tcase_add_test(tc, a_mutex_is_freed_by_the_next_owner);
    tcase_add_test(tc, a_mutex_is_freed_by_the_waiter_that_was_passed);
    tcase_add_test(tc, a_wait_group_is_freed_by_its_waiter);
    tcase_add_test(tc, what_it_relies_on_is_missed);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
