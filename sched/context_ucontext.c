/*
 * weft__context_switch over <ucontext.h>: see context.h. Slow (two system
 * calls a switch, for a signal mask that no one changed), portable, and a
 * second opinion on everything that stands on the assembly.
 *
 * glibc's swapcontext keeps the x87 and MXCSR words itself.
 */
#include "sched/context.h"

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "sched/fatal.h"

/* makecontext passes ints: a pointer travels as two halves. */
struct start {
    void *(*entry)(void *);
    void *arg;
};

static void context_main(unsigned high, unsigned low)
{
    struct start *start =
        (struct start *)(((uintptr_t)high << 32) | (uintptr_t)low);

    setcontext(start->entry(start->arg));
    weft__fatal(__FILE__, __LINE__, "a context could not be taken up");
}

void weft__context_switch(void **save, void *load, void *(*entry)(void *),
                          void *arg)
{
    ucontext_t here;

    *save = &here;
    if (!entry) {
        swapcontext(&here, load);
        return;
    }

    /* What the new context starts from lives at the high end of its own
     * stack, below which it runs. makecontext wants a size: any that is
     * small enough will do, for only the end counts. */
    char *top = (char *)load - sizeof(struct start);
    struct start *start = (struct start *)(void *)top;
    ucontext_t *fresh =
        (ucontext_t *)(void *)(((uintptr_t)top - sizeof(*fresh)) & ~63ul);
    enum { SIZE = 4096 };

    start->entry = entry;
    start->arg = arg;
    getcontext(fresh);
    fresh->uc_stack.ss_sp = (char *)fresh - SIZE;
    fresh->uc_stack.ss_size = SIZE;
    fresh->uc_link = NULL;
#if defined(__x86_64__)
    /* The control words of a new context are the defaults. */
    fresh->__fpregs_mem.mxcsr = 0x1f80;
    fresh->__fpregs_mem.cwd = 0x037f;
#endif
    makecontext(fresh, (void (*)(void))context_main, 2,
                (unsigned)((uintptr_t)start >> 32),
                (unsigned)((uintptr_t)start & 0xffffffffu));
    swapcontext(&here, fresh);
}

void weft__context_defaults(void)
{
#if defined(__x86_64__)
    static const uint32_t mxcsr = 0x1f80;
    static const uint16_t x87 = 0x037f;

    __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(mxcsr), "m"(x87));
#endif
}
