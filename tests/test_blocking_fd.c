/*
 * Descriptors in blocking mode: pipes on 0 to 2, and terminals. They keep
 * their mode, stop no one but who waits for them, and answer as the system
 * does. Waits that are ended are in test_blocking_fd_end.c.
 */
#include "tests/support_blocking_fd.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "netpoll/blocking.h"
#include "sched/sched.h"

/* --- Modes, and others -------------------------------------------------------------------- */

static weft__au32 ticks, over;

static void *tick(void *arg)
{
    while (!weft__load(&over, ACQUIRE)) {
        (void)weft__fetch_add(&ticks, 1, RELAXED);
        weft_yield();
    }
    return arg;
}

/* Standard input, with the first fiber's worker free for others meanwhile. */
WEFT_TEST(a_read_from_descriptor_0_stops_no_other_fiber)
{
    enum kind kind = (enum kind)_i;
    int ends[2], mode;
    char buf[8] = "";
    struct call c = { .buf = buf, .n = sizeof(buf) };
    weft_fiber_t f, t;
    uint32_t before;

    open_ends(kind, ends, 0, 0);
    mode = fcntl(0, F_GETFL);
    t = spawn(tick, NULL);
    f = spawn(call_one, &c);
    wait_until_waiting(f);
    before = weft__load(&ticks, RELAXED);
    wait_for(&ticks, before + 100);
    ck_assert(is_state(f, "parked"));
    ck_assert_int_eq(fcntl(0, F_GETFL), mode);
    ck_assert_int_eq(write(ends[1], "hello", 5), 5);
    ck_assert_int_eq(answer(f), 5);
    ck_assert_str_eq(buf, "hello");
    ck_assert_int_eq(fcntl(0, F_GETFL), mode);
    weft__store(&over, 1, RELEASE);
    join(t);
    close_ends(ends);
}
END_TEST

static void *drain(void *arg)
{
    size_t n = 0;

    while (n < MUCH) {
        ssize_t r = read(*(int *)arg, got + n, MUCH - n);

        must(r > 0);
        n += (size_t)r;
    }
    return NULL;
}

/* More than there is room for: it goes on until all is written. */
WEFT_TEST(a_write_to_descriptor_1_is_written_whole)
{
    enum kind kind = (enum kind)_i;
    int ends[2], mode;
    struct call c = { .write = true, .buf = much, .n = MUCH };
    pthread_t reader;
    weft_fiber_t f;

    fill_much();
    open_ends(kind, ends, 1, 1);
    c.fd = 1;
    mode = fcntl(1, F_GETFL);
    f = spawn(call_one, &c);
    wait_until_waiting(f);
    ck_assert_int_eq(pthread_create(&reader, NULL, drain, &ends[0]), 0);
    ck_assert_int_eq(answer(f), MUCH);
    pthread_join(reader, NULL);
    ck_assert(memcmp(much, got, MUCH) == 0);
    ck_assert_int_eq(fcntl(1, F_GETFL), mode);
    close_ends(ends);
}
END_TEST

/* Each of several buffers, in their order. */
WEFT_TEST(vectors_go_through)
{
    enum kind kind = (enum kind)_i;
    int in[2], out[2];
    char a[3], b[4], c[5] = "";
    struct iovec to[] = { { a, 3 }, { b, 0 }, { b, 4 }, { c, 4 } };
    struct iovec from[] = { { "ab", 2 }, { NULL, 0 }, { "cdefghijk", 9 } };

    open_ends(kind, in, 0, -1);
    open_ends(kind, out, 1, -1);
    ck_assert_int_eq(weft__blocking_rw(self(), out[1], true, from, 3,
                                       WEFT_FOREVER),
                     11);
    ck_assert_int_eq(read(out[0], got, MUCH), 11);
    ck_assert_mem_eq(got, "abcdefghijk", 11);
    ck_assert_int_eq(write(in[1], got, 11), 11);
    ck_assert_int_eq(weft__blocking_rw(self(), in[0], false, to, 4,
                                       WEFT_FOREVER),
                     11);
    ck_assert_mem_eq(a, "abc", 3);
    ck_assert_mem_eq(b, "defg", 4);
    ck_assert_mem_eq(c, "hijk", 4);
    ck_assert_int_eq(weft__blocking_rw(self(), in[0], false, to, -1,
                                       WEFT_FOREVER),
                     -EINVAL);
    ck_assert_int_eq(weft__blocking_rw(self(), in[0], false, to, 1025,
                                       WEFT_FOREVER),
                     -EINVAL);
    ck_assert_int_eq(weft__blocking_rw(self(), in[0], false, to + 1, 1,
                                       WEFT_FOREVER),
                     0);
    close_ends(in);
    close_ends(out);
}
END_TEST

