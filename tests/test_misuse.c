/*
 * Misuse of the primitives is answered by its documented code, from a fiber,
 * from a thread that is not weft's, and from a job of the blocking lane; and
 * nothing is changed by it.
 */
#include "tests/support_prim.h"

#include <limits.h>
#include <stdint.h>

static weft_mutex_t mutex;
static weft_waitgroup_t group;
static weft_chan_t *ch;
static weft_queue_t *q;

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, 1);
}

/* --- The three contexts --------------------------------------------------------- */

enum { FIBER, THREAD, LANE, CONTEXTS };

static void call_in(int context, void (*fn)(void *), void *arg)
{
    if (context == THREAD)
        on_thread(fn, arg);
    else if (context == LANE)
        on_lane(fn, arg);
    else
        fn(arg);
}

/* --- No object --------------------------------------------------------------------- */

static void null_sync(void *arg)
{
    (void)arg;
    ck_code(weft_mutex_lock(NULL), -EINVAL);
    ck_code(weft_mutex_lock_try(NULL), -EINVAL);
    ck_code(weft_mutex_unlock(NULL), -EINVAL);
    ck_code(weft_waitgroup_add(NULL, 1), -EINVAL);
    ck_code(weft_waitgroup_done(NULL), -EINVAL);
    ck_code(weft_waitgroup_wait(NULL), -EINVAL);
    ck_code(weft_waitgroup_wait_try(NULL), -EINVAL);
    ck_code(weft_blocking(NULL, NULL, NULL), -EINVAL);
}

static void null_chan(void *arg)
{
    int x = 0;

    (void)arg;
    ck_code(weft_chan_create(NULL, 4, 4), -EINVAL);
    ck_code(weft_chan_send(NULL, &x), -EINVAL);
    ck_code(weft_chan_send_try(NULL, &x), -EINVAL);
    ck_code(weft_chan_recv(NULL, &x), -EINVAL);
    ck_code(weft_chan_recv_try(NULL, &x), -EINVAL);
    ck_code(weft_chan_send_n(NULL, &x, 1), -EINVAL);
    ck_code(weft_chan_send_n_try(NULL, &x, 1), -EINVAL);
    ck_code(weft_chan_recv_n(NULL, &x, 1), -EINVAL);
    ck_code(weft_chan_recv_n_try(NULL, &x, 1), -EINVAL);
    ck_code(weft_chan_close(NULL), -EINVAL);
    ck_assert_uint_eq(weft_chan_len(NULL), 0);
    ck_assert_uint_eq(weft_chan_cap(NULL), 0);
    ck_assert_ptr_null(weft_chan_ref(NULL));
    weft_chan_unref(NULL);
}

static void null_queue(void *arg)
{
    int x = 0;

    (void)arg;
    ck_code(weft_queue_create(NULL, WEFT_FIFO, 4, 4, NULL), -EINVAL);
    ck_code(weft_queue_put(NULL, &x), -EINVAL);
    ck_code(weft_queue_put_try(NULL, &x), -EINVAL);
    ck_code(weft_queue_get(NULL, &x), -EINVAL);
    ck_code(weft_queue_get_try(NULL, &x), -EINVAL);
    ck_code(weft_queue_done(NULL), -EINVAL);
    ck_code(weft_queue_join(NULL), -EINVAL);
    ck_code(weft_queue_join_try(NULL), -EINVAL);
    ck_code(weft_queue_close(NULL), -EINVAL);
    ck_assert_uint_eq(weft_queue_len(NULL), 0);
    ck_assert_ptr_null(weft_queue_ref(NULL));
    weft_queue_unref(NULL);
}

WEFT_TEST(null_is_refused_everywhere)
{
    call_in(_i, null_sync, NULL);
    call_in(_i, null_chan, NULL);
    call_in(_i, null_queue, NULL);
}
END_TEST

/* --- No value ------------------------------------------------------------------------ */

