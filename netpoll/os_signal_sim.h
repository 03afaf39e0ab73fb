/*
 * What scenarios of the simulation do to signals.
 */
#ifndef WEFT_NETPOLL_OS_SIGNAL_SIM_H
#define WEFT_NETPOLL_OS_SIGNAL_SIM_H

#include <stdbool.h>

/* Send a signal, from any virtual thread. false: weft's handler does not
 * stand, and the host would have had it. */
bool weft__sig_raise(int sig, int value);

#endif
