#include "runtime/sim/buffer.h"

#include <string.h>

#include "runtime/sim/plain.h"
#include "runtime/sim/world.h"
#include "sched/sanitizer.h"

static uint64_t memory_holds(const struct weft__buffered *e)
{
    return weft__plain_load(e->p, e->size, __ATOMIC_RELAXED);
}

static bool overlaps(const struct weft__buffered *e, const volatile void *p,
                     unsigned size)
{
    uintptr_t a = (uintptr_t)e->p;
    uintptr_t b = (uintptr_t)p;

    return a < b + size && b < a + e->size;
}

/* Did a plain store come later, or was the memory given back? */
static bool overtaken(const struct weft__buffered *e)
{
#ifdef WEFT__ASAN
    if (__asan_address_is_poisoned((const void *)(uintptr_t)e->p))
        return true;
#endif
    return memory_holds(e) != e->under;
}

void weft__buffer_flush(struct weft__vthread *t)
{
    struct weft__buffer *b = &t->buffer;
    struct weft__buffered e = b->store[0];

    b->n--;
    memmove(&b->store[0], &b->store[1], b->n * sizeof(b->store[0]));
    if (b->n == 0)
        weft__world.dirty &= ~(UINT64_C(1) << t->index);

    if (!overtaken(&e)) {
        weft__buffer_comes(e.p, e.size);
        weft__plain_store(e.p, e.value, e.size, e.order);
        weft__buffer_wrote(e.p, e.size);
    }
}

void weft__buffer_drain(struct weft__vthread *t)
{
    while (t->buffer.n > 0)
        weft__buffer_flush(t);
}

void weft__buffer_put(struct weft__vthread *t, volatile void *p,
                      uint64_t value, unsigned size, int order,
                      unsigned depth)
{
    struct weft__buffer *b = &t->buffer;
    struct weft__buffered *e;

    while (b->n >= depth)
        weft__buffer_flush(t);

    e = &b->store[b->n++];
    *e = (struct weft__buffered){ p, value, 0, size, order };
    e->under = memory_holds(e);
    weft__world.dirty |= UINT64_C(1) << t->index;
}

bool weft__buffer_get(struct weft__vthread *t, const volatile void *p,
                      unsigned size, uint64_t *value)
{
    struct weft__buffer *b = &t->buffer;

    for (unsigned i = b->n; i-- > 0;) {
        const struct weft__buffered *e = &b->store[i];

        if (!overlaps(e, p, size))
            continue;
        if (e->p == p && e->size == size && !overtaken(e)) {
            *value = e->value;
            return true;
        }
        /* In part, or overtaken by a plain store: memory has the answer once
         * this entry and those before it have left. */
        for (unsigned n = i + 1; n > 0 && b->n > 0; n--)
            weft__buffer_flush(t);
        return false;
    }
    return false;
}

void weft__buffer_comes(const volatile void *p, unsigned size)
{
    for (uint64_t left = weft__world.dirty; left != 0; left &= left - 1) {
        unsigned index = (unsigned)__builtin_ctzll(left);
        struct weft__buffer *b = &weft__world.thread[index].buffer;
        unsigned kept = 0;

        for (unsigned i = 0; i < b->n; i++)
            if (!overlaps(&b->store[i], p, size) || !overtaken(&b->store[i]))
                b->store[kept++] = b->store[i];
        b->n = kept;
        if (kept == 0)
            weft__world.dirty &= ~(UINT64_C(1) << index);
    }
}

void weft__buffer_wrote(const volatile void *p, unsigned size)
{
    for (uint64_t left = weft__world.dirty; left != 0; left &= left - 1) {
        struct weft__buffer *b =
            &weft__world.thread[__builtin_ctzll(left)].buffer;

        for (unsigned i = 0; i < b->n; i++)
            if (overlaps(&b->store[i], p, size))
                b->store[i].under = memory_holds(&b->store[i]);
    }
}
