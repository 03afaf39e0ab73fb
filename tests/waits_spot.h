/*
 * The form of the situations in waits.h.
 */
#ifndef TESTS_WAITS_SPOT_H
#define TESTS_WAITS_SPOT_H

#include <weft/weft.h>

#include "netpoll/offload.h"
#include "sched/atomic.h"
#include "sched/os.h"

#ifndef TELL
#define TELL(call) (call)
#endif

/* How many threads the blocking lane has. */
#ifndef WAIT_LANES
#define WAIT_LANES 1
#endif

enum { WAIT_OTHERS = 2, WAIT_MINE = 1, WAIT_NEXT = 3, WAIT_THEIRS = 2 };

/* One situation. */
struct spot {
    weft_chan_t *ch;
    weft_chan_t *silent; /* that a select waits at, too */
    weft_queue_t *q;
    weft_mutex_t mutex;
    weft_cond_t cond;
    weft_sem_t sem;
    weft_waitgroup_t group;
    weft_fiber_t other[WAIT_OTHERS];
    weft__au32 gate; /* opened by the giver */
    weft__au32 ran;  /* jobs of the waiter's */
    unsigned turn;   /* odd: others come a little later */
    unsigned inside; /* plain: what the mutex keeps apart */
    unsigned tokens; /* the same: what is signalled at the condition */
    int given;       /* what the giver's call answered */
    long out[2];     /* what the giver took, or another */
    long in[2];      /* what the waiter got */
};

struct wait_kind {
    const char *name;
    /* By the giver, before the waiter comes. */
    void (*make)(struct spot *s);
    int (*call)(struct spot *s, weft_time_t deadline);
    void (*give)(struct spot *s);
    /* By the waiter, who has taken note of its cancel, when all others are
     * done: the world by what the call answered; and clean up. */
    void (*check)(struct spot *s, int status);
    /* What the call does when all was given before it came: 0, or it has to
     * wait nevertheless. */
    bool at_once;
};

static inline void wait_spawn(struct spot *s, int i, void *(*fn)(void *))
{
    must(weft_spawn(&s->other[i], fn, s) == 0);
}

static inline void wait_join(struct spot *s, int i)
{
    must(weft_join(s->other[i], NULL) == 0);
}

#endif
