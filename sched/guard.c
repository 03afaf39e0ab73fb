#include "sched/guard.h"

#include <weft/runtime.h>

#include "sched/atomic.h"
#include "sched/fatal.h"
#include "sched/os.h"
#include "sched/sanitizer.h"

enum {
    GUARD_MAPS_SPARE = 4096, /* mappings left to the program */
    CANARY_WORDS = WEFT__CANARY_BYTES / sizeof(uint64_t)
};

static const uint64_t canary_value = 0x7e5fc0de5afe57acu;

static struct {
    int mode; /* WEFT_GUARD_* */
    enum weft__guard how;
    bool together; /* many in one call */
    size_t map_limit;
    weft__au64 maps; /* mappings that mprotect guards have made */
    weft__au32 told;
} guards;

void weft__guard_setup(int mode)
{
    char *page;

    guards.mode = mode;
    guards.how = WEFT__GUARD_MPROTECT;
    guards.together = false;
    guards.map_limit = weft__os_map_limit();
    if (mode != WEFT_GUARD_AUTO)
        return;

    /* Prove one: an emulator may answer 0 to the call and guard nothing. */
    page = weft__os_map(2 * WEFT__PAGE);
    if (!page)
        return;
    if (weft__os_guard(page, WEFT__GUARD_MADVISE) == 0 &&
        weft__os_guarded(page)) {
        guards.how = WEFT__GUARD_MADVISE;
        /* And one of those made together. Valgrind 3.19 complains of the call. */
        guards.together = !weft__valgrind_runs() &&
                          weft__os_guards(page + WEFT__PAGE, 0, 1) == 1 &&
                          weft__os_guarded(page + WEFT__PAGE);
    }
    weft__os_unmap(page, 2 * WEFT__PAGE);
}

static void canary_write(char *base)
{
    uint64_t *words = (uint64_t *)(void *)base;

    for (unsigned i = 0; i < CANARY_WORDS; i++)
        words[i] = canary_value;
}

/* Guard one slot; false: it needs a canary. */
static bool guard_slot(char *base)
{
    if (guards.mode == WEFT_GUARD_CANARY)
        return false;
    if (guards.how == WEFT__GUARD_MADVISE &&
        weft__os_guard(base, WEFT__GUARD_MADVISE) == 0)
        return true;

    /* Two more mappings a slot. relaxed: a count. */
    if (weft__fetch_add(&guards.maps, 2, RELAXED) + GUARD_MAPS_SPARE <
            guards.map_limit &&
        weft__os_guard(base, WEFT__GUARD_MPROTECT) == 0)
        return true;
    weft__fetch_sub(&guards.maps, 2, RELAXED);
    return false;
}

size_t weft__guard_make(weft__stack_t *stacks, size_t n)
{
    size_t guarded = 0, unguarded = 0;

    if (n > 1 && n <= WEFT__OS_GUARDS && guards.together)
        guarded = weft__os_guards(weft__stack_base(stacks[0]),
                                  weft__stack_size(stacks[0]), n);
    for (size_t i = guarded; i < n; i++) {
        if (guard_slot(weft__stack_base(stacks[i])))
            continue;
        canary_write(weft__stack_base(stacks[i]));
        stacks[i] |= WEFT__STACK_CANARY;
        unguarded++;
    }
    if (unguarded > 0 && weft__exchange(&guards.told, 1, RELAXED) == 0)
        weft__log(WEFT_LOG_WARNING,
                  "no guard page for a stack: from here on some carry a "
                  "canary that is checked at each park (see "
                  "stacks_unguarded in weft_stats)");
    return unguarded;
}

void weft__guard_renew(weft__stack_t stack)
{
    if (stack & WEFT__STACK_CANARY)
        canary_write(weft__stack_base(stack));
}

bool weft__guard_intact(weft__stack_t stack)
{
    const uint64_t *words =
        (const uint64_t *)(const void *)weft__stack_base(stack);

    if (!(stack & WEFT__STACK_CANARY))
        return true;
    for (unsigned i = 0; i < CANARY_WORDS; i++)
        if (words[i] != canary_value)
            return false;
    return true;
}

void weft__guard_check(weft__stack_t stack)
{
    WEFT__CHECK(weft__guard_intact(stack),
                "a fiber has overflowed its stack (it had no guard page)");
}
