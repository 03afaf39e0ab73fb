/*
 * Names: getaddrinfo(3) in a lane of its own.
 *
 * A look-up that is waited for too long is abandoned: cancel and deadline
 * return at once, and the thread frees the answer when it comes. Meanwhile it
 * takes up one of the lane's threads, so the lane is full sooner where servers
 * are silent, and it alone.
 */
#ifndef WEFT_NETPOLL_RESOLVE_H
#define WEFT_NETPOLL_RESOLVE_H

#include <netdb.h>
#include <stdint.h>

struct weft__fiber;

/* What asks, and what frees an answer that came too late. Tests put others
 * here, while no runtime runs. */
struct weft__resolver {
    int (*get)(const char *node, const char *service,
               const struct addrinfo *hints, struct addrinfo **res);
    void (*release)(struct addrinfo *res);
};
extern struct weft__resolver weft__resolver;

/*
 * See weft_getaddrinfo_until(). `self` is NULL on a thread that runs no fiber;
 * the look at the cancel on entry is the caller's.
 */
int weft__resolve(struct weft__fiber *self, const char *node,
                  const char *service, const struct addrinfo *hints,
                  struct addrinfo **res, int64_t deadline);

#endif
