/*
 * N producers, M consumers and a queue between them. Shows a bounded queue
 * (producers wait while it is full), waiting until all that was put has been
 * dealt with (weft_queue_join), a wait group that is done when the producers
 * are, and a mutex around what the consumers share. The sum at the end is
 * checked: nothing was lost, and nothing came twice.
 */
#include <stdint.h>
#include <stdio.h>

#include <weft.h>

enum { PRODUCERS = 50, CONSUMERS = 20, EACH = 1000, CAPACITY = 16 };

struct shared {
    weft_queue_t *jobs;
    weft_waitgroup_t producing;
    weft_waitgroup_t consuming;
    weft_mutex_t lock; /* of what follows */
    uint64_t sum;
    uint64_t count;
};

struct producer {
    struct shared *shared;
    uint64_t first; /* puts first, first + 1, ... */
};

static void *produce(void *arg)
{
    struct producer *producer = arg;
    struct shared *shared = producer->shared;

    for (uint64_t i = 0; i < EACH; i++) {
        uint64_t job = producer->first + i;

        if (weft_queue_put(shared->jobs, &job) != 0)
            break;
    }
    weft_waitgroup_done(&shared->producing);
    return NULL;
}

static void *consume(void *arg)
{
    struct shared *shared = arg;
    uint64_t job;

    while (weft_queue_get(shared->jobs, &job) == 0) {
        weft_mutex_lock(&shared->lock);
        shared->sum += job;
        shared->count++;
        weft_mutex_unlock(&shared->lock);
        weft_queue_done(shared->jobs);
    }
    weft_waitgroup_done(&shared->consuming);
    return NULL;
}

static int entry(void *arg)
{
    struct shared shared = { .jobs = NULL };
    struct producer producers[PRODUCERS];
    const uint64_t n = (uint64_t)PRODUCERS * EACH;
    int status;

    (void)arg;
    status = weft_queue_create(&shared.jobs, WEFT_FIFO, sizeof(uint64_t),
                               CAPACITY, NULL);
    if (status != 0)
        return status;
    for (int i = 0; i < CONSUMERS; i++) {
        weft_waitgroup_add(&shared.consuming, 1);
        if (weft_go(consume, &shared) != 0)
            weft_waitgroup_done(&shared.consuming);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i].shared = &shared;
        producers[i].first = (uint64_t)i * EACH;
        weft_waitgroup_add(&shared.producing, 1);
        if (weft_go(produce, &producers[i]) != 0)
            weft_waitgroup_done(&shared.producing);
    }

    weft_waitgroup_wait(&shared.producing); /* all is put, */
    weft_queue_join(shared.jobs);           /* all is dealt with: */
    weft_queue_close(shared.jobs);          /* the consumers may go. */
    weft_waitgroup_wait(&shared.consuming);
    weft_queue_unref(shared.jobs);

    printf("%d producers, %d consumers: %llu jobs, sum %llu\n", PRODUCERS,
           CONSUMERS, (unsigned long long)shared.count,
           (unsigned long long)shared.sum);
    if (shared.count != n || shared.sum != n * (n - 1) / 2) {
        printf("the sum is wrong\n");
        return 1;
    }
    return 0;
}

int main(void)
{
    int result = 0;
    int status = weft_run(NULL, entry, NULL, &result);

    if (status == 0 && result <= 0)
        status = result;
    if (status < 0)
        fprintf(stderr, "fanout: %s\n", weft_strerror(status));
    return status == 0 && result == 0 ? 0 : 1;
}
