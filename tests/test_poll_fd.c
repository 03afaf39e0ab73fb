/* weft_poll() and weft_fd_wait(): readiness, and nothing taken. */
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <weft/select.h>

#include "netpoll/wait.h"
#include "tests/support_net.h"

struct poller {
    struct pollfd *fds;
    nfds_t n;
    weft_time_t deadline;
    int answer;
};

static void *poll_main(void *arg)
{
    struct poller *p = arg;

    p->answer = weft_poll_until(p->fds, p->n,
                                p->deadline ? p->deadline : WEFT_FOREVER);
    return NULL;
}

/* Many pairs, one of which becomes ready, wherever it stands; between them
 * negative numbers, which are left out. */
WEFT_TEST(one_of_many_becomes_ready)
{
    enum { PAIRS = 300 };
    static int pairs[PAIRS][2];
    static struct pollfd fds[2 * PAIRS];
    struct poller p = { .fds = fds, .n = 2 * PAIRS };
    char c;

    for (int i = 0; i < PAIRS; i++) {
        net_pair(NET_UNIX, pairs[i]);
        fds[2 * i] = (struct pollfd){ .fd = pairs[i][0], .events = POLLIN };
        fds[2 * i + 1] = (struct pollfd){ .fd = -1 - i, .events = POLLIN,
                                          .revents = POLLIN };
    }
    for (int i = 0; i < PAIRS; i += 13) {
        weft_fiber_t f = spawn(poll_main, &p);

        wait_until_parked(f);
        ck_assert_int_eq(weft_write(pairs[i][1], "x", 1), 1);
        join(f);
        ck_assert_int_eq(p.answer, 1);
        for (int k = 0; k < 2 * PAIRS; k++)
            must(fds[k].revents == (k == 2 * i ? POLLIN : 0));
        ck_assert_int_eq(weft_read(pairs[i][0], &c, 1), 1);
    }
    ck_code(weft_poll_until(fds, 2 * PAIRS, weft_after(WEFT_MS(3))),
            -ETIMEDOUT);
    ck_code(weft_poll_until(fds, 2 * PAIRS, WEFT_NOW), -EAGAIN);
    for (int i = 0; i < PAIRS; i++)
        net_close(pairs[i]);
}
END_TEST

/* All of them become ready while the poller wakes up: all that were by then
 * are told of. */
WEFT_TEST(several_become_ready)
{
    int a[2], b[2];
    struct pollfd fds[3];
    struct poller p = { .fds = fds, .n = 3 };
    weft_fiber_t f;

    net_pair(NET_UNIX, a);
    net_pair(NET_TCP, b);
    net_fill(b[0]);
    fds[0] = (struct pollfd){ .fd = a[0], .events = POLLIN };
    fds[1] = (struct pollfd){ .fd = b[0], .events = POLLIN | POLLOUT };
    fds[2] = (struct pollfd){ .fd = a[0], .events = POLLIN | POLLRDHUP };
    f = spawn(poll_main, &p);
    wait_until_parked(f);
    ck_code(weft_close(a[1]), 0);
    join(f);
    ck_assert_int_eq(p.answer, 2);
    ck_assert(fds[0].revents & POLLIN && fds[0].revents & POLLHUP);
    ck_assert_int_eq(fds[1].revents, 0);
    ck_assert(fds[2].revents & POLLRDHUP);
    ck_code(weft_close(a[0]), 0);
    net_close(b);
}
END_TEST

/* One that is not open, and one that is closed meanwhile. */
WEFT_TEST(closed_descriptors_are_told)
{
    int a[2], b[2];
    struct pollfd fds[2];
    struct poller p = { .fds = fds, .n = 2 };
    weft_fiber_t f;

    net_pair(NET_UNIX, a);
    net_pair(NET_UNIX, b);
    fds[0] = (struct pollfd){ .fd = a[0], .events = POLLIN };
    fds[1] = (struct pollfd){ .fd = b[0], .events = POLLIN };
    f = spawn(poll_main, &p);
    wait_until_parked(f);
    ck_code(weft_close(b[0]), 0);
    join(f);
    ck_assert_int_eq(p.answer, 1);
    ck_assert_int_eq(fds[0].revents, 0);
    ck_assert_int_eq(fds[1].revents, POLLNVAL);
    ck_code(weft_poll(fds, 2), 1);
    ck_assert_int_eq(fds[1].revents, POLLNVAL);
    fds[1].fd = INT32_MAX;
    ck_assert_int_eq(weft_poll(fds, 2), 1);
    ck_assert_int_eq(fds[1].revents, POLLNVAL);
    ck_code(weft_fd_wait_until(b[0], POLLIN, WEFT_FOREVER), -EBADF);
    ck_code(weft_fd_wait_until(-1, POLLIN, WEFT_FOREVER), -EBADF);
    ck_code(weft_close(b[1]), 0);
    net_close(a);
}
END_TEST

