/*
 * One measured run, from the outside: start a process, keep it on its cores,
 * read its RESULT line and its processor time.
 */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who did the work. Tokio has two schedulers; for one worker the faster
 * counts, so both are run. */
enum runner {
    RUN_WEFT,
    RUN_PTHREAD,
    RUN_POOL,
    RUN_EPOLL, /* a server on raw epoll */
    RUN_UV,    /* one on libuv's callbacks */
    RUN_GO,
    RUN_TOKIO,         /* its multi-threaded scheduler */
    RUN_TOKIO_CURRENT, /* its single-threaded one */
    RUNNERS
};

const char *runner_name(enum runner who);

enum sample_state {
    SAMPLE_NONE, /* not run */
    SAMPLE_OK,
    SAMPLE_STOPPED, /* it cannot be done that way: why */
    SAMPLE_FAILED   /* it should have worked: why */
};

struct sample {
    enum sample_state state;
    double ns_op;
    double wall_ms;
    double peak_mib;
    double bytes_each;
    double cpu_ms; /* of the measured stretch; of the whole run for a peer */
    double p50_us; /* how late, or how long an answer took */
    double p99_us;
    double worst_us;
    double server_ns; /* the server's processor time, a request */
    double calls;     /* its system calls, a request */
    char why[160];
};

struct sample sample_of(enum sample_state state, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What to run. */
struct task {
    const char *case_name;
    unsigned workers;
    unsigned procs; /* 0: the case has none; of a server, connections */
    uint64_t ops;
};

struct run_options {
    const char *self;  /* our own program, for --child */
    const char *peers; /* a directory, or NULL */
    bool pin;          /* a run with N workers gets N cores */
};

/* Peers are programs that may or may not have been built. */
bool run_have(const struct run_options *options, enum runner who);

struct sample run_task(const struct run_options *options, enum runner who,
                       const struct task *task);

/*
 * Run any program and keep the first line of its output that starts with
 * `start`; `cores` as for process_start(). Answers SAMPLE_OK or what went
 * wrong, and its processor time.
 */
struct sample run_program(char *const argv[], int cores, const char *start,
                          char *line, size_t size);

/* The number behind `key` (such as " ns=") in a line; -1 if it is not there. */
double run_field(const char *line, const char *key);

/* The same of nanoseconds, in microseconds; 0 if it is not there. */
double run_us(const char *line, const char *key);

#endif
