#include "tests/support.h"

#include "sched/park.h"
#include "sched/sched.h"
#include "tests/codelog.h"

struct body {
    void (*fn)(int);
    int i;
};

static int body_entry(void *arg)
{
    struct body *body = arg;

    body->fn(body->i);
    return 0;
}

int run_with(const weft_config_t *config, void (*fn)(int), int i)
{
    struct body body = { fn, i };

    return weft_run(config, body_entry, &body, NULL);
}

void run_body(void (*fn)(int), int i)
{
    int status = run_with(NULL, fn, i);

    ck_assert_msg(status == 0, "weft_run is %s", weft_err_name(status));
}

void log_code(const char *call, long long code)
{
    codelog(call, code);
}

weft_fiber_t spawn(void *(*entry)(void *), void *arg)
{
    weft_fiber_t f;
    int status = weft_spawn(&f, entry, arg);

    ck_assert_msg(status == 0, "weft_spawn is %s", weft_err_name(status));
    return f;
}

void *join(weft_fiber_t f)
{
    void *result = NULL;
    int status = weft_join(f, &result);

    ck_assert_msg(status == 0, "weft_join is %s", weft_err_name(status));
    return result;
}

weft_chan_t *new_chan(size_t elem_size, size_t capacity)
{
    weft_chan_t *ch;
    int status = weft_chan_create(&ch, elem_size, capacity);

    ck_assert_msg(status == 0, "weft_chan_create is %s",
                  weft_err_name(status));
    return ch;
}

bool is_state(weft_fiber_t id, const char *state)
{
    uint64_t life;
    struct weft__fiber *f = weft__fiber_find(id, &life);

    if (!f || strcmp(weft__fiber_state(f), state) != 0)
        return false;
    /* acquire: what the fiber wrote before it came to this state. */
    (void)weft__load(&f->wake, ACQUIRE);
    return true;
}

void wait_until_parked(weft_fiber_t f)
{
    while (!is_state(f, "parked"))
        weft_yield();
}

void wait_until_ended(weft_fiber_t id)
{
    uint64_t life;

    while (weft__fiber_find(id, &life) && !(life & WEFT__LIFE_ENDED))
        weft_yield();
}

static void count_parked(struct weft__fiber *f, uint64_t life, void *arg)
{
    unsigned *n = arg;

    (void)life;
    if (!strcmp(weft__fiber_state(f), "parked"))
        (*n)++;
}

void wait_until_n_parked(unsigned n)
{
    for (;;) {
        unsigned parked = 0;

        weft__sched_each(count_parked, &parked);
        if (parked >= n)
            return;
        weft_yield();
    }
}

unsigned workers(void)
{
    return weft_workers();
}

int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