/* No descriptor at all: the deadline, or a cancel. */
WEFT_TEST(nothing_to_poll_sleeps)
{
    struct pollfd none = { .fd = -1, .events = POLLIN, .revents = POLLIN };
    struct poller p = { 0 };
    weft_time_t until = weft_after(WEFT_MS(3));
    weft_fiber_t f;

    ck_code(weft_poll_until(NULL, 0, until), -ETIMEDOUT);
    ck_assert_int_ge(weft_now(), until);
    ck_code(weft_poll_until(&none, 1, weft_after(WEFT_MS(3))), -ETIMEDOUT);
    ck_assert_int_eq(none.revents, 0);
    f = spawn(poll_main, &p);
    wait_until_parked(f);
    ck_code(weft_cancel(f), 0);
    join(f);
    ck_code(p.answer, -ECANCELED);
    f = weft_self();
    ck_code(weft_cancel(f), 0);
    ck_code(weft_poll_until(NULL, 0, WEFT_FOREVER), -ECANCELED);
    ck_code(weft_fd_wait_until(0, POLLIN, WEFT_FOREVER), -ECANCELED);
    ck_code(weft_poll_until(NULL, 0, WEFT_NOW), -EAGAIN);
    weft_cancel_clear();
}
END_TEST

WEFT_TEST(nonsense_is_refused)
{
    static struct pollfd many[65537];
    struct rlimit limit;
    int fds[2];

    ck_code(weft_poll_until(NULL, 1, WEFT_FOREVER), -EINVAL);
    ck_code(weft_poll_until(many, 65537, WEFT_FOREVER), -EINVAL);
    ck_code(weft_poll_until((struct pollfd *)(uintptr_t)8, 1, WEFT_FOREVER),
            -EFAULT);
    net_pair(NET_UNIX, fds);
    for (int i = 0; i < 65537; i++)
        many[i].fd = -1;
    many[999].fd = fds[0];
    many[999].events = POLLOUT;
    /* More than the process may have open. */
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 900;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_code(weft_poll_until(many, 1000, WEFT_FOREVER), -EINVAL);
    ck_code(weft_fd_wait_until(fds[0], 0, WEFT_FOREVER), -EINVAL);
    ck_code(weft_fd_wait_until(fds[0], POLLERR, WEFT_FOREVER), -EINVAL);
    ck_code(weft_fd_wait_until(fds[0], POLLIN | POLLNVAL, WEFT_FOREVER),
            -EINVAL);
    net_close(fds);
}
END_TEST

/* The limit of weft is that of the kernel's here. */
WEFT_TEST(as_many_as_there_may_be)
{
    static struct pollfd many[20000];
    int fds[2];

    net_pair(NET_PIPE, fds);
    for (int i = 0; i < 20000; i++)
        many[i] = (struct pollfd){ .fd = i % 100 ? -1 : fds[0],
                                   .events = POLLIN };
    ck_code(weft_poll_until(many, 20000, weft_after(WEFT_MS(1))),
            -ETIMEDOUT);
    ck_assert_int_eq(weft_write(fds[1], "x", 1), 1);
    ck_assert_int_eq(weft_poll(many, 20000), 200);
    net_close(fds);
}
END_TEST

/* Descriptors in blocking mode, wherever they stand, once or twice; their
 * mode stays, and a close is told. */
