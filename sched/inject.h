/*
 * The injection queue: what is ready and belongs to no worker.
 *
 * Fibers made ready by threads that are no workers, and what did not fit into
 * a worker's ring. Every worker looks here when its own queue is empty, and
 * every 61 turns. Two rings under a lock, as large as there may be entries, so
 * that a push never fails: those who have started, and those who have not. Each
 * is first in first out; where there are both, three who have started come to
 * one who has not, so that a sleeper that wakes does not queue behind a million
 * new ones.
 */
#ifndef WEFT_SCHED_INJECT_H
#define WEFT_SCHED_INJECT_H

#include <stdint.h>

/* -ENOMEM. Once a process. */
int weft__inject_setup(void);

/* Append n entries (see runq.h). Anybody's. */
void weft__inject_push(const uint32_t *entries, uint32_t n);
/* Take up to n. Anybody's. */
uint32_t weft__inject_pop(uint32_t *entries, uint32_t n);
/* How many there are, at a glance. */
uint32_t weft__inject_len(void);

/* In a forked child: no other thread is at the queue. */
void weft__inject_forked(void);

#endif
