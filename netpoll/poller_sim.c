/*
 * The poller of the simulation
 *
 * No libuv and no descriptors: the world is the simulation's own, and a
 * worker sleeps on a futex, which is a seam. Built in place of poller.c.
 */
#include "netpoll/poller.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "sched/atomic.h"
#include "sched/os.h"
#include "sched/seam.h"

struct weft__poller {
    weft__au32 signalled; /* 1: a wake that no sleep has ended for yet */
};

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

void weft__poller_close(struct weft__poller *poller)
{
    free(poller);
}

int weft__poller_pass(struct weft__poller *poller)
{
    (void)poller;
    return 0;
}

void weft__poller_sleep(struct weft__poller *poller, int64_t until)
{
    int64_t left = -1;

    /* acquire: pairs with the exchange in a wake. As in poller.c an exchange,
     * so that it reads the last waker's. */
    while (weft__exchange(&poller->signalled, 0, ACQUIRE) == 0) {
        if (until != INT64_MAX) {
            int64_t now = weft__os_now();

            if (until <= now)
                return;
            left = until - now;
        }
        (void)weft__os_futex_wait(&poller->signalled, 0, left);
    }
}

void weft__poller_wake(struct weft__poller *poller)
{
    /* release: what the waker did before is seen by the sleeper. Who finds 1
     * leaves the call to the one that set it. */
    if (weft__exchange(&poller->signalled, 1, RELEASE) == 0)
        weft__os_futex_wake(&poller->signalled, 1);
}

/* Descriptors come from outside, and no run of the simulation depends on
 * that. */
int weft__poller_add(struct weft__poller *poller, int fd, bool made)
{
    (void)poller, (void)fd, (void)made;
    return -ENOTSUP;
}

void weft__poller_remove(struct weft__poller *poller, int fd)
{
    (void)poller, (void)fd;
}

int weft__poller_rearm(struct weft__poller *poller, int fd)
{
    (void)poller, (void)fd;
    return -ENOTSUP;
}
