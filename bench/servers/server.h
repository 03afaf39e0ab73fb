/*
 * What the servers of the benches share: the command line, the listener, the
 * counters, and the one line they say at the end
 *
 *     static int serve(struct server *server) { ... }
 *
 *     int main(int argc, char **argv)
 *     {
 *         return server_main(argc, argv, "echo-epoll", SERVER_LISTENS, serve);
 *     }
 *
 * server_main() parses `-p PORT -w WORKERS -c CPU`, makes the listener unless
 * the server does, calls serve(), which starts threads and returns, prints
 * `listening PORT` and sleeps until SIGTERM. Then it prints what was done and
 * what it took, as one line of JSON, and the process is gone: what is open is
 * the kernel's to close. So the thread that waits for the end is the same in
 * every server and costs none of them a system call.
 */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* One receive buffer, of the same size everywhere. */
enum { SERVER_BUFFER = 4096, SERVER_BACKLOG = 4096 };

struct server {
    unsigned port; /* 0: the kernel's choice; set by the time of serve() */
    unsigned workers;
    int listen_fd; /* blocking; -1 if the server listens by itself */
};

enum server_listen { SERVER_LISTENS, SERVER_LISTENS_ITSELF };

typedef int (*server_fn)(struct server *server);

/* The process's exit status. serve() answers 0, or -errno. */
int server_main(int argc, char **argv, const char *name,
                enum server_listen listen, server_fn serve);

/* Ends the process: a call that may not fail did. */
_Noreturn void server_die(const char *what, int error);

/* A thread with a stack of 64 KiB that nobody joins; 0 or an error number. */
int server_thread(void *(*entry)(void *), void *arg);

/* The port a descriptor is bound to. */
unsigned server_port(int fd);

/* ---- what was done ---- */

extern atomic_ullong server_requests, server_connections, server_calls;

/* relaxed: counters, read when all is over. */
static inline void server_count(atomic_ullong *counter, unsigned long long n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif
