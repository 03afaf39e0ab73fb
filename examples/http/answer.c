/*
 * Who answers what
 */
#include "httpd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- the URL ------------------------------------------------------------- */

/* The path of http://host/path, which a proxy would be sent; any server has to
 * understand it. Without a path it is "/", which is put over the host's last
 * byte. */
static bool url_strip(char **at, size_t *n)
{
    size_t host;

    if (*n < 7 || strncasecmp(*at, "http://", 7) != 0)
        return false;
    for (host = 7; host < *n && !memchr("/?#", (*at)[host], 3); host++)
        continue;
    if (host == *n || (*at)[host] != '/')
        (*at)[--host] = '/';
    *at += host;
    *n -= host;
    return true;
}

static bool path_is(const struct request *r, const char *path, size_t n)
{
    return r->path_len == n && memcmp(r->path, path, n) == 0;
}

bool answer_route(struct conn *c)
{
    struct request *r = &c->request;
    char *at = c->url;
    size_t n = r->url_len;
    char *end;

    /* "OPTIONS *" is about the server as a whole; answer_refuses() has it. */
    if (n == 1 && *at == '*' && c->parser.method == HTTP_OPTIONS) {
        r->path = at;
        r->path_len = 1;
        return true;
    }
    if ((n == 0 || *at != '/') && !url_strip(&at, &n))
        return false;
    end = memchr(at, '#', n);
    if (end != NULL)
        n = (size_t)(end - at);
    end = memchr(at, '?', n);
    if (end != NULL) {
        r->query = end + 1;
        r->query_len = n - (size_t)(end + 1 - at);
        n = (size_t)(end - at);
    }
    r->path = at;
    r->path_len = n;
    if (path_is(r, "/plaintext", 10))
        r->route = ROUTE_PLAINTEXT;
    else if (path_is(r, "/cpu", 4))
        r->route = ROUTE_CPU;
    else if (path_is(r, "/echo", 5))
        r->route = ROUTE_ECHO;
    return true;
}

const char *answer_refuses(const struct conn *c)
{
    uint8_t method = c->parser.method;

    if (c->request.route == ROUTE_ECHO)
        return method == HTTP_POST ? NULL : "Allow: POST\r\n";
    return method == HTTP_GET || method == HTTP_HEAD ? NULL
                                                     : "Allow: GET, HEAD\r\n";
}

/* ---- the answers --------------------------------------------------------- */

static bool is_head(const struct conn *c)
{
    return c->parser.method == HTTP_HEAD;
}

static int answer_text(struct conn *c, int status, const char *extra,
                       const char *text, size_t n)
{
    int broken = out_head(c, status, "text/plain", n, extra);

    if (broken != 0 || is_head(c))
        return broken;
    return out_body(c, text, n);
}

int answer_status(struct conn *c, int status)
{
    const char *allow = status == 405 ? answer_refuses(c) : NULL;
    char text[64];
    int n = snprintf(text, sizeof(text), "%d %s\n", status, out_reason(status));

    return answer_text(c, status, allow != NULL ? allow : "", text, (size_t)n);
}

#define CPU_STEPS_MOST 100000000

/* n=N of the query; false: it is no number we would count to. */
static bool cpu_steps(const struct request *r, uint64_t *steps)
{
    *steps = 100000;
    if (r->query_len == 0)
        return true;
    if (r->query_len < 3 || memcmp(r->query, "n=", 2) != 0)
        return false;
    *steps = 0;
    for (size_t i = 2; i < r->query_len; i++) {
        char ch = r->query[i];

        if (ch < '0' || ch > '9')
            return false;
        *steps = 10 * *steps + (uint64_t)(ch - '0');
        if (*steps > CPU_STEPS_MOST)
            return false;
    }
    return *steps > 0;
}

/*
 * A long computation: each step of a generator (splitmix64) into a hash. Every
 * 4,096 of them, some 10 us, it asks whether others should have the processor.
 */
static int answer_cpu(struct conn *c)
{
    uint64_t hash = 0xcbf29ce484222325;
    uint64_t steps;
    char text[20];

    if (!cpu_steps(&c->request, &steps))
        return answer_status(c, 400);
    for (uint64_t i = 1; i <= steps; i++) {
        uint64_t z = i * 0x9e3779b97f4a7c15;

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        hash = (hash ^ z ^ (z >> 31)) * 0x100000001b3;
        if (i % 4096 == 0 && port_checkpoint(c->server) != 0)
            return -ECANCELED;
    }
    snprintf(text, sizeof(text), "%016llx\n", (unsigned long long)hash);
    return answer_text(c, 200, "", text, 17);
}

/* Never the client's own Content-Type: what it sent must not become a page of
 * ours in a browser. */
static int answer_echo(struct conn *c)
{
    size_t n = c->request.body_len;
    int broken = out_head(c, 200, "application/octet-stream", n, "");

    return broken != 0 || n == 0 ? broken : out_body(c, c->body, n);
}

int answer_request(struct conn *c)
{
    if (answer_refuses(c) != NULL)
        return answer_status(c, 405);
    switch (c->request.route) {
    case ROUTE_PLAINTEXT:
        return answer_text(c, 200, "", "Hello, World!", 13);
    case ROUTE_CPU:
        return answer_cpu(c);
    case ROUTE_ECHO:
        return answer_echo(c);
    case ROUTE_FILE:
        break;
    }
    return file_answer(c);
}
