/*
 * Joining: where the end of a fiber meets the one who waits for it.
 *
 * The joiner registers itself in the child's life word and then writes the
 * generation of its wait beside it; the child's end takes the life word to
 * ENDED and wakes that generation. The record is recycled by the joiner, and
 * nothing may touch it after that.
 *
 *     joiner                             ender
 *     1 publish the wait (OPEN, gen)     1 CAS life: + ENDED
 *     2 CAS life: + JOINED, index        2 if JOINED: g = joiner_gen
 *     3 joiner_gen = gen                 3 claim (joiner, g): its last touch
 *     4 commit (a full barrier)          4 if g was 0 or the claim lost: reap
 *     5 life ENDED? claim itself
 *
 * What holds:
 *   1. g is read after ENDED, when no joiner can leave or come any more, so it
 *      is 0 or the registered joiner's. (Read before, it could be that of an
 *      earlier joiner; generations count for each fiber by itself, and the
 *      same number may name another wait of the present one.) If it is 0 the
 *      joiner is between its 2 and 3, and its look after its barrier sees
 *      ENDED (Dekker).
 *   2. A joiner that was claimed by the ender has the record for itself. One
 *      that ended its wait otherwise (cancelled, or by its own look) and finds
 *      ENDED takes the result, and then it and the ender, who may still look,
 *      meet in REAPED: the second one recycles. With REAPED the joiner takes
 *      JOINED back: the id is stale to all others when its call returns,
 *      though the ender may still be on its way.
 *   3. A joiner that leaves before the end sets joiner_gen to 0 and takes
 *      JOINED back, in this order, so the next joiner starts from 0.
 *
 * A select joins as one of several things that it waits for. It writes its
 * generation with the mark JOIN_ONE_OF, by which the ender's first claim fails
 * and the second tells the child that it was this one: JOIN_WON. Its look for
 * ENDED comes before it parks, behind a full barrier of its own. When it goes
 * elsewhere the child must be as it was: while it runs, JOINED is taken back;
 * if it has ended, the ender's REAPED is waited for, which is its last touch,
 * and both are taken back. That is a few instructions of a thread that waits
 * for nothing; so the leaver yields until then. It may be woken long before it
 * runs: meanwhile JOINED and REAPED tell others that it is busy, not stale.
 *
 * Why not the generation in the life word: it has 48 bits, and version and
 * joiner's index leave 8.
 */
#ifndef WEFT_SCHED_JOIN_H
#define WEFT_SCHED_JOIN_H

#include "sched/worker.h"

/* The end of `f`, whose result is stored: wakes its joiner, gives the record
 * back if that is due. Answers a joiner that the caller should switch to. */
struct weft__fiber *weft__join_end(struct weft__worker *w,
                                   struct weft__fiber *f);

/* Step 5 of the joiner: see above. `version` is the child's. */
void weft__join_commit(struct weft__fiber *joiner, uint64_t gen,
                       struct weft__fiber *child, uint64_t version);

/* weft_join() and weft_join_until() for a fiber; `child`, another one, and its
 * life word as found. */
int weft__join(struct weft__fiber *self, struct weft__fiber *child,
               uint64_t life, void **result);
int weft__join_until(struct weft__fiber *self, struct weft__fiber *child,
                     uint64_t life, void **result, int64_t deadline);

/* Take the result of one that has ended, without waiting: 0, or -EAGAIN when
 * it has not. From anywhere. Other answers as weft_join(). */
int weft__join_try(struct weft__fiber *child, uint64_t life, void **result);

/* --- As one of several ------------------------------------------------------ */

/* What weft__join_try() would answer to a life word, which stays as it is. */
int weft__join_look(uint64_t life);

enum weft__join_entered {
    WEFT__JOIN_ENTERED,
    WEFT__JOIN_TWICE, /* the caller is its joiner already */
    WEFT__JOIN_AGAIN  /* it has changed: look again */
};

/* Become the joiner, for the open wait `gen`. */
enum weft__join_entered weft__join_enter(struct weft__fiber *self,
                                         struct weft__fiber *child,
                                         uint64_t version, uint64_t gen);
/* Has it ended since? After all have been entered, and a full barrier. */
bool weft__join_ended(const struct weft__fiber *child);

/* The wait is over. Was it this child's end? Then take its result; else leave
 * it joinable. */
bool weft__join_won(const struct weft__fiber *child);
void weft__join_take(struct weft__fiber *child, void **result);
void weft__join_quit(struct weft__fiber *self, struct weft__fiber *child);

/* weft_detach(). */
int weft__detach(struct weft__fiber *child, uint64_t life);

#endif
