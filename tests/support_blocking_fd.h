/*
 * What the tests of descriptors in blocking mode share.
 */
#ifndef TESTS_SUPPORT_BLOCKING_FD_H
#define TESTS_SUPPORT_BLOCKING_FD_H

#include <sys/types.h>

#include "tests/support_lane.h"

/* One buffer by weft__blocking_rw(), with a deadline or for ever. */
ssize_t rw(int fd, bool write, void *buf, size_t n, weft_time_t until);
ssize_t get(int fd, void *buf, size_t n);
ssize_t put(int fd, const void *buf, size_t n);

/* The kernel can promise not to wait for a pipe, and cannot for a terminal. */
enum kind { PIPE, TERMINAL, KINDS };

/* Two ends: what is written into [1] comes out of [0], byte for byte. The
 * [`our`] one takes the number `as` (or stays, -1), in blocking mode. */
void open_ends(enum kind kind, int ends[2], int our, int as);
void close_ends(int ends[2]);

/* A fiber that makes one call. */
struct call {
    int fd;
    bool write;
    char *buf;
    size_t n;
    weft_time_t until;
};
void *call_one(void *call);
/* What the call answered. */
ssize_t answer(weft_fiber_t f);

/* Until there is something to read: a terminal's bytes come by way of the
 * kernel. */
void await_bytes(int fd);

/* Wait until it is parked, and its thread at work. */
void wait_until_waiting(weft_fiber_t f);

/* More than there is room for: what is written, and what came. */
enum { MUCH = 300000 };
extern char much[MUCH], got[MUCH];
void fill_much(void);

#endif
