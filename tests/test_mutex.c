/*
 * Mutexes: what they keep apart, in which order they let in, what they hand
 * on. Misuse is in test_misuse.c, freeing in test_free.c.
 */
#include "sched/os.h"
#include "sched/wordlock.h"
#include "tests/support_prim.h"

static weft_mutex_t mutex;
static long counter;
static weft__au32 go, in, stop;

static void *increment(void *arg)
{
    long n = (long)arg;

    for (long i = 0; i < n; i++) {
        must_code(weft_mutex_lock(&mutex), 0);
        counter++;
        if (i % 7 == 0)
            weft_yield();
        must_code(weft_mutex_unlock(&mutex), 0);
    }
    return NULL;
}

/* 64 fibers that also yield while they hold it. */
WEFT_TEST(no_increment_is_lost)
{
    weft_fiber_t f[64];

    for (int i = 0; i < 64; i++)
        f[i] = spawn(increment, (void *)500);
    for (int i = 0; i < 64; i++)
        join(f[i]);
    ck_assert_int_eq(counter, 64 * 500);
}
END_TEST

WEFT_TEST(a_free_mutex_is_taken_at_once)
{
    ck_code(weft_mutex_lock(&mutex), 0);
    ck_code(weft_mutex_unlock(&mutex), 0);
    ck_code(weft_mutex_lock_try(&mutex), 0);
    ck_code(weft_mutex_unlock(&mutex), 0);
}
END_TEST

static void *try_it(void *arg)
{
    (void)arg;
    ck_code(weft_mutex_lock_try(&mutex), -EAGAIN);
    return NULL;
}

WEFT_TEST(a_taken_mutex_is_not_had_by_trying)
{
    must_code(weft_mutex_lock(&mutex), 0);
    join(spawn(try_it, NULL));
    must_code(weft_mutex_unlock(&mutex), 0);
    ck_code(weft_mutex_lock_try(&mutex), 0);
    must_code(weft_mutex_unlock(&mutex), 0);
}
END_TEST

/* --- Order ------------------------------------------------------------------ */

enum { WAITERS = 20 };

static long order[WAITERS];
static int entered;

static void *enter(void *arg)
{
    must_code(weft_mutex_lock(&mutex), 0);
    order[entered++] = (long)arg;
    /* Others that are on their way find it taken. */
    if (entered % 3 == 0)
        weft_yield();
    must_code(weft_mutex_unlock(&mutex), 0);
    return NULL;
}

static void queue_up(weft_fiber_t f[WAITERS])
{
    entered = 0;
    for (long i = 0; i < WAITERS; i++) {
        f[i] = spawn(enter, (void *)i);
        wait_until_parked(f[i]);
    }
}

static void check_order(weft_fiber_t f[WAITERS])
{
    for (int i = 0; i < WAITERS; i++)
        join(f[i]);
    for (int i = 0; i < WAITERS; i++)
        ck_assert_int_eq(order[i], i);
}

/* No one but them wants it, so nobody passes them. */
WEFT_TEST(waiters_enter_in_the_order_they_came)
{
    weft_fiber_t f[WAITERS];

    must_code(weft_mutex_lock(&mutex), 0);
    queue_up(f);
    must_code(weft_mutex_unlock(&mutex), 0);
    check_order(f);
}
END_TEST

/* The owner takes it again and again before the one it woke has come: that
 * one goes back to its place, in front of all others. */
WEFT_TEST(one_that_is_passed_keeps_its_place)
{
    weft_fiber_t f[WAITERS];

    must_code(weft_mutex_lock(&mutex), 0);
    queue_up(f);
    for (int i = 0; i < 50; i++) {
        must_code(weft_mutex_unlock(&mutex), 0);
        must_code(weft_mutex_lock(&mutex), 0);
        weft_yield();
    }
    must_code(weft_mutex_unlock(&mutex), 0);
    check_order(f);
}
END_TEST

/* --- Passing by, and handing over ---------------------------------------------- */

static void *enter_and_stay(void *arg)
{
    must_code(weft_mutex_lock(&mutex), 0);
    weft__store(&in, 1, RELEASE);
    wait_for(&stop, 1);
    must_code(weft_mutex_unlock(&mutex), 0);
    return arg;
}

