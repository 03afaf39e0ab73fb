/*
 * Fibers: the records, their ids and their lives.
 *
 * A fiber is a record in a pool that is never freed: a line of 64 bytes with
 * all that a fiber needs that has not run yet, and a cold part beside it. Both
 * are found by the record's index. The public id is the index with a version
 * above it; the version goes up when the record is recycled, and a record
 * whose versions are used up is retired.
 *
 * Two words decide everything about a fiber: `wake`, where its sleep and its
 * wakers meet (park.h), and `life`, where all else does:
 *
 *     63..32 version   31..8 index of the joiner   7..0 flags
 *
 * Cancel, join and detach are each one compare-and-swap on the life word that
 * expects the version, so none of them ever touches the record's next owner.
 *
 *     spawn    -> BORN + HINT     (a queue entry that says "new" is out)
 *     cancel   -> + CANCEL        sticky
 *     detach   -> + DETACHED
 *     join     -> + JOINED, joiner's index
 *     end      -> + ENDED, or with DETACHED straight to consumed
 *     consumed -> version + 1; with HINT still out: + CONSUMED, and the record
 *                 waits for whoever drops the hint
 */
#ifndef WEFT_SCHED_FIBER_H
#define WEFT_SCHED_FIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weft/fiber.h>

#include "sched/atomic.h"
#include "sched/stack.h"

struct weft__worker;

struct weft__fiber {
    weft__au64 wake;
    weft__au64 life;
    union {
        void *(*entry)(void *); /* before it has started */
        void *sp;               /* while it does not run */
        void *result;           /* when it has ended */
    };
    void *arg;
    struct weft__worker *worker; /* where it runs; written at each resume */
    const void *site;            /* the return address of its spawn */
    weft__atomic(uintptr_t) stack; /* weft__stack_t, and the flags below */
    weft__au64 joiner_gen;         /* generation of the joiner's wait; or 0 */
} __attribute__((aligned(64)));

/* Flags in the low bits of fiber->stack, beside those of stack.h. Written by
 * whoever holds the right to run the fiber. */
#define WEFT__FIBER_OWNS_HINT ((uintptr_t)64) /* its starter took the hint */
#define WEFT__FIBER_NAMED ((uintptr_t)128)
#define WEFT__FIBER_BASE ((uintptr_t)256)    /* a worker's own context */
#define WEFT__FIBER_FOREIGN ((uintptr_t)512) /* a thread, no fiber */
#define WEFT__FIBER_LANE ((uintptr_t)1024)   /* of these, a lane's */
#define WEFT__FIBER_SHIELDED ((uintptr_t)2048) /* cancel is lifted */

/* What a fiber touches seldom. */
struct weft__fiber_cold {
    char name[WEFT_NAME_MAX];
    /* What it waits for: for dumps. Read by others while it may change. */
    weft__atomic(const char *) what;
    weft__aptr object;
    weft__ai64 since;
    weft__ai64 deadline; /* of this wait; WEFT_FOREVER: none */
    struct weft__fiber *in_hand; /* the next of a batch that was claimed */
    weft__au64 shields;          /* how many are open; its own */
    weft__au64 timer;            /* where its entry stands: see timer.h */
    /* The sanitizers' idea of it. */
    void *tsan;
    void *asan;
} __attribute__((aligned(64)));

/* Flags of the life word. */
#define WEFT__LIFE_CANCEL ((uint64_t)1)
#define WEFT__LIFE_HINT ((uint64_t)2)
#define WEFT__LIFE_DETACHED ((uint64_t)4)
#define WEFT__LIFE_ENDED ((uint64_t)8)
#define WEFT__LIFE_JOINED ((uint64_t)16)
#define WEFT__LIFE_REAPED ((uint64_t)32) /* see join.h */
#define WEFT__LIFE_CONSUMED ((uint64_t)64)
#define WEFT__LIFE_BORN ((uint64_t)128) /* this version's id was handed out */
#define WEFT__LIFE_JOINER_SHIFT 8
#define WEFT__LIFE_JOINER_MASK ((uint64_t)0xffffff << 8)
#define WEFT__LIFE_VERSION_SHIFT 32

