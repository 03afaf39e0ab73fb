/*
 * The network of the simulation
 *
 * In libweft-sim the sockets and pipes that weft makes are in memory: what the
 * kernel does for them is done here, behind the calls of netpoll/os.h
 * (os_io_sim.c) and the poller (poller_sim.c). Their numbers begin where those
 * of the process end, and the lowest free one is given first.
 *
 * A file has at most one number and may be watched by several pollers, at each
 * edge, as by epoll: an edge puts the watch on its poller's ready list; a pass
 * takes it off and tells what the file has at that moment.
 *
 * What is drawn (sched/seam.h): how a stream is cut into pieces and when they
 * arrive, how much of a write is taken, how late an event is told, and events
 * of which nobody knows why. What is never drawn: the loss of a byte, or an
 * edge that does not come.
 *
 * All of it is under one lock which stands for the kernel, so it is none of
 * weft's: no operation of a seam happens while it is held.
 */
#ifndef WEFT_NETPOLL_NET_SIM_H
#define WEFT_NETPOLL_NET_SIM_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "sched/atomic.h"
#include "sched/lock.h"
#include "sched/worker.h"

/* Above what a process may open (nr_open), below what the table holds. */
enum { WEFT__NET_FIRST = 1 << 20 };

static inline bool weft__net_is(int fd)
{
    return fd >= WEFT__NET_FIRST;
}

struct weft__poller {
    weft__au32 bell;   /* bits: someone said wake; look at the network */
    weft__lock_t lock; /* held across a pass, as that of a loop */
    unsigned ringing;  /* calls that are about to ring; the net's lock */
};

enum { WEFT__BELL_WAKE = 1, WEFT__BELL_LOOK = 2 };

/* --- Files ------------------------------------------------------------------- */

enum weft__net_kind {
    WEFT__NET_SOCKET, /* a stream socket with no peer yet */
    WEFT__NET_CONNECTING,
    WEFT__NET_LISTENER,
    WEFT__NET_STREAM, /* connected; perhaps its peer has gone */
    WEFT__NET_PIPE_IN,
    WEFT__NET_PIPE_OUT
};

enum { WEFT__NET_PIECES = 8 };

/* Bytes in one direction: first those that have arrived. */
struct weft__net_flow {
    unsigned char *bytes;
    size_t room;
    size_t first;
    size_t queued;  /* in all */
    size_t arrived; /* of them */
    struct {
        size_t n;
        int64_t due;
    } piece[WEFT__NET_PIECES]; /* on their way, in this order */
    unsigned pieces;
    int64_t last; /* none arrives before this one */
    bool ended;   /* the sender is done, */
    int64_t end;  /* which is noticed at this time, */
    bool end_seen; /* or has been */
};

struct weft__net_watch {
    struct weft__net_watch *next;
    struct weft__poller *poller;
    bool ready;
    bool strange; /* an error event, and no error to fetch */
    int64_t due; /* a pass before that does not see it */
};

struct weft__net_file {
    int fd; /* -1: not accepted yet */
    uint64_t serial; /* of all that were made */
    enum weft__net_kind kind;
    int domain;
    int error; /* negative; told once */
    bool full; /* a writer was told so: an edge is due when there is room */
    bool read_shut;
    bool write_shut;
    struct weft__net_flow in;
    struct weft__net_file *peer;
    struct weft__net_watch *watches;

    struct sockaddr_storage name; /* bound to, or connecting to */
    socklen_t name_len;
    int64_t due; /* CONNECTING: the end of the attempt */
    struct weft__net_file *queue; /* LISTENER: to be accepted */
    struct weft__net_file *behind;
    int backlog;
};

/* A call into the network, from weft__net_enter() to weft__net_leave(): who is
 * to be rung at its end. */
struct weft__net_call {
    int64_t now;
    struct weft__poller *ring[WEFT__WORKERS_MAX];
    unsigned rings;
};

/* `what` names a system call for reports: a choice point. */
void weft__net_enter(struct weft__net_call *call, const char *what);
void weft__net_leave(struct weft__net_call *call);

