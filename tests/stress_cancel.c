/*
 * Each call that waits, ended by three at once: the one who lets it succeed, a
 * cancel, a deadline. They are aimed at the same instant: whoever won sees to
 * it that the other is a little earlier in the next round. What must hold is
 * in waits.h; and the cancel is there after each round, whoever won.
 *
 * 10,000 rounds a call, or as many as there is time for where many share the
 * machine. WEFT_TEST_ROUNDS=1000000 makes so many each way, in hours.
 */
#include "tests/support_prim.h"

#include "tests/waits.h"

enum mode { CANCEL, CANCEL_OUTSIDE, DEADLINE, ALL_THREE, MODES };

static const char *const modes[] = { "cancel", "cancel from outside",
                                     "deadline", "all three" };

/* Several plays at once, so that a worker whose core is taken away stops one
 * and not all. The blocking lane is one for all. */
enum { PLAYS = 8 };

struct play {
    const struct wait_kind *kind;
    enum mode mode;
    uint32_t rounds;   /* or fewer: the giver ends the play with the last */
    weft_time_t until; /* when it gets late */
    uint32_t seed;
    struct spot spot;
    int status;
    weft_fiber_t waiter;
    /* Grow to the number of the round. */
    weft__au32 made, cancelled, given, noted;
    weft__au32 last; /* the number of the last round; 0: not known yet */
    weft__ai64 patience; /* how long the canceller and the deadline wait;
                            below 0: the giver */
    unsigned won, lost;  /* by the giver */
};

static uint32_t rounds(enum mode mode)
{
    static const uint32_t each[] = { 4000, 2000, 2000, 2000 };

    return instants(each[mode]);
}

/* On one worker a yield lets the others come first; on several a moment does,
 * and none of them yields at the wrong time. */
static void linger(uint32_t *state, int64_t spins)
{
    if (next_random(state) % 4 == 0 || weft_workers() == 1)
        for (uint32_t n = next_random(state) % 4; n > 0; n--)
            weft_yield();
    for (int64_t n = 50 + spins; n > 0; n--)
        weft__os_pause();
}

static int64_t patience(struct play *p)
{
    return weft__load(&p->patience, RELAXED);
}

static bool cancels(const struct play *p)
{
    return p->mode != DEADLINE;
}

static weft_time_t deadline(struct play *p)
{
    if (p->mode < DEADLINE)
        return WEFT_FOREVER;
    return weft_now() + WEFT_NS(20) * (50 + patience(p));
}

/* Was this round the last one? */
static bool over(struct play *p, uint32_t round)
{
    return weft__load(&p->last, ACQUIRE) == round;
}

static void *waiter(void *arg)
{
    struct play *p = arg;

    for (uint32_t round = 1;; round++) {
        wait_for(&p->made, round);
        p->status = p->kind->call(&p->spot, deadline(p));
        must(p->status >= 0 || p->status == -ECANCELED ||
             p->status == -ETIMEDOUT);
        must(p->status != -ECANCELED || weft_canceled());
        must(p->status != -ECANCELED || cancels(p));
        must(p->status != -ETIMEDOUT || p->mode >= DEADLINE);

        wait_for(&p->given, round);
        wait_for(&p->cancelled, round);
        /* What happened, happened, and the cancel is not forgotten. */
        must(weft_canceled() == cancels(p));
        weft_cancel_clear();
        must(!weft_canceled());
        p->kind->check(&p->spot, p->status);
        if (over(p, round))
            return NULL;
        weft__store(&p->noted, round, RELEASE);
    }
}

static void cancel_round(struct play *p, uint32_t *state, uint32_t round)
{
    if (cancels(p)) {
        linger(state, patience(p));
        must_code(weft_cancel(p->waiter), 0);
    }
    weft__store(&p->cancelled, round, RELEASE);
}

static void *canceller(void *arg)
{
    struct play *p = arg;
    uint32_t state = p->seed + 1;

    for (uint32_t round = 1;; round++) {
        wait_for(&p->made, round);
        /* Before the waiter may go: see over(). */
        bool last = over(p, round);

        cancel_round(p, &state, round);
        if (last)
            return NULL;
    }
}

