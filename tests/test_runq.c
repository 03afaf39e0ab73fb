/*
 * Run queues: first in first out, each entry taken once however many take,
 * and what happens when a ring is full.
 */
#include "tests/support.h"

#include <pthread.h>

#include "sched/inject.h"
#include "sched/os.h"
#include "sched/runq.h"
#include "sched/sanitizer.h"
#include "sched/sched.h"
#include "sched/worker.h"

/* --- The ring alone ------------------------------------------------------------ */

START_TEST(entries_leave_in_the_order_they_came)
{
    struct weft__runq q;

    ck_assert_int_eq(weft__runq_open(&q, 8), 0);
    ck_assert_uint_eq(weft__runq_pop(&q), 0);
    for (uint32_t i = 1; i <= 100; i++) { /* round and round */
        ck_assert(weft__runq_push(&q, 2 * i));
        ck_assert(weft__runq_push(&q, 2 * i + 1));
        ck_assert_uint_eq(weft__runq_len(&q), 2);
        ck_assert_uint_eq(weft__runq_pop(&q), 2 * i);
        ck_assert_uint_eq(weft__runq_pop(&q), 2 * i + 1);
    }
    ck_assert_uint_eq(weft__runq_pop(&q), 0);
    weft__runq_close(&q);
}
END_TEST

START_TEST(a_full_ring_takes_no_more)
{
    struct weft__runq q;
    uint32_t got[4];

    ck_assert_int_eq(weft__runq_open(&q, 2), 0);
    ck_assert(weft__runq_push(&q, 1));
    ck_assert(weft__runq_push(&q, 2));
    ck_assert(!weft__runq_push(&q, 3));
    ck_assert_uint_eq(weft__runq_pop(&q), 1);
    ck_assert(weft__runq_push(&q, 3));
    ck_assert(!weft__runq_push(&q, 4));
    ck_assert_uint_eq(weft__runq_pop_n(&q, got, 4), 2);
    ck_assert_uint_eq(got[0], 2);
    ck_assert_uint_eq(got[1], 3);
    ck_assert_uint_eq(weft__runq_pop_n(&q, got, 4), 0);
    weft__runq_close(&q);
}
END_TEST

START_TEST(a_thief_takes_the_older_half)
{
    struct weft__runq from, to;
    uint32_t taken;

    ck_assert_int_eq(weft__runq_open(&from, 8), 0);
    ck_assert_int_eq(weft__runq_open(&to, 8), 0);
    ck_assert_uint_eq(weft__runq_steal(&to, &from, &taken), 0);
    ck_assert_uint_eq(taken, 0);

    for (uint32_t i = 1; i <= 5; i++)
        ck_assert(weft__runq_push(&from, i));
    /* Of five it takes three: two in its ring, one in its hand. */
    ck_assert_uint_eq(weft__runq_steal(&to, &from, &taken), 3);
    ck_assert_uint_eq(taken, 3);
    ck_assert_uint_eq(weft__runq_pop(&to), 1);
    ck_assert_uint_eq(weft__runq_pop(&to), 2);
    ck_assert_uint_eq(weft__runq_pop(&to), 0);
    ck_assert_uint_eq(weft__runq_pop(&from), 4);

    /* One alone is worth taking. */
    ck_assert_uint_eq(weft__runq_steal(&to, &from, &taken), 5);
    ck_assert_uint_eq(taken, 1);
    ck_assert_uint_eq(weft__runq_len(&to), 0);
    ck_assert_uint_eq(weft__runq_len(&from), 0);
    weft__runq_close(&from);
    weft__runq_close(&to);
}
END_TEST

