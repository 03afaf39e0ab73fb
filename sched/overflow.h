/*
 * Stack overflow: told by name instead of dying without a word.
 *
 * A touch of a guard page is a SIGSEGV on the worker, whose alternate stack
 * has room for a handler. It names the fiber, its stack and where it was
 * spawned; then whoever handled SIGSEGV before has its say, or the program
 * dies as it would have. One that was put over ours in a run stays, and in the
 * next run, too: it may call ours, and ours it, or one after the other for ever.
 */
#ifndef WEFT_SCHED_OVERFLOW_H
#define WEFT_SCHED_OVERFLOW_H

/* Put the handler in place, and the old one back. */
void weft__overflow_begin(void);
void weft__overflow_end(void);

/* Give the calling thread an alternate stack; NULL: there is no memory, and no
 * overflow of its is named. And take it away, unless the program has put its own
 * in its place: that one stays. */
void *weft__overflow_thread_begin(void);
void weft__overflow_thread_end(void *stack);

#endif
