/*
 * The simulation on itself: the same seed makes the same schedule, in every
 * process, and a printed schedule makes it again.
 */
#include "tests/sim.h"

#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sched/atomic.h"
#include "sched/fatal.h"
#include "sched/os.h"

enum { RUNS = 500 };

/* Threads that meet in shared words, sleep, and take addresses from malloc:
 * nothing of which may decide anything but the seed. */
static struct {
    weft__au32 word[4];
    weft__aptr chunk;
    uint64_t trace; /* what was seen, in order */
} s;

static void fresh(void *arg)
{
    (void)arg;
    for (int i = 0; i < 4; i++)
        weft__init(&s.word[i], 0);
    weft__init(&s.chunk, NULL);
    s.trace = 0;
}

static void mix(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < 20; i++) {
        void *mine = malloc(1 + i * 37);
        void *old = weft__exchange(&s.chunk, mine, ACQ_REL);
        uint32_t seen = weft__fetch_add(&s.word[i % 4], 1, RELAXED);

        free(old);
        weft__store(&s.word[(i + 1) % 4], seen, RELAXED);
        s.trace = s.trace * 31 + seen;
        weft__os_futex_wait(&s.word[0], 0, 1000 * (int64_t)i);
        weft__os_futex_wake(&s.word[0], 1);
    }
}

static void (*const mixers[])(void *) = { mix, mix, mix };

static uint64_t mixed(uint64_t seed, uint64_t *trace)
{
    weft_sim_t sim = sim_of(2);

    fresh(NULL);
    sim.seed = seed;
    if (weft__sim_threads(&sim, mixers, 3, NULL, NULL) != 0)
        abort();
    free(s.chunk.v);
    *trace = s.trace;
    return weft__sim_last()->hash;
}

START_TEST(one_seed_makes_one_schedule)
{
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        uint64_t once_trace, again_trace;
        uint64_t once = mixed(seed, &once_trace);
        void *noise = malloc((seed * 7919) % 100000);
        uint64_t again = mixed(seed, &again_trace);

        free(noise);
        ck_assert_uint_eq(once, again);
        ck_assert_uint_eq(once_trace, again_trace);
    }
}
END_TEST

START_TEST(different_seeds_make_different_schedules)
{
    uint64_t trace;
    uint64_t hash[RUNS];

    for (int i = 0; i < RUNS; i++) {
        hash[i] = mixed((uint64_t)i + 1, &trace);
        for (int j = 0; j < i; j++)
            ck_assert_uint_ne(hash[i], hash[j]);
    }
}
END_TEST

