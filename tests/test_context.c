/*
 * Contexts: what a switch keeps, what a new context starts with, and how a
 * backtrace ends. First the routine by itself, then under fibers that move
 * between workers.
 */
#include "tests/support.h"

#include <fenv.h>
#include <unwind.h>

#include "sched/context.h"

enum { STACK = 256 << 10, ROUNDS = 1000 };

/* --- The registers of the callee ------------------------------------------- */

#if defined(__x86_64__)

enum { REGISTERS = 6 };

/*
 * Load rbx, rbp and r12 to r15 from `in`, switch, and store to `out` what is
 * in them when the switch has returned.
 */
void switch_with(void **save, void *load, void *(*entry)(void *), void *arg,
                 const uint64_t in[REGISTERS], uint64_t out[REGISTERS]);
__asm__(".text\n"
        ".globl switch_with\n"
        ".type switch_with, @function\n"
        "switch_with:\n"
        "    pushq %rbx\n"
        "    pushq %rbp\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    pushq %r9\n"
        "    movq 0(%r8), %rbx\n"
        "    movq 8(%r8), %rbp\n"
        "    movq 16(%r8), %r12\n"
        "    movq 24(%r8), %r13\n"
        "    movq 32(%r8), %r14\n"
        "    movq 40(%r8), %r15\n"
        "    call weft__context_switch\n"
        "    popq %r9\n"
        "    movq %rbx, 0(%r9)\n"
        "    movq %rbp, 8(%r9)\n"
        "    movq %r12, 16(%r9)\n"
        "    movq %r13, 24(%r9)\n"
        "    movq %r14, 32(%r9)\n"
        "    movq %r15, 40(%r9)\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbp\n"
        "    popq %rbx\n"
        "    ret\n"
        ".size switch_with, . - switch_with\n");

static struct {
    void *main;
    void *other;
    unsigned kept;    /* registers that came back as they were */
    unsigned changed; /* and otherwise */
} sides;

/* Leave `save` for `load` with registers that only this side and round have. */
static void switch_once(void **save, void *load, void *(*entry)(void *),
                        uint64_t pattern)
{
    uint64_t in[REGISTERS], out[REGISTERS] = { 0 };

    for (uint64_t i = 0; i < REGISTERS; i++)
        in[i] = pattern * 0x9e3779b97f4a7c15u + i;
    switch_with(save, load, entry, NULL, in, out);
    for (int i = 0; i < REGISTERS; i++) {
        if (in[i] == out[i])
            sides.kept++;
        else
            sides.changed++;
    }
}

/* TSan keeps a stack of calls a context, and knows of these switches nothing:
 * few rounds, so that it does not mind. */
enum { TURNS = 100 };

static void *other_side(void *arg)
{
    (void)arg;
    for (uint64_t i = 1; i < TURNS; i++)
        switch_once(&sides.other, sides.main, NULL, 2 * i + 1);
    return sides.main;
}

/* Both ways, and when the other context has come to its end. */
START_TEST(a_switch_keeps_the_registers_of_the_callee)
{
    static char stack[STACK] __attribute__((aligned(64)));

    switch_once(&sides.main, stack + STACK, other_side, 0);
    for (uint64_t i = 1; i < TURNS; i++)
        switch_once(&sides.main, sides.other, NULL, 2 * i);
    ck_assert_uint_eq(sides.changed, 0);
    ck_assert_uint_eq(sides.kept, REGISTERS * (2 * TURNS - 1));
}
END_TEST

/* --- The control words ------------------------------------------------------ */

/* MXCSR without its status bits, and the x87 control word. */
static uint32_t mxcsr(void)
{
    uint32_t value;

    __asm__ volatile("stmxcsr %0" : "=m"(value));
    return value & 0xffc0;
}

static void set_mxcsr(uint32_t value)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(value));
}

static uint16_t x87(void)
{
    uint16_t value;

    __asm__ volatile("fnstcw %0" : "=m"(value));
    return value;
}

static void set_x87(uint16_t value)
{
    __asm__ volatile("fldcw %0" : : "m"(value));
}

enum {
    MXCSR = 0x1f80,        /* the defaults */
    MXCSR_UP = 0x5f80,     /* rounding up */
    MXCSR_FLUSH = 0x9f80,  /* flush to zero */
    X87 = 0x037f,
    X87_DOUBLE = 0x027f,   /* precision of a double */
    X87_DOWN = 0x077f      /* rounding down */
};

