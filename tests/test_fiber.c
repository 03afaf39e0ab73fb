/*
 * Fibers: ids that go stale, records that are used again, names, and what a
 * fiber is told of itself. Joining is in test_join.c.
 */
#include "tests/support.h"

#include <pthread.h>
#include <unistd.h>

#include "sched/fiber.h"
#include "sched/os.h"
#include "sched/park.h"

static void *same(void *arg)
{
    return arg;
}

static void *receive(void *ch)
{
    return (void *)(intptr_t)weft_chan_recv(ch, NULL);
}

static uint32_t index_of(weft_fiber_t f)
{
    return (uint32_t)f;
}

static uint64_t version_of(weft_fiber_t f)
{
    return f >> 32;
}

static uint64_t records(void)
{
    weft_stats_t s = { .size = sizeof(s) };

    ck_code(weft_stats(&s), 0);
    return s.records;
}

/* --- Ids ----------------------------------------------------------------------- */

static void check_stale(weft_fiber_t f)
{
    void *result = &f;

    ck_code(weft_join(f, &result), -ESRCH);
    ck_code(weft_join_try(f, &result), -ESRCH);
    ck_code(weft_detach(f), -ESRCH);
    ck_assert_ptr_eq(result, &f);
}

WEFT_TEST(a_joined_id_is_stale)
{
    weft_fiber_t f = spawn(same, NULL);

    ck_code(weft_join(f, NULL), 0);
    check_stale(f);
}
END_TEST

WEFT_TEST(an_id_joined_by_try_is_stale)
{
    weft_fiber_t f = spawn(same, NULL);
    int status;

    while ((status = weft_join_try(f, NULL)) == -EAGAIN)
        weft_yield();
    ck_code(status, 0);
    check_stale(f);
}
END_TEST

WEFT_TEST(a_detached_id_is_stale_when_the_fiber_has_ended)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t f = spawn(receive, ch);

    wait_until_parked(f);
    ck_code(weft_detach(f), 0);
    ck_code(weft_detach(f), -EINVAL);
    ck_code(weft_join(f, NULL), -EINVAL);
    ck_code(weft_chan_close(ch), 0);
    wait_until_ended(f);
    check_stale(f);
    weft_chan_unref(ch);
}
END_TEST

/* Detached after its end the record goes at once. */
WEFT_TEST(an_id_detached_after_the_end_is_stale)
{
    weft_fiber_t f = spawn(same, NULL);

    wait_until_ended(f);
    ck_code(weft_detach(f), 0);
    check_stale(f);
}
END_TEST

/* The record lives on as another fiber, parked, with the same index: the old
 * id must not reach it. */
WEFT_TEST(a_stale_id_does_not_reach_the_next_owner_of_its_record)
{
    enum { MOST = 4096 };
    static weft_fiber_t f[MOST];
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t old = spawn(same, NULL);
    int n = 0;

    ck_code(weft_join(old, NULL), 0);
    do {
        ck_assert_int_lt(n, MOST);
        f[n] = spawn(receive, ch);
    } while (index_of(f[n++]) != index_of(old));
    ck_assert_uint_ne(f[n - 1], old);
    wait_until_parked(f[n - 1]);
    check_stale(old);
    ck_code(weft_join_try(f[n - 1], NULL), -EAGAIN);

    ck_code(weft_chan_close(ch), 0);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq((intptr_t)join(f[i]), -EPIPE);
    weft_chan_unref(ch);
}
END_TEST

/* Nonsense, and ids that no spawn has given yet: of a record that was used
 * and is free, of one that never was, of one that does not exist. */
WEFT_TEST(an_id_that_was_never_given_is_none)
{
    weft_fiber_t f = spawn(same, NULL);
    uint64_t made = records();

    ck_code(weft_join(f, NULL), 0);
    check_stale(0);
    check_stale(UINT64_MAX);
    check_stale(UINT64_MAX << 32);
    check_stale((uint64_t)1 << 32 | index_of(weft_self()));
    for (uint64_t i = 0; i < 3; i++)
        check_stale(((version_of(f) + i) << 32) | index_of(f));
    check_stale(made);
    check_stale(made + 1);
    check_stale(WEFT__FIBER_MAX);
    check_stale(UINT32_MAX);

    /* They have done no harm. */
    for (int i = 0; i < 300; i++)
        ck_assert_ptr_eq(join(spawn(same, &f)), &f);
    ck_assert_int_eq(weft_audit(stderr), 0);
}
END_TEST

