/*
 * Select over channels: one case happens and no other, each of those that
 * could is as likely, and nothing is left in any line. Joins, deadlines and
 * misuse are in test_select_more.c, races in stress_select.c, schedules in
 * sim_select.c.
 */
#include "tests/support_prim.h"

enum { CHANS = 4 };

static weft_chan_t *a, *b;

static void make_two(size_t cap)
{
    a = new_chan(sizeof(int), cap);
    b = new_chan(sizeof(int), cap);
}

static void drop_two(void)
{
    weft_chan_unref(a);
    weft_chan_unref(b);
}

/* Nobody stands in line at an unbuffered channel, at either end. */
static void nobody_at(weft_chan_t *ch)
{
    int x = 0;

    ck_assert_int_eq(weft_chan_send_try(ch, &x), -EAGAIN);
    ck_assert_int_eq(weft_chan_recv_try(ch, &x), -EAGAIN);
}

/* --- One of two --------------------------------------------------------------- */

WEFT_TEST(what_is_ready_happens)
{
    int x = 0, y = 7;
    weft_case_t recvs[] = { WEFT_RECV(a, &x), WEFT_RECV(b, &x) };
    weft_case_t sends[] = { WEFT_SEND(a, &y), WEFT_SEND(b, &y) };

    make_two(1);
    for (int i = 0; i < 2; i++) {
        recvs[i].object = sends[i].object = i ? b : a;
        recvs[i].status = sends[i].status = -1;
    }
    must_code(weft_chan_send(b, &(int){ 42 }), 0);
    ck_code(weft_select(recvs, 2), 1);
    ck_assert_int_eq(x, 42);
    ck_assert_int_eq(recvs[1].status, 0);
    ck_assert_int_eq(recvs[0].status, -1);

    must_code(weft_chan_send(a, &(int){ 1 }), 0);
    ck_code(weft_select_until(sends, 2, WEFT_FOREVER), 1);
    ck_assert_uint_eq(weft_chan_len(a), 1);
    ck_assert_uint_eq(weft_chan_len(b), 1);
    ck_code(weft_select_try(sends, 2), -EAGAIN);
    must_code(weft_chan_recv(b, &x), 0);
    ck_assert_int_eq(x, 7);
    ck_code(weft_select_try(recvs, 2), 0);
    ck_assert_int_eq(x, 1);
    ck_code(weft_select_try(recvs, 2), -EAGAIN);
    drop_two();
}
END_TEST

static void *send_to(void *ch)
{
    must_code(weft_chan_send(ch, &(int){ 42 }), 0);
    return NULL;
}

static void *recv_from(void *ch)
{
    int x = -1;

    must_code(weft_chan_recv(ch, &x), 0);
    must(x == 7);
    return NULL;
}

/* The other side waits already: without a buffer that is all there is. */
WEFT_TEST(one_who_waits_is_met)
{
    int x = 0, y = 7;

    make_two(0);
    for (int i = 0; i < 2; i++) {
        weft_case_t cases[] = { WEFT_RECV(a, &x), WEFT_SEND(b, &y) };
        weft_fiber_t f = i ? spawn(recv_from, b) : spawn(send_to, a);

        wait_until_parked(f);
        ck_code(_i ? weft_select_try(cases, 2) : weft_select(cases, 2), i);
        join(f);
        nobody_at(a);
        nobody_at(b);
    }
    ck_assert_int_eq(x, 42);
    drop_two();
}
END_TEST

struct selecting {
    weft_case_t *cases;
    size_t n;
    weft_time_t deadline;
    int answer;
};

static void *select_once(void *arg)
{
    struct selecting *s = arg;

    s->answer = s->deadline ? weft_select_until(s->cases, s->n, s->deadline)
                            : weft_select(s->cases, s->n);
    log_code("weft_select(", s->answer > 0 ? 0 : s->answer);
    return NULL;
}

static weft_fiber_t parked_select(struct selecting *s)
{
    weft_fiber_t f = spawn(select_once, s);

    wait_until_parked(f);
    return f;
}

/* It waits for both; whichever comes, the other line is left. */
WEFT_TEST(what_comes_first_happens_and_the_other_line_is_left)
{
    int x = 0, y = 7;

    make_two(0);
    for (int i = 0; i < 2; i++) {
        weft_case_t cases[] = { WEFT_RECV(a, &x), WEFT_SEND(b, &y) };
        struct selecting s = { cases, 2, 0, -1 };
        weft_fiber_t f = parked_select(&s);
        int got = 0;

        if (i == 0)
            ck_code(weft_chan_send(a, &(int){ 42 }), 0);
        else
            ck_code(weft_chan_recv(b, &got), 0);
        join(f);
        ck_assert_int_eq(s.answer, i);
        ck_assert_int_eq(cases[i].status, 0);
        ck_assert_int_eq(i ? got : x, i ? 7 : 42);
        nobody_at(a);
        nobody_at(b);
    }
    drop_two();
}
END_TEST

