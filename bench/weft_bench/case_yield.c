/*
 * What does it cost to let another run? Two fibers that hand the worker to
 * each other, and a thousand that go round and round. The threads do the same
 * with sched_yield(2).
 */
#include "bench/weft_bench/work.h"

#include <sched.h>

#include <weft/weft.h>

#include "bench/weft_bench/thread.h"

enum { YIELDERS = 1000 };

struct yielder {
    struct gate *gate; /* threads only */
    uint64_t rounds;
    uint64_t done;
};

static void *yield_fiber(void *arg)
{
    struct yielder *y = arg;

    for (uint64_t i = 0; i < y->rounds; i++)
        weft_yield();
    y->done = y->rounds;
    return NULL;
}

static void *yield_thread(void *arg)
{
    struct yielder *y = arg;

    gate_pass(y->gate);
    for (uint64_t i = 0; i < y->rounds; i++)
        sched_yield();
    y->done = y->rounds;
    return NULL;
}

/* So many rounds for each that together they are the work's operations. */
static void yield_prepare(struct work *w, struct yielder *all, unsigned count)
{
    uint64_t rounds = w->ops / count > 0 ? w->ops / count : 1;

    w->ops = rounds * count;
    for (unsigned i = 0; i < count; i++)
        all[i] = (struct yielder){ .rounds = rounds };
}

static int yield_check(struct work *w, const struct yielder *all,
                       unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (all[i].done != all[i].rounds)
            return work_wrong(w, "yielder %u did not finish", i);
    return WORK_DONE;
}

static int yield_weft(struct work *w, unsigned count)
{
    static struct yielder all[YIELDERS];
    static weft_fiber_t fibers[YIELDERS];

    yield_prepare(w, all, count);
    work_begin(w);
    for (unsigned i = 0; i < count; i++) {
        int code = weft_spawn(&fibers[i], yield_fiber, &all[i]);
        if (code != 0)
            return work_wrong(w, "weft_spawn: %s", weft_strerror(code));
    }
    for (unsigned i = 0; i < count; i++)
        weft_join(fibers[i], NULL);
    work_end(w);
    return yield_check(w, all, count);
}

static int yield_pthread(struct work *w, unsigned count)
{
    static struct yielder all[YIELDERS];
    static pthread_t threads[YIELDERS];
    struct gate gate = GATE_INIT;

    yield_prepare(w, all, count);
    for (unsigned i = 0; i < count; i++) {
        all[i].gate = &gate;
        if (thread_start(&threads[i], yield_thread, &all[i]) != 0)
            return work_stopped(w, "no thread after %u", i);
    }
    gate_await(&gate, count);
    work_begin(w);
    gate_open(&gate);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    work_end(w);
    return yield_check(w, all, count);
}

static int two_weft(struct work *w)
{
    return yield_weft(w, 2);
}

static int two_pthread(struct work *w)
{
    return yield_pthread(w, 2);
}

static int many_weft(struct work *w)
{
    return yield_weft(w, YIELDERS);
}

static int many_pthread(struct work *w)
{
    return yield_pthread(w, YIELDERS);
}

const struct bench_case case_switch = {
    .name = "switch",
    .weft = two_weft,
    .pthread = two_pthread,
};

const struct bench_case case_yield = {
    .name = "yield",
    .weft = many_weft,
    .pthread = many_pthread,
};