/* --- Records ------------------------------------------------------------------- */

WEFT_TEST(records_are_used_again)
{
    enum { ROUNDS = 20000 };
    uint64_t before;

    join(spawn(same, NULL));
    before = records();
    for (int i = 0; i < ROUNDS; i++) {
        weft_fiber_t f = spawn(same, NULL);

        ck_assert_ptr_null(join(f));
    }
    /* A worker may keep a batch for itself. */
    ck_assert_uint_le(records(), before + 64 * (workers() - 1));
}
END_TEST

/* Each life of a record has an id of its own. */
WEFT_TEST(the_version_goes_up_with_each_life)
{
    enum { ROUNDS = 1000 };
    static uint64_t version[4096];
    weft_fiber_t f;

    for (int i = 0; i < ROUNDS; i++) {
        f = spawn(same, NULL);
        ck_assert_uint_lt(index_of(f), 4096);
        if (version[index_of(f)])
            ck_assert_uint_eq(version_of(f), version[index_of(f)]);
        version[index_of(f)] = version_of(f) + 1;
        ck_code(weft_join(f, NULL), 0);
    }
}
END_TEST

/* Give the record of a fiber its last version but one, while it is parked:
 * from here on its id is another. */
static weft_fiber_t age(weft_fiber_t id)
{
    uint64_t life;
    struct weft__fiber *f = weft__fiber_find(id, &life);

    ck_assert_ptr_nonnull(f);
    life = (life & UINT32_MAX) | ((uint64_t)UINT32_MAX - 1) << 32;
    weft__store(&f->life, life, SEQ_CST);
    return weft__fiber_id(f);
}

/* Joined (0), detached before its end (1), and detached after it (2). */
WEFT_TEST(a_record_whose_versions_are_used_up_is_retired)
{
    enum { N = 3000 };
    static weft_fiber_t f[N];
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t old = spawn(receive, ch), last;

    wait_until_parked(old);
    last = age(old);
    check_stale(old);
    if (_i == 1)
        ck_code(weft_detach(last), 0);
    ck_code(weft_chan_close(ch), 0);
    if (_i != 0)
        wait_until_ended(last);
    if (_i == 2)
        ck_code(weft_detach(last), 0);
    if (_i == 0)
        ck_code(weft_join(last, NULL), 0);
    check_stale(last);
    check_stale(((uint64_t)UINT32_MAX << 32) | index_of(last));
    check_stale(index_of(last));

    /* More than were ever free at once. */
    for (int i = 0; i < N; i++) {
        f[i] = spawn(same, NULL);
        ck_assert_uint_ne(index_of(f[i]), index_of(last));
    }
    for (int i = 0; i < N; i++)
        ck_code(weft_join(f[i], NULL), 0);
    for (int i = 0; i < N; i++) {
        f[i] = spawn(same, NULL);
        ck_assert_uint_ne(index_of(f[i]), index_of(last));
        ck_code(weft_join(f[i], NULL), 0);
    }
    weft_chan_unref(ch);
    ck_assert_int_eq(weft_audit(stderr), 0);
}
END_TEST

/* --- Myself -------------------------------------------------------------------- */

static void *tell_self(void *arg)
{
    weft_fiber_t *self = arg;
    weft_fiber_t first = weft_self();

    for (int i = 0; i < 100; i++) {
        weft_yield();
        if (weft_self() != first)
            return NULL;
    }
    *self = first;
    return arg;
}

WEFT_TEST(self_is_the_id_that_spawn_gave)
{
    enum { N = 20 };
    weft_fiber_t f[N], self[N] = { 0 };

    for (int i = 0; i < N; i++)
        f[i] = spawn(tell_self, &self[i]);
    for (int i = 0; i < N; i++) {
        ck_assert_ptr_eq(join(f[i]), &self[i]);
        ck_assert_uint_eq(self[i], f[i]);
    }
}
END_TEST

struct outside {
    weft_fiber_t self;
    size_t left;
    int named;
    int spawned;
    int gone;
    int joined;
    int tried;
    int checked;
};

