#include "bench/weft_bench/network.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/weft_bench/process.h"

static const char wrk[] = "/usr/bin/wrk";
static const char perf[] = "/usr/bin/perf";

/* A request on each connection before it counts, and with it the certainty
 * that the server has them all. */
#define WARM "2"

static bool is(const struct task *task, const char *case_name)
{
    return strcmp(task->case_name, case_name) == 0;
}

/* ---- what is there ---- */

static bool have(const char *path, char *why, size_t size)
{
    if (access(path, X_OK) == 0)
        return true;
    snprintf(why, size, "there is no %s", path);
    return false;
}

static void server_path(const struct network_options *options, enum runner who,
                        bool http, char *path, size_t size)
{
    if (!http)
        snprintf(path, size, "%s/echo-%s", options->server_dir,
                 runner_name(who));
    else if (who == RUN_UV)
        snprintf(path, size, "%s/http-uv", options->server_dir);
    else
        snprintf(path, size, "%s/httpd-%s", options->http_dir,
                 runner_name(who));
}

bool network_have(const struct network_options *options, const char *case_name,
                  char *why, size_t size)
{
    bool http = strcmp(case_name, "http") == 0;
    char path[512];

    server_path(options, RUN_WEFT, http, path, sizeof(path));
    if (!have(path, why, size) || !have(http ? wrk : options->load, why, size))
        return false;
    return strcmp(case_name, "calls") != 0 || have(perf, why, size);
}

/* ---- the server ---- */

struct server {
    struct process process;
    unsigned port;
};

static struct sample server_start(const struct network_options *options,
                                  enum runner who, const struct task *task,
                                  struct server *server)
{
    char path[512], workers[16], option_w[] = "-w", line[64];
    char *argv[] = { path, option_w, workers, NULL };
    struct sample sample;

    server_path(options, who, is(task, "http"), path, sizeof(path));
    snprintf(workers, sizeof(workers), "%u", task->workers);
    sample = process_start(&server->process, argv,
                           options->pin ? (int)task->workers : 0, PROCESS_OUT);
    if (sample.state != SAMPLE_OK)
        return sample;
    if (process_line(&server->process, "listening ", line, sizeof(line))) {
        server->port = (unsigned)strtoul(line + 10, NULL, 10);
        return sample;
    }
    sample = process_end(&server->process, SIGKILL);
    return sample_of(SAMPLE_FAILED, "the server does not listen: %.100s",
                     sample.why);
}

/* Its last words go into `line`. */
static struct sample server_end(struct server *server, char *line, size_t size)
{
    kill(server->process.pid, SIGTERM);
    process_line(&server->process, "{", line, size);
    return process_end(&server->process, 0);
}

