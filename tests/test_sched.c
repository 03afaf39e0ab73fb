/*
 * Who runs next: order, and that no one waits for ever behind busy ones. A
 * test of the second kind hangs where the scheduler is wrong, and its case
 * has a timeout.
 */
#include "tests/support.h"

#include <pthread.h>
#include <sched.h>

#include "sched/park.h"
#include "sched/sched.h"

static weft__au32 flag;

static bool is_set(void)
{
    return weft__load(&flag, ACQUIRE) != 0;
}

static void *set_flag(void *arg)
{
    (void)arg;
    weft__store(&flag, 1, RELEASE);
    return NULL;
}

static void *yield_until_set(void *arg)
{
    (void)arg;
    while (!is_set())
        weft_yield();
    return NULL;
}

/* Receives, and then sets the flag. */
static void *set_flag_when_told(void *arg)
{
    if (weft_chan_recv(arg, NULL) == 0)
        weft__store(&flag, 1, RELEASE);
    return NULL;
}

/* --- Order ------------------------------------------------------------------------- */

enum { TURNS = 200, TAKERS = 3 };

static weft__au32 turns[TAKERS * TURNS];
static weft__au32 turn;

static void *take_turns(void *arg)
{
    for (int i = 0; i < TURNS; i++) {
        weft__store(&turns[weft__fetch_add(&turn, 1, RELAXED)],
                    (uint32_t)(uintptr_t)arg, RELAXED);
        weft_yield();
    }
    return NULL;
}

