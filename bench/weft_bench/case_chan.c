/*
 * What does a value cost that goes through a channel: there and back through
 * two that hold none, and one way through a buffer of 1,024 that never has to
 * be empty or full?
 *
 * The threads' channel is thread_chan.h. For the round trip it has one slot:
 * a sender that would also wait until its value is taken, as one does at a
 * rendezvous, could only be slower.
 */
#include "bench/weft_bench/work.h"

#include <stdlib.h>

#include <weft/weft.h>

#include "bench/weft_bench/thread.h"
#include "bench/weft_bench/thread_chan.h"

enum { BUFFER = 1024, MOST_PROCS = 64 };

/* ---- there and back ---- */

struct ping {
    weft_chan_t *there;
    weft_chan_t *back;
};

/* Sends back what it gets, and 1 more. */
static void *ping_fiber(void *arg)
{
    struct ping *p = arg;
    uint64_t value;

    while (weft_chan_recv(p->there, &value) == 0) {
        value++;
        weft_chan_send(p->back, &value);
    }
    return NULL;
}

static int ping_weft(struct work *w)
{
    struct ping p;
    weft_fiber_t f;
    uint64_t value = 0;
    int code;

    if (weft_chan_create(&p.there, sizeof(value), 0) != 0 ||
        weft_chan_create(&p.back, sizeof(value), 0) != 0)
        return work_wrong(w, "no channel");
    code = weft_spawn(&f, ping_fiber, &p);
    if (code != 0)
        return work_wrong(w, "weft_spawn: %s", weft_strerror(code));

    work_begin(w);
    for (uint64_t i = 0; i < w->ops; i++) {
        weft_chan_send(p.there, &value);
        weft_chan_recv(p.back, &value);
    }
    work_end(w);

    weft_chan_close(p.there);
    weft_join(f, NULL);
    weft_chan_unref(p.back);
    weft_chan_unref(p.there);
    return value == w->ops ? WORK_DONE : work_wrong(w, "a value is lost");
}

struct thread_ping {
    struct thread_chan there;
    struct thread_chan back;
};

static void *ping_thread(void *arg)
{
    struct thread_ping *p = arg;
    uint64_t value;

    while (thread_chan_recv(&p->there, &value))
        thread_chan_send(&p->back, value + 1);
    return NULL;
}

static int ping_pthread(struct work *w)
{
    struct thread_ping p;
    pthread_t t;
    uint64_t value = 0;

    if (thread_chan_init(&p.there, 1) != 0 || thread_chan_init(&p.back, 1) != 0)
        return work_wrong(w, "no channel");
    if (thread_start(&t, ping_thread, &p) != 0)
        return work_stopped(w, "no thread");

    work_begin(w);
    for (uint64_t i = 0; i < w->ops; i++) {
        thread_chan_send(&p.there, value);
        if (!thread_chan_recv(&p.back, &value))
            break;
    }
    work_end(w);

    thread_chan_close(&p.there);
    pthread_join(t, NULL);
    thread_chan_fini(&p.back);
    thread_chan_fini(&p.there);
    return value == w->ops ? WORK_DONE : work_wrong(w, "a value is lost");
}

/* ---- through a buffer ---- */

struct flow {
    weft_chan_t *chan;
    struct thread_chan *thread_chan;
    uint64_t first; /* a producer sends first, first + 1, ... */
    uint64_t count;
    uint64_t sum; /* a consumer's */
};

static void *flow_produce_fiber(void *arg)
{
    struct flow *flow = arg;

    for (uint64_t i = 0; i < flow->count; i++) {
        uint64_t value = flow->first + i;
        weft_chan_send(flow->chan, &value);
    }
    return NULL;
}

static void *flow_consume_fiber(void *arg)
{
    struct flow *flow = arg;
    uint64_t value, sum = 0, count = 0;

    while (weft_chan_recv(flow->chan, &value) == 0) {
        sum += value;
        count++;
    }
    flow->sum = sum;
    flow->count = count;
    return NULL;
}

