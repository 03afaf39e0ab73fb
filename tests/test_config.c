/*
 * Configuration: the program's fields, the environment's variables, and what
 * is said about a bad one. Needs no runtime.
 */
#include <check.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/runtime.h>

#include "runtime/config.h"
#include "runtime/cpus.h"
#include "tests/codelog.h"

static const char *const variables[] = {
    "WEFT_WORKERS",  "WEFT_STACK_SIZE",   "WEFT_STOP_TIMEOUT",
    "WEFT_DEADLOCK", "WEFT_LANE_THREADS", "WEFT_GUARD",
    "WEFT_FILE_THREADS", "WEFT_FD_THREADS", "WEFT_RESOLVE_THREADS",
    "WEFT_SEED",
};
#define VARIABLES (sizeof(variables) / sizeof(variables[0]))

/* All that was logged in the current test, line by line. */
static struct {
    int lines;
    char text[4096];
} said;

static void hear(int level, const char *line, void *arg)
{
    (void)arg;
    ck_assert_int_eq(level, WEFT_LOG_ERROR);
    said.lines++;
    strncat(said.text, line, sizeof(said.text) - strlen(said.text) - 1);
    strncat(said.text, "\n", sizeof(said.text) - strlen(said.text) - 1);
}

static void clean_environment(void)
{
    for (size_t i = 0; i < VARIABLES; i++)
        unsetenv(variables[i]);
    weft_set_log(hear, NULL);
}

static weft_config_t loaded(const weft_config_t *in)
{
    weft_config_t out;

    said.text[0] = '\0';
    ck_assert_int_eq(weft__config_load(&out, in), 0);
    ck_assert_str_eq(said.text, "");
    return out;
}

/* It is refused, with one line that contains `word`, and `out` stays. */
static void ck_refused(const weft_config_t *in, int code, const char *word)
{
    weft_config_t out;
    weft_config_t before;

    memset(&out, 0x5a, sizeof(out));
    memcpy(&before, &out, sizeof(out));
    said.lines = 0;
    said.text[0] = '\0';
    ck_assert_int_eq(weft__config_load(&out, in), code);
    ck_assert_int_eq(memcmp(&out, &before, sizeof(out)), 0);
    ck_assert_int_eq(said.lines, 1);
    ck_assert_msg(strstr(said.text, word) != NULL, "\"%s\" not in: %s", word,
                  said.text);
}

/* --- The program's fields -------------------------------------------------- */

START_TEST(nothing_said_gives_the_defaults)
{
    weft_config_t zero = WEFT_CONFIG_INIT;
    const weft_config_t *const ins[] = { NULL, &zero };

    for (int i = 0; i < 2; i++) {
        weft_config_t out = loaded(ins[i]);

        ck_assert_uint_eq(out.size, sizeof(out));
        ck_assert_uint_eq(out.workers, weft__cpus(""));
        ck_assert_uint_eq(out.stack_size, 64 << 10);
        ck_assert_int_eq(out.stop_timeout, WEFT_SEC(5));
        ck_assert_int_eq(out.deadlock, WEFT_DEADLOCK_AUTO);
        ck_assert_uint_eq(out.lane_threads, 64);
        ck_assert_int_eq(out.guard, WEFT_GUARD_AUTO);
        ck_assert_uint_eq(out.file_threads, 64);
        ck_assert_uint_eq(out.fd_threads, 64);
        ck_assert_uint_eq(out.resolve_threads, 16);
    }
}
END_TEST

START_TEST(the_programs_fields_are_taken)
{
    weft_config_t in = WEFT_CONFIG_INIT;
    weft_config_t out;

    in.workers = 7;
    in.stack_size = 128 << 10;
    in.stop_timeout = WEFT_MS(250);
    in.deadlock = WEFT_DEADLOCK_NEVER;
    in.lane_threads = 3;
    in.guard = WEFT_GUARD_CANARY;
    in.file_threads = 5;
    in.fd_threads = 6;
    in.resolve_threads = 7;
    out = loaded(&in);
    ck_assert_uint_eq(out.workers, 7);
    ck_assert_uint_eq(out.stack_size, 128 << 10);
    ck_assert_int_eq(out.stop_timeout, WEFT_MS(250));
    ck_assert_int_eq(out.deadlock, WEFT_DEADLOCK_NEVER);
    ck_assert_uint_eq(out.lane_threads, 3);
    ck_assert_int_eq(out.guard, WEFT_GUARD_CANARY);
    ck_assert_uint_eq(out.file_threads, 5);
    ck_assert_uint_eq(out.fd_threads, 6);
    ck_assert_uint_eq(out.resolve_threads, 7);
}
END_TEST

