/*
 * What weft-load was asked for.
 */
#ifndef BENCH_LOAD_OPTIONS_H
#define BENCH_LOAD_OPTIONS_H

#include "bench/load/load.h"

/* Fills in what is not given, or says what is wrong and exits with 2. */
void options_parse(struct load_options *options, int argc, char **argv);

const char *options_mode_name(enum load_mode mode);

#endif
