/*
 * Long races of descriptors: streams whose bytes are all counted, with random
 * sizes, several readers, edges between the last look and the sleep.
 */
#include <unistd.h>

#include "sched/atomic.h"
#include "tests/support_net.h"

/* --- One stream, several readers ------------------------------------------------------ */

enum { READERS = 4 };

struct stream {
    int fd;
    size_t bytes;
    uint32_t seed;
    weft__au64 *sum;   /* of the bytes' values */
    weft__au64 *count;
};

static void *write_at_random(void *arg)
{
    struct stream *s = arg;
    unsigned char block[20000];
    size_t sent = 0;
    uint64_t sum = 0;

    while (sent < s->bytes) {
        size_t n = 1 + next_random(&s->seed) % sizeof(block);

        if (next_random(&s->seed) % 4)
            n = 1 + n % 100;
        if (n > s->bytes - sent)
            n = s->bytes - sent;
        for (size_t i = 0; i < n; i++)
            sum += block[i] = (unsigned char)next_random(&s->seed);
        must_code(weft_write_full(s->fd, block, n, NULL), 0);
        sent += n;
        if (next_random(&s->seed) % 8 == 0)
            weft_yield();
    }
    weft__fetch_add(s->sum, sum, RELAXED);
    return NULL;
}

static void *read_at_random(void *arg)
{
    struct stream *s = arg;
    unsigned char block[30000];
    uint64_t sum = 0, count = 0;
    ssize_t n;

    for (;;) {
        size_t most = 1 + next_random(&s->seed) % sizeof(block);

        if (next_random(&s->seed) % 3)
            most = 1 + most % 50;
        n = weft_read(s->fd, block, most);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            sum += block[i];
        count += (uint64_t)n;
    }
    must_code(n, 0);
    weft__fetch_add(s->sum, sum, RELAXED);
    weft__fetch_add(s->count, count, RELAXED);
    return NULL;
}

/* Full reads and short ones: a socket that a short read has emptied is not
 * asked again, and nobody sleeps on bytes. */
WEFT_TEST(several_readers_of_one_stream)
{
    weft__au64 in, out, count;
    struct stream w = { .bytes = (size_t)ROUNDS(2000000), .seed = 7,
                        .sum = &out };
    struct stream r[READERS];
    weft_fiber_t f[READERS], g;
    int fds[2];

    weft__init(&in, 0);
    weft__init(&out, 0);
    weft__init(&count, 0);
    net_pair((enum net_kind)_i, fds);
    w.fd = fds[1];
    for (int i = 0; i < READERS; i++) {
        r[i] = (struct stream){ .fd = fds[0], .seed = (uint32_t)i,
                                .sum = &in, .count = &count };
        f[i] = spawn_one(read_at_random, &r[i]);
    }
    g = spawn_one(write_at_random, &w);
    join_one(g);
    if (_i == NET_PIPE)
        ck_code(weft_close(fds[1]), 0);
    else
        ck_code(weft_shutdown(fds[1], SHUT_WR), 0);
    for (int i = 0; i < READERS; i++)
        join_one(f[i]);
    ck_assert_uint_eq(weft__load(&count, RELAXED), w.bytes);
    ck_assert_uint_eq(weft__load(&in, RELAXED), weft__load(&out, RELAXED));
    ck_code(weft_close(fds[0]), 0);
    if (_i != NET_PIPE)
        ck_code(weft_close(fds[1]), 0);
}
END_TEST

/* Several writers, too: whole bytes, each once. */
WEFT_TEST(several_writers_of_one_stream)
{
    weft__au64 in, out, count;
    struct stream w[READERS];
    struct stream r = { .seed = 3, .sum = &in, .count = &count };
    weft_fiber_t f[READERS], g;
    int fds[2];

    weft__init(&in, 0);
    weft__init(&out, 0);
    weft__init(&count, 0);
    net_pair((enum net_kind)_i, fds);
    r.fd = fds[0];
    g = spawn_one(read_at_random, &r);
    for (int i = 0; i < READERS; i++) {
        w[i] = (struct stream){ .fd = fds[1], .seed = (uint32_t)i + 9,
                                .sum = &out,
                                .bytes = (size_t)ROUNDS(500000) };
        f[i] = spawn_one(write_at_random, &w[i]);
    }
    for (int i = 0; i < READERS; i++)
        join_one(f[i]);
    ck_code(weft_close(fds[1]), 0);
    join_one(g);
    ck_assert_uint_eq(weft__load(&count, RELAXED), READERS * w[0].bytes);
    ck_assert_uint_eq(weft__load(&in, RELAXED), weft__load(&out, RELAXED));
    ck_code(weft_close(fds[0]), 0);
}
END_TEST