/* Numbers are below this one. */
int weft__net_top(void);
/* What is under a number; NULL: nothing. */
struct weft__net_file *weft__net_at(int fd);
/* -EMFILE, -ENFILE, -ENOMEM, or 0: one more number may be given. */
int weft__net_may_open(void);
struct weft__net_file *weft__net_new(enum weft__net_kind kind, int domain);
/* Give it the lowest free number: it, or -ENOMEM. */
int weft__net_number(struct weft__net_file *f);
void weft__net_free(struct weft__net_call *call, struct weft__net_file *f);
void weft__net_pair(struct weft__net_file *a, struct weft__net_file *b);

/* What poll(2) says. */
short weft__net_state(const struct weft__net_file *f);
/* The poller is to look, when the call is over. */
void weft__net_ring(struct weft__net_call *call, struct weft__poller *p);
/* Something has changed for the better: tell its pollers. */
void weft__net_edge(struct weft__net_call *call, struct weft__net_file *f);
/* The same if a writer has been told that there was no room. */
void weft__net_room_edge(struct weft__net_call *call,
                         struct weft__net_file *f);
/* The connection breaks with this error. */
void weft__net_break(struct weft__net_call *call, struct weft__net_file *f,
                     int error);
/* Nothing more will be sent to this end. */
void weft__net_end(struct weft__net_call *call, struct weft__net_file *f);

ssize_t weft__net_take(struct weft__net_call *call, struct weft__net_file *f,
                       const struct iovec *iov, int n, int flags);
ssize_t weft__net_put(struct weft__net_call *call, struct weft__net_file *f,
                      const struct iovec *iov, int n);
/* Who listens under the name of `f`; NULL: nobody. */
struct weft__net_file *weft__net_listener(const struct weft__net_file *f);
/* Connect to it: 0, -ECONNREFUSED, -EAGAIN (its queue is full), -ENOMEM. */
int weft__net_attempt(struct weft__net_call *call, struct weft__net_file *f);

/* poll(2) for one: a call. */
short weft__net_ask(int fd, short events);
/* readv(2), writev(2): a call. */
ssize_t weft__net_rw(int fd, bool write, const struct iovec *iov, int n);

/* One of n things that may happen; 0 is the plain one. */
unsigned weft__net_draw(unsigned n);
/* So much later does something happen, drawn. */
int64_t weft__net_delay(void);

/* --- For the poller ------------------------------------------------------------ */

struct weft__net_event {
    int fd;
    short state; /* as poll(2) has it */
};

/* As EPOLL_CTL_ADD and DEL; adding one that is watched is no error. 0, -EBADF,
 * -ENOMEM. */
int weft__net_watch(struct weft__poller *p, int fd);
void weft__net_unwatch(struct weft__poller *p, int fd);
/* As EPOLL_CTL_MOD: tell again what is there. 0, -EBADF, -ENOENT. */
int weft__net_rearm(struct weft__poller *p, int fd);
/* What is due for this poller: how many. An error event ends the watch, as
 * libuv does. */
unsigned weft__net_events(struct weft__poller *p,
                          struct weft__net_event *events, unsigned room);
/* When something will be due for it; INT64_MAX: nothing is under way. */
int64_t weft__net_next(struct weft__poller *p);
/* It watches no more. false: someone is about to ring it, so it stays. */
bool weft__net_forget(struct weft__poller *p);

/* --- For scenarios --------------------------------------------------------------- */

/* close(2) behind weft's back. */
int weft__net_close(int fd);
/* No more than so many numbers are given; 0: no limit. */
void weft__net_limit(unsigned files);
/* No events out of nowhere. */
void weft__net_calm(bool on);
/* Room in the buffers of what is made from now on. */
void weft__net_room(size_t bytes);
/* The connection breaks: its end here gets this error. With 0 an error event
 * that no call can fetch. */
int weft__net_fault(int fd, int error);
unsigned weft__net_open(void);
/* Bytes that have been sent and not yet received. */
size_t weft__net_queued(int fd);

#endif
