/*
 * Closing: against those who wait, those who are about to, those who hold a
 * duplicate, and in a forked child.
 */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netpoll/desc.h"
#include "tests/support_lane.h"
#include "tests/support_net.h"

/* --- Against calls under way ----------------------------------------------------- */

enum { READ, WRITE, WAIT, POLL, ACCEPT, CALLS };

struct caller {
    int fd;
    int call;
    long answer;
};

static void *call_one(void *arg)
{
    struct caller *c = arg;
    struct pollfd one = { .fd = c->fd, .events = POLLIN };
    char byte = 0;

    switch (c->call) {
    case READ:
        c->answer = weft_read(c->fd, &byte, 1);
        break;
    case WRITE:
        c->answer = weft_write(c->fd, &byte, 1);
        break;
    case WAIT:
        c->answer = weft_fd_wait(c->fd, POLLIN);
        break;
    case POLL:
        c->answer = weft_poll(&one, 1);
        if (c->answer == 1)
            c->answer = one.revents & POLLNVAL ? -EBADF : one.revents;
        break;
    default:
        c->answer = weft_accept(c->fd, NULL, NULL);
        break;
    }
    return NULL;
}

/* The caller is somewhere between its first step and its sleep when the
 * descriptor is closed. */
WEFT_TEST(close_against_park_at_each_moment)
{
    struct sockaddr_in where;

    for (int i = 0; i < ROUNDS(1500); i++) {
        struct caller c = { .call = _i };
        weft_fiber_t f;
        int fds[2] = { -1, -1 };

        if (_i == ACCEPT) {
            c.fd = net_listen(4, &where);
        } else {
            net_pair(NET_UNIX, fds);
            c.fd = fds[0];
        }
        if (_i == WRITE)
            net_fill(c.fd);
        f = spawn_one(call_one, &c);
        for (int k = i % 5; k > 0; k--)
            weft_yield();
        if (i % 7 == 0)
            wait_until_parked(f);
        must_code(weft_close(c.fd), 0);
        join_one(f);
        must_code(c.answer, -EBADF);
        if (fds[1] >= 0)
            must_code(weft_close(fds[1]), 0);
    }
}
END_TEST

struct whole {
    int fd;
    bool write;
    int status;
};

/* More than is ever given, or taken. */
static void *move_whole(void *arg)
{
    static char much[1 << 20];
    struct whole *w = arg;

    w->status = w->write
                    ? weft_write_full(w->fd, much, sizeof(much), NULL)
                    : weft_read_full(w->fd, much, sizeof(much), NULL);
    return NULL;
}

/* What is moved in full is one call, in however many portions: none of them is
 * of the number's next owner. */
WEFT_TEST(what_is_moved_in_full_ends_with_its_number)
{
    static char taken[1 << 16];
    uint32_t seed = 1;

    for (int i = 0; i < ROUNDS(1500); i++) {
        int fds[2], next[2], own;
        struct whole w = { .write = _i };
        weft_fiber_t f;

        net_pair(NET_UNIX, fds);
        w.fd = fds[0];
        f = spawn_one(move_whole, &w);
        wait_until_parked(f);
        for (uint32_t k = next_random(&seed) % 4; k > 0; k--) {
            if (w.write)
                must(weft_read(fds[1], taken, sizeof(taken)) > 0);
            else
                must_code(weft_write(fds[1], "o", 1), 1);
            if (next_random(&seed) % 2)
                weft_yield();
        }
        must_code(weft_close(fds[0]), 0);
        net_pair(NET_UNIX, next);
        own = next[0] == fds[0] ? 0 : 1;
        must(next[own] == fds[0]);
        if (!w.write)
            must_code(weft_write(next[1 - own], "n", 1), 1);
        join_one(f);
        must_code(w.status, -EBADF);
        must_code(weft_read_until(next[w.write ? 1 - own : own], taken, 1,
                                  WEFT_NOW),
                  w.write ? -EAGAIN : 1);
        must_code(weft_close(fds[1]), 0);
        net_close(next);
    }
}
END_TEST

