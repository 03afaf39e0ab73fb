/*
 * Select over descriptors, beside channels and deadlines: readiness is told
 * and not taken, also to the next who waits; closing ends it; descriptors in
 * blocking mode keep their mode.
 */
#include "tests/support_net.h"

#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#include "netpoll/desc.h"

static weft_chan_t *ch;

struct selecting {
    weft_case_t *cases;
    size_t n;
    weft_time_t deadline;
    int answer;
};

static void *select_once(void *arg)
{
    struct selecting *s = arg;

    s->answer = weft_select_until(s->cases, s->n, s->deadline);
    log_code("weft_select_until(", s->answer > 0 ? 0 : s->answer);
    return NULL;
}

static weft_fiber_t parked_select(struct selecting *s)
{
    weft_fiber_t f = spawn_one(select_once, s);

    wait_until_parked(f);
    return f;
}

static void write_byte(int fd)
{
    must_code(weft_write(fd, "x", 1), 1);
}

static void read_byte(int fd)
{
    char byte = 0;

    must_code(weft_read_until(fd, &byte, 1, WEFT_NOW), 1);
    must(byte == 'x');
}

/* --- Ready at once, and later ---------------------------------------------------- */

WEFT_TEST(what_is_ready_happens)
{
    int fds[2], x = 0;

    net_pair((enum net_kind)_i, fds);
    ch = new_chan(sizeof(int), 0);
    {
        weft_case_t cases[] = { WEFT_RECV(ch, &x), WEFT_READABLE(fds[0]) };
        weft_case_t room[] = { WEFT_RECV(ch, &x), WEFT_WRITABLE(fds[1]) };

        ck_code(weft_select_try(cases, 2), -EAGAIN);
        ck_code(weft_select_try(room, 2), 1);
        ck_code(weft_select(room, 2), 1);
        ck_assert_int_eq(room[1].status, 0);
        write_byte(fds[1]);
        ck_code(weft_select(cases, 2), 1);
        ck_assert_int_eq(cases[1].status, 0);
        /* Nothing was taken. */
        ck_code(weft_select_try(cases, 2), 1);
        read_byte(fds[0]);
        ck_code(weft_select_until(cases, 2, WEFT_NOW), -EAGAIN);
        ck_code(weft_select_until(cases, 2, weft_after(WEFT_MS(2))),
                -ETIMEDOUT);
    }
    weft_chan_unref(ch);
    net_close(fds);
}
END_TEST

WEFT_TEST(what_comes_first_ends_the_wait)
{
    int fds[2], x = 0;

    net_pair((enum net_kind)_i, fds);
    ch = new_chan(sizeof(int), 0);
    for (int i = 0; i < 50; i++) {
        weft_case_t cases[] = { WEFT_READABLE(fds[0]), WEFT_RECV(ch, &x) };
        struct selecting s = { cases, 2, WEFT_FOREVER, -1 };
        weft_fiber_t f = parked_select(&s);

        if (i % 2)
            must_code(weft_chan_send(ch, &i), 0);
        else
            write_byte(fds[1]);
        join_one(f);
        must(s.answer == i % 2);
        must_code(cases[s.answer].status, 0);
        if (i % 2)
            must(x == i);
        else
            read_byte(fds[0]);
        must_code(weft_chan_send_try(ch, &x), -EAGAIN);
    }
    weft_chan_unref(ch);
    net_close(fds);
}
END_TEST

/* Full, and then there is room. */
WEFT_TEST(room_to_write_ends_the_wait)
{
    int fds[2];

    net_pair(NET_UNIX, fds);
    {
        weft_case_t cases[] = { WEFT_WRITABLE(fds[1]) };
        struct selecting s = { cases, 1, WEFT_FOREVER, -1 };
        size_t filled = net_fill(fds[1]);
        char buf[4096];
        weft_fiber_t f;

        ck_code(weft_select_try(cases, 1), -EAGAIN);
        f = parked_select(&s);
        while (filled > 0) {
            ssize_t n = weft_read(fds[0], buf, sizeof(buf));

            must(n > 0);
            filled -= (size_t)n;
        }
        join_one(f);
        ck_assert_int_eq(s.answer, 0);
    }
    net_close(fds);
}
END_TEST

static void *send_seven(void *arg)
{
    must_code(weft_chan_send(ch, &(int){ 7 }), 0);
    return arg;
}

static void *write_one(void *arg)
{
    write_byte(*(int *)arg);
    return NULL;
}

/* A descriptor and a channel that both become ready: one case happens, and the
 * other thing is still there. */
