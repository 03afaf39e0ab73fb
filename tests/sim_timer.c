/*
 * Timers under the simulation: a deadline against those who wake, against the
 * next wait of the same fiber, on another worker, and against the next fiber
 * in the same record. A wait that is lost shows: nobody can move any more, or
 * all sleep for a second until something else comes up.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include "sched/atomic.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/sched.h"
#include "sched/worker.h"

enum { RUNS = 500, RING = 8, ROUNDS = 4, LIVES = 3,
       SMALL_RUNS = 50000, SMALL_ROUNDS = 3 };

enum { WAKER_WON = SIM_FIRST_FREE, TIMED_OUT = 2 * SIM_FIRST_FREE,
       STOOD = 4 * SIM_FIRST_FREE, MOVED = 8 * SIM_FIRST_FREE,
       SERVED = 16 * SIM_FIRST_FREE, RECYCLED = 32 * SIM_FIRST_FREE };

/* What a wait is, and what its waker does. */
enum kind {
    RACE,    /* a deadline soon, and a waker on its way */
    TIMEOUT, /* a deadline soon, and no waker */
    WOKEN,   /* a deadline that is far off, and a waker */
    PLAIN,   /* none, and a waker */
    KINDS
};

static struct {
    weft__aptr sleeper;
    weft__au64 gen; /* of the wait that is open */
    weft__au32 kind;
    weft__au32 done;
    weft__au32 flag;
    unsigned winner; /* plain: the effect of who won */
    uint32_t random;
} s;

static uint32_t roll(uint32_t n)
{
    if (s.random == 0)
        s.random = (uint32_t)weft__sim_last()->seed * 2654435761u | 1;
    s.random ^= s.random << 13;
    s.random ^= s.random >> 17;
    s.random ^= s.random << 5;
    return s.random % n;
}

/* --- Those who wake ------------------------------------------------------ */

static void wake_rounds(unsigned me, void (*rest)(void))
{
    uint64_t tried = 0;

    while (!weft__load(&s.done, ACQUIRE)) {
        uint64_t gen = weft__load(&s.gen, ACQUIRE);
        struct weft__fiber *f = weft__load(&s.sleeper, RELAXED);

        if (gen == tried || weft__load(&s.kind, RELAXED) == TIMEOUT) {
            rest();
            continue;
        }
        tried = gen;
        if (!weft__claim(f, gen, WEFT__CAUSE_OK))
            continue;
        s.winner = me;
        weft__ready(f);
    }
}

static void *fiber_waker(void *arg)
{
    wake_rounds(1, weft_yield);
    return arg;
}

static void *thread_waker(void *arg)
{
    wake_rounds(2, weft__os_pause);
    weft__pending_done();
    return arg;
}

/* --- The one that waits -------------------------------------------------- */

/* One wait of a kind; the bits that it met. */
static int wait_once(enum kind kind)
{
    struct weft__fiber *self = weft__fiber_self();
    uint64_t mark = weft__load(&weft__fiber_cold(self)->timer, RELAXED);
    struct weft__timer_heap *here = self->worker->timers;
    int64_t deadline = WEFT_FOREVER;
    enum weft__cause cause;
    uint64_t gen;
    int met = 0;

    if (kind == RACE || kind == TIMEOUT)
        deadline = weft__os_now() + (int64_t)(roll(40) + 1) * 512;
    if (kind == WOKEN)
        deadline = weft__os_now() + WEFT_SEC(2 + roll(2));
    s.winner = 0;
    gen = weft__park_open_until(self, 0, "a deadline", &s, deadline);
    weft__store(&s.kind, kind, RELAXED);
    weft__store(&s.sleeper, self, RELAXED);
    /* release: pairs with the wakers' acquire. */
    weft__store(&s.gen, gen, RELEASE);
    cause = weft__park(self);

    if (mark != WEFT__TIMER_NONE && deadline != WEFT_FOREVER)
        met |= (int64_t)(mark & WEFT__TIMER_WHEN_MASK) <= deadline ? STOOD
               : (mark & WEFT__TIMER_HEAP_MASK) !=
                       (uint64_t)(here - weft__timer_heaps)
                   ? MOVED
                   : 0;
    if (cause == WEFT__CAUSE_OK) {
        sim_expect(s.winner != 0 && kind != TIMEOUT);
        return met | WAKER_WON;
    }
    sim_expect(cause == WEFT__CAUSE_TIMEOUT && s.winner == 0);
    sim_expect(kind == RACE || kind == TIMEOUT);
    sim_expect(weft__os_now() >= deadline);
    return met | TIMED_OUT;
}

