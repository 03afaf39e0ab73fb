/*
 * Points in time. Needs no runtime.
 */
#include <check.h>
#include <stdlib.h>
#include <time.h>

#include <weft/time.h>

static weft_time_t monotonic(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (weft_time_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

START_TEST(now_is_the_monotonic_clock)
{
    weft_time_t before = monotonic();
    weft_time_t now = weft_now();

    ck_assert_int_ge(now, before);
    ck_assert_int_le(now, monotonic());
}
END_TEST

START_TEST(after_adds_to_now)
{
    weft_time_t before = weft_now();
    weft_time_t soon = weft_after(WEFT_MS(50));

    ck_assert_int_ge(soon, before + WEFT_MS(50));
    ck_assert_int_le(soon, weft_now() + WEFT_MS(50));
    ck_assert_int_lt(weft_after(-WEFT_SEC(1)), weft_now());
}
END_TEST

START_TEST(after_too_long_a_duration_is_for_ever)
{
    ck_assert_int_eq(weft_after(WEFT_FOREVER), WEFT_FOREVER);
    ck_assert_int_eq(weft_after(WEFT_FOREVER - 1), WEFT_FOREVER);
    ck_assert_int_lt(weft_after(WEFT_FOREVER - weft_now() - WEFT_MIN(1)),
                     WEFT_FOREVER);
}
END_TEST

START_TEST(after_the_longest_past_is_past)
{
    ck_assert_int_lt(weft_after(WEFT_NOW), 0);
    ck_assert_int_gt(weft_after(WEFT_NOW), WEFT_NOW);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("clock");
    TCase *time = tcase_create("time");
    SRunner *runner;
    int failed;

    tcase_add_test(time, now_is_the_monotonic_clock);
    tcase_add_test(time, after_adds_to_now);
    tcase_add_test(time, after_too_long_a_duration_is_for_ever);
    tcase_add_test(time, after_the_longest_past_is_past);
    suite_add_tcase(suite, time);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
