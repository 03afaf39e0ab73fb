/*
 * Lanes: that they keep apart, and what becomes of a job whose fiber's wait
 * ends before it does: by cancel, by deadline, by a close of its descriptor.
 * The lane behind weft_blocking() is in test_blocking.c.
 */
#include "tests/support_lane.h"

#include <sched.h>

static weft__au32 gate, begun, ended, stopped, dropped;

static void *wait_at_gate(void *arg)
{
    (void)weft__fetch_add(&begun, 1, ACQ_REL);
    while (!weft__load(&gate, ACQUIRE))
        sched_yield();
    (void)weft__fetch_add(&ended, 1, ACQ_REL);
    return arg;
}

static void open_gate(void)
{
    weft__store(&gate, 1, RELEASE);
}

static void close_gate(void)
{
    weft__store(&gate, 0, RELEASE);
}

static struct weft__lane *lane(enum weft__lane_kind kind)
{
    return &weft__lanes[kind];
}

/* One fiber that hands in a job, and what came of it. */
struct caller {
    enum weft__lane_kind kind;
    int fd;
    bool stops;
    bool eager;
    int status;
    enum weft__cause cause;
};

static void open_when_stopped(void *arg)
{
    (void)arg;
    (void)weft__fetch_add(&stopped, 1, ACQ_REL);
    open_gate();
}

static void *call(void *arg)
{
    struct caller *c = arg;
    struct weft__job job = { .fn = wait_at_gate,
                             .arg = c,
                             .what = "test",
                             .fd = c->fd,
                             .stop = c->stops ? open_when_stopped : NULL,
                             .eager = c->eager };

    c->status = weft__lane_do(lane(c->kind), self(), &job, WEFT_FOREVER);
    c->cause = job.cause;
    if (c->status == 0)
        ck_assert_ptr_eq(job.result, c);
    return NULL;
}

/* A run in which each lane has one thread. */
static void run_narrow(void (*body)(int), int i)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    config.lane_threads = config.file_threads = config.fd_threads =
        config.resolve_threads = 1;
    ck_code(run_with(&config, body, i), 0);
}

/* --- Apart ------------------------------------------------------------------------ */

/* All are full but one, and that one works. */
static void all_but_one(int free)
{
    struct caller c[WEFT__LANES];
    weft_fiber_t f[WEFT__LANES];
    weft_stats_t stats = { .size = sizeof(stats) };
    void *result = NULL;

    for (int i = 0; i < WEFT__LANES; i++) {
        c[i] = (struct caller){ .kind = (enum weft__lane_kind)i, .fd = -1 };
        if (i == free)
            continue;
        f[i] = spawn(call, &c[i]);
        wait_for_jobs((enum weft__lane_kind)i, 1, 0);
    }
    ck_code(weft_stats(&stats), 0);
    ck_assert_uint_eq(stats.lane_running, free != WEFT__LANE_USER);
    ck_assert_uint_eq(stats.file_lane.running, free != WEFT__LANE_FILE);
    ck_assert_uint_eq(stats.fd_lane.running, free != WEFT__LANE_FD);
    ck_assert_uint_eq(stats.resolve_lane.running, free != WEFT__LANE_RESOLVE);

    f[free] = spawn(call, &c[free]);
    wait_for_jobs((enum weft__lane_kind)free, 1, 0);
    open_gate();
    for (int i = 0; i < WEFT__LANES; i++) {
        join(f[i]);
        ck_assert_int_eq(c[i].status, 0);
    }
    ck_assert_int_eq(weft__lane_run(lane((enum weft__lane_kind)free), self(),
                                    wait_at_gate, &c[0], &result,
                                    WEFT_FOREVER),
                     0);
    ck_assert_ptr_eq(result, &c[0]);
}

START_TEST(a_lane_that_is_full_keeps_no_other_from_its_work)
{
    run_narrow(all_but_one, _i);
}
END_TEST

