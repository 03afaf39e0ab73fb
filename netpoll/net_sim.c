#include "netpoll/net_sim.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "sched/fatal.h"
#include "sched/os.h"
#include "sched/seam.h"

enum { NET_ROOM = 65536 };

/* The kernel's lock. Under the simulation nobody ever waits for it. */
static pthread_mutex_t net_lock = PTHREAD_MUTEX_INITIALIZER;

static struct {
    struct weft__net_file **at; /* by number */
    unsigned size;
    unsigned used;  /* numbers ever given, from the first on */
    unsigned files; /* given now */
    unsigned limit;
    size_t room;
    uint64_t serial;
} net = { .room = NET_ROOM };

/* --- Chance ------------------------------------------------------------------ */

unsigned weft__net_draw(unsigned n)
{
    return weft__seam != NULL && weft__seam->draw != NULL
               ? weft__seam->draw(n)
               : 0;
}

int64_t weft__net_delay(void)
{
    static const int64_t delay[] = { 0,    100,   300,    1000,
                                     5000, 20000, 100000, 1000000 };

    return delay[weft__net_draw(sizeof(delay) / sizeof(delay[0]))];
}

/* --- Files ------------------------------------------------------------------- */

int weft__net_top(void)
{
    return WEFT__NET_FIRST + (int)net.used;
}

struct weft__net_file *weft__net_at(int fd)
{
    unsigned i = (unsigned)(fd - WEFT__NET_FIRST);

    return weft__net_is(fd) && i < net.used ? net.at[i] : NULL;
}

int weft__net_may_open(void)
{
    if (weft__seam != NULL && weft__seam->fault != NULL) {
        int status = weft__seam->fault(WEFT__FAULT_FD);

        if (status != 0)
            return status;
    }
    return net.limit > 0 && net.files >= net.limit ? -EMFILE : 0;
}

struct weft__net_file *weft__net_new(enum weft__net_kind kind, int domain)
{
    struct weft__net_file *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return NULL;
    f->in.bytes = malloc(net.room);
    if (f->in.bytes == NULL) {
        free(f);
        return NULL;
    }
    f->in.room = net.room;
    f->fd = -1;
    f->serial = ++net.serial;
    f->kind = kind;
    f->domain = domain;
    return f;
}

int weft__net_number(struct weft__net_file *f)
{
    unsigned i = 0;

    while (i < net.used && net.at[i] != NULL)
        i++;
    if (i == net.size) {
        unsigned size = net.size > 0 ? 2 * net.size : 64;
        struct weft__net_file **at = realloc(net.at, size * sizeof(*at));

        if (at == NULL)
            return -ENOMEM;
        net.at = at;
        net.size = size;
    }
    net.at[i] = f;
    if (i == net.used)
        net.used++;
    net.files++;
    f->fd = WEFT__NET_FIRST + (int)i;
    return f->fd;
}

void weft__net_pair(struct weft__net_file *a, struct weft__net_file *b)
{
    a->peer = b;
    b->peer = a;
}

static void unwatch_all(struct weft__net_file *f)
{
    struct weft__net_watch *w;

    while ((w = f->watches) != NULL) {
        f->watches = w->next;
        free(w);
    }
}

/* The file ends. Its peer sees the end of the stream, or, if something was
 * left unread here, that the connection broke. */
void weft__net_free(struct weft__net_call *call, struct weft__net_file *f)
{
    struct weft__net_file *peer = f->peer;

    while (f->queue != NULL) {
        struct weft__net_file *waiting = f->queue;

        f->queue = waiting->behind;
        waiting->in.queued = 1; /* never accepted: as if unread */
        weft__net_free(call, waiting);
    }
    if (peer != NULL) {
        peer->peer = NULL;
        if (f->kind == WEFT__NET_STREAM && f->in.queued > 0)
            weft__net_break(call, peer, -ECONNRESET);
        else if (f->kind == WEFT__NET_PIPE_IN)
            weft__net_edge(call, peer);
        else
            weft__net_end(call, peer);
        weft__net_room_edge(call, peer);
    }
    if (f->fd >= 0) {
        net.at[f->fd - WEFT__NET_FIRST] = NULL;
        net.files--;
    }
    unwatch_all(f);
    free(f->in.bytes);
    free(f);
}

/* Is there room enough to say so? The kernel wants a third. */
static bool has_room(const struct weft__net_flow *flow)
{
    return (flow->room - flow->queued) * 3 >= flow->room;
}

