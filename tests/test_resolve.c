/*
 * Names: what is answered at once and what is asked for, and what a name
 * server says, played by a function of ours. Answers that come late are in
 * test_resolve_late.c.
 */
#include "tests/support_resolve.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <weft/net.h>

/* Is it one address of this family, and which port? */
static int port_of(const struct addrinfo *found, int family)
{
    ck_assert_ptr_nonnull(found);
    ck_assert_ptr_null(found->ai_next);
    ck_assert_int_eq(found->ai_family, family);
    if (family == AF_INET)
        return ntohs(((struct sockaddr_in *)(void *)found->ai_addr)->sin_port);
    return ntohs(((struct sockaddr_in6 *)(void *)found->ai_addr)->sin6_port);
}

/* --- At once ----------------------------------------------------------------------------- */

static const struct {
    const char *node;
    const char *service;
    int family;
    int port;
} numeric[] = {
    { "127.0.0.1", "80", AF_INET, 80 },  { "10.1", "65535", AF_INET, 65535 },
    { "::1", "443", AF_INET6, 443 },     { "2001:db8::7", NULL, AF_INET6, 0 },
    { "192.0.2.1", NULL, AF_INET, 0 },
};

static void resolve_numeric(void *arg)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };

    (void)arg;
    for (size_t i = 0; i < sizeof(numeric) / sizeof(numeric[0]); i++) {
        struct addrinfo *found = NULL;

        ck_code(weft_getaddrinfo(numeric[i].node, numeric[i].service, &hints,
                                 &found),
                0);
        ck_assert_int_eq(port_of(found, numeric[i].family), numeric[i].port);
        freeaddrinfo(found);
        ck_code(weft_getaddrinfo_until(numeric[i].node, numeric[i].service,
                                       &hints, &found, WEFT_NOW),
                0);
        freeaddrinfo(found);
        hints.ai_flags = AI_ADDRCONFIG;
        ck_code(weft_getaddrinfo_until(numeric[i].node, numeric[i].service,
                                       &hints, &found, weft_now()),
                0);
        freeaddrinfo(found);
        hints.ai_flags = 0;
    }
}

static void all_numeric(int i)
{
    (void)i;
    resolve_numeric(NULL);
    on_thread(resolve_numeric, NULL);
    on_lane(resolve_numeric, NULL);
    ck_assert_uint_eq(jobs_begun(WEFT__LANE_RESOLVE), 0);
    ck_assert_uint_eq(weft__load(&asked, RELAXED), 0);
}

START_TEST(a_numeric_address_asks_nobody)
{
    begin();
    run_body(all_numeric, 0);
}
END_TEST

/* Nor does it take more stack than the smallest fiber has. */
START_TEST(a_small_stack_is_enough)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    begin();
    if (SANITIZED) /* which takes several times as much */
        return;
    config.stack_size = 16 << 10;
    ck_code(run_with(&config, all_numeric, 0), 0);
}
END_TEST

/* --- Asked for ------------------------------------------------------------------------------ */

static void ask_one(int i)
{
    struct addrinfo hints = { .ai_socktype = SOCK_DGRAM }, *found = NULL;

    (void)i;
    ck_code(weft_getaddrinfo("some.name", "53", &hints, &found), 0);
    ck_assert_int_eq(port_of(found, AF_INET), 53);
    ck_assert_int_eq(found->ai_socktype, SOCK_DGRAM);
    freeaddrinfo(found);
    ck_assert_uint_eq(jobs_begun(WEFT__LANE_RESOLVE), 1);
    ck_assert_uint_eq(weft__load(&asked, RELAXED), 1);
    ck_assert_uint_eq(weft__load(&released, RELAXED), 0);
}

START_TEST(a_name_is_asked_for)
{
    begin();
    run_body(ask_one, 0);
}
END_TEST

