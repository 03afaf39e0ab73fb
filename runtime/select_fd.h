/*
 * The descriptors of a select
 *
 * They are looked at in two ways. First one poll(2) for all, which needs
 * nothing: what is ready already costs no more. If the select would wait, they
 * are begun: held, watched by a loop, and from then on asked one by one
 * (netpoll/wait.h). Readiness is never taken, so which of them ended the wait
 * does not matter: they are asked again.
 *
 * No loop watches one in blocking mode, since that would change its mode for
 * others. Those come into an epoll set, which is a descriptor, too, and is
 * waited for in their place.
 */
#ifndef WEFT_RUNTIME_SELECT_FD_H
#define WEFT_RUNTIME_SELECT_FD_H

#include <poll.h>
#include <stdbool.h>

#include "netpoll/wait.h"

struct weft__select_fd {
    struct weft__fd_wait wait;
    unsigned at; /* its case */
    int found; /* 0: ready; -EAGAIN: not; -EBADF: not open, or closed */
    bool begun;
};

/* Behind the n comes a place for the set. */
struct weft__select_fds {
    unsigned n;
    bool begun;
    struct pollfd *polls;
    struct weft__select_fd *slots;
};

/* One poll(2) for all, or a question to each if they are begun; what there is
 * stands in `found`. May switch. 0, or the code of the call. */
int weft__select_fds_ask(struct weft__select_fds *fds);

/* Hold them all, and have them watched. May switch. 0, or the code of the
 * call; either way they are to be ended. */
int weft__select_fds_begin(struct weft__select_fds *fds,
                           struct weft__fiber *self);
void weft__select_fds_end(struct weft__select_fds *fds);

/* The earliest limit on a wait that they have (weft_serve), and whose it is;
 * WEFT_FOREVER: none. */
int64_t weft__select_fds_limit(struct weft__select_fds *fds, unsigned *whose);

/* Stand in line at each, for the open wait `gen`. With primitives' locks held.
 * false: something has come since they were asked. */
bool weft__select_fds_enter(struct weft__select_fds *fds, uint64_t gen);
void weft__select_fds_leave(struct weft__select_fds *fds);

#endif
