#include "netpoll/desc.h"

#include <errno.h>
#include <stdlib.h>

#include "netpoll/blocking.h"
#include "netpoll/os.h"
#include "netpoll/poller.h"
#include "netpoll/wait.h"
#include "sched/fatal.h"
#include "sched/os.h"
#include "sched/sched.h"
#include "sched/worker.h"

enum { CHUNK = WEFT__DESC_CHUNK, CHUNKS = WEFT__DESC_CHUNKS };

enum { FREEING_LOOKS = 50, FREEING_PAUSE = 1000000 /* ns */ };

weft__aptr weft__desc_chunks[WEFT__DESC_CHUNKS];

/* The chunk of a number is not there yet. */
static __attribute__((noinline)) struct weft__desc *desc_make(int fd)
{
    struct weft__desc *chunk;
    void *none = NULL;
    int first = fd - fd % CHUNK;

    if (posix_memalign((void **)&chunk, 64, CHUNK * sizeof(*chunk)) != 0)
        return NULL;
    for (int i = 0; i < CHUNK; i++) {
        struct weft__desc *d = &chunk[i];

        *d = (struct weft__desc){ .lock =
                                      WEFT__LOCK_INIT(WEFT__RANK_DESCRIPTOR),
                                  .fd = first + i };
        weft__init(&d->flags, WEFT__FD_READY_ALL);
    }
    /* release: the records; acquire: another's, who was faster. */
    if (!weft__cas(&weft__desc_chunks[fd / CHUNK], &none, (void *)chunk, ACQ_REL,
                   ACQUIRE))
        free(chunk);
    return weft__desc_look(fd);
}

uint64_t weft__desc_gen(int fd)
{
    struct weft__desc *d = weft__desc_look(fd);

    /* relaxed: as in weft__desc_same(). */
    return d ? weft__load(&d->word, RELAXED) & WEFT__DESC_GEN_MASK : 0;
}

/* The record of a number, made if need be: 0, -EBADF, -ENOMEM. */
static inline int desc_at(int fd, struct weft__desc **d)
{
    *d = weft__desc_look(fd);
    if (*d)
        return 0;
    if (fd < 0 || fd >= CHUNK * CHUNKS)
        return -EBADF;
    *d = desc_make(fd);
    return *d ? 0 : -ENOMEM;
}

/* --- Uses ------------------------------------------------------------------- */

static void freeing_pause(bool often)
{
    struct weft__fiber *self = weft__fiber_self();
    int64_t until = often ? weft__os_now() + FREEING_PAUSE : 0;

    if (self && often) {
        weft__park_open_until(self, WEFT__WAKE_NO_CANCEL, "the end of a close",
                              NULL, until);
        weft__park(self);
    } else if (self) {
        weft__yield(self);
    } else if (often) {
        weft__os_sleep_until(until);
    } else {
        weft__os_thread_yield();
    }
}

/* Someone is inside close(2) for this number: its end is near, and until then
 * nobody can tell whose the number is. Unless it lingers (SO_LINGER): who has
 * looked often sleeps between two looks. Afterwards *word is as the swap wants
 * it. false: by then others have closed the number once more, or received it;
 * it was the caller's, if it is from outside, and is no longer. */
static bool freeing_wait(struct weft__desc *d, uint64_t *word)
{
    uint64_t gen = *word & WEFT__DESC_GEN_MASK;

    for (unsigned looks = 0; *word & WEFT__DESC_FREEING; looks++) {
        freeing_pause(looks >= FREEING_LOOKS);
        *word = weft__load(&d->word, RELAXED);
        if ((*word & WEFT__DESC_GEN_MASK) != gen)
            return false;
    }
    return true;
}

int weft__desc_use_slow(int fd, struct weft__use *use)
{
    struct weft__desc *d;
    int status = desc_at(fd, &d);
    uint64_t word;

    if (status != 0)
        return status;
    /* relaxed: the swap checks it. */
    word = weft__load(&d->word, RELAXED);
    do {
        if (!freeing_wait(d, &word) || word & WEFT__DESC_CLOSING)
            return -EBADF;
        /* acquire: what the number's last owner left behind was cleaned up. */
    } while (!weft__cas(&d->word, &word, word + 1, ACQUIRE, RELAXED));

    use->desc = d;
    use->gen = word & WEFT__DESC_GEN_MASK;
    return 0;
}

/* Whoever closes may look again. The lock is held, and dropped. */
static void closer_wake(struct weft__desc *d)
{
    struct weft__fiber *closer = NULL;

    if (d->closer &&
        weft__claim(d->closer->fiber, d->closer->gen, WEFT__CAUSE_OK))
        closer = d->closer->fiber;
    d->closer = NULL;
    /* relaxed: for a closer that is no fiber; it looks under the lock. */
    weft__fetch_add(&d->bell, 1, RELAXED);
    weft__lock_release(&d->lock);
    if (closer)
        weft__ready(closer);
    weft__os_futex_wake(&d->bell, INT32_MAX);
}