WEFT_TEST(both_become_ready_and_one_happens)
{
    weft_time_t until = weft_now() + WEFT_MS(400);
    int fds[2], count[2] = { 0, 0 };

    net_pair(NET_TCP, fds);
    ch = new_chan(sizeof(int), 0);
    for (int i = 0; i < 5000 && weft_now() < until; i++) {
        int x = 0;
        weft_case_t cases[] = { WEFT_RECV(ch, &x), WEFT_READABLE(fds[0]) };
        struct selecting s = { cases, 2, WEFT_FOREVER, -1 };
        weft_fiber_t f, one, two;

        f = i % 3 ? spawn_one(select_once, &s) : parked_select(&s);
        one = spawn_one(i % 2 ? send_seven : write_one, &fds[1]);
        two = spawn_one(i % 2 ? write_one : send_seven, &fds[1]);
        join_one(f);
        must(s.answer == 0 || s.answer == 1);
        must_code(cases[s.answer].status, 0);
        must((x == 7) == (s.answer == 0));
        count[s.answer]++;
        if (s.answer == 1)
            must_code(weft_chan_recv(ch, &x), 0);
        join_one(one);
        join_one(two);
        read_byte(fds[0]);
    }
    ck_assert_int_gt(count[0] + count[1], 0);
    weft_chan_unref(ch);
    net_close(fds);
}
END_TEST

/* All are ready: each is as likely. */
WEFT_TEST(descriptors_are_as_likely_as_others)
{
    enum { EACH = 300 };
    int fds[2], x, count[3] = { 0, 0, 0 };
    double chi = 0;

    net_pair(NET_UNIX, fds);
    ch = new_chan(sizeof(int), 1);
    must_code(weft_chan_send(ch, &(int){ 1 }), 0);
    write_byte(fds[1]);
    for (int i = 0; i < 3 * EACH; i++) {
        weft_case_t cases[] = { WEFT_READABLE(fds[0]), WEFT_RECV(ch, &x),
                                WEFT_WRITABLE(fds[1]) };
        int answer = weft_select(cases, 3);

        must(answer >= 0);
        count[answer]++;
        if (answer == 1)
            must_code(weft_chan_send(ch, &x), 0);
    }
    for (int i = 0; i < 3; i++)
        chi += (count[i] - EACH) * (count[i] - EACH) / (double)EACH;
    ck_assert_msg(chi < 30, "chi squared is %.1f", chi);
    weft_chan_unref(ch);
    net_close(fds);
}
END_TEST

/* --- Others who wait --------------------------------------------------------------- */

/* A reader waits behind a select on the same descriptor. The select is woken,
 * or goes elsewhere, and does not read: the reader gets its byte. */
WEFT_TEST(who_waits_behind_a_select_is_told)
{
    int fds[2], x = 0;

    net_pair((enum net_kind)(_i / 2), fds);
    ch = new_chan(sizeof(int), 0);
    for (int i = 0; i < 100; i++) {
        weft_case_t cases[] = { WEFT_READABLE(fds[0]), WEFT_RECV(ch, &x) };
        struct selecting s = { cases, 2, WEFT_FOREVER, -1 };
        weft_fiber_t f = parked_select(&s);
        struct net_reader r = { .fd = fds[0], .n = 1 };
        weft_fiber_t reader = spawn_one(read_one, &r);
        int sent = -EAGAIN;

        wait_until_parked(reader);
        write_byte(fds[1]);
        if (_i % 2)
            sent = weft_chan_send_try(ch, &i);
        join_one(reader);
        must(r.answer == 1);
        /* The reader may have been faster, and the select waits again. */
        (void)weft_cancel(f);
        join_one(f);
        must((sent == 0) == (s.answer == 1));
        must(s.answer == 0 || s.answer == 1 || s.answer == -ECANCELED);
    }
    weft_chan_unref(ch);
    net_close(fds);
}
END_TEST

/* Two selects at one descriptor: both are told, since neither takes. */
WEFT_TEST(two_selects_at_one_descriptor_are_both_told)
{
    int fds[2];

    net_pair((enum net_kind)_i, fds);
    for (int i = 0; i < 50; i++) {
        weft_case_t one[] = { WEFT_READABLE(fds[0]) };
        weft_case_t two[] = { WEFT_READABLE(fds[0]), WEFT_READABLE(fds[0]) };
        struct selecting s[2] = { { one, 1, WEFT_FOREVER, -1 },
                                  { two, 2, WEFT_FOREVER, -1 } };
        weft_fiber_t f[2] = { parked_select(&s[0]), parked_select(&s[1]) };

        write_byte(fds[1]);
        join_one(f[0]);
        join_one(f[1]);
        must(s[0].answer == 0 && s[1].answer >= 0);
        read_byte(fds[0]);
    }
    net_close(fds);
}
END_TEST

/* --- Closed, hung up, not open --------------------------------------------------------- */

