/*
 * Descriptors under the simulation: bytes that arrive in pieces and late,
 * events that come late or for nothing, and several who wait on one
 * descriptor. No byte is lost or read twice, and nobody sleeps beside what he
 * waits for.
 */
#include "tests/sim_support_net.h"

#include <errno.h>
#include <string.h>

#include "netpoll/desc.h"
#include "netpoll/poller.h"
#include "sched/atomic.h"

enum { RUNS = 300, RING = 4, WORKERS = 3 };

static struct {
    int fd[2];
    size_t bytes;
    weft__au32 got;
    weft__au32 sum;
    weft__au32 ended;
    weft__au32 left; /* cancelled, or too late */
} s;

static void fresh(int domain, size_t room, size_t bytes)
{
    memset(&s, 0, sizeof(s));
    s.bytes = bytes;
    net_pair(domain, room, s.fd);
}

static uint32_t sum_of(size_t bytes)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < bytes; i++)
        sum += net_byte(i);
    return sum;
}

static void all_got(size_t bytes)
{
    sim_expect(weft__load(&s.got, RELAXED) == bytes);
    sim_expect(weft__load(&s.sum, RELAXED) == sum_of(bytes));
}

static void close_both(void)
{
    for (int i = 0; i < 2; i++)
        sim_expect(weft_close(s.fd[i]) == 0);
    net_settled();
}

/* Send bytes 0 to s.bytes - 1 and then the end. */
static void *send_all(void *arg)
{
    unsigned char buf[5];
    size_t put = 0;

    while (put < s.bytes) {
        size_t n = 1 + put % sizeof(buf);
        ssize_t more;

        if (n > s.bytes - put)
            n = s.bytes - put;
        for (size_t i = 0; i < n; i++)
            buf[i] = net_byte(put + i);
        more = weft_write(s.fd[1], buf, n);
        sim_expect(more > 0);
        put += (size_t)more;
    }
    sim_expect(weft_shutdown(s.fd[1], SHUT_WR) == 0);
    return arg;
}

static void note(const unsigned char *buf, ssize_t n)
{
    for (ssize_t i = 0; i < n; i++)
        (void)weft__fetch_add(&s.sum, buf[i], RELAXED);
    (void)weft__fetch_add(&s.got, (uint32_t)n, RELAXED);
}

/* Read to the end, `arg` bytes at a time. */
static void *read_all(void *arg)
{
    unsigned char buf[8];
    size_t n = (size_t)(uintptr_t)arg;
    ssize_t got;

    while ((got = weft_read(s.fd[0], buf, n)) > 0)
        note(buf, got);
    sim_expect(got == 0);
    return NULL;
}

/* On both kinds of socket, and by one to three workers. `often`: what enough of
 * the runs must have met. */
static void search(const char *name, unsigned runs, int (*entry)(void *),
                   int often)
{
    static int domain[] = { AF_INET, AF_UNIX };

    for (unsigned workers = 1; workers <= WORKERS; workers++)
        for (int i = 0; i < 2; i++) {
            struct sim_met m;
            char kind[32];

            snprintf(kind, sizeof(kind), "%s %s", name, i ? "unix" : "tcp");
            ck_assert_int_eq(sim_runs(kind, workers, RING, runs, entry,
                                      &domain[i], &m), runs);
            if (often)
                ck_assert_uint_gt(m.times[__builtin_ctz((unsigned)often)],
                                  runs / 20);
        }
}

/* --- One reader, in order ------------------------------------------------------ */

static int stream(void *arg)
{
    int domain = *(int *)arg;
    weft_fiber_t f;
    unsigned char buf[4];
    size_t n = 0;
    ssize_t got;

    fresh(domain, 6, 16);
    f = net_spawn(send_all, NULL);
    while ((got = weft_read(s.fd[0], buf, sizeof(buf))) > 0)
        for (ssize_t i = 0; i < got; i++, n++)
            sim_expect(buf[i] == net_byte(n));
    sim_expect(got == 0 && n == s.bytes);
    net_join(f);
    close_both();
    return sim_did();
}

START_TEST(a_stream_arrives_whole_and_in_order)
{
    search("net/stream", RUNS, stream, SIM_SLEPT);
}
END_TEST

/* --- The edge between the read and the wait ---------------------------------------- */

enum { EDGES = 6, LOOKS = 60 };

static weft_sem_t read_one = WEFT_SEM_INIT(0);

static void *read_each(void *arg)
{
    for (int i = 0; i < EDGES; i++) {
        unsigned char c;

        sim_expect(weft_read(s.fd[0], &c, 1) == 1);
        sim_expect(weft_sem_release(&read_one, 1) == 0);
    }
    (void)weft__fetch_add(&s.ended, 1, RELAXED);
    return arg;
}

