/*
 * Channels: what goes through, in which order, who waits, and what a close
 * leaves. Batches are in test_chan_batch.c, races in stress_chan.c.
 */
#include "tests/support_prim.h"

static const size_t sizes[] = { 0, 1, 3, 4, 8, 100, 64 << 10 };
static const size_t caps[] = { 0, 1, 3, 64 };
enum { SIZES = 7, CAPS = 4, VALUE_MAX = 64 << 10 };

static weft_chan_t *ch;

/* The n-th value of this size, in a buffer with a byte more to watch over. */
static void fill(unsigned char *value, size_t size, unsigned n)
{
    for (size_t i = 0; i < size; i++)
        value[i] = (unsigned char)(n * 31 + i * 7);
    value[size] = 0xa5;
}

static bool is_value(const unsigned char *value, size_t size, unsigned n)
{
    for (size_t i = 0; i < size; i++)
        if (value[i] != (unsigned char)(n * 31 + i * 7))
            return false;
    return value[size] == 0xa5;
}

struct side {
    size_t size;
    unsigned n;
};

static void *send_numbered(void *arg)
{
    struct side *side = arg;
    unsigned char *value = malloc(side->size + 1);

    for (unsigned i = 0; i < side->n; i++) {
        fill(value, side->size, i);
        must_code(weft_chan_send(ch, value), 0);
        /* It is the sender's again, and may change. */
        memset(value, 0xff, side->size);
    }
    free(value);
    return NULL;
}

static void *recv_numbered(void *arg)
{
    struct side *side = arg;
    unsigned char *value = malloc(side->size + 1);

    for (unsigned i = 0; i < side->n; i++) {
        fill(value, side->size, i + 1);
        must_code(weft_chan_recv(ch, value), 0);
        must(is_value(value, side->size, i));
    }
    free(value);
    return NULL;
}

/* Every size through every capacity; who comes first takes turns. */
WEFT_TEST(values_arrive_whole_and_in_order)
{
    struct side side = { sizes[_i % SIZES], 50 };
    void *(*const ends[])(void *) = { send_numbered, recv_numbered };
    size_t cap = caps[_i / SIZES];

    for (int first = 0; first < 2; first++) {
        bool fits = first == 0 && cap >= side.n;
        size_t len = first == 1 ? 0 : fits ? side.n : cap;
        weft_fiber_t a, b;

        ch = new_chan(side.size, cap);
        ck_assert_uint_eq(weft_chan_cap(ch), cap);
        a = spawn(ends[first], &side);
        if (fits)
            join(a);
        else
            wait_until_parked(a);
        ck_assert_uint_eq(weft_chan_len(ch), len);
        b = spawn(ends[1 - first], &side);
        if (!fits)
            join(a);
        join(b);
        ck_assert_uint_eq(weft_chan_len(ch), 0);
        weft_chan_unref(ch);
    }
}
END_TEST

WEFT_TEST(a_signal_channel_takes_null)
{
    ch = new_chan(0, 2);
    ck_code(weft_chan_send(ch, NULL), 0);
    ck_code(weft_chan_send_try(ch, NULL), 0);
    ck_code(weft_chan_send_try(ch, NULL), -EAGAIN);
    ck_code(weft_chan_recv(ch, NULL), 0);
    ck_code(weft_chan_recv_try(ch, NULL), 0);
    ck_code(weft_chan_recv_try(ch, NULL), -EAGAIN);
    weft_chan_unref(ch);
}
END_TEST

/* --- Trying ------------------------------------------------------------------- */

/* The ring goes round several times, at each number of values in it. */
WEFT_TEST(a_buffer_takes_its_capacity_and_no_more)
{
    enum { CAP = 5 };
    int in = 0, out = 0, x;

    ch = new_chan(sizeof(int), CAP);
    for (int n = 0; n <= CAP; n++) {
        for (int round = 0; round < 3 * CAP; round++) {
            while (in - out < n) {
                ck_code(weft_chan_send_try(ch, &in), 0);
                in++;
            }
            ck_assert_uint_eq(weft_chan_len(ch), (size_t)n);
            if (n == CAP)
                ck_code(weft_chan_send_try(ch, &in), -EAGAIN);
            if (n > 0) {
                ck_code(weft_chan_recv_try(ch, &x), 0);
                ck_assert_int_eq(x, out++);
            }
        }
        while (out < in) {
            ck_code(weft_chan_recv(ch, &x), 0);
            ck_assert_int_eq(x, out++);
        }
        ck_code(weft_chan_recv_try(ch, &x), -EAGAIN);
    }
    weft_chan_unref(ch);
}
END_TEST

