/*
 * Timers: the heap by itself, and the deadlines of parked waits.
 */
#include "tests/support_prim.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sched/park.h"
#include "sched/sched.h"
#include "sched/worker.h"

/* --- The heap by itself ----------------------------------------------------- */

/* Two workers that do not run, and records without a wait: an entry that comes
 * up is dropped. */
static struct weft__worker dummy[2];

static struct weft__fiber **make_records(unsigned n)
{
    struct weft__fiber **f = calloc(n, sizeof(struct weft__fiber *));
    unsigned class = (unsigned)weft__stack_class(64 << 10);

    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(weft__fiber_setup(class), 0);
    ck_assert_int_eq(weft__timer_setup(2), 0);
    for (unsigned i = 0; i < 2; i++)
        dummy[i].timers = &weft__timer_heaps[i];
    for (unsigned i = 0; i < n; i++) {
        f[i] = weft__record_take(NULL);
        ck_assert_ptr_nonnull(f[i]);
        f[i]->worker = &dummy[0];
    }
    return f;
}

static void check_heaps(unsigned entries)
{
    must(weft__timer_heaps[0].len + weft__timer_heaps[1].len == entries);
    for (unsigned i = 0; i < 2; i++)
        must(weft__timer_audit(&weft__timer_heaps[i]) == 0);
}

/* Take all out of a heap; they come in order. How many there were. */
static unsigned drain(struct weft__timer_heap *heap)
{
    unsigned n = 0;
    int64_t last = 0;

    while (heap->len > 0) {
        int64_t head = weft__timer_head(heap);
        unsigned len = heap->len;

        must(head >= last);
        last = head;
        weft__timer_expire(&dummy[0], heap, head);
        must(heap->len < len);
        n += len - heap->len;
    }
    must(weft__timer_head(heap) == WEFT_FOREVER);
    return n;
}

/* Against an array of what each should have: deadlines that are new, later
 * and earlier, and fibers that go from one worker to the other. */
START_TEST(the_heap_is_in_order_whatever_is_done_to_it)
{
    enum { N = 3000, STEPS = 60000 };
    struct weft__fiber **f = make_records(N);
    static int64_t due[N];
    uint32_t seed = 7;
    unsigned entries = 0;

    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = next_random(&seed) % N;
        int64_t when = 1000 + next_random(&seed) % (1 << 28);
        uint64_t mark;

        f[i]->worker = &dummy[next_random(&seed) % 2];
        weft__timer_put(f[i], when);
        mark = weft__load(&weft__fiber_cold(f[i])->timer, RELAXED);
        if (due[i] == 0)
            entries++;
        if (due[i] == 0 || when < due[i]) {
            due[i] = when;
            must((mark & WEFT__TIMER_HEAP_MASK) ==
                 (uint64_t)(f[i]->worker - dummy));
        }
        must((mark & WEFT__TIMER_WHEN_MASK) ==
             ((uint64_t)due[i] & WEFT__TIMER_WHEN_MASK));
        if (step % 1000 == 0)
            check_heaps(entries);
    }
    check_heaps(entries);
    must(drain(&weft__timer_heaps[0]) + drain(&weft__timer_heaps[1]) ==
         entries);
    for (unsigned i = 0; i < N; i++)
        must(weft__load(&weft__fiber_cold(f[i])->timer, RELAXED) ==
             WEFT__TIMER_NONE);
    free(f);
}
END_TEST

/* An entry of each record, all in one heap, then in the other: more chunks
 * than there are to begin with. */
START_TEST(there_is_room_for_an_entry_of_every_record)
{
    enum { N = 70000 };
    struct weft__fiber **f = make_records(N);

    for (int round = 0; round < 3; round++) {
        for (unsigned i = 0; i < N; i++) {
            f[i]->worker = &dummy[round % 2];
            weft__timer_put(f[i], 100000000 - 10000000 * round - (int)i);
        }
        must(weft__timer_heaps[round % 2].len == N);
        check_heaps(N);
    }
    must(drain(&weft__timer_heaps[0]) == N);
    check_heaps(0);
    free(f);
}
END_TEST

