/*
 * Cancelling, as programs see it. The protocol is in sched/park.h.
 */
#include <errno.h>
#include <weft/fiber.h>

#include "sched/park.h"
#include "sched/sched.h"

int weft_cancel(weft_fiber_t id)
{
    uint64_t life;
    struct weft__fiber *f = weft__fiber_find(id, &life);

    /* A call from a thread that is no fiber: it may come again, and wake
     * someone whom weft takes for lost. */
    if (!weft__fiber_self())
        weft__foreigner_note();
    if (!f)
        return -ESRCH;
    /* One that has ended and waits to be joined needs no cancelling; if it is
     * gone by now, the id is stale. */
    if (weft__cancel(f, life) || weft__fiber_find(id, &life))
        return 0;
    return -ESRCH;
}

int weft_canceled(void)
{
    struct weft__fiber *self = weft__fiber_self();

    return self && weft__cancel_pending(self);
}

void weft_cancel_clear(void)
{
    struct weft__fiber *self = weft__fiber_self();

    if (self)
        weft__cancel_clear(self);
}

void weft_shield_begin(void)
{
    struct weft__fiber *self = weft__fiber_self();

    if (self)
        weft__shield_begin(self);
}

void weft_shield_end(void)
{
    struct weft__fiber *self = weft__fiber_self();

    if (self)
        weft__shield_end(self);
}
