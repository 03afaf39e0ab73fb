/*
 * Cancel and deadline under the simulation: park against cancel against
 * deadline, for each call that waits. The situations, and what must hold, are
 * in waits.h.
 */
#include "tests/sim.h"
#include "tests/sim_support.h"

#include "sched/atomic.h"
#include "sched/os.h"

#define must(cond) sim_expect(cond)
#define WAIT_LANES SIM_LANES
#include "tests/waits.h"

enum { RUNS = 150, PLANTED_RUNS = 5000, RING = 4 };

enum { GIVEN = SIM_FIRST_FREE, CANCELLED = 2 * SIM_FIRST_FREE,
       TIMED_OUT = 4 * SIM_FIRST_FREE };

enum mode { CANCEL, DEADLINE, BOTH, MODES };

static struct {
    struct spot spot;
    const struct wait_kind *kind;
    enum mode mode;
    int status;
    weft_fiber_t waiter;
    weft__au32 given;
    weft__au32 cancelled;
} s;

/* A number below n, as the schedule has it. */
static unsigned any(unsigned n)
{
    return (unsigned)(weft_now() / 10) % n;
}

/* Come a little earlier or later: on this worker, and beside another. */
static void linger(void)
{
    for (unsigned n = any(3); n > 0; n--)
        weft_yield();
    for (unsigned n = any(80); n > 0; n--)
        weft__os_point("lingers");
}

static void await(weft__au32 *word)
{
    while (!weft__load(word, ACQUIRE))
        weft_yield();
}

static weft_time_t deadline(void)
{
    return s.mode == CANCEL ? WEFT_FOREVER
                            : weft_now() + WEFT_NS(500) * any(24);
}

static void *waiter(void *arg)
{
    s.status = s.kind->call(&s.spot, deadline());
    sim_expect(s.status >= 0 || s.status == -ECANCELED ||
               s.status == -ETIMEDOUT);
    sim_expect(s.status != -ETIMEDOUT || s.mode != CANCEL);
    sim_expect(s.status != -ECANCELED ||
               (s.mode != DEADLINE && weft_canceled()));

    await(&s.given);
    await(&s.cancelled);
    sim_expect(weft_canceled() == (s.mode != DEADLINE));
    weft_cancel_clear();
    s.kind->check(&s.spot, s.status);
    return arg;
}

static void *canceller(void *arg)
{
    linger();
    if (s.mode != DEADLINE)
        sim_expect(weft_cancel(s.waiter) == 0);
    weft__store(&s.cancelled, 1, RELEASE);
    return arg;
}

static int three_meet(void *arg)
{
    int i = *(const int *)arg;
    weft_fiber_t other;

    s.kind = &wait_kinds[i / MODES];
    s.mode = (enum mode)(i % MODES);
    s.spot.turn = any(2);
    s.kind->make(&s.spot);
    sim_expect(weft_spawn(&s.waiter, waiter, NULL) == 0);
    sim_expect(weft_spawn(&other, canceller, NULL) == 0);
    linger();
    s.kind->give(&s.spot);
    weft__store(&s.given, 1, RELEASE);
    sim_expect(weft_join(other, NULL) == 0);
    sim_expect(weft_join(s.waiter, NULL) == 0);
    return (s.status >= 0              ? GIVEN
            : s.status == -ECANCELED ? CANCELLED
                                     : TIMED_OUT) | sim_did();
}

static const char *const modes[] = { "cancel", "deadline", "both" };

START_TEST(an_effect_happened_or_it_did_not)
{
    for (unsigned workers = 1; workers <= 2; workers++) {
        struct sim_met m;
        char name[64];

        snprintf(name, sizeof(name), "cancel/%s/%s",
                 wait_kinds[_i / MODES].name, modes[_i % MODES]);
        ck_assert_int_eq(sim_runs(name, workers, RING, RUNS, three_meet, &_i,
                                  &m), RUNS);
        printf("    given %u, cancelled %u, timed out %u\n", m.times[4],
               m.times[5], m.times[6]);
        if (workers == 1)
            continue;
        ck_assert_uint_gt(m.times[4], 0);
        if (_i % MODES != DEADLINE)
            ck_assert_uint_gt(m.times[5], 0);
        if (_i % MODES == DEADLINE)
            ck_assert_uint_gt(m.times[6], 0);
    }
}
END_TEST

