/*
 * The server on OS threads: one a connection.
 *
 * This is the rival that weft is measured against, written as well as we can:
 *
 *   - a stack of 64 KiB, threads detached, so that none has to be joined;
 *   - sockets that block, with their timeouts in the kernel: a request and its
 *     answer are two system calls and not four, since a timeout is set only
 *     when it changes;
 *   - connections inherit the timeouts and TCP_NODELAY from the listener, so
 *     that a new one costs nothing but accept4 and the thread.
 */
#include "httpd.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

const char port_program[] = "httpd-pthread";

#define STACK_SIZE 65536

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t count_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t fewer; /* a connection has ended */
static size_t count;
static bool stop;
static atomic_bool cutting; /* the grace period is over */

void port_lock(void)
{
    pthread_mutex_lock(&lock);
}

void port_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

/* ---- waiting ------------------------------------------------------------- */

/* False: the deadline has passed. */
static bool socket_timeout(struct conn *c, int option, int64_t *set,
                           int64_t deadline)
{
    int64_t left = deadline - c->now;

    if (left <= 0)
        return false;
    if (left != *set) {
        sys_timeout(c->fd, option, left);
        *set = left;
    }
    return true;
}

static ssize_t socket_result(ssize_t n)
{
    if (n >= 0)
        return n;
    return errno == EAGAIN ? -ETIMEDOUT : -errno;
}

ssize_t port_read(struct conn *c, void *buf, size_t n, int64_t deadline)
{
    bool wait = socket_timeout(c, SO_RCVTIMEO, &c->receive_timeout, deadline);
    ssize_t got;

    do {
        got = recv(c->fd, buf, n, wait ? 0 : MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    return socket_result(got);
}

ssize_t port_writev(struct conn *c, struct iovec *iov, int iov_count,
                    int64_t deadline)
{
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)iov_count };
    int flags = MSG_NOSIGNAL;
    ssize_t put;

    if (!socket_timeout(c, SO_SNDTIMEO, &c->send_timeout, deadline))
        flags |= MSG_DONTWAIT;
    do {
        put = iov_count == 1 ? send(c->fd, iov->iov_base, iov->iov_len, flags)
                             : sendmsg(c->fd, &msg, flags);
    } while (put < 0 && errno == EINTR);
    return socket_result(put);
}

int port_open(const struct server *server, const char *path, struct stat *st)
{
    return file_open(server, path, st, false);
}

ssize_t port_read_file(int fd, void *buf, size_t n)
{
    return sys_read(fd, buf, n);
}

void port_close(int fd)
{
    sys_close(fd);
}

/* The kernel takes the processor away by itself. */
int port_checkpoint(const struct server *server)
{
    (void)server;
    /* relaxed: it will be seen soon, and nothing else is read because of it. */
    return atomic_load_explicit(&cutting, memory_order_relaxed) ? -1 : 0;
}

/* ---- connections --------------------------------------------------------- */

struct job {
    struct server *server;
    int fd;
};

static void count_down(void)
{
    pthread_mutex_lock(&count_lock);
    count--;
    pthread_cond_broadcast(&fewer);
    pthread_mutex_unlock(&count_lock);
}

static void *thread_run(void *arg)
{
    struct job job = *(struct job *)arg;

    free(arg);
    conn_run(job.server, job.fd);
    count_down();
    return NULL;
}

static void thread_start(struct server *server, const pthread_attr_t *attr,
                         int fd)
{
    struct job *job = malloc(sizeof(*job));
    pthread_t thread;

    if (job != NULL) {
        *job = (struct job){ server, fd };
        if (pthread_create(&thread, attr, thread_run, job) == 0)
            return;
        free(job);
    }
    sys_close(fd);
    count_down();
}

/* Wait until there may be one connection more. False: we stop. */
static bool count_up(size_t most)
{
    bool go;

    pthread_mutex_lock(&count_lock);
    while (!stop && count >= most)
        pthread_cond_wait(&fewer, &count_lock);
    go = !stop;
    if (go)
        count++;
    pthread_mutex_unlock(&count_lock);
    return go;
}

static void accept_loop(struct server *server)
{
    pthread_attr_t attr;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    /* The timeout that connections inherit ends accept4() too, now and then. */
    while (count_up(server->options->connections)) {
        int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0) {
            thread_start(server, &attr, fd);
            continue;
        }
        /* No descriptors or no memory: later there may be. */
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
            errno == ENOMEM)
            usleep(10000);
        count_down();
    }
    pthread_attr_destroy(&attr);
}

/* ---- the end ------------------------------------------------------------- */

/* Wait until no connection is left; false: not by then. `deadline` 0: none. */
static bool count_is_down(int64_t deadline)
{
    struct timespec ts = { .tv_sec = deadline / NS_PER_SEC,
                           .tv_nsec = deadline % NS_PER_SEC };
    bool down;
    int late = 0;

    pthread_mutex_lock(&count_lock);
    while (count > 0 && late == 0) {
        if (deadline > 0)
            late = pthread_cond_timedwait(&fewer, &count_lock, &ts);
        else
            pthread_cond_wait(&fewer, &count_lock);
    }
    down = count == 0;
    pthread_mutex_unlock(&count_lock);
    return down;
}

static void signal_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

/* The signals have been blocked since main(), so that only this thread gets
 * them. */
static void *signal_run(void *arg)
{
    struct server *server = arg;
    sigset_t set;
    int signal;

    signal_set(&set);
    sigwait(&set, &signal);
    server_stop(server);
    pthread_mutex_lock(&count_lock);
    stop = true;
    pthread_cond_broadcast(&fewer);
    pthread_mutex_unlock(&count_lock);
    /* Ends accept4(). */
    sys_shutdown(server->listen_fd, SHUT_RDWR);
    return NULL;
}

/* Every call on these sockets fails from now on. */
static void server_cut(struct server *server)
{
    port_lock();
    atomic_store_explicit(&cutting, true, memory_order_relaxed);
    for (struct conn *c = server->conns; c != NULL; c = c->next) {
        sys_shutdown(c->fd, SHUT_RDWR);
        server->cut++;
    }
    port_unlock();
}

int port_serve(struct server *server)
{
    pthread_t thread;
    sigset_t set;
    int status = pthread_create(&thread, NULL, signal_run, server);

    if (status != 0) {
        sys_close(server->listen_fd);
        return -status;
    }
    accept_loop(server);
    pthread_join(thread, NULL);
    /* A second signal kills. */
    signal_set(&set);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    sys_close(server->listen_fd);
    if (!count_is_down(sys_now() + server->options->grace)) {
        server_cut(server);
        count_is_down(0);
    }
    return 0;
}

int port_listen(const struct options *options)
{
    return sys_listen(options->host, options->service, options->idle);
}

int port_run(const struct options *options, int (*entry)(void *), void *arg)
{
    pthread_condattr_t attr;
    sigset_t set;

    (void)options;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&fewer, &attr);
    pthread_condattr_destroy(&attr);
    signal_set(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return entry(arg);
}
