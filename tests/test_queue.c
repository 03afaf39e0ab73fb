/*
 * Queues: the three orders, bounded and not, done and join, and what a close
 * leaves. Races are in stress_queue.c, the heap alone in test_heap.c.
 */
#include "tests/support_prim.h"

#include <sys/resource.h>

static weft_queue_t *q;

/* The smaller key leaves first. */
struct item {
    int key;
    int n;
};

static int by_key(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    return (x->key > y->key) - (x->key < y->key);
}

static weft_queue_t *new_queue(int order, size_t size, size_t capacity)
{
    weft_queue_t *made;

    must_code(weft_queue_create(&made, order, size, capacity,
                                order == WEFT_PRIORITY ? by_key : NULL), 0);
    return made;
}

/* --- Order ------------------------------------------------------------------ */

enum { MANY = 1000 };

/* Every element size, on a ring that has gone round, grown and gone round
 * again. */
WEFT_TEST(fifo_gives_the_oldest_first)
{
    static const size_t sizes[] = { 1, 3, 4, 8, 100, 64 << 10 };
    size_t size = sizes[_i];
    unsigned char *value = calloc(1, size + 1);
    int in = 0, out = 0;

    q = new_queue(WEFT_FIFO, size, 0);
    for (int n = 1; n < (size > 1000 ? 40 : 300); n++) {
        for (int i = 0; i < n % 7 + 1; i++) {
            memset(value, in++ & 0xff, size);
            ck_code(weft_queue_put_try(q, value), 0);
        }
        for (int i = 0; i < n % 5; i++) {
            ck_code(weft_queue_get_try(q, value), 0);
            ck_assert_uint_eq(value[0], (unsigned)out & 0xff);
            ck_assert_uint_eq(value[size - 1], (unsigned)out & 0xff);
            ck_assert_uint_eq(value[size], 0);
            out++;
        }
        ck_assert_uint_eq(weft_queue_len(q), (size_t)(in - out));
    }
    while (out < in) {
        must_code(weft_queue_get(q, value), 0);
        must(value[0] == (out & 0xff) && value[size - 1] == (out & 0xff));
        out++;
    }
    ck_code(weft_queue_get_try(q, value), -EAGAIN);
    free(value);
    weft_queue_unref(q);
}
END_TEST

WEFT_TEST(lifo_gives_the_newest_first)
{
    int stack[MANY], len = 0, next = 0, x;
    uint32_t state = 1;

    q = new_queue(WEFT_LIFO, sizeof(int), 0);
    for (int i = 0; i < 5 * MANY; i++) {
        if (len < MANY && (len == 0 || next_random(&state) % 5 > 1)) {
            stack[len++] = next;
            must_code(weft_queue_put(q, &next), 0);
            next++;
        } else {
            must_code(weft_queue_get(q, &x), 0);
            must(x == stack[--len]);
        }
    }
    while (len > 0) {
        must_code(weft_queue_get(q, &x), 0);
        must(x == stack[--len]);
    }
    weft_queue_unref(q);
}
END_TEST

WEFT_TEST(priority_gives_the_smallest_first_and_equals_as_they_came)
{
    struct item x = { 0 }, last = { -1, -1 };
    uint32_t state = 2;

    q = new_queue(WEFT_PRIORITY, sizeof(struct item), 0);
    for (int i = 0; i < MANY; i++) {
        x = (struct item){ (int)(next_random(&state) % 20), i };
        must_code(weft_queue_put(q, &x), 0);
    }
    for (int i = 0; i < MANY; i++) {
        must_code(weft_queue_get(q, &x), 0);
        must(x.key > last.key || (x.key == last.key && x.n > last.n));
        last = x;
    }
    weft_queue_unref(q);
}
END_TEST

/* --- Waiting ------------------------------------------------------------------ */

enum { WAITERS = 12, BOUND = 3 };

static void *get_one(void *arg)
{
    ck_code(weft_queue_get(q, arg), 0);
    return NULL;
}

static void *put_one(void *arg)
{
    ck_code(weft_queue_put(q, arg), 0);
    return NULL;
}

/* Whatever the order of values, those who wait are served first come. */
WEFT_TEST(getters_are_served_in_the_order_they_came)
{
    struct item got[WAITERS];
    weft_fiber_t f[WAITERS];

    q = new_queue(_i, sizeof(struct item), 0);
    for (int i = 0; i < WAITERS; i++) {
        f[i] = spawn(get_one, &got[i]);
        wait_until_parked(f[i]);
    }
    for (int i = 0; i < WAITERS; i++)
        ck_code(weft_queue_put(q, &(struct item){ WAITERS - i, i }), 0);
    for (int i = 0; i < WAITERS; i++) {
        join(f[i]);
        ck_assert_int_eq(got[i].n, i);
    }
    weft_queue_unref(q);
}
END_TEST