short weft__net_state(const struct weft__net_file *f)
{
    const struct weft__net_flow *in = &f->in;
    int state = f->error != 0 ? POLLERR : 0;
    bool over = in->end_seen || f->read_shut;

    switch (f->kind) {
    case WEFT__NET_SOCKET:
        return (short)(state | POLLOUT | POLLHUP);
    case WEFT__NET_CONNECTING:
        return (short)state;
    case WEFT__NET_LISTENER:
        return (short)(state | (f->queue != NULL ? POLLIN : 0));
    case WEFT__NET_PIPE_IN:
        return (short)(state | (in->arrived > 0 ? POLLIN : 0) |
                       (over ? POLLHUP : 0));
    case WEFT__NET_PIPE_OUT:
        if (f->peer == NULL)
            return (short)(state | POLLOUT | POLLERR);
        return (short)(state | (has_room(&f->peer->in) ? POLLOUT : 0));
    case WEFT__NET_STREAM:
        break;
    }
    if (in->arrived > 0 || over || f->error != 0)
        state |= POLLIN;
    if (over)
        state |= POLLRDHUP;
    if (over && f->write_shut)
        state |= POLLHUP;
    if (f->peer == NULL || f->write_shut || has_room(&f->peer->in))
        state |= POLLOUT;
    return (short)state;
}

/* --- Edges ------------------------------------------------------------------- */

void weft__net_ring(struct weft__net_call *call, struct weft__poller *p)
{
    for (unsigned i = 0; i < call->rings; i++)
        if (call->ring[i] == p)
            return;
    WEFT__CHECK(call->rings < sizeof(call->ring) / sizeof(call->ring[0]),
                "the simulated network has too many pollers");
    call->ring[call->rings++] = p;
    p->ringing++;
}

void weft__net_edge(struct weft__net_call *call, struct weft__net_file *f)
{
    for (struct weft__net_watch *w = f->watches; w != NULL; w = w->next) {
        int64_t due = call->now + weft__net_delay();

        if (!w->ready || due < w->due)
            w->due = due;
        w->ready = true;
        weft__net_ring(call, w->poller);
    }
}

void weft__net_room_edge(struct weft__net_call *call, struct weft__net_file *f)
{
    if (!f->full)
        return;
    f->full = false;
    weft__net_edge(call, f);
}

/* Its pollers are to know that something is under way. */
static void expect(struct weft__net_call *call, struct weft__net_file *f)
{
    for (struct weft__net_watch *w = f->watches; w != NULL; w = w->next)
        weft__net_ring(call, w->poller);
}

void weft__net_break(struct weft__net_call *call, struct weft__net_file *f,
                     int error)
{
    f->error = error;
    f->read_shut = f->write_shut = true;
    f->in.pieces = 0;
    f->in.queued = f->in.arrived;
    weft__net_edge(call, f);
}

void weft__net_end(struct weft__net_call *call, struct weft__net_file *f)
{
    if (f->in.ended)
        return;
    f->in.ended = true;
    f->in.end = call->now + weft__net_delay();
    if (f->in.end < f->in.last)
        f->in.end = f->in.last;
    expect(call, f);
}

/* --- Bytes ------------------------------------------------------------------- */

/* Copy `n` bytes between the ring and the buffers. */
static void copy(struct weft__net_flow *flow, size_t at,
                 const struct iovec *iov, size_t n, bool out)
{
    for (; n > 0; iov++) {
        unsigned char *base = iov->iov_base;

        for (size_t i = 0; i < iov->iov_len && n > 0; i++, n--, at++) {
            unsigned char *byte = &flow->bytes[at % flow->room];

            if (out)
                base[i] = *byte;
            else
                *byte = base[i];
        }
    }
}

