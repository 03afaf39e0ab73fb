/*
 * Contexts: the switch from one stack to another.
 *
 * One call saves the callee's registers on the stack that is left, and either
 * takes up another context where it was left, or starts a new one. There is
 * one such call in all of weft (switch.c), so that a context returns where
 * the processor's return predictor expects it: the routine is entered by a
 * call and left by a ret, and a new context is entered by a call too.
 *
 * The floating-point control words (rounding, masks, precision) belong to the
 * callee by the ABI and so to the context; a new one starts with the
 * defaults. They are loaded only when they differ: that load is slow.
 *
 * Source for what is saved: System V ABI, AMD64 supplement, 3.2.1 and 3.2.3.
 */
#ifndef WEFT_SCHED_CONTEXT_H
#define WEFT_SCHED_CONTEXT_H

/*
 * Leave this context and store where it stands in *save. With entry NULL
 * `load` is a context left earlier; otherwise it is the high end of a free
 * stack, 16-byte aligned, and entry(arg) is called there; what it returns is
 * the context to take up when it has ended.
 *
 * Returns when someone switches back to *save, perhaps on another OS thread.
 */
void weft__context_switch(void **save, void *load, void *(*entry)(void *),
                          void *arg);

/* Give the running context the control words of a new one: for a fiber that
 * starts without a switch, on the stack of one that has ended. */
void weft__context_defaults(void);

#endif
