/*
 * One thread's connections
 *
 *     CLOSED --open--> OPENING --writable--> IDLE --send--> ASKED
 *                                             ^               |
 *                                             +--- answered --+
 *
 * A phase (opening, warming up, the measured stretch) hands out requests until
 * its budget is spent, and is over when none is outstanding.
 *
 * What holds:
 *   1. `pending` is the number of connections OPENING or ASKED.
 *   2. A connection that failed is CLOSED and stays so for the phase; one of
 *      LOAD_CONNECT is opened again for the next request.
 *
 * A descriptor is registered once, for both directions and edge-triggered. One
 * recv an event is enough: it asks for more than an answer has, so it always
 * comes back short, and a short one has drained the socket.
 *
 * With --burst the next requests wait until so many connections are free, and
 * then all are sent: a server meets whole batches, and never a client that is
 * slower than itself and keeps it waiting for each request. Meanwhile we sleep
 * by the clock and not in epoll, where every answer would have to wake us, at
 * the server's cost.
 */
#include "bench/load/load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/load/message.h"

enum {
    EVENTS = 1024,
    OPENING_AT_ONCE = 128, /* a listener's backlog shall not overflow */
    EXTRA = 64,            /* asked for beyond the answer: must not come */
    FEW = 32,              /* events of a burst: worth a pause */
    PAUSE_NS = 50000
};

enum conn_state { CONN_CLOSED, CONN_OPENING, CONN_IDLE, CONN_ASKED };

struct conn {
    int fd;
    enum conn_state state;
    uint32_t sent; /* of this request */
    uint32_t got;  /* of its answer */
    uint64_t id;   /* of the run, not of the thread */
    uint64_t request;
    uint64_t left; /* of this phase, where each has so many */
    uint64_t began_ns;
};

struct client {
    const struct load_options *options;
    unsigned index;
    int epoll_fd;
    unsigned count;
    unsigned pending;
    struct conn *conns;
    uint64_t opened;
    unsigned least_free; /* before the next burst; 0: none */
    unsigned free_count;
    struct conn **free_conns;

    /* The phase. */
    bool counting;     /* answers and latencies */
    bool each;         /* conn.left rations, else `budget` does */
    uint64_t budget;   /* requests that may still begin */
    uint64_t until_ns; /* and until when */
    uint64_t now_ns;   /* as of the last event */

    struct load_counts counts;
    unsigned char expected[LOAD_MOST_SIZE + sizeof(uint64_t)];
    unsigned char answer[LOAD_MOST_SIZE + EXTRA];
};

uint64_t load_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- what goes wrong ---- */

static void client_note(struct client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Keeps the first. */
static void client_note(struct client *client, const char *format, ...)
{
    va_list args;

    if (client->counts.why[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(client->counts.why, sizeof(client->counts.why), format, args);
    va_end(args);
}

static void conn_close(struct client *client, struct conn *conn)
{
    if (conn->state == CONN_OPENING || conn->state == CONN_ASKED)
        client->pending--;
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    conn->state = CONN_CLOSED;
}

static void conn_wrong(struct client *client, struct conn *conn,
                       const char *what)
{
    client->counts.wrong++;
    client_note(client, "connection %llu, request %llu: %s",
                (unsigned long long)conn->id, (unsigned long long)conn->request,
                what);
    conn_close(client, conn);
}

static void conn_error(struct client *client, struct conn *conn,
                       const char *call, int error)
{
    if (error == ECONNREFUSED)
        client->counts.refused++;
    else
        client->counts.errors++;
    client_note(client, "connection %llu: %s: %s", (unsigned long long)conn->id,
                call, strerror(error));
    conn_close(client, conn);
}

/* ---- opening ---- */

/* Where it comes from. Closing first leaves a connection in TIME_WAIT for a
 * minute, and its port with it: 28,000 a minute from one address. So they come
 * from several of 127.0.0.0/8, other ones in each run. */
static struct sockaddr_in client_source(const struct client *client)
{
    const struct load_options *options = client->options;
    uint64_t which = client->opened * options->threads + client->index;
    uint64_t run = (uint64_t)time(NULL) * 61 + (uint64_t)getpid();
    struct sockaddr_in source = { .sin_family = AF_INET };
    uint32_t host;

    host = (uint32_t)((run * 256 + which % options->sources) % 0xfe0000);
    source.sin_addr.s_addr = htonl(0x7f010000u + host);
    return source;
}

static int conn_bind(struct client *client, int fd)
{
    struct sockaddr_in source = client_source(client);
    int on = 1;

    /* The port is chosen at connect, when the other end is known. */
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)))
        return -1;
    return bind(fd, (const struct sockaddr *)&source, sizeof(source));
}

