/*
 * The switch: the one place where a worker leaves one context for another,
 * the commit of what was left, and the first and last act of a fiber.
 *
 * Who is left cannot be queued or given back by itself: it still stands on
 * its stack. So it leaves a note with its worker, and whatever the worker
 * runs next reads the note as its first act: a fiber that goes on, a new one
 * at its entry, or the base context.
 *
 * In a TSan build the plain accesses of this file are not instrumented: a
 * worker's own data is touched by every fiber that it runs, one after the
 * other, and telling TSan of that order would order the users' data too and
 * hide their races.
 */
#include <stddef.h>

#include "sched/context.h"
#include "sched/fatal.h"
#include "sched/guard.h"
#include "sched/join.h"
#include "sched/park.h"
#include "sched/sanitizer.h"
#include "sched/worker.h"

/* The C++ runtime's note of the exceptions in flight, one a thread; a fiber
 * that moves takes its own along. Weak: NULL in a program without C++. The
 * address is the thread's, so each worker asks for it once. */
struct exceptions {
    void *caught;
    unsigned uncaught;
};
extern struct exceptions *__cxa_get_globals(void) __attribute__((weak));

void weft__switch_thread_begin(struct weft__worker *w)
{
    w->exceptions = __cxa_get_globals ? __cxa_get_globals() : NULL;
}

/* Almost never is there one in flight: a look, no copy. */
static inline bool exceptions_leave(struct weft__worker *w,
                                    struct exceptions *mine)
{
    struct exceptions *global = w->exceptions;

    if (!global || !(global->caught || global->uncaught))
        return false;
    *mine = *global;
    *global = (struct exceptions){ 0 };
    return true;
}

/* --- The commit ----------------------------------------------------------- */

/* The registers of `f` are saved: let its wakers queue it. See park.h. */
static void park_commit(struct weft__worker *w, struct weft__fiber *f)
{
    /* relaxed: the swap checks it. */
    uint64_t wake = weft__load(&f->wake, RELAXED);

    weft__os_point("park commits");
    while ((wake & WEFT__WAKE_STATE_MASK) != WEFT__WAKE_DONE) {
        bool open = (wake & WEFT__WAKE_STATE_MASK) == WEFT__WAKE_OPEN;
        uint64_t parked = (wake & ~WEFT__WAKE_STATE_MASK) |
                          (open ? WEFT__WAKE_PARKED
                                : WEFT__WAKE_CLAIMED_PARKED);

        WEFT__CHECK(open || (wake & WEFT__WAKE_STATE_MASK) ==
                                WEFT__WAKE_CLAIMED,
                    "a fiber parked without an open wait");
        /* seq_cst: publishes the registers, and is the full barrier between
         * our PARKED and the flags below; pairs with weft__cancel(). */
        if (!weft__cas(&f->wake, &wake, parked, SEQ_CST, RELAXED))
            continue;
        if (!open)
            return;
        if (!(wake & WEFT__WAKE_NO_CANCEL) &&
            weft__load(&f->life, RELAXED) & WEFT__LIFE_CANCEL)
            weft__wake(f, wake & WEFT__WAKE_GEN_MASK, WEFT__CAUSE_CANCEL);
        if (w->left_child)
            weft__join_commit(f, wake & WEFT__WAKE_GEN_MASK, w->left_child,
                              w->left_version);
        return;
    }

    /* Its waker has come and gone. */
    weft__worker_push_next(w, weft__fiber_index(f) << 1);
}

/* A stack of another class than the records bring along was reserved by the
 * spawn: no one holds it any more. */
static void unreserve(weft__stack_t stack)
{
    unsigned class = weft__stack_class_of(stack);

    if (class != weft__sched.config.stack_class)
        weft__stack_unreserve(class, 1);
}

static inline void landed(struct weft__worker *w)
{
    weft__order_hide();
    switch (w->left_how) {
    case WEFT__LEFT_BASE:
        break;
    case WEFT__LEFT_PARK:
        park_commit(w, w->left);
        break;
    case WEFT__LEFT_YIELD:
        weft__worker_push(w, weft__fiber_index(w->left) << 1);
        break;
    case WEFT__LEFT_END:
        weft__stack_give(&w->stacks, w->left_stack,
                         weft__sched.config.stack_class);
        unreserve(w->left_stack);
        break;
    }
    weft__order_show();
}

/* --- What the sanitizers are told ----------------------------------------- */

#if defined(WEFT__TSAN)
static void **tsan_slot(struct weft__worker *w, struct weft__fiber *f)
{
    return f == &w->base ? &w->tsan : &weft__fiber_cold(f)->tsan;
}

