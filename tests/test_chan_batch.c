/* Channels, many values a call. */
#include "tests/support_prim.h"

static const size_t caps[] = { 0, 1, 3, 64, 1000 };
enum { CAPS = 5, MANY = 300 }; /* more than move under one lock */

static weft_chan_t *ch;

static void count_up(int *value, int n)
{
    for (int i = 0; i < n; i++)
        value[i] = i;
}

static void *send_many(void *arg)
{
    int value[MANY];

    (void)arg;
    count_up(value, MANY);
    ck_code(weft_chan_send_n(ch, value, MANY), MANY);
    return NULL;
}

/* All of them, in order, however many fit at a time. */
WEFT_TEST(a_batch_arrives_in_order)
{
    weft_fiber_t f;
    int x;

    ch = new_chan(sizeof(int), caps[_i]);
    f = spawn(send_many, NULL);
    for (int i = 0; i < MANY; i++) {
        must_code(weft_chan_recv(ch, &x), 0);
        must(x == i);
    }
    join(f);
    weft_chan_unref(ch);
}
END_TEST

/* It waits for one, and then takes what is there, and what senders hold who
 * wait. */
WEFT_TEST(recv_n_waits_for_one_and_takes_what_is_there)
{
    int value[MANY] = { 0 };
    weft_fiber_t f;
    ssize_t n;
    int got = 0;

    ch = new_chan(sizeof(int), caps[_i]);
    f = spawn(send_many, NULL);
    while (got < MANY) {
        n = weft_chan_recv_n(ch, value + got, (size_t)(MANY - got));
        ck_assert_int_gt(n, 0);
        got += (int)n;
    }
    join(f);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(value[i], i);
    ck_code(weft_chan_recv_n_try(ch, value, MANY), -EAGAIN);
    weft_chan_unref(ch);
}
END_TEST

static void *recv_one(void *arg)
{
    ck_code(weft_chan_recv_n(ch, arg, 1), 1);
    return NULL;
}

