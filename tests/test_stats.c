/*
 * Looking in: counters, the list of fibers, and the audit, which must find
 * what is planted.
 */
#include "tests/support.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sched/park.h"
#include "sched/sched.h"
#include "sched/worker.h"

static void *nothing(void *arg)
{
    return arg;
}

static void *sleep_named(void *arg)
{
    weft_name("sleeper");
    return (void *)(intptr_t)weft_chan_recv(arg, NULL);
}

/* --- Counters -------------------------------------------------------------------- */

WEFT_TEST(counters_count)
{
    enum { N = 100 };
    weft_stats_t before = { .size = sizeof(before) }, after = before;
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t f[N];

    ck_code(weft_stats(&before), 0);
    ck_assert_uint_eq(before.workers, workers());
    ck_assert_uint_eq(before.live, 1);
    ck_assert_uint_eq(before.total.spawned, 1);
    ck_assert_uint_eq(before.total.ended, 0);

    /* Each parks once: one that were joined might have ended before. */
    for (int i = 0; i < N; i++)
        f[i] = spawn(sleep_named, ch);
    for (int i = 0; i < N; i++)
        wait_until_parked(f[i]);
    for (int i = 0; i < N; i++)
        join(spawn(nothing, NULL));
    ck_code(weft_stats(&after), 0);
    ck_assert_uint_eq(after.live, N + 1);
    ck_assert_uint_eq(after.total.spawned, 2 * N + 1);
    ck_assert_uint_eq(after.total.ended, N);
    ck_assert_uint_ge(after.total.parks, before.total.parks + N);
    ck_assert_uint_ge(after.total.switches, before.total.switches + N);
    ck_assert_uint_ge(after.records, N + 1);
    ck_assert_uint_ge(after.stacks, N + 1);
    ck_assert_uint_gt(after.stack_bytes, 0);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    for (int i = 0; i < N; i++)
        join(f[i]);
    weft_chan_unref(ch);
}
END_TEST

/* All workers together are the total, but for the first fiber, which no
 * worker spawned. */
WEFT_TEST(workers_add_up)
{
    weft_stats_t all = { .size = sizeof(all) };
    weft_worker_stats_t one;
    uint64_t spawned = 1, ended = 0;

    for (int i = 0; i < 100; i++)
        join(spawn(nothing, NULL));
    ck_code(weft_stats(&all), 0);
    for (unsigned i = 0; i < workers(); i++) {
        ck_code(weft_stats_worker(i, &one), 0);
        spawned += one.spawned;
        ended += one.ended;
    }
    ck_assert_uint_eq(spawned, all.total.spawned);
    ck_assert_uint_eq(ended, all.total.ended);
}
END_TEST

WEFT_TEST(a_lane_is_counted)
{
    weft_stats_t stats = { .size = sizeof(stats) };

    ck_assert_int_eq(weft_blocking(nothing, NULL, NULL), 0);
    ck_code(weft_stats(&stats), 0);
    ck_assert_uint_eq(stats.lane_threads, 1);
    ck_assert_uint_eq(stats.lane_queued, 0);
    ck_assert_int_eq(stats.lane_age, 0);
    /* The others are lanes of their own. */
    ck_assert_uint_eq(stats.file_lane.threads, 0);
    ck_assert_uint_eq(stats.fd_lane.threads, 0);
    ck_assert_uint_eq(stats.resolve_lane.begun, 0);
}
END_TEST

static void refuse_stats(void)
{
    weft_stats_t stats = { .size = sizeof(stats) - 1 };

    ck_code(weft_stats(NULL), -EINVAL);
    ck_code(weft_stats(&stats), -EINVAL);
    stats.size = 0;
    ck_code(weft_stats(&stats), -EINVAL);
    stats.size = sizeof(stats) + 1;
    ck_code(weft_stats(&stats), -EINVAL);
}

WEFT_TEST(a_wrong_size_or_worker_is_refused)
{
    weft_worker_stats_t one;

    refuse_stats();
    ck_code(weft_stats_worker(0, NULL), -EINVAL);
    ck_code(weft_stats_worker(workers(), &one), -EINVAL);
    ck_code(weft_stats_worker(UINT_MAX, &one), -EINVAL);
}
END_TEST

START_TEST(nothing_is_counted_while_nothing_runs)
{
    weft_stats_t stats;
    weft_worker_stats_t one;

    memset(&stats, 0xff, sizeof(stats));
    stats.size = sizeof(stats);
    refuse_stats();
    ck_code(weft_stats(&stats), 0);
    ck_assert_uint_eq(stats.size, sizeof(stats));
    ck_assert_uint_eq(stats.workers, 0);
    ck_assert_uint_eq(stats.live, 0);
    ck_assert_uint_eq(stats.total.spawned, 0);
    ck_assert_uint_eq(stats.records, 0);
    ck_code(weft_stats_worker(0, &one), -EINVAL);
    ck_code(weft_dump(STDERR_FILENO), -EPERM);
    ck_code(weft_audit(NULL), -EPERM);
}
END_TEST

