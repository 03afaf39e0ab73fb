#include "pipeline.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- stopping before the end --------------------------------------------- */

/* The signal that wants us to stop. relaxed wherever it is used: it orders
 * nothing, and every stage looks again soon. */
static atomic_int signal_seen;

static void signal_note(int number)
{
    atomic_store_explicit(&signal_seen, number, memory_order_relaxed);
}

static int signal_number(void)
{
    return atomic_load_explicit(&signal_seen, memory_order_relaxed);
}

/*
 * The first signal asks the stages to stop, which they notice between two
 * chunks; SA_RESETHAND lets the second one kill. Set also where a shell
 * started us with SIGINT ignored, as it does in the background: whoever sends
 * the signal means it.
 *
 * A write beyond `ulimit -f` shall fail like one to a full disk.
 */
static void signals_set(void)
{
    struct sigaction action = { .sa_handler = signal_note };

    action.sa_flags = (int)(SA_RESTART | (unsigned)SA_RESETHAND);
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    action.sa_handler = SIG_IGN;
    action.sa_flags = 0;
    sigaction(SIGXFSZ, &action, NULL);
}

bool run_stopping(struct run *run)
{
    /* relaxed: the reason is read after all runners are joined. */
    return signal_number() != 0 ||
           atomic_load_explicit(&run->stop_why, memory_order_relaxed) != NULL;
}

void run_stop(struct run *run, const char *format, ...)
{
    char *none = NULL;
    char *why;
    va_list args;

    va_start(args, format);
    if (vasprintf(&why, format, args) < 0)
        why = strdup("out of memory");
    va_end(args);
    /* With no memory even for that, the signal's flag still stops us. */
    if (why == NULL)
        signal_note(SIGTERM);
    else if (!atomic_compare_exchange_strong(&run->stop_why, &none, why))
        free(why);
}

void run_no_memory(struct run *run)
{
    run_stop(run, "out of memory");
}

/* ---- items --------------------------------------------------------------- */

/* An item for `path`, which lies in `root` (NULL: nowhere in particular). */
struct item *item_new(const struct root *root, const char *path)
{
    struct item *item = calloc(1, sizeof(*item));

    if (item == NULL)
        return NULL;
    item->path = strdup(path);
    if (item->path == NULL) {
        free(item);
        return NULL;
    }
    item->dir = AT_FDCWD;
    item->name = item->path;
    item->zst = 1;
    if (root != NULL && root->is_dir) {
        item->dir = root->fd;
        item->name += strlen(root->path);
        item->name += strspn(item->name, "/");
    }
    return item;
}

/* Throw a stream away. Its sender, who still uses the item, is waited for. */
static void stream_drain(port_queue_t *q)
{
    void *chunk;

    if (q == NULL)
        return;
    while (port_queue_get(q, &chunk, 1) > 0)
        free(chunk);
    port_queue_unref(q);
}

void item_free(struct item *item)
{
    stream_drain(item->in_rest);
    stream_drain(item->out_rest);
    free(item->in);
    free(item->out);
    free(item->path);
    free(item);
}

void item_pass(port_queue_t *q, struct item *item)
{
    void *value = item;

    if (port_queue_put(q, &value, 1) == 0)
        item_free(item);
}

void item_fail(struct run *run, struct item *item, const char *what, int err)
{
    item->failed = what;
    item->err = err;
    item_pass(run->records, item);
}

struct chunk *chunk_new(size_t capacity)
{
    struct chunk *chunk = malloc(sizeof(*chunk) + capacity);

    if (chunk != NULL) {
        chunk->len = 0;
        chunk->capacity = capacity;
    }
    return chunk;
}

/* ---- stages -------------------------------------------------------------- */

/* A runner leaves its stage; the last one closes the doors behind it. */
static void stage_leave(struct stage *stage)
{
    void *item;

    /* What the others did to the queues is ordered by the queues. */
    if (atomic_fetch_sub(&stage->live, 1) > 1)
        return;
    if (stage->in != NULL) {
        /* Empty already, unless the stage could not be started. */
        port_queue_close(stage->in);
        while (port_queue_get(stage->in, &item, 1) > 0)
            item_free(item);
    }
    if (stage->out != NULL)
        port_queue_close(stage->out);
}

static void *stage_runner(void *arg)
{
    struct stage *stage = arg;

    stage->work(stage->run, stage);
    stage_leave(stage);
    return NULL;
}

enum { STAGES = 5, QUEUES = STAGES - 1 };

/* Start all runners, the last stage first, so that no one fills a queue
 * before there is someone to empty it; and wait for them. */
