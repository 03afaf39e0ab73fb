/*
 * One piece of work, done by weft's fibers and again by OS threads
 *
 * A case brings a function for each way it can be done. All of them fill the
 * same struct, so that the one who compares need not know who did the work:
 *
 *     static int count_weft(struct work *w)
 *     {
 *         work_begin(w);
 *         ... w->ops operations on w->workers workers ...
 *         work_end(w);
 *         return sum == expected ? WORK_DONE : work_wrong(w, "sum %lu", sum);
 *     }
 */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WORK_DONE = 0,
    WORK_WRONG = 1,  /* a result that is not right, or a call that failed */
    WORK_STOPPED = 2 /* it cannot be done this way; w->why says what stopped */
};

struct work {
    /* What to do. */
    unsigned workers;
    uint64_t ops;
    unsigned procs; /* channels: that many producers and consumers */

    /* What it took. */
    uint64_t ns;
    uint64_t cpu_ns;     /* user and system, of the whole process */
    uint64_t bytes_each; /* of one that is parked; 0: not asked */
    uint64_t p50_ns;     /* how late they woke; 0: not asked */
    uint64_t p99_ns;
    uint64_t worst_ns;
    char why[200];

    /* Since work_begin(). */
    uint64_t began_ns;
    uint64_t began_cpu_ns;
};

/* NULL where a way makes no sense for the case. */
struct bench_case {
    const char *name;
    bool cold;     /* hardly warmed up: its memory is the question */
    unsigned less; /* `ops` is an exponent: the warm-up has so much less */
    int (*weft)(struct work *w);    /* on the first fiber of a runtime */
    int (*pthread)(struct work *w); /* threads of its own */
    int (*pool)(struct work *w);    /* `workers` threads that take work */
};

extern const struct bench_case case_switch, case_yield;
extern const struct bench_case case_spawn_join, case_spawn_many;
extern const struct bench_case case_spawn_many_join;
extern const struct bench_case case_fib, case_skynet;
extern const struct bench_case case_chan_rt, case_chan_buf;
extern const struct bench_case case_mutex;
extern const struct bench_case case_parked, case_idle;
extern const struct bench_case case_sleepers, case_asleep, case_asleep_fds;
extern const struct bench_case case_checkpoint, case_ready_compute;

/* The stretch between the two is what counts; set-up stays outside. */
void work_begin(struct work *w);
void work_end(struct work *w);

/* Both say why, and answer what the case is to return. */
int work_wrong(struct work *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int work_stopped(struct work *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* CLOCK_MONOTONIC. */
uint64_t now_ns(void);

/* A line of /proc/self/status in KiB, such as "VmHWM"; 0 if there is none. */
uint64_t status_kib(const char *name);

#endif
