/*
 * Workers: the OS threads that run fibers, and what they share.
 *
 * A worker's thread lives in its base context, an ordinary thread stack with
 * the scheduler's loop (worker.c). From there it switches to a fiber, and
 * fibers switch to each other without coming by here (switch.c); when there
 * is nothing to switch to, or it is time for the long look, the base runs.
 */
#ifndef WEFT_SCHED_WORKER_H
#define WEFT_SCHED_WORKER_H

#include <stdbool.h>

#include "sched/atomic.h"
#include "sched/fiber.h"
#include "sched/os.h"
#include "sched/overflow.h"
#include "sched/runq.h"
#include "sched/sched.h"
#include "sched/timer.h"

/* What became of the context that a worker has just left. */
enum weft__left {
    WEFT__LEFT_BASE,   /* nothing to do: a base, or a fiber on an errand */
    WEFT__LEFT_PARK,   /* commit its wait */
    WEFT__LEFT_YIELD,  /* to the back of the queue */
    WEFT__LEFT_END     /* give its stack back */
};

enum {
    WEFT__TURNS = 61,       /* turns between two long looks */
    WEFT__HELD_MAX = 68,    /* inner locks at once: a select's, and a few */
    WEFT__MASK_WORDS = WEFT__WORKERS_MAX / 64
};

/* Counters: written by the owner alone, read by anyone. */
struct weft__counters {
    weft__au64 spawned;
    weft__au64 ended;
    weft__au64 switches;
    weft__au64 parks;
    weft__au64 yields;
    weft__au64 steals;
    weft__au64 stolen;
    weft__au64 wakes;
    weft__au64 sleeps;
    weft__au64 polls;
    weft__au64 overflows;
    /* Waits that something outside can end, and waits with a deadline: how
     * many began on this worker, and how many were over on it. */
    weft__au64 outside_begun;
    weft__au64 outside_over;
    weft__au64 timed_begun;
    weft__au64 timed_over;
};

/* What the base context is to do for a fiber. */
typedef void (*weft__errand_fn)(void *arg);

struct weft__worker {
    struct weft__fiber base;

    /* The owner's. */
    struct weft__fiber *left; /* who was left last, and how */
    enum weft__left left_how;
    weft__stack_t left_stack;
    struct weft__fiber *left_child; /* of one that joins, or NULL */
    uint64_t left_version;
    weft__au32 turns; /* left until the next long look; see find.c */
    uint32_t budget;  /* how many there were after the last one */
    uint32_t straight; /* turns since something left the ring */
    weft__atomic(weft__errand_fn) errand; /* see weft__on_base(); or NULL */
    void *errand_arg;
    struct weft__fiber *errand_of;
    weft__au64 io_calls; /* of fibers on descriptors; see runtime/io.c */
    unsigned index;
    unsigned victim; /* where the next round of stealing starts */
    uint32_t random; /* of weft__random() */
    bool spinning;
    int woken;        /* fibers that the last look at the world found */
    unsigned luck;    /* is looking around worth its time? see find.c */
    unsigned no_spin; /* times it was thought not to be */
    weft__ai64 clock;  /* of the last long look, or of waking up */
    weft__ai64 polled; /* when this worker's loop was served last */
    int64_t helped;    /* when it last looked after others */
    struct weft__record_cache records;
    struct weft__stack_cache stacks;
    struct weft__timer_heap *timers;
    void *tsan; /* the sanitizers' idea of the base context */
    void *tsan_ended;
    void *asan;
#ifdef WEFT_DEBUG
    unsigned held; /* inner locks, in the order of taking; see lock.c */
    const void *held_locks[WEFT__HELD_MAX];
    int held_ranks[WEFT__HELD_MAX];
#endif
    void *exceptions; /* the C++ runtime's note of this thread; see switch.c */
    const void *stack_low; /* of the base context */
    size_t stack_size;

    /* Shared. */
    weft__au32 next __attribute__((aligned(64))); /* next slot: an entry */
    weft__au32 preempt; /* the monitor asks: let others run */
    struct weft__counters counters;
    struct weft__runq runq;
    void *poller;
    weft__os_thread thread;
};

/* Of `pending`: its upper half counts what was ever added. */
#define WEFT__PENDING_ADDED ((uint64_t)1 << 32)

/* What all workers share. */
struct weft__sched {
    struct weft__sched_config config;
    unsigned count;
    unsigned started; /* threads that exist */
    struct weft__worker **workers;

    weft_fiber_t first; /* the id of weft_run's entry */
    weft__au64 spawned; /* fibers that no worker spawned */
    weft__au32 running; /* between start and stop */
    weft__au32 quit;
    weft__au32 stopping;
    weft__au64 pending; /* what may wake a fiber from outside */
    weft__au32 entry_done;

    /* Sleepers: a bit each that nobody has sent for, and how many. See idle.c. */
    weft__au64 idle_mask[WEFT__MASK_WORDS] __attribute__((aligned(64)));
    weft__au32 idle;
    weft__au32 spinners;

    /* The monitor's doorbell. See monitor.c. */
    weft__au32 bell __attribute__((aligned(64)));
    weft__au32 monitor_asleep;
};

