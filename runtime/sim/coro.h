/*
 * Coroutines: what virtual threads are made of.
 *
 * A virtual thread stands on whatever stack it was on at its last choice
 * point: its own, or that of a fiber it runs. So a switch saves the callee's
 * registers on the stack that is left, keeps that stack pointer, and asks
 * nothing else. It is not sched/context: that one is under test here.
 */
#ifndef WEFT_RUNTIME_SIM_CORO_H
#define WEFT_RUNTIME_SIM_CORO_H

#include <stddef.h>

struct weft__coro {
    void *sp;     /* where it stands while another runs */
    char *stack;  /* its own, kept from run to run; NULL: the caller's */
    void (*fn)(void *);
    void *arg;
    /* What the address sanitizer wants to know of the stack it stands on. */
    const void *bottom;
    size_t bytes;
    void *fake;
};

/* Make ready to run fn(arg), which never returns, on a stack of its own.
 * Returns 0 or -ENOMEM. */
int weft__coro_prepare(struct weft__coro *c, void (*fn)(void *), void *arg);

/* Leave `from` and go on where `to` stands. errno belongs to the coroutine. */
void weft__coro_switch(struct weft__coro *from, struct weft__coro *to);

#endif