static void look_at_age(int i)
{
    struct caller one = { .kind = WEFT__LANE_FD, .fd = -1 }, two = one;
    weft_fiber_t f = spawn(call, &one), g;
    weft_stats_t stats = { .size = sizeof(stats) };
    weft_time_t age, end;

    (void)i;
    wait_for_jobs(WEFT__LANE_FD, 1, 0);
    ck_code(weft_stats(&stats), 0);
    ck_assert_int_eq(stats.fd_lane.age, 0);
    g = spawn(call, &two);
    wait_for_jobs(WEFT__LANE_FD, 1, 1);
    ck_code(weft_stats(&stats), 0);
    ck_assert_uint_eq(stats.fd_lane.threads, 1);
    ck_assert_uint_eq(stats.fd_lane.queued, 1);
    ck_assert_uint_eq(stats.fd_lane.begun, 1);
    age = stats.fd_lane.age;
    end = weft_after(WEFT_MS(2));
    while (weft_now() < end)
        weft_yield();
    ck_code(weft_stats(&stats), 0);
    ck_assert_int_ge(stats.fd_lane.age, age + WEFT_MS(2));
    ck_assert_int_eq(stats.file_lane.age, 0);
    open_gate();
    join(f);
    join(g);
    ck_assert_uint_eq(jobs_begun(WEFT__LANE_FD), 2);
}

START_TEST(a_queue_has_an_age)
{
    run_narrow(look_at_age, 0);
}
END_TEST

/* --- Waits that end early --------------------------------------------------------------- */

/* What is late already is not begun. */
WEFT_TEST(a_call_that_is_late_hands_nothing_in)
{
    struct weft__lane *l = lane(WEFT__LANE_FILE);

    ck_assert_int_eq(weft__lane_run(l, self(), wait_at_gate, NULL, NULL,
                                    WEFT_NOW),
                     -EAGAIN);
    ck_assert_int_eq(weft__lane_run(l, self(), wait_at_gate, NULL, NULL,
                                    weft_now()),
                     -ETIMEDOUT);
    ck_assert_int_eq(weft__lane_run(l, NULL, wait_at_gate, NULL, NULL,
                                    WEFT_FOREVER),
                     -EPERM);
    ck_assert_uint_eq(jobs_begun(WEFT__LANE_FILE), 0);
}
END_TEST

enum how { CANCEL, EXPIRE, CLOSE };

static struct weft__lane_bar bar;

static void end_wait(enum how how, weft_fiber_t f)
{
    if (how == CANCEL)
        ck_assert_int_eq(weft_cancel(f), 0);
    else if (how == EXPIRE)
        ck_assert(expire(f));
    else
        weft__lane_bar(lane(WEFT__LANE_FD), &bar, 7);
}

static int code_of(enum how how)
{
    return how == CANCEL ? -ECANCELED : how == EXPIRE ? -ETIMEDOUT : -EBADF;
}

static void queued_ends(int how)
{
    struct caller one = { .kind = WEFT__LANE_FD, .fd = -1 };
    struct caller two = { .kind = WEFT__LANE_FD, .fd = 7, .stops = true };
    weft_fiber_t f = spawn(call, &one), g;

    wait_for_jobs(WEFT__LANE_FD, 1, 0);
    g = spawn(call, &two);
    wait_for_jobs(WEFT__LANE_FD, 1, 1);
    wait_until_parked(g);
    end_wait((enum how)how, g);
    join(g);
    ck_assert_int_eq(two.status, code_of((enum how)how));
    wait_for_jobs(WEFT__LANE_FD, 1, 0);
    open_gate();
    join(f);
    ck_assert_int_eq(one.status, 0);
    ck_assert_uint_eq(weft__load(&begun, RELAXED), 1);
    ck_assert_uint_eq(weft__load(&stopped, RELAXED), 0);
    if (how == CLOSE)
        weft__lane_unbar(lane(WEFT__LANE_FD), &bar);
}

START_TEST(a_queued_job_is_taken_back)
{
    run_narrow(queued_ends, _i);
}
END_TEST

