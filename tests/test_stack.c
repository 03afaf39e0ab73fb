/*
 * Stacks by themselves: from where one is taken, and what guards its end.
 * Needs no runtime. Under fibers: test_stack_fiber.c; what happens when one
 * runs over its end: test_overflow.c.
 */
#include "tests/support.h"

#include <pthread.h>
#include <sys/mman.h>

#include "sched/atomic.h"
#include "sched/guard.h"
#include "sched/os.h"
#include "tests/support_stack.h"

enum { KIB = 1024, CLASS = 2, CLASS_SIZE = 64 * KIB };

/* --- Taking and giving ------------------------------------------------------- */

static struct weft__stack_cache caches[2];

static weft__stack_t take(struct weft__stack_cache *cache)
{
    return weft__stack_take(cache, CLASS, CLASS);
}

static void give(struct weft__stack_cache *cache, weft__stack_t stack)
{
    weft__stack_give(cache, stack, CLASS);
}

static struct weft__stack_stats stats(void)
{
    struct weft__stack_stats s;

    weft__stack_stats(&s);
    return s;
}

START_TEST(a_size_belongs_to_the_least_class_that_holds_it)
{
    ck_assert_int_eq(weft__stack_class(1), 0);
    ck_assert_int_eq(weft__stack_class(16 * KIB), 0);
    ck_assert_int_eq(weft__stack_class(16 * KIB + 1), 1);
    ck_assert_int_eq(weft__stack_class(64 * KIB), 2);
    ck_assert_int_eq(weft__stack_class((size_t)1 << 30),
                     WEFT__STACK_CLASSES - 1);
    ck_assert_int_eq(weft__stack_class(((size_t)1 << 30) + 1), -EINVAL);
    ck_assert_int_eq(weft__stack_class(SIZE_MAX), -EINVAL);
    for (unsigned i = 0; i < WEFT__STACK_CLASSES; i++)
        ck_assert_int_eq(weft__stack_class(weft__stack_class_size(i)),
                         (int)i);
}
END_TEST

START_TEST(the_last_stack_given_is_the_next_one_taken)
{
    weft__stack_t s[3];

    weft__stack_setup(WEFT_GUARD_AUTO);
    ck_assert_int_eq(weft__stack_reserve(CLASS, 3), 0);
    for (int i = 0; i < 3; i++)
        s[i] = take(&caches[0]);
    for (int i = 0; i < 3; i++)
        give(&caches[0], s[i]);
    for (int i = 2; i >= 0; i--)
        ck_assert_uint_eq(take(&caches[0]), s[i]);
    ck_assert_uint_eq(stats().slots, 3);
}
END_TEST

/* Without a cache they go by the depot, which keeps the order too. */
START_TEST(the_depot_gives_the_warmest_first)
{
    weft__stack_t s[100];

    weft__stack_setup(WEFT_GUARD_AUTO);
    ck_assert_int_eq(weft__stack_reserve(CLASS, 100), 0);
    for (int i = 0; i < 100; i++)
        s[i] = take(NULL);
    for (int i = 0; i < 100; i++)
        give(NULL, s[i]);
    for (int i = 99; i >= 0; i--)
        ck_assert_uint_eq(take(NULL), s[i]);
    ck_assert_uint_eq(stats().slots, 100);
}
END_TEST

/* One worker starts fibers, another ends them: a hundred rounds need no more
 * stacks than the first few. */
START_TEST(what_one_worker_gives_another_takes)
{
    enum { N = 200, SLOTS = N + 2 * WEFT__STACK_CACHE };
    weft__stack_t s[N];

    weft__stack_setup(WEFT_GUARD_AUTO);
    ck_assert_int_eq(weft__stack_reserve(CLASS, N + 2 * WEFT__STACK_SPARE),
                     0);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < N; i++)
            s[i] = take(&caches[0]);
        for (int i = 0; i < N; i++)
            give(&caches[1], s[i]);
    }
    ck_assert_uint_le(stats().slots, SLOTS);
    for (int i = 0; i < 2; i++)
        weft__stack_cache_flush(&caches[i], CLASS);
    for (uint64_t i = stats().slots; i > 0; i--)
        take(NULL);
    ck_assert_uint_le(stats().slots, SLOTS);
}
END_TEST