static void check_heaps(void)
{
    for (unsigned i = 0; i < weft__sched.count; i++)
        sim_expect(weft__timer_audit(weft__sched.workers[i]->timers) == 0);
}

/* --- A deadline against two wakers --------------------------------------- */

static int deadline_against_wakers(void *arg)
{
    weft__os_thread thread;
    weft_fiber_t f;
    int met = 0;

    (void)arg;
    weft__pending_add();
    sim_expect(weft__os_thread_create(&thread, "t", thread_waker, NULL) == 0);
    sim_expect(weft_spawn(&f, fiber_waker, NULL) == 0);
    for (int i = 0; i < ROUNDS; i++)
        met |= wait_once(RACE);
    weft__store(&s.done, 1, RELEASE);
    sim_expect(weft_join(f, NULL) == 0);
    weft__os_thread_join(thread);
    check_heaps();
    return met | sim_did();
}

START_TEST(a_wait_ends_by_its_deadline_or_by_a_waker)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("timer/wakers", workers, RING, RUNS,
                                  deadline_against_wakers, NULL, &m), RUNS);
        ck_assert_uint_gt(m.times[4], RUNS / 40);
        ck_assert_uint_gt(m.times[5], RUNS / 40);
    }
}
END_TEST

/* --- One wait after the other -------------------------------------------- */

/* Deadlines that are earlier and later than the entry that stands, or none;
 * the waker is a fiber, so the next wait is often on another worker. */
static int wait_after_wait(void *arg)
{
    weft_fiber_t f;
    int met = 0;

    (void)arg;
    sim_expect(weft_spawn(&f, fiber_waker, NULL) == 0);
    for (int i = 0; i < 2 * ROUNDS; i++)
        met |= wait_once((enum kind)roll(KINDS));
    weft__store(&s.done, 1, RELEASE);
    sim_expect(weft_join(f, NULL) == 0);
    check_heaps();
    return met | sim_did();
}

START_TEST(each_wait_has_its_own_deadline)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("timer/waits", workers, RING, RUNS,
                                  wait_after_wait, NULL, &m), RUNS);
        ck_assert_uint_gt(m.times[4], RUNS / 2);
        ck_assert_uint_gt(m.times[5], RUNS / 2);
        ck_assert_uint_gt(m.times[6], RUNS / 10);
        if (workers > 1)
            ck_assert_uint_gt(m.times[7], RUNS / 60);
    }
}
END_TEST

/* Renewed again and again: the entry comes up while the next wait with a
 * later deadline is being opened. The last of them nobody wakes. */
static int renew(void *arg)
{
    weft_fiber_t f;
    int met = 0;

    (void)arg;
    sim_expect(weft_spawn(&f, fiber_waker, NULL) == 0);
    for (int i = 0; i < ROUNDS; i++)
        met |= wait_once(RACE);
    met |= wait_once(TIMEOUT);
    weft__store(&s.done, 1, RELEASE);
    sim_expect(weft_join(f, NULL) == 0);
    return met | sim_did();
}

START_TEST(an_entry_that_comes_up_finds_the_next_wait)
{
    for (unsigned workers = 2; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("timer/renew", workers, RING, 2 * RUNS,
                                  renew, NULL, &m), 2 * RUNS);
        ck_assert_uint_gt(m.times[6], RUNS / 10);
    }
}
END_TEST

/* --- One fiber after the other ------------------------------------------- */

