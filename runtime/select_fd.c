#include "runtime/select_fd.h"

#include <errno.h>
#include <weft/io.h>

#include "netpoll/os.h"
#include "runtime/io.h"

/* --- Asking ----------------------------------------------------------------- */

static int found_of(int revents)
{
    if (revents & POLLNVAL)
        return -EBADF;
    return revents ? 0 : -EAGAIN;
}

int weft__select_fds_ask(struct weft__select_fds *fds)
{
    if (!fds->begun) {
        int status = weft__fd_look(fds->polls, fds->n);

        for (unsigned k = 0; k < fds->n; k++)
            fds->slots[k].found = found_of(fds->polls[k].revents);
        return status < 0 ? status : 0;
    }
    /* The set first, so that what comes after the others were asked makes it
     * ready again. What it says now, they say better. */
    if (fds->slots[fds->n].begun)
        (void)weft__fd_wait_ask(&fds->slots[fds->n].wait);
    for (unsigned k = 0; k < fds->n; k++) {
        struct weft__select_fd *slot = &fds->slots[k];
        int revents = slot->begun ? weft__fd_wait_ask(&slot->wait) : -EBADF;

        slot->found = found_of(revents < 0 ? POLLNVAL : revents);
    }
    return 0;
}

int64_t weft__select_fds_limit(struct weft__select_fds *fds, unsigned *whose)
{
    int64_t limit = WEFT_FOREVER;

    for (unsigned k = 0; k < fds->n; k++) {
        int64_t mine;

        if (!fds->slots[k].begun)
            continue;
        mine = weft__wait_clip(fds->slots[k].wait.use.desc, WEFT_FOREVER);
        if (mine < limit) {
            limit = mine;
            *whose = fds->slots[k].at;
        }
    }
    return limit;
}

/* --- Beginning and ending ------------------------------------------------------ */

static int begin_one(struct weft__select_fds *fds, unsigned k,
                     struct weft__fiber *self)
{
    struct weft__select_fd *slot = &fds->slots[k];
    int status = weft__fd_wait_begin(&slot->wait, fds->polls[k].fd,
                                     fds->polls[k].events, self);

    slot->begun = status == 0;
    if (status == 0 && slot->wait.blocking)
        status = weft__poll_aside(&fds->polls[fds->n], fds->polls, k);
    return status;
}

int weft__select_fds_begin(struct weft__select_fds *fds,
                           struct weft__fiber *self)
{
    for (unsigned k = 0; k <= fds->n; k++)
        fds->slots[k].begun = false;
    fds->polls[fds->n] = (struct pollfd){ .fd = -1, .events = POLLIN };
    fds->begun = true;
    /* To begin one may take a while, in which another is closed. */
    for (unsigned k = 0; k < fds->n; k++)
        weft__fd_wait_note(&fds->slots[k].wait, fds->polls[k].fd);
    for (unsigned k = 0; k < fds->n; k++) {
        int status = begin_one(fds, k, self);

        /* One that is not open is an answer. */
        if (status != 0 && status != -EBADF)
            return status;
    }
    if (fds->polls[fds->n].fd < 0)
        return 0;
    weft__fd_wait_note(&fds->slots[fds->n].wait, fds->polls[fds->n].fd);
    return begin_one(fds, fds->n, self);
}

void weft__select_fds_end(struct weft__select_fds *fds)
{
    if (!fds->begun)
        return;
    for (unsigned k = 0; k <= fds->n; k++)
        if (fds->slots[k].begun)
            weft__fd_wait_end(&fds->slots[k].wait);
    if (fds->polls[fds->n].fd >= 0)
        weft_close(fds->polls[fds->n].fd);
}

/* --- Standing in line ------------------------------------------------------------ */

bool weft__select_fds_enter(struct weft__select_fds *fds, uint64_t gen)
{
    bool same = true;

    for (unsigned k = 0; k <= fds->n && same; k++) {
        struct weft__fd_wait *wait = &fds->slots[k].wait;

        if (!fds->slots[k].begun)
            continue;
        wait->in.gen = wait->out.gen = wait->odd.gen = gen;
        weft__lock_acquire(weft__fd_wait_lock(wait));
        same = weft__fd_wait_publish(wait);
        weft__lock_release(weft__fd_wait_lock(wait));
    }
    return same;
}

void weft__select_fds_leave(struct weft__select_fds *fds)
{
    for (unsigned k = 0; k <= fds->n; k++)
        if (fds->slots[k].begun)
            weft__fd_wait_leave(&fds->slots[k].wait);
}
