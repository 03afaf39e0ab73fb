/*
 * Shields: what is lifted behind one, for how long, and what the end of a run
 * makes of it.
 */
#include "tests/support_prim.h"

#include <sched.h>

static weft_chan_t *ch;
static weft_mutex_t mutex;

static void *nothing(void *arg)
{
    return arg;
}

static void *wait_once(void *arg)
{
    return (void *)(intptr_t)weft_chan_recv(arg, NULL);
}

static void *shielded(void *arg)
{
    int depth = (int)(intptr_t)arg;
    int x = -1;

    for (int i = 0; i < depth; i++)
        weft_shield_begin();
    /* Cancelled in here, and before. */
    for (int i = 0; i < 3; i++) {
        ck_code(weft_chan_recv(ch, &x), 0);
        ck_assert_int_eq(x, i);
        ck_code(weft_checkpoint(), 0);
    }
    ck_code(weft_canceled(), 1);
    for (int i = 1; i < depth; i++) {
        weft_shield_end();
        ck_code(weft_chan_recv(ch, &x), 0);
    }
    weft_shield_end();
    ck_code(weft_chan_recv(ch, &x), -ECANCELED);
    ck_code(weft_checkpoint(), -ECANCELED);

    /* One that was not begun does nothing: the next one counts. */
    weft_shield_end();
    weft_shield_end();
    ck_code(weft_chan_recv(ch, &x), -ECANCELED);
    weft_shield_begin();
    ck_code(weft_chan_recv(ch, &x), 0);
    weft_shield_end();
    ck_code(weft_chan_recv(ch, &x), -ECANCELED);
    return NULL;
}

/* The cancel finds it parked behind its shields; it waits on, as often as it
 * likes, until the last one has ended. */
WEFT_TEST(a_shield_lifts_the_cancel)
{
    int depth = _i + 1;
    weft_fiber_t f;

    ch = new_chan(sizeof(int), 0);
    f = spawn(shielded, (void *)(intptr_t)depth);
    wait_until_parked(f);
    ck_code(weft_cancel(f), 0);
    for (int i = 0; i < 100; i++)
        weft_yield();
    ck_assert(is_state(f, "parked"));
    for (int i = 0; i < 3 + depth - 1 + 1; i++)
        must_code(weft_chan_send(ch, &i), 0);
    join(f);
    weft_chan_unref(ch);
}
END_TEST

static void *clear_behind_a_shield(void *arg)
{
    weft_shield_begin();
    weft_cancel_clear();
    weft_shield_end();
    ck_code(weft_canceled(), 0);
    ck_code(weft_chan_send_until(arg, NULL, WEFT_FOREVER), 0);
    return NULL;
}

WEFT_TEST(a_cancel_may_be_noted_behind_a_shield)
{
    weft_fiber_t f;

    ch = new_chan(0, 1);
    f = spawn(clear_behind_a_shield, ch);
    must_code(weft_cancel(f), 0);
    join(f);
    weft_chan_unref(ch);
}
END_TEST

static void *end_shielded(void *arg)
{
    weft_shield_begin();
    weft_shield_begin();
    return arg;
}

static void *shield_and_wait(void *arg)
{
    weft_shield_begin();
    weft_shield_end();
    return (void *)(intptr_t)weft_chan_recv(arg, NULL);
}

/* Who takes over the record is not shielded, and stands behind one shield
 * after one begin. */
WEFT_TEST(a_fiber_takes_its_shields_along)
{
    void *(*const next[])(void *) = { wait_once, shield_and_wait };

    ch = new_chan(0, 0);
    for (int i = 0; i < 300; i++)
        join(spawn(end_shielded, NULL));
    for (int i = 0; i < 600; i++) {
        weft_fiber_t f = spawn(next[i % 2], ch);

        must_code(weft_cancel(f), 0);
        must((intptr_t)join(f) == -ECANCELED);
    }
    weft_chan_unref(ch);
}
END_TEST

