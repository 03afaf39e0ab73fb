/*
 * What the threads' side of the cases shares: threads with the stacks that
 * fibers have, and a gate that starts them together.
 */
#ifndef BENCH_THREAD_H
#define BENCH_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* The same as a fiber's default, guard page included. */
#define THREAD_STACK ((size_t)64 * 1024)

/* pthread_create() with that stack; answers its error number. */
int thread_start(pthread_t *thread, void *(*entry)(void *), void *arg);

/* Threads wait at the gate until it opens, so that starting them is not part
 * of what is measured. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    pthread_cond_t opened;
    unsigned waiting;
    bool open;
};

#define GATE_INIT                                                              \
    { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER,                     \
      PTHREAD_COND_INITIALIZER, 0, false }

void gate_pass(struct gate *gate);

/* Return when `count` threads wait there. */
void gate_await(struct gate *gate, unsigned count);

void gate_open(struct gate *gate);

#endif