static void *live(void *arg)
{
    int *met = arg;

    if (weft__load(&weft__fiber_cold(weft__fiber_self())->timer, RELAXED) !=
        WEFT__TIMER_NONE)
        *met |= RECYCLED;
    for (int i = 0; i < 2; i++)
        *met |= wait_once((enum kind)roll(KINDS));
    return NULL;
}

static int life_after_life(void *arg)
{
    weft_fiber_t f, waker;
    int met = 0;

    (void)arg;
    sim_expect(weft_spawn(&waker, fiber_waker, NULL) == 0);
    for (int i = 0; i < LIVES; i++) {
        sim_expect(weft_spawn(&f, live, &met) == 0);
        sim_expect(weft_join(f, NULL) == 0);
    }
    weft__store(&s.done, 1, RELEASE);
    sim_expect(weft_join(waker, NULL) == 0);
    check_heaps();
    return met | sim_did();
}

START_TEST(a_record_is_used_again_while_its_entry_stands)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("timer/lives", workers, RING, RUNS,
                                  life_after_life, NULL, &m), RUNS);
        ck_assert_uint_gt(m.times[9], RUNS / 10);
    }
}
END_TEST

/* --- Workers that sleep, and workers that are stuck ----------------------- */

static void *sleep_long(void *arg)
{
    sim_expect(weft_sleep(WEFT_SEC(30)) == -ECANCELED);
    return arg;
}

/* Everyone lies down, with entries that are far off; a nearer one comes in. */
static int nearer_and_nearer(void *arg)
{
    weft_fiber_t f[2];

    (void)arg;
    for (int i = 0; i < 2; i++)
        sim_expect(weft_spawn(&f[i], sleep_long, NULL) == 0);
    for (int i = 0; i < 3; i++) {
        int64_t when = weft_after(WEFT_US(300 - 100 * i));

        sim_expect(weft_sleep_until(when) == 0);
        sim_expect(weft_now() >= when);
    }
    for (int i = 0; i < 2; i++) {
        sim_expect(weft_cancel(f[i]) == 0);
        sim_expect(weft_join(f[i], NULL) == 0);
    }
    return sim_did();
}

START_TEST(a_nearer_deadline_is_not_slept_over)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("timer/nearer", workers, RING, RUNS,
                                  nearer_and_nearer, NULL, &m), RUNS);
        ck_assert_uint_gt(m.times[2], RUNS / 2);
    }
}
END_TEST

static void *sleep_and_say(void *arg)
{
    sim_expect(weft_sleep(WEFT_US(50)) == 0);
    weft__store(&s.flag, 1, RELEASE);
    return arg;
}

/* Its timer is in the heap of a worker that computes until it has run. */
static int compute_until_it_woke(void *arg)
{
    struct weft__fiber *self = weft__fiber_self();
    weft_fiber_t f;
    int met = 0;

    (void)arg;
    sim_expect(weft_spawn(&f, sleep_and_say, NULL) == 0);
    for (int i = 0; i < 3; i++)
        weft_yield();
    if (!weft__load(&s.flag, ACQUIRE) && self->worker->timers->len > 0)
        met |= SERVED;
    while (!weft__load(&s.flag, ACQUIRE))
        weft__os_point("computes");
    sim_expect(weft_join(f, NULL) == 0);
    return met | sim_did();
}

START_TEST(others_serve_the_timers_of_a_worker_that_computes)
{
    for (unsigned workers = 2; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("timer/served", workers, RING, RUNS / 2,
                                  compute_until_it_woke, NULL, &m), RUNS / 2);
        ck_assert_uint_gt(m.times[8], RUNS / 20);
    }
}
END_TEST

/* --- Not dead ------------------------------------------------------------- */

/* Sleeps, here and there, while all others wait for it. A verdict of the
 * runtime, that all sleep for ever, would be logged and end the run. */
static void *sleep_and_send(void *arg)
{
    for (int i = 0; i < ROUNDS; i++)
        sim_expect(weft_sleep(WEFT_US(1 + i % 2 * 20)) == 0);
    sim_expect(weft_chan_send(arg, NULL) == 0);
    return NULL;
}

