/*
 * What the tests of signals share: a host program with handlers of its own,
 * and a fiber that waits.
 */
#ifndef TESTS_SUPPORT_SIGNAL_H
#define TESTS_SUPPORT_SIGNAL_H

#include <signal.h>
#include <weft/signal.h>

#include "tests/support_lane.h"

/* How many signals the host's handlers got. */
extern weft__au32 host_got;
void host_handler(int sig);
/* It puts host_handler up. */
void host_takes(int sig);
bool host_has(int sig, void (*handler)(int));
/* A fixture. Check has handlers of its own, which its children inherit. */
void no_handlers(void);

/* b may be 0: none. */
sigset_t set_of(int a, int b);
/* Before a start, so that no thread takes it but by a wait. */
void block(int sig);
void send_one(int sig);
void queue(int sig, int value);

/* A fiber that waits for one. */
struct waiter {
    sigset_t set;
    siginfo_t info;
    weft_time_t until; /* 0: none */
    int answer;
};
void *wait_one(void *waiter);
struct waiter waiter(int a, int b);

#endif
