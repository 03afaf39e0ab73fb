/*
 * What the tests of the lanes share.
 */
#ifndef TESTS_SUPPORT_LANE_H
#define TESTS_SUPPORT_LANE_H

#include "netpoll/offload.h"
#include "tests/support_prim.h"

/* End a fiber's wait as its deadline does, whatever that is; false: it does
 * not wait, or for something that has none. */
bool expire(weft_fiber_t f);

/* Yield until so many of the lane's jobs run and wait. */
void wait_for_jobs(enum weft__lane_kind kind, uint64_t running,
                   uint64_t queued);

/* Jobs that the lane has begun in this run. */
uint64_t jobs_begun(enum weft__lane_kind kind);

/* The calling fiber's record. */
struct weft__fiber *self(void);

/* Threads of this process that have such a name. */
unsigned threads_named(const char *name);

#endif
