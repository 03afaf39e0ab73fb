/*
 * Descriptors in blocking mode: pipes on 0 to 2, and terminals. They keep
 * their mode, stop no one but who waits for them, and a wait that is ended
 * took no byte.
 */
#include "tests/support_lane.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netpoll/blocking.h"
#include "sched/sched.h"

static ssize_t rw(int fd, bool write, void *buf, size_t n, weft_time_t until)
{
    struct iovec iov = { buf, n };

    return weft__blocking_rw(self(), fd, write, &iov, 1, until);
}

static ssize_t get(int fd, void *buf, size_t n)
{
    return rw(fd, false, buf, n, WEFT_FOREVER);
}

static ssize_t put(int fd, const void *buf, size_t n)
{
    return rw(fd, true, (void *)(uintptr_t)buf, n, WEFT_FOREVER);
}

/* --- What is waited for ---------------------------------------------------------------- */

/* The kernel can promise not to wait for a pipe, and cannot for a terminal. */
enum kind { PIPE, TERMINAL, KINDS };

/* Two ends: what is written into [1] comes out of [0], byte for byte. The
 * [`our`] one takes the number `as` (or stays, -1), in blocking mode. */
static void open_ends(enum kind kind, int ends[2], int our, int as)
{
    if (kind == PIPE) {
        ck_assert_int_eq(pipe(ends), 0);
    } else {
        struct termios raw = { 0 };

        cfmakeraw(&raw);
        raw.c_cflag |= CS8 | CREAD;
        raw.c_cc[VMIN] = 1;
        /* The slave is the terminal: ours. */
        if (our == 0)
            ck_assert_int_eq(openpty(&ends[1], &ends[0], NULL, &raw, NULL),
                             0);
        else
            ck_assert_int_eq(openpty(&ends[0], &ends[1], NULL, &raw, NULL),
                             0);
    }
    if (as >= 0) {
        ck_assert_int_eq(dup2(ends[our], as), as);
        close(ends[our]);
        ends[our] = as;
    }
    ck_assert_int_eq(fcntl(ends[our], F_GETFL) & O_NONBLOCK, 0);
}