/* What this program, started afresh with these words, writes to `fd`. */
static void started_afresh(int fd, const char *word, const char *seed,
                           char *text, size_t size)
{
    size_t n = 0;
    int pipes[2];
    ssize_t got;
    pid_t pid;

    ck_assert_int_eq(pipe(pipes), 0);
    pid = fork();
    if (pid == 0) {
        if (seed != NULL)
            setenv("WEFT_SEED", seed, 1);
        dup2(pipes[1], fd);
        execl("/proc/self/exe", "sim_replay", word, (char *)NULL);
        _exit(127);
    }
    close(pipes[1]);
    while ((got = read(pipes[0], text + n, size - n - 1)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    close(pipes[0]);
    waitpid(pid, NULL, 0);
}

/* Addresses differ from process to process; schedules do not. */
START_TEST(every_process_makes_the_same_schedule)
{
    char mine[64], other[64];
    uint64_t trace;

    for (uint64_t seed = 1; seed <= 5; seed++) {
        char text[8];

        snprintf(text, sizeof(text), "%u", (unsigned)seed);
        snprintf(mine, sizeof(mine), "%llx", (unsigned long long)mixed(seed,
                                                                       &trace));
        started_afresh(STDOUT_FILENO, "--hash", text, other, sizeof(other));
        ck_assert_str_eq(mine, other);
    }
}
END_TEST

/* --- Replay -------------------------------------------------------------- */

static void lose(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++)
        weft__store(&s.word[0], weft__load(&s.word[0], RELAXED) + 1, RELAXED);
}

static int none_lost(void *arg)
{
    (void)arg;
    return s.word[0].v == 10 ? 0 : -EILSEQ;
}

static void (*const losers[])(void *) = { lose, lose };

START_TEST(a_printed_schedule_fails_again)
{
    static char text[100000];
    weft_sim_t sim = sim_of(2);
    uint64_t hash;
    uint32_t left;

    weft__sim_quiet(true);
    ck_assert_int_eq(weft__sim_search(&sim, RUNS, losers, 2, NULL, fresh,
                                      none_lost), -EILSEQ);
    hash = weft__sim_last()->hash;
    left = s.word[0].v;
    ck_assert_uint_lt(weft__sim_schedule(text, sizeof(text)), sizeof(text));

    sim.seed = 99; /* of no account */
    sim.replay = text;
    fresh(NULL);
    ck_assert_int_eq(weft__sim_threads(&sim, losers, 2, NULL, none_lost),
                     -EILSEQ);
    ck_assert_uint_eq(weft__sim_last()->hash, hash);
    ck_assert_uint_eq(s.word[0].v, left);
}
END_TEST

/* As far as it goes, a schedule cut by hand decides; then the thread that
 * moved last goes on. */
START_TEST(a_schedule_may_be_cut)
{
    weft_sim_t sim = sim_of(UINT_MAX);

    fresh(NULL);
    sim.replay = "0";
    ck_assert_int_eq(weft__sim_threads(&sim, losers, 2, NULL, none_lost), 0);

    /* Both load, then both store: one of the ten is lost. */
    fresh(NULL);
    sim.replay = "1x2,0";
    weft__sim_quiet(true);
    ck_assert_int_eq(weft__sim_threads(&sim, losers, 2, NULL, none_lost),
                     -EILSEQ);
}
END_TEST

START_TEST(a_schedule_that_does_not_fit_is_refused)
{
    static const char *const misfits[] = { "0x3,5", "f0", "0,t" };
    static const char *const nonsense[] = { "x", "0x", "0x0", "0,,1", "0,",
                                            "64", "f", "0 1", "-1", "tx" };
    weft_sim_t sim = sim_of(2);

    weft__sim_quiet(true);
    for (size_t i = 0; i < sizeof(misfits) / sizeof(misfits[0]); i++) {
        fresh(NULL);
        sim.replay = misfits[i];
        ck_assert_int_eq(weft__sim_threads(&sim, losers, 2, NULL, NULL),
                         -EINVAL);
        ck_assert_int_eq(weft__sim_last()->verdict, WEFT__SIM_MISFIT);
    }
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        sim.replay = nonsense[i];
        ck_assert_int_eq(weft__sim_threads(&sim, losers, 2, NULL, NULL),
                         -EINVAL);
    }
}
END_TEST

START_TEST(a_schedule_is_cut_to_the_room_it_has)
{
    char whole[4096], part[16];
    uint64_t trace;
    size_t n;

    mixed(3, &trace);
    n = weft__sim_schedule(whole, sizeof(whole));
    ck_assert_uint_gt(n, sizeof(part));
    ck_assert_uint_eq(strlen(whole), n);
    ck_assert_uint_eq(weft__sim_schedule(part, sizeof(part)), n);
    ck_assert_int_eq(strncmp(whole, part, sizeof(part) - 1), 0);
    ck_assert_uint_eq(strlen(part), sizeof(part) - 1);
    ck_assert_uint_eq(weft__sim_schedule(NULL, 0), n);
}
END_TEST

/* --- Settings and reports ------------------------------------------------ */

START_TEST(settings_without_sense_are_refused)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    ck_assert_int_eq(weft__sim_threads(&sim, losers, 0, NULL, NULL), -EINVAL);
    ck_assert_int_eq(weft__sim_threads(&sim, NULL, 2, NULL, NULL), -EINVAL);
    ck_assert_int_eq(weft__sim_threads(&sim, losers, 65, NULL, NULL), -EINVAL);
    sim.buffer = 9;
    ck_assert_int_eq(weft__sim_threads(&sim, losers, 2, NULL, NULL), -EINVAL);
    sim.buffer = 0;
    sim.workers = 33;
    ck_assert_int_eq(weft__sim_threads(&sim, losers, 2, NULL, NULL), -EINVAL);
    sim.workers = 0;
    sim.steps = UINT64_MAX;
    ck_assert_int_eq(weft__sim_threads(&sim, losers, 2, NULL, NULL), -EINVAL);
    sim.steps = 0;
    sim.size = 8;
    ck_assert_int_eq(weft__sim_threads(&sim, losers, 2, NULL, NULL), -EINVAL);
}
END_TEST