static void no_value(void *arg)
{
    size_t huge = (size_t)SSIZE_MAX + 1;
    int x;

    (void)arg;
    ck_code(weft_chan_send(ch, NULL), -EINVAL);
    ck_code(weft_chan_send_try(ch, NULL), -EINVAL);
    ck_code(weft_chan_recv(ch, NULL), -EINVAL);
    ck_code(weft_chan_recv_try(ch, NULL), -EINVAL);
    ck_code(weft_chan_send_n(ch, NULL, 1), -EINVAL);
    ck_code(weft_chan_send_n_try(ch, NULL, 1), -EINVAL);
    ck_code(weft_chan_recv_n(ch, NULL, 1), -EINVAL);
    ck_code(weft_chan_recv_n_try(ch, NULL, 1), -EINVAL);
    ck_code(weft_chan_send_n(ch, &x, huge), -EINVAL);
    ck_code(weft_chan_send_n_try(ch, &x, huge), -EINVAL);
    ck_code(weft_chan_recv_n(ch, &x, huge), -EINVAL);
    ck_code(weft_chan_recv_n_try(ch, &x, huge), -EINVAL);
    ck_assert_uint_eq(weft_chan_len(ch), 1);

    ck_code(weft_queue_put(q, NULL), -EINVAL);
    ck_code(weft_queue_put_try(q, NULL), -EINVAL);
    ck_code(weft_queue_get(q, NULL), -EINVAL);
    ck_code(weft_queue_get_try(q, NULL), -EINVAL);
    ck_assert_uint_eq(weft_queue_len(q), 1);
}

/* One value is there and one more would fit: only the pointer is wrong. */
WEFT_TEST(a_value_that_is_null_is_refused)
{
    int x = 1;

    ch = new_chan(sizeof(int), 2);
    must_code(weft_chan_send(ch, &x), 0);
    must_code(weft_queue_create(&q, WEFT_FIFO, sizeof(int), 2, NULL), 0);
    must_code(weft_queue_put(q, &x), 0);
    call_in(_i, no_value, NULL);
    weft_chan_unref(ch);
    weft_queue_unref(q);
}
END_TEST

/* --- Sizes ------------------------------------------------------------------------------ */

enum { ELEM_MAX = 64 << 10 };

/* Nothing is made, and the caller's pointer is left alone. */
static void bad_sizes(void *arg)
{
    weft_chan_t *no_chan = (weft_chan_t *)arg;
    weft_queue_t *no_queue = (weft_queue_t *)arg;

    ck_code(weft_chan_create(&no_chan, ELEM_MAX + 1, 0), -EINVAL);
    ck_code(weft_chan_create(&no_chan, SIZE_MAX, 1), -EINVAL);
    ck_code(weft_chan_create(&no_chan, 2, SIZE_MAX / 2 + 1), -EINVAL);
    ck_code(weft_chan_create(&no_chan, ELEM_MAX, SIZE_MAX), -EINVAL);
    ck_code(weft_chan_create(&no_chan, ELEM_MAX, SIZE_MAX / ELEM_MAX),
            -ENOMEM);
    ck_assert_ptr_eq(no_chan, arg);

    ck_code(weft_queue_create(&no_queue, WEFT_FIFO, 0, 1, NULL), -EINVAL);
    ck_code(weft_queue_create(&no_queue, WEFT_FIFO, ELEM_MAX + 1, 1, NULL),
            -EINVAL);
    ck_code(weft_queue_create(&no_queue, WEFT_LIFO, SIZE_MAX, 0, NULL),
            -EINVAL);
    ck_code(weft_queue_create(&no_queue, WEFT_LIFO, 2, SIZE_MAX / 2 + 1, NULL),
            -EINVAL);
    ck_code(weft_queue_create(&no_queue, WEFT_PRIORITY, 8, SIZE_MAX, compare),
            -EINVAL);
    ck_code(weft_queue_create(&no_queue, WEFT_FIFO, 1, SIZE_MAX, NULL),
            -ENOMEM);
    ck_code(weft_queue_create(&no_queue, WEFT_PRIORITY, 1, SIZE_MAX, compare),
            -ENOMEM);
    ck_code(weft_queue_create(&no_queue, WEFT_FIFO, ELEM_MAX,
                              SIZE_MAX / ELEM_MAX, NULL), -ENOMEM);
    ck_code(weft_queue_create(&no_queue, -1, 4, 4, NULL), -EINVAL);
    ck_code(weft_queue_create(&no_queue, WEFT_PRIORITY + 1, 4, 4, NULL),
            -EINVAL);
    ck_code(weft_queue_create(&no_queue, WEFT_PRIORITY, 4, 4, NULL), -EINVAL);
    ck_code(weft_queue_create(&no_queue, WEFT_FIFO, 4, 4, compare), -EINVAL);
    ck_code(weft_queue_create(&no_queue, WEFT_LIFO, 4, 4, compare), -EINVAL);
    ck_assert_ptr_eq(no_queue, arg);
}