WEFT_TEST(closing_ends_the_wait)
{
    int fds[2], x;

    net_pair((enum net_kind)_i, fds);
    ch = new_chan(sizeof(int), 0);
    {
        weft_case_t cases[] = { WEFT_RECV(ch, &x), WEFT_READABLE(fds[0]) };
        struct selecting s = { cases, 2, WEFT_FOREVER, -1 };
        weft_fiber_t f = parked_select(&s);

        must_code(weft_close(fds[0]), 0);
        join_one(f);
        ck_assert_int_eq(s.answer, 1);
        ck_assert_int_eq(cases[1].status, -EBADF);
        ck_code(weft_select_try(cases, 2), 1);
        ck_assert_int_eq(cases[1].status, -EBADF);
        ck_code(weft_select(cases, 2), 1);
        ck_assert_int_eq(cases[1].status, -EBADF);
        ck_assert_int_eq(weft_chan_send_try(ch, &x), -EAGAIN);
    }
    weft_chan_unref(ch);
    must_code(weft_close(fds[1]), 0);
}
END_TEST

WEFT_TEST(a_hang_up_is_something_to_read)
{
    int fds[2];

    net_pair((enum net_kind)_i, fds);
    {
        weft_case_t cases[] = { WEFT_READABLE(fds[0]) };
        struct selecting s = { cases, 1, WEFT_FOREVER, -1 };
        weft_fiber_t f = parked_select(&s);
        char byte;

        must_code(weft_close(fds[1]), 0);
        join_one(f);
        ck_assert_int_eq(s.answer, 0);
        ck_assert_int_eq(cases[0].status, 0);
        ck_assert_int_eq(weft_read(fds[0], &byte, 1), 0);
    }
    must_code(weft_close(fds[0]), 0);
}
END_TEST

WEFT_TEST(a_negative_descriptor_never_happens)
{
    weft_case_t cases[] = { WEFT_READABLE(-1), WEFT_WRITABLE(-1000) };

    ck_code(weft_select(cases, 2), -EDEADLK);
    ck_code(weft_select_try(cases, 2), -EAGAIN);
}
END_TEST

/* --- Of other kinds ------------------------------------------------------------------------ */