/* --- The list ---------------------------------------------------------------------- */

/* What weft_dump() writes; *listed is its answer. */
static const char *dumped(int *listed)
{
    static char text[1 << 16];
    int fd = memfd_create("dump", MFD_CLOEXEC);
    ssize_t n;

    ck_assert_int_ge(fd, 0);
    *listed = weft_dump(fd);
    n = pread(fd, text, sizeof(text) - 1, 0);
    ck_assert_int_ge(n, 0);
    text[n] = '\0';
    close(fd);
    return text;
}

WEFT_TEST(the_list_names_who_waits_for_what)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft_attr_t attr = WEFT_ATTR_INIT;
    weft_fiber_t f = spawn(sleep_named, ch), unstarted;
    const char *text;
    int listed;

    wait_until_parked(f);
    text = dumped(&listed);
    ck_assert_int_eq(listed, 2);
    ck_assert_ptr_nonnull(strstr(text, "\"main\" running"));
    ck_assert_ptr_nonnull(
        strstr(text, "\"sleeper\" parked, waits for receive on channel"));

    attr.name = "newborn";
    ck_assert_int_eq(weft_spawn_with(&unstarted, &attr, nothing, NULL), 0);
    if (workers() == 1) {
        text = dumped(&listed);
        ck_assert_int_eq(listed, 3);
        ck_assert_ptr_nonnull(strstr(text, "\"newborn\" new"));
    }
    join(unstarted);
    ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    wait_until_ended(f);
    text = dumped(&listed);
    ck_assert_int_eq(listed, 1);
    ck_assert_ptr_null(strstr(text, "sleeper"));
    join(f);
    weft_chan_unref(ch);
}
END_TEST

/* A thread of ours has the mask of the worker that made it; theirs may have
 * another. */
static void *dump_outside(void *arg)
{
    sigset_t pipe_only;

    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_UNBLOCK, &pipe_only, NULL);
    *(int *)arg = weft_dump(*(int *)arg);
    return NULL;
}

WEFT_TEST(a_foreign_thread_may_ask_for_the_list)
{
    pthread_t outside;
    int fd = memfd_create("dump", MFD_CLOEXEC), answer = fd;

    ck_assert_int_eq(
        pthread_create(&outside, NULL, dump_outside, &answer), 0);
    pthread_join(outside, NULL);
    ck_code(answer, 1);
    close(fd);
}
END_TEST

struct reading {
    int fds[2];
    int lines;
};

/* Not before the other end is full. */
static void *count_lines_late(void *arg)
{
    struct reading *r = arg;
    struct pollfd other = { .fd = r->fds[1], .events = POLLOUT };
    char block[512];
    ssize_t n;

    while (poll(&other, 1, 0) > 0)
        usleep(1000);
    while ((n = read(r->fds[0], block, sizeof(block))) > 0)
        for (ssize_t i = 0; i < n; i++)
            r->lines += block[i] == '\n';
    return NULL;
}

static void *receive_one(void *ch)
{
    return (void *)(intptr_t)weft_chan_recv(ch, NULL);
}

/* More than there is room for, into what does not wait: all of it is written,
 * a line each, whatever they are called. */
WEFT_TEST(a_list_waits_for_room_also_where_a_write_would_not)
{
    enum { MANY = 3000 };
    weft_attr_t attr = WEFT_ATTR_INIT;
    static weft_fiber_t f[MANY];
    weft_chan_t *ch = new_chan(0, 0);
    struct reading r = { 0 };
    int *ends = r.fds;
    pthread_t reader;

    attr.name = "two\nlines";
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(weft_spawn_with(&f[i], &attr, receive_one, ch), 0);
    wait_until_n_parked(MANY);
    ck_code(weft_pipe(ends), 0);
    ck_assert_int_eq(fcntl(ends[0], F_SETFL, 0), 0);
    ck_assert_int_ge(fcntl(ends[1], F_SETPIPE_SZ, 4096), 0);
    ck_assert_int_eq(pthread_create(&reader, NULL, count_lines_late, &r), 0);
    ck_code(weft_dump(ends[1]), MANY + 1);
    ck_code(weft_close(ends[1]), 0);
    pthread_join(reader, NULL);
    ck_assert_int_eq(r.lines, MANY + 1);
    ck_code(weft_close(ends[0]), 0);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    for (int i = 0; i < MANY; i++)
        join(f[i]);
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(a_list_that_can_not_be_written_says_why)
{
    pthread_t outside;
    int ends[2], fd, answer;

    fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    ck_code(weft_dump(fd), 1);
    close(fd);
    ck_code(weft_dump(-1), -EBADF);
    fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_code(weft_dump(fd), -ENOSPC);
    close(fd);
    ck_assert_int_eq(pipe(ends), 0);
    ck_code(weft_dump(ends[0]), -EBADF); /* for reading only */
    close(ends[0]);
    ck_code(weft_dump(ends[1]), -EPIPE); /* and SIGPIPE kills no one */
    answer = ends[1];
    ck_assert_int_eq(
        pthread_create(&outside, NULL, dump_outside, &answer), 0);
    pthread_join(outside, NULL);
    ck_code(answer, -EPIPE);
    close(ends[1]);
}
END_TEST

/* --- The audit ------------------------------------------------------------------------ */

/* How many faults the audit finds; `words` stand in its report. */
static int audited(const char *words)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    int faults;

    ck_assert_ptr_nonnull(out);
    faults = weft_audit(out);
    fclose(out);
    if (faults > 0)
        ck_assert_msg(strstr(text, words) != NULL, "it says %s", text);
    free(text);
    ck_assert_int_eq(weft_audit(NULL), faults);
    return faults;
}