static void close_call(void *arg)
{
    struct caller *c = arg;

    c->answer = weft_close(c->fd);
}

static void *close_it(void *arg)
{
    close_call(arg);
    return NULL;
}

/* All who wait, in each way, are told at once; of two closers one closes. */

WEFT_TEST(close_tells_all_who_wait)
{
    int fds[2];
    struct caller c[6];
    struct caller closers[2];
    weft_fiber_t f[6], g[2];

    net_pair(NET_UNIX, fds);
    net_fill(fds[0]);
    for (int i = 0; i < 6; i++) {
        c[i] = (struct caller){ .fd = fds[0], .call = i % 4 };
        f[i] = spawn(call_one, &c[i]);
        wait_until_parked(f[i]);
    }
    for (int i = 0; i < 2; i++) {
        closers[i] = (struct caller){ .fd = fds[0] };
        g[i] = spawn(close_it, &closers[i]);
    }
    for (int i = 0; i < 2; i++)
        join(g[i]);
    ck_assert_int_eq(closers[0].answer + closers[1].answer, -EBADF);
    for (int i = 0; i < 6; i++) {
        join(f[i]);
        ck_code(c[i].answer, -EBADF);
    }
    ck_code(weft_close(fds[1]), 0);
}
END_TEST

/* From a thread that runs no fiber, and from a job of a lane. */
WEFT_TEST(close_from_elsewhere_tells_those_who_wait)
{
    int fds[2];
    struct caller c = { .call = READ }, closer = { 0 };
    weft_fiber_t f;

    net_pair(NET_UNIX, fds);
    c.fd = closer.fd = fds[0];
    f = spawn(call_one, &c);
    wait_until_parked(f);
    if (_i == 0) {
        struct foreign t;

        foreign_start(&t, close_call, &closer);
        foreign_join(&t);
    } else {
        on_lane(close_call, &closer);
    }
    ck_code(closer.answer, 0);
    join(f);
    ck_code(c.answer, -EBADF);
    ck_code(weft_close(fds[1]), 0);
}
END_TEST

static void read_closed(void *arg)
{
    struct caller *c = arg;
    char byte;

    c->answer = weft_read(c->fd, &byte, 1);
}

/* A close that lingers holds its thread in the kernel. Who comes to the number
 * meanwhile waits for its end, and not at the expense of a core. */
WEFT_TEST(a_close_that_lingers_costs_others_nothing)
{
    struct linger second = { 1, 1 };
    struct caller c, closer;
    struct foreign t;
    int fds[2];
    int64_t cpu;

    net_pair(NET_TCP, fds);
    net_fill(fds[1]);
    ck_assert_int_eq(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &second,
                                sizeof(second)), 0);
    c = closer = (struct caller){ .fd = fds[1] };
    foreign_start(&t, close_call, &closer);
    while (!(weft__load(&weft__desc_look(fds[1])->word, RELAXED) &
             WEFT__DESC_FREEING))
        weft_yield();
    cpu = cpu_time();
    if (_i == 0)
        read_closed(&c);
    else
        on_thread(read_closed, &c);
    ck_assert_int_lt(cpu_time() - cpu, WEFT_MS(400));
    ck_code(c.answer, -EBADF);
    foreign_join(&t);
    ck_code(closer.answer, 0);
    ck_code(weft_close(fds[0]), 0);
}
END_TEST

/* A number whose close lingers has been freed by the kernel before: it may be
 * another file's, whose owner closes it. */
