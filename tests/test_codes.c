/*
 * Codes that belong to no other test: what the ordinary library says to a
 * simulation, bad arguments of spawn, a start without descriptors.
 */
#include "tests/support.h"

#include <sys/resource.h>

static int never_run(void *arg)
{
    (void)arg;
    ck_abort_msg("entry ran");
    return 0;
}

START_TEST(the_ordinary_library_has_no_simulation)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    ck_code(weft_sim_run(&sim, never_run, NULL), -ENOSYS);
    ck_code(weft_explore(&sim, 1, never_run, NULL), -ENOSYS);
}
END_TEST

WEFT_TEST(a_fiber_needs_an_entry_and_a_place_for_its_id)
{
    weft_fiber_t f;

    ck_code(weft_spawn(&f, NULL, NULL), -EINVAL);
    ck_code(weft_spawn(NULL, NULL, NULL), -EINVAL);
    ck_code(weft_go(NULL, NULL), -EINVAL);
}
END_TEST

/* Fewer descriptors than the workers' loops need: the start says so, and works
 * once there are enough. */
START_TEST(a_start_without_descriptors_is_refused)
{
    struct rlimit old, few;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = old;
    few.rlim_cur = 8;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    ck_code(weft_run(NULL, never_run, NULL, NULL), -EMFILE);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codes");
    TCase *tcase = tcase_create("codes");

    tcase_add_test(tcase, the_ordinary_library_has_no_simulation);
    tcase_add_test(tcase, a_fiber_needs_an_entry_and_a_place_for_its_id);
    tcase_add_test(tcase, a_start_without_descriptors_is_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
