/*
 * Time
 *
 * A weft_time_t is nanoseconds, in an int64_t. A duration is a difference; a
 * deadline is absolute, on CLOCK_MONOTONIC, so that it passes unchanged
 * through several calls:
 *
 *     weft_time_t deadline = weft_after(WEFT_MS(50));
 */
#ifndef WEFT_TIME_H
#define WEFT_TIME_H

#include <stdint.h>

#include <weft/api.h>

WEFT_BEGIN_DECLS

/* Nanoseconds: of CLOCK_MONOTONIC when a point in time, else a duration. */
typedef int64_t weft_time_t;

/* The deadline that never comes. */
#define WEFT_FOREVER INT64_MAX
/* The deadline that is always past: a call given it never waits. */
#define WEFT_NOW INT64_MIN

/* Durations. */
#define WEFT_NS(n) ((weft_time_t)(n))
#define WEFT_US(n) ((weft_time_t)(n) * 1000)
#define WEFT_MS(n) ((weft_time_t)(n) * 1000000)
#define WEFT_SEC(n) ((weft_time_t)(n) * 1000000000)
#define WEFT_MIN(n) ((weft_time_t)(n) * 60000000000)

/*
 * The time now, in nanoseconds of CLOCK_MONOTONIC (in simulation: of the
 * virtual clock).
 *
 * Blocks:   never. From anywhere.
 */
WEFT_API weft_time_t weft_now(void);

/*
 * The point in time `duration` nanoseconds from now. Saturates: a duration
 * too long to add is WEFT_FOREVER; a negative one lies in the past.
 *
 * Blocks:   never. From anywhere.
 */
WEFT_API weft_time_t weft_after(weft_time_t duration);

WEFT_END_DECLS

#endif
