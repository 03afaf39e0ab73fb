/*
 * The inner lock of an object that its user may free.
 *
 * A mutex or wait group lives in the user's memory and may be gone as soon as
 * someone else's call returns. So the store that drops the inner lock must be
 * the last touch, and the one that lets others' fast paths succeed: it is one
 * exchange of a word that holds the state, the lock and the sleepers' note.
 *
 *     31..0    the object's state
 *     32       INNER: someone is at the list
 *     33       SLEEPER: someone waits for that
 *     63..34   the object's flags
 *
 * A fast path is a compare-and-swap that expects both bits clear, so while
 * INNER is set nobody but its holder changes the rest of the word.
 *
 * The wake after the exchange names an address that may be another's by then:
 * the kernel looks at who sleeps there and touches nothing, and whoever
 * sleeps on a futex looks again when it wakes.
 */
#ifndef WEFT_SCHED_WORDLOCK_H
#define WEFT_SCHED_WORDLOCK_H

#include "sched/atomic.h"

#define WEFT__WORD_INNER ((uint64_t)1 << 32)
#define WEFT__WORD_SLEEPER ((uint64_t)1 << 33)
#define WEFT__WORD_FLAG(n) ((uint64_t)1 << (34 + (n)))

/* Take the inner lock. Answers the word without the two bits. */
uint64_t weft__word_lock(weft__au64 *word);

/* Drop it: `next` becomes the word. The last touch. */
void weft__word_unlock(weft__au64 *word, uint64_t next);

#endif
