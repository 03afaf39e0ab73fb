/*
 * The monitor's loop: see monitor.c.
 */
#ifndef WEFT_SCHED_MONITOR_H
#define WEFT_SCHED_MONITOR_H

#include <stdbool.h>

/* Watch over the workers until the first fiber has ended and all others too
 * (true), or the stop_timeout is over (false). */
bool weft__monitor_watch(void);

/* Of a run that was left so: all workers look around, and who computes is asked to
 * yield. */
void weft__monitor_nudge(void);

#endif
