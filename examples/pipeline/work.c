/*
 * The workers: hash and compress. All of the pipeline's computing is here.
 */
#include "pipeline.h"

#include <stdlib.h>

#include <zstd.h>

/* Each worker keeps its own. They need no more than 8 KiB of stack at any
 * level (measured with libzstd 1.5.4 and libcrypto 3.0 on a painted stack),
 * so that a fiber of the default 64 KiB is enough: their tables are on the
 * heap. */
struct tools {
    struct run *run;
    EVP_MD_CTX *hash;
    ZSTD_CCtx *zstd;
};

static bool tools_open(struct tools *tools, struct run *run)
{
    tools->run = run;
    tools->hash = EVP_MD_CTX_new();
    tools->zstd = ZSTD_createCCtx();
    if (tools->hash != NULL && tools->zstd != NULL &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(
            tools->zstd, ZSTD_c_compressionLevel, run->options->level)) &&
        !ZSTD_isError(
            ZSTD_CCtx_setParameter(tools->zstd, ZSTD_c_checksumFlag, 1)))
        return true;
    run_no_memory(run);
    return false;
}

static void tools_close(struct tools *tools)
{
    EVP_MD_CTX_free(tools->hash);
    ZSTD_freeCCtx(tools->zstd);
}

/* False, and the run stops, if libcrypto fails; the only known reason is
 * that there is no memory. The same holds for libzstd below. */
static bool tools_hashed(struct tools *tools, int status)
{
    if (status != 1)
        run_stop(tools->run, "libcrypto failed to hash");
    return status == 1;
}

static bool tools_packed(struct tools *tools, size_t status)
{
    if (ZSTD_isError(status))
        run_stop(tools->run, "libzstd failed to compress: %s",
                 ZSTD_getErrorName(status));
    return !ZSTD_isError(status);
}

static bool hash_begin(struct tools *tools)
{
    return tools_hashed(
        tools, EVP_DigestInit_ex2(tools->hash, tools->run->sha256, NULL));
}

static bool hash_update(struct tools *tools, const struct chunk *chunk)
{
    return tools_hashed(tools,
                        EVP_DigestUpdate(tools->hash, chunk->data, chunk->len));
}

static bool hash_end(struct tools *tools, struct item *item)
{
    return tools_hashed(tools,
                        EVP_DigestFinal_ex(tools->hash, item->hash, NULL));
}

/* ---- a file in one piece ------------------------------------------------- */

static void work_whole(struct tools *tools, struct item *item,
                       struct stage *stage)
{
    const struct chunk *in = item->in;
    struct chunk *out = chunk_new(ZSTD_compressBound(in->len));

    if (out == NULL) {
        run_no_memory(tools->run);
        item_free(item);
        return;
    }
    item->out = out;
    out->len = ZSTD_compress2(tools->zstd, out->data, out->capacity, in->data,
                              in->len);
    if (!tools_packed(tools, out->len) || !hash_begin(tools) ||
        !hash_update(tools, in) || !hash_end(tools, item)) {
        item_free(item);
        return;
    }
    item->out_bytes = out->len;
    free(item->in);
    item->in = NULL;
    item_pass(stage->out, item);
}

/* ---- a stream ------------------------------------------------------------ */

/* Send what `*out` holds, if it is full or `all` is set, and start anew. */
static bool stream_flush(struct tools *tools, struct item *item,
                         struct chunk **out, port_queue_t *q, bool all)
{
    if (*out != NULL &&
        ((*out)->len == (*out)->capacity || (all && (*out)->len > 0))) {
        item->out_bytes += (*out)->len;
        if (port_queue_put(q, (void *[]){ *out }, 1) == 0)
            return false;
        *out = NULL;
    }
    if (*out == NULL && !all) {
        *out = chunk_new(CHUNK_SIZE);
        if (*out == NULL)
            run_no_memory(tools->run);
        return *out != NULL;
    }
    return true;
}

/* Compress one chunk; NULL ends the frame. */
static bool stream_pack(struct tools *tools, struct item *item,
                        const struct chunk *in, struct chunk **out,
                        port_queue_t *q)
{
    ZSTD_EndDirective mode = in != NULL ? ZSTD_e_continue : ZSTD_e_end;
    ZSTD_inBuffer from = { in != NULL ? in->data : NULL,
                           in != NULL ? in->len : 0, 0 };
    size_t left;

    do {
        ZSTD_outBuffer to;

        if (!stream_flush(tools, item, out, q, false))
            return false;
        to = (ZSTD_outBuffer){ (*out)->data, (*out)->capacity, (*out)->len };
        left = ZSTD_compressStream2(tools->zstd, &to, &from, mode);
        if (!tools_packed(tools, left))
            return false;
        (*out)->len = to.pos;
    } while (from.pos < from.size || (mode == ZSTD_e_end && left > 0));
    return true;
}

/* Take the chunks of a stream as they come and send on what becomes of them.
 * False: it was not completed, since the run stops or the reader failed. */
static bool stream_work(struct tools *tools, struct item *item,
                        struct chunk *first, port_queue_t *in_rest,
                        port_queue_t *q)
{
    struct chunk *out = NULL;
    void *chunk = first;
    bool well = hash_begin(tools);

    do {
        /* After a failure the chunks are still taken, until the reader
         * closes: it owns the item as long. */
        well = well && !run_stopping(tools->run) && hash_update(tools, chunk) &&
               stream_pack(tools, item, chunk, &out, q);
        free(chunk);
        port_checkpoint();
    } while (port_queue_get(in_rest, &chunk, 1) > 0);

    well = well && item->failed == NULL &&
           stream_pack(tools, item, NULL, &out, q) &&
           stream_flush(tools, item, &out, q, true) && hash_end(tools, item);
    free(out);
    return well;
}

static void work_stream(struct tools *tools, struct item *item,
                        struct stage *stage)
{
    port_queue_t *in_rest = item->in_rest;
    struct chunk *first = item->in;
    port_queue_t *q = port_queue_create(STREAM_CAPACITY);

    if (q == NULL) {
        run_no_memory(tools->run);
        item_free(item);
        return;
    }
    item->in = NULL;
    item->in_rest = NULL;
    item->out_rest = port_queue_ref(q);

    /* The writer takes the item now and leaves it alone until we close. */
    if (port_queue_put(stage->out, (void *[]){ item }, 1) == 0) {
        item->in = first;
        item->in_rest = in_rest;
        port_queue_close(q);
        port_queue_unref(q);
        item_free(item);
        return;
    }
    if (!stream_work(tools, item, first, in_rest, q)) {
        /* The next stream starts from a clean state. */
        ZSTD_CCtx_reset(tools->zstd, ZSTD_reset_session_only);
        if (item->failed == NULL)
            item->failed = "cannot compress";
    }
    port_queue_unref(in_rest);
    port_queue_close(q);
    port_queue_unref(q);
}

void work_stage(struct run *run, struct stage *stage)
{
    struct tools tools;
    bool open = tools_open(&tools, run);
    void *value;

    while (port_queue_get(stage->in, &value, 1) > 0) {
        struct item *item = value;

        if (!open || run_stopping(run))
            item_free(item);
        else if (item->in_rest == NULL)
            work_whole(&tools, item, stage);
        else
            work_stream(&tools, item, stage);
        port_checkpoint();
    }
    tools_close(&tools);
}
