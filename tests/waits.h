/*
 * Every call that waits, as a situation to be played: what must be there so
 * that the call has to wait, the call, what lets it succeed, and what must be
 * true of the world afterwards, by the code that was answered.
 *
 * Three may end such a wait: the giver, a cancel, the deadline. Whoever comes
 * first, and however close the others are behind, two things hold. If the
 * call failed its effect did not happen: the value is still there or with its
 * sender, the lock is free. And what was given to nobody goes to others who
 * wait.
 *
 * For programs of Check and for the simulation alike: the includer defines
 * must(cond), and TELL(call) if it wants to know what calls answered.
 */
#ifndef TESTS_WAITS_H
#define TESTS_WAITS_H

#include "tests/waits_lock.h"

/* --- Channels ---------------------------------------------------------------- */

static void wait_chan(struct spot *s, size_t cap)
{
    must(weft_chan_create(&s->ch, sizeof(long), cap) == 0);
    s->in[0] = s->in[1] = s->out[0] = s->out[1] = -1;
}

static void make_chan_0(struct spot *s)
{
    wait_chan(s, 0);
}

static void make_chan_1(struct spot *s)
{
    wait_chan(s, 1);
}

static void make_chan_2(struct spot *s)
{
    wait_chan(s, 2);
}

static void make_chan_full(struct spot *s)
{
    wait_chan(s, 1);
    must(weft_chan_send_try(s->ch, &(long){ WAIT_THEIRS }) == 0);
}

static int call_recv(struct spot *s, weft_time_t deadline)
{
    return TELL(weft_chan_recv_until(s->ch, s->in, deadline));
}

static int call_recv_n(struct spot *s, weft_time_t deadline)
{
    return (int)TELL(weft_chan_recv_n_until(s->ch, s->in, 2, deadline));
}

static int call_send(struct spot *s, weft_time_t deadline)
{
    return TELL(weft_chan_send_until(s->ch, &(long){ WAIT_MINE }, deadline));
}

static int call_send_n(struct spot *s, weft_time_t deadline)
{
    long values[] = { WAIT_MINE, WAIT_NEXT };

    return (int)TELL(weft_chan_send_n_until(s->ch, values, 2, deadline));
}

static void give_value(struct spot *s)
{
    s->given = weft_chan_send_try(s->ch, &(long){ WAIT_MINE });
}

static void give_values(struct spot *s)
{
    long values[] = { WAIT_MINE, WAIT_NEXT };

    s->given = (int)weft_chan_send_n_try(s->ch, values, 2);
}

static void take_value(struct spot *s)
{
    s->given = weft_chan_recv_try(s->ch, &s->out[0]);
}

/* A value that was given was received, or is still there. */
static void check_recv(struct spot *s, int status)
{
    bool left = weft_chan_recv_try(s->ch, &s->out[0]) == 0;

    must((status == 0) + left == (s->given == 0));
    must(s->in[0] == (status == 0 ? WAIT_MINE : -1));
    must(!left || s->out[0] == WAIT_MINE);
    weft_chan_unref(s->ch);
}

static void check_recv_n(struct spot *s, int n)
{
    long values[] = { WAIT_MINE, WAIT_NEXT };
    int got = n > 0 ? n : 0;

    must(s->given == 2);
    for (int i = 0; i < 2; i++) {
        must(s->in[i] == (i < got ? values[i] : -1));
        if (i >= got) {
            must(weft_chan_recv_try(s->ch, &s->out[0]) == 0);
            must(s->out[0] == values[i]);
        }
    }
    must(weft_chan_recv_try(s->ch, &s->out[0]) == -EAGAIN);
    weft_chan_unref(s->ch);
}

/* What was there came first; then mine, if it was sent. */
static void check_send(struct spot *s, int status)
{
    bool full = weft_chan_cap(s->ch) > 0;
    long mine = s->out[0];

    if (full) {
        must(s->given == 0 && s->out[0] == WAIT_THEIRS);
        mine = -1;
        must((weft_chan_recv_try(s->ch, &mine) == 0) == (status == 0));
    }
    must(mine == (status == 0 ? WAIT_MINE : -1));
    must(weft_chan_recv_try(s->ch, &mine) == -EAGAIN);
    weft_chan_unref(s->ch);
}

