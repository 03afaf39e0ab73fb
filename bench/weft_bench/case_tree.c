/*
 * What does a tree of fibers cost, where each waits for its children?
 *
 * fib: the naive Fibonacci function of n = `ops`; each call spawns its first
 * half and does the second itself. An operation is a spawn. skynet: a tree of
 * ten children a node with `ops` leaves, which return their numbers; an
 * operation is a leaf.
 *
 * A thread per node is the only way threads can walk such a tree without
 * becoming a scheduler, since an item of a pool cannot wait for another. They
 * run out first: the row says at how many.
 */
#include "bench/weft_bench/work.h"

#include <stdatomic.h>
#include <string.h>

#include <weft/weft.h>

#include "bench/weft_bench/thread.h"

/* ---- the tree, as numbers ---- */

static uint64_t fib_value(uint64_t n)
{
    uint64_t a = 0, b = 1;

    for (; n > 0; n--) {
        uint64_t next = a + b;
        a = b;
        b = next;
    }
    return a;
}

/* Each call with n >= 2 spawns once. */
static uint64_t fib_spawns(uint64_t n)
{
    return fib_value(n + 1) - 1;
}

enum { CHILDREN = 10 };

struct subtree {
    uint64_t first; /* number of its first leaf */
    uint64_t leaves;
};

static uint64_t power_of_ten(uint64_t at_most)
{
    uint64_t power = 1;

    while (power * CHILDREN <= at_most)
        power *= CHILDREN;
    return power;
}

static struct subtree subtree_child(const struct subtree *t, unsigned i)
{
    uint64_t leaves = t->leaves / CHILDREN;

    return (struct subtree){ t->first + i * leaves, leaves };
}

static int tree_check(struct work *w, uint64_t result, uint64_t expected)
{
    if (result != expected)
        return work_wrong(w, "%lu came out, not %lu", (unsigned long)result,
                          (unsigned long)expected);
    return WORK_DONE;
}

/* ---- weft ---- */

static void *fib_fiber(void *arg)
{
    uintptr_t n = (uintptr_t)arg;
    weft_fiber_t spawned;
    void *other = NULL;
    uintptr_t own;

    if (n < 2)
        return arg;
    /* One that fails makes the sum wrong, and the check sees it. */
    if (weft_spawn(&spawned, fib_fiber, (void *)(n - 1)) != 0)
        return NULL;
    own = (uintptr_t)fib_fiber((void *)(n - 2));
    weft_join(spawned, &other);
    return (void *)((uintptr_t)other + own);
}

static void *skynet_fiber(void *arg)
{
    const struct subtree *t = arg;
    struct subtree parts[CHILDREN];
    weft_fiber_t fibers[CHILDREN];
    uintptr_t sum = 0;

    if (t->leaves == 1)
        return (void *)(uintptr_t)t->first;
    for (unsigned i = 0; i < CHILDREN; i++) {
        parts[i] = subtree_child(t, i);
        if (weft_spawn(&fibers[i], skynet_fiber, &parts[i]) != 0)
            fibers[i] = 0;
    }
    for (unsigned i = 0; i < CHILDREN; i++) {
        void *part = NULL;
        weft_join(fibers[i], &part);
        sum += (uintptr_t)part;
    }
    return (void *)sum;
}

static int tree_weft(struct work *w, void *(*root)(void *), void *arg,
                     uint64_t *result)
{
    weft_fiber_t f;
    void *value = NULL;
    int code;

    work_begin(w);
    code = weft_spawn(&f, root, arg);
    if (code != 0)
        return work_wrong(w, "weft_spawn: %s", weft_strerror(code));
    weft_join(f, &value);
    work_end(w);
    *result = (uintptr_t)value;
    return WORK_DONE;
}

static int fib_weft(struct work *w)
{
    uint64_t n = w->ops;
    uint64_t result;
    int status = tree_weft(w, fib_fiber, (void *)(uintptr_t)n, &result);

    w->ops = fib_spawns(n);
    return status != WORK_DONE ? status : tree_check(w, result, fib_value(n));
}

