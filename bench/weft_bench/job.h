/*
 * What the table holds: jobs, and the rows each of them fills
 *
 * A job is one piece of work on a number of workers, done by weft and by its
 * rivals in turn. A row sets one figure of weft's beside one rival's, or
 * beside a bound. One job may fill several rows: time and peak memory, against
 * tokio and against Go.
 */
#ifndef BENCH_JOB_H
#define BENCH_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/weft_bench/run.h"

enum figure {
    FIGURE_NONE,
    FIGURE_TIME,  /* ns an operation */
    FIGURE_PEAK,  /* VmHWM, MiB */
    FIGURE_BYTES, /* of each that is parked */
    FIGURE_CPU,   /* ms of processor time, in ten seconds */
    FIGURE_BUSY,  /* ms of processor time, in all */
    FIGURE_WALL,  /* ms in all */
    FIGURE_P50,   /* us that a wake-up is late, or an answer takes */
    FIGURE_P99,
    FIGURE_WORST,
    FIGURE_SERVER, /* ns of the server's processor time, a request */
    FIGURE_CALLS,  /* system calls a request */
    FIGURES
};

struct row {
    enum figure figure;
    enum runner rival; /* RUN_WEFT: none */
    double bar;        /* most that weft / rival may be; 0: none is set */
    double bound;      /* most that weft's own figure may be; 0: none is set */
};

/* Jobs that are no --child of ours have programs of their own. */
enum job_kind { JOB_CASE, JOB_RAW_SWITCH, JOB_PIPELINE, JOB_NETWORK };

enum { MOST_ROWS = 8 };

struct job {
    const char *label; /* in the table */
    enum job_kind kind;
    struct task task;      /* of weft, the peers and the pool */
    uint64_t quick_ops;    /* with --quick */
    uint64_t thread_share; /* threads do 1 / this of it, where one is so dear
                              that fewer operations tell as much */
    uint64_t pool_share;   /* and a pool this */
    unsigned most_pairs;   /* where more tell nothing new; 0: no limit */
    struct row rows[MOST_ROWS]; /* FIGURE_NONE ends them */
};

extern const struct job jobs[];
extern const unsigned job_count;

#endif
