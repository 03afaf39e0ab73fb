/*
 * Park and ready: one word, one winner, whoever comes first. The wakers here
 * are the runtime's own calls, at each moment of a wait.
 */
#include "tests/support.h"

#include "sched/park.h"
#include "sched/sched.h"

/* A fiber that waits, and what others need to end its wait. */
struct sleeper {
    weft__au64 gen; /* of the wait it is in; 0: in none */
    struct weft__fiber *record;
    int rounds;
    uint64_t flags;
    weft__au32 causes[8]; /* how often each was the answer */
    weft__au32 woken;
};

static void *sleep_rounds(void *arg)
{
    struct sleeper *s = arg;
    struct weft__fiber *self = weft__fiber_self();

    s->record = self;
    for (int i = 0; i < s->rounds; i++) {
        uint64_t gen = weft__park_open(self, s->flags, "test", s);
        enum weft__cause cause;

        /* release: what the wakers need. */
        weft__store(&s->gen, gen, RELEASE);
        cause = weft__park(self);
        weft__store(&s->gen, 0, RELEASE);
        weft__fetch_add(&s->causes[cause], 1, RELAXED);
        weft__fetch_add(&s->woken, 1, RELEASE);
    }
    return NULL;
}

static unsigned caused(struct sleeper *s, enum weft__cause cause)
{
    return weft__load(&s->causes[cause], ACQUIRE);
}

/* The sleeper has published a wait of a generation other than `old`: which. */
static uint64_t await_wait(struct sleeper *s, uint64_t old)
{
    uint64_t gen;

    while ((gen = weft__load(&s->gen, ACQUIRE)) == 0 || gen == old)
        weft_yield();
    return gen;
}

static uint64_t life_of(weft_fiber_t id)
{
    uint64_t life;

    ck_assert_ptr_nonnull(weft__fiber_find(id, &life));
    return life;
}

static uint64_t state_of(struct weft__fiber *f)
{
    return weft__load(&f->wake, ACQUIRE) & WEFT__WAKE_STATE_MASK;
}

/* --- Before, during, after ---------------------------------------------------- */

/* The wait is open and its fiber still runs when the waker comes: it does not
 * sleep. */
WEFT_TEST(a_wake_before_the_park_is_kept)
{
    struct weft__fiber *self = weft__fiber_self();

    for (int i = 0; i < 1000; i++) {
        uint64_t gen = weft__park_open(self, 0, "test", NULL);

        if (!weft__wake(self, gen, WEFT__CAUSE_RETRY))
            ck_abort_msg("round %d: an open wait could not be won", i);
        if (weft__park(self) != WEFT__CAUSE_RETRY)
            ck_abort_msg("round %d: another cause", i);
    }
}
END_TEST

WEFT_TEST(a_wake_of_one_that_sleeps_runs_it)
{
    struct sleeper s = { .rounds = 1 };
    weft_fiber_t f = spawn(sleep_rounds, &s);

    wait_until_parked(f);
    ck_assert(weft__wake(s.record, weft__load(&s.gen, ACQUIRE),
                         WEFT__CAUSE_CLOSED));
    join(f);
    ck_assert_uint_eq(caused(&s, WEFT__CAUSE_CLOSED), 1);
}
END_TEST

/* Claimed while it is still on its way to sleep, let go after it has its
 * registers saved, or the other way round: it runs once, and not before it
 * was let go. */
WEFT_TEST(one_claimed_while_it_runs_stays_until_it_is_let_go)
{
    struct weft__fiber *self = weft__fiber_self();
    uint64_t gen = weft__park_open(self, 0, "test", NULL);

    ck_assert(weft__claim(self, gen, WEFT__CAUSE_CLOSED));
    ck_assert_uint_eq(state_of(self), WEFT__WAKE_CLAIMED);
    ck_assert(!weft__release(self)); /* not parked yet: queues itself */
    ck_assert_uint_eq(state_of(self), WEFT__WAKE_DONE);
    ck_assert_int_eq(weft__park(self), WEFT__CAUSE_CLOSED);
    ck_assert_uint_eq(state_of(self), WEFT__WAKE_RUNNING);
}
END_TEST

/* The claim is the sleeper's own, so that it certainly still runs; whoever
 * lets it go is another fiber. */
struct claimed {
    weft__au32 claimed;
    weft__au32 back;
    struct weft__fiber *record;
};

