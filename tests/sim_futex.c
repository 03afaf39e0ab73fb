/*
 * The simulation on itself: sleeping and waking, the clock, spin loops, and
 * runs that never end.
 */
#include "tests/sim.h"

#include "sched/atomic.h"
#include "sched/os.h"

enum { RUNS = 1000 };

static struct {
    weft__au32 a, b; /* locks: 0 free, 1 taken, 2 and someone sleeps */
    weft__au32 flag;
    weft__au32 woken;
    unsigned inside;
    uint32_t order[4];
    int64_t when[4];
} s;

static void fresh(void *arg)
{
    (void)arg;
    weft__init(&s.a, 0);
    weft__init(&s.b, 0);
    weft__init(&s.flag, 0);
    weft__init(&s.woken, 0);
    s.inside = 0;
}

static int search(unsigned n, void (*const fns[])(void *),
                  int (*check)(void *))
{
    weft_sim_t sim = sim_of(2);

    return weft__sim_search(&sim, RUNS, fns, n, NULL, fresh, check);
}

/* A futex lock after Drepper, "Futexes are tricky", mutex 3. */
static void lock(weft__au32 *l)
{
    uint32_t seen = 0;

    if (weft__cas(l, &seen, 1, ACQUIRE, RELAXED))
        return;
    if (seen != 2)
        seen = weft__exchange(l, 2, ACQUIRE);
    while (seen != 0) {
        weft__os_futex_wait(l, 2, -1);
        seen = weft__exchange(l, 2, ACQUIRE);
    }
}

static void unlock(weft__au32 *l)
{
    if (weft__fetch_sub(l, 1, RELEASE) != 1) {
        weft__store(l, 0, RELEASE);
        weft__os_futex_wake(l, 1);
    }
}

static void critical(void)
{
    sim_expect(s.inside++ == 0);
    weft__os_point("inside");
    s.inside--;
}

static void a_then_b(void *arg)
{
    (void)arg;
    lock(&s.a);
    lock(&s.b);
    critical();
    unlock(&s.b);
    unlock(&s.a);
}

static void b_then_a(void *arg)
{
    (void)arg;
    lock(&s.b);
    lock(&s.a);
    critical();
    unlock(&s.a);
    unlock(&s.b);
}

START_TEST(locks_taken_crosswise_deadlock)
{
    void (*const fns[])(void *) = { a_then_b, b_then_a };

    weft__sim_quiet(true);
    ck_assert_int_eq(search(2, fns, NULL), -EDEADLK);
    ck_assert_int_eq(weft__sim_last()->verdict, WEFT__SIM_DEADLOCK);
}
END_TEST

START_TEST(locks_taken_in_one_order_do_not)
{
    void (*const fns[])(void *) = { a_then_b, a_then_b, a_then_b };

    ck_assert_int_eq(search(3, fns, NULL), RUNS);
}
END_TEST

/* Looks, and then sleeps whatever has happened since. */
static void sleep_carelessly(void *arg)
{
    (void)arg;
    if (weft__load(&s.flag, ACQUIRE) == 0)
        weft__os_futex_wait(&s.woken, 0, -1);
}

static void sleep_carefully(void *arg)
{
    (void)arg;
    while (weft__load(&s.flag, ACQUIRE) == 0)
        weft__os_futex_wait(&s.flag, 0, -1);
}

static void wake(void *arg)
{
    (void)arg;
    weft__store(&s.flag, 1, RELEASE);
    weft__os_futex_wake(&s.flag, 1);
    weft__os_futex_wake(&s.woken, 1);
}

START_TEST(a_lost_wake_is_a_deadlock)
{
    void (*const careless[])(void *) = { sleep_carelessly, wake };
    void (*const careful[])(void *) = { sleep_carefully, wake };

    weft__sim_quiet(true);
    ck_assert_int_eq(search(2, careless, NULL), -EDEADLK);
    ck_assert_int_eq(search(2, careful, NULL), RUNS);
}
END_TEST