/* As a worker does that serves another's loop: at any moment. */
static void *serve_loops(void *arg)
{
    const struct weft__desc *d = weft__desc_look(s.fd[0]);

    for (int i = 0; i < LOOKS && !weft__load(&s.ended, RELAXED); i++) {
        struct weft__poller *home = weft__load(&d->home, ACQUIRE);

        if (home)
            (void)weft__poller_pass(home);
        weft_yield();
    }
    return arg;
}

/* One edge for each byte, and no other: the next byte is sent when this one was
 * read. */
static int edges(void *arg)
{
    weft_sem_t none = WEFT_SEM_INIT(0);
    weft_fiber_t f[2];

    read_one = none;
    fresh(*(int *)arg, 4, 0);
    weft__net_calm(true);
    f[0] = net_spawn(read_each, NULL);
    f[1] = net_spawn(serve_loops, NULL);
    for (int i = 0; i < EDGES; i++) {
        sim_expect(weft_write(s.fd[1], "x", 1) == 1);
        sim_expect(weft_sem_acquire(&read_one, 1) == 0);
    }
    net_join(f[0]);
    net_join(f[1]);
    close_both();
    return sim_did();
}

START_TEST(an_edge_between_the_read_and_the_wait_is_not_lost)
{
    search("net/edge", RUNS, edges, 0);
}
END_TEST

/* --- Several readers, several writers -------------------------------------------- */

/* Reads that are full wake the next reader, and so does the end. */
static int readers(void *arg)
{
    weft_fiber_t f[3];

    fresh(*(int *)arg, 8, 10);
    for (uintptr_t i = 0; i < 2; i++)
        f[i] = net_spawn(read_all, (void *)(1 + 2 * i));
    f[2] = net_spawn(send_all, NULL);
    for (int i = 0; i < 3; i++)
        net_join(f[i]);
    all_got(s.bytes);
    close_both();
    return sim_did();
}

START_TEST(readers_of_one_descriptor_share_its_bytes)
{
    search("net/readers", RUNS, readers, 0);
}
END_TEST

/* Each byte is one of those that belong to one writer. */
static void *send_some(void *arg)
{
    unsigned char c[3];

    memset(c, (int)(uintptr_t)arg, sizeof(c));
    for (int put = 0; put < 6;) {
        ssize_t n = weft_write(s.fd[1], c, sizeof(c));

        sim_expect(n > 0);
        put += (int)n;
        (void)weft__fetch_add(&s.left, (uint32_t)n, RELAXED);
    }
    (void)weft__fetch_add(&s.ended, 1, RELAXED);
    return NULL;
}

static int writers(void *arg)
{
    weft_fiber_t f[3];

    fresh(*(int *)arg, 3, 0);
    for (uintptr_t i = 0; i < 2; i++)
        f[i] = net_spawn(send_some, (void *)(1 + i));
    f[2] = net_spawn(read_all, (void *)2);
    net_join(f[0]);
    net_join(f[1]);
    sim_expect(weft_shutdown(s.fd[1], SHUT_WR) == 0);
    net_join(f[2]);
    sim_expect(weft__load(&s.got, RELAXED) == weft__load(&s.left, RELAXED));
    close_both();
    return sim_did();
}

START_TEST(writers_against_a_full_buffer_all_find_room)
{
    search("net/writers", 2 * RUNS, writers, 0);
}
END_TEST

/* --- One that reads once and leaves ---------------------------------------------- */

static void *read_once(void *arg)
{
    unsigned char buf[8];
    ssize_t got = weft_read(s.fd[0], buf, sizeof(buf));

    sim_expect(got >= 0);
    note(buf, got);
    return arg;
}

/* What it leaves behind is another's: also the end, of which no edge tells
 * again. */
static int leaver(void *arg)
{
    weft_fiber_t f[3];

    fresh(*(int *)arg, 16, 5);
    f[0] = net_spawn(read_all, (void *)8);
    f[1] = net_spawn(send_all, NULL);
    f[2] = net_spawn(read_once, NULL);
    for (int i = 0; i < 3; i++)
        net_join(f[i]);
    all_got(s.bytes);
    close_both();
    return sim_did();
}

START_TEST(one_that_leaves_takes_nothing_from_those_who_stay)
{
    search("net/leaver", RUNS, leaver, 0);
}
END_TEST

/* --- Cancelled, or too late -------------------------------------------------------- */

enum { LEFT = SIM_FIRST_FREE };

