/*
 * From samples to one row's figures: medians, the median of the pairs' ratios
 * and its spread, and whether the bar was met.
 */
#ifndef BENCH_SCORE_H
#define BENCH_SCORE_H

#include "bench/weft_bench/job.h"

enum { MOST_PAIRS = 100 };

/* A job that was run: samples[who][n] are the runs of pair n. */
struct outcome {
    const struct job *job;
    struct task task; /* as it was asked of weft */
    unsigned pairs;
    unsigned row_count; /* the job's, less those whose rival is not there */
    struct row rows[MOST_ROWS];
    struct sample samples[RUNNERS][MOST_PAIRS];
};

enum verdict { VERDICT_NONE, VERDICT_OK, VERDICT_SHORT, VERDICT_FAILED };

struct score {
    enum runner rival; /* tokio's faster scheduler, where it has two */
    double weft;       /* median of the figure */
    double other;      /* the rival's; 0 if it has none */
    double ratio;      /* median over the pairs; 0 if there is none */
    double least;
    double most;
    enum verdict verdict;
    double rival_calls; /* a request: more than a fair rival makes; else 0 */
    const char *why;    /* why someone has no figure, or a wrong one, or NULL */
    enum runner who;    /* of whom that is said */
};

struct score score_row(const struct outcome *outcome, const struct row *row);

/* The figure of one run; 0 if it has none. */
double score_figure(const struct outcome *outcome, enum figure figure,
                    enum runner who, unsigned pair);

/* Of all pairs that have one; 0 if none has. */
double score_median(const struct outcome *outcome, enum figure figure,
                    enum runner who);

/* How much of its core weft got where it had one and wanted all of it; 1 on a
 * quiet machine, and 1 if there was no such run. */
double score_quiet(const struct outcome *outcomes, unsigned count);

#endif
