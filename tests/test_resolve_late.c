/*
 * A name server, played by a function of ours, that is slow, silent, or
 * answers too late: no one waits for it longer than they want, and no answer
 * is lost.
 */
#include "tests/support_resolve.h"

#include <sched.h>

/* --- Slow, silent, too late --------------------------------------------------------------------- */

static void *nothing(void *arg)
{
    return arg;
}

/* Ask, with a deadline that is not over before the server has been asked. */
static weft_fiber_t ask_until(struct question *q, weft_time_t duration)
{
    for (;; duration *= 2) {
        weft_fiber_t f;

        q->until = weft_after(duration);
        f = spawn(resolve, q);
        while (!weft__load(&asked, ACQUIRE) && weft_now() < q->until)
            weft_yield();
        if (weft__load(&asked, ACQUIRE))
            return f;
        join(f);
    }
}

static void fall_silent(int how)
{
    struct question q = question("silent");
    weft_fiber_t f;

    if (how == 1) {
        f = ask_until(&q, WEFT_MS(20));
    } else {
        f = spawn(resolve, &q);
        wait_for_jobs(WEFT__LANE_RESOLVE, 1, 0);
        wait_until_parked(f);
        ck_assert_int_eq(weft_cancel(f), 0);
    }
    /* Back, though the server is still being asked. */
    join(f);
    ck_assert_int_eq(q.status, how == 0 ? -ECANCELED : -ETIMEDOUT);
    if (how == 1)
        ck_assert_int_ge(q.back, q.until);
    ck_assert_uint_eq(weft__load(&answered, RELAXED), 0);
    wait_for_jobs(WEFT__LANE_RESOLVE, 1, 0);
    /* The answer comes after all, and goes. */
    open_gate();
    wait_for_released(1);
    wait_for_jobs(WEFT__LANE_RESOLVE, 0, 0);
    q = question("name");
    join(spawn(resolve, &q));
    ck_assert_int_eq(q.status, 0);
}

START_TEST(a_silent_server_keeps_no_one_who_was_called_off)
{
    run_body(fall_silent, _i);
}
END_TEST

/* There is nothing to release. */
WEFT_TEST(an_error_that_comes_too_late_is_forgotten)
{
    struct question q = question("silent");
    weft_fiber_t f = spawn(resolve, &q);

    wait_for_jobs(WEFT__LANE_RESOLVE, 1, 0);
    wait_until_parked(f);
    ck_assert_int_eq(weft_cancel(f), 0);
    join(f);
    say = EAI_AGAIN;
    open_gate();
    wait_for_jobs(WEFT__LANE_RESOLVE, 0, 0);
    ck_assert_uint_eq(weft__load(&released, RELAXED), 0);
}
END_TEST

enum { ASKERS = 6, BOUND = 2 };

/* The lane is full of it; files and other blocking code go on, and those in
 * line leave when their time is up. */
static void fill_lane(int i)
{
    struct question q[ASKERS];
    weft_fiber_t f[ASKERS];
    weft_stats_t stats = { .size = sizeof(stats) };

    (void)i;
    for (int n = 0; n < ASKERS; n++) {
        q[n] = question("silent");
        f[n] = spawn(resolve, &q[n]);
    }
    wait_for_jobs(WEFT__LANE_RESOLVE, BOUND, ASKERS - BOUND);
    ck_code(weft_stats(&stats), 0);
    ck_assert_uint_eq(stats.resolve_lane.threads, BOUND);
    ck_assert_uint_eq(stats.resolve_lane.queued, ASKERS - BOUND);
    ck_assert_int_gt(stats.resolve_lane.age, 0);
    ck_assert_int_eq(weft_blocking(nothing, NULL, NULL), 0);
    for (int n = 0; n < ASKERS; n++) {
        wait_until_parked(f[n]);
        ck_assert(expire(f[n]));
        join(f[n]);
        ck_assert_int_eq(q[n].status, -ETIMEDOUT);
    }
    ck_assert_uint_eq(weft__load(&asked, RELAXED), BOUND);
    ck_assert_uint_eq(weft__load(&answered, RELAXED), 0);
    open_gate();
    wait_for_released(BOUND);
}