static void *claim_self_and_park(void *arg)
{
    struct claimed *c = arg;
    struct weft__fiber *self = weft__fiber_self();
    uint64_t gen = weft__park_open(self, 0, "test", NULL);
    enum weft__cause cause;

    c->record = self;
    if (!weft__claim(self, gen, WEFT__CAUSE_RETRY))
        return (void *)1;
    weft__store(&c->claimed, 1, RELEASE);
    cause = weft__park(self);
    weft__store(&c->back, 1, RELEASE);
    return cause == WEFT__CAUSE_RETRY ? NULL : (void *)2;
}

WEFT_TEST(one_claimed_before_it_slept_is_queued_by_its_waker_alone)
{
    struct claimed c = { .record = NULL };
    weft_fiber_t f = spawn(claim_self_and_park, &c);

    while (!weft__load(&c.claimed, ACQUIRE) ||
           state_of(c.record) != WEFT__WAKE_CLAIMED_PARKED)
        weft_yield();
    for (int i = 0; i < 100; i++)
        weft_yield();
    ck_assert_uint_eq(weft__load(&c.back, ACQUIRE), 0);
    weft__ready(c.record);
    ck_assert_ptr_null(join(f));
}
END_TEST

/* The same without a pause in between, often: the waker's letting go meets
 * the commit at every point. */
WEFT_TEST(a_claim_and_a_ready_meet_the_commit_anywhere)
{
    for (int i = 0; i < 2000; i++) {
        struct claimed c = { .record = NULL };
        weft_fiber_t f = spawn(claim_self_and_park, &c);

        while (!weft__load(&c.claimed, ACQUIRE))
            weft_yield();
        weft__ready(c.record);
        if (join(f))
            ck_abort_msg("round %d: it was woken with another cause", i);
    }
}
END_TEST

/* --- One winner ----------------------------------------------------------------- */

WEFT_TEST(a_second_wake_of_one_wait_loses)
{
    struct sleeper s = { .rounds = 1 };
    weft_fiber_t f = spawn(sleep_rounds, &s);
    uint64_t gen;

    wait_until_parked(f);
    gen = weft__load(&s.gen, ACQUIRE);
    ck_assert(weft__claim(s.record, gen, WEFT__CAUSE_RETRY));
    ck_assert(!weft__claim(s.record, gen, WEFT__CAUSE_OK));
    ck_assert(!weft__wake(s.record, gen, WEFT__CAUSE_CLOSED));
    weft__ready(s.record);
    join(f);
    ck_assert_uint_eq(caused(&s, WEFT__CAUSE_RETRY), 1);
}
END_TEST

static weft__au32 won;

static void *wake_every_wait(void *arg)
{
    struct sleeper *s = arg;
    uint64_t gen = 0;

    while (weft__load(&s->woken, ACQUIRE) < (uint32_t)s->rounds) {
        uint64_t now = weft__load(&s->gen, ACQUIRE);

        if (now == 0 || now == gen) {
            weft_yield();
            continue;
        }
        gen = now;
        if (weft__wake(s->record, gen, WEFT__CAUSE_OK))
            weft__fetch_add(&won, 1, RELAXED);
    }
    return NULL;
}

/* Two wakers for each of many waits: as many wins as waits, and each wait
 * returns once. */
WEFT_TEST(of_two_wakers_one_wins)
{
    struct sleeper s = { .rounds = 20000 };
    weft_fiber_t f = spawn(sleep_rounds, &s);
    weft_fiber_t a = spawn(wake_every_wait, &s);
    weft_fiber_t b = spawn(wake_every_wait, &s);

    join(f);
    join(a);
    join(b);
    ck_assert_uint_eq(weft__load(&s.woken, ACQUIRE), 20000);
    ck_assert_uint_eq(weft__load(&won, ACQUIRE), 20000);
    ck_assert_uint_eq(caused(&s, WEFT__CAUSE_OK), 20000);
}
END_TEST

/* The waker has slept over the end of the wait that it knows: the next one is
 * not its business. */
WEFT_TEST(a_late_waker_of_an_old_wait_ends_no_new_one)
{
    struct sleeper s = { .rounds = 2 };
    weft_fiber_t f = spawn(sleep_rounds, &s);
    uint64_t old = await_wait(&s, 0), gen;

    ck_assert(weft__wake(s.record, old, WEFT__CAUSE_RETRY));
    gen = await_wait(&s, old);
    wait_until_parked(f);
    ck_assert(!weft__wake(s.record, old, WEFT__CAUSE_OK));
    ck_assert_uint_eq(state_of(s.record), WEFT__WAKE_PARKED);
    ck_assert(weft__wake(s.record, gen, WEFT__CAUSE_CLOSED));
    join(f);
    ck_assert_uint_eq(caused(&s, WEFT__CAUSE_OK), 0);
}
END_TEST