static void check_send_n(struct spot *s, int n)
{
    long value;

    must(s->given == 0 && s->out[0] == WAIT_THEIRS);
    must(n <= 1);
    if (n == 1)
        must(weft_chan_recv_try(s->ch, &value) == 0 && value == WAIT_MINE);
    must(weft_chan_recv_try(s->ch, &value) == -EAGAIN);
    weft_chan_unref(s->ch);
}

/* One value and two who want it: the waiter, and another in line. */
static void *receive_too(void *arg)
{
    struct spot *s = arg;

    if (s->turn % 2)
        weft_yield();
    must(weft_chan_recv(s->ch, &s->out[0]) == 0);
    return NULL;
}

static void make_two_receivers(struct spot *s)
{
    wait_chan(s, 0);
    wait_spawn(s, 0, receive_too);
}

static void give_to_either(struct spot *s)
{
    must(weft_chan_send(s->ch, &(long){ WAIT_MINE }) == 0);
}

static void check_two_receivers(struct spot *s, int status)
{
    if (status == 0) {
        must(s->in[0] == WAIT_MINE);
        must(weft_chan_send(s->ch, &(long){ WAIT_THEIRS }) == 0);
    }
    wait_join(s, 0);
    must(s->out[0] == (status == 0 ? WAIT_THEIRS : WAIT_MINE));
    weft_chan_unref(s->ch);
}

/* --- Queues -------------------------------------------------------------------- */

static void make_queue(struct spot *s)
{
    must(weft_queue_create(&s->q, WEFT_FIFO, sizeof(long), 1, NULL) == 0);
    s->in[0] = s->out[0] = -1;
}

static void make_queue_full(struct spot *s)
{
    make_queue(s);
    must(weft_queue_put_try(s->q, &(long){ WAIT_THEIRS }) == 0);
}

/* One value is out, and not done. */
static void make_queue_busy(struct spot *s)
{
    make_queue_full(s);
    must(weft_queue_get_try(s->q, &s->in[0]) == 0);
}

static int call_put(struct spot *s, weft_time_t deadline)
{
    return TELL(weft_queue_put_until(s->q, &(long){ WAIT_MINE }, deadline));
}

static int call_get(struct spot *s, weft_time_t deadline)
{
    return TELL(weft_queue_get_until(s->q, &s->in[0], deadline));
}

static int call_queue_join(struct spot *s, weft_time_t deadline)
{
    return TELL(weft_queue_join_until(s->q, deadline));
}

static void give_put(struct spot *s)
{
    s->given = weft_queue_put_try(s->q, &(long){ WAIT_MINE });
}

static void give_get(struct spot *s)
{
    s->given = weft_queue_get_try(s->q, &s->out[0]);
}

static void give_done(struct spot *s)
{
    s->given = weft_queue_done(s->q);
}

/* It counts what was put, and nothing else. */
static void wait_queue_over(struct spot *s, int puts)
{
    for (int i = 0; i < puts; i++)
        must(weft_queue_done(s->q) == 0);
    must(weft_queue_done(s->q) == -EINVAL);
    must(weft_queue_join_try(s->q) == 0);
    weft_queue_unref(s->q);
}

static void check_put(struct spot *s, int status)
{
    long mine = -1;

    must(s->given == 0 && s->out[0] == WAIT_THEIRS);
    must((weft_queue_get_try(s->q, &mine) == 0) == (status == 0));
    must(mine == (status == 0 ? WAIT_MINE : -1));
    wait_queue_over(s, status == 0 ? 2 : 1);
}

static void check_get(struct spot *s, int status)
{
    bool left = weft_queue_get_try(s->q, &s->out[0]) == 0;

    must(s->given == 0 && left == (status != 0));
    must(s->in[0] == (status == 0 ? WAIT_MINE : -1));
    must(!left || s->out[0] == WAIT_MINE);
    wait_queue_over(s, 1);
}