/* A place that gets free is the oldest putter's. */
WEFT_TEST(putters_are_served_in_the_order_they_came)
{
    struct item value[WAITERS], x;
    weft_fiber_t f[WAITERS];

    q = new_queue(_i, sizeof(struct item), BOUND);
    for (int i = 0; i < BOUND; i++)
        must_code(weft_queue_put(q, &(struct item){ 0, i }), 0);
    ck_code(weft_queue_put_try(q, &(struct item){ 0, 0 }), -EAGAIN);
    for (int i = 0; i < WAITERS; i++) {
        value[i] = (struct item){ 0, BOUND + i };
        f[i] = spawn(put_one, &value[i]);
        wait_until_parked(f[i]);
    }
    for (int i = 0; i < WAITERS; i++) {
        must_code(weft_queue_get_try(q, &x), 0);
        if (_i == WEFT_LIFO)
            ck_assert_int_eq(x.n, i == 0 ? BOUND - 1 : BOUND + i - 1);
        else
            ck_assert_int_eq(x.n, i);
        join(f[i]);
        if (i + 1 < WAITERS)
            ck_assert(is_state(f[i + 1], "parked"));
        ck_assert_uint_eq(weft_queue_len(q), BOUND);
    }
    weft_queue_unref(q);
}
END_TEST

/* A value of a putter that waited stands where its key says. */
WEFT_TEST(a_waiting_putters_value_takes_its_place_by_priority)
{
    struct item value = { 1, 7 }, x;
    weft_fiber_t f;

    q = new_queue(WEFT_PRIORITY, sizeof(struct item), 2);
    must_code(weft_queue_put(q, &(struct item){ 5, 0 }), 0);
    must_code(weft_queue_put(q, &(struct item){ 3, 1 }), 0);
    f = spawn(put_one, &value);
    wait_until_parked(f);
    must_code(weft_queue_get(q, &x), 0);
    ck_assert_int_eq(x.key, 3);
    join(f);
    must_code(weft_queue_get(q, &x), 0);
    ck_assert_int_eq(x.key, 1);
    must_code(weft_queue_get(q, &x), 0);
    ck_assert_int_eq(x.key, 5);
    weft_queue_unref(q);
}
END_TEST

/* --- Done and join -------------------------------------------------------------- */

static void *join_queue(void *arg)
{
    (void)arg;
    ck_code(weft_queue_join(q), 0);
    return NULL;
}

/* What was handed straight to a waiting getter counts as well. */
WEFT_TEST(join_waits_until_all_is_done)
{
    weft_fiber_t a, b, g;
    struct item x;

    q = new_queue(_i, sizeof(struct item), 0);
    ck_code(weft_queue_join(q), 0);
    ck_code(weft_queue_join_try(q), 0);
    g = spawn(get_one, &x);
    wait_until_parked(g);
    must_code(weft_queue_put(q, &x), 0);
    must_code(weft_queue_put(q, &x), 0);
    join(g);
    a = spawn(join_queue, NULL);
    b = spawn(join_queue, NULL);
    wait_until_parked(a);
    wait_until_parked(b);
    ck_code(weft_queue_join_try(q), -EAGAIN);
    ck_code(weft_queue_done(q), 0);
    /* One was got; the other stands in the queue, and cannot be done. */
    ck_code(weft_queue_done(q), -EINVAL);
    must_code(weft_queue_get(q, &x), 0);
    ck_assert_uint_eq(weft_queue_len(q), 0);
    ck_code(weft_queue_join_try(q), -EAGAIN);
    ck_assert(is_state(a, "parked"));
    ck_assert(is_state(b, "parked"));
    ck_code(weft_queue_done(q), 0);
    join(a);
    join(b);
    ck_code(weft_queue_done(q), -EINVAL);
    ck_code(weft_queue_join(q), 0);
    weft_queue_unref(q);
}
END_TEST

/* Neither is what a putter who waits has not put yet. */
WEFT_TEST(what_is_not_put_yet_is_not_joined)
{
    struct item x = { 0 };
    weft_fiber_t f;

    q = new_queue(WEFT_FIFO, sizeof(struct item), 1);
    must_code(weft_queue_put(q, &x), 0);
    f = spawn(put_one, &x);
    wait_until_parked(f);
    must_code(weft_queue_get(q, &x), 0);
    join(f);
    must_code(weft_queue_done(q), 0);
    ck_code(weft_queue_join_try(q), -EAGAIN);
    must_code(weft_queue_get(q, &x), 0);
    must_code(weft_queue_done(q), 0);
    ck_code(weft_queue_join_try(q), 0);
    weft_queue_unref(q);
}
END_TEST

