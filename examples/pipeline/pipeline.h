/*
 * The pipeline
 *
 * Walk trees, read every regular file, hash and compress it, write the
 * results and an index:
 *
 *           paths          loaded           packed           records
 *     walker -----> readers -------> workers --------> writers -----> indexer
 *        |             |     in_rest         out_rest                    ^
 *        +-------------+-------------------- failures -------------------+
 *
 * One struct item travels through for each file, by pointer; whoever holds it
 * owns it. The queues are bounded: a slow stage makes those before it wait
 * (backpressure), so memory does not grow with the input.
 *
 * A file that fits one chunk travels whole. A larger one is a stream: its
 * item goes ahead with the first chunk and a queue, in_rest, through which
 * its reader keeps feeding the one worker that took the item; out_rest
 * does the same from that worker to one writer. The sender closes the queue
 * after the last chunk. This cannot lock up: what a writer holds is fed by a
 * worker, and that by a reader, neither of which does anything else meanwhile.
 *
 * A stage whose last runner leaves closes the queues on both its sides. So
 * the end of the walk travels down the line, and the loss of a whole stage
 * up it.
 */
#ifndef PIPELINE_H
#define PIPELINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include <openssl/evp.h>

#include "port.h"

enum {
    CHUNK_SIZE = 1 << 20, /* the most of a file that is in one piece */
    HASH_SIZE = 32,       /* SHA-256 */

    /* How much may wait between two stages. Most files are small; at worst
     * `loaded` and `packed` hold CHUNK_SIZE an item. */
    PATHS_CAPACITY = 1024,
    LOADED_CAPACITY = 64,
    PACKED_CAPACITY = 64,
    RECORDS_CAPACITY = 1024,
    STREAM_CAPACITY = 2,

    BATCH = 16, /* the most that a writer takes at once */

    EXIT_COMPLAINTS = 1, /* complete, but for what is listed on stderr */
    EXIT_STOPPED = 2     /* and there is no index */
};

struct options {
    char **inputs;
    size_t input_count;
    const char *out;          /* NULL: write nothing at all */
    const char *summary_json; /* or NULL */
    unsigned workers;         /* 0: as many as we may use */
    int level;
    bool write; /* the outputs; the index wants `out` only */
    bool quiet;
};

/* Some bytes of a file, or of what it was compressed to. */
struct chunk {
    size_t len;
    size_t capacity;
    unsigned char data[];
};

struct item {
    char *path;       /* absolute: what the index says */
    const char *name; /* the part of it below `dir` */
    int dir;          /* descriptor of its root, or AT_FDCWD */
    unsigned zst;     /* how many times .zst is put behind its output */

    struct chunk *in;      /* the first chunk */
    port_queue_t *in_rest; /* the others; NULL: there are none */
    struct chunk *out;     /* likewise (no first chunk in a stream) */
    port_queue_t *out_rest;

    uint64_t bytes;     /* read; what the hash is of */
    uint64_t out_bytes; /* after compression */
    unsigned char hash[HASH_SIZE];
    bool changed;       /* while it was read */
    const char *failed; /* what could not be done; NULL: nothing */
    int err;            /* and why, an errno value */
};

/* One tree to walk, or one file. */
struct root {
    char *path; /* absolute, without symbolic links, if it exists */
    bool exists;
    bool is_dir;
    int fd; /* the directory */
};

struct run {
    const struct options *options;

    /* Where outputs go: its descriptor, and its identity for the walk. */
    int out_fd;
    dev_t out_dev;
    ino_t out_ino;
    char *out_path;

    struct root *roots;
    size_t root_count;

    EVP_MD *sha256;
    port_queue_t *records;

    /* What the indexer keeps, in the order it came and then sorted: all
     * files that were indexed, and all that failed. */
    struct item **items;
    size_t item_count;
    size_t item_capacity;

    /* Why we stop before the end; NULL: we do not. */
    _Atomic(char *) stop_why;

    /* For the progress line, and the summary. Each counts by itself and
     * orders nothing: relaxed everywhere. */
    atomic_uint_fast64_t found, done, bytes, out_bytes;
    atomic_uint_fast64_t links, special;
    atomic_bool walked;
    atomic_int_fast64_t next_draw;
    bool draws;

    /* Set by the indexer at the end. */
    uint64_t files, errors, changed;
    bool indexed;
    int64_t started; /* ns, monotonic */
};

/* The stages; each runs until its input is drained. */
struct stage {
    const char *name;
    void (*work)(struct run *run, struct stage *stage);
    unsigned count; /* of runners */
    port_queue_t *in;
    port_queue_t *out;
    struct run *run;
    atomic_uint live;
};

/* options.c. Answers -1 to go on, else the code to exit with. */
int options_parse(struct options *options, int argc, char **argv);

/* pipeline.c */
int pipeline_main(int argc, char **argv);
bool run_stopping(struct run *run);
/* Stop, and say why: the first reason counts. */
void run_stop(struct run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void run_no_memory(struct run *run);
struct item *item_new(const struct root *root, const char *path);
void item_free(struct item *item);
/* Hand an item on; it is freed if there is no one left to take it. */
void item_pass(port_queue_t *q, struct item *item);
/* This file cannot be in the index: tell the indexer. */
void item_fail(struct run *run, struct item *item, const char *what, int err);
struct chunk *chunk_new(size_t capacity);

/* walk.c */
int roots_open(struct run *run);
void roots_close(struct run *run);
void walk_stage(struct run *run, struct stage *stage);

/* read.c */
void read_stage(struct run *run, struct stage *stage);

/* work.c */
void work_stage(struct run *run, struct stage *stage);

/* output.c */
int output_open(struct run *run);
void output_close(struct run *run);
void output_stage(struct run *run, struct stage *stage);

/* index.c */
void index_stage(struct run *run, struct stage *stage);
/* Write the index, complete or not at all. */
void index_write(struct run *run);
#define INDEX_NAME "INDEX.sha256"

/* progress.c */
int64_t now_ns(void);
void progress_open(struct run *run);
/* Draws the progress line if it is time; called where work gets done. */
void progress_tick(struct run *run);
void progress_clear(struct run *run);
void summary_print(struct run *run);
int summary_json(struct run *run, int exit_code);
/* `path` with what a terminal would take as a command made visible. */
void print_path(FILE *file, const char *path);

#endif
