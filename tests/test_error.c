/*
 * The sentences and names of codes. Needs no runtime.
 */
#include <check.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include <weft/error.h>

START_TEST(every_errno_value_of_linux_has_a_name_and_a_sentence)
{
    int named = 0;

    for (int code = 1; code < 200; code++) {
        const char *name = strerrorname_np(code);

        if (name == NULL) {
            ck_assert_str_eq(weft_err_name(-code), "?");
            ck_assert_str_eq(weft_strerror(-code), "Unknown error");
            continue;
        }
        named++;
        ck_assert_str_eq(weft_err_name(-code), name);
        ck_assert_str_eq(weft_strerror(-code), strerrordesc_np(code));
    }
    ck_assert_int_ge(named, 130);
}
END_TEST

START_TEST(the_codes_of_the_contract_read_as_documented)
{
    ck_assert_str_eq(weft_err_name(-EPIPE), "EPIPE");
    ck_assert_str_eq(weft_err_name(-EAGAIN), "EAGAIN");
    ck_assert_str_eq(weft_err_name(-ECANCELED), "ECANCELED");
    ck_assert_str_eq(weft_err_name(-EDEADLK), "EDEADLK");
    ck_assert_str_eq(weft_err_name(-ETIMEDOUT), "ETIMEDOUT");
    ck_assert_str_eq(weft_strerror(-EPIPE), "Broken pipe");
}
END_TEST

START_TEST(a_code_may_come_with_either_sign)
{
    ck_assert_ptr_eq(weft_strerror(EPIPE), weft_strerror(-EPIPE));
    ck_assert_ptr_eq(weft_err_name(EPIPE), weft_err_name(-EPIPE));
    ck_assert_ptr_eq(weft_strerror(3008), weft_strerror(-3008));
}
END_TEST

START_TEST(zero_is_success)
{
    ck_assert_str_eq(weft_strerror(0), "Success");
    ck_assert_str_eq(weft_err_name(0), "0");
}
END_TEST

START_TEST(the_resolver_codes_are_those_of_libuv)
{
#define XX(name, text) { UV_##name, #name, text },
    static const struct {
        int code;
        const char *name;
        const char *text;
    } all[] = { UV_ERRNO_MAP(XX) };
#undef XX
    int resolver = 0;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strncmp(all[i].name, "EAI_", 4) != 0)
            continue;
        resolver++;
        ck_assert_str_eq(weft_err_name(all[i].code), all[i].name);
        ck_assert_str_eq(weft_strerror(all[i].code), all[i].text);
    }
    ck_assert_int_ge(resolver, 14);
}
END_TEST

START_TEST(a_code_of_nobody_is_unknown)
{
    static const int codes[] = { -134,  -512, -2999,   -3012,   -3015,
                                 -4095, 5000, INT_MAX, INT_MIN, INT_MIN + 1 };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        ck_assert_str_eq(weft_strerror(codes[i]), "Unknown error");
        ck_assert_str_eq(weft_err_name(codes[i]), "?");
    }
}
END_TEST

START_TEST(asking_leaves_errno_alone)
{
    errno = 4711;
    weft_strerror(-EPIPE);
    weft_err_name(-12345);
    ck_assert_int_eq(errno, 4711);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("error");
    TCase *codes = tcase_create("codes");
    SRunner *runner;
    int failed;

    tcase_add_test(codes, every_errno_value_of_linux_has_a_name_and_a_sentence);
    tcase_add_test(codes, the_codes_of_the_contract_read_as_documented);
    tcase_add_test(codes, a_code_may_come_with_either_sign);
    tcase_add_test(codes, zero_is_success);
    tcase_add_test(codes, the_resolver_codes_are_those_of_libuv);
    tcase_add_test(codes, a_code_of_nobody_is_unknown);
    tcase_add_test(codes, asking_leaves_errno_alone);
    suite_add_tcase(suite, codes);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
