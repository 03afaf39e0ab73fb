/* Mutexes: what they keep apart, what they hand on, and misuse. */
#include "tests/support.h"

static weft_mutex_t mutex;
static long counter;

static void *increment(void *arg)
{
    long n = (long)arg;

    for (long i = 0; i < n; i++) {
        ck_assert_int_eq(weft_mutex_lock(&mutex), 0);
        counter++;
        if (i % 7 == 0)
            weft_yield();
        ck_assert_int_eq(weft_mutex_unlock(&mutex), 0);
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

int main(void)
{
    Suite *suite = suite_create("mutex");
    TCase *tcase = tcase_create("mutex");

    tcase_add_test(tcase, no_increment_is_lost);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
