/*
 * What do timers cost when there are many, and how late do they fire?
 *
 * sleepers: `ops` fibers are started, each sleeps once for its own time of 0 to
 * 1 s, counted from where it begins, and notes how late it woke. The time is
 * that of all, from the first start to the last end.
 *
 * asleep: `ops` fibers sleep at once. The bytes are those of the whole process,
 * as in case_parked.c; all have to be asleep before the first may wake.
 */
#include "bench/weft_bench/asleep.h"
#include "bench/weft_bench/thread.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <weft/weft.h>

/* Later than any sleeper wakes that woke at all. */
#define LATE_MOST_NS (UINT64_C(60) * 1000000000)

/* The same times in every run, and in the other languages: splitmix64 of the
 * sleeper's number. */
static weft_time_t sleep_time(uint64_t number)
{
    uint64_t x = (number + 1) * 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (weft_time_t)((x ^ (x >> 31)) % 1000000000u);
}

/* ---- sleepers ---- */

struct sleeper {
    weft_waitgroup_t *all;
    uint64_t number;
    uint64_t late_ns;
};

static void *sleeper_fiber(void *arg)
{
    struct sleeper *s = arg;
    weft_time_t when = weft_after(sleep_time(s->number));

    weft_sleep_until(when);
    s->late_ns = (uint64_t)(weft_now() - when);
    weft_waitgroup_done(s->all);
    return NULL;
}

static int late_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* A sleeper that woke early has a lateness beyond all bounds. */
static int sleepers_check(struct work *w, const struct sleeper *all)
{
    uint64_t *late = malloc(w->ops * sizeof(*late));

    if (late == NULL)
        return work_stopped(w, "no memory");
    for (uint64_t i = 0; i < w->ops; i++)
        late[i] = all[i].late_ns;
    qsort(late, w->ops, sizeof(*late), late_compare);
    w->p50_ns = late[w->ops / 2];
    w->p99_ns = late[w->ops - 1 - w->ops / 100];
    w->worst_ns = late[w->ops - 1];
    free(late);
    if (w->worst_ns > LATE_MOST_NS)
        return work_wrong(w, "a sleeper woke early, or never slept");
    return WORK_DONE;
}

static int sleepers_weft(struct work *w)
{
    struct sleeper *all = malloc(w->ops * sizeof(*all));
    weft_waitgroup_t group = WEFT_WAITGROUP_INIT;
    int status;

    if (all == NULL)
        return work_stopped(w, "no memory");
    for (uint64_t i = 0; i < w->ops; i++)
        all[i] = (struct sleeper){ &group, i, UINT64_MAX };

    work_begin(w);
    weft_waitgroup_add(&group, (int)w->ops);
    for (uint64_t i = 0; i < w->ops; i++) {
        int code = weft_go(sleeper_fiber, &all[i]);
        if (code != 0)
            return work_wrong(w, "weft_go: %s", weft_strerror(code));
    }
    weft_waitgroup_wait(&group);
    work_end(w);
    status = sleepers_check(w, all);
    free(all);
    return status;
}

/* A thread each: the same times, asleep in the kernel. */
static void *sleeper_thread(void *arg)
{
    struct sleeper *s = arg;
    weft_time_t when = weft_after(sleep_time(s->number));
    struct timespec until = { when / 1000000000, when % 1000000000 };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
        ;
    s->late_ns = (uint64_t)(weft_now() - when);
    return NULL;
}

static int sleepers_pthread(struct work *w)
{
    struct sleeper *all = malloc(w->ops * sizeof(*all));
    pthread_t *threads = malloc(w->ops * sizeof(*threads));
    int status;

    if (all == NULL || threads == NULL)
        return work_stopped(w, "no memory");
    for (uint64_t i = 0; i < w->ops; i++)
        all[i] = (struct sleeper){ NULL, i, UINT64_MAX };

    work_begin(w);
    for (uint64_t i = 0; i < w->ops; i++) {
        int error = thread_start(&threads[i], sleeper_thread, &all[i]);
        if (error != 0)
            return work_stopped(w, "pthread_create: %s after %lu threads",
                                strerrorname_np(error), (unsigned long)i);
    }
    for (uint64_t i = 0; i < w->ops; i++)
        pthread_join(threads[i], NULL);
    work_end(w);
    status = sleepers_check(w, all);
    free(threads);
    free(all);
    return status;
}

