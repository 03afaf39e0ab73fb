/*
 * What the user sees: a progress line on a terminal, and the summary.
 */
#include "pipeline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024.0 * 1024.0)

int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint64_t count(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* ---- the progress line --------------------------------------------------- */

void progress_open(struct run *run)
{
    run->draws = !run->options->quiet && isatty(STDERR_FILENO);
}

/* A terminal may be stopped (^S): blocking work. */
static void progress_draw(void *arg)
{
    enum { BAR = 20 };
    struct run *run = arg;
    uint64_t found = count(&run->found);
    uint64_t done = count(&run->done);
    double bytes = (double)count(&run->bytes);
    double seconds = (double)(now_ns() - run->started) / 1e9;
    bool walked = atomic_load_explicit(&run->walked, memory_order_relaxed);
    size_t filled = found > 0 ? (size_t)(BAR * done / found) : 0;
    char bar[BAR + 1];
    char line[200];
    int n;

    if (filled > BAR)
        filled = BAR;
    memset(bar, '#', filled);
    memset(bar + filled, '.', BAR - filled);
    bar[BAR] = '\0';
    n = snprintf(line, sizeof(line),
                 "\r[%s] %" PRIu64 " of %" PRIu64 "%s files, %.1f MiB, "
                 "%.0f MB/s\033[K",
                 bar, done, found, walked ? "" : "+", bytes / MIB,
                 seconds > 0 ? bytes / seconds / 1e6 : 0.0);
    /* Only for show: it does not matter if it fails. */
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        return;
}

void progress_tick(struct run *run)
{
    int64_t now;
    int64_t due;

    if (!run->draws)
        return;
    now = now_ns();
    due = atomic_load_explicit(&run->next_draw, memory_order_relaxed);
    /* Whoever moves the time on is the one to draw; no data goes with it. */
    if (now >= due && atomic_compare_exchange_strong_explicit(
                          &run->next_draw, &due, now + 100000000,
                          memory_order_relaxed, memory_order_relaxed))
        port_block(progress_draw, run);
}

void progress_clear(struct run *run)
{
    static const char clear[] = "\r\033[K";

    if (run->draws && write(STDERR_FILENO, clear, sizeof(clear) - 1) < 0)
        run->draws = false;
}

void print_path(FILE *file, const char *path)
{
    for (const char *c = path; *c != '\0'; c++) {
        unsigned char byte = (unsigned char)*c;

        if (byte < ' ' || byte == 0x7f)
            fprintf(file, "\\%03o", byte);
        else
            putc(byte, file);
    }
}

/* ---- the summary --------------------------------------------------------- */

struct cost {
    int64_t wall_ns;
    int64_t user_ns;
    int64_t system_ns;
    long peak_kib;
};

static int64_t timeval_ns(struct timeval tv)
{
    return (int64_t)tv.tv_sec * 1000000000 + (int64_t)tv.tv_usec * 1000;
}

/* Of the whole process: all its threads, the start and the end included. */
static struct cost cost_read(const struct run *run)
{
    struct cost cost = { .wall_ns = now_ns() - run->started };
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    cost.user_ns = timeval_ns(usage.ru_utime);
    cost.system_ns = timeval_ns(usage.ru_stime);
    cost.peak_kib = usage.ru_maxrss;
    return cost;
}

void summary_print(struct run *run)
{
    struct cost cost = cost_read(run);
    double wall = (double)cost.wall_ns / 1e9;
    double in = (double)count(&run->bytes);
    double out = (double)count(&run->out_bytes);

    printf("%s: %" PRIu64 " files, %.1f MiB to %.1f MiB (%.1f %%)\n",
           port_program, run->files, in / MIB, out / MIB,
           in > 0 ? 100 * out / in : 0.0);
    printf("  %.3f s wall, %.3f s CPU (user %.3f, system %.3f), %.1f MB/s, "
           "peak %ld MiB\n",
           wall, (double)(cost.user_ns + cost.system_ns) / 1e9,
           (double)cost.user_ns / 1e9, (double)cost.system_ns / 1e9,
           wall > 0 ? in / wall / 1e6 : 0.0, cost.peak_kib / 1024);
    printf("  %" PRIu64 " not read, %" PRIu64 " changed while read; left out: "
           "%" PRIu64 " symbolic links, %" PRIu64 " special files\n",
           run->errors, run->changed, count(&run->links), count(&run->special));
    if (run->indexed)
        printf("  index: %s/" INDEX_NAME "\n", run->out_path);
    fflush(stdout);
}

int summary_json(struct run *run, int exit_code)
{
    struct cost cost = cost_read(run);
    FILE *file = fopen(run->options->summary_json, "we");
    int written;

    if (file == NULL)
        goto fail;
    written = fprintf(file,
                      "{\"program\": \"%s\", \"files\": %" PRIu64
                      ", \"bytes\": %" PRIu64 ", \"out_bytes\": %" PRIu64
                      ", \"wall_ns\": %" PRId64 ", \"cpu_ns\": %" PRId64
                      ", \"errors\": %" PRIu64 ", \"changed\": %" PRIu64
                      ", \"links\": %" PRIu64 ", \"special\": %" PRIu64
                      ", \"peak_kib\": %ld, \"exit\": %d}\n",
                      port_program, run->files, (uint64_t)count(&run->bytes),
                      (uint64_t)count(&run->out_bytes), cost.wall_ns,
                      cost.user_ns + cost.system_ns, run->errors, run->changed,
                      (uint64_t)count(&run->links),
                      (uint64_t)count(&run->special), cost.peak_kib, exit_code);
    if (fclose(file) == 0 && written > 0)
        return 0;

fail:
    fprintf(stderr, "%s: cannot write %s: %s\n", port_program,
            run->options->summary_json, strerror(errno));
    return -1;
}
