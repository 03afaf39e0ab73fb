#include "netpoll/signal.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "netpoll/os_signal.h"
#include "sched/lock.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/worker.h"

enum { KEPT_MAX = 128 };

/* One in line. On the stack of its fiber, which does not leave before it is
 * out. */
struct waiter {
    struct waiter *next;
    struct weft__fiber *fiber;
    uint64_t gen;
    sigset_t set;
    siginfo_t info;
    bool leaves; /* its wait ended otherwise: let it out */
};

struct dispatcher {
    int fds[2];
    weft__os_thread thread;
    weft__au32 quit;
};

/* All under the lock. */
static weft__lock_t lock;
static struct dispatcher *dispatcher;
static struct waiter *first; /* in line, first come first */
static unsigned wanted[WEFT__SIG_END]; /* by how many of them */
static sigset_t let_in; /* by the dispatcher, now or when it waits next */
static siginfo_t kept[KEPT_MAX];
static unsigned kept_count;

/* --- Signals that found no one -------------------------------------------------------- */

static void kept_add(const siginfo_t *info)
{
    for (unsigned i = 0; i < kept_count; i++) {
        if (info->si_signo < 32 && kept[i].si_signo == info->si_signo)
            return;
    }
    if (kept_count < KEPT_MAX)
        kept[kept_count++] = *info;
}

/* The oldest that this set names, or 0. */
static int kept_take(const sigset_t *set, siginfo_t *info)
{
    for (unsigned i = 0; i < kept_count; i++) {
        if (sigismember(set, kept[i].si_signo) != 1)
            continue;
        *info = kept[i];
        kept_count--;
        memmove(&kept[i], &kept[i + 1], (kept_count - i) * sizeof(kept[0]));
        return info->si_signo;
    }
    return 0;
}

/* --- The line -------------------------------------------------------------------------- */

static void line_join(struct waiter *w)
{
    struct waiter **link = &first;

    while (*link)
        link = &(*link)->next;
    w->next = NULL;
    *link = w;
    for (int sig = 1; sig < WEFT__SIG_END; sig++) {
        if (sigismember(&w->set, sig) == 1 && wanted[sig]++ == 0)
            weft__sig_stand(sig);
    }
}

/* The dispatcher's, which lets nothing in now. */
static void line_leave(struct waiter **link)
{
    struct waiter *w = *link;

    *link = w->next;
    for (int sig = 1; sig < WEFT__SIG_END; sig++) {
        if (sigismember(&w->set, sig) == 1 && --wanted[sig] == 0)
            weft__sig_restore(sig);
    }
}

/* Does this set name what the dispatcher does not let in? */
static bool line_news(const sigset_t *set)
{
    for (int sig = 1; sig < WEFT__SIG_END; sig++) {
        if (sigismember(set, sig) == 1 && sigismember(&let_in, sig) != 1)
            return true;
    }
    return false;
}

/* --- The dispatcher ---------------------------------------------------------------------- */

/* The first in line that wants it and can be had, or no one. */
static void deliver(const siginfo_t *info)
{
    struct weft__fiber *woken = NULL;

    weft__lock_acquire(&lock);
    for (struct waiter **link = &first; *link; link = &(*link)->next) {
        struct waiter *w = *link;

        if (sigismember(&w->set, info->si_signo) != 1 || w->leaves)
            continue;
        w->info = *info;
        if (weft__claim(w->fiber, w->gen, WEFT__CAUSE_OK)) {
            woken = w->fiber;
            line_leave(link);
            break;
        }
    }
    if (!woken)
        kept_add(info);
    weft__lock_release(&lock);
    if (woken)
        weft__ready(woken);
}

static void let_out(void)
{
    struct weft__batch batch = { 0 };
    struct waiter **link = &first;

    weft__lock_acquire(&lock);
    while (*link) {
        struct waiter *w = *link;

        if (!w->leaves) {
            link = &w->next;
            continue;
        }
        line_leave(link);
        if (weft__claim(w->fiber, w->gen, WEFT__CAUSE_OK))
            weft__batch_add(&batch, w->fiber);
    }
    weft__lock_release(&lock);
    weft__batch_ready(&batch);
}

/* What is let in next: what those in line want. */
static void let_in_wanted(const struct dispatcher *me, sigset_t *open)
{
    weft__lock_acquire(&lock);
    sigemptyset(open);
    for (int sig = 1; sig < WEFT__SIG_END && dispatcher == me; sig++) {
        if (wanted[sig] > 0)
            sigaddset(open, sig);
    }
    if (dispatcher == me)
        let_in = *open;
    weft__lock_release(&lock);
}

