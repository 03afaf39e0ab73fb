/* The seam's threads, futexes and clock in a simulation: see sched/seam.h. */
#ifndef WEFT_RUNTIME_SIM_THREAD_H
#define WEFT_RUNTIME_SIM_THREAD_H

#include <stdint.h>

#include "sched/seam.h"

int weft__sim_thread_create(uintptr_t *thread, void *(*fn)(void *),
                            void *arg);
void weft__sim_thread_join(uintptr_t thread);

int weft__sim_futex_wait(volatile uint32_t *word, uint32_t expected,
                         int64_t timeout_ns);
void weft__sim_futex_wake(volatile uint32_t *word, int count);
void weft__sim_pause(void);

struct weft__fiber *weft__sim_self(void);
void weft__sim_set_self(struct weft__fiber *self);

int64_t weft__sim_now(void);
void weft__sim_point(const char *what);

#endif
