/*
 * weft-load: requests for an echo server, and was each of them answered?
 *
 *     weft-load --port 7000 --connections 1000 --requests 500000
 *
 * A process of its own on plain epoll, with nothing of weft in it, so that what
 * it finds does not depend on what it measures. The threads open and warm up,
 * meet, run, and meet again; what lies between the two meetings counts.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench/load/load.h"
#include "bench/load/options.h"

struct worker {
    pthread_t thread;
    struct client *client;
};

static struct load_options options;
static pthread_barrier_t warm, go, done, leave;

static void *worker_main(void *arg)
{
    struct client *client = ((struct worker *)arg)->client;

    client_warm(client);
    pthread_barrier_wait(&warm);
    pthread_barrier_wait(&go);
    client_run(client);
    pthread_barrier_wait(&done);
    client_check_held(client);
    pthread_barrier_wait(&leave);
    return NULL;
}

/* ---- clocks ---- */

/* Of another process, or of this one (0); all its threads, user and system. */
static uint64_t cpu_ns(int pid)
{
    struct timespec t;
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct stretch {
    uint64_t ns;
    uint64_t client_ns;
    uint64_t server_ns;
};

static void stretch_begin(struct stretch *stretch)
{
    stretch->client_ns = cpu_ns(0);
    if (options.server_pid > 0)
        stretch->server_ns = cpu_ns(options.server_pid);
    stretch->ns = load_now();
}

static void stretch_end(struct stretch *stretch, uint64_t end_ns)
{
    if (options.server_pid > 0)
        stretch->server_ns = cpu_ns(options.server_pid) - stretch->server_ns;
    stretch->client_ns = cpu_ns(0) - stretch->client_ns;
    stretch->ns = end_ns - stretch->ns;
}

/* ---- the result ---- */

static void counts_add(struct load_counts *into, const struct load_counts *from)
{
    into->answered += from->answered;
    into->wrong += from->wrong;
    into->refused += from->refused;
    into->errors += from->errors;
    into->unanswered += from->unanswered;
    if (from->end_ns > into->end_ns)
        into->end_ns = from->end_ns;
    if (into->why[0] == '\0')
        memcpy(into->why, from->why, sizeof(into->why));
    hist_merge(&into->latency, &from->latency);
}

/* What had to be answered; 0 if only time was given. */
static uint64_t wanted(void)
{
    return options.mode == LOAD_HOLD ? options.requests * options.connections
                                     : options.requests;
}

static void print_line(const struct load_counts *counts,
                       const struct stretch *stretch)
{
    printf("{\"mode\": \"%s\", \"connections\": %u, \"threads\": %u"
           ", \"answered\": %" PRIu64 ", \"wrong\": %" PRIu64
           ", \"refused\": %" PRIu64 ", \"errors\": %" PRIu64
           ", \"unanswered\": %" PRIu64 ", \"wall_ns\": %" PRIu64
           ", \"p50_ns\": %" PRIu64 ", \"p99_ns\": %" PRIu64
           ", \"worst_ns\": %" PRIu64 ", \"client_cpu_ns\": %" PRIu64,
           options_mode_name(options.mode), options.connections,
           options.threads, counts->answered, counts->wrong, counts->refused,
           counts->errors, counts->unanswered, stretch->ns,
           hist_share(&counts->latency, 0.50),
           hist_share(&counts->latency, 0.99), counts->latency.worst,
           stretch->client_ns);
    if (options.server_pid > 0)
        printf(", \"server_cpu_ns\": %" PRIu64, stretch->server_ns);
    printf("}\n");
    fflush(stdout);
}

static int say_failures(const struct load_counts *counts)
{
    uint64_t failures = load_failures(counts);

    if (failures > 0) {
        fprintf(stderr, "weft-load: %" PRIu64 " failed; the first: %s\n",
                failures, counts->why);
        return 1;
    }
    if (counts->answered == 0 || counts->answered < wanted()) {
        fprintf(stderr, "weft-load: only %" PRIu64 " were answered\n",
                counts->answered);
        return 1;
    }
    return 0;
}

/* ---- the run ---- */

/* As many descriptors as we may have. */
static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* A line, or with `all` the end of it. */
static void stdin_wait(bool all)
{
    int c;

    do {
        c = getchar();
    } while (c != EOF && (all || c != '\n'));
}

static int fail(const char *what, int error)
{
    fprintf(stderr, "weft-load: %s: %s\n", what, strerror(error));
    return 1;
}

static int start(struct worker *workers)
{
    pthread_barrier_t *const barriers[] = { &warm, &go, &done, &leave };

    for (unsigned i = 0; i < 4; i++)
        pthread_barrier_init(barriers[i], NULL, options.threads + 1);
    for (unsigned i = 0; i < options.threads; i++) {
        workers[i].client = client_create(&options, i);
        if (workers[i].client == NULL)
            return fail("no memory, or no descriptor", errno);
    }
    for (unsigned i = 0; i < options.threads; i++) {
        int error =
            pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
        if (error != 0)
            return fail("pthread_create", error);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct load_counts all;
    struct worker *workers;
    struct stretch stretch = { 0, 0, 0 };
    int status;

    options_parse(&options, argc, argv);
    raise_limit();
    workers = calloc(options.threads, sizeof(*workers));
    if (workers == NULL)
        return fail("no memory", ENOMEM);
    if (start(workers) != 0)
        return 1;

    pthread_barrier_wait(&warm);
    if (options.wait) {
        printf("ready\n");
        fflush(stdout);
        stdin_wait(false);
    }
    stretch_begin(&stretch);
    pthread_barrier_wait(&go);
    pthread_barrier_wait(&done);
    for (unsigned i = 0; i < options.threads; i++)
        all.end_ns = client_counts(workers[i].client)->end_ns > all.end_ns
                         ? client_counts(workers[i].client)->end_ns
                         : all.end_ns;
    stretch_end(&stretch, all.end_ns);
    pthread_barrier_wait(&leave);

    for (unsigned i = 0; i < options.threads; i++) {
        pthread_join(workers[i].thread, NULL);
        counts_add(&all, client_counts(workers[i].client));
    }
    print_line(&all, &stretch);
    status = say_failures(&all);
    if (options.wait)
        stdin_wait(true);
    for (unsigned i = 0; i < options.threads; i++)
        client_destroy(workers[i].client);
    free(workers);
    return status;
}
