/*
 * What the tests of and under the simulation share.
 *
 * A simulated run that failed leaves its threads where they stood. What runs
 * there must not ck_assert: it says sim_expect(), which ends the run and is
 * reported with seed and schedule, and the test asserts what the run answers.
 */
#ifndef WEFT_TESTS_SIM_H
#define WEFT_TESTS_SIM_H

#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <weft/weft.h>

#include "runtime/sim/sim.h"
#include "sched/sanitizer.h"

/* For Check's cases: a schedule that hangs is one failed test. */
enum { SIM_SECONDS = 240 };

#define SIM_STRING_(x) #x
#define SIM_STRING(x) SIM_STRING_(x)

/* Inside a run: this holds, or the run ends here. */
#define sim_expect(cond)                                                    \
    ((cond) ? (void)0                                                       \
            : weft__sim_fail(__FILE__ ":" SIM_STRING(__LINE__) ": " #cond))

static inline weft_sim_t sim_of(unsigned buffer)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    sim.buffer = buffer;
    return sim;
}

static inline double sim_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A line a search: how many schedules, how fast. */
static inline void sim_print(const char *name, int runs, double seconds)
{
    printf("sim/%s schedules=%d per_second=%.0f\n", name, runs,
           runs / seconds);
    fflush(stdout);
}

static inline int sim_main(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

#ifdef WEFT__TSAN
    /* All virtual threads are one to it, and their order in time its order. */
    puts("skipped: the thread sanitizer cannot tell virtual threads apart");
    srunner_free(runner);
    return 77;
#endif

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
