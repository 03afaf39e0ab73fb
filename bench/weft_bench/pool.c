#include "bench/weft_bench/pool.h"

#include <stdlib.h>

#include "bench/weft_bench/thread.h"

enum { FIRST_CAPACITY = 1024 };

static void *pool_thread(void *arg)
{
    struct pool *pool = arg;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct pool_item item;

        while (pool->count == 0 && !pool->closed) {
            pool->waiting++;
            pthread_cond_wait(&pool->filled, &pool->lock);
            pool->waiting--;
        }
        if (pool->count == 0)
            break;
        item = pool->ring[pool->head];
        pool->head = (pool->head + 1) & (pool->capacity - 1);
        pool->count--;
        pthread_mutex_unlock(&pool->lock);

        item.fn(item.arg);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

int pool_start(struct pool *pool, unsigned threads)
{
    *pool = (struct pool){
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .filled = PTHREAD_COND_INITIALIZER,
        .capacity = FIRST_CAPACITY,
        .ring = calloc(FIRST_CAPACITY, sizeof(struct pool_item)),
        .threads = calloc(threads, sizeof(pthread_t)),
    };
    if (pool->ring == NULL || pool->threads == NULL)
        return -1;
    for (; pool->size < threads; pool->size++)
        if (thread_start(&pool->threads[pool->size], pool_thread, pool) != 0)
            return -1;
    return 0;
}

/* Under the lock. */
static int pool_grow(struct pool *pool)
{
    size_t capacity = pool->capacity * 2;
    struct pool_item *ring = malloc(capacity * sizeof(*ring));

    if (ring == NULL)
        return -1;
    for (size_t i = 0; i < pool->count; i++)
        ring[i] = pool->ring[(pool->head + i) & (pool->capacity - 1)];
    free(pool->ring);
    pool->ring = ring;
    pool->head = 0;
    pool->capacity = capacity;
    return 0;
}

int pool_submit(struct pool *pool, void (*fn)(void *arg), void *arg)
{
    size_t tail;
    bool wake;

    pthread_mutex_lock(&pool->lock);
    if (pool->count == pool->capacity && pool_grow(pool) != 0) {
        pthread_mutex_unlock(&pool->lock);
        return -1;
    }
    tail = (pool->head + pool->count) & (pool->capacity - 1);
    pool->ring[tail] = (struct pool_item){ fn, arg };
    pool->count++;
    wake = pool->waiting > 0;
    pthread_mutex_unlock(&pool->lock);

    if (wake)
        pthread_cond_signal(&pool->filled);
    return 0;
}

void pool_stop(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->closed = true;
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_broadcast(&pool->filled);
    for (unsigned i = 0; i < pool->size; i++)
        pthread_join(pool->threads[i], NULL);
    free(pool->threads);
    free(pool->ring);
    pthread_cond_destroy(&pool->filled);
    pthread_mutex_destroy(&pool->lock);
}
