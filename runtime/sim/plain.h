/*
 * The plain operations, by which the simulation touches memory at last.
 */
#ifndef WEFT_RUNTIME_SIM_PLAIN_H
#define WEFT_RUNTIME_SIM_PLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "sched/seam.h"

uint64_t weft__plain_load(const volatile void *p, unsigned size, int order);
void weft__plain_store(volatile void *p, uint64_t value, unsigned size,
                       int order);
uint64_t weft__plain_rmw(volatile void *p, enum weft__seam_op op,
                         uint64_t value, unsigned size, int order);
bool weft__plain_cas(volatile void *p, void *seen, uint64_t next,
                     unsigned size, int order);
void weft__plain_fence(int order);

#endif