/* Where there is no memory it is said when the record would be made. */
START_TEST(room_that_is_not_there_is_refused_beforehand)
{
    struct weft__fiber **f;
    struct rlimit limit = { 1 << 20, 1 << 20 };

    if (SANITIZED) /* their shadow is more than any limit */
        return;
    f = make_records(2);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    ck_assert_int_eq(weft__timer_reserve(WEFT__FIBER_MAX), -ENOMEM);
    ck_assert_int_eq(weft__timer_reserve(2), 0);
    weft__timer_put(f[0], 2000);
    weft__timer_put(f[1], 1000);
    check_heaps(2);
    ck_assert_uint_eq(drain(&weft__timer_heaps[0]), 2);
    free(f);
}
END_TEST

/* The end of a run: no entry, no mark. */
START_TEST(clearing_leaves_no_entry)
{
    struct weft__fiber **f = make_records(100);

    for (unsigned i = 0; i < 100; i++) {
        f[i]->worker = &dummy[i % 2];
        weft__timer_put(f[i], 1000 + i);
    }
    weft__timer_clear(2);
    check_heaps(0);
    for (unsigned i = 0; i < 100; i++)
        must(weft__load(&weft__fiber_cold(f[i])->timer, RELAXED) ==
             WEFT__TIMER_NONE);
    weft__timer_put(f[0], 1000);
    check_heaps(1);
    free(f);
}
END_TEST

/* --- Deadlines --------------------------------------------------------------- */

static weft_stats_t stats(void)
{
    weft_stats_t now = { .size = sizeof(now) };

    must(weft_stats(&now) == 0);
    return now;
}

static weft_chan_t *ch;
static weft_mutex_t mutex = WEFT_MUTEX_INIT;
static weft_waitgroup_t group = WEFT_WAITGROUP_INIT;
static weft_queue_t *queue;

static void *hold_mutex(void *arg)
{
    int value;

    must_code(weft_mutex_lock(&mutex), 0);
    must_code(weft_chan_recv(arg, &value), -EPIPE);
    must_code(weft_mutex_unlock(&mutex), 0);
    return NULL;
}

/* Each call that waits ends at its deadline, and not before. */
WEFT_TEST(a_deadline_ends_the_wait_for_anything)
{
    weft_fiber_t holder;
    weft_time_t deadline = 0;
    int value = 0;

    ch = new_chan(sizeof(int), 0);
    ck_assert_int_eq(
        weft_queue_create(&queue, WEFT_FIFO, sizeof(int), 1, NULL), 0);
    ck_assert_int_eq(weft_waitgroup_add(&group, 1), 0);
    holder = spawn(hold_mutex, ch);
    wait_until_parked(holder);
    for (int i = 0; i < 5; i++) {
        deadline = weft_after(WEFT_US(300) * i + 1);
        ck_code(weft_queue_get_until(queue, &value, deadline), -ETIMEDOUT);
        ck_assert_int_ge(weft_now(), deadline);
        deadline = weft_after(WEFT_US(200) * i + 1);
        ck_code(weft_mutex_lock_until(&mutex, deadline), -ETIMEDOUT);
        ck_assert_int_ge(weft_now(), deadline);
        deadline = weft_after(WEFT_US(100) * i + 1);
        ck_code(weft_waitgroup_wait_until(&group, deadline), -ETIMEDOUT);
        ck_assert_int_ge(weft_now(), deadline);
        deadline = weft_after(WEFT_US(500) * i + 1);
        ck_code(weft_join_until(holder, NULL, deadline), -ETIMEDOUT);
        ck_assert_int_ge(weft_now(), deadline);
    }
    ck_assert_int_eq(weft_chan_close(ch), 0);
    join(holder);
    ck_assert_int_eq(weft_waitgroup_done(&group), 0);
    weft_queue_unref(queue);
    weft_chan_unref(ch);
}
END_TEST