static void check_queue_join(struct spot *s, int status)
{
    (void)status;
    must(s->given == 0);
    wait_queue_over(s, 0);
}

/* --- Join, wait group ------------------------------------------------------------ */

static void *end_at_gate(void *arg)
{
    struct spot *s = arg;

    while (!weft__load(&s->gate, ACQUIRE))
        weft_yield();
    return s;
}

static void make_child(struct spot *s)
{
    wait_spawn(s, 0, end_at_gate);
}

static int call_join(struct spot *s, weft_time_t deadline)
{
    void *result = NULL;
    int status = TELL(weft_join_until(s->other[0], &result, deadline));

    must(result == (status == 0 ? s : NULL));
    return status;
}

static void give_gate(struct spot *s)
{
    weft__store(&s->gate, 1, RELEASE);
}

/* Joined, or it still can be. */
static void check_join(struct spot *s, int status)
{
    void *result = NULL;

    if (status != 0) {
        must(weft_join(s->other[0], &result) == 0);
        must(result == s);
    }
    must(weft_join_try(s->other[0], &result) == -ESRCH);
}

static void make_group(struct spot *s)
{
    must(weft_waitgroup_add(&s->group, 1) == 0);
}

static int call_group(struct spot *s, weft_time_t deadline)
{
    return TELL(weft_waitgroup_wait_until(&s->group, deadline));
}

static void give_group(struct spot *s)
{
    must(weft_waitgroup_done(&s->group) == 0);
}

static void check_group(struct spot *s, int status)
{
    (void)status;
    must(weft_waitgroup_wait_try(&s->group) == 0);
    /* The word is as it was. */
    must(weft_waitgroup_add(&s->group, 1) == 0);
    must(weft_waitgroup_done(&s->group) == 0);
}

/* --- Select ------------------------------------------------------------------------- */

/* Beside a channel that nobody uses. */
static void make_silent(struct spot *s)
{
    must(weft_chan_create(&s->silent, sizeof(long), 0) == 0);
}

/* It waits there no more. */
static void check_silent(struct spot *s)
{
    long value = WAIT_THEIRS;

    must(weft_chan_send_try(s->silent, &value) == -EAGAIN);
    must(weft_chan_recv_try(s->silent, &value) == -EAGAIN);
    weft_chan_unref(s->silent);
}

/* The second of three cases is the one that can happen. */
static int select_second(weft_case_t cases[3], weft_time_t deadline)
{
    int which = TELL(weft_select_until(cases, 3, deadline));

    must(which < 0 || (which == 1 && cases[1].status == 0));
    return which < 0 ? which : 0;
}

static void make_select(struct spot *s)
{
    make_chan_0(s);
    make_silent(s);
}

static void make_select_full(struct spot *s)
{
    make_chan_full(s);
    make_silent(s);
}

static void make_select_join(struct spot *s)
{
    make_child(s);
    make_silent(s);
}

static int call_select_recv(struct spot *s, weft_time_t deadline)
{
    long value = WAIT_THEIRS;
    weft_case_t cases[] = { WEFT_RECV(s->silent, &value),
                            WEFT_RECV(s->ch, s->in),
                            WEFT_SEND(s->silent, &value) };

    return select_second(cases, deadline);
}

static int call_select_send(struct spot *s, weft_time_t deadline)
{
    long mine = WAIT_MINE, value = WAIT_THEIRS;
    weft_case_t cases[] = { WEFT_RECV(s->silent, &value),
                            WEFT_SEND(s->ch, &mine),
                            WEFT_SEND(s->silent, &value) };

    return select_second(cases, deadline);
}

static int call_select_join(struct spot *s, weft_time_t deadline)
{
    long value = WAIT_THEIRS;
    void *result = NULL;
    weft_case_t cases[] = { WEFT_RECV(s->silent, &value),
                            WEFT_JOIN(s->other[0], &result),
                            WEFT_SEND(s->silent, &value) };
    int status = select_second(cases, deadline);

    must(result == (status == 0 ? s : NULL));
    return status;
}