static void *dispatcher_main(void *arg)
{
    struct dispatcher *me = arg;

    /* acquire: pairs with dispatcher_end(). */
    while (!weft__load(&me->quit, ACQUIRE)) {
        siginfo_t info;
        uint64_t missed;
        sigset_t open;

        let_in_wanted(me, &open);
        weft__sig_wait(me->fds, &open);
        while (weft__sig_read(me->fds, &info)) {
            if (info.si_signo != 0)
                deliver(&info);
        }
        missed = weft__sig_missed();
        for (int sig = 1; missed != 0 && sig < 32; sig++) {
            memset(&info, 0, sizeof(info));
            info.si_signo = sig;
            if (missed >> sig & 1)
                deliver(&info);
        }
        let_out();
    }
    return NULL;
}

static void dispatcher_end(struct dispatcher *d)
{
    weft__store(&d->quit, 1, RELEASE);
    weft__sig_poke(d->fds);
    weft__os_thread_join(d->thread);
    weft__sig_channel_close(d->fds);
    free(d);
}

static int dispatcher_new(struct dispatcher **made)
{
    struct dispatcher *d = calloc(1, sizeof(*d));
    int status;

    if (!d)
        return -ENOMEM;
    status = weft__sig_channel_open(d->fds);
    if (status != 0)
        goto free_dispatcher;
    status = weft__os_thread_create(&d->thread, "weft-signal",
                                    dispatcher_main, d);
    if (status != 0)
        goto close_channel;
    *made = d;
    return 0;

close_channel:
    weft__sig_channel_close(d->fds);
free_dispatcher:
    free(d);
    return status;
}

/* There is one, on return 0. Of several that are made at once one stays; the
 * others have let nothing in. */
static int dispatcher_start(void)
{
    struct dispatcher *d;
    bool there;
    int status;

    weft__lock_acquire(&lock);
    there = dispatcher;
    weft__lock_release(&lock);
    if (there)
        return 0;
    status = dispatcher_new(&d);
    if (status != 0)
        return status;
    weft__lock_acquire(&lock);
    if (!dispatcher) {
        dispatcher = d;
        weft__sig_channel_use(d->fds);
        d = NULL;
    }
    weft__lock_release(&lock);
    if (d)
        dispatcher_end(d);
    return 0;
}

void weft__signal_close(void)
{
    struct dispatcher *d;

    weft__lock_acquire(&lock);
    d = dispatcher;
    dispatcher = NULL;
    weft__lock_release(&lock);
    if (!d)
        return;
    weft__sig_channel_drop();
    dispatcher_end(d);
    /* A thread that is not weft's may be looking. */
    weft__lock_acquire(&lock);
    kept_count = 0;
    sigemptyset(&let_in);
    weft__lock_release(&lock);
}

void weft__signal_forked(void)
{
    lock = (weft__lock_t)WEFT__LOCK_INIT(WEFT__RANK_PRIMITIVE);
    dispatcher = NULL;
    first = NULL;
    kept_count = 0;
    weft__sig_forked();
}

/* --- The fibers ---------------------------------------------------------------------------- */

static int taken(const struct waiter *w, siginfo_t *info)
{
    if (info)
        *info = w->info;
    return w->info.si_signo;
}

/* What is there already: its number, or 0. */
static int take_now(struct waiter *w, bool ask_kernel)
{
    int sig;

    weft__lock_acquire(&lock);
    sig = kept_take(&w->set, &w->info);
    weft__lock_release(&lock);
    if (sig == 0 && ask_kernel)
        sig = weft__sig_take(&w->set, &w->info);
    return sig;
}

/* The wait ended for another reason: only the dispatcher may let it out. */
static int wait_left(struct waiter *w, enum weft__cause cause)
{
    struct dispatcher *d;

    weft__lock_acquire(&lock);
    w->leaves = true;
    w->gen = weft__park_open(w->fiber, WEFT__WAKE_NO_CANCEL,
                             "end of a signal wait", NULL);
    d = dispatcher;
    weft__lock_release(&lock);
    weft__sig_poke(d->fds);
    weft__outside_begin(w->fiber);
    weft__park(w->fiber);
    weft__outside_end(w->fiber);
    return weft__cause_code(cause);
}

int weft__signal_wait(struct weft__fiber *self, const sigset_t *set,
                      siginfo_t *info, int64_t deadline)
{
    struct waiter w = { .fiber = self, .set = *set };
    struct dispatcher *d;
    enum weft__cause cause;
    bool news;
    int status;

    if (take_now(&w, true) != 0)
        return taken(&w, info);
    status = weft__wait_refused(self, deadline);
    if (status == 0)
        status = dispatcher_start();
    if (status != 0)
        return status;

    weft__lock_acquire(&lock);
    if (kept_take(&w.set, &w.info) != 0) {
        weft__lock_release(&lock);
        return taken(&w, info);
    }
    w.gen = weft__park_open_until(self, 0, "signal", NULL, deadline);
    line_join(&w);
    news = line_news(&w.set);
    d = dispatcher;
    weft__lock_release(&lock);
    if (news)
        weft__sig_poke(d->fds);

    weft__outside_begin(self);
    cause = weft__park(self);
    weft__outside_end(self);
    return cause == WEFT__CAUSE_OK ? taken(&w, info) : wait_left(&w, cause);
}