static void *ask_outside(void *arg)
{
    struct outside *out = arg;
    weft_fiber_t f = out->self;

    out->joined = weft_join(f, NULL);
    out->tried = weft_join_try(f, NULL);
    out->self = weft_self();
    out->left = weft_stack_left();
    out->named = weft_name("nobody");
    out->spawned = weft_spawn(&f, same, NULL);
    out->gone = weft_go(same, NULL);
    out->checked = weft_checkpoint();
    weft_yield();
    return NULL;
}

static void check_outside(const struct outside *out)
{
    ck_assert_uint_eq(out->self, 0);
    ck_assert_uint_eq(out->left, SIZE_MAX);
    ck_code(out->named, -EPERM);
    ck_code(out->spawned, -EPERM);
    ck_code(out->gone, -EPERM);
    ck_code(out->checked, 0);
}

WEFT_TEST(a_foreign_thread_is_no_fiber)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t f = spawn(receive, ch);
    struct outside out = { .self = f };
    pthread_t thread;

    wait_until_parked(f);
    ck_assert_int_eq(pthread_create(&thread, NULL, ask_outside, &out), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    check_outside(&out);
    ck_code(out.joined, -EPERM);
    ck_code(out.tried, -EAGAIN);
    ck_code(weft_chan_close(ch), 0);
    ck_code(weft_join(f, NULL), 0);
    weft_chan_unref(ch);
}
END_TEST

START_TEST(without_a_runtime_there_is_no_fiber)
{
    struct outside out = { .self = 1 };

    ask_outside(&out);
    check_outside(&out);
    ck_code(out.joined, -ESRCH);
    ck_code(out.tried, -ESRCH);
}
END_TEST

/* --- Names --------------------------------------------------------------------- */

/* Is there a line in the dump with this text? */
static bool dump_has(const char *text)
{
    char path[] = "/tmp/weft-test-XXXXXX";
    int fd = mkstemp(path);
    char *dump;
    bool has;

    ck_assert_int_ge(fd, 0);
    unlink(path);
    ck_assert_int_gt(weft_dump(fd), 0);
    dump = calloc(1, 1 << 20);
    ck_assert_int_gt(pread(fd, dump, (1 << 20) - 1, 0), 0);
    has = strstr(dump, text) != NULL;
    free(dump);
    close(fd);
    return has;
}

struct named {
    const char *name; /* what it calls itself, or NULL */
    weft_chan_t *ch;
};

static void *name_and_receive(void *arg)
{
    struct named *named = arg;

    if (named->name)
        ck_code(weft_name(named->name), 0);
    return receive(named->ch);
}

WEFT_TEST(a_name_is_that_of_the_attributes_or_the_one_it_took)
{
    struct named named = { NULL, new_chan(0, 0) };
    weft_attr_t attr = WEFT_ATTR_INIT;
    char name[] = "from the attributes";
    weft_fiber_t f;

    attr.name = name;
    ck_code(weft_spawn_with(&f, &attr, name_and_receive, &named), 0);
    memset(name, 'x', sizeof(name) - 1); /* it was copied */
    wait_until_parked(f);
    ck_assert(dump_has("\"from the attributes\""));
    ck_code(weft_chan_close(named.ch), 0);
    ck_code(weft_join(f, NULL), 0);
    ck_assert(!dump_has("\"from the attributes\""));
    weft_chan_unref(named.ch);

    named = (struct named){ "taken", new_chan(0, 0) };
    attr.name = "given";
    ck_code(weft_spawn_with(&f, &attr, name_and_receive, &named), 0);
    wait_until_parked(f);
    ck_assert(dump_has("\"taken\""));
    ck_assert(!dump_has("\"given\""));
    ck_code(weft_chan_close(named.ch), 0);
    ck_code(weft_join(f, NULL), 0);
    weft_chan_unref(named.ch);
}
END_TEST

/* A long name, and a longer one: 31 bytes are kept. */
WEFT_TEST(a_name_is_cut_to_what_fits)
{
    struct named named = { "0123456789012345678901234567890123456789",
                           new_chan(0, 0) };
    weft_attr_t attr = WEFT_ATTR_INIT;
    weft_fiber_t f;

    attr.name = _i ? named.name : NULL;
    if (_i)
        named.name = NULL;
    ck_code(weft_spawn_with(&f, &attr, name_and_receive, &named), 0);
    wait_until_parked(f);
    ck_assert(dump_has("\"0123456789012345678901234567890\""));
    ck_code(weft_chan_close(named.ch), 0);
    ck_code(weft_join(f, NULL), 0);
    weft_chan_unref(named.ch);
}
END_TEST