/* A place in a buffer is had by the one who waits for it. */
WEFT_TEST(a_place_that_becomes_free_is_taken)
{
    int x = 0, y = 7;

    make_two(1);
    must_code(weft_chan_send(a, &(int){ 1 }), 0);
    {
        weft_case_t cases[] = { WEFT_SEND(a, &y), WEFT_RECV(b, &x) };
        struct selecting s = { cases, 2, 0, -1 };
        weft_fiber_t f = parked_select(&s);

        ck_code(weft_chan_recv(a, &x), 0);
        join(f);
        ck_assert_int_eq(x, 1);
        ck_assert_int_eq(s.answer, 0);
        ck_code(weft_chan_recv_try(a, &x), 0);
        ck_assert_int_eq(x, 7);
    }
    drop_two();
}
END_TEST

/* --- Closed ------------------------------------------------------------------------ */

WEFT_TEST(a_closed_channel_is_a_case_that_happened)
{
    int x = -1, y = 7;

    make_two(2);
    must_code(weft_chan_send(a, &(int){ 1 }), 0);
    must_code(weft_chan_close(a), 0);
    {
        weft_case_t recvs[] = { WEFT_RECV(a, &x), WEFT_RECV(b, &x) };
        weft_case_t sends[] = { WEFT_SEND(a, &y) };

        /* What is in it comes first. */
        ck_code(weft_select(recvs, 2), 0);
        ck_assert_int_eq(recvs[0].status, 0);
        ck_assert_int_eq(x, 1);
        ck_code(weft_select(recvs, 2), 0);
        ck_assert_int_eq(recvs[0].status, -EPIPE);
        ck_assert_int_eq(x, 1);
        ck_code(weft_select_try(sends, 1), 0);
        ck_assert_int_eq(sends[0].status, -EPIPE);
    }
    drop_two();
}
END_TEST

/* At either end, and at both. */
WEFT_TEST(a_close_ends_the_wait)
{
    int x = -1, y = 7;

    make_two(0);
    {
        weft_case_t cases[] = { WEFT_RECV(b, &x), WEFT_RECV(a, &x),
                                WEFT_SEND(a, &y) };
        struct selecting s = { cases, _i == 0 ? 2 : 3, 0, -1 };
        weft_fiber_t f;

        if (_i == 1)
            cases[1].object = NULL;
        f = parked_select(&s);
        ck_code(weft_chan_close(a), 0);
        join(f);
        ck_assert_int_eq(s.answer, _i == 1 ? 2 : 1);
        ck_assert_int_eq(cases[s.answer].status, -EPIPE);
        ck_assert_int_eq(x, -1);
        nobody_at(b);
    }
    drop_two();
}
END_TEST

/* --- The same channel several times ----------------------------------------------------- */

WEFT_TEST(the_same_channel_may_stand_in_several_cases)
{
    int x[3] = { 0, 0, 0 };

    make_two(0);
    for (int i = 0; i < 20; i++) {
        weft_case_t cases[] = { WEFT_RECV(a, &x[0]), WEFT_RECV(b, &x[1]),
                                WEFT_RECV(a, &x[2]) };
        struct selecting s = { cases, 3, 0, -1 };
        weft_fiber_t f = parked_select(&s);
        int sum = x[0] + x[1] + x[2];

        must_code(weft_chan_send(i % 3 ? a : b, &(int){ sum + 1 }), 0);
        join(f);
        must(s.answer >= 0 && s.answer < 3);
        must((s.answer == 1) == (i % 3 == 0));
        must(x[s.answer] == sum + 1);
        x[0] = x[1] = x[2] = 0;
        x[0] = sum + 1;
        nobody_at(a);
        nobody_at(b);
    }
    drop_two();
}
END_TEST

/* To send and to receive on one channel: it does not meet itself, and goes
 * with whoever comes, at either end. */
