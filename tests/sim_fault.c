/*
 * Faults to order: memory, guards and threads that cannot be had, on real
 * threads (the passthrough) and in a simulation.
 */
#include "tests/sim.h"

#include "sched/atomic.h"
#include "sched/os.h"

static void *twice(void *arg)
{
    *(int *)arg *= 2;
    return NULL;
}

static bool thread_works(void)
{
    weft__os_thread thread;
    int x = 21;

    if (weft__os_thread_create(&thread, "twice", twice, &x) != 0)
        return false;
    weft__os_thread_join(thread);
    return x == 42;
}

static bool map_works(void)
{
    void *p = weft__os_map(WEFT__PAGE);

    if (p != NULL)
        weft__os_unmap(p, WEFT__PAGE);
    return p != NULL;
}

START_TEST(the_nth_call_fails_once)
{
    weft__sim_passthrough(true);
    weft__sim_fault(WEFT__FAULT_MAP, 3, -ENOMEM);
    ck_assert(map_works());
    ck_assert(map_works());
    ck_assert(!map_works());
    ck_assert(map_works());
    ck_assert_uint_eq(weft__sim_fault_calls(WEFT__FAULT_MAP), 4);
    ck_assert(thread_works());
    weft__sim_passthrough(false);
}
END_TEST

START_TEST(every_call_fails_until_the_order_is_taken_back)
{
    weft__os_thread thread;
    int x = 0;

    weft__sim_passthrough(true);
    weft__sim_fault(WEFT__FAULT_THREAD, 0, -EAGAIN);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(weft__os_thread_create(&thread, "t", twice, &x),
                         -EAGAIN);
    weft__sim_fault(WEFT__FAULT_THREAD, 0, 0);
    ck_assert(thread_works());
    weft__sim_passthrough(false);
}
END_TEST

START_TEST(a_guard_that_fails_is_none)
{
    char *p = weft__os_map(2 * WEFT__PAGE);

    weft__sim_passthrough(true);
    weft__sim_fault(WEFT__FAULT_GUARD, 1, -EINVAL);
    ck_assert_int_eq(weft__os_guard(p, WEFT__GUARD_MPROTECT), -EINVAL);
    ck_assert(!weft__os_guarded(p));
    ck_assert_int_eq(weft__os_guard(p, WEFT__GUARD_MPROTECT), 0);
    ck_assert(weft__os_guarded(p));
    weft__sim_passthrough(false);
    weft__os_unmap(p, 2 * WEFT__PAGE);
}
END_TEST

/* Threads, atomics, futexes and the clock are the real ones meanwhile. */
static struct {
    weft__au32 count;
    weft__au8 byte;
    weft__au64 wide;
} s;

static void *work(void *arg)
{
    for (int i = 0; i < 10000; i++) {
        (void)weft__fetch_add(&s.count, 1, RELAXED);
        (void)weft__fetch_sub(&s.wide, 1, RELAXED);
    }
    (void)weft__fetch_or(&s.byte, 0x81, RELAXED);
    weft__set_self(arg);
    return weft__self();
}

START_TEST(everything_else_is_real_in_the_passthrough)
{
    struct weft__fiber *fake = (struct weft__fiber *)&s;
    weft__os_thread thread;
    uint64_t seen = UINT64_MAX - 9999;
    int64_t start;

    weft__sim_passthrough(true);
    ck_assert_int_eq(weft__os_thread_create(&thread, "work", work, fake), 0);
    for (int i = 0; i < 10000; i++)
        (void)weft__fetch_add(&s.count, 1, RELAXED);
    weft__os_thread_join(thread);
    ck_assert_uint_eq(weft__load(&s.count, RELAXED), 20000);
    ck_assert_uint_eq(weft__exchange(&s.byte, 7, SEQ_CST), 0x81);
    ck_assert(weft__cas(&s.wide, &seen, 5, ACQ_REL, RELAXED));
    ck_assert(!weft__cas(&s.wide, &seen, 6, ACQ_REL, RELAXED));
    ck_assert_uint_eq(seen, 5);
    ck_assert_ptr_null(weft__self());

    start = weft__os_now();
    ck_assert_int_eq(weft__os_futex_wait(&s.count, 20000, 2000000),
                     -ETIMEDOUT);
    ck_assert_int_ge(weft__os_now() - start, 2000000);
    weft__sim_passthrough(false);
}
END_TEST

static void want_three(void *arg)
{
    weft__os_thread thread;
    int x = 1;

    (void)arg;
    sim_expect(weft__os_thread_create(&thread, "t", twice, &x) == 0);
    weft__os_thread_join(thread);
    sim_expect(weft__os_thread_create(&thread, "t", twice, &x) == -EAGAIN);
    sim_expect(weft__os_thread_create(&thread, "t", twice, &x) == 0);
    weft__os_thread_join(thread);
    sim_expect(x == 4);
}

START_TEST(faults_happen_in_a_simulation_too)
{
    void (*const fns[])(void *) = { want_three };
    weft_sim_t sim = sim_of(2);

    weft__sim_fault(WEFT__FAULT_THREAD, 2, -EAGAIN);
    ck_assert_int_eq(weft__sim_threads(&sim, fns, 1, NULL, NULL), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_fault");
    TCase *tc = tcase_create("fault");

    tcase_add_test(tc, the_nth_call_fails_once);
    tcase_add_test(tc, every_call_fails_until_the_order_is_taken_back);
    tcase_add_test(tc, a_guard_that_fails_is_none);
    tcase_add_test(tc, everything_else_is_real_in_the_passthrough);
    tcase_add_test(tc, faults_happen_in_a_simulation_too);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