/* Another class does not come from the cache, and does not go there. */
START_TEST(a_cache_holds_one_class_only)
{
    weft__stack_t large;

    weft__stack_setup(WEFT_GUARD_AUTO);
    ck_assert_int_eq(weft__stack_reserve(CLASS, 1), 0);
    ck_assert_int_eq(weft__stack_reserve(CLASS + 3, 1), 0);
    give(&caches[0], take(&caches[0]));
    large = weft__stack_take(&caches[0], CLASS + 3, CLASS);
    ck_assert_uint_eq(weft__stack_size(large), 8 * CLASS_SIZE);
    weft__stack_give(&caches[0], large, CLASS);
    ck_assert_uint_eq(caches[0].count, 1);
    ck_assert_uint_eq(weft__stack_size(take(&caches[0])), CLASS_SIZE);
    ck_assert_uint_eq(weft__stack_take(NULL, CLASS + 3, CLASS), large);
}
END_TEST

START_TEST(tops_have_sixteen_colours_and_are_aligned)
{
    unsigned seen = 0;

    weft__stack_setup(WEFT_GUARD_AUTO);
    ck_assert_int_eq(weft__stack_reserve(CLASS, 32), 0);
    for (int i = 0; i < 32; i++) {
        weft__stack_t s = take(NULL);
        char *end = weft__stack_base(s) + weft__stack_size(s);
        size_t colour = (size_t)(end - weft__stack_top(s));

        ck_assert_uint_eq((uintptr_t)weft__stack_top(s) % 64, 0);
        ck_assert_uint_eq(colour % 64, 0);
        ck_assert_uint_lt(colour / 64, 16);
        seen |= 1u << (colour / 64);
    }
    ck_assert_uint_eq(seen, 0xffff);
}
END_TEST

START_TEST(stacks_of_a_class_never_overlap)
{
    enum { N = 1000 };
    static weft__stack_t s[N];

    weft__stack_setup(WEFT_GUARD_AUTO);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(weft__stack_reserve(CLASS, 1), 0);
    for (int i = 0; i < N; i++) {
        s[i] = take(NULL);
        memcpy(weft__stack_limit(s[i]), &i, sizeof(i));
        memcpy(weft__stack_top(s[i]) - sizeof(i), &i, sizeof(i));
    }
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(memcmp(weft__stack_limit(s[i]), &i, sizeof(i)), 0);
        ck_assert_int_eq(
            memcmp(weft__stack_top(s[i]) - sizeof(i), &i, sizeof(i)), 0);
    }
}
END_TEST

/* --- A surplus ---------------------------------------------------------------- */

enum { WARM = 16384, PERIOD = 1000000000, STEP = 10000000 };

/* As the monitor calls it, from *now on for `span` ns; false: it sees no surplus
 * any more. */
static bool trim_for(int64_t *now, int64_t span)
{
    int64_t end = *now + span;

    while (*now < end) {
        if (weft__stack_trim(*now) == INT64_MAX)
            return false;
        *now += STEP;
    }
    return true;
}

static weft__stack_t *burst(size_t n)
{
    weft__stack_t *s = calloc(n, sizeof(*s));

    ck_assert_ptr_nonnull(s);
    take_and_give(s, n);
    return s;
}

/* Of the idle stacks of a class, those beyond 16,384 that are idle for longest;
 * they are usable again, and still guarded. */
