/*
 * The seam
 *
 * In libweft-sim every atomic, fence, futex, thread, clock and sleep of the
 * runtime goes through this table, which runtime/sim fills; so no include
 * runs backwards. While the table is empty (weft__seam is NULL) each call is
 * the plain operation. The release library contains none of this.
 */
#ifndef WEFT_SCHED_SEAM_H
#define WEFT_SCHED_SEAM_H

#include <stdbool.h>
#include <stdint.h>

enum weft__seam_op {
    WEFT__SEAM_XCHG,
    WEFT__SEAM_ADD,
    WEFT__SEAM_SUB,
    WEFT__SEAM_OR,
    WEFT__SEAM_AND
};

/* What can be made to fail: see `fault`. */
enum weft__seam_fault {
    WEFT__FAULT_MAP,    /* address space, memory */
    WEFT__FAULT_GUARD,  /* installing a stack's guard */
    WEFT__FAULT_THREAD, /* creating an OS thread */
    WEFT__FAULT_FD      /* creating a descriptor */
};

struct weft__fiber;

struct weft__seam {
    /* Memory. `order` is one of __ATOMIC_*; values travel as 64 bits. */
    uint64_t (*load)(const volatile void *p, unsigned size, int order);
    void (*store)(volatile void *p, uint64_t value, unsigned size, int order);
    uint64_t (*rmw)(volatile void *p, enum weft__seam_op op, uint64_t value,
                    unsigned size, int order);
    bool (*cas)(volatile void *p, void *seen, uint64_t next, unsigned size,
                int order);
    void (*fence)(int order);
    void (*membarrier)(void);

    /* Threads. create runs fn(arg) as one more virtual thread. */
    int (*thread_create)(uintptr_t *thread, void *(*fn)(void *), void *arg);
    void (*thread_join)(uintptr_t thread);
    int (*futex_wait)(volatile uint32_t *word, uint32_t expected,
                      int64_t timeout_ns); /* below 0: no timeout */
    void (*futex_wake)(volatile uint32_t *word, int count);
    void (*pause)(void); /* a turn of a spin loop, sched_yield(2) */

    /* Who am I: one slot a virtual thread. */
    struct weft__fiber *(*self)(void);
    void (*set_self)(struct weft__fiber *self);

    /* Clock, nanoseconds. */
    int64_t (*now)(void);

    /* A choice point that is no memory operation: a switch commits. */
    void (*point)(const char *what);

    /* Should this call fail? Answers a negative code, or 0. */
    int (*fault)(enum weft__seam_fault what);

    /* What does the world do: one of n things, of which 0 is nothing out of
     * the ordinary. */
    unsigned (*draw)(unsigned n);
};

extern const struct weft__seam *weft__seam;

/* For sched/os*.c: is there such an entry, and should this call fail? */
#ifdef WEFT_SIM
#define WEFT__SEAM(member) (weft__seam != NULL && weft__seam->member != NULL)
#define WEFT__SEAM_FAULT(what) \
    (WEFT__SEAM(fault) ? weft__seam->fault(what) : 0)
#else
#define WEFT__SEAM_FAULT(what) 0
#endif

uint64_t weft__seam_load(const volatile void *p, unsigned size, int order);
void weft__seam_store(volatile void *p, uint64_t value, unsigned size,
                      int order);
uint64_t weft__seam_rmw(volatile void *p, enum weft__seam_op op,
                        uint64_t value, unsigned size, int order);
bool weft__seam_cas(volatile void *p, void *seen, uint64_t next,
                    unsigned size, int order);
void weft__seam_fence(int order);

#endif
