#include "netpoll/resolve.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "netpoll/offload.h"

#ifdef WEFT_SIM
#include "sched/seam.h"
#endif

struct weft__resolver weft__resolver = { getaddrinfo, freeaddrinfo };

/* libuv's codes, which promise to stay what they are; uv.h is for poller.c
 * alone. The names and texts are in runtime/error.c. */
static int resolve_code(int eai, int error)
{
    switch (eai) {
    case 0:
        return 0;
    case EAI_ADDRFAMILY:
        return -3000;
    case EAI_AGAIN:
        return -3001;
    case EAI_BADFLAGS:
        return -3002;
    case EAI_FAIL:
        return -3004;
    case EAI_FAMILY:
        return -3005;
    case EAI_MEMORY:
        return -3006;
    case EAI_NODATA:
        return -3007;
    case EAI_NONAME:
        return -3008;
    case EAI_OVERFLOW:
        return -3009;
    case EAI_SERVICE:
        return -3010;
    case EAI_SOCKTYPE:
        return -3011;
    case EAI_SYSTEM:
        return error != 0 ? -error : -3004;
    default:
        return -3004; /* a code of a C library to come: it failed */
    }
}

/* Ask, here and now. */
static int resolve_ask(const char *node, const char *service,
                       const struct addrinfo *hints, struct addrinfo **res)
{
    int saved = errno;
    int eai, code;

    errno = 0;
    eai = weft__resolver.get(node, service, hints, res);
    code = resolve_code(eai, errno);
    errno = saved;
    return code;
}

/* --- What needs no server ------------------------------------------------------ */

/* Not whether it is an address, but whether it could be one: what no name of a
 * host looks like. */
static bool looks_numeric(const char *node)
{
    return strchr(node, ':') || node[strspn(node, "0123456789.")] == '\0';
}

/*
 * false: a server, or at least a file, has to be asked. What is no address may
 * be a name; what is wrong with one is wrong whoever is asked.
 *
 * Without AI_ADDRCONFIG, which has no meaning for an address that is given,
 * and makes glibc talk to the kernel with several pages of stack; a fiber may
 * have three. Nor does NULL for a host get by with less: it goes to the lane.
 */
static bool resolve_numeric(struct weft__fiber *self, const char *node,
                            const char *service,
                            const struct addrinfo *hints,
                            struct addrinfo **res, int *code)
{
    struct addrinfo numeric = { 0 };

    if (node ? !looks_numeric(node) : self != NULL)
        return false;
    if (service && service[strspn(service, "0123456789")] != '\0')
        return false;
    if (hints)
        numeric = *hints;
    if (numeric.ai_flags & AI_IDN)
        return false;
    numeric.ai_flags &= ~AI_ADDRCONFIG;
    numeric.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
    /* The function itself: it asks nobody, so none stands in for it. */
    *code = resolve_code(getaddrinfo(node, service, &numeric, res), EINVAL);
    return *code != resolve_code(EAI_NONAME, 0);
}

/* --- What does ------------------------------------------------------------------ */

/* Belongs to whoever is last: the fiber, or the thread. */
struct request {
    struct weft__job job;
    const char *node;
    const char *service;
    const struct addrinfo *hints;
    struct addrinfo hints_copy;
    struct addrinfo *res;
    int code;
    char text[];
};

static void *request_run(void *arg)
{
    struct request *r = arg;

    r->code = resolve_ask(r->node, r->service, r->hints, &r->res);
    return NULL;
}

static void request_drop(struct weft__job *job)
{
    struct request *r = job->arg;

    if (r->code == 0 && r->res)
        weft__resolver.release(r->res);
    free(r);
}

static struct request *request_new(const char *node, const char *service,
                                   const struct addrinfo *hints)
{
    size_t first = node ? strlen(node) + 1 : 0;
    size_t second = service ? strlen(service) + 1 : 0;
    struct request *r = calloc(1, sizeof(*r) + first + second);

    if (!r)
        return NULL;
    if (node)
        r->node = memcpy(r->text, node, first);
    if (service)
        r->service = memcpy(r->text + first, service, second);
    if (hints) {
        r->hints_copy = *hints;
        r->hints = &r->hints_copy;
    }
    r->job = (struct weft__job){ .fn = request_run,
                                 .arg = r,
                                 .what = "name resolution",
                                 .fd = -1,
                                 .drop = request_drop };
    return r;
}

int weft__resolve(struct weft__fiber *self, const char *node,
                  const char *service, const struct addrinfo *hints,
                  struct addrinfo **res, int64_t deadline)
{
    struct addrinfo *found = NULL;
    struct request *r;
    int code;

    if (resolve_numeric(self, node, service, hints, &found, &code)) {
        if (code == 0)
            *res = found;
        return code;
    }
#ifdef WEFT_SIM
    /* No run depends on the outside. */
    if (weft__seam != NULL && weft__resolver.get == getaddrinfo)
        return -ENOTSUP;
#endif
    code = weft__wait_refused(self, deadline);
    if (code != 0)
        return code;
    r = request_new(node, service, hints);
    if (!r)
        return -ENOMEM;
    code = weft__lane_do(&weft__lanes[WEFT__LANE_RESOLVE], self, &r->job,
                         deadline);
    if (code != 0)
        return code; /* r is gone */
    code = r->code;
    if (code == 0) {
        *res = r->res;
        r->res = NULL;
    }
    request_drop(&r->job);
    return code;
}
