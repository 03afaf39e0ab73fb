/*
 * The network
 *
 * Names become addresses by weft_getaddrinfo(), which is getaddrinfo(3) for
 * fibers:
 *
 *     struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
 *     int status = weft_getaddrinfo_until("example.org", "http", &hints,
 *                                         &found, weft_after(WEFT_SEC(2)));
 *
 *     if (status == 0) {
 *         ...
 *         freeaddrinfo(found);
 *     }
 */
#ifndef WEFT_NET_H
#define WEFT_NET_H

#include <weft/api.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

struct addrinfo; /* <netdb.h> */

/*
 * The addresses of `node` and `service`, as getaddrinfo(3) finds them. Its
 * EAI_ codes come back as libuv has them, UV_EAI_ADDRFAMILY (-3000) to
 * UV_EAI_SOCKTYPE (-3011), and not as <netdb.h> does, where they are the numbers
 * of errno: below, -EAI_NONAME stands for UV_EAI_NONAME (-3008). weft_err_name()
 * and weft_strerror() know them.
 *
 * A numeric address with a numeric service, or none, is answered at once. All
 * else is looked up by a thread of a lane that does nothing else (weft_config_t:
 * resolve_threads), and so is, for a fiber, a NULL node, for which the C library
 * wants more stack than the smallest fiber has. A name server that is slow or
 * silent keeps no file, terminal or weft_blocking() waiting.
 *
 * Blocks:   the calling fiber, until there is an answer or `deadline`. A
 *           cancellation point. Both end the wait at once, also while a
 *           server is being asked: the answer is then thrown away when it
 *           comes. From a fiber; from elsewhere numeric addresses only.
 * Returns:  0            *res is a list of one address or more
 *           -ETIMEDOUT   the deadline passed first
 *           -ECANCELED   the fiber was cancelled first
 *           -EAGAIN      `deadline` is WEFT_NOW and a thread would have to
 *                        look it up; or the lane has none and the system
 *                        gives none
 *           -EINVAL      res is NULL, or both node and service are
 *           -ENOMEM      no memory
 *           -EPERM       not on a fiber, and a server would have to be asked
 *           -EAI_NONAME, -EAI_NODATA, -EAI_AGAIN, -EAI_FAIL,
 *           -EAI_ADDRFAMILY, -EAI_FAMILY, -EAI_SOCKTYPE, -EAI_SERVICE,
 *           -EAI_BADFLAGS, -EAI_MEMORY, -EAI_OVERFLOW
 *                        what getaddrinfo(3) said
 *           -EMFILE ...  the system's error where it said EAI_SYSTEM
 * Memory:   `node`, `service` and `hints` are copied, and may be reused on
 *           return; all but one of the first two may be NULL. *res is the
 *           caller's, who frees it by freeaddrinfo(3); it is untouched unless
 *           0 is returned.
 */
WEFT_API WEFT_MUST_CHECK int
weft_getaddrinfo_until(const char *node, const char *service,
                       const struct addrinfo *hints, struct addrinfo **res,
                       weft_time_t deadline);

/* weft_getaddrinfo_until() without a deadline. */
WEFT_API int weft_getaddrinfo(const char *node, const char *service,
                              const struct addrinfo *hints,
                              struct addrinfo **res);

WEFT_END_DECLS

#endif