/* The last use of one that is being closed wakes the closer. Under the lock,
 * so that no closer goes on, and perhaps another comes, in between. */
static void done_closing(struct weft__use *use)
{
    struct weft__desc *d = use->desc;
    bool ring = false;
    uint64_t word;

    weft__lock_acquire(&d->lock);
    word = weft__load(&d->word, RELAXED); /* the swap checks it */
    while ((word & WEFT__DESC_GEN_MASK) == use->gen) {
        /* release: our calls come before the close. */
        if (!weft__cas(&d->word, &word, word - 1, RELEASE, RELAXED))
            continue;
        ring = (word & WEFT__DESC_USES) == 1 && word & WEFT__DESC_CLOSING;
        break;
    }
    if (ring)
        closer_wake(d);
    else
        weft__lock_release(&d->lock);
}

void weft__desc_done_slow(struct weft__use *use)
{
    struct weft__desc *d = use->desc;
    uint64_t word = weft__load(&d->word, RELAXED); /* the swap checks it */

    /* Another generation: our use went with the old one. */
    while ((word & WEFT__DESC_GEN_MASK) == use->gen) {
        if (word & WEFT__DESC_CLOSING) {
            done_closing(use);
            return;
        }
        /* release: our calls come before a later close. */
        if (weft__cas(&d->word, &word, word - 1, RELEASE, RELAXED))
            return;
    }
}

/* --- Leaving a number -------------------------------------------------------- */

void weft__desc_wake_all(struct weft__desc *d, enum weft__cause cause)
{
    struct weft__batch batch = { 0 };
    struct weft__waiter *waiter;

    weft__lock_acquire(&d->lock);
    while ((waiter = weft__waitlist_claim(&d->in, cause)) ||
           (waiter = weft__waitlist_claim(&d->out, cause)) ||
           (waiter = weft__waitlist_claim(&d->odd, cause)))
        weft__batch_add(&batch, waiter->fiber);
    /* relaxed: under the lock. */
    weft__fetch_and(&d->flags, ~WEFT__FD_WAITERS_ALL, RELAXED);
    weft__lock_release(&d->lock);
    weft__batch_ready(&batch);
}

/* Wait until no call of that generation is under way. false: the number was
 * closed by other means meanwhile, and is weft's again. */
static bool wait_for_uses(struct weft__desc *d, uint64_t gen,
                          struct weft__fiber *self)
{
    struct weft__waiter waiter = { .fiber = self };

    for (;;) {
        uint64_t word;
        uint32_t bell;

        weft__lock_acquire(&d->lock);
        bell = weft__load(&d->bell, RELAXED);
        /* acquire: what the calls did. */
        word = weft__load(&d->word, ACQUIRE);
        if ((word & WEFT__DESC_GEN_MASK) != gen ||
            (word & WEFT__DESC_USES) == 0) {
            weft__lock_release(&d->lock);
            return (word & WEFT__DESC_GEN_MASK) == gen;
        }
        if (!self) {
            weft__lock_release(&d->lock);
            weft__os_futex_wait(&d->bell, bell, -1);
            continue;
        }
        waiter.gen = weft__park_open(self, WEFT__WAKE_NO_CANCEL, "close", d);
        d->closer = &waiter;
        weft__lock_release(&d->lock);
        /* A call that is under way ends by itself, also one of a thread that
         * is not weft's: nobody is lost here. */
        weft__outside_begin(self);
        weft__park(self);
        weft__outside_end(self);
        weft__lock_acquire(&d->lock);
        if (d->closer == &waiter)
            d->closer = NULL;
        weft__lock_release(&d->lock);
    }
}

void weft__desc_unwatch(void *desc)
{
    struct weft__desc *d = desc;
    bool visit = weft__visit_begin();
    /* acquire: pairs with the release of who registered it. seq_cst: with the
     * poller's end, which takes itself out first. */
    struct weft__poller *home = weft__load(&d->home, SEQ_CST);

    if (home)
        weft__poller_remove(home, d->fd);
    weft__store(&d->home, (void *)NULL, RELEASE);
    weft__visit_end(visit);
}

