/*
 * Defects to plant in the seams: what the shipped source relies on is taken
 * away from all of it at once, and a scenario that is worth its time fails.
 */
#ifndef WEFT_TESTS_SIM_SUPPORT_H
#define WEFT_TESTS_SIM_SUPPORT_H

#include <stdbool.h>
#include <stdint.h>

enum sim_defect {
    SIM_NO_FENCE,      /* full fences order nothing, nor do SEQ_CST stores */
    SIM_NO_MEMBARRIER, /* it reaches no other thread */
    SIM_TORN_CAS,      /* another may come between compare and swap */
    SIM_TORN_RMW,      /* another may come between read and write */
    SIM_LOST_WAKES     /* futexes wake nobody */
};

/* For all runs that follow in this process (a Check test is one). */
void sim_plant(enum sim_defect defect);

/*
 * What a search over whole runtimes met. An entry answers 0 or more when all
 * was well: a sum of bits, each of which stands for a place it wants to have
 * been to, so that a search can show that its runs got there.
 */
struct sim_met {
    unsigned runs;
    unsigned times[16]; /* runs that had this bit */
    unsigned long long steps;
};

/* Threads of the blocking lane in these runs. */
enum { SIM_LANES = 2 };

/*
 * Run entry(arg) on `workers` virtual workers under `runs` seeds, with run
 * queues of `ring` entries, and print a line of figures under `name`. What
 * the runtime logs is a failure too, and so is a second in which everyone
 * sleeps: a wake-up was lost, and a timeout came to help. Returns `runs`, or
 * the code of the first run that failed.
 *
 * For a long search SIM_SCALE=100 makes a hundred times as many runs. With
 * WEFT_SEED each search of a program is of that seed alone, and all are taken
 * to have met everything, so that the one which failed is reached.
 */
int sim_runs(const char *name, unsigned workers, uint32_t ring, unsigned runs,
             int (*entry)(void *), void *arg, struct sim_met *met);

/* Is a defect found by the same search? A run that dies of it counts. The
 * search is made in a child process, which keeps the defect. */
bool sim_finds(enum sim_defect defect, unsigned workers, uint32_t ring,
               unsigned runs, int (*entry)(void *), void *arg);

/* Bits that tell what the runtime did so far in this run, from its counters:
 * something was stolen; a queue overflowed; a worker slept; one was woken. */
enum { SIM_STOLE = 1, SIM_OVERFLOWED = 2, SIM_SLEPT = 4, SIM_WOKE = 8,
       SIM_FIRST_FREE = 16 };
int sim_did(void);

#endif