static void *nothing(void *arg)
{
    return arg;
}

/* Its record may run another fiber by then: generations go on. */
WEFT_TEST(a_wake_of_a_finished_fiber_does_nothing)
{
    struct sleeper s = { .rounds = 1 };
    weft_fiber_t f = spawn(sleep_rounds, &s);
    struct weft__fiber *record;
    uint64_t old = await_wait(&s, 0);

    ck_assert(weft__wake(s.record, old, WEFT__CAUSE_OK));
    record = s.record;
    wait_until_ended(f);
    ck_assert(!weft__wake(record, old, WEFT__CAUSE_OK)); /* not joined */
    join(f);
    ck_assert(!weft__wake(record, old, WEFT__CAUSE_OK)); /* given back */

    /* Until the record is used again, then once more. */
    for (;;) {
        struct sleeper next = { .rounds = 1 };
        uint64_t gen;

        f = spawn(sleep_rounds, &next);
        gen = await_wait(&next, 0);
        ck_assert_uint_ne(gen, next.record == record ? old : 0);
        wait_until_parked(f);
        if (next.record == record)
            ck_assert(!weft__wake(record, old, WEFT__CAUSE_CLOSED));
        ck_assert(weft__wake(next.record, gen, WEFT__CAUSE_OK));
        join(f);
        ck_assert_uint_eq(caused(&next, WEFT__CAUSE_OK), 1);
        if (next.record == record)
            return;
        join(spawn(nothing, NULL));
    }
}
END_TEST

/* --- Taking back ---------------------------------------------------------------- */

WEFT_TEST(a_wait_taken_back_can_not_be_won)
{
    struct weft__fiber *self = weft__fiber_self();
    enum weft__cause cause = WEFT__CAUSE_OK;
    uint64_t gen = weft__park_open(self, 0, "test", NULL);

    ck_assert(weft__park_revoke(self, &cause));
    ck_assert(!weft__claim(self, gen, WEFT__CAUSE_OK));
    ck_assert_uint_eq(state_of(self), WEFT__WAKE_RUNNING);
}
END_TEST

WEFT_TEST(taking_back_loses_to_a_waker_that_was_there)
{
    struct weft__fiber *self = weft__fiber_self();
    enum weft__cause cause = WEFT__CAUSE_OK;
    uint64_t gen = weft__park_open(self, 0, "test", NULL);

    ck_assert(weft__wake(self, gen, WEFT__CAUSE_CLOSED));
    ck_assert(!weft__park_revoke(self, &cause));
    ck_assert_int_eq(cause, WEFT__CAUSE_CLOSED);
    ck_assert_uint_eq(state_of(self), WEFT__WAKE_RUNNING);
}
END_TEST

/* --- Cancel ---------------------------------------------------------------------- */

WEFT_TEST(cancel_ends_the_wait_of_one_that_sleeps)
{
    struct sleeper s = { .rounds = 1 };
    weft_fiber_t f = spawn(sleep_rounds, &s);

    wait_until_parked(f);
    ck_assert(weft__cancel(s.record, life_of(f)));
    join(f);
    ck_assert_uint_eq(caused(&s, WEFT__CAUSE_CANCEL), 1);
}
END_TEST

/* Sticky: also the waits that come. */
WEFT_TEST(cancel_before_the_wait_ends_each_wait_at_once)
{
    struct sleeper s = { .rounds = 3 };
    weft_fiber_t f = spawn(sleep_rounds, &s);

    wait_until_parked(f);
    ck_assert(weft__cancel(s.record, life_of(f)));
    join(f);
    ck_assert_uint_eq(caused(&s, WEFT__CAUSE_CANCEL), 3);
}
END_TEST

/* It has published its wait and still runs. */
WEFT_TEST(cancel_of_an_open_wait_ends_it)
{
    struct weft__fiber *self = weft__fiber_self();

    weft__park_open(self, 0, "test", NULL);
    ck_assert(weft__cancel(self, life_of(weft_self())));
    ck_assert_uint_eq(state_of(self), WEFT__WAKE_DONE);
    ck_assert_int_eq(weft__park(self), WEFT__CAUSE_CANCEL);
}
END_TEST

