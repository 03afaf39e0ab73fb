/*
 * What guards the end of a stack: a page, or a canary that is looked at. See
 * stack.h, 4.
 */
#ifndef WEFT_SCHED_GUARD_H
#define WEFT_SCHED_GUARD_H

#include <stdbool.h>
#include <stddef.h>

#include "sched/stack.h"

enum { WEFT__CANARY_BYTES = 64 };

/* Choose how guards are made (WEFT_GUARD_*), and prove one. */
void weft__guard_setup(int mode);

/* Guard `n` new stacks, neighbours of one class. How many could not be: these
 * carry a canary, and WEFT__STACK_CANARY. */
size_t weft__guard_make(weft__stack_t *stacks, size_t n);
/* Its pages were given back: a page stays a guard, a canary does not. */
void weft__guard_renew(weft__stack_t stack);

/* Has a stack with a canary not outgrown itself? */
bool weft__guard_intact(weft__stack_t stack);
/* The program stops if it has. */
void weft__guard_check(weft__stack_t stack);

#endif
