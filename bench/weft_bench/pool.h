/*
 * A pool of threads that take work from a queue: what a C program does when a
 * thread per item is too dear. One ring that grows, one mutex, one condition,
 * and a signal only where a thread waits.
 */
#ifndef BENCH_POOL_H
#define BENCH_POOL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct pool_item {
    void (*fn)(void *arg);
    void *arg;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    unsigned waiting;
    bool closed;
    size_t head;
    size_t count;
    size_t capacity; /* a power of two */
    struct pool_item *ring;
    unsigned size;
    pthread_t *threads;
};

/* 0 or -1: no memory, no threads. */
int pool_start(struct pool *pool, unsigned threads);

/* 0 or -1: no memory. */
int pool_submit(struct pool *pool, void (*fn)(void *arg), void *arg);

/* Let the threads finish what is queued, and join them. */
void pool_stop(struct pool *pool);

#endif
