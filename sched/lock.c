#include "sched/lock.h"

#include "sched/os.h"

/* Long enough for a critical section that runs on another core, short enough
 * to be nothing when its holder was taken off its core. */
enum { LOCK_SPINS = 100 };

bool weft__lock_asymmetric;

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
        union weft__lock expected = { .b = { { 1 }, { 1 } } };
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
