/*
 * The indexer, and the index: what sha256sum would print for all the files,
 * sorted by path, so that the order in which they were finished leaves no
 * trace.
 */
#include "pipeline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys.h"

#define INDEX_PART INDEX_NAME ".part"

static bool index_add(struct run *run, struct item *item)
{
    if (run->item_count == run->item_capacity) {
        size_t capacity = run->item_capacity > 0 ? 2 * run->item_capacity : 256;
        struct item **items = realloc(run->items, capacity * sizeof(*items));

        if (items == NULL)
            return false;
        run->items = items;
        run->item_capacity = capacity;
    }
    run->items[run->item_count++] = item;
    return true;
}

void index_stage(struct run *run, struct stage *stage)
{
    void *items[64];
    size_t n;

    while ((n = port_queue_get(stage->in, items, 64)) > 0) {
        for (size_t i = 0; i < n; i++) {
            struct item *item = items[i];

            if (!index_add(run, item)) {
                run_no_memory(run);
                item_free(item);
                continue;
            }
            if (item->failed != NULL) {
                run->errors++;
            } else {
                run->files++;
                run->changed += item->changed;
            }
        }
        atomic_fetch_add_explicit(&run->done, n, memory_order_relaxed);
        progress_tick(run);
    }
}

static int item_compare(const void *a, const void *b)
{
    return strcmp((*(struct item *const *)a)->path,
                  (*(struct item *const *)b)->path);
}

static void index_complain(const struct run *run)
{
    for (size_t i = 0; i < run->item_count; i++) {
        const struct item *item = run->items[i];

        /* What failed for no reason of its own failed since we stop. */
        if (item->failed != NULL ? item->err == 0 : !item->changed)
            continue;
        fprintf(stderr, "%s: ", port_program);
        print_path(stderr, item->path);
        if (item->failed != NULL)
            fprintf(stderr, ": %s: %s\n", item->failed, strerror(item->err));
        else
            fputs(": changed while read\n", stderr);
    }
}

/* As sha256sum does it: a path with a backslash, a newline or a carriage
 * return has them escaped, and says so with a backslash before the line. */
static void index_line(FILE *file, const struct item *item)
{
    static const char digits[] = "0123456789abcdef";
    char hex[2 * HASH_SIZE];

    for (size_t i = 0; i < HASH_SIZE; i++) {
        hex[2 * i] = digits[item->hash[i] >> 4];
        hex[2 * i + 1] = digits[item->hash[i] & 15];
    }
    if (strpbrk(item->path, "\\\n\r") == NULL) {
        fwrite(hex, 1, sizeof(hex), file);
        fprintf(file, "  %s\n", item->path);
        return;
    }
    putc('\\', file);
    fwrite(hex, 1, sizeof(hex), file);
    fputs("  ", file);
    for (const char *c = item->path; *c != '\0'; c++) {
        if (*c == '\\')
            fputs("\\\\", file);
        else if (*c == '\n')
            fputs("\\n", file);
        else if (*c == '\r')
            fputs("\\r", file);
        else
            putc(*c, file);
    }
    putc('\n', file);
}

/* Write the temporary file. Answers 0 or -errno. */
static int index_write_part(const struct run *run, int fd)
{
    FILE *file = fdopen(fd, "w");
    int status;

    if (file == NULL) {
        sys_close(fd);
        return -ENOMEM;
    }
    for (size_t i = 0; i < run->item_count; i++)
        if (run->items[i]->failed == NULL)
            index_line(file, run->items[i]);
    errno = EIO;
    status = fflush(file) != 0 || ferror(file) ? -errno : sys_fsync(fd);
    if (fclose(file) != 0 && status == 0)
        status = -errno;
    return status;
}

void index_write(struct run *run)
{
    int status;

    if (run->item_count > 0)
        qsort(run->items, run->item_count, sizeof(struct item *), item_compare);
    index_complain(run);
    if (run_stopping(run) || run->out_fd < 0)
        return;

    status = sys_create(run->out_fd, INDEX_PART, O_TRUNC);
    if (status >= 0)
        status = index_write_part(run, status);
    /* The last moment to stop: after the rename there is an index. */
    if (status == 0 && !run_stopping(run)) {
        status = sys_rename(run->out_fd, INDEX_PART, INDEX_NAME);
        run->indexed = status == 0;
    }
    if (status < 0)
        run_stop(run, "cannot write %s/" INDEX_NAME ": %s", run->out_path,
                 strerror(-status));
    /* So that the name, too, outlives a crash. Where a directory cannot be
     * flushed the index is in place all the same. */
    if (run->indexed)
        sys_fsync(run->out_fd);
    else
        sys_unlink(run->out_fd, INDEX_PART);
}
