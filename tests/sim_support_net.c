#include "tests/sim_support_net.h"

#include "netpoll/desc.h"
#include "netpoll/wait.h"

weft_fiber_t net_spawn(void *(*fn)(void *), void *arg)
{
    weft_fiber_t f;

    sim_expect(weft_spawn(&f, fn, arg) == 0);
    return f;
}

void net_join(weft_fiber_t f)
{
    sim_expect(weft_join(f, NULL) == 0);
}

void net_pair(int domain, size_t room, int fds[2])
{
    weft__net_room(room);
    sim_expect(weft_socketpair(domain, SOCK_STREAM, 0, fds) == 0);
}

void net_wait_uses(int fd, unsigned n)
{
    const struct weft__desc *d = weft__desc_look(fd);

    while ((weft__load(&d->word, RELAXED) & WEFT__DESC_USES) < n)
        weft_yield();
}

static unsigned readers(struct weft__desc *d)
{
    struct weft__waiter *first, *w;
    unsigned n = 0;

    weft__lock_acquire(&d->lock);
    if ((w = first = d->in.first))
        do {
            n++;
            w = w->next;
        } while (w != first);
    weft__lock_release(&d->lock);
    return n;
}

void net_wait_readers(int fd, unsigned n)
{
    struct weft__desc *d = weft__desc_look(fd);

    while (readers(d) < n)
        weft_yield();
}

void net_settled(void)
{
    sim_expect(weft__net_open() == 0);
    for (int fd = WEFT__NET_FIRST; fd < weft__net_top(); fd++) {
        const struct weft__desc *d = weft__desc_look(fd);

        if (!d)
            continue;
        sim_expect((weft__load(&d->word, RELAXED) &
                    ~WEFT__DESC_GEN_MASK) == 0);
        sim_expect(!d->in.first && !d->out.first && !d->odd.first);
        sim_expect(!d->closer);
        sim_expect(!(weft__load(&d->flags, RELAXED) & WEFT__FD_WAITERS_ALL));
        sim_expect(weft__load(&d->home, RELAXED) == NULL);
    }
}