static void spin_past(weft_time_t when)
{
    while (weft_now() <= when)
        ;
}

/* A fresh waiter was woken and is on its way: the running fiber takes it
 * first. Tried until seen: a waiter that has waited 1 ms, because a core was
 * busy elsewhere, is no fresh one, and one on another worker may be faster. */
WEFT_TEST(a_running_fiber_may_pass_a_fresh_waiter)
{
    int status;

    do {
        weft_fiber_t f;

        weft__store(&in, 0, RELAXED);
        weft__store(&stop, 1, RELAXED);
        must_code(weft_mutex_lock(&mutex), 0);
        f = spawn(enter_and_stay, NULL);
        wait_until_parked(f);
        must_code(weft_mutex_unlock(&mutex), 0);
        status = weft_mutex_lock_try(&mutex);
        if (status == 0) {
            must_code(weft_mutex_unlock(&mutex), 0);
        }
        join(f);
    } while (status != 0);
}
END_TEST

/* The unlock itself makes it the waiter's, wherever that is. */
WEFT_TEST(one_that_waited_1_ms_is_handed_the_mutex)
{
    weft_fiber_t f;

    must_code(weft_mutex_lock(&mutex), 0);
    f = spawn(enter_and_stay, NULL);
    wait_until_parked(f);
    spin_past(weft_now() + WEFT_MS(1));
    must_code(weft_mutex_unlock(&mutex), 0);
    ck_code(weft_mutex_lock_try(&mutex), -EAGAIN);
    weft__store(&stop, 1, RELEASE);
    join(f);
    ck_assert_uint_eq(weft__load(&in, ACQUIRE), 1);
}
END_TEST

enum { HOG_WORK = 50000 }; /* ns a round */

static void *hog(void *arg)
{
    while (!weft__load(&in, ACQUIRE)) {
        must_code(weft_mutex_lock(&mutex), 0);
        weft__store(&go, 1, RELEASE);
        spin_past(weft_now() + HOG_WORK);
        /* Whoever was woken looks now, and finds it taken. */
        weft_yield();
        must_code(weft_mutex_unlock(&mutex), 0);
    }
    return arg;
}

/* The hog holds it whenever the waiter looks: without the handing over that
 * never ends. */
WEFT_TEST(a_hog_cannot_starve_a_waiter)
{
    weft_fiber_t h = spawn(hog, NULL);
    weft_fiber_t f;

    weft__store(&stop, 1, RELAXED);
    wait_for(&go, 1);
    f = spawn(enter_and_stay, NULL);
    join(f);
    join(h);
}
END_TEST

static void *quiet_hog(void *arg)
{
    (void)arg;
    while (!weft__load(&in, ACQUIRE)) {
        must_code(weft_mutex_lock(&mutex), 0);
        weft__store(&go, 1, RELEASE);
        spin_past(weft_now() + HOG_WORK);
        must_code(weft_mutex_unlock(&mutex), 0);
    }
    return NULL;
}

/* On two workers the hog need not even let go of its own. */
WEFT_TEST(a_hog_that_never_yields_cannot_starve_another_worker)
{
    weft_fiber_t h, f;

    if (workers() < 2)
        return;
    weft__store(&stop, 1, RELAXED);
    h = spawn(quiet_hog, NULL);
    wait_for(&go, 1);
    f = spawn(enter_and_stay, NULL);
    join(f);
    join(h);
}
END_TEST

/* --- Foreign threads ------------------------------------------------------------ */

static void hold_it(void *arg)
{
    weft_fiber_t *f = arg;

    ck_code(weft_mutex_lock_try(&mutex), 0);
    weft__store(&in, 1, RELEASE);
    wait_for(&go, 1);
    wait_until_parked(*f);
    /* All of weft sleeps now, and waits for this thread alone. */
    wait_until_all_idle();
    ck_code(weft_mutex_unlock(&mutex), 0);
}

static void *lock_it(void *arg)
{
    must_code(weft_mutex_lock(&mutex), 0);
    must_code(weft_mutex_unlock(&mutex), 0);
    return arg;
}

