/*
 * Mistakes to be seen by the tools: prove_sanitizers.sh builds this with each
 * of them and runs it on one worker, with the name of a mistake. What comes
 * out is nothing; what the tool says is the result.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <weft/weft.h>

static volatile int seen;

static bool run_two(const weft_attr_t *attr, void *(*entry)(void *),
                    void *arg)
{
    weft_fiber_t f[2];

    for (int i = 0; i < 2; i++)
        if (weft_spawn_with(&f[i], attr, entry, arg) != 0)
            return false;
    for (int i = 0; i < 2; i++)
        if (weft_join(f[i], NULL) != 0)
            return false;
    return true;
}

/* --- A race between two fibers of one worker ---------------------------------- */

static int shared;

static void *write_unlocked(void *arg)
{
    weft_yield();
    shared++;
    weft_yield();
    return arg;
}

static int race(void)
{
    return run_two(NULL, write_unlocked, NULL) ? 0 : 1;
}

/* The same with a lock is none. */
static weft_mutex_t mutex;

static void *write_locked(void *arg)
{
    weft_yield();
    if (weft_mutex_lock(&mutex) != 0)
        return NULL;
    shared++;
    weft_yield();
    weft_mutex_unlock(&mutex);
    return arg;
}

static int no_race(void)
{
    return run_two(NULL, write_locked, NULL) ? 0 : 1;
}

/* --- A look at the stack of a fiber that has ended ----------------------------- */

static volatile int *volatile left_behind;

static void *leave_a_pointer(void *arg)
{
    volatile int local = 42;

    left_behind = &local;
    weft_yield();
    return arg;
}

static int dead_stack(void)
{
    weft_fiber_t f;

    if (weft_spawn(&f, leave_a_pointer, NULL) != 0 ||
        weft_join(f, NULL) != 0)
        return 1;
    seen = *left_behind;
    return 0;
}

/* --- A read of what was never written ------------------------------------------- */

static __attribute__((noinline)) void look(volatile int *p)
{
    if (*p == 42)
        seen = 1;
}

/* Three megabytes in one frame: more than valgrind takes for a frame, so that
 * it is weft's word alone that makes them undefined. */
static void *read_undefined(void *arg)
{
    volatile int local[3 << 18];

    __asm__ volatile("" : : "r"(local) : "memory");
    look(&local[1 << 18]);
    return arg;
}

static int undefined_read(void)
{
    weft_attr_t attr = WEFT_ATTR_INIT;

    attr.stack_size = 8 << 20;
    return run_two(&attr, read_undefined, NULL) ? 0 : 1;
}

/* --- Nothing wrong --------------------------------------------------------------- */

/* Stacks side by side, each in use, and the fibers take turns. */
static void *use_a_stack(void *arg)
{
    volatile int data[1000];

    for (int i = 0; i < 1000; i++)
        data[i] = i;
    for (int round = 0; round < 5; round++) {
        weft_yield();
        for (int i = 0; i < 1000; i++)
            if (data[i] != i)
                return NULL;
    }
    return arg;
}

static int clean(void)
{
    return run_two(NULL, use_a_stack, NULL) ? 0 : 1;
}

/* --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int (*make)(void);
} mistakes[] = {
    { "race", race },
    { "no_race", no_race },
    { "dead_stack", dead_stack },
    { "undefined_read", undefined_read },
    { "clean", clean }
};

static int entry(void *arg)
{
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++)
        if (strcmp(arg, mistakes[i].name) == 0)
            return mistakes[i].make();
    return 2;
}

int main(int argc, char **argv)
{
    int result = 2;

    if (argc != 2 || weft_run(NULL, entry, argv[1], &result) != 0)
        return 2;
    return result;
}
