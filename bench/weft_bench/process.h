/*
 * A program that runs beside us: started on cores of its own, read line by
 * line, and ended.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "bench/weft_bench/run.h"

/* Which descriptor of the program we read, and whether it reads from us. */
enum process_ends { PROCESS_OUT, PROCESS_ERR, PROCESS_IN_OUT };

struct process {
    pid_t pid;
    int to;   /* its stdin, or -1 */
    int from; /* its stdout or stderr */
    bool hung;
    size_t length;
    size_t used;
    char buffer[4096];
};

/*
 * Start argv[0]. `cores` above 0: it is kept on so many, counted from the last
 * one, since the first serves most of the machine's interrupts; below 0: on all
 * but so many of them; 0: where the kernel likes. Answers SAMPLE_OK, or what
 * went wrong.
 */
struct sample process_start(struct process *process, char *const argv[],
                            int cores, enum process_ends ends);

/* The next line that starts with `start`, without its newline; what is too long
 * for it is cut. False: the program ended, or it hung. */
bool process_line(struct process *process, const char *start, char *line,
                  size_t size);

/*
 * Read to the end, so that the program never meets a closed pipe, and wait for
 * it; with a signal, send that first. Answers SAMPLE_OK with its processor
 * time, or how it ended.
 */
struct sample process_end(struct process *process, int signal);

#endif
