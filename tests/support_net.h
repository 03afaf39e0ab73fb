/*
 * What the tests of descriptors share.
 */
#ifndef TESTS_SUPPORT_NET_H
#define TESTS_SUPPORT_NET_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/support_prim.h"

/* Pairs of connected streams, weft's own. */
enum net_kind { NET_UNIX, NET_TCP, NET_PIPE, NET_KINDS };
/* fds[0] to read from, fds[1] to write to; a pipe has no other way. */
void net_pair(enum net_kind kind, int fds[2]);
void net_close(int fds[2]);

/* A listener of weft's on a free port of 127.0.0.1; where it is. */
int net_listen(int backlog, struct sockaddr_in *where);
/* A port of 127.0.0.1 on which nobody listens. */
struct sockaddr_in net_nobody(void);
struct sockaddr_in net_name(int fd);
/* A socket of weft's that is connected there; with a plain connect(2). */
int net_connect(const struct sockaddr_in *where);
/* A bound UDP socket of weft's. */
int net_udp(struct sockaddr_in *where);
/* Closing it breaks the connection off. */
void net_reset(int fd);
/* Write until there is no room; how many bytes. */
size_t net_fill(int fd);
/* Let a loop know a descriptor that has nothing to read. */
void net_watch(int fd);

/* One read, in a fiber: read_one(&reader). */
struct net_reader {
    int fd;
    size_t n;
    weft_time_t deadline; /* 0: for ever */
    ssize_t answer;
    char got[64];
};
void *read_one(void *reader);

/* spawn() and join() for loops. */
weft_fiber_t spawn_one(void *(*entry)(void *), void *arg);
void *join_one(weft_fiber_t f);

/* How many descriptors this process has. */
unsigned open_descriptors(void);
/* Leave room for so many more descriptors; those that are taken for it. */
unsigned leave_descriptors(unsigned n, int taken[], unsigned most);
/* CPU time of the process so far, in ns. */
int64_t cpu_time(void);

#endif
