/*
 * Descriptors and runs: they outlive one, and the next one takes them as they
 * are; a run leaves none of its own.
 */
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "netpoll/desc.h"
#include "sched/sched.h"
#include "sched/worker.h"
#include "tests/support_net.h"

static int kept[2];

static void make_and_watch(int i)
{
    net_pair((enum net_kind)i, kept);
    net_watch(kept[0]);
}

static void use_again(int i)
{
    struct net_reader r = { .fd = kept[0] };
    weft_fiber_t f = spawn(read_one, &r);

    (void)i;
    wait_until_parked(f);
    ck_assert_int_eq(weft_write(kept[1], "again", 5), 5);
    join(f);
    ck_assert_int_eq(r.answer, 5);
}

static void close_both(int i)
{
    (void)i;
    net_close(kept);
}

/* After a run they work with any call, and without waiting with weft's. */
START_TEST(descriptors_outlive_a_run)
{
    char got[8];

    ck_assert_int_eq(run_with(NULL, make_and_watch, _i), 0);
    ck_assert_uint_eq(weft__desc_watched(), 0);
    ck_assert_int_eq(write(kept[1], "abc", 3), 3);
    ck_assert_int_eq(weft_read(kept[0], got, 8), 3);
    ck_code(weft_read(kept[0], got, 8), -EPERM);
    ck_code(weft_read_until(kept[0], got, 8, WEFT_NOW), -EAGAIN);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(run_with(NULL, use_again, _i), 0);
    if (_i % 2)
        ck_assert_int_eq(run_with(NULL, close_both, _i), 0);
    else
        net_close(kept);
}
END_TEST

/* An error has stopped its handle when the run ends. */
static void meet_an_error(int i)
{
    struct sockaddr_in nobody = net_nobody(), me;
    struct net_reader r = { .n = 1 };
    weft_fiber_t f;

    (void)i;
    r.fd = kept[0] = net_udp(&me);
    ck_code(weft_connect(r.fd, (struct sockaddr *)&nobody, sizeof(nobody)),
            0);
    f = spawn(read_one, &r);
    wait_until_parked(f);
    ck_assert_int_eq(weft_write(r.fd, "x", 1), 1);
    join(f);
    ck_code(r.answer, -ECONNREFUSED);
}

static void wait_on_it(int i)
{
    char c;

    (void)i;
    ck_code(weft_read_until(kept[0], &c, 1, weft_after(WEFT_MS(20))),
            -ETIMEDOUT);
}

START_TEST(a_stopped_handle_is_forgotten_with_its_loop)
{
    ck_assert_int_eq(run_with(NULL, meet_an_error, 0), 0);
    ck_assert_uint_eq(weft__desc_watched(), 0);
    if (_i)
        ck_assert_int_eq(run_with(NULL, wait_on_it, 0), 0);
    ck_code(weft_close(kept[0]), 0);
}
END_TEST

/* A fiber still waits for a descriptor when the run ends: it is cancelled. */
static struct net_reader left;

static void leave_one_waiting(int i)
{
    weft_fiber_t f;

    (void)i;
    net_pair(NET_UNIX, kept);
    left.fd = kept[0];
    f = spawn(read_one, &left);
    wait_until_parked(f);
}

START_TEST(who_waits_at_the_end_is_cancelled)
{
    ck_assert_int_eq(run_with(NULL, leave_one_waiting, 0), 0);
    ck_code(left.answer, -ECANCELED);
    net_close(kept);
}
END_TEST

static void a_little_traffic(int i)
{
    struct net_reader r = { 0 };
    weft_fiber_t f;
    int fds[2];

    net_pair((enum net_kind)(i % NET_KINDS), fds);
    r.fd = fds[0];
    f = spawn(read_one, &r);
    wait_until_parked(f);
    must(weft_write(fds[1], "abc", 3) == 3);
    join(f);
    must(r.answer == 3);
    net_close(fds);
}

START_TEST(a_thousand_runs_leave_no_descriptor)
{
    unsigned before = 0;

    for (int i = 0; i < ROUNDS(1000); i++) {
        must(run_with(NULL, a_little_traffic, i) == 0);
        if (i == 9)
            before = open_descriptors();
    }
    ck_assert_uint_eq(open_descriptors(), before);
    ck_assert_uint_eq(weft__desc_watched(), 0);
}
END_TEST