START_TEST(a_surplus_gives_its_pages_back_and_stays_guarded)
{
    enum { MORE = 600, N = WARM + MORE };
    int64_t now = PERIOD;
    weft__stack_t *s;

    weft__stack_setup(_i);
    ck_assert_int_eq(weft__stack_trim(now), INT64_MAX);
    s = burst(N);
    ck_assert(!trim_for(&now, 4 * (int64_t)PERIOD));
    for (size_t i = 0; i < N; i++)
        ck_assert_uint_eq(weft__stack_high_water(s[i]) > 0, i >= MORE);
    ck_assert_int_eq(weft__stack_reserve(0, N), 0);
    for (size_t i = N; i > WARM; i--)
        ck_assert_uint_eq(weft__stack_take(NULL, 0, 0), s[i - 1]);
    for (size_t i = WARM; i > 0; i--) {
        weft__stack_t one = weft__stack_take(NULL, 0, 0);

        if (_i == WEFT_GUARD_CANARY)
            ck_assert(weft__guard_intact(one));
        else
            ck_assert(weft__os_guarded(weft__stack_base(one)));
        memset(weft__stack_top(one) - 64, 1, 64);
    }
    ck_assert_uint_eq(stats().slots, N);
    free(s);
}
END_TEST

/* A burst in each second or two: its stacks stay warm from one to the next. */
START_TEST(what_is_wanted_again_keeps_its_pages)
{
    enum { N = WARM + 600 };
    int64_t now = PERIOD;

    weft__stack_setup(WEFT_GUARD_AUTO);
    for (int round = 0; round < 5; round++) {
        weft__stack_t *s = burst(N);

        ck_assert(trim_for(&now, PERIOD + PERIOD / 2));
        for (size_t i = 0; i < N; i++)
            ck_assert_uint_gt(weft__stack_high_water(s[i]), 0);
        free(s);
    }
    ck_assert_uint_eq(stats().slots, N);
}
END_TEST

/* No more than 256 at a time, and in a process that is quiet for long enough
 * all of them; then there is nothing to come back for. */
START_TEST(pages_are_given_back_a_few_at_a_time)
{
    enum { MORE = 600, N = WARM + MORE };
    int64_t now = PERIOD;
    weft__stack_t *s;
    size_t before = MORE;

    weft__stack_setup(WEFT_GUARD_AUTO);
    s = burst(N);
    for (;;) {
        int64_t next = weft__stack_trim(now);
        size_t left = 0;

        for (size_t i = 0; i < MORE; i++)
            left += weft__stack_high_water(s[i]) > 0;
        ck_assert_uint_le(before - left, 256);
        before = left;
        if (next == INT64_MAX)
            break;
        ck_assert_int_gt(next, now);
        /* Not before its time. */
        ck_assert_int_eq(weft__stack_trim(next - 1), next);
        now = next;
    }
    ck_assert_uint_eq(before, 0);
    free(s);
}
END_TEST

START_TEST(the_end_of_a_run_gives_all_at_once)
{
    enum { MORE = 600, N = WARM + MORE };
    weft__stack_t *s;

    weft__stack_setup(WEFT_GUARD_AUTO);
    s = burst(N);
    weft__stack_trim_all();
    for (size_t i = 0; i < N; i++)
        ck_assert_uint_eq(weft__stack_high_water(s[i]) > 0, i >= MORE);
    ck_assert_int_eq(weft__stack_trim(PERIOD), INT64_MAX);
    free(s);
}
END_TEST

/* All are wanted while many give their pages back, a system call each since no
 * two are neighbours: the taker waits for those, and keeps what it writes. */
enum { APART = 2 * WARM };
static weft__au32 taker_done;

static void *take_all(void *arg)
{
    static weft__stack_t s[2 * APART];

    for (size_t i = 0; i < 2 * APART; i++)
        s[i] = weft__stack_take(NULL, 0, 0);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < APART; i++) {
            if (round > 0)
                s[2 * i] = weft__stack_take(NULL, 0, 0);
            memcpy(weft__stack_top(s[2 * i]) - sizeof(i), &i, sizeof(i));
        }
        for (size_t i = 0; i < APART; i++) {
            ck_assert(!memcmp(weft__stack_top(s[2 * i]) - sizeof(i), &i,
                              sizeof(i)));
            weft__stack_give(NULL, s[2 * i], 0);
        }
    }
    weft__store(&taker_done, 1, RELEASE);
    return arg;
}

