/*
 * The table of descriptors
 *
 * One record a number, made when the number is first used and never freed.
 * It outlives the file: a generation says which one it speaks of.
 *
 *     word   63..26 generation   25 FREEING   24 CLOSING   23..0 uses
 *
 * Every call on a descriptor holds a use, from before its first system call
 * until after its last, also while it is parked or on a lane. So closing can
 * be safe:
 *
 *     CLOSING   no new use; waiters are woken; the closer waits for uses == 0
 *     FREEING   close(2) is under way: who comes now waits for its end, since
 *               the number may already be another's
 *     + 1       the next generation: what is left of the old one is not ours
 *
 * A use knows its generation. A record that was left behind by a plain
 * close(2) gets its next generation when weft receives the number again from
 * the kernel (weft__desc_fresh()); uses of the old one end without touching
 * it, and its waiters are woken.
 *
 * The generation has 38 bits and wraps: a use would have to sleep through
 * 274,877,906,944 closes of its number.
 *
 * What else is in the record, and who may touch it: wait.h.
 */
#ifndef WEFT_NETPOLL_DESC_H
#define WEFT_NETPOLL_DESC_H

#include <stdbool.h>
#include <stdint.h>

#include "sched/atomic.h"
#include "sched/lock.h"
#include "sched/waitlist.h"

struct weft__poller;

/* What the kernel has under a number. */
enum weft__kind {
    WEFT__KIND_UNKNOWN, /* not looked at yet */
    WEFT__KIND_STREAM,  /* a TCP socket: the short-read rule holds */
    WEFT__KIND_SOCKET,  /* another socket: MSG_DONTWAIT */
    WEFT__KIND_POLLED,  /* not a socket, and non-blocking: a pipe, an eventfd */
    WEFT__KIND_BLOCKING, /* the same, but blocking, and not ours to change */
    WEFT__KIND_FILE,    /* always ready: what epoll refuses */
    WEFT__KIND_FOLDER
};

struct weft__desc {
    weft__au64 word;
    weft__au32 flags;  /* wait.h */
    weft__lock_t lock; /* the lists, and `closer` */
    struct weft__waitlist in;
    struct weft__waitlist out;
    struct weft__waitlist odd;
    weft__aptr home; /* the poller that watches it, or NULL */
    weft__au32 kind;
    int fd;
    struct weft__waiter *closer;
    weft__au32 bell; /* a closer that is no fiber sleeps on it */
    weft__au32 errors; /* error events in a row */

    /* Limits on each wait: nanoseconds, and a point in time; 0: none. */
    weft__ai64 idle;
    weft__ai64 expires;
#ifdef WEFT_DEBUG
    /* Which file it is: see wait.c. Who closes a number and who has it next
     * are put in order by the kernel alone. */
    weft__au64 device;
    weft__au64 inode;
#endif
} __attribute__((aligned(64)));

#define WEFT__DESC_USES ((uint64_t)0xffffff)
#define WEFT__DESC_CLOSING ((uint64_t)1 << 24)
#define WEFT__DESC_FREEING ((uint64_t)1 << 25)
#define WEFT__DESC_GEN_ONE ((uint64_t)1 << 26)
#define WEFT__DESC_GEN_MASK (~(WEFT__DESC_GEN_ONE - 1))

/* One call's hold on a descriptor. */
struct weft__use {
    struct weft__desc *desc;
    uint64_t gen;
};

/* 16,384 chunks of 1,024 records: above what nr_open allows by default. */
enum { WEFT__DESC_CHUNK = 1024, WEFT__DESC_CHUNKS = 16384 };

extern weft__aptr weft__desc_chunks[WEFT__DESC_CHUNKS];

/* The record of a number, or NULL if it was never used. */
static inline struct weft__desc *weft__desc_look(int fd)
{
    struct weft__desc *chunk;

    if (fd < 0 || fd >= WEFT__DESC_CHUNK * WEFT__DESC_CHUNKS)
        return NULL;
    /* acquire: pairs with the release that published the chunk. */
    chunk = weft__load(&weft__desc_chunks[fd / WEFT__DESC_CHUNK], ACQUIRE);
    return chunk ? &chunk[fd % WEFT__DESC_CHUNK] : NULL;
}

