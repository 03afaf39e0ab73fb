/*
 * Few mutexes and many who want them, by all ways and from all contexts.
 * What must hold: two are never inside at once, and everyone gets in.
 */
#include "tests/support_prim.h"

enum { MUTEXES = 2, FIBERS = 24, EACH = 2000 };

static struct {
    weft_mutex_t mutex;
    long inside;
    long count;
} guarded[MUTEXES];

static weft__au32 seed, stop;

static void enter(int i, uint32_t *state)
{
    must(guarded[i].inside == 0);
    guarded[i].inside = 1;
    guarded[i].count++;
    switch (next_random(state) % 16) {
    case 0:
        weft_yield();
        break;
    case 1: {
        /* Held so long that it is handed over. */
        weft_time_t end = weft_now() + WEFT_US(next_random(state) % 200);

        while (weft_now() < end)
            ;
        break;
    }
    default:
        break;
    }
    must(guarded[i].inside == 1);
    guarded[i].inside = 0;
    must_code(weft_mutex_unlock(&guarded[i].mutex), 0);
}

static long until_count;

/* A cancelled fiber goes on: locks do not look at it. */
static void *user(void *arg)
{
    uint32_t state = weft__fetch_add(&seed, 1, RELAXED);
    long n = 0;

    while (n < until_count && !weft__load(&stop, RELAXED)) {
        int i = (int)(next_random(&state) % MUTEXES);
        int status = 0;

        if (next_random(&state) % 4 == 0)
            status = weft_mutex_lock_try(&guarded[i].mutex);
        else
            must_code(weft_mutex_lock(&guarded[i].mutex), 0);
        if (status == 0) {
            enter(i, &state);
            n++;
        } else {
            must_code(status, -EAGAIN);
            weft_yield();
        }
        if (next_random(&state) % 16 == 0)
            weft_yield();
    }
    (void)arg;
    return (void *)n;
}

static long counted(void)
{
    return guarded[0].count + guarded[1].count;
}

/* A canceller disturbs them all the while: these waits leave it alone. */
WEFT_TEST(one_inside_at_a_time_and_none_shut_out)
{
    weft_fiber_t f[FIBERS];
    uint32_t state = 7;
    long n = 0;

    until_count = ROUNDS(EACH);
    for (int i = 0; i < FIBERS; i++)
        f[i] = spawn(user, NULL);
    for (int i = 0; i < 100; i++) {
        weft_cancel(f[next_random(&state) % FIBERS]);
        weft_yield();
    }
    for (int i = 0; i < FIBERS; i++)
        n += (long)join(f[i]);
    ck_assert_int_eq(n, FIBERS * until_count);
    ck_assert_int_eq(counted(), n);
}
END_TEST

static void try_from_outside(void *arg)
{
    uint32_t state = 99;
    long n = 0;

    while (!weft__load(&stop, RELAXED)) {
        int i = (int)(next_random(&state) % MUTEXES);

        if (weft_mutex_lock_try(&guarded[i].mutex) == 0) {
            enter(i, &state);
            n++;
        } else {
            weft_yield();
        }
    }
    *(long *)arg = n;
}

/* Threads that are not weft's own it in between, and wake waiters. */
WEFT_TEST(foreign_owners_take_their_turns)
{
    weft_fiber_t f[FIBERS];
    struct foreign t[2];
    long n = 0, m[2];

    until_count = ROUNDS(EACH) / 4;
    for (int i = 0; i < 2; i++)
        foreign_start(&t[i], try_from_outside, &m[i]);
    for (int i = 0; i < FIBERS; i++)
        f[i] = spawn(user, NULL);
    for (int i = 0; i < FIBERS; i++)
        n += (long)join(f[i]);
    ck_assert_int_eq(n, FIBERS * until_count);
    weft__store(&stop, 1, RELAXED);
    for (int i = 0; i < 2; i++) {
        foreign_join(&t[i]);
        n += m[i];
    }
    ck_assert_int_eq(counted(), n);
}
END_TEST

/* Everyone relocks at once, all the time; a mutex that is never handed over
 * may leave one outside for ever. Each has its turns in the end. */
static void *greedy(void *arg)
{
    long i;

    for (i = 0; i < (long)arg; i++) {
        must_code(weft_mutex_lock(&guarded[0].mutex), 0);
        guarded[0].count++;
        weft_yield();
        must_code(weft_mutex_unlock(&guarded[0].mutex), 0);
    }
    return NULL;
}

WEFT_TEST(the_greedy_do_not_shut_each_other_out)
{
    long each = ROUNDS(2000);
    weft_fiber_t f[8];

    for (int i = 0; i < 8; i++)
        f[i] = spawn(greedy, (void *)each);
    for (int i = 0; i < 8; i++)
        join(f[i]);
    ck_assert_int_eq(guarded[0].count, 8 * each);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stress_mutex");
    TCase *tcase = tcase_create("stress_mutex");

    tcase_add_test(tcase, one_inside_at_a_time_and_none_shut_out);
    tcase_add_test(tcase, foreign_owners_take_their_turns);
    tcase_add_test(tcase, the_greedy_do_not_shut_each_other_out);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
