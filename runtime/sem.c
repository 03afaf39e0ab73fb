/*
 * Semaphores
 *
 * The word (wordlock.h): the permits in the low half, WAITERS while someone
 * waits. What holds under the inner lock: if someone waits, the oldest wants
 * more than there are.
 *
 * With no one waiting, acquire and release are one compare-and-swap each. So
 * a fast path that takes permits knows from the same word that it overtakes
 * nobody, and one that gives them, that nobody has to be woken; whoever then
 * takes them may free the semaphore.
 *
 * Whatever takes the oldest off the list may leave permits for the next: a
 * release, and a waiter that gives up. Both serve the list before they drop
 * the lock.
 */
#include <weft/sem.h>

#include <errno.h>

#include "sched/sched.h"
#include "sched/waitlist.h"
#include "sched/wordlock.h"

#define SEM_PERMITS ((uint64_t)0xffffffff)
#define SEM_WAITERS WEFT__WORD_FLAG(0)

struct sem {
    weft__au64 word;
    struct weft__waitlist waiters;
    uint64_t spare;
};

_Static_assert(sizeof(struct sem) == sizeof(weft_sem_t), "24 bytes");

struct sem_waiter {
    struct weft__waiter node; /* first: the list knows nothing else */
    uint64_t n;
};

static struct sem *sem_of(weft_sem_t *s)
{
    return (struct sem *)(void *)s;
}

/* Give the oldest theirs, as far as the permits go. Under the lock: answers
 * the word to drop it with. */
static uint64_t sem_serve(struct sem *s, uint64_t permits,
                          struct weft__batch *batch)
{
    struct weft__waiter *first;

    while ((first = s->waiters.first) &&
           ((struct sem_waiter *)(void *)first)->n <= permits) {
        uint64_t n = ((struct sem_waiter *)(void *)first)->n;

        weft__waitlist_remove(&s->waiters, first);
        /* One that has given up is off the list earlier than it thought. */
        if (!weft__claim(first->fiber, first->gen, WEFT__CAUSE_OK))
            continue;
        permits -= n;
        weft__batch_add(batch, first->fiber);
    }
    return permits | (s->waiters.first ? SEM_WAITERS : 0);
}

/* Take n permits if that overtakes nobody. -EAGAIN: someone waits, or there
 * are too few; or someone is at the list, and the answer is there. */
static inline int sem_grab(struct sem *s, uint32_t n)
{
    uint64_t seen = weft__load(&s->word, RELAXED); /* the swap checks it */

    while (!(seen & ~SEM_PERMITS) && seen >= n) {
        /* acquire: what came before the release of these permits. */
        if (weft__cas(&s->word, &seen, seen - n, ACQUIRE, RELAXED))
            return 0;
    }
    return -EAGAIN;
}

static __attribute__((noinline)) int
sem_acquire_slow(struct sem *s, uint32_t n, struct weft__fiber *self,
                 int64_t deadline)
{
    struct sem_waiter waiter = { .node = { .fiber = self }, .n = n };
    struct weft__batch batch = { 0 };
    int refused = weft__wait_refused(self, deadline);
    uint64_t word = weft__word_lock(&s->word);
    enum weft__cause cause;

    if (!s->waiters.first && word >= n) {
        weft__word_unlock(&s->word, word - n);
        return 0;
    }
    if (refused) {
        weft__word_unlock(&s->word, word);
        return refused;
    }
    weft__waitlist_push(&s->waiters, &waiter.node);
    waiter.node.gen =
        weft__park_open_until(self, 0, "semaphore", s, deadline);
    weft__word_unlock(&s->word, word | SEM_WAITERS);

    cause = weft__park(self);
    if (cause == WEFT__CAUSE_OK)
        return 0; /* the semaphore may be gone */

    word = weft__word_lock(&s->word);
    weft__waitlist_remove(&s->waiters, &waiter.node);
    weft__word_unlock(&s->word, sem_serve(s, word & SEM_PERMITS, &batch));
    weft__batch_ready(&batch);
    return weft__cause_code(cause);
}

int weft_sem_acquire_until(weft_sem_t *sem, uint32_t n, weft_time_t deadline)
{
    struct sem *s = sem_of(sem);
    struct weft__fiber *self = weft__fiber_self();

    if (!s)
        return -EINVAL;
    if (!self)
        weft__foreigner_note();
    if (weft__canceled_on_entry(self, deadline))
        return -ECANCELED;
    if (n == 0 || sem_grab(s, n) == 0)
        return 0;
    return sem_acquire_slow(s, n, self, deadline);
}

int weft_sem_acquire(weft_sem_t *sem, uint32_t n)
{
    return weft_sem_acquire_until(sem, n, WEFT_FOREVER);
}

int weft_sem_acquire_try(weft_sem_t *sem, uint32_t n)
{
    return weft_sem_acquire_until(sem, n, WEFT_NOW);
}

/* Someone waits, or someone is at the list. */
static __attribute__((noinline)) int sem_release_slow(struct sem *s,
                                                      uint32_t n)
{
    struct weft__batch batch = { 0 };
    uint64_t word = weft__word_lock(&s->word);
    uint64_t permits = (word & SEM_PERMITS) + n;

    if (permits > SEM_PERMITS) {
        weft__word_unlock(&s->word, word);
        return -EOVERFLOW;
    }
    weft__word_unlock(&s->word, sem_serve(s, permits, &batch));
    weft__batch_ready(&batch);
    return 0;
}

int weft_sem_release(weft_sem_t *sem, uint32_t n)
{
    struct sem *s = sem_of(sem);
    uint64_t seen;

    if (!s)
        return -EINVAL;
    if (!weft__fiber_self())
        weft__foreigner_note();
    seen = weft__load(&s->word, RELAXED); /* the swap checks it */
    while (!(seen & ~SEM_PERMITS)) {
        if (seen + n > SEM_PERMITS)
            return -EOVERFLOW;
        /* release: what we wrote, to whoever takes them. The last touch. */
        if (weft__cas(&s->word, &seen, seen + n, RELEASE, RELAXED))
            return 0;
    }
    return sem_release_slow(s, n);
}
