#include "bench/weft_bench/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/weft_bench/process.h"

static const char *const names[RUNNERS] = {
    [RUN_WEFT] = "weft",   [RUN_PTHREAD] = "pthread",
    [RUN_POOL] = "pool",   [RUN_EPOLL] = "epoll",
    [RUN_UV] = "libuv",    [RUN_GO] = "go",
    [RUN_TOKIO] = "tokio", [RUN_TOKIO_CURRENT] = "tokio 1t",
};

const char *runner_name(enum runner who)
{
    return names[who];
}

struct sample sample_of(enum sample_state state, const char *format, ...)
{
    struct sample sample = { .state = state };
    va_list args;

    va_start(args, format);
    vsnprintf(sample.why, sizeof(sample.why), format, args);
    va_end(args);
    return sample;
}

double run_field(const char *line, const char *key)
{
    const char *at = strstr(line, key);

    return at != NULL ? strtod(at + strlen(key), NULL) : -1;
}

double run_us(const char *line, const char *key)
{
    double ns = run_field(line, key);

    return ns > 0 ? ns / 1e3 : 0;
}

struct sample run_program(char *const argv[], int cores, const char *start,
                          char *line, size_t size)
{
    struct process process;
    struct sample sample = process_start(&process, argv, cores, PROCESS_OUT);

    line[0] = '\0';
    if (sample.state != SAMPLE_OK)
        return sample;
    process_line(&process, start, line, size);
    return process_end(&process, 0);
}

/* ---- a task ---- */

/* NULL-terminated; the numbers lie in `text`. */
struct command {
    char *argv[16];
    int argc;
    char text[256];
    size_t used;
};

static void command_add(struct command *c, const char *word)
{
    size_t room = sizeof(c->text) - c->used;
    int length = snprintf(c->text + c->used, room, "%s", word);

    c->argv[c->argc++] = c->text + c->used;
    c->argv[c->argc] = NULL;
    c->used += (size_t)length + 1;
}

static void command_add_option(struct command *c, const char *option,
                               const char *value)
{
    command_add(c, option);
    command_add(c, value);
}

static void command_add_number(struct command *c, const char *option,
                               uint64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    command_add_option(c, option, text);
}

static const char *peer_program(enum runner who)
{
    return who == RUN_GO ? "peer-go" : "peer-tokio";
}

bool run_have(const struct run_options *options, enum runner who)
{
    char path[200];

    if (who < RUN_GO)
        return true;
    if (options->peers == NULL)
        return false;
    snprintf(path, sizeof(path), "%s/%s", options->peers, peer_program(who));
    return access(path, X_OK) == 0;
}

/* A peer's program takes the case as its first word. */
static void command_peer(struct command *c, const char *directory,
                         enum runner who, const struct task *task)
{
    char path[200];

    snprintf(path, sizeof(path), "%s/%s", directory, peer_program(who));
    command_add(c, path);
    command_add(c, task->case_name);
    command_add_number(c, "--rounds", 1);
    if (task->procs > 0)
        command_add_number(c, "--pairs", task->procs);
    if (who == RUN_TOKIO)
        command_add_option(c, "--flavor", "multi");
    if (who == RUN_TOKIO_CURRENT)
        command_add_option(c, "--flavor", "current");
}

static void command_child(struct command *c, const char *self, const char *way,
                          const struct task *task)
{
    command_add(c, self);
    command_add(c, "--child");
    command_add(c, way);
    command_add(c, task->case_name);
    if (task->procs > 0)
        command_add_number(c, "--procs", task->procs);
}

static struct sample sample_parse(struct sample sample, const char *line,
                                  uint64_t ops)
{
    double done = run_field(line, " ops=");
    double ns = run_field(line, " ns=");
    double cpu = run_field(line, " cpu_ns=");
    double each = run_field(line, " bytes_each=");

    if (strncmp(line, "STOPPED ", 8) == 0)
        return sample_of(SAMPLE_STOPPED, "%s", line + 8);
    if (strncmp(line, "WRONG ", 6) == 0)
        return sample_of(SAMPLE_FAILED, "%s", line + 6);
    if (sample.state != SAMPLE_OK)
        return sample;
    if (ns < 0)
        return sample_of(SAMPLE_FAILED, "it printed no RESULT");
    sample.ns_op = ns / (done > 0 ? done : (double)ops);
    sample.wall_ms = ns / 1e6;
    sample.peak_mib = run_field(line, " rss_kib=") / 1024;
    sample.bytes_each = each > 0 ? each : 0;
    sample.p50_us = run_us(line, " p50_ns=");
    sample.p99_us = run_us(line, " p99_ns=");
    sample.worst_us = run_us(line, " worst_ns=");
    if (cpu >= 0)
        sample.cpu_ms = cpu / 1e6;
    return sample;
}

struct sample run_task(const struct run_options *options, enum runner who,
                       const struct task *task)
{
    struct command c = { .argc = 0 };
    char line[512] = "";
    struct sample sample;

    if (who < RUN_GO)
        command_child(&c, options->self, names[who], task);
    else
        command_peer(&c, options->peers, who, task);
    command_add_number(&c, "--workers", task->workers);
    command_add_number(&c, "--ops", task->ops);

    sample = run_program(c.argv, options->pin ? (int)task->workers : 0, "",
                         line, sizeof(line));
    return sample_parse(sample, line, task->ops);
}
