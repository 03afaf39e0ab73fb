#include "sched/lock.h"

#include "sched/os.h"
#ifdef WEFT_DEBUG
#include "sched/fatal.h"
#include "sched/worker.h"
#endif

/* Long enough for a critical section that runs on another core, short enough
 * to be nothing when its holder was taken off its core. */
enum { LOCK_SPINS = 100 };

bool weft__lock_asymmetric;

#ifdef WEFT_DEBUG
/* The account is the worker's: no lock is held across a switch. Threads that
 * are no workers keep none. */
void weft__lock_debug_take(const void *lock, int rank)
{
    struct weft__worker *w = weft__worker_self();

    if (!w)
        return;
    WEFT__CHECK(w->held < WEFT__HELD_MAX, "too many inner locks at once");
    WEFT__CHECK(w->held == 0 || w->held_ranks[w->held - 1] < rank ||
                    (w->held_ranks[w->held - 1] == rank &&
                     (uintptr_t)w->held_locks[w->held - 1] < (uintptr_t)lock),
                "an inner lock is taken out of order");
    w->held_locks[w->held] = lock;
    w->held_ranks[w->held++] = rank;
}

void weft__lock_debug_drop(const void *lock)
{
    struct weft__worker *w = weft__worker_self();

    if (!w)
        return;
    WEFT__CHECK(w->held > 0 && w->held_locks[w->held - 1] == lock,
                "an inner lock is dropped that was not taken last");
    w->held--;
}

void weft__lock_debug_none(void)
{
    struct weft__worker *w = weft__worker_self();

    WEFT__CHECK(!w || w->held == 0,
                "an inner lock is held across a switch or a ready");
}
#endif

void weft__lock_slow(weft__lock_t *lock)
{
    for (;;) {
        int spins = weft__os_multicore() ? LOCK_SPINS : 0;

        while (spins-- > 0) {
            weft__os_pause();
            /* relaxed: a first guess; the try checks it. */
            if (!weft__load(&lock->b.held, RELAXED) && weft__lock_try(lock))
                return;
        }

        /* Announce, barrier, look again: see the block in lock.h. */
        weft__store(&lock->b.sleeper, 1, SEQ_CST);
        if (weft__lock_asymmetric)
            weft__os_membarrier();
        if (weft__lock_try(lock))
            return;

        /* held = 1 and sleeper = 1, as the futex sees them. */
        union weft__lock expected = { .b = { { 1 }, { 1 }, lock->b.rank } };
        weft__os_futex_wait(&lock->word, expected.word.v, -1);
    }
}

void weft__lock_wake(weft__lock_t *lock)
{
    /* Before the wake: who sets it again after this goes to sleep for the
     * next unlock. relaxed: the futex call is a full barrier.
     *
     * The lock may be freed by its next holder as soon as it is free, so the
     * byte below may belong to another object by now: weft frees no memory
     * that holds an inner lock without having taken that lock last, and
     * clears this byte only while someone sleeps for it. */
    weft__store(&lock->b.sleeper, 0, RELAXED);
    weft__os_futex_wake(&lock->word, INT32_MAX);
}