WEFT_TEST(sizes_that_cannot_be_are_refused)
{
    call_in(_i, bad_sizes, &mutex);
}
END_TEST

/* The largest that may be; a signal channel may even hold SIZE_MAX. */
static void good_sizes(void *arg)
{
    char *value = calloc(1, ELEM_MAX);

    (void)arg;
    ck_code(weft_chan_create(&ch, ELEM_MAX, 2), 0);
    ck_code(weft_chan_send_try(ch, value), 0);
    ck_code(weft_chan_recv_try(ch, value), 0);
    weft_chan_unref(ch);
    ck_code(weft_chan_create(&ch, 0, SIZE_MAX), 0);
    ck_code(weft_chan_send_try(ch, NULL), 0);
    ck_assert_uint_eq(weft_chan_cap(ch), SIZE_MAX);
    ck_assert_uint_eq(weft_chan_len(ch), 1);
    weft_chan_unref(ch);
    ck_code(weft_queue_create(&q, WEFT_PRIORITY, ELEM_MAX, 2, compare), 0);
    ck_code(weft_queue_put_try(q, value), 0);
    ck_code(weft_queue_get_try(q, value), 0);
    weft_queue_unref(q);
    free(value);
}

WEFT_TEST(the_largest_sizes_are_taken)
{
    call_in(_i, good_sizes, NULL);
}
END_TEST

/* --- Closed ------------------------------------------------------------------------------- */

static void use_closed(void *arg)
{
    int x = 0;

    (void)arg;
    ck_code(weft_chan_close(ch), -EPIPE);
    ck_code(weft_chan_send(ch, &x), -EPIPE);
    ck_code(weft_chan_send_try(ch, &x), -EPIPE);
    ck_code(weft_chan_send_n(ch, &x, 1), -EPIPE);
    ck_code(weft_chan_send_n_try(ch, &x, 1), -EPIPE);
    ck_code(weft_chan_recv(ch, &x), -EPIPE);
    ck_code(weft_chan_recv_try(ch, &x), -EPIPE);
    ck_code(weft_chan_recv_n(ch, &x, 1), -EPIPE);
    ck_code(weft_chan_recv_n_try(ch, &x, 1), -EPIPE);

    ck_code(weft_queue_close(q), -EPIPE);
    ck_code(weft_queue_put(q, &x), -EPIPE);
    ck_code(weft_queue_put_try(q, &x), -EPIPE);
    ck_code(weft_queue_get(q, &x), -EPIPE);
    ck_code(weft_queue_get_try(q, &x), -EPIPE);
    ck_code(weft_queue_join(q), 0);
}

/* Closed by one context, used by each. */
WEFT_TEST(what_is_closed_stays_closed)
{
    must_code(weft_queue_create(&q, WEFT_FIFO, sizeof(int), 0, NULL), 0);
    ch = new_chan(sizeof(int), 1);
    ck_code(weft_chan_close(ch), 0);
    ck_code(weft_queue_close(q), 0);
    call_in(_i, use_closed, NULL);
    weft_chan_unref(ch);
    weft_queue_unref(q);
}
END_TEST

/* --- Owners ------------------------------------------------------------------------------- */

static void own(void *arg)
{
    (void)arg;
    ck_code(weft_mutex_unlock(&mutex), -EPERM);
    ck_code(weft_mutex_lock(&mutex), 0);
    ck_code(weft_mutex_lock(&mutex), -EDEADLK);
    ck_code(weft_mutex_lock_try(&mutex), -EDEADLK);
    ck_code(weft_mutex_unlock(&mutex), 0);
    ck_code(weft_mutex_unlock(&mutex), -EPERM);
    ck_code(weft_mutex_lock_try(&mutex), 0);
    ck_code(weft_mutex_lock_try(&mutex), -EDEADLK);
    ck_code(weft_mutex_unlock(&mutex), 0);
}