START_TEST(all_are_taken_while_some_give_pages_back)
{
    pthread_t taker;

    weft__stack_setup(WEFT_GUARD_AUTO);
    ck_assert_int_eq(weft__stack_reserve(0, 2 * APART), 0);
    ck_assert_int_eq(pthread_create(&taker, NULL, take_all, NULL), 0);
    while (!weft__load(&taker_done, ACQUIRE))
        weft__stack_trim_all();
    pthread_join(taker, NULL);
    ck_assert_uint_eq(stats().slots, 2 * APART);
}
END_TEST

START_TEST(high_water_is_the_most_ever_used_in_pages)
{
    weft__stack_t s;

    weft__stack_setup(_i);
    ck_assert_int_eq(weft__stack_reserve(CLASS, 2), 0);
    s = take(NULL); /* the arena's first: its last one is described in it */
    ck_assert_uint_eq(weft__stack_high_water(s), 0);
    *(volatile char *)(weft__stack_base(s) + CLASS_SIZE - 1) = 1;
    ck_assert_uint_eq(weft__stack_high_water(s), 4096);
    *(volatile char *)(weft__stack_base(s) + CLASS_SIZE - 5 * 4096) = 1;
    ck_assert_uint_eq(weft__stack_high_water(s), 5 * 4096);
    give(NULL, s);
    ck_assert_uint_eq(take(NULL), s);
    ck_assert_uint_eq(weft__stack_high_water(s), 5 * 4096);
}
END_TEST

/* --- Guards ------------------------------------------------------------------- */

static unsigned lines_logged;
static char last_line[500];

static void count_line(int level, const char *line, void *arg)
{
    (void)arg;
    ck_assert_int_eq(level, WEFT_LOG_WARNING);
    strncpy(last_line, line, sizeof(last_line) - 1);
    lines_logged++;
}

static bool kernel_has_guards(void)
{
    char *page = weft__os_map(2 * WEFT__PAGE);
    bool has = weft__os_guard(page, WEFT__GUARD_MADVISE) == 0 &&
               weft__os_guarded(page);

    weft__os_unmap(page, 2 * WEFT__PAGE);
    return has;
}

static unsigned mappings(void)
{
    char *text = weft__os_read_file("/proc/self/maps");
    unsigned n = 0;

    ck_assert_ptr_nonnull(text);
    for (const char *c = text; *c; c++)
        n += *c == '\n';
    free(text);
    return n;
}

/* A thousand guarded stacks split no mapping where the kernel has markers; taken
 * one by one, or by a worker, for which they are made by the dozen. */
START_TEST(guards_by_madvise_cost_no_mappings)
{
    enum { N = 1000 };
    unsigned before;

    if (!kernel_has_guards()) {
        printf("skipped: this kernel has no MADV_GUARD_INSTALL\n");
        return;
    }
    weft__stack_setup(WEFT_GUARD_AUTO);
    before = mappings();
    ck_assert_int_eq(weft__stack_reserve(CLASS, N + WEFT__STACK_SPARE),
                     0);
    for (int i = 0; i < N; i++) {
        weft__stack_t s = take(_i == 0 ? NULL : &caches[0]);

        ck_assert(!(s & WEFT__STACK_CANARY));
        ck_assert(weft__os_guarded(weft__stack_base(s)));
        ck_assert(weft__os_guarded(weft__stack_limit(s) - 64));
        ck_assert(!weft__os_guarded(weft__stack_limit(s)));
    }
    ck_assert_uint_lt(mappings(), before + 10);
}
END_TEST

START_TEST(guards_by_mprotect_guard_every_stack)
{
    enum { N = 1000 };

    weft__stack_setup(WEFT_GUARD_MPROTECT);
    ck_assert_int_eq(weft__stack_reserve(CLASS, N), 0);
    for (int i = 0; i < N; i++) {
        weft__stack_t s = take(NULL);

        ck_assert(!(s & WEFT__STACK_CANARY));
        ck_assert(weft__os_guarded(weft__stack_base(s)));
        ck_assert(!weft__os_guarded(weft__stack_limit(s)));
    }
    ck_assert_uint_gt(mappings(), N);
    ck_assert_uint_eq(stats().unguarded, 0);
}
END_TEST

