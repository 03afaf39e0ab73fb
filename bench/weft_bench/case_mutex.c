/*
 * What does a mutex cost that 64 want at once? Each locks it, adds one to a
 * plain counter, unlocks, and begins again. The lock in the C library's
 * ordinary form: the adaptive one was no faster here.
 */
#include "bench/weft_bench/work.h"

#include <weft/weft.h>

#include "bench/weft_bench/thread.h"

enum { LOCKERS = 64 };

struct counter {
    weft_mutex_t lock;
    pthread_mutex_t thread_lock;
    struct gate gate; /* threads only */
    uint64_t value;
    uint64_t rounds; /* of each */
};

static void *mutex_fiber(void *arg)
{
    struct counter *c = arg;

    for (uint64_t i = 0; i < c->rounds; i++) {
        weft_mutex_lock(&c->lock);
        c->value++;
        weft_mutex_unlock(&c->lock);
    }
    return NULL;
}

static void *mutex_thread(void *arg)
{
    struct counter *c = arg;

    gate_pass(&c->gate);
    for (uint64_t i = 0; i < c->rounds; i++) {
        pthread_mutex_lock(&c->thread_lock);
        c->value++;
        pthread_mutex_unlock(&c->thread_lock);
    }
    return NULL;
}

static void mutex_prepare(struct work *w, struct counter *c)
{
    c->rounds = w->ops / LOCKERS > 0 ? w->ops / LOCKERS : 1;
    w->ops = c->rounds * LOCKERS;
}

static int mutex_check(struct work *w, const struct counter *c)
{
    if (c->value != w->ops)
        return work_wrong(w, "%lu counted of %lu", (unsigned long)c->value,
                          (unsigned long)w->ops);
    return WORK_DONE;
}

static int mutex_weft(struct work *w)
{
    struct counter c = { .lock = WEFT_MUTEX_INIT };
    weft_fiber_t fibers[LOCKERS];

    mutex_prepare(w, &c);
    work_begin(w);
    for (unsigned i = 0; i < LOCKERS; i++) {
        int code = weft_spawn(&fibers[i], mutex_fiber, &c);
        if (code != 0)
            return work_wrong(w, "weft_spawn: %s", weft_strerror(code));
    }
    for (unsigned i = 0; i < LOCKERS; i++)
        weft_join(fibers[i], NULL);
    work_end(w);
    return mutex_check(w, &c);
}

static int mutex_pthread(struct work *w)
{
    struct counter c = { .thread_lock = PTHREAD_MUTEX_INITIALIZER,
                         .gate = GATE_INIT };
    pthread_t threads[LOCKERS];

    mutex_prepare(w, &c);
    for (unsigned i = 0; i < LOCKERS; i++)
        if (thread_start(&threads[i], mutex_thread, &c) != 0)
            return work_stopped(w, "no thread after %u", i);
    gate_await(&c.gate, LOCKERS);
    work_begin(w);
    gate_open(&c.gate);
    for (unsigned i = 0; i < LOCKERS; i++)
        pthread_join(threads[i], NULL);
    work_end(w);
    return mutex_check(w, &c);
}

const struct bench_case case_mutex = {
    .name = "mutex",
    .weft = mutex_weft,
    .pthread = mutex_pthread,
};
