/*
 * An object may be freed by the one it just woke, and by one whose fast path
 * found it done: under the simulation, where the table of operations watches
 * the freed memory. Any touch of it by the runtime ends the run. Channels and
 * queues are not here: their heads lie in memory that stays (runtime/slab.h).
 *
 * test_free.c tries the same on real threads; the two operations that have to
 * change places are a few nanoseconds apart there.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include <string.h>

#include "sched/atomic.h"
#include "sched/os.h"
#include "sched/wordlock.h"

enum { RUNS = 1500, RING = 4 };

/* --- The watch ------------------------------------------------------------------- */

static struct {
    weft_mutex_t mutex;
    weft_waitgroup_t group;
    weft_sem_t sem;
    struct {
        weft_mutex_t m;
        weft_cond_t c;
    } guarded;
} object;

static weft__au32 out; /* users who are through with it */
static bool freed;

static void touch(const volatile void *p)
{
    const volatile char *at = p;
    const char *from = (const char *)&object;

    if (freed && at >= from && at < from + sizeof(object))
        weft__sim_fail("freed memory was touched");
}

/* Nobody else moves between an operation and the look after it. */
static uint64_t watched_load(const volatile void *p, unsigned size, int order)
{
    uint64_t value = weft__sim_seam.load(p, size, order);

    touch(p);
    return value;
}

static void watched_store(volatile void *p, uint64_t value, unsigned size,
                          int order)
{
    weft__sim_seam.store(p, value, size, order);
    touch(p);
}

static uint64_t watched_rmw(volatile void *p, enum weft__seam_op op,
                            uint64_t value, unsigned size, int order)
{
    uint64_t old = weft__sim_seam.rmw(p, op, value, size, order);

    touch(p);
    return old;
}

static bool watched_cas(volatile void *p, void *seen, uint64_t next,
                        unsigned size, int order)
{
    bool swapped = weft__sim_seam.cas(p, seen, next, size, order);

    touch(p);
    return swapped;
}

static struct weft__seam watched;

static void watch(void)
{
    watched = weft__sim_seam;
    watched.load = watched_load;
    watched.store = watched_store;
    watched.rmw = watched_rmw;
    watched.cas = watched_cas;
    weft__sim_plant(&watched);
}

/* The last user frees it. */
static void through(uint32_t users)
{
    if (weft__fetch_add(&out, 1, ACQ_REL) + 1 < users)
        return;
    memset(&object, 0xa5, sizeof(object));
    freed = true;
}

static void fresh(void)
{
    memset(&object, 0, sizeof(object));
    weft__store(&out, 0, RELAXED);
    freed = false;
}

/* What was written there since is no atomic operation. */
static void intact(void)
{
    const unsigned char *at = (const unsigned char *)&object;

    sim_expect(freed);
    for (size_t i = 0; i < sizeof(object); i++)
        sim_expect(at[i] == 0xa5);
}

/* --- Mutex ------------------------------------------------------------------------- */

/* Each counts its visits while it holds the mutex; who makes the last one
 * frees it after its own unlock. So an unlock may be under way, in another,
 * then. They come again at once, and so pass one another. */
enum { VISITS = 3 };
static int visits;

static void *use_mutex(void *arg)
{
    int users = *(int *)arg;

    for (int i = 0; i < VISITS; i++) {
        bool last;

        sim_expect(weft_mutex_lock(&object.mutex) == 0);
        last = ++visits == users * VISITS;
        for (int n = 0; n < 5 * i; n++)
            weft__os_point("a fiber computes inside");
        sim_expect(weft_mutex_unlock(&object.mutex) == 0);
        if (last) {
            memset(&object, 0xa5, sizeof(object));
            freed = true;
        }
    }
    return NULL;
}

static int free_a_mutex(void *arg)
{
    int users = *(int *)arg;
    weft_fiber_t f[4];

    for (int round = 0; round < 2; round++) {
        fresh();
        visits = 0;
        for (int i = 0; i < users; i++)
            sim_expect(weft_spawn(&f[i], use_mutex, arg) == 0);
        weft_yield();
        for (int i = 0; i < users; i++)
            sim_expect(weft_join(f[i], NULL) == 0);
        intact();
    }
    return sim_did();
}

START_TEST(a_mutex_is_freed_by_the_next_owner)
{
    int users = 2 + _i;
    struct sim_met m;

    watch();
    ck_assert_int_eq(sim_runs("free/mutex", 2, RING, RUNS, free_a_mutex,
                              &users, &m), RUNS);
}
END_TEST

/* --- Wait group ----------------------------------------------------------------------- */

static int waiting; /* waiters a round has */

static void *give_group(void *arg)
{
    sim_expect(weft_waitgroup_done(&object.group) == 0);
    return arg;
}

static void *wait_group(void *arg)
{
    sim_expect(weft_waitgroup_wait(&object.group) == 0);
    through((uint32_t)waiting);
    return arg;
}