/* As a record is when nothing is known of its number. */
static void desc_clear(struct weft__desc *d, uint32_t flags,
                       enum weft__kind kind)
{
    /* relaxed: published with the word. */
    weft__store(&d->flags, flags | WEFT__FD_READY_ALL, RELAXED);
    weft__store(&d->kind, kind, RELAXED);
    weft__store(&d->idle, 0, RELAXED);
    weft__store(&d->expires, 0, RELAXED);
    weft__store(&d->errors, 0, RELAXED);
#ifdef WEFT_DEBUG
    weft__store(&d->device, 0, RELAXED);
    weft__store(&d->inode, 0, RELAXED);
#endif
}

/* End the calls that are under way. false: as wait_for_uses(). */
static bool end_uses(struct weft__desc *d, uint64_t gen,
                     struct weft__fiber *self)
{
    struct weft__blocking_close lanes;
    bool ours;

    weft__blocking_close_begin(&lanes, d->fd);
    weft__desc_wake_all(d, WEFT__CAUSE_CLOSED);
    ours = wait_for_uses(d, gen, self);
    weft__blocking_close_end(&lanes);
    return ours;
}

/* With `only`: unless the number is another's by now. Without, one whose last
 * close is under way may be the caller's, who has it from the kernel. */
static int retire(struct weft__desc *d, bool close, const uint64_t *only)
{
    struct weft__fiber *self = weft__caller();
    uint64_t word = weft__load(&d->word, RELAXED); /* the swap checks it */
    uint64_t gen, freeing;
    int status = 0;

    do {
        if ((!only && !freeing_wait(d, &word)) ||
            word & WEFT__DESC_CLOSING ||
            (only && (word & WEFT__DESC_GEN_MASK) != *only))
            return -EBADF;
    } while (!weft__cas(&d->word, &word, word | WEFT__DESC_CLOSING, ACQ_REL,
                        RELAXED));
    gen = word & WEFT__DESC_GEN_MASK;
    if (word & WEFT__DESC_USES && !end_uses(d, gen, self))
        return -EBADF;

    /* A swap: someone may have closed the number by other means, and weft have
     * received it again; then it is another's, and stays open. acquire: what
     * the calls did. */
    word = gen | WEFT__DESC_CLOSING;
    freeing = (gen + WEFT__DESC_GEN_ONE) | WEFT__DESC_CLOSING |
              WEFT__DESC_FREEING;
    if (!weft__cas(&d->word, &word, freeing, ACQ_REL, RELAXED))
        return -EBADF;
    /* acquire: the end of a poller that has let go of it. */
    if (weft__load(&d->home, ACQUIRE))
        weft__on_base(self, weft__desc_unwatch, d);
    desc_clear(d, 0, WEFT__KIND_UNKNOWN);
    if (close)
        status = weft__fd_close_status(d->fd);
    /* Unless weft has received the number again meanwhile. release: the record
     * is as new. */
    weft__cas(&d->word, &freeing, gen + WEFT__DESC_GEN_ONE, RELEASE, RELAXED);
    return status;
}

int weft__desc_retire(int fd, bool close)
{
    struct weft__desc *d;
    int status = desc_at(fd, &d);

    if (status == -ENOMEM)
        return close ? weft__fd_close_status(fd) : 0;
    if (status != 0 || (!close && weft__fd_flags(fd) < 0))
        return -EBADF;
    return retire(d, close, NULL);
}

int weft__desc_close_if(int fd, uint64_t gen)
{
    return retire(weft__desc_look(fd), true, &gen);
}

static void renew(struct weft__desc *d, uint32_t flags, enum weft__kind kind)
{
    uint64_t word, next;

    word = weft__load(&d->word, RELAXED); /* the swap checks it */
    /* Shut to calls on the old number until the record is clean. */
    do {
        next = (word & WEFT__DESC_GEN_MASK) + WEFT__DESC_GEN_ONE;
    } while (!weft__cas(&d->word, &word, next | WEFT__DESC_CLOSING,
                             ACQ_REL, RELAXED));
    /* Someone closed it by other means than ours: what was left behind. On the
     * lanes, too: their threads leave by themselves, and look at the generation
     * before they touch the number; we do not wait for them. */
    if (word & WEFT__DESC_USES) {
        struct weft__blocking_close lanes;

        weft__blocking_close_begin(&lanes, d->fd);
        weft__desc_wake_all(d, WEFT__CAUSE_CLOSED);
        weft__blocking_close_end(&lanes);
    }
    if (word & WEFT__DESC_CLOSING && !(word & WEFT__DESC_FREEING)) {
        weft__lock_acquire(&d->lock);
        closer_wake(d);
    }
    if (weft__load(&d->home, ACQUIRE))
        weft__on_base(weft__fiber_self(), weft__desc_unwatch, d);
    desc_clear(d, flags, kind);
    weft__store(&d->word, next, RELEASE);
}