/* A pipe that is not weft's, in blocking mode: as standard input may be. */
WEFT_TEST(a_descriptor_in_blocking_mode_keeps_its_mode)
{
    unsigned before = open_descriptors();
    int one[2], two[2], x;

    must(pipe(one) == 0 && pipe(two) == 0);
    ch = new_chan(sizeof(int), 0);
    for (int i = 0; i < 20; i++) {
        weft_case_t cases[] = { WEFT_READABLE(one[0]), WEFT_RECV(ch, &x),
                                WEFT_READABLE(two[0]) };
        struct selecting s = { cases, 3, WEFT_FOREVER, -1 };
        weft_fiber_t f = parked_select(&s);
        char byte;

        if (i % 3 == 1)
            must_code(weft_chan_send(ch, &i), 0);
        else
            must(write(i % 3 ? two[1] : one[1], "x", 1) == 1);
        join_one(f);
        must(s.answer == i % 3);
        if (i % 3 != 1)
            must(read(i % 3 ? two[0] : one[0], &byte, 1) == 1);
        must(!(fcntl(one[0], F_GETFL) & O_NONBLOCK));
        must(!(fcntl(two[0], F_GETFL) & O_NONBLOCK));
    }
    weft_chan_unref(ch);
    for (int i = 0; i < 2; i++) {
        must_code(weft_close(one[i]), 0);
        must_code(weft_close(two[i]), 0);
    }
    ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

/* To watch it takes a descriptor, and there is none left. */
WEFT_TEST(no_descriptor_to_watch_one_in_blocking_mode)
{
    enum { MOST = 4096 };
    static int taken[MOST];
    int fds[2], tried, plain, until;
    unsigned n;

    must(pipe(fds) == 0);
    n = leave_descriptors(0, taken, MOST);
    {
        weft_case_t cases[] = { WEFT_READABLE(fds[0]) };

        tried = weft_select_try(cases, 1);
        plain = weft_select(cases, 1);
        until = weft_select_until(cases, 1, weft_after(WEFT_SEC(1)));
    }
    while (n > 0)
        close(taken[--n]);
    /* The log of codes needs a descriptor, too. */
    ck_assert_int_eq(tried, -EAGAIN);
    ck_assert_int_eq(plain, -EMFILE);
    ck_assert_int_eq(until, -EMFILE);
    log_code("weft_select(", plain);
    log_code("weft_select_until(", until);
    must_code(weft_close(fds[0]), 0);
    must_code(weft_close(fds[1]), 0);
}
END_TEST

WEFT_TEST(a_regular_file_is_always_ready)
{
    int fd = open(TEST_SOURCE_DIR "/README.md", O_RDONLY | O_CLOEXEC);
    weft_case_t cases[] = { WEFT_READABLE(fd) };

    must(fd >= 0);
    ck_code(weft_select(cases, 1), 0);
    ck_assert_int_eq(cases[0].status, 0);
    must_code(weft_close(fd), 0);
}
END_TEST

/* --- Many ------------------------------------------------------------------------------------- */

/* More than find room on the stack, up to all cases. */
WEFT_TEST(as_many_descriptors_as_cases)
{
    enum { N = WEFT_SELECT_MAX };
    weft_case_t cases[N];
    int fds[N][2];
    size_t n = _i ? N : 5;

    for (size_t i = 0; i < n; i++) {
        weft_case_t none = WEFT_READABLE(-1);

        net_pair(NET_UNIX, fds[i]);
        cases[i] = none;
        cases[i].fd = fds[i][0];
    }
    for (size_t i = 0; i < n; i++) {
        struct selecting s = { cases, n, WEFT_FOREVER, -1 };
        weft_fiber_t f = parked_select(&s);

        write_byte(fds[i][1]);
        join_one(f);
        must(s.answer == (int)i);
        read_byte(fds[i][0]);
    }
    for (size_t i = 0; i < n; i++)
        net_close(fds[i]);
}
END_TEST

/* --- Ended otherwise ------------------------------------------------------------------------------ */

WEFT_TEST(deadline_cancel_and_limit_end_the_wait)
{
    int fds[2], other[2];

    net_pair(NET_TCP, fds);
    net_pair(NET_TCP, other);
    {
        weft_case_t cases[] = { WEFT_READABLE(fds[0]),
                                WEFT_AFTER(weft_after(WEFT_MS(3))),
                                WEFT_READABLE(other[0]) };
        struct selecting s = { cases, 1, WEFT_FOREVER, -1 };
        weft_fiber_t f = parked_select(&s);

        must_code(weft_cancel(f), 0);
        join_one(f);
        ck_assert_int_eq(s.answer, -ECANCELED);
        ck_code(weft_select(cases, 3), 1);
        cases[1].deadline = WEFT_FOREVER;
        ck_code(weft_select_until(cases, 3, weft_after(WEFT_MS(3))),
                -ETIMEDOUT);
        /* What weft_serve gives its connections. */
        (void)weft__desc_limit(other[0], WEFT_MS(3), 0);
        ck_code(weft_select_until(cases, 3, weft_after(WEFT_SEC(100))), 2);
        ck_assert_int_eq(cases[2].status, -ETIMEDOUT);
        write_byte(other[1]);
        ck_code(weft_select(cases, 3), 2);
        ck_assert_int_eq(cases[2].status, 0);
    }
    net_close(fds);
    net_close(other);
}
END_TEST

static void select_outside(void *arg)
{
    int *fds = arg;
    weft_case_t cases[] = { WEFT_READABLE(fds[0]) };
    weft_case_t room[] = { WEFT_READABLE(fds[0]), WEFT_WRITABLE(fds[1]) };

    ck_code(weft_select(cases, 1), -EPERM);
    ck_code(weft_select_try(cases, 1), -EAGAIN);
    ck_code(weft_select(room, 2), 1);
}

WEFT_TEST(a_foreign_thread_has_what_is_ready)
{
    int fds[2];

    net_pair(NET_UNIX, fds);
    if (_i)
        on_lane(select_outside, fds);
    else
        on_thread(select_outside, fds);
    net_close(fds);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("select_fd");
    TCase *tcase = tcase_create("select_fd");

    tcase_add_loop_test(tcase, what_is_ready_happens, 0, NET_KINDS);
    tcase_add_loop_test(tcase, what_comes_first_ends_the_wait, 0, NET_KINDS);
    tcase_add_test(tcase, room_to_write_ends_the_wait);
    tcase_add_test(tcase, both_become_ready_and_one_happens);
    tcase_add_test(tcase, descriptors_are_as_likely_as_others);
    tcase_add_loop_test(tcase, who_waits_behind_a_select_is_told, 0,
                        2 * NET_KINDS);
    tcase_add_loop_test(tcase, two_selects_at_one_descriptor_are_both_told, 0,
                        NET_KINDS);
    tcase_add_loop_test(tcase, closing_ends_the_wait, 0, NET_KINDS);
    tcase_add_loop_test(tcase, a_hang_up_is_something_to_read, 0, NET_KINDS);
    tcase_add_test(tcase, a_negative_descriptor_never_happens);
    tcase_add_test(tcase, a_descriptor_in_blocking_mode_keeps_its_mode);
    tcase_add_test(tcase, no_descriptor_to_watch_one_in_blocking_mode);
    tcase_add_test(tcase, a_regular_file_is_always_ready);
    tcase_add_loop_test(tcase, as_many_descriptors_as_cases, 0, 2);
    tcase_add_test(tcase, deadline_cancel_and_limit_end_the_wait);
    tcase_add_loop_test(tcase, a_foreign_thread_has_what_is_ready, 0, 2);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
