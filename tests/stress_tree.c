/*
 * Trees of fibers that grow at random: some children are joined, in any
 * order, some detached, some left to be detached when they have ended; all
 * yield now and then. At the end nothing lives, and the audit is clean.
 */
#include "tests/support.h"

#include "sched/sanitizer.h"
#include "sched/sched.h"

/* Under TSan a spawn is fifty times as dear. */
#ifdef WEFT__TSAN
enum { TREES = 6 };
#else
enum { TREES = 40 };
#endif
enum { SEEDS = 8, MOST_CHILDREN = 6 };

static weft__au64 born;
static weft__au64 ended;

static uint32_t draw(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 16;
}

/* What a fiber is told, in the pointer itself, so that no one frees it. */
static void *node_as(uint32_t seed, int depth)
{
    return (void *)((uintptr_t)seed << 8 | (uintptr_t)depth);
}

static void *grow(void *arg)
{
    uint32_t seed = (uint32_t)((uintptr_t)arg >> 8);
    int depth = (int)((uintptr_t)arg & 0xff);
    weft_fiber_t child[MOST_CHILDREN];
    uint32_t n = depth > 0 ? draw(&seed) % (MOST_CHILDREN + 1) : 0;
    uintptr_t sum = 1;

    for (uint32_t i = 0; i < n; i++) {
        child[i] = spawn(grow, node_as(draw(&seed), depth - 1));
        weft__fetch_add(&born, 1, RELAXED);
        if (draw(&seed) % 4 == 0)
            weft_yield();
    }
    while (n > 0) {
        uint32_t i = draw(&seed) % n;
        void *result = NULL;
        int status;

        switch (draw(&seed) % 8) {
        case 0:
            status = weft_detach(child[i]);
            break;
        case 1:
            status = weft_join_try(child[i], &result);
            if (status == -EAGAIN)
                continue;
            break;
        case 2:
            weft_yield();
            continue;
        default:
            status = weft_join(child[i], &result);
            break;
        }
        if (status != 0)
            ck_abort_msg("a child's answer is %s", weft_err_name(status));
        sum += (uintptr_t)result;
        child[i] = child[--n];
    }
    weft__fetch_add(&ended, 1, RELAXED);
    return (void *)sum;
}

WEFT_TEST(trees_grow_and_nothing_is_left)
{
    uint32_t seed = 77 + (uint32_t)_i;
    weft_stats_t stats = { .size = sizeof(stats) };

    for (int i = 0; i < TREES; i++) {
        weft_fiber_t tree[4];

        for (int k = 0; k < 4; k++) {
            tree[k] = spawn(grow, node_as(draw(&seed), 5));
            weft__fetch_add(&born, 1, RELAXED);
        }
        for (int k = 0; k < 4; k++)
            ck_assert_ptr_nonnull(join(tree[k]));
    }
    while (weft__sched_live() > 1)
        weft_yield();
    ck_assert_uint_eq(weft__load(&ended, RELAXED),
                      weft__load(&born, RELAXED));
    ck_assert_int_eq(weft_audit(stderr), 0);
    ck_assert_int_eq(weft_stats(&stats), 0);
    ck_assert_uint_eq(stats.total.spawned,
                      weft__load(&born, RELAXED) + 1);
    ck_assert_uint_eq(stats.total.ended, weft__load(&born, RELAXED));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tree");
    TCase *tcase = tcase_create("tree");

    tcase_add_loop_test(tcase, trees_grow_and_nothing_is_left, 0, SEEDS);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
