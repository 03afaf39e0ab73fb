/*
 * A fiber per connection
 *
 * The server lives until the last of those who know it lets go: weft_serve(),
 * and each handler's fiber, whose last look at the inner lock may come after
 * the serving fiber has seen that none is left. Handlers are on a list under
 * an inner lock, for the stop to find them. The serving fiber waits for "one
 * fewer" in two places, at the limit and at the end; a handler that leaves
 * claims that wait.
 */
#include <weft/serve.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <weft/fiber.h>
#include <weft/io.h>

#include "netpoll/desc.h"
#include "netpoll/wait.h"
#include "runtime/io.h"
#include "sched/lock.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/sched.h"
#include "sched/stack.h"

#define SERVE_GRACE ((int64_t)5 * 1000000000)
#define SERVE_PAUSE ((int64_t)10 * 1000000) /* after a spawn that failed */
#define SERVE_LOOK ((int64_t)100 * 1000000)

struct conn {
    struct server *server;
    struct conn *next;
    struct conn *prev;
    weft_fiber_t fiber; /* 0: not running yet */
    int fd;
    bool late;    /* cancelled once, and counted */
    uint64_t gen; /* of the descriptor: it is closed only if still this one */
};

struct server {
    weft__lock_t lock;
    struct conn *first;
    struct conn *shut; /* the next one that shut_reads() comes to */
    uint64_t active;
    struct weft__waiter *waiter; /* the serving fiber's, or NULL */
    uint64_t wanted;             /* wake it when so many are left, or fewer */
    weft__au32 refs;
    void (*handler)(int fd, void *arg);
    void *arg;
    weft_serve_t opt;
    weft_serve_stats_t *stats;
    weft_serve_stats_t own; /* where the caller wants none */
};

/* --- Connections ---------------------------------------------------------------- */

/* Whole, for those who look without the lock. */
static void tell(uint64_t *figure, uint64_t value)
{
    weft__store((weft__au64 *)(void *)figure, value, RELAXED);
}

static void conn_enter(struct server *s, struct conn *conn)
{
    /* relaxed: the serving fiber holds one. */
    weft__fetch_add(&s->refs, 1, RELAXED);
    weft__lock_acquire(&s->lock);
    conn->prev = NULL;
    conn->next = s->first;
    if (s->first)
        s->first->prev = conn;
    s->first = conn;
    s->active++;
    tell(&s->stats->active, s->active);
    if (s->active > s->stats->most)
        tell(&s->stats->most, s->active);
    tell(&s->stats->accepted, s->stats->accepted + 1);
    weft__lock_release(&s->lock);
}

static void server_unref(struct server *s)
{
    /* acq_rel: what all others did with it comes before its end. */
    if (weft__fetch_sub(&s->refs, 1, ACQ_REL) == 1)
        free(s);
}

static void conn_leave(struct conn *conn)
{
    struct server *s = conn->server;
    struct weft__fiber *woken = NULL;

    weft__lock_acquire(&s->lock);
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        s->first = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    if (s->shut == conn)
        s->shut = conn->next;
    s->active--;
    tell(&s->stats->active, s->active);
    if (s->waiter && s->active <= s->wanted &&
        weft__claim(s->waiter->fiber, s->waiter->gen, WEFT__CAUSE_OK)) {
        woken = s->waiter->fiber;
        s->waiter = NULL;
    }
    weft__lock_release(&s->lock);
    server_unref(s);
    free(conn);
    if (woken)
        weft__ready(woken);
}

static void *conn_main(void *arg)
{
    struct conn *conn = arg;
    struct server *s = conn->server;

    weft__lock_acquire(&s->lock);
    conn->fiber = weft_self();
    weft__lock_release(&s->lock);
    s->handler(conn->fd, s->arg);
    (void)weft__desc_close_if(conn->fd, conn->gen);
    conn_leave(conn);
    return NULL;
}

/* 0, or -ECANCELED: the runtime ends. */
static int conn_start(struct server *s, int fd)
{
    weft_attr_t attr = WEFT_ATTR_INIT;
    struct conn *conn = malloc(sizeof(*conn));
    int status = -ENOMEM;

    attr.name = "connection";
    attr.stack_size = s->opt.stack_size;
    if (conn) {
        int64_t total = s->opt.total_timeout;

        *conn = (struct conn){ .server = s, .fd = fd };
        conn->gen = weft__desc_limit(fd, s->opt.idle_timeout,
                                     total > 0 ? weft_after(total) : 0);
        conn_enter(s, conn);
        status = weft__sched_spawn(NULL, &attr, conn_main, conn,
                                   (const void *)(uintptr_t)s->handler,
                                   WEFT__LIFE_DETACHED);
        if (status == 0)
            return 0;
        conn_leave(conn);
    }
    tell(&s->stats->refused, s->stats->refused + 1);
    weft_close(fd);
    return status;
}

/* --- Waiting for handlers --------------------------------------------------------- */

/* Until no more than `n` are left. 0, or the code of what came first. */
static int wait_for(struct server *s, uint64_t n, uint64_t flags,
                    int64_t deadline)
{
    struct weft__fiber *self = weft__fiber_self();
    struct weft__waiter waiter = { .fiber = self };
    enum weft__cause cause;

    weft__lock_acquire(&s->lock);
    if (s->active <= n) {
        weft__lock_release(&s->lock);
        return 0;
    }
    waiter.gen = weft__park_open_until(self, flags, "handlers", s, deadline);
    s->wanted = n;
    s->waiter = &waiter;
    weft__lock_release(&s->lock);

    cause = weft__park(self);
    weft__lock_acquire(&s->lock);
    s->waiter = NULL;
    weft__lock_release(&s->lock);
    return weft__cause_code(cause);
}