START_TEST(silent_servers_fill_their_own_lane_only)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    config.resolve_threads = BOUND;
    ck_code(run_with(&config, fill_lane, 0), 0);
}
END_TEST

static void leave_asking(int i)
{
    struct question q = question("silent");
    weft_fiber_t f = spawn(resolve, &q);

    (void)i;
    wait_for_jobs(WEFT__LANE_RESOLVE, 1, 0);
    wait_until_parked(f);
    ck_assert_int_eq(weft_cancel(f), 0);
    join(f);
}

static void *resolve_for_ever(void *arg)
{
    static struct question q;

    q = question("silent");
    resolve(&q);
    ck_assert_int_eq(q.status, -ECANCELED);
    return arg;
}

static void end_asking(int i)
{
    (void)i;
    must_code(weft_go(resolve_for_ever, NULL), 0);
    wait_for_jobs(WEFT__LANE_RESOLVE, 1, 0);
}

/* Whether it was called off before, or is by the end. */
START_TEST(a_run_ends_while_a_server_is_silent)
{
    run_body(_i ? end_asking : leave_asking, 0);
    ck_assert_uint_eq(weft__load(&answered, RELAXED), 0);
    open_gate();
    wait_for_released(1);
    while (threads_named("weft-resolve") > 0)
        sched_yield();
    weft__store(&gate, 0, RELEASE);
    run_body(leave_asking, 0);
    open_gate();
    wait_for_released(2);
}
END_TEST

static void *cancel_it(void *arg)
{
    (void)weft_cancel(*(weft_fiber_t *)arg);
    return NULL;
}

/* An answer is the caller's or is released, and each exactly once. */
static void race(int deadline)
{
    unsigned rounds = instants(10000), found = 0, lost = 0;
    uint32_t random = 5;
    int64_t patience = 0; /* moves to where either end is as likely */

    for (unsigned i = 0; i < rounds; i++) {
        struct question q = question("name");
        int64_t wait = patience + next_random(&random) % 20000;
        weft_time_t end = weft_after(wait);
        weft_fiber_t f, g;

        if (deadline)
            q.until = end;
        f = spawn(resolve, &q);
        if (!deadline) {
            while (weft_now() < end)
                weft_yield();
            g = spawn(cancel_it, &f);
            join(g);
        }
        join(f);
        if (q.status == 0)
            found++;
        else
            lost++;
        patience += q.status == 0 ? -500 - patience / 8 : 500 + patience / 8;
        if (patience < 0 || patience > WEFT_MS(20))
            patience = 0;
        must(q.status == 0 ||
             q.status == (deadline ? -ETIMEDOUT : -ECANCELED));
    }
    ck_assert_uint_gt(found, 0);
    ck_assert_uint_gt(lost, 0);
    wait_for_jobs(WEFT__LANE_RESOLVE, 0, 0);
    while (weft__load(&answered, ACQUIRE) !=
           found + weft__load(&released, ACQUIRE))
        weft_yield();
    ck_assert_uint_eq(weft__load(&asked, RELAXED),
                      weft__load(&answered, RELAXED));
}

START_TEST(an_answer_at_the_instant_it_is_called_off)
{
    run_body(race, _i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resolve_late");
    TCase *tcase = tcase_create("resolve_late");

    tcase_add_checked_fixture(tcase, begin, NULL);
    tcase_add_loop_test(tcase,
                        a_silent_server_keeps_no_one_who_was_called_off, 0,
                        2);
    tcase_add_test(tcase, an_error_that_comes_too_late_is_forgotten);
    tcase_add_test(tcase, silent_servers_fill_their_own_lane_only);
    tcase_add_loop_test(tcase, a_run_ends_while_a_server_is_silent, 0, 2);
    tcase_add_loop_test(tcase, an_answer_at_the_instant_it_is_called_off, 0,
                        2);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
