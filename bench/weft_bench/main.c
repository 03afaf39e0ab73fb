/*
 * weft-bench: the same work on weft, on threads and in other languages, in one
 * run and in turn
 *
 * Every run is a process of its own (child.h). The runs of a job alternate,
 * weft first in one pair and last in the next, so that whatever drifts, drifts
 * for all; the ratio of each pair counts, and their median is the row's.
 */
#include <errno.h>
#include <limits.h>
#include <regex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/weft_bench/child.h"
#include "bench/weft_bench/job.h"
#include "bench/weft_bench/json.h"
#include "bench/weft_bench/network.h"
#include "bench/weft_bench/options.h"
#include "bench/weft_bench/program.h"
#include "bench/weft_bench/run.h"
#include "bench/weft_bench/score.h"
#include "bench/weft_bench/table.h"

/* ---- one job ---- */

/* Each figure once, with no rival. */
static void outcome_alone(struct outcome *outcome, const struct job *job)
{
    bool shown[FIGURES] = { false };

    for (unsigned i = 0; i < MOST_ROWS; i++) {
        struct row row = job->rows[i];

        if (row.figure == FIGURE_NONE)
            break;
        if (shown[row.figure])
            continue;
        shown[row.figure] = true;
        outcome->rows[outcome->row_count++] =
            (struct row){ row.figure, RUN_WEFT, 0, row.bound };
    }
}

/* The rows that can be filled here. One with a bound of its own stays, alone,
 * where its rival is missing; where all are, weft's figures are worth knowing. */
static void outcome_begin(struct outcome *outcome, const struct job *job,
                          const struct options *options)
{
    memset(outcome, 0, sizeof(*outcome));
    outcome->job = job;
    outcome->task = job->task;
    if (options->quick)
        outcome->task.ops = job->quick_ops;
    outcome->pairs = options->pairs;
    if (job->most_pairs > 0 && job->most_pairs < outcome->pairs)
        outcome->pairs = job->most_pairs;

    for (unsigned i = 0; i < MOST_ROWS; i++) {
        struct row row = job->rows[i];

        if (row.figure == FIGURE_NONE)
            break;
        if (!run_have(&options->run, row.rival)) {
            if (row.bound <= 0)
                continue;
            row.rival = RUN_WEFT;
        }
        outcome->rows[outcome->row_count++] = row;
    }
    if (outcome->row_count == 0)
        outcome_alone(outcome, job);
}

/* Who runs in this job, weft first. */
static unsigned outcome_runners(const struct outcome *outcome,
                                enum runner *runners)
{
    bool wanted[RUNNERS] = { [RUN_WEFT] = true };
    unsigned count = 0;

    for (unsigned i = 0; i < outcome->row_count; i++)
        wanted[outcome->rows[i].rival] = true;
    if (wanted[RUN_TOKIO] && outcome->task.workers == 1)
        wanted[RUN_TOKIO_CURRENT] = true;
    for (unsigned who = 0; who < RUNNERS; who++)
        if (wanted[who])
            runners[count++] = (enum runner)who;
    return count;
}

static struct sample measure(const struct options *options,
                             const struct outcome *outcome, enum runner who)
{
    struct task task = outcome->task;

    if (who == RUN_PTHREAD && outcome->job->thread_share > 0)
        task.ops /= outcome->job->thread_share;
    if (who == RUN_POOL && outcome->job->pool_share > 0)
        task.ops /= outcome->job->pool_share;
    switch (outcome->job->kind) {
    case JOB_RAW_SWITCH:
        return program_switch(&options->programs, &task);
    case JOB_PIPELINE:
        return program_pipeline(&options->programs, who, &task);
    case JOB_NETWORK:
        return network_run(&options->network, who, &task);
    case JOB_CASE:
        break;
    }
    return run_task(&options->run, who, &task);
}

/* Who cannot do the work once is not asked again. */
static bool given_up(const struct outcome *outcome, enum runner who,
                     unsigned pair)
{
    for (unsigned i = 0; i < pair; i++)
        if (outcome->samples[who][i].state > SAMPLE_OK)
            return true;
    return false;
}

static void outcome_fill(struct outcome *outcome, const struct options *options)
{
    enum runner runners[RUNNERS];
    unsigned count = outcome_runners(outcome, runners);

    for (unsigned pair = 0; pair < outcome->pairs; pair++) {
        for (unsigned i = 0; i < count; i++) {
            enum runner who = runners[pair % 2 == 0 ? i : count - 1 - i];
            if (!given_up(outcome, who, pair))
                outcome->samples[who][pair] = measure(options, outcome, who);
        }
        fputc('.', stderr);
    }
    for (unsigned i = 0; i < count; i++) {
        double time =
            score_median(outcome, outcome->rows[0].figure, runners[i]);
        if (time > 0)
            fprintf(stderr, " %s %.1f", runner_name(runners[i]), time);
        else
            fprintf(stderr, " %s -", runner_name(runners[i]));
    }
    fputc('\n', stderr);
}

