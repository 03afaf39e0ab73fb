/*
 * The server on fibers: one a connection, and weft_serve() to look after them.
 */
#include "httpd.h"

#include <errno.h>
#include <signal.h>

#include <weft/weft.h>

const char port_program[] = "httpd-weft";

static weft_mutex_t lock = WEFT_MUTEX_INIT;

void port_lock(void)
{
    weft_mutex_lock(&lock);
}

void port_unlock(void)
{
    weft_mutex_unlock(&lock);
}

/* ---- waiting ------------------------------------------------------------- */

ssize_t port_read(struct conn *c, void *buf, size_t n, int64_t deadline)
{
    return weft_read_until(c->fd, buf, n, deadline);
}

ssize_t port_writev(struct conn *c, struct iovec *iov, int count,
                    int64_t deadline)
{
    if (count == 1)
        return weft_write_until(c->fd, iov->iov_base, iov->iov_len, deadline);
    return weft_writev_until(c->fd, iov, count, deadline);
}

struct open_job {
    const struct server *server;
    const char *path;
    struct stat *st;
    int fd;
};

static void *open_run(void *arg)
{
    struct open_job *job = arg;

    job->fd = file_open(job->server, job->path, job->st, false);
    return NULL;
}

/* What is in the kernel's cache is opened here, in a way that never waits;
 * only what is not takes a thread that may wait for the disk. */
int port_open(const struct server *server, const char *path, struct stat *st)
{
    struct open_job job = { server, path, st, -EAGAIN };
    int fd = file_open(server, path, st, true);
    int status;

    if (fd != -EAGAIN)
        return fd;
    status = weft_blocking(open_run, &job, NULL);
    return status != 0 ? status : job.fd;
}

ssize_t port_read_file(int fd, void *buf, size_t n)
{
    return weft_read(fd, buf, n);
}

void port_close(int fd)
{
    weft_close(fd);
}

int port_checkpoint(const struct server *server)
{
    (void)server;
    return weft_checkpoint();
}

/* ---- serving ------------------------------------------------------------- */

static void serve(int fd, void *server)
{
    conn_run(server, fd);
}

static void signal_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

/* To close the listener is what ends weft_serve(), and who comes then is told
 * at once that nobody listens. */
static void *stop_at_signal(void *arg)
{
    struct server *server = arg;
    sigset_t set;
    int signal;

    /* Blocked by port_run(), so that one that comes early is not missed. */
    signal_set(&set);
    signal = weft_signal_wait(&set, NULL);
    if (signal == -ECANCELED)
        return NULL;
    server_stop(server);
    weft_close(server->listen_fd);
    /* A second signal kills. No one comes if the last connection is gone first. */
    if (signal > 0)
        signal = weft_signal_wait(&set, NULL);
    if (signal > 0) {
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        raise(signal);
    }
    return NULL;
}

int port_serve(struct server *server)
{
    weft_serve_t opt = WEFT_SERVE_INIT;
    weft_serve_stats_t stats = { 0 };
    weft_fiber_t stopper;
    int status;

    opt.max_connections = (unsigned)server->options->connections;
    opt.grace = server->options->grace;
    opt.stats = &stats;
    status = weft_spawn(&stopper, stop_at_signal, server);
    if (status == 0) {
        status = weft_serve(server->listen_fd, serve, server, &opt);
        weft_cancel(stopper);
        weft_join(stopper, NULL);
    }
    server->cut = stats.late;
    if (status == -EBADF)
        return 0;
    weft_close(server->listen_fd);
    return status;
}

int port_listen(const struct options *options)
{
    weft_listen_t opt = WEFT_LISTEN_INIT;
    int fd;

    opt.backlog = 4096;
    fd = weft_tcp_listen(options->host, options->service, &opt);
    if (fd >= 0)
        sys_no_delay(fd);
    return fd;
}

int port_run(const struct options *options, int (*entry)(void *), void *arg)
{
    weft_config_t config = WEFT_CONFIG_INIT;
    sigset_t set;
    int result = 0;
    int status;

    signal_set(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    config.workers = options->workers;
    status = weft_run(&config, entry, arg, &result);
    return status < 0 ? status : result;
}
