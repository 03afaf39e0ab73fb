/*
 * Select
 *
 * One wait, several nodes. A select locks all its channels, in the order of
 * their addresses and each once, and looks: so it sees all of them at one
 * instant. What can happen is picked at random and happens. If nothing can, it
 * opens its wait, stands in every line with that one generation, and only then
 * unlocks. Whoever wins the wait by a node says so in it.
 *
 * What holds:
 *   1. A select that looks is not OPEN and stands in no line: so it can meet
 *      another select, and never itself, and whoever moves a value has one
 *      wait to win, not two.
 *   2. A wait is won once, so at most one case happens. The nodes that lost
 *      are dead from then on: whoever takes one off its line fails to claim
 *      it, and goes on to the next.
 *   3. On return it stands in no line, and is nobody's joiner.
 *
 * A channel of which the only node has won is not touched again: the other
 * side may have freed it.
 *
 * Joins have no lock to look under. They are looked at once more when all
 * is published, behind a full barrier, as the ender's CAS is one (join.h). What
 * has ended by then means: take the wait back, leave all lines, begin again;
 * it ends, since what has ended stays so, or is another's and -ESRCH.
 *
 * Descriptors have no instant either: they are asked before the locks are
 * taken, and say when they are entered whether something has come since.
 * Readiness is not taken, so one that ends the wait is only asked again, with
 * all the others.
 *
 * Why the channels' locks all at once, and not one after the other with a
 * second pass, as a single lock would be cheaper: a value that goes from one
 * channel to the other between two looks would be missed by a `_try`, though
 * at each instant one of them had it.
 */
#include <weft/select.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "runtime/chan.h"
#include "runtime/io.h"
#include "runtime/select_fd.h"
#include "sched/fatal.h"
#include "sched/join.h"
#include "sched/park.h"
#include "sched/sched.h"
#include "sched/worker.h"

enum {
    SELECT_FEW = 8,    /* cases whose nodes take half a kilobyte of stack */
    SELECT_FEW_FDS = 4 /* descriptors that need no memory but the stack */
};

/* A set of cases has a bit for each. */
#define BIT(i) ((uint64_t)1 << (i))

struct select {
    struct weft__fiber *self; /* NULL: on a thread that cannot park */
    weft_case_t *cases;
    weft_time_t deadline;
    weft_time_t alarm; /* the earliest WEFT_AFTER */
    /* Those that may happen, by kind. */
    uint64_t chans;
    uint64_t joins;
    uint64_t alarms;
    uint64_t fds;
    uint64_t joined; /* of whom we are the joiner */
    struct weft__waiter *nodes;
    struct weft__select_fds *watched; /* `fds`, or NULL if there is none */
    weft_time_t limit;                /* of the descriptors, */
    unsigned limited;                 /* and whose it is */
    unsigned n_chans;
    uint8_t chan_at[WEFT_SELECT_MAX]; /* their cases, by address */
};

static unsigned first_of(uint64_t set)
{
    return (unsigned)__builtin_ctzll(set);
}

/* --- Taking the cases in ----------------------------------------------------- */

static weft_chan_t *chan_of(const struct select *s, unsigned i)
{
    return s->cases[i].object;
}

static enum weft__chan_end end_of(const struct select *s, unsigned i)
{
    return s->cases[i].kind == WEFT_CASE_SEND ? WEFT__CHAN_SEND
                                              : WEFT__CHAN_RECV;
}

static void *value_of(const struct select *s, unsigned i)
{
    const weft_case_t *c = &s->cases[i];

    return c->kind == WEFT_CASE_SEND ? (void *)(uintptr_t)c->from : c->to;
}

static int take_chan(struct select *s, unsigned i)
{
    weft_chan_t *ch = chan_of(s, i);
    unsigned at = s->n_chans;

    if (!ch)
        return 0;
    if (weft__chan_check(ch, value_of(s, i)) != 0)
        return -EINVAL;
    for (; at > 0 && (uintptr_t)chan_of(s, s->chan_at[at - 1]) > (uintptr_t)ch;
         at--)
        s->chan_at[at] = s->chan_at[at - 1];
    s->chan_at[at] = (uint8_t)i;
    s->n_chans++;
    s->chans |= BIT(i);
    return 0;
}