/* --- A mutex, and some who give up ------------------------------------------ */

enum { PATIENT = 2, IMPATIENT = 2, TURNS = 6 };

static struct {
    weft_mutex_t m;
    unsigned inside;
    weft_fiber_t fibers[PATIENT + IMPATIENT];
    weft__au32 met;
} line;

static void turn_inside(void)
{
    sim_expect(line.inside++ == 0);
    if (any(2))
        weft_yield();
    sim_expect(--line.inside == 0);
    sim_expect(weft_mutex_unlock(&line.m) == 0);
}

/* Waits until it gets in: it counts on those before it. */
static void *patient(void *arg)
{
    for (int i = 0; i < TURNS; i++) {
        sim_expect(weft_mutex_lock(&line.m) == 0);
        turn_inside();
    }
    return arg;
}

static void *impatient(void *arg)
{
    for (int i = 0; i < TURNS; i++) {
        int status = weft_mutex_lock_until(
            &line.m, weft_now() + WEFT_NS(500) * any(16));

        sim_expect(status == 0 || status == -ETIMEDOUT ||
                   status == -ECANCELED);
        (void)weft__fetch_or(&line.met,
                             status == 0            ? GIVEN
                             : status == -ECANCELED ? CANCELLED
                                                    : TIMED_OUT,
                             RELAXED);
        if (status == 0)
            turn_inside();
        else if (status == -ECANCELED)
            weft_cancel_clear();
    }
    return arg;
}

static int some_give_up(void *arg)
{
    (void)arg;
    for (int i = 0; i < PATIENT + IMPATIENT; i++)
        sim_expect(weft_spawn(&line.fibers[i],
                              i % 2 ? impatient : patient, NULL) == 0);
    for (int i = 0; i < 3; i++) {
        linger();
        (void)weft_cancel(line.fibers[1]);
    }
    for (int i = 0; i < PATIENT + IMPATIENT; i++)
        sim_expect(weft_join(line.fibers[i], NULL) == 0);
    /* Free, and nothing left behind in its word. */
    sim_expect(line.m.weft_private[0] == 0);
    return (int)weft__load(&line.met, RELAXED) | sim_did();
}

START_TEST(nobody_is_left_behind_by_those_who_give_up)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("cancel/line", workers, RING, 4 * RUNS,
                                  some_give_up, NULL, &m), 4 * RUNS);
        ck_assert_uint_gt(m.times[4], RUNS);
        ck_assert_uint_gt(m.times[5], RUNS / 20);
        ck_assert_uint_gt(m.times[6], RUNS);
    }
}
END_TEST

/* --- Taking note while it comes ------------------------------------------ */

static weft_chan_t *ch;

static void *send_until_closed(void *arg)
{
    while (weft_chan_send(ch, NULL) == 0)
        ;
    return arg;
}

static void *cancel_often(void *arg)
{
    for (int i = 0; i < 3; i++) {
        linger();
        sim_expect(weft_cancel(s.waiter) == 0);
    }
    return arg;
}

/* The flag is cleared while someone sets it and is about to look for a wait to
 * end. A wait that such a cancel ends has the flag to show for it. */