static void stages_run(struct run *run, struct stage *stages)
{
    port_runner_t *runners;
    size_t total = 0;
    size_t started = 0;

    for (size_t i = 0; i < STAGES; i++)
        total += stages[i].count;
    runners = malloc(total * sizeof(*runners));
    if (runners == NULL) {
        run_no_memory(run);
        return;
    }
    for (size_t i = STAGES; i-- > 0;) {
        struct stage *stage = &stages[i];

        for (unsigned j = 0; j < stage->count; j++) {
            int status =
                port_start(&runners[started], stage->name, stage_runner, stage);

            if (status == 0) {
                started++;
            } else {
                run_stop(run, "cannot start a %s: %s", stage->name,
                         strerror(-status));
                stage_leave(stage);
            }
        }
    }
    for (size_t i = 0; i < started; i++)
        port_join(runners[i]);
    free(runners);
}

static int pipeline_run(void *arg)
{
    static const size_t capacities[QUEUES] = { PATHS_CAPACITY, LOADED_CAPACITY,
                                               PACKED_CAPACITY,
                                               RECORDS_CAPACITY };
    struct run *run = arg;
    unsigned workers = port_workers();
    /* Readers and writers: two of each, so that a large file does not hold up
     * the small ones, and more only on large machines. Where pages are in
     * memory they too keep a CPU busy; on two CPUs 1 and 2 measured alike, 3
     * and 4 slower (OS threads), and fibers have no use for more either. */
    unsigned hands = workers > 4 ? workers / 2 : 2;
    port_queue_t *queues[QUEUES];
    bool made = true;

    for (size_t i = 0; i < QUEUES; i++) {
        queues[i] = port_queue_create(capacities[i]);
        made = made && queues[i] != NULL;
    }
    struct stage stages[STAGES] = {
        { .name = "walker", .work = walk_stage, .count = 1 },
        { .name = "reader", .work = read_stage, .count = hands },
        { .name = "worker", .work = work_stage, .count = workers },
        { .name = "writer", .work = output_stage, .count = hands },
        { .name = "indexer", .work = index_stage, .count = 1 },
    };
    for (size_t i = 0; i < STAGES; i++) {
        stages[i].in = i > 0 ? queues[i - 1] : NULL;
        stages[i].out = i < QUEUES ? queues[i] : NULL;
        stages[i].run = run;
        atomic_init(&stages[i].live, stages[i].count);
    }
    run->records = queues[QUEUES - 1];
    if (made)
        stages_run(run, stages);
    else
        run_no_memory(run);
    for (size_t i = 0; i < QUEUES; i++)
        port_queue_unref(queues[i]);
    return 0;
}

/* ---- the program --------------------------------------------------------- */

/* What ended the run, in words on stderr and as the exit code. */
static int run_verdict(struct run *run)
{
    const char *why = atomic_load(&run->stop_why);

    if (run->indexed || (run->options->out == NULL && !run_stopping(run)))
        return run->errors + run->changed > 0 ? EXIT_COMPLAINTS : 0;
    if (why != NULL) {
        fprintf(stderr, "%s: stopped: %s; there is no index\n", port_program,
                why);
        return EXIT_STOPPED;
    }
    fprintf(stderr,
            "%s: interrupted (SIG%s) after %llu files; "
            "there is no index\n",
            port_program, sigabbrev_np(signal_number()),
            (unsigned long long)run->files);
    return 128 + signal_number();
}

static void run_free(struct run *run)
{
    for (size_t i = 0; i < run->item_count; i++)
        item_free(run->items[i]);
    free(run->items);
    free(atomic_load(&run->stop_why));
    EVP_MD_free(run->sha256);
    roots_close(run);
    output_close(run);
}

int pipeline_main(int argc, char **argv)
{
    struct options options;
    struct run run = { .options = &options, .out_fd = -1 };
    int code = options_parse(&options, argc, argv);
    int status;

    if (code >= 0)
        return code;
    run.started = now_ns();
    signals_set();

    /* Here and not in a runner: it loads the provider, once. */
    run.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (run.sha256 == NULL) {
        fprintf(stderr, "%s: libcrypto has no SHA-256\n", port_program);
        return EXIT_STOPPED;
    }
    code = output_open(&run);
    if (code == 0)
        code = roots_open(&run);
    if (code == 0) {
        progress_open(&run);
        status = port_run(options.workers, pipeline_run, &run);
        if (status < 0)
            run_stop(&run, "cannot start: %s", strerror(-status));
        progress_clear(&run);
        index_write(&run);
        code = run_verdict(&run);
        if (!options.quiet)
            summary_print(&run);
        if (options.summary_json != NULL && summary_json(&run, code) != 0 &&
            code == 0)
            code = EXIT_COMPLAINTS;
    }
    run_free(&run);
    return code;
}
