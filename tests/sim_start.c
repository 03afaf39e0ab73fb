/*
 * What the system refuses, on real threads: each piece of memory, guard,
 * thread and descriptor that a run asks for is refused once, in a process of
 * its own. The run says so and leaves nothing behind, or does without.
 */
#include "tests/sim.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 3, FIBERS = 300 };

/* How a child tells its test: bits of its exit code. */
enum { WRONG = 1, REFUSED = 2, LAST = 4, SPAWN_REFUSED = 8 };

static unsigned entered, refused;

static void *nothing(void *arg)
{
    return arg;
}

/* Enough fibers for records and stacks to be asked for. A spawn may be
 * refused; one that was not is joined. */
static int spawn_many(void *arg)
{
    static weft_fiber_t f[FIBERS];
    static bool there[FIBERS];

    (void)arg;
    entered++;
    for (int i = 0; i < FIBERS; i++) {
        int status = weft_spawn(&f[i], nothing, &f[i]);

        if (status != 0 && status != -ENOMEM)
            return -EPROTO;
        there[i] = status == 0;
        refused += status != 0;
    }
    for (int i = 0; i < FIBERS; i++) {
        void *result;

        if (there[i] &&
            (weft_join(f[i], &result) != 0 || result != &f[i]))
            return -EPROTO;
    }
    return 0;
}

static int run(int *result)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    config.workers = WORKERS;
    *result = 0;
    return weft_run(&config, spawn_many, NULL, result);
}

/* One run with one fault, and one without it in the same process. */
static int try_without(enum weft__seam_fault kind, unsigned nth, int code)
{
    int bits = 0, result, status;

    weft__sim_passthrough(true);
    weft__sim_fault(kind, nth, code);
    status = run(&result);
    if (weft__sim_fault_calls(kind) < nth)
        bits |= LAST;
    if (status == code)
        bits |= REFUSED;
    else if (status != 0)
        bits |= WRONG;
    if (entered != (status == 0) || result != 0)
        bits |= WRONG;
    if (refused > 0)
        bits |= SPAWN_REFUSED;

    weft__sim_fault(kind, 0, 0);
    refused = 0;
    if (run(&result) != 0 || result != 0 || refused != 0)
        bits |= WRONG;
    weft__sim_passthrough(false);
    return bits;
}

static int in_a_child(int (*fn)(enum weft__seam_fault, unsigned, int),
                      enum weft__seam_fault kind, unsigned nth, int code)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(fn(kind, nth, code));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "fault %d, call %u: signal %d", kind, nth,
                  WTERMSIG(status));
    return WEXITSTATUS(status);
}

/* Refuse the first, the second ... until there is no such call any more.
 * Returns the bits that were met. */
static int sweep(enum weft__seam_fault kind, int code)
{
    int met = 0;

    for (unsigned nth = 1; nth < 500; nth++) {
        int bits = in_a_child(try_without, kind, nth, code);

        ck_assert_msg(!(bits & WRONG), "fault %d, call %u: bits %d", kind, nth,
                      bits);
        if (bits & LAST)
            return met;
        met |= bits;
    }
    ck_abort_msg("a run asks for ever");
    return met;
}

START_TEST(memory_is_refused)
{
    ck_assert_int_ne(sweep(WEFT__FAULT_MAP, -ENOMEM) & REFUSED, 0);
}
END_TEST

START_TEST(threads_are_refused)
{
    ck_assert_int_ne(sweep(WEFT__FAULT_THREAD, -EAGAIN) & REFUSED, 0);
}
END_TEST

START_TEST(descriptors_are_refused)
{
    ck_assert_int_ne(sweep(WEFT__FAULT_FD, -EMFILE) & REFUSED, 0);
}
END_TEST

/* --- Guards -------------------------------------------------------------- */

static unsigned lines;

static void count_lines(int level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
    lines++;
}

static uint64_t unguarded;

static int look_at_stacks(void *arg)
{
    weft_stats_t stats;
    int status = spawn_many(arg);

    memset(&stats, 0, sizeof(stats));
    stats.size = sizeof(stats);
    weft_stats(&stats);
    unguarded = stats.stacks_unguarded;
    return status;
}

/* No guard can be had from the nth on: stacks get canaries, which is counted
 * and said. */
static int without_guards(enum weft__seam_fault kind, unsigned nth, int code)
{
    int result = -1, status;

    (void)nth;
    weft_set_log(count_lines, NULL);
    weft__sim_passthrough(true);
    weft__sim_fault(kind, 0, code);
    status = weft_run(NULL, look_at_stacks, NULL, &result);
    weft__sim_passthrough(false);
    return status != 0 || result != 0 || unguarded == 0 || lines == 0;
}

START_TEST(guards_are_refused)
{
    ck_assert_int_eq(in_a_child(without_guards, WEFT__FAULT_GUARD, 0, -EINVAL),
                     0);
    ck_assert_int_eq(in_a_child(without_guards, WEFT__FAULT_GUARD, 0, -ENOMEM),
                     0);
    /* One at a time: whatever the answer, it is no crash. */
    sweep(WEFT__FAULT_GUARD, -ENOMEM);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_start");
    TCase *tc = tcase_create("start");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, memory_is_refused);
    tcase_add_test(tc, threads_are_refused);
    tcase_add_test(tc, descriptors_are_refused);
    tcase_add_test(tc, guards_are_refused);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
