#include "runtime/heap.h"

#include <string.h>

/* The number comes first, and the value is aligned like malloc's memory. */
enum { HEAP_NUMBER = 16 };

size_t weft__heap_slot(size_t elem_size)
{
    return HEAP_NUMBER + (elem_size + HEAP_NUMBER - 1) / HEAP_NUMBER *
                             HEAP_NUMBER;
}

static char *slot_at(const struct weft__heap *heap, char *array, size_t i)
{
    return array + i * weft__heap_slot(heap->elem_size);
}

static int leaves_before(const struct weft__heap *heap, const char *a,
                         const char *b)
{
    int order = heap->compare(a + HEAP_NUMBER, b + HEAP_NUMBER);
    uint64_t x, y;

    if (order != 0)
        return order < 0;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x < y;
}

void weft__heap_put(struct weft__heap *heap, char *array, size_t len,
                    const void *value)
{
    size_t slot = weft__heap_slot(heap->elem_size);
    char *fresh = slot_at(heap, array, len + 1); /* outside the heap */
    size_t i = len;

    memcpy(fresh, &heap->came, sizeof(heap->came));
    heap->came++;
    memcpy(fresh + HEAP_NUMBER, value, heap->elem_size);
    while (i > 0) {
        char *parent = slot_at(heap, array, (i - 1) / 2);

        if (!leaves_before(heap, fresh, parent))
            break;
        memcpy(slot_at(heap, array, i), parent, slot);
        i = (i - 1) / 2;
    }
    memcpy(slot_at(heap, array, i), fresh, slot);
}

void weft__heap_get(struct weft__heap *heap, char *array, size_t len,
                    void *value)
{
    size_t slot = weft__heap_slot(heap->elem_size);
    char *last = slot_at(heap, array, len - 1);
    size_t i = 0;

    memcpy(value, array + HEAP_NUMBER, heap->elem_size);
    for (;;) {
        size_t child = 2 * i + 1;
        char *least;

        if (child >= len - 1)
            break;
        least = slot_at(heap, array, child);
        if (child + 1 < len - 1 &&
            leaves_before(heap, least + slot, least))
            least = slot_at(heap, array, ++child);
        if (!leaves_before(heap, least, last))
            break;
        memcpy(slot_at(heap, array, i), least, slot);
        i = child;
    }
    if (i != len - 1)
        memcpy(slot_at(heap, array, i), last, slot);
}