/* ---- asleep ---- */

static uint64_t resident_bytes(void)
{
    return (status_kib("VmRSS") + status_kib("VmPTE")) * 1024;
}

static uint64_t asleep_parks(void)
{
    weft_stats_t stats = { .size = sizeof(stats) };

    weft_stats(&stats);
    return stats.total.parks;
}

struct crowd {
    weft_time_t first; /* wakes no earlier; the others in the second after */
    weft_waitgroup_t group;
    uint64_t *woken; /* a mark each */
};

void asleep_woken(struct asleep_one *one, bool right)
{
    if (right)
        one->crowd->woken[one->number] = one->number;
    weft_waitgroup_done(&one->crowd->group);
}

static void *asleep_fiber(void *arg)
{
    struct asleep_one *one = arg;
    weft_time_t when = one->crowd->first + sleep_time(one->number);

    asleep_woken(one, weft_sleep_until(when) == 0 && weft_now() >= when);
    return NULL;
}

/* Time enough to start them all: ten microseconds each, and two seconds. */
static weft_time_t asleep_first(uint64_t count)
{
    return weft_after(WEFT_SEC(2) + WEFT_US(10) * (weft_time_t)count);
}

/* All are parked when this returns, and none has woken. */
static int asleep_park(struct work *w, struct crowd *crowd,
                       struct asleep_one *ones,
                       const struct asleep_others *others)
{
    uint64_t before = asleep_parks();

    crowd->first = asleep_first(w->ops);
    weft_waitgroup_add(&crowd->group, (int)w->ops);
    for (uint64_t i = 0; i < w->ops; i++) {
        int code =
            weft_go(i < others->count ? others->fiber : asleep_fiber, &ones[i]);
        if (code != 0)
            return work_stopped(w, "weft_go: %s after %lu", weft_strerror(code),
                                (unsigned long)i);
    }
    while (asleep_parks() - before < w->ops && weft_now() < crowd->first)
        weft_yield();
    if (weft_now() >= crowd->first)
        return work_wrong(w, "not all were asleep when the first woke: a slow"
                             " or busy machine");
    w->bytes_each = (resident_bytes() - w->bytes_each) / w->ops;
    return WORK_DONE;
}

static int asleep_check(struct work *w, const struct crowd *crowd)
{
    for (uint64_t i = 0; i < w->ops; i++)
        if (crowd->woken[i] != i)
            return work_wrong(w, "fiber %lu was not woken as it should be",
                              (unsigned long)i);
    return WORK_DONE;
}

int asleep_crowd(struct work *w, const struct asleep_others *others)
{
    /* Fibers that a failed run leaves behind still look at it. */
    static struct crowd crowd;
    struct asleep_one *ones = malloc(w->ops * sizeof(*ones));
    int status;

    crowd = (struct crowd){ .group = WEFT_WAITGROUP_INIT };
    crowd.woken = malloc(w->ops * sizeof(*crowd.woken));
    if (ones == NULL || crowd.woken == NULL)
        return work_stopped(w, "no memory");
    /* Touched now: these are ours and not part of what a fiber costs. */
    memset(crowd.woken, 0xff, w->ops * sizeof(*crowd.woken));
    for (uint64_t i = 0; i < w->ops; i++)
        ones[i] = (struct asleep_one){ &crowd, i };

    w->bytes_each = resident_bytes();
    work_begin(w);
    status = asleep_park(w, &crowd, ones, others);
    if (status == WORK_DONE && others->count > 0)
        status = others->wake(w, others->count);
    if (status != WORK_DONE)
        return status;
    weft_waitgroup_wait(&crowd.group);
    work_end(w);
    status = asleep_check(w, &crowd);
    free(crowd.woken);
    free(ones);
    return status;
}

static int asleep_weft(struct work *w)
{
    return asleep_crowd(w, &(struct asleep_others){ .count = 0 });
}

const struct bench_case case_sleepers = {
    .name = "sleepers",
    .cold = true,
    .weft = sleepers_weft,
    .pthread = sleepers_pthread,
};

const struct bench_case case_asleep = {
    .name = "asleep",
    .cold = true,
    .weft = asleep_weft,
};