WEFT_TEST(cancel_of_one_that_runs_is_seen_at_its_next_wait)
{
    struct weft__fiber *self = weft__fiber_self();
    uint64_t gen;

    ck_assert(weft__cancel(self, life_of(weft_self())));
    ck_assert_uint_eq(state_of(self), WEFT__WAKE_RUNNING);
    ck_assert(weft__canceled(self));
    /* A wake that is there before the commit comes first. */
    gen = weft__park_open(self, 0, "test", NULL);
    ck_assert(weft__wake(self, gen, WEFT__CAUSE_OK));
    ck_assert_int_eq(weft__park(self), WEFT__CAUSE_OK);
    weft__park_open(self, 0, "test", NULL);
    ck_assert_int_eq(weft__park(self), WEFT__CAUSE_CANCEL);
}
END_TEST

WEFT_TEST(cancel_of_an_unstarted_fiber_waits_for_it)
{
    struct sleeper s = { .rounds = 1 };
    weft_fiber_t f = spawn(sleep_rounds, &s);
    uint64_t life;
    struct weft__fiber *record = weft__fiber_find(f, &life);

    ck_assert_ptr_nonnull(record);
    ck_assert(weft__cancel(record, life));
    join(f);
    ck_assert_uint_eq(caused(&s, WEFT__CAUSE_CANCEL), 1);
}
END_TEST

WEFT_TEST(cancel_leaves_a_wait_alone_that_is_no_cancellation_point)
{
    struct sleeper s = { .rounds = 1, .flags = WEFT__WAKE_NO_CANCEL };
    weft_fiber_t f = spawn(sleep_rounds, &s);

    wait_until_parked(f);
    ck_assert(weft__cancel(s.record, life_of(f)));
    for (int i = 0; i < 100; i++)
        weft_yield();
    ck_assert_uint_eq(state_of(s.record), WEFT__WAKE_PARKED);
    ck_assert(weft__wake(s.record, weft__load(&s.gen, ACQUIRE),
                         WEFT__CAUSE_OK));
    join(f);
    ck_assert_uint_eq(caused(&s, WEFT__CAUSE_OK), 1);
}
END_TEST

/* A life that is over, and the same record in its next one. */
WEFT_TEST(cancel_of_a_life_that_is_over_does_nothing)
{
    struct sleeper s = { .rounds = 1 };
    weft_fiber_t f = spawn(sleep_rounds, &s);
    uint64_t life, gen = await_wait(&s, 0);
    struct weft__fiber *record = s.record;

    life = life_of(f);
    ck_assert(weft__wake(record, gen, WEFT__CAUSE_OK));
    wait_until_ended(f);
    ck_assert(!weft__cancel(record, life));
    join(f);
    ck_assert(!weft__cancel(record, life));
    for (bool again = false; !again;) {
        struct sleeper next = { .rounds = 1 };

        f = spawn(sleep_rounds, &next);
        gen = await_wait(&next, 0);
        again = next.record == record;
        if (again)
            ck_assert(!weft__cancel(record, life));
        ck_assert(weft__wake(next.record, gen, WEFT__CAUSE_OK));
        join(f);
        ck_assert_uint_eq(caused(&next, WEFT__CAUSE_CANCEL), 0);
    }
}
END_TEST

static void *cancel_it(void *arg)
{
    struct sleeper *s = arg;

    if (!weft__cancel(s->record, life_of((weft_fiber_t)s->flags)))
        return (void *)1;
    return NULL;
}

static void *open_and_park(void *arg)
{
    struct sleeper *s = arg;
    struct weft__fiber *self = weft__fiber_self();

    s->record = self;
    weft__store(&s->gen, 1, RELEASE);
    weft__park_open(self, 0, "test", s);
    return weft__park(self) == WEFT__CAUSE_CANCEL ? NULL : (void *)2;
}

/* Many rounds: the flag comes before, while and after the wait is published
 * and the registers are saved. Nobody else would ever wake it. */
WEFT_TEST(cancel_at_any_moment_of_a_park_is_not_lost)
{
    for (int i = 0; i < 3000; i++) {
        struct sleeper s = { .record = NULL };
        weft_fiber_t f = spawn(open_and_park, &s), by;

        s.flags = f;
        while (!weft__load(&s.gen, ACQUIRE))
            weft_yield();
        by = spawn(cancel_it, &s);
        if (join(by) || join(f))
            ck_abort_msg("round %d: the cancel was lost", i);
    }
}
END_TEST

/* --- Batches -------------------------------------------------------------------- */

enum { MANY = 100 };