static void tell_leave(struct weft__worker *w, struct weft__fiber *self,
                       struct weft__fiber *to, bool fresh)
{
    void **slot = tsan_slot(w, to);

    /* The base context is known to TSan by itself: as its thread. */
    if (self == &w->base)
        w->tsan = __tsan_get_current_fiber();
    if (fresh) {
        weft__order_hide();
        *slot = __tsan_create_fiber(0);
        weft__order_show();
    }
    if (!self)
        w->tsan_ended = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(*slot, __tsan_switch_to_fiber_no_sync);
}

/* A stack goes from one fiber to the next: what the first wrote there comes
 * before. (And so does all else that it did; the price of a warm stack.) */
static void tell_end(weft__stack_t stack)
{
    __tsan_release(weft__stack_base(stack));
}

static void tell_begin(struct weft__fiber *f)
{
    weft__order_after(f);
    __tsan_acquire(weft__stack_base(weft__load(&f->stack, RELAXED)));
}

static void tell_arrive(struct weft__worker *w, struct weft__fiber *self)
{
    (void)self;
    if (w->tsan_ended)
        __tsan_destroy_fiber(w->tsan_ended);
    w->tsan_ended = NULL;
}
#elif defined(WEFT__ASAN)
static void tell_leave(struct weft__worker *w, struct weft__fiber *self,
                       struct weft__fiber *to, bool fresh)
{
    void **fake = NULL;
    const void *low = w->stack_low;
    size_t size = w->stack_size;

    (void)fresh;
    if (self)
        fake = self == &w->base ? &w->asan : &weft__fiber_cold(self)->asan;
    if (to != &w->base) {
        weft__stack_t stack = weft__load(&to->stack, RELAXED);

        low = weft__stack_limit(stack);
        size = (size_t)(weft__stack_base(stack) + weft__stack_size(stack) -
                        (const char *)low);
    }
    /* A NULL slot: this context ends, and so does its fake stack. */
    __sanitizer_start_switch_fiber(fake, low, size);
}

static void tell_arrive(struct weft__worker *w, struct weft__fiber *self)
{
    const void *low;
    size_t size;
    void *fake = NULL;

    if (self)
        fake = self == &w->base ? w->asan : weft__fiber_cold(self)->asan;
    __sanitizer_finish_switch_fiber(fake, &low, &size);
    if (w->left == &w->base && !w->stack_low) {
        w->stack_low = low;
        w->stack_size = size;
    }
}
#endif

#ifndef WEFT__TSAN
static inline void tell_end(weft__stack_t stack)
{
    (void)stack;
}

static inline void tell_begin(struct weft__fiber *f)
{
    (void)f;
}
#endif

#if !defined(WEFT__TSAN) && !defined(WEFT__ASAN)
static inline void tell_leave(struct weft__worker *w,
                              struct weft__fiber *self,
                              struct weft__fiber *to, bool fresh)
{
    (void)w, (void)self, (void)to, (void)fresh;
}

static inline void tell_arrive(struct weft__worker *w,
                               struct weft__fiber *self)
{
    (void)w, (void)self;
}
#endif

/* --- Birth and death ------------------------------------------------------ */

/* May a fiber that ends lend its stack to the next new one, and leave by a
 * return? Not where the sanitizers keep an account of each. */
#if defined(WEFT__TSAN) || defined(WEFT__ASAN)
enum { PLAIN = 0 };
#else
enum { PLAIN = 1 };
#endif

/* `next` is new and starts on the stack of one that has just ended. */
static bool adopt(struct weft__worker *w, struct weft__fiber *next,
                  weft__stack_t stack)
{
    uintptr_t wanted = weft__load(&next->stack, RELAXED); /* ours to run */

    if (!PLAIN || weft__stack_class_of(wanted) != weft__stack_class_of(stack))
        return false;
    stack &= WEFT__STACK_BASE_MASK | WEFT__STACK_CANARY;
    /* relaxed: only dumps read it from elsewhere. */
    weft__store(&next->stack, wanted | stack, RELAXED);
    next->worker = w;
    weft__set_self(next);
    weft__context_defaults();
    weft__count(&w->counters.switches, 1);
    return true;
}

/* What a fiber may leave in its cold part, and the next one would find. */
static __attribute__((noinline)) void fiber_forget(struct weft__fiber *f)
{
    struct weft__fiber_cold *cold = weft__fiber_cold(f);

    cold->name[0] = '\0';
    weft__store(&cold->shields, 0, RELAXED); /* its own */
}