/* Each of the two wants one byte. */
static void *read_byte(void *arg)
{
    weft_time_t deadline = arg ? weft_after(3000) : WEFT_FOREVER;
    unsigned char c;
    ssize_t got = weft_read_until(s.fd[0], &c, 1, deadline);

    if (got == 1) {
        note(&c, 1);
    } else {
        sim_expect(got == -ECANCELED || (arg && got == -ETIMEDOUT));
        (void)weft__fetch_add(&s.left, 1, RELAXED);
    }
    return NULL;
}

/* Three wait, one is cancelled and one has a deadline, at the moment when two
 * bytes come. Who stays gets his; none is lost. */
static int impatient(void *arg)
{
    unsigned char bytes[2] = { net_byte(0), net_byte(1) }, c;
    weft_fiber_t f[3];
    uint32_t left;

    fresh(*(int *)arg, 4, 2);
    f[0] = net_spawn(read_byte, NULL);
    f[1] = net_spawn(read_byte, &s);
    f[2] = net_spawn(read_byte, NULL);
    net_linger(2);
    for (size_t put = 0; put < 2;) {
        ssize_t n = weft_write(s.fd[1], bytes + put, 2 - put);

        sim_expect(n > 0);
        put += (size_t)n;
    }
    net_cancel(f[0]);
    net_join(f[0]);
    net_join(f[1]);
    left = weft__load(&s.left, RELAXED);
    /* Two bytes for three: if nobody left, the last one waits for its own. */
    if (left == 0)
        sim_expect(weft_write(s.fd[1], "x", 1) == 1);
    net_join(f[2]);
    if (left == 2) {
        sim_expect(weft_read(s.fd[0], &c, 1) == 1);
        note(&c, 1);
    }
    sim_expect(weft__load(&s.got, RELAXED) == (left == 0 ? 3 : 2));
    sim_expect(weft_read_until(s.fd[0], &c, 1, WEFT_NOW) == -EAGAIN);
    close_both();
    return sim_did() | (left ? LEFT : 0);
}

START_TEST(a_reader_that_gives_up_leaves_the_bytes_to_others)
{
    search("net/impatient", RUNS, impatient, LEFT);
}
END_TEST

/* --- Waits that take nothing -------------------------------------------------------- */

/* Looks until the end of the stream is there, beside one who reads. */
static void *watch_end(void *arg)
{
    int events = weft_fd_wait(s.fd[0], POLLRDHUP);

    sim_expect(events > 0 && events & (POLLRDHUP | POLLHUP));
    return arg;
}

/* Looks for bytes, and reads what another may have taken meanwhile. */
static void *look_and_read(void *arg)
{
    for (;;) {
        unsigned char c;
        int events = weft_fd_wait(s.fd[0], POLLIN);
        ssize_t got;

        sim_expect(events > 0);
        got = weft_read_until(s.fd[0], &c, 1, WEFT_NOW);
        if (got == 0)
            return arg;
        sim_expect(got == 1 || got == -EAGAIN);
        if (got == 1)
            note(&c, 1);
    }
}

/* Looks once, for a while, and goes. */
static void *look_once(void *arg)
{
    int events = weft_fd_wait_until(s.fd[0], POLLIN, weft_after(20000));

    sim_expect(events == -ETIMEDOUT || (events > 0 && events & POLLIN));
    return arg;
}

/* What woke him is the reader's behind him. */
static int looker_goes(void *arg)
{
    weft_fiber_t f[3];

    fresh(*(int *)arg, 4, 1);
    weft__net_calm(true);
    f[0] = net_spawn(look_once, NULL);
    f[1] = net_spawn(look_once, NULL);
    f[2] = net_spawn(read_byte, NULL);
    net_linger(2);
    sim_expect(weft_write(s.fd[1], "x", 1) == 1);
    for (int i = 0; i < 3; i++)
        net_join(f[i]);
    close_both();
    return sim_did();
}

START_TEST(a_looker_hands_on_what_woke_him)
{
    search("net/looker", RUNS, looker_goes, 0);
}
END_TEST

static int looking(void *arg)
{
    weft_fiber_t f[4];

    fresh(*(int *)arg, 16, 5);
    f[0] = net_spawn(watch_end, NULL);
    f[1] = net_spawn(look_and_read, NULL);
    f[2] = net_spawn(read_all, (void *)2);
    f[3] = net_spawn(send_all, NULL);
    for (int i = 0; i < 4; i++)
        net_join(f[i]);
    all_got(s.bytes);
    close_both();
    return sim_did();
}

START_TEST(who_only_looks_takes_nothing_from_a_reader)
{
    search("net/look", RUNS, looking, 0);
}
END_TEST

/* --- Errors ------------------------------------------------------------------------- */

/* Tries, and does not stay. */
static void *try_once(void *arg)
{
    unsigned char c;
    ssize_t got = weft_read_until(s.fd[0], &c, 1, WEFT_NOW);

    sim_expect(got == -EAGAIN || got == 0 || got == 1);
    if (got == 1)
        note(&c, 1);
    return arg;
}