/* On one worker. */
WEFT_TEST(yielders_take_turns)
{
    weft_fiber_t f[TAKERS];
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t asleep;

    if (workers() > 1)
        return;
    for (intptr_t i = 0; i < TAKERS; i++)
        f[i] = spawn(take_turns, (void *)i);
    /* Sleep, so that only they run. */
    asleep = spawn(set_flag_when_told, ch);
    for (int i = 0; i < TAKERS; i++)
        join(f[i]);
    for (int i = TAKERS; i < TAKERS * TURNS - TAKERS; i++)
        if (weft__load(&turns[i], RELAXED) !=
            weft__load(&turns[i - TAKERS], RELAXED))
            ck_abort_msg("turn %d was another's", i);
    ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    join(asleep);
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(a_yield_runs_what_is_ready)
{
    weft_fiber_t f = spawn(set_flag, NULL);

    while (!is_set())
        weft_yield();
    join(f);
    weft_yield(); /* alone: it comes back */
}
END_TEST

/* --- Nobody starves ---------------------------------------------------------------- */

static void *send_from_outside(void *arg)
{
    while (weft_chan_send_try(arg, NULL) == -EAGAIN)
        ;
    return NULL;
}

/* Each worker has more to run than it ever gets done with; what comes from a
 * foreign thread lies in the injection queue. */
WEFT_TEST(the_injection_queue_is_not_starved_by_busy_queues)
{
    enum { EACH = 4, MOST = 8 * EACH };
    weft_chan_t *ch = new_chan(0, 0);
    unsigned n = workers() * EACH;
    weft_fiber_t f[MOST], told = spawn(set_flag_when_told, ch);
    pthread_t outside;

    ck_assert_uint_le(n, MOST);
    wait_until_parked(told);
    for (unsigned i = 0; i < n; i++)
        f[i] = spawn(yield_until_set, NULL);
    for (unsigned i = 0; i < 10 * n; i++)
        weft_yield();
    ck_assert_int_eq(pthread_create(&outside, NULL, send_from_outside, ch),
                     0);
    while (!is_set())
        weft_yield();
    pthread_join(outside, NULL);
    join(told);
    for (unsigned i = 0; i < n; i++)
        join(f[i]);
    weft_chan_unref(ch);
}
END_TEST

/* Two that ready each other, through the next slot each time. */
static weft_chan_t *ball[2];

static void *play(void *arg)
{
    intptr_t side = (intptr_t)arg;

    /* Whoever sees the flag closes both ways. */
    while (!is_set()) {
        if (side == 0 && weft_chan_send(ball[0], NULL) != 0)
            break;
        if (weft_chan_recv(ball[1 - side], NULL) != 0)
            break;
        if (side == 1 && weft_chan_send(ball[1], NULL) != 0)
            break;
    }
    weft_chan_close(ball[0]);
    weft_chan_close(ball[1]);
    return NULL;
}

WEFT_TEST(a_pair_that_readies_each_other_does_not_starve_the_ring)
{
    weft_fiber_t pair[2], f;

    ball[0] = new_chan(0, 0);
    ball[1] = new_chan(0, 0);
    pair[1] = spawn(play, (void *)1);
    pair[0] = spawn(play, (void *)0);
    f = spawn(yield_until_set, NULL); /* pushes pair[0] to the ring */
    for (int i = 0; i < 100; i++)
        weft_yield();
    /* Behind the pair, in the ring. */
    join(spawn(set_flag, NULL));
    join(f);
    join(pair[0]);
    join(pair[1]);
    weft_chan_unref(ball[0]);
    weft_chan_unref(ball[1]);
}
END_TEST

static void *nothing(void *arg)
{
    return arg;
}

/* Spawn and join go straight to the child and back. */
WEFT_TEST(spawning_and_joining_does_not_starve_the_ring)
{
    weft_fiber_t f = spawn(set_flag, NULL);

    join(spawn(nothing, NULL)); /* pushes f to the ring */
    while (!is_set())
        join(spawn(nothing, NULL));
    join(f);
}
END_TEST

static void *chain(void *arg)
{
    if (!is_set() && weft_go(chain, arg) != 0)
        weft__store(&flag, 2, RELEASE);
    return NULL;
}

/* Each link starts the next one and ends: the next slot is never empty. */
WEFT_TEST(a_chain_of_spawns_does_not_starve_the_ring)
{
    weft_fiber_t f = spawn(nothing, NULL);

    ck_code(weft_go(chain, NULL), 0); /* pushes f to the ring */
    weft_yield();                     /* and the caller behind it */
    weft__store(&flag, 1, RELEASE);
    join(f);
}
END_TEST

/* Yielders all the time; what lies in the next slot gets its turn. */
WEFT_TEST(the_next_slot_is_not_starved_by_the_ring)
{
    enum { YIELDERS = 8, ROUNDS = 200 };
    weft_chan_t *ch = new_chan(0, 0), *back = new_chan(0, 1);
    weft_fiber_t f[YIELDERS];

    for (int i = 0; i < YIELDERS; i++)
        f[i] = spawn(yield_until_set, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        weft_fiber_t told = spawn(set_flag_when_told, back);

        wait_until_parked(told);
        ck_assert_int_eq(weft_chan_send(back, NULL), 0);
        while (!is_set())
            weft_yield();
        join(told);
        if (i + 1 < ROUNDS) {
            weft__store(&flag, 0, RELEASE);
            for (int k = 0; k < YIELDERS; k++)
                if (weft_join_try(f[k], NULL) == 0)
                    f[k] = spawn(yield_until_set, NULL);
        }
    }
    for (int i = 0; i < YIELDERS; i++)
        join(f[i]);
    weft_chan_unref(ch);
    weft_chan_unref(back);
}
END_TEST

/* --- Work is taken from one that computes ------------------------------------------- */

/* Made ready and then left: its waker computes until it has run. */
WEFT_TEST(the_next_slot_of_one_that_computes_is_stolen)
{
    weft_chan_t *ch = new_chan(0, 0);

    if (workers() < 2)
        return;
    for (int i = 0; i < 20; i++) {
        weft_fiber_t told = spawn(set_flag_when_told, ch);

        wait_until_parked(told);
        ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
        while (!is_set())
            ;
        join(told);
        weft__store(&flag, 0, RELEASE);
    }
    weft_chan_unref(ch);
}
END_TEST

static void compute_beside_new_fibers(int unused)
{
    (void)unused;
    if (workers() < 2)
        return;
    for (int i = 0; i < 20; i++) {
        weft_fiber_t f = spawn(set_flag, NULL);

        while (!is_set())
            ;
        join(f);
        weft__store(&flag, 0, RELEASE);
    }
}


WEFT_TEST(a_new_fiber_of_one_that_computes_is_stolen)
{
    compute_beside_new_fibers(0);
}
END_TEST

WEFT_TEST(the_ring_of_one_that_computes_is_stolen)
{
    if (workers() < 2)
        return;
    for (int i = 0; i < 20; i++) {
        weft_fiber_t first = spawn(set_flag, NULL);
        weft_fiber_t second = spawn(nothing, NULL);

        while (!is_set())
            ;
        join(first);
        join(second);
        weft__store(&flag, 0, RELEASE);
    }
}
END_TEST

/* There the thief has the core only while the owner has not: it must let it go
 * on to see whether it makes a turn. */
START_TEST(on_one_core_a_next_slot_is_stolen_too)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    ck_assert_int_eq(sched_getaffinity(0, sizeof(one), &one), 0);
    for (size_t cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &one) && seen++)
            CPU_CLR(cpu, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
    run_body(compute_beside_new_fibers, 0);
}
END_TEST

