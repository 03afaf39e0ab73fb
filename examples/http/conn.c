/*
 * The loop of a connection: plain blocking code.
 */
#include "httpd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* For how long a client that was told to go may go on sending. */
#define LINGER (2 * NS_PER_SEC)

static struct conn *conn_open(struct server *server, int fd)
{
    struct conn *c = malloc(sizeof(*c));

    if (c == NULL)
        return NULL;
    /* The buffers are not touched before they are needed. */
    memset(c, 0, offsetof(struct conn, url));
    c->server = server;
    c->fd = fd;
    c->receive_timeout = c->send_timeout = server->options->idle;
    request_init(c);
    server_enter(server, c);
    return c;
}

int64_t conn_deadline(struct conn *c)
{
    const struct options *options = c->server->options;
    int64_t idle;
    int64_t total;

    c->now = sys_now();
    idle = c->now + options->idle;
    if (c->started == 0)
        return idle;
    total = c->started + options->total;
    return idle < total ? idle : total;
}

/* Whether this connection may wait for something that need not come. From here
 * until `idle` is taken back server_stop() ends the wait. */
static bool conn_may_wait(struct conn *c)
{
    atomic_store(&c->idle, true);
    return !atomic_load(&c->server->stopping);
}

/* relaxed: server_stop() may find us idle while we just have read something,
 * and see there why no harm is done. */
static void conn_busy(struct conn *c)
{
    atomic_store_explicit(&c->idle, false, memory_order_relaxed);
}

/* The last answer, to a client that may be in the middle of something else. */
static void conn_refuse(struct conn *c, int status)
{
    c->close = true;
    if (answer_status(c, status) != 0 || out_flush(c) != 0)
        return;
    c->requests++;
    c->linger = true;
}

/* The input is at its end, or late: is there someone to be told? */
static void conn_ended(struct conn *c, ssize_t got)
{
    bool stopping =
        atomic_load_explicit(&c->server->stopping, memory_order_relaxed);

    if (c->started == 0)
        return;
    if (got == -ETIMEDOUT)
        conn_refuse(c, 408);
    else if (got == 0 && !stopping)
        conn_refuse(c, 400); /* half a request, and perhaps a reader */
}

/* Read more, after all that is answered has been written. False: there is
 * nothing more. */
static bool conn_more(struct conn *c)
{
    struct request *r = &c->request;
    bool begun = c->started != 0;
    ssize_t got;

    if (r->expect && r->phase == REQUEST_BODY) {
        r->expect = false;
        if (out_text(c, "HTTP/1.1 100 Continue\r\n\r\n") != 0)
            return false;
    }
    if (out_flush(c) != 0)
        return false;
    if (!begun && !conn_may_wait(c))
        return false;
    got = port_read(c, c->in, IN_SIZE, conn_deadline(c));
    conn_busy(c);
    if (got <= 0) {
        conn_ended(c, got);
        return false;
    }
    c->in_at = 0;
    c->in_len = (size_t)got;
    if (!begun)
        c->started = sys_now();
    return true;
}

/* Answer one request. False: it was the last. */
static bool conn_answer(struct conn *c)
{
    bool stopping =
        atomic_load_explicit(&c->server->stopping, memory_order_relaxed);
    bool keep = llhttp_should_keep_alive(&c->parser) && !stopping;

    /* Framing that HTTP/1.0 does not know: where the next request begins may
     * be seen differently by whoever stands between. */
    if (c->parser.http_minor == 0 && (c->parser.flags & F_TRANSFER_ENCODING))
        keep = false;
    c->close = !keep;
    if (answer_request(c) != 0)
        return false;
    c->requests++;
    request_reset(c);
    if (c->close) {
        /* What else it has sent is not looked at, but read: data left in the
         * socket would turn our close into a reset, which overtakes the
         * answer. */
        c->linger = out_flush(c) == 0 && c->in_at < c->in_len;
        return false;
    }
    c->started = c->in_at < c->in_len ? sys_now() : 0;
    return true;
}

static bool conn_turn(struct conn *c)
{
    switch (request_feed(c)) {
    case FED_MORE:
        return conn_more(c);
    case FED_REQUEST:
        return conn_answer(c);
    case FED_BAD:
        break;
    }
    conn_refuse(c, c->request.status);
    return false;
}

/* See conn_answer(); a client that sends on and on is left after a time. */
static void conn_linger(struct conn *c)
{
    int64_t deadline = sys_now() + LINGER;

    sys_shutdown(c->fd, SHUT_WR);
    do {
        if (!conn_may_wait(c))
            break;
        c->now = sys_now();
    } while (c->now < deadline && port_read(c, c->in, IN_SIZE, deadline) > 0);
}

void conn_run(struct server *server, int fd)
{
    struct conn *c = conn_open(server, fd);

    if (c != NULL) {
        while (conn_turn(c))
            continue;
        if (c->linger)
            conn_linger(c);
        server_leave(server, c);
    }
    port_close(fd);
    if (c != NULL)
        free(c->body);
    free(c);
}
