#include "netpoll/os_signal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "netpoll/os.h"
#include "sched/atomic.h"
#include "sched/fatal.h"
#include "sched/os.h"

/* Kept for the monitor, which is to ask a worker for its stack by it. */
#define SIG_OURS (SIGRTMIN + 3)

/*
 * What the handler reads. It runs on any thread, also while another changes
 * dispositions, so all of it is atomic.
 */
static weft__au32 channel; /* the end to write into, and 1; 0: none */
static weft__au32 inside;  /* handlers that may be about to write */
static weft__au32 owner;   /* the process whose channel it is */
static weft__au64 missed;
static weft__au64 child_handler; /* the host's for SIGCHLD; see child_pack() */

/* The dispositions that weft's handler stands in for. */
static struct sigaction host[WEFT__SIG_END];
static bool standing[WEFT__SIG_END];

bool weft__sig_catchable(int sig)
{
    static const int refused[] = { SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE,
                                   SIGILL,  SIGTRAP, SIGSYS,  SIGABRT };

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (sig == refused[i])
            return false;
    }
    /* Those between belong to the C library. */
    return sig > 0 && sig < WEFT__SIG_END && sig != SIG_OURS &&
           (sig < 32 || sig >= SIGRTMIN);
}

/* --- The host's handler of SIGCHLD ------------------------------------------------- */

/* Which of its two shapes it has, above the address, which leaves that bit
 * alone: so both are read at once. 0: there is none to call. */
#define CHILD_SIGINFO ((uint64_t)1 << 63)

static uint64_t child_pack(const struct sigaction *action)
{
    if (action->sa_flags & SA_SIGINFO)
        return (uint64_t)(uintptr_t)action->sa_sigaction | CHILD_SIGINFO;
    if (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN)
        return 0;
    return (uint64_t)(uintptr_t)action->sa_handler;
}

static void child_call(int sig, siginfo_t *info, void *context)
{
    /* acquire: pairs with the release in weft__sig_stand(). */
    uint64_t packed = weft__load(&child_handler, ACQUIRE);
    uintptr_t address = (uintptr_t)(packed & ~CHILD_SIGINFO);

    if (address == 0)
        return;
    if (packed & CHILD_SIGINFO)
        ((void (*)(int, siginfo_t *, void *))address)(sig, info, context);
    else
        ((void (*)(int))address)(sig);
}

/* --- The handler ---------------------------------------------------------------------- */

/* Into the channel. When it is full the number is kept aside, and an empty line
 * sent after it: should the reader have emptied the channel in between, and found
 * nothing aside, that one wakes it; if not it looks aside anyhow, afterwards. */
static void tell(int fd, int sig, const siginfo_t *info)
{
    static const siginfo_t empty;

    if (write(fd, info, sizeof(*info)) == (ssize_t)sizeof(*info) || sig >= 32)
        return;
    weft__fetch_or(&missed, (uint64_t)1 << sig, SEQ_CST); /* then the write */
    if (write(fd, &empty, sizeof(empty)) < 0)
        return; /* still full */
}

/* Takes no lock and allocates nothing. A child that shares our memory (vfork)
 * must not speak for us. */
static void handler(int sig, siginfo_t *info, void *context)
{
    int saved = errno;
    uint32_t to;

    /* seq_cst: counted, then the look at the channel; pairs with
     * weft__sig_channel_drop(). */
    weft__fetch_add(&inside, 1, SEQ_CST);
    to = weft__load(&channel, SEQ_CST);
    /* relaxed: written before the channel was. */
    if (to != 0 && (uint32_t)getpid() == weft__load(&owner, RELAXED))
        tell((int)to - 1, sig, info);
    weft__fetch_sub(&inside, 1, RELEASE);
    if (sig == SIGCHLD)
        child_call(sig, info, context);
    errno = saved;
}

