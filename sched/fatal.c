/*
 * Fatal errors and the log
 *
 * Both write whole lines with one write(2), allocate nothing and take no
 * lock: they have to work in a signal handler, on behalf of a fiber that just
 * ran off its stack.
 */
#include "sched/fatal.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sched/atomic.h"
#include "sched/lock.h"
#include "sched/os.h"

#define LOG_MAX    500
#define LOG_PREFIX "weft: "

_Noreturn void weft__fatal(const char *file, int line, const char *what)
{
    char text[LOG_MAX];
    int n =
        snprintf(text, sizeof(text), LOG_PREFIX "%s:%d: %s", file, line, what);
    size_t length = n < 0 ? 0 : (size_t)n;

    if (length > sizeof(text) - 1)
        length = sizeof(text) - 1;
    text[length] = '\n'; /* the zero is not needed any more */
    weft__os_say(text, length + 1);
    abort();
}

/*
 * Where the log goes: a function and its argument, which have to be taken as
 * the pair they were set as. Reading them must neither wait nor allocate, not
 * even for a writer that a signal handler interrupted, so there are two
 * places: the version says by its lowest bit which one holds, a writer fills
 * the other and then counts the version up. Only a reader that two writers
 * overtake has to look again.
 *
 * All that is read is atomic, so no fence is needed: a reader that sees a
 * function or argument of the change after next (acquire) also sees the
 * version between, which that writer wrote or read before (release), and so
 * does not find the version it began with.
 */
typedef void (*log_sink)(int level, const char *line, void *arg);

static struct {
    weft__atomic(log_sink) fn;
    weft__aptr arg;
} log_pair[2];
static weft__au32 log_version;
static weft__lock_t log_writer; /* one at a time */

static log_sink log_where(void **arg)
{
    for (;;) {
        /* acquire: pairs with the release that ended the last change; what
         * `arg` points to was written before it. */
        uint32_t version = weft__load(&log_version, ACQUIRE);
        log_sink fn = weft__load(&log_pair[version % 2].fn, ACQUIRE);

        *arg = weft__load(&log_pair[version % 2].arg, ACQUIRE);
        /* relaxed: ordered behind the two acquire loads above. */
        if (weft__load(&log_version, RELAXED) == version)
            return fn;
    }
}

void weft__log_to(void (*fn)(int level, const char *line, void *arg), void *arg)
{
    uint32_t next;

    weft__lock_acquire(&log_writer);
    /* relaxed: only written under this lock. */
    next = weft__load(&log_version, RELAXED) + 1;
    /* release: whoever reads one of these also reads the version before. */
    weft__store(&log_pair[next % 2].fn, fn, RELEASE);
    weft__store(&log_pair[next % 2].arg, arg, RELEASE);
    /* release: publishes the pair, and what `arg` points to. */
    weft__store(&log_version, next, RELEASE);
    weft__lock_release(&log_writer);
}

void weft__log(int level, const char *format, ...)
{
    int saved = errno;
    char text[sizeof(LOG_PREFIX) + LOG_MAX + 1] = LOG_PREFIX;
    char *line = text + sizeof(LOG_PREFIX) - 1;
    size_t length;
    va_list values;
    log_sink fn;
    void *arg;

    va_start(values, format);
    if (vsnprintf(line, LOG_MAX + 1, format, values) < 0)
        line[0] = '\0';
    va_end(values);

    /* One line it is, whatever a fiber's name contains. */
    for (char *c = line; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    }

    fn = log_where(&arg);
    if (fn != NULL) {
        fn(level, line, arg);
    } else {
        length = strlen(text);
        text[length] = '\n';
        weft__os_say(text, length + 1);
    }
    errno = saved;
}

void weft__log_forked(void)
{
    log_writer = (weft__lock_t)WEFT__LOCK_INIT(WEFT__RANK_PRIMITIVE);
}
