#include "sched/fiber.h"

#include <errno.h>

#include "sched/fatal.h"
#include "sched/lock.h"
#include "sched/os.h"
#include "sched/timer.h"

_Static_assert(sizeof(struct weft__fiber) == 64, "one cache line");
_Static_assert(sizeof(struct weft__fiber_cold) == 128, "two cache lines");

enum {
    RECORD_BATCH = WEFT__RECORD_CACHE / 2,
    GROW_MIN = 64,
    GROW_MAX = 4096
};

struct weft__fiber *weft__fiber_lines;
struct weft__fiber_cold *weft__fiber_colds;
uint32_t *weft__fiber_timer_places;

/* Free records on their way between workers, and those never made yet. */
static struct {
    weft__lock_t lock;
    weft__au32 made;
    uint32_t max;
    unsigned stack_class;
    uint32_t *list; /* free ones, the warmest last */
    uint32_t count;
} pool = { .lock = WEFT__LOCK_INIT(WEFT__RANK_POOL) };

/* Four mappings for as many records as there is address space for. */
static int pool_map(void)
{
    for (size_t n = (size_t)WEFT__FIBER_MAX + 1; n >= GROW_MAX; n /= 2) {
        void *lines = weft__os_map(n * sizeof(struct weft__fiber));
        void *colds = weft__os_map(n * sizeof(struct weft__fiber_cold));
        void *list = weft__os_map(n * sizeof(*pool.list));
        void *places = weft__os_map(n * sizeof(*weft__fiber_timer_places));

        if (lines && colds && list && places) {
            weft__fiber_lines = lines;
            weft__fiber_colds = colds;
            weft__fiber_timer_places = places;
            pool.list = list;
            pool.max = (uint32_t)n - 1;
            return 0;
        }
        if (lines)
            weft__os_unmap(lines, n * sizeof(struct weft__fiber));
        if (colds)
            weft__os_unmap(colds, n * sizeof(struct weft__fiber_cold));
        if (list)
            weft__os_unmap(list, n * sizeof(*pool.list));
        if (places)
            weft__os_unmap(places, n * sizeof(*weft__fiber_timer_places));
    }
    return -ENOMEM;
}

int weft__fiber_map(void)
{
    int status;

    weft__lock_acquire(&pool.lock);
    status = weft__fiber_lines ? 0 : pool_map();
    weft__lock_release(&pool.lock);
    return status;
}

int weft__fiber_setup(unsigned stack_class)
{
    uint32_t made;
    int status = weft__fiber_map();

    if (status != 0)
        return status;
    /* Threads that are not weft's may take records meanwhile, and make some. */
    weft__lock_acquire(&pool.lock);
    made = weft__fiber_made();
    /* Those made earlier, whose default may have been another one. */
    if (made > 0 && pool.stack_class != stack_class) {
        status = weft__stack_reserve(stack_class, made);
        if (status == 0)
            weft__stack_unreserve(pool.stack_class, made);
    }
    if (status == 0)
        pool.stack_class = stack_class;
    weft__lock_release(&pool.lock);
    return status;
}

uint32_t weft__fiber_made(void)
{
    /* acquire: pairs with pool_grow(); the records up to here are there. */
    return weft__load(&pool.made, ACQUIRE);
}

/* Make more records, each with a stack reserved and with room for a timer.
 * Under the lock. */
static int pool_grow(void)
{
    uint32_t made = weft__load(&pool.made, RELAXED); /* ours: the lock */
    uint32_t n = made / 8;

    if (n < GROW_MIN)
        n = GROW_MIN;
    if (n > GROW_MAX)
        n = GROW_MAX;
    if (n > pool.max - made)
        n = pool.max - made;
    while (n > 0 && weft__stack_reserve(pool.stack_class, n) != 0)
        n /= 2;
    if (n == 0)
        return -ENOMEM;
    if (weft__timer_reserve(made + n) != 0) {
        weft__stack_unreserve(pool.stack_class, n);
        return -ENOMEM;
    }

    /* The lowest index last, so that it leaves first. The store: who takes a
     * record reads it first, and a page that is read before it is written
     * faults twice. */
    for (uint32_t i = 0; i < n; i++) {
        weft__init(&weft__fiber_at(made + n - i)->life, 0);
        pool.list[pool.count++] = made + n - i;
    }
    weft__store(&pool.made, made + n, RELEASE);
    return 0;
}

/* As in stack.c: upwards, and no memcpy. */
static void records_copy(uint32_t *to, const uint32_t *from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        to[i] = from[i];
}

static __attribute__((noinline)) struct weft__fiber *
record_take_slow(struct weft__record_cache *cache)
{
    uint32_t index = 0;
    uint32_t n;

    weft__lock_acquire(&pool.lock);
    if (pool.count > 0 || pool_grow() == 0) {
        index = pool.list[--pool.count];
        if (cache) {
            n = pool.count < RECORD_BATCH ? pool.count : RECORD_BATCH;
            pool.count -= n;
            records_copy(cache->records, pool.list + pool.count, n);
            cache->count = n;
        }
    }
    weft__lock_release(&pool.lock);
    return index ? weft__fiber_at(index) : NULL;
}

struct weft__fiber *weft__record_take(struct weft__record_cache *cache)
{
    if (cache && cache->count > 0)
        return weft__fiber_at(cache->records[--cache->count]);
    return record_take_slow(cache);
}