/* A terminal that gives whole lines gives them one by one. */
WEFT_TEST(a_terminal_gives_lines)
{
    int master, slave;
    char buf[64] = "";
    struct call c = { .buf = buf, .n = sizeof(buf) };
    struct termios before, after;
    weft_fiber_t f;

    ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
    ck_assert_int_eq(tcgetattr(slave, &before), 0);
    c.fd = slave;
    f = spawn(call_one, &c);
    wait_until_waiting(f);
    ck_assert_int_eq(write(master, "no line yet", 11), 11);
    for (int i = 0; i < 100; i++)
        weft_yield();
    ck_assert(is_state(f, "parked"));
    ck_assert_int_eq(write(master, "\nnext\n", 6), 6);
    ck_assert_int_eq(answer(f), 12);
    ck_assert_str_eq(buf, "no line yet\n");
    ck_assert_int_eq(get(slave, buf, sizeof(buf)), 5);
    ck_assert_int_eq(tcgetattr(slave, &after), 0);
    ck_assert_int_eq(before.c_lflag, after.c_lflag);
    close(master);
    close(slave);
}
END_TEST

/* --- Ends and errors ----------------------------------------------------------------------- */

WEFT_TEST(an_end_is_an_end)
{
    int ends[2];
    char c = 'x';
    struct call call = { .buf = &c, .n = 1 };
    weft_fiber_t f;

    open_ends(PIPE, ends, 0, -1);
    call.fd = ends[0];
    f = spawn(call_one, &call);
    wait_until_waiting(f);
    close(ends[1]);
    ck_assert_int_eq(answer(f), 0);
    ck_assert_int_eq(get(ends[0], &c, 1), 0);
    ck_assert_int_eq(put(ends[0], &c, 1), -EBADF);
    close(ends[0]);
    ck_assert_int_eq(get(ends[0], &c, 1), -EBADF);
}
END_TEST

/* Whoever writes then lives, on whatever thread. */
static void write_broken(void *arg)
{
    int fd = *(int *)arg;
    sigset_t pipe;

    /* The thread was made by a worker, and has its mask. */
    if (!weft__fiber_self() && !weft__on_lane()) {
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);
        ck_assert_int_eq(pthread_sigmask(SIG_UNBLOCK, &pipe, NULL), 0);
    }

    ck_assert_int_eq(put(fd, "x", 1), -EPIPE);
    ck_assert_int_eq(put(fd, much, MUCH), -EPIPE);
}

WEFT_TEST(a_broken_pipe_kills_no_one)
{
    int ends[2];
    struct call c = { .write = true, .buf = much, .n = MUCH };
    weft_fiber_t f;

    open_ends(PIPE, ends, 1, -1);
    c.fd = ends[1];
    f = spawn(call_one, &c);
    wait_until_waiting(f);
    close(ends[0]);
    /* It had written what fits. */
    ck_assert_int_gt(answer(f), 0);
    write_broken(&ends[1]);
    on_thread(write_broken, &ends[1]);
    on_lane(write_broken, &ends[1]);
    close(ends[1]);
}
END_TEST

struct broken_later {
    int fd;
    weft__au32 begun;
    ssize_t answer;
};

static void write_until_broken(void *arg)
{
    struct broken_later *b = arg;
    sigset_t pipe;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    ck_assert_int_eq(pthread_sigmask(SIG_UNBLOCK, &pipe, NULL), 0);
    weft__store(&b->begun, 1, RELEASE);
    b->answer = put(b->fd, much, MUCH);
    ck_assert_int_eq(sigpending(&pipe), 0);
    ck_assert_int_eq(sigismember(&pipe, SIGPIPE), 0);
}

/* The answer says how much was written, and the signal came all the same. */
WEFT_TEST(a_pipe_that_breaks_under_a_threads_write_kills_no_one)
{
    struct broken_later b = { .answer = 0 };
    struct foreign t;
    int ends[2];

    open_ends(PIPE, ends, 1, -1);
    b.fd = ends[1];
    foreign_start(&t, write_until_broken, &b);
    wait_for(&b.begun, 1);
    await_bytes(ends[0]);
    close(ends[0]);
    foreign_join(&t);
    ck_assert_int_gt(b.answer, 0);
    ck_assert_int_lt(b.answer, MUCH);
    close(ends[1]);
}
END_TEST

/* --- What may not wait --------------------------------------------------------------------- */

