/* The seam's memory operations in a simulation: see sched/seam.h. */
#ifndef WEFT_RUNTIME_SIM_MEMORY_H
#define WEFT_RUNTIME_SIM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "sched/seam.h"

uint64_t weft__sim_load(const volatile void *p, unsigned size, int order);
void weft__sim_store(volatile void *p, uint64_t value, unsigned size,
                     int order);
uint64_t weft__sim_rmw(volatile void *p, enum weft__seam_op op,
                       uint64_t value, unsigned size, int order);
bool weft__sim_cas(volatile void *p, void *seen, uint64_t next, unsigned size,
                   int order);
void weft__sim_fence(int order);
void weft__sim_membarrier(void);

#endif
