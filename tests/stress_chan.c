/*
 * Channels under many senders and receivers at once, with capacities so small
 * that every call is at an edge; some of them are cancelled, or the channel is
 * closed, at any moment. What must hold: each value whose send answered 0 is
 * received once, by one receiver or by the drain; each other value never; and
 * of each sender a receiver sees rising numbers.
 */
#include "tests/support_prim.h"

enum { SENDERS = 5, RECEIVERS = 4, EACH = 40, VALUES = SENDERS * EACH };

static const size_t caps[] = { 0, 1, 2, 7 };
enum { CAPS = 4 };

enum { CANCEL = 1, CLOSE = 2, MODES = 4 };

static weft_chan_t *ch;
static bool sent[VALUES];    /* by its sender */
static bool refused[VALUES]; /* its sender was told that it was not sent */
static weft__au8 got[VALUES];
static weft__au32 seed;

/* Values are 12 bytes, so that copies are not single moves. */
struct value {
    int sender;
    int n;
    int check;
};

static void *sender(void *arg)
{
    uint32_t state = weft__fetch_add(&seed, 1, RELAXED);
    int me = (int)(long)arg;

    for (int n = 0; n < EACH; n++) {
        struct value v = { me, n, ~(me * EACH + n) };
        int status;

        do {
            bool try = next_random(&state) % 4 == 0;

            status = try ? weft_chan_send_try(ch, &v) : weft_chan_send(ch, &v);
            must(status != -EAGAIN || try);
            if (status == -EAGAIN)
                weft_yield();
        } while (status == -EAGAIN);
        if (status != 0) {
            must(status == -ECANCELED || status == -EPIPE);
            refused[me * EACH + n] = true;
            return (void *)(long)status;
        }
        sent[me * EACH + n] = true;
        if (next_random(&state) % 8 == 0)
            weft_yield();
    }
    return NULL;
}

static void take(const struct value *v, int last[SENDERS])
{
    int id = v->sender * EACH + v->n;

    must(v->sender >= 0 && v->sender < SENDERS && v->check == ~id);
    must(v->n > last[v->sender]);
    last[v->sender] = v->n;
    must(weft__fetch_add(&got[id], 1, RELAXED) == 0);
}

static void *receiver(void *arg)
{
    uint32_t state = weft__fetch_add(&seed, 1, RELAXED);
    int last[SENDERS] = { -1, -1, -1, -1, -1 };

    (void)arg;
    for (;;) {
        struct value v = { -1, -1, 0 };
        bool try = next_random(&state) % 4 == 0;
        int status = try ? weft_chan_recv_try(ch, &v) : weft_chan_recv(ch, &v);

        if (status == 0) {
            take(&v, last);
            continue;
        }
        must(v.sender == -1 && v.n == -1);
        if (status != -EAGAIN) {
            must(status == -ECANCELED || status == -EPIPE);
            return (void *)(long)status;
        }
        must(try);
        weft_yield();
    }
}

static void pause_a_little(uint32_t *state)
{
    for (uint32_t n = next_random(state) % 60; n > 0; n--)
        weft_yield();
}