static int take_case(struct select *s, unsigned i)
{
    const weft_case_t *c = &s->cases[i];

    switch (c->kind) {
    case WEFT_CASE_RECV:
    case WEFT_CASE_SEND:
        return take_chan(s, i);
    case WEFT_CASE_JOIN:
        if (c->fiber)
            s->joins |= BIT(i);
        return 0;
    case WEFT_CASE_AFTER:
        if (c->deadline == WEFT_FOREVER)
            return 0;
        s->alarms |= BIT(i);
        if (c->deadline < s->alarm)
            s->alarm = c->deadline;
        return 0;
    case WEFT_CASE_READABLE:
    case WEFT_CASE_WRITABLE:
        if (c->fd >= 0)
            s->fds |= BIT(i);
        return 0;
    default:
        return -EINVAL;
    }
}

/* --- All locks ----------------------------------------------------------------- */

/* Does the k-th of the channels, by address, come up for the first time? */
static bool is_first(const struct select *s, unsigned k)
{
    return k == 0 || chan_of(s, s->chan_at[k]) != chan_of(s, s->chan_at[k - 1]);
}

static void lock_all(struct select *s)
{
    for (unsigned k = 0; k < s->n_chans; k++)
        if (is_first(s, k))
            weft__chan_lock(chan_of(s, s->chan_at[k]));
}

static void unlock_all(struct select *s)
{
    for (unsigned k = s->n_chans; k-- > 0;)
        if (is_first(s, k))
            weft__chan_unlock(chan_of(s, s->chan_at[k]));
}

/* --- What can happen at once ------------------------------------------------------ */

/* Join, or only look: 0, -EAGAIN, or why it cannot be joined. */
static int join_now(struct select *s, unsigned i, bool take)
{
    weft_case_t *c = &s->cases[i];
    uint64_t life;
    struct weft__fiber *child = weft__fiber_find(c->fiber, &life);

    if (!child)
        return -ESRCH;
    if (child == s->self)
        return -EDEADLK;
    return take ? weft__join_try(child, life, c->to) : weft__join_look(life);
}

static uint64_t look(struct select *s, weft_time_t now)
{
    uint64_t ready = 0;

    for (uint64_t set = s->chans; set; set &= set - 1) {
        unsigned i = first_of(set);

        if (weft__chan_ready(chan_of(s, i), end_of(s, i)))
            ready |= BIT(i);
    }
    for (uint64_t set = s->joins; set; set &= set - 1) {
        unsigned i = first_of(set);

        if (join_now(s, i, false) != -EAGAIN)
            ready |= BIT(i);
    }
    for (uint64_t set = s->alarms; set; set &= set - 1) {
        unsigned i = first_of(set);

        if (s->cases[i].deadline <= now)
            ready |= BIT(i);
    }
    for (unsigned k = 0; s->fds && k < s->watched->n; k++)
        if (s->watched->slots[k].found != -EAGAIN)
            ready |= BIT(s->watched->slots[k].at);
    return ready;
}

static int found_at(const struct select *s, unsigned i)
{
    unsigned k = 0;

    while (s->watched->slots[k].at != i)
        k++;
    return s->watched->slots[k].found;
}

/* One of the set, each as likely as any other. */
static unsigned pick(uint64_t set)
{
    uint32_t n = (uint32_t)__builtin_popcountll(set);
    uint32_t skip = 0;

    if (n > 1)
        skip = (uint32_t)((uint64_t)weft__random() * n >> 32);
    while (skip-- > 0)
        set &= set - 1;
    return first_of(set);
}

/* Have one of those that are ready happen. -EAGAIN: none was, after all. */
static int happen(struct select *s, uint64_t ready, struct weft__fiber **woken)
{
    while (ready) {
        unsigned i = pick(ready);
        int status = 0;

        if (s->chans & BIT(i))
            status = weft__chan_move(chan_of(s, i), end_of(s, i),
                                     value_of(s, i), woken);
        else if (s->joins & BIT(i))
            status = join_now(s, i, true);
        else if (s->fds & BIT(i))
            status = found_at(s, i);
        if (status != -EAGAIN) {
            s->cases[i].status = status;
            return (int)i;
        }
        /* Those who stood in line had given up, or another joined first. */
        ready &= ~BIT(i);
    }
    return -EAGAIN;
}

/* --- Standing in line --------------------------------------------------------------- */

/* Under all locks; the wait is open from here on. false: something has changed
 * that has no lock. */
