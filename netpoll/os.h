/*
 * The operating system, as netpoll/ sees it: calls on descriptors.
 *
 * What sched/os.h is for memory, threads and clocks. Nothing else in weft
 * makes these calls, so tests can make them fail. They answer a negative
 * errno value and leave errno as they found it.
 */
#ifndef WEFT_NETPOLL_OS_H
#define WEFT_NETPOLL_OS_H

#include <poll.h>
#include <stdint.h>

/* A new eventfd: close-on-exec, non-blocking. A descriptor, -EMFILE, -ENFILE
 * or -ENOMEM. */
int weft__fd_event(void);
/* Make an eventfd readable. */
void weft__fd_signal(int fd);
/* Make it unreadable again. */
void weft__fd_drain(int fd);

/* ppoll(2) for at most timeout_ns (below 0: for ever). How many are ready, or
 * -EINTR. */
int weft__fd_poll(struct pollfd *fds, nfds_t n, int64_t timeout_ns);

void weft__fd_close(int fd);

#endif