void weft__sig_stand(int sig)
{
    struct sigaction ours = { .sa_sigaction = handler };
    int saved = errno;

    if (sigaction(sig, NULL, &host[sig]) != 0)
        return;
    ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    if (sig == SIGCHLD) {
        /* Which children it is told of, and whether they have to be waited
         * for, stays as the host has it. */
        ours.sa_flags |= host[sig].sa_flags & (SA_NOCLDSTOP | SA_NOCLDWAIT);
        if (!(host[sig].sa_flags & SA_SIGINFO) &&
            host[sig].sa_handler == SIG_IGN)
            ours.sa_flags |= SA_NOCLDWAIT;
        ours.sa_mask = host[sig].sa_mask;
        /* release: pairs with child_call(). */
        weft__store(&child_handler, child_pack(&host[sig]), RELEASE);
    }
    /* Before it does: a child that is forked in between puts the host's back. */
    standing[sig] = true;
    if (sigaction(sig, &ours, NULL) != 0)
        standing[sig] = false;
    errno = saved;
}

void weft__sig_restore(int sig)
{
    struct sigaction now;
    int saved = errno;

    if (standing[sig] && sigaction(sig, NULL, &now) == 0 &&
        now.sa_flags & SA_SIGINFO && now.sa_sigaction == handler)
        (void)sigaction(sig, &host[sig], NULL);
    standing[sig] = false;
    errno = saved;
}

void weft__sig_forked(void)
{
    weft__store(&channel, 0, SEQ_CST);
    for (int sig = 1; sig < WEFT__SIG_END; sig++) {
        if (standing[sig])
            weft__sig_restore(sig);
    }
}

/* --- The channel ------------------------------------------------------------------------ */

int weft__sig_channel_open(int fds[2])
{
    return weft__fd_pipe(fds);
}

void weft__sig_channel_use(const int fds[2])
{
    weft__store(&owner, (uint32_t)getpid(), RELAXED);
    /* seq_cst: pairs with the handler. */
    weft__store(&channel, (uint32_t)fds[1] + 1, SEQ_CST);
}

void weft__sig_channel_drop(void)
{
    /* seq_cst: who counts itself from here on finds no channel. */
    weft__store(&channel, 0, SEQ_CST);
    while (weft__load(&inside, SEQ_CST) != 0)
        weft__os_thread_yield();
    (void)weft__sig_missed();
}

void weft__sig_channel_close(int fds[2])
{
    weft__fd_close(fds[0]);
    weft__fd_close(fds[1]);
}

void weft__sig_poke(const int fds[2])
{
    siginfo_t nothing;
    int saved = errno;

    memset(&nothing, 0, sizeof(nothing));
    /* Full: then the reader has reason enough to wake. */
    if (write(fds[1], &nothing, sizeof(nothing)) < 0)
        WEFT__CHECK(errno == EAGAIN, "someone closed a pipe of weft's");
    errno = saved;
}

void weft__sig_wait(const int fds[2], const sigset_t *open)
{
    struct pollfd one = { .fd = fds[0], .events = POLLIN };
    int saved = errno;
    sigset_t mask;

    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    for (int sig = 1; sig < WEFT__SIG_END; sig++) {
        if (sigismember(open, sig) == 1)
            sigdelset(&mask, sig);
    }
    (void)weft__fd_poll_open(&one, 1, -1, &mask);
    errno = saved;
}

bool weft__sig_read(const int fds[2], siginfo_t *info)
{
    int saved = errno;
    ssize_t n;

    do {
        n = read(fds[0], info, sizeof(*info));
    } while (n < 0 && errno == EINTR);
    errno = saved;
    return n == (ssize_t)sizeof(*info);
}

uint64_t weft__sig_missed(void)
{
    return weft__exchange(&missed, 0, SEQ_CST); /* what was read before */
}

int weft__sig_take(const sigset_t *set, siginfo_t *info)
{
    static const struct timespec none = { 0, 0 };
    int saved = errno;
    sigset_t wanted = *set;
    int sig;

    /* A worker's own, from a write to a broken pipe, is no news to anyone. */
    sigdelset(&wanted, SIGPIPE);
    sig = sigtimedwait(&wanted, info, &none);
    errno = saved;
    return sig > 0 ? sig : 0;
}