static void *recv_one(void *arg)
{
    int x = -1;

    ck_code(weft_chan_recv(ch, &x), 0);
    *(int *)arg = x;
    return NULL;
}

static void *send_one(void *arg)
{
    ck_code(weft_chan_send(ch, arg), 0);
    return NULL;
}

/* Without a buffer a value is had, or got rid of, only if someone waits. */
WEFT_TEST(trying_meets_one_who_waits)
{
    weft_fiber_t f;
    int got = 0, x = 42;

    ch = new_chan(sizeof(int), 0);
    ck_code(weft_chan_send_try(ch, &x), -EAGAIN);
    f = spawn(recv_one, &got);
    wait_until_parked(f);
    ck_code(weft_chan_send_try(ch, &x), 0);
    ck_code(weft_chan_send_try(ch, &x), -EAGAIN);
    join(f);
    ck_assert_int_eq(got, 42);

    x = 0;
    got = 43;
    ck_code(weft_chan_recv_try(ch, &x), -EAGAIN);
    f = spawn(send_one, &got);
    wait_until_parked(f);
    ck_code(weft_chan_recv_try(ch, &x), 0);
    join(f);
    ck_assert_int_eq(x, 43);
    weft_chan_unref(ch);
}
END_TEST

/* --- Who is served first --------------------------------------------------------- */

enum { WAITERS = 12 };

/* Those who wait are served in the order they came. */
WEFT_TEST(receivers_are_served_in_the_order_they_came)
{
    weft_fiber_t f[WAITERS];
    int got[WAITERS];

    ch = new_chan(sizeof(int), caps[_i]);
    for (int i = 0; i < WAITERS; i++) {
        f[i] = spawn(recv_one, &got[i]);
        wait_until_parked(f[i]);
    }
    for (int i = 0; i < WAITERS; i++)
        ck_code(weft_chan_send(ch, &i), 0);
    for (int i = 0; i < WAITERS; i++) {
        join(f[i]);
        ck_assert_int_eq(got[i], i);
    }
    weft_chan_unref(ch);
}
END_TEST

/* A place that gets free is the oldest sender's, behind what is there. */
WEFT_TEST(senders_are_served_in_the_order_they_came)
{
    weft_fiber_t f[WAITERS];
    int value[WAITERS], x;
    int cap = (int)caps[_i];

    ch = new_chan(sizeof(int), caps[_i]);
    for (int i = 0; i < cap; i++)
        must_code(weft_chan_send(ch, &i), 0);
    for (int i = 0; i < WAITERS; i++) {
        value[i] = cap + i;
        f[i] = spawn(send_one, &value[i]);
        wait_until_parked(f[i]);
    }
    for (int i = 0; i < cap + WAITERS; i++) {
        ck_code(weft_chan_recv_try(ch, &x), 0);
        ck_assert_int_eq(x, i);
        if (i < WAITERS)
            join(f[i]);
        if (i + 1 < WAITERS)
            ck_assert(is_state(f[i + 1], "parked"));
    }
    weft_chan_unref(ch);
}
END_TEST

/* --- Closing ------------------------------------------------------------------- */

static void *send_refused(void *arg)
{
    ck_code(weft_chan_send(ch, arg), -EPIPE);
    return NULL;
}

static void *recv_refused(void *arg)
{
    int x = -1;

    (void)arg;
    ck_code(weft_chan_recv(ch, &x), -EPIPE);
    ck_assert_int_eq(x, -1);
    return NULL;
}

WEFT_TEST(close_turns_all_receivers_away)
{
    weft_fiber_t f[WAITERS];

    ch = new_chan(sizeof(int), caps[_i]);
    for (int i = 0; i < WAITERS; i++) {
        f[i] = spawn(recv_refused, NULL);
        wait_until_parked(f[i]);
    }
    ck_code(weft_chan_close(ch), 0);
    for (int i = 0; i < WAITERS; i++)
        join(f[i]);
    weft_chan_unref(ch);
}
END_TEST

/* Those who wait to send keep their value; what was in it can be had. */
WEFT_TEST(close_turns_senders_away_and_leaves_what_was_sent)
{
    weft_fiber_t f[WAITERS];
    int cap = (int)caps[_i];
    int x = -1;

    ch = new_chan(sizeof(int), caps[_i]);
    for (int i = 0; i < cap; i++)
        must_code(weft_chan_send(ch, &i), 0);
    for (int i = 0; i < WAITERS; i++) {
        f[i] = spawn(send_refused, &x);
        wait_until_parked(f[i]);
    }
    ck_code(weft_chan_close(ch), 0);
    for (int i = 0; i < WAITERS; i++)
        join(f[i]);
    ck_assert_uint_eq(weft_chan_len(ch), (size_t)cap);
    for (int i = 0; i < cap; i++) {
        ck_code(weft_chan_send(ch, &x), -EPIPE);
        ck_code(weft_chan_send_try(ch, &x), -EPIPE);
        if (i % 2)
            ck_code(weft_chan_recv(ch, &x), 0);
        else
            ck_code(weft_chan_recv_try(ch, &x), 0);
        ck_assert_int_eq(x, i);
    }
    x = -1;
    ck_code(weft_chan_recv(ch, &x), -EPIPE);
    ck_code(weft_chan_recv_try(ch, &x), -EPIPE);
    ck_assert_int_eq(x, -1);
    ck_code(weft_chan_close(ch), -EPIPE);
    weft_chan_unref(ch);
}
END_TEST