static void close_ends(int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

static weft__au32 ticks, over;

static void *tick(void *arg)
{
    while (!weft__load(&over, ACQUIRE)) {
        (void)weft__fetch_add(&ticks, 1, RELAXED);
        weft_yield();
    }
    return arg;
}

/* A fiber that makes one call. */
struct call {
    int fd;
    bool write;
    char *buf;
    size_t n;
    weft_time_t until;
};

static void *call_one(void *arg)
{
    struct call *c = arg;

    return (void *)(intptr_t)rw(c->fd, c->write, c->buf, c->n,
                                c->until != 0 ? c->until : WEFT_FOREVER);
}

static ssize_t answer(weft_fiber_t f)
{
    return (ssize_t)(intptr_t)join(f);
}

/* Parked, and its thread at work. */
static void wait_until_waiting(weft_fiber_t f)
{
    wait_for_jobs(WEFT__LANE_FD, 1, 0);
    wait_until_parked(f);
}

/* --- Modes, and others -------------------------------------------------------------------- */

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

enum { MUCH = 300000 };

static char much[MUCH], got[MUCH];

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

static void fill_much(void)
{
    for (int i = 0; i < MUCH; i++)
        much[i] = (char)('!' + (i * 11 + i / 77) % 90);
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

/* --- What may not wait --------------------------------------------------------------------- */

WEFT_TEST(what_is_there_is_had_though_it_is_late)
{
    enum kind kind = (enum kind)_i;
    int ends[2];
    char c = 0;

    open_ends(kind, ends, 0, -1);
    ck_assert_int_eq(rw(ends[0], false, &c, 1, WEFT_NOW), -EAGAIN);
    ck_assert_int_eq(rw(ends[0], false, &c, 1, weft_now()), -ETIMEDOUT);
    ck_assert_int_eq(weft__blocking_wait(self(), ends[0], POLLIN, WEFT_NOW),
                     -EAGAIN);
    ck_assert_int_eq(
        weft__blocking_wait(self(), ends[0], POLLIN, weft_now()),
        -ETIMEDOUT);
    ck_assert_uint_eq(jobs_begun(WEFT__LANE_FD), 0);
    ck_assert_int_eq(write(ends[1], "abc", 3), 3);
    while (weft__blocking_wait(self(), ends[0], POLLIN, WEFT_NOW) != POLLIN)
        weft_yield(); /* a terminal's bytes come by way of the kernel */
    ck_assert_int_eq(rw(ends[0], false, &c, 1, WEFT_NOW), 1);
    ck_assert_int_eq(c, 'a');
    ck_assert_int_eq(rw(ends[0], false, &c, 1, weft_now()), 1);
    ck_assert_int_eq(c, 'b');
    ck_assert_int_eq(get(ends[0], &c, 1), 1);
    ck_assert_int_eq(c, 'c');
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
    while (weft__blocking_wait(self(), full_ends[0], POLLIN, WEFT_NOW) !=
           POLLIN)
        weft_yield();
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

/* --- Readiness ----------------------------------------------------------------------------- */

struct readiness {
    int fd;
    short events;
};

static void *await(void *arg)
{
    struct readiness *r = arg;

    return (void *)(intptr_t)weft__blocking_wait(self(), r->fd, r->events,
                                                 WEFT_FOREVER);
}

WEFT_TEST(readiness_takes_nothing)
{
    enum kind kind = (enum kind)_i;
    int ends[2];
    char buf[4];
    struct readiness in = { .events = POLLIN };
    weft_fiber_t f;

    open_ends(kind, ends, 0, -1);
    in.fd = ends[0];
    f = spawn(await, &in);
    wait_until_waiting(f);
    ck_assert_int_eq(write(ends[1], "ab", 2), 2);
    ck_assert_int_eq(answer(f), POLLIN);
    ck_assert_int_eq(answer(spawn(await, &in)), POLLIN);
    ck_assert_int_eq(get(ends[0], buf, 4), 2);
    f = spawn(await, &in);
    wait_until_waiting(f);
    close(ends[1]);
    ck_assert_int_ne(answer(f) & POLLHUP, 0);
    close(ends[0]);
    ck_assert_int_eq(answer(spawn(await, &in)), -EBADF);
}
END_TEST

/* --- Waits that end early -------------------------------------------------------------------- */

enum how { CANCEL, EXPIRE, CLOSE, HOWS };

static struct weft__blocking_close closing;

static void end_wait(enum how how, weft_fiber_t f, int fd)
{
    if (how == CANCEL)
        ck_assert_int_eq(weft_cancel(f), 0);
    else if (how == EXPIRE)
        ck_assert(expire(f));
    else
        weft__blocking_close_begin(&closing, fd);
}

static const int codes[HOWS] = { -ECANCELED, -ETIMEDOUT, -EBADF };

WEFT_TEST(a_read_that_is_ended_took_nothing)
{
    enum kind kind = (enum kind)(_i / HOWS);
    enum how how = (enum how)(_i % HOWS);
    int ends[2];
    char buf[8] = "";
    struct call c = { .buf = buf, .n = sizeof(buf) };
    struct readiness in = { .events = POLLIN };
    weft_fiber_t f;

    open_ends(kind, ends, 0, -1);
    in.fd = c.fd = ends[0];
    f = spawn(call_one, &c);
    wait_until_waiting(f);
    end_wait(how, f, c.fd);
    ck_assert_int_eq(answer(f), codes[how]);
    wait_for_jobs(WEFT__LANE_FD, 0, 0);
    ck_assert_str_eq(buf, "");

    if (how == CLOSE) {
        /* And one that comes later does not begin. */
        ck_assert_int_eq(answer(spawn(call_one, &c)), -EBADF);
        ck_assert_int_eq(answer(spawn(await, &in)), -EBADF);
        weft__blocking_close_end(&closing);
    }
    f = spawn(await, &in);
    wait_until_waiting(f);
    end_wait(how, f, c.fd);
    ck_assert_int_eq(answer(f), codes[how]);
    if (how == CLOSE)
        weft__blocking_close_end(&closing);

    ck_assert_int_eq(write(ends[1], "hello", 5), 5);
    ck_assert_int_eq(get(ends[0], buf, sizeof(buf)), 5);
    ck_assert_str_eq(buf, "hello");
    close_ends(ends);
}
END_TEST

/* What was written before it was ended is told. */
WEFT_TEST(a_write_that_is_ended_says_how_much)
{
    enum kind kind = (enum kind)(_i / HOWS);
    enum how how = (enum how)(_i % HOWS);
    int ends[2];
    struct call c = { .write = true, .buf = much, .n = MUCH };
    struct pollfd out = { .events = POLLIN };
    weft_fiber_t f;
    ssize_t n;

    fill_much();
    open_ends(kind, ends, 1, -1);
    c.fd = ends[1];
    out.fd = ends[0];
    f = spawn(call_one, &c);
    wait_until_waiting(f);
    while (poll(&out, 1, 0) == 0)
        weft_yield();
    end_wait(how, f, c.fd);
    n = answer(f);
    ck_assert_int_gt(n, 0);
    ck_assert_int_lt(n, MUCH);
    /* Until nothing fits any more (of a terminal the kernel moves some on
     * later): then none was written. */
    for (ssize_t r = 1; r > 0 && how != CLOSE; n += r > 0 ? r : 0) {
        c.buf = much + n;
        c.n = (size_t)(MUCH - n);
        f = spawn(call_one, &c);
        wait_until_waiting(f);
        end_wait(how, f, c.fd);
        r = answer(f);
        ck_assert(r > 0 || r == codes[how]);
        ck_assert_int_lt(n + r, MUCH);
    }
    if (how == CLOSE)
        weft__blocking_close_end(&closing);
    close(ends[1]);
    for (ssize_t at = 0; at < n;) {
        ssize_t r = read(ends[0], got + at, MUCH - (size_t)at);

        ck_assert_int_gt(r, 0);
        at += r;
    }
    ck_assert(memcmp(much, got, (size_t)n) == 0);
    ck_assert_int_le(read(ends[0], got, 1), 0);
    close(ends[0]);
}
END_TEST

/* With its own deadline, by the clock. */
WEFT_TEST(a_deadline_ends_a_wait)
{
    enum kind kind = (enum kind)_i;
    int ends[2];
    char c;
    weft_time_t until = weft_after(WEFT_MS(5));

    open_ends(kind, ends, 0, -1);
    ck_assert_int_eq(rw(ends[0], false, &c, 1, until), -ETIMEDOUT);
    ck_assert_int_ge(weft_now(), until);
    until = weft_after(WEFT_MS(5));
    ck_assert_int_eq(weft__blocking_wait(self(), ends[0], POLLIN, until),
                     -ETIMEDOUT);
    ck_assert_int_ge(weft_now(), until);
    close_ends(ends);
}
END_TEST

/* --- The instant of success ------------------------------------------------------------------ */

static int race_fd;
static weft__au32 taken;

/* One byte, or none. */
static void *take_one(void *arg)
{
    char c;
    ssize_t r = rw(race_fd, false, &c, 1, *(weft_time_t *)arg);

    must(r == 1 || r == -ECANCELED || r == -ETIMEDOUT);
    if (r == 1)
        (void)weft__fetch_add(&taken, 1, ACQ_REL);
    return NULL;
}

static void *give_one(void *arg)
{
    must(write(*(int *)arg, "x", 1) == 1);
    return NULL;
}

static void *cancel_it(void *arg)
{
    (void)weft_cancel(*(weft_fiber_t *)arg);
    return NULL;
}

/* A byte and a cancel, or a deadline, come together: each byte that was given
 * is taken or still there. */
WEFT_TEST(no_byte_is_lost_at_the_instant_of_success)
{
    enum kind kind = (enum kind)(_i / 2);
    bool deadline = _i % 2;
    unsigned rounds = (unsigned)ROUNDS(10000), left = 0;
    uint32_t random = 7;
    int ends[2];
    char c;

    open_ends(kind, ends, 0, -1);
    race_fd = ends[0];
    for (unsigned i = 0; i < rounds; i++) {
        weft_time_t until =
            deadline ? weft_after(next_random(&random) % 60000)
                     : WEFT_FOREVER;
        weft_fiber_t f = spawn(take_one, &until), g, h;

        for (uint32_t n = next_random(&random) % 16; n > 0; n--)
            weft_yield();
        g = spawn(give_one, &ends[1]);
        if (next_random(&random) % 2)
            weft_yield();
        h = spawn(cancel_it, &f);
        join(g);
        join(h);
        join(f);
    }
    while (rw(ends[0], false, &c, 1, weft_after(WEFT_SEC(3))) == 1)
        left++;
    ck_assert_uint_eq(weft__load(&taken, RELAXED) + left, rounds);
    ck_assert_uint_gt(weft__load(&taken, RELAXED), 0);
    close_ends(ends);
}
END_TEST

enum { READERS = 4 };

static void *take_many(void *arg)
{
    char c;

    while (get(*(int *)arg, &c, 1) == 1)
        (void)weft__fetch_add(&taken, 1, RELAXED);
    return NULL;
}

/* Several fibers here and a process beside us read one pipe: who finds it
 * empty after all goes on waiting, and each byte comes out once. */
WEFT_TEST(rivals_share_a_pipe)
{
    unsigned rounds = (unsigned)ROUNDS(10000);
    weft_fiber_t f[READERS];
    int ends[2], told[2], status;
    uint32_t theirs = 0;
    pid_t rival;

    open_ends(PIPE, ends, 0, -1);
    ck_assert_int_eq(pipe(told), 0);
    rival = fork();
    if (rival == 0) {
        char c;

        close(ends[1]);
        while (read(ends[0], &c, 1) == 1)
            theirs++;
        if (write(told[1], &theirs, sizeof(theirs)) != sizeof(theirs))
            _exit(1);
        _exit(0);
    }
    for (int i = 0; i < READERS; i++)
        f[i] = spawn(take_many, &ends[0]);
    for (unsigned i = 0; i < rounds; i++) {
        ck_assert_int_eq(write(ends[1], "x", 1), 1);
        if (i % 3 == 0)
            weft_yield();
    }
    close(ends[1]);
    for (int i = 0; i < READERS; i++)
        join(f[i]);
    ck_assert_int_eq(read(told[0], &theirs, sizeof(theirs)),
                     sizeof(theirs));
    ck_assert_int_eq(waitpid(rival, &status, 0), rival);
    ck_assert_uint_eq(weft__load(&taken, RELAXED) + theirs, rounds);
    close(ends[0]);
    close_ends(told);
}
END_TEST

/* --- Threads that run no fiber ---------------------------------------------------------------- */

struct outside {
    int fd;
    weft__au32 begun;
    weft_time_t until;
    ssize_t answer;
    ssize_t ready;
    char buf[8];
};

static void read_outside(void *arg)
{
    struct outside *o = arg;

    weft__store(&o->begun, 1, RELEASE);
    o->answer = rw(o->fd, false, o->buf, sizeof(o->buf), o->until);
}

static void await_outside(void *arg)
{
    struct outside *o = arg;

    weft__store(&o->begun, 1, RELEASE);
    o->answer = weft__blocking_wait(NULL, o->fd, POLLIN, o->until);
}

WEFT_TEST(a_thread_waits_by_itself)
{
    enum kind kind = (enum kind)_i;
    int ends[2];
    struct outside o = { .until = WEFT_FOREVER };
    struct foreign t;

    open_ends(kind, ends, 0, -1);
    o.fd = ends[0];
    foreign_start(&t, read_outside, &o);
    wait_for(&o.begun, 1);
    ck_assert_int_eq(write(ends[1], "hello", 5), 5);
    foreign_join(&t);
    ck_assert_int_eq(o.answer, 5);
    ck_assert_str_eq(o.buf, "hello");

    o.until = weft_after(WEFT_MS(3));
    on_thread(read_outside, &o);
    ck_assert_int_eq(o.answer, -ETIMEDOUT);
    ck_assert_int_ge(weft_now(), o.until);
    on_lane(read_outside, &o);
    ck_assert_int_eq(o.answer, -ETIMEDOUT);
    o.until = WEFT_NOW;
    on_thread(read_outside, &o);
    ck_assert_int_eq(o.answer, -EAGAIN);
    on_thread(await_outside, &o);
    ck_assert_int_eq(o.answer, -EAGAIN);
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    o.until = WEFT_FOREVER;
    on_thread(await_outside, &o);
    ck_assert_int_eq(o.answer, POLLIN);
    on_thread(read_outside, &o);
    ck_assert_int_eq(o.answer, 1);
    ck_assert_uint_eq(jobs_begun(WEFT__LANE_FD), 0);
    close_ends(ends);
}
END_TEST

/* Wherever in its wait the close meets it. */
WEFT_TEST(a_close_ends_a_threads_wait)
{
    enum kind kind = (enum kind)_i;
    uint32_t random = 3;
    int ends[2];

    open_ends(kind, ends, 0, -1);
    for (int i = 0; i < ROUNDS(200); i++) {
        struct outside o = { .fd = ends[0], .until = WEFT_FOREVER };
        struct foreign t;

        foreign_start(&t, i % 2 ? read_outside : await_outside, &o);
        wait_for(&o.begun, 1);
        for (uint32_t n = next_random(&random) % 200; n > 0; n--)
            weft_yield();
        weft__blocking_close_begin(&closing, ends[0]);
        foreign_join(&t);
        must(o.answer == -EBADF);
        weft__blocking_close_end(&closing);
    }
    close_ends(ends);
}
END_TEST

/* --- Resources ------------------------------------------------------------------------------ */

static unsigned descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static int kept[2];

static void wait_and_leave(int i)
{
    static char buf[READERS];
    static struct call c[READERS];

    (void)i;
    for (int n = 0; n < READERS; n++) {
        c[n] = (struct call){ .fd = kept[0], .buf = &buf[n], .n = 1 };
        must_code(weft_go(call_one, &c[n]), 0);
    }
    wait_for_jobs(WEFT__LANE_FD, READERS, 0);
}

/* The end of a run finds some who wait for input that never comes. */
START_TEST(a_run_that_ends_leaves_no_descriptor)
{
    unsigned before;

    open_ends((enum kind)_i, kept, 0, -1);
    run_body(wait_and_leave, 0);
    before = descriptors();
    for (int i = 0; i < 5; i++)
        run_body(wait_and_leave, 0);
    ck_assert_uint_eq(descriptors(), before);
    close_ends(kept);
}
END_TEST

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
    tcase_add_loop_test(tcase, what_is_there_is_had_though_it_is_late, 0,
                        KINDS);
    tcase_add_test(tcase, who_may_not_wait_is_not_queued);
    tcase_add_loop_test(tcase, readiness_takes_nothing, 0, KINDS);
    tcase_add_loop_test(tcase, a_read_that_is_ended_took_nothing, 0,
                        KINDS * HOWS);
    tcase_add_loop_test(tcase, a_write_that_is_ended_says_how_much, 0,
                        KINDS * HOWS);
    tcase_add_loop_test(tcase, a_deadline_ends_a_wait, 0, KINDS);
    tcase_add_loop_test(tcase, no_byte_is_lost_at_the_instant_of_success, 0,
                        2 * KINDS);
    tcase_add_test(tcase, rivals_share_a_pipe);
    tcase_add_loop_test(tcase, a_thread_waits_by_itself, 0, KINDS);
    tcase_add_loop_test(tcase, a_close_ends_a_threads_wait, 0, KINDS);
    tcase_add_loop_test(tcase, a_run_that_ends_leaves_no_descriptor, 0,
                        KINDS);
    tcase_add_test(tcase, without_a_descriptor_the_wait_says_so);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