/* An error event of which nothing is left to fetch: libuv has let go of the
 * descriptor, and whoever waits has it watched again. */
static int strange(void *arg)
{
    weft_fiber_t f[4];

    fresh(*(int *)arg, 16, 4);
    f[0] = net_spawn(read_all, (void *)1);
    f[1] = net_spawn(look_and_read, NULL);
    f[2] = net_spawn(try_once, NULL);
    sim_expect(weft__net_fault(s.fd[0], 0) == 0);
    net_linger(1);
    sim_expect(weft__net_fault(s.fd[0], 0) == 0);
    f[3] = net_spawn(send_all, NULL);
    for (int i = 0; i < 4; i++)
        net_join(f[i]);
    all_got(s.bytes);
    close_both();
    return sim_did();
}

START_TEST(after_an_error_event_the_descriptor_is_watched_again)
{
    search("net/strange", RUNS, strange, 0);
}
END_TEST

/* Who is woken by it first finds nothing, and that his time is up: he goes, and
 * leaves a descriptor that nobody watches to the one behind him. */
static int strange_and_late(void *arg)
{
    weft_fiber_t f[4];

    fresh(*(int *)arg, 4, 1);
    weft__net_calm(true);
    f[0] = net_spawn(read_byte, &s);
    f[1] = net_spawn(read_byte, &s);
    f[2] = net_spawn(serve_loops, NULL);
    net_linger(2);
    f[3] = net_spawn(read_byte, NULL);
    net_linger(1);
    sim_expect(weft__net_fault(s.fd[0], 0) == 0);
    net_join(f[0]);
    net_join(f[1]);
    net_join(f[2]);
    sim_expect(weft_write(s.fd[1], "x", 1) == 1);
    net_join(f[3]);
    close_both();
    return sim_did();
}

START_TEST(an_error_event_leaves_nobody_unwatched)
{
    search("net/late", RUNS, strange_and_late, 0);
}
END_TEST

/* The connection breaks under readers and writers of both ends. */
static void *until_broken(void *arg)
{
    int fd = *(int *)arg;
    char buf[4] = "abc";
    ssize_t n;

    while ((n = weft_read(fd, buf, sizeof(buf))) > 0)
        ;
    sim_expect(n == 0 || n == -ECONNRESET);
    return NULL;
}

static void *write_until_broken(void *arg)
{
    int fd = *(int *)arg;
    ssize_t n;

    while ((n = weft_write(fd, "abc", 3)) > 0)
        ;
    sim_expect(n == -EPIPE || n == -ECONNRESET);
    return NULL;
}

static int broken(void *arg)
{
    weft_fiber_t f[5];

    fresh(*(int *)arg, 4, 0);
    f[0] = net_spawn(until_broken, &s.fd[0]);
    f[1] = net_spawn(until_broken, &s.fd[0]);
    f[2] = net_spawn(write_until_broken, &s.fd[1]);
    f[3] = net_spawn(write_until_broken, &s.fd[0]);
    f[4] = net_spawn(write_until_broken, &s.fd[0]);
    net_linger(3);
    sim_expect(weft__net_fault(s.fd[0], -ECONNRESET) == 0);
    for (int i = 0; i < 5; i++)
        net_join(f[i]);
    close_both();
    return sim_did();
}

START_TEST(a_connection_that_breaks_wakes_everyone)
{
    search("net/broken", RUNS, broken, 0);
}
END_TEST

static void add(Suite *suite, const char *name, const TTest *test)
{
    TCase *tc = tcase_create(name);

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, test);
    suite_add_tcase(suite, tc);
}

int main(void)
{
    Suite *suite = suite_create("sim_net");

    add(suite, "stream", a_stream_arrives_whole_and_in_order);
    add(suite, "edge", an_edge_between_the_read_and_the_wait_is_not_lost);
    add(suite, "readers", readers_of_one_descriptor_share_its_bytes);
    add(suite, "writers", writers_against_a_full_buffer_all_find_room);
    add(suite, "leaver", one_that_leaves_takes_nothing_from_those_who_stay);
    add(suite, "impatient", a_reader_that_gives_up_leaves_the_bytes_to_others);
    add(suite, "look", who_only_looks_takes_nothing_from_a_reader);
    add(suite, "looker", a_looker_hands_on_what_woke_him);
    add(suite, "strange",
        after_an_error_event_the_descriptor_is_watched_again);
    add(suite, "late", an_error_event_leaves_nobody_unwatched);
    add(suite, "broken", a_connection_that_breaks_wakes_everyone);
    return sim_main(suite);
}
