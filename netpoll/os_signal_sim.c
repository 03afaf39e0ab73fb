/*
 * Signals of the simulation: none comes from outside, and a scenario sends
 * them by weft__sig_raise(). The channel is a ring in memory.
 */
#include "netpoll/os_signal.h"

#include <errno.h>
#include <string.h>

#include "netpoll/os.h"
#include "netpoll/os_signal_sim.h"
#include "sched/atomic.h"
#include "sched/fatal.h"
#include "sched/lock.h"
#include "sched/os.h"

enum { ROOM = 64 };

static weft__lock_t lock = WEFT__LOCK_INIT(WEFT__RANK_LEAF);
static siginfo_t ring[ROOM];
static unsigned count;
static weft__au32 bell; /* grows with each message: a futex */
static bool used;
static bool standing[WEFT__SIG_END];
static uint64_t lost;

bool weft__sig_catchable(int sig)
{
    return sig > 0 && sig < WEFT__SIG_END && sig != SIGKILL &&
           sig != SIGSTOP && sig != SIGSEGV && sig != SIGRTMIN + 3;
}

static void push(const siginfo_t *info)
{
    weft__lock_acquire(&lock);
    if (count < ROOM)
        ring[count++] = *info;
    else if (info->si_signo > 0 && info->si_signo < 32)
        lost |= (uint64_t)1 << info->si_signo;
    weft__fetch_add(&bell, 1, RELEASE);
    weft__lock_release(&lock);
    weft__os_futex_wake(&bell, 1);
}

bool weft__sig_raise(int sig, int value)
{
    siginfo_t info;
    bool taken;

    memset(&info, 0, sizeof(info));
    info.si_signo = sig;
    info.si_value.sival_int = value;
    weft__lock_acquire(&lock);
    taken = standing[sig] && used;
    weft__lock_release(&lock);
    if (taken)
        push(&info);
    return taken;
}

int weft__sig_channel_open(int fds[2])
{
    fds[0] = fds[1] = weft__fd_event();
    return fds[0] < 0 ? fds[0] : 0;
}

void weft__sig_channel_use(const int fds[2])
{
    (void)fds;
    weft__lock_acquire(&lock);
    used = true;
    weft__lock_release(&lock);
}

void weft__sig_channel_drop(void)
{
    weft__lock_acquire(&lock);
    used = false;
    count = 0;
    lost = 0;
    weft__lock_release(&lock);
}

void weft__sig_channel_close(int fds[2])
{
    weft__fd_close(fds[0]);
}

void weft__sig_poke(const int fds[2])
{
    siginfo_t nothing;

    (void)fds;
    memset(&nothing, 0, sizeof(nothing));
    push(&nothing);
}

void weft__sig_wait(const int fds[2], const sigset_t *open)
{
    /* relaxed: the lock is taken for the look. */
    uint32_t seen = weft__load(&bell, RELAXED);
    bool empty;

    (void)fds, (void)open;
    weft__lock_acquire(&lock);
    empty = count == 0;
    weft__lock_release(&lock);
    if (empty)
        (void)weft__os_futex_wait(&bell, seen, -1);
}

bool weft__sig_read(const int fds[2], siginfo_t *info)
{
    bool any;

    (void)fds;
    weft__lock_acquire(&lock);
    any = count > 0;
    if (any) {
        *info = ring[0];
        memmove(ring, ring + 1, --count * sizeof(ring[0]));
    }
    weft__lock_release(&lock);
    return any;
}

uint64_t weft__sig_missed(void)
{
    uint64_t bits;

    weft__lock_acquire(&lock);
    bits = lost;
    lost = 0;
    weft__lock_release(&lock);
    return bits;
}

void weft__sig_stand(int sig)
{
    weft__lock_acquire(&lock);
    WEFT__CHECK(!standing[sig], "a handler is put there twice");
    standing[sig] = true;
    weft__lock_release(&lock);
}

void weft__sig_restore(int sig)
{
    weft__lock_acquire(&lock);
    WEFT__CHECK(standing[sig], "a handler is taken back twice");
    standing[sig] = false;
    weft__lock_release(&lock);
}

void weft__sig_forked(void)
{
}

int weft__sig_take(const sigset_t *set, siginfo_t *info)
{
    (void)set, (void)info;
    return 0;
}