/* ---- all of them ---- */

static bool job_wanted(const struct job *job, const struct options *options)
{
    char name[64], why[600];

    if (options->workers != 0 &&
        (options->workers & (uint64_t)1 << job->task.workers) == 0)
        return false;
    if (job->kind == JOB_PIPELINE && !program_have_pipeline(&options->programs))
        return false;
    if (job->kind == JOB_NETWORK &&
        !network_have(&options->network, job->task.case_name, why, sizeof(why)))
        return false;
    snprintf(name, sizeof(name), "%s w%u", job->label, job->task.workers);
    return !options->filtered || regexec(&options->only, name, 0, NULL, 0) == 0;
}

static unsigned cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    return (unsigned)CPU_COUNT(&set);
}

static struct outcome *run_all(const struct options *options, unsigned *count)
{
    struct outcome *outcomes = calloc(job_count, sizeof(*outcomes));
    unsigned wanted = 0;

    *count = 0;
    if (outcomes == NULL)
        return NULL;
    for (unsigned i = 0; i < job_count; i++)
        wanted += job_wanted(&jobs[i], options);
    for (unsigned i = 0; i < job_count; i++) {
        struct outcome *outcome = &outcomes[*count];

        if (!job_wanted(&jobs[i], options))
            continue;
        ++*count;
        outcome_begin(outcome, &jobs[i], options);
        fprintf(stderr, "[%2u/%u] %s w%u ", *count, wanted, jobs[i].label,
                jobs[i].task.workers);
        outcome_fill(outcome, options);
    }
    return outcomes;
}

/* A row that is not there is named too. */
static void print_missing(const struct options *options)
{
    if (!run_have(&options->run, RUN_TOKIO))
        printf("Not in the table: tokio; --peers says where peer-tokio is.\n");
    if (!run_have(&options->run, RUN_GO))
        printf("Not in the table: go; --peers says where peer-go is.\n");
    if (!program_have_pipeline(&options->programs))
        printf("Not in the table: the pipeline; there is no"
               " %s/pipeline-weft.\n",
               options->programs.pipeline_dir);
    for (unsigned i = 0; i < job_count; i++) {
        char why[600];

        if (jobs[i].kind == JOB_NETWORK &&
            !network_have(&options->network, jobs[i].task.case_name, why,
                          sizeof(why)))
            printf("Not in the table: %s; %s.\n", jobs[i].label, why);
    }
}

/* Say when the figures are not worth much. */
static void print_busy(const struct outcome *outcomes, unsigned count)
{
    double share = score_quiet(outcomes, count);

    if (share < 0.9)
        printf("The machine was busy: with one worker weft got %.0f %% of its"
               " core. Ratios of so\nnoisy a run say little; look at the"
               " spread.\n",
               share * 100);
}

static int print_all(const struct options *options,
                     const struct outcome *outcomes, unsigned count)
{
    unsigned shorts = 0, failures = 0;
    struct json json;

    table_head();
    for (unsigned i = 0; i < count; i++)
        table_rows(&outcomes[i], &shorts, &failures);
    table_foot(shorts, failures);
    print_missing(options);
    print_busy(outcomes, count);

    if (options->json != NULL) {
        if (json_open(&json, options->json, cores(), options->quick) != 0) {
            fprintf(stderr, "weft-bench: %s: %s\n", options->json,
                    strerror(errno));
            return 1;
        }
        for (unsigned i = 0; i < count; i++)
            json_rows(&json, &outcomes[i]);
        if (json_close(&json) != 0) {
            fprintf(stderr, "weft-bench: %s: not all was written\n",
                    options->json);
            return 1;
        }
    }
    return failures > 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    static char self[PATH_MAX];
    struct options options;
    struct outcome *outcomes;
    unsigned count;
    int status;

    if (argc > 2 && strcmp(argv[1], "--child") == 0)
        return child_main(argc - 2, argv + 2);

    if (readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0) {
        fprintf(stderr, "weft-bench: /proc/self/exe: %s\n", strerror(errno));
        return 1;
    }
    options_parse(&options, self, argc, argv);
    if (options.list) {
        for (unsigned i = 0; i < job_count; i++)
            if (job_wanted(&jobs[i], &options))
                printf("%s w%u\n", jobs[i].label, jobs[i].task.workers);
        return 0;
    }

    outcomes = run_all(&options, &count);
    if (outcomes == NULL) {
        fprintf(stderr, "weft-bench: no memory\n");
        return 1;
    }
    status = print_all(&options, outcomes, count);
    free(outcomes);
    return status;
}