WEFT_TEST(what_is_there_is_had_though_it_is_late)
{
    enum kind kind = (enum kind)_i;
    int ends[2];
    char c = 0;

    open_ends(kind, ends, 0, -1);
    ck_assert_int_eq(rw(ends[0], false, &c, 1, WEFT_NOW), -EAGAIN);
    ck_assert_int_eq(rw(ends[0], false, &c, 1, weft_now()), -ETIMEDOUT);
    ck_assert_uint_eq(jobs_begun(WEFT__LANE_FD), 0);
    ck_assert_int_eq(write(ends[1], "abc", 3), 3);
    await_bytes(ends[0]);
    ck_assert_int_eq(rw(ends[0], false, &c, 1, WEFT_NOW), 1);
    ck_assert_int_eq(c, 'a');
    ck_assert_int_eq(rw(ends[0], false, &c, 1, weft_now()), 1);
    ck_assert_int_eq(c, 'b');
    ck_assert_int_eq(get(ends[0], &c, 1), 1);
    ck_assert_int_eq(c, 'c');
    close_ends(ends);
}
END_TEST

static void *get_what_is_there(void *arg)
{
    const int *ends = arg;

    ck_code(weft_cancel(weft_self()), 0);
    for (int i = 0; i < 100; i++) {
        char c = 0;

        must(write(ends[1], "x", 1) == 1);
        await_bytes(ends[0]);
        must_code(weft_read_until(ends[0], &c, 1, WEFT_NOW), 1);
        must(c == 'x');
    }
    return NULL;
}

/* A call that may not wait does not look at the cancel, nor does the wait for
 * the thread that makes it. */
WEFT_TEST(what_is_there_is_had_by_one_who_is_cancelled)
{
    int ends[2];

    open_ends((enum kind)_i, ends, 0, -1);
    join(spawn(get_what_is_there, ends));
    close_ends(ends);
}
END_TEST

static int full_ends[2];

static void late_and_full(int i)
{
    int other[2];
    char c = 0;
    struct call call = { .buf = &c, .n = 1 };
    weft_fiber_t f;

    (void)i;
    open_ends(TERMINAL, other, 0, -1);
    call.fd = other[0];
    f = spawn(call_one, &call);
    wait_until_waiting(f);
    /* There is a byte, and no thread to fetch it. */
    ck_assert_int_eq(write(full_ends[1], "x", 1), 1);
    await_bytes(full_ends[0]);
    ck_assert_int_eq(rw(full_ends[0], false, &c, 1, WEFT_NOW), -EAGAIN);
    ck_assert_int_eq(rw(full_ends[0], false, &c, 1, weft_now()),
                     -ETIMEDOUT);
    ck_assert_int_eq(write(other[1], "y", 1), 1);
    ck_assert_int_eq(answer(f), 1);
    ck_assert_int_eq(get(full_ends[0], &c, 1), 1);
    ck_assert_int_eq(c, 'x');
    close_ends(other);
}

START_TEST(who_may_not_wait_is_not_queued)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    config.fd_threads = 1;
    open_ends(TERMINAL, full_ends, 0, -1);
    ck_code(run_with(&config, late_and_full, 0), 0);
    close_ends(full_ends);
}
END_TEST

/* --- Resources -------------------------------------------------------------------------- */

WEFT_TEST(without_a_descriptor_the_wait_says_so)
{
    struct rlimit old, none;
    int ends[2];
    char c = 0;
    weft_time_t until = WEFT_FOREVER;

    open_ends(PIPE, ends, 0, -1);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert_int_eq(rw(ends[0], false, &c, 1, until), -EMFILE);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    ck_assert_int_eq(get(ends[0], &c, 1), 1);
    close_ends(ends);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("blocking_fd");
    TCase *tcase = tcase_create("blocking_fd");

    tcase_add_loop_test(
        tcase, a_read_from_descriptor_0_stops_no_other_fiber, 0, KINDS);
    tcase_add_loop_test(tcase, a_write_to_descriptor_1_is_written_whole, 0,
                        KINDS);
    tcase_add_loop_test(tcase, vectors_go_through, 0, KINDS);
    tcase_add_test(tcase, a_terminal_gives_lines);
    tcase_add_test(tcase, an_end_is_an_end);
    tcase_add_test(tcase, a_broken_pipe_kills_no_one);
    tcase_add_test(tcase,
                   a_pipe_that_breaks_under_a_threads_write_kills_no_one);
    tcase_add_loop_test(tcase, what_is_there_is_had_though_it_is_late, 0,
                        KINDS);
    tcase_add_loop_test(tcase, what_is_there_is_had_by_one_who_is_cancelled,
                        0, KINDS);
    tcase_add_test(tcase, who_may_not_wait_is_not_queued);
    tcase_add_test(tcase, without_a_descriptor_the_wait_says_so);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