static void *serve(void *arg)
{
    int value;

    (void)arg;
    while (weft_chan_recv_until(ch, &value, weft_after(WEFT_SEC(60))) == 0)
        ;
    return NULL;
}

/* A minute from each request on: it takes no lock and touches no heap. */
WEFT_TEST(a_deadline_that_is_renewed_costs_no_timer)
{
    weft_stats_t before, after;
    weft_fiber_t f;
    int i;

    ch = new_chan(sizeof(int), 0);
    f = spawn(serve, NULL);
    before = stats();
    for (i = 0; i < 10000; i++)
        must(weft_chan_send_until(ch, &i, weft_after(WEFT_SEC(60))) == 0);
    after = stats();
    ck_assert_uint_le(after.timers_armed, before.timers_armed + 2);
    ck_assert_uint_le(after.timers, 2);
    ck_assert_uint_ge(after.total.parks, before.total.parks + 1000);
    ck_assert_int_eq(weft_chan_close(ch), 0);
    join(f);
    weft_chan_unref(ch);
}
END_TEST

/* A fiber for each request: most find the entry of their record standing. */
WEFT_TEST(an_entry_outlives_its_fiber_and_serves_the_next)
{
    weft_stats_t before, after;

    ch = new_chan(sizeof(int), 0);
    before = stats();
    for (int i = 0; i < 1000; i++) {
        weft_fiber_t f = spawn(serve, NULL);

        wait_until_parked(f);
        ck_assert_int_eq(weft_cancel(f), 0);
        join(f);
    }
    after = stats();
    ck_assert_uint_lt(after.timers_armed, before.timers_armed + 200);
    ck_assert_uint_eq(after.timers_expired, before.timers_expired);
    ck_assert_int_eq(weft_audit(stderr), 0);
    weft_chan_unref(ch);
}
END_TEST

static void *send_one(void *arg)
{
    must_code(weft_chan_send(ch, arg), 0);
    return NULL;
}

/* The entry of a wait that is over stands a minute off. */
WEFT_TEST(an_earlier_deadline_does_not_wait_for_the_entry)
{
    int value = 1;

    ch = new_chan(sizeof(int), 0);
    for (int i = 0; i < 20; i++) {
        weft_fiber_t f = spawn(send_one, &value);
        weft_time_t deadline = weft_after(WEFT_SEC(60));

        ck_code(weft_chan_recv_until(ch, &value, deadline), 0);
        join(f);
        deadline = weft_after(WEFT_US(100));
        ck_code(weft_chan_recv_until(ch, &value, deadline), -ETIMEDOUT);
        ck_assert_int_ge(weft_now(), deadline);
    }
    weft_chan_unref(ch);
}
END_TEST

/* The entry comes up in the midst of a later wait: it is put right. */
WEFT_TEST(a_later_deadline_is_not_cut_short)
{
    int value = 1;

    ch = new_chan(sizeof(int), 0);
    for (int i = 0; i < 20; i++) {
        weft_fiber_t f = spawn(send_one, &value);
        weft_time_t deadline = weft_after(WEFT_MS(1));

        if (weft_chan_recv_until(ch, &value, deadline) != 0)
            must_code(weft_chan_recv(ch, &value), 0);
        join(f);
        deadline = weft_after(WEFT_MS(3));
        ck_code(weft_chan_recv_until(ch, &value, deadline), -ETIMEDOUT);
        ck_assert_int_ge(weft_now(), deadline);
        /* And none at all. */
        deadline = weft_after(WEFT_MS(1));
        ck_code(weft_chan_recv_until(ch, &value, deadline), -ETIMEDOUT);
    }
    weft_chan_unref(ch);
}
END_TEST

static void *sleep_random(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg * 2654435761u + 1;

    for (int i = 0; i < 3; i++) {
        weft_time_t when =
            weft_after((weft_time_t)(next_random(&seed) % 30000000));

        must_code(weft_sleep_until(when), 0);
        must(weft_now() >= when);
    }
    weft_waitgroup_done(&group);
    return NULL;
}

