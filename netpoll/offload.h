/*
 * Offload lanes: threads for code that blocks.
 *
 * A bounded, elastic pool: a job that finds no idle thread makes one, up to
 * the lane's bound, and a thread that has had nothing to do for ten seconds
 * ends. Jobs wait in order.
 *
 * The job lives with its fiber, which does not leave before the job is done
 * or taken back; the lane does not touch it after it has let the fiber go.
 */
#ifndef WEFT_NETPOLL_OFFLOAD_H
#define WEFT_NETPOLL_OFFLOAD_H

#include <stdint.h>

#include "sched/fiber.h"

struct weft__lane_stats {
    uint64_t threads;
    uint64_t queued;
    uint64_t running;
    int64_t age; /* ns the oldest queued job has waited */
};

/* Start with no thread. `max`: how many there may be. */
void weft__lane_open(unsigned max);
/* End all threads. No job is queued or running. */
void weft__lane_close(void);

/* Run fn(arg) on the lane and park `self` meanwhile, until `deadline` or, once
 * it has begun, its end. See weft_blocking_until(). */
int weft__lane_run(struct weft__fiber *self, void *(*fn)(void *), void *arg,
                   void **result, int64_t deadline);

void weft__lane_stats(struct weft__lane_stats *out);

#endif
