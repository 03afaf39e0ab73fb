#include <limits.h>
#include <stddef.h>
#include <string.h>

#include <weft/error.h>

/*
 * libuv's codes for what getaddrinfo(3) has no errno value for. They pass
 * through weft as they are, and so belong to its surface; libuv promises
 * their values. By hand, since uv.h is for netpoll/ alone: a test compares.
 */
#define RESOLVER_FIRST 3000

static const struct resolver_code {
    const char *name;
    const char *text;
} resolver_codes[] = {
    { "EAI_ADDRFAMILY", "address family not supported" },
    { "EAI_AGAIN", "temporary failure" },
    { "EAI_BADFLAGS", "bad ai_flags value" },
    { "EAI_CANCELED", "request canceled" },
    { "EAI_FAIL", "permanent failure" },
    { "EAI_FAMILY", "ai_family not supported" },
    { "EAI_MEMORY", "out of memory" },
    { "EAI_NODATA", "no address" },
    { "EAI_NONAME", "unknown node or service" },
    { "EAI_OVERFLOW", "argument buffer overflow" },
    { "EAI_SERVICE", "service not available for socket type" },
    { "EAI_SOCKTYPE", "socket type not supported" },
    { NULL, NULL }, /* -3012 is not given out */
    { "EAI_BADHINTS", "invalid value for hints" },
    { "EAI_PROTOCOL", "resolved protocol is unknown" },
};

static const struct resolver_code *error_resolver(int code)
{
    const int count = sizeof(resolver_codes) / sizeof(resolver_codes[0]);

    if (code < RESOLVER_FIRST || code >= RESOLVER_FIRST + count ||
        resolver_codes[code - RESOLVER_FIRST].name == NULL)
        return NULL;
    return &resolver_codes[code - RESOLVER_FIRST];
}

/* Either sign is taken; what has no positive counterpart is no code. */
static int error_positive(int code)
{
    if (code >= 0)
        return code;
    return code == INT_MIN ? INT_MAX : -code;
}

const char *weft_strerror(int code)
{
    int positive = error_positive(code);
    const struct resolver_code *resolver = error_resolver(positive);
    /* Neither translated nor composed: a constant, from any thread. */
    const char *text =
        resolver != NULL ? resolver->text : strerrordesc_np(positive);

    return text != NULL ? text : "Unknown error";
}

const char *weft_err_name(int code)
{
    int positive = error_positive(code);
    const struct resolver_code *resolver = error_resolver(positive);
    const char *name =
        resolver != NULL ? resolver->name : strerrorname_np(positive);

    return name != NULL ? name : "?";
}
