#include <weft/runtime.h>

/* The build defines WEFT_VERSION, from the one place that names it. */
const char *weft_version(void)
{
    return WEFT_VERSION;
}