WEFT_TEST(the_audit_finds_nothing_where_nothing_is)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t f = spawn(sleep_named, ch);

    wait_until_parked(f);
    ck_code(weft_audit(NULL), 0);
    ck_code(weft_audit(stderr), 0);
    ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    join(f);
    weft_chan_unref(ch);
}
END_TEST

/* So many too many that none who lies down or gets up meanwhile hides it. */
WEFT_TEST(the_audit_finds_sleepers_too_many)
{
    weft__fetch_add(&weft__sched.idle, 2 * workers(), SEQ_CST);
    ck_code(audited("sleepers counted"), 1);
    weft__fetch_sub(&weft__sched.idle, 2 * workers(), SEQ_CST);
    ck_assert_int_eq(audited(""), 0);
}
END_TEST

WEFT_TEST(the_audit_finds_a_fiber_that_was_never_counted)
{
    weft__fetch_add(&weft__sched.spawned, 1, SEQ_CST);
    ck_code(audited("fibers listed"), 1);
    weft__fetch_sub(&weft__sched.spawned, 1, SEQ_CST);
    ck_assert_int_eq(audited(""), 0);
}
END_TEST

WEFT_TEST(the_audit_finds_a_parked_fiber_without_a_stack)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t f = spawn(sleep_named, ch);
    struct weft__fiber *record;
    uintptr_t stack;
    uint64_t life;

    wait_until_parked(f);
    record = weft__fiber_find(f, &life);
    stack = weft__load(&record->stack, RELAXED);
    weft__store(&record->stack, stack & ~WEFT__STACK_BASE_MASK, RELAXED);
    ck_code(audited("no stack"), 1);
    weft__store(&record->stack, stack, RELAXED);
    ck_assert_int_eq(audited(""), 0);
    ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    join(f);
    weft_chan_unref(ch);
}
END_TEST

WEFT_TEST(the_audit_finds_a_joiner_of_a_detached_fiber)
{
    weft_chan_t *ch = new_chan(0, 0);
    weft_fiber_t f = spawn(sleep_named, ch);
    struct weft__fiber *record;
    uint64_t life;

    wait_until_parked(f);
    record = weft__fiber_find(f, &life);
    weft__store(&record->life,
                life | WEFT__LIFE_DETACHED | WEFT__LIFE_JOINED, RELEASE);
    ck_code(audited("detached"), 1);
    weft__store(&record->life, life, RELEASE);
    ck_assert_int_eq(audited(""), 0);
    ck_assert_int_eq(weft_chan_send(ch, NULL), 0);
    join(f);
    weft_chan_unref(ch);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stats");
    TCase *count = tcase_create("count");
    TCase *list = tcase_create("list");
    TCase *audit = tcase_create("audit");

    tcase_add_test(count, counters_count);
    tcase_add_test(count, workers_add_up);
    tcase_add_test(count, a_lane_is_counted);
    tcase_add_test(count, a_wrong_size_or_worker_is_refused);
    tcase_add_test(count, nothing_is_counted_while_nothing_runs);
    suite_add_tcase(suite, count);

    tcase_add_test(list, the_list_names_who_waits_for_what);
    tcase_add_test(list, a_foreign_thread_may_ask_for_the_list);
    tcase_add_test(list,
                   a_list_waits_for_room_also_where_a_write_would_not);
    tcase_add_test(list, a_list_that_can_not_be_written_says_why);
    suite_add_tcase(suite, list);

    tcase_add_test(audit, the_audit_finds_nothing_where_nothing_is);
    tcase_add_test(audit, the_audit_finds_sleepers_too_many);
    tcase_add_test(audit, the_audit_finds_a_fiber_that_was_never_counted);
    tcase_add_test(audit, the_audit_finds_a_parked_fiber_without_a_stack);
    tcase_add_test(audit, the_audit_finds_a_joiner_of_a_detached_fiber);
    suite_add_tcase(suite, audit);
    return run_suite(suite);
}
