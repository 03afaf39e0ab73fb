/* One run for each of many seeds, in a child process each. */
#ifndef WEFT_RUNTIME_SIM_EXPLORE_H
#define WEFT_RUNTIME_SIM_EXPLORE_H

#include <weft/sim.h>

/* Make one run; answers a code, or 0 and more if it was sound. */
typedef int (*weft__once)(const weft_sim_t *set, void *arg);

/* Runs with set.seed and the seeds after it, until one answers a negative
 * code. each(answer, each_arg) is called here after each sound one, unless it
 * is NULL. Returns `runs`, or that code. */
int weft__explore_apart(weft_sim_t set, unsigned runs, weft__once once,
                        void *arg, void (*each)(int answer, void *arg),
                        void *each_arg);

/* The one run of a seed or schedule that was named: as it was found, in a process
 * that has run no other; and if it fails, once more in this one, where a debugger
 * is. Returns 1, or the code. */
int weft__explore_named(weft_sim_t set, weft__once once, void *arg,
                        void (*each)(int answer, void *arg), void *each_arg);

#endif
