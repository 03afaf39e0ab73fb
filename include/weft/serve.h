/*
 * Serving
 *
 * The loop that every server has: accept, start a fiber for the connection,
 * and keep to limits; and its end, when those who are at it get some time.
 *
 *     static void echo(int fd, void *arg) { ... }
 *
 *     int l = weft_tcp_listen(NULL, "7", NULL);
 *
 *     weft_serve(l, echo, NULL, NULL);    returns when it is stopped
 *
 * It is stopped by weft_cancel() of the fiber that called it, or by closing
 * the listener.
 */
#ifndef WEFT_SERVE_H
#define WEFT_SERVE_H

#include <stddef.h>
#include <stdint.h>

#include <weft/api.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

/* What a server has done so far. Each figure is written whole, by the fibers
 * of the server: a look from elsewhere may be out of date, but is not torn. */
typedef struct weft_serve_stats {
    uint64_t accepted; /* connections, in all */
    uint64_t active;   /* now */
    uint64_t most;     /* at any one time */
    uint64_t refused;  /* closed at once: no memory for a fiber */
    uint64_t late;     /* still there after the grace period, and cancelled */
} weft_serve_stats_t;

/* How to serve. Zero and NULL mean the default. */
typedef struct weft_serve {
    size_t size;               /* sizeof(weft_serve_t): set by the macro */
    unsigned max_connections;  /* at a time; more wait in the kernel's queue.
                                  Default: no limit */
    unsigned flags;            /* WEFT_SERVE_* */
    weft_time_t idle_timeout;  /* ns a call on the connection may wait before
                                  it answers -ETIMEDOUT. Default: no limit */
    weft_time_t total_timeout; /* ns after which every call that would wait on
                                  the connection does. Default: no limit */
    weft_time_t grace;         /* ns that handlers have after a stop, before
                                  they are cancelled. Default: 5 s; negative:
                                  none */
    size_t stack_size;         /* of a handler's fiber, as in weft_attr_t */
    weft_serve_stats_t *stats; /* the caller's, set to zero; or NULL */
} weft_serve_t;

#define WEFT_SERVE_INIT { sizeof(weft_serve_t), 0, 0, 0, 0, 0, 0, 0 }

/* At a stop each connection is shut for reading: who waits for the next
 * request reads the end of the stream, and who is answering goes on. */
#define WEFT_SERVE_SHUT_READS 1u

/*
 * Accept connections from `listen_fd` and run handler(fd, arg) for each in a
 * fiber of its own, until stopped. When the handler returns the connection is
 * closed, unless it has closed it or let go of it (weft_fd_forget()) itself.
 *
 * Where no descriptor is left, or max_connections are there, it waits, and
 * those who come wait in the kernel's queue.
 *
 * A stop: no more is accepted; handlers get the grace period; who is left is
 * cancelled, and awaited. The listener stays the caller's, open.
 *
 * Blocks:   the calling fiber, until it is stopped and the last handler has
 *           returned. From a fiber only.
 * Returns:  -ECANCELED   stopped by a cancel, which stays pending
 *           -EBADF       no such descriptor, or it was closed
 *           -EINVAL      handler is NULL; opt's size is none that weft knows,
 *                        its flags unknown, a timeout negative or the
 *                        stack_size above 1 GiB; or the descriptor does not
 *                        listen
 *           -ENOTSOCK    not a socket
 *           -EOPNOTSUPP  not of a kind that accepts
 *           -EPERM       not on a fiber
 *           -ENOMEM      no memory to begin
 * Memory:   `opt` may be NULL and is copied; `stats` has to stay until the
 *           call returns; `arg` is handed on as it is.
 */
WEFT_API int weft_serve(int listen_fd, void (*handler)(int fd, void *arg),
                        void *arg, const weft_serve_t *opt);

WEFT_END_DECLS

#endif
