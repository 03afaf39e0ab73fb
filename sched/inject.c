#include "sched/inject.h"

#include <errno.h>
#include <stddef.h>

#include "sched/fatal.h"
#include "sched/fiber.h"
#include "sched/lock.h"
#include "sched/os.h"
#include "sched/runq.h"

/* Every so manyth one is new while there are both. */
enum { FRESH_EACH = 4 };

struct queue {
    uint32_t *ring;
    uint64_t mask;
    uint64_t head;
    uint64_t tail;
};

static struct {
    weft__lock_t lock;
    weft__au32 len; /* of both; written under the lock, read by all */
    uint32_t taken;
    struct queue started;
    struct queue fresh;
} inject = { .lock = WEFT__LOCK_INIT(WEFT__RANK_LEAF) };

static int queue_setup(struct queue *q, size_t size)
{
    if (q->ring)
        return 0;
    while (!(q->ring = weft__os_map(size * sizeof(*q->ring)))) {
        size /= 2;
        if (size < 8192)
            return -ENOMEM;
    }
    q->mask = size - 1;
    return 0;
}

int weft__inject_setup(void)
{
    size_t fibers = (size_t)WEFT__FIBER_MAX + 1;
    int status = queue_setup(&inject.started, fibers);

    /* A record has at most one right out, and a hint of its own and a dead one
     * of its last life. */
    return status != 0 ? status : queue_setup(&inject.fresh, fibers * 2);
}

static uint64_t queue_len(const struct queue *q)
{
    return q->tail - q->head;
}

static void queue_push(struct queue *q, uint32_t entry)
{
    WEFT__CHECK(queue_len(q) <= q->mask,
                "the injection queue holds more than there are fibers");
    q->ring[q->tail++ & q->mask] = entry;
}

/* The lock is held. relaxed: a hint; who acts on it takes the lock. */
static void tell_len(void)
{
    weft__store(&inject.len,
                (uint32_t)(queue_len(&inject.started) +
                           queue_len(&inject.fresh)),
                RELAXED);
}

void weft__inject_push(const uint32_t *entries, uint32_t n)
{
    weft__lock_acquire(&inject.lock);
    for (uint32_t i = 0; i < n; i++)
        queue_push(entries[i] & WEFT__ENTRY_HINT ? &inject.fresh
                                                 : &inject.started,
                   entries[i]);
    tell_len();
    weft__lock_release(&inject.lock);
}

/* Whose turn it is; NULL: nobody's. */
static struct queue *next_queue(void)
{
    bool started = queue_len(&inject.started) > 0;
    bool fresh = queue_len(&inject.fresh) > 0;

    if (started && fresh)
        return ++inject.taken % FRESH_EACH ? &inject.started : &inject.fresh;
    return started ? &inject.started : fresh ? &inject.fresh : NULL;
}

uint32_t weft__inject_pop(uint32_t *entries, uint32_t n)
{
    uint32_t taken = 0;
    struct queue *q;

    if (weft__inject_len() == 0)
        return 0;
    weft__lock_acquire(&inject.lock);
    while (taken < n && (q = next_queue()))
        entries[taken++] = q->ring[q->head++ & q->mask];
    tell_len();
    weft__lock_release(&inject.lock);
    return taken;
}

uint32_t weft__inject_len(void)
{
    /* relaxed: pushers fence after it, and sleepers before they read it. */
    return weft__load(&inject.len, RELAXED);
}

void weft__inject_forked(void)
{
    inject.lock = (weft__lock_t)WEFT__LOCK_INIT(WEFT__RANK_LEAF);
}