/* Outside of a run. */
START_TEST(calls_without_a_run)
{
    struct sockaddr_in where;
    struct pollfd one = { .events = POLLIN };
    int fds[2], listener;
    char c;

    net_pair(NET_UNIX, fds);
    one.fd = fds[0];
    ck_code(weft_read(fds[0], &c, 1), -EPERM);
    ck_code(weft_poll_until(&one, 1, WEFT_FOREVER), -EPERM);
    ck_code(weft_fd_wait_until(fds[0], POLLIN, WEFT_FOREVER), -EPERM);
    ck_assert_int_eq(weft_write(fds[1], "x", 1), 1);
    ck_assert_int_eq(weft_poll(&one, 1), 1);
    ck_assert_int_eq(weft_read(fds[0], &c, 1), 1);
    net_fill(fds[1]);
    ck_code(weft_write(fds[1], &c, 1), -EPERM);
    net_close(fds);
    listener = net_listen(1, &where);
    ck_code(weft_accept_until(listener, NULL, NULL, WEFT_FOREVER), -EPERM);
    ck_code(weft_close(listener), 0);
}
END_TEST

/* --- Threads that do not know of the end ------------------------------------------ */

enum { CLOSED = 8 };

static int ends[CLOSED][2];
static weft__au32 stage;

/* As the run ends. */
static void *close_all(void *arg)
{
    (void)arg;
    while (!weft__load(&stage, ACQUIRE))
        weft__os_thread_yield();
    for (int i = 0; i < CLOSED; i++)
        net_close(ends[i]);
    return NULL;
}

/* Quickly: there are many. */
static void watch_soon(int fd)
{
    weft__aptr *home = &weft__desc_look(fd)->home;
    char c;

    while (weft__load(home, ACQUIRE) == NULL)
        must(weft_read_until(fd, &c, 1, weft_after(WEFT_US(100))) ==
             -ETIMEDOUT);
}

static void watch_and_leave(int i)
{
    (void)i;
    for (int k = 0; k < CLOSED; k++) {
        net_pair((enum net_kind)(k % NET_KINDS), ends[k]);
        watch_soon(ends[k][0]);
    }
    weft__store(&stage, 1, RELEASE);
}

START_TEST(a_thread_closes_descriptors_while_their_loop_ends)
{
    for (int i = 0; i < ROUNDS(300); i++) {
        pthread_t thread;

        weft__store(&stage, 0, RELAXED);
        must(pthread_create(&thread, NULL, close_all, NULL) == 0);
        must(run_with(NULL, watch_and_leave, i) == 0);
        must(pthread_join(thread, NULL) == 0);
        must(weft__desc_watched() == 0);
    }
}
END_TEST

static weft__au32 returned;

/* Long enough for a run that does not wait for it. */
static void *visit(void *arg)
{
    bool visiting = weft__visit_begin();

    (void)arg;
    must(visiting);
    weft__store(&stage, 1, RELEASE);
    while (!weft__load(&weft__sched.quit, ACQUIRE))
        weft__os_thread_yield();
    for (int i = 0; i < 100; i++) {
        must(!weft__load(&returned, ACQUIRE));
        usleep(1000);
    }
    weft__visit_end(visiting);
    return NULL;
}

static void await_visitor(int i)
{
    (void)i;
    while (!weft__load(&stage, ACQUIRE))
        weft__os_thread_yield();
}

START_TEST(a_run_does_not_end_under_a_visitor)
{
    pthread_t thread;

    must(pthread_create(&thread, NULL, visit, NULL) == 0);
    must(run_with(NULL, await_visitor, 0) == 0);
    weft__store(&returned, 1, RELEASE);
    must(pthread_join(thread, NULL) == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_run");
    TCase *tc = tcase_create("io_run");

    suite_add_tcase(suite, tc);
    tcase_add_loop_test(tc, descriptors_outlive_a_run, 0, NET_KINDS);
    tcase_add_loop_test(tc, a_stopped_handle_is_forgotten_with_its_loop, 0,
                        2);
    tcase_add_test(tc, who_waits_at_the_end_is_cancelled);
    tcase_add_test(tc, a_thousand_runs_leave_no_descriptor);
    tcase_add_test(tc, calls_without_a_run);
    tcase_add_test(tc, a_thread_closes_descriptors_while_their_loop_ends);
    tcase_add_test(tc, a_run_does_not_end_under_a_visitor);
    return run_suite(suite);
}
