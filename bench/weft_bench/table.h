/*
 * The table, for people; json.h is for programs.
 */
#ifndef BENCH_TABLE_H
#define BENCH_TABLE_H

#include "bench/weft_bench/score.h"

/* The line above the rows, and what the marks below them mean. */
void table_head(void);
void table_foot(unsigned shorts, unsigned failures);

/* What a job filled. Counts the rows that fell short, and those that could
 * not be measured though they should. */
void table_rows(const struct outcome *outcome, unsigned *shorts,
                unsigned *failures);

#endif
