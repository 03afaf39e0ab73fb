#include "tests/support_instant.h"

#include <stdlib.h>

enum { FARTHEST = 5000000 };

void *attempt_main(void *arg)
{
    struct attempt *a = arg;

    a->answer = a->call(a, a->deadline);
    a->then = weft_sleep_until(weft_now());
    return NULL;
}

void attempt_check(const struct attempt *a, int way)
{
    if (a->answer < 0)
        must_code(a->answer, way == CANCEL ? -ECANCELED : -ETIMEDOUT);
    /* One that came too late stays pending, if it came at all. */
    must(a->then == 0 || (a->then == -ECANCELED && way == CANCEL));
}

/* Asleep this worker looks at its poller; awake another may. */
static void linger(int64_t ns, uint32_t *seed)
{
    weft_time_t until = weft_after(ns);

    if (ns <= 0)
        return;
    if (next_random(seed) % 2 == 0)
        must_code(weft_sleep_until(until), 0);
    else
        while (weft_now() < until)
            weft_yield();
}

static int64_t near(int64_t patience, uint32_t *seed)
{
    int64_t width = 500 + llabs(patience) / 4;

    return patience + (int64_t)next_random(seed) % width - width / 2;
}

void meet(struct attempt *a, int way, int round,
          void (*help)(struct attempt *a), struct aim *aim)
{
    int64_t *patience = &aim->patience[round % BEGINNINGS];
    int64_t wait = near(*patience, &aim->seed), step;
    weft_fiber_t f;

    a->deadline = way == DEADLINE ? weft_after(wait) : WEFT_FOREVER;
    f = spawn_one(attempt_main, a);
    /* It has begun, or waits, or it is not known which. */
    if (round % BEGINNINGS == 0)
        weft_yield();
    else if (round % BEGINNINGS == 1)
        for (int i = 0; i < 100 && !is_state(f, "parked"); i++)
            weft_yield();
    if (way == CANCEL && wait < 0) {
        (void)weft_cancel(f);
        linger(-wait, &aim->seed);
        help(a);
    } else {
        help(a);
        if (way == CANCEL) {
            linger(wait, &aim->seed);
            (void)weft_cancel(f);
        }
    }
    join_one(f);
    attempt_check(a, way);

    step = 200 + llabs(*patience) / 8;
    if (a->answer >= 0)
        aim->won++;
    else
        aim->lost++;
    *patience += a->answer >= 0 ? -step : step;
    if (llabs(*patience) > FARTHEST)
        *patience = 0;
}

void aim_check(const struct aim *aim)
{
    if (aim->won + aim->lost >= 500) {
        ck_assert_uint_gt(aim->won, 0);
        ck_assert_uint_gt(aim->lost, 0);
    }
}