struct words {
    uint32_t mxcsr;
    uint16_t x87;
};

static const struct words all_words[] = {
    { MXCSR, X87 },      { MXCSR_UP, X87 },        { MXCSR, X87_DOUBLE },
    { MXCSR, X87_DOWN }, { MXCSR_FLUSH, X87_DOWN }
};
enum { WORDS = sizeof(all_words) / sizeof(all_words[0]) };

static void set_words(const struct words *words)
{
    set_mxcsr(words->mxcsr);
    set_x87(words->x87);
}

static bool words_are(const struct words *words)
{
    return mxcsr() == words->mxcsr && x87() == words->x87;
}

static struct {
    void *main;
    void *other;
    const struct words *mine; /* of the other side */
    bool defaults;            /* what it started with */
    bool kept;
} fp;

static void *other_words(void *arg)
{
    (void)arg;
    fp.defaults = words_are(&all_words[0]);
    fp.kept = true;
    for (int i = 0; i < 3; i++) {
        set_words(fp.mine);
        weft__context_switch(&fp.other, fp.main, NULL, NULL);
        fp.kept &= words_are(fp.mine);
    }
    return fp.main;
}

/* Each pair of settings on the two sides of a switch; equal ones too, where
 * nothing is to be loaded. */
START_TEST(each_context_has_its_own_control_words_and_starts_with_defaults)
{
    static char stack[STACK] __attribute__((aligned(64)));
    const struct words *here = &all_words[_i / WORDS];

    fp.mine = &all_words[_i % WORDS];
    set_words(here);
    weft__context_switch(&fp.main, stack + STACK, other_words, NULL);
    ck_assert(words_are(here));
    ck_assert(fp.defaults);
    for (int i = 0; i < 3; i++) {
        weft__context_switch(&fp.main, fp.other, NULL, NULL);
        ck_assert(words_are(here));
        ck_assert(fp.kept);
    }
    set_words(&all_words[0]);
}
END_TEST

/* --- The same under fibers --------------------------------------------------- */

static void *keep_words(void *arg)
{
    const struct words *words = arg;
    bool kept = words_are(&all_words[0]);

    set_words(words);
    for (int i = 0; i < ROUNDS; i++) {
        weft_yield();
        kept &= words_are(words);
    }
    /* They are left as they are: the next fiber's are the defaults. */
    return kept ? arg : NULL;
}

/* Yields move a fiber to other workers when there are some. */
WEFT_TEST(each_fiber_has_its_own_control_words_wherever_it_runs)
{
    enum { FIBERS = 4 * WORDS };
    weft_fiber_t f[FIBERS];

    for (int i = 0; i < FIBERS; i++)
        f[i] = spawn(keep_words, (void *)(uintptr_t)&all_words[i % WORDS]);
    for (int i = 0; i < FIBERS; i++)
        ck_assert_ptr_eq(join(f[i]), &all_words[i % WORDS]);
    ck_assert(words_are(&all_words[0]));
}
END_TEST

static void *leave_words(void *arg)
{
    bool defaults = words_are(&all_words[0]);

    set_words(&all_words[WORDS - 1]);
    return defaults ? arg : NULL;
}

/* A fiber that starts on the stack of one that has just ended, without a
 * switch in between: many new ones in a row, each of which leaves its words
 * behind. */
WEFT_TEST(a_fiber_that_follows_on_a_stack_starts_with_default_control_words)
{
    enum { FIBERS = 200 };
    weft_fiber_t f[FIBERS];
    int mark;

    for (int i = 0; i < FIBERS; i++)
        f[i] = spawn(leave_words, &mark);
    weft_yield();
    for (int i = 0; i < FIBERS; i++)
        ck_assert_ptr_eq(join(f[i]), &mark);
    ck_assert(words_are(&all_words[0]));
}
END_TEST

#endif

static void *round_as_told(void *arg)
{
    int mode = *(const int *)arg;
    bool kept = fegetround() == FE_TONEAREST;

    kept &= fesetround(mode) == 0;
    for (int i = 0; i < ROUNDS; i++) {
        weft_yield();
        kept &= fegetround() == mode;
    }
    return kept ? arg : NULL;
}

