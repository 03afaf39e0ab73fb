#include "bench/weft_bench/score.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The idle row's bound is for ten seconds, however long it was watched. */
#define IDLE_MS 10000.0

/* System calls a request that a server on raw epoll may make. */
#define MOST_CALLS 2.05

double score_figure(const struct outcome *outcome, enum figure figure,
                    enum runner who, unsigned pair)
{
    const struct sample *sample = &outcome->samples[who][pair];

    if (sample->state != SAMPLE_OK)
        return 0;
    switch (figure) {
    case FIGURE_TIME:
        return sample->ns_op;
    case FIGURE_PEAK:
        return sample->peak_mib;
    case FIGURE_BYTES:
        return sample->bytes_each;
    case FIGURE_CPU:
        return sample->cpu_ms * IDLE_MS / (double)outcome->task.ops;
    case FIGURE_BUSY:
        return sample->cpu_ms;
    case FIGURE_WALL:
        return sample->wall_ms;
    case FIGURE_P50:
        return sample->p50_us;
    case FIGURE_P99:
        return sample->p99_us;
    case FIGURE_WORST:
        return sample->worst_us;
    case FIGURE_SERVER:
        return sample->server_ns;
    case FIGURE_CALLS:
        return sample->calls;
    case FIGURE_NONE:
    case FIGURES:
        break;
    }
    return 0;
}

static int score_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts. */
static double median_of(double *values, unsigned count)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof(*values), score_compare);
    if (count % 2 == 1)
        return values[count / 2];
    return (values[count / 2 - 1] + values[count / 2]) / 2;
}

double score_median(const struct outcome *outcome, enum figure figure,
                    enum runner who)
{
    double values[MOST_PAIRS];
    unsigned count = 0;

    for (unsigned i = 0; i < outcome->pairs; i++) {
        double value = score_figure(outcome, figure, who, i);
        if (value > 0)
            values[count++] = value;
    }
    return median_of(values, count);
}

/* Of tokio's two schedulers the faster one is the rival. */
static enum runner score_rival(const struct outcome *outcome, enum runner rival)
{
    double multi, current;

    if (rival != RUN_TOKIO)
        return rival;
    multi = score_median(outcome, FIGURE_TIME, RUN_TOKIO);
    current = score_median(outcome, FIGURE_TIME, RUN_TOKIO_CURRENT);
    return current > 0 && (multi <= 0 || current < multi) ? RUN_TOKIO_CURRENT
                                                          : RUN_TOKIO;
}

/* The first reason among its runs. */
static const char *score_why(const struct outcome *outcome, enum runner who,
                             enum sample_state state)
{
    for (unsigned i = 0; i < outcome->pairs; i++)
        if (outcome->samples[who][i].state == state)
            return outcome->samples[who][i].why;
    return NULL;
}

static void score_ratios(struct score *score, const struct outcome *outcome,
                         enum figure figure)
{
    double ratios[MOST_PAIRS];
    unsigned count = 0;

    for (unsigned i = 0; i < outcome->pairs; i++) {
        double ours = score_figure(outcome, figure, RUN_WEFT, i);
        double theirs = score_figure(outcome, figure, score->rival, i);
        if (ours > 0 && theirs > 0)
            ratios[count++] = ours / theirs;
    }
    if (count == 0)
        return;
    score->ratio = median_of(ratios, count);
    score->least = ratios[0];
    score->most = ratios[count - 1];
}

static enum verdict score_verdict(const struct score *score,
                                  const struct row *row)
{
    enum verdict verdict = VERDICT_NONE;

    if (row->bar > 0 && score->ratio > 0)
        verdict = score->ratio <= row->bar ? VERDICT_OK : VERDICT_SHORT;
    if (row->bound > 0 && verdict != VERDICT_SHORT)
        verdict = score->weft <= row->bound ? VERDICT_OK : VERDICT_SHORT;
    return verdict;
}

/* A bar is met by what was measured, against a rival that was right in each run:
 * is there something that was not? A rival that says what stops it is none. */
static bool score_fault(struct score *score, const struct outcome *outcome,
                        const struct row *row)
{
    score->who = RUN_WEFT;
    score->why = score_why(outcome, RUN_WEFT, SAMPLE_FAILED);
    if (score->why == NULL)
        score->why = score_why(outcome, RUN_WEFT, SAMPLE_STOPPED);
    /* Processor time may be less than the clock's step. */
    if (score->why == NULL && (row->bar > 0 || row->bound > 0) &&
        score->weft <= 0 && row->figure != FIGURE_CPU)
        score->why = "no such figure came";
    if (score->why == NULL && score->rival != RUN_WEFT) {
        score->who = score->rival;
        score->why = score_why(outcome, score->rival, SAMPLE_FAILED);
    }
    return score->why != NULL;
}

struct score score_row(const struct outcome *outcome, const struct row *row)
{
    struct score score = { .rival = score_rival(outcome, row->rival) };

    score.weft = score_median(outcome, row->figure, RUN_WEFT);
    if (score.rival != RUN_WEFT)
        score.other = score_median(outcome, row->figure, score.rival);
    if (score_fault(&score, outcome, row)) {
        score.verdict = VERDICT_FAILED;
        return score;
    }
    if (score.rival != RUN_WEFT) {
        score_ratios(&score, outcome, row->figure);
        score.why = score_why(outcome, score.rival, SAMPLE_STOPPED);
    }
    score.verdict = score_verdict(&score, row);
    /* The rule for a rival on raw epoll: else it is not the best one, and there
     * is no comparison. */
    if (score.rival == RUN_EPOLL && row->figure == FIGURE_SERVER &&
        strcmp(outcome->task.case_name, "echo") == 0) {
        double calls = score_median(outcome, FIGURE_CALLS, RUN_EPOLL);

        if (calls > MOST_CALLS) {
            score.rival_calls = calls;
            score.verdict = VERDICT_FAILED;
        }
    }
    return score;
}

double score_quiet(const struct outcome *outcomes, unsigned count)
{
    double wall = 0, cpu = 0;

    for (unsigned i = 0; i < count; i++) {
        const struct outcome *outcome = &outcomes[i];

        if (outcome->job->kind != JOB_CASE || outcome->task.workers != 1)
            continue;
        for (unsigned pair = 0; pair < outcome->pairs; pair++) {
            wall += outcome->samples[RUN_WEFT][pair].wall_ms;
            cpu += outcome->samples[RUN_WEFT][pair].cpu_ms;
        }
    }
    return wall > 0 ? cpu / wall : 1;
}