/* --- The edge between EAGAIN and the sleep ----------------------------------------------- */

static void write_bytes(void *arg)
{
    int *to = arg; /* how many, and where */

    for (int i = 0; i < to[0]; i++) {
        while (write(to[1], "x", 1) != 1)
            must(errno == EAGAIN);
        for (volatile int k = 0; k < i % 300; k++) {
        }
    }
}

/* A thread that is not weft's writes byte after byte, each of which may come
 * between a reader's look and its sleep; no later byte covers up for the last
 * one of a round. */
WEFT_TEST(edge_between_eagain_and_park)
{
    int fds[2], to[2];
    struct foreign t;

    net_pair((enum net_kind)_i, fds);
    to[0] = ROUNDS(10000);
    to[1] = fds[1];
    foreign_start(&t, write_bytes, to);
    for (int i = 0; i < to[0];) {
        char got[3];
        ssize_t n = weft_read(fds[0], got, sizeof(got));

        must(n > 0);
        i += (int)n;
    }
    foreign_join(&t);
    net_close(fds);
}
END_TEST

/* The same with one byte at a time, answered: the peer waits for each. */
static void answer_bytes(void *arg)
{
    int fd = *(int *)arg;
    char c;

    while (recv(fd, &c, 1, 0) == 1)
        must(send(fd, &c, 1, MSG_NOSIGNAL) == 1);
}

WEFT_TEST(question_and_answer_with_a_thread)
{
    int fds[2];
    struct foreign t;
    char c = 'x';

    if (_i == NET_UNIX) {
        must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    } else {
        struct sockaddr_in where;
        int listener = net_listen(1, &where);

        fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(connect(fds[1], (struct sockaddr *)&where, sizeof(where)) == 0);
        fds[0] = weft_accept(listener, NULL, NULL);
        must_code(weft_close(listener), 0);
    }
    foreign_start(&t, answer_bytes, &fds[1]);
    for (int i = 0; i < ROUNDS(10000); i++) {
        must(weft_write(fds[0], &c, 1) == 1);
        must(weft_read(fds[0], &c, 1) == 1);
    }
    must_code(weft_shutdown(fds[0], SHUT_WR), 0);
    foreign_join(&t);
    net_close(fds);
}
END_TEST

/* --- Numbers that come and go ---------------------------------------------------------- */

/* Makes, uses and closes: numbers go from one of four fibers to another. The
 * reader gets the bytes, the end, or is told of the close, for which it has
 * to be asleep: one that only comes then would be at another's number. */
static void *churn(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;

    for (int i = 0; i < ROUNDS(500); i++) {
        struct net_reader r = { 0 };
        uint32_t what = next_random(&seed) % 3;
        weft_fiber_t f;
        int fds[2];

        net_pair((enum net_kind)(next_random(&seed) % NET_KINDS), fds);
        r.fd = fds[0];
        f = spawn_one(read_one, &r);
        if (next_random(&seed) % 2)
            weft_yield();
        if (what == 0) {
            must(weft_write(fds[1], "abc", 3) == 3);
        } else if (what == 1) {
            must_code(weft_close(fds[1]), 0);
        } else {
            wait_until_parked(f);
            must_code(weft_close(fds[0]), 0);
        }
        join_one(f);
        must_code(r.answer, what == 0 ? 3 : what == 1 ? 0 : -EBADF);
        if (what != 1)
            must_code(weft_close(fds[1]), 0);
        if (what != 2)
            must_code(weft_close(fds[0]), 0);
    }
    return NULL;
}

WEFT_TEST(numbers_come_and_go)
{
    weft_fiber_t f[4];
    unsigned had = open_descriptors();

    for (uintptr_t i = 0; i < 4; i++)
        f[i] = spawn_one(churn, (void *)(i + 1));
    for (int i = 0; i < 4; i++)
        join_one(f[i]);
    ck_assert_uint_eq(open_descriptors(), had);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stress_io");
    TCase *tc = tcase_create("stress_io");

    suite_add_tcase(suite, tc);
    tcase_add_loop_test(tc, several_readers_of_one_stream, 0, NET_KINDS);
    tcase_add_loop_test(tc, several_writers_of_one_stream, 0, NET_KINDS);
    tcase_add_loop_test(tc, edge_between_eagain_and_park, 0, NET_KINDS);
    tcase_add_loop_test(tc, question_and_answer_with_a_thread, 0, NET_PIPE);
    tcase_add_test(tc, numbers_come_and_go);
    return run_suite(suite);
}