/* Where the short way does not do: see below. */
int weft__desc_use_slow(int fd, struct weft__use *use);
void weft__desc_done_slow(struct weft__use *use);
enum weft__kind weft__desc_kind_slow(struct weft__desc *d);

/* Begin a use. 0; -EBADF: no number, or being closed; -ENOMEM. */
static inline int weft__desc_use(int fd, struct weft__use *use)
{
    struct weft__desc *d = weft__desc_look(fd);
    uint64_t word;

    if (!d)
        return weft__desc_use_slow(fd, use);
    /* relaxed: the swap checks it. acquire: what the number's last owner left
     * behind was cleaned up. */
    word = weft__load(&d->word, RELAXED);
    if (word & (WEFT__DESC_CLOSING | WEFT__DESC_FREEING) ||
        !weft__cas(&d->word, &word, word + 1, ACQUIRE, RELAXED))
        return weft__desc_use_slow(fd, use);
    use->desc = d;
    use->gen = word & WEFT__DESC_GEN_MASK;
    return 0;
}

/* End it. */
static inline void weft__desc_done(struct weft__use *use)
{
    struct weft__desc *d = use->desc;
    uint64_t word = weft__load(&d->word, RELAXED); /* the swap checks it */

    /* release: our calls come before a later close. */
    if ((word & (WEFT__DESC_GEN_MASK | WEFT__DESC_CLOSING)) != use->gen ||
        !weft__cas(&d->word, &word, word - 1, RELEASE, RELAXED))
        weft__desc_done_slow(use);
}

/* Is the use still of the file that the number names now? */
static inline bool weft__desc_current(const struct weft__use *use)
{
    /* relaxed: for the holder of the lock, under which a closer wakes the
     * waiters after it has set CLOSING. Without it a look that may come late:
     * the closer waits for the use. */
    return (weft__load(&use->desc->word, RELAXED) &
            (WEFT__DESC_GEN_MASK | WEFT__DESC_CLOSING)) == use->gen;
}

/* The same, though it may be about to be closed: the closer waits for us. */
static inline bool weft__desc_same(const struct weft__use *use)
{
    /* relaxed: a guard against programs that close a number plainly under a
     * call; a later look would see no more. */
    return (weft__load(&use->desc->word, RELAXED) & WEFT__DESC_GEN_MASK) ==
           use->gen;
}

/* A number that weft has just received from the kernel, for a file that it made.
 * -ENOMEM. */
int weft__desc_fresh(int fd, enum weft__kind kind);
/* The same for a file that others have, too: what was known of the number is
 * forgotten. */
void weft__desc_received(int fd);

/* Let go of what is known of a number: with `close`, close it, too. As
 * weft_close() and weft_fd_forget(). */
int weft__desc_retire(int fd, bool close);

/* End all waits on a number with this cause. */
void weft__desc_wake_all(struct weft__desc *d, enum weft__cause cause);

/* Take it from its loop. On a worker's base context, or a thread of another
 * kind. */
void weft__desc_unwatch(void *desc);

/* What the kernel has under the number. */
static inline enum weft__kind weft__desc_kind(struct weft__desc *d)
{
    /* relaxed: a fact of the file, whoever finds it out. */
    enum weft__kind kind = weft__load(&d->kind, RELAXED);

    return kind == WEFT__KIND_STREAM ? kind : weft__desc_kind_slow(d);
}

/* Limits for each wait on a number that weft made. Answers its generation. */
uint64_t weft__desc_limit(int fd, int64_t idle, int64_t expires);
/* Close it, or shutdown(2), if it is still of this generation. */
int weft__desc_close_if(int fd, uint64_t gen);
int weft__desc_shut_if(int fd, uint64_t gen, int how);

/* In a forked child: none of the parent's calls is under way here, and its
 * loops are not the child's to change. */
void weft__desc_forked(void);

/* Records with a poller, for tests and weft_stats. */
uint64_t weft__desc_watched(void);

/* The generation of a number now. A lane's thread, which knows the number only,
 * compares it with the one its job began with right before each call. */
uint64_t weft__desc_gen(int fd);

#endif
