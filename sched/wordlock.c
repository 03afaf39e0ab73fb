#include "sched/wordlock.h"

#include "sched/lock.h"
#include "sched/os.h"

enum { WORD_SPINS = 100 };

/* The half with the two bits, as the futex sees it. */
static weft__au32 *upper_half(weft__au64 *word)
{
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
                   "the upper half comes second");
    return (weft__au32 *)word + 1;
}

uint64_t weft__word_lock(weft__au64 *word)
{
    /* relaxed: the swap checks it. */
    uint64_t seen = weft__load(word, RELAXED);
    int spins = weft__os_multicore() ? WORD_SPINS : 0;

    for (;;) {
        if (!(seen & WEFT__WORD_INNER)) {
            /* acquire: pairs with the release in weft__word_unlock(). Who
             * sleeps stays noted. */
            if (weft__cas(word, &seen, seen | WEFT__WORD_INNER, ACQUIRE,
                          RELAXED)) {
                weft__lock_debug_take(word, WEFT__RANK_PRIMITIVE);
                return seen & ~WEFT__WORD_SLEEPER;
            }
            continue;
        }
        if (spins-- > 0) {
            weft__os_pause();
            seen = weft__load(word, RELAXED);
            continue;
        }
        if (!(seen & WEFT__WORD_SLEEPER) &&
            !weft__cas(word, &seen, seen | WEFT__WORD_SLEEPER, RELAXED,
                       RELAXED))
            continue;
        weft__os_futex_wait(upper_half(word),
                            (uint32_t)((seen | WEFT__WORD_SLEEPER) >> 32),
                            -1);
        seen = weft__load(word, RELAXED);
    }
}

void weft__word_unlock(weft__au64 *word, uint64_t next)
{
    weft__au32 *half = upper_half(word);

    weft__lock_debug_drop(word);
    /* release: what we did under the lock. */
    if (weft__exchange(word, next, RELEASE) & WEFT__WORD_SLEEPER)
        weft__os_futex_wake(half, INT32_MAX);
}