/* --- Many ------------------------------------------------------------------------------ */

static weft__au32 count;

static void *count_one(void *arg)
{
    (void)arg;
    weft__fetch_add(&count, 1, RELAXED);
    return NULL;
}

static void *spawn_and_join_many(void *arg)
{
    weft_fiber_t f[100];

    for (int i = 0; i < 100; i++)
        f[i] = spawn(count_one, NULL);
    for (int i = 0; i < 100; i++)
        join(f[i]);
    return arg;
}

WEFT_TEST(many_fibers_spawn_many)
{
    enum { SPAWNERS = 64 };
    weft_fiber_t f[SPAWNERS];

    for (int i = 0; i < SPAWNERS; i++)
        f[i] = spawn(spawn_and_join_many, NULL);
    for (int i = 0; i < SPAWNERS; i++)
        join(f[i]);
    ck_assert_uint_eq(weft__load(&count, RELAXED), SPAWNERS * 100);
}
END_TEST

static void *leaves(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    weft_fiber_t left, right;
    intptr_t sum;

    if (depth == 0)
        return (void *)1;
    left = spawn(leaves, (void *)(depth - 1));
    right = spawn(leaves, (void *)(depth - 1));
    sum = (intptr_t)join(left);
    return (void *)(sum + (intptr_t)join(right));
}

WEFT_TEST(a_tree_of_spawns_counts_its_leaves)
{
    ck_assert_int_eq((intptr_t)join(spawn(leaves, (void *)12)), 1 << 12);
    ck_assert_int_eq(weft_audit(stderr), 0);
}
END_TEST

/* --- Checkpoints ------------------------------------------------------------------------ */

static void *compute_until_set(void *arg)
{
    int status = 0;

    (void)arg;
    while (!is_set() && status == 0)
        status = weft_checkpoint();
    return (void *)(intptr_t)status;
}

/* As many that compute as there are workers, and one behind them: without the
 * monitor's wish it would wait for ever. */
WEFT_TEST(a_checkpoint_yields_after_ten_milliseconds)
{
    enum { MOST = 8 };
    weft_fiber_t f[MOST], last;

    ck_assert_uint_le(workers(), MOST);
    last = spawn(yield_until_set, NULL);
    for (unsigned i = 0; i < workers(); i++)
        f[i] = spawn(compute_until_set, NULL);
    weft_yield();
    /* Here again: one of them has let us. */
    ck_code(weft_checkpoint(), 0);
    weft__store(&flag, 1, RELEASE);
    for (unsigned i = 0; i < workers(); i++)
        ck_assert_ptr_null(join(f[i]));
    join(last);
}
END_TEST

WEFT_TEST(a_checkpoint_tells_of_a_cancel)
{
    weft_fiber_t f = spawn(compute_until_set, NULL);
    uint64_t life;
    struct weft__fiber *record;

    while (!is_state(f, "running"))
        weft_yield();
    record = weft__fiber_find(f, &life);
    ck_assert_ptr_nonnull(record);
    ck_assert(weft__cancel(record, life));
    ck_assert_int_eq((intptr_t)join(f), -ECANCELED);

    record = weft__fiber_find(weft_self(), &life);
    ck_assert(weft__cancel(record, life));
    ck_code(weft_checkpoint(), -ECANCELED);
}
END_TEST

/* --- Where am I -------------------------------------------------------------------------- */

struct outside {
    weft_fiber_t ended;
    weft_fiber_t live;
};

static void *call_from_outside(void *arg)
{
    struct outside *o = arg;
    weft_fiber_t f;

    weft_yield();
    ck_code(weft_checkpoint(), 0);
    ck_assert_uint_eq(weft_self(), 0);
    ck_assert_uint_eq(weft_stack_left(), SIZE_MAX);
    ck_code(weft_name("outside"), -EPERM);
    ck_code(weft_spawn(&f, nothing, NULL), -EPERM);
    ck_code(weft_spawn_with(&f, NULL, nothing, NULL), -EPERM);
    ck_code(weft_go(nothing, NULL), -EPERM);
    ck_code(weft_join(o->live, NULL), -EPERM);
    ck_code(weft_join_try(o->live, NULL), -EAGAIN);
    ck_code(weft_join(o->ended, NULL), 0);
    ck_code(weft_join(o->ended, NULL), -ESRCH);
    ck_code(weft_detach(o->live), 0);
    return NULL;
}

