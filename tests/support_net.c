#include "tests/support_net.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct sockaddr_in net_name(int fd)
{
    struct sockaddr_in sa = { 0 };
    socklen_t len = sizeof(sa);

    must(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
    return sa;
}

int net_listen(int backlog, struct sockaddr_in *where)
{
    weft_listen_t opt = WEFT_LISTEN_INIT;
    int fd;

    opt.backlog = backlog;
    fd = weft_tcp_listen("127.0.0.1", "0", &opt);
    must(fd >= 0);
    *where = net_name(fd);
    return fd;
}

/* Bound for as long as the process lives, so that nobody else comes there. */
struct sockaddr_in net_nobody(void)
{
    struct sockaddr_in where = { .sin_family = AF_INET };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(bind(fd, (struct sockaddr *)&where, sizeof(where)) == 0);
    return net_name(fd);
}

int net_connect(const struct sockaddr_in *where)
{
    int fd = weft_socket(AF_INET, SOCK_STREAM, 0);

    must(fd >= 0);
    must_code(weft_connect(fd, (const struct sockaddr *)where,
                           sizeof(*where)),
              0);
    return fd;
}

int net_udp(struct sockaddr_in *where)
{
    int fd = weft_udp_bind("127.0.0.1", "0");

    must(fd >= 0);
    *where = net_name(fd);
    return fd;
}

static void tcp_pair(int fds[2])
{
    struct sockaddr_in where;
    int listener = net_listen(1, &where);

    fds[1] = net_connect(&where);
    fds[0] = weft_accept(listener, NULL, NULL);
    must(fds[0] >= 0);
    must_code(weft_close(listener), 0);
}

void net_pair(enum net_kind kind, int fds[2])
{
    if (kind == NET_TCP)
        tcp_pair(fds);
    else if (kind == NET_UNIX)
        must_code(weft_socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    else
        must_code(weft_pipe(fds), 0);
}

void net_close(int fds[2])
{
    must_code(weft_close(fds[0]), 0);
    must_code(weft_close(fds[1]), 0);
}

void net_reset(int fd)
{
    struct linger now = { .l_onoff = 1, .l_linger = 0 };

    must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
    must_code(weft_close(fd), 0);
}

size_t net_fill(int fd)
{
    char block[4096] = { 0 };
    size_t sum = 0;
    ssize_t n;

    while ((n = weft_write_until(fd, block, sizeof(block), WEFT_NOW)) > 0)
        sum += (size_t)n;
    must_code(n, -EAGAIN);
    return sum;
}

void net_watch(int fd)
{
    must_code(weft_fd_wait_until(fd, POLLIN, weft_after(WEFT_MS(20))),
              -ETIMEDOUT);
}

void *read_one(void *arg)
{
    struct net_reader *r = arg;

    if (r->n == 0)
        r->n = sizeof(r->got);
    r->answer = weft_read_until(r->fd, r->got, r->n,
                                r->deadline ? r->deadline : WEFT_FOREVER);
    return NULL;
}

weft_fiber_t spawn_one(void *(*entry)(void *), void *arg)
{
    weft_fiber_t f;

    must_code(weft_spawn(&f, entry, arg), 0);
    return f;
}

void *join_one(weft_fiber_t f)
{
    void *result;

    must_code(weft_join(f, &result), 0);
    return result;
}

unsigned open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    must(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 3; /* ".", "..", and its own */
}

unsigned leave_descriptors(unsigned n, int taken[], unsigned most)
{
    struct rlimit limit;
    unsigned count = 0;
    int fd;

    must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = most;
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while (count < most && (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        taken[count++] = fd;
    must(count >= n);
    while (n-- > 0)
        close(taken[--count]);
    return count;
}

int64_t cpu_time(void)
{
    struct timespec t;

    must(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