static void running_ends(int how)
{
    struct caller c = { .kind = WEFT__LANE_FD, .fd = 7 };
    weft_fiber_t f = spawn(call, &c);

    wait_for_jobs(WEFT__LANE_FD, 1, 0);
    wait_until_parked(f);
    end_wait((enum how)how, f);
    /* It is told, and goes on waiting, for the job alone. */
    for (int i = 0; i < 100; i++)
        weft_yield();
    wait_until_parked(f);
    ck_assert(!expire(f));
    (void)weft_cancel(f);
    ck_assert(is_state(f, "parked"));
    ck_assert_uint_eq(weft__load(&ended, RELAXED), 0);
    open_gate();
    join(f);
    ck_assert_int_eq(c.status, 0);
    ck_assert_int_ne(c.cause, WEFT__CAUSE_OK);
    if (how == CLOSE)
        weft__lane_unbar(lane(WEFT__LANE_FD), &bar);
}

START_TEST(a_running_job_is_waited_for)
{
    run_narrow(running_ends, _i);
}
END_TEST

static void running_stops(int how)
{
    struct caller c = { .kind = WEFT__LANE_FD, .fd = 7, .stops = true };
    weft_fiber_t f = spawn(call, &c);

    wait_for_jobs(WEFT__LANE_FD, 1, 0);
    wait_until_parked(f);
    end_wait((enum how)how, f);
    join(f);
    ck_assert_int_eq(c.status, 0);
    ck_assert_uint_eq(weft__load(&stopped, RELAXED), 1);
    if (how == CLOSE)
        weft__lane_unbar(lane(WEFT__LANE_FD), &bar);
}

START_TEST(a_running_job_is_asked_to_stop)
{
    run_narrow(running_stops, _i);
}
END_TEST

/* --- Closing ------------------------------------------------------------------------------- */

static void bar_some(int i)
{
    struct caller c[4] = {
        { .kind = WEFT__LANE_FD, .fd = 7, .stops = true },
        { .kind = WEFT__LANE_FD, .fd = 8 },
        { .kind = WEFT__LANE_FD, .fd = 7 },
        { .kind = WEFT__LANE_FD, .fd = 7 },
    };
    weft_fiber_t f[4];
    struct weft__lane_bar twice;

    (void)i;
    for (int n = 0; n < 3; n++) {
        f[n] = spawn(call, &c[n]);
        wait_for_jobs(WEFT__LANE_FD, 1, (uint64_t)n);
    }
    weft__lane_bar(lane(WEFT__LANE_FD), &bar, 7);
    join(f[0]);
    join(f[2]);
    ck_assert_int_eq(c[0].status, 0); /* it was stopped, and says so itself */
    ck_assert_int_eq(c[0].cause, WEFT__CAUSE_CLOSED);
    ck_assert_int_eq(c[2].status, -EBADF);
    join(f[1]);
    ck_assert_int_eq(c[1].status, 0);

    /* Until the last bar is gone none is let in. */
    weft__lane_bar(lane(WEFT__LANE_FD), &twice, 7);
    weft__lane_unbar(lane(WEFT__LANE_FD), &bar);
    join(spawn(call, &c[3]));
    ck_assert_int_eq(c[3].status, -EBADF);
    weft__lane_unbar(lane(WEFT__LANE_FD), &twice);
    join(spawn(call, &c[3]));
    ck_assert_int_eq(c[3].status, 0);
    ck_assert_uint_eq(weft__load(&begun, RELAXED), 3);
}

START_TEST(a_close_ends_the_jobs_of_its_descriptor_and_no_others)
{
    run_narrow(bar_some, 0);
}
END_TEST

static void be_eager(int i)
{
    struct caller one = { .kind = WEFT__LANE_FD, .fd = -1, .eager = true };
    struct caller two = one;
    weft_fiber_t f = spawn(call, &one);

    (void)i;
    wait_for_jobs(WEFT__LANE_FD, 1, 0);
    join(spawn(call, &two));
    ck_assert_int_eq(two.status, -EAGAIN);
    open_gate();
    join(f);
    ck_assert_int_eq(one.status, 0);
    join(spawn(call, &two));
    ck_assert_int_eq(two.status, 0);
}