/* The caller may use its own memory again while the server thinks. */
static void reuse(int i)
{
    struct question q = question("silent");
    weft_fiber_t f = spawn(resolve, &q);

    (void)i;
    wait_for_jobs(WEFT__LANE_RESOLVE, 1, 0);
    wait_until_parked(f);
    memset(q.node, 'x', sizeof(q.node) - 1);
    memset(q.service, 'x', sizeof(q.service) - 1);
    q.hints.ai_socktype = -1;
    open_gate();
    join(f);
    ck_assert_int_eq(q.status, 0);
    ck_assert_uint_eq(weft__load(&changed, RELAXED), 0);
}

START_TEST(what_is_asked_is_copied)
{
    begin();
    run_body(reuse, 0);
}
END_TEST

/* From the machine's own files. */
WEFT_TEST(localhost_is_found)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;

    ck_code(weft_getaddrinfo("localhost", "80", &hints, &found), 0);
    ck_assert_ptr_nonnull(found);
    freeaddrinfo(found);
    hints.ai_flags = AI_PASSIVE;
    ck_code(weft_getaddrinfo(NULL, "8080", &hints, &found), 0);
    ck_assert_ptr_nonnull(found);
    freeaddrinfo(found);
}
END_TEST

/* --- Codes ------------------------------------------------------------------------------------ */

static const struct {
    int eai;
    int error;
    int code;
    const char *name;
} codes[] = {
    { EAI_ADDRFAMILY, 0, -3000, "EAI_ADDRFAMILY" },
    { EAI_AGAIN, 0, -3001, "EAI_AGAIN" },
    { EAI_BADFLAGS, 0, -3002, "EAI_BADFLAGS" },
    { EAI_FAIL, 0, -3004, "EAI_FAIL" },
    { EAI_FAMILY, 0, -3005, "EAI_FAMILY" },
    { EAI_MEMORY, 0, -3006, "EAI_MEMORY" },
    { EAI_NODATA, 0, -3007, "EAI_NODATA" },
    { EAI_NONAME, 0, -3008, "EAI_NONAME" },
    { EAI_OVERFLOW, 0, -3009, "EAI_OVERFLOW" },
    { EAI_SERVICE, 0, -3010, "EAI_SERVICE" },
    { EAI_SOCKTYPE, 0, -3011, "EAI_SOCKTYPE" },
    { EAI_SYSTEM, EMFILE, -EMFILE, "EMFILE" },
    { EAI_SYSTEM, 0, -3004, "EAI_FAIL" },
    { -99999, 0, -3004, "EAI_FAIL" },
};

static void refuse(int i)
{
    struct addrinfo *found = NULL;

    say = codes[i].eai;
    say_errno = codes[i].error;
    ck_assert_str_eq(weft_err_name(codes[i].code), codes[i].name);
    ck_code(weft_getaddrinfo("name", NULL, NULL, &found), codes[i].code);
    ck_code(weft_getaddrinfo_until("name", NULL, NULL, &found, WEFT_FOREVER),
            codes[i].code);
    ck_assert_ptr_null(found);
    ck_assert_uint_eq(weft__load(&released, RELAXED), 0);
}

START_TEST(a_resolvers_code_is_libuvs)
{
    begin();
    run_body(refuse, _i);
}
END_TEST

/* Nobody has to be asked whether an address is of that family. */
static void ask_for_another_family(void *arg)
{
    struct addrinfo hints = { .ai_family = AF_INET6 }, *found = NULL;

    (void)arg;
    ck_code(weft_getaddrinfo("127.0.0.1", "80", &hints, &found), -3000);
    hints.ai_family = AF_UNSPEC;
    hints.ai_flags = ~0;
    hints.ai_flags &= ~AI_IDN;
    ck_code(weft_getaddrinfo_until("::1", "80", &hints, &found, WEFT_NOW),
            -3002);
    ck_assert_ptr_null(found);
}

