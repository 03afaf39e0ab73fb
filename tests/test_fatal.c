/*
 * What weft says: the log, and the last words of a broken invariant. Needs no
 * runtime.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft/runtime.h>

#include "sched/atomic.h"
#include "sched/fatal.h"

/* The last line that keep_line() got. */
static struct {
    int count;
    int level;
    char line[2048];
    void *arg;
} kept;

static void keep_line(int level, const char *line, void *arg)
{
    kept.count++;
    kept.level = level;
    strncpy(kept.line, line, sizeof(kept.line) - 1);
    kept.arg = arg;
}

/* What say() writes to stderr in a child, and how the child ends. */
static int words_of_child(void (*say)(void), char *words, size_t size)
{
    int ends[2];
    int status;
    size_t n = 0;
    ssize_t got;
    pid_t child;

    ck_assert_int_eq(pipe(ends), 0);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        say();
        _exit(0);
    }
    close(ends[1]);
    while (n + 1 < size && (got = read(ends[0], words + n, size - n - 1)) > 0)
        n += (size_t)got;
    words[n] = '\0';
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

/* --- The log -------------------------------------------------------------- */

static void say_hello(void)
{
    weft__log(WEFT_LOG_INFO, "hello, %s %d", "fiber", 7);
}

START_TEST(a_log_line_goes_to_stderr)
{
    char words[1024];

    words_of_child(say_hello, words, sizeof(words));
    ck_assert_str_eq(words, "weft: hello, fiber 7\n");
}
END_TEST

START_TEST(a_sink_gets_level_line_and_argument_and_stderr_nothing)
{
    int mark;

    weft_set_log(keep_line, &mark);
    weft__log(WEFT_LOG_WARNING, "hello, %s %d", "fiber", 7);
    ck_assert_int_eq(kept.count, 1);
    ck_assert_int_eq(kept.level, WEFT_LOG_WARNING);
    ck_assert_str_eq(kept.line, "hello, fiber 7");
    ck_assert_ptr_eq(kept.arg, &mark);
}
END_TEST

static void say_with_a_sink_taken_back(void)
{
    weft_set_log(keep_line, NULL);
    weft_set_log(NULL, NULL);
    weft__log(WEFT_LOG_ERROR, "back");
}

START_TEST(no_sink_brings_stderr_back)
{
    char words[1024];

    words_of_child(say_with_a_sink_taken_back, words, sizeof(words));
    ck_assert_str_eq(words, "weft: back\n");
}
END_TEST

static void say_much(void)
{
    char much[1000];

    memset(much, 'x', sizeof(much));
    much[sizeof(much) - 1] = '\0';
    weft__log(WEFT_LOG_ERROR, "%s", much);
}

START_TEST(a_long_line_is_cut_at_500_bytes)
{
    char words[2048];

    words_of_child(say_much, words, sizeof(words));
    ck_assert_uint_eq(strlen(words), strlen("weft: ") + 500 + 1);
    ck_assert_int_eq(words[strlen(words) - 1], '\n');

    weft_set_log(keep_line, NULL);
    say_much();
    ck_assert_uint_eq(strlen(kept.line), 500);
}
END_TEST

START_TEST(a_name_with_a_newline_stays_one_line)
{
    weft_set_log(keep_line, NULL);
    weft__log(WEFT_LOG_ERROR, "fiber \"%s\"", "a\nb\r\nc");
    ck_assert_str_eq(kept.line, "fiber \"a b  c\"");
}
END_TEST

START_TEST(logging_leaves_errno_alone)
{
    weft_set_log(keep_line, NULL);
    errno = 4711;
    weft__log(WEFT_LOG_ERROR, "hello");
    ck_assert_int_eq(errno, 4711);
}
END_TEST

/* Two sinks, each with an argument of its own, swapped while others log: no
 * one is ever called with the other's. */
static char one_mark;
static char two_mark;
static weft__au32 heard;
static weft__au32 mixed;
static weft__au32 finished;

static void sink_one(int level, const char *line, void *arg)
{
    (void)level;
    (void)line;
    weft__fetch_add(&heard, 1, RELAXED);
    if (arg != &one_mark)
        weft__store(&mixed, 1, RELAXED);
}

static void sink_two(int level, const char *line, void *arg)
{
    (void)level;
    (void)line;
    weft__fetch_add(&heard, 1, RELAXED);
    if (arg != &two_mark)
        weft__store(&mixed, 1, RELAXED);
}

static void *swap_sinks(void *arg)
{
    (void)arg;
    while (weft__load(&finished, RELAXED) == 0) {
        weft_set_log(sink_one, &one_mark);
        weft_set_log(sink_two, &two_mark);
    }
    return NULL;
}

START_TEST(a_sink_swapped_under_fire_gets_its_own_argument)
{
    pthread_t swappers[2];

    weft_set_log(sink_one, &one_mark);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&swappers[i], NULL, swap_sinks, NULL),
                         0);
    for (int i = 0; i < 20000; i++)
        weft__log(WEFT_LOG_INFO, "swapped under fire");
    weft__store(&finished, 1, RELAXED);
    for (int i = 0; i < 2; i++)
        pthread_join(swappers[i], NULL);
    ck_assert_uint_eq(weft__load(&mixed, RELAXED), 0);
    ck_assert_uint_eq(weft__load(&heard, RELAXED), 20000);
}
END_TEST

/* --- The end -------------------------------------------------------------- */

static void break_an_invariant(void)
{
    int fibers = 3;

    WEFT__CHECK(fibers == 3, "this holds");
    WEFT__CHECK(fibers == 4, "there are four fibers");
}

START_TEST(a_broken_invariant_says_where_and_what_and_aborts)
{
    char words[1024];
    int status = words_of_child(break_an_invariant, words, sizeof(words));

    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGABRT);
    ck_assert_int_eq(strncmp(words, "weft: ", 6), 0);
    ck_assert_ptr_nonnull(strstr(words, "test_fatal.c:"));
    ck_assert_ptr_nonnull(strstr(words, ": there are four fibers\n"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fatal");
    TCase *log = tcase_create("log");
    TCase *end = tcase_create("end");
    SRunner *runner;
    int failed;

    tcase_add_test(log, a_log_line_goes_to_stderr);
    tcase_add_test(log, a_sink_gets_level_line_and_argument_and_stderr_nothing);
    tcase_add_test(log, no_sink_brings_stderr_back);
    tcase_add_test(log, a_long_line_is_cut_at_500_bytes);
    tcase_add_test(log, a_name_with_a_newline_stays_one_line);
    tcase_add_test(log, logging_leaves_errno_alone);
    tcase_add_test(log, a_sink_swapped_under_fire_gets_its_own_argument);
    suite_add_tcase(suite, log);

    tcase_add_test(end, a_broken_invariant_says_where_and_what_and_aborts);
    suite_add_tcase(suite, end);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