START_TEST(a_thief_takes_no_more_than_its_ring_holds)
{
    struct weft__runq from, to;
    uint32_t taken;

    ck_assert_int_eq(weft__runq_open(&from, 16), 0);
    ck_assert_int_eq(weft__runq_open(&to, 2), 0);
    for (uint32_t i = 1; i <= 16; i++)
        ck_assert(weft__runq_push(&from, i));
    ck_assert_uint_eq(weft__runq_steal(&to, &from, &taken), 2);
    ck_assert_uint_eq(taken, 2);
    ck_assert_uint_eq(weft__runq_pop(&to), 1);
    ck_assert_uint_eq(weft__runq_pop(&from), 3);
    weft__runq_close(&from);
    weft__runq_close(&to);
}
END_TEST

/* --- Owner and thieves ------------------------------------------------------------ */

enum { ENTRIES = 300000, THIEVES = 2 };

static struct {
    struct weft__runq own;
    struct weft__runq thief[THIEVES];
    weft__au8 taken[ENTRIES + 1];
    weft__au32 over; /* the owner has pushed all, and its ring is empty */
} race;

static void took(uint32_t entry)
{
    weft__fetch_add(&race.taken[entry], 1, RELAXED);
}

static void *steal_all(void *queue)
{
    struct weft__runq *own = queue;
    uint32_t entry, taken;

    while (!weft__load(&race.over, ACQUIRE)) {
        entry = weft__runq_steal(own, &race.own, &taken);
        if (entry != 0)
            took(entry);
        while ((entry = weft__runq_pop(own)) != 0)
            took(entry);
    }
    return NULL;
}

/* A ring of two, four, eight: it is full or empty nearly always, and head and
 * tail meet all the time. The owner pops what it has just pushed, a little later
 * each time, when a thief may be at it; and in between it lets the ring fill
 * up. */
START_TEST(steal_against_pop_takes_each_entry_once)
{
    pthread_t threads[THIEVES];
    uint32_t size = (uint32_t)2 << _i;
    uint32_t entry, old[2];

    ck_assert_int_eq(weft__runq_open(&race.own, size), 0);
    for (int i = 0; i < THIEVES; i++) {
        ck_assert_int_eq(weft__runq_open(&race.thief[i], size), 0);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, steal_all,
                                        &race.thief[i]),
                         0);
    }
    for (uint32_t i = 1; i <= ENTRIES; i++) {
        while (!weft__runq_push(&race.own, i)) {
            uint32_t n = i % 2 ? weft__runq_pop_n(&race.own, old, 2) : 0;

            for (uint32_t k = 0; k < n; k++)
                took(old[k]);
            if (n == 0 && (entry = weft__runq_pop(&race.own)) != 0)
                took(entry);
        }
        if (i % 64 >= 48)
            continue;
        for (uint32_t wait = i % 13; wait > 0; wait--)
            weft__os_pause();
        if ((entry = weft__runq_pop(&race.own)) != 0)
            took(entry);
    }
    while ((entry = weft__runq_pop(&race.own)) != 0)
        took(entry);
    weft__store(&race.over, 1, RELEASE);
    for (int i = 0; i < THIEVES; i++)
        pthread_join(threads[i], NULL);

    for (uint32_t i = 1; i <= ENTRIES; i++)
        if (weft__load(&race.taken[i], RELAXED) != 1)
            ck_abort_msg("entry %u was taken %u times", i,
                         weft__load(&race.taken[i], RELAXED));
}
END_TEST

/* --- Full rings of a running runtime ------------------------------------------------ */

enum { FIBERS = 10000, RING = 2048 };

static weft__au8 ran[FIBERS];

static void *run_once(void *arg)
{
    weft__fetch_add(&ran[(uintptr_t)arg], 1, RELAXED);
    return NULL;
}

static uint64_t overflows(void)
{
    weft_stats_t stats = { .size = sizeof(stats) };

    ck_assert_int_eq(weft_stats(&stats), 0);
    return stats.total.overflows;
}

/* Far more than a ring holds, spawned in one go: the surplus goes to the
 * injection queue, and each runs once. */
