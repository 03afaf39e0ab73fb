/*
 * Idle: going to sleep and being woken
 *
 * Each worker has a bit that says that it sleeps, or is about to. Whoever
 * brings work clears a bit, and only who cleared it wakes that worker; so one
 * piece of work wakes one sleeper.
 *
 *     sleeper                             waker, from outside
 *     1 set the bit (a full barrier)      1 push
 *     2 look at all queues                2 full barrier
 *     3 sleep in the poller               3 look at the bits: clear one, wake
 *
 * One of the two sees the other. A worker that pushes to its own ring leaves
 * out its barrier (weft__idle_hint()): it is awake and will run what it
 * pushed; the monitor repairs what that costs in parallelism.
 *
 * Spinners look around before they sleep: at most half of the workers. While
 * there is one, wakers wake nobody: the spinner counts itself out before it
 * sets its bit and looks at all queues once more after, so what came in
 * between is seen. A spinner that found something and was the last one wakes
 * the next, which looks for the surplus. A waker counts as a spinner, too, from
 * before it takes a sleeper: one that finds none looks at the injection queue
 * once it is counted out, for who pushed there meanwhile woke nobody. (A worker
 * that pushes to its own ring is awake.)
 *
 * A woken worker is counted as a spinner by its waker, so that a burst of
 * pushes does not wake everyone.
 *
 * The last worker to lie down looks whether anyone could ever be woken again
 * (deadlock.c). For that the sleepers are counted, each by itself: it is counted
 * out when it is up, before it looks for work, and not by who sends for it. Else
 * one that got up for another reason could run and lie down again before that,
 * and be counted twice: everyone would seem to sleep while its waker runs.
 */
#include <stddef.h>

#include "sched/deadlock.h"
#include "sched/fatal.h"
#include "sched/inject.h"
#include "sched/sched.h"
#include "sched/worker.h"

static weft__au64 *mask_word(unsigned index)
{
    return &weft__sched.idle_mask[index / 64];
}

static uint64_t mask_bit(unsigned index)
{
    return (uint64_t)1 << index % 64;
}

/* Clear a sleeper's bit: true for the one who did. */
static bool idle_take(unsigned index)
{
    uint64_t bit = mask_bit(index);

    /* seq_cst: counted with the fences of sleepers and wakers. */
    return weft__fetch_and(mask_word(index), ~bit, SEQ_CST) & bit;
}

/* Our sleep is over: true if nobody has sent for us. */
static bool idle_over(struct weft__worker *w)
{
    bool unsent = idle_take(w->index);

    weft__fetch_sub(&weft__sched.idle, 1, SEQ_CST);
    return unsent;
}

/* Take any sleeper, or NULL. */
static struct weft__worker *idle_take_any(void)
{
    for (unsigned i = 0; i * 64 < weft__sched.count; i++) {
        uint64_t mask;

        /* relaxed: the fetch_and decides. */
        while ((mask = weft__load(&weft__sched.idle_mask[i], RELAXED)) != 0) {
            unsigned index = i * 64 + (unsigned)__builtin_ctzll(mask);

            if (idle_take(index))
                return weft__sched.workers[index];
        }
    }
    return NULL;
}

static void wake(struct weft__worker *sleeper)
{
    struct weft__worker *w = weft__worker_self();

    if (w)
        weft__count(&w->counters.wakes, 1);
    weft__sched.config.poll.wake(sleeper->poller);
}

static bool anyone_sleeps(void)
{
    /* relaxed: ordered by the caller's fence. */
    for (unsigned i = 0; i * 64 < weft__sched.count; i++)
        if (weft__load(&weft__sched.idle_mask[i], RELAXED) != 0)
            return true;
    return false;
}

static void wake_one(void)
{
    do {
        struct weft__worker *sleeper;
        uint32_t none = 0;

        /* The woken one is a spinner from now on. seq_cst: see above. */
        if (!weft__cas(&weft__sched.spinners, &none, 1, SEQ_CST, SEQ_CST))
            return;
        sleeper = idle_take_any();
        if (sleeper) {
            wake(sleeper);
            return;
        }
        weft__fetch_sub(&weft__sched.spinners, 1, SEQ_CST);
        /* Nobody was there, and meanwhile someone may have lain down, and
         * another come with work who relied on a spinner. */
        weft__fence(SEQ_CST);
    } while (weft__inject_len() > 0 && anyone_sleeps());
}

void weft__idle_wake_one(void)
{
    bool visit;

    if (weft__load(&weft__sched.idle, RELAXED) == 0)
        return;
    visit = weft__visit_begin();
    /* seq_cst: again, now that the run stays if it is still there. */
    if (!visit || weft__load(&weft__sched.idle, SEQ_CST) != 0)
        wake_one();
    weft__visit_end(visit);
}

/* Each once: who lies down again meanwhile has looked. */
void weft__idle_wake_all(void)
{
    bool visit = weft__visit_begin();

    for (unsigned i = 0; i < weft__sched.count; i++) {
        if (!idle_take(i))
            continue;
        weft__fetch_add(&weft__sched.spinners, 1, SEQ_CST);
        wake(weft__sched.workers[i]);
    }
    weft__visit_end(visit);
}

bool weft__idle_spin_begin(struct weft__worker *w)
{
    uint32_t spinners = weft__load(&weft__sched.spinners, RELAXED);

    if (w->spinning)
        return true;
    do {
        if (spinners > 0 && spinners * 2 >= weft__sched.count)
            return false;
    } while (!weft__cas(&weft__sched.spinners, &spinners, spinners + 1,
                        SEQ_CST, RELAXED));
    w->spinning = true;
    return true;
}

void weft__idle_spin_end(struct weft__worker *w, bool found)
{
    w->spinning = false;
    /* seq_cst: out of the count before the bit is set; see above. */
    if (weft__fetch_sub(&weft__sched.spinners, 1, SEQ_CST) == 1 && found &&
        weft__load(&weft__sched.idle, RELAXED) && weft__find_any(w))
        weft__idle_wake_one();
}

void weft__idle(struct weft__worker *w)
{
    bool up = false, unsent = false;

    /* seq_cst: the bit, then the look at the queues. */
    weft__fetch_or(mask_word(w->index), mask_bit(w->index), SEQ_CST);
    weft__fetch_add(&weft__sched.idle, 1, SEQ_CST);
    weft__fence(SEQ_CST);

    if (!weft__find_any(w) && !weft__load(&weft__sched.quit, RELAXED)) {
        /* Up before it says so: whom it wakes is in its own next slot, and no
         * other worker shall see everyone asleep and say it again. */
        if (weft__deadlock_look(w)) {
            up = true;
            unsent = idle_over(w);
            if (unsent && weft__load(&weft__sched.idle, SEQ_CST) + 1 ==
                              weft__sched.count)
                weft__deadlock_declare();
        } else {
            weft__count(&w->counters.sleeps, 1);
            /* Nobody puts an entry into the heap of one who sleeps. */
            weft__sched.config.poll.sleep(w->poller,
                                          weft__timer_head(w->timers));
            weft__store(&w->clock, weft__os_now(), RELAXED);
            /* relaxed: see find.c. What ended the sleep comes first. */
            weft__store(&w->polled, 0, RELAXED);
        }
    }
    /* If our bit is gone, a waker took it and counted us as a spinner; else
     * we got up by ourselves. */
    if (!up)
        unsent = idle_over(w);
    if (!unsent)
        w->spinning = true;
    /* seq_cst: we are counted out, then the look; pairs with the monitor. */
    if (weft__load(&weft__sched.monitor_asleep, SEQ_CST))
        weft__monitor_ring();
}
