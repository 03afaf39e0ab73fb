#include <weft/time.h>

#include "sched/os.h"

weft_time_t weft_now(void)
{
    return weft__os_now();
}

weft_time_t weft_after(weft_time_t duration)
{
    weft_time_t now = weft__os_now();

    /* now is never negative, so only the far end can be passed. */
    if (duration > WEFT_FOREVER - now)
        return WEFT_FOREVER;
    return now + duration;
}
