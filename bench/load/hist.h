/*
 * Latencies, counted in buckets
 *
 * Each power of two is divided into 32 buckets, so that a value read back is at
 * most 3 % above the one that was counted, from nanoseconds to hours, and
 * counting is a shift and an add.
 */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

enum { HIST_BITS = 5, HIST_BUCKETS = (64 - HIST_BITS + 1) << HIST_BITS };

/* Zero-filled is empty. */
struct hist {
    uint64_t count;
    uint64_t worst; /* exact */
    uint64_t buckets[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t value);

void hist_merge(struct hist *into, const struct hist *from);

/* The value that `share` of them (0.99) do not exceed; 0 if there is none. */
uint64_t hist_share(const struct hist *h, double share);

#endif
