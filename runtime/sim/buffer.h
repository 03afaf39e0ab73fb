/*
 * The store buffer of one virtual thread
 *
 * On x86 a store waits in its core's buffer, first in first out, while later
 * loads of that core go ahead: the one reordering there is. Its own core sees
 * the waiting store, the others do not yet. A locked operation or a fence
 * waits until the buffer is empty.
 *
 * What is modelled: stores through sched/atomic.h below SEQ_CST wait here; a
 * load of the same bytes by the same thread is answered from here; when the
 * buffer is full the oldest leaves; otherwise the chooser says when one does.
 * A load that overlaps a waiting store in part makes it leave first.
 *
 * Plain stores are not seen and take effect at once, so they overtake what
 * waits here, which no x86 does. Where plain data is published by an atomic
 * store this makes no difference: it is there when the store arrives. But
 * memory may change hands while a store to it waits: unlock(&m), free(m), and
 * the bytes are a local variable of somebody. On a real machine the later
 * plain store wins. So each entry remembers what memory held where it goes;
 * if it holds something else when the store should leave, and no simulated
 * store put it there, then a plain one came later: the entry is dropped. So it
 * is when a simulated store comes to the same bytes, which would hide that.
 */
#ifndef WEFT_RUNTIME_SIM_BUFFER_H
#define WEFT_RUNTIME_SIM_BUFFER_H

#include <stdbool.h>
#include <stdint.h>

enum { WEFT__BUFFER_MOST = 8 };

struct weft__buffered {
    volatile void *p;
    uint64_t value;
    uint64_t under; /* what memory holds there, as far as we know */
    unsigned size;
    int order;
};

struct weft__buffer {
    unsigned n;
    struct weft__buffered store[WEFT__BUFFER_MOST]; /* oldest first */
};

struct weft__vthread;

/* Add a store; the buffer has room for `depth`, at least one. */
void weft__buffer_put(struct weft__vthread *t, volatile void *p,
                      uint64_t value, unsigned size, int order,
                      unsigned depth);

/* Answer a load from the buffer, if it is there. */
bool weft__buffer_get(struct weft__vthread *t, const volatile void *p,
                      unsigned size, uint64_t *value);

/* Let the oldest reach memory; let all. */
void weft__buffer_flush(struct weft__vthread *t);
void weft__buffer_drain(struct weft__vthread *t);

/* A simulated store or read-modify-write is about to change these bytes, and has
 * changed them. */
void weft__buffer_comes(const volatile void *p, unsigned size);
void weft__buffer_wrote(const volatile void *p, unsigned size);

#endif
