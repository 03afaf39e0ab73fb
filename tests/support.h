/*
 * What the tests share.
 *
 * WEFT_TEST is Check's START_TEST whose body runs as the first fiber of a
 * fresh runtime, inside Check's child process:
 *
 *     WEFT_TEST(join_gives_the_result)
 *     {
 *         weft_fiber_t f = spawn(answer, NULL);
 *         ...
 *     }
 *     END_TEST
 *
 * The number of workers is WEFT_WORKERS, which ctest sets; a test that needs
 * another configuration uses START_TEST and run_with().
 */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/weft.h>

#define WEFT_TEST(name)                                                     \
    static void name##_fiber(int _i);                                       \
    START_TEST(name)                                                        \
    {                                                                       \
        run_body(name##_fiber, _i);                                         \
    }                                                                       \
    END_TEST                                                                \
    static void name##_fiber(int _i CK_ATTRIBUTE_UNUSED)

/*
 * Assert what a call returns, and log call and code: a script holds the log
 * (the file CK_CODE_LOG names) against the "Returns:" of the headers.
 */
#define ck_code(call, expected)                                             \
    do {                                                                    \
        long long code_ = (long long)(call);                                \
        log_code(#call, code_);                                             \
        ck_assert_msg(code_ == (long long)(expected),                       \
                      "%s is %s (%lld), and should be %s", #call,           \
                      weft_err_name((int)code_), code_, #expected);         \
    } while (0)

void log_code(const char *call, long long code);

/* Run `body(i)` as the first fiber. */
void run_body(void (*body)(int), int i);
/* The same with a configuration; answers what weft_run did. */
int run_with(const weft_config_t *config, void (*body)(int), int i);

/* weft_spawn() that cannot fail. */
weft_fiber_t spawn(void *(*entry)(void *), void *arg);
/* weft_join() that succeeds; its result. */
void *join(weft_fiber_t f);
/* A channel; made without fail. */
weft_chan_t *new_chan(size_t elem_size, size_t capacity);

/* Yield until this fiber is parked (its registers saved), or not started, or
 * ended: states, by the name that weft_dump() gives them. */
void wait_until_parked(weft_fiber_t f);
void wait_until_ended(weft_fiber_t f);
bool is_state(weft_fiber_t f, const char *state);
/* Yield until `n` fibers are parked. */
void wait_until_n_parked(unsigned n);

/* How many workers this run has; skip what makes no sense with fewer. */
unsigned workers(void);

/* Run the suite and answer main's result. */
int run_suite(Suite *suite);

#endif