START_TEST(the_environment_names_the_seed)
{
    weft_sim_t sim = WEFT_SIM_INIT;

    setenv("WEFT_SEED", "0x11", 1);
    sim.seed = 3;
    fresh(NULL);
    ck_assert_int_eq(weft__sim_search(&sim, RUNS, losers, 2, NULL, fresh,
                                      NULL), 1);
    ck_assert_uint_eq(weft__sim_last()->seed, 17);

    for (const char *const *bad = (const char *const[]){ "", "x", "7x", "-1",
             "99999999999999999999999", NULL }; *bad != NULL; bad++) {
        setenv("WEFT_SEED", *bad, 1);
        ck_assert_int_eq(weft__sim_threads(&sim, losers, 2, NULL, NULL),
                         -EINVAL);
    }
}
END_TEST

static void break_invariant(void *arg)
{
    mix(arg);
    WEFT__CHECK(s.word[3].v == UINT32_MAX, "two and two are five");
}

static void touch_nothing(void *arg)
{
    mix(arg);
    /* Nothing is mapped there; NULL is known to the sanitizers. */
    *(volatile int *)(uintptr_t)4096 = 0;
}

/* A program that dies tells the seed first, and how to see it again. */
START_TEST(a_dying_program_names_its_seed)
{
    char text[8192];

    started_afresh(STDERR_FILENO, "--abort", NULL, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "two and two are five"));
    ck_assert_ptr_nonnull(strstr(text, "seed 5: the program died of signal"));
    ck_assert_ptr_nonnull(strstr(text, "schedule: "));
    ck_assert_ptr_nonnull(strstr(text, "again: WEFT_SEED=5 "));

    started_afresh(STDERR_FILENO, "--crash", NULL, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "seed 5: the program died of signal"));
}
END_TEST

static void hang_up(void *arg)
{
    (void)arg;
    weft__os_futex_wait(&s.word[1], 0, -1);
}

START_TEST(a_deadlock_tells_who_stands_where)
{
    char text[16384];

    started_afresh(STDERR_FILENO, "--deadlock", NULL, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "no virtual thread can ever move"));
    ck_assert_ptr_nonnull(strstr(text, "thread 0 sleeps on a futex"));
    ck_assert_ptr_nonnull(strstr(text, "thread 1 sleeps on a futex"));
    ck_assert_ptr_nonnull(strstr(text, "again: WEFT_SEED=5 "));
}
END_TEST

/* The same program in other roles: see started_afresh(). */
static int other_role(const char *word)
{
    void (*const breakers[])(void *) = { break_invariant, mix };
    void (*const crashers[])(void *) = { touch_nothing, mix };
    void (*const hangers[])(void *) = { hang_up, hang_up };
    weft_sim_t sim = sim_of(2);
    uint64_t trace;

    sim.seed = 5;
    if (strcmp(word, "--hash") == 0)
        printf("%llx", (unsigned long long)mixed(1, &trace));
    else if (strcmp(word, "--abort") == 0)
        weft__sim_threads(&sim, breakers, 2, NULL, NULL);
    else if (strcmp(word, "--crash") == 0)
        weft__sim_threads(&sim, crashers, 2, NULL, NULL);
    else if (strcmp(word, "--deadlock") == 0)
        weft__sim_threads(&sim, hangers, 2, NULL, NULL);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    Suite *suite;
    TCase *tc;

    if (argc > 1)
        return other_role(argv[1]);

    suite = suite_create("sim_replay");
    tc = tcase_create("replay");
    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, one_seed_makes_one_schedule);
    tcase_add_test(tc, different_seeds_make_different_schedules);
    tcase_add_test(tc, every_process_makes_the_same_schedule);
    tcase_add_test(tc, a_printed_schedule_fails_again);
    tcase_add_test(tc, a_schedule_may_be_cut);
    tcase_add_test(tc, a_schedule_that_does_not_fit_is_refused);
    tcase_add_test(tc, a_schedule_is_cut_to_the_room_it_has);
    tcase_add_test(tc, settings_without_sense_are_refused);
    tcase_add_test(tc, the_environment_names_the_seed);
    tcase_add_test(tc, a_dying_program_names_its_seed);
    tcase_add_test(tc, a_deadlock_tells_who_stands_where);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
