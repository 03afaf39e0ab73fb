#include "bench/load/options.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
    "usage: weft-load --port N [options]\n"
    "\n"
    "Sends requests to an echo server and compares each byte of each answer.\n"
    "Prints one line of JSON; leaves with 0 if all was answered, else with 1.\n"
    "\n"
    "  --port N          of the server\n"
    "  --host ADDRESS    IPv4, in numbers (127.0.0.1)\n"
    "  --mode MODE       echo: so many requests in all (the default)\n"
    "                    hold: so many requests on each connection\n"
    "                    connect: connect, one request, close, so many times\n"
    "  --connections N   open at a time (64)\n"
    "  --requests N      of the mode (100000)\n"
    "  --seconds T       until so much time is over, instead\n"
    "  --warm N          requests on each connection before it counts (1)\n"
    "  --size N          bytes of a request (64)\n"
    "  --threads N       (1)\n"
    "  --burst PERCENT   ask again when so many of the connections have their\n"
    "                    answer, all at once (0: each at once)\n"
    "  --sources N       addresses of 127.0.0.0/8 to come from; 0: the kernel\n"
    "                    chooses (64 for connect, else 0)\n"
    "  --timeout T       seconds without any answer until it gives up (10)\n"
    "  --server-pid N    reports the processor time of that process, too\n"
    "  --wait            says `ready` when warm and waits for a line on "
    "stdin;\n"
    "                    holds its connections until stdin ends\n";

static void options_refuse(const char *problem)
{
    fprintf(stderr, "weft-load: %s\n\n%s", problem, usage_text);
    exit(2);
}

static uint64_t options_number(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);

    if (end == text || *end != '\0' || *text == '-' || n < least || n > most) {
        fprintf(stderr, "weft-load: '%s' is no number from %llu to %llu\n",
                text, (unsigned long long)least, (unsigned long long)most);
        exit(2);
    }
    return n;
}

static uint64_t options_seconds(const char *text)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || !(seconds >= 0.001 && seconds <= 86400))
        options_refuse("a time is in seconds, from 0.001 to 86400");
    return (uint64_t)(seconds * 1e9);
}

static enum load_mode options_mode(const char *name)
{
    if (strcmp(name, "echo") == 0)
        return LOAD_ECHO;
    if (strcmp(name, "hold") == 0)
        return LOAD_HOLD;
    if (strcmp(name, "connect") != 0)
        options_refuse("--mode is echo, hold or connect");
    return LOAD_CONNECT;
}

const char *options_mode_name(enum load_mode mode)
{
    return mode == LOAD_ECHO ? "echo" : mode == LOAD_HOLD ? "hold" : "connect";
}

static void options_check(struct load_options *options)
{
    if (options->server.sin_port == 0)
        options_refuse("--port is missing");
    if (options->threads > options->connections)
        options_refuse("there are more threads than connections");
    if (options->mode == LOAD_HOLD && options->duration_ns > 0)
        options_refuse("hold counts requests, not seconds");
    if (options->mode == LOAD_CONNECT && options->burst > 0)
        options_refuse("connect knows no burst");
}

void options_parse(struct load_options *options, int argc, char **argv)
{
    enum {
        PORT = 1,
        HOST,
        MODE,
        CONNECTIONS,
        REQUESTS,
        SECONDS,
        WARM,
        SIZE,
        THREADS,
        BURST,
        SOURCES,
        TIMEOUT,
        SERVER_PID,
        WAIT,
        HELP
    };
    static const struct option longs[] = {
        { "port", required_argument, NULL, PORT },
        { "host", required_argument, NULL, HOST },
        { "mode", required_argument, NULL, MODE },
        { "connections", required_argument, NULL, CONNECTIONS },
        { "requests", required_argument, NULL, REQUESTS },
        { "seconds", required_argument, NULL, SECONDS },
        { "warm", required_argument, NULL, WARM },
        { "size", required_argument, NULL, SIZE },
        { "threads", required_argument, NULL, THREADS },
        { "burst", required_argument, NULL, BURST },
        { "sources", required_argument, NULL, SOURCES },
        { "timeout", required_argument, NULL, TIMEOUT },
        { "server-pid", required_argument, NULL, SERVER_PID },
        { "wait", no_argument, NULL, WAIT },
        { "help", no_argument, NULL, HELP },
        { NULL, 0, NULL, 0 },
    };
    bool sources_given = false;
    int option;

    *options = (struct load_options){
        .mode = LOAD_ECHO,
        .server = { .sin_family = AF_INET,
                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
        .connections = 64,
        .threads = 1,
        .requests = 100000,
        .warm = 1,
        .patience_ns = 10000000000u,
        .size = 64,
    };
    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (option) {
        case PORT:
            options->server.sin_port =
                htons((uint16_t)options_number(optarg, 1, 65535));
            break;
        case HOST:
            if (inet_pton(AF_INET, optarg, &options->server.sin_addr) != 1)
                options_refuse("--host wants an address such as 127.0.0.1");
            break;
        case MODE:
            options->mode = options_mode(optarg);
            break;
        case CONNECTIONS:
            options->connections = (unsigned)options_number(optarg, 1, 1000000);
            break;
        case REQUESTS:
            options->requests = options_number(optarg, 1, UINT64_MAX / 2);
            options->duration_ns = 0;
            break;
        case SECONDS:
            options->duration_ns = options_seconds(optarg);
            options->requests = 0;
            break;
        case WARM:
            options->warm = options_number(optarg, 0, UINT64_MAX / 2);
            break;
        case SIZE:
            options->size = options_number(optarg, 1, LOAD_MOST_SIZE);
            break;
        case THREADS:
            options->threads = (unsigned)options_number(optarg, 1, 256);
            break;
        case BURST:
            options->burst = (unsigned)options_number(optarg, 0, 100);
            break;
        case SOURCES:
            options->sources = (unsigned)options_number(optarg, 0, 256);
            sources_given = true;
            break;
        case TIMEOUT:
            options->patience_ns = options_seconds(optarg);
            break;
        case SERVER_PID:
            options->server_pid = (int)options_number(optarg, 1, 1 << 30);
            break;
        case WAIT:
            options->wait = true;
            break;
        case HELP:
            fputs(usage_text, stdout);
            exit(0);
        default:
            options_refuse("no such option");
        }
    }
    if (optind < argc)
        options_refuse("it takes options only");
    if (!sources_given && options->mode == LOAD_CONNECT)
        options->sources = 64;
    options_check(options);
}
