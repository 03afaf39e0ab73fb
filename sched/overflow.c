#include "sched/overflow.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "sched/fiber.h"
#include "sched/os.h"
#include "sched/sanitizer.h"

/* The handler prints through snprintf and dladdr, and so may the previous
 * one, or a sanitizer's: give them room. */
enum { ALTERNATE_STACK = 64 << 10 };

static struct sigaction previous;

/* Put over ours in an earlier run, and left there: see overflow.h. */
static struct sigaction cover;
static bool covered;

/* The fiber whose guard page holds this address, if it is the running one. */
static struct weft__fiber *overflown(const void *address)
{
    struct weft__fiber *f = weft__self();
    uintptr_t stack;
    const char *base;

    if (!f)
        return NULL;
    stack = weft__load(&f->stack, RELAXED); /* its own */
    if (stack & (WEFT__FIBER_BASE | WEFT__FIBER_FOREIGN))
        return NULL;
    base = weft__stack_base(stack);
    if ((const char *)address < base ||
        (const char *)address >= base + WEFT__PAGE)
        return NULL;
    return f;
}

static void report(const struct weft__fiber *f)
{
    uintptr_t stack = weft__load(&f->stack, RELAXED); /* its own */
    weft_fiber_t id = weft__fiber_id(f);
    const char *name = weft__fiber_cold(f)->name;
    const char *symbol = "?";
    Dl_info info;
    char text[400];
    int n;

    /* dladdr allocates nothing once a name has been looked up; the program
     * is about to die, and a name is worth the risk. */
    if (dladdr(f->site, &info) && info.dli_sname)
        symbol = info.dli_sname;
    n = snprintf(text, sizeof(text),
                 "weft: stack overflow in fiber %" PRIu64 ":%" PRIu64
                 " \"%s\": its stack has %zu bytes with the guard; spawned at "
                 "%p (%s). Give it a larger one: weft_attr_t.stack_size, or "
                 "WEFT_STACK_SIZE for all\n",
                 id & UINT32_MAX, id >> 32, name[0] ? name : "?",
                 weft__stack_size(stack), f->site, symbol);
    if (n > 0)
        weft__os_say(text, (size_t)n < sizeof(text) ? (size_t)n
                                                    : sizeof(text) - 1);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    const struct weft__fiber *f = overflown(info->si_addr);

    if (f)
        report(f);
    errno = saved;

    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(signal, info, context);
        return;
    }
    if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(signal);
        return;
    }
    /* Sent by someone, who may be ignored. */
    if (info->si_code <= 0 && previous.sa_handler == SIG_IGN)
        return;
    /* The default: put it back, and fault again; or what was sent comes again,
     * when we have returned. */
    sigaction(signal, &previous, NULL);
    if (info->si_code <= 0)
        raise(signal);
}

/* Its mask is empty. */
static const struct sigaction ours = { .sa_sigaction = on_fault,
                                       .sa_flags = SA_SIGINFO | SA_ONSTACK };

static bool same_handler(const struct sigaction *a, const struct sigaction *b)
{
    if ((a->sa_flags & SA_SIGINFO) != (b->sa_flags & SA_SIGINFO))
        return false;
    return a->sa_flags & SA_SIGINFO ? a->sa_sigaction == b->sa_sigaction
                                    : a->sa_handler == b->sa_handler;
}

void weft__overflow_begin(void)
{
    struct sigaction now;

    /* Ours: who had covered it put it back. */
    if (sigaction(SIGSEGV, NULL, &now) == 0 &&
        (same_handler(&now, &ours) ||
         (covered && same_handler(&now, &cover))))
        return;
    sigaction(SIGSEGV, &ours, &previous);
}

void weft__overflow_end(void)
{
    struct sigaction now;

    if (sigaction(SIGSEGV, NULL, &now) != 0)
        return;
    covered = !same_handler(&now, &ours) &&
              ((now.sa_flags & SA_SIGINFO) || (now.sa_handler != SIG_DFL &&
                                               now.sa_handler != SIG_IGN));
    if (covered)
        cover = now;
    else if (same_handler(&now, &ours))
        sigaction(SIGSEGV, &previous, NULL);
}

void *weft__overflow_thread_begin(void)
{
    stack_t stack = { .ss_size = ALTERNATE_STACK };

    stack.ss_sp = weft__os_map(ALTERNATE_STACK);
    if (stack.ss_sp && sigaltstack(&stack, NULL) != 0) {
        weft__os_unmap(stack.ss_sp, ALTERNATE_STACK);
        stack.ss_sp = NULL;
    }
    return stack.ss_sp;
}

void weft__overflow_thread_end(void *stack)
{
    stack_t none = { .ss_flags = SS_DISABLE }, now;

    if (!stack)
        return;
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == stack)
        (void)sigaltstack(&none, NULL);
    weft__os_unmap(stack, ALTERNATE_STACK);
}
