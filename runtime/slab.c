#include "runtime/slab.h"

#include <stddef.h>

#include "sched/lock.h"
#include "sched/os.h"
#include "sched/sanitizer.h"

enum { SLAB_CHUNK = 64 << 10 };

/* Overlays the last word: the first ones hold the object's lock. */
struct slab_item {
    char object[WEFT__SLAB_SIZE - sizeof(void *)];
    struct slab_item *next;
};

_Static_assert(sizeof(struct slab_item) == WEFT__SLAB_SIZE, "no padding");

/* What nobody may touch while an item is free: all but the lock and the
 * link. */
enum { SLAB_LOCK = 8, SLAB_BODY = offsetof(struct slab_item, next) - SLAB_LOCK };

static struct {
    weft__lock_t lock;
    struct slab_item *free;
} slab = { .lock = WEFT__LOCK_INIT(WEFT__RANK_LEAF) };

/* Another chunk, but for one item that goes to the caller. */
static void *slab_grow(void)
{
    struct slab_item *items = weft__os_map(SLAB_CHUNK);
    size_t n = SLAB_CHUNK / sizeof(*items);

    if (!items)
        return NULL;
    for (size_t i = 1; i + 1 < n; i++)
        items[i].next = &items[i + 1];
    weft__lock_acquire(&slab.lock);
    items[n - 1].next = slab.free;
    slab.free = &items[1];
    weft__lock_release(&slab.lock);
    return items;
}

void *weft__slab_take(void)
{
    struct slab_item *item;

    weft__lock_acquire(&slab.lock);
    item = slab.free;
    if (item)
        slab.free = item->next;
    weft__lock_release(&slab.lock);
    if (!item)
        return slab_grow();
    if (weft__memory_watched())
        weft__unpoison(item->object + SLAB_LOCK, SLAB_BODY);
    return item;
}

void weft__slab_give(void *object)
{
    struct slab_item *item = object;

    if (weft__memory_watched())
        weft__poison(item->object + SLAB_LOCK, SLAB_BODY);
    weft__lock_acquire(&slab.lock);
    item->next = slab.free;
    slab.free = item;
    weft__lock_release(&slab.lock);
}

void weft__slab_forked(void)
{
    slab.lock = (weft__lock_t)WEFT__LOCK_INIT(WEFT__RANK_LEAF);
}