/* --- Cancelling ------------------------------------------------------------------ */

static void *recv_cancelled(void *arg)
{
    int x = -1;

    (void)arg;
    ck_code(weft_chan_recv(ch, &x), -ECANCELED);
    ck_assert_int_eq(x, -1);
    ck_code(weft_chan_recv(ch, &x), -ECANCELED);
    return NULL;
}

static void *send_cancelled(void *arg)
{
    ck_code(weft_chan_send(ch, arg), -ECANCELED);
    ck_code(weft_chan_send(ch, arg), -ECANCELED);
    return NULL;
}

/* The one in the middle goes; its neighbours get their values. */
WEFT_TEST(a_cancelled_receiver_takes_nothing)
{
    weft_fiber_t a, b, c;
    int first = -1, second = -1;

    ch = new_chan(sizeof(int), caps[_i]);
    a = spawn(recv_one, &first);
    wait_until_parked(a);
    b = spawn(recv_cancelled, NULL);
    wait_until_parked(b);
    c = spawn(recv_one, &second);
    wait_until_parked(c);
    must_code(weft_cancel(b), 0);
    join(b);
    must_code(weft_chan_send_try(ch, &(int){ 1 }), 0);
    must_code(weft_chan_send_try(ch, &(int){ 2 }), 0);
    join(a);
    join(c);
    ck_assert_int_eq(first, 1);
    ck_assert_int_eq(second, 2);
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(a_cancelled_sender_sends_nothing)
{
    weft_fiber_t a, b, c;
    int value[] = { 100, 101, 102 };
    int cap = (int)caps[_i];
    int x;

    ch = new_chan(sizeof(int), caps[_i]);
    for (int i = 0; i < cap; i++)
        must_code(weft_chan_send(ch, &i), 0);
    a = spawn(send_one, &value[0]);
    wait_until_parked(a);
    b = spawn(send_cancelled, &value[1]);
    wait_until_parked(b);
    c = spawn(send_one, &value[2]);
    wait_until_parked(c);
    must_code(weft_cancel(b), 0);
    join(b);
    for (int i = 0; i < cap; i++) {
        must_code(weft_chan_recv_try(ch, &x), 0);
        ck_assert_int_eq(x, i);
    }
    must_code(weft_chan_recv_try(ch, &x), 0);
    ck_assert_int_eq(x, 100);
    must_code(weft_chan_recv_try(ch, &x), 0);
    ck_assert_int_eq(x, 102);
    ck_code(weft_chan_recv_try(ch, &x), -EAGAIN);
    join(a);
    join(c);
    weft_chan_unref(ch);
}
END_TEST

/* --- Asleep for ever --------------------------------------------------------------- */

WEFT_TEST(a_program_asleep_at_a_channel_is_told)
{
    int x = -1;

    ch = new_chan(sizeof(int), 1);
    ck_code(weft_chan_recv(ch, &x), -EDEADLK);
    ck_assert_int_eq(x, -1);
    ck_code(weft_chan_send(ch, &x), 0);
    ck_code(weft_chan_send(ch, &x), -EDEADLK);
    /* Both are off the lists, and the channel works. */
    ck_code(weft_chan_recv(ch, &x), 0);
    ck_code(weft_chan_recv_try(ch, &x), -EAGAIN);
    weft_chan_unref(ch);
}
END_TEST

/* --- From outside --------------------------------------------------------------------- */

struct outside {
    weft_fiber_t f;
    weft__au32 ready;
};

static void send_from_outside(void *arg)
{
    struct outside *o = arg;
    int x = 7;

    ck_code(weft_chan_send_try(ch, &x), -EAGAIN);
    weft__store(&o->ready, 1, RELEASE);
    wait_for(&o->ready, 2);
    wait_until_parked(o->f);
    wait_until_all_idle();
    ck_code(weft_chan_send_try(ch, &x), 0);
}

static void recv_from_outside(void *arg)
{
    struct outside *o = arg;
    int x = -1;

    ck_code(weft_chan_recv_try(ch, &x), -EAGAIN);
    weft__store(&o->ready, 1, RELEASE);
    wait_for(&o->ready, 2);
    wait_until_parked(o->f);
    wait_until_all_idle();
    ck_code(weft_chan_recv(ch, &x), 0);
    ck_assert_int_eq(x, 7);
}

static void close_from_outside(void *arg)
{
    struct outside *o = arg;
    int x;

    ck_code(weft_chan_recv_try(ch, &x), -EAGAIN);
    weft__store(&o->ready, 1, RELEASE);
    wait_for(&o->ready, 2);
    wait_until_parked(o->f);
    wait_until_all_idle();
    ck_code(weft_chan_close(ch), 0);
}

/* All of weft sleeps; a thread that has called before ends it. */
WEFT_TEST(a_foreign_thread_ends_the_wait)
{
    void (*const doing[])(void *) = { send_from_outside, recv_from_outside,
                                      close_from_outside };
    void *(*const waiting[])(void *) = { recv_one, send_one, recv_refused };
    struct outside o = { 0 };
    struct foreign t;
    int x = 7;

    ch = new_chan(sizeof(int), 0);
    foreign_start(&t, doing[_i], &o);
    wait_for(&o.ready, 1);
    o.f = spawn(waiting[_i], &x);
    weft__store(&o.ready, 2, RELEASE);
    join(o.f);
    ck_assert_int_eq(x, 7);
    foreign_join(&t);
    weft_chan_unref(ch);
}
END_TEST

/* --- Life ------------------------------------------------------------------------------- */

/* A channel needs no runtime, and lives until its last reference goes. */
START_TEST(a_channel_lives_before_and_after_a_run)
{
    weft_chan_t *same;
    int x;

    ck_code(weft_chan_create(&ch, sizeof(int), 2), 0);
    same = weft_chan_ref(ch);
    ck_assert_ptr_eq(same, ch);
    ck_code(weft_chan_send(ch, &(int){ 1 }), 0);
    ck_code(weft_chan_send_try(ch, &(int){ 2 }), 0);
    ck_code(weft_chan_send(ch, &(int){ 3 }), -EPERM);
    weft_chan_unref(same);
    ck_code(weft_chan_recv(ch, &x), 0);
    ck_assert_int_eq(x, 1);
    weft_chan_unref(ch);
}
END_TEST

/* Heads are used again: none may bring along what the last user left. */
WEFT_TEST(a_fresh_channel_is_empty_open_and_of_its_own_size)
{
    for (int i = 0; i < 2000; i++) {
        unsigned char value[101];
        size_t size = sizes[i % (SIZES - 1)];

        ch = new_chan(size, 3);
        must(weft_chan_len(ch) == 0 && weft_chan_cap(ch) == 3);
        must_code(weft_chan_recv_try(ch, value), -EAGAIN);
        fill(value, size, (unsigned)i);
        must_code(weft_chan_send_try(ch, value), 0);
        if (i % 2)
            must_code(weft_chan_close(ch), 0);
        if (i % 3)
            must_code(weft_chan_recv_try(ch, value), 0);
        must(is_value(value, size, (unsigned)i));
        weft_chan_unref(ch);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chan");
    TCase *tcase = tcase_create("chan");

    tcase_add_loop_test(tcase, values_arrive_whole_and_in_order, 0,
                        SIZES * CAPS);
    tcase_add_test(tcase, a_signal_channel_takes_null);
    tcase_add_test(tcase, a_buffer_takes_its_capacity_and_no_more);
    tcase_add_test(tcase, trying_meets_one_who_waits);
    tcase_add_loop_test(tcase, receivers_are_served_in_the_order_they_came,
                        0, CAPS);
    tcase_add_loop_test(tcase, senders_are_served_in_the_order_they_came, 0,
                        CAPS);
    tcase_add_loop_test(tcase, close_turns_all_receivers_away, 0, CAPS);
    tcase_add_loop_test(tcase,
                        close_turns_senders_away_and_leaves_what_was_sent, 0,
                        CAPS);
    tcase_add_loop_test(tcase, a_cancelled_receiver_takes_nothing, 0, CAPS);
    tcase_add_loop_test(tcase, a_cancelled_sender_sends_nothing, 0, CAPS);
    tcase_add_test(tcase, a_program_asleep_at_a_channel_is_told);
    tcase_add_loop_test(tcase, a_foreign_thread_ends_the_wait, 0, 3);
    tcase_add_test(tcase, a_channel_lives_before_and_after_a_run);
    tcase_add_test(tcase, a_fresh_channel_is_empty_open_and_of_its_own_size);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