static bool publish(struct select *s)
{
    struct weft__fiber *self = s->self;
    weft_time_t until = s->alarm < s->deadline ? s->alarm : s->deadline;
    bool same = true;
    uint64_t gen;

    gen = weft__park_open_until(self, 0, "select", s->cases,
                                s->limit < until ? s->limit : until);
    s->joined = 0;
    for (uint64_t set = s->chans; set; set &= set - 1) {
        unsigned i = first_of(set);

        s->nodes[i] = (struct weft__waiter){ .fiber = self,
                                             .gen = gen,
                                             .value = value_of(s, i) };
        weft__chan_enter(chan_of(s, i), end_of(s, i), &s->nodes[i]);
    }
    for (uint64_t set = s->joins; set; set &= set - 1) {
        unsigned i = first_of(set);
        weft_fiber_t id = s->cases[i].fiber;

        switch (weft__join_enter(self, weft__fiber_at((uint32_t)id), id >> 32,
                                 gen)) {
        case WEFT__JOIN_ENTERED:
            s->joined |= BIT(i);
            break;
        case WEFT__JOIN_TWICE:
            break; /* the first of the two cases stands for both */
        case WEFT__JOIN_AGAIN:
            same = false;
            break;
        }
    }
    if (s->fds)
        same = weft__select_fds_enter(s->watched, gen) && same;
    if (!s->joined)
        return same;
    /* seq_cst: our generations, then our look; pairs with the swap of the
     * ender, who then looks for a generation. */
    weft__fence(SEQ_CST);
    for (uint64_t set = s->joined; set; set &= set - 1) {
        unsigned i = first_of(set);

        same = same &&
               !weft__join_ended(weft__fiber_at((uint32_t)s->cases[i].fiber));
    }
    return same;
}

/* Off the lines of one channel: those from the k-th on that are the same. */
static void leave_chan(struct select *s, unsigned k)
{
    weft_chan_t *ch = chan_of(s, s->chan_at[k]);
    unsigned end = k + 1;

    while (end < s->n_chans && !is_first(s, end))
        end++;
    if (end == k + 1 && s->nodes[s->chan_at[k]].won)
        return; /* it may be gone */
    weft__chan_lock(ch);
    for (; k < end; k++)
        weft__chan_leave(ch, end_of(s, s->chan_at[k]),
                         &s->nodes[s->chan_at[k]]);
    weft__chan_unlock(ch);
}

/* The wait is over: leave everything but the case that won, if any. */
static void leave_all(struct select *s, int won)
{
    if (s->fds)
        weft__select_fds_leave(s->watched);
    for (unsigned k = 0; k < s->n_chans; k++)
        if (is_first(s, k))
            leave_chan(s, k);
    for (uint64_t set = s->joined; set; set &= set - 1) {
        unsigned i = first_of(set);

        if ((int)i != won)
            weft__join_quit(s->self,
                            weft__fiber_at((uint32_t)s->cases[i].fiber));
    }
}

/* The time is over: the caller's, or that of a case. */
static int outcome_late(struct select *s)
{
    weft_time_t until = s->alarm < s->deadline ? s->alarm : s->deadline;

    if (s->limit < until) {
        s->cases[s->limited].status = -ETIMEDOUT;
        return (int)s->limited;
    }
    for (uint64_t set = s->alarms; set; set &= set - 1) {
        unsigned i = first_of(set);

        if (s->cases[i].deadline > until)
            continue;
        s->cases[i].status = 0;
        return (int)i;
    }
    return -ETIMEDOUT;
}

/* Which case ended the wait? Its status is set. Or the code of what did;
 * -EAGAIN: a descriptor, so all is to be looked at again. */
static int outcome(struct select *s, enum weft__cause cause)
{
    for (uint64_t set = s->chans; set; set &= set - 1) {
        unsigned i = first_of(set);

        if (!s->nodes[i].won)
            continue;
        s->cases[i].status = weft__cause_code(cause);
        return (int)i;
    }
    if (cause == WEFT__CAUSE_OK) {
        for (uint64_t set = s->joined; set; set &= set - 1) {
            unsigned i = first_of(set);
            struct weft__fiber *child =
                weft__fiber_at((uint32_t)s->cases[i].fiber);

            if (!weft__join_won(child))
                continue;
            weft__join_take(child, s->cases[i].to);
            s->cases[i].status = 0;
            return (int)i;
        }
    }
    if (cause == WEFT__CAUSE_OK || cause == WEFT__CAUSE_CLOSED) {
        WEFT__CHECK(s->fds, "a select was woken by none of its cases");
        return -EAGAIN;
    }
    return cause == WEFT__CAUSE_TIMEOUT ? outcome_late(s)
                                        : weft__cause_code(cause);
}

/* --- The whole ------------------------------------------------------------------------- */

/* Wait. -EAGAIN: look again. The locks are held, and dropped. */
static int select_wait(struct select *s)
{
    enum weft__cause cause;
    bool same = publish(s);
    int won;

    unlock_all(s);
    if (!same && weft__park_revoke(s->self, &cause)) {
        leave_all(s, -1);
        return -EAGAIN;
    }
    if (same) {
        if (s->fds)
            weft__outside_begin(s->self);
        cause = weft__park(s->self);
        if (s->fds)
            weft__outside_end(s->self);
    }
    won = outcome(s, cause);
    leave_all(s, won);
    return won;
}

