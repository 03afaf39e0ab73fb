/*
 * HTTP on libuv's callbacks: what does the plaintext answer cost without fibers?
 *
 * The twin of examples/http for `GET /plaintext`, with the same parser and the
 * same bytes in the answer; any other request is a 404. One thread, one loop,
 * one read buffer for all connections. The answers to what one read brought
 * leave with one write, tried at once; only where that does not take all are
 * they kept for the loop. There are no limits and no deadlines: what examples/
 * http spends on those is its own.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <llhttp.h>
#include <uv.h>

#include "bench/servers/server.h"

enum { READ_SIZE = 65536, OUT_SIZE = 16384, HEAD_ROOM = 256 };

struct conn {
    uv_tcp_t tcp;
    llhttp_t parser;
    char url[64]; /* as much as the route needs */
    size_t url_length;
    bool ending; /* closes when what is written is out */
};

struct pending {
    uv_write_t request;
    bool ending;
    char bytes[];
};

/* One loop, one thread: what a callback works with need not be the
 * connection's. */
static uv_loop_t loop;
static llhttp_settings_t settings;
static char in[READ_SIZE], out[OUT_SIZE];
static size_t out_length;
static char date[64];
static size_t date_length;
static time_t date_of;

/* ---- writing ---- */

static void conn_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void conn_close(struct conn *conn)
{
    if (!uv_is_closing((uv_handle_t *)&conn->tcp))
        uv_close((uv_handle_t *)&conn->tcp, conn_closed);
}

static void pending_written(uv_write_t *request, int status)
{
    struct pending *pending = request->data;

    if (status < 0 || pending->ending)
        conn_close(request->handle->data);
    free(pending);
}

static void out_keep(struct conn *conn, const char *bytes, size_t length)
{
    struct pending *pending = malloc(sizeof(*pending) + length);
    uv_buf_t buf;

    if (pending == NULL) {
        conn_close(conn);
        return;
    }
    memcpy(pending->bytes, bytes, length);
    pending->request.data = pending;
    pending->ending = conn->ending;
    buf = uv_buf_init(pending->bytes, (unsigned)length);
    if (uv_write(&pending->request, (uv_stream_t *)&conn->tcp, &buf, 1,
                 pending_written) != 0) {
        free(pending);
        conn_close(conn);
    }
}

static void out_flush(struct conn *conn)
{
    uv_buf_t buf = uv_buf_init(out, (unsigned)out_length);
    int n = uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);
    size_t length = out_length;

    out_length = 0;
    if (n < 0 && n != UV_EAGAIN)
        conn_close(conn);
    else if (n < 0 || (size_t)n < length)
        out_keep(conn, out + (n > 0 ? n : 0), length - (size_t)(n > 0 ? n : 0));
    else if (conn->ending)
        conn_close(conn);
}

static void out_bytes(const char *bytes, size_t length)
{
    memcpy(out + out_length, bytes, length);
    out_length += length;
}

#define OUT_LITERAL(text) out_bytes(text, sizeof(text) - 1)

/* Made once a second. */
static void out_date(void)
{
    time_t now = time(NULL);

    if (now != date_of) {
        struct tm tm;

        gmtime_r(&now, &tm);
        date_length = strftime(date, sizeof(date),
                               "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        date_of = now;
    }
    out_bytes(date, date_length);
}

/* ---- the parser ---- */

static int parser_begin(llhttp_t *parser)
{
    struct conn *conn = parser->data;

    conn->url_length = 0;
    return 0;
}

static int parser_url(llhttp_t *parser, const char *at, size_t length)
{
    struct conn *conn = parser->data;

    if (length > sizeof(conn->url) - conn->url_length)
        length = sizeof(conn->url) - conn->url_length;
    memcpy(conn->url + conn->url_length, at, length);
    conn->url_length += length;
    return 0;
}

static bool conn_is_plaintext(const struct conn *conn)
{
    static const char route[] = "/plaintext";

    return conn->parser.method == HTTP_GET &&
           conn->url_length == sizeof(route) - 1 &&
           memcmp(conn->url, route, sizeof(route) - 1) == 0;
}

static int parser_complete(llhttp_t *parser)
{
    struct conn *conn = parser->data;
    bool ending = !llhttp_should_keep_alive(parser);
    bool found = conn_is_plaintext(conn);

    if (OUT_SIZE - out_length < HEAD_ROOM)
        out_flush(conn);
    if (found)
        OUT_LITERAL("HTTP/1.1 200 OK\r\n");
    else
        OUT_LITERAL("HTTP/1.1 404 Not Found\r\n");
    out_date();
    OUT_LITERAL("Content-Type: text/plain\r\nContent-Length: 13\r\n");
    if (ending)
        OUT_LITERAL("Connection: close\r\n");
    else if (parser->http_minor == 0)
        OUT_LITERAL("Connection: keep-alive\r\n");
    if (found)
        OUT_LITERAL("\r\nHello, World!");
    else
        OUT_LITERAL("\r\n404 Not Found");
    server_count(&server_requests, 1);
    if (!ending)
        return 0;
    /* What follows is no request any more. */
    conn->ending = true;
    return HPE_PAUSED;
}

/* ---- reading ---- */

static void conn_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle;
    (void)size;
    *buf = uv_buf_init(in, sizeof(in));
}

static void conn_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *conn = stream->data;
    llhttp_errno_t error;

    if (n == 0)
        return;
    if (n < 0) {
        conn_close(conn);
        return;
    }
    error = llhttp_execute(&conn->parser, buf->base, (size_t)n);
    if (conn->ending)
        uv_read_stop(stream);
    if (out_length > 0)
        out_flush(conn);
    if (error != HPE_OK && !conn->ending)
        conn_close(conn);
}

static void listener_ready(uv_stream_t *listener, int status)
{
    struct conn *conn;

    if (status < 0)
        return;
    conn = malloc(sizeof(*conn));
    if (conn == NULL)
        server_die("no memory", ENOMEM);
    conn->ending = false;
    uv_tcp_init(&loop, &conn->tcp);
    conn->tcp.data = conn;
    if (uv_accept(listener, (uv_stream_t *)&conn->tcp) != 0) {
        conn_close(conn);
        return;
    }
    llhttp_init(&conn->parser, HTTP_REQUEST, &settings);
    conn->parser.data = conn;
    server_count(&server_connections, 1);
    if (uv_read_start((uv_stream_t *)&conn->tcp, conn_alloc, conn_read) != 0)
        conn_close(conn);
}

static void *loop_thread(void *arg)
{
    (void)arg;
    uv_run(&loop, UV_RUN_DEFAULT);
    return NULL;
}

static int http_serve(struct server *server)
{
    static uv_tcp_t listener;
    int code;

    if (server->workers != 1)
        return UV_EINVAL;
    llhttp_settings_init(&settings);
    settings.on_message_begin = parser_begin;
    settings.on_url = parser_url;
    settings.on_message_complete = parser_complete;
    code = uv_loop_init(&loop);
    if (code == 0)
        code = uv_tcp_init(&loop, &listener);
    if (code == 0)
        code = uv_tcp_open(&listener, server->listen_fd);
    if (code == 0)
        code =
            uv_listen((uv_stream_t *)&listener, SERVER_BACKLOG, listener_ready);
    return code != 0 ? code : -server_thread(loop_thread, NULL);
}

int main(int argc, char **argv)
{
    return server_main(argc, argv, "http-uv", SERVER_LISTENS, http_serve);
}
