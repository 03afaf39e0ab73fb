/*
 * The seam's memory operations: a choice point, and then the operation on
 * the caller's buffer and on memory, as x86 orders them.
 */
#include "runtime/sim/memory.h"

#include "runtime/sim/plain.h"
#include "runtime/sim/world.h"

uint64_t weft__sim_load(const volatile void *p, unsigned size, int order)
{
    struct weft__vthread *me;
    uint64_t value;

    weft__step("load");
    me = weft__current();
    if (me->buffer.n > 0 && weft__buffer_get(me, p, size, &value))
        return value;
    return weft__plain_load(p, size, order);
}

void weft__sim_store(volatile void *p, uint64_t value, unsigned size,
                     int order)
{
    struct weft__vthread *me;

    weft__step("store");
    me = weft__current();
    if (order != __ATOMIC_SEQ_CST && weft__world.set.buffer > 0) {
        weft__buffer_put(me, p, value, size, order, weft__world.set.buffer);
        return;
    }
    weft__buffer_drain(me);
    weft__buffer_comes(p, size);
    weft__plain_store(p, value, size, order);
    weft__buffer_wrote(p, size);
}

uint64_t weft__sim_rmw(volatile void *p, enum weft__seam_op op,
                       uint64_t value, unsigned size, int order)
{
    uint64_t old;

    weft__step("read-modify-write");
    weft__buffer_drain(weft__current());
    weft__buffer_comes(p, size);
    old = weft__plain_rmw(p, op, value, size, order);
    weft__buffer_wrote(p, size);
    return old;
}

bool weft__sim_cas(volatile void *p, void *seen, uint64_t next, unsigned size,
                   int order)
{
    bool done;

    weft__step("compare-and-swap");
    weft__buffer_drain(weft__current());
    weft__buffer_comes(p, size);
    done = weft__plain_cas(p, seen, next, size, order);
    if (done)
        weft__buffer_wrote(p, size);
    return done;
}

/* Weaker fences are nothing on x86: it orders all but store and load. */
void weft__sim_fence(int order)
{
    if (order != __ATOMIC_SEQ_CST)
        return;
    weft__step("fence");
    weft__buffer_drain(weft__current());
    weft__plain_fence(order);
}

void weft__sim_membarrier(void)
{
    struct weft__world *w = &weft__world;

    weft__step("membarrier");
    while (w->dirty)
        weft__buffer_drain(&w->thread[__builtin_ctzll(w->dirty)]);
}
