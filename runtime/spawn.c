/*
 * Spawning, joining, yielding: the public face of fibers.
 */
#include <errno.h>
#include <string.h>
#include <weft/fiber.h>

#include "sched/join.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/sched.h"
#include "sched/worker.h"

int weft_spawn(weft_fiber_t *f, void *(*entry)(void *), void *arg)
{
    return f ? weft__sched_spawn(f, NULL, entry, arg,
                                 __builtin_return_address(0), 0)
             : -EINVAL;
}

int weft_spawn_with(weft_fiber_t *f, const weft_attr_t *attr,
                    void *(*entry)(void *), void *arg)
{
    return f ? weft__sched_spawn(f, attr, entry, arg,
                                 __builtin_return_address(0), 0)
             : -EINVAL;
}

int weft_go(void *(*entry)(void *), void *arg)
{
    return weft__sched_spawn(NULL, NULL, entry, arg,
                             __builtin_return_address(0),
                             WEFT__LIFE_DETACHED);
}

static inline __attribute__((always_inline)) int
join_until(weft_fiber_t id, void **result, weft_time_t deadline)
{
    struct weft__fiber *self = weft__caller();
    uint64_t life;
    struct weft__fiber *child = weft__fiber_find(id, &life);
    int status;

    if (weft__canceled_on_entry(self, deadline))
        return -ECANCELED;
    if (!child)
        return -ESRCH;
    if (child == self)
        return -EDEADLK;
    if (self && deadline == WEFT_FOREVER)
        return weft__join(self, child, life, result);
    if (self && deadline != WEFT_NOW)
        return weft__join_until(self, child, life, result, deadline);
    status = weft__join_try(child, life, result);
    return status == -EAGAIN ? weft__wait_refused(self, deadline) : status;
}

int weft_join_until(weft_fiber_t id, void **result, weft_time_t deadline)
{
    return join_until(id, result, deadline);
}

int weft_join(weft_fiber_t id, void **result)
{
    return join_until(id, result, WEFT_FOREVER);
}

int weft_join_try(weft_fiber_t id, void **result)
{
    return join_until(id, result, WEFT_NOW);
}

int weft_detach(weft_fiber_t id)
{
    uint64_t life;
    struct weft__fiber *child = weft__fiber_find(id, &life);

    weft__caller();
    return child ? weft__detach(child, life) : -ESRCH;
}

weft_fiber_t weft_self(void)
{
    struct weft__fiber *self = weft__fiber_self();

    return self ? weft__fiber_id(self) : 0;
}

void weft_yield(void)
{
    struct weft__fiber *self = weft__fiber_self();

    if (self)
        weft__yield(self);
    else
        weft__os_thread_yield();
}

int weft_checkpoint(void)
{
    struct weft__fiber *self = weft__fiber_self();

    if (!self)
        return 0;
    /* relaxed: a wish; it stands until the next look. */
    if (weft__load(&self->worker->preempt, RELAXED))
        weft__yield(self);
    return weft__canceled(self) ? -ECANCELED : 0;
}

size_t weft_stack_left(void)
{
    struct weft__fiber *self = weft__fiber_self();

    if (!self)
        return SIZE_MAX;
    return (size_t)((char *)__builtin_frame_address(0) -
                    weft__stack_limit(weft__load(&self->stack, RELAXED)));
}

int weft_name(const char *name)
{
    struct weft__fiber *self = weft__fiber_self();
    struct weft__fiber_cold *cold;
    uintptr_t stack;

    if (!name)
        return -EINVAL;
    if (!self)
        return -EPERM;
    cold = weft__fiber_cold(self);
    strncpy(cold->name, name, WEFT_NAME_MAX - 1);
    cold->name[WEFT_NAME_MAX - 1] = '\0';
    stack = weft__load(&self->stack, RELAXED); /* its own */
    weft__store(&self->stack, stack | WEFT__FIBER_NAMED, RELAXED);
    return 0;
}
