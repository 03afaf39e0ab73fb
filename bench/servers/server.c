#include "bench/servers/server.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* The same as a fiber's default, guard page included. */
#define SERVER_STACK ((size_t)64 * 1024)

atomic_ullong server_requests, server_connections, server_calls;

static const char *server_name;

_Noreturn void server_die(const char *what, int error)
{
    fprintf(stderr, "%s: %s: %s\n", server_name, what, strerror(error));
    exit(1);
}

int server_thread(void *(*entry)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_t thread;
    int error;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, SERVER_STACK);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    error = pthread_create(&thread, &attr, entry, arg);
    pthread_attr_destroy(&attr);
    return error;
}

/* ---- the command line ---- */

static unsigned server_number(const char *text, unsigned long most)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (end == text || *end != '\0' || *text == '-' || n > most) {
        fprintf(stderr, "%s: '%s' is no number up to %lu\n", server_name, text,
                most);
        exit(2);
    }
    return (unsigned)n;
}

static void server_pin(unsigned cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        server_die("this CPU cannot be had", errno);
}

static void server_parse(struct server *server, int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "p:w:c:")) != -1) {
        switch (option) {
        case 'p':
            server->port = server_number(optarg, 65535);
            break;
        case 'w':
            server->workers = server_number(optarg, 1024);
            break;
        case 'c':
            server_pin(server_number(optarg, CPU_SETSIZE - 1));
            break;
        default:
            optind = argc + 1;
        }
        if (optind > argc)
            break;
    }
    if (optind != argc || server->workers == 0) {
        fprintf(stderr, "usage: %s [-p PORT] [-w WORKERS] [-c CPU]\n",
                server_name);
        exit(2);
    }
}

/* ---- the listener ---- */

/* TCP_NODELAY is inherited by what is accepted, so it costs nothing each. */
static int server_listen(unsigned port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0)
        server_die("socket", errno);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        server_die("bind", errno);
    if (listen(fd, SERVER_BACKLOG) != 0)
        server_die("listen", errno);
    return fd;
}

unsigned server_port(int fd)
{
    struct sockaddr_in address;
    socklen_t length = sizeof(address);

    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        server_die("getsockname", errno);
    return ntohs(address.sin_port);
}

/* ---- the end ---- */

static unsigned long long server_ns(struct timeval t)
{
    return (unsigned long long)t.tv_sec * 1000000000u +
           (unsigned long long)t.tv_usec * 1000u;
}

/* System calls are in it where the server counts its own. */
static void server_report(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    printf("{\"server\": \"%s\", \"requests\": %llu, \"connections\": %llu",
           server_name, atomic_load(&server_requests),
           atomic_load(&server_connections));
    if (atomic_load(&server_calls) > 0)
        printf(", \"system_calls\": %llu", atomic_load(&server_calls));
    printf(", \"user_ns\": %llu, \"system_ns\": %llu, \"cpu_ns\": %llu"
           ", \"voluntary\": %ld, \"involuntary\": %ld, \"peak_kib\": %ld}\n",
           server_ns(use.ru_utime), server_ns(use.ru_stime),
           server_ns(use.ru_utime) + server_ns(use.ru_stime), use.ru_nvcsw,
           use.ru_nivcsw, use.ru_maxrss);
    fflush(stdout);
}

static void server_raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int server_main(int argc, char **argv, const char *name,
                enum server_listen listen, server_fn serve)
{
    struct server server = { .port = 0, .workers = 1, .listen_fd = -1 };
    sigset_t end;
    int number, code;

    server_name = name;
    server_parse(&server, argc, argv);
    server_raise_limit();

    /* Before there are threads: they inherit it, and only we wait for it. */
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigaddset(&end, SIGINT);
    pthread_sigmask(SIG_BLOCK, &end, NULL);

    if (listen == SERVER_LISTENS) {
        server.listen_fd = server_listen(server.port);
        server.port = server_port(server.listen_fd);
    }
    code = serve(&server);
    if (code != 0)
        server_die("it does not start", -code);
    printf("listening %u\n", server.port);
    fflush(stdout);

    sigwait(&end, &number);
    server_report();
    _exit(0);
}
