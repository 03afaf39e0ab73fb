/*
 * A crowd of fibers that sleep at once, and others beside them (case_asleep.c).
 */
#ifndef BENCH_ASLEEP_H
#define BENCH_ASLEEP_H

#include "bench/weft_bench/work.h"

struct crowd;

/* What a fiber of the crowd is given. */
struct asleep_one {
    struct crowd *crowd;
    uint64_t number;
};

/* The first `count` of the crowd, who wait for something else than the time. */
struct asleep_others {
    uint64_t count;
    void *(*fiber)(void *arg);                   /* of an asleep_one */
    int (*wake)(struct work *w, uint64_t count); /* when all are parked */
};

/* The last word of each of them, and whether it was woken by what it should. */
void asleep_woken(struct asleep_one *one, bool right);

/* Starts w->ops of them, waits until all are parked, and until all have woken;
 * fills in bytes_each. */
int asleep_crowd(struct work *w, const struct asleep_others *others);

#endif