WEFT_TEST(a_relock_and_an_unlock_of_a_free_mutex_are_refused)
{
    call_in(_i, own, NULL);
}
END_TEST

static void touch_anothers(void *arg)
{
    (void)arg;
    ck_code(weft_mutex_unlock(&mutex), -EPERM);
    ck_code(weft_mutex_lock_try(&mutex), -EAGAIN);
    ck_code(weft_mutex_unlock(&mutex), -EPERM);
}

static void touch_from_outside(void *arg)
{
    touch_anothers(arg);
    ck_code(weft_mutex_lock(&mutex), -EPERM);
}

static void *touch_in_fiber(void *arg)
{
    touch_anothers(arg);
    return NULL;
}

static void touch_from_everywhere(void *arg)
{
    (void)arg;
    join(spawn(touch_in_fiber, NULL));
    on_thread(touch_from_outside, NULL);
    on_lane(touch_from_outside, NULL);
}

static void *lock_and_unlock(void *arg)
{
    must_code(weft_mutex_lock(&mutex), 0);
    must_code(weft_mutex_unlock(&mutex), 0);
    return arg;
}

/* With and without someone in line: another's unlock changes neither. */
WEFT_TEST(anothers_mutex_is_not_unlocked)
{
    weft_fiber_t f;

    must_code(weft_mutex_lock(&mutex), 0);
    touch_from_everywhere(NULL);
    f = spawn(lock_and_unlock, NULL);
    wait_until_parked(f);
    touch_from_everywhere(NULL);
    ck_assert(is_state(f, "parked"));
    ck_code(weft_mutex_unlock(&mutex), 0);
    join(f);
}
END_TEST

static void take_it(void *arg)
{
    (void)arg;
    ck_code(weft_mutex_lock(&mutex), 0);
}

static void give_it_back(void *arg)
{
    (void)arg;
    ck_code(weft_mutex_unlock(&mutex), 0);
}

static void *not_mine(void *arg)
{
    (void)arg;
    ck_code(weft_mutex_lock_try(&mutex), -EAGAIN);
    ck_code(weft_mutex_unlock(&mutex), -EPERM);
    return NULL;
}

static void hold_for_fibers(void *arg)
{
    weft__au32 *step = arg;

    take_it(NULL);
    weft__store(step, 1, RELEASE);
    wait_for(step, 2);
    give_it_back(NULL);
}

WEFT_TEST(a_fiber_cannot_unlock_for_a_thread)
{
    weft__au32 step = { 0 };
    struct foreign t;

    foreign_start(&t, hold_for_fibers, &step);
    wait_for(&step, 1);
    join(spawn(not_mine, NULL));
    ck_code(weft_mutex_unlock(&mutex), -EPERM);
    weft__store(&step, 2, RELEASE);
    foreign_join(&t);
    ck_code(weft_mutex_lock(&mutex), 0);
    ck_code(weft_mutex_unlock(&mutex), 0);
}
END_TEST

/* --- No one to park -------------------------------------------------------------------------- */

