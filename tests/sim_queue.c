/*
 * Queues and the blocking lane under the simulation.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include "sched/atomic.h"
#include "sched/os.h"

enum { RUNS = 400, PLANTED_RUNS = 5000, RING = 2, VALUES = 4 };

static struct {
    weft_queue_t *q;
    weft__au32 done;
    weft__au32 sum;
} s;

static void *putter(void *arg)
{
    int first = (int)(intptr_t)arg;

    for (int i = first; i < first + VALUES; i++)
        sim_expect(weft_queue_put(s.q, &i) == 0);
    return NULL;
}

static void *worker(void *arg)
{
    int status, x;

    while ((status = weft_queue_get(s.q, &x)) == 0) {
        (void)weft__fetch_add(&s.sum, (uint32_t)x, RELAXED);
        (void)weft__fetch_add(&s.done, 1, RELAXED);
        sim_expect(weft_queue_done(s.q) == 0);
    }
    sim_expect(status == -EPIPE);
    return arg;
}

static int less(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

struct kind {
    int order;
    size_t capacity;
};

/* Everything that was put is done when the join returns. */
static int put_get_join(void *arg)
{
    const struct kind *kind = arg;
    weft_fiber_t tx[2], rx[2];

    sim_expect(weft_queue_create(&s.q, kind->order, sizeof(int),
                                 kind->capacity,
                                 kind->order == WEFT_PRIORITY ? less : NULL) ==
               0);
    for (int i = 0; i < 2; i++) {
        sim_expect(weft_spawn(&rx[i], worker, NULL) == 0);
        sim_expect(weft_spawn(&tx[i], putter, (void *)(intptr_t)(10 * i)) ==
                   0);
    }
    for (int i = 0; i < 2; i++)
        sim_expect(weft_join(tx[i], NULL) == 0);
    sim_expect(weft_queue_join(s.q) == 0);
    sim_expect(weft__load(&s.done, RELAXED) == 2 * VALUES);
    sim_expect(weft__load(&s.sum, RELAXED) == 6 + 46);
    sim_expect(weft_queue_close(s.q) == 0);
    for (int i = 0; i < 2; i++)
        sim_expect(weft_join(rx[i], NULL) == 0);
    weft_queue_unref(s.q);
    return sim_did();
}

static const struct kind kinds[] = {
    { WEFT_FIFO, 1 }, { WEFT_LIFO, 2 }, { WEFT_PRIORITY, 0 }
};

START_TEST(what_was_put_is_done)
{
    for (unsigned workers = 1; workers <= 3; workers++)
        ck_assert_int_eq(sim_runs("queue/join", workers, RING, RUNS,
                                  put_get_join,
                                  (void *)(uintptr_t)&kinds[_i], NULL), RUNS);
}
END_TEST

/* --- The blocking lane --------------------------------------------------- */

static unsigned most, now_in; /* plain: lanes share one OS thread here */

static void *block(void *arg)
{
    if (++now_in > most)
        most = now_in;
    for (int i = 0; i < 5; i++)
        weft__os_point("blocks");
    now_in--;
    return (char *)arg + 1;
}

static void *call_out(void *arg)
{
    for (int i = 0; i < 2; i++) {
        void *result = NULL;

        sim_expect(weft_blocking(block, arg, &result) == 0);
        sim_expect(result == (char *)arg + 1);
    }
    return NULL;
}

/* More callers than lane threads: all come back with their own answer. */
static int callers(void *arg)
{
    static char base[3];
    weft_fiber_t f[3];

    (void)arg;
    for (int i = 0; i < 3; i++)
        sim_expect(weft_spawn(&f[i], call_out, base + i) == 0);
    for (int i = 0; i < 3; i++)
        sim_expect(weft_join(f[i], NULL) == 0);
    sim_expect(now_in == 0 && most <= SIM_LANES);
    return most == SIM_LANES ? SIM_FIRST_FREE : 0;
}

static void *nothing(void *arg)
{
    return arg;
}

/* A millisecond: everyone has lain down by then. */
static void *block_long(void *arg)
{
    static weft__au32 never;

    sim_expect(weft__os_futex_wait(&never, 0, WEFT_MS(1)) == -ETIMEDOUT);
    return (char *)arg + 1;
}

/* Two children, which wake another worker; it finds little, and lies down
 * again while the only fiber left goes to the lane. It must not take that for
 * a program asleep. */
static int one_caller(void *arg)
{
    char base;

    (void)arg;
    for (int i = 0; i < 4; i++) {
        void *result = NULL;
        weft_fiber_t f[2];

        for (int n = 0; n < 2; n++)
            sim_expect(weft_spawn(&f[n], nothing, NULL) == 0);
        for (int n = 0; n < 2; n++)
            sim_expect(weft_join(f[n], NULL) == 0);
        for (int n = 0; n < 100 * i; n++)
            weft__os_point("computes");
        sim_expect(weft_blocking(block_long, &base, &result) == 0);
        sim_expect(result == &base + 1);
    }
    return sim_did();
}

START_TEST(a_job_is_no_deadlock)
{
    ck_assert_int_eq(sim_runs("blocking/one", 2, RING, 10 * RUNS, one_caller,
                              NULL, NULL), 10 * RUNS);
}
END_TEST

START_TEST(what_blocks_comes_back)
{
    for (unsigned workers = 1; workers <= 2; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("blocking", workers, RING, RUNS, callers,
                                  NULL, &m), RUNS);
        ck_assert_uint_gt(m.times[4], RUNS / 20);
    }
}
END_TEST

START_TEST(what_it_relies_on_is_missed)
{
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, put_get_join,
                        (void *)(uintptr_t)&kinds[0]));
    ck_assert(sim_finds(SIM_LOST_WAKES, 2, RING, PLANTED_RUNS, put_get_join,
                        (void *)(uintptr_t)&kinds[0]));
    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS, callers, NULL));
    ck_assert(sim_finds(SIM_LOST_WAKES, 2, RING, PLANTED_RUNS, callers, NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_queue");
    TCase *tc = tcase_create("queue");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_loop_test(tc, what_was_put_is_done, 0, 3);
    tcase_add_test(tc, what_blocks_comes_back);
    tcase_add_test(tc, a_job_is_no_deadlock);
    tcase_add_test(tc, what_it_relies_on_is_missed);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
