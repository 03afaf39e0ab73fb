#include "tests/support_resolve.h"

#include <sched.h>

#include <weft/net.h>

#include "netpoll/resolve.h"

weft__au32 gate, asked, answered, released, changed;
int say, say_errno;

static int ask(const char *node, const char *service,
               const struct addrinfo *hints, struct addrinfo **res)
{
    struct addrinfo numeric = { .ai_flags = AI_NUMERICHOST };

    (void)weft__fetch_add(&asked, 1, ACQ_REL);
    /* Names that are asked for here say what becomes of them. */
    if (!strcmp(node, "silent")) {
        while (!weft__load(&gate, ACQUIRE))
            sched_yield();
        if (strcmp(node, "silent") != 0)
            weft__store(&changed, 1, RELAXED);
    }
    (void)weft__fetch_add(&answered, 1, ACQ_REL);
    if (say != 0) {
        errno = say_errno;
        return say;
    }
    if (hints)
        numeric.ai_socktype = hints->ai_socktype;
    return getaddrinfo("192.0.2.7", service, &numeric, res);
}

static void release(struct addrinfo *res)
{
    freeaddrinfo(res);
    (void)weft__fetch_add(&released, 1, ACQ_REL);
}

void begin(void)
{
    weft__resolver = (struct weft__resolver){ ask, release };
}

void open_gate(void)
{
    weft__store(&gate, 1, RELEASE);
}

void wait_for_released(uint32_t n)
{
    while (weft__load(&released, ACQUIRE) < n)
        sched_yield();
}

void *resolve(void *arg)
{
    struct question *q = arg;
    struct addrinfo *found = NULL;

    if (q->until != 0)
        q->status = weft_getaddrinfo_until(q->node, q->service, &q->hints,
                                           &found, q->until);
    else
        q->status =
            weft_getaddrinfo(q->node, q->service, &q->hints, &found);
    q->back = weft_now();
    if (q->status == 0) {
        must(found != NULL);
        freeaddrinfo(found);
    } else {
        must(found == NULL);
    }
    return NULL;
}

struct question question(const char *node)
{
    struct question q = { .service = "80",
                          .hints = { .ai_socktype = SOCK_STREAM } };

    strncpy(q.node, node, sizeof(q.node) - 1);
    return q;
}