static int skynet_weft(struct work *w)
{
    struct subtree all = { 0, power_of_ten(w->ops) };
    uint64_t result;
    int status = tree_weft(w, skynet_fiber, &all, &result);

    w->ops = all.leaves;
    return status != WORK_DONE
               ? status
               : tree_check(w, result, all.leaves * (all.leaves - 1) / 2);
}

/* ---- threads ---- */

static atomic_uint threads_alive;
static atomic_uint threads_refused; /* how many lived when one was refused */
static atomic_int threads_error;

static bool tree_start(pthread_t *t, void *(*entry)(void *), void *arg)
{
    unsigned alive = atomic_load(&threads_alive);
    int error;

    /* Once refused, the tree only winds up. */
    if (atomic_load(&threads_error) != 0)
        return false;
    error = thread_start(t, entry, arg);
    if (error != 0) {
        atomic_store(&threads_refused, alive);
        atomic_store(&threads_error, error);
        return false;
    }
    return true;
}

static void *fib_thread(void *arg)
{
    uintptr_t n = (uintptr_t)arg;
    pthread_t spawned;
    void *other = NULL;
    uintptr_t own = 0;

    if (n < 2)
        return arg;
    atomic_fetch_add(&threads_alive, 1);
    if (tree_start(&spawned, fib_thread, (void *)(n - 1))) {
        own = (uintptr_t)fib_thread((void *)(n - 2));
        pthread_join(spawned, &other);
    }
    atomic_fetch_sub(&threads_alive, 1);
    return (void *)((uintptr_t)other + own);
}

static void *skynet_thread(void *arg)
{
    const struct subtree *t = arg;
    struct subtree parts[CHILDREN];
    pthread_t threads[CHILDREN];
    unsigned started = 0;
    uintptr_t sum = 0;

    if (t->leaves == 1)
        return (void *)(uintptr_t)t->first;
    atomic_fetch_add(&threads_alive, 1);
    for (; started < CHILDREN; started++) {
        parts[started] = subtree_child(t, started);
        if (!tree_start(&threads[started], skynet_thread, &parts[started]))
            break;
    }
    for (unsigned i = 0; i < started; i++) {
        void *part;
        pthread_join(threads[i], &part);
        sum += (uintptr_t)part;
    }
    atomic_fetch_sub(&threads_alive, 1);
    return (void *)sum;
}

static int tree_pthread(struct work *w, void *(*root)(void *), void *arg,
                        uint64_t *result)
{
    pthread_t t;
    void *value = NULL;

    work_begin(w);
    if (tree_start(&t, root, arg))
        pthread_join(t, &value);
    work_end(w);
    if (atomic_load(&threads_error) != 0)
        return work_stopped(w, "pthread_create: %s with %u threads waiting",
                            strerrorname_np(atomic_load(&threads_error)),
                            atomic_load(&threads_refused));
    *result = (uintptr_t)value;
    return WORK_DONE;
}

static int fib_pthread(struct work *w)
{
    uint64_t n = w->ops;
    uint64_t result;
    int status = tree_pthread(w, fib_thread, (void *)(uintptr_t)n, &result);

    w->ops = fib_spawns(n);
    return status != WORK_DONE ? status : tree_check(w, result, fib_value(n));
}

static int skynet_pthread(struct work *w)
{
    struct subtree all = { 0, power_of_ten(w->ops) };
    uint64_t result;
    int status = tree_pthread(w, skynet_thread, &all, &result);

    w->ops = all.leaves;
    return status != WORK_DONE
               ? status
               : tree_check(w, result, all.leaves * (all.leaves - 1) / 2);
}

const struct bench_case case_fib = {
    .name = "fib",
    .less = 5,
    .weft = fib_weft,
    .pthread = fib_pthread,
};

const struct bench_case case_skynet = {
    .name = "skynet",
    .cold = true,
    .weft = skynet_weft,
    .pthread = skynet_pthread,
};
