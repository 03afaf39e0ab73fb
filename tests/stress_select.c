/*
 * Many selects over few channels at once, with children to join and deadlines
 * among their cases; some are cancelled at any moment, or a channel is closed.
 * What must hold: each value whose send happened is received once; each child
 * is joined once, by a select or after all; and nobody is left in any line.
 */
#include "tests/support_prim.h"

#include <stdint.h>

enum { CHANS = 3, FIBERS = 8, EACH = 40, VALUES = FIBERS * EACH };

static const size_t caps[] = { 0, 1, 3 };
enum { CAPS = 3 };

enum { CANCEL = 1, CLOSE = 2, MODES = 4 };

static weft_chan_t *ch[CHANS];
static bool sent[VALUES]; /* by its sender */
static weft__au8 got[VALUES];
static weft__au32 seed;

static void *child(void *arg)
{
    if ((uintptr_t)arg % 3)
        weft_yield();
    return arg;
}

static void take(int value)
{
    must(value >= 0 && value < VALUES);
    must(weft__fetch_add(&got[value], 1, RELAXED) == 0);
}

/* A select of 2 to 9 cases at random: it sends `mine`, or receives, or joins,
 * or its time is over. */
static int one_select(uint32_t *state, int *mine, int *in, weft_fiber_t f,
                      void **result)
{
    weft_case_t cases[9];
    size_t n = 2 + next_random(state) % 8;
    int answer;

    for (size_t i = 0; i < n; i++) {
        weft_chan_t *c = ch[next_random(state) % CHANS];
        weft_case_t send = WEFT_SEND(c, mine), recv = WEFT_RECV(c, in);
        weft_case_t join = WEFT_JOIN(f, result);
        weft_case_t after =
            WEFT_AFTER(weft_after(WEFT_US(next_random(state) % 50)));
        uint32_t what = next_random(state) % 16;

        cases[i] = what < 7 ? send : what < 14 ? recv : what == 14 ? join
                                                                   : after;
    }
    if (next_random(state) % 4 == 0) {
        answer = weft_select_try(cases, n);
        must(answer >= 0 || answer == -EAGAIN);
    } else {
        answer = weft_select_until(cases, n, weft_after(WEFT_MS(2)));
        must(answer >= 0 || answer == -ETIMEDOUT || answer == -ECANCELED);
    }
    if (answer < 0)
        return answer;
    if (cases[answer].status != 0) {
        must_code(cases[answer].status, -EPIPE);
        must(cases[answer].kind == WEFT_CASE_SEND ||
             cases[answer].kind == WEFT_CASE_RECV);
        return -EPIPE;
    }
    return cases[answer].kind;
}

static void *select_all(void *arg)
{
    uint32_t state = weft__fetch_add(&seed, 1, RELAXED);
    int base = (int)(intptr_t)arg * EACH;
    int status = 0;

    for (int i = 0; i < EACH && status != -EPIPE && status != -ECANCELED;) {
        int mine = base + i, in = -1;
        void *result = NULL;
        weft_fiber_t f = spawn(child, (void *)(uintptr_t)(mine + 1));

        status = one_select(&state, &mine, &in, f, &result);
        must((in >= 0) == (status == WEFT_CASE_RECV));
        must((result != NULL) == (status == WEFT_CASE_JOIN));
        if (status == WEFT_CASE_RECV)
            take(in);
        sent[mine] |= status == WEFT_CASE_SEND;
        if (result == NULL) {
            /* One who is cancelled cannot wait for it. */
            weft_shield_begin();
            must_code(weft_join(f, &result), 0);
            weft_shield_end();
        }
        must(result == (void *)(uintptr_t)(mine + 1));
        must_code(weft_join_try(f, NULL), -ESRCH);
        i += status == WEFT_CASE_SEND;
        if (next_random(&state) % 8 == 0)
            weft_yield();
    }
    return NULL;
}

/* What is left in the channels goes to whoever drains them, until all that
 * send have gone. */
static weft__au32 over;

static void *drain(void *arg)
{
    for (;;) {
        int in = -1;
        weft_case_t cases[] = { WEFT_RECV(ch[0], &in), WEFT_RECV(ch[1], &in),
                                WEFT_RECV(ch[2], &in) };
        bool last = weft__load(&over, ACQUIRE);
        int answer = weft_select_try(cases, CHANS);

        if (answer >= 0 && cases[answer].status == 0) {
            take(in);
            continue;
        }
        must(in == -1);
        if (last) {
            for (int i = 0; i < CHANS; i++)
                while (weft_chan_recv_try(ch[i], &in) == 0)
                    take(in);
            return arg;
        }
        weft_yield();
    }
}

static void one_round(uint32_t *state, size_t cap, int mode)
{
    weft_fiber_t f[FIBERS], drainer;

    memset(sent, 0, sizeof(sent));
    for (int i = 0; i < VALUES; i++)
        weft__store(&got[i], 0, RELAXED);
    weft__store(&over, 0, RELAXED);
    for (int i = 0; i < CHANS; i++)
        ch[i] = new_chan(sizeof(int), cap);
    for (intptr_t i = 0; i < FIBERS; i++)
        f[i] = spawn(select_all, (void *)i);
    drainer = spawn(drain, NULL);
    if (mode & CANCEL)
        for (int i = 0; i < 3; i++) {
            for (uint32_t n = next_random(state) % 60; n > 0; n--)
                weft_yield();
            (void)weft_cancel(f[next_random(state) % FIBERS]);
        }
    if (mode & CLOSE) {
        for (uint32_t n = next_random(state) % 60; n > 0; n--)
            weft_yield();
        for (int i = 0; i < CHANS; i++)
            must_code(weft_chan_close(ch[i]), 0);
    }
    for (int i = 0; i < FIBERS; i++)
        join(f[i]);
    weft__store(&over, 1, RELEASE);
    join(drainer);
    for (int i = 0; i < VALUES; i++) {
        must(weft__load(&got[i], RELAXED) == sent[i]);
        must(sent[i] || mode != 0);
    }
    /* The last reference checks that nobody is left in line. */
    for (int i = 0; i < CHANS; i++)
        weft_chan_unref(ch[i]);
}

WEFT_TEST(each_value_and_each_child_is_had_once)
{
    uint32_t state = (uint32_t)_i + 1;
    weft_time_t until = weft_now() + WEFT_MS(400);

    for (int i = 0; i < 2000 && weft_now() < until; i++)
        one_round(&state, caps[_i % CAPS], _i / CAPS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stress_select");
    TCase *tcase = tcase_create("stress_select");

    tcase_add_loop_test(tcase, each_value_and_each_child_is_had_once, 0,
                        CAPS * MODES);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
