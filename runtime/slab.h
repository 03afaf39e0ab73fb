/*
 * Memory for the heads of shared objects: never given back, only used again.
 *
 * The inner lock (lock.h) is dropped by a store and then a look at its second
 * byte. With a channel or queue that look may come after someone else has
 * freed the object. In memory that stays such an object's for ever it is
 * harmless: at worst it wakes a sleeper that looks again. All else of a free
 * item is poisoned for the sanitizers.
 */
#ifndef WEFT_RUNTIME_SLAB_H
#define WEFT_RUNTIME_SLAB_H

/* Of these bytes, aligned to a cache line; the contents are what the last
 * user left, or zero. NULL: no memory. */
enum { WEFT__SLAB_SIZE = 128 };

void *weft__slab_take(void);
void weft__slab_give(void *object);

/* In a forked child: no other thread is at the slab. */
void weft__slab_forked(void);

#endif