/* False: it failed, and is counted. */
static bool conn_open(struct client *client, struct conn *conn)
{
    const struct load_options *options = client->options;
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.ptr = conn,
    };

    client->pending++;
    conn->state = CONN_OPENING;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0) {
        conn_error(client, conn, "socket", errno);
        return false;
    }
    if (options->sources > 0 && conn_bind(client, conn->fd) != 0) {
        conn_error(client, conn, "bind", errno);
        return false;
    }
    client->opened++;
    if (connect(conn->fd, (const struct sockaddr *)&options->server,
                sizeof(options->server)) != 0 &&
        errno != EINPROGRESS) {
        conn_error(client, conn, "connect", errno);
        return false;
    }
    if (epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) != 0) {
        conn_error(client, conn, "epoll_ctl", errno);
        return false;
    }
    return true;
}

/* ---- one request ---- */

/* The rest of the request, as much as goes. False: it failed, and is counted. */
static bool conn_send(struct client *client, struct conn *conn)
{
    size_t size = client->options->size;

    message_fill(client->expected, size, conn->id, conn->request);
    while (conn->sent < size) {
        ssize_t n = send(conn->fd, client->expected + conn->sent,
                         size - conn->sent, MSG_NOSIGNAL);

        if (n >= 0)
            conn->sent += (uint32_t)n;
        else if (errno == EAGAIN)
            return true;
        else if (errno != EINTR) {
            conn_error(client, conn, "send", errno);
            return false;
        }
    }
    return true;
}

/* Takes one from the phase's budget, if there is one. */
static bool client_take(struct client *client, struct conn *conn)
{
    uint64_t *budget = client->each ? &conn->left : &client->budget;

    if (*budget == 0 || client->now_ns >= client->until_ns)
        return false;
    --*budget;
    return true;
}

static void conn_ask(struct client *client, struct conn *conn)
{
    if (conn->state == CONN_IDLE)
        client->pending++;
    conn->state = CONN_ASKED;
    conn->request++;
    conn->sent = 0;
    conn->got = 0;
    conn->began_ns = client->now_ns;
    conn_send(client, conn);
}

/* The next request, on a connection of its own in LOAD_CONNECT: sent at once,
 * or when the handshake is done. */
static void conn_begin(struct client *client, struct conn *conn)
{
    bool again = client->options->mode == LOAD_CONNECT;

    while (client_take(client, conn)) {
        if (!again) {
            conn_ask(client, conn);
            return;
        }
        conn->began_ns = client->now_ns;
        if (conn_open(client, conn)) {
            conn->request++;
            conn->sent = 0;
            conn->got = 0;
            if (conn_send(client, conn))
                return;
        }
    }
}

static void conn_answered(struct client *client, struct conn *conn)
{
    client->now_ns = load_now();
    client->pending--;
    conn->state = CONN_IDLE;
    if (client->counting) {
        client->counts.answered++;
        hist_add(&client->counts.latency, client->now_ns - conn->began_ns);
    }
    if (client->options->mode == LOAD_CONNECT)
        conn_close(client, conn);
    if (client->least_free > 0)
        client->free_conns[client->free_count++] = conn;
    else
        conn_begin(client, conn);
}

/* The next requests, if there are enough for a burst. */
static void client_burst(struct client *client)
{
    if (client->free_count < client->least_free && client->pending > 0)
        return;
    while (client->free_count > 0) {
        client->now_ns = load_now();
        conn_begin(client, client->free_conns[--client->free_count]);
    }
}

static void conn_recv(struct client *client, struct conn *conn)
{
    size_t size = client->options->size;
    size_t due = size - conn->got;
    ssize_t n;

    do {
        n = recv(conn->fd, client->answer, due + EXTRA, 0);
    } while (n < 0 && errno == EINTR);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0) {
        conn_error(client, conn, "recv", errno);
        return;
    }
    if (n == 0) {
        conn_error(client, conn, "recv: closed by the server", ECONNRESET);
        return;
    }
    if (conn->state != CONN_ASKED || (size_t)n > due) {
        conn_wrong(client, conn, "more came back than was sent");
        return;
    }
    message_fill(client->expected, size, conn->id, conn->request);
    if (memcmp(client->expected + conn->got, client->answer, (size_t)n) != 0) {
        conn_wrong(client, conn, "the answer is not what was sent");
        return;
    }
    conn->got += (uint32_t)n;
    if (conn->got == size)
        conn_answered(client, conn);
}

/* ---- events ---- */

/* The handshake is over, one way or the other. */
static bool conn_opened(struct client *client, struct conn *conn)
{
    socklen_t length = sizeof(int);
    int error = 0;

    getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
        conn_error(client, conn, "connect", error);
        return false;
    }
    conn->state = CONN_IDLE;
    client->pending--;
    return true;
}

static void conn_event(struct client *client, struct conn *conn,
                       uint32_t events)
{
    /* Closed by an event before it in this batch. */
    if (conn->state == CONN_CLOSED)
        return;
    if (conn->state == CONN_OPENING) {
        if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0)
            return;
        if (!conn_opened(client, conn)) {
            if (client->options->mode == LOAD_CONNECT)
                conn_begin(client, conn);
            return;
        }
        if (client->options->mode == LOAD_CONNECT) {
            conn->state = CONN_ASKED;
            client->pending++;
        }
    }
    if (conn->state == CONN_ASKED && conn->sent < client->options->size)
        conn_send(client, conn);
    if (conn->state != CONN_CLOSED &&
        (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0)
        conn_recv(client, conn);
    if (conn->state == CONN_CLOSED && client->options->mode == LOAD_CONNECT)
        conn_begin(client, conn);
}

