/*
 * Virtual threads: birth and end, futexes, and the virtual clock.
 *
 * What enters the kernel on a real machine lets the store buffer drain there,
 * and so it does here.
 */
#include "runtime/sim/thread.h"

#include <errno.h>

#include "runtime/sim/plain.h"
#include "runtime/sim/world.h"
#include "sched/fatal.h"

/* What it costs to read the clock, so that who waits for time to pass by
 * reading it gets there. */
enum { NOW_NS = 20 };

/* --- Birth and end ------------------------------------------------------- */

static _Noreturn void vthread_end(struct weft__vthread *me)
{
    struct weft__world *w = &weft__world;

    weft__step("end");
    weft__buffer_drain(me);
    me->state = VTHREAD_ENDED;
    for (unsigned i = 0; i < w->threads; i++) {
        struct weft__vthread *t = &w->thread[i];

        if (t->state == VTHREAD_JOINING && t->joins == me->index) {
            t->state = VTHREAD_RUNNABLE;
            w->runnable |= UINT64_C(1) << i;
        }
    }

    w->awaited &= ~(UINT64_C(1) << me->index);
    if (w->awaited == 0)
        weft__run_over(WEFT__SIM_SOUND, NULL);
    weft__step_blocked();
    __builtin_unreachable(); /* nobody makes it runnable */
}

static void vthread_main(void *arg)
{
    struct weft__vthread *me = arg;

    me->started = true;
    me->fn(me->arg);
    vthread_end(me);
}

/* Slot i is taken; who moves in the caller sees to. */
static struct weft__vthread *vthread_take(unsigned i)
{
    struct weft__world *w = &weft__world;
    struct weft__vthread *t = &w->thread[i];

    t->index = i;
    t->state = VTHREAD_RUNNABLE;
    t->started = false;
    t->self = NULL;
    t->buffer.n = 0;
    t->what = "start";
    w->runnable |= UINT64_C(1) << i;
    if (i == w->threads)
        w->threads++;
    return t;
}

int weft__vthread_new(void *(*fn)(void *), void *arg)
{
    struct weft__world *w = &weft__world;
    struct weft__vthread *t;
    unsigned i = 0;
    int status;

    while (i < w->threads && w->thread[i].state != VTHREAD_FREE)
        i++;
    if (i == WEFT__SIM_THREADS)
        return -EAGAIN;
    status = weft__coro_prepare(&w->thread[i].coro, vthread_main,
                                &w->thread[i]);
    if (status != 0)
        return status;

    t = vthread_take(i);
    t->fn = fn;
    t->arg = arg;
    return (int)i;
}

void weft__vthread_adopt(void)
{
    vthread_take(0);
}

int weft__sim_thread_create(uintptr_t *thread, void *(*fn)(void *), void *arg)
{
    int made;

    weft__step("thread creation");
    weft__buffer_drain(weft__current());
    made = weft__vthread_new(fn, arg);
    if (made < 0)
        return made;
    *thread = (uintptr_t)made;
    return 0;
}

void weft__sim_thread_join(uintptr_t thread)
{
    struct weft__vthread *t;

    WEFT__CHECK(thread < weft__world.threads, "a thread to be joined is none");
    t = &weft__world.thread[thread];
    weft__step("thread join");
    weft__buffer_drain(weft__current());
    WEFT__CHECK(t->state != VTHREAD_FREE, "a thread to be joined is none");

    if (t->state != VTHREAD_ENDED) {
        struct weft__vthread *me = weft__current();

        me->state = VTHREAD_JOINING;
        me->joins = t->index;
        weft__step_blocked();
    }
    t->state = VTHREAD_FREE;
}

/* --- Futexes ------------------------------------------------------------- */

int weft__sim_futex_wait(volatile uint32_t *word, uint32_t expected,
                         int64_t timeout_ns)
{
    struct weft__world *w = &weft__world;
    struct weft__vthread *me;

    weft__step("futex wait");
    me = weft__current();
    weft__buffer_drain(me);
    if (weft__plain_load(word, sizeof(*word), __ATOMIC_SEQ_CST) != expected)
        return -EAGAIN;
    if (timeout_ns == 0)
        return -ETIMEDOUT;

    me->state = VTHREAD_SLEEPING;
    me->word = word;
    me->ticket = w->tickets++;
    me->deadline = timeout_ns < 0 || timeout_ns > INT64_MAX - w->now
                       ? INT64_MAX
                       : w->now + timeout_ns;
    if (me->deadline < w->earliest)
        w->earliest = me->deadline;
    weft__step_blocked();
    return me->answer;
}

/* Who sleeps longest on this word? */
static struct weft__vthread *sleeper(const volatile void *word)
{
    struct weft__world *w = &weft__world;
    struct weft__vthread *first = NULL;

    for (unsigned i = 0; i < w->threads; i++) {
        struct weft__vthread *t = &w->thread[i];

        if (t->state == VTHREAD_SLEEPING && t->word == word &&
            (first == NULL || t->ticket < first->ticket))
            first = t;
    }
    return first;
}

void weft__sim_futex_wake(volatile uint32_t *word, int count)
{
    struct weft__world *w = &weft__world;
    struct weft__vthread *t;

    weft__step("futex wake");
    weft__buffer_drain(weft__current());
    while (count-- > 0 && (t = sleeper(word)) != NULL) {
        t->state = VTHREAD_RUNNABLE;
        t->answer = 0;
        w->runnable |= UINT64_C(1) << t->index;
    }
    weft__clock_recompute();
}

void weft__sim_pause(void)
{
    weft__world.paused = UINT64_C(1) << weft__world.current;
    weft__step("pause");
}

/* --- Who am I, what time is it ------------------------------------------- */

struct weft__fiber *weft__sim_self(void)
{
    return weft__current()->self;
}

void weft__sim_set_self(struct weft__fiber *self)
{
    weft__current()->self = self;
}

int64_t weft__sim_now(void)
{
    weft__world.now += NOW_NS;
    return weft__world.now;
}

void weft__sim_point(const char *what)
{
    weft__step(what);
}
