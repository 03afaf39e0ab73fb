/*
 * The walk: from the inputs to the paths of regular files.
 *
 * A directory is listed as a whole, in one piece of blocking work: opening it
 * and reading its entries may wait for the disk, and there is nothing to
 * overlap inside one directory. Its subdirectories go on a stack, so no
 * descriptor stays open on the way down.
 */
#include "pipeline.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys.h"

/* A growing list of strings, each on the heap. */
struct names {
    char **at;
    size_t count;
    size_t capacity;
};

/* Takes `name` over. False, and nothing is taken, if there is no memory. */
static bool names_add(struct names *names, char *name)
{
    if (name == NULL)
        return false;
    if (names->count == names->capacity) {
        size_t capacity = names->capacity > 0 ? 2 * names->capacity : 16;
        char **at = realloc(names->at, capacity * sizeof(*at));

        if (at == NULL)
            return false;
        names->at = at;
        names->capacity = capacity;
    }
    names->at[names->count++] = name;
    return true;
}

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->at[i]);
    free(names->at);
    *names = (struct names){ NULL, 0, 0 };
}

static int names_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ---- roots --------------------------------------------------------------- */

/* Is `inner` the directory `outer` itself, or inside it? Both are absolute
 * and without links. */
static bool path_within(const char *inner, const char *outer)
{
    size_t n = strlen(outer);

    if (strcmp(outer, "/") == 0)
        return true;
    return strncmp(inner, outer, n) == 0 &&
           (inner[n] == '/' || inner[n] == '\0');
}

static int root_compare(const void *a, const void *b)
{
    return strcmp(((const struct root *)a)->path,
                  ((const struct root *)b)->path);
}

/* Forget each root that another one brings anyway; one that does not exist
 * stays, to be complained about. */
static void roots_fold(struct run *run)
{
    size_t kept = 0;

    qsort(run->roots, run->root_count, sizeof(*run->roots), root_compare);
    for (size_t i = 0; i < run->root_count; i++) {
        struct root *root = &run->roots[i];
        bool within = false;

        for (size_t j = 0; j < kept && root->exists && !within; j++)
            within = run->roots[j].exists &&
                     path_within(root->path, run->roots[j].path);
        if (!within) {
            run->roots[kept++] = *root;
        } else {
            if (root->fd >= 0)
                close(root->fd);
            free(root->path);
        }
    }
    run->root_count = kept;
}

/*
 * Find out what the inputs are. One that is not there, or cannot be opened,
 * is left to the walker, who reports it as it would any other file. Answers
 * 0, or the code to exit with after a message.
 */
int roots_open(struct run *run)
{
    const struct options *options = run->options;

    run->roots = calloc(options->input_count, sizeof(*run->roots));
    if (run->roots == NULL) {
        fprintf(stderr, "%s: out of memory\n", port_program);
        return EXIT_STOPPED;
    }
    for (size_t i = 0; i < options->input_count; i++) {
        struct root *root = &run->roots[run->root_count];
        char *path = realpath(options->inputs[i], NULL);
        struct stat st;

        root->fd = -1;
        root->path = path != NULL ? path : strdup(options->inputs[i]);
        if (root->path == NULL) {
            fprintf(stderr, "%s: out of memory\n", port_program);
            return EXIT_STOPPED;
        }
        run->root_count++;
        if (path == NULL || stat(path, &st) != 0)
            continue;
        root->exists = true;
        root->is_dir = S_ISDIR(st.st_mode);
        if (root->is_dir)
            root->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (run->out_path != NULL && path_within(path, run->out_path)) {
            fprintf(stderr, "%s: the input ", port_program);
            print_path(stderr, path);
            fprintf(stderr, " lies in the output directory\n");
            return EXIT_STOPPED;
        }
    }
    roots_fold(run);
    return 0;
}

void roots_close(struct run *run)
{
    for (size_t i = 0; i < run->root_count; i++) {
        if (run->roots[i].fd >= 0)
            close(run->roots[i].fd);
        free(run->roots[i].path);
    }
    free(run->roots);
}

/* ---- one directory ------------------------------------------------------- */

struct listing {
    struct run *run;
    const struct root *root;
    const char *path; /* of the directory, absolute */
    struct names files;
    struct names dirs;
    uint64_t links;
    uint64_t special;
    const char *failed; /* what could not be done */
    int err;
};

