/*
 * Simulation: deterministic tests of concurrent programs
 *
 * Link a program with libweft-sim in place of libweft and it runs on one OS
 * thread: its workers are coroutines, and at each step of the runtime that
 * another worker could observe (an atomic, a fence, a lock, a switch) a seed
 * decides who moves next. A store buffer delays plain stores as x86 does. The
 * same seed makes the same schedule:
 *
 *     weft_sim_t sim = WEFT_SIM_INIT;
 *     sim.seed = 7;
 *     int status = weft_sim_run(&sim, entry, NULL);
 *
 * WEFT_SEED=7 ./program replays a program's weft_run() likewise.
 */
#ifndef WEFT_SIM_H
#define WEFT_SIM_H

#include <stddef.h>
#include <stdint.h>

#include <weft/api.h>

WEFT_BEGIN_DECLS

/* How a simulated run is set up. Zero means the default. */
typedef struct weft_sim {
    size_t size;        /* sizeof(weft_sim_t): set by the macro */
    uint64_t seed;      /* which schedule; default 1 */
    uint64_t steps;     /* choices after which a run counts as hung; 1e6 */
    unsigned workers;   /* virtual workers; 2. WEFT_WORKERS wins over it */
    unsigned buffer;    /* depth of the store buffer; 2; UINT_MAX: none */
    const char *replay; /* a schedule that a failed run printed, or NULL */
} weft_sim_t;

#define WEFT_SIM_INIT { sizeof(weft_sim_t), 0, 0, 0, 0, 0 }

/*
 * Run entry(arg) as the first fiber of a simulated runtime.
 *
 * Blocks:   the calling thread. Not from a fiber.
 * Returns:  entry's value if it is 0 or more and the run was sound
 *           <0         what entry answered, or weft_run(); among them
 *           -EINVAL    entry is NULL, a field or a variable has no sense, or
 *                      `replay` does not fit the program
 *           -EPERM     called from a fiber
 *           -EBUSY     a runtime runs, or was left when its stop took too long,
 *                      or another simulation runs
 *           -EDEADLK   every fiber is asleep, and entry ended with that code;
 *                      or no virtual thread can ever move again
 *           -ETIMEDOUT the run took more than `steps` choices
 *           -ENOSYS    this is the ordinary library, not libweft-sim
 *           -ENOMEM
 */
WEFT_API int weft_sim_run(const weft_sim_t *sim, int (*entry)(void *),
                          void *arg);

/*
 * Run entry(arg) under `runs` seeds, starting with sim->seed, each in a forked
 * child, so that what one leaves in memory does not change the next. The first
 * run that answers a negative code stops the search; its seed and schedule are
 * printed on stderr. With WEFT_SEED or `replay` only that run is made, and if it
 * fails once more in the caller's process, where a debugger is.
 *
 * Blocks:   the calling thread. Not from a fiber.
 * Returns:  how many runs were made, if all were well
 *           as weft_sim_run() otherwise, also -EINVAL where `runs` is above
 *           INT_MAX; or what fork(2) says
 */
WEFT_API int weft_explore(const weft_sim_t *sim, unsigned runs,
                          int (*entry)(void *), void *arg);

WEFT_END_DECLS

#endif
