/*
 * Jobs of two processes: a server on one core, and clients on the others
 *
 * The server's own processor time is the figure. It is read from the kernel's
 * clock of that process at both ends of the measured stretch, so that neither
 * the start nor opening the connections is in it.
 */
#ifndef BENCH_NETWORK_H
#define BENCH_NETWORK_H

#include "bench/weft_bench/run.h"

struct network_options {
    const char *server_dir; /* where echo-weft, echo-epoll, http-uv are */
    const char *http_dir;   /* where httpd-weft and httpd-pthread are */
    const char *load;       /* weft-load */
    bool pin;
};

/* All that the case needs is there; else `why` says what is not. */
bool network_have(const struct network_options *options, const char *case_name,
                  char *why, size_t size);

/*
 * One run of `task->ops` requests on `task->procs` connections:
 *
 *     echo     64 bytes there and back, by whichever connection is free
 *     hold     the same, so many on each connection, all of them held
 *     connect  connect, one request, close
 *     calls    as echo, the server's system calls counted by perf; its
 *              times mean nothing then
 *     http     GET /plaintext from wrk; `ops` are milliseconds
 */
struct sample network_run(const struct network_options *options,
                          enum runner who, const struct task *task);

#endif
