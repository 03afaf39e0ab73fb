/*
 * The pipeline on fibers: a fiber per runner, and channels.
 *
 * What may wait for a disk must not do so on a worker, where it would stop
 * every fiber of it. A hop to a thread of the blocking lane and back costs
 * some 10 us, though, and most input is in the page cache, where a read takes
 * less than 1. So files are opened and read on the worker in a way that never
 * waits, and only when the kernel answers that it would have to, the call is
 * made again in the lane.
 */
#include "pipeline.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <weft/weft.h>

#include "sys.h"

const char port_program[] = "pipeline-weft";

/* Calls that can fail only if this program is wrong. */
static void must(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s: %s\n", port_program, what,
                weft_strerror(status));
        abort();
    }
}

/* ---- queues: channels of pointers ---------------------------------------- */

static weft_chan_t *chan(port_queue_t *q)
{
    return (weft_chan_t *)q;
}

port_queue_t *port_queue_create(size_t capacity)
{
    weft_chan_t *ch;

    if (weft_chan_create(&ch, sizeof(void *), capacity) != 0)
        return NULL;
    return (port_queue_t *)ch;
}

port_queue_t *port_queue_ref(port_queue_t *q)
{
    return (port_queue_t *)weft_chan_ref(chan(q));
}

void port_queue_unref(port_queue_t *q)
{
    weft_chan_unref(chan(q));
}

size_t port_queue_put(port_queue_t *q, void *const *values, size_t n)
{
    size_t put = 0;

    /* The one that finds the channel closed half way says how far it came,
     * and the next one why. */
    while (put < n) {
        ssize_t sent = weft_chan_send_n(chan(q), values + put, n - put);

        if (sent == -EPIPE)
            break;
        must((int)sent, "weft_chan_send_n");
        put += (size_t)sent;
    }
    return put;
}

size_t port_queue_get(port_queue_t *q, void **values, size_t n)
{
    ssize_t got = weft_chan_recv_n(chan(q), values, n);

    if (got == -EPIPE)
        return 0;
    must((int)got, "weft_chan_recv_n");
    return (size_t)got;
}

void port_queue_close(port_queue_t *q)
{
    int status = weft_chan_close(chan(q));

    if (status != -EPIPE)
        must(status, "weft_chan_close");
}

/* ---- runners: fibers ----------------------------------------------------- */

int port_run(unsigned workers, int (*entry)(void *), void *arg)
{
    weft_config_t config = WEFT_CONFIG_INIT;
    int result = 0;
    int status;

    config.workers = workers;
    status = weft_run(&config, entry, arg, &result);
    return status < 0 ? status : result;
}

unsigned port_workers(void)
{
    return weft_workers();
}

int port_start(port_runner_t *r, const char *name, void *(*entry)(void *),
               void *arg)
{
    weft_attr_t attr = WEFT_ATTR_INIT;

    attr.name = name;
    return weft_spawn_with(r, &attr, entry, arg);
}

void port_join(port_runner_t r)
{
    must(weft_join(r, NULL), "weft_join");
}

/* ---- what may block ------------------------------------------------------ */

struct job {
    void (*run)(void *);
    void *arg;
};

static void *job_run(void *arg)
{
    struct job *job = arg;

    job->run(job->arg);
    return NULL;
}

void port_block(void (*job)(void *), void *arg)
{
    struct job j = { job, arg };

    /* If the system has no thread to give, better late than never. */
    if (weft_blocking(job_run, &j, NULL) != 0)
        job(arg);
}

struct open_job {
    int dir;
    const char *name;
    int flags;
    int fd;
};

static void open_run(void *arg)
{
    struct open_job *job = arg;

    job->fd = sys_open(job->dir, job->name, job->flags, false);
}

int port_open(int dir, const char *name, int flags)
{
    struct open_job job = { dir, name, flags, -1 };
    int fd = sys_open(dir, name, flags, true);

    if (fd != -EAGAIN)
        return fd;
    port_block(open_run, &job);
    return job.fd;
}

struct read_job {
    int fd;
    void *buf;
    size_t n;
    off_t offset;
    ssize_t got;
};

static void read_run(void *arg)
{
    struct read_job *job = arg;

    job->got = sys_pread(job->fd, job->buf, job->n, job->offset, false);
}

ssize_t port_pread(int fd, void *buf, size_t n, off_t offset)
{
    struct read_job job = { fd, buf, n, offset, 0 };
    ssize_t got = sys_pread(fd, buf, n, offset, true);

    if (got != -EAGAIN && got != -EOPNOTSUPP)
        return got;
    port_block(read_run, &job);
    return job.got;
}

/* Tells the runtime that we compute: it yields if our time is over. */
void port_checkpoint(void)
{
    must(weft_checkpoint(), "weft_checkpoint");
}

int main(int argc, char **argv)
{
    return pipeline_main(argc, argv);
}