/* Waits for events; 0 when none came for as long as patience lasts. */
static int client_wait(struct client *client, struct epoll_event *events)
{
    const struct timespec pause = { .tv_nsec = PAUSE_NS };
    uint64_t patience = client->options->patience_ns;
    uint64_t began = load_now();
    int timeout = client->least_free > 0 ? 0 : (int)(patience / 1000000u) + 1;

    for (;;) {
        int n = epoll_wait(client->epoll_fd, events, EVENTS, timeout);

        if (timeout == 0 && n < FEW)
            nanosleep(&pause, NULL);
        if (n > 0)
            return n;
        if (load_now() - began >= patience)
            return 0;
    }
}

/* One look at epoll; false when nothing came. */
static bool client_turn(struct client *client)
{
    struct epoll_event events[EVENTS];
    int n = client_wait(client, events);

    client->now_ns = load_now();
    for (int i = 0; i < n; i++)
        conn_event(client, events[i].data.ptr, events[i].events);
    if (client->least_free > 0)
        client_burst(client);
    return n > 0;
}

/* Until nothing is outstanding. */
static void client_drain(struct client *client)
{
    while (client->pending > 0) {
        if (client_turn(client))
            continue;
        for (unsigned i = 0; i < client->count; i++) {
            struct conn *conn = &client->conns[i];

            if (conn->state != CONN_OPENING && conn->state != CONN_ASKED)
                continue;
            client->counts.unanswered++;
            client_note(client,
                        "connection %llu, request %llu: no answer in"
                        " %.1f s",
                        (unsigned long long)conn->id,
                        (unsigned long long)conn->request,
                        (double)client->options->patience_ns / 1e9);
            conn_close(client, conn);
        }
    }
}

/* ---- phases ---- */

/* So much of a whole for the client with this index. */
static uint64_t client_share(const struct client *client, uint64_t whole)
{
    uint64_t threads = client->options->threads;

    return whole / threads + (client->index < whole % threads ? 1 : 0);
}

static void client_phase(struct client *client, bool each, uint64_t requests,
                         uint64_t duration_ns)
{
    client->each = each;
    client->budget = requests;
    client->now_ns = load_now();
    client->until_ns =
        duration_ns > 0 ? client->now_ns + duration_ns : UINT64_MAX;
    for (unsigned i = 0; i < client->count; i++) {
        struct conn *conn = &client->conns[i];

        conn->left = requests;
        if (conn->state == CONN_IDLE || client->options->mode == LOAD_CONNECT)
            conn_begin(client, conn);
    }
    client_drain(client);
}

static void client_open_all(struct client *client)
{
    for (unsigned i = 0; i < client->count; i++) {
        conn_open(client, &client->conns[i]);
        while (client->pending >= OPENING_AT_ONCE && client_turn(client)) {
        }
    }
    client_drain(client);
}

void client_warm(struct client *client)
{
    if (client->options->mode != LOAD_CONNECT)
        client_open_all(client);
    client_phase(client, true, client->options->warm, 0);
}

void client_run(struct client *client)
{
    const struct load_options *options = client->options;
    bool each = options->mode == LOAD_HOLD;
    uint64_t requests = options->requests > 0 ? options->requests : UINT64_MAX;

    client->counting = true;
    client_phase(client, each, each ? requests : client_share(client, requests),
                 options->duration_ns);
    client->counting = false;
    client->counts.end_ns = load_now();
}

void client_check_held(struct client *client)
{
    for (unsigned i = 0; i < client->count; i++) {
        struct conn *conn = &client->conns[i];

        if (conn->state == CONN_IDLE)
            conn_recv(client, conn);
    }
}

/* ---- a client's life ---- */

struct client *client_create(const struct load_options *options, unsigned index)
{
    struct client *client = calloc(1, sizeof(*client));

    if (client == NULL)
        return NULL;
    client->options = options;
    client->index = index;
    client->count = (unsigned)client_share(client, options->connections);
    client->least_free = (client->count * options->burst + 99) / 100;
    client->conns = calloc(client->count, sizeof(*client->conns));
    client->free_conns = calloc(client->count, sizeof(struct conn *));
    client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (client->conns == NULL || client->free_conns == NULL ||
        client->epoll_fd < 0) {
        client_destroy(client);
        return NULL;
    }
    for (unsigned i = 0; i < client->count; i++) {
        client->conns[i].fd = -1;
        client->conns[i].id = (uint64_t)i * options->threads + index;
    }
    return client;
}

const struct load_counts *client_counts(const struct client *client)
{
    return &client->counts;
}

void client_destroy(struct client *client)
{
    for (unsigned i = 0; client->conns != NULL && i < client->count; i++)
        conn_close(client, &client->conns[i]);
    if (client->epoll_fd >= 0)
        close(client->epoll_fd);
    free(client->free_conns);
    free(client->conns);
    free(client);
}
