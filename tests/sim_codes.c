/*
 * Codes that only libweft-sim can produce: those of the simulation itself, and
 * of calls that run out of memory or threads.
 */
#include "tests/sim.h"

#include <errno.h>
#include <weft/weft.h>

#include "tests/codelog.h"

#define ck_code(call, expected)                                             \
    do {                                                                    \
        long long code_ = (long long)(call);                                \
        codelog(#call, code_);                                              \
        ck_assert_int_eq(code_, expected);                                  \
    } while (0)

static int well(void *arg)
{
    (void)arg;
    return 0;
}

static int sleep_for_ever(void *arg)
{
    weft_chan_t *ch;
    int status = weft_chan_create(&ch, 0, 0);

    (void)arg;
    if (status == 0)
        status = weft_chan_recv(ch, NULL);
    return status;
}

static int run_for_ever(void *arg)
{
    (void)arg;
    for (;;)
        weft_yield();
    return 0;
}

/* A simulation within one. */
static int nested(void *arg)
{
    weft_sim_t sim = WEFT_SIM_INIT;
    int run = weft_sim_run(&sim, well, NULL);
    int explore = weft_explore(&sim, 1, well, NULL);

    (void)arg;
    codelog("weft_sim_run(&sim, well, NULL)", run);
    codelog("weft_explore(&sim, 1, well, NULL)", explore);
    return run == -EPERM && explore == -EPERM ? 0 : -EPROTO;
}

START_TEST(a_simulation_answers_what_its_header_says)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    weft__sim_quiet(true);
    ck_code(weft_sim_run(&sim, well, NULL), 0);
    ck_code(weft_explore(&sim, 3, well, NULL), 3);
    ck_code(weft_sim_run(&sim, NULL, NULL), -EINVAL);
    ck_code(weft_explore(&sim, 1, NULL, NULL), -EINVAL);
    ck_code(weft_sim_run(&sim, nested, NULL), 0);
    ck_code(weft_sim_run(&sim, sleep_for_ever, NULL), -EDEADLK);
    ck_code(weft_explore(&sim, 1, sleep_for_ever, NULL), -EDEADLK);
}
END_TEST

/* A case each: such a run is abandoned with its runtime still standing, and
 * this process starts no other. */
START_TEST(a_simulation_that_does_not_end_is_hung)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    sim.steps = 2000;
    weft__sim_quiet(true);
    if (_i == 0)
        ck_code(weft_sim_run(&sim, run_for_ever, NULL), -ETIMEDOUT);
    else
        ck_code(weft_explore(&sim, 1, run_for_ever, NULL), -ETIMEDOUT);
}
END_TEST

START_TEST(a_simulation_without_memory_says_so)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    weft__sim_quiet(true);
    weft__sim_fault(WEFT__FAULT_MAP, 0, -ENOMEM);
    ck_code(weft_sim_run(&sim, well, NULL), -ENOMEM);
    weft__sim_fault(WEFT__FAULT_MAP, 0, -ENOMEM);
    ck_code(weft_explore(&sim, 1, well, NULL), -ENOMEM);
    weft__sim_fault(WEFT__FAULT_MAP, 0, 0);
    ck_code(weft_sim_run(&sim, well, NULL), 0);
}
END_TEST

static void *nothing(void *arg)
{
    return arg;
}

/* Spawn until there is no record left; the address space has just ended. */
static int spawn_until_full(void *arg)
{
    weft_fiber_t f;
    int status = 0;

    (void)arg;
    weft__sim_fault(WEFT__FAULT_MAP, 0, -ENOMEM);
    for (int i = 0; i < 100000 && status == 0; i++)
        status = weft_go(nothing, NULL);
    codelog("weft_go(nothing, NULL)", status);
    if (status == -ENOMEM)
        status = weft_spawn(&f, nothing, NULL);
    codelog("weft_spawn(&f, nothing, NULL)", status);
    if (status == -ENOMEM)
        status = weft_spawn_with(&f, NULL, nothing, NULL);
    codelog("weft_spawn_with(&f, NULL, nothing, NULL)", status);
    weft__sim_fault(WEFT__FAULT_MAP, 0, 0);
    return status;
}

/* On real threads, where spawning takes no choices. */
START_TEST(what_cannot_be_had_is_the_code)
{
    int result = 0;

    weft__sim_passthrough(true);
    weft__sim_fault(WEFT__FAULT_MAP, 0, -ENOMEM);
    ck_code(weft_run(NULL, well, NULL, NULL), -ENOMEM);
    weft__sim_fault(WEFT__FAULT_MAP, 0, 0);
    weft__sim_fault(WEFT__FAULT_THREAD, 1, -EAGAIN);
    ck_code(weft_run(NULL, well, NULL, NULL), -EAGAIN);
    ck_code(weft_run(NULL, spawn_until_full, NULL, &result), 0);
    ck_assert_int_eq(result, -ENOMEM);
    weft__sim_passthrough(false);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codes");
    TCase *tcase = tcase_create("codes");
    tcase_add_test(tcase, a_simulation_answers_what_its_header_says);
    tcase_add_loop_test(tcase, a_simulation_that_does_not_end_is_hung, 0, 2);
    tcase_add_test(tcase, a_simulation_without_memory_says_so);
    tcase_add_test(tcase, what_cannot_be_had_is_the_code);
    suite_add_tcase(suite, tcase);
    return sim_main(suite);
}