START_TEST(without_guards_each_stack_has_a_canary_and_is_counted)
{
    enum { N = 100 };

    weft_set_log(count_line, NULL);
    weft__stack_setup(WEFT_GUARD_CANARY);
    ck_assert_int_eq(weft__stack_reserve(CLASS, N), 0);
    for (unsigned i = 1; i <= N; i++) {
        weft__stack_t s = take(NULL);

        ck_assert(s & WEFT__STACK_CANARY);
        ck_assert(weft__guard_intact(s));
        memset(weft__stack_limit(s), 1, 64);
        ck_assert(weft__guard_intact(s));
        weft__stack_limit(s)[-1] ^= 1;
        ck_assert(!weft__guard_intact(s));
        ck_assert_uint_eq(stats().unguarded, i);
    }
    ck_assert_uint_eq(lines_logged, 1);
    ck_assert_ptr_nonnull(strstr(last_line, "canary"));
}
END_TEST

/* Two mappings a guard: before the process has no more of them the stacks get
 * canaries, and the program can still map what it wants. */
START_TEST(near_the_limit_of_mappings_guards_give_way_to_canaries)
{
    size_t n = weft__os_map_limit() / 2;
    size_t guarded = 0, unguarded = 0;

    if (n > 200000) {
        printf("skipped: vm.max_map_count is out of reach\n");
        return;
    }
    weft_set_log(count_line, NULL);
    weft__stack_setup(WEFT_GUARD_MPROTECT);
    ck_assert_int_eq(weft__stack_reserve(0, n), 0);
    for (size_t i = 0; i < n; i++) {
        weft__stack_t s = weft__stack_take(NULL, 0, 0);

        if (s & WEFT__STACK_CANARY)
            unguarded++;
        else
            guarded++;
        ck_assert((s & WEFT__STACK_CANARY) || unguarded == 0);
    }
    ck_assert_uint_gt(guarded, n / 2);
    ck_assert_uint_gt(unguarded, 0);
    ck_assert_uint_eq(stats().unguarded, unguarded);
    ck_assert_uint_eq(lines_logged, 1);
    for (int i = 0; i < 1000; i++)
        ck_assert_ptr_ne(mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                         MAP_FAILED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stack");
    TCase *tc = tcase_create("allocator");

    tcase_add_test(tc, a_size_belongs_to_the_least_class_that_holds_it);
    tcase_add_test(tc, the_last_stack_given_is_the_next_one_taken);
    tcase_add_test(tc, the_depot_gives_the_warmest_first);
    tcase_add_test(tc, what_one_worker_gives_another_takes);
    tcase_add_test(tc, a_cache_holds_one_class_only);
    tcase_add_test(tc, tops_have_sixteen_colours_and_are_aligned);
    tcase_add_test(tc, stacks_of_a_class_never_overlap);
    tcase_add_loop_test(tc, a_surplus_gives_its_pages_back_and_stays_guarded,
                        WEFT_GUARD_AUTO, WEFT_GUARD_CANARY + 1);
    tcase_add_test(tc, what_is_wanted_again_keeps_its_pages);
    tcase_add_test(tc, pages_are_given_back_a_few_at_a_time);
    tcase_add_test(tc, the_end_of_a_run_gives_all_at_once);
    tcase_add_test(tc, all_are_taken_while_some_give_pages_back);
    tcase_add_loop_test(tc, high_water_is_the_most_ever_used_in_pages,
                        WEFT_GUARD_AUTO, WEFT_GUARD_CANARY + 1);
    suite_add_tcase(suite, tc);

    tc = tcase_create("guard");
    tcase_add_loop_test(tc, guards_by_madvise_cost_no_mappings, 0, 2);
    tcase_add_test(tc, guards_by_mprotect_guard_every_stack);
    tcase_add_test(tc,
                   without_guards_each_stack_has_a_canary_and_is_counted);
    tcase_add_test(
        tc, near_the_limit_of_mappings_guards_give_way_to_canaries);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
