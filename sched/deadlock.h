/*
 * A whole program asleep: nothing runs, and nothing can wake anyone.
 */
#ifndef WEFT_SCHED_DEADLOCK_H
#define WEFT_SCHED_DEADLOCK_H

#include <stdbool.h>

#include "sched/worker.h"

/* Called by a worker that is about to sleep, its bit set and no queue with
 * anything in it: is the whole program asleep for ever? */
bool weft__deadlock_look(struct weft__worker *w);

/* Say so, and end one wait. By the worker that saw it, its bit cleared: the
 * fiber it wakes is its own to run. */
void weft__deadlock_declare(void);

#endif
