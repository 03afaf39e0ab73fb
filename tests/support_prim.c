#include "tests/support_prim.h"

#include <stdlib.h>

#include "sched/park.h"
#include "sched/sched.h"
#include "sched/worker.h"

/* Memory that cannot be had is an answer, and no reason to stop. Other options
 * come from the environment. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

unsigned instants(unsigned n)
{
    const char *text = getenv("WEFT_TEST_ROUNDS");

    return text ? (unsigned)strtoul(text, NULL, 10) : ROUNDS(n);
}

static void *thread_main(void *arg)
{
    struct foreign *t = arg;

    t->fn(t->arg);
    weft__store(&t->over, 1, RELEASE);
    return NULL;
}

void foreign_start(struct foreign *t, void (*fn)(void *), void *arg)
{
    t->fn = fn;
    t->arg = arg;
    weft__store(&t->over, 0, RELAXED);
    ck_assert_int_eq(pthread_create(&t->thread, NULL, thread_main, t), 0);
}

void foreign_join(struct foreign *t)
{
    wait_for(&t->over, 1);
    ck_assert_int_eq(pthread_join(t->thread, NULL), 0);
}

void on_thread(void (*fn)(void *), void *arg)
{
    struct foreign t;

    foreign_start(&t, fn, arg);
    ck_assert_int_eq(pthread_join(t.thread, NULL), 0);
}

static void *lane_job(void *arg)
{
    struct foreign *t = arg;

    t->fn(t->arg);
    return NULL;
}

void on_lane(void (*fn)(void *), void *arg)
{
    struct foreign t = { .fn = fn, .arg = arg };

    must_code(weft_blocking(lane_job, &t, NULL), 0);
}

void wait_for(weft__au32 *word, uint32_t value)
{
    while (weft__load(word, ACQUIRE) < value)
        weft_yield();
}

void wait_until_all_idle(void)
{
    unsigned awake = weft__fiber_self() ? 1 : 0;

    while (weft__load(&weft__sched.idle, ACQUIRE) + awake <
           weft__sched.count)
        weft_yield();
}

uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}
