/*
 * Fibers on descriptors beside fibers on timers
 *
 * A crowd as in case_asleep.c, of which 18,000 wait in recv, one at each end of
 * 9,000 socket pairs. The readers get their word, the sleepers their time; then
 * the descriptors are closed, and weft's table of them has to be empty.
 */
#include "bench/weft_bench/asleep.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <weft/weft.h>

enum { READERS = 18000 };

static int fds[READERS];

/* What comes is the number of the other end. */
static void *reader_fiber(void *arg)
{
    struct asleep_one *one = arg;
    uint64_t word = 0;
    ssize_t n = weft_recv(fds[one->number], &word, sizeof(word), 0);

    asleep_woken(one, n == (ssize_t)sizeof(word) && word == (one->number ^ 1));
    return NULL;
}

static int readers_wake(struct work *w, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (weft_send(fds[i], &i, sizeof(i), 0) != (ssize_t)sizeof(i))
            return work_wrong(w, "weft_send failed");
    return WORK_DONE;
}

static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Two fibers for each pair, and ten times as many asleep. */
static uint64_t readers_of(uint64_t ops)
{
    return ops / 10 < READERS ? ops / 20 * 2 : READERS;
}

static int asleep_fds_weft(struct work *w)
{
    struct asleep_others readers = { readers_of(w->ops), reader_fiber,
                                     readers_wake };
    weft_stats_t stats = { .size = sizeof(stats) };
    int status;

    raise_limit();
    for (uint64_t i = 0; i < readers.count; i += 2)
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, &fds[i]) != 0)
            return work_stopped(w, "socketpair: %s after %lu", strerror(errno),
                                (unsigned long)i);
    status = asleep_crowd(w, &readers);
    for (uint64_t i = 0; i < readers.count; i++)
        if (weft_close(fds[i]) != 0)
            return work_wrong(w, "weft_close failed");
    weft_stats(&stats);
    if (status == WORK_DONE && stats.descriptors != 0)
        return work_wrong(w, "%lu descriptors are left in the table",
                          (unsigned long)stats.descriptors);
    return status;
}

const struct bench_case case_asleep_fds = {
    .name = "asleep_fds",
    .cold = true,
    .weft = asleep_fds_weft,
};