WEFT_TEST(blocking_descriptors_among_others)
{
    int a[2], b[2], d[2];
    struct pollfd fds[4];
    struct poller p = { .fds = fds, .n = 4 };
    weft_fiber_t f;
    unsigned had;
    char c;

    net_pair(NET_UNIX, a);
    ck_assert_int_eq(pipe2(b, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(d, O_CLOEXEC), 0);
    had = open_descriptors();
    for (int turn = 0; turn < 6; turn++) {
        int to = turn % 3 == 0 ? a[1] : turn % 3 == 1 ? b[1] : d[1];
        int from = turn % 3 == 0 ? a[0] : turn % 3 == 1 ? b[0] : d[0];

        fds[0] = (struct pollfd){ .fd = a[0], .events = POLLIN };
        fds[1] = (struct pollfd){ .fd = b[0], .events = POLLIN };
        fds[2] = (struct pollfd){ .fd = b[0], .events = POLLPRI };
        fds[3] = (struct pollfd){ .fd = d[0], .events = POLLIN };
        f = spawn(poll_main, &p);
        wait_until_parked(f);
        ck_assert(!(fcntl(b[0], F_GETFL) & O_NONBLOCK));
        ck_assert_int_eq(write(to, "x", 1), 1);
        join(f);
        ck_assert_int_eq(p.answer, 1);
        for (int i = 0; i < 4; i++)
            ck_assert_int_eq(fds[i].revents,
                             fds[i].fd == from && i != 2 ? POLLIN : 0);
        ck_assert_int_eq(read(from, &c, 1), 1);
    }
    ck_assert_int_eq(open_descriptors(), had);
    ck_code(weft_poll_until(fds, 4, weft_after(WEFT_MS(2))), -ETIMEDOUT);

    f = spawn(poll_main, &p);
    wait_until_parked(f);
    ck_code(weft_close(b[0]), 0);
    join(f);
    ck_assert_int_eq(p.answer, 2);
    ck_assert_int_eq(fds[1].revents, POLLNVAL);
    ck_assert_int_eq(fds[2].revents, POLLNVAL);
    ck_code(weft_close(b[1]), 0);
    net_close(a);
    net_close(d);
}
END_TEST

/* weft_fd_wait() on each kind, alone. */
WEFT_TEST(fd_wait_on_each_kind)
{
    int fds[2];
    struct net_reader r = { 0 };
    char c;

    for (int kind = 0; kind <= NET_KINDS; kind++) {
        if (kind == NET_KINDS)
            ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
        else
            net_pair((enum net_kind)kind, fds);
        ck_code(weft_fd_wait_until(fds[0], POLLIN, WEFT_NOW), -EAGAIN);
        ck_code(weft_fd_wait_until(fds[0], POLLIN, weft_after(WEFT_MS(2))),
                -ETIMEDOUT);
        ck_assert_int_eq(weft_fd_wait(fds[1], POLLOUT), POLLOUT);
        ck_assert_int_eq(weft_write(fds[1], "x", 1), 1);
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(weft_fd_wait(fds[0], POLLIN), POLLIN);
        ck_assert_int_eq(weft_read(fds[0], &c, 1), 1);
        ck_code(weft_close(fds[1]), 0);
        ck_assert_int_gt(weft_fd_wait(fds[0], POLLIN), 0);
        r.fd = fds[0];
        read_one(&r);
        ck_assert_int_eq(r.answer, 0);
        ck_code(weft_close(fds[0]), 0);
    }
}
END_TEST

/* Who waits for readiness first takes nothing from the reader behind. */
WEFT_TEST(pollers_and_readers_on_one_descriptor)
{
    int fds[2];

    net_pair((enum net_kind)_i, fds);
    for (int i = 0; i < ROUNDS(500); i++) {
        struct pollfd one = { .fd = fds[0], .events = POLLIN };
        struct poller p = { .fds = &one, .n = 1 };
        struct net_reader r = { .fd = fds[0], .n = 1 };
        weft_fiber_t f, g;

        f = spawn_one(i % 2 ? poll_main : read_one,
                  i % 2 ? (void *)&p : (void *)&r);
        wait_until_parked(f);
        g = spawn_one(i % 2 ? read_one : poll_main,
                  i % 2 ? (void *)&r : (void *)&p);
        wait_until_parked(g);
        must(weft_write(fds[1], "x", 1) == 1);
        join_one(i % 2 ? g : f);
        must(r.answer == 1);
        /* The byte may have gone before the poller looked. */
        must(weft_write(fds[1], "y", 1) == 1);
        join_one(i % 2 ? f : g);
        must(p.answer == 1 && one.revents == POLLIN);
        read_one(&r);
        must(r.answer == 1);
    }
    net_close(fds);
}
END_TEST

static weft__au32 others_ran;

static void *run_too(void *arg)
{
    weft__store(&others_ran, 1, RELEASE);
    return arg;
}

/* As a library's loop does that always finds something. */
WEFT_TEST(others_run_beside_one_that_always_finds_something)
{
    weft_fiber_t f;
    int fds[2];

    net_pair(NET_UNIX, fds);
    ck_assert_int_eq(weft_write(fds[1], "x", 1), 1);
    f = spawn(run_too, NULL);
    while (!weft__load(&others_ran, ACQUIRE))
        if (_i == 0) {
            must(weft_fd_wait(fds[0], POLLIN) == POLLIN);
        } else {
            weft_case_t one = WEFT_READABLE(fds[0]);

            must(weft_select(&one, 1) == 0);
        }
    join(f);
    net_close(fds);
}
END_TEST

/* Until the event of what there is to read has come. */
static void wait_until_told(int fd)
{
    while (!(weft__load(&weft__desc_look(fd)->flags, RELAXED) &
             WEFT__FD_READY(WEFT__IN)))
        weft_yield();
}

/* One polls for what is neither to read nor to write, beside bytes that nobody
 * has read and room that nobody has used: they stay for those who want them. */
WEFT_TEST(a_poll_for_something_else_takes_no_readiness)
{
    static const short events[] = { POLLHUP, POLLERR, POLLRDBAND, POLLWRBAND,
                                    POLLHUP | POLLERR | POLLRDHUP,
                                    POLLPRI | POLLWRBAND, 0 };
    char got[8];
    int fds[2];

    net_pair(_i ? NET_TCP : NET_UNIX, fds);
    net_watch(fds[0]);
    for (size_t k = 0; k < sizeof(events) / sizeof(*events); k++) {
        struct pollfd one = { .fd = fds[0], .events = events[k] };
        int answer;

        ck_assert_int_eq(weft_write(fds[1], "abc", 3), 3);
        wait_until_told(fds[0]);
        answer = weft_poll_until(&one, 1, weft_after(WEFT_MS(5)));
        ck_assert(answer == -ETIMEDOUT ||
                  (answer == 1 && one.revents == POLLWRBAND));
        ck_assert_int_eq(
            weft_read_until(fds[0], got, 3, weft_after(WEFT_SEC(2))), 3);
        ck_assert_int_eq(
            weft_write_until(fds[0], "abc", 3, weft_after(WEFT_SEC(2))), 3);
    }
    net_close(fds);
}
END_TEST

/* Two wait for events of which each wants another: what wakes the first is no
 * loss of the second. */
WEFT_TEST(an_event_that_one_has_no_use_for_is_the_others)
{
    short first = _i ? POLLPRI : POLLRDHUP, second = _i ? POLLRDHUP : POLLPRI;
    struct pollfd fds[2];
    struct poller p[2] = { { .fds = &fds[0], .n = 1 },
                           { .fds = &fds[1], .n = 1 } };
    weft_fiber_t f[2];
    int pair[2];

    net_pair(NET_TCP, pair);
    fds[0] = (struct pollfd){ .fd = pair[0], .events = first };
    fds[1] = (struct pollfd){ .fd = pair[0], .events = second };
    for (int k = 0; k < 2; k++) {
        p[k].deadline = weft_after(WEFT_SEC(5));
        f[k] = spawn(poll_main, &p[k]);
        wait_until_parked(f[k]);
    }
    if (second == POLLRDHUP)
        ck_code(weft_shutdown(pair[1], SHUT_WR), 0);
    else
        ck_assert_int_eq(weft_send(pair[1], "!", 1, MSG_OOB), 1);
    join(f[1]);
    ck_assert_int_eq(p[1].answer, 1);
    ck_assert_int_eq(fds[1].revents, second);
    ck_code(weft_cancel(f[0]), 0);
    join(f[0]);
    ck_code(p[0].answer, -ECANCELED);
    net_close(pair);
}
END_TEST

/* The writer goes, behind bytes that stay unread: a pipe, whose end is no more
 * than a hang-up. */
WEFT_TEST(a_hang_up_behind_bytes_is_told)
{
    struct pollfd one = { .events = _i ? POLLHUP : 0 };
    struct poller p = { .fds = &one, .n = 1 };
    weft_fiber_t f;
    int pair[2];

    net_pair(NET_PIPE, pair);
    one.fd = pair[0];
    ck_assert_int_eq(weft_write(pair[1], "abc", 3), 3);
    p.deadline = weft_after(WEFT_SEC(5));
    f = spawn(poll_main, &p);
    wait_until_parked(f);
    ck_code(weft_close(pair[1]), 0);
    join(f);
    ck_assert_int_eq(p.answer, 1);
    ck_assert_int_eq(one.revents, POLLHUP);
    ck_code(weft_close(pair[0]), 0);
}
END_TEST

/* --- Closed meanwhile ------------------------------------------------------------------- */

/* The first is in blocking mode, and noisy; then come many who are quiet, so
 * that the way to the last is long. */
enum { QUIET = 48 };

struct poll_noise {
    struct pollfd fds[QUIET + 2];
    int answer;
};

static void noise_of(const int noise[2], uint32_t *seed)
{
    char byte = 'x';

    must(write(noise[1], &byte, 1) == 1);
    for (uint32_t k = next_random(seed) % 100; k > 0; k--)
        weft__os_pause();
    must(read(noise[0], &byte, 1) == 1);
}

static void *poll_noise(void *arg)
{
    struct poll_noise *p = arg;

    p->answer = weft_poll(p->fds, QUIET + 2);
    return NULL;
}

/* It is woken for bytes that others have taken by then; the last is closed
 * meanwhile, and its number used again at once. */
WEFT_TEST(a_close_is_told_to_one_who_is_woken_for_nothing)
{
    uint32_t seed = 1;
    int noise[2], quiet[2], told = 0;

    ck_assert_int_eq(pipe(noise), 0);
    net_pair(NET_UNIX, quiet);
    for (int i = 0; i < ROUNDS(3000); i++) {
        struct poll_noise p = { .answer = 0 };
        int fds[2], next[2];
        weft_fiber_t f;

        net_pair(NET_UNIX, fds);
        p.fds[0] = (struct pollfd){ .fd = noise[0], .events = POLLIN };
        for (int k = 1; k <= QUIET; k++)
            p.fds[k] = (struct pollfd){ .fd = quiet[0], .events = POLLIN };
        p.fds[QUIET + 1] = (struct pollfd){ .fd = fds[0], .events = POLLIN };
        f = spawn_one(poll_noise, &p);
        wait_until_parked(f);
        noise_of(noise, &seed);
        if (next_random(&seed) % 2)
            weft_yield();
        for (uint32_t k = next_random(&seed) % 1000; k > 0; k--)
            weft__os_pause();
        noise_of(noise, &seed);
        must_code(weft_close(fds[0]), 0);
        net_pair(NET_UNIX, next);
        join_one(f);
        /* It may have seen a byte before it was taken. */
        must(p.answer > 0);
        told += p.fds[QUIET + 1].revents == POLLNVAL;
        must_code(weft_close(fds[1]), 0);
        net_close(next);
    }
    ck_assert_int_gt(told, 0);
    net_close(quiet);
    net_close(noise);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("poll_fd");
    TCase *tc = tcase_create("poll_fd");

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, one_of_many_becomes_ready);
    tcase_add_test(tc, several_become_ready);
    tcase_add_test(tc, closed_descriptors_are_told);
    tcase_add_test(tc, nothing_to_poll_sleeps);
    tcase_add_test(tc, nonsense_is_refused);
    tcase_add_test(tc, as_many_as_there_may_be);
    tcase_add_test(tc, blocking_descriptors_among_others);
    tcase_add_test(tc, a_close_is_told_to_one_who_is_woken_for_nothing);
    tcase_add_test(tc, fd_wait_on_each_kind);
    tcase_add_loop_test(tc, a_poll_for_something_else_takes_no_readiness, 0,
                        2);
    tcase_add_loop_test(tc, a_hang_up_behind_bytes_is_told, 0, 2);
    tcase_add_loop_test(tc, an_event_that_one_has_no_use_for_is_the_others, 0,
                        2);
    tcase_add_loop_test(tc, pollers_and_readers_on_one_descriptor, 0,
                        NET_KINDS);
    tcase_add_loop_test(tc,
                        others_run_beside_one_that_always_finds_something,
                        0, 2);
    return run_suite(suite);
}