static int free_a_group(void *arg)
{
    weft_fiber_t g[2], w[2];

    waiting = *(int *)arg;
    for (int round = 0; round < 2; round++) {
        fresh();
        sim_expect(weft_waitgroup_add(&object.group, 2) == 0);
        for (int i = 0; i < 2; i++)
            sim_expect(weft_spawn(&g[i], give_group, NULL) == 0);
        for (int i = 0; i < waiting; i++)
            sim_expect(weft_spawn(&w[i], wait_group, NULL) == 0);
        weft_yield();
        for (int i = 0; i < 2; i++)
            sim_expect(weft_join(g[i], NULL) == 0);
        for (int i = 0; i < waiting; i++)
            sim_expect(weft_join(w[i], NULL) == 0);
        intact();
    }
    return sim_did();
}

START_TEST(a_wait_group_is_freed_by_the_last_waiter)
{
    int n = 1 + _i;
    struct sim_met m;

    watch();
    ck_assert_int_eq(sim_runs("free/waitgroup", 2, RING, RUNS, free_a_group,
                              &n, &m), RUNS);
}
END_TEST

/* --- Semaphore ------------------------------------------------------------------------- */

static void *give_permits(void *arg)
{
    sim_expect(weft_sem_release(&object.sem, 1) == 0);
    return arg;
}

/* All that is given; by trying, or by a wait that may find them there. */
static void *take_permits(void *arg)
{
    bool try = *(bool *)arg;

    if (try) {
        while (weft_sem_acquire_try(&object.sem, 2) == -EAGAIN)
            weft_yield();
    } else {
        sim_expect(weft_sem_acquire_until(&object.sem, 2, WEFT_FOREVER) == 0);
    }
    through(1);
    return NULL;
}

static int free_a_semaphore(void *arg)
{
    weft_fiber_t g[2], w;

    for (int round = 0; round < 2; round++) {
        fresh();
        for (int i = 0; i < 2; i++)
            sim_expect(weft_spawn(&g[i], give_permits, NULL) == 0);
        sim_expect(weft_spawn(&w, take_permits, arg) == 0);
        weft_yield();
        for (int i = 0; i < 2; i++)
            sim_expect(weft_join(g[i], NULL) == 0);
        sim_expect(weft_join(w, NULL) == 0);
        intact();
    }
    return sim_did();
}

START_TEST(a_semaphore_is_freed_by_the_one_that_got_its_permits)
{
    bool try = _i != 0;
    struct sim_met m;

    watch();
    ck_assert_int_eq(sim_runs("free/sem", 2, RING, RUNS, free_a_semaphore,
                              &try, &m), RUNS);
}
END_TEST

/* --- Condition ------------------------------------------------------------------------- */

static int told;

static void *wait_to_be_told(void *arg)
{
    sim_expect(weft_mutex_lock(&object.guarded.m) == 0);
    told++;
    sim_expect(weft_cond_wait(&object.guarded.c, &object.guarded.m) == 0);
    sim_expect(weft_mutex_unlock(&object.guarded.m) == 0);
    through((uint32_t)waiting);
    return arg;
}

/* The signal comes when all wait, without the mutex: so the call that wakes
 * the last one is the only one that could still be at work. */
static int free_a_condition(void *arg)
{
    weft_fiber_t w[2];
    int n;

    waiting = *(int *)arg;
    for (int round = 0; round < 2; round++) {
        fresh();
        told = 0;
        for (int i = 0; i < waiting; i++)
            sim_expect(weft_spawn(&w[i], wait_to_be_told, NULL) == 0);
        do {
            weft_yield();
            sim_expect(weft_mutex_lock(&object.guarded.m) == 0);
            n = told;
            sim_expect(weft_mutex_unlock(&object.guarded.m) == 0);
        } while (n < waiting);
        if (waiting == 1)
            sim_expect(weft_cond_signal(&object.guarded.c) == 0);
        else
            sim_expect(weft_cond_broadcast(&object.guarded.c) == 0);
        for (int i = 0; i < waiting; i++)
            sim_expect(weft_join(w[i], NULL) == 0);
        intact();
    }
    return sim_did();
}

START_TEST(a_condition_is_freed_by_the_last_it_woke)
{
    int n = 1 + _i;
    struct sim_met m;

    watch();
    ck_assert_int_eq(sim_runs("free/cond", 2, RING, RUNS, free_a_condition,
                              &n, &m), RUNS);
}
END_TEST

/* --- The watch itself -------------------------------------------------------------------- */

static int touch_late(void *arg)
{
    (void)arg;
    fresh();
    freed = true;
    return weft_waitgroup_wait_try(&object.group);
}

/* A search that sees nothing would prove nothing. */
START_TEST(a_late_touch_is_noticed)
{
    struct sim_met m;

    watch();
    weft__sim_quiet(true);
    ck_assert_int_eq(sim_runs("free/late", 2, RING, 1, touch_late, NULL, &m),
                     -EPROTO);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_free");
    TCase *tc = tcase_create("free");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_loop_test(tc, a_mutex_is_freed_by_the_next_owner, 0, 3);
    tcase_add_loop_test(tc, a_wait_group_is_freed_by_the_last_waiter, 0, 2);
    tcase_add_loop_test(tc,
                        a_semaphore_is_freed_by_the_one_that_got_its_permits,
                        0, 2);
    tcase_add_loop_test(tc, a_condition_is_freed_by_the_last_it_woke, 0, 2);
    tcase_add_test(tc, a_late_touch_is_noticed);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
