/*
 * From bytes to a request
 *
 * The parser calls us with spans, which end where a piece of input ends, so
 * nothing here may depend on how the input was cut. It stops behind each
 * request (HPE_PAUSED), so that what follows counts against the limits of the
 * next one.
 */
#include "httpd.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static struct conn *conn_of(llhttp_t *parser)
{
    return parser->data;
}

/* What a callback answers to stop the parser. */
static int request_fail(struct conn *c, int status)
{
    c->request.status = status;
    return -1;
}

static int on_url(llhttp_t *parser, const char *at, size_t n)
{
    struct conn *c = conn_of(parser);
    struct request *r = &c->request;

    if (n > c->server->options->uri_size - r->url_len)
        return request_fail(c, 414);
    memcpy(c->url + r->url_len, at, n);
    r->url_len += n;
    return 0;
}

/* ---- header lines -------------------------------------------------------- */

static int on_header_field(llhttp_t *parser, const char *at, size_t n)
{
    struct request *r = &conn_of(parser)->request;

    /* One that is longer is none of those that matter. */
    if (n <= sizeof(r->name) - r->name_len)
        memcpy(r->name + r->name_len, at, n);
    else
        n = sizeof(r->name) - r->name_len;
    r->name_len += n;
    return 0;
}

static bool request_is_named(const struct request *r, const char *name,
                             size_t n)
{
    return r->name_len == n && strncasecmp(r->name, name, n) == 0;
}

static int on_header_field_complete(llhttp_t *parser)
{
    struct conn *c = conn_of(parser);
    struct request *r = &c->request;

    r->header = HEADER_OTHER;
    /* A trailer's lines count, and mean nothing. */
    if (r->phase == REQUEST_HEAD && request_is_named(r, "host", 4)) {
        if (r->host)
            return request_fail(c, 400);
        r->host = true;
        r->header = HEADER_HOST;
    } else if (r->phase == REQUEST_HEAD && request_is_named(r, "expect", 6)) {
        r->header = HEADER_EXPECT;
    }
    r->name_len = 0;
    r->value_len = 0;
    if (++r->head_lines > c->server->options->head_count)
        return request_fail(c, 431);
    return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t n)
{
    struct conn *c = conn_of(parser);
    struct request *r = &c->request;

    if (r->header == HEADER_OTHER)
        return 0;
    if (n > sizeof(r->value) - r->value_len)
        return request_fail(c, 400);
    memcpy(r->value + r->value_len, at, n);
    r->value_len += n;
    return 0;
}

/* Sets of ASCII's characters, a bit each. */
#define IN_SET(ch) ((uint64_t)1 << (ch) % 64)
#define DIGITS (IN_SET('9' + 1) - IN_SET('0'))
#define LETTERS                                   \
    ((IN_SET('Z' + 1) - IN_SET('A')) | (IN_SET('z' + 1) - IN_SET('a')))

static bool is_in(const uint64_t set[2], char ch)
{
    unsigned char c = (unsigned char)ch;

    return c < 128 && (set[c / 64] >> c % 64 & 1);
}

/* What a name, an address or a port may be made of. */
static const uint64_t of_host[2] = {
    DIGITS | IN_SET('-') | IN_SET('.') | IN_SET('%') | IN_SET('!') |
        IN_SET('$') | IN_SET('&') | IN_SET('\'') | IN_SET('(') | IN_SET(')') |
        IN_SET('*') | IN_SET('+') | IN_SET(',') | IN_SET(';') | IN_SET('=') |
        IN_SET(':'),
    LETTERS | IN_SET('_') | IN_SET('~') | IN_SET('[') | IN_SET(']'),
};

static bool request_host_is_good(const struct request *r)
{
    for (size_t i = 0; i < r->value_len; i++)
        if (!is_in(of_host, r->value[i]))
            return false;
    return true;
}

static int on_header_value_complete(llhttp_t *parser)
{
    struct conn *c = conn_of(parser);
    struct request *r = &c->request;

    while (r->value_len > 0 && (r->value[r->value_len - 1] == ' ' ||
                                r->value[r->value_len - 1] == '\t'))
        r->value_len--;
    if (r->header == HEADER_HOST && !request_host_is_good(r))
        return request_fail(c, 400);
    if (r->header == HEADER_EXPECT) {
        if (r->value_len != 12 ||
            strncasecmp(r->value, "100-continue", 12) != 0)
            return request_fail(c, 417);
        r->expect = true;
    }
    return 0;
}

/* ---- the head is complete ------------------------------------------------ */

static int on_headers_complete(llhttp_t *parser)
{
    struct conn *c = conn_of(parser);
    struct request *r = &c->request;
    bool has_body = (parser->flags & F_CHUNKED) || parser->content_length > 0;

    if (parser->http_major != 1)
        return request_fail(c, 505);
    if (parser->http_minor >= 1 && !r->host)
        return request_fail(c, 400);
    /* We speak nothing but HTTP: an Upgrade is an offer we do not take. */
    if (parser->method == HTTP_CONNECT)
        return request_fail(c, 405);
    parser->upgrade = 0;
    if (!answer_route(c))
        return request_fail(c, 400);
    /* Without a body the connection lives on: answer_request() says it. */
    if (has_body && answer_refuses(c) != NULL)
        return request_fail(c, 405);
    if (!(parser->flags & F_CHUNKED) &&
        parser->content_length > c->server->options->body_size)
        return request_fail(c, 413);
    r->expect = r->expect && has_body && parser->http_minor >= 1;
    r->phase = REQUEST_BODY;
    return 0;
}