/* Each call would have to wait, on an object of which nothing can be had. */
static void would_park(void *arg)
{
    int x = 0;

    (void)arg;
    ck_code(weft_mutex_lock(&mutex), -EPERM);
    ck_code(weft_mutex_lock_try(&mutex), -EAGAIN);
    ck_code(weft_waitgroup_wait(&group), -EPERM);
    ck_code(weft_waitgroup_wait_try(&group), -EAGAIN);
    ck_code(weft_chan_recv(ch, &x), -EPERM);
    ck_code(weft_chan_recv_try(ch, &x), -EAGAIN);
    ck_code(weft_chan_recv_n(ch, &x, 1), -EPERM);
    ck_code(weft_chan_recv_n_try(ch, &x, 1), -EAGAIN);
    ck_code(weft_queue_get(q, &x), -EPERM);
    ck_code(weft_queue_get_try(q, &x), -EAGAIN);

    /* Where there is room the same calls work. */
    ck_code(weft_chan_send(ch, &x), 0);
    ck_code(weft_chan_send(ch, &x), -EPERM);
    ck_code(weft_chan_send_try(ch, &x), -EAGAIN);
    ck_code(weft_chan_send_n(ch, &x, 1), -EPERM);
    ck_code(weft_chan_send_n_try(ch, &x, 1), -EAGAIN);
    ck_code(weft_chan_recv(ch, &x), 0);
    ck_code(weft_chan_send_n(ch, (int[]){ 1, 2 }, 2), 1);
    ck_code(weft_chan_recv_n(ch, (int[]){ 0, 0 }, 2), 1);
    ck_code(weft_chan_send_n_try(ch, (int[]){ 1, 2 }, 2), 1);
    ck_code(weft_chan_recv_n_try(ch, (int[]){ 0, 0 }, 2), 1);

    ck_code(weft_queue_join(q), 0);
    ck_code(weft_queue_put(q, &x), 0);
    ck_code(weft_queue_put(q, &x), -EPERM);
    ck_code(weft_queue_put_try(q, &x), -EAGAIN);
    ck_code(weft_queue_join(q), -EPERM);
    ck_code(weft_queue_join_try(q), -EAGAIN);
    ck_code(weft_queue_get(q, &x), 0);
    ck_code(weft_queue_done(q), 0);
    ck_code(weft_queue_join_try(q), 0);
}

WEFT_TEST(who_cannot_park_is_told_so)
{
    must_code(weft_mutex_lock(&mutex), 0);
    must_code(weft_waitgroup_add(&group, 1), 0);
    must_code(weft_queue_create(&q, WEFT_FIFO, sizeof(int), 1, NULL), 0);
    ch = new_chan(sizeof(int), 1);
    call_in(THREAD + _i, would_park, NULL);
    must_code(weft_mutex_unlock(&mutex), 0);
    must_code(weft_waitgroup_done(&group), 0);
    weft_chan_unref(ch);
    weft_queue_unref(q);
}
END_TEST

/* Nobody runs, and nothing has ever run: the same answers. */
START_TEST(before_a_run_a_call_that_would_park_is_refused)
{
    ck_code(weft_mutex_lock(&mutex), 0);
    ck_code(weft_mutex_lock(&mutex), -EDEADLK);
    ck_code(weft_mutex_unlock(&mutex), 0);
    ck_code(weft_waitgroup_add(&group, 1), 0);
    ck_code(weft_waitgroup_wait(&group), -EPERM);
    ck_code(weft_waitgroup_done(&group), 0);
    ck_code(weft_waitgroup_wait(&group), 0);
    ck_code(weft_queue_create(&q, WEFT_FIFO, sizeof(int), 1, NULL), 0);
    ck_code(weft_queue_get(q, &(int){ 0 }), -EPERM);
    ck_code(weft_queue_put(q, &(int){ 0 }), 0);
    ck_code(weft_queue_put(q, &(int){ 0 }), -EPERM);
    ck_code(weft_queue_join(q), -EPERM);
    weft_queue_unref(q);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("misuse");
    TCase *tcase = tcase_create("misuse");

    tcase_add_loop_test(tcase, null_is_refused_everywhere, 0, CONTEXTS);
    tcase_add_loop_test(tcase, a_value_that_is_null_is_refused, 0, CONTEXTS);
    tcase_add_loop_test(tcase, sizes_that_cannot_be_are_refused, 0, CONTEXTS);
    tcase_add_loop_test(tcase, the_largest_sizes_are_taken, 0, CONTEXTS);
    tcase_add_loop_test(tcase, what_is_closed_stays_closed, 0, CONTEXTS);
    tcase_add_loop_test(tcase,
                        a_relock_and_an_unlock_of_a_free_mutex_are_refused, 0,
                        CONTEXTS);
    tcase_add_test(tcase, anothers_mutex_is_not_unlocked);
    tcase_add_test(tcase, a_fiber_cannot_unlock_for_a_thread);
    tcase_add_loop_test(tcase, who_cannot_park_is_told_so, 0, CONTEXTS - 1);
    tcase_add_test(tcase, before_a_run_a_call_that_would_park_is_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