START_TEST(a_stack_size_is_made_a_power_of_two)
{
    static const size_t sizes[][2] = {
        { 16 << 10, 16 << 10 },
        { (16 << 10) + 1, 32 << 10 },
        { 100000, 128 << 10 },
        { 64 << 10, 64 << 10 },
        { ((size_t)1 << 29) + 1, (size_t)1 << 30 },
        { (size_t)1 << 30, (size_t)1 << 30 },
    };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        weft_config_t in = WEFT_CONFIG_INIT;

        in.stack_size = sizes[i][0];
        ck_assert_uint_eq(loaded(&in).stack_size, sizes[i][1]);
    }
}
END_TEST

START_TEST(a_field_out_of_its_range_is_refused_and_named)
{
    weft_config_t in = WEFT_CONFIG_INIT;
    weft_config_t good = WEFT_CONFIG_INIT;

#define REFUSED(field, value)                                                  \
    do {                                                                       \
        in = good;                                                             \
        in.field = (value);                                                    \
        ck_refused(&in, -EINVAL, #field);                                      \
    } while (0)

    REFUSED(workers, 257);
    REFUSED(workers, (unsigned)-1);
    REFUSED(stack_size, 1);
    REFUSED(stack_size, (16 << 10) - 1);
    REFUSED(stack_size, ((size_t)1 << 30) + 1);
    REFUSED(stack_size, SIZE_MAX);
    REFUSED(stop_timeout, -1);
    REFUSED(stop_timeout, INT64_MIN);
    REFUSED(deadlock, 3);
    REFUSED(deadlock, -1);
    REFUSED(lane_threads, 4097);
    REFUSED(guard, 3);
    REFUSED(guard, -1);
    REFUSED(file_threads, 4097);
    REFUSED(fd_threads, 4097);
    REFUSED(resolve_threads, 4097);
#undef REFUSED
}
END_TEST

START_TEST(the_edges_of_each_range_are_taken)
{
    weft_config_t in = WEFT_CONFIG_INIT;

    in.workers = 1;
    in.stack_size = 16 << 10;
    in.stop_timeout = 1;
    in.lane_threads = 1;
    in.file_threads = in.fd_threads = in.resolve_threads = 1;
    loaded(&in);
    in.workers = 256;
    in.stack_size = (size_t)1 << 30;
    in.stop_timeout = WEFT_FOREVER;
    in.deadlock = 2;
    in.lane_threads = 4096;
    in.guard = 2;
    in.file_threads = in.fd_threads = in.resolve_threads = 4096;
    loaded(&in);
}
END_TEST

START_TEST(a_size_that_was_never_set_is_refused)
{
    weft_config_t in;

    memset(&in, 0, sizeof(in));
    ck_refused(&in, -EINVAL, "size");
    in.size = 8;
    ck_refused(&in, -EINVAL, "size");
    in.size = (size_t)-1;
    ck_refused(&in, -EINVAL, "size");
    in.size = (size_t)1 << 40;
    ck_refused(&in, -EINVAL, "size");
}
END_TEST

/* A program built with a header to come: fine, as long as it uses nothing of
 * what is new. */
START_TEST(a_newer_programs_longer_struct_is_taken_if_the_rest_is_zero)
{
    union {
        weft_config_t config;
        unsigned char bytes[sizeof(weft_config_t) + 32];
    } in;

    memset(&in, 0, sizeof(in));
    in.config.size = sizeof(in);
    in.config.workers = 3;
    ck_assert_uint_eq(loaded(&in.config).workers, 3);
    ck_assert_uint_eq(loaded(&in.config).size, sizeof(weft_config_t));

    in.bytes[sizeof(in) - 1] = 1;
    ck_refused(&in.config, -EINVAL, weft_version());
    in.bytes[sizeof(in) - 1] = 0;
    in.bytes[sizeof(weft_config_t)] = 1;
    ck_refused(&in.config, -EINVAL, weft_version());
}
END_TEST

/* --- The environment -------------------------------------------------------- */

START_TEST(a_variable_wins_over_the_program)
{
    weft_config_t in = WEFT_CONFIG_INIT;
    weft_config_t out;

    in.workers = 7;
    in.stack_size = 128 << 10;
    in.stop_timeout = WEFT_SEC(1);
    in.deadlock = WEFT_DEADLOCK_NEVER;
    in.lane_threads = 3;
    in.guard = WEFT_GUARD_CANARY;
    in.file_threads = in.fd_threads = in.resolve_threads = 3;
    setenv("WEFT_WORKERS", "2", 1);
    setenv("WEFT_STACK_SIZE", "32K", 1);
    setenv("WEFT_STOP_TIMEOUT", "200ms", 1);
    setenv("WEFT_DEADLOCK", "always", 1);
    setenv("WEFT_LANE_THREADS", "4", 1);
    setenv("WEFT_GUARD", "mprotect", 1);
    setenv("WEFT_FILE_THREADS", "5", 1);
    setenv("WEFT_FD_THREADS", "6", 1);
    setenv("WEFT_RESOLVE_THREADS", "7", 1);
    out = loaded(&in);
    ck_assert_uint_eq(out.workers, 2);
    ck_assert_uint_eq(out.stack_size, 32 << 10);
    ck_assert_int_eq(out.stop_timeout, WEFT_MS(200));
    ck_assert_int_eq(out.deadlock, WEFT_DEADLOCK_ALWAYS);
    ck_assert_uint_eq(out.lane_threads, 4);
    ck_assert_int_eq(out.guard, WEFT_GUARD_MPROTECT);
    ck_assert_uint_eq(out.file_threads, 5);
    ck_assert_uint_eq(out.fd_threads, 6);
    ck_assert_uint_eq(out.resolve_threads, 7);
}
END_TEST

START_TEST(auto_in_the_environment_wins_too)
{
    weft_config_t in = WEFT_CONFIG_INIT;

    in.deadlock = WEFT_DEADLOCK_NEVER;
    in.guard = WEFT_GUARD_CANARY;
    setenv("WEFT_DEADLOCK", "auto", 1);
    setenv("WEFT_GUARD", "auto", 1);
    ck_assert_int_eq(loaded(&in).deadlock, WEFT_DEADLOCK_AUTO);
    ck_assert_int_eq(loaded(&in).guard, WEFT_GUARD_AUTO);
}
END_TEST

START_TEST(times_come_with_any_unit)
{
    static const struct {
        const char *text;
        weft_time_t time;
    } cases[] = {
        { "0", 0 },
        { "0s", 0 },
        { "1", 1 },
        { "1500", 1500 },
        { "17ns", 17 },
        { "20us", WEFT_US(20) },
        { "200ms", WEFT_MS(200) },
        { "5s", WEFT_SEC(5) },
        { "2m", WEFT_MIN(2) },
        { "007s", WEFT_SEC(7) },
        { "9223372036854775807", INT64_MAX },
        { "9223372036s", WEFT_SEC(9223372036) },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        setenv("WEFT_STOP_TIMEOUT", cases[i].text, 1);
        ck_assert_int_eq(loaded(NULL).stop_timeout, cases[i].time);
    }
}
END_TEST

START_TEST(sizes_come_with_any_unit)
{
    static const struct {
        const char *text;
        size_t size;
    } cases[] = {
        { "16384", 16 << 10 }, { "16K", 16 << 10 }, { "20K", 32 << 10 },
        { "1M", 1 << 20 },     { "1G", 1 << 30 },   { "1024M", 1 << 30 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        setenv("WEFT_STACK_SIZE", cases[i].text, 1);
        ck_assert_uint_eq(loaded(NULL).stack_size, cases[i].size);
    }
}
END_TEST

START_TEST(a_variable_that_has_no_sense_is_refused_and_named)
{
    static const struct {
        const char *variable;
        const char *values[16];
    } cases[] = {
        { "WEFT_WORKERS",
          { "", "0", "257", "-1", "+1", " 1", "1 ", "1.5", "0x1", "two", "1K",
            "4294967297", "18446744073709551617", "1\n" } },
        { "WEFT_STACK_SIZE",
          { "", "0", "1", "16383", "15K", "1073741825", "2G", "64k", "64KB",
            "64KiB", "K", "64 K", "-64K", "17179869184G",
            "36893488147419103232" } },
        { "WEFT_STOP_TIMEOUT",
          { "", "-1", "5 s", "5S", "5sec", "s", "1.5s", "5s ", "1h",
            "9223372036854775808", "9223372037s", "307445734562m",
            "99999999999999999999" } },
        { "WEFT_DEADLOCK", { "", "0", "Auto", "alway", "always ", "yes" } },
        { "WEFT_LANE_THREADS", { "", "0", "4097", "-1", "many" } },
        { "WEFT_FILE_THREADS", { "", "0", "4097", "-1", "many" } },
        { "WEFT_FD_THREADS", { "", "0", "4097", "-1", "many" } },
        { "WEFT_RESOLVE_THREADS", { "", "0", "4097", "-1", "many" } },
        { "WEFT_GUARD", { "", "1", "none", "madvise", "canary," } },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t j = 0; cases[i].values[j] != NULL; j++) {
            char shown[64];

            setenv(cases[i].variable, cases[i].values[j], 1);
            ck_refused(NULL, -EINVAL, cases[i].variable);
            if (strchr(cases[i].values[j], '\n') == NULL) {
                snprintf(shown, sizeof(shown), "\"%s\"", cases[i].values[j]);
                ck_assert_ptr_nonnull(strstr(said.text, shown));
            }
            ck_assert_ptr_nonnull(strstr(said.text, "accepted: "));
        }
        unsetenv(cases[i].variable);
    }
    loaded(NULL);
}
END_TEST

START_TEST(every_bad_variable_is_named_in_one_go)
{
    weft_config_t out;

    setenv("WEFT_WORKERS", "many", 1);
    setenv("WEFT_STACK_SIZE", "big", 1);
    setenv("WEFT_GUARD", "mprotect", 1);
    ck_assert_int_eq(weft__config_load(&out, NULL), -EINVAL);
    ck_assert_int_eq(said.lines, 2);
    ck_assert_ptr_nonnull(strstr(said.text, "WEFT_WORKERS is \"many\""));
    ck_assert_ptr_nonnull(strstr(said.text, "WEFT_STACK_SIZE is \"big\""));
}
END_TEST

START_TEST(a_bad_field_is_refused_though_a_variable_wins)
{
    weft_config_t in = WEFT_CONFIG_INIT;

    in.workers = 1000;
    setenv("WEFT_WORKERS", "2", 1);
    ck_refused(&in, -EINVAL, "workers");
}
END_TEST

static int never(void *arg)
{
    (void)arg;
    ck_abort_msg("it was started");
    return 0;
}

START_TEST(a_seed_in_the_ordinary_library_stops_the_start)
{
    int code;

    setenv("WEFT_SEED", "7", 1);
    ck_refused(NULL, -ENOSYS, "libweft-sim");
    code = weft_run(NULL, never, NULL, NULL);
    codelog("weft_run(", code);
    ck_assert_int_eq(code, -ENOSYS);
    setenv("WEFT_SEED", "", 1);
    ck_refused(NULL, -ENOSYS, "libweft-sim");
}
END_TEST

/* --- The version ------------------------------------------------------------ */

START_TEST(the_version_is_three_numbers)
{
    unsigned major;
    unsigned minor;
    unsigned patch;
    char end;

    ck_assert_int_eq(
        sscanf(weft_version(), "%u.%u.%u%c", &major, &minor, &patch, &end), 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *fields = tcase_create("fields");
    TCase *environment = tcase_create("environment");
    TCase *version = tcase_create("version");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(fields, clean_environment, NULL);
    tcase_add_test(fields, nothing_said_gives_the_defaults);
    tcase_add_test(fields, the_programs_fields_are_taken);
    tcase_add_test(fields, a_stack_size_is_made_a_power_of_two);
    tcase_add_test(fields, a_field_out_of_its_range_is_refused_and_named);
    tcase_add_test(fields, the_edges_of_each_range_are_taken);
    tcase_add_test(fields, a_size_that_was_never_set_is_refused);
    tcase_add_test(fields,
                   a_newer_programs_longer_struct_is_taken_if_the_rest_is_zero);
    suite_add_tcase(suite, fields);

    tcase_add_checked_fixture(environment, clean_environment, NULL);
    tcase_add_test(environment, a_variable_wins_over_the_program);
    tcase_add_test(environment, auto_in_the_environment_wins_too);
    tcase_add_test(environment, times_come_with_any_unit);
    tcase_add_test(environment, sizes_come_with_any_unit);
    tcase_add_test(environment,
                   a_variable_that_has_no_sense_is_refused_and_named);
    tcase_add_test(environment, every_bad_variable_is_named_in_one_go);
    tcase_add_test(environment, a_bad_field_is_refused_though_a_variable_wins);
    tcase_add_test(environment, a_seed_in_the_ordinary_library_stops_the_start);
    suite_add_tcase(suite, environment);

    tcase_add_test(version, the_version_is_three_numbers);
    suite_add_tcase(suite, version);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
