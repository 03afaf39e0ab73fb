/*
 * Listening and connecting
 *
 * Sockets by name: a host and a service, or a path. What comes back is a
 * plain descriptor, for the calls of io.h and any other.
 *
 *     int l = weft_tcp_listen("127.0.0.1", "8080", NULL);
 *     int fd;
 *
 *     while ((fd = weft_accept(l, NULL, NULL)) >= 0)
 *         weft_go(serve, (void *)(intptr_t)fd);
 */
#ifndef WEFT_SOCKET_H
#define WEFT_SOCKET_H

#include <stddef.h>

#include <weft/api.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

/* How to listen. Zero means the default. */
typedef struct weft_listen {
    size_t size;    /* sizeof(weft_listen_t): set by the macro */
    int backlog;    /* connections that wait to be accepted; default: 4096, cut
                       by the kernel to net.core.somaxconn */
    unsigned flags; /* WEFT_LISTEN_* */
} weft_listen_t;

#define WEFT_LISTEN_INIT { sizeof(weft_listen_t), 0, 0 }

/* Several sockets, also of several processes, share the port. */
#define WEFT_LISTEN_REUSEPORT 1u
/* An IPv6 socket takes no IPv4 connections. */
#define WEFT_LISTEN_V6ONLY 2u

/*
 * A TCP socket that listens. `host` is a name or a numeric address; NULL is
 * every address of the machine, IPv6 and IPv4 in one socket where the machine
 * has both. `service` is a name or a port; "0" takes a free one, which
 * getsockname(2) tells. The port may be taken again at once after an earlier
 * owner has ended (SO_REUSEADDR).
 *
 * Blocks:   the calling fiber, while a thread looks up a name, or what NULL is
 *           (see weft_getaddrinfo()). A cancellation point then. From a foreign
 *           thread with numeric addresses or NULL only.
 * Returns:  the descriptor
 *           -EINVAL            service is NULL; opt's size is none that weft
 *                              knows, its backlog negative, its flags unknown
 *           -EADDRINUSE        someone listens there
 *           -EADDRNOTAVAIL     the address is not of this machine
 *           -EACCES            a port that needs a privilege
 *           -EMFILE, -ENFILE   no descriptor is left
 *           -ENOMEM, -ENOBUFS  no memory
 *           -EPERM             a name, on a thread that runs no fiber
 *           -ECANCELED         the fiber was cancelled first
 *           or a code of the resolver, as weft_getaddrinfo()
 * Memory:   the strings and `opt`, which may be NULL, stay the caller's.
 */
WEFT_API int weft_tcp_listen(const char *host, const char *service,
                             const weft_listen_t *opt);

/*
 * Connect to a TCP service. Each address of the host is tried, the next one
 * 250 ms after the last or as soon as one has failed, and the first that
 * answers wins, as RFC 8305 has it.
 *
 * Blocks:   the calling fiber, until one is connected, all have failed, or
 *           `deadline`. A cancellation point. From a fiber only.
 * Returns:  the descriptor
 *           -EINVAL           host or service is NULL
 *           -ECONNREFUSED     nobody listens there
 *           -ECONNRESET       the peer broke it off
 *           -ENETUNREACH      there is no way there
 *           -EHOSTUNREACH     nor to that host, or it did not answer
 *           -EADDRNOTAVAIL    no local port is left
 *           -EAFNOSUPPORT     no address is of a family that this machine has
 *           -EMFILE, -ENFILE  no descriptor is left
 *           -ENOMEM, -ENOBUFS no memory
 *           -ETIMEDOUT        the deadline passed first
 *           -ECANCELED        the fiber was cancelled first
 *           -EAGAIN           `deadline` is WEFT_NOW
 *           -EPERM            not on a fiber
 *           or a code of the resolver, as weft_getaddrinfo(); of several
 *           addresses, the code of the one that failed last
 * Memory:   the strings stay the caller's.
 */
WEFT_API WEFT_MUST_CHECK int weft_tcp_connect_until(const char *host,
                                                    const char *service,
                                                    weft_time_t deadline);
/* weft_tcp_connect_until(host, service, WEFT_FOREVER). */
WEFT_API int weft_tcp_connect(const char *host, const char *service);

/*
 * A stream socket of the Unix domain that listens at `path`, which must not
 * exist; whoever closes the socket removes it.
 *
 * Blocks:   never. From anywhere.
 * Returns:  the descriptor
 *           -EINVAL           path is NULL or empty, or opt has no sense
 *           -ENAMETOOLONG     longer than 107 bytes
 *           -EADDRINUSE       there is something at `path`
 *           -ENOENT, -ENOTDIR its folder is not there
 *           -EACCES           not allowed to make it
 *           -EMFILE, -ENFILE  no descriptor is left
 *           -ENOMEM           no memory
 * Memory:   as weft_tcp_listen().
 */
WEFT_API int weft_unix_listen(const char *path, const weft_listen_t *opt);

/*
 * Connect to a stream socket of the Unix domain.
 *
 * Blocks:   the calling fiber, until it is connected (a listener may have no
 *           room at the moment), or `deadline`. A cancellation point. From a
 *           foreign thread only if it need not wait.
 * Returns:  the descriptor
 *           -EINVAL           path is NULL or empty
 *           -ENAMETOOLONG     longer than 107 bytes
 *           -ENOENT, -ENOTDIR there is nothing at `path`
 *           -EACCES           not allowed to go there
 *           -ECONNREFUSED     nobody listens there
 *           -EMFILE, -ENFILE  no descriptor is left
 *           -ENOMEM           no memory
 *           -ETIMEDOUT        the deadline passed first
 *           -ECANCELED        the fiber was cancelled first
 *           -EAGAIN           `deadline` is WEFT_NOW and it would have to wait
 *           -EPERM            it would have to wait, and the caller cannot
 *                             park
 * Memory:   `path` stays the caller's.
 */
WEFT_API WEFT_MUST_CHECK int weft_unix_connect_until(const char *path,
                                                     weft_time_t deadline);
/* weft_unix_connect_until(path, WEFT_FOREVER). */
WEFT_API int weft_unix_connect(const char *path);

/*
 * A UDP socket bound to an address; arguments as of weft_tcp_listen().
 *
 * Blocks:   as weft_tcp_listen().
 * Returns:  as weft_tcp_listen() (opt has nothing to say here)
 * Memory:   the strings stay the caller's.
 */
WEFT_API int weft_udp_bind(const char *host, const char *service);

WEFT_END_DECLS

#endif