static void ask_nobody_for_another_family(int i)
{
    (void)i;
    ask_for_another_family(NULL);
    on_thread(ask_for_another_family, NULL);
    on_lane(ask_for_another_family, NULL);
    ck_assert_uint_eq(weft__load(&asked, RELAXED), 0);
    ck_assert_uint_eq(jobs_begun(WEFT__LANE_RESOLVE), 0);
}

START_TEST(what_is_wrong_with_an_address_needs_no_server)
{
    begin();
    run_body(ask_nobody_for_another_family, 0);
}
END_TEST

static void misuse_outside(void *arg)
{
    struct addrinfo *found = NULL;

    (void)arg;
    ck_code(weft_getaddrinfo("name", "80", NULL, &found), -EPERM);
    ck_code(weft_getaddrinfo_until("name", "80", NULL, &found, WEFT_FOREVER),
            -EPERM);
    ck_code(weft_getaddrinfo_until("name", "80", NULL, &found, WEFT_NOW),
            -EAGAIN);
    ck_code(weft_getaddrinfo("name", "80", NULL, NULL), -EINVAL);
}

static void misuse(int i)
{
    struct addrinfo *found = NULL;

    (void)i;
    ck_code(weft_getaddrinfo("name", "80", NULL, NULL), -EINVAL);
    ck_code(weft_getaddrinfo(NULL, NULL, NULL, &found), -EINVAL);
    ck_code(weft_getaddrinfo_until("name", "80", NULL, NULL, WEFT_NOW),
            -EINVAL);
    ck_code(weft_getaddrinfo_until("name", "80", NULL, &found, WEFT_NOW),
            -EAGAIN);
    ck_code(weft_getaddrinfo_until("name", "80", NULL, &found, weft_now()),
            -ETIMEDOUT);
    on_thread(misuse_outside, NULL);
    on_lane(misuse_outside, NULL);
    ck_assert_int_eq(weft_cancel(weft_self()), 0);
    ck_code(weft_getaddrinfo("name", "80", NULL, &found), -ECANCELED);
    ck_code(weft_getaddrinfo("127.0.0.1", "80", NULL, &found), -ECANCELED);
    ck_code(weft_getaddrinfo_until("name", "80", NULL, &found, WEFT_FOREVER),
            -ECANCELED);
    weft_cancel_clear();
    ck_assert_ptr_null(found);
    ck_assert_uint_eq(weft__load(&asked, RELAXED), 0);
}

START_TEST(misuse_has_its_code)
{
    begin();
    run_body(misuse, 0);
}
END_TEST

/* A name that there is no memory to copy. */
static void without_memory(int i)
{
    enum { LONG = 256 << 20 };
    char *node = malloc(LONG);
    struct rlimit old, none;
    struct addrinfo *found = NULL;

    (void)i;
    memset(node, 'x', LONG - 1);
    node[LONG - 1] = '\0';
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &old), 0);
    none = old;
    none.rlim_cur = 1 << 20;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &none), 0);
    ck_code(weft_getaddrinfo(node, NULL, NULL, &found), -ENOMEM);
    ck_code(weft_getaddrinfo_until(node, NULL, NULL, &found, WEFT_FOREVER),
            -ENOMEM);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &old), 0);
    free(node);
}

START_TEST(no_memory_is_said)
{
    begin();
    if (!SANITIZED)
        run_body(without_memory, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resolve");
    TCase *tcase = tcase_create("resolve");

    tcase_add_test(tcase, a_numeric_address_asks_nobody);
    tcase_add_test(tcase, a_small_stack_is_enough);
    tcase_add_test(tcase, a_name_is_asked_for);
    tcase_add_test(tcase, what_is_asked_is_copied);
    tcase_add_test(tcase, localhost_is_found);
    tcase_add_loop_test(tcase, a_resolvers_code_is_libuvs, 0,
                        sizeof(codes) / sizeof(codes[0]));
    tcase_add_test(tcase, what_is_wrong_with_an_address_needs_no_server);
    tcase_add_test(tcase, misuse_has_its_code);
    tcase_add_test(tcase, no_memory_is_said);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
