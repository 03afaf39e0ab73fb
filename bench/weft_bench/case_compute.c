/*
 * What does computing cost the others, and what do the others cost it?
 *
 * checkpoint: the call a loop that computes makes now and then. Threads have
 * no such thing to pay: the kernel interrupts them.
 *
 * ready_compute: one readies another and then computes for a millisecond. How
 * long until the other runs? On two workers it can be at once; an operation is
 * one such wake-up, its time the mean wait.
 */
#include "bench/weft_bench/work.h"

#include <weft/weft.h>

#include "bench/weft_bench/thread.h"
#include "bench/weft_bench/thread_chan.h"

enum { COMPUTE_NS = 1000000, PAUSE_NS = 200000 };

static int checkpoint_weft(struct work *w)
{
    int status = 0;

    work_begin(w);
    for (uint64_t i = 0; i < w->ops; i++)
        status |= weft_checkpoint();
    work_end(w);
    return status == 0 ? WORK_DONE : work_wrong(w, "cancelled");
}

static void compute_for(uint64_t ns)
{
    uint64_t until = now_ns() + ns;

    while (now_ns() < until) {
    }
}

struct wake {
    weft_chan_t *sent;
    weft_chan_t *back;
    struct thread_chan thread_sent;
    struct thread_chan thread_back;
};

/* Both sides: get the time of the wake-up, answer how long it took. */
static void *wake_fiber(void *arg)
{
    struct wake *p = arg;
    uint64_t then;

    while (weft_chan_recv(p->sent, &then) == 0) {
        uint64_t late = now_ns() - then;
        weft_chan_send(p->back, &late);
    }
    return NULL;
}

static void *wake_thread(void *arg)
{
    struct wake *p = arg;
    uint64_t then;

    while (thread_chan_recv(&p->thread_sent, &then))
        thread_chan_send(&p->thread_back, now_ns() - then);
    return NULL;
}

/* The pause lets the other go to sleep again, and its worker too. */
static int wake_weft(struct work *w)
{
    struct wake p;
    weft_fiber_t f;
    uint64_t sum = 0;

    if (weft_chan_create(&p.sent, sizeof(uint64_t), 0) != 0 ||
        weft_chan_create(&p.back, sizeof(uint64_t), 1) != 0 ||
        weft_spawn(&f, wake_fiber, &p) != 0)
        return work_wrong(w, "no channel or no fiber");
    weft_yield();

    work_begin(w);
    for (uint64_t i = 0; i < w->ops; i++) {
        uint64_t now, late = 0;

        compute_for(PAUSE_NS);
        now = now_ns();
        weft_chan_send(p.sent, &now);
        compute_for(COMPUTE_NS);
        weft_chan_recv(p.back, &late);
        sum += late;
    }
    work_end(w);
    w->ns = sum;

    weft_chan_close(p.sent);
    weft_join(f, NULL);
    weft_chan_unref(p.back);
    weft_chan_unref(p.sent);
    return WORK_DONE;
}

static int wake_pthread(struct work *w)
{
    struct wake p;
    pthread_t t;
    uint64_t sum = 0;

    if (thread_chan_init(&p.thread_sent, 1) != 0 ||
        thread_chan_init(&p.thread_back, 1) != 0 ||
        thread_start(&t, wake_thread, &p) != 0)
        return work_stopped(w, "no channel or no thread");

    work_begin(w);
    for (uint64_t i = 0; i < w->ops; i++) {
        uint64_t late = 0;

        compute_for(PAUSE_NS);
        thread_chan_send(&p.thread_sent, now_ns());
        compute_for(COMPUTE_NS);
        if (!thread_chan_recv(&p.thread_back, &late))
            break;
        sum += late;
    }
    work_end(w);
    w->ns = sum;

    thread_chan_close(&p.thread_sent);
    pthread_join(t, NULL);
    thread_chan_fini(&p.thread_back);
    thread_chan_fini(&p.thread_sent);
    return WORK_DONE;
}

const struct bench_case case_checkpoint = {
    .name = "checkpoint",
    .weft = checkpoint_weft,
};

const struct bench_case case_ready_compute = {
    .name = "ready_compute",
    .weft = wake_weft,
    .pthread = wake_pthread,
};