/* Nothing is ready, and there are descriptors that are not watched yet. */
static int select_watch(struct select *s)
{
    int status = weft__select_fds_begin(s->watched, s->self);

    /* Once: one who is woken for nothing has been idle all the same. */
    if (status == 0)
        s->limit = weft__select_fds_limit(s->watched, &s->limited);
    return status == 0 ? -EAGAIN : status;
}

static int select_run(struct select *s)
{
    int won = -EAGAIN;

    while (won == -EAGAIN) {
        struct weft__fiber *woken = NULL;
        int status = s->fds ? weft__select_fds_ask(s->watched) : 0;
        int refused = weft__wait_refused(s->self, s->deadline);
        weft_time_t now = s->alarms ? weft_now() : 0;

        if (status != 0)
            return status;
        lock_all(s);
        won = happen(s, look(s, now), &woken);
        if (won == -EAGAIN && !refused && !(s->fds && !s->watched->begun)) {
            won = select_wait(s);
            continue;
        }
        unlock_all(s);
        if (woken)
            weft__ready(woken);
        if (won == -EAGAIN && refused)
            return refused;
        if (won == -EAGAIN)
            won = select_watch(s);
    }
    return won;
}

/* Each with nodes for as many as it is called with: a small frame for a small
 * select. */
static __attribute__((noinline)) int select_few(struct select *s)
{
    struct weft__waiter nodes[SELECT_FEW];

    s->nodes = nodes;
    return select_run(s);
}

static __attribute__((noinline)) int select_many(struct select *s)
{
    struct weft__waiter nodes[WEFT_SELECT_MAX];

    s->nodes = nodes;
    return select_run(s);
}

static int select_sized(struct select *s, size_t n)
{
    return n <= SELECT_FEW ? select_few(s) : select_many(s);
}

/* With descriptors among its cases. */
static __attribute__((noinline)) int select_fds(struct select *s, size_t n)
{
    struct weft__select_fd few[SELECT_FEW_FDS + 1];
    struct pollfd few_polls[SELECT_FEW_FDS + 1];
    struct weft__select_fds fds = { .polls = few_polls, .slots = few };
    unsigned count = (unsigned)__builtin_popcountll(s->fds);
    int status;

    if (count > SELECT_FEW_FDS) {
        fds.slots = malloc((count + 1) *
                           (sizeof(*fds.slots) + sizeof(*fds.polls)));
        if (!fds.slots)
            return -ENOMEM;
        fds.polls = (struct pollfd *)(void *)&fds.slots[count + 1];
    }
    for (uint64_t set = s->fds; set; set &= set - 1) {
        unsigned i = first_of(set);
        const weft_case_t *c = &s->cases[i];

        fds.slots[fds.n].at = i;
        fds.polls[fds.n++] = (struct pollfd){
            .fd = c->fd,
            .events = c->kind == WEFT_CASE_READABLE ? POLLIN : POLLOUT
        };
    }
    s->watched = &fds;
    status = select_sized(s, n);
    weft__select_fds_end(&fds);
    if (fds.slots != few)
        free(fds.slots);
    return status;
}

int weft_select_until(weft_case_t *cases, size_t n, weft_time_t deadline)
{
    struct select s = { .self = weft__fiber_self(),
                        .cases = cases,
                        .deadline = deadline,
                        .alarm = WEFT_FOREVER,
                        .limit = WEFT_FOREVER };
    int status;

    if (n > WEFT_SELECT_MAX || (!cases && n))
        return -EINVAL;
    for (unsigned i = 0; i < n; i++)
        if (take_case(&s, i) != 0)
            return -EINVAL;
    if (!s.self)
        weft__foreigner_note();
    if (weft__canceled_on_entry(s.self, deadline))
        return -ECANCELED;
    if (!(s.chans | s.joins | s.alarms | s.fds) && deadline == WEFT_FOREVER)
        return -EDEADLK;
    if (!s.fds)
        return select_sized(&s, n);
    status = select_fds(&s, n);
    weft__io_over(s.self, deadline);
    return status;
}

int weft_select(weft_case_t *cases, size_t n)
{
    return weft_select_until(cases, n, WEFT_FOREVER);
}

int weft_select_try(weft_case_t *cases, size_t n)
{
    return weft_select_until(cases, n, WEFT_NOW);
}
