#include "sched/runq.h"

#include <errno.h>

#include "sched/os.h"

enum { STEAL_MAX = 1024 };

int weft__runq_open(struct weft__runq *q, uint32_t size)
{
    q->ring = weft__os_map(size * sizeof(*q->ring));
    if (!q->ring)
        return -ENOMEM;
    q->mask = size - 1;
    weft__init(&q->head, 0);
    weft__init(&q->tail, 0);
    return 0;
}

void weft__runq_close(struct weft__runq *q)
{
    if (q->ring)
        weft__os_unmap(q->ring, (q->mask + 1) * sizeof(*q->ring));
    q->ring = NULL;
}

uint32_t weft__runq_pop_n(struct weft__runq *q, uint32_t *entries,
                          uint32_t n)
{
    uint64_t tail = weft__load(&q->tail, RELAXED); /* the owner's own */
    uint64_t head = weft__load(&q->head, RELAXED); /* the swap checks it */
    uint64_t take;

    do {
        take = tail - head < n ? tail - head : n;
        for (uint64_t i = 0; i < take; i++)
            entries[i] =
                weft__load(&q->ring[(head + i) & q->mask], RELAXED);
        if (take == 0)
            return 0;
        /* release: as in weft__runq_pop(). */
    } while (!weft__cas(&q->head, &head, head + take, ACQ_REL, RELAXED));
    return (uint32_t)take;
}

uint32_t weft__runq_steal(struct weft__runq *to, struct weft__runq *from,
                          uint32_t *taken)
{
    /* acquire: pairs with the head's moves; then the tail is not older. */
    uint64_t head = weft__load(&from->head, ACQUIRE);
    /* acquire: pairs with the push's release; the entries are there. */
    uint64_t tail = weft__load(&from->tail, ACQUIRE);
    uint64_t mine = weft__load(&to->tail, RELAXED); /* the owner's own */
    uint64_t n;
    uint32_t first;

    *taken = 0;
    /* The two were not read at one instant; more than the ring holds means
     * that the head had moved in between. */
    if (tail <= head || tail - head > from->mask + 1)
        return 0;
    n = (tail - head + 1) / 2;
    if (n > STEAL_MAX)
        n = STEAL_MAX;
    if (n > to->mask + 1)
        n = to->mask + 1;

    /* One is answered; the others go to our own ring, unpublished as yet.
     * The last one is answered: it is the newest. relaxed: acquired above. */
    for (uint64_t i = 0; i + 1 < n; i++)
        weft__store(&to->ring[(mine + i) & to->mask],
                    weft__load(&from->ring[(head + i) & from->mask], RELAXED),
                    RELAXED);
    first = weft__load(&from->ring[(head + n - 1) & from->mask], RELAXED);

    /* release: our reads come before the owner's overwriting. */
    if (!weft__cas(&from->head, &head, head + n, ACQ_REL, RELAXED))
        return 0;
    /* release: as a push. */
    weft__store(&to->tail, mine + n - 1, RELEASE);
    *taken = (uint32_t)n;
    return first;
}
