#include <weft/blocking.h>

#include <errno.h>

#include "netpoll/offload.h"
#include "sched/park.h"
#include "sched/sched.h"

int weft_blocking(void *(*fn)(void *), void *arg, void **result)
{
    struct weft__fiber *self = weft__fiber_self();

    if (!fn)
        return -EINVAL;
    if (!self)
        return -EPERM;
    if (weft__canceled(self))
        return -ECANCELED;
    return weft__lane_run(self, fn, arg, result);
}