/* A foreign thread holds it while every fiber is asleep: no deadlock. */
WEFT_TEST(a_foreign_owner_lets_a_waiter_in)
{
    struct foreign t;
    weft_fiber_t f;

    foreign_start(&t, hold_it, &f);
    wait_for(&in, 1);
    f = spawn(lock_it, NULL);
    weft__store(&go, 1, RELEASE);
    join(f);
    foreign_join(&t);
}
END_TEST

/* As one who has given up, takes itself off the list, and loses its processor
 * there. */
static void stand_at_the_list(void *arg)
{
    weft__au64 *word = arg;
    uint64_t free = weft__word_lock(word);

    weft__store(&in, 1, RELEASE);
    while (!(weft__load(word, ACQUIRE) & WEFT__WORD_SLEEPER) &&
           !weft__load(&stop, ACQUIRE))
        weft__os_thread_yield();
    weft__word_unlock(word, free);
}

/* Nobody holds it, so it can be had. */
WEFT_TEST(a_try_sees_through_one_who_is_at_the_list)
{
    struct foreign t;

    foreign_start(&t, stand_at_the_list, &mutex);
    wait_for(&in, 1);
    ck_code(weft_mutex_lock_try(&mutex), 0);
    weft__store(&stop, 1, RELEASE);
    foreign_join(&t);
    ck_code(weft_mutex_unlock(&mutex), 0);
}
END_TEST

/* Whoever waits for what is never given is told, and is off the list. */
static void *wait_in_vain(void *arg)
{
    (void)arg;
    ck_code(weft_mutex_lock(&mutex), 0);
    ck_code(weft_mutex_unlock(&mutex), 0);
    return NULL;
}

static void never_look(int level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
}

WEFT_TEST(a_program_asleep_for_a_mutex_is_told)
{
    weft_mutex_t other = WEFT_MUTEX_INIT;
    weft_fiber_t f;

    weft_set_log(never_look, NULL);
    /* The one who held it is gone. */
    must_code(weft_mutex_lock(&mutex), 0);
    f = spawn(wait_in_vain, NULL);
    wait_until_parked(f);
    ck_code(weft_join(f, NULL), -EDEADLK);
    must_code(weft_mutex_unlock(&mutex), 0);
    join(f);
    ck_code(weft_mutex_lock(&other), 0);
    ck_code(weft_mutex_lock(&other), -EDEADLK);
    ck_code(weft_mutex_unlock(&other), 0);
    weft_set_log(NULL, NULL);
}
END_TEST

static void *lock_and_leave(void *arg)
{
    must_code(weft_mutex_lock(&mutex), 0);
    return arg;
}

/* The first fiber's own wait is the one that is chosen. */
WEFT_TEST(the_first_fiber_asleep_for_a_lost_mutex_is_told)
{
    weft_set_log(never_look, NULL);
    join(spawn(lock_and_leave, NULL));
    ck_code(weft_mutex_lock(&mutex), -EDEADLK);
    ck_code(weft_mutex_lock_try(&mutex), -EAGAIN);
    weft_set_log(NULL, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mutex");
    TCase *tcase = tcase_create("mutex");

    tcase_add_test(tcase, no_increment_is_lost);
    tcase_add_test(tcase, a_free_mutex_is_taken_at_once);
    tcase_add_test(tcase, a_taken_mutex_is_not_had_by_trying);
    tcase_add_test(tcase, waiters_enter_in_the_order_they_came);
    tcase_add_test(tcase, one_that_is_passed_keeps_its_place);
    tcase_add_test(tcase, a_running_fiber_may_pass_a_fresh_waiter);
    tcase_add_test(tcase, one_that_waited_1_ms_is_handed_the_mutex);
    tcase_add_test(tcase, a_hog_cannot_starve_a_waiter);
    tcase_add_test(tcase,
                   a_hog_that_never_yields_cannot_starve_another_worker);
    tcase_add_test(tcase, a_foreign_owner_lets_a_waiter_in);
    tcase_add_test(tcase, a_try_sees_through_one_who_is_at_the_list);
    tcase_add_test(tcase, a_program_asleep_for_a_mutex_is_told);
    tcase_add_test(tcase, the_first_fiber_asleep_for_a_lost_mutex_is_told);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
