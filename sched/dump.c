/*
 * Who waits for what: the list of fibers, and the counters.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "sched/os.h"
#include "sched/park.h"
#include "sched/worker.h"

const char *weft__fiber_state(const struct weft__fiber *f)
{
    /* relaxed: a look. */
    switch (weft__load(&f->wake, RELAXED) & WEFT__WAKE_STATE_MASK) {
    case WEFT__WAKE_NEW:
        return "new";
    case WEFT__WAKE_RUNNING:
        return "running";
    case WEFT__WAKE_OPEN:
        return "parking";
    case WEFT__WAKE_PARKED:
        return "parked";
    case WEFT__WAKE_CLAIMED:
    case WEFT__WAKE_CLAIMED_PARKED:
    case WEFT__WAKE_DONE:
        return "woken";
    default:
        return "free";
    }
}

struct dump {
    int (*write)(const char *line, void *arg);
    void *arg;
    int listed; /* or the writer's negative answer */
};

/* What it waits for, while it does. */
static void describe_wait(const struct weft__fiber *f, int64_t now,
                          char *text, size_t size)
{
    struct weft__fiber_cold *cold = weft__fiber_cold(f);
    const char *what = weft__load(&cold->what, RELAXED);
    void *object = weft__load(&cold->object, RELAXED);
    int64_t since = weft__load(&cold->since, RELAXED);
    int64_t deadline = weft__load(&cold->deadline, RELAXED);
    uint64_t state =
        weft__load(&f->wake, RELAXED) & WEFT__WAKE_STATE_MASK;
    char which[24] = "";
    /* Of the worker's last look at the clock, which may be later than ours. */
    int64_t waited = now > since ? now - since : 0;
    int used;

    text[0] = '\0';
    if ((state != WEFT__WAKE_OPEN && state != WEFT__WAKE_PARKED) || !what)
        return;
    if (object)
        snprintf(which, sizeof(which), " %p", object);
    used = snprintf(text, size, ", waits for %s%s for %" PRId64 " ms", what,
                    which, waited / 1000000);
    if (deadline != WEFT_FOREVER && used > 0 && (size_t)used < size)
        snprintf(text + used, size - (size_t)used,
                 ", deadline in %" PRId64 " ms", (deadline - now) / 1000000);
}

static void dump_one(struct weft__fiber *f, uint64_t life, void *arg)
{
    struct dump *dump = arg;
    const char *name = weft__fiber_cold(f)->name;
    uintptr_t stack = weft__load(&f->stack, RELAXED);
    char wait[160], line[442];
    int status;

    if (dump->listed < 0)
        return;
    describe_wait(f, weft__os_now(), wait, sizeof(wait));
    snprintf(line, sizeof(line) - 1, /* and a newline */
             "weft: fiber %" PRIu32 ":%" PRIu64 " \"%.*s\" %s%s%s%s, stack %zu "
             "of %zu bytes, spawned at %p",
             weft__fiber_index(f), weft__life_version(life),
             WEFT_NAME_MAX - 1, stack & WEFT__FIBER_NAMED ? name : "",
             weft__fiber_state(f),
             life & WEFT__LIFE_CANCEL ? ", cancelled" : "",
             stack & WEFT__FIBER_SHIELDED ? ", shielded" : "", wait,
             stack & WEFT__STACK_BASE_MASK ? weft__stack_high_water(stack)
                                           : 0,
             weft__stack_size(stack), f->site);
    /* One line it is, whatever a fiber's name contains. */
    for (char *at = line; *at; at++)
        if ((unsigned char)*at < ' ')
            *at = ' ';
    snprintf(line + strlen(line), 2, "\n");
    status = dump->write(line, dump->arg);
    dump->listed = status < 0 ? status : dump->listed + 1;
}

int weft__dump(int (*write)(const char *line, void *arg), void *arg)
{
    struct dump dump = { write, arg, 0 };

    weft__sched_each(dump_one, &dump);
    return dump.listed;
}

static void add(const struct weft__counters *from, weft_worker_stats_t *to)
{
    /* relaxed: each is exact for a moment, together they are not. */
    to->spawned += weft__load(&from->spawned, RELAXED);
    to->ended += weft__load(&from->ended, RELAXED);
    to->switches += weft__load(&from->switches, RELAXED);
    to->parks += weft__load(&from->parks, RELAXED);
    to->yields += weft__load(&from->yields, RELAXED);
    to->steals += weft__load(&from->steals, RELAXED);
    to->stolen += weft__load(&from->stolen, RELAXED);
    to->wakes += weft__load(&from->wakes, RELAXED);
    to->sleeps += weft__load(&from->sleeps, RELAXED);
    to->polls += weft__load(&from->polls, RELAXED);
    to->overflows += weft__load(&from->overflows, RELAXED);
}

void weft__sched_timers(uint64_t *standing, uint64_t *armed,
                        uint64_t *expired)
{
    *standing = *armed = *expired = 0;
    for (unsigned i = 0; i < weft__sched.count; i++) {
        struct weft__timer_heap *heap = weft__sched.workers[i]->timers;

        /* relaxed: as above. */
        *standing += weft__load(&heap->standing, RELAXED);
        *armed += weft__load(&heap->armed, RELAXED);
        *expired += weft__load(&heap->expired, RELAXED);
    }
}

int weft__sched_counters(unsigned index, weft_worker_stats_t *out)
{
    unsigned count = weft__sched.count;

    memset(out, 0, sizeof(*out));
    if (index != UINT_MAX && index >= count)
        return -EINVAL;
    for (unsigned i = 0; i < count; i++)
        if (index == UINT_MAX || index == i)
            add(&weft__sched.workers[i]->counters, out);
    if (index == UINT_MAX)
        out->spawned += weft__load(&weft__sched.spawned, RELAXED);
    return 0;
}
