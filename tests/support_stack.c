#include "tests/support_stack.h"

#include <string.h>

#include "tests/support.h"

void take_and_give(weft__stack_t *s, size_t n)
{
    ck_assert_int_eq(weft__stack_reserve(0, n), 0);
    for (size_t i = 0; i < n; i++) {
        s[i] = weft__stack_take(NULL, 0, 0);
        memset(weft__stack_top(s[i]) - 64, 1, 64);
    }
    for (size_t i = 0; i < n; i++)
        weft__stack_give(NULL, s[i], 0);
    weft__stack_unreserve(0, n);
}
