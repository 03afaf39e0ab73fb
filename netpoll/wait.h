/*
 * Waiting for a descriptor
 *
 * Each direction (to read, to write) has a list of waiters, under the
 * descriptor's lock, and two bits in `flags`:
 *
 *     READY     a call may find something: nobody has seen the end of it since
 *               the last event
 *     WAITERS   the list is not empty
 *
 * What holds:
 *   1. READY while waiters are on the list means that someone is on the way:
 *      woken by the one who set READY, or the one who set it and is about to
 *      wake. An event sets READY and wakes the first waiter, in this order.
 *   2. A reader clears READY before it reads. If it then sees the end (EAGAIN,
 *      or a short read where that counts) READY stays as the events left it;
 *      else it sets READY again and wakes the next waiter. So an edge between
 *      the read and the wait is never lost: it sets READY after the clear, and
 *      who publishes a waiter under the lock and finds READY takes it back and
 *      tries again.
 *   3. A writer does not clear before it writes: most writes find room. After
 *      EAGAIN it clears and tries once more; if that finds room, it sets READY
 *      again, since the edge may have come between the two.
 *   4. READY and WAITERS share a word, and both are set by locked operations:
 *      of one who sets READY and one who publishes a waiter, one sees the
 *      other.
 *   5. Who waits for readiness only, and takes nothing, sets READY again when
 *      it leaves, and wakes the next.
 *   6. Nobody clears the READY of a direction it has not asked about: who waits
 *      for a hang-up only leaves the readers theirs.
 *
 * Who waits for anything else (urgent data, the peer's end, an error, a band)
 * stands on a third list, of the odd. They take nothing and want different
 * things, so there is no READY that one of them could clear for another:
 *   7. Each event that could be one of theirs is counted in the upper half of
 *      `flags`, and wakes all of them. Who waits reads the count before it asks
 *      poll(2); who publishes a waiter and finds another count takes it back
 *      and asks again. Again of the two one sees the other.
 *
 * Three more flags: HANGUP forces reading, since no edge follows the last one
 * (and a wait in spite of it asks poll(2) first), and ends the short-read rule:
 * behind the bytes stands the end, which others wait for. STOPPED says that
 * libuv has given the handle up (an error event), and that the next wait starts
 * it afresh: nobody is put on a list while it is set, and the event wakes all
 * who are. URGENT ends the short-read rule for good.
 */
#ifndef WEFT_NETPOLL_WAIT_H
#define WEFT_NETPOLL_WAIT_H

#include "netpoll/desc.h"

enum weft__dir { WEFT__IN, WEFT__OUT, WEFT__ODD };

#define WEFT__FD_READY(dir) ((uint32_t)1 << (dir)) /* not of WEFT__ODD */
#define WEFT__FD_WAITERS(dir) ((uint32_t)8 << (dir))
#define WEFT__FD_READY_ALL ((uint32_t)3)
#define WEFT__FD_WAITERS_ALL ((uint32_t)(7 << 3))
#define WEFT__FD_HANGUP ((uint32_t)64)
#define WEFT__FD_STOPPED ((uint32_t)128)
#define WEFT__FD_URGENT ((uint32_t)256)
#define WEFT__FD_MADE ((uint32_t)512) /* weft made it, or accepted it */
/* Someone accepts from it. A listener that was shut down hangs up without any
 * other event, and libuv keeps that to itself: so for acceptors every event
 * counts. */
#define WEFT__FD_LISTENER ((uint32_t)1024)
#define WEFT__FD_SWITCHED ((uint32_t)2048) /* to non-blocking mode, by weft */
#define WEFT__FD_POLLED ((uint32_t)4096) /* someone waits for readiness alone */
#define WEFT__FD_ODD ((uint32_t)8192) /* someone waits, or did, for the odd */
/* The count of 7: one event; and what it stands at. */
#define WEFT__FD_ODD_ONE ((uint32_t)1 << 16)
#define WEFT__FD_ODD_COUNT(flags) ((flags) >> 16)

/* What an event says; see weft__wait_event(). */
#define WEFT__EVENT_IN 1u
#define WEFT__EVENT_OUT 2u
#define WEFT__EVENT_HANGUP 4u
#define WEFT__EVENT_URGENT 8u
#define WEFT__EVENT_ERROR 16u /* all directions; the handle has stopped */

/* An event of number `fd`, from a poller. Waiters are claimed and added to
 * the batch: how many. With the loop's lock held. */
int weft__wait_event(struct weft__poller *poller, int fd, unsigned events,
                     struct weft__batch *batch);
/* The poller that may have watched it ends. */
void weft__wait_orphan(struct weft__poller *poller, int fd);

/* --- One call, one direction ------------------------------------------------ */

/* Before a try: may it find something? Clears READY of WEFT__IN. false: it
 * need not try, the wait comes first. */