WEFT_TEST(each_fiber_rounds_as_it_was_told)
{
    static int modes[] = { FE_UPWARD, FE_TONEAREST, FE_DOWNWARD,
                           FE_TOWARDZERO };
    enum { FIBERS = 16 };
    weft_fiber_t f[FIBERS];

    for (int i = 0; i < FIBERS; i++)
        f[i] = spawn(round_as_told, &modes[i % 4]);
    for (int i = 0; i < FIBERS; i++)
        ck_assert_ptr_eq(join(f[i]), &modes[i % 4]);
    ck_assert_int_eq(fegetround(), FE_TONEAREST);
}
END_TEST

/* --- Backtraces --------------------------------------------------------------- */

enum { FRAMES = 64 };

struct trace {
    int frames;
    void *pc[FRAMES];
    _Unwind_Reason_Code code;
};

static _Unwind_Reason_Code keep_frame(struct _Unwind_Context *context,
                                      void *arg)
{
    struct trace *trace = arg;

    if (trace->frames == FRAMES)
        return _URC_NORMAL_STOP;
    trace->pc[trace->frames++] = (void *)(uintptr_t)_Unwind_GetIP(context);
    return _URC_NO_REASON;
}

static __attribute__((noinline)) void take_trace(struct trace *trace)
{
    trace->frames = 0;
    trace->code = _Unwind_Backtrace(keep_frame, trace);
}

static bool has_frame_of(const struct trace *trace, void *(*fn)(void *))
{
    uintptr_t start = (uintptr_t)fn;

    for (int i = 0; i < trace->frames; i++)
        if ((uintptr_t)trace->pc[i] - start < 1024)
            return true;
    return false;
}

static __attribute__((noinline)) void *trace_here(void *arg)
{
    take_trace(arg);
    return NULL;
}

static __attribute__((noinline)) void *trace_later(void *arg)
{
    weft_yield();
    take_trace(arg);
    weft_yield();
    return NULL;
}

/* The unwinder says that it came to an end, and not that it lost its way: at
 * once, and after the fiber was away. The frames are the tracer's, the entry,
 * and at most what called it. */
WEFT_TEST(a_backtrace_ends_at_the_entry_of_the_fiber)
{
    static void *(*const entries[])(void *) = { trace_here, trace_later };
    static struct trace trace;

    for (int i = 0; i < 2; i++) {
        memset(&trace, 0, sizeof(trace));
        join(spawn(entries[i], &trace));
        ck_assert_int_eq(trace.code, _URC_END_OF_STACK);
        ck_assert_int_ge(trace.frames, 2);
        ck_assert_int_le(trace.frames, 6);
        ck_assert(has_frame_of(&trace, entries[i]));
    }
}
END_TEST

/* A hundred deep, all of them there. */
static __attribute__((noinline)) int descend(int depth, struct trace *trace)
{
    int below;

    if (depth == 0) {
        take_trace(trace);
        return 0;
    }
    below = descend(depth - 1, trace);
    __asm__ volatile("" : : "r"(below) : "memory");
    return below + 1;
}

static void *trace_below(void *arg)
{
    return (void *)(intptr_t)descend(20, arg);
}

WEFT_TEST(a_backtrace_has_every_frame_of_the_fiber)
{
    static struct trace trace;

    ck_assert_int_eq((intptr_t)join(spawn(trace_below, &trace)), 20);
    ck_assert_int_eq(trace.code, _URC_END_OF_STACK);
    ck_assert_int_ge(trace.frames, 22);
    ck_assert(has_frame_of(&trace, trace_below));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("context");
    TCase *tc = tcase_create("context");

#if defined(__x86_64__)
    tcase_add_test(tc, a_switch_keeps_the_registers_of_the_callee);
    tcase_add_loop_test(
        tc, each_context_has_its_own_control_words_and_starts_with_defaults,
        0, WORDS * WORDS);
    tcase_add_test(tc,
                   each_fiber_has_its_own_control_words_wherever_it_runs);
    tcase_add_loop_test(
        tc, a_fiber_that_follows_on_a_stack_starts_with_default_control_words,
        0, 5);
#endif
    tcase_add_test(tc, each_fiber_rounds_as_it_was_told);
    tcase_add_test(tc, a_backtrace_ends_at_the_entry_of_the_fiber);
    tcase_add_test(tc, a_backtrace_has_every_frame_of_the_fiber);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
