#include <weft/net.h>

#include <errno.h>

#include "netpoll/resolve.h"
#include "sched/park.h"
#include "sched/sched.h"

int weft_getaddrinfo_until(const char *node, const char *service,
                           const struct addrinfo *hints,
                           struct addrinfo **res, weft_time_t deadline)
{
    struct weft__fiber *self = weft__caller();

    if (!res || (!node && !service))
        return -EINVAL;
    if (weft__canceled_on_entry(self, deadline))
        return -ECANCELED;
    return weft__resolve(self, node, service, hints, res, deadline);
}

int weft_getaddrinfo(const char *node, const char *service,
                     const struct addrinfo *hints, struct addrinfo **res)
{
    return weft_getaddrinfo_until(node, service, hints, res, WEFT_FOREVER);
}