static void one_round(uint32_t *state, size_t cap, int mode)
{
    weft_fiber_t s[SENDERS], r[RECEIVERS];
    int last[SENDERS] = { -1, -1, -1, -1, -1 };
    struct value v;

    memset(sent, 0, sizeof(sent));
    memset(refused, 0, sizeof(refused));
    for (int i = 0; i < VALUES; i++)
        weft__store(&got[i], 0, RELAXED);
    ch = new_chan(sizeof(struct value), cap);
    for (long i = 0; i < SENDERS; i++)
        s[i] = spawn(sender, (void *)i);
    for (long i = 0; i < RECEIVERS; i++)
        r[i] = spawn(receiver, (void *)i);

    /* At most three receivers go, so that the senders come to an end. */
    if (mode & CANCEL) {
        for (int i = 0; i < 3; i++) {
            pause_a_little(state);
            weft_cancel(s[next_random(state) % SENDERS]);
            weft_cancel(r[i]);
        }
    }
    if (mode & CLOSE) {
        pause_a_little(state);
        must_code(weft_chan_close(ch), 0);
    }
    for (int i = 0; i < SENDERS; i++)
        join(s[i]);
    if (!(mode & CLOSE))
        must_code(weft_chan_close(ch), 0);
    for (int i = 0; i < RECEIVERS; i++)
        join(r[i]);

    /* The drain: nobody is left to take it. */
    while (weft_chan_recv(ch, &v) == 0)
        take(&v, last);
    for (int i = 0; i < VALUES; i++) {
        must(weft__load(&got[i], RELAXED) == sent[i]);
        must(!(sent[i] && refused[i]));
        must(sent[i] || mode != 0);
    }
    weft_chan_unref(ch);
}

WEFT_TEST(each_value_sent_is_received_once)
{
    uint32_t state = (uint32_t)_i + 1;
    weft_time_t until = weft_now() + WEFT_MS(250);
    int mode = _i / CAPS;

    for (int i = 0; i < 2000 && weft_now() < until; i++)
        one_round(&state, caps[_i % CAPS], mode);
}
END_TEST

/* --- Close alone ------------------------------------------------------------------ */

static void *send_one(void *arg)
{
    struct value v = { 0, (int)(long)arg, ~(int)(long)arg };
    int status = weft_chan_send(ch, &v);

    must(status == 0 || status == -EPIPE);
    return (void *)(long)status;
}

static void *recv_one(void *arg)
{
    struct value v = { 0, -1, 0 };
    int status = weft_chan_recv(ch, &v);

    (void)arg;
    must(status == 0 || status == -EPIPE);
    return (void *)(long)(status == 0 ? v.n + 1 : 0);
}

static void *close_it(void *arg)
{
    (void)arg;
    return (void *)(long)weft_chan_close(ch);
}

/* One call each, all at once, and two who close: one of them is the first. */
static void close_round(uint32_t *state, size_t cap)
{
    enum { N = 6 };
    weft_fiber_t s[N], r[N], c[2];
    struct value v;
    long sum = 0, status[2];

    ch = new_chan(sizeof(struct value), cap);
    for (long i = 0; i < N; i++) {
        if (next_random(state) % 2) {
            s[i] = spawn(send_one, (void *)i);
            r[i] = spawn(recv_one, NULL);
        } else {
            r[i] = spawn(recv_one, NULL);
            s[i] = spawn(send_one, (void *)i);
        }
        if (next_random(state) % 3 == 0)
            weft_yield();
    }
    c[0] = spawn(close_it, NULL);
    c[1] = spawn(close_it, NULL);
    for (long i = 0; i < N; i++)
        if ((long)join(s[i]) == 0)
            sum += i + 1;
    for (int i = 0; i < N; i++)
        sum -= (long)join(r[i]);
    status[0] = (long)join(c[0]);
    status[1] = (long)join(c[1]);
    must(status[0] + status[1] == -EPIPE);
    while (weft_chan_recv(ch, &v) == 0)
        sum -= v.n + 1;
    must(sum == 0);
    weft_chan_unref(ch);
}

WEFT_TEST(a_close_neither_loses_nor_doubles_a_value)
{
    weft_time_t until = weft_now() + WEFT_MS(250);
    uint32_t state = (uint32_t)_i + 1;

    for (int i = 0; i < 20000 && weft_now() < until; i++)
        close_round(&state, caps[_i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stress_chan");
    TCase *tcase = tcase_create("stress_chan");

    tcase_add_loop_test(tcase, each_value_sent_is_received_once, 0,
                        CAPS * MODES);
    tcase_add_loop_test(tcase, a_close_neither_loses_nor_doubles_a_value, 0,
                        CAPS);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
