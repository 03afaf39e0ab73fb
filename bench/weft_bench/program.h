/*
 * Jobs that have programs of their own: the bare switch, and the pipeline.
 */
#ifndef BENCH_PROGRAM_H
#define BENCH_PROGRAM_H

#include "bench/weft_bench/run.h"

enum { MOST_INPUTS = 8 };

struct program_options {
    const char *switch_program; /* bench_switch */
    const char *pipeline_dir;   /* where pipeline-weft and -pthread are */
    const char *inputs[MOST_INPUTS + 1]; /* what it reads; NULL at the end */
    bool pin;
};

/* What a call to the switch costs each way, between two functions that
 * return. */
struct sample program_switch(const struct program_options *options,
                             const struct task *task);

/* The pipeline was built. */
bool program_have_pipeline(const struct program_options *options);

/* The whole job, its outputs written below TMPDIR and removed again; weft or
 * pthread. An operation is a KiB of input. */
struct sample program_pipeline(const struct program_options *options,
                               enum runner who, const struct task *task);

#endif
