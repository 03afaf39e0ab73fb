/*
 * The operating system's signals, as netpoll/signal.c sees them. The
 * simulation has os_signal_sim.c in place of os_signal.c: there no signal
 * comes from outside.
 *
 * What weft's handler takes goes into a channel, a pipe; the reader is the
 * dispatcher of signal.c. Of dispositions and the set of standing handlers
 * one thread at a time may be in charge: signal.c's lock.
 */
#ifndef WEFT_NETPOLL_OS_SIGNAL_H
#define WEFT_NETPOLL_OS_SIGNAL_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* One past the last signal. */
#define WEFT__SIG_END 65

/* May it be waited for? Not what cannot be caught, what a thread brings upon
 * itself, and what belongs to weft or the C library. */
bool weft__sig_catchable(int sig);

/* A new channel, or -EMFILE, -ENFILE. */
int weft__sig_channel_open(int fds[2]);
/* From here on the handler writes into it. */
void weft__sig_channel_use(const int fds[2]);
/* No handler uses it any more, on return. */
void weft__sig_channel_drop(void);
void weft__sig_channel_close(int fds[2]);

/* Wake the reader. */
void weft__sig_poke(const int fds[2]);
/* Wait for something in the channel; the signals of `open` are let in
 * meanwhile, and only then. The calling thread blocks them otherwise. */
void weft__sig_wait(const int fds[2], const sigset_t *open);
/* Take something out; false: it is empty. A poke has no si_signo. */
bool weft__sig_read(const int fds[2], siginfo_t *info);
/* Standard signals that came while the channel was full, a bit each: taken. */
uint64_t weft__sig_missed(void);

/* Put weft's handler in place of the host's, and the host's back: unless the
 * host has put yet another there. */
void weft__sig_stand(int sig);
void weft__sig_restore(int sig);
/* In a forked child: the host's are back, and no handler writes. */
void weft__sig_forked(void);

/* Take one of the signals that are pending for the process, because all of its
 * threads block them: its number, or 0. */
int weft__sig_take(const sigset_t *set, siginfo_t *info);

#endif
