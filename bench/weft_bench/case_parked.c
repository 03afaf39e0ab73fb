/*
 * How many can wait at once, and what does each cost while it does?
 *
 * parked: `ops` fibers wait to receive on a channel, PER_CHANNEL on each. The
 * bytes are those of the whole process, (VmRSS + VmPTE) when all are parked
 * minus before, by the number of fibers; an operation is one life: spawned,
 * parked, woken by a value, joined.
 *
 * idle: 10,000 of them wait and nothing else happens for `ops` milliseconds.
 * What counts is the processor time that takes.
 *
 * A thread's own memory in the kernel (a stack of 16 KiB and more) is in
 * neither figure.
 */
#include "bench/weft_bench/work.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <weft/weft.h>

#include "bench/weft_bench/thread.h"

enum { PER_CHANNEL = 1000, IDLERS = 10000 };

static uint64_t resident_bytes(void)
{
    return (status_kib("VmRSS") + status_kib("VmPTE")) * 1024;
}

static void sleep_ms(uint64_t ms)
{
    struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

    while (nanosleep(&t, &t) != 0) {
    }
}

/* ---- weft ---- */

struct crowd {
    uint64_t count;
    uint64_t channels;
    weft_chan_t **chans;
    weft_fiber_t *fibers;
};

/* Returns the value that woke it. */
static void *crowd_fiber(void *arg)
{
    uint64_t value = 0;

    weft_chan_recv(arg, &value);
    return (void *)(uintptr_t)value;
}

static int crowd_make(struct work *w, struct crowd *crowd, uint64_t count)
{
    crowd->count = count;
    crowd->channels = (count + PER_CHANNEL - 1) / PER_CHANNEL;
    crowd->chans = calloc(crowd->channels, sizeof(*crowd->chans));
    crowd->fibers = malloc(count * sizeof(*crowd->fibers));
    if (crowd->chans == NULL || crowd->fibers == NULL)
        return work_stopped(w, "no memory");
    for (uint64_t i = 0; i < crowd->channels; i++)
        if (weft_chan_create(&crowd->chans[i], sizeof(uint64_t), 0) != 0)
            return work_wrong(w, "no channel");
    /* Touched now: the ids are ours and not part of what a fiber costs. */
    memset(crowd->fibers, 0xff, count * sizeof(*crowd->fibers));
    return WORK_DONE;
}

static uint64_t crowd_parks(void)
{
    weft_stats_t stats = { .size = sizeof(stats) };

    weft_stats(&stats);
    return stats.total.parks;
}

/* Returns when all are parked: each of them parks once, and we never do. */
static int crowd_park(struct work *w, struct crowd *crowd)
{
    uint64_t before = crowd_parks();

    for (uint64_t i = 0; i < crowd->count; i++) {
        int code = weft_spawn(&crowd->fibers[i], crowd_fiber,
                              crowd->chans[i / PER_CHANNEL]);
        if (code != 0)
            return work_stopped(w, "weft_spawn: %s after %lu",
                                weft_strerror(code), (unsigned long)i);
    }
    while (crowd_parks() - before < crowd->count)
        weft_yield();
    return WORK_DONE;
}

static int crowd_wake(struct work *w, struct crowd *crowd)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < crowd->count; i++)
        weft_chan_send(crowd->chans[i / PER_CHANNEL], &i);
    for (uint64_t i = 0; i < crowd->count; i++) {
        void *value = NULL;
        weft_join(crowd->fibers[i], &value);
        sum += (uintptr_t)value;
    }
    for (uint64_t i = 0; i < crowd->channels; i++)
        weft_chan_unref(crowd->chans[i]);
    free(crowd->fibers);
    free(crowd->chans);
    if (sum != crowd->count * (crowd->count - 1) / 2)
        return work_wrong(w, "a fiber got a value that is not its own");
    return WORK_DONE;
}

static int parked_weft(struct work *w)
{
    struct crowd crowd;
    uint64_t before;
    int status = crowd_make(w, &crowd, w->ops);

    if (status != WORK_DONE)
        return status;
    before = resident_bytes();
    work_begin(w);
    status = crowd_park(w, &crowd);
    if (status != WORK_DONE)
        return status;
    w->bytes_each = (resident_bytes() - before) / w->ops;
    status = crowd_wake(w, &crowd);
    work_end(w);
    return status;
}

static void *idle_sleep(void *arg)
{
    sleep_ms((uintptr_t)arg);
    return NULL;
}

static int idle_weft(struct work *w)
{
    struct crowd crowd;
    int status = crowd_make(w, &crowd, IDLERS);
    int code;

    if (status != WORK_DONE)
        return status;
    status = crowd_park(w, &crowd);
    if (status != WORK_DONE)
        return status;
    work_begin(w);
    code = weft_blocking(idle_sleep, (void *)(uintptr_t)w->ops, NULL);
    work_end(w);
    if (code != 0)
        return work_wrong(w, "weft_blocking: %s", weft_strerror(code));
    return crowd_wake(w, &crowd);
}

/* ---- threads ---- */

static void *crowd_thread(void *arg)
{
    gate_pass(arg);
    return NULL;
}

/* Touched now, as the fibers' ids are. */
static pthread_t *crowd_threads(uint64_t count)
{
    pthread_t *threads = malloc(count * sizeof(*threads));

    if (threads != NULL)
        memset(threads, 0xff, count * sizeof(*threads));
    return threads;
}

static int crowd_start(struct work *w, struct gate *gate, pthread_t *threads,
                       uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        int error = thread_start(&threads[i], crowd_thread, gate);
        if (error != 0)
            return work_stopped(w, "pthread_create: %s after %lu threads",
                                strerrorname_np(error), (unsigned long)i);
    }
    gate_await(gate, (unsigned)count);
    return WORK_DONE;
}

static void crowd_end(struct gate *gate, pthread_t *threads, uint64_t count)
{
    gate_open(gate);
    for (uint64_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

static int parked_pthread(struct work *w)
{
    struct gate gate = GATE_INIT;
    pthread_t *threads = crowd_threads(w->ops);
    uint64_t before;
    int status;

    if (threads == NULL)
        return work_stopped(w, "no memory");
    before = resident_bytes();
    work_begin(w);
    status = crowd_start(w, &gate, threads, w->ops);
    if (status != WORK_DONE)
        return status;
    w->bytes_each = (resident_bytes() - before) / w->ops;
    crowd_end(&gate, threads, w->ops);
    work_end(w);
    return WORK_DONE;
}

static int idle_pthread(struct work *w)
{
    struct gate gate = GATE_INIT;
    pthread_t *threads = crowd_threads(IDLERS);
    int status;

    if (threads == NULL)
        return work_stopped(w, "no memory");
    status = crowd_start(w, &gate, threads, IDLERS);
    if (status != WORK_DONE)
        return status;
    work_begin(w);
    sleep_ms(w->ops);
    work_end(w);
    crowd_end(&gate, threads, IDLERS);
    return WORK_DONE;
}

const struct bench_case case_parked = {
    .name = "parked",
    .cold = true,
    .weft = parked_weft,
    .pthread = parked_pthread,
};

const struct bench_case case_idle = {
    .name = "idle",
    .cold = true,
    .weft = idle_weft,
    .pthread = idle_pthread,
};
