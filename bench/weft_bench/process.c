#include "bench/weft_bench/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/weft_bench/work.h"

/* Longer than any run here takes: who is not done then hangs. */
#define PATIENCE_MS 180000

/* ---- starting ---- */

static void process_pin(int cores)
{
    cpu_set_t all, some;
    int wanted;

    CPU_ZERO(&some);
    if (sched_getaffinity(0, sizeof(all), &all) != 0)
        return;
    wanted = cores > 0 ? cores : -cores;
    for (size_t cpu = CPU_SETSIZE; cpu-- > 0 && wanted > 0;) {
        if (CPU_ISSET(cpu, &all)) {
            CPU_SET(cpu, &some);
            wanted--;
        }
    }
    if (cores < 0)
        CPU_XOR(&some, &all, &some);
    /* On one core all share it. */
    if (CPU_COUNT(&some) > 0)
        sched_setaffinity(0, sizeof(some), &some);
}

/* A client of 1,000 connections may need more than the usual 1,024. */
static void process_raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void process_exec(char *const argv[], int cores, const int in[2],
                         const int out[2], enum process_ends ends)
{
    if (cores != 0)
        process_pin(cores);
    process_raise_limit();
    /* These would win over the number of workers we ask for. */
    unsetenv("WEFT_WORKERS");
    unsetenv("GOMAXPROCS");
    unsetenv("TOKIO_WORKER_THREADS");
    if (ends == PROCESS_IN_OUT)
        dup2(in[0], STDIN_FILENO);
    dup2(out[1], ends == PROCESS_ERR ? STDERR_FILENO : STDOUT_FILENO);
    execv(argv[0], argv);
    _exit(127);
}

struct sample process_start(struct process *process, char *const argv[],
                            int cores, enum process_ends ends)
{
    int in[2] = { -1, -1 }, out[2];
    int error = 0;

    *process = (struct process){ .to = -1 };
    if (access(argv[0], X_OK) != 0)
        return sample_of(SAMPLE_FAILED, "%s is not there", argv[0]);
    if (pipe2(out, O_CLOEXEC) != 0)
        return sample_of(SAMPLE_FAILED, "pipe: %s", strerror(errno));
    if (ends == PROCESS_IN_OUT && pipe2(in, O_CLOEXEC) != 0) {
        close(out[0]);
        close(out[1]);
        return sample_of(SAMPLE_FAILED, "pipe: %s", strerror(errno));
    }
    process->pid = fork();
    if (process->pid == 0)
        process_exec(argv, cores, in, out, ends);
    if (process->pid < 0)
        error = errno;
    close(out[1]);
    if (in[0] >= 0)
        close(in[0]);
    if (process->pid > 0) {
        process->from = out[0];
        process->to = in[1];
        return (struct sample){ .state = SAMPLE_OK };
    }
    close(out[0]);
    if (in[1] >= 0)
        close(in[1]);
    return sample_of(SAMPLE_FAILED, "fork: %s", strerror(error));
}

/* ---- reading ---- */

/* More into the buffer; false at the end, or when it took too long. */
static bool process_fill(struct process *process, uint64_t until)
{
    for (;;) {
        struct pollfd wait = { .fd = process->from, .events = POLLIN };
        uint64_t now = now_ns();
        ssize_t got;

        if (now >= until) {
            process->hung = true;
            return false;
        }
        if (poll(&wait, 1, (int)((until - now) / 1000000u) + 1) <= 0)
            continue;
        got = read(process->from, process->buffer, sizeof(process->buffer));
        if (got < 0 && errno == EINTR)
            continue;
        process->used = 0;
        process->length = got > 0 ? (size_t)got : 0;
        return got > 0;
    }
}

bool process_line(struct process *process, const char *start, char *line,
                  size_t size)
{
    uint64_t until = now_ns() + PATIENCE_MS * 1000000ull;
    size_t length = 0;

    while (!process->hung) {
        char c;

        if (process->used == process->length && !process_fill(process, until))
            break;
        c = process->buffer[process->used++];
        if (c != '\n') {
            if (length + 1 < size)
                line[length++] = c;
            continue;
        }
        line[length] = '\0';
        length = 0;
        if (strncmp(line, start, strlen(start)) == 0)
            return true;
    }
    line[0] = '\0';
    return false;
}

/* ---- ending ---- */

static double rusage_ms(const struct rusage *use)
{
    return (double)(use->ru_utime.tv_sec + use->ru_stime.tv_sec) * 1e3 +
           (double)(use->ru_utime.tv_usec + use->ru_stime.tv_usec) / 1e3;
}

struct sample process_end(struct process *process, int signal)
{
    struct sample sample = { .state = SAMPLE_OK };
    struct rusage use;
    char line[8];
    int status;

    if (signal != 0)
        kill(process->pid, signal);
    if (process->to >= 0)
        close(process->to);
    while (process_line(process, "", line, sizeof(line))) {
    }
    close(process->from);
    if (process->hung)
        kill(process->pid, SIGKILL);
    while (wait4(process->pid, &status, 0, &use) < 0 && errno == EINTR) {
    }

    if (process->hung)
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
