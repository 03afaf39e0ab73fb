/*
 * weft-load: what it is asked for, and what one of its threads counts
 *
 * A thread drives its share of the connections on an epoll of its own. Each
 * connection has one request outstanding at most; the next is sent when the
 * answer has been compared byte by byte. No two requests of a run are alike,
 * so an answer that belongs to another is seen.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/load/hist.h"

enum load_mode {
    LOAD_ECHO,   /* so many requests in all, by whichever connection is free */
    LOAD_HOLD,   /* so many requests on each connection */
    LOAD_CONNECT /* connect, one request, close: so many times in all */
};

enum { LOAD_MOST_SIZE = 65536 };

struct load_options {
    enum load_mode mode;
    struct sockaddr_in server;
    unsigned connections;
    unsigned threads;
    unsigned sources;     /* addresses to come from; 0: the kernel's choice */
    uint64_t requests;    /* of the mode; 0: until the time is over */
    uint64_t duration_ns; /* 0: until the requests are done */
    uint64_t warm;        /* requests on each connection before that */
    uint64_t patience_ns; /* for an answer, when there is nothing else to do */
    unsigned burst;       /* percent of the connections; 0: ask at once */
    size_t size;          /* of a message */
    int server_pid;       /* whose processor time is read; 0: nobody's */
    bool wait;            /* for a word on stdin before and after */
};

struct load_counts {
    uint64_t answered;
    uint64_t wrong;      /* answers that are not the request */
    uint64_t refused;    /* connections */
    uint64_t errors;     /* of any other kind */
    uint64_t unanswered; /* when patience was over */
    uint64_t end_ns;     /* of the measured stretch */
    char why[160];       /* the first of what went wrong */
    struct hist latency;
};

/* What went wrong, whatever it is. */
static inline uint64_t load_failures(const struct load_counts *counts)
{
    return counts->wrong + counts->refused + counts->errors +
           counts->unanswered;
}

uint64_t load_now(void);

/* ---- one thread's work ---- */

struct client;

/* The client with `index` of so many; NULL: no memory or no descriptor. */
struct client *client_create(const struct load_options *options,
                             unsigned index);

/* Opens its connections, all of them held, and has `warm` requests answered on
 * each. Nothing of it is counted but what goes wrong. In LOAD_CONNECT it opens,
 * asks and closes instead. */
void client_warm(struct client *client);

/* The measured stretch. */
void client_run(struct client *client);

/* All connections are still there, and none has anything more to say. */
void client_check_held(struct client *client);

const struct load_counts *client_counts(const struct client *client);

/* Closes what is open. */
void client_destroy(struct client *client);

#endif