START_TEST(an_eager_job_is_not_queued)
{
    run_narrow(be_eager, 0);
}
END_TEST

/* --- Abandoned jobs --------------------------------------------------------------------------- */

struct own {
    struct weft__job job;
    weft__au32 *ran;
};

static void own_drop(struct weft__job *job)
{
    free((struct own *)(void *)job);
    (void)weft__fetch_add(&dropped, 1, ACQ_REL);
}

static void *own_run(void *arg)
{
    struct own *own = arg;

    wait_at_gate(NULL);
    if (own->ran)
        (void)weft__fetch_add(own->ran, 1, ACQ_REL);
    return arg;
}

static struct own *own_new(weft__au32 *ran)
{
    struct own *own = calloc(1, sizeof(*own));

    ck_assert_ptr_nonnull(own);
    own->ran = ran;
    own->job = (struct weft__job){ .fn = own_run,
                                   .arg = own,
                                   .what = "test",
                                   .fd = 7,
                                   .drop = own_drop };
    return own;
}

/* Answers the code; the job is freed in any case. */
static void *call_own(void *arg)
{
    struct own *own = own_new(arg);
    int status = weft__lane_do(lane(WEFT__LANE_FD), self(), &own->job,
                               WEFT_FOREVER);

    if (status == 0) {
        must(own->job.result == own);
        own_drop(&own->job);
    }
    return (void *)(intptr_t)status;
}

static int join_code(weft_fiber_t f)
{
    return (int)(intptr_t)join(f);
}

static void wait_for_drops(uint32_t n)
{
    while (weft__load(&dropped, ACQUIRE) < n)
        weft_yield();
}

static void abandon(int how)
{
    weft_fiber_t f = spawn(call_own, NULL), g;

    wait_for_jobs(WEFT__LANE_FD, 1, 0);
    g = spawn(call_own, NULL);
    wait_for_jobs(WEFT__LANE_FD, 1, 1);
    wait_until_parked(f);
    wait_until_parked(g);
    if (how == CLOSE) {
        end_wait(CLOSE, f);
    } else {
        end_wait((enum how)how, f);
        end_wait((enum how)how, g);
    }
    /* Both at once, though the gate is closed. */
    ck_assert_int_eq(join_code(f), code_of((enum how)how));
    ck_assert_int_eq(join_code(g), code_of((enum how)how));
    ck_assert_uint_eq(weft__load(&dropped, RELAXED), 1); /* the queued one */
    wait_for_jobs(WEFT__LANE_FD, 1, 0);
    if (how == CLOSE)
        weft__lane_unbar(lane(WEFT__LANE_FD), &bar);
    open_gate();
    wait_for_drops(2);
    wait_for_jobs(WEFT__LANE_FD, 0, 0);
    ck_assert_uint_eq(weft__load(&begun, RELAXED), 1);
    /* The thread is still one of the lane's. */
    ck_assert_int_eq(join_code(spawn(call_own, NULL)), 0);
    ck_assert_uint_eq(weft__load(&dropped, RELAXED), 3);
}

START_TEST(a_job_that_owns_what_it_uses_is_left_alone)
{
    run_narrow(abandon, _i);
}
END_TEST

WEFT_TEST(a_job_that_is_not_taken_is_dropped)
{
    struct own *own = own_new(NULL);

    ck_assert_int_eq(weft__lane_do(lane(WEFT__LANE_FD), self(), &own->job,
                                   WEFT_NOW),
                     -EAGAIN);
    weft__lane_bar(lane(WEFT__LANE_FD), &bar, 7);
    own = own_new(NULL);
    ck_assert_int_eq(weft__lane_do(lane(WEFT__LANE_FD), self(), &own->job,
                                   WEFT_FOREVER),
                     -EBADF);
    weft__lane_unbar(lane(WEFT__LANE_FD), &bar);
    ck_assert_uint_eq(weft__load(&dropped, RELAXED), 2);
}
END_TEST

