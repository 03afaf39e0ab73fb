/*
 * A whole program asleep: nothing runs, and nothing can wake anyone.
 */
#ifndef WEFT_SCHED_DEADLOCK_H
#define WEFT_SCHED_DEADLOCK_H

#include "sched/worker.h"

/* Called by a worker that is about to sleep, its bit set and no queue with
 * anything in it. */
void weft__deadlock_look(struct weft__worker *w);

#endif