/* The next owner of the record does not inherit it, though it has a shorter
 * one, or none. */
WEFT_TEST(a_name_goes_with_its_fiber)
{
    enum { MOST = 4096 };
    static weft_fiber_t f[MOST];
    weft_chan_t *ch = new_chan(0, 0);
    weft_attr_t attr = WEFT_ATTR_INIT;
    weft_fiber_t old;
    int n = 0;

    attr.name = "a rather long name";
    ck_code(weft_spawn_with(&old, &attr, same, NULL), 0);
    ck_code(weft_join(old, NULL), 0);
    attr.name = _i ? "short" : NULL;
    do {
        ck_assert_int_lt(n, MOST);
        ck_code(weft_spawn_with(&f[n], &attr, receive, ch), 0);
    } while (index_of(f[n++]) != index_of(old));
    wait_until_parked(f[n - 1]);
    ck_assert(!dump_has("long name"));
    ck_assert(!_i || dump_has("\"short\""));
    ck_code(weft_chan_close(ch), 0);
    for (int i = 0; i < n; i++)
        ck_code(weft_join(f[i], NULL), 0);
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(a_name_that_is_null_is_refused)
{
    ck_code(weft_name(NULL), -EINVAL);
    ck_code(weft_name(""), 0);
}
END_TEST

/* --- What is left of the stack --------------------------------------------------- */

static __attribute__((noinline)) size_t left_below(size_t bytes)
{
    volatile char frame[4096];
    size_t left;

    frame[0] = 1;
    __asm__ volatile("" : : "r"(frame) : "memory"); /* all of it is used */
    left = bytes <= sizeof(frame) ? weft_stack_left()
                                  : left_below(bytes - sizeof(frame));
    return left + (frame[0] == 0);
}

WEFT_TEST(what_is_left_of_the_stack_shrinks_with_each_frame)
{
    size_t here = weft_stack_left();
    size_t below = left_below(16384);

    ck_assert_uint_lt(here, 65536);
    ck_assert_uint_gt(here, 32768);
    ck_assert_uint_le(below + 16384, here);
    ck_assert_uint_ge(below + 16384 + 4096, here);
    ck_assert_uint_eq(weft_stack_left(), here);
}
END_TEST

static TCase *tcase_with(Suite *suite, const char *name)
{
    TCase *tc = tcase_create(name);

    suite_add_tcase(suite, tc);
    return tc;
}

int main(void)
{
    Suite *suite = suite_create("fiber");
    TCase *tc = tcase_with(suite, "id");

    tcase_add_test(tc, a_joined_id_is_stale);
    tcase_add_test(tc, an_id_joined_by_try_is_stale);
    tcase_add_test(tc, a_detached_id_is_stale_when_the_fiber_has_ended);
    tcase_add_test(tc, an_id_detached_after_the_end_is_stale);
    tcase_add_test(tc, a_stale_id_does_not_reach_the_next_owner_of_its_record);
    tcase_add_test(tc, an_id_that_was_never_given_is_none);

    tc = tcase_with(suite, "record");
    tcase_add_test(tc, records_are_used_again);
    tcase_add_test(tc, the_version_goes_up_with_each_life);
    tcase_add_loop_test(tc, a_record_whose_versions_are_used_up_is_retired, 0,
                        3);

    tc = tcase_with(suite, "self");
    tcase_add_test(tc, self_is_the_id_that_spawn_gave);
    tcase_add_test(tc, a_foreign_thread_is_no_fiber);
    tcase_add_test(tc, without_a_runtime_there_is_no_fiber);
    tcase_add_test(tc, what_is_left_of_the_stack_shrinks_with_each_frame);

    tc = tcase_with(suite, "name");
    tcase_add_test(tc, a_name_is_that_of_the_attributes_or_the_one_it_took);
    tcase_add_loop_test(tc, a_name_is_cut_to_what_fits, 0, 2);
    tcase_add_loop_test(tc, a_name_goes_with_its_fiber, 0, 2);
    tcase_add_test(tc, a_name_that_is_null_is_refused);
    return run_suite(suite);
}