/* Receivers that wait get one value each. */
WEFT_TEST(a_batch_feeds_all_who_wait)
{
    weft_fiber_t f[8];
    int got[8];

    ch = new_chan(sizeof(int), 2);
    for (int i = 0; i < 8; i++) {
        f[i] = spawn(recv_one, &got[i]);
        wait_until_parked(f[i]);
    }
    ck_code(weft_chan_send_n_try(
                ch, ((int[]){ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }), 11),
            10);
    for (int i = 0; i < 8; i++) {
        join(f[i]);
        ck_assert_int_eq(got[i], i);
    }
    ck_assert_uint_eq(weft_chan_len(ch), 2);
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(trying_moves_what_can_be_moved_at_once)
{
    int value[MANY] = { 0 };
    int cap = (int)caps[_i];
    int fits = cap < MANY ? cap : MANY;

    ch = new_chan(sizeof(int), caps[_i]);
    count_up(value, MANY);
    ck_code(weft_chan_send_n_try(ch, value, MANY), fits ? fits : -EAGAIN);
    ck_assert_uint_eq(weft_chan_len(ch), (size_t)fits);
    if (fits == cap)
        ck_code(weft_chan_send_n_try(ch, value, 1), -EAGAIN);
    memset(value, 0, sizeof(value));
    ck_code(weft_chan_recv_n_try(ch, value, MANY), fits ? fits : -EAGAIN);
    for (int i = 0; i < fits; i++)
        ck_assert_int_eq(value[i], i);
    ck_code(weft_chan_recv_n_try(ch, value, MANY), -EAGAIN);
    weft_chan_unref(ch);
}
END_TEST

/* Nothing is asked for, so nothing is waited for, whatever the state. */
WEFT_TEST(a_batch_of_none_is_done_at_once)
{
    ch = new_chan(sizeof(int), 0);
    for (int closed = 0; closed < 2; closed++) {
        ck_code(weft_chan_send_n(ch, NULL, 0), 0);
        ck_code(weft_chan_recv_n(ch, NULL, 0), 0);
        ck_code(weft_chan_send_n_try(ch, NULL, 0), 0);
        ck_code(weft_chan_recv_n_try(ch, NULL, 0), 0);
        if (!closed)
            ck_code(weft_chan_close(ch), 0);
    }
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(a_batch_of_signals_needs_no_memory)
{
    ch = new_chan(0, 1000);
    ck_code(weft_chan_send_n(ch, NULL, 900), 900);
    ck_code(weft_chan_send_n_try(ch, NULL, 200), 100);
    ck_code(weft_chan_recv_n(ch, NULL, 300), 300);
    ck_code(weft_chan_recv_n_try(ch, NULL, 2000), 700);
    weft_chan_unref(ch);
}
END_TEST

/* --- On the way ------------------------------------------------------------------ */

static void *send_part(void *arg)
{
    int value[10];
    int whole = *(int *)arg;

    count_up(value, 10);
    ck_code(weft_chan_send_n(ch, value, 10), whole);
    return NULL;
}

static void *send_none(void *arg)
{
    ck_code(weft_chan_send_n(ch, (int[]){ 1, 2 }, 2), *(int *)arg);
    return NULL;
}

static void *recv_none(void *arg)
{
    int value[2] = { -1, -1 };

    ck_code(weft_chan_recv_n(ch, value, 2), *(int *)arg);
    ck_assert_int_eq(value[0], -1);
    return NULL;
}

/* Four have gone when it is closed: the answer says so, the next call why. */
WEFT_TEST(a_close_on_the_way_leaves_a_count)
{
    int four = 4, closed = -EPIPE;
    int value[10];
    weft_fiber_t f;

    ch = new_chan(sizeof(int), 3);
    f = spawn(send_part, &four);
    wait_until_parked(f);
    must_code(weft_chan_recv(ch, value), 0);
    wait_until_parked(f);
    ck_code(weft_chan_close(ch), 0);
    join(f);
    join(spawn(send_none, &closed));
    ck_code(weft_chan_send_n_try(ch, value, 1), -EPIPE);
    ck_code(weft_chan_recv_n(ch, value, 10), 3);
    join(spawn(recv_none, &closed));
    ck_code(weft_chan_recv_n_try(ch, value, 10), -EPIPE);
    weft_chan_unref(ch);
}
END_TEST

static void *send_part_cancelled(void *arg)
{
    int cancelled = -ECANCELED;

    send_part(arg);
    return send_none(&cancelled);
}

static void *recv_none_cancelled(void *arg)
{
    recv_none(arg);
    return recv_none(arg);
}

WEFT_TEST(a_cancel_on_the_way_leaves_a_count)
{
    int three = 3, cancelled = -ECANCELED;
    weft_fiber_t f;
    int value[10];

    ch = new_chan(sizeof(int), 3);
    f = spawn(send_part_cancelled, &three);
    wait_until_parked(f);
    must_code(weft_cancel(f), 0);
    join(f);
    ck_code(weft_chan_recv_n(ch, value, 10), 3);
    f = spawn(recv_none_cancelled, &cancelled);
    wait_until_parked(f);
    must_code(weft_cancel(f), 0);
    join(f);
    ck_code(weft_chan_send_n_try(ch, value, 10), 3);
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(a_program_asleep_in_a_batch_is_told)
{
    int value[10];

    ch = new_chan(sizeof(int), 3);
    count_up(value, 10);
    ck_code(weft_chan_recv_n(ch, value, 10), -EDEADLK);
    ck_code(weft_chan_send_n(ch, value, 10), 3);
    ck_code(weft_chan_send_n(ch, value, 10), -EDEADLK);
    ck_code(weft_chan_recv_n(ch, value, 10), 3);
    weft_chan_unref(ch);
}
END_TEST

/* --- Races ---------------------------------------------------------------------- */

enum { SENDERS = 4, RECEIVERS = 3 };

struct number {
    int sender;
    int n;
};

static uint32_t each_sends;

static void *send_batches(void *arg)
{
    struct number value[90];
    uint32_t state = (uint32_t)(long)arg + 1;
    uint32_t sent = 0;

    while (sent < each_sends) {
        uint32_t n = next_random(&state) % 90 + 1;

        if (n > each_sends - sent)
            n = each_sends - sent;
        for (uint32_t i = 0; i < n; i++) {
            value[i].sender = (int)(long)arg;
            value[i].n = (int)(sent + i);
        }
        if (state & 1) {
            must_code(weft_chan_send_n(ch, value, n), n);
        } else {
            ssize_t some = weft_chan_send_n_try(ch, value, n);

            must(some > 0 || some == -EAGAIN);
            n = some > 0 ? (uint32_t)some : 0;
            if (n == 0)
                weft_yield();
        }
        sent += n;
    }
    return NULL;
}

/* Of each sender a receiver sees rising numbers; all together, each once. */
static void *recv_batches(void *arg)
{
    uint32_t state = (uint32_t)(long)arg + 77;
    int last[SENDERS] = { -1, -1, -1, -1 };
    struct number value[50];
    long got = 0;

    for (;;) {
        ssize_t n = weft_chan_recv_n(ch, value, next_random(&state) % 50 + 1);

        if (n == -EPIPE)
            return (void *)got;
        must(n > 0);
        for (ssize_t i = 0; i < n; i++) {
            must(value[i].n > last[value[i].sender]);
            last[value[i].sender] = value[i].n;
        }
        got += n;
    }
}

WEFT_TEST(batches_meet_batches)
{
    weft_fiber_t s[SENDERS], r[RECEIVERS];
    long got = 0;

    each_sends = ROUNDS(20000);
    ch = new_chan(sizeof(struct number), caps[_i]);
    for (long i = 0; i < RECEIVERS; i++)
        r[i] = spawn(recv_batches, (void *)i);
    for (long i = 0; i < SENDERS; i++)
        s[i] = spawn(send_batches, (void *)i);
    for (int i = 0; i < SENDERS; i++)
        join(s[i]);
    must_code(weft_chan_close(ch), 0);
    for (int i = 0; i < RECEIVERS; i++)
        got += (long)join(r[i]);
    ck_assert_int_eq(got, (long)each_sends * SENDERS);
    weft_chan_unref(ch);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chan_batch");
    TCase *tcase = tcase_create("chan_batch");

    tcase_add_loop_test(tcase, a_batch_arrives_in_order, 0, CAPS);
    tcase_add_loop_test(tcase, recv_n_waits_for_one_and_takes_what_is_there,
                        0, CAPS);
    tcase_add_test(tcase, a_batch_feeds_all_who_wait);
    tcase_add_loop_test(tcase, trying_moves_what_can_be_moved_at_once, 0,
                        CAPS);
    tcase_add_test(tcase, a_batch_of_none_is_done_at_once);
    tcase_add_test(tcase, a_batch_of_signals_needs_no_memory);
    tcase_add_test(tcase, a_close_on_the_way_leaves_a_count);
    tcase_add_test(tcase, a_cancel_on_the_way_leaves_a_count);
    tcase_add_test(tcase, a_program_asleep_in_a_batch_is_told);
    tcase_add_loop_test(tcase, batches_meet_batches, 0, CAPS);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
