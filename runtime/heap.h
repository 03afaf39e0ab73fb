/*
 * A binary heap of values by a comparison, equals in the order they came.
 *
 * Values lie in an array of slots: the number it came with, then the value.
 * The caller owns the array and its length, and keeps two slots free at
 * the end: one to grow into, and one to swap through.
 */
#ifndef WEFT_RUNTIME_HEAP_H
#define WEFT_RUNTIME_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct weft__heap {
    size_t elem_size;
    int (*compare)(const void *a, const void *b);
    uint64_t came; /* how many ever */
};

/* How many bytes a slot takes. */
size_t weft__heap_slot(size_t elem_size);
/* Put a value into a heap that holds `len`. */
void weft__heap_put(struct weft__heap *heap, char *array, size_t len,
                    const void *value);
/* Take the least out of a heap that holds `len`, at least 1. */
void weft__heap_get(struct weft__heap *heap, char *array, size_t len,
                    void *value);

#endif
