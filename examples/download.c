/*
 * A downloader with bounded parallelism: fetches http://HOST:PORT/PATH for
 * each PATH, at most N at a time, and prints path, status and length in the
 * order given. The bound is a semaphore; the order comes from joining the
 * fibers in turn. Each fetch has 10 seconds.
 *
 * Usage: download N HOST PORT PATH...
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

struct fetch {
    weft_sem_t *slots;
    const char *host;
    const char *port;
    const char *path;
    int code;     /* HTTP's, or a negative one of weft's */
    size_t bytes; /* of the body */
};

/* What an answer's head says. */
struct head {
    int code;
    size_t size; /* its own: where the body begins */
    size_t body; /* the body's, or SIZE_MAX: it goes on until the end */
};

static int parse_head(struct head *head, const char *text, size_t n)
{
    static const char length[] = "\r\nContent-Length:";
    const char *end = memmem(text, n, "\r\n\r\n", 4);
    const char *at = strcasestr(text, length);

    if (!end || sscanf(text, "HTTP/1.%*1[01] %d", &head->code) != 1)
        return -1;
    head->size = (size_t)(end - text) + 4;
    head->body = SIZE_MAX;
    if (at && at < end)
        head->body = strtoull(at + sizeof(length) - 1, NULL, 10);
    return 0;
}

static int fetch_from(struct fetch *f, int fd, weft_time_t deadline)
{
    char buf[16384 + 1];
    struct head head;
    size_t have = 0;
    bool headed = false;
    ssize_t n;
    int status;
    /* 1.0: the body comes as it is, in no chunks. */
    int len = snprintf(buf, sizeof(buf), "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n",
                       f->path, f->host);

    if (len < 0 || (size_t)len >= sizeof(buf))
        return -EMSGSIZE;
    status = weft_write_full_until(fd, buf, (size_t)len, NULL, deadline);
    if (status != 0)
        return status;
    while ((n = weft_read_until(fd, buf + have, sizeof(buf) - 1 - have,
                                deadline)) > 0) {
        if (headed) {
            f->bytes += (size_t)n;
            continue;
        }
        have += (size_t)n;
        buf[have] = '\0';
        if (parse_head(&head, buf, have) == 0) {
            headed = true;
            f->code = head.code;
            f->bytes = have - head.size;
            have = 0;
        } else if (have == sizeof(buf) - 1) {
            return -EMSGSIZE;
        }
    }
    if (n < 0)
        return (int)n;
    /* The end, before all has come: the peer is gone. */
    return headed && (head.body == SIZE_MAX || f->bytes == head.body) ? 0
                                                                      : -EPIPE;
}

static void *fetch(void *arg)
{
    struct fetch *f = arg;
    weft_time_t deadline;
    int fd, status;

    if (weft_sem_acquire(f->slots, 1) != 0)
        return NULL;
    deadline = weft_after(WEFT_SEC(10));
    fd = weft_tcp_connect_until(f->host, f->port, deadline);
    status = fd;
    if (fd >= 0) {
        status = fetch_from(f, fd, deadline);
        weft_close(fd);
    }
    weft_sem_release(f->slots, 1);
    if (status < 0)
        f->code = status;
    return NULL;
}

static int fetch_all(struct fetch *fetches, weft_fiber_t *fibers, size_t n)
{
    int failed = 0;

    for (size_t i = 0; i < n; i++)
        if (weft_spawn(&fibers[i], fetch, &fetches[i]) != 0)
            fibers[i] = 0;
    for (size_t i = 0; i < n; i++) {
        struct fetch *f = &fetches[i];

        if (fibers[i] == 0 || weft_join(fibers[i], NULL) != 0)
            f->code = -ECANCELED;
        if (f->code < 0)
            printf("%s %s\n", f->path, weft_err_name(f->code));
        else
            printf("%s %d %zu\n", f->path, f->code, f->bytes);
        failed += f->code != 200;
    }
    return failed;
}

struct options {
    int argc;
    char **argv;
};

static int entry(void *arg)
{
    struct options *o = arg;
    size_t n = (size_t)o->argc - 4;
    weft_sem_t slots = WEFT_SEM_INIT((uint32_t)atoi(o->argv[1]));
    struct fetch *fetches = calloc(n, sizeof(*fetches));
    weft_fiber_t *fibers = calloc(n, sizeof(*fibers));
    int failed = -ENOMEM;

    if (fetches && fibers) {
        for (size_t i = 0; i < n; i++)
            fetches[i] = (struct fetch){ .slots = &slots,
                                         .host = o->argv[2],
                                         .port = o->argv[3],
                                         .path = o->argv[4 + i] };
        failed = fetch_all(fetches, fibers, n);
    }
    free(fetches);
    free(fibers);
    return failed;
}

int main(int argc, char **argv)
{
    struct options options = { argc, argv };
    int result = 0;
    int status;

    if (argc < 5 || atoi(argv[1]) < 1) {
        fprintf(stderr, "usage: download N HOST PORT PATH...\n");
        return 2;
    }
    status = weft_run(NULL, entry, &options, &result);
    if (status == 0)
        status = result;
    if (status < 0)
        fprintf(stderr, "download: %s\n", weft_strerror(status));
    return status == 0 ? 0 : 1;
}
