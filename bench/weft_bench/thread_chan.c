#include "bench/weft_bench/thread_chan.h"

#include <stdlib.h>

int thread_chan_init(struct thread_chan *ch, size_t capacity)
{
    *ch = (struct thread_chan){
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .not_empty = PTHREAD_COND_INITIALIZER,
        .not_full = PTHREAD_COND_INITIALIZER,
        .capacity = capacity,
        .ring = calloc(capacity, sizeof(uint64_t)),
    };
    return ch->ring != NULL ? 0 : -1;
}

void thread_chan_fini(struct thread_chan *ch)
{
    free(ch->ring);
    pthread_cond_destroy(&ch->not_full);
    pthread_cond_destroy(&ch->not_empty);
    pthread_mutex_destroy(&ch->lock);
}

void thread_chan_send(struct thread_chan *ch, uint64_t value)
{
    size_t at;
    bool wake;

    pthread_mutex_lock(&ch->lock);
    while (ch->count == ch->capacity) {
        ch->senders++;
        pthread_cond_wait(&ch->not_full, &ch->lock);
        ch->senders--;
    }
    at = ch->head + ch->count;
    if (at >= ch->capacity)
        at -= ch->capacity;
    ch->ring[at] = value;
    ch->count++;
    wake = ch->receivers > 0;
    pthread_mutex_unlock(&ch->lock);

    if (wake)
        pthread_cond_signal(&ch->not_empty);
}

bool thread_chan_recv(struct thread_chan *ch, uint64_t *value)
{
    bool wake;

    pthread_mutex_lock(&ch->lock);
    while (ch->count == 0) {
        if (ch->closed) {
            pthread_mutex_unlock(&ch->lock);
            return false;
        }
        ch->receivers++;
        pthread_cond_wait(&ch->not_empty, &ch->lock);
        ch->receivers--;
    }
    *value = ch->ring[ch->head];
    ch->head = ch->head + 1 == ch->capacity ? 0 : ch->head + 1;
    ch->count--;
    wake = ch->senders > 0 && ch->count <= ch->capacity / 2;
    pthread_mutex_unlock(&ch->lock);

    if (wake)
        pthread_cond_signal(&ch->not_full);
    return true;
}

void thread_chan_close(struct thread_chan *ch)
{
    pthread_mutex_lock(&ch->lock);
    ch->closed = true;
    pthread_mutex_unlock(&ch->lock);
    pthread_cond_broadcast(&ch->not_empty);
}