static int wait_for_sleepers(void *arg)
{
    weft_chan_t *ch;

    (void)arg;
    sim_expect(weft_chan_create(&ch, 0, 0) == 0);
    for (int i = 0; i < 2; i++)
        sim_expect(weft_go(sleep_and_send, ch) == 0);
    for (int i = 0; i < 2; i++)
        sim_expect(weft_chan_recv(ch, NULL) == 0);
    weft_chan_unref(ch);
    return sim_did();
}

START_TEST(sleepers_are_not_taken_for_dead)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("timer/alive", workers, RING, 2 * RUNS,
                                  wait_for_sleepers, NULL, &m), 2 * RUNS);
        ck_assert_uint_gt(m.times[2], RUNS / 2);
    }
}
END_TEST

/* --- The protocol in small ------------------------------------------------ */

/* No runtime: one thread plays a fiber that opens one wait after the other,
 * two play workers that look at the heaps, the other's too. `now` is what they
 * say it is. */
static struct {
    struct weft__worker worker[2];
    struct weft__fiber *fiber;
    unsigned stood, gone, won, put_back;
} small;

enum { SMALL_STEP = 512, SMALL_TIMES = 6 };

static void small_fresh(void *arg)
{
    struct weft__fiber *f = small.fiber;

    (void)arg;
    if (!f) {
        unsigned class = (unsigned)weft__stack_class(64 * 1024);

        weft__fiber_setup(class);
        weft__timer_setup(2);
        f = small.fiber = weft__record_take(NULL);
        weft__init(&f->stack, class);
        for (int i = 0; i < 2; i++)
            small.worker[i].timers = &weft__timer_heaps[i];
    }
    s.random = 0;
    weft__timer_clear(2);
    weft__init(&f->wake, (weft__load(&f->wake, RELAXED) &
                          WEFT__WAKE_GEN_MASK) | WEFT__WAKE_RUNNING);
    /* An entry that stands, of a wait long ago. */
    f->worker = &small.worker[0];
    weft__timer_put(f, SMALL_STEP);
}

/* The fiber is back from its wait; who ended it may not have let go yet. */
static void small_back(struct weft__fiber *f, int64_t deadline)
{
    uint64_t wake = weft__load(&f->wake, ACQUIRE);
    uint64_t running = (wake & WEFT__WAKE_GEN_MASK) | WEFT__WAKE_RUNNING;

    while ((wake & WEFT__WAKE_STATE_MASK) != WEFT__WAKE_DONE) {
        if ((wake & WEFT__WAKE_STATE_MASK) == WEFT__WAKE_OPEN &&
            weft__cas(&f->wake, &wake, running, ACQUIRE, ACQUIRE))
            return;
        weft__os_pause();
        wake = weft__load(&f->wake, ACQUIRE);
    }
    /* Ended by its deadline, as its own: no other has passed. */
    sim_expect(deadline <= SMALL_TIMES * SMALL_STEP);
    small.won++;
    weft__store(&f->wake, running, RELAXED);
}

static void small_fiber(void *arg)
{
    struct weft__fiber *f = small.fiber;

    (void)arg;
    for (int i = 0; i < SMALL_ROUNDS; i++) {
        int64_t deadline = (int64_t)(roll(2 * SMALL_TIMES) + 1) * SMALL_STEP;
        uint64_t mark;

        if (roll(4) == 0)
            deadline = WEFT_FOREVER;
        f->worker = &small.worker[roll(2)];
        weft__park_open_until(f, 0, "a deadline", NULL, deadline);
        if (deadline != WEFT_FOREVER) {
            mark = weft__load(&weft__fiber_cold(f)->timer, RELAXED);
            small.stood += mark != WEFT__TIMER_NONE;
            small.gone += mark != WEFT__TIMER_NONE &&
                          (mark & WEFT__TIMER_WHEN_MASK) == WEFT__TIMER_GONE;
            weft__timer_arm(f, deadline);
        }
        if (i < SMALL_ROUNDS - 1)
            small_back(f, deadline);
    }
}

