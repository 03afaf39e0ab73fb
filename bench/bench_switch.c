/*
 * What does the bare switch cost, each way?
 *
 * Two contexts hand the processor to each other with weft__context_switch and
 * nothing around it. A fair answer needs functions that return: a switch that
 * leaves by the wrong kind of jump costs nothing in a loop that never returns,
 * and a mispredicted return in every function above it in a real program. So:
 *
 *   switch/returns    each switch is in a function of its own that returns;
 *                     both sides do the same, as two fibers in one wait do.
 *                     This is the one that has a bar: 5 ns
 *   switch/elsewhere  the sides call that function from different places, so
 *                     its return goes where the processor did not expect it
 *   switch/rounding   as returns, but the sides differ in the floating-point
 *                     rounding mode, which is loaded at each switch
 *
 *     bench_switch [OPS [ROUNDS]]
 *
 * An operation is one way. Exits with 1 if a side saw too few switches or the
 * other's rounding mode.
 */
#include <fenv.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "sched/context.h"

enum { STACK_SIZE = 64 * 1024, MOST_ROUNDS = 101 };

struct pair {
    void *contexts[2];
    uint64_t switches[2];
    int rounding[2]; /* that each side wants to see */
    bool mixed;      /* one saw another */
};

#define NOINLINE __attribute__((noinline))

/* The one place where a side stops. */
static NOINLINE void switch_hop(struct pair *pair, unsigned side)
{
    pair->switches[side]++;
    weft__context_switch(&pair->contexts[side], pair->contexts[1 - side], NULL,
                         NULL);
}

static NOINLINE void switch_side(struct pair *pair, unsigned side,
                                 uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        switch_hop(pair, side);
}

/* The same code at another place. */
static NOINLINE void switch_elsewhere(struct pair *pair, unsigned side,
                                      uint64_t count)
{
    for (uint64_t i = count; i > 0; i--)
        switch_hop(pair, side);
}

static NOINLINE void switch_look(struct pair *pair, unsigned side)
{
    if (fegetround() != pair->rounding[side])
        pair->mixed = true;
}

static void *switch_other(void *arg)
{
    struct pair *pair = arg;

    fesetround(pair->rounding[1]);
    for (;;) {
        switch_side(pair, 1, 1000);
        switch_look(pair, 1);
    }
    return NULL; /* never: it is left for good in some switch */
}

static void *switch_other_elsewhere(void *arg)
{
    struct pair *pair = arg;

    for (;;) {
        switch_elsewhere(pair, 1, 1000);
        switch_look(pair, 1);
    }
    return NULL;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* 0, or 1 if what came out is wrong. */
static int switch_measure(const char *name, void *(*other)(void *),
                          int rounding, uint64_t ops, unsigned rounds)
{
    static double ns[MOST_ROUNDS];
    struct pair pair = { .rounding = { fegetround(), rounding } };
    char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t expected;

    if (stack == MAP_FAILED) {
        perror("bench_switch: mmap");
        return 1;
    }
    /* The first switch starts the other side; a tenth more warms up. */
    weft__context_switch(&pair.contexts[0], stack + STACK_SIZE, other, &pair);
    switch_side(&pair, 0, ops / 20);
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t began = now_ns();

        switch_side(&pair, 0, ops / 2);
        ns[i] = (double)(now_ns() - began) / (double)(ops / 2 * 2);
        switch_look(&pair, 0);
    }
    munmap(stack, STACK_SIZE);

    expected = ops / 20 + ops / 2 * rounds;
    if (pair.switches[0] != expected || pair.switches[1] != expected + 1 ||
        pair.mixed) {
        fprintf(stderr, "bench_switch: %s is wrong: %s\n", name,
                pair.mixed ? "a rounding mode came over"
                           : "switches were lost");
        return 1;
    }
    qsort(ns, rounds, sizeof(ns[0]), compare);
    printf("%s workers=1 ops=%" PRIu64 " min=%.2f median=%.2f max=%.2f ns/op\n",
           name, ops, ns[0], ns[rounds / 2], ns[rounds - 1]);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t ops = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000000;
    unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 11;
    int wrong = 0;

    if (argc > 3 || ops < 20 || rounds == 0 || rounds > MOST_ROUNDS) {
        fprintf(stderr,
                "usage: bench_switch [OPS [ROUNDS]]   (at least 20, 1 to %d)\n",
                MOST_ROUNDS);
        return 2;
    }
    wrong |= switch_measure("switch/returns", switch_other, FE_TONEAREST, ops,
                            (unsigned)rounds);
    wrong |= switch_measure("switch/elsewhere", switch_other_elsewhere,
                            FE_TONEAREST, ops, (unsigned)rounds);
    wrong |= switch_measure("switch/rounding", switch_other, FE_UPWARD, ops,
                            (unsigned)rounds);
    return wrong;
}
