#include "runtime/sim/coro.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "sched/sanitizer.h"

enum { CORO_STACK = 256 * 1024, CORO_GUARD = 4096 };

void weft__coro_jump(void **save, void *load);
void weft__coro_boot(void);

/*
 * weft__coro_jump(save, load): what System V says the callee keeps, which
 * includes the control words of both floating-point units. They are loaded
 * only if they differ, since that load is slow.
 *
 * weft__coro_boot: the first return address of a new one. It calls rbx(r12),
 * and says that there is no caller, so that backtraces end here.
 */
#if defined(__x86_64__)
__asm__(".pushsection .text\n"
        ".p2align 4\n"
        ".globl weft__coro_jump\n"
        ".hidden weft__coro_jump\n"
        ".type weft__coro_jump, @function\n"
        "weft__coro_jump:\n"
        ".cfi_startproc\n"
        "    push %rbp\n"
        ".cfi_adjust_cfa_offset 8\n"
        "    push %rbx\n"
        ".cfi_adjust_cfa_offset 8\n"
        "    push %r12\n"
        ".cfi_adjust_cfa_offset 8\n"
        "    push %r13\n"
        ".cfi_adjust_cfa_offset 8\n"
        "    push %r14\n"
        ".cfi_adjust_cfa_offset 8\n"
        "    push %r15\n"
        ".cfi_adjust_cfa_offset 8\n"
        "    sub $8, %rsp\n"
        ".cfi_adjust_cfa_offset 8\n"
        "    stmxcsr (%rsp)\n"
        "    movl $0, 4(%rsp)\n"
        "    fnstcw 4(%rsp)\n"
        "    mov (%rsp), %rax\n"
        "    mov %rsp, (%rdi)\n"
        "    mov %rsi, %rsp\n"
        "    cmp (%rsp), %rax\n"
        "    je 1f\n"
        "    ldmxcsr (%rsp)\n"
        "    fldcw 4(%rsp)\n"
        "1:  add $8, %rsp\n"
        ".cfi_adjust_cfa_offset -8\n"
        "    pop %r15\n"
        ".cfi_adjust_cfa_offset -8\n"
        "    pop %r14\n"
        ".cfi_adjust_cfa_offset -8\n"
        "    pop %r13\n"
        ".cfi_adjust_cfa_offset -8\n"
        "    pop %r12\n"
        ".cfi_adjust_cfa_offset -8\n"
        "    pop %rbx\n"
        ".cfi_adjust_cfa_offset -8\n"
        "    pop %rbp\n"
        ".cfi_adjust_cfa_offset -8\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size weft__coro_jump, . - weft__coro_jump\n"
        ".p2align 4\n"
        ".globl weft__coro_boot\n"
        ".hidden weft__coro_boot\n"
        ".type weft__coro_boot, @function\n"
        "weft__coro_boot:\n"
        ".cfi_startproc\n"
        ".cfi_undefined rip\n"
        "    mov %r12, %rdi\n"
        "    call *%rbx\n"
        "    ud2\n"
        ".cfi_endproc\n"
        ".size weft__coro_boot, . - weft__coro_boot\n"
        ".popsection\n");
#else
#error "The simulation switches stacks on x86-64 only (runtime/sim/coro.c)."
#endif

/* The stack of a new coroutine as weft__coro_jump() would have left it. */
struct coro_frame {
    uint32_t mxcsr;
    uint32_t fpcw;
    void *r15, *r14, *r13;
    void *r12; /* the argument */
    void *rbx; /* the function */
    void *rbp;
    void (*ret)(void);
    void *end[2]; /* keeps the stack aligned where boot calls */
};

/* Who was left last: the sanitizer tells its stack to who comes next. */
static struct weft__coro *coro_left;

static void coro_arrive(void *fake)
{
#ifdef WEFT__ASAN
    __sanitizer_finish_switch_fiber(fake, &coro_left->bottom,
                                    &coro_left->bytes);
#else
    (void)fake;
#endif
}

static void coro_main(void *arg)
{
    struct weft__coro *c = arg;

    coro_arrive(NULL);
    c->fn(c->arg);
}

int weft__coro_prepare(struct weft__coro *c, void (*fn)(void *), void *arg)
{
    struct coro_frame frame = { .mxcsr = 0x1f80, .fpcw = 0x37f };
    char *top;

    if (c->stack == NULL) {
        char *stack = mmap(NULL, CORO_STACK, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (stack == MAP_FAILED)
            return -ENOMEM;
        if (mprotect(stack, CORO_GUARD, PROT_NONE) != 0) {
            munmap(stack, CORO_STACK);
            return -ENOMEM;
        }
        c->stack = stack;
        weft__stack_register(stack, stack + CORO_STACK);
    }
    /* An abandoned run leaves its frames' red zones behind. */
    if (weft__memory_watched())
        weft__unpoison(c->stack + CORO_GUARD, CORO_STACK - CORO_GUARD);

    c->fn = fn;
    c->arg = arg;
    c->bottom = c->stack + CORO_GUARD;
    c->bytes = CORO_STACK - CORO_GUARD;
    c->fake = NULL;

    top = c->stack + CORO_STACK - sizeof(frame);
    frame.rbx = (void *)(uintptr_t)coro_main;
    frame.r12 = c;
    frame.ret = weft__coro_boot;
    memcpy(top, &frame, sizeof(frame));
    c->sp = top;
    return 0;
}

void weft__coro_switch(struct weft__coro *from, struct weft__coro *to)
{
    int saved = errno;

    coro_left = from;
#ifdef WEFT__ASAN
    __sanitizer_start_switch_fiber(&from->fake, to->bottom, to->bytes);
#endif
    weft__coro_jump(&from->sp, to->sp);
    coro_arrive(from->fake);
    errno = saved;
}
