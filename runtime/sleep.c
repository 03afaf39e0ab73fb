/*
 * Sleeping: a wait for nothing but its deadline.
 */
#include <weft/fiber.h>

#include "sched/os.h"
#include "sched/park.h"
#include "sched/sched.h"

int weft_sleep_until(weft_time_t when)
{
    struct weft__fiber *self = weft__caller();
    enum weft__cause cause;

    if (!self) {
        weft__os_sleep_until(when);
        return 0;
    }
    if (weft__canceled(self))
        return weft__cause_code(WEFT__CAUSE_CANCEL);
    if (when <= weft__os_now()) {
        weft__yield(self);
        return 0;
    }
    weft__park_open_until(self, 0, "sleep", NULL, when);
    cause = weft__park(self);
    return cause == WEFT__CAUSE_TIMEOUT ? 0 : weft__cause_code(cause);
}

int weft_sleep(weft_time_t duration)
{
    return weft_sleep_until(weft_after(duration));
}