/* One thread for all plays. */
static void outsider(void *arg)
{
    struct play *p = arg;
    uint32_t round[PLAYS] = { 0 };
    uint32_t state = 1;
    int plays = p->kind->call == call_blocking ? 1 : PLAYS;
    int left = plays;

    while (left > 0) {
        for (int n = 0; n < plays; n++) {
            bool last;

            if (weft__load(&p[n].made, ACQUIRE) == round[n])
                continue;
            last = over(&p[n], ++round[n]);
            cancel_round(&p[n], &state, round[n]);
            left -= last;
        }
        weft_yield();
    }
}

/* The others get more patience if they came first, and less if they did not:
 * by small steps where it matters, by larger ones far away. */
static void aim(struct play *p, bool won)
{
    int64_t step = 2 + llabs(patience(p)) / 8;
    int64_t next = patience(p) + (won ? -step : step);

    won ? p->won++ : p->lost++;
    if (llabs(next) < 20000)
        weft__store(&p->patience, next, RELAXED);
}

static void *giver(void *arg)
{
    struct play *p = arg;
    uint32_t state = p->seed;
    bool last = false;

    for (uint32_t round = 1; !last; round++) {
        memset(&p->spot, 0, sizeof(p->spot));
        p->spot.turn = round;
        p->kind->make(&p->spot);
        last = round >= p->rounds || weft_now() > p->until;
        if (last)
            weft__store(&p->last, round, RELEASE);
        weft__store(&p->made, round, RELEASE);
        linger(&state, next_random(&state) % 16 - patience(p));
        p->kind->give(&p->spot);
        weft__store(&p->given, round, RELEASE);
        if (!last) {
            wait_for(&p->noted, round);
            aim(p, p->status >= 0);
        }
    }
    return NULL;
}

static void play(int i)
{
    const struct wait_kind *kind = &wait_kinds[i / MODES];
    enum mode mode = (enum mode)(i % MODES);
    int plays = kind->call == call_blocking ? 1 : PLAYS;
    struct play p[PLAYS] = { 0 };
    weft_fiber_t fibers[PLAYS][2];
    unsigned won = 0, lost = 0;
    struct foreign outside;

    for (int n = 0; n < plays; n++) {
        p[n].kind = kind;
        p[n].mode = mode;
        p[n].seed = (uint32_t)(n * 1000);
        p[n].rounds = rounds(mode) / (uint32_t)plays;
        p[n].until = getenv("WEFT_TEST_ROUNDS") ? WEFT_FOREVER
                                             : weft_after(WEFT_SEC(4));
        p[n].waiter = spawn(waiter, &p[n]);
        fibers[n][0] = spawn(giver, &p[n]);
        if (mode != CANCEL_OUTSIDE)
            fibers[n][1] = spawn(canceller, &p[n]);
    }
    if (mode == CANCEL_OUTSIDE)
        foreign_start(&outside, outsider, p);
    for (int n = 0; n < plays; n++) {
        join(p[n].waiter);
        join(fibers[n][0]);
        if (mode != CANCEL_OUTSIDE)
            join(fibers[n][1]);
        won += p[n].won;
        lost += p[n].lost;
    }
    if (mode == CANCEL_OUTSIDE)
        foreign_join(&outside);
    printf("%s/%s: %u in time, %u not\n", kind->name, modes[mode], won, lost);
    /* Both ends were seen, given the time to take aim. */
    if (won + lost >= 1000) {
        ck_assert_uint_gt(won, 0);
        ck_assert_uint_gt(lost, 0);
    }
}

START_TEST(an_effect_happened_or_it_did_not)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    config.lane_threads = WAIT_LANES;
    ck_code(run_with(&config, play, _i), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stress_cancel");
    TCase *tcase = tcase_create("cancel");

    tcase_add_loop_test(tcase, an_effect_happened_or_it_did_not, 0,
                        WAIT_KINDS * MODES);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