static void pool_put(const uint32_t *records, uint32_t n)
{
    weft__lock_acquire(&pool.lock);
    records_copy(pool.list + pool.count, records, n);
    pool.count += n;
    weft__lock_release(&pool.lock);
}

static __attribute__((noinline)) void
record_give_slow(struct weft__record_cache *cache)
{
    /* The older half leaves: the newer one is warm. */
    pool_put(cache->records, RECORD_BATCH);
    cache->count -= RECORD_BATCH;
    records_copy(cache->records, cache->records + RECORD_BATCH,
                 cache->count);
}

void weft__record_give(struct weft__record_cache *cache,
                       struct weft__fiber *f)
{
    uint32_t index = weft__fiber_index(f);

    /* A record whose versions are used up is retired. relaxed: ours alone. */
    if (weft__life_version(weft__load(&f->life, RELAXED)) == UINT32_MAX)
        return;
    if (!cache) {
        pool_put(&index, 1);
        return;
    }
    if (cache->count == WEFT__RECORD_CACHE)
        record_give_slow(cache);
    cache->records[cache->count++] = index;
}

void weft__record_cache_flush(struct weft__record_cache *cache)
{
    if (cache->count > 0)
        pool_put(cache->records, cache->count);
    cache->count = 0;
}

struct weft__fiber *weft__fiber_find(weft_fiber_t id, uint64_t *life)
{
    uint32_t index = (uint32_t)id;
    struct weft__fiber *f;

    if (index == 0 || index > weft__fiber_made())
        return NULL;
    f = weft__fiber_at(index);
    /* acquire: pairs with the release of spawn and of the fiber's end. */
    *life = weft__load(&f->life, ACQUIRE);
    if (weft__life_version(*life) != id >> 32 ||
        !(*life & WEFT__LIFE_BORN))
        return NULL;
    return f;
}

/* The life word of a record that has been taken out of the world: the next
 * version, and a note if a hint is still out. */
static uint64_t life_after(uint64_t life)
{
    uint64_t next = (weft__life_version(life) + 1)
                    << WEFT__LIFE_VERSION_SHIFT;

    if (life & WEFT__LIFE_HINT)
        next |= WEFT__LIFE_HINT | WEFT__LIFE_CONSUMED;
    return next;
}

uint64_t weft__life_end(struct weft__fiber *f, bool *free)
{
    /* relaxed: the compare-and-swap checks it. */
    uint64_t life = weft__load(&f->life, RELAXED);
    /* relaxed: the fiber's own. */
    bool hint_ours =
        weft__load(&f->stack, RELAXED) & WEFT__FIBER_OWNS_HINT;
    uint64_t next;

    /* seq_cst: the joiner sees the result; and it is the full barrier before
     * the look at the joiner's generation. */
    do {
        uint64_t now = hint_ours ? life & ~WEFT__LIFE_HINT : life;

        next = now & WEFT__LIFE_DETACHED ? life_after(now)
                                         : now | WEFT__LIFE_ENDED;
    } while (!weft__cas(&f->life, &life, next, SEQ_CST, RELAXED));

    *free = life & WEFT__LIFE_DETACHED && !(next & WEFT__LIFE_HINT);
    return life;
}

bool weft__life_consume(struct weft__fiber *f)
{
    uint64_t life = weft__load(&f->life, RELAXED);
    uint64_t next;

    /* No hint out and ended: no one else writes the word any more. release:
     * our reads of the record come before its next life. */
    if (!(life & WEFT__LIFE_HINT)) {
        weft__store(&f->life, life_after(life), RELEASE);
        return true;
    }
    do {
        next = life_after(life);
    } while (!weft__cas(&f->life, &life, next, ACQ_REL, RELAXED));
    return !(next & WEFT__LIFE_HINT);
}

bool weft__life_consume_at(struct weft__fiber *f, uint64_t *life, bool *free)
{
    uint64_t next = life_after(*life);

    /* acq_rel: as the dropper of the hint. */
    if (!weft__cas(&f->life, life, next, ACQ_REL, ACQUIRE))
        return false;
    *free = !(next & WEFT__LIFE_HINT);
    return true;
}

bool weft__life_reap(struct weft__fiber *f)
{
    /* acq_rel: the second sees what the first did with the record. */
    return weft__fetch_or(&f->life, WEFT__LIFE_REAPED, ACQ_REL) &
           WEFT__LIFE_REAPED;
}

bool weft__life_reap_joined(struct weft__fiber *f)
{
    uint64_t life = weft__load(&f->life, RELAXED); /* the swap checks it */

    /* acq_rel: as above. */
    while (!weft__cas(&f->life, &life,
                      (life | WEFT__LIFE_REAPED) & ~WEFT__LIFE_JOINED, ACQ_REL,
                      RELAXED)) {
    }
    return life & WEFT__LIFE_REAPED;
}

bool weft__life_drop_hint(struct weft__fiber *f)
{
    /* acq_rel: of dropper and consumer the second gives the record back, and
     * sees what the first did. */
    uint64_t life = weft__load(&f->life, RELAXED);
    uint64_t next;

    do {
        next = life & ~(WEFT__LIFE_HINT | WEFT__LIFE_CONSUMED);
    } while (!weft__cas(&f->life, &life, next, ACQ_REL, RELAXED));
    return life & WEFT__LIFE_CONSUMED;
}

void weft__fiber_forked(void)
{
    pool.lock = (weft__lock_t)WEFT__LOCK_INIT(WEFT__RANK_POOL);
}
