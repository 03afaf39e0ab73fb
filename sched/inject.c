#include "sched/inject.h"

#include <errno.h>
#include <stddef.h>

#include "sched/fatal.h"
#include "sched/fiber.h"
#include "sched/lock.h"
#include "sched/os.h"

static struct {
    weft__lock_t lock;
    weft__au32 len; /* written under the lock, read by all */
    uint32_t *ring;
    uint64_t mask;
    uint64_t head;
    uint64_t tail;
} inject = { .lock = WEFT__LOCK_INIT(WEFT__RANK_LEAF) };

int weft__inject_setup(void)
{
    /* A fiber has at most two entries out: its right, and a dead hint. */
    size_t size = ((size_t)WEFT__FIBER_MAX + 1) * 2;

    if (inject.ring)
        return 0;
    while (!(inject.ring = weft__os_map(size * sizeof(*inject.ring)))) {
        size /= 2;
        if (size < 8192)
            return -ENOMEM;
    }
    inject.mask = size - 1;
    return 0;
}

void weft__inject_push(const uint32_t *entries, uint32_t n)
{
    weft__lock_acquire(&inject.lock);
    WEFT__CHECK(inject.tail - inject.head + n <= inject.mask + 1,
                "the injection queue holds more than there are fibers");
    for (uint32_t i = 0; i < n; i++)
        inject.ring[inject.tail++ & inject.mask] = entries[i];
    /* relaxed: a hint; who acts on it takes the lock. */
    weft__store(&inject.len, (uint32_t)(inject.tail - inject.head), RELAXED);
    weft__lock_release(&inject.lock);
}

uint32_t weft__inject_pop(uint32_t *entries, uint32_t n)
{
    uint32_t taken = 0;

    if (weft__inject_len() == 0)
        return 0;
    weft__lock_acquire(&inject.lock);
    while (taken < n && inject.head != inject.tail)
        entries[taken++] = inject.ring[inject.head++ & inject.mask];
    weft__store(&inject.len, (uint32_t)(inject.tail - inject.head), RELAXED);
    weft__lock_release(&inject.lock);
    return taken;
}

uint32_t weft__inject_len(void)
{
    /* relaxed: pushers fence after it, and sleepers before they read it. */
    return weft__load(&inject.len, RELAXED);
}
