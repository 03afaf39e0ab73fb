/*
 * Deadlines aimed at the instant of success: senders, receivers and sleepers
 * that miss each other by microseconds, on channels, a mutex and a wait group;
 * fibers that end at once and fibers that live on. Each call either had its
 * effect or did not, by its own word.
 */
#include "tests/support_prim.h"

enum { ROUND = 10000, PAIRS = 8, FIBERS = 200 };

static weft_chan_t *ch;
static weft_mutex_t mutex = WEFT_MUTEX_INIT;
static weft__au64 sent, received, missed, early, leaving;
static uint64_t inside; /* under the mutex */

/* Soon, or in a long while: mostly a wait is renewed while its entry stands. */
static weft_time_t soon(uint32_t *seed)
{
    uint32_t n = next_random(seed);

    return n % 16 == 0 ? weft_after(WEFT_SEC(60))
                       : weft_after((weft_time_t)(n >> 8) % WEFT_US(40));
}

/* What a call said of a wait until `deadline`: true if it succeeded. */
static bool happened(int status, weft_time_t deadline)
{
    if (status == 0)
        return true;
    must_code(status, -ETIMEDOUT);
    weft__fetch_add(&missed, 1, RELAXED);
    if (weft_now() < deadline)
        weft__fetch_add(&early, 1, RELAXED);
    return false;
}

static void *sender(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg * 2654435761u + 1;
    uint64_t value = 1;

    for (int i = 0; i < ROUNDS(ROUND); i++) {
        weft_time_t deadline = soon(&seed);

        if (happened(weft_chan_send_until(ch, &value, deadline), deadline))
            weft__fetch_add(&sent, 1, RELAXED);
    }
    weft__fetch_add(&leaving, 1, RELEASE);
    return NULL;
}

static void *receiver(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg * 2654435761u + 7;
    uint64_t value;

    /* Until all senders have gone: one may wait for us for a minute. */
    while (weft__load(&leaving, ACQUIRE) < PAIRS) {
        weft_time_t deadline = soon(&seed);

        if (deadline > weft_after(WEFT_SEC(1)))
            deadline = weft_after(WEFT_MS(1));
        if (happened(weft_chan_recv_until(ch, &value, deadline), deadline))
            weft__fetch_add(&received, value, RELAXED);
    }
    return NULL;
}

WEFT_TEST(values_are_sent_or_not_at_the_deadline)
{
    weft_fiber_t f[2 * PAIRS];

    ch = new_chan(sizeof(uint64_t), 0);
    for (uintptr_t i = 0; i < PAIRS; i++) {
        f[2 * i] = spawn(sender, (void *)i);
        f[2 * i + 1] = spawn(receiver, (void *)i);
    }
    for (int i = 0; i < 2 * PAIRS; i++)
        join(f[i]);
    ck_assert_uint_eq(weft__load(&sent, RELAXED),
                      weft__load(&received, RELAXED));
    ck_assert_uint_gt(weft__load(&sent, RELAXED), 0);
    ck_assert_uint_gt(weft__load(&missed, RELAXED), 0);
    ck_assert_uint_eq(weft__load(&early, RELAXED), 0);
    ck_assert_int_eq(weft_audit(stderr), 0);
    weft_chan_unref(ch);
}
END_TEST

static void *locker(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg * 2654435761u + 3;
    uintptr_t locked = 0;

    for (int i = 0; i < ROUNDS(ROUND) / 4; i++) {
        weft_time_t deadline = soon(&seed);

        if (!happened(weft_mutex_lock_until(&mutex, deadline), deadline))
            continue;
        locked++;
        inside++;
        if (i % 8 == 0)
            must_code(weft_sleep(WEFT_US(1)), 0);
        must_code(weft_mutex_unlock(&mutex), 0);
    }
    return (void *)locked;
}

WEFT_TEST(a_mutex_is_locked_or_not_at_the_deadline)
{
    weft_fiber_t f[4 * PAIRS];
    uint64_t locked = 0;

    for (uintptr_t i = 0; i < 4 * PAIRS; i++)
        f[i] = spawn(locker, (void *)i);
    for (int i = 0; i < 4 * PAIRS; i++)
        locked += (uintptr_t)join(f[i]);
    ck_assert_uint_eq(locked, inside);
    ck_assert_uint_eq(weft__load(&early, RELAXED), 0);
}
END_TEST

static void *short_life(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg * 2654435761u + 5;
    weft_time_t deadline = soon(&seed);

    if (deadline < weft_after(WEFT_SEC(1)))
        must_code(weft_sleep_until(deadline), 0);
    return arg;
}

/* The joiner's deadline falls together with the child's end; who was not
 * joined in time is joined again, and its record goes to the next. */
static void *parent(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg * 2654435761u + 9;

    for (int i = 0; i < ROUNDS(ROUND) / 10; i++) {
        void *child = (void *)(uintptr_t)next_random(&seed);
        void *result = NULL;
        weft_fiber_t f = spawn(short_life, child);
        weft_time_t deadline = soon(&seed);

        while (!happened(weft_join_until(f, &result, deadline), deadline))
            deadline = soon(&seed);
        must(result == child);
    }
    return NULL;
}

WEFT_TEST(a_child_is_joined_or_not_at_the_deadline)
{
    weft_fiber_t f[FIBERS / 4];

    for (uintptr_t i = 0; i < FIBERS / 4; i++)
        f[i] = spawn(parent, (void *)i);
    for (int i = 0; i < FIBERS / 4; i++)
        join(f[i]);
    ck_assert_uint_eq(weft__load(&early, RELAXED), 0);
    ck_assert_int_eq(weft_audit(stderr), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stress_timer");
    TCase *tc = tcase_create("timer");

    tcase_add_test(tc, values_are_sent_or_not_at_the_deadline);
    tcase_add_test(tc, a_mutex_is_locked_or_not_at_the_deadline);
    tcase_add_test(tc, a_child_is_joined_or_not_at_the_deadline);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
