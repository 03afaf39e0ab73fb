/* The smallest complete program: start the runtime, start a fiber, take what
 * it returns. */
#include <stdio.h>
#include <weft.h>

static void *greet(void *name)
{
    printf("Hello from a fiber, %s!\n", (const char *)name);
    return name;
}

static int entry(void *arg)
{
    weft_fiber_t f;

    if (weft_spawn(&f, greet, arg) != 0)
        return 1;
    return weft_join(f, NULL) == 0 ? 0 : 1;
}

int main(void)
{
    int result = 1;

    return weft_run(NULL, entry, "world", &result) == 0 ? result : 1;
}