extern struct weft__sched weft__sched;

/* One more: only the owner writes, so no locked operation is needed. */
static inline void weft__count(weft__au64 *counter, uint64_t n)
{
    weft__store(counter, weft__load(counter, RELAXED) + n, RELAXED);
}

/*
 * The same of waits. release: who reads this count sees the switch before it
 * too; pairs with weft__deadlock_look().
 */
static inline void weft__count_wait(weft__au64 *counter)
{
    weft__store(counter, weft__load(counter, RELAXED) + 1, RELEASE);
}

/*
 * A wait of the calling fiber that something outside can end, a descriptor or
 * a signal: while there is one the program is not asleep for ever. Counted up
 * on the worker where it begins and down on the one where it is over, each by
 * that worker alone; only the sum over all says anything. Around a park. Waits
 * with a deadline are counted by weft__park() itself.
 */
static inline void weft__outside_begin(struct weft__fiber *self)
{
    weft__count_wait(&self->worker->counters.outside_begun);
}

static inline void weft__outside_end(struct weft__fiber *self)
{
    weft__count_wait(&self->worker->counters.outside_over);
}

/* The worker that the caller runs on, or NULL. */
static inline struct weft__worker *weft__worker_self(void)
{
    struct weft__fiber *self = weft__self();

    return self ? self->worker : NULL;
}

/* --- worker.c: queues of one worker, the loop ----------------------------- */

/* What switch.c needs to know of the calling thread. */
void weft__switch_thread_begin(struct weft__worker *w);

/* A number at random, to choose fairly by. From any thread. */
uint32_t weft__random(void);

int weft__worker_open(struct weft__worker *w, unsigned index);
void weft__worker_close(struct weft__worker *w);
void *weft__worker_main(void *worker);

/* Put an entry into the next slot; who was there goes to the ring. */
void weft__worker_push_next(struct weft__worker *w, uint32_t entry);
/* The ring is full: make room. */
void weft__worker_overflow(struct weft__worker *w);
/* Put an entry at the back of the ring. */
static inline void weft__worker_push(struct weft__worker *w, uint32_t entry)
{
    while (!weft__runq_push(&w->runq, entry))
        weft__worker_overflow(w);
}
/* Take `entry` out of the next slot, if it is there. Anybody's. */
static inline bool weft__worker_take_next(struct weft__worker *w,
                                          uint32_t entry)
{
    /* acquire: pairs with the release that filled it. */
    return weft__load(&w->next, RELAXED) == entry &&
           weft__cas(&w->next, &entry, 0, ACQUIRE, RELAXED);
}

/* The right to start the fiber of a hint: NULL if the hint was dead. */
struct weft__fiber *weft__hint_claim(struct weft__worker *w, uint32_t entry);

/* The right to run the fiber of an entry, likewise. */
static inline struct weft__fiber *weft__entry_claim(struct weft__worker *w,
                                                    uint32_t entry)
{
    return entry & WEFT__ENTRY_HINT ? weft__hint_claim(w, entry)
                                    : weft__fiber_at(entry >> 1);
}

/* --- find.c: what runs next ----------------------------------------------- */

/* Short: next slot and ring, no more. NULL: ask the base context, which takes
 * the long look if no turns are left. */
struct weft__fiber *weft__find_local(struct weft__worker *w);
/* All: also injection, the poller, and others' queues. */
struct weft__fiber *weft__find(struct weft__worker *w);
/* Is there anything in sight that a worker could take? */
bool weft__find_any(struct weft__worker *w);

/* --- switch.c: from one context to another -------------------------------- */

/* Leave `self` (NULL: an ended one) for `to`, whom the caller may run. */
void weft__switch(struct weft__worker *w, struct weft__fiber *self,
                  struct weft__fiber *to, enum weft__left how);
/* Leave `self` for what is next. */
void weft__switch_away(struct weft__fiber *self, enum weft__left how);

/* --- idle.c: sleeping and waking ------------------------------------------ */

void weft__idle(struct weft__worker *w);
/* Does this worker sleep, or is it about to? A look. */
static inline bool weft__idle_sleeps(unsigned index)
{
    return weft__load(&weft__sched.idle_mask[index / 64], RELAXED) >>
               (index % 64) & 1;
}
/* Wake one sleeper for new work, unless someone is looking already. */
void weft__idle_wake_one(void);
void weft__idle_wake_all(void);
/* A worker starts or ends looking at others' queues. */
bool weft__idle_spin_begin(struct weft__worker *w);
void weft__idle_spin_end(struct weft__worker *w, bool found);

/* Someone may be needed: a relaxed look at the sleepers. */
static inline void weft__idle_hint(void)
{
    /* relaxed: a push to one's own ring issues no fence. What this misses is
     * parallelism for one look of the monitor, never liveness: the pusher is
     * awake and owns the entry. */
    if (weft__load(&weft__sched.idle, RELAXED))
        weft__idle_wake_one();
}

/* --- monitor.c ------------------------------------------------------------ */

/* Ring the monitor's bell. From anywhere. */
void weft__monitor_ring(void);

#endif