WEFT_TEST(a_batch_lets_all_go)
{
    struct sleeper s[MANY] = { { .rounds = 0 } };
    weft_fiber_t f[MANY];
    struct weft__batch batch = { 0 };

    for (int i = 0; i < MANY; i++) {
        s[i].rounds = 1;
        f[i] = spawn(sleep_rounds, &s[i]);
    }
    for (int i = 0; i < MANY; i++) {
        uint64_t gen = await_wait(&s[i], 0);

        /* Some while they still run, some when they sleep. */
        if (i % 2)
            wait_until_parked(f[i]);
        ck_assert(weft__claim(s[i].record, gen, WEFT__CAUSE_CLOSED));
        weft__batch_add(&batch, s[i].record);
    }
    for (int i = 0; i < MANY; i++)
        ck_assert_uint_eq(weft__load(&s[i].woken, ACQUIRE), 0);
    weft__batch_ready(&batch);
    for (int i = 0; i < MANY; i++) {
        join(f[i]);
        ck_assert_uint_eq(caused(&s[i], WEFT__CAUSE_CLOSED), 1);
    }
}
END_TEST

static weft__au32 order[3];
static weft__au32 place;

static void *note_place(void *arg)
{
    struct weft__fiber *self = weft__fiber_self();
    struct sleeper *s = arg;

    s->record = self;
    weft__store(&s->gen, weft__park_open(self, 0, "test", s), RELEASE);
    weft__park(self);
    weft__store(&order[weft__fetch_add(&place, 1, RELAXED)],
                (uint32_t)s->rounds, RELAXED);
    return NULL;
}

/* On one worker: what is woken together runs in the order it was added. */
WEFT_TEST(a_batch_keeps_its_order)
{
    struct sleeper s[3] = { { .rounds = 1 }, { .rounds = 2 }, { .rounds = 3 } };
    weft_fiber_t f[3];
    struct weft__batch batch = { 0 };

    if (workers() > 1)
        return;
    for (int i = 0; i < 3; i++)
        f[i] = spawn(note_place, &s[i]);
    for (int i = 0; i < 3; i++)
        wait_until_parked(f[i]);
    for (int i = 0; i < 3; i++) {
        ck_assert(weft__claim(s[i].record, weft__load(&s[i].gen, ACQUIRE),
                              WEFT__CAUSE_OK));
        weft__batch_add(&batch, s[i].record);
    }
    weft__batch_ready(&batch);
    for (int i = 0; i < 3; i++)
        join(f[i]);
    for (uint32_t i = 0; i < 3; i++)
        ck_assert_uint_eq(weft__load(&order[i], RELAXED), i + 1);
}
END_TEST

WEFT_TEST(an_empty_batch_is_nothing)
{
    struct weft__batch batch = { 0 };

    weft__batch_ready(&batch);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("park");
    TCase *wake = tcase_create("wake");
    TCase *cancel = tcase_create("cancel");
    TCase *batch = tcase_create("batch");

    tcase_add_test(wake, a_wake_before_the_park_is_kept);
    tcase_add_test(wake, a_wake_of_one_that_sleeps_runs_it);
    tcase_add_test(wake, one_claimed_while_it_runs_stays_until_it_is_let_go);
    tcase_add_test(wake,
                   one_claimed_before_it_slept_is_queued_by_its_waker_alone);
    tcase_add_test(wake, a_claim_and_a_ready_meet_the_commit_anywhere);
    tcase_add_test(wake, a_second_wake_of_one_wait_loses);
    tcase_add_test(wake, of_two_wakers_one_wins);
    tcase_add_test(wake, a_late_waker_of_an_old_wait_ends_no_new_one);
    tcase_add_test(wake, a_wake_of_a_finished_fiber_does_nothing);
    tcase_add_test(wake, a_wait_taken_back_can_not_be_won);
    tcase_add_test(wake, taking_back_loses_to_a_waker_that_was_there);
    suite_add_tcase(suite, wake);

    tcase_add_test(cancel, cancel_ends_the_wait_of_one_that_sleeps);
    tcase_add_test(cancel, cancel_before_the_wait_ends_each_wait_at_once);
    tcase_add_test(cancel, cancel_of_an_open_wait_ends_it);
    tcase_add_test(cancel, cancel_of_one_that_runs_is_seen_at_its_next_wait);
    tcase_add_test(cancel, cancel_of_an_unstarted_fiber_waits_for_it);
    tcase_add_test(cancel,
                   cancel_leaves_a_wait_alone_that_is_no_cancellation_point);
    tcase_add_test(cancel, cancel_of_a_life_that_is_over_does_nothing);
    tcase_add_test(cancel, cancel_at_any_moment_of_a_park_is_not_lost);
    suite_add_tcase(suite, cancel);

    tcase_add_test(batch, a_batch_lets_all_go);
    tcase_add_test(batch, a_batch_keeps_its_order);
    tcase_add_test(batch, an_empty_batch_is_nothing);
    suite_add_tcase(suite, batch);
    return run_suite(suite);
}