bool weft__wait_try(struct weft__use *use, enum weft__dir dir);
/* A writer met EAGAIN: clear READY, so that it tries once more. true: it was
 * set. */
bool weft__wait_full(struct weft__use *use);
/* The call leaves, and has not seen the end: see 2 and 5. */
void weft__wait_again(struct weft__use *use, enum weft__dir dir);

/* The call leaves and has found room: whoever waits may, too. */
static inline void weft__wait_pass_on(struct weft__use *use,
                                      enum weft__dir dir)
{
    /* relaxed: one that comes to wait now finds READY. */
    if (weft__load(&use->desc->flags, RELAXED) & WEFT__FD_WAITERS(dir))
        weft__wait_again(use, dir);
}

/* The call accepts. */
static inline void weft__wait_accepts(struct weft__use *use)
{
    /* relaxed: for events of a registration that is made later. */
    if (!(weft__load(&use->desc->flags, RELAXED) & WEFT__FD_LISTENER))
        weft__fetch_or(&use->desc->flags, WEFT__FD_LISTENER, RELAXED);
}

/* Switch a descriptor that is not weft's to non-blocking mode, for good: a loop
 * that takes it does not put the old mode back. 0, or what the kernel says. */
int weft__wait_switch(struct weft__use *use);

/* The call found something, or fetched an error: what made libuv stop the handle
 * is gone, or keeps nobody from going on. */
static inline void weft__wait_fetched(struct weft__use *use)
{
    struct weft__desc *d = use->desc;

    /* relaxed: an error event sets it before anyone can fetch the error. */
    if (weft__load(&d->flags, RELAXED) & WEFT__FD_HANGUP)
        weft__store(&d->errors, 0, RELAXED);
}

/* Urgent data was seen, or is about to be taken, and its event may not come any
 * more: the short-read rule ends here, also for who has just relied on it. */
void weft__wait_urgent(struct weft__use *use);

/* Park until the direction may be tried again. 0: try; 1: the same, but nobody
 * has waited, since poll(2) says that there is something; -EPERM: epoll does not
 * take such a file; else the code of the call. */
int weft__wait(struct weft__use *use, enum weft__dir dir,
               struct weft__fiber *self, int64_t deadline, const char *what);

/* --- Several at once --------------------------------------------------------- */

/*
 * For weft_poll() and weft_select(), in this order:
 *
 *     begin     holds a use, registers the number with a loop: may switch
 *     ask       clears READY, or reads the count, and asks poll(2). What is
 *               there is the answer.
 *               May switch, to watch again what an error event has stopped
 *     publish   under the locks of all (weft__wait_lock()): false when READY
 *               has come back, or the count changed; then drop the locks,
 *               leave, and ask again
 *     (open the wait, set each node's generation, drop the locks, park)
 *     leave     off the list
 *     end       gives back the use; after an `ask` that found something, or
 *               when the node was won, it wakes the next waiter
 */
struct weft__fd_wait {
    struct weft__use use;
    short events;  /* of poll(2) */
    short revents; /* what `ask` found */
    uint32_t odd_count; /* when it began to look */
    bool owed;     /* we took READY, or were woken: the next one is to know */
    bool blocking; /* no loop watches it (KIND_BLOCKING): that is the caller's
                      part. A close wakes the nodes all the same. */
    struct weft__waiter in;
    struct weft__waiter out;
    struct weft__waiter odd;
};

/* Note whose the number is; where there are several, before the first of them
 * is begun. */
void weft__fd_wait_note(struct weft__fd_wait *w, int fd);
/* 0; -EBADF, also if the number is another's than was noted; -ENOMEM; -EPERM (a
 * thread that cannot park would have to). May switch. */
int weft__fd_wait_begin(struct weft__fd_wait *w, int fd, short events,
                        struct weft__fiber *self);
/* What is there now, as revents of poll(2): 0 is nothing. -EBADF. */
int weft__fd_wait_ask(struct weft__fd_wait *w);
/* The lock that publish wants held, of rank DESCRIPTOR. */
static inline weft__lock_t *weft__fd_wait_lock(struct weft__fd_wait *w)
{
    return &w->use.desc->lock;
}
/* Fiber and generation of the nodes are set by the caller, before its first
 * unlock. */
bool weft__fd_wait_publish(struct weft__fd_wait *w);
void weft__fd_wait_leave(struct weft__fd_wait *w);
void weft__fd_wait_end(struct weft__fd_wait *w);
/* The deadline, clipped to the descriptor's limits. */
int64_t weft__wait_clip(struct weft__desc *d, int64_t deadline);

/* Sleep for `pause` ns: 0, or the code of what ended it earlier. */
int weft__wait_pause(struct weft__fiber *self, int64_t pause,
                     int64_t deadline);

#endif
