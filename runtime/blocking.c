#include <weft/blocking.h>

#include <errno.h>

#include "netpoll/offload.h"
#include "sched/park.h"
#include "sched/sched.h"

int weft_blocking_until(void *(*fn)(void *), void *arg, void **result,
                        weft_time_t deadline)
{
    struct weft__fiber *self = weft__fiber_self();

    if (!fn)
        return -EINVAL;
    if (!self)
        return -EPERM;
    if (weft__canceled_on_entry(self, deadline))
        return -ECANCELED;
    /* Nothing is at once here: fn runs while its caller waits. */
    return weft__lane_run(&weft__lanes[WEFT__LANE_USER], self, fn, arg,
                          result, deadline);
}

int weft_blocking(void *(*fn)(void *), void *arg, void **result)
{
    return weft_blocking_until(fn, arg, result, WEFT_FOREVER);
}