/* --- Who is woken -------------------------------------------------------- */

static void queue_up(void *arg)
{
    (void)arg;
    sim_expect(weft__os_futex_wait(&s.a, 0, -1) == 0);
    s.order[weft__fetch_add(&s.woken, 1, RELAXED)] = 1;
}

static void wake_one_by_one(void *arg)
{
    (void)arg;
    /* A second passes only when nothing else can move: all sleep then. */
    weft__os_futex_wait(&s.b, 0, 1000000000);
    sim_expect(weft__load(&s.woken, RELAXED) == 0);
    weft__os_futex_wake(&s.a, 1);
    weft__os_futex_wait(&s.b, 0, 1000000000);
    sim_expect(weft__load(&s.woken, RELAXED) == 1);
    weft__os_futex_wake(&s.a, INT32_MAX);
}

START_TEST(a_wake_of_one_wakes_one)
{
    void (*const fns[])(void *) = { queue_up, queue_up, queue_up,
                                    wake_one_by_one };

    ck_assert_int_eq(search(4, fns, NULL), RUNS);
}
END_TEST

/* --- The clock ----------------------------------------------------------- */

static void sleep_until(unsigned i, int64_t ns)
{
    int64_t start = weft__os_now();

    sim_expect(weft__os_futex_wait(&s.a, 0, ns) == -ETIMEDOUT);
    s.when[i] = weft__os_now() - start;
    sim_expect(s.when[i] >= ns);
    s.order[weft__fetch_add(&s.woken, 1, RELAXED)] = i;
}

static void sleep_long(void *arg)
{
    (void)arg;
    sleep_until(0, INT64_C(3600000000000));
}

static void sleep_short(void *arg)
{
    (void)arg;
    sleep_until(1, 1000000);
}

static void sleep_not(void *arg)
{
    (void)arg;
    sim_expect(weft__os_futex_wait(&s.a, 0, 0) == -ETIMEDOUT);
    sim_expect(weft__os_futex_wait(&s.a, 1, -1) == -EAGAIN);
    s.order[weft__fetch_add(&s.woken, 1, RELAXED)] = 2;
}

static int slept_in_order(void *arg)
{
    (void)arg;
    return s.order[2] == 0 && s.when[0] < INT64_C(3601000000000) ? 0 : -EPROTO;
}

/* An hour passes at once, and never early. */
START_TEST(sleepers_wake_in_the_order_of_their_deadlines)
{
    void (*const fns[])(void *) = { sleep_long, sleep_short, sleep_not };

    ck_assert_int_eq(search(3, fns, slept_in_order), RUNS);
}
END_TEST

static void compute(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++)
        (void)weft__fetch_add(&s.b, 1, RELAXED);
    weft__store(&s.flag, 1, RELAXED);
}

static void tick(void *arg)
{
    (void)arg;
    weft__os_futex_wait(&s.a, 0, 1000000);
    s.inside = weft__load(&s.flag, RELAXED);
}

static unsigned ticks_within;

static int count_ticks_within(void *arg)
{
    (void)arg;
    ticks_within += s.inside == 0;
    return 0;
}

/* A timeout of a millisecond comes up in the midst of five microseconds of
 * work in some of the runs: another core may be that slow. */
START_TEST(a_timeout_may_come_in_the_midst_of_work)
{
    void (*const fns[])(void *) = { compute, tick };

    ticks_within = 0;
    ck_assert_int_eq(search(2, fns, count_ticks_within), RUNS);
    ck_assert_uint_ge(ticks_within, RUNS / 20);
    ck_assert_uint_le(ticks_within, RUNS - RUNS / 20);
}
END_TEST

/* --- Spin loops, and runs without end ------------------------------------ */

static void spin(void *arg)
{
    (void)arg;
    while (weft__load(&s.flag, ACQUIRE) == 0)
        weft__os_pause();
}

static void spin_by_the_clock(void *arg)
{
    int64_t start = weft__os_now();

    (void)arg;
    while (weft__os_now() - start < 50000)
        ;
    weft__store(&s.flag, 1, RELEASE);
}

