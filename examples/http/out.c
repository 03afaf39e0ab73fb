/*
 * What goes out
 *
 * Answers gather in the connection's buffer and leave with one write when the
 * input is used up, when the buffer is full, or when a body comes that is too
 * large for it: then head and body leave together.
 */
#include "httpd.h"

#include <errno.h>
#include <string.h>

static int out_write(struct conn *c, const void *data, size_t n)
{
    struct iovec iov[2] = {
        { .iov_base = c->out, .iov_len = c->out_len },
        { .iov_base = (void *)(uintptr_t)data, .iov_len = n },
    };
    struct iovec *at = iov;
    int count = n > 0 ? 2 : 1;

    c->out_len = 0;
    for (;;) {
        ssize_t put;

        while (count > 0 && at->iov_len == 0) {
            at++;
            count--;
        }
        if (count == 0)
            return 0;
        put = port_writev(c, at, count, conn_deadline(c));
        if (put < 0)
            return (int)put;
        for (int i = 0; i < count && put > 0; i++) {
            size_t part = at[i].iov_len;

            if (part > (size_t)put)
                part = (size_t)put;
            at[i].iov_base = (char *)at[i].iov_base + part;
            at[i].iov_len -= part;
            put -= (ssize_t)part;
        }
    }
}

int out_flush(struct conn *c)
{
    return c->out_len > 0 ? out_write(c, NULL, 0) : 0;
}

static int out_room(struct conn *c, size_t n)
{
    return OUT_SIZE - c->out_len < n ? out_flush(c) : 0;
}

int out_body(struct conn *c, const void *data, size_t n)
{
    if (n > OUT_SIZE - c->out_len)
        return out_write(c, data, n);
    memcpy(c->out + c->out_len, data, n);
    c->out_len += n;
    return 0;
}

/* There is room: out_head() has seen to it. */
static void out_bytes(struct conn *c, const char *text, size_t n)
{
    memcpy(c->out + c->out_len, text, n);
    c->out_len += n;
}

int out_text(struct conn *c, const char *text)
{
    int status = out_room(c, HEAD_ROOM);

    if (status == 0)
        out_bytes(c, text, strlen(text));
    return status;
}

static void out_number(struct conn *c, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    out_bytes(c, digits + at, sizeof(digits) - at);
}

/* The line is made once a second, by each connection for itself: nothing is
 * shared that two workers would have to agree upon. */
static void out_date(struct conn *c)
{
    time_t now = time(NULL);

    if (now != c->date_of || c->date_len == 0) {
        struct tm tm;

        gmtime_r(&now, &tm);
        c->date_len = strftime(c->date, sizeof(c->date),
                               "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        c->date_of = now;
    }
    out_bytes(c, c->date, c->date_len);
}

#define OUT_LITERAL(c, text) out_bytes(c, text, sizeof(text) - 1)

static void out_status(struct conn *c, int status)
{
    if (status == 200) {
        OUT_LITERAL(c, "HTTP/1.1 200 OK\r\n");
        return;
    }
    OUT_LITERAL(c, "HTTP/1.1 ");
    out_number(c, (uint64_t)status);
    OUT_LITERAL(c, " ");
    out_bytes(c, out_reason(status), strlen(out_reason(status)));
    OUT_LITERAL(c, "\r\n");
}

int out_head(struct conn *c, int status, const char *type, uint64_t length,
             const char *extra)
{
    int broken = out_room(c, HEAD_ROOM);

    if (broken != 0)
        return broken;
    out_status(c, status);
    out_date(c);
    OUT_LITERAL(c, "Content-Type: ");
    out_bytes(c, type, strlen(type));
    OUT_LITERAL(c, "\r\nContent-Length: ");
    out_number(c, length);
    OUT_LITERAL(c, "\r\n");
    /* HTTP/1.1 goes on and HTTP/1.0 ends, unless it is said. */
    if (c->close)
        OUT_LITERAL(c, "Connection: close\r\n");
    else if (c->parser.http_minor == 0)
        OUT_LITERAL(c, "Connection: keep-alive\r\n");
    out_bytes(c, extra, strlen(extra));
    OUT_LITERAL(c, "\r\n");
    return 0;
}

const char *out_reason(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 417:
        return "Expectation Failed";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Internal Server Error";
    }
}
