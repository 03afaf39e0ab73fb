/*
 * weft_sim_run() and weft_explore(), as a program uses them; and WEFT_SEED.
 */
#include "tests/sim.h"
#include "tests/codelog.h"
#include "tests/sim_support.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- A program with a race ----------------------------------------------- */

static int shared;

static void *add_one(void *arg)
{
    weft_mutex_t *m = arg;
    int seen;

    weft_mutex_lock(m);
    seen = shared;
    weft_mutex_unlock(m);
    weft_mutex_lock(m);
    shared = seen + 1;
    weft_mutex_unlock(m);
    return NULL;
}

static void *add_one_right(void *arg)
{
    weft_mutex_t *m = arg;

    weft_mutex_lock(m);
    shared++;
    weft_mutex_unlock(m);
    return NULL;
}

static int adders(void *(*fn)(void *))
{
    weft_mutex_t m = WEFT_MUTEX_INIT;
    weft_fiber_t f[2];

    shared = 0;
    for (int i = 0; i < 2; i++)
        if (weft_spawn(&f[i], fn, &m) != 0)
            return -ENOMEM;
    for (int i = 0; i < 2; i++)
        weft_join(f[i], NULL);
    return shared == 2 ? 7 : -EILSEQ;
}

static int wrong(void *arg)
{
    (void)arg;
    return adders(add_one);
}

static int right(void *arg)
{
    (void)arg;
    return adders(add_one_right);
}

static int wrong_always(void *arg)
{
    (void)arg;
    return -EILSEQ;
}

START_TEST(exploring_finds_the_race_and_only_that)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    weft__sim_quiet(true);
    ck_assert_int_eq(weft_explore(&sim, 2000, wrong, NULL), -EILSEQ);
    ck_assert_int_eq(weft__sim_last()->verdict, WEFT__SIM_WRONG);
    ck_assert_int_eq(weft_explore(&sim, 500, right, NULL), 500);
}
END_TEST

/* The seed and the schedule that an exploration ends with fail again, each
 * in a run by itself. */
START_TEST(what_was_found_replays)
{
    static char text[1 << 20];
    weft_sim_t sim = WEFT_SIM_INIT;
    uint64_t hash;

    weft__sim_quiet(true);
    ck_assert_int_eq(weft_explore(&sim, 2000, wrong, NULL), -EILSEQ);
    hash = weft__sim_last()->hash;
    ck_assert_uint_lt(weft__sim_schedule(text, sizeof(text)), sizeof(text));

    sim.seed = weft__sim_last()->seed;
    ck_assert_int_eq(weft_explore(&sim, 1, wrong, NULL), -EILSEQ);
    ck_assert_uint_eq(weft__sim_last()->hash, hash);

    sim.seed = 0;
    sim.replay = text;
    ck_assert_int_eq(weft_sim_run(&sim, wrong, NULL), -EILSEQ);
    ck_assert_uint_eq(weft__sim_last()->hash, hash);
}
END_TEST

/* Finds what another run left in the process. */
static int leaves_a_mark(void *arg)
{
    static bool marked;

    if (marked)
        return -EEXIST;
    marked = true;
    return right(arg);
}

/* As one does who wants to see again what a search of ours has found: each
 * search as if there were no other. */
START_TEST(a_named_seed_is_tried_in_each_search)
{
    struct sim_met m;

    setenv("WEFT_SEED", "9", 1);
    for (unsigned workers = 1; workers <= 2; workers++) {
        ck_assert_int_eq(sim_runs("named", workers, 4, 100, leaves_a_mark,
                                  NULL, &m), 100);
        ck_assert_uint_eq(weft__sim_last()->seed, 9);
        ck_assert_uint_eq(m.runs, 100);
        ck_assert_uint_eq(m.times[15], 100);
    }
    weft__sim_quiet(true);
    ck_assert_int_eq(sim_runs("named", 2, 4, 100, wrong_always, NULL, &m),
                     -EILSEQ);
}
END_TEST

static void *simulate_beside(void *arg)
{
    weft_sim_t sim = WEFT_SIM_INIT;
    int run = weft_sim_run(&sim, right, NULL);
    int explored = weft_explore(&sim, 5, right, NULL);

    codelog("weft_sim_run(", run);
    codelog("weft_explore(", explored);
    *(bool *)arg = run == -EBUSY && explored == -EBUSY;
    return NULL;
}

