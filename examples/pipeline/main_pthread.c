/*
 * The pipeline on OS threads: a thread per runner, and queues of a ring, a
 * mutex and two condition variables.
 *
 * This is the rival that weft is measured against, written as well as we can:
 *
 *   - several values go through a queue under one lock;
 *   - no one is signalled who does not wait, and no more threads than there
 *     are values for;
 *   - the signal is sent after the unlock, so that the woken thread does not
 *     run into the lock;
 *   - who waits to put is woken when the queue has drained to the half, not
 *     at every value that leaves a full one, which would cost two switches
 *     of threads a value.
 */
#include "pipeline.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "sys.h"

const char port_program[] = "pipeline-pthread";

/* ---- queues -------------------------------------------------------------- */

struct port_queue {
    pthread_mutex_t lock;
    pthread_cond_t not_empty;
    pthread_cond_t not_full;
    atomic_uint refs;
    bool closed;
    unsigned getters; /* who waits */
    unsigned putters;
    size_t head;
    size_t count;
    size_t capacity;
    void *ring[];
};

port_queue_t *port_queue_create(size_t capacity)
{
    port_queue_t *q = calloc(1, sizeof(*q) + capacity * sizeof(q->ring[0]));

    if (q == NULL)
        return NULL;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->not_empty, NULL);
    pthread_cond_init(&q->not_full, NULL);
    atomic_init(&q->refs, 1);
    q->capacity = capacity;
    return q;
}

port_queue_t *port_queue_ref(port_queue_t *q)
{
    /* relaxed: the caller has a reference, so this is not the last one. */
    atomic_fetch_add_explicit(&q->refs, 1, memory_order_relaxed);
    return q;
}

void port_queue_unref(port_queue_t *q)
{
    /* acq_rel: who frees sees that the others are through. */
    if (q == NULL ||
        atomic_fetch_sub_explicit(&q->refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_cond_destroy(&q->not_full);
    pthread_cond_destroy(&q->not_empty);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

static void queue_wake(pthread_cond_t *cond, size_t n)
{
    while (n-- > 0)
        pthread_cond_signal(cond);
}

size_t port_queue_put(port_queue_t *q, void *const *values, size_t n)
{
    size_t put = 0;

    while (put < n) {
        size_t wake = 0;
        bool closed;

        pthread_mutex_lock(&q->lock);
        while (q->count == q->capacity && !q->closed) {
            q->putters++;
            pthread_cond_wait(&q->not_full, &q->lock);
            q->putters--;
        }
        closed = q->closed;
        while (!closed && put < n && q->count < q->capacity) {
            size_t tail = q->head + q->count++;

            if (tail >= q->capacity)
                tail -= q->capacity;
            q->ring[tail] = values[put++];
            wake++;
        }
        if (wake > q->getters)
            wake = q->getters;
        pthread_mutex_unlock(&q->lock);
        queue_wake(&q->not_empty, wake);
        if (closed)
            break;
    }
    return put;
}

size_t port_queue_get(port_queue_t *q, void **values, size_t n)
{
    size_t got = 0;
    size_t wake = 0;

    pthread_mutex_lock(&q->lock);
    while (q->count == 0 && !q->closed) {
        q->getters++;
        pthread_cond_wait(&q->not_empty, &q->lock);
        q->getters--;
    }
    while (got < n && q->count > 0) {
        values[got++] = q->ring[q->head];
        if (++q->head == q->capacity)
            q->head = 0;
        q->count--;
    }
    /* Between here and the half they sleep on: those who get will come by
     * again, since nothing but this wake-up can be what they wait for. */
    if (got > 0 && q->count <= q->capacity / 2)
        wake = q->putters;
    pthread_mutex_unlock(&q->lock);
    queue_wake(&q->not_full, wake);
    return got;
}

void port_queue_close(port_queue_t *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_mutex_unlock(&q->lock);
    pthread_cond_broadcast(&q->not_empty);
    pthread_cond_broadcast(&q->not_full);
}

/* ---- runners ------------------------------------------------------------- */

static unsigned workers_wanted;

int port_run(unsigned workers, int (*entry)(void *), void *arg)
{
    cpu_set_t set;

    if (workers == 0) {
        workers = 1;
        if (sched_getaffinity(0, sizeof(set), &set) == 0)
            workers = (unsigned)CPU_COUNT(&set);
    }
    workers_wanted = workers;
    return entry(arg);
}

unsigned port_workers(void)
{
    return workers_wanted;
}

int port_start(port_runner_t *r, const char *name, void *(*entry)(void *),
               void *arg)
{
    pthread_t thread;
    int err = pthread_create(&thread, NULL, entry, arg);

    if (err != 0)
        return -err;
    pthread_setname_np(thread, name);
    *r = (port_runner_t)thread;
    return 0;
}

void port_join(port_runner_t r)
{
    pthread_join((pthread_t)r, NULL);
}

/* ---- what may block: here it simply does --------------------------------- */

void port_block(void (*job)(void *), void *arg)
{
    job(arg);
}

int port_open(int dir, const char *name, int flags)
{
    return sys_open(dir, name, flags, false);
}

ssize_t port_pread(int fd, void *buf, size_t n, off_t offset)
{
    return sys_pread(fd, buf, n, offset, false);
}

void port_checkpoint(void)
{
}

int main(int argc, char **argv)
{
    return pipeline_main(argc, argv);
}
