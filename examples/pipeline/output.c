/*
 * The writers: one compressed file for each that was read.
 *
 * Creating and writing files may wait for the disk (the journal, too many
 * dirty pages), and unlike a read it cannot be asked to say so instead. So it
 * is blocking work; a writer takes all that waits for it, up to BATCH files,
 * and does it in one piece, which makes the price of the hop to another
 * OS thread a small part of the whole.
 */
#include "pipeline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys.h"

/* Make the output directory, if there is to be one, and forget the index of
 * an earlier run: from here on there is a complete one or none. */
int output_open(struct run *run)
{
    const char *out = run->options->out;
    const char *what = "cannot create";
    struct stat st;

    if (out == NULL)
        return 0;
    if (mkdir(out, 0777) != 0 && errno != EEXIST)
        goto fail;
    what = "cannot open";
    run->out_fd = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run->out_fd < 0 || fstat(run->out_fd, &st) != 0)
        goto fail;
    run->out_dev = st.st_dev;
    run->out_ino = st.st_ino;
    run->out_path = realpath(out, NULL);
    if (run->out_path == NULL)
        goto fail;
    what = "cannot clear the old index in";
    if (unlinkat(run->out_fd, INDEX_NAME, 0) != 0 && errno != ENOENT)
        goto fail;
    return 0;

fail:
    fprintf(stderr, "%s: %s %s: %s\n", port_program, what, out,
            strerror(errno));
    return EXIT_STOPPED;
}

void output_close(struct run *run)
{
    if (run->out_fd >= 0)
        close(run->out_fd);
    free(run->out_path);
}

/* ---- one output ---------------------------------------------------------- */

/* A file while it is written; `name` is relative to the output directory. */
struct output {
    struct run *run;
    struct item *item;
    char *name;
    int fd;
    const struct chunk *chunk; /* what to append next */
};

/* A name too long is this file's own trouble. Anything else (no space, no
 * right to write) the next file would meet too: stop. */
static void output_failed(struct output *output, int status)
{
    if (status == -ENAMETOOLONG) {
        output->item->failed = "cannot write the output";
        output->item->err = ENAMETOOLONG;
    } else {
        run_stop(output->run, "cannot write %s/%s: %s", output->run->out_path,
                 output->name, strerror(-status));
    }
}

static char *output_name(const struct item *item)
{
    size_t len = strlen(item->path + 1);
    char *name = malloc(len + 4 * item->zst + 1);

    if (name == NULL)
        return NULL;
    memcpy(name, item->path + 1, len + 1);
    for (unsigned i = 0; i < item->zst; i++) {
        memcpy(name + len, ".zst", sizeof(".zst"));
        len += 4;
    }
    return name;
}

/* The directories that lead to `name`. */
static int output_mkdirs(int dir, char *name)
{
    for (char *slash = name; (slash = strchr(slash, '/')) != NULL; slash++) {
        int status;

        *slash = '\0';
        status = sys_mkdir(dir, name);
        *slash = '/';
        if (status != 0 && status != -EEXIST)
            return status;
    }
    return 0;
}

/* Most directories exist by the time: try first, and make them if need be.
 * Never write into a file that is there: it may be a link to elsewhere. */
static void output_begin(void *arg)
{
    struct output *output = arg;
    int dir = output->run->out_fd;
    int status;

    output->fd = -1;
    output->name = output_name(output->item);
    if (output->name == NULL) {
        run_no_memory(output->run);
        return;
    }
    status = sys_create(dir, output->name, O_EXCL);
    if (status == -ENOENT) {
        status = output_mkdirs(dir, output->name);
        if (status == 0)
            status = sys_create(dir, output->name, O_EXCL);
    }
    if (status == -EEXIST) {
        status = sys_unlink(dir, output->name);
        if (status == 0)
            status = sys_create(dir, output->name, O_EXCL);
    }
    if (status < 0)
        output_failed(output, status);
    else
        output->fd = status;
}

static void output_append(void *arg)
{
    struct output *output = arg;
    int status =
        sys_write_all(output->fd, output->chunk->data, output->chunk->len);

    if (status < 0)
        output_failed(output, status);
}

/* A part of an output is not left behind. */
static void output_end(void *arg)
{
    struct output *output = arg;

    if (output->fd >= 0) {
        int status = sys_close(output->fd);

        if (status < 0)
            output_failed(output, status);
        if (output->item->failed != NULL || run_stopping(output->run))
            sys_unlink(output->run->out_fd, output->name);
    }
    free(output->name);
}

/* ---- the stage ----------------------------------------------------------- */

struct batch {
    struct run *run;
    void *items[BATCH];
    size_t count;
};

/* Write those of the batch that came in one piece. */
static void batch_write(void *arg)
{
    struct batch *batch = arg;

    for (size_t i = 0; i < batch->count; i++) {
        struct item *item = batch->items[i];
        struct output output = { .run = batch->run, .item = item };

        if (item->out == NULL || run_stopping(batch->run))
            continue;
        output.chunk = item->out;
        output_begin(&output);
        if (output.fd >= 0)
            output_append(&output);
        output_end(&output);
    }
}

/* Write a stream chunk by chunk, as it comes. */
static void stream_write(struct run *run, struct item *item)
{
    struct output output = { .run = run, .item = item, .fd = -1 };
    port_queue_t *q = item->out_rest;
    const char *failed = NULL;
    int err = 0;
    void *chunk;

    if (run->options->write) {
        struct item named = { .path = item->path, .zst = item->zst };

        /* The item is not ours before the stream has ended. */
        output.item = &named;
        port_block(output_begin, &output);
        failed = named.failed;
        err = named.err;
        output.item = item;
    }
    while (port_queue_get(q, &chunk, 1) > 0) {
        output.chunk = chunk;
        if (output.fd >= 0 && !run_stopping(run))
            port_block(output_append, &output);
        atomic_fetch_add_explicit(&run->out_bytes, output.chunk->len,
                                  memory_order_relaxed);
        free(chunk);
        progress_tick(run);
    }
    port_queue_unref(q);
    item->out_rest = NULL;
    if (item->failed == NULL) {
        item->failed = failed;
        item->err = err;
    }
    if (run->options->write)
        port_block(output_end, &output);
}

static void batch_finish(struct batch *batch, struct stage *stage)
{
    struct run *run = batch->run;
    size_t put;

    for (size_t i = 0; i < batch->count; i++) {
        struct item *item = batch->items[i];

        if (item->out_rest != NULL) {
            stream_write(run, item);
        } else {
            atomic_fetch_add_explicit(&run->out_bytes, item->out_bytes,
                                      memory_order_relaxed);
            free(item->out);
            item->out = NULL;
        }
    }
    put = port_queue_put(stage->out, batch->items, batch->count);
    while (put < batch->count)
        item_free(batch->items[put++]);
}

void output_stage(struct run *run, struct stage *stage)
{
    struct batch batch = { .run = run };

    while ((batch.count = port_queue_get(stage->in, batch.items, BATCH)) > 0) {
        if (run->options->write && !run_stopping(run))
            port_block(batch_write, &batch);
        if (!run_stopping(run)) {
            batch_finish(&batch, stage);
            continue;
        }
        for (size_t i = 0; i < batch.count; i++)
            item_free(batch.items[i]);
    }
}
