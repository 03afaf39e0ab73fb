#include "httpd.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "usage: %s [OPTION]...\n"
    "\n"
    "An HTTP/1.1 server. It prints `listening PORT` when it does, and after\n"
    "SIGTERM or SIGINT, when all is finished, one line of JSON.\n"
    "\n"
    "  GET /plaintext   Hello, World!\n"
    "  GET /cpu?n=N     the end of N steps of computing (1 to 100000000)\n"
    "  POST /echo       the body comes back\n"
    "  GET /...         the files below ROOT\n"
    "\n"
    "  -a ADDRESS       a numeric one; default: 127.0.0.1\n"
    "  -p PORT          default: 0, any\n"
    "  -r ROOT          default: the working directory\n"
    "  -w WORKERS       OS threads; default: as many as CPUs. The twin with a\n"
    "                   thread a connection takes as many as it needs\n"
    "  -c CONNECTIONS   at once, the next ones wait to be accepted; 20000\n"
    "  --header BYTES   of a request line and its header lines; 16384\n"
    "  --headers N      header lines; 100\n"
    "  --uri BYTES      at most 8192; 4096\n"
    "  --body BYTES     of a request; 1048576\n"
    "  --idle SECONDS   in which nothing comes or goes; 15\n"
    "  --total SECONDS  from the first byte of a request to the last of its\n"
    "                   answer; 60\n"
    "  --grace SECONDS  to finish what is under way at the end; 10\n"
    "  --walk           look up files as on a kernel without openat2\n"
    "\n"
    "exit code: 0 stopped by a signal, 1 could not start, 2 bad usage\n";

enum {
    OPT_HEADER = 256,
    OPT_HEADERS,
    OPT_URI,
    OPT_BODY,
    OPT_IDLE,
    OPT_TOTAL,
    OPT_GRACE,
    OPT_WALK,
};

static const struct option long_options[] = {
    { "header", required_argument, NULL, OPT_HEADER },
    { "headers", required_argument, NULL, OPT_HEADERS },
    { "uri", required_argument, NULL, OPT_URI },
    { "body", required_argument, NULL, OPT_BODY },
    { "idle", required_argument, NULL, OPT_IDLE },
    { "total", required_argument, NULL, OPT_TOTAL },
    { "grace", required_argument, NULL, OPT_GRACE },
    { "walk", no_argument, NULL, OPT_WALK },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static bool number(const char *text, unsigned long least, unsigned long most,
                   size_t *value)
{
    char *end;

    errno = 0;
    *value = strtoul(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && *text != '-' &&
        *value >= least && *value <= most)
        return true;
    fprintf(stderr, "%s: '%s' is no number from %lu to %lu\n", port_program,
            text, least, most);
    return false;
}

static bool seconds(const char *text, int64_t *value)
{
    char *end;
    double s = strtod(text, &end);

    if (end != text && *end == '\0' && isfinite(s) && s >= 0.001 && s <= 1e6) {
        *value = (int64_t)(s * (double)NS_PER_SEC);
        return true;
    }
    fprintf(stderr, "%s: '%s' is no time of 0.001 to 1000000 s\n", port_program,
            text);
    return false;
}

/* A name might have to be looked up: the twins do not. */
static bool address(const char *text)
{
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST };
    struct addrinfo *info;

    if (getaddrinfo(text, NULL, &hints, &info) == 0) {
        freeaddrinfo(info);
        return true;
    }
    fprintf(stderr, "%s: '%s' is no numeric address\n", port_program, text);
    return false;
}

static bool option_apply(struct options *o, int c, const char *text)
{
    size_t n = 0;
    bool good = true;

    switch (c) {
    case 'a':
        good = address(text);
        o->host = text;
        break;
    case 'p':
        good = number(text, 0, 65535, &n);
        o->service = text;
        break;
    case 'r':
        o->root = text;
        break;
    case 'w':
        good = number(text, 1, 256, &n);
        o->workers = (unsigned)n;
        break;
    case 'c':
        good = number(text, 1, 1000000, &o->connections);
        break;
    case OPT_HEADER:
        good = number(text, 64, 1 << 30, &o->head_size);
        break;
    case OPT_HEADERS:
        good = number(text, 1, 1 << 30, &o->head_count);
        break;
    case OPT_URI:
        good = number(text, 1, URL_CAPACITY, &o->uri_size);
        break;
    case OPT_BODY:
        good = number(text, 0, 1 << 30, &o->body_size);
        break;
    case OPT_IDLE:
        good = seconds(text, &o->idle);
        break;
    case OPT_TOTAL:
        good = seconds(text, &o->total);
        break;
    case OPT_GRACE:
        good = seconds(text, &o->grace);
        break;
    case OPT_WALK:
        o->walk = true;
        break;
    default:
        good = false;
        break;
    }
    return good;
}

int options_parse(struct options *options, int argc, char **argv)
{
    int c;

    *options = (struct options){
        .host = "127.0.0.1",
        .service = "0",
        .root = ".",
        .connections = 20000,
        .head_size = 16384,
        .head_count = 100,
        .uri_size = 4096,
        .body_size = 1 << 20,
        .idle = 15 * NS_PER_SEC,
        .total = 60 * NS_PER_SEC,
        .grace = 10 * NS_PER_SEC,
    };
    while ((c = getopt_long(argc, argv, "a:p:r:w:c:h", long_options, NULL)) !=
           -1) {
        if (c == 'h') {
            printf(usage, port_program);
            return 0;
        }
        if (!option_apply(options, c, optarg))
            optind = argc + 1;
        if (optind > argc)
            break;
    }
    if (optind == argc)
        return -1;
    fprintf(stderr, "Try '%s --help'.\n", port_program);
    return 2;
}