/* A fiber has ended: tell its joiner, and who is next. NULL: the base. */
static inline struct weft__fiber *fiber_over(struct weft__worker *w,
                                             struct weft__fiber *f,
                                             void *result)
{
    uintptr_t stack = weft__load(&f->stack, RELAXED); /* its own */
    struct weft__fiber *next;

    if (stack & WEFT__STACK_CANARY)
        weft__guard_check(stack);
    if (stack & (WEFT__FIBER_NAMED | WEFT__FIBER_SHIELDED))
        fiber_forget(f);
    f->result = result;
    /* relaxed: a running fiber's word is its own. For dumps: no longer one. */
    weft__store(&f->wake,
                (weft__load(&f->wake, RELAXED) & WEFT__WAKE_GEN_MASK) |
                    WEFT__WAKE_FREE,
                RELAXED);

    /* From here on the record may be another's. */
    next = weft__join_end(w, f);
    /* release: who sees the last fiber ended sees what all of them did. And
     * acquire, so that this one's count carries those before it along. */
    weft__store(&w->counters.ended,
                weft__load(&w->counters.ended, ACQUIRE) + 1, RELEASE);
    /* relaxed: a stop that this misses is seen at the monitor's look. */
    if (weft__load(&weft__sched.stopping, RELAXED))
        weft__monitor_ring();
    return next ? next : weft__find_local(w);
}

/* The life of a fiber, and of those who take over its stack. Answers the
 * context to take up after it. */
static void *fiber_main(void *fiber)
{
    struct weft__fiber *f = fiber;
    struct weft__worker *w = f->worker;
    weft__stack_t stack;
    struct weft__fiber *next;

    tell_arrive(w, NULL);
    stack = weft__load(&f->stack, RELAXED); /* its own */
    tell_begin(f);
    landed(w);
    for (;;) {
        void *result = f->entry(f->arg);

        w = f->worker;
        next = fiber_over(w, f, result);
        if (!next || !weft__fiber_unstarted(next))
            break;
        if (!adopt(w, next, stack)) {
            /* The base starts it: it has the room, and a queue entry that is
             * the right itself. */
            weft__worker_push_next(w, weft__fiber_index(next) << 1);
            next = NULL;
            break;
        }
        unreserve(stack);
        f = next;
    }

    w->left_stack = stack & (WEFT__STACK_BASE_MASK | WEFT__STACK_CANARY |
                             WEFT__STACK_CLASS_MASK);
    next = next ? next : &w->base;
    if (!PLAIN) {
        tell_end(stack);
        weft__switch(w, NULL, next, WEFT__LEFT_END);
        weft__fatal(__FILE__, __LINE__, "a fiber that had ended went on");
    }
    w->left = NULL;
    w->left_how = WEFT__LEFT_END;
    weft__count(&w->counters.switches, 1);
    next->worker = w;
    weft__set_self(next);
    return next->sp;
}

/* --- The switch itself ----------------------------------------------------- */

/* Never inlined or cloned: all contexts are left at one place, where the
 * return predictor expects whoever comes back. */
#if defined(__clang__)
__attribute__((noinline))
#else
__attribute__((noinline, noclone))
#endif
void weft__switch(struct weft__worker *w, struct weft__fiber *self,
                  struct weft__fiber *to, enum weft__left how)
{
    struct exceptions exceptions;
    bool in_flight;
    void *nowhere;
    bool fresh = weft__fiber_unstarted(to);
    void *load;

    w->left = self;
    w->left_how = how;
    weft__count(&w->counters.switches, 1);
    if (fresh) {
        uintptr_t flags = weft__load(&to->stack, RELAXED); /* ours to run */
        weft__stack_t stack =
            weft__stack_take(&w->stacks, weft__stack_class_of(flags),
                             weft__sched.config.stack_class);

        /* relaxed: only dumps read it from elsewhere. */
        weft__store(&to->stack, flags | stack, RELAXED);
        load = weft__stack_top(stack);
    } else {
        load = to->sp;
    }
    to->worker = w;
    weft__set_self(to);
    in_flight = exceptions_leave(w, &exceptions);
    tell_leave(w, self, to, fresh);

    weft__context_switch(self ? &self->sp : &nowhere, load,
                         fresh ? fiber_main : NULL, to);

    /* Someone came back to `self`, perhaps on another worker. */
    w = self->worker;
    tell_arrive(w, self);
    if (in_flight)
        *(struct exceptions *)w->exceptions = exceptions;
    landed(w);
}

void weft__switch_away(struct weft__fiber *self, enum weft__left how)
{
    struct weft__worker *w = self->worker;
    struct weft__fiber *next = weft__find_local(w);

    w->left_child = NULL;
    weft__switch(w, self, next ? next : &w->base, how);
}
