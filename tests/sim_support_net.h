/*
 * The network of the simulation, for scenarios: pairs, bytes that tell who
 * they are, and what has to hold at the end.
 */
#ifndef WEFT_TESTS_SIM_SUPPORT_NET_H
#define WEFT_TESTS_SIM_SUPPORT_NET_H

#include <sys/socket.h>

#include <weft/weft.h>

#include "netpoll/net_sim.h"
#include "tests/sim.h"
#include "tests/sim_support.h"

/* Run at once, in this order or another. */
weft_fiber_t net_spawn(void *(*fn)(void *), void *arg);
void net_join(weft_fiber_t f);

/* Two ends; `room` bytes fit into each. AF_INET: TCP, so that the short-read
 * rule holds. */
void net_pair(int domain, size_t room, int fds[2]);

/* Everything that was opened is closed, nobody is left on a list, no call is
 * counted as under way. */
void net_settled(void);

/* Wait until so many calls on it are under way, or are parked there. */
void net_wait_uses(int fd, unsigned n);
void net_wait_readers(int fd, unsigned n);

/* The ith byte of a stream, and a sum in which none may be missing. */
static inline unsigned char net_byte(size_t i)
{
    return (unsigned char)(i * 7 + 1);
}

/* Cancel, and do not care whether it has ended. */
static inline void net_cancel(weft_fiber_t f)
{
    (void)weft_cancel(f);
}

/* Some turns, so that others go ahead. */
static inline void net_linger(int turns)
{
    while (turns-- > 0)
        weft_yield();
}

#endif