enum { WEFT__FIBER_MAX = (1 << 24) - 1, WEFT__RECORD_CACHE = 128 };

/* A worker's own free records. */
struct weft__record_cache {
    unsigned count;
    uint32_t records[WEFT__RECORD_CACHE];
};

extern struct weft__fiber *weft__fiber_lines;
extern struct weft__fiber_cold *weft__fiber_colds;
/* Of each record the place of its entry in a heap: see timer.c. */
extern uint32_t *weft__fiber_timer_places;

/* Map the pool, once a process; from any thread. -ENOMEM. */
int weft__fiber_map(void);
/* The same, and tell which class of stacks records bring with them from now
 * on. */
int weft__fiber_setup(unsigned stack_class);
/* Records made so far: their indices are 1 to this number. */
uint32_t weft__fiber_made(void);

static inline uint32_t weft__fiber_index(const struct weft__fiber *f)
{
    return (uint32_t)(f - weft__fiber_lines);
}

static inline struct weft__fiber *weft__fiber_at(uint32_t index)
{
    return weft__fiber_lines + index;
}

static inline struct weft__fiber_cold *
weft__fiber_cold(const struct weft__fiber *f)
{
    return weft__fiber_colds + weft__fiber_index(f);
}

/* The id of a record at this moment. */
static inline weft_fiber_t weft__fiber_id(const struct weft__fiber *f)
{
    /* relaxed: the version of one's own fiber stands still; others only
     * print it. */
    uint64_t life = weft__load(&f->life, RELAXED);

    return (life & ~(uint64_t)0xffffffff) | weft__fiber_index(f);
}

static inline uint64_t weft__life_version(uint64_t life)
{
    return life >> WEFT__LIFE_VERSION_SHIFT;
}

static inline struct weft__fiber *weft__life_joiner(uint64_t life)
{
    return weft__fiber_at((uint32_t)((life & WEFT__LIFE_JOINER_MASK) >>
                                     WEFT__LIFE_JOINER_SHIFT));
}

/* Is this fiber's start still to come? For the holder of the right to it. */
static inline bool weft__fiber_unstarted(const struct weft__fiber *f)
{
    /* relaxed: the holder wrote it, or got it with the right. */
    return !(weft__load(&f->stack, RELAXED) & WEFT__STACK_BASE_MASK);
}

/*
 * Take a record with a reserved stack of the default class, or NULL. Its
 * version is set; all else is the taker's to fill in. `cache` is the calling
 * worker's, or NULL.
 */
struct weft__fiber *weft__record_take(struct weft__record_cache *cache);
void weft__record_give(struct weft__record_cache *cache,
                       struct weft__fiber *f);
void weft__record_cache_flush(struct weft__record_cache *cache);

/* The record that an id names; *life is its life word, whose version is the
 * id's. NULL: stale or nonsense. */
struct weft__fiber *weft__fiber_find(weft_fiber_t id, uint64_t *life);

/* --- Steps of a life ------------------------------------------------------ */

/*
 * The fiber has ended: `result` is stored. Answers the life word as it was,
 * which tells whom to wake (JOINED) and whether the record is the caller's to
 * give back (*free). The record may be another's on return.
 */
uint64_t weft__life_end(struct weft__fiber *f, bool *free);

/* The registered joiner of a fiber that has ended takes the record out of the
 * world. true: it is the caller's to give back. */
bool weft__life_consume(struct weft__fiber *f);

/* The same for anyone who found it ended and unjoined in *life: false when
 * someone else was faster, with *life renewed. */
bool weft__life_consume_at(struct weft__fiber *f, uint64_t *life, bool *free);

/* The ender and a joiner that was not woken by it meet: the second one gets
 * true and consumes. */
bool weft__life_reap(struct weft__fiber *f);
/* The same, for the joiner: its id is stale from here on. */
bool weft__life_reap_joined(struct weft__fiber *f);

/* Drop a queue entry that said "new". true: the record is the caller's to
 * give back. */
bool weft__life_drop_hint(struct weft__fiber *f);

/* In a forked child: no other thread is at the pool. */
void weft__fiber_forked(void);

#endif