int weft__desc_fresh(int fd, enum weft__kind kind)
{
    struct weft__desc *d;

    if (desc_at(fd, &d) != 0)
        return -ENOMEM;
    renew(d, WEFT__FD_MADE, kind);
    return 0;
}

void weft__desc_received(int fd)
{
    struct weft__desc *d = weft__desc_look(fd);

    /* No record: nothing is known of it. */
    if (d)
        renew(d, 0, WEFT__KIND_UNKNOWN);
}

void weft__desc_forked(void)
{
    for (int i = 0; i < CHUNKS; i++) {
        struct weft__desc *chunk = weft__load(&weft__desc_chunks[i], RELAXED);

        for (int k = 0; chunk && k < CHUNK; k++) {
            struct weft__desc *d = &chunk[k];
            /* relaxed: the child has one thread. */
            uint64_t word = weft__load(&d->word, RELAXED);

            if (!(word & ~WEFT__DESC_GEN_MASK) &&
                !weft__load(&d->home, RELAXED))
                continue;
            d->lock = (weft__lock_t)WEFT__LOCK_INIT(WEFT__RANK_DESCRIPTOR);
            d->in.first = d->out.first = d->odd.first = NULL;
            d->closer = NULL;
            weft__store(&d->home, (void *)NULL, RELAXED);
            desc_clear(d, weft__load(&d->flags, RELAXED) & WEFT__FD_MADE,
                       weft__load(&d->kind, RELAXED));
            weft__store(&d->word,
                        (word & WEFT__DESC_GEN_MASK) + WEFT__DESC_GEN_ONE,
                        RELAXED);
        }
    }
}

/* --- What it is --------------------------------------------------------------- */

/* Is this still so? What weft did not make may have been closed behind its back,
 * and a call on what blocks now would hold up a whole worker. (A call on a
 * socket never waits, whatever its mode.) */
static bool kind_holds(struct weft__desc *d, enum weft__kind kind)
{
    return kind != WEFT__KIND_UNKNOWN &&
           (kind != WEFT__KIND_POLLED ||
            weft__load(&d->flags, RELAXED) & WEFT__FD_MADE ||
            weft__fd_flags(d->fd) > 0);
}

enum weft__kind weft__desc_kind_slow(struct weft__desc *d)
{
    /* relaxed: a fact of the file, whoever finds it out. */
    enum weft__kind kind = weft__load(&d->kind, RELAXED);

    if (kind_holds(d, kind))
        return kind;
    switch (weft__fd_what(d->fd)) {
    case WEFT__FD_IS_STREAM:
        kind = WEFT__KIND_STREAM;
        break;
    case WEFT__FD_IS_SOCKET:
        kind = WEFT__KIND_SOCKET;
        break;
    case WEFT__FD_IS_FOLDER:
        kind = WEFT__KIND_FOLDER;
        break;
    case WEFT__FD_IS_FILE:
        kind = WEFT__KIND_FILE;
        break;
    case WEFT__FD_IS_OTHER:
        kind = d->fd > 2 && weft__fd_flags(d->fd) > 0 ? WEFT__KIND_POLLED
                                                      : WEFT__KIND_BLOCKING;
        break;
    default:
        return WEFT__KIND_UNKNOWN;
    }
    weft__store(&d->kind, kind, RELAXED);
    return kind;
}

uint64_t weft__desc_limit(int fd, int64_t idle, int64_t expires)
{
    struct weft__desc *d = weft__desc_look(fd);

    /* relaxed: told to the fiber that will wait by its spawn. */
    weft__store(&d->idle, idle, RELAXED);
    weft__store(&d->expires, expires, RELAXED);
    return weft__load(&d->word, RELAXED) & WEFT__DESC_GEN_MASK;
}

int weft__desc_shut_if(int fd, uint64_t gen, int how)
{
    struct weft__use use = { .desc = weft__desc_look(fd), .gen = gen };
    uint64_t word = weft__load(&use.desc->word, RELAXED); /* the swap checks */
    int status;

    /* Not weft__desc_use(): one that is closing is not waited for. */
    do {
        if ((word & (WEFT__DESC_GEN_MASK | WEFT__DESC_CLOSING)) != gen)
            return -EBADF;
    } while (!weft__cas(&use.desc->word, &word, word + 1, ACQUIRE, RELAXED));
    status = weft__fd_shutdown(fd, how);
    weft__desc_done(&use);
    return status;
}

uint64_t weft__desc_watched(void)
{
    uint64_t n = 0;

    for (int i = 0; i < CHUNKS; i++) {
        struct weft__desc *chunk = weft__load(&weft__desc_chunks[i], ACQUIRE);

        for (int k = 0; chunk && k < CHUNK; k++)
            n += weft__load(&chunk[k].home, RELAXED) != NULL;
    }
    return n;
}
