/*
 * Choice points
 *
 * Every operation that another thread could notice begins here. The clock
 * goes on a little, and the chooser picks among all that may happen: some
 * thread moves (it performs the operation before which it stopped, and runs
 * up to its next), the oldest store of a buffer reaches memory, or time jumps
 * to the earliest deadline. Who is picked is switched to directly; there is
 * no loop that owns the threads.
 *
 * Time jumps while others could move, since a core may be taken away from
 * them, but no further than that takes: a limit of seconds never passes
 * because of it. When no one can move it jumps as far as it must.
 *
 * A thread that waits in a spin loop says so (pause): choosers see to it that
 * another moves, sooner or later; else such loops would have no end.
 */
#include "runtime/sim/world.h"

#include <errno.h>

#include "sched/fatal.h"

/* What one operation costs on the virtual clock, nanoseconds. */
enum { STEP_NS = 50 };

/* For how long the kernel may leave a thread without a core. */
enum { JUMP_NS = 20000000 };

struct weft__world weft__world;

void weft__clock_recompute(void)
{
    struct weft__world *w = &weft__world;

    w->earliest = INT64_MAX;
    for (unsigned i = 0; i < w->threads; i++)
        if (w->thread[i].state == VTHREAD_SLEEPING &&
            w->thread[i].deadline < w->earliest)
            w->earliest = w->thread[i].deadline;
}

void weft__clock_expire(void)
{
    struct weft__world *w = &weft__world;

    if (w->runnable == 0 && w->earliest - w->now > w->result.longest)
        w->result.longest = w->earliest - w->now;
    if (w->now < w->earliest)
        w->now = w->earliest;
    for (unsigned i = 0; i < w->threads; i++) {
        struct weft__vthread *t = &w->thread[i];

        if (t->state == VTHREAD_SLEEPING && t->deadline <= w->now) {
            t->state = VTHREAD_RUNNABLE;
            t->answer = -ETIMEDOUT;
            w->runnable |= UINT64_C(1) << i;
        }
    }
    weft__clock_recompute();
}

static bool several(uint64_t mask)
{
    return (mask & (mask - 1)) != 0;
}

/* Is there more than one way on? */
static bool is_choice(const struct weft__options *o)
{
    int kinds = (o->threads != 0) + (o->flushes != 0) + o->time;

    return kinds > 1 || several(o->threads) || several(o->flushes);
}

/* The one way there is. */
static unsigned only_way(const struct weft__options *o)
{
    if (o->threads != 0)
        return (unsigned)__builtin_ctzll(o->threads);
    if (o->flushes != 0)
        return WEFT__CHOOSE_FLUSH + (unsigned)__builtin_ctzll(o->flushes);
    return WEFT__CHOOSE_TIME;
}

/* All that may happen now. */
static struct weft__options options(void)
{
    const struct weft__world *w = &weft__world;
    struct weft__options o = { .threads = w->runnable,
                               .paused = w->paused,
                               .flushes = w->dirty,
                               .current = w->current };

    if (w->runnable != 0)
        o.time = w->earliest - w->now <= JUMP_NS;
    else
        o.time = w->earliest != INT64_MAX;
    return o;
}

static void count_step(void)
{
    struct weft__world *w = &weft__world;

    if (w->misfit)
        weft__run_over(WEFT__SIM_MISFIT,
                       "the schedule does not fit the program");
    if (++w->steps > w->set.steps)
        weft__run_over(WEFT__SIM_HUNG, "the run took too many steps");
}

/* Choose until it is a thread; answer its number. */
static unsigned choose(void)
{
    struct weft__world *w = &weft__world;

    for (;;) {
        struct weft__options o = options();
        unsigned choice;

        if (is_choice(&o)) {
            choice = w->chooser->pick(&o);
            if (!weft__options_have(&o, choice))
                weft__run_over(WEFT__SIM_MISFIT,
                               "the schedule does not fit the program");
            weft__schedule_add(&w->schedule, choice);
        } else {
            choice = only_way(&o);
            if (choice == WEFT__CHOOSE_TIME && !o.time)
                weft__run_over(WEFT__SIM_DEADLOCK,
                               "no virtual thread can ever move again");
        }

        if (choice < WEFT__CHOOSE_FLUSH)
            return choice;
        if (choice == WEFT__CHOOSE_TIME)
            weft__clock_expire();
        else
            weft__buffer_flush(&w->thread[choice - WEFT__CHOOSE_FLUSH]);
        count_step();
    }
}

static void move_on(void)
{
    struct weft__world *w = &weft__world;
    struct weft__vthread *me = weft__current();
    unsigned next = choose();

    w->paused = 0;
    if (next == me->index)
        return;
    w->current = next;
    weft__coro_switch(&me->coro, &w->thread[next].coro);
    while (w->dumping)
        weft__report_backtrace();
}

void weft__step(const char *what)
{
    struct weft__world *w = &weft__world;

    WEFT__CHECK(pthread_equal(w->os_thread, pthread_self()),
                "an OS thread of the program's own called weft while a "
                "simulation runs");
    weft__current()->what = what;
    w->now += STEP_NS;
    if (w->now >= w->earliest)
        weft__clock_expire();
    count_step();
    move_on();
}

/* What the world does is a choice as others are; no thread moves for it. Nor does
 * a run end here, in the middle of a network's call and with its lock: the next
 * step says why. */
unsigned weft__sim_draw(unsigned n)
{
    struct weft__world *w = &weft__world;
    unsigned choice;

    if (n > WEFT__CHOOSE_DRAWS)
        n = WEFT__CHOOSE_DRAWS;
    if (n < 2)
        return 0;
    if (w->misfit || w->steps >= w->set.steps)
        return 0;
    w->steps++;
    choice = w->chooser->draw(n);
    if (choice == WEFT__CHOOSE_NONE) {
        w->misfit = true;
        return 0;
    }
    weft__schedule_add(&w->schedule, choice);
    return choice - WEFT__CHOOSE_DRAW;
}

void weft__step_blocked(void)
{
    struct weft__vthread *me = weft__current();

    weft__world.runnable &= ~(UINT64_C(1) << me->index);
    count_step(); /* each choice is one: the schedule has room for so many */
    move_on();
}