static double server_cpu_ns(const struct server *server)
{
    struct timespec t = { 0, 0 };
    clockid_t clock;

    if (clock_getcpuclockid(server->process.pid, &clock) == 0)
        clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Clients leave the server's core alone. */
static int client_cores(const struct network_options *options,
                        const struct task *task)
{
    return options->pin ? -(int)task->workers : 0;
}

/* ---- weft-load ---- */

struct load_words {
    char program[512], port[16], connections[16], requests[24], pid[16];
    char *argv[24];
};

static void load_words(const struct network_options *options,
                       const struct server *server, const struct task *task,
                       struct load_words *w)
{
    const char *mode = is(task, "calls") ? "echo" : task->case_name;
    bool connect = is(task, "connect");
    const char *const all[] = {
        w->program,
        "--port",
        w->port,
        "--mode",
        mode,
        "--connections",
        w->connections,
        "--requests",
        w->requests,
        "--warm",
        WARM,
        "--server-pid",
        w->pid,
        "--burst",
        connect ? "0" : "50",
        is(task, "calls") ? "--wait" : NULL,
    };
    unsigned count = sizeof(all) / sizeof(all[0]);

    snprintf(w->program, sizeof(w->program), "%s", options->load);
    snprintf(w->port, sizeof(w->port), "%u", server->port);
    snprintf(w->connections, sizeof(w->connections), "%u", task->procs);
    snprintf(w->requests, sizeof(w->requests), "%llu",
             (unsigned long long)task->ops);
    snprintf(w->pid, sizeof(w->pid), "%d", (int)server->process.pid);
    for (unsigned i = 0; i < count; i++)
        w->argv[i] = (char *)all[i];
    w->argv[count] = NULL;
}

static struct sample load_parse(struct sample sample, const char *line)
{
    double answered = run_field(line, "\"answered\": ");

    if (answered <= 0)
        return sample_of(SAMPLE_FAILED, "no request was answered");
    for (unsigned i = 0; i < 4; i++) {
        static const char *const kinds[] = { "wrong", "refused", "errors",
                                             "unanswered" };
        char key[24];
        double count;

        snprintf(key, sizeof(key), "\"%s\": ", kinds[i]);
        count = run_field(line, key);
        if (count > 0)
            return sample_of(SAMPLE_FAILED, "%.0f requests: %s", count,
                             kinds[i]);
    }
    if (sample.state != SAMPLE_OK)
        return sample;
    sample.ns_op = run_field(line, "\"wall_ns\": ") / answered;
    sample.wall_ms = run_field(line, "\"wall_ns\": ") / 1e6;
    sample.server_ns = run_field(line, "\"server_cpu_ns\": ") / answered;
    sample.cpu_ms = run_field(line, "\"server_cpu_ns\": ") / 1e6;
    sample.p50_us = run_us(line, "\"p50_ns\": ");
    sample.p99_us = run_us(line, "\"p99_ns\": ");
    sample.worst_us = run_us(line, "\"worst_ns\": ");
    return sample;
}

static struct sample load_run(const struct network_options *options,
                              const struct server *server,
                              const struct task *task)
{
    struct load_words words;
    struct sample sample;
    char line[1024];

    load_words(options, server, task, &words);
    sample = run_program(words.argv, client_cores(options, task), "{", line,
                         sizeof(line));
    return load_parse(sample, line);
}

/* ---- system calls ---- */

/* What perf counted: the first word of the line that names the event; 0 if
 * there is none. */
static double perf_total(const char *path)
{
    FILE *table = fopen(path, "re");
    double total = 0, calls;
    char line[256];

    if (table == NULL)
        return 0;
    while (fgets(line, sizeof(line), table) != NULL)
        if (strstr(line, "sys_enter") != NULL &&
            sscanf(line, "%lf", &calls) == 1)
            total = calls;
    fclose(table);
    return total;
}

/* The calls of all the server's threads between the two words that weft-load
 * waits for: its connections stand before, and are closed after. */
static struct sample calls_between(struct process *load,
                                   struct process *count, const char *path,
                                   double requests)
{
    static const char enable[] = "enable\n";
    struct sample sample;
    char line[1024];

    if (write(count->to, enable, sizeof(enable) - 1) < 0 ||
        !process_line(count, "ack", line, sizeof(line))) {
        process_end(count, SIGKILL);
        return sample_of(SAMPLE_FAILED, "perf does not count system calls");
    }
    if (write(load->to, "\n", 1) != 1 ||
        !process_line(load, "{", line, sizeof(line)))
        line[0] = '\0';
    process_end(count, SIGINT);
    sample = load_parse((struct sample){ .state = SAMPLE_OK }, line);
    if (sample.state != SAMPLE_OK)
        return sample;
    sample = (struct sample){ .state = SAMPLE_OK };
    sample.calls = perf_total(path) / requests;
    if (sample.calls <= 0)
        return sample_of(SAMPLE_FAILED, "perf counted nothing");
    return sample;
}

/* By a counter in the kernel: strace would make each call many times dearer, and
 * so change how much there is to do at each look. */
static struct sample calls_counted(const struct server *server,
                                   const struct task *task,
                                   struct process *load)
{
    char program[sizeof(perf)], stat[] = "stat", fields[] = "-x,";
    char on[] = "-e", event[] = "raw_syscalls:sys_enter", off[] = "-D-1";
    char control[] = "--control", ends[] = "fd:0,1";
    char attach[] = "-p", to[] = "-o", pid[16];
    char path[] = "/tmp/weft-calls-XXXXXX";
    char *argv[] = { program, stat,   fields, on, event, off,  control,
                     ends,    attach, pid,    to, path,  NULL };
    struct process count;
    struct sample sample;
    char line[64];
    int fd = mkstemp(path);

    if (fd < 0)
        return sample_of(SAMPLE_FAILED, "no place for perf's table");
    close(fd);
    memcpy(program, perf, sizeof(perf));
    snprintf(pid, sizeof(pid), "%d", (int)server->process.pid);
    if (!process_line(load, "ready", line, sizeof(line)))
        sample = sample_of(SAMPLE_FAILED, "the clients did not get ready");
    else
        sample = process_start(&count, argv, 0, PROCESS_IN_OUT);
    if (sample.state == SAMPLE_OK)
        sample = calls_between(load, &count, path, (double)task->ops);
    unlink(path);
    return sample;
}

static struct sample calls_run(const struct network_options *options,
                               const struct server *server,
                               const struct task *task)
{
    struct load_words words;
    struct process load;
    struct sample sample, end;

    load_words(options, server, task, &words);
    sample = process_start(&load, words.argv, client_cores(options, task),
                           PROCESS_IN_OUT);
    if (sample.state != SAMPLE_OK)
        return sample;
    sample = calls_counted(server, task, &load);
    end = process_end(&load, 0);
    return sample.state != SAMPLE_OK ? sample
           : end.state != SAMPLE_OK  ? end
                                     : sample;
}

/* ---- wrk ---- */

/* "1.03s", "13.32ms", "900.00us" */
static double wrk_us(const char *text)
{
    char *unit;
    double value = strtod(text, &unit);

    if (strncmp(unit, "us", 2) == 0)
        return value;
    if (strncmp(unit, "ms", 2) == 0)
        return value * 1e3;
    return strncmp(unit, "m", 1) == 0 ? value * 60e6 : value * 1e6;
}

/* Reads what wrk prints; a request that was not answered well fails the run. */
static struct sample wrk_read(struct process *process)
{
    struct sample sample = { .state = SAMPLE_OK };
    double requests = 0, us = 0, other = 0;
    unsigned opening = 0, reading = 0, writing = 0, late = 0;
    char line[256], time[32];

    while (process_line(process, "", line, sizeof(line))) {
        if (sscanf(line, " 50%% %31s", time) == 1)
            sample.p50_us = wrk_us(time);
        else if (sscanf(line, " 99%% %31s", time) == 1)
            sample.p99_us = wrk_us(time);
        else if (sscanf(line, " Latency %*s %*s %31s", time) == 1)
            sample.worst_us = wrk_us(time);
        else if (sscanf(line, " %lf requests in %31s", &requests, time) == 2)
            us = wrk_us(time);
        else if (sscanf(line, " Non-2xx or 3xx responses: %lf", &other) == 1)
            continue;
        else
            sscanf(line,
                   " Socket errors: connect %u, read %u, write %u, timeout %u",
                   &opening, &reading, &writing, &late);
    }
    if (opening + reading + writing + late > 0)
        return sample_of(SAMPLE_FAILED, "wrk: connections failed");
    if (other > 0)
        return sample_of(SAMPLE_FAILED, "wrk: %.0f answers were no 200", other);
    if (requests <= 0 || us <= 0)
        return sample_of(SAMPLE_FAILED, "wrk got no answers");
    sample.wall_ms = us / 1e3;
    sample.ns_op = us * 1e3 / requests;
    return sample;
}

/* wrk counts in whole seconds. */
static struct sample wrk_once(const struct network_options *options,
                              const struct server *server,
                              const struct task *task, unsigned seconds)
{
    char program[sizeof(wrk)], connections[16], duration[16], url[64];
    char latency[] = "--latency", threads[] = "-t1";
    char *argv[] = {
        program, threads, connections, duration, latency, url, NULL
    };
    struct process process;
    struct sample sample, end;

    memcpy(program, wrk, sizeof(wrk));
    snprintf(connections, sizeof(connections), "-c%u", task->procs);
    snprintf(duration, sizeof(duration), "-d%us", seconds);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/plaintext", server->port);
    sample =
        process_start(&process, argv, client_cores(options, task), PROCESS_OUT);
    if (sample.state != SAMPLE_OK)
        return sample;
    sample = wrk_read(&process);
    end = process_end(&process, 0);
    return end.state != SAMPLE_OK ? end : sample;
}

static struct sample wrk_run(const struct network_options *options,
                             const struct server *server,
                             const struct task *task)
{
    unsigned seconds = (unsigned)(task->ops / 1000);
    struct sample sample;
    double before;

    /* To warm up: nothing of it counts. */
    wrk_once(options, server, task, 1);
    before = server_cpu_ns(server);
    sample = wrk_once(options, server, task, seconds > 0 ? seconds : 1);
    if (sample.state != SAMPLE_OK)
        return sample;
    sample.cpu_ms = (server_cpu_ns(server) - before) / 1e6;
    sample.server_ns =
        sample.cpu_ms * 1e6 / (sample.wall_ms * 1e6 / sample.ns_op);
    return sample;
}

/* ---- a run ---- */

/* What the server says of itself at its end. */
static void server_words(struct sample *sample, const char *line)
{
    double peak = run_field(line, "\"peak_kib\": ");
    double calls = run_field(line, "\"system_calls\": ");
    double requests = run_field(line, "\"requests\": ");

    if (peak > 0)
        sample->peak_mib = peak / 1024;
    /* Opening and closing took four a connection. */
    if (calls > 0 && requests > 0 && sample->calls <= 0)
        sample->calls =
            (calls - 4 * run_field(line, "\"connections\": ")) / requests;
}

struct sample network_run(const struct network_options *options,
                          enum runner who, const struct task *task)
{
    struct server server;
    struct sample sample = server_start(options, who, task, &server), end;
    char line[1024];

    if (sample.state != SAMPLE_OK)
        return sample;
    if (is(task, "http"))
        sample = wrk_run(options, &server, task);
    else if (is(task, "calls"))
        sample = calls_run(options, &server, task);
    else
        sample = load_run(options, &server, task);
    end = server_end(&server, line, sizeof(line));
    if (sample.state != SAMPLE_OK)
        return sample;
    if (end.state != SAMPLE_OK)
        return sample_of(SAMPLE_FAILED, "the server: %.120s", end.why);
    server_words(&sample, line);
    return sample;
}