WEFT_TEST(a_close_waits_for_the_one_before)
{
    struct linger second = { 1, 1 };
    struct caller closer;
    struct foreign t;
    uint64_t gen;
    int fds[2];
    int again;

    net_pair(NET_TCP, fds);
    net_fill(fds[1]);
    ck_assert_int_eq(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &second,
                                sizeof(second)), 0);
    gen = weft__desc_gen(fds[1]);
    closer = (struct caller){ .fd = fds[1] };
    foreign_start(&t, close_call, &closer);
    while ((again = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, fds[1])) != fds[1])
        ck_assert_int_eq(close(again), 0);
    ck_code(weft__desc_shut_if(again, gen, SHUT_RD), -EBADF);
    ck_assert(weft__load(&weft__desc_look(again)->word, RELAXED) &
              WEFT__DESC_FREEING);
    if (_i == 0)
        ck_code(weft_fd_forget(again), 0);
    ck_code(weft_close(again), 0);
    ck_assert_int_eq(fcntl(again, F_GETFD), -1);
    foreign_join(&t);
    ck_code(closer.answer, 0);
    ck_code(weft_close(fds[0]), 0);
}
END_TEST

/* --- Duplicates --------------------------------------------------------------------- */

/* Two numbers of one file: closing one ends its own waiter's wait, and the
 * other waiter gets the bytes. */
WEFT_TEST(closing_one_number_leaves_its_duplicate)
{
    int fds[2];
    struct net_reader a = { 0 }, b = { 0 };
    weft_fiber_t f, g;

    net_pair((enum net_kind)_i, fds);
    a.fd = fds[0];
    b.fd = dup(fds[0]);
    f = spawn(read_one, &a);
    g = spawn(read_one, &b);
    wait_until_parked(f);
    wait_until_parked(g);
    ck_code(weft_close(a.fd), 0);
    join(f);
    ck_code(a.answer, -EBADF);
    ck_assert_int_eq(weft_write(fds[1], "abc", 3), 3);
    join(g);
    ck_assert_int_eq(b.answer, 3);
    ck_code(weft_close(b.fd), 0);
    ck_code(weft_close(fds[1]), 0);
}
END_TEST

/* Readers on both numbers: every byte is read once. */
static void *read_all(void *arg)
{
    int fd = *(int *)arg;
    intptr_t sum = 0;
    char got[16];
    ssize_t n;

    while ((n = weft_read(fd, got, sizeof(got))) > 0)
        sum += n;
    return (void *)(n == 0 ? sum : -1);
}

WEFT_TEST(readers_on_duplicates_share_the_bytes)
{
    enum { BYTES = 20000 };
    static const char block[BYTES];
    int fds[2], two[2];
    weft_fiber_t f[2];

    net_pair((enum net_kind)_i, fds);
    two[0] = fds[0];
    two[1] = dup(fds[0]);
    for (int i = 0; i < 2; i++)
        f[i] = spawn(read_all, &two[i]);
    for (int sum = 0; sum < BYTES; sum += 100) {
        must_code(weft_write_full(fds[1], block, 100, NULL), 0);
        weft_yield();
    }
    ck_code(weft_close(fds[1]), 0);
    ck_assert_int_eq((intptr_t)join(f[0]) + (intptr_t)join(f[1]), BYTES);
    net_close(two);
}
END_TEST

/* A FILE holds a duplicate, or the number next to it; fclose() closes that
 * behind our back, under a neighbour that waits. */
WEFT_TEST(closed_by_fclose_under_a_waiters_neighbour)
{
    for (int i = 0; i < 20; i++) {
        int fds[2], more[2], again[2];
        struct net_reader r = { 0 }, s = { 0 };
        weft_fiber_t f;
        FILE *file;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, more), 0);
        file = fdopen(_i == 0 ? dup(fds[0]) : more[0], "r");
        ck_assert_ptr_nonnull(file);
        /* Weft knows it, too. */
        s.fd = fileno(file);
        s.deadline = weft_after(WEFT_MS(2));
        read_one(&s);
        ck_code(s.answer, -ETIMEDOUT);

        r.fd = fds[0];
        f = spawn(read_one, &r);
        wait_until_parked(f);
        fclose(file);
        ck_assert_int_eq(write(fds[1], "abc", 3), 3);
        join(f);
        ck_assert_int_eq(r.answer, 3);

        /* Its number comes back as another file. */
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, again), 0);
        ck_assert_int_eq(again[0], s.fd);
        s = (struct net_reader){ .fd = again[0] };
        f = spawn(read_one, &s);
        wait_until_parked(f);
        ck_assert_int_eq(write(again[1], "de", 2), 2);
        join(f);
        ck_assert_int_eq(s.answer, 2);
        for (int k = 0; k < 2; k++) {
            close(fds[k]);
            close(again[k]);
        }
        if (_i == 0)
            close(more[0]);
        close(more[1]);
    }
}
END_TEST