static void small_worker(unsigned me)
{
    for (int64_t i = 1; i <= SMALL_TIMES; i++)
        weft__timer_expire(&small.worker[me],
                           &weft__timer_heaps[i % 3 == 0 ? !me : me],
                           i * SMALL_STEP);
}

static void small_worker_0(void *arg)
{
    (void)arg;
    small_worker(0);
}

static void small_worker_1(void *arg)
{
    (void)arg;
    small_worker(1);
}

/* The last wait is over, or its deadline had not come, or it has an entry that
 * comes up in time. */
static int small_check(void *arg)
{
    struct weft__fiber *f = small.fiber;
    uint64_t mark = weft__load(&weft__fiber_cold(f)->timer, RELAXED);
    uint64_t state = weft__load(&f->wake, RELAXED) & WEFT__WAKE_STATE_MASK;
    int64_t deadline = weft__load(&weft__fiber_cold(f)->deadline, RELAXED);

    (void)arg;
    for (unsigned i = 0; i < 2; i++)
        if (weft__timer_audit(&weft__timer_heaps[i]) != 0)
            return -EPROTO;
    if (state == WEFT__WAKE_DONE)
        return deadline <= SMALL_TIMES * SMALL_STEP ? 0 : -ETIME;
    if (state != WEFT__WAKE_OPEN)
        return -EPROTO;
    if (deadline == WEFT_FOREVER)
        return 0;
    if (mark == WEFT__TIMER_NONE ||
        (int64_t)(mark & WEFT__TIMER_WHEN_MASK) > deadline)
        return -ETIMEDOUT;
    small.put_back++;
    return 0;
}

static void (*const small_threads[])(void *) = { small_fiber, small_worker_0,
                                                 small_worker_1 };

static int small_search(unsigned runs)
{
    weft_sim_t sim = sim_of(2);

    return weft__sim_search(&sim, runs, small_threads, 3, NULL, small_fresh,
                            small_check);
}

START_TEST(a_wait_has_an_entry_or_is_seen)
{
    double start = sim_seconds();
    const char *scale = getenv("SIM_SCALE");
    unsigned runs = SMALL_RUNS * (scale ? (unsigned)atoi(scale) : 1u);

    ck_assert_int_eq(small_search(runs), (int)runs);
    /* The scenario reached what it is about. */
    ck_assert_uint_gt(small.stood, runs / 4);
    ck_assert_uint_gt(small.gone, runs / 500);
    ck_assert_uint_gt(small.won, runs / 20);
    ck_assert_uint_gt(small.put_back, runs / 20);
    sim_print("timer/small", (int)runs, sim_seconds() - start);
}
END_TEST

START_TEST(without_fences_a_wait_is_lost)
{
    weft__sim_quiet(true);
    sim_plant(SIM_NO_FENCE);
    ck_assert_int_lt(small_search(4 * SMALL_RUNS), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_timer");
    TCase *protocol = tcase_create("protocol");
    TCase *tc = tcase_create("timer");

    tcase_set_timeout(protocol, SIM_SECONDS);
    tcase_add_test(protocol, a_wait_has_an_entry_or_is_seen);
    tcase_add_test(protocol, without_fences_a_wait_is_lost);
    suite_add_tcase(suite, protocol);
    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_test(tc, a_wait_ends_by_its_deadline_or_by_a_waker);
    tcase_add_test(tc, each_wait_has_its_own_deadline);
    tcase_add_test(tc, an_entry_that_comes_up_finds_the_next_wait);
    tcase_add_test(tc, a_record_is_used_again_while_its_entry_stands);
    tcase_add_test(tc, a_nearer_deadline_is_not_slept_over);
    tcase_add_test(tc, others_serve_the_timers_of_a_worker_that_computes);
    tcase_add_test(tc, sleepers_are_not_taken_for_dead);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
