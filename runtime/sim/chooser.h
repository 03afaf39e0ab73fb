/*
 * Choosers: who decides what happens next.
 *
 * At each choice point with more than one way on, the world asks its chooser
 * for one of the ways: a virtual thread moves, the oldest buffered store of a
 * virtual thread reaches memory, or time passes until the earliest timeout.
 * A chooser sees masks and numbers, never an address: so a schedule is the
 * same in every process.
 *
 * The world itself has choices, too: is a read short, does an event come
 * late? draw() makes them.
 *
 * Two are here: seeded random and replay. Others (by priorities, exhaustive)
 * need no more than this interface: begin() is told of each run, pick() of
 * each step, draw() of what the world may do.
 */
#ifndef WEFT_RUNTIME_SIM_CHOOSER_H
#define WEFT_RUNTIME_SIM_CHOOSER_H

#include <stdbool.h>
#include <stdint.h>

#include <weft/sim.h>

/* A choice in one byte: a thread's number; FLUSH + a thread's number; TIME;
 * DRAW + what was drawn. */
enum {
    WEFT__CHOOSE_FLUSH = 64,
    WEFT__CHOOSE_TIME = 128,
    WEFT__CHOOSE_DRAW = 129,
    WEFT__CHOOSE_DRAWS = 64, /* at most so many things to draw from */
    WEFT__CHOOSE_NONE = 255 /* the chooser has no answer: a misfit */
};

struct weft__options {
    uint64_t threads; /* those that can move */
    uint64_t paused;  /* those of them that wait for another in a loop */
    uint64_t flushes; /* those with a store in their buffer */
    bool time;        /* somebody waits for time to pass */
    unsigned current; /* who moved last; perhaps not in `threads` now */
};

struct weft__chooser {
    /* A new run. Returns 0 or -EINVAL. */
    int (*begin)(const weft_sim_t *sim);
    /* One of the options. */
    unsigned (*pick)(const struct weft__options *options);
    /* One of n things the world may do: DRAW + 0 to n - 1. */
    unsigned (*draw)(unsigned n);
};

extern const struct weft__chooser weft__chooser_random;
extern const struct weft__chooser weft__chooser_replay;

/* Is `choice` one of them? */
static inline bool weft__options_have(const struct weft__options *o,
                                      unsigned choice)
{
    if (choice < WEFT__CHOOSE_FLUSH)
        return o->threads >> choice & 1;
    if (choice < WEFT__CHOOSE_TIME)
        return o->flushes >> (choice - WEFT__CHOOSE_FLUSH) & 1;
    return choice == WEFT__CHOOSE_TIME && o->time;
}

#endif