WEFT_TEST(a_select_does_not_meet_itself)
{
    int x = 0, y = 7, got = 0;

    make_two(0);
    for (int i = 0; i < 2; i++) {
        weft_case_t cases[] = { WEFT_RECV(a, &x), WEFT_SEND(a, &y),
                                WEFT_SEND(a, &y), WEFT_RECV(a, &x) };
        struct selecting s = { cases, 4, 0, -1 };
        weft_fiber_t f;

        ck_code(weft_select_try(cases, 4), -EAGAIN);
        f = parked_select(&s);
        if (i == 0) {
            ck_code(weft_chan_send_try(a, &(int){ 42 }), 0);
            join(f);
            ck_assert(s.answer == 0 || s.answer == 3);
            ck_assert_int_eq(x, 42);
        } else {
            ck_code(weft_chan_recv_try(a, &got), 0);
            join(f);
            ck_assert(s.answer == 1 || s.answer == 2);
            ck_assert_int_eq(got, 7);
        }
        nobody_at(a);
    }
    drop_two();
}
END_TEST

/* With a buffer that is neither full nor empty both can happen, and one does. */
WEFT_TEST(one_of_send_and_receive_happens_at_a_buffer)
{
    int x = 0, y = 7;
    bool sent = false, received = false;

    make_two(3);
    for (int i = 0; i < 200; i++) {
        weft_case_t cases[] = { WEFT_RECV(a, &x), WEFT_SEND(a, &y) };
        size_t len = weft_chan_len(a);
        int answer = weft_select(cases, 2);

        must(weft_chan_len(a) == len + 1 || answer == 0);
        must(weft_chan_len(a) == len - 1 || answer == 1);
        must(len > 0 || answer == 1);
        must(len < 3 || answer == 0);
        sent |= answer == 1;
        received |= answer == 0;
    }
    ck_assert(sent && received);
    drop_two();
}
END_TEST

/* --- Two selects ------------------------------------------------------------------------ */

/* Both would send and receive on the same channels: one of them does the one
 * thing, one the other, on the same. */
WEFT_TEST(two_selects_meet)
{
    make_two(0);
    for (int i = 0; i < ROUNDS(500); i++) {
        int x[2] = { 0, 0 }, y[2] = { 100, 200 };
        weft_case_t one[] = { WEFT_RECV(a, &x[0]), WEFT_SEND(a, &y[0]),
                              WEFT_RECV(b, &x[0]), WEFT_SEND(b, &y[0]) };
        weft_case_t two[] = { WEFT_SEND(b, &y[1]), WEFT_RECV(b, &x[1]),
                              WEFT_SEND(a, &y[1]), WEFT_RECV(a, &x[1]) };
        struct selecting s[2] = { { one, 4, 0, -1 }, { two, 4, 0, -1 } };
        weft_fiber_t f[2];

        for (int k = 0; k < 2; k++)
            f[k] = spawn(select_once, &s[k]);
        for (int k = 0; k < 2; k++)
            join(f[k]);
        must(s[0].answer >= 0 && s[1].answer >= 0);
        /* The same channel, the other end. */
        must((s[0].answer < 2) == (s[1].answer >= 2));
        must((x[0] == 200) != (x[1] == 100));
        must(x[0] + x[1] == 200 || x[0] + x[1] == 100);
        nobody_at(a);
        nobody_at(b);
    }
    drop_two();
}
END_TEST

/* --- Fair --------------------------------------------------------------------------------- */

/* Of 64 cases some can happen, unevenly spread; each as often as any other.
 * The sum of the squared deviations over the expectation stays below what one
 * run in a million exceeds. */
WEFT_TEST(each_of_those_that_can_happen_is_as_likely)
{
    enum { N = WEFT_SELECT_MAX, READY = 5, EACH = 400 };
    static const int ready[READY] = { 0, 1, 2, 40, 63 };
    weft_case_t cases[N];
    weft_chan_t *ch[N];
    int count[N] = { 0 };
    double chi = 0;

    for (int i = 0; i < N; i++) {
        weft_case_t recv = WEFT_RECV(NULL, NULL);

        ch[i] = new_chan(0, 1);
        cases[i] = recv;
        cases[i].object = ch[i];
    }
    for (int i = 0; i < READY; i++)
        must_code(weft_chan_send(ch[ready[i]], NULL), 0);
    for (int i = 0; i < READY * EACH; i++) {
        int answer = _i ? weft_select_try(cases, N) : weft_select(cases, N);

        must(answer >= 0 && answer < N);
        count[answer]++;
        must_code(weft_chan_send(ch[answer], NULL), 0);
    }
    for (int i = 0; i < READY; i++) {
        double off = count[ready[i]] - EACH;

        chi += off * off / EACH;
    }
    ck_assert_msg(chi < 35, "chi squared is %.1f", chi);
    for (int i = 0; i < N; i++)
        weft_chan_unref(ch[i]);
}
END_TEST