enum { LEFT = 3 };

static void leave_some(int i)
{
    weft_fiber_t f[LEFT];

    (void)i;
    for (int n = 0; n < LEFT; n++)
        f[n] = spawn(call_own, NULL);
    wait_for_jobs(WEFT__LANE_FD, LEFT, 0);
    for (int n = 0; n < LEFT; n++) {
        wait_until_parked(f[n]);
        ck_assert_int_eq(weft_cancel(f[n]), 0);
        ck_assert_int_eq(join_code(f[n]), -ECANCELED);
    }
}

static void use_the_lane(int i)
{
    (void)i;
    close_gate();
    leave_some(0);
    ck_assert_uint_eq(weft__load(&dropped, RELAXED), 0);
    open_gate();
    wait_for_drops(2 * LEFT);
}

/* The run ends, and the next one begins, and only then they end. */
START_TEST(a_run_does_not_wait_for_abandoned_jobs)
{
    run_body(leave_some, 0);
    ck_assert_uint_eq(threads_named("weft-fd"), LEFT);
    ck_assert_uint_eq(weft__load(&dropped, RELAXED), 0);
    run_body(use_the_lane, 0);
    while (threads_named("weft-fd") > 0)
        sched_yield();
    ck_assert_uint_eq(weft__load(&dropped, RELAXED), 2 * LEFT);
}
END_TEST

static void *cancel_soon(void *arg)
{
    weft_fiber_t f = *(weft_fiber_t *)arg;

    (void)weft_cancel(f);
    return NULL;
}

/* At the instant of success: dropped by the one or the other, never by both
 * and never by none; what ran for a caller that got its result is counted. */
WEFT_TEST(cancel_of_a_job_at_its_end)
{
    static weft__au32 ran;
    uint32_t random = 1;
    unsigned done = 0, cancelled = 0;
    unsigned rounds = (unsigned)ROUNDS(10000);

    open_gate();
    for (unsigned i = 0; i < rounds; i++) {
        weft_fiber_t f = spawn(call_own, &ran), g;

        for (uint32_t n = next_random(&random) % 8; n > 0; n--)
            weft_yield();
        g = spawn(cancel_soon, &f);
        join(g);
        switch (join_code(f)) {
        case 0:
            done++;
            break;
        case -ECANCELED:
            cancelled++;
            break;
        default:
            ck_abort_msg("neither done nor cancelled");
        }
    }
    ck_assert_uint_eq(done + cancelled, rounds);
    wait_for_drops(rounds);
    ck_assert_uint_eq(weft__load(&dropped, RELAXED), rounds);
    ck_assert_uint_ge(weft__load(&ran, RELAXED), done);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lane");
    TCase *tcase = tcase_create("lane");

    tcase_add_loop_test(tcase,
                        a_lane_that_is_full_keeps_no_other_from_its_work, 0,
                        WEFT__LANES);
    tcase_add_test(tcase, a_queue_has_an_age);
    tcase_add_test(tcase, a_call_that_is_late_hands_nothing_in);
    tcase_add_loop_test(tcase, a_queued_job_is_taken_back, CANCEL, CLOSE + 1);
    tcase_add_loop_test(tcase, a_running_job_is_waited_for, CANCEL,
                        CLOSE + 1);
    tcase_add_loop_test(tcase, a_running_job_is_asked_to_stop, CANCEL,
                        CLOSE + 1);
    tcase_add_test(tcase,
                   a_close_ends_the_jobs_of_its_descriptor_and_no_others);
    tcase_add_test(tcase, an_eager_job_is_not_queued);
    tcase_add_loop_test(tcase, a_job_that_owns_what_it_uses_is_left_alone,
                        CANCEL, CLOSE + 1);
    tcase_add_test(tcase, a_job_that_is_not_taken_is_dropped);
    tcase_add_test(tcase, a_run_does_not_wait_for_abandoned_jobs);
    tcase_add_test(tcase, cancel_of_a_job_at_its_end);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