WEFT_TEST(what_a_full_ring_can_not_hold_runs_all_the_same)
{
    static weft_fiber_t f[FIBERS];

    for (uintptr_t i = 0; i < FIBERS; i++)
        f[i] = spawn(run_once, (void *)i);
    if (workers() == 1) {
        ck_assert_uint_gt(overflows(), 0);
        ck_assert_uint_gt(weft__inject_len(), 0);
        ck_assert_uint_le(weft__runq_len(&weft__sched.workers[0]->runq),
                          RING);
    }
    for (int i = 0; i < FIBERS; i++)
        join(f[i]);
    for (int i = 0; i < FIBERS; i++)
        if (weft__load(&ran[i], RELAXED) != 1)
            ck_abort_msg("fiber %d ran %u times", i,
                         weft__load(&ran[i], RELAXED));
    ck_assert_int_eq(weft_audit(stderr), 0);
}
END_TEST

/* A full ring of entries whose fibers were started by their joiner: they are
 * dropped, nothing goes to the injection queue, and the records are used
 * again. On one worker, where no thief tidies up. */
WEFT_TEST(dead_hints_make_room_before_anything_overflows)
{
    enum { HALF = 1500 };
    weft_stats_t stats = { .size = sizeof(stats) };
    static weft_fiber_t f[HALF];

    if (workers() > 1)
        return;
    for (int round = 0; round < 20; round++) {
        for (uintptr_t i = 0; i < HALF; i++)
            f[i] = spawn(run_once, (void *)i);
        /* The newest first: the ring keeps the entries of the rest. */
        for (int i = HALF; i-- > 0;)
            join(f[i]);
        ck_assert_uint_eq(weft__inject_len(), 0);
        ck_assert_uint_le(weft__runq_len(&weft__sched.workers[0]->runq),
                          RING);
    }
#if !defined(WEFT__ASAN) && !defined(WEFT__TSAN)
    /* Under a sanitizer a new fiber starts from the base context, and what
     * comes before it empties the ring. */
    ck_assert_uint_gt(overflows(), 0);
#endif
    ck_assert_int_eq(weft_stats(&stats), 0);
    ck_assert_uint_le(stats.records, 4 * HALF);
    ck_assert_uint_eq(weft__sched_live(), 1);
}
END_TEST

/* A dead hint that is popped or stolen resumes no one: families whose
 * children were all started by their parent leave nothing but those. */
static void *two_children(void *arg)
{
    weft_fiber_t a = spawn(run_once, arg);
    weft_fiber_t b = spawn(run_once, arg); /* pushes a to the ring */

    join(a); /* its hint is dead from here on */
    join(b);
    return NULL;
}

WEFT_TEST(dead_hints_run_nobody)
{
    enum { FAMILIES = 60 };
    weft_fiber_t f[FAMILIES];

    for (int round = 0; round < 50; round++) {
        for (uintptr_t i = 0; i < FAMILIES; i++)
            f[i] = spawn(two_children, (void *)i);
        for (int i = 0; i < FAMILIES; i++)
            join(f[i]);
        for (int i = 0; i < FAMILIES; i++)
            if (weft__exchange(&ran[i], 0, RELAXED) != 2)
                ck_abort_msg("round %d: a child ran twice or never", round);
    }
    ck_assert_int_eq(weft_audit(stderr), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runq");
    TCase *ring = tcase_create("ring");
    TCase *full = tcase_create("full");

    tcase_add_test(ring, entries_leave_in_the_order_they_came);
    tcase_add_test(ring, a_full_ring_takes_no_more);
    tcase_add_test(ring, a_thief_takes_the_older_half);
    tcase_add_test(ring, a_thief_takes_no_more_than_its_ring_holds);
    tcase_add_loop_test(ring, steal_against_pop_takes_each_entry_once, 0, 3);
    suite_add_tcase(suite, ring);

    tcase_add_test(full, what_a_full_ring_can_not_hold_runs_all_the_same);
    tcase_add_test(full, dead_hints_make_room_before_anything_overflows);
    tcase_add_test(full, dead_hints_run_nobody);
    suite_add_tcase(suite, full);
    return run_suite(suite);
}