WEFT_TEST(many_sleepers_all_wake_and_none_too_soon)
{
    enum { N = ROUNDS(20000) };

    ck_assert_int_eq(weft_waitgroup_add(&group, N), 0);
    for (uintptr_t i = 0; i < N; i++)
        must(weft_go(sleep_random, (void *)i) == 0);
    ck_assert_int_eq(weft_waitgroup_wait(&group), 0);
    /* But for those whose time had come before they could lie down. */
    ck_assert_uint_le(stats().timers_expired, 3 * N);
    ck_assert_uint_ge(stats().timers_expired, 2 * N);
    ck_assert_int_eq(weft_audit(stderr), 0);
}
END_TEST

/* --- Beside those who never rest --------------------------------------------- */

static weft__au32 stop;

static void *yield_all_day(void *arg)
{
    while (!weft__load(&stop, ACQUIRE))
        weft_yield();
    return arg;
}

WEFT_TEST(sleepers_wake_beside_fibers_that_never_rest)
{
    weft_fiber_t f[20];

    for (int i = 0; i < 20; i++)
        f[i] = spawn(yield_all_day, NULL);
    for (int i = 0; i < 20; i++)
        ck_code(weft_sleep(WEFT_MS(1)), 0);
    weft__store(&stop, 1, RELEASE);
    for (int i = 0; i < 20; i++)
        join(f[i]);
}
END_TEST

static weft__au32 turns;

static void compute(weft_time_t duration)
{
    weft_time_t end = weft_after(duration);

    while (weft_now() < end)
        ;
}

static void *long_turns(void *arg)
{
    while (!weft__load(&stop, ACQUIRE)) {
        weft__fetch_add(&turns, 1, RELAXED);
        compute(WEFT_MS(1));
        weft_yield();
    }
    return arg;
}

/* Where each turn takes a millisecond a timer is not looked at after 61 of
 * them. On one worker, so that no other helps. */
static void sleep_beside_long_turns(int i)
{
    weft_fiber_t f[4];
    uint32_t before;

    (void)i;
    for (int k = 0; k < 4; k++)
        f[k] = spawn(long_turns, NULL);
    weft_sleep(WEFT_MS(100));
    before = weft__load(&turns, RELAXED);
    for (int k = 0; k < 10; k++)
        weft_sleep(WEFT_MS(1));
    /* Two or so each, and four that are in the queue; the monitor alone would
     * let ten go by. */
    ck_assert_uint_lt(weft__load(&turns, RELAXED) - before, 10 * 8);
    weft__store(&stop, 1, RELEASE);
    for (int k = 0; k < 4; k++)
        join(f[k]);
}

START_TEST(timers_are_looked_at_each_millisecond_beside_long_turns)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    unsetenv("WEFT_WORKERS");
    config.workers = 1;
    ck_assert_int_eq(run_with(&config, sleep_beside_long_turns, 0), 0);
}
END_TEST

static void *sleep_and_stop(void *arg)
{
    weft_sleep(WEFT_MS(2));
    weft__store(&stop, 1, RELEASE);
    return arg;
}

/* The timer is in the heap of a worker that computes until it has fired. */
WEFT_TEST(others_serve_the_timers_of_a_worker_that_computes)
{
    weft_fiber_t f;

    if (workers() < 2)
        return;
    for (int i = 0; i < 10; i++) {
        weft__store(&stop, 0, RELAXED);
        f = spawn(sleep_and_stop, NULL);
        weft_yield();
        while (!weft__load(&stop, ACQUIRE))
            ;
        join(f);
    }
}
END_TEST

/* --- Looking in ---------------------------------------------------------------- */

static void *sleep_long(void *arg)
{
    weft_name("sleeper");
    (void)weft_sleep(WEFT_SEC(60));
    return arg;
}

/* What the dump says; the caller frees it. */
static char *dumped(void)
{
    int fd = memfd_create("dump", MFD_CLOEXEC);
    char *text = calloc(1, 1 << 16);

    ck_assert_int_ge(fd, 0);
    ck_assert_ptr_nonnull(text);
    ck_assert_int_ge(weft_dump(fd), 1);
    ck_assert_int_ge(pread(fd, text, (1 << 16) - 1, 0), 0);
    close(fd);
    return text;
}

