/*
 * The simulation, as the rest of the house and its tests see it
 *
 * weft_sim_run() and weft_explore() are in <weft/sim.h>; these are the doors
 * behind them: the hook by which weft_run() obeys WEFT_SEED, scenarios made
 * of bare virtual threads, what the last run did, and faults to order.
 *
 * One simulation a process at a time. docs/simulation.md tells how it works.
 */
#ifndef WEFT_RUNTIME_SIM_SIM_H
#define WEFT_RUNTIME_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weft/sim.h>

#include "sched/seam.h"

/* Virtual threads in one run, ended but not yet joined ones included. */
enum { WEFT__SIM_THREADS = 64 };

/* --- The hook in weft_run() ---------------------------------------------- */

/* Is WEFT_SEED set, and no simulation running yet? */
bool weft__sim_wanted(void);

/* Is the caller inside a simulation? */
bool weft__sim_active(void);

/* In a simulation: how many workers a runtime gets that was told no number (2 by
 * default), so that a seed means the same on every machine; and how many it has
 * got, by its configuration or WEFT_WORKERS, for the report. */
unsigned weft__sim_workers(void);
void weft__sim_has_workers(unsigned n);

/*
 * Begin a simulation whose virtual thread 0 is the caller, on the stack it
 * stands on; NULL takes the settings from the environment. A run that fails
 * is reported and the program stops there, by abort(3): the caller's stack
 * belongs to the run.
 *
 * Returns 0, and weft__sim_leave() is due; -EINVAL for settings without
 * sense (the log says which); -EBUSY when one runs already; -ENOMEM.
 */
int weft__sim_enter(const weft_sim_t *sim);

/* End it. The other virtual threads have ended, or are abandoned. */
void weft__sim_leave(void);

/* --- Scenarios of bare virtual threads ----------------------------------- */

/*
 * Run fns[0..n-1](arg), each as a virtual thread, until all have ended, and
 * then check(arg), which answers 0 or a negative code; check may be NULL.
 *
 * Returns 0; what check answered; -EDEADLK when no virtual thread can move;
 * -ETIMEDOUT after `steps` choices; -EPROTO after weft__sim_fail(); -EINVAL,
 * also for a schedule that does not fit; -EBUSY, -ENOMEM.
 */
int weft__sim_threads(const weft_sim_t *sim, void (*const fns[])(void *),
                      unsigned n, void *arg, int (*check)(void *));

/* The same under `runs` seeds, from sim->seed on (zero: 1), until one fails.
 * Returns how many runs were made, or what the failing one answered.
 * `prepare` makes arg fresh before each run; it may be NULL. */
int weft__sim_search(const weft_sim_t *sim, unsigned runs,
                     void (*const fns[])(void *), unsigned n, void *arg,
                     void (*prepare)(void *), int (*check)(void *));

/* The same, each run in a child process of its own, so that all begin with
 * what the process holds now; each(answer, each_arg) is called here after
 * each sound run, with what check answered. For threads that start a runtime,
 * whose pools outlive it. */
int weft__sim_search_apart(const weft_sim_t *sim, unsigned runs,
                           void (*const fns[])(void *), unsigned n, void *arg,
                           int (*check)(void *),
                           void (*each)(int answer, void *arg), void *each_arg);

/* End the run here: what was found is wrong. Outside a simulation it stops
 * the program. */
_Noreturn void weft__sim_fail(const char *what);

/* --- Whole runtimes ------------------------------------------------------ */

/* weft_explore() that calls each(answer, each_arg) after each sound run, with
 * what entry answered: so a test may add up what its runs have met. A run
 * that is made in this process, for WEFT_SEED, is not told. */
int weft__sim_explore(const weft_sim_t *sim, unsigned runs,
                      int (*entry)(void *), void *arg,
                      void (*each)(int answer, void *arg), void *each_arg);

/* --- What the last run did ----------------------------------------------- */

enum weft__sim_verdict {
    WEFT__SIM_SOUND,
    WEFT__SIM_DEADLOCK, /* no virtual thread can ever move again */
    WEFT__SIM_HUNG,     /* more choices than `steps` */
    WEFT__SIM_MISFIT,   /* the schedule asks for what cannot happen there */
    WEFT__SIM_WRONG     /* weft__sim_fail(), or a negative answer */
};

struct weft__sim_result {
    enum weft__sim_verdict verdict;
    uint64_t seed;
    uint64_t steps;   /* operations that other threads could notice */
    uint64_t choices; /* those at which there was more than one way on */
    uint64_t hash;    /* of the choices: equal for equal schedules */
    int64_t longest;  /* the most time, in ns, that passed at once because
                         nobody could move: a lost wake-up that a timeout
                         repairs shows here */
    const char *what; /* a sentence, if the verdict is not SOUND */
};

const struct weft__sim_result *weft__sim_last(void);

/* The last run's schedule as text for weft_sim_t.replay: cut to fit, with a
 * final zero. Returns the length of the whole. */
size_t weft__sim_schedule(char *text, size_t size);

/* Failures are expected: do not print them. */
void weft__sim_quiet(bool quiet);

/* --- Faults -------------------------------------------------------------- */

/*
 * Make a call fail: the nth of its kind from now on (1: the next), once, with
 * a negative `code`; nth 0: every one. A code of 0 takes the order back. In a
 * simulation and in the passthrough.
 */
void weft__sim_fault(enum weft__seam_fault kind, unsigned nth, int code);

/* How many calls of this kind were made since the order. */
unsigned weft__sim_fault_calls(enum weft__seam_fault kind);

/* Real threads and plain operations, but faults happen. To be switched while
 * no runtime runs. */
void weft__sim_passthrough(bool on);

/* --- Defects ------------------------------------------------------------- */

/* The simulation's own table, and the one that runs from now on use instead
 * (NULL: the own one). A test whose table leaves out a fence, or tears a
 * compare-and-swap in two, shows that its scenario would notice. */
extern const struct weft__seam weft__sim_seam;
void weft__sim_plant(const struct weft__seam *seam);

#endif