static void check_select_recv(struct spot *s, int status)
{
    check_silent(s);
    check_recv(s, status);
}

static void check_select_send(struct spot *s, int status)
{
    check_silent(s);
    check_send(s, status);
}

static void check_select_join(struct spot *s, int status)
{
    check_silent(s);
    check_join(s, status);
}

/* --- The blocking lane -------------------------------------------------------------- */

static void *job_at_gate(void *arg)
{
    struct spot *s = arg;

    while (!weft__load(&s->gate, ACQUIRE))
        weft__os_thread_yield();
    return NULL;
}

static void *block_at_gate(void *arg)
{
    must(weft_blocking(job_at_gate, arg, NULL) == 0);
    return NULL;
}

/* All its threads are busy until the gate opens. */
static void make_lane_busy(struct spot *s)
{
    struct weft__lane_stats stats;

    for (int i = 0; i < WAIT_LANES; i++)
        wait_spawn(s, i, block_at_gate);
    for (;;) {
        weft__lane_stats(&weft__lanes[WEFT__LANE_USER], &stats);
        if (stats.running == WAIT_LANES)
            return;
        weft_yield();
    }
}

static void *job_that_counts(void *arg)
{
    struct spot *s = arg;

    (void)weft__fetch_add(&s->ran, 1, RELEASE);
    return s;
}

static int call_blocking(struct spot *s, weft_time_t deadline)
{
    void *result = NULL;
    int status = TELL(weft_blocking_until(job_that_counts, s, &result,
                                          deadline));

    must(result == (status == 0 ? s : NULL));
    return status;
}

static void check_blocking(struct spot *s, int status)
{
    for (int i = 0; i < WAIT_LANES; i++)
        wait_join(s, i);
    must(weft__load(&s->ran, ACQUIRE) == (status == 0 ? 1 : 0));
}

/* --- All of them ------------------------------------------------------------------------ */

static const struct wait_kind wait_kinds[] = {
    { "receive", make_chan_0, call_recv, give_value, check_recv, false },
    { "receive buffered", make_chan_1, call_recv, give_value, check_recv,
      true },
    { "receive beside another", make_two_receivers, call_recv, give_to_either,
      check_two_receivers, false },
    { "receive several", make_chan_2, call_recv_n, give_values, check_recv_n,
      true },
    { "send", make_chan_0, call_send, take_value, check_send, false },
    { "send buffered", make_chan_full, call_send, take_value, check_send,
      true },
    { "send several", make_chan_full, call_send_n, take_value, check_send_n,
      true },
    { "put", make_queue_full, call_put, give_get, check_put, true },
    { "get", make_queue, call_get, give_put, check_get, true },
    { "queue join", make_queue_busy, call_queue_join, give_done,
      check_queue_join, true },
    { "lock", make_mutex, call_lock, give_mutex, check_lock, true },
    { "lock in a crowd", make_mutex_crowd, call_lock, give_mutex,
      check_lock_crowd, false },
    { "join", make_child, call_join, give_gate, check_join, false },
    { "wait group", make_group, call_group, give_group, check_group, true },
    { "semaphore", make_sem, call_sem, give_sem, check_sem, true },
    { "semaphore, two", make_sem_crowd, call_sem_two, give_sem_three,
      check_sem_crowd, true },
    { "condition", make_cond, take_token, give_token, check_cond, false },
    { "condition in a crowd", make_cond_crowd, take_token, give_token,
      check_cond_crowd, false },
    { "select receive", make_select, call_select_recv, give_value,
      check_select_recv, false },
    { "select send", make_select_full, call_select_send, take_value,
      check_select_send, true },
    { "select join", make_select_join, call_select_join, give_gate,
      check_select_join, false },
    { "blocking", make_lane_busy, call_blocking, give_gate, check_blocking,
      false },
};

enum { WAIT_KINDS = sizeof(wait_kinds) / sizeof(wait_kinds[0]) };

#endif