static int run_beside(void *arg)
{
    pthread_t thread;

    return pthread_create(&thread, NULL, simulate_beside, arg) == 0 &&
                   pthread_join(thread, NULL) == 0
               ? 0
               : -EAGAIN;
}

/* Not beside a runtime that runs, on real threads. */
START_TEST(a_runtime_bars_a_simulation)
{
    bool barred = false;
    int result = -1;

    ck_assert_int_eq(weft_run(NULL, run_beside, &barred, &result), 0);
    ck_assert_int_eq(result, 0);
    ck_assert(barred);
}
END_TEST

START_TEST(a_run_answers_what_entry_answers)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(weft_sim_run(&sim, right, NULL), 7);
    /* And then a real one in the same process. */
    ck_assert_int_eq(weft_run(NULL, right, NULL, &shared), 0);
    ck_assert_int_eq(shared, 7);
    ck_assert_int_eq(weft_sim_run(&sim, right, NULL), 7);
}
END_TEST

/* --- What is refused, and what goes wrong -------------------------------- */

static int within(void *arg)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    (void)arg;
    if (weft_sim_run(&sim, right, NULL) != -EPERM ||
        weft_explore(&sim, 5, right, NULL) != -EPERM)
        return -EPROTO;
    return weft_run(NULL, right, NULL, NULL) == -EPERM ? 0 : -EPROTO;
}

START_TEST(misuse_is_answered)
{
    weft_sim_t sim = WEFT_SIM_INIT;
    int result = -1;

    ck_assert_int_eq(weft_sim_run(NULL, right, NULL), -EINVAL);
    ck_assert_int_eq(weft_sim_run(&sim, NULL, NULL), -EINVAL);
    ck_assert_int_eq(weft_explore(NULL, 1, right, NULL), -EINVAL);
    ck_assert_int_eq(weft_explore(&sim, 1, NULL, NULL), -EINVAL);
    ck_assert_int_eq(weft_explore(&sim, 1u + INT_MAX, right, NULL), -EINVAL);
    ck_assert_int_eq(weft_explore(&sim, 0, right, NULL), 0);
    ck_assert_int_eq(weft_sim_run(&sim, within, NULL), 0);
    ck_assert_int_eq(weft_run(NULL, within, NULL, &result), 0);
    ck_assert_int_eq(result, 0);
}
END_TEST

static int wait_for_nobody(void *arg)
{
    weft_chan_t *ch;
    char c;
    int status;

    (void)arg;
    if (weft_chan_create(&ch, 1, 0) != 0)
        return -ENOMEM;
    status = weft_chan_recv(ch, &c);
    weft_chan_unref(ch);
    return status;
}

static void no_log(int level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
}

START_TEST(a_program_asleep_is_told)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    weft_set_log(no_log, NULL);
    weft__sim_quiet(true);
    for (sim.seed = 1; sim.seed <= 20; sim.seed++)
        ck_assert_int_eq(weft_explore(&sim, 1, wait_for_nobody, NULL),
                         -EDEADLK);
}
END_TEST

static int yield_for_ever(void *arg)
{
    (void)arg;
    while (weft_workers() > 0)
        weft_yield();
    return 0;
}

START_TEST(a_program_that_never_ends_is_stopped)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    sim.steps = 20000;
    weft__sim_quiet(true);
    ck_assert_int_eq(weft_explore(&sim, 10, yield_for_ever, NULL), -ETIMEDOUT);
}
END_TEST

/* --- WEFT_SEED ----------------------------------------------------------- */