START_TEST(spin_loops_let_others_move)
{
    void (*const fns[])(void *) = { spin, spin, spin, spin_by_the_clock };
    weft_sim_t sim = sim_of(2);

    ck_assert_int_eq(search(4, fns, NULL), RUNS);

    /* A chooser that would stay for ever where it is has to leave too. */
    fresh(NULL);
    sim.replay = "";
    ck_assert_int_eq(weft__sim_threads(&sim, fns, 4, NULL, NULL), 0);
    ck_assert_uint_le(weft__sim_last()->steps, 100);
}
END_TEST

START_TEST(a_run_without_end_is_stopped)
{
    void (*const fns[])(void *) = { spin, spin };
    weft_sim_t sim = sim_of(2);

    fresh(NULL);
    sim.steps = 5000;
    weft__sim_quiet(true);
    ck_assert_int_eq(weft__sim_threads(&sim, fns, 2, NULL, NULL), -ETIMEDOUT);
    ck_assert_int_eq(weft__sim_last()->verdict, WEFT__SIM_HUNG);
    ck_assert_uint_eq(weft__sim_last()->steps, 5001);
}
END_TEST

/* --- Threads ------------------------------------------------------------- */

static void *child(void *arg)
{
    (void)weft__fetch_add((weft__au32 *)arg, 1, RELAXED);
    weft__store(&s.b, 1, RELAXED); /* still in the buffer at the end */
    return NULL;
}

static void parent(void *arg)
{
    weft__os_thread thread[3];

    (void)arg;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 3; i++)
            sim_expect(weft__os_thread_create(&thread[i], "child", child,
                                              &s.a) == 0);
        for (int i = 0; i < 3; i++)
            weft__os_thread_join(thread[i]);
        sim_expect(weft__load(&s.b, RELAXED) == 1);
        weft__store(&s.b, 0, SEQ_CST);
    }
    sim_expect(weft__load(&s.a, RELAXED) == 60);
}

static void too_many(void *arg)
{
    weft__os_thread thread[WEFT__SIM_THREADS];
    int n = 0;

    (void)arg;
    while (weft__os_thread_create(&thread[n], "child", child, &s.a) == 0)
        n++;
    sim_expect(n == WEFT__SIM_THREADS - 1);
    while (n > 0)
        weft__os_thread_join(thread[--n]);
}

/* errno is a thread's own. */
static void keep_errno(void *arg)
{
    int mine = 1 + (int)weft__fetch_add(&s.woken, 1, RELAXED);

    (void)arg;
    for (int i = 0; i < 10; i++) {
        errno = mine;
        weft__os_point("another sets errno");
        sim_expect(errno == mine);
    }
}

START_TEST(errno_is_a_threads_own)
{
    void (*const fns[])(void *) = { keep_errno, keep_errno, keep_errno };

    ck_assert_int_eq(search(3, fns, NULL), RUNS);
}
END_TEST

START_TEST(threads_are_made_and_joined)
{
    void (*const fns[])(void *) = { parent };
    void (*const many[])(void *) = { too_many };

    ck_assert_int_eq(search(1, fns, NULL), RUNS);
    ck_assert_int_eq(search(1, many, NULL), RUNS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_futex");
    TCase *tc = tcase_create("futex");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, locks_taken_crosswise_deadlock);
    tcase_add_test(tc, locks_taken_in_one_order_do_not);
    tcase_add_test(tc, a_lost_wake_is_a_deadlock);
    tcase_add_test(tc, a_wake_of_one_wakes_one);
    tcase_add_test(tc, sleepers_wake_in_the_order_of_their_deadlines);
    tcase_add_test(tc, a_timeout_may_come_in_the_midst_of_work);
    tcase_add_test(tc, spin_loops_let_others_move);
    tcase_add_test(tc, a_run_without_end_is_stopped);
    tcase_add_test(tc, threads_are_made_and_joined);
    tcase_add_test(tc, errno_is_a_threads_own);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