/* --- Closing -------------------------------------------------------------------- */

static void *get_refused(void *arg)
{
    struct item x = { -1, -1 };

    (void)arg;
    ck_code(weft_queue_get(q, &x), -EPIPE);
    ck_assert_int_eq(x.n, -1);
    return NULL;
}

static void *put_refused(void *arg)
{
    ck_code(weft_queue_put(q, arg), -EPIPE);
    return NULL;
}

WEFT_TEST(close_turns_getters_away)
{
    weft_fiber_t f[WAITERS];

    q = new_queue(_i, sizeof(struct item), 0);
    for (int i = 0; i < WAITERS; i++) {
        f[i] = spawn(get_refused, NULL);
        wait_until_parked(f[i]);
    }
    ck_code(weft_queue_close(q), 0);
    for (int i = 0; i < WAITERS; i++)
        join(f[i]);
    weft_queue_unref(q);
}
END_TEST

/* What was put before can be got, and joined; nothing more comes. */
WEFT_TEST(close_turns_putters_away_and_leaves_what_was_put)
{
    weft_fiber_t f[WAITERS], j;
    struct item x = { 0 };

    q = new_queue(_i, sizeof(struct item), BOUND);
    for (int i = 0; i < BOUND; i++)
        must_code(weft_queue_put(q, &(struct item){ i, i }), 0);
    for (int i = 0; i < WAITERS; i++) {
        f[i] = spawn(put_refused, &x);
        wait_until_parked(f[i]);
    }
    j = spawn(join_queue, NULL);
    wait_until_parked(j);
    ck_code(weft_queue_close(q), 0);
    for (int i = 0; i < WAITERS; i++)
        join(f[i]);
    ck_assert(is_state(j, "parked"));
    ck_code(weft_queue_put(q, &x), -EPIPE);
    ck_code(weft_queue_put_try(q, &x), -EPIPE);
    for (int i = 0; i < BOUND; i++) {
        ck_code(weft_queue_get(q, &x), 0);
        ck_assert_int_eq(x.n, _i == WEFT_LIFO ? BOUND - 1 - i : i);
        ck_code(weft_queue_done(q), 0);
    }
    join(j);
    ck_code(weft_queue_get(q, &x), -EPIPE);
    ck_code(weft_queue_get_try(q, &x), -EPIPE);
    ck_code(weft_queue_close(q), -EPIPE);
    weft_queue_unref(q);
}
END_TEST

/* --- Cancelling, and asleep for ever ----------------------------------------------- */

static void *get_cancelled(void *arg)
{
    struct item x = { -1, -1 };

    (void)arg;
    ck_code(weft_queue_get(q, &x), -ECANCELED);
    ck_assert_int_eq(x.n, -1);
    ck_code(weft_queue_put(q, &x), -ECANCELED);
    ck_code(weft_queue_join(q), -ECANCELED);
    return NULL;
}

static void *put_cancelled(void *arg)
{
    ck_code(weft_queue_put(q, arg), -ECANCELED);
    ck_code(weft_queue_get(q, arg), -ECANCELED);
    return NULL;
}

static void *join_cancelled(void *arg)
{
    (void)arg;
    ck_code(weft_queue_join(q), -ECANCELED);
    return NULL;
}

static void cancel_parked(weft_fiber_t f)
{
    wait_until_parked(f);
    must_code(weft_cancel(f), 0);
    join(f);
}

WEFT_TEST(who_is_cancelled_takes_and_leaves_nothing)
{
    struct item x = { 0 };
    weft_fiber_t f;

    q = new_queue(_i, sizeof(struct item), 1);
    cancel_parked(spawn(get_cancelled, NULL));
    ck_code(weft_queue_put_try(q, &(struct item){ 1, 1 }), 0);
    cancel_parked(spawn(put_cancelled, &x));
    cancel_parked(spawn(join_cancelled, NULL));
    ck_assert_uint_eq(weft_queue_len(q), 1);
    f = spawn(put_one, &x);
    wait_until_parked(f);
    ck_code(weft_queue_get_try(q, &x), 0);
    ck_assert_int_eq(x.n, 1);
    join(f);
    weft_queue_unref(q);
}
END_TEST

WEFT_TEST(a_program_asleep_at_a_queue_is_told)
{
    struct item x = { 0 };

    q = new_queue(_i, sizeof(struct item), 1);
    ck_code(weft_queue_get(q, &x), -EDEADLK);
    ck_code(weft_queue_put(q, &x), 0);
    ck_code(weft_queue_put(q, &x), -EDEADLK);
    ck_code(weft_queue_join(q), -EDEADLK);
    ck_code(weft_queue_get(q, &x), 0);
    ck_code(weft_queue_get_try(q, &x), -EAGAIN);
    ck_code(weft_queue_done(q), 0);
    weft_queue_unref(q);
}
END_TEST