/* ---- the body ------------------------------------------------------------ */

/* The parser has the size of the chunk to come in content_length. */
static int on_chunk_header(llhttp_t *parser)
{
    struct conn *c = conn_of(parser);

    if (parser->content_length >
        c->server->options->body_size - c->request.body_len)
        return request_fail(c, 413);
    return 0;
}

static bool body_reserve(struct conn *c, size_t more)
{
    size_t need = c->request.body_len + more;
    size_t capacity = c->body_capacity > 0 ? c->body_capacity : 4096;
    char *body;

    if (need <= c->body_capacity)
        return true;
    while (capacity < need)
        capacity *= 2;
    body = realloc(c->body, capacity);
    if (body == NULL)
        return false;
    c->body = body;
    c->body_capacity = capacity;
    return true;
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    struct conn *c = conn_of(parser);
    struct request *r = &c->request;

    if (n > c->server->options->body_size - r->body_len)
        return request_fail(c, 413);
    if (r->route == ROUTE_ECHO) {
        if (!body_reserve(c, n))
            return request_fail(c, 503);
        memcpy(c->body + r->body_len, at, n);
    }
    r->body_len += n;
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    conn_of(parser)->request.phase = REQUEST_DONE;
    return HPE_PAUSED;
}

/* ---- feeding ------------------------------------------------------------- */

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_chunk_header = on_chunk_header,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void request_init(struct conn *c)
{
    llhttp_init(&c->parser, HTTP_REQUEST, &settings);
    c->parser.data = c;
}

void request_reset(struct conn *c)
{
    memset(&c->request, 0, offsetof(struct request, name));
    /* An idle connection does not sit on a megabyte. */
    if (c->body_capacity > IN_SIZE) {
        free(c->body);
        c->body = NULL;
        c->body_capacity = 0;
    }
}

static const uint64_t of_token[2] = {
    DIGITS | IN_SET('!') | IN_SET('#') | IN_SET('$') | IN_SET('%') |
        IN_SET('&') | IN_SET('\'') | IN_SET('*') | IN_SET('+') | IN_SET('-') |
        IN_SET('.'),
    LETTERS | IN_SET('^') | IN_SET('_') | IN_SET('`') | IN_SET('|') |
        IN_SET('~'),
};

static bool is_token(char ch)
{
    return is_in(of_token, ch);
}

/*
 * A method nobody knows (501) or no HTTP at all (400)? The parser stumbled over
 * a character that may stand in a method, or over the blank behind one.
 */
static bool request_has_method(const struct conn *c, const char *begin)
{
    const char *at = llhttp_get_error_pos(&c->parser);

    if (at == NULL)
        return false;
    return is_token(*at) ||
           (*at == ' ' && is_token(at > begin ? at[-1] : c->request.last));
}

/* `begin`: what was parsed last. */
static int request_blame(const struct conn *c, llhttp_errno_t err,
                         const char *begin)
{
    const char *reason = llhttp_get_error_reason(&c->parser);

    switch (err) {
    case HPE_INVALID_METHOD:
        return request_has_method(c, begin) ? 501 : 400;
    case HPE_INVALID_CONSTANT:
        return strncmp(reason, "Invalid method for", 18) == 0 ? 501 : 400;
    case HPE_INVALID_VERSION:
        return strcmp(reason, "Invalid HTTP version") == 0 ? 505 : 400;
    case HPE_PAUSED_H2_UPGRADE:
        return 505;
    default:
        return 400;
    }
}

/*
 * The body's framing is bounded too: chunks of one byte are legal and take six,
 * endless extensions and trailers are not.
 */
static bool request_framing_is_fair(const struct conn *c)
{
    return c->request.framing <=
           c->server->options->head_size + 8 * c->request.body_len;
}

enum fed request_feed(struct conn *c)
{
    const struct options *options = c->server->options;
    struct request *r = &c->request;
    const char *at = c->in + c->in_at;
    size_t n = c->in_len - c->in_at;
    size_t body_before = r->body_len;
    bool head = r->phase == REQUEST_HEAD;
    llhttp_errno_t err;

    if (n == 0)
        return FED_MORE;
    if (head && n > options->head_size - r->head_bytes)
        n = options->head_size - r->head_bytes;
    err = llhttp_execute(&c->parser, at, n);
    if (err == HPE_PAUSED) {
        n = (size_t)(llhttp_get_error_pos(&c->parser) - at);
        llhttp_resume(&c->parser);
    } else if (err != HPE_OK) {
        if (r->status == 0)
            r->status = request_blame(c, err, at);
        return FED_BAD;
    }
    c->in_at += n;
    if (r->phase == REQUEST_DONE)
        return FED_REQUEST;
    r->last = at[n - 1];
    if (head)
        r->head_bytes += n;
    else
        r->framing += n - (r->body_len - body_before);
    if (r->phase == REQUEST_HEAD ? r->head_bytes == options->head_size
                                 : !request_framing_is_fair(c)) {
        r->status = 431;
        return FED_BAD;
    }
    /* A head that ended within its limit, and more behind it. */
    return c->in_at == c->in_len ? FED_MORE : request_feed(c);
}
