/*
 * Signals of the simulation: none comes from outside, and a scenario sends
 * them by weft__sig_raise(). A channel is a ring in memory.
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

enum { ROOM = 64, CHANNELS = 16 };

struct channel {
    siginfo_t ring[ROOM];
    unsigned count;
    weft__au32 bell; /* grows with each message: a futex */
    bool open;
};

/* All but the bells under the lock. A channel's number is its fds[0]. */
static weft__lock_t lock = WEFT__LOCK_INIT(WEFT__RANK_LEAF);
static struct channel channels[CHANNELS];
static struct channel *used; /* by the handler */
static bool standing[WEFT__SIG_END];
static uint64_t lost;

bool weft__sig_catchable(int sig)
{
    return sig > 0 && sig < WEFT__SIG_END && sig != SIGKILL &&
           sig != SIGSTOP && sig != SIGSEGV && sig != SIGRTMIN + 3;
}

static void push(struct channel *c, const siginfo_t *info)
{
    weft__lock_acquire(&lock);
    if (c->count < ROOM)
        c->ring[c->count++] = *info;
    else if (info->si_signo > 0 && info->si_signo < 32)
        lost |= (uint64_t)1 << info->si_signo;
    weft__fetch_add(&c->bell, 1, RELEASE);
    weft__lock_release(&lock);
    weft__os_futex_wake(&c->bell, 1);
}

bool weft__sig_raise(int sig, int value)
{
    struct channel *to;
    siginfo_t info;

    memset(&info, 0, sizeof(info));
    info.si_signo = sig;
    info.si_value.sival_int = value;
    weft__lock_acquire(&lock);
    to = standing[sig] ? used : NULL;
    weft__lock_release(&lock);
    if (to)
        push(to, &info);
    return to;
}

int weft__sig_channel_open(int fds[2])
{
    int number = 0;

    fds[1] = weft__fd_event();
    if (fds[1] < 0)
        return fds[1];
    weft__lock_acquire(&lock);
    while (channels[number].open) {
        number++;
        WEFT__CHECK(number < CHANNELS, "the scenario needs more channels");
    }
    channels[number].open = true;
    channels[number].count = 0;
    weft__lock_release(&lock);
    fds[0] = number;
    return 0;
}

void weft__sig_channel_use(const int fds[2])
{
    /* Under the lock of signal.c, whose rank is below this one's. */
    weft__lock_acquire(&lock);
    used = &channels[fds[0]];
    weft__lock_release(&lock);
}

void weft__sig_channel_drop(void)
{
    weft__lock_acquire(&lock);
    used = NULL;
    lost = 0;
    weft__lock_release(&lock);
}

void weft__sig_channel_close(int fds[2])
{
    weft__lock_acquire(&lock);
    channels[fds[0]].open = false;
    weft__lock_release(&lock);
    weft__fd_close(fds[1]);
}

void weft__sig_poke(const int fds[2])
{
    siginfo_t nothing;

    memset(&nothing, 0, sizeof(nothing));
    push(&channels[fds[0]], &nothing);
}

void weft__sig_wait(const int fds[2], const sigset_t *open)
{
    struct channel *c = &channels[fds[0]];
    /* acquire: the look comes after it; pairs with a message's release. */
    uint32_t seen = weft__load(&c->bell, ACQUIRE);
    bool empty;

    (void)open;
    weft__lock_acquire(&lock);
    empty = c->count == 0;
    weft__lock_release(&lock);
    if (empty)
        (void)weft__os_futex_wait(&c->bell, seen, -1);
}

bool weft__sig_read(const int fds[2], siginfo_t *info)
{
    struct channel *c = &channels[fds[0]];
    bool any;

    weft__lock_acquire(&lock);
    any = c->count > 0;
    if (any) {
        *info = c->ring[0];
        memmove(c->ring, c->ring + 1, --c->count * sizeof(c->ring[0]));
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
