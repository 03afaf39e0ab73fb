/*
 * Defects to plant in the seams: what the shipped source relies on is taken
 * away from all of it at once, and a scenario that is worth its time fails.
 */
#ifndef WEFT_TESTS_SIM_SUPPORT_H
#define WEFT_TESTS_SIM_SUPPORT_H

enum sim_defect {
    SIM_NO_FENCE,      /* full fences order nothing, nor do SEQ_CST stores */
    SIM_NO_MEMBARRIER, /* it reaches no other thread */
    SIM_TORN_CAS,      /* another may come between compare and swap */
    SIM_TORN_RMW,      /* another may come between read and write */
    SIM_LOST_WAKES     /* futexes wake nobody */
};

/* For all runs that follow in this process (a Check test is one). */
void sim_plant(enum sim_defect defect);

#endif