/* --- The stop ------------------------------------------------------------------------ */

/* Cancel those who are left. Not under the lock, so: their ids first. */
static void cancel_all(struct server *s)
{
    weft_fiber_t *ids = NULL;
    uint64_t n = 0, late = 0, room;

    do {
        weft__lock_acquire(&s->lock);
        room = s->active;
        weft__lock_release(&s->lock);
        free(ids);
        ids = malloc((room ? room : 1) * sizeof(*ids));
        /* No memory now: they are waited for as they are. */
        if (!ids)
            return;
        weft__lock_acquire(&s->lock);
        n = 0;
        for (struct conn *c = s->first; c && n < room; c = c->next) {
            if (!c->fiber)
                continue;
            ids[n++] = c->fiber;
            late += !c->late;
            c->late = true;
        }
        room = s->active > room ? 0 : 1;
        weft__lock_release(&s->lock);
    } while (room == 0);
    for (uint64_t i = 0; i < n; i++)
        (void)weft_cancel(ids[i]);
    tell(&s->stats->late, s->stats->late + late);
    free(ids);
}

/* Shut all for reading. One by one, since the call may not be made under the
 * lock; nobody comes in meanwhile, and who leaves moves the mark on. A number
 * that is another's by then is left alone. */
static void shut_reads(struct server *s)
{
    weft__lock_acquire(&s->lock);
    s->shut = s->first;
    while (s->shut) {
        int fd = s->shut->fd;
        uint64_t gen = s->shut->gen;

        s->shut = s->shut->next;
        weft__lock_release(&s->lock);
        (void)weft__desc_shut_if(fd, gen, SHUT_RD);
        weft__lock_acquire(&s->lock);
    }
    weft__lock_release(&s->lock);
}

/* Waits here are no cancellation points: a stop is what a cancel asks for. */
static void stop(struct server *s)
{
    int64_t until = weft_after(s->opt.grace);

    if (s->opt.flags & WEFT_SERVE_SHUT_READS)
        shut_reads(s);
    if (s->opt.grace > 0 &&
        wait_for(s, 0, WEFT__WAKE_NO_CANCEL, until) == 0)
        return;
    do {
        cancel_all(s);
    } while (wait_for(s, 0, WEFT__WAKE_NO_CANCEL,
                      weft_after(SERVE_PAUSE)) != 0);
}

/* --- The loop ------------------------------------------------------------------------ */

/* The generation of a number; -EBADF: it is being closed, or none. Blocks while
 * its last owner lingers in a close. */
static int generation(int fd, uint64_t *gen)
{
    struct weft__use use;
    int status = weft__desc_use(fd, &use);

    if (status != 0)
        return status;
    *gen = use.gen;
    weft__desc_done(&use);
    return 0;
}

/* Until one more may come. No event tells here that the listener is closed,
 * so now and then it is looked at; and looked at only: a use would wait while
 * the number's next owner lingers in a close. */
static int wait_for_room(struct server *s, int listen_fd, uint64_t gen)
{
    struct weft__use listener = { .desc = weft__desc_look(listen_fd),
                                  .gen = gen };
    int status;

    do {
        status = wait_for(s, s->opt.max_connections - 1, 0,
                          weft_after(SERVE_LOOK));
        if (status == -ETIMEDOUT && !weft__desc_current(&listener))
            status = -EBADF;
    } while (status == -ETIMEDOUT);
    return status;
}

/* The listener may be closed while nothing of ours uses it, and its number given
 * to another: so each accept is of this one only. */
static int serve(struct server *s, int listen_fd)
{
    uint64_t gen = 0;
    int status = generation(listen_fd, &gen);

    while (status == 0) {
        int fd;

        if (s->opt.max_connections > 0)
            status = wait_for_room(s, listen_fd, gen);
        if (status != 0)
            return status;
        fd = weft__accept_only(listen_fd, gen);
        if (fd < 0)
            return fd;
        status = conn_start(s, fd);
        if (status == -ENOMEM)
            status = weft_sleep(SERVE_PAUSE);
    }
    return status;
}

int weft_serve(int listen_fd, void (*handler)(int fd, void *arg), void *arg,
               const weft_serve_t *opt)
{
    static const weft_serve_t none = WEFT_SERVE_INIT;
    struct server *s;
    int status;

    if (!opt)
        opt = &none;
    if (!handler || opt->size != sizeof(*opt) ||
        opt->flags & ~WEFT_SERVE_SHUT_READS || opt->idle_timeout < 0 ||
        opt->total_timeout < 0 ||
        (opt->stack_size > 0 && weft__stack_class(opt->stack_size) < 0))
        return -EINVAL;
    if (!weft__fiber_self())
        return -EPERM;
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    weft__init(&s->refs, 1);
    s->handler = handler;
    s->arg = arg;
    s->opt = *opt;
    if (s->opt.grace == 0)
        s->opt.grace = SERVE_GRACE;
    s->stats = opt->stats ? opt->stats : &s->own;
    tell(&s->stats->accepted, 0);
    tell(&s->stats->active, 0);
    tell(&s->stats->most, 0);
    tell(&s->stats->refused, 0);
    tell(&s->stats->late, 0);

    status = serve(s, listen_fd);
    stop(s);
    server_unref(s);
    return status;
}
