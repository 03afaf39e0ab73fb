/*
 * Waiting for signals
 *
 * While someone waits for a signal, weft's handler stands in for the host's;
 * it writes what came into a pipe and does no more. One thread, the
 * dispatcher, reads the pipe and gives each signal to whoever has waited for
 * it longest. It is started by the first wait of a run.
 *
 *     waiter                        dispatcher
 *     put the handler up            wait for the pipe, with the signals of
 *     stand in line, park             those in line let in
 *                                   take the first that wants it out of line,
 *                                     put back the host's handler if no one
 *                                     else wants it, wake
 *     end early: say so, ring,      take it out of line, put back, wake
 *       park until it is out
 *
 * What holds:
 *   1. Handlers are put up by waiters and put back by the dispatcher, both
 *      under the lock, which is held across that system call: it does not
 *      wait for anything, and the order of two of them matters.
 *   2. A signal is let in by the dispatcher's own mask only while weft's
 *      handler stands: it puts handlers back while it lets nothing in. So a
 *      signal that every thread of the program blocks is delivered to the
 *      dispatcher when someone waits for it, and stays pending in the kernel
 *      when no one does, whatever the host's disposition is.
 *   3. When a wait returns, the host's handlers are back.
 *   4. A signal that weft's handler took and that finds no one in line is kept
 *      for the next who waits for it: each of the standard ones once, and of
 *      the others as many as there is room for.
 *
 * Why not signalfd(2): it sees only what every thread blocks, and the host's
 * threads are its own.
 */
#ifndef WEFT_NETPOLL_SIGNAL_H
#define WEFT_NETPOLL_SIGNAL_H

#include <signal.h>
#include <stdint.h>

struct weft__fiber;

/* See weft_signal_wait_until(); the look at the cancel on entry is the
 * caller's, and so is the one at the set. */
int weft__signal_wait(struct weft__fiber *self, const sigset_t *set,
                      siginfo_t *info, int64_t deadline);

/* The end of a run: no one waits. */
void weft__signal_close(void);

/* In a forked child: the host's handlers are back. */
void weft__signal_forked(void);

#endif
