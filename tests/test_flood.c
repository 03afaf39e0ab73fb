/*
 * More than queues hold: who woke does not wait for all who have not started.
 */
#include "tests/support_prim.h"

#include "sched/atomic.h"

/* So many are spawned that rings overflow; then one that has waited is made
 * ready, and more are spawned behind it. It does not wait for all of them. */
enum { FLOOD = ROUNDS(20000) };

static weft__au32 flood_ran;

static void *flood_one(void *arg)
{
    weft__fetch_add(&flood_ran, 1, RELAXED);
    return arg;
}

static void *crowd_waiter(void *arg)
{
    int value;

    ck_assert_int_eq(weft_chan_recv(arg, &value), -EPIPE);
    return (void *)(uintptr_t)weft__load(&flood_ran, RELAXED);
}

static void flood(int n)
{
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(weft_go(flood_one, NULL), 0);
}

static void *flood_waiter(void *arg)
{
    int value;

    ck_assert_int_eq(weft_chan_recv(arg, &value), 0);
    return (void *)(uintptr_t)weft__load(&flood_ran, RELAXED);
}

WEFT_TEST(who_has_started_does_not_queue_behind_all_who_have_not)
{
    weft_chan_t *ch = new_chan(sizeof(int), 0);
    weft_fiber_t f = spawn(flood_waiter, ch);
    uintptr_t ran;

    wait_until_parked(f);
    weft__store(&flood_ran, 0, RELAXED);
    flood(FLOOD);
    ck_assert_int_eq(weft_chan_send_try(ch, &(int){ 1 }), 0);
    flood(FLOOD / 4);
    ran = (uintptr_t)join(f);
    if (workers() == 1)
        ck_assert_uint_lt(ran, FLOOD / 2);
    weft_chan_unref(ch);
}
END_TEST

/* More than a ring holds are made ready at once: those that do not fit do not
 * wait for all who have not started, either. */
WEFT_TEST(a_crowd_that_wakes_does_not_queue_behind_all_who_have_not)
{
    enum { CROWD = ROUNDS(4000) };
    static weft_fiber_t f[CROWD];
    weft_chan_t *ch = new_chan(sizeof(int), 0);
    uintptr_t last = 0;

    for (int i = 0; i < CROWD; i++)
        f[i] = spawn(crowd_waiter, ch);
    wait_until_n_parked(CROWD);
    weft__store(&flood_ran, 0, RELAXED);
    flood(FLOOD);
    weft_chan_close(ch);
    for (int i = 0; i < CROWD; i++) {
        uintptr_t ran = (uintptr_t)join(f[i]);

        last = ran > last ? ran : last;
    }
    if (workers() == 1)
        ck_assert_uint_lt(last, FLOOD / 2);
    weft_chan_unref(ch);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("flood");
    TCase *tcase = tcase_create("flood");

    tcase_add_test(tcase,
                   who_has_started_does_not_queue_behind_all_who_have_not);
    tcase_add_test(tcase,
                   a_crowd_that_wakes_does_not_queue_behind_all_who_have_not);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