WEFT_TEST(a_foreign_thread_yields_and_may_not_park)
{
    weft_chan_t *ch = new_chan(0, 0);
    struct outside o = { spawn(nothing, NULL), spawn(set_flag_when_told, ch) };
    pthread_t outside;

    wait_until_ended(o.ended);
    wait_until_parked(o.live);
    ck_assert_int_eq(
        pthread_create(&outside, NULL, call_from_outside, &o), 0);
    pthread_join(outside, NULL);
    ck_code(weft_chan_send(ch, NULL), 0);
    while (!is_set())
        weft_yield();
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(there_are_as_many_workers_as_asked_for)
{
    const char *asked = getenv("WEFT_WORKERS");
    weft_worker_stats_t stats;

    if (asked)
        ck_assert_uint_eq(weft_workers(), strtoul(asked, NULL, 10));
    ck_assert_uint_ge(weft_workers(), 1);
    ck_code(weft_stats_worker(weft_workers() - 1, &stats), 0);
    ck_code(weft_stats_worker(weft_workers(), &stats), -EINVAL);
}
END_TEST

START_TEST(there_are_no_workers_while_nothing_runs)
{
    ck_assert_uint_eq(weft_workers(), 0);
}
END_TEST

/* --- Beside joins ---------------------------------------------------------------- */

static weft__au32 awake;

static void *sleep_shortly(void *arg)
{
    weft_sleep(WEFT_MS(1));
    weft__store(&awake, 1, RELEASE);
    return arg;
}

static void *compute_for_long(void *arg)
{
    weft_time_t end = weft_after(WEFT_MS(2));

    while (weft_now() < end)
        ;
    return arg;
}

/* A child that has not started is run by who joins it, and who joins goes on
 * right behind its end: no one else comes in between. On one worker. */
static void join_one_after_the_other(int i)
{
    weft_fiber_t sleeper = spawn(sleep_shortly, NULL);

    (void)i;
    weft_yield();
    while (!weft__load(&awake, ACQUIRE))
        join(spawn(compute_for_long, NULL));
    join(sleeper);
}

START_TEST(timers_are_looked_at_beside_joins)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    unsetenv("WEFT_WORKERS");
    config.workers = 1;
    ck_assert_int_eq(run_with(&config, join_one_after_the_other, 0), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sched");
    TCase *order = tcase_create("order");
    TCase *starve = tcase_create("starve");
    TCase *steal = tcase_create("steal");
    TCase *many = tcase_create("many");
    TCase *where = tcase_create("where");

    tcase_add_test(order, yielders_take_turns);
    tcase_add_test(order, a_yield_runs_what_is_ready);
    suite_add_tcase(suite, order);

    tcase_add_test(starve,
                   the_injection_queue_is_not_starved_by_busy_queues);
    tcase_add_test(starve,
                   a_pair_that_readies_each_other_does_not_starve_the_ring);
    tcase_add_test(starve, spawning_and_joining_does_not_starve_the_ring);
    tcase_add_test(starve, a_chain_of_spawns_does_not_starve_the_ring);
    tcase_add_test(starve, the_next_slot_is_not_starved_by_the_ring);
    tcase_add_test(starve, timers_are_looked_at_beside_joins);
    suite_add_tcase(suite, starve);

    tcase_add_test(steal, the_next_slot_of_one_that_computes_is_stolen);
    tcase_add_test(steal, a_new_fiber_of_one_that_computes_is_stolen);
    tcase_add_test(steal, the_ring_of_one_that_computes_is_stolen);
    tcase_add_test(steal, on_one_core_a_next_slot_is_stolen_too);
    suite_add_tcase(suite, steal);

    tcase_add_test(many, many_fibers_spawn_many);
    tcase_add_test(many, a_tree_of_spawns_counts_its_leaves);
    suite_add_tcase(suite, many);

    tcase_add_test(where, a_checkpoint_yields_after_ten_milliseconds);
    tcase_add_test(where, a_checkpoint_tells_of_a_cancel);
    tcase_add_test(where, a_foreign_thread_yields_and_may_not_park);
    tcase_add_test(where, there_are_as_many_workers_as_asked_for);
    tcase_add_test(where, there_are_no_workers_while_nothing_runs);
    suite_add_tcase(suite, where);
    return run_suite(suite);
}
