/*
 * The poller: how a worker waits for the world.
 *
 * One for each worker. libuv is entered from netpoll/poller.c and nowhere
 * else; the simulation builds netpoll/poller_sim.c against this header.
 *
 * A worker sleeps in weft__poller_sleep() with its loop's lock free, so that
 * others may serve the loop meanwhile; weft__poller_wake() ends that sleep or
 * the next one, from any thread.
 */
#ifndef WEFT_NETPOLL_POLLER_H
#define WEFT_NETPOLL_POLLER_H

#include <stdbool.h>
#include <stdint.h>

struct weft__poller;

/* Returns 0, -ENOMEM, -EMFILE or -ENFILE. */
int weft__poller_open(struct weft__poller **poller);
void weft__poller_close(struct weft__poller *poller);

/* Dispatch what is ready, without waiting. By the owner, or by anyone: when
 * another serves the loop at this moment nothing is done. Returns how many
 * fibers were made ready. */
int weft__poller_pass(struct weft__poller *poller);

/* Sleep until something is ready, a wake comes or `until` (an absolute time,
 * INT64_MAX: for ever) has passed. The owner only. */
void weft__poller_sleep(struct weft__poller *poller, int64_t until);

/* End the owner's sleep, or its next one. From any thread; wakes fold. */
void weft__poller_wake(struct weft__poller *poller);

/*
 * Watch a descriptor, from now on and at each edge; what is ready already is
 * told, too. `keep_mode`: others share it, so it stays in the mode it is in, and
 * libuv changes that for a moment only. Tells of events through
 * weft__wait_event(), inside a pass.
 *
 * On an ordinary thread stack, with no inner lock held. 0, -EPERM (what epoll
 * does not take), -EBADF, -ENOMEM (also: the user's share of watches).
 */
int weft__poller_add(struct weft__poller *poller, int fd, bool keep_mode);
/* Until those who change something here at this moment are done. */
void weft__poller_settle(struct weft__poller *poller);
/* No more. The number may be added again. Likewise. */
void weft__poller_remove(struct weft__poller *poller, int fd);
/* Tell of what is ready now once more. From anywhere. 0, or -ENOENT: that
 * file is gone, and another has its number. */
int weft__poller_rearm(struct weft__poller *poller, int fd);

#endif
