/*
 * What weft-bench was asked for.
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <regex.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/weft_bench/network.h"
#include "bench/weft_bench/program.h"
#include "bench/weft_bench/run.h"

struct options {
    unsigned pairs;
    bool quick;
    bool list;
    bool filtered;
    regex_t only;
    uint64_t workers; /* bit n: n workers are wanted; 0: all */
    const char *json;
    struct run_options run;
    struct program_options programs;
    struct network_options network;
};

/* Fills in what is not given, or says what is wrong and exits with 2. `self` is
 * our own program's path; what else we run lies near it. */
void options_parse(struct options *options, const char *self, int argc,
                   char **argv);

#endif
