#include "bench/weft_bench/program.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sample program_switch(const struct program_options *options,
                             const struct task *task)
{
    char program[512], ops[24], line[512];
    char rounds[] = "3";
    char *argv[] = { program, ops, rounds, NULL };
    struct sample sample;

    snprintf(program, sizeof(program), "%s", options->switch_program);
    snprintf(ops, sizeof(ops), "%llu", (unsigned long long)task->ops);
    sample = run_program(argv, options->pin ? 1 : 0, "switch/returns ", line,
                         sizeof(line));
    if (sample.state == SAMPLE_OK)
        sample.ns_op = run_field(line, " median=");
    return sample;
}

static int remove_one(const char *path, const struct stat *st, int kind,
                      struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

/* It says what it did in one line of JSON. */
static struct sample pipeline_parse(struct sample sample, const char *line)
{
    double bytes = run_field(line, "\"bytes\": ");
    double ns = run_field(line, "\"wall_ns\": ");

    if (bytes <= 0 || ns <= 0) {
        sample.state = SAMPLE_FAILED;
        snprintf(sample.why, sizeof(sample.why), "no summary, or no input");
        return sample;
    }
    sample.ns_op = ns / (bytes / 1024);
    sample.cpu_ms = run_field(line, "\"cpu_ns\": ") / 1e6;
    sample.peak_mib = run_field(line, "\"peak_kib\": ") / 1024;
    return sample;
}

bool program_have_pipeline(const struct program_options *options)
{
    char program[512];

    snprintf(program, sizeof(program), "%s/pipeline-weft",
             options->pipeline_dir);
    return access(program, X_OK) == 0;
}

struct sample program_pipeline(const struct program_options *options,
                               enum runner who, const struct task *task)
{
    const char *root = getenv("TMPDIR");
    char program[512], out[512], workers[24], line[512];
    char *argv[9 + MOST_INPUTS] = { program,       "--quiet", "--summary-json",
                                    "/dev/stdout", "--out",   out,
                                    "--workers",   workers };
    struct sample sample;

    for (unsigned i = 0; i < MOST_INPUTS; i++)
        argv[8 + i] = (char *)options->inputs[i];

    snprintf(program, sizeof(program), "%s/pipeline-%s", options->pipeline_dir,
             runner_name(who));
    snprintf(workers, sizeof(workers), "%u", task->workers);
    snprintf(out, sizeof(out), "%s/weft-bench-XXXXXX",
             root != NULL ? root : "/tmp");
    if (mkdtemp(out) == NULL) {
        sample = (struct sample){ .state = SAMPLE_FAILED };
        snprintf(sample.why, sizeof(sample.why), "%.100s: %s", out,
                 strerror(errno));
        return sample;
    }
    sample = run_program(argv, options->pin ? (int)task->workers : 0,
                         "{\"program\"", line, sizeof(line));
    nftw(out, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return sample.state == SAMPLE_OK ? pipeline_parse(sample, line) : sample;
}
