/*
 * Queues under many putters and getters, of each order, bounded and not; some
 * of them are cancelled, or the queue is closed, at any moment. What must
 * hold: each value whose put answered 0 is got once, each other never; a
 * queue that hands out in order does; and a join returns when all that was
 * got is done, not before.
 */
#include "tests/support_prim.h"

enum { PUTTERS = 4, GETTERS = 4, EACH = 40, VALUES = PUTTERS * EACH };

static const size_t caps[] = { 0, 1, 3 };
enum { CAPS = 3, ORDERS = 3 };

enum { CANCEL = 1, CLOSE = 2, MODES = 4 };

struct value {
    int putter;
    int n;
    int check;
};

static weft_queue_t *q;
static bool put[VALUES];
static weft__au8 got[VALUES];
static weft__au32 seed, done;
static int order;

static int by_n(const void *a, const void *b)
{
    const struct value *x = a, *y = b;

    return (x->n / 4 > y->n / 4) - (x->n / 4 < y->n / 4);
}

static void *putter(void *arg)
{
    uint32_t state = weft__fetch_add(&seed, 1, RELAXED);
    int me = (int)(long)arg;

    for (int n = 0; n < EACH; n++) {
        struct value v = { me, n, ~(me * EACH + n) };
        int status;

        do {
            bool try = next_random(&state) % 4 == 0;

            status = try ? weft_queue_put_try(q, &v) : weft_queue_put(q, &v);
            must(status != -EAGAIN || try);
            if (status == -EAGAIN)
                weft_yield();
        } while (status == -EAGAIN);
        if (status != 0) {
            must(status == -ECANCELED || status == -EPIPE);
            return NULL;
        }
        put[me * EACH + n] = true;
        if (next_random(&state) % 8 == 0)
            weft_yield();
    }
    return NULL;
}

/* Of each putter rising numbers, where values leave as they came. With
 * priorities too: a putter's later value never goes before its earlier. */
static void take(const struct value *v, int last[PUTTERS])
{
    int id = v->putter * EACH + v->n;

    must(v->putter >= 0 && v->putter < PUTTERS && v->check == ~id);
    must(order == WEFT_LIFO || v->n > last[v->putter]);
    last[v->putter] = v->n;
    must(weft__fetch_add(&got[id], 1, RELAXED) == 0);
    (void)weft__fetch_add(&done, 1, RELEASE);
    must_code(weft_queue_done(q), 0);
}

static void *getter(void *arg)
{
    uint32_t state = weft__fetch_add(&seed, 1, RELAXED);
    int last[PUTTERS] = { -1, -1, -1, -1 };

    (void)arg;
    for (;;) {
        struct value v = { -1, -1, 0 };
        bool try = next_random(&state) % 4 == 0;
        int status = try ? weft_queue_get_try(q, &v) : weft_queue_get(q, &v);

        if (status == 0) {
            take(&v, last);
            continue;
        }
        must(v.putter == -1 && v.n == -1);
        if (status != -EAGAIN) {
            must(status == -ECANCELED || status == -EPIPE);
            return NULL;
        }
        must(try);
        weft_yield();
    }
}

static void pause_a_little(uint32_t *state)
{
    for (uint32_t n = next_random(state) % 60; n > 0; n--)
        weft_yield();
}

static uint32_t were_put(void)
{
    uint32_t n = 0;

    for (int i = 0; i < VALUES; i++)
        n += put[i];
    return n;
}

static void *join_all(void *arg)
{
    int status = weft_queue_join(q);

    must(status == 0 || status == -ECANCELED);
    return arg;
}

static void one_round(uint32_t *state, size_t cap, int mode)
{
    weft_fiber_t p[PUTTERS], g[GETTERS], j;
    struct value v;

    memset(put, 0, sizeof(put));
    for (int i = 0; i < VALUES; i++)
        weft__store(&got[i], 0, RELAXED);
    weft__store(&done, 0, RELAXED);
    must_code(weft_queue_create(&q, order, sizeof(struct value), cap,
                                order == WEFT_PRIORITY ? by_n : NULL), 0);
    for (long i = 0; i < PUTTERS; i++)
        p[i] = spawn(putter, (void *)i);
    for (long i = 0; i < GETTERS; i++)
        g[i] = spawn(getter, (void *)i);
    /* It may return in between, whenever nothing is unfinished. */
    j = spawn(join_all, NULL);

    /* At most three getters go, so that the putters come to an end. */
    if (mode & CANCEL) {
        for (int i = 0; i < 3; i++) {
            pause_a_little(state);
            weft_cancel(p[next_random(state) % PUTTERS]);
            weft_cancel(g[i]);
        }
        weft_cancel(j);
    }
    if (mode & CLOSE) {
        pause_a_little(state);
        must_code(weft_queue_close(q), 0);
    }
    for (int i = 0; i < PUTTERS; i++)
        join(p[i]);
    /* All that was put is done on return; a getter is left to do it. */
    must_code(weft_queue_join(q), 0);
    must(weft__load(&done, ACQUIRE) == were_put());
    join(j);
    if (!(mode & CLOSE))
        must_code(weft_queue_close(q), 0);
    for (int i = 0; i < GETTERS; i++)
        join(g[i]);
    must_code(weft_queue_get(q, &v), -EPIPE);
    for (int i = 0; i < VALUES; i++) {
        must(weft__load(&got[i], RELAXED) == put[i]);
        must(put[i] || mode != 0);
    }
    weft_queue_unref(q);
}

WEFT_TEST(each_value_put_is_got_once)
{
    weft_time_t until = weft_now() + WEFT_MS(100);
    uint32_t state = (uint32_t)_i + 1;

    order = _i % ORDERS;
    for (int i = 0; i < 2000 && weft_now() < until; i++)
        one_round(&state, caps[_i / ORDERS % CAPS], _i / ORDERS / CAPS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stress_queue");
    TCase *tcase = tcase_create("stress_queue");

    tcase_add_loop_test(tcase, each_value_put_is_got_once, 0,
                        ORDERS * CAPS * MODES);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