/* Every call that may wait does so behind a shield. */
static void *wait_shielded(void *arg)
{
    weft_fiber_t f;
    weft_waitgroup_t wg = WEFT_WAITGROUP_INIT;

    weft_cancel(weft_self());
    weft_shield_begin();
    f = spawn(nothing, NULL);
    ck_code(weft_join(f, NULL), 0);
    ck_code(weft_waitgroup_wait(&wg), 0);
    ck_code(weft_blocking(nothing, NULL, NULL), 0);
    ck_code(weft_mutex_lock_until(&mutex, WEFT_FOREVER), 0);
    ck_code(weft_mutex_unlock(&mutex), 0);
    weft_shield_end();
    return arg;
}

WEFT_TEST(clean_up_may_use_all_that_waits)
{
    join(spawn(wait_shielded, NULL));
}
END_TEST

/* --- The end of a run --------------------------------------------------------------------- */

static void *say_farewell(void *arg)
{
    int x = -1;

    ck_code(weft_chan_recv(ch, &x), -ECANCELED);
    /* The run that ends cancels again. */
    weft_cancel_clear();
    ck_code(weft_chan_recv(ch, &x), -ECANCELED);
    weft_shield_begin();
    ck_code(weft_chan_send(arg, &(int){ 42 }), 0);
    weft_shield_end();
    ck_code(weft_chan_recv(ch, &x), -ECANCELED);
    return NULL;
}

static void *hear_farewell(void *arg)
{
    int x = -1;

    weft_shield_begin();
    ck_code(weft_chan_recv(arg, &x), 0);
    ck_assert_int_eq(x, 42);
    weft_shield_end();
    return NULL;
}

static weft_chan_t *farewells;

static void leave_them(int i)
{
    (void)i;
    must_code(weft_go(say_farewell, farewells), 0);
    must_code(weft_go(hear_farewell, farewells), 0);
    wait_until_n_parked(2);
}

/* Clean-up behind a shield may wait for another's, and the run for both. */
START_TEST(a_run_that_ends_lets_shielded_fibers_finish)
{
    ch = new_chan(sizeof(int), 0);
    farewells = new_chan(sizeof(int), 0);
    ck_code(run_with(NULL, leave_them, 0), 0);
    weft_chan_unref(farewells);
    weft_chan_unref(ch);
}
END_TEST

static void *wait_behind_a_shield(void *arg)
{
    weft_shield_begin();
    return (void *)(intptr_t)weft_chan_recv(arg, NULL);
}

static void leave_one(int i)
{
    weft_fiber_t f = spawn(wait_behind_a_shield, ch);

    (void)i;
    wait_until_parked(f);
    must_code(weft_detach(f), 0);
}

static weft__au32 listed;

static void count_listed(int level, const char *line, void *arg)
{
    (void)level, (void)arg;
    if (strstr(line, "did not end in time"))
        (void)weft__fetch_add(&listed, 1, RELAXED);
}

static void nothing_at_all(int i)
{
    (void)i;
}

/* But not for ever: no longer than for any other. */
START_TEST(a_shield_does_not_outlast_the_stop_timeout)
{
    weft_config_t config = WEFT_CONFIG_INIT;
    int status;

    config.stop_timeout = WEFT_MS(50);
    ch = new_chan(0, 0);
    weft_set_log(count_listed, NULL);
    ck_code(run_with(&config, leave_one, 0), -EBUSY);
    ck_assert_uint_eq(weft__load(&listed, RELAXED), 1);
    ck_code(weft_chan_send_try(ch, NULL), 0);
    while ((status = run_with(&config, nothing_at_all, 0)) == -EBUSY)
        sched_yield();
    ck_code(status, 0);
    weft_set_log(NULL, NULL);
    weft_chan_unref(ch);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shield");
    TCase *tcase = tcase_create("shield");

    tcase_add_loop_test(tcase, a_shield_lifts_the_cancel, 0, 3);
    tcase_add_test(tcase, a_cancel_may_be_noted_behind_a_shield);
    tcase_add_test(tcase, a_fiber_takes_its_shields_along);
    tcase_add_test(tcase, clean_up_may_use_all_that_waits);
    tcase_add_test(tcase, a_run_that_ends_lets_shielded_fibers_finish);
    tcase_add_test(tcase, a_shield_does_not_outlast_the_stop_timeout);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