/* Sender and receiver of one channel, and a deadline that has passed. */
WEFT_TEST(cases_of_different_kinds_are_as_likely)
{
    enum { EACH = 400 };
    int count[3] = { 0, 0, 0 };
    double chi = 0;
    int x, y = 7;

    make_two(3);
    must_code(weft_chan_send(a, &y), 0);
    for (int i = 0; i < 3 * EACH; i++) {
        weft_case_t cases[] = { WEFT_AFTER(0), WEFT_SEND(a, &y),
                                WEFT_RECV(a, &x) };
        int answer = weft_select(cases, 3);

        must(answer >= 0);
        count[answer]++;
        if (answer == 1)
            must_code(weft_chan_recv(a, &x), 0);
        if (answer == 2)
            must_code(weft_chan_send(a, &y), 0);
    }
    for (int i = 0; i < 3; i++)
        chi += (count[i] - EACH) * (count[i] - EACH) / (double)EACH;
    ck_assert_msg(chi < 30, "chi squared is %.1f", chi);
    drop_two();
}
END_TEST

/* --- Trying --------------------------------------------------------------------------------- */

static weft__au32 stop;

/* At every instant one of the two has a value: the next is put before the
 * last is taken. */
static void *keep_one_ready(void *arg)
{
    int x;

    while (!weft__load(&stop, ACQUIRE)) {
        must_code(weft_chan_send(b, &(int){ 2 }), 0);
        must_code(weft_chan_recv(a, &x), 0);
        must_code(weft_chan_send(a, &(int){ 1 }), 0);
        must_code(weft_chan_recv(b, &x), 0);
        if (workers() == 1)
            weft_yield();
    }
    return arg;
}

/* So a look at both finds one. What it takes it puts back to where it was: the
 * other waits for it. */
WEFT_TEST(what_is_ready_at_every_instant_is_never_missed)
{
    weft_time_t until = weft_now() + WEFT_MS(200);
    weft_fiber_t f;
    int x = 0;

    make_two(2);
    must_code(weft_chan_send(a, &x), 0);
    f = spawn(keep_one_ready, NULL);
    for (int i = 0; i < 200000 && weft_now() < until; i++) {
        weft_case_t cases[] = { WEFT_RECV(a, &x), WEFT_RECV(b, &x) };
        int answer = weft_select_try(cases, 2);

        must(answer == 0 || answer == 1);
        must_code(weft_chan_send(answer ? b : a, &x), 0);
        if (workers() == 1)
            weft_yield();
    }
    weft__store(&stop, 1, RELEASE);
    join(f);
    drop_two();
}
END_TEST

/* Those who stand in line have given up: then nobody is there. */
WEFT_TEST(one_who_has_given_up_is_not_met)
{
    weft_time_t until = weft_now() + WEFT_MS(200);
    int y = 7;

    make_two(0);
    for (int i = 0; i < 5000 && weft_now() < until; i++) {
        int x = 0;
        weft_case_t wait[] = { WEFT_RECV(a, &x), WEFT_RECV(b, &x) };
        weft_case_t cases[] = { WEFT_SEND(a, &y), WEFT_SEND(b, &y) };
        struct selecting s = { wait, 2, 0, -1 };
        weft_fiber_t f = parked_select(&s);
        int answer;

        weft_cancel(f);
        answer = weft_select_try(cases, 2);
        join(f);
        must(s.answer == -ECANCELED);
        must(answer == -EAGAIN);
        must(x == 0);
    }
    drop_two();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("select");
    TCase *tcase = tcase_create("select");

    tcase_add_test(tcase, what_is_ready_happens);
    tcase_add_loop_test(tcase, one_who_waits_is_met, 0, 2);
    tcase_add_test(tcase,
                   what_comes_first_happens_and_the_other_line_is_left);
    tcase_add_test(tcase, a_place_that_becomes_free_is_taken);
    tcase_add_test(tcase, a_closed_channel_is_a_case_that_happened);
    tcase_add_loop_test(tcase, a_close_ends_the_wait, 0, 3);
    tcase_add_test(tcase, the_same_channel_may_stand_in_several_cases);
    tcase_add_test(tcase, a_select_does_not_meet_itself);
    tcase_add_test(tcase, one_of_send_and_receive_happens_at_a_buffer);
    tcase_add_test(tcase, two_selects_meet);
    tcase_add_loop_test(tcase, each_of_those_that_can_happen_is_as_likely, 0,
                        2);
    tcase_add_test(tcase, cases_of_different_kinds_are_as_likely);
    tcase_add_test(tcase, what_is_ready_at_every_instant_is_never_missed);
    tcase_add_test(tcase, one_who_has_given_up_is_not_met);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