static unsigned char entry_type(int dir, const struct dirent *entry)
{
    struct stat st;

    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type;
    if (fstatat(dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return DT_UNKNOWN;
    return (unsigned char)IFTODT(st.st_mode);
}

static bool listing_add(struct listing *listing, int dir,
                        const struct dirent *entry)
{
    struct names *names;
    char *name;

    switch (entry_type(dir, entry)) {
    case DT_DIR:
        names = &listing->dirs;
        break;
    case DT_REG:
    case DT_UNKNOWN: /* gone already; the reader will say so */
        names = &listing->files;
        break;
    case DT_LNK:
        listing->links++;
        return true;
    default:
        listing->special++;
        return true;
    }
    name = strdup(entry->d_name);
    if (names_add(names, name))
        return true;
    free(name);
    return false;
}

static void listing_entries(struct listing *listing, DIR *dir)
{
    struct dirent *entry;

    while (errno = 0, (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (!listing_add(listing, dirfd(dir), entry)) {
            run_no_memory(listing->run);
            return;
        }
    }
    if (errno != 0) {
        listing->failed = "cannot list";
        listing->err = errno;
    }
}

/* The blocking job: fills `files` and `dirs`, sorted. */
static void listing_make(void *arg)
{
    struct listing *listing = arg;
    const char *name = listing->path + strlen(listing->root->path);
    struct stat st;
    DIR *dir;
    int fd;

    name += strspn(name, "/");
    fd = sys_open(listing->root->fd, *name != '\0' ? name : ".",
                  O_RDONLY | O_DIRECTORY, false);
    if (fd < 0) {
        listing->failed = "cannot open";
        listing->err = -fd;
        return;
    }
    if (listing->run->out_fd >= 0 && fstat(fd, &st) == 0 &&
        st.st_dev == listing->run->out_dev &&
        st.st_ino == listing->run->out_ino) {
        close(fd); /* where we write: as if it were empty */
        return;
    }
    dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        run_no_memory(listing->run);
        return;
    }
    listing_entries(listing, dir);
    closedir(dir);
    if (listing->files.count > 0)
        qsort(listing->files.at, listing->files.count, sizeof(char *),
              names_compare);
    if (listing->dirs.count > 0)
        qsort(listing->dirs.at, listing->dirs.count, sizeof(char *),
              names_compare);
}

/*
 * How often ".zst" goes behind `name` so that the output does not stand where
 * the outputs of a subdirectory go: once, if there is no directory of that
 * name. No other file can have the same output, since one called name.zst
 * would have to be what the directory is.
 */
static unsigned listing_suffixes(const struct listing *listing,
                                 const char *name)
{
    size_t len = strlen(name);
    char *longer;
    unsigned n = 1;

    /* Names are at most NAME_MAX, so this ends. */
    longer = malloc(len + NAME_MAX + sizeof(".zst"));
    if (longer == NULL) {
        run_no_memory(listing->run);
        return 1;
    }
    memcpy(longer, name, len + 1);
    while (len <= NAME_MAX) {
        memcpy(longer + len, ".zst", sizeof(".zst"));
        len += 4;
        if (bsearch(&longer, listing->dirs.at, listing->dirs.count,
                    sizeof(char *), names_compare) == NULL)
            break;
        n++;
    }
    free(longer);
    return n;
}

/* ---- the stage ----------------------------------------------------------- */

static char *path_join(const char *dir, const char *name)
{
    const char *between = strcmp(dir, "/") == 0 ? "" : "/";
    char *path;

    return asprintf(&path, "%s%s%s", dir, between, name) < 0 ? NULL : path;
}

/* Send the files of a listing down the line, a batch at a time. */
static void listing_send(struct listing *listing, struct stage *stage)
{
    enum { SENT = 64 };
    struct run *run = listing->run;
    void *items[SENT];
    size_t n = 0;

    for (size_t i = 0; i < listing->files.count && !run_stopping(run); i++) {
        const char *name = listing->files.at[i];
        char *path = path_join(listing->path, name);
        struct item *item = path != NULL ? item_new(listing->root, path) : NULL;

        free(path);
        if (item == NULL) {
            run_no_memory(run);
            break;
        }
        if (listing->dirs.count > 0)
            item->zst = listing_suffixes(listing, name);
        items[n++] = item;
        if (n == SENT || i + 1 == listing->files.count) {
            size_t put;

            atomic_fetch_add_explicit(&run->found, n, memory_order_relaxed);
            put = port_queue_put(stage->out, items, n);
            while (put < n)
                item_free(items[put++]);
            n = 0;
        }
    }
    /* Only if the loop was left early. */
    while (n > 0)
        item_free(items[--n]);
}

/* List one directory, send its files, and put its subdirectories on the
 * stack, the first on top. */
static void walk_dir(struct run *run, const struct root *root, const char *path,
                     struct names *stack, struct stage *stage)
{
    struct listing listing = { .run = run, .root = root, .path = path };

    port_block(listing_make, &listing);
    atomic_fetch_add_explicit(&run->links, listing.links, memory_order_relaxed);
    atomic_fetch_add_explicit(&run->special, listing.special,
                              memory_order_relaxed);
    if (listing.failed != NULL) {
        struct item *item = item_new(NULL, path);

        if (item != NULL)
            item_fail(run, item, listing.failed, listing.err);
        else
            run_no_memory(run);
    }
    /* What was listed before a failure is worth having. */
    listing_send(&listing, stage);
    for (size_t i = listing.dirs.count; i-- > 0;) {
        char *dir = path_join(path, listing.dirs.at[i]);

        if (!names_add(stack, dir)) {
            free(dir);
            run_no_memory(run);
            break;
        }
    }
    names_free(&listing.files);
    names_free(&listing.dirs);
}

static void walk_root(struct run *run, const struct root *root,
                      struct stage *stage)
{
    struct names stack = { NULL, 0, 0 };
    char *path = strdup(root->path);

    if (!names_add(&stack, path)) {
        free(path);
        run_no_memory(run);
        return;
    }
    while (stack.count > 0 && !run_stopping(run)) {
        path = stack.at[--stack.count];
        walk_dir(run, root, path, &stack, stage);
        free(path);
    }
    names_free(&stack);
}

void walk_stage(struct run *run, struct stage *stage)
{
    for (size_t i = 0; i < run->root_count && !run_stopping(run); i++) {
        const struct root *root = &run->roots[i];

        if (root->is_dir) {
            walk_root(run, root, stage);
        } else {
            /* A file; or nothing, as the reader will find. */
            struct item *item = item_new(root, root->path);

            if (item == NULL) {
                run_no_memory(run);
                return;
            }
            atomic_fetch_add_explicit(&run->found, 1, memory_order_relaxed);
            item_pass(stage->out, item);
        }
    }
    atomic_store_explicit(&run->walked, true, memory_order_relaxed);
}
