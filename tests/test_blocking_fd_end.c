/*
 * Waits for descriptors in blocking mode that are ended: by a cancel, a
 * deadline, a close, the end of the run. They took no byte, or tell of it; of
 * those that run no fiber too.
 */
#include "tests/support_blocking_fd.h"

#include <dirent.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netpoll/blocking.h"

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
    weft_fiber_t f;

    open_ends(kind, ends, 0, -1);
    c.fd = ends[0];
    f = spawn(call_one, &c);
    wait_until_waiting(f);
    end_wait(how, f, c.fd);
    ck_assert_int_eq(answer(f), codes[how]);
    wait_for_jobs(WEFT__LANE_FD, 0, 0);
    ck_assert_str_eq(buf, "");

    if (how == CLOSE) {
        /* And one that comes later does not begin. */
        ck_assert_int_eq(answer(spawn(call_one, &c)), -EBADF);
        weft__blocking_close_end(&closing);
    }
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
    unsigned rounds = instants(10000), left = 0;
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
        /* The next one finds nothing, or this one's byte if it comes late. */
        while (rw(ends[0], false, &c, 1, WEFT_NOW) == 1)
            left++;
    }
    while (weft__load(&taken, RELAXED) + left < rounds &&
           rw(ends[0], false, &c, 1, weft_after(WEFT_SEC(3))) == 1)
        left++;
    ck_assert_uint_eq(weft__load(&taken, RELAXED) + left, rounds);
    ck_assert_int_eq(rw(ends[0], false, &c, 1, WEFT_NOW), -EAGAIN);
    ck_assert_uint_gt(weft__load(&taken, RELAXED), 0);
    ck_assert_uint_gt(left, 0);
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
    char buf[8];
};

static void read_outside(void *arg)
{
    struct outside *o = arg;

    weft__store(&o->begun, 1, RELEASE);
    o->answer = rw(o->fd, false, o->buf, sizeof(o->buf), o->until);
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
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    o.until = WEFT_FOREVER;
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

        foreign_start(&t, read_outside, &o);
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

/* --- Resources -------------------------------------------------------------------------- */

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

int main(void)
{
    Suite *suite = suite_create("blocking_fd_end");
    TCase *tcase = tcase_create("blocking_fd_end");

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
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
