/*
 * A channel for threads: the rival of weft_chan_t
 *
 * A ring under a mutex with two conditions, and what makes such a ring fast:
 * no signal where nobody waits, none while the mutex is held, and senders are
 * woken when half of the ring is free, not for every slot (the receivers go on
 * without them meanwhile, so that half is always reached).
 */
#ifndef BENCH_THREAD_CHAN_H
#define BENCH_THREAD_CHAN_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct thread_chan {
    pthread_mutex_t lock;
    pthread_cond_t not_empty;
    pthread_cond_t not_full;
    unsigned receivers; /* that wait */
    unsigned senders;
    size_t head;
    size_t count;
    size_t capacity;
    bool closed;
    uint64_t *ring;
};

/* 0 or -1 where memory is short. Capacity is at least 1. */
int thread_chan_init(struct thread_chan *ch, size_t capacity);
void thread_chan_fini(struct thread_chan *ch);

void thread_chan_send(struct thread_chan *ch, uint64_t value);

/* false: closed and drained. */
bool thread_chan_recv(struct thread_chan *ch, uint64_t *value);

void thread_chan_close(struct thread_chan *ch);

#endif