/* Plain close(2) right after a fiber has come to wait, before the worker has
 * looked at its loop: the process goes on, and so does the wait. */
WEFT_TEST(closed_plainly_right_after_the_park)
{
    for (int i = 0; i < 20; i++) {
        struct net_reader r = { 0 };
        weft_fiber_t f;
        int fds[2];

        net_pair((enum net_kind)_i, fds);
        r.fd = fds[0];
        f = spawn(read_one, &r);
        wait_until_parked(f);
        close(fds[0]);
        ck_code(weft_sleep(WEFT_MS(1)), 0);
        ck_code(weft_cancel(f), 0);
        join(f);
        ck_code(r.answer, -ECANCELED);
        ck_code(weft_close(fds[0]), -EBADF);
        ck_code(weft_close(fds[1]), 0);
    }
}
END_TEST

/* A file that lives on in a duplicate still tells of its events by the number
 * that it had: the next owner of that number is not misled. */
WEFT_TEST(events_of_a_former_owner_do_no_harm)
{
    int fds[2], again[2], kept;
    struct net_reader r = { 0 };
    weft_fiber_t f;

    net_pair(NET_UNIX, fds);
    kept = dup(fds[0]);
    net_watch(fds[0]);
    close(fds[0]);
    net_pair(NET_UNIX, again);
    ck_assert_int_eq(again[0], fds[0]);
    r.fd = again[0];
    f = spawn(read_one, &r);
    wait_until_parked(f);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(weft_write(fds[1], "old", 3), 3);
        ck_assert_int_eq(weft_sleep(WEFT_MS(2)), 0);
    }
    wait_until_parked(f);
    ck_assert_int_eq(weft_write(again[1], "new!", 4), 4);
    join(f);
    ck_assert_int_eq(r.answer, 4);
    close(kept);
    ck_code(weft_close(fds[1]), 0);
    net_close(again);
}
END_TEST

/* A read that a lane's thread waits for, of a pipe in blocking mode. */
static weft_fiber_t lane_read(struct net_reader *r, int fds[2])
{
    weft_fiber_t f;
    char c;

    ck_assert_int_eq(pipe(fds), 0);
    *r = (struct net_reader){ .fd = fds[0] };
    /* The thread has a descriptor of its own, from its first wait on. */
    while (jobs_begun(WEFT__LANE_FD) == 0)
        ck_code(weft_read_until(fds[0], &c, 1, weft_after(WEFT_MS(1))),
                -ETIMEDOUT);
    f = spawn(read_one, r);
    wait_for_jobs(WEFT__LANE_FD, 1, 0);
    wait_until_parked(f);
    return f;
}

/* The number is closed plainly, and weft gets it again: who waits is told at
 * once. */
WEFT_TEST(closed_plainly_under_a_lane_that_waits)
{
    struct net_reader r;
    int old[2], again[2];
    weft_fiber_t f = lane_read(&r, old);

    close(old[0]);
    net_pair(NET_UNIX, again);
    ck_assert_int_eq(again[0], old[0]);
    join(f);
    ck_code(r.answer, -EBADF);
    close(old[1]);
    net_close(again);
}
END_TEST