/* --- From outside ----------------------------------------------------------------- */

struct outside {
    weft_fiber_t f;
    weft__au32 ready;
    int what;
};

static void end_the_wait(void *arg)
{
    struct outside *o = arg;
    struct item x = { 0, 7 };

    ck_code(weft_queue_done(q), -EINVAL);
    weft__store(&o->ready, 1, RELEASE);
    wait_for(&o->ready, 2);
    wait_until_parked(o->f);
    wait_until_all_idle();
    if (o->what == 0)
        ck_code(weft_queue_put(q, &x), 0);
    else if (o->what == 1)
        ck_code(weft_queue_get(q, &x), 0);
    else
        ck_code(weft_queue_close(q), 0);
}

/* All of weft sleeps; a thread that has called before ends it. */
WEFT_TEST(a_foreign_thread_ends_the_wait)
{
    void *(*const waiting[])(void *) = { get_one, put_one, get_refused };
    struct outside o = { .what = _i };
    struct item x = { 0, 7 };
    struct foreign t;

    q = new_queue(WEFT_FIFO, sizeof(struct item), 1);
    if (_i == 1)
        must_code(weft_queue_put(q, &x), 0);
    foreign_start(&t, end_the_wait, &o);
    wait_for(&o.ready, 1);
    o.f = spawn(waiting[_i], &x);
    weft__store(&o.ready, 2, RELEASE);
    join(o.f);
    ck_assert_int_eq(x.n, 7);
    foreign_join(&t);
    weft_queue_unref(q);
}
END_TEST

/* --- No memory ------------------------------------------------------------------- */

/* The array cannot grow: the put says so, and all that was put is there. */
WEFT_TEST(a_queue_that_cannot_grow_says_so_and_keeps_all)
{
    enum { SIZE = 64 << 10 };
    struct rlimit all, little;
    char *value = calloc(1, SIZE);
    unsigned n = 0;
    int status;

    if (SANITIZED) {
        free(value);
        return; /* its own memory would be limited too */
    }
    q = new_queue(_i, SIZE, 0);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &all), 0);
    little = all;
    little.rlim_cur = (rlim_t)1 << 20; /* below what is mapped already */
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &little), 0);
    do {
        memcpy(value, &(struct item){ (int)n, (int)n }, sizeof(struct item));
        status = weft_queue_put(q, value);
        n += status == 0;
    } while (status == 0 && n < 100000);
    if (status == -ENOMEM)
        ck_code(weft_queue_put(q, value), -ENOMEM);
    ck_code(weft_queue_put_try(q, value), -ENOMEM);
    ck_code(weft_queue_put_until(q, value, WEFT_FOREVER), -ENOMEM);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &all), 0);
    ck_assert_uint_eq(weft_queue_len(q), n);
    for (unsigned i = 0; i < n; i++) {
        struct item x;

        must_code(weft_queue_get(q, value), 0);
        memcpy(&x, value, sizeof(x));
        must(x.n == (int)(_i == WEFT_LIFO ? n - 1 - i : i));
    }
    must_code(weft_queue_put(q, value), 0);
    free(value);
    weft_queue_unref(q);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue");
    TCase *tcase = tcase_create("queue");

    tcase_add_loop_test(tcase, fifo_gives_the_oldest_first, 0, 6);
    tcase_add_test(tcase, lifo_gives_the_newest_first);
    tcase_add_test(tcase,
                   priority_gives_the_smallest_first_and_equals_as_they_came);
    tcase_add_loop_test(tcase, getters_are_served_in_the_order_they_came, 0,
                        3);
    tcase_add_loop_test(tcase, putters_are_served_in_the_order_they_came, 0,
                        3);
    tcase_add_test(tcase,
                   a_waiting_putters_value_takes_its_place_by_priority);
    tcase_add_loop_test(tcase, join_waits_until_all_is_done, 0, 3);
    tcase_add_test(tcase, what_is_not_put_yet_is_not_joined);
    tcase_add_loop_test(tcase, close_turns_getters_away, 0, 3);
    tcase_add_loop_test(tcase,
                        close_turns_putters_away_and_leaves_what_was_put, 0,
                        3);
    tcase_add_loop_test(tcase, who_is_cancelled_takes_and_leaves_nothing, 0,
                        3);
    tcase_add_loop_test(tcase, a_program_asleep_at_a_queue_is_told, 0, 3);
    tcase_add_loop_test(tcase, a_foreign_thread_ends_the_wait, 0, 3);
    tcase_add_loop_test(tcase, a_queue_that_cannot_grow_says_so_and_keeps_all,
                        0, 3);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
