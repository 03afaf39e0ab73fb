/*
 * Watching in the network of the simulation: what epoll does for the poller.
 */
#include <errno.h>
#include <stdlib.h>

#include "netpoll/net_sim.h"

static bool calm;

void weft__net_calm(bool on)
{
    calm = on;
}

static struct weft__net_watch *watch_of(const struct weft__net_file *f,
                                        const struct weft__poller *p)
{
    struct weft__net_watch *w = f ? f->watches : NULL;

    while (w && w->poller != p)
        w = w->next;
    return w;
}

/* What is there already is told, too. */
static void look(struct weft__net_call *call, struct weft__net_file *f,
                 struct weft__net_watch *w)
{
    if (weft__net_state(f) != 0) {
        w->ready = true;
        w->due = call->now + weft__net_delay();
    }
    weft__net_ring(call, w->poller);
}

static int watch(struct weft__net_call *call, struct weft__poller *p,
                 struct weft__net_file *f)
{
    struct weft__net_watch *w = watch_of(f, p);

    if (!f)
        return -EBADF;
    if (!w) {
        w = calloc(1, sizeof(*w));
        if (!w)
            return -ENOMEM;
        w->poller = p;
        w->next = f->watches;
        f->watches = w;
    }
    look(call, f, w);
    return 0;
}

int weft__net_watch(struct weft__poller *p, int fd)
{
    struct weft__net_call call;
    int status;

    weft__net_enter(&call, "watch");
    status = watch(&call, p, weft__net_at(fd));
    weft__net_leave(&call);
    return status;
}

static void unwatch(struct weft__poller *p, struct weft__net_file *f)
{
    struct weft__net_watch **w = &f->watches;

    while (*w) {
        struct weft__net_watch *old = *w;

        if (old->poller == p) {
            *w = old->next;
            free(old);
            return;
        }
        w = &old->next;
    }
}

void weft__net_unwatch(struct weft__poller *p, int fd)
{
    struct weft__net_call call;
    struct weft__net_file *f;

    weft__net_enter(&call, "unwatch");
    f = weft__net_at(fd);
    if (f)
        unwatch(p, f);
    weft__net_leave(&call);
}

int weft__net_rearm(struct weft__poller *p, int fd)
{
    struct weft__net_call call;
    struct weft__net_file *f;
    int status = -EBADF;

    weft__net_enter(&call, "rearm");
    f = weft__net_at(fd);
    if (f) {
        struct weft__net_watch *w = watch_of(f, p);

        status = w ? 0 : -ENOENT;
        if (w)
            look(&call, f, w);
    }
    weft__net_leave(&call);
    return status;
}

/* What this watch tells now; 0: nothing. */
static short told(struct weft__net_call *call, struct weft__net_file *f,
                  struct weft__net_watch *w)
{
    if (w->ready && w->due <= call->now) {
        w->ready = false;
        return (short)(weft__net_state(f) | (w->strange ? POLLERR : 0));
    }
    /* Out of nowhere: what another file of that number has left behind. */
    switch (calm ? 0 : weft__net_draw(16)) {
    case 1:
        return POLLIN | POLLOUT;
    case 2:
        return POLLIN | POLLRDHUP;
    default:
        return 0;
    }
}

unsigned weft__net_events(struct weft__poller *p,
                          struct weft__net_event *events, unsigned room)
{
    struct weft__net_call call;
    unsigned n = 0;

    weft__net_enter(&call, "epoll_wait");
    for (int fd = WEFT__NET_FIRST; fd < weft__net_top() && n < room; fd++) {
        struct weft__net_file *f = weft__net_at(fd);
        struct weft__net_watch *w = watch_of(f, p);
        short state = w ? told(&call, f, w) : 0;

        if (state == 0)
            continue;
        if (state & POLLERR)
            unwatch(p, f);
        events[n++] = (struct weft__net_event){ fd, state };
    }
    weft__net_leave(&call);
    return n;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t next_of(const struct weft__net_file *f,
                       const struct weft__net_watch *w)
{
    const struct weft__net_flow *in = &f->in;
    int64_t next = w->ready ? w->due : INT64_MAX;

    if (f->kind == WEFT__NET_CONNECTING)
        next = earlier(next, f->due);
    if (in->pieces > 0)
        next = earlier(next, in->piece[0].due);
    else if (in->ended && !in->end_seen)
        next = earlier(next, in->end);
    return next;
}

int64_t weft__net_next(struct weft__poller *p)
{
    struct weft__net_call call;
    int64_t next = INT64_MAX;

    weft__net_enter(&call, "ppoll");
    for (int fd = WEFT__NET_FIRST; fd < weft__net_top(); fd++) {
        struct weft__net_file *f = weft__net_at(fd);
        struct weft__net_watch *w = watch_of(f, p);

        if (w)
            next = earlier(next, next_of(f, w));
    }
    weft__net_leave(&call);
    return next;
}

bool weft__net_forget(struct weft__poller *p)
{
    struct weft__net_call call;
    bool ringing;

    weft__net_enter(&call, "close");
    for (int fd = WEFT__NET_FIRST; fd < weft__net_top(); fd++) {
        struct weft__net_file *f = weft__net_at(fd);

        if (f)
            unwatch(p, f);
    }
    ringing = p->ringing > 0;
    weft__net_leave(&call);
    return !ringing;
}
