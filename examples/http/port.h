/*
 * What the twins differ in
 *
 * httpd-weft and httpd-pthread are one program over two sets of the functions
 * below: main_weft.c gives them on fibers, main_pthread.c on an OS thread a
 * connection. All the rest, and so everything a client can observe, is shared.
 *
 * A deadline is absolute, in ns of CLOCK_MONOTONIC.
 */
#ifndef HTTPD_PORT_H
#define HTTPD_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct conn;
struct options;
struct server;

/* What the program calls itself in messages. */
extern const char port_program[];

/* Run entry(arg). Answers what entry answered, or -errno if it was not
 * called. */
int port_run(const struct options *options, int (*entry)(void *), void *arg);

/* A listening socket, or -errno. */
int port_listen(const struct options *options);

/*
 * Accept, and run conn_run(server, fd) for each connection beside the others,
 * until SIGTERM or SIGINT. Then server_stop(), and the listener is closed. Those
 * who are left after the grace period are broken off: nothing they do waits
 * any more, port_checkpoint() says so, and server->cut counts them. Return when
 * the last is gone; 0 or -errno.
 */
int port_serve(struct server *server);

/* Guards the server's list of connections. Never held while waiting. */
void port_lock(void);
void port_unlock(void);

/* Like recv(2) and sendmsg(2) on the connection's socket, but for -ETIMEDOUT
 * once the deadline has passed. A peer that is gone is a code, no signal. */
ssize_t port_read(struct conn *c, void *buf, size_t n, int64_t deadline);
ssize_t port_writev(struct conn *c, struct iovec *iov, int count,
                    int64_t deadline);

/* file_open() (file.h) and read(2), which wait for a cold disk. */
int port_open(const struct server *server, const char *path, struct stat *st);
ssize_t port_read_file(int fd, void *buf, size_t n);

/* Close a descriptor that was accepted or opened by the above. */
void port_close(int fd);

/* Between two pieces of computing: let others run, if it is time. Not 0: the
 * connection was broken off. */
int port_checkpoint(const struct server *server);

#endif
