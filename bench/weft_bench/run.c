#include "bench/weft_bench/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/weft_bench/work.h"

/* Longer than any run here takes: who is not done then hangs. */
#define PATIENCE_MS 180000

static const char *const names[RUNNERS] = {
    [RUN_WEFT] = "weft",   [RUN_PTHREAD] = "pthread",
    [RUN_POOL] = "pool",   [RUN_GO] = "go",
    [RUN_TOKIO] = "tokio", [RUN_TOKIO_CURRENT] = "tokio 1t",
};

const char *runner_name(enum runner who)
{
    return names[who];
}

static struct sample sample_of(enum sample_state state, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static struct sample sample_of(enum sample_state state, const char *format, ...)
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

/* ---- the process ---- */

/* Keep to the last `cores` of the cores we may use: the first one serves most
 * of the machine's interrupts. */
static void run_pin(unsigned cores)
{
    cpu_set_t all, some;

    CPU_ZERO(&some);
    if (sched_getaffinity(0, sizeof(all), &all) != 0)
        return;
    for (size_t cpu = CPU_SETSIZE; cpu-- > 0 && cores > 0;) {
        if (CPU_ISSET(cpu, &all)) {
            CPU_SET(cpu, &some);
            cores--;
        }
    }
    sched_setaffinity(0, sizeof(some), &some);
}

static pid_t run_start(char *const argv[], unsigned cores, int output)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;

    if (cores > 0)
        run_pin(cores);
    /* These would win over the number of workers we ask for. */
    unsetenv("WEFT_WORKERS");
    unsetenv("GOMAXPROCS");
    unsetenv("TOKIO_WORKER_THREADS");
    dup2(output, STDOUT_FILENO);
    execv(argv[0], argv);
    _exit(127);
}

/* Keep the first line that starts with `start`; read on to the end, so that
 * the program never meets a closed pipe. False: it took too long. */
static bool run_read(int input, const char *start, char *line, int size)
{
    uint64_t until = now_ns() + PATIENCE_MS * 1000000ull;
    char current[512];
    size_t length = 0;

    line[0] = '\0';
    for (;;) {
        struct pollfd wait = { .fd = input, .events = POLLIN };
        uint64_t now = now_ns();
        char buffer[4096];
        ssize_t got;

        if (now >= until)
            return false;
        if (poll(&wait, 1, (int)((until - now) / 1000000u) + 1) <= 0)
            continue;
        got = read(input, buffer, sizeof(buffer));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return true;
        for (ssize_t i = 0; i < got; i++) {
            if (buffer[i] != '\n') {
                if (length + 1 < sizeof(current))
                    current[length++] = buffer[i];
                continue;
            }
            current[length] = '\0';
            length = 0;
            if (line[0] == '\0' && strncmp(current, start, strlen(start)) == 0)
                snprintf(line, (size_t)size, "%s", current);
        }
    }
}

static double rusage_ms(const struct rusage *use)
{
    return (double)(use->ru_utime.tv_sec + use->ru_stime.tv_sec) * 1e3 +
           (double)(use->ru_utime.tv_usec + use->ru_stime.tv_usec) / 1e3;
}

struct sample run_program(char *const argv[], unsigned cores, const char *start,
                          char *line, int size)
{
    struct sample sample = { .state = SAMPLE_OK };
    struct rusage use;
    int ends[2];
    int status;
    bool in_time;
    pid_t pid;

    if (access(argv[0], X_OK) != 0)
        return sample_of(SAMPLE_FAILED, "%s is not there", argv[0]);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return sample_of(SAMPLE_FAILED, "pipe: %s", strerror(errno));
    pid = run_start(argv, cores, ends[1]);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return sample_of(SAMPLE_FAILED, "fork: %s", strerror(errno));
    }

    in_time = run_read(ends[0], start, line, size);
    close(ends[0]);
    if (!in_time)
        kill(pid, SIGKILL);
    while (wait4(pid, &status, 0, &use) < 0 && errno == EINTR) {
    }

    if (!in_time)
        return sample_of(SAMPLE_FAILED, "hung: killed after %d s",
                         PATIENCE_MS / 1000);
    if (WIFSIGNALED(status))
        return sample_of(SAMPLE_FAILED, "died of signal %d (%s)",
                         WTERMSIG(status), strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status) != 0)
        return sample_of(SAMPLE_FAILED, "exit status %d", WEXITSTATUS(status));
    sample.cpu_ms = rusage_ms(&use);
    return sample;
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

    sample = run_program(c.argv, options->pin ? task->workers : 0, "", line,
                         sizeof(line));
    return sample_parse(sample, line, task->ops);
}