static size_t total_of(const struct iovec *iov, int n)
{
    size_t bytes = 0;

    for (int i = 0; i < n; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

/* Of `n` bytes some, at least one; mostly all. */
static size_t some_of(size_t n)
{
    unsigned k = n > 1 ? weft__net_draw(4) : 0;

    return k == 0 ? n : k == 1 ? 1 : k == 2 ? n / 2 : n - 1;
}

static int take_error(struct weft__net_file *f)
{
    int error = f->error;

    f->error = 0;
    return error;
}

ssize_t weft__net_take(struct weft__net_call *call, struct weft__net_file *f,
                       const struct iovec *iov, int n, int flags)
{
    struct weft__net_flow *in = &f->in;
    size_t want = total_of(iov, n);
    size_t got;

    if (flags & ~(MSG_PEEK | MSG_DONTWAIT | MSG_NOSIGNAL))
        return -EOPNOTSUPP;
    if (f->kind == WEFT__NET_PIPE_OUT)
        return -EBADF;
    if (f->kind != WEFT__NET_STREAM && f->kind != WEFT__NET_PIPE_IN)
        return -ENOTCONN;
    if (want == 0)
        return 0;
    if (in->arrived == 0) {
        if (f->error != 0)
            return take_error(f);
        return in->end_seen || f->read_shut ? 0 : -EAGAIN;
    }
    got = want < in->arrived ? want : in->arrived;
    /* A read of a TCP stream is short only if nothing is left: the short-read
     * rule relies on it. Others may stop between two pieces. */
    if (f->domain == AF_UNIX)
        got = some_of(got);
    copy(in, in->first, iov, got, true);
    if (flags & MSG_PEEK)
        return (ssize_t)got;
    in->first = (in->first + got) % in->room;
    in->queued -= got;
    in->arrived -= got;
    if (f->peer != NULL && has_room(in))
        weft__net_room_edge(call, f->peer);
    return (ssize_t)got;
}

/* They are on their way: in one piece or two, each with its time. */
static void send_off(struct weft__net_call *call, struct weft__net_file *to,
                     size_t n)
{
    struct weft__net_flow *in = &to->in;

    while (n > 0) {
        size_t part = some_of(n);
        int64_t due = call->now + weft__net_delay();

        if (due < in->last)
            due = in->last;
        if (in->pieces == 0 && due <= call->now) {
            in->arrived += part;
            weft__net_edge(call, to);
        } else if (in->pieces < WEFT__NET_PIECES) {
            in->piece[in->pieces].n = part;
            in->piece[in->pieces++].due = due;
        } else {
            in->piece[in->pieces - 1].n += part;
            in->piece[in->pieces - 1].due = due;
        }
        in->last = due;
        n -= part;
    }
    expect(call, to);
}

ssize_t weft__net_put(struct weft__net_call *call, struct weft__net_file *f,
                      const struct iovec *iov, int n)
{
    struct weft__net_file *to = f->peer;
    size_t want = total_of(iov, n);
    size_t room, put;

    if (f->kind == WEFT__NET_PIPE_IN)
        return -EBADF;
    if (f->kind != WEFT__NET_STREAM && f->kind != WEFT__NET_PIPE_OUT)
        return f->error != 0 ? take_error(f) : -ENOTCONN;
    if (f->error != 0)
        return take_error(f);
    if (to == NULL || f->write_shut || to->read_shut)
        return -EPIPE;
    if (want == 0)
        return 0;
    room = to->in.room - to->in.queued;
    /* The kernel may find no memory, if there is something whose end tells
     * of better times. */
    if (room == 0 || (to->in.queued > 0 && weft__net_draw(4) == 3)) {
        f->full = true;
        return -EAGAIN;
    }
    put = some_of(want < room ? want : room);
    if (put < want)
        f->full = true;
    copy(&to->in, to->in.first + to->in.queued, iov, put, false);
    to->in.queued += put;
    send_off(call, to, put);
    return (ssize_t)put;
}

/* --- Connecting -------------------------------------------------------------- */

static bool is_inet(int domain)
{
    return domain == AF_INET || domain == AF_INET6;
}

struct weft__net_file *weft__net_listener(const struct weft__net_file *f)
{
    for (unsigned i = 0; i < net.used; i++) {
        struct weft__net_file *l = net.at[i];
        const struct sockaddr_in *a = (const void *)&f->name;
        const struct sockaddr_in *b;

        if (l == NULL || l->kind != WEFT__NET_LISTENER ||
            l->domain != f->domain)
            continue;
        b = (const void *)&l->name;
        /* The port stands at the same place for both families, and all
         * addresses are this machine's. */
        if (is_inet(f->domain) ? a->sin_port == b->sin_port
                               : f->name_len == l->name_len &&
                                     memcmp(&f->name, &l->name,
                                            f->name_len) == 0)
            return l;
    }
    return NULL;
}

int weft__net_attempt(struct weft__net_call *call, struct weft__net_file *f)
{
    struct weft__net_file *l = weft__net_listener(f);
    struct weft__net_file *server, **last;
    int queued = 0;

    if (l == NULL)
        return -ECONNREFUSED;
    for (last = &l->queue; *last != NULL; last = &(*last)->behind)
        queued++;
    if (queued > l->backlog)
        return -EAGAIN;
    server = weft__net_new(WEFT__NET_STREAM, f->domain);
    if (server == NULL)
        return -ENOMEM;
    f->kind = WEFT__NET_STREAM;
    weft__net_pair(f, server);
    *last = server;
    weft__net_edge(call, l);
    return 0;
}

/* --- Time --------------------------------------------------------------------- */

static void arrive(struct weft__net_call *call, struct weft__net_file *f)
{
    struct weft__net_flow *in = &f->in;
    unsigned n = 0;

    while (n < in->pieces && in->piece[n].due <= call->now)
        in->arrived += in->piece[n++].n;
    if (n > 0) {
        in->pieces -= n;
        memmove(in->piece, in->piece + n, in->pieces * sizeof(in->piece[0]));
        weft__net_edge(call, f);
    }
    if (in->ended && !in->end_seen && in->pieces == 0 &&
        in->end <= call->now) {
        in->end_seen = true;
        weft__net_edge(call, f);
    }
}

static void connect_due(struct weft__net_call *call, struct weft__net_file *f)
{
    int status = weft__net_attempt(call, f);

    if (status == -EAGAIN) {
        f->due = call->now + 1000000; /* the kernel asks again */
        return;
    }
    if (status != 0) {
        f->kind = WEFT__NET_SOCKET;
        f->error = status;
    }
    weft__net_edge(call, f);
}

/* All that has become due. Files that are not accepted yet have peers, which
 * are in the table. */
static void pass_time(struct weft__net_call *call)
{
    for (unsigned i = 0; i < net.used; i++) {
        struct weft__net_file *f = net.at[i];

        if (f == NULL)
            continue;
        if (f->kind == WEFT__NET_CONNECTING && f->due <= call->now)
            connect_due(call, f);
        arrive(call, f);
        if (f->peer != NULL && f->peer->fd < 0)
            arrive(call, f->peer);
    }
}

void weft__net_enter(struct weft__net_call *call, const char *what)
{
    /* A signal comes first, the call is begun again, and others may move. */
    do {
        weft__os_point(what);
    } while (weft__net_draw(8) == 1);
    /* The kernel's own locks let the store buffer drain. */
    weft__fence(SEQ_CST);
    call->now = weft__os_now();
    call->rings = 0;
    pthread_mutex_lock(&net_lock);
    pass_time(call);
}

void weft__net_leave(struct weft__net_call *call)
{
    pthread_mutex_unlock(&net_lock);
    for (unsigned i = 0; i < call->rings; i++) {
        struct weft__poller *p = call->ring[i];

        /* acq_rel: what happened before is seen by who looks. */
        if (weft__fetch_or(&p->bell, WEFT__BELL_LOOK, ACQ_REL) == 0)
            weft__os_futex_wake(&p->bell, 1);
    }
    if (call->rings == 0)
        return;
    pthread_mutex_lock(&net_lock);
    for (unsigned i = 0; i < call->rings; i++)
        call->ring[i]->ringing--;
    pthread_mutex_unlock(&net_lock);
}

/* --- For scenarios --------------------------------------------------------------- */

int weft__net_close(int fd)
{
    struct weft__net_call call;
    struct weft__net_file *f;

    weft__net_enter(&call, "close");
    f = weft__net_at(fd);
    if (f != NULL)
        weft__net_free(&call, f);
    weft__net_leave(&call);
    return f != NULL ? 0 : -EBADF;
}

void weft__net_limit(unsigned files)
{
    net.limit = files;
}

void weft__net_room(size_t bytes)
{
    net.room = bytes;
}

int weft__net_fault(int fd, int error)
{
    struct weft__net_call call;
    struct weft__net_file *f;

    weft__net_enter(&call, "fault");
    f = weft__net_at(fd);
    if (f != NULL && error != 0) {
        if (f->peer != NULL)
            weft__net_break(&call, f->peer, -ECONNRESET);
        weft__net_break(&call, f, error);
    } else if (f != NULL) {
        for (struct weft__net_watch *w = f->watches; w != NULL; w = w->next)
            w->strange = true;
        weft__net_edge(&call, f);
    }
    weft__net_leave(&call);
    return f != NULL ? 0 : -EBADF;
}

unsigned weft__net_open(void)
{
    return net.files;
}

size_t weft__net_queued(int fd)
{
    const struct weft__net_file *f = weft__net_at(fd);

    return f != NULL ? f->in.queued : 0;
}