static int cancel_meets_note(void *arg)
{
    weft_fiber_t sender, other;
    int met = 0;

    (void)arg;
    sim_expect(weft_chan_create(&ch, 0, 0) == 0);
    s.waiter = weft_self();
    sim_expect(weft_spawn(&other, cancel_often, NULL) == 0);
    sim_expect(weft_spawn(&sender, send_until_closed, NULL) == 0);
    for (int i = 0; i < 8; i++) {
        int status = weft_chan_recv(ch, NULL);

        sim_expect(status == 0 || status == -ECANCELED);
        sim_expect(status == 0 || weft_canceled());
        met |= status == 0 ? GIVEN : CANCELLED;
        weft_cancel_clear();
    }
    weft_shield_begin();
    sim_expect(weft_join(other, NULL) == 0);
    sim_expect(weft_chan_close(ch) == 0);
    sim_expect(weft_join(sender, NULL) == 0);
    weft_shield_end();
    weft_chan_unref(ch);
    return met | sim_did();
}

START_TEST(who_is_cancelled_has_the_flag_to_show)
{
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct sim_met m;

        ck_assert_int_eq(sim_runs("cancel/note", workers, RING, 10 * RUNS,
                                  cancel_meets_note, NULL, &m), 10 * RUNS);
        ck_assert_uint_gt(m.times[4], RUNS);
        if (workers > 1)
            ck_assert_uint_gt(m.times[5], RUNS);
    }
}
END_TEST

/* --- Shields ----------------------------------------------------------------- */

static void *give_late(void *arg)
{
    linger();
    sim_expect(weft_chan_send(ch, NULL) == 0);
    return arg;
}

/* However close the cancel comes: behind a shield no wait ends by it, and the
 * first one after it does. */
static int cancel_meets_shield(void *arg)
{
    weft_fiber_t sender, other;

    (void)arg;
    sim_expect(weft_chan_create(&ch, 0, 0) == 0);
    s.waiter = weft_self();
    sim_expect(weft_spawn(&other, cancel_often, NULL) == 0);
    for (int i = 0; i < 3; i++) {
        weft_shield_begin();
        sim_expect(weft_spawn(&sender, give_late, NULL) == 0);
        sim_expect(weft_chan_recv(ch, NULL) == 0);
        sim_expect(weft_join(sender, NULL) == 0);
        if (i == 2)
            sim_expect(weft_join(other, NULL) == 0);
        weft_shield_end();
    }
    sim_expect(weft_canceled());
    sim_expect(weft_chan_recv(ch, NULL) == -ECANCELED);
    weft_chan_unref(ch);
    return sim_did();
}

START_TEST(no_wait_behind_a_shield_is_ended)
{
    for (unsigned workers = 1; workers <= 2; workers++)
        ck_assert_int_eq(sim_runs("cancel/shield", workers, RING, 4 * RUNS,
                                  cancel_meets_shield, NULL, NULL), 4 * RUNS);
}
END_TEST

START_TEST(what_it_relies_on_is_missed)
{
    static int both[WAIT_KINDS];

    ck_assert(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS,
                        cancel_meets_note, NULL));
    ck_assert(sim_finds(SIM_LOST_WAKES, 2, RING, PLANTED_RUNS,
                        cancel_meets_note, NULL));
    for (int i = 0; i < WAIT_KINDS; i++) {
        both[i] = i * MODES + BOTH;
        ck_assert_msg(sim_finds(SIM_TORN_CAS, 2, RING, PLANTED_RUNS,
                                three_meet, &both[i]),
                      "%s", wait_kinds[i].name);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_cancel");
    TCase *tc = tcase_create("cancel");

    tcase_set_timeout(tc, SIM_SECONDS);
    tcase_add_loop_test(tc, an_effect_happened_or_it_did_not, 0,
                        WAIT_KINDS * MODES);
    tcase_add_test(tc, nobody_is_left_behind_by_those_who_give_up);
    tcase_add_test(tc, who_is_cancelled_has_the_flag_to_show);
    tcase_add_test(tc, no_wait_behind_a_shield_is_ended);
    tcase_add_test(tc, what_it_relies_on_is_missed);
    suite_add_tcase(suite, tc);
    return sim_main(suite);
}
