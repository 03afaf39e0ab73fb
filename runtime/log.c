#include <weft/runtime.h>

#include "sched/fatal.h"

void weft_set_log(void (*fn)(int level, const char *line, void *arg), void *arg)
{
    weft__log_to(fn, arg);
}
