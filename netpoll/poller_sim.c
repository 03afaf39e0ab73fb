/*
 * The poller of the simulation
 *
 * No libuv and no descriptors: what is watched is in memory (net_sim.h), and a
 * worker sleeps on a futex, which is a seam. Built in place of poller.c, with
 * the same discipline: a pass holds the poller's lock while it tells of
 * events, anyone may make one, and what it woke is made ready after the lock.
 *
 * The futex is a word of two bits. WAKE ends the sleep; LOOK says that the
 * network has something, now or later: the sleeper looks, and sleeps on until
 * it is due. It clears the word before it looks, so that what comes after the
 * look ends the next wait on the futex at once.
 */
#include "netpoll/poller.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "netpoll/net_sim.h"
#include "netpoll/wait.h"
#include "sched/atomic.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/sched.h"
#include "sched/seam.h"

int weft__poller_open(struct weft__poller **poller)
{
    struct weft__poller *p;

    /* Where poller.c opens descriptors, the simulation may say no. */
    if (weft__seam != NULL && weft__seam->fault != NULL) {
        int status = weft__seam->fault(WEFT__FAULT_FD);

        if (status != 0)
            return status;
    }
    p = calloc(1, sizeof(*p));
    if (p == NULL)
        return -ENOMEM;
    *poller = p;
    return 0;
}

/* The workers have ended; what was watched is the program's. */
void weft__poller_close(struct weft__poller *poller)
{
    for (int fd = WEFT__NET_FIRST; fd < weft__net_top(); fd++)
        weft__wait_orphan(poller, fd);
    weft__visits_wait();
    /* A foreign thread may be about to ring: it has the address. */
    while (!weft__net_forget(poller))
        weft__os_thread_yield();
    free(poller);
}

/* --- Events ------------------------------------------------------------------- */

static unsigned events_of(short state)
{
    unsigned what = 0;

    if (state & POLLERR)
        return WEFT__EVENT_ERROR;
    if (state & (POLLIN | POLLHUP))
        what |= WEFT__EVENT_IN;
    if (state & (POLLOUT | POLLHUP))
        what |= WEFT__EVENT_OUT;
    if (state & (POLLRDHUP | POLLHUP))
        what |= WEFT__EVENT_HANGUP;
    if (state & POLLPRI)
        what |= WEFT__EVENT_URGENT;
    return what;
}

int weft__poller_pass(struct weft__poller *poller)
{
    struct weft__batch batch = { 0 };
    struct weft__net_event events[32];
    int woken = 0;
    unsigned n;

    if (!weft__lock_try(&poller->lock))
        return 0;
    n = weft__net_events(poller, events, sizeof(events) / sizeof(events[0]));
    for (unsigned i = 0; i < n; i++)
        woken += weft__wait_event(poller, events[i].fd,
                                  events_of(events[i].state), &batch);
    weft__lock_release(&poller->lock);
    weft__batch_keep(&batch);
    return woken;
}

/* --- Watching ------------------------------------------------------------------ */

int weft__poller_add(struct weft__poller *poller, int fd, bool keep_mode)
{
    int status;

    (void)keep_mode;
    weft__lock_acquire(&poller->lock);
    status = weft__net_watch(poller, fd);
    weft__lock_release(&poller->lock);
    return status;
}

void weft__poller_remove(struct weft__poller *poller, int fd)
{
    weft__lock_acquire(&poller->lock);
    weft__net_unwatch(poller, fd);
    weft__lock_release(&poller->lock);
}

void weft__poller_settle(struct weft__poller *poller)
{
    weft__lock_acquire(&poller->lock);
    weft__lock_release(&poller->lock);
}

int weft__poller_rearm(struct weft__poller *poller, int fd)
{
    return weft__net_rearm(poller, fd);
}

/* --- Sleeping ------------------------------------------------------------------ */

void weft__poller_sleep(struct weft__poller *poller, int64_t until)
{
    /* acquire: pairs with the exchange in a wake. As in poller.c an exchange,
     * so that it reads the last waker's. */
    while (!(weft__exchange(&poller->bell, 0, ACQUIRE) & WEFT__BELL_WAKE)) {
        int64_t next = weft__net_next(poller);
        int64_t end = next < until ? next : until;
        int64_t left = -1;

        if (end != INT64_MAX) {
            int64_t now = weft__os_now();

            /* The owner looks there first when it is up. */
            if (end <= now)
                return;
            left = end - now;
        }
        (void)weft__os_futex_wait(&poller->bell, 0, left);
    }
}

void weft__poller_wake(struct weft__poller *poller)
{
    /* release: what the waker did before is seen by the sleeper. Who finds a
     * bit leaves the call to the one that set it. */
    if (weft__fetch_or(&poller->bell, WEFT__BELL_WAKE, RELEASE) == 0)
        weft__os_futex_wake(&poller->bell, 1);
}