WEFT_TEST(a_dump_says_when_a_wait_ends)
{
    weft_fiber_t f = spawn(sleep_long, NULL);
    char *text, *at;
    long left;

    wait_until_parked(f);
    text = dumped();
    ck_assert_ptr_nonnull(
        strstr(text, "\"sleeper\" parked, waits for sleep for "));
    at = strstr(text, " ms, deadline in ");
    ck_assert_ptr_nonnull(at);
    left = strtol(at + strlen(" ms, deadline in "), NULL, 10);
    ck_assert_int_gt(left, 0);
    ck_assert_int_le(left, 60000);
    free(text);
    ck_assert_int_eq(weft_cancel(f), 0);
    join(f);
}
END_TEST

WEFT_TEST(timers_are_counted)
{
    weft_stats_t before = stats(), after;
    weft_fiber_t f = spawn(sleep_long, NULL);

    wait_until_parked(f);
    ck_assert_int_eq(weft_sleep(WEFT_MS(10)), 0);
    after = stats();
    ck_assert_uint_eq(before.timers, 0);
    ck_assert_uint_eq(after.timers, 1);
    ck_assert_uint_eq(after.timers_armed, 2);
    ck_assert_uint_eq(after.timers_expired, 1);
    ck_assert_int_eq(weft_cancel(f), 0);
    join(f);
}
END_TEST

/* The places of two entries changed about. */
WEFT_TEST(the_audit_finds_an_entry_out_of_place)
{
    weft_fiber_t f = spawn(sleep_long, NULL);
    uint32_t *place = &weft__fiber_timer_places[(uint32_t)f];

    wait_until_parked(f);
    ck_assert_int_eq(weft_audit(stderr), 0);
    ++*place;
    ck_code(weft_audit(NULL), 1);
    --*place;
    ck_assert_int_eq(weft_audit(stderr), 0);
    ck_assert_int_eq(weft_cancel(f), 0);
    join(f);
}
END_TEST

static void count_and_leave(int i)
{
    (void)i;
    must(stats().timers == 0);
    wait_until_parked(spawn(sleep_long, NULL));
    must(stats().timers == 1);
    must_code(weft_sleep(WEFT_US(10)), 0);
}

START_TEST(a_run_finds_no_timer_of_the_one_before)
{
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(run_with(NULL, count_and_leave, 0), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("timer");
    TCase *heap = tcase_create("heap");
    TCase *tc = tcase_create("timer");

    tcase_add_test(heap, the_heap_is_in_order_whatever_is_done_to_it);
    tcase_add_test(heap, there_is_room_for_an_entry_of_every_record);
    tcase_add_test(heap, room_that_is_not_there_is_refused_beforehand);
    tcase_add_test(heap, clearing_leaves_no_entry);
    suite_add_tcase(suite, heap);
    tcase_add_test(tc, a_deadline_ends_the_wait_for_anything);
    tcase_add_test(tc, a_deadline_that_is_renewed_costs_no_timer);
    tcase_add_test(tc, an_entry_outlives_its_fiber_and_serves_the_next);
    tcase_add_test(tc, an_earlier_deadline_does_not_wait_for_the_entry);
    tcase_add_test(tc, a_later_deadline_is_not_cut_short);
    tcase_add_test(tc, many_sleepers_all_wake_and_none_too_soon);
    tcase_add_test(tc, sleepers_wake_beside_fibers_that_never_rest);
    tcase_add_test(tc,
                   timers_are_looked_at_each_millisecond_beside_long_turns);
    tcase_add_test(tc, others_serve_the_timers_of_a_worker_that_computes);
    tcase_add_test(tc, a_dump_says_when_a_wait_ends);
    tcase_add_test(tc, timers_are_counted);
    tcase_add_test(tc, the_audit_finds_an_entry_out_of_place);
    tcase_add_test(tc, a_run_finds_no_timer_of_the_one_before);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