/* What this program writes to stdout when started afresh in another role. */
static void started_afresh(const char *role, const char *seed, char *text,
                           size_t size)
{
    size_t n = 0;
    int pipes[2];
    ssize_t got;
    pid_t pid;

    ck_assert_int_eq(pipe(pipes), 0);
    pid = fork();
    if (pid == 0) {
        setenv("WEFT_SEED", seed, 1);
        dup2(pipes[1], STDOUT_FILENO);
        execl("/proc/self/exe", "sim_run", role, (char *)NULL);
        _exit(127);
    }
    close(pipes[1]);
    while ((got = read(pipes[0], text + n, size - n - 1)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    close(pipes[0]);
    waitpid(pid, NULL, 0);
}

static int print_now(void *arg)
{
    int status = right(arg);

    printf("%lld %d", (long long)weft_now(), status);
    return 0;
}

/* A program that never heard of the simulation, but is linked with it. */
START_TEST(a_seed_in_the_environment_decides)
{
    char once[64], again[64], other[64];

    started_afresh("--plain", "7", once, sizeof(once));
    started_afresh("--plain", "7", again, sizeof(again));
    started_afresh("--plain", "8", other, sizeof(other));
    ck_assert_ptr_nonnull(strstr(once, " 7"));
    ck_assert_str_eq(once, again);
    ck_assert_str_ne(once, other);
}
END_TEST

/* How many processors there are decides nothing. */
START_TEST(a_seed_is_the_same_on_every_machine)
{
    char here[64], there[64];
    cpu_set_t one;
    int cpu = sched_getcpu();

    ck_assert_int_ge(cpu, 0);
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
    started_afresh("--plain", "7", here, sizeof(here));
    setenv("WEFT_WORKERS", "2", 1);
    started_afresh("--plain", "7", there, sizeof(there));
    ck_assert_str_eq(here, there);
}
END_TEST

/* Each search as if there were no other. */
START_TEST(a_named_seed_is_tried_in_each_exploration)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    setenv("WEFT_SEED", "9", 1);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(weft_explore(&sim, 100, leaves_a_mark, NULL), 1);
    weft__sim_quiet(true);
    ck_assert_int_eq(weft_explore(&sim, 100, wrong_always, NULL), -EILSEQ);
}
END_TEST

/* Whoever reaps all children takes ours, too. */
START_TEST(children_that_nobody_can_wait_for)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    signal(SIGCHLD, SIG_IGN);
    ck_assert_int_eq(weft_explore(&sim, 20, right, NULL), 20);
    weft__sim_quiet(true);
    ck_assert_int_eq(weft_explore(&sim, 20, wrong_always, NULL), -EILSEQ);
    signal(SIGCHLD, SIG_DFL);
}
END_TEST

/* What exploring found under a seed, WEFT_SEED finds in a new process. */
START_TEST(an_explored_seed_replays_in_another_process)
{
    weft_sim_t sim = WEFT_SIM_INIT;
    char seed[24], here[64], there[64];

    weft__sim_quiet(true);
    ck_assert_int_eq(weft_explore(&sim, 2000, wrong, NULL), -EILSEQ);
    snprintf(here, sizeof(here), "%d %llx", -EILSEQ,
             (unsigned long long)weft__sim_last()->hash);
    snprintf(seed, sizeof(seed), "%llu",
             (unsigned long long)weft__sim_last()->seed);
    started_afresh("--explore", seed, there, sizeof(there));
    ck_assert_str_eq(here, there);
}
END_TEST

static int other_role(const char *role)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    weft__sim_quiet(true);
    if (strcmp(role, "--plain") == 0)
        return weft_run(NULL, print_now, NULL, NULL) != 0;
    printf("%d", weft_explore(&sim, 2000, wrong, NULL));
    printf(" %llx", (unsigned long long)weft__sim_last()->hash);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    Suite *suite;
    TCase *tc;

    if (argc > 1)
        return other_role(argv[1]);

    suite = suite_create("sim_run");
    tc = tcase_create("run");
    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, exploring_finds_the_race_and_only_that);
    tcase_add_test(tc, what_was_found_replays);
    tcase_add_test(tc, a_named_seed_is_tried_in_each_search);
    tcase_add_test(tc, a_run_answers_what_entry_answers);
    tcase_add_test(tc, a_runtime_bars_a_simulation);
    tcase_add_test(tc, misuse_is_answered);
    tcase_add_test(tc, a_program_asleep_is_told);
    tcase_add_test(tc, a_program_that_never_ends_is_stopped);
    tcase_add_test(tc, a_seed_in_the_environment_decides);
    tcase_add_test(tc, a_seed_is_the_same_on_every_machine);
    tcase_add_test(tc, a_named_seed_is_tried_in_each_exploration);
    tcase_add_test(tc, children_that_nobody_can_wait_for);
    tcase_add_test(tc, an_explored_seed_replays_in_another_process);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
