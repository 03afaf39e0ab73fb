/*
 * The readers: from a path to the bytes of the file, a chunk at a time.
 */
#include "pipeline.h"

#include <fcntl.h>
#include <stdlib.h>

#include "sys.h"

/* A file while it is read. */
struct reading {
    struct run *run;
    struct item *item;
    int fd;
    struct stat before;
    off_t offset;
    bool ended;
    const char *failed;
    int err;
};

/*
 * The next chunk. Its room is for what is left and one byte more: a read that
 * comes back without this byte has seen the end, so that a small file costs
 * one call. (Whether the file grew at this moment, fstat() tells later.)
 */
static struct chunk *reading_chunk(struct reading *reading)
{
    off_t left = reading->before.st_size - reading->offset;
    size_t room = CHUNK_SIZE;
    struct chunk *chunk;

    /* /proc and its like say 0 and have more. */
    if (left >= 0 && left < CHUNK_SIZE && reading->before.st_size > 0)
        room = (size_t)left + 1;
    else if (reading->before.st_size == 0)
        room = 4096;
    chunk = chunk_new(room);
    if (chunk == NULL) {
        run_no_memory(reading->run);
        reading->failed = "cannot read";
        return NULL;
    }
    while (chunk->len < room) {
        ssize_t n = port_pread(reading->fd, chunk->data + chunk->len,
                               room - chunk->len, reading->offset);

        if (n < 0) {
            reading->failed = "cannot read";
            reading->err = (int)-n;
            free(chunk);
            return NULL;
        }
        chunk->len += (size_t)n;
        reading->offset += n;
        if (n == 0 ||
            (reading->offset == reading->before.st_size && chunk->len < room)) {
            reading->ended = true;
            break;
        }
    }
    atomic_fetch_add_explicit(&reading->run->bytes, chunk->len,
                              memory_order_relaxed);
    return chunk;
}

/* The last thing before the item, or its end, is handed on. */
static void reading_finish(struct reading *reading)
{
    const struct stat *before = &reading->before;
    struct item *item = reading->item;
    struct stat after;

    item->bytes = (uint64_t)reading->offset;
    item->failed = reading->failed;
    item->err = reading->err;
    if (reading->failed != NULL)
        return;
    if (sys_fstat(reading->fd, &after) != 0)
        after = *before;
    /* A file of /proc has size 0 and bytes all the same. */
    item->changed = after.st_size != before->st_size ||
                    after.st_mtim.tv_sec != before->st_mtim.tv_sec ||
                    after.st_mtim.tv_nsec != before->st_mtim.tv_nsec ||
                    (after.st_size != 0 && after.st_size != reading->offset);
}

/* Feed the rest of the file to the one who works on it. */
static void reading_stream(struct reading *reading, port_queue_t *q)
{
    while (!reading->ended && reading->failed == NULL) {
        void *chunk;

        if (run_stopping(reading->run)) {
            reading->failed = "cannot read";
            break;
        }
        chunk = reading_chunk(reading);
        if (chunk != NULL && port_queue_put(q, &chunk, 1) == 0) {
            free(chunk);
            reading->failed = "cannot read";
        }
        progress_tick(reading->run);
    }
    reading_finish(reading);
    port_queue_close(q);
    port_queue_unref(q);
}

/* The file is open: read it, and pass the item on. */
static void read_opened(struct reading *reading, struct stage *stage)
{
    struct run *run = reading->run;
    struct item *item = reading->item;
    port_queue_t *q;

    item->in = reading_chunk(reading);
    if (item->in == NULL) {
        item_fail(run, item, reading->failed, reading->err);
        return;
    }
    if (reading->ended) {
        reading_finish(reading);
        item_pass(stage->out, item);
        return;
    }

    q = port_queue_create(STREAM_CAPACITY);
    if (q == NULL) {
        run_no_memory(run);
        item_free(item);
        return;
    }
    item->in_rest = port_queue_ref(q);
    if (port_queue_put(stage->out, (void *[]){ item }, 1) == 0) {
        port_queue_close(q);
        port_queue_unref(q);
        item_free(item);
        return;
    }
    reading_stream(reading, q);
}

static void read_item(struct run *run, struct item *item, struct stage *stage)
{
    struct reading reading = { .run = run, .item = item };
    int status;

    /* Not to wait on a FIFO that stands where the walker saw a file. */
    reading.fd =
        port_open(item->dir, item->name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (reading.fd < 0) {
        item_fail(run, item, "cannot open", -reading.fd);
        return;
    }
    status = sys_fstat(reading.fd, &reading.before);
    if (status != 0) {
        item_fail(run, item, "cannot read", -status);
    } else if (!S_ISREG(reading.before.st_mode)) {
        atomic_fetch_add_explicit(&run->special, 1, memory_order_relaxed);
        item_free(item);
    } else {
        read_opened(&reading, stage);
    }
    sys_close(reading.fd);
}

void read_stage(struct run *run, struct stage *stage)
{
    void *item;

    while (port_queue_get(stage->in, &item, 1) > 0) {
        if (run_stopping(run))
            item_free(item);
        else
            read_item(run, item, stage);
    }
}
