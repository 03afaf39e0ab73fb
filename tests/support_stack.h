/*
 * What the tests of stacks share: many that are taken at once.
 */
#ifndef TESTS_SUPPORT_STACK_H
#define TESTS_SUPPORT_STACK_H

#include "sched/stack.h"

/* Takes `n` of the smallest, which touch a page each, and gives them all back;
 * `s` has them in the order in which they were taken. */
void take_and_give(weft__stack_t *s, size_t n);

#endif
