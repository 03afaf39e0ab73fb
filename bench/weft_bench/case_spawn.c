/*
 * What does it cost to start something and wait for it: one by one, and a
 * million at once?
 *
 * The threads have two ways: a thread for each item, with at most WINDOW alive
 * (more of them would not be faster, and a million is not to be had), and a
 * pool. An item of a pool cannot wait for another, so a pool is less than a
 * fiber; its row is there to show the price of the difference.
 */
#include "bench/weft_bench/work.h"

#include <stdlib.h>

#include <weft/weft.h>

#include "bench/weft_bench/pool.h"
#include "bench/weft_bench/thread.h"

enum { WINDOW = 256 };

/* ---- one by one ---- */

/* Every item returns its number, so a lost or doubled one changes the sum. */
static int join_check(struct work *w, uint64_t sum)
{
    if (sum != w->ops * (w->ops - 1) / 2)
        return work_wrong(w, "the results do not add up");
    return WORK_DONE;
}

static void *spawn_echo(void *arg)
{
    return arg;
}

static int join_weft(struct work *w)
{
    uint64_t sum = 0;

    work_begin(w);
    for (uint64_t i = 0; i < w->ops; i++) {
        weft_fiber_t f;
        void *result;
        int code = weft_spawn(&f, spawn_echo, (void *)(uintptr_t)i);

        if (code != 0)
            return work_wrong(w, "weft_spawn: %s", weft_strerror(code));
        weft_join(f, &result);
        sum += (uintptr_t)result;
    }
    work_end(w);
    return join_check(w, sum);
}

static int join_pthread(struct work *w)
{
    uint64_t sum = 0;

    work_begin(w);
    for (uint64_t i = 0; i < w->ops; i++) {
        pthread_t t;
        void *result;

        if (thread_start(&t, spawn_echo, (void *)(uintptr_t)i) != 0)
            return work_stopped(w, "no thread");
        pthread_join(t, &result);
        sum += (uintptr_t)result;
    }
    work_end(w);
    return join_check(w, sum);
}

struct spawn_call {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool done;
    uint64_t value;
    uint64_t result;
};

static void spawn_answer(void *arg)
{
    struct spawn_call *call = arg;

    pthread_mutex_lock(&call->lock);
    call->result = call->value;
    call->done = true;
    pthread_mutex_unlock(&call->lock);
    pthread_cond_signal(&call->answered);
}

static int join_pool(struct work *w)
{
    struct spawn_call call = { .lock = PTHREAD_MUTEX_INITIALIZER,
                               .answered = PTHREAD_COND_INITIALIZER };
    struct pool pool;
    uint64_t sum = 0;

    if (pool_start(&pool, w->workers) != 0)
        return work_stopped(w, "no pool");
    work_begin(w);
    for (uint64_t i = 0; i < w->ops; i++) {
        call.value = i;
        call.done = false;
        if (pool_submit(&pool, spawn_answer, &call) != 0)
            return work_stopped(w, "no memory");
        pthread_mutex_lock(&call.lock);
        while (!call.done)
            pthread_cond_wait(&call.answered, &call.lock);
        pthread_mutex_unlock(&call.lock);
        sum += call.result;
    }
    work_end(w);
    pool_stop(&pool);
    return join_check(w, sum);
}

/* ---- many at once ---- */

/* Each item marks a byte of its own, so that none is lost unseen. */
static int many_check(struct work *w, const unsigned char *marks)
{
    for (uint64_t i = 0; i < w->ops; i++)
        if (marks[i] != 1)
            return work_wrong(w, "item %lu did not run once", (unsigned long)i);
    return WORK_DONE;
}

static weft_waitgroup_t many_left = WEFT_WAITGROUP_INIT;

static void *many_mark(void *arg)
{
    unsigned char *mark = arg;

    ++*mark;
    return NULL;
}

static void *many_fiber(void *arg)
{
    many_mark(arg);
    weft_waitgroup_done(&many_left);
    return NULL;
}

static int many_weft(struct work *w)
{
    unsigned char *marks = calloc(w->ops, 1);
    int status;

    if (marks == NULL)
        return work_stopped(w, "no memory");
    work_begin(w);
    weft_waitgroup_add(&many_left, (int)w->ops);
    for (uint64_t i = 0; i < w->ops; i++) {
        int code = weft_go(many_fiber, &marks[i]);
        if (code != 0)
            return work_wrong(w, "weft_go: %s", weft_strerror(code));
    }
    weft_waitgroup_wait(&many_left);
    work_end(w);
    status = many_check(w, marks);
    free(marks);
    return status;
}

static int many_join_weft(struct work *w)
{
    unsigned char *marks = calloc(w->ops, 1);
    weft_fiber_t *fibers = malloc(w->ops * sizeof(*fibers));
    int status;

    if (marks == NULL || fibers == NULL)
        return work_stopped(w, "no memory");
    work_begin(w);
    for (uint64_t i = 0; i < w->ops; i++) {
        int code = weft_spawn(&fibers[i], many_mark, &marks[i]);
        if (code != 0)
            return work_wrong(w, "weft_spawn: %s", weft_strerror(code));
    }
    for (uint64_t i = 0; i < w->ops; i++)
        weft_join(fibers[i], NULL);
    work_end(w);
    status = many_check(w, marks);
    free(fibers);
    free(marks);
    return status;
}

static int many_pthread(struct work *w)
{
    static pthread_t threads[WINDOW];
    unsigned char *marks = calloc(w->ops, 1);
    int status;

    if (marks == NULL)
        return work_stopped(w, "no memory");
    work_begin(w);
    for (uint64_t i = 0; i < w->ops; i++) {
        if (i >= WINDOW)
            pthread_join(threads[i % WINDOW], NULL);
        if (thread_start(&threads[i % WINDOW], many_mark, &marks[i]) != 0)
            return work_stopped(w, "no thread after %lu", (unsigned long)i);
    }
    for (uint64_t i = w->ops < WINDOW ? 0 : w->ops - WINDOW; i < w->ops; i++)
        pthread_join(threads[i % WINDOW], NULL);
    work_end(w);
    status = many_check(w, marks);
    free(marks);
    return status;
}

static void many_item(void *arg)
{
    many_mark(arg);
}

static int many_pool(struct work *w)
{
    unsigned char *marks = calloc(w->ops, 1);
    struct pool pool;
    int status;

    if (marks == NULL || pool_start(&pool, w->workers) != 0)
        return work_stopped(w, "no pool");
    work_begin(w);
    for (uint64_t i = 0; i < w->ops; i++)
        if (pool_submit(&pool, many_item, &marks[i]) != 0)
            return work_stopped(w, "no memory");
    pool_stop(&pool);
    work_end(w);
    status = many_check(w, marks);
    free(marks);
    return status;
}

const struct bench_case case_spawn_join = {
    .name = "spawn_join",
    .weft = join_weft,
    .pthread = join_pthread,
    .pool = join_pool,
};

const struct bench_case case_spawn_many = {
    .name = "spawn_many",
    .cold = true,
    .weft = many_weft,
    .pthread = many_pthread,
    .pool = many_pool,
};

/* The same by spawn and join in order, to compare weft with itself. */
const struct bench_case case_spawn_many_join = {
    .name = "spawn_many_join",
    .cold = true,
    .weft = many_join_weft,
};
