/*
 * An HTTP/1.1 server
 *
 * A connection is a plain loop (conn.c): read, feed the parser (request.c),
 * answer (answer.c, file.c) into an output buffer (out.c), and write that when
 * the input is used up. So pipelined requests share a write, and a request and
 * its answer cost two system calls. What waits is in port.h.
 *
 * Whatever a client does is bounded: the size of the head, the number of its
 * lines, the length of the URL, the size of the body; how long a connection may
 * be silent, how long one exchange may take from the first byte of the request
 * to the last of the answer; and how many connections there are.
 */
#ifndef HTTPD_HTTPD_H
#define HTTPD_HTTPD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <llhttp.h>

#include "port.h"
#include "sys.h"

/* ---- options.c ----------------------------------------------------------- */

#define URL_CAPACITY 8192 /* most that --uri may ask for */

struct options {
    const char *host;
    const char *service;
    const char *root;
    unsigned workers;
    size_t connections;
    size_t head_size;  /* bytes of the request line and the header lines */
    size_t head_count; /* header lines, those of a trailer too */
    size_t uri_size;
    size_t body_size;
    int64_t idle; /* ns */
    int64_t total;
    int64_t grace;
    bool walk;
};

/* -1, or the exit code if there is nothing to do. */
int options_parse(struct options *options, int argc, char **argv);

/* ---- server.c ------------------------------------------------------------ */

struct server {
    const struct options *options;
    int listen_fd;
    int root_fd;
    /* No connection takes a further request. Paired with `idle` of each
     * connection: see conn_may_wait(). */
    atomic_bool stopping;
    /* All under port_lock(), until no connection is left. */
    struct conn *conns;
    uint64_t connections;
    uint64_t requests;
    /* How many were broken off at the end. */
    uint64_t cut;
};

void server_enter(struct server *server, struct conn *c);
void server_leave(struct server *server, struct conn *c);

/* Close what is idle; the rest after its answer. */
void server_stop(struct server *server);

/* The whole of the program, on the runner that port_run() gives. */
int server_main(void *options);

/* ---- a connection -------------------------------------------------------- */

#define IN_SIZE   16384
#define OUT_SIZE  16384
#define HEAD_ROOM 512 /* no head of an answer is longer */

enum route { ROUTE_FILE, ROUTE_PLAINTEXT, ROUTE_CPU, ROUTE_ECHO };

/* The header lines that matter. What else does, the parser looks at itself. */
enum header { HEADER_OTHER, HEADER_HOST, HEADER_EXPECT };

/* What has been parsed of a request. Begins as zeros, up to `name`. */
struct request {
    enum { REQUEST_HEAD, REQUEST_BODY, REQUEST_DONE } phase;
    int status;        /* what is wrong with it, or 0 */
    size_t head_bytes; /* used up by the head so far */
    size_t head_lines;
    char last; /* byte that was parsed */
    size_t url_len;
    enum header header; /* the line being parsed */
    size_t name_len;
    size_t value_len;
    bool host;      /* there was a Host line */
    bool expect;    /* the client waits for 100 before it sends the body */
    size_t framing; /* bytes of the body that are not its content */
    size_t body_len;
    /* Known when the head is complete; they point into the URL. */
    enum route route;
    char *path;
    size_t path_len;
    const char *query;
    size_t query_len;
    /* The line being parsed, as far as the lengths above say. */
    char name[8]; /* as much as tells the lines that matter apart */
    char value[256];
};

struct conn {
    struct server *server;
    int fd;
    struct conn *prev; /* in the server's list */
    struct conn *next;
    /* Waits for the first byte of a request, or for the last of a client that
     * was told to go: nothing is lost if it is closed now. */
    atomic_bool idle;
    bool close;      /* after this answer */
    bool linger;     /* the client may still be sending */
    int64_t now;     /* when the connection last looked at the clock */
    int64_t started; /* when the request began; 0 between two */
    uint64_t requests;
    /* For a port that uses them: the timeouts that the socket has, in ns. It
     * comes with the idle time. */
    int64_t receive_timeout;
    int64_t send_timeout;

    llhttp_t parser;
    struct request request;
    char *body; /* of the request, if someone wants it */
    size_t body_capacity;

    time_t date_of; /* the second in which the line below was made */
    size_t date_len;
    char date[64];

    size_t in_at; /* in[in_at .. in_len) is not parsed yet */
    size_t in_len;
    size_t out_len;
    char url[URL_CAPACITY + 1]; /* and a NUL */
    char in[IN_SIZE];
    char out[OUT_SIZE];
};

/* ---- conn.c -------------------------------------------------------------- */

/* Serve it to its end, and close it. */
void conn_run(struct server *server, int fd);

/* How long the next step of the exchange under way may take. */
int64_t conn_deadline(struct conn *c);

/* ---- request.c ----------------------------------------------------------- */

enum fed { FED_MORE, FED_REQUEST, FED_BAD };

void request_init(struct conn *c);
void request_reset(struct conn *c);

/*
 * Parse of the input what belongs to this request. FED_MORE: it is used up.
 * FED_REQUEST: the request is complete. FED_BAD: request.status says why; no
 * more can be parsed.
 */
enum fed request_feed(struct conn *c);

/* ---- answer.c ------------------------------------------------------------ */

/* Find out from the URL who is to answer. False: it is no URL of ours. */
bool answer_route(struct conn *c);

/* The methods for which the route has an answer, as an Allow line, or NULL if
 * the request's is one of them. */
const char *answer_refuses(const struct conn *c);

/* Both answer 0, or -errno if the connection is broken. */
int answer_request(struct conn *c);
int answer_status(struct conn *c, int status);

/* ---- out.c --------------------------------------------------------------- */

/* All answer 0, or -errno if the connection is broken. */
int out_flush(struct conn *c);

/* The head of an answer whose body has `length` bytes; `extra` is further
 * lines, or "". */
int out_head(struct conn *c, int status, const char *type, uint64_t length,
             const char *extra);

/* Bytes of the body: copied if they fit, else written at once. */
int out_body(struct conn *c, const void *data, size_t n);

/* Text of at most HEAD_ROOM bytes. */
int out_text(struct conn *c, const char *text);

/* "Not Found" */
const char *out_reason(int status);

/* ---- file.c -------------------------------------------------------------- */

/*
 * A regular file below the server's root, or the index.html of a directory.
 * Never anything else, and a FIFO or device is not even opened for reading.
 * `cached`: -EAGAIN if that would have to wait for a disk.
 */
int file_open(const struct server *server, const char *path, struct stat *st,
              bool cached);

/* Answer with the file that the path of the request names. */
int file_answer(struct conn *c);

#endif
