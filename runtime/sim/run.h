/*
 * One run: begin() with settings that have no gaps, make the first virtual
 * threads, and hosted() moves them until the run is over.
 */
#ifndef WEFT_RUNTIME_SIM_RUN_H
#define WEFT_RUNTIME_SIM_RUN_H

#include <stdint.h>

#include "runtime/sim/sim.h"

/* What the program asks for (NULL: nothing) with every default filled in.
 * Returns 0, 1 if the environment gave the seed, or -EINVAL. */
int weft__run_settings(const weft_sim_t *sim, weft_sim_t *set);

/* An empty world. Returns 0, -EBUSY, -EINVAL or -ENOMEM. */
int weft__run_begin(const weft_sim_t *set);

/* From here on the seams are the world's. It is over when the threads in
 * `awaited`, a mask, have ended. */
void weft__run_start(uint64_t awaited);

/* Start, and let them move, thread 0 first, until the run is over or has
 * failed; weft__sim_last() tells. */
void weft__run_hosted(uint64_t awaited);

/* What the run came to; and the seams are plain again. */
void weft__run_result(enum weft__sim_verdict verdict, const char *what);
void weft__run_end(void);

/* The run was sound, but what it answered is wrong: say so. */
void weft__run_found(const char *what);

/* The code that a verdict is answered with. */
int weft__run_code(enum weft__sim_verdict verdict);

#endif
