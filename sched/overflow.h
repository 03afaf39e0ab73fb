/*
 * Stack overflow: told by name instead of dying without a word.
 *
 * A touch of a guard page is a SIGSEGV on the worker, whose alternate stack
 * has room for a handler. It names the fiber, its stack and where it was
 * spawned; then whoever handled SIGSEGV before has its say, or the program
 * dies as it would have.
 */
#ifndef WEFT_SCHED_OVERFLOW_H
#define WEFT_SCHED_OVERFLOW_H

/* Put the handler in place, and the old one back. */
void weft__overflow_begin(void);
void weft__overflow_end(void);

/* Give the calling thread an alternate stack, and take it away. -ENOMEM. */
int weft__overflow_thread_begin(void);
void weft__overflow_thread_end(void);

#endif