/* The same, and before the waiter has run its thread finds that there is
 * something on the pipe: what came for the next owner stays his. */
WEFT_TEST(a_lane_leaves_the_next_owner_of_its_number_alone)
{
    struct weft__lane_stats stats;
    struct net_reader r;
    int old[2], again[2];
    weft_fiber_t f = lane_read(&r, old);
    int other = dup(old[0]);
    char got[8];

    close(old[0]);
    net_pair(NET_UNIX, again);
    ck_assert_int_eq(again[0], old[0]);
    ck_code(weft_write(again[1], "new", 3), 3);
    ck_assert_int_eq(write(old[1], "old", 3), 3);
    do {
        weft__lane_stats(&weft__lanes[WEFT__LANE_FD], &stats);
    } while (stats.running > 0);
    join(f);
    ck_code(r.answer, -EBADF);
    ck_code(weft_read_until(again[0], got, sizeof(got), WEFT_NOW), 3);
    close(other);
    close(old[1]);
    net_close(again);
}
END_TEST

/* --- A forked child -------------------------------------------------------------------- */

/* What the child closes is its own: the parent's loops go on. */
static void in_the_child(const int fds[2])
{
    char c;

    alarm(20);
    if (weft_read(fds[0], &c, 1) != -EPERM ||
        weft_read_until(fds[0], &c, 1, WEFT_NOW) != -EAGAIN ||
        weft_close(fds[0]) != 0 || weft_close(fds[0]) != -EBADF ||
        weft_write(fds[1], "from the child", 14) != 14 ||
        weft_fd_forget(fds[1]) != 0 || weft_close(fds[1]) != 0)
        _exit(1);
    _exit(0);
}

WEFT_TEST(a_forked_child_closes_only_its_own)
{
    int fds[2], status = 0;
    struct net_reader r = { .n = 14 };
    weft_fiber_t f;
    pid_t child;

    net_pair((enum net_kind)_i, fds);
    r.fd = fds[0];
    f = spawn(read_one, &r);
    wait_until_parked(f);
    child = fork();
    if (child == 0)
        in_the_child(fds);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    join(f);
    ck_assert_int_eq(r.answer, 14);
    f = spawn(read_one, &r);
    wait_until_parked(f);
    ck_assert_int_eq(weft_write(fds[1], "mine", 4), 4);
    join(f);
    ck_assert_int_eq(r.answer, 4);
    net_close(fds);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_close");
    TCase *tc = tcase_create("io_close");

    suite_add_tcase(suite, tc);
    tcase_add_loop_test(tc, what_is_moved_in_full_ends_with_its_number, 0, 2);
    tcase_add_loop_test(tc, close_against_park_at_each_moment, 0, CALLS);
    tcase_add_test(tc, close_tells_all_who_wait);
    tcase_add_loop_test(tc, close_from_elsewhere_tells_those_who_wait, 0, 2);
    tcase_add_loop_test(tc, a_close_that_lingers_costs_others_nothing, 0, 2);
    tcase_add_loop_test(tc, a_close_waits_for_the_one_before, 0, 2);
    tcase_add_loop_test(tc, closing_one_number_leaves_its_duplicate, 0,
                        NET_KINDS);
    tcase_add_loop_test(tc, readers_on_duplicates_share_the_bytes, 0,
                        NET_KINDS);
    tcase_add_loop_test(tc, closed_by_fclose_under_a_waiters_neighbour, 0, 2);
    tcase_add_loop_test(tc, closed_plainly_right_after_the_park, 0, NET_KINDS);
    tcase_add_test(tc, events_of_a_former_owner_do_no_harm);
    tcase_add_test(tc, closed_plainly_under_a_lane_that_waits);
    tcase_add_test(tc, a_lane_leaves_the_next_owner_of_its_number_alone);
    tcase_add_loop_test(tc, a_forked_child_closes_only_its_own, 0, NET_KINDS);
    return run_suite(suite);
}
