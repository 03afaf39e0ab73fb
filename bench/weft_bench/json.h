/*
 * The same rows for programs: one JSON object, written row by row.
 */
#ifndef BENCH_JSON_H
#define BENCH_JSON_H

#include <stdbool.h>
#include <stdio.h>

#include "bench/weft_bench/score.h"

struct json {
    FILE *out;
    bool any; /* a row was written: a comma comes before the next */
};

/* 0, or -1 and errno. */
int json_open(struct json *json, const char *path, unsigned cores, bool quick);

void json_rows(struct json *json, const struct outcome *outcome);

/* 0, or -1 if something was not written. */
int json_close(struct json *json);

#endif
