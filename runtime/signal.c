#include <weft/signal.h>

#include <errno.h>
#include <stdbool.h>

#include "netpoll/os_signal.h"
#include "netpoll/signal.h"
#include "sched/park.h"
#include "sched/sched.h"

static bool signal_set_good(const sigset_t *set)
{
    bool any = false;

    for (int sig = 1; sig < WEFT__SIG_END; sig++) {
        if (sigismember(set, sig) != 1)
            continue;
        if (!weft__sig_catchable(sig))
            return false;
        any = true;
    }
    return any;
}

int weft_signal_wait_until(const sigset_t *set, siginfo_t *info,
                           weft_time_t deadline)
{
    struct weft__fiber *self = weft__caller();

    if (!set || !signal_set_good(set))
        return -EINVAL;
    if (weft__canceled_on_entry(self, deadline))
        return -ECANCELED;
    return weft__signal_wait(self, set, info, deadline);
}

int weft_signal_wait(const sigset_t *set, siginfo_t *info)
{
    return weft_signal_wait_until(set, info, WEFT_FOREVER);
}