static void *flow_produce_thread(void *arg)
{
    struct flow *flow = arg;

    for (uint64_t i = 0; i < flow->count; i++)
        thread_chan_send(flow->thread_chan, flow->first + i);
    return NULL;
}

static void *flow_consume_thread(void *arg)
{
    struct flow *flow = arg;
    uint64_t value, sum = 0, count = 0;

    while (thread_chan_recv(flow->thread_chan, &value)) {
        sum += value;
        count++;
    }
    flow->sum = sum;
    flow->count = count;
    return NULL;
}

static int flow_prepare(struct work *w, struct flow *producers)
{
    uint64_t each = w->ops / w->procs > 0 ? w->ops / w->procs : 1;

    if (w->procs > MOST_PROCS)
        return work_wrong(w, "at most %d producers", MOST_PROCS);
    w->ops = each * w->procs;
    for (unsigned i = 0; i < w->procs; i++)
        producers[i] = (struct flow){ .first = i * each, .count = each };
    return WORK_DONE;
}

static int flow_check(struct work *w, const struct flow *consumers)
{
    uint64_t sum = 0, count = 0;

    for (unsigned i = 0; i < w->procs; i++) {
        sum += consumers[i].sum;
        count += consumers[i].count;
    }
    if (count != w->ops || sum != w->ops * (w->ops - 1) / 2)
        return work_wrong(w, "%lu values came of %lu", (unsigned long)count,
                          (unsigned long)w->ops);
    return WORK_DONE;
}

static int flow_weft(struct work *w)
{
    struct flow producers[MOST_PROCS], consumers[MOST_PROCS];
    weft_fiber_t sending[MOST_PROCS], receiving[MOST_PROCS];
    weft_chan_t *ch;

    if (flow_prepare(w, producers) != WORK_DONE)
        return WORK_WRONG;
    if (weft_chan_create(&ch, sizeof(uint64_t), BUFFER) != 0)
        return work_wrong(w, "no channel");

    work_begin(w);
    for (unsigned i = 0; i < w->procs; i++) {
        producers[i].chan = ch;
        consumers[i] = (struct flow){ .chan = ch };
        if (weft_spawn(&sending[i], flow_produce_fiber, &producers[i]) != 0 ||
            weft_spawn(&receiving[i], flow_consume_fiber, &consumers[i]) != 0)
            return work_wrong(w, "no fiber");
    }
    for (unsigned i = 0; i < w->procs; i++)
        weft_join(sending[i], NULL);
    weft_chan_close(ch);
    for (unsigned i = 0; i < w->procs; i++)
        weft_join(receiving[i], NULL);
    work_end(w);

    weft_chan_unref(ch);
    return flow_check(w, consumers);
}

static int flow_pthread(struct work *w)
{
    struct flow producers[MOST_PROCS], consumers[MOST_PROCS];
    pthread_t sending[MOST_PROCS], receiving[MOST_PROCS];
    struct thread_chan ch;

    if (flow_prepare(w, producers) != WORK_DONE)
        return WORK_WRONG;
    if (thread_chan_init(&ch, BUFFER) != 0)
        return work_wrong(w, "no channel");

    work_begin(w);
    for (unsigned i = 0; i < w->procs; i++) {
        producers[i].thread_chan = &ch;
        consumers[i] = (struct flow){ .thread_chan = &ch };
        if (thread_start(&sending[i], flow_produce_thread, &producers[i]) !=
                0 ||
            thread_start(&receiving[i], flow_consume_thread, &consumers[i]) !=
                0)
            return work_stopped(w, "no thread");
    }
    for (unsigned i = 0; i < w->procs; i++)
        pthread_join(sending[i], NULL);
    thread_chan_close(&ch);
    for (unsigned i = 0; i < w->procs; i++)
        pthread_join(receiving[i], NULL);
    work_end(w);

    thread_chan_fini(&ch);
    return flow_check(w, consumers);
}

const struct bench_case case_chan_rt = {
    .name = "chan_rt",
    .weft = ping_weft,
    .pthread = ping_pthread,
};

const struct bench_case case_chan_buf = {
    .name = "chan_buf",
    .weft = flow_weft,
    .pthread = flow_pthread,
};
