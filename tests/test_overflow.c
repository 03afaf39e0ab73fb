/*
 * What happens at the end of a stack: the fiber is named, the program's own
 * handler of SIGSEGV is asked, and no other fiber's stack is touched.
 *
 * Each case dies in a child of its own, which says on stderr what it saw.
 */
#include "tests/support.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sched/park.h"
#include "sched/stack.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { NEIGHBOURS = 16, KEPT = 8192, DIED_IN_HANDLER = 42 };

static char words[16384];

/* Run the body as the first fiber in a child, and keep what it writes to
 * stderr. Answers how the child ended. */
static int die(const weft_config_t *config, void (*body)(int))
{
    int ends[2], status;
    size_t n = 0;
    ssize_t got;
    pid_t child;

    ck_assert_int_eq(pipe(ends), 0);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        static const struct rlimit none = { 0, 0 };

        setrlimit(RLIMIT_CORE, &none);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        _exit(run_with(config, body, 0) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    close(ends[1]);
    while (n + 1 < sizeof(words) &&
           (got = read(ends[0], words + n, sizeof(words) - n - 1)) > 0)
        n += (size_t)got;
    words[n] = '\0';
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

static weft__stack_t my_stack(void)
{
    uint64_t life;
    struct weft__fiber *self = weft__fiber_find(weft_self(), &life);

    return weft__load(&self->stack, RELAXED);
}

static void say(const char *line)
{
    if (write(STDERR_FILENO, line, strlen(line)) < 0)
        _exit(EXIT_FAILURE);
}

static bool said(const char *what)
{
    return strstr(words, what) != NULL;
}

/* By the default action; a sanitizer's handler, which was there before weft's,
 * ends the process itself. */
static bool died_of(int status, int signal)
{
#ifdef SANITIZED
    if (signal == SIGSEGV)
        return WIFEXITED(status) && WEXITSTATUS(status) != 0 &&
               said("Sanitizer");
#endif
    return WIFSIGNALED(status) && WTERMSIG(status) == signal;
}

/* --- One that overflows, among others ---------------------------------------- */

static struct neighbour {
    volatile unsigned char *data; /* on its stack */
} neighbours[NEIGHBOURS];

static weft_chan_t *never;
static weft_waitgroup_t ready = WEFT_WAITGROUP_INIT;

/* Most of its stack in use, down to the lower end. */
static void *be_a_neighbour(void *arg)
{
    struct neighbour *me = arg;
    volatile unsigned char kept[6 * KEPT];

    for (size_t i = 0; i < sizeof(kept); i++)
        kept[i] = (unsigned char)(i * 7);
    me->data = kept;
    weft_waitgroup_done(&ready);
    (void)weft_chan_recv(never, NULL);
    return NULL;
}

static bool intact(void)
{
    for (int n = 0; n < NEIGHBOURS; n++)
        for (size_t i = 0; i < (size_t)6 * KEPT; i++)
            if (neighbours[n].data[i] != (unsigned char)(i * 7))
                return false;
    return true;
}

/* Frames of a quarter of a page, and no end in sight. */
static volatile int deepest = 1 << 30;

static __attribute__((noinline)) int descend(int depth)
{
    volatile char frame[1024];

    for (size_t i = 0; i < sizeof(frame); i++)
        frame[i] = (char)depth;
    if (depth == deepest)
        return 0;
    return descend(depth + 1) + frame[depth % 1024];
}

static void *overflow(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)descend(0);
}

static weft_attr_t victim_attr;

static __attribute__((noinline)) weft_fiber_t spawn_victim(void)
{
    weft_fiber_t f;

    ck_assert_int_eq(weft_spawn_with(&f, &victim_attr, overflow, NULL), 0);
    __asm__ volatile("" : : : "memory");
    return f;
}

/* Stacks are carved one above the other: there are neighbours on both sides. */
static void overflow_among_neighbours(int i)
{
    weft_fiber_t f[NEIGHBOURS], victim = 0;

    (void)i;
    never = new_chan(0, 0);
    ck_assert_int_eq(weft_waitgroup_add(&ready, NEIGHBOURS), 0);
    for (int n = 0; n < NEIGHBOURS; n++) {
        f[n] = spawn(be_a_neighbour, &neighbours[n]);
        wait_until_parked(f[n]);
    }
    ck_assert_int_eq(weft_waitgroup_wait(&ready), 0);
    ck_assert(intact());
    victim = spawn_victim();
    (void)weft_join(victim, NULL);
}

/* The handler that the program had before the start. */
static void look_around(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info, (void)context;
    say(intact() ? "neighbours are intact\n" : "neighbours are damaged\n");
    _exit(DIED_IN_HANDLER);
}

static void handle_by(void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction action = { .sa_flags = SA_SIGINFO | SA_ONSTACK };

    action.sa_sigaction = handler;
    ck_assert_int_eq(sigaction(SIGSEGV, &action, NULL), 0);
}

static void name_victim(const char *name, size_t size)
{
    victim_attr = (weft_attr_t)WEFT_ATTR_INIT;
    victim_attr.name = name;
    victim_attr.stack_size = size;
}

/* The guard by markers, and by mprotect. */
START_TEST(an_overflow_leaves_its_neighbours_intact)
{
    weft_config_t config = WEFT_CONFIG_INIT;
    int status;

    config.guard = _i;
    name_victim("digger", 0);
    handle_by(look_around);
    status = die(&config, overflow_among_neighbours);
    ck_assert_msg(said("neighbours are intact"), "%.2000s", words);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), DIED_IN_HANDLER);
    /* The fiber was named before the program's handler had its say. */
    ck_assert_msg(strstr(words, "stack overflow in fiber") != NULL &&
                      strstr(words, "stack overflow in fiber") <
                          strstr(words, "neighbours"),
                  "%.2000s", words);
}
END_TEST

/* Nobody handles SIGSEGV: the program dies of it, and the last words name the
 * fiber, its stack and the function that spawned it. */
START_TEST(an_overflow_names_the_fiber_its_stack_and_who_spawned_it)
{
    static const struct { size_t asked; const char *bytes; } sizes[] = {
        { 0, " 65536 bytes" },
        { 16 << 10, " 16384 bytes" },
        { 1 << 20, " 1048576 bytes" }
    };
    const char *at;
    void *site = NULL;
    int status;

    name_victim("digger", sizes[_i].asked);
    status = die(NULL, overflow_among_neighbours);
    ck_assert_msg(died_of(status, SIGSEGV), "status %x: %.2000s", (unsigned)status,
                  words);
    ck_assert_msg(said("\"digger\""), "%.2000s", words);
    ck_assert_msg(said(sizes[_i].bytes), "%.2000s", words);
    at = strstr(words, "spawned at ");
    ck_assert_ptr_nonnull(at);
    ck_assert_int_eq(sscanf(at, "spawned at %p", &site), 1);
    ck_assert_uint_lt((uintptr_t)site - (uintptr_t)spawn_victim, 512);
}
END_TEST

START_TEST(an_overflow_of_a_fiber_without_a_name_is_told_too)
{
    name_victim(NULL, 0);
    ck_assert(died_of(die(NULL, overflow_among_neighbours), SIGSEGV));
    ck_assert_msg(said("stack overflow in fiber"), "%.2000s", words);
    ck_assert_msg(said("\"?\""), "%.2000s", words);
}
END_TEST

static void handle_simply(int signal)
{
    (void)signal;
    say("the host's simple handler\n");
    _exit(DIED_IN_HANDLER);
}

START_TEST(a_handler_without_siginfo_has_its_say_too)
{
    int status;

    signal(SIGSEGV, handle_simply);
    name_victim("digger", 0);
    status = die(NULL, overflow_among_neighbours);
    ck_assert_msg(said("the host's simple handler"), "%.2000s", words);
    ck_assert_msg(said("\"digger\""), "%.2000s", words);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), DIED_IN_HANDLER);
}
END_TEST

/* --- Other faults ---------------------------------------------------------------- */

static volatile int *volatile nowhere = NULL;

static void fault_elsewhere(int i)
{
    (void)i;
    *(volatile char *)((uintptr_t)nowhere + 64) = 1;
}

START_TEST(a_fault_elsewhere_is_no_overflow)
{
    int status = die(NULL, fault_elsewhere);

    ck_assert_msg(died_of(status, SIGSEGV), "status %x: %.2000s", (unsigned)status,
                  words);
    ck_assert_msg(!said("stack overflow in fiber"), "%.2000s", words);

    signal(SIGSEGV, handle_simply);
    status = die(NULL, fault_elsewhere);
    ck_assert_msg(said("the host's simple handler"), "%.2000s", words);
    ck_assert_msg(!said("stack overflow in fiber"), "%.2000s", words);
}
END_TEST

static void put_a_handler_over(int i)
{
    (void)i;
    handle_by(look_around);
}

static void do_nothing(int i)
{
    (void)i;
}

START_TEST(the_handler_of_before_is_back_after_a_run)
{
    struct sigaction now;

    signal(SIGSEGV, handle_simply);
    ck_assert_int_eq(run_with(NULL, do_nothing, 0), 0);
    ck_assert_int_eq(sigaction(SIGSEGV, NULL, &now), 0);
    ck_assert(now.sa_handler == handle_simply);

    ck_assert_int_eq(run_with(NULL, put_a_handler_over, 0), 0);
    ck_assert_int_eq(sigaction(SIGSEGV, NULL, &now), 0);
    ck_assert(now.sa_sigaction == look_around);
}
END_TEST

static struct sigaction passed_over;

/* A crash reporter's, which has its say and passes on. */
static void say_and_pass_on(int signal, siginfo_t *info, void *context)
{
    say("passed on\n");
    passed_over.sa_sigaction(signal, info, context);
}

static void put_a_chain_over(int i)
{
    (void)i;
    ck_assert_int_eq(sigaction(SIGSEGV, NULL, &passed_over), 0);
    handle_by(say_and_pass_on);
}

/* In the next run, too, each has its say once. */
START_TEST(handlers_that_pass_on_make_no_ring)
{
    const char *first;
    int status;

    ck_assert_int_eq(run_with(NULL, put_a_chain_over, 0), 0);
    ck_assert_int_eq(run_with(NULL, do_nothing, 0), 0);
    status = die(NULL, fault_elsewhere);
    ck_assert_msg(died_of(status, SIGSEGV), "status %x: %.2000s",
                  (unsigned)status, words);
    first = strstr(words, "passed on\n");
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(strstr(first + 1, "passed on\n"));
}
END_TEST

static void put_the_default_over(int i)
{
    (void)i;
    signal(SIGSEGV, SIG_DFL);
}

/* One that goes as it came puts ours back, after our run; and what is no handler
 * covers none. */
START_TEST(a_handler_that_is_taken_away_again_leaves_no_ring)
{
    int status;

    signal(SIGSEGV, handle_simply);
    ck_assert_int_eq(run_with(NULL, put_a_chain_over, 0), 0);
    ck_assert_int_eq(sigaction(SIGSEGV, &passed_over, NULL), 0);
    status = die(NULL, fault_elsewhere);
    ck_assert_msg(said("the host's simple handler"), "%.2000s", words);
    ck_assert(WIFEXITED(status));

    ck_assert_int_eq(run_with(NULL, put_the_default_over, 0), 0);
    name_victim("digger", 0);
    status = die(NULL, overflow_among_neighbours);
    ck_assert_msg(said("stack overflow in fiber"), "%.2000s", words);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
                  "status %x: %.2000s", (unsigned)status, words);
}
END_TEST

static void send_one(int i)
{
    (void)i;
    kill(getpid(), SIGSEGV);
    ck_code(weft_sleep(WEFT_SEC(5)), 0);
    say("went on\n");
}

static void send_two_and_overflow(int i)
{
    for (int n = 0; n < 2; n++) {
        kill(getpid(), SIGSEGV);
        ck_code(weft_sleep(WEFT_MS(1)), 0);
    }
    say("went on\n");
    overflow_among_neighbours(i);
}

/* kill(1) with SIGSEGV does what it does without weft: it kills, or nothing, and
 * the next overflow is told. */
START_TEST(what_is_sent_is_no_fault)
{
    int status;

#ifndef SANITIZED
    status = die(NULL, send_one);
    ck_assert_msg(died_of(status, SIGSEGV), "status %x: %.2000s",
                  (unsigned)status, words);
    ck_assert_msg(!said("went on"), "%.2000s", words);

    signal(SIGSEGV, SIG_IGN);
    name_victim("digger", 0);
    status = die(NULL, send_two_and_overflow);
    ck_assert_msg(said("went on\n"), "%.2000s", words);
    ck_assert_msg(said("stack overflow in fiber"), "%.2000s", words);
    ck_assert_msg(died_of(status, SIGSEGV), "status %x: %.2000s",
                  (unsigned)status, words);
#else
    (void)status;
    (void)send_one;
    (void)send_two_and_overflow;
#endif
}
END_TEST

static char alternate[32768];

static void take_an_alternate_stack(int i)
{
    stack_t mine = { .ss_sp = alternate + 16, .ss_size = sizeof(alternate) - 16 };

    (void)i;
    ck_assert_int_eq(sigaltstack(&mine, NULL), 0);
    memset(alternate, 1, sizeof(alternate));
}

/* The program's own, on a worker: it is not weft's to unmap. */
START_TEST(an_alternate_stack_of_the_programs_stays)
{
#ifndef SANITIZED
    for (int n = 0; n < 3; n++)
        ck_assert_int_eq(run_with(NULL, take_an_alternate_stack, 0), 0);
    ck_assert_int_eq(alternate[sizeof(alternate) - 1], 1);
#else
    (void)take_an_alternate_stack;
#endif
}
END_TEST

/* --- Without a guard ----------------------------------------------------------- */

/* Down to just below `floor`, and back. */
static __attribute__((noinline)) int descend_to(const char *floor)
{
    volatile char frame[64];
    int below = 0;

    memset((char *)(uintptr_t)frame, 1, sizeof(frame));
    if ((char *)(uintptr_t)frame > floor)
        below = descend_to(floor);
    return below + frame[0];
}

static void *overflow_and_park(void *arg)
{
    weft__stack_t stack = my_stack();

    (void)arg;
    descend_to(weft__stack_base(stack) + 32);
    say("overflown\n");
    (void)weft_chan_recv(never, NULL);
    say("went on\n");
    return NULL;
}

static void *overflow_and_end(void *arg)
{
    weft__stack_t stack = my_stack();

    (void)arg;
    descend_to(weft__stack_base(stack) + 32);
    say("overflown\n");
    return NULL;
}

static void *(*overflower)(void *);

static void overflow_without_guard(int i)
{
    weft_fiber_t f;

    (void)i;
    never = new_chan(0, 0);
    f = spawn(overflower, NULL);
    (void)weft_join(f, NULL);
    say("went on\n");
}

/* The canary is dead: the next park, or the end, stops the program. */
START_TEST(an_overflow_without_a_guard_stops_the_program_at_the_next_park)
{
    weft_config_t config = WEFT_CONFIG_INIT;
    int status;

    config.guard = WEFT_GUARD_CANARY;
    overflower = _i ? overflow_and_end : overflow_and_park;
    status = die(&config, overflow_without_guard);
    ck_assert_msg(said("overflown\n"), "%.2000s", words);
    ck_assert_msg(said("overflowed its stack"), "%.2000s", words);
    ck_assert_msg(!said("went on"), "%.2000s", words);
    ck_assert_msg(died_of(status, SIGABRT), "status %x: %.2000s", (unsigned)status,
                  words);
}
END_TEST

/* --- The high-water mark ------------------------------------------------------- */

static size_t used_of_this(void)
{
    return weft__stack_high_water(my_stack());
}

static void *use_much(void *arg)
{
    weft__stack_t stack = my_stack();

    (void)arg;
    descend_to(weft__stack_base(stack) + 16384);
    return (void *)used_of_this();
}

WEFT_TEST(a_dump_tells_how_much_of_its_stack_a_fiber_has_used)
{
    char line[16384];
    int ends[2];
    ssize_t n;
    size_t used = (size_t)join(spawn(use_much, NULL));

    ck_assert_uint_ge(used, 65536 - 16384 - 4096);
    ck_assert_uint_le(used, 65536 - 16384 + 4096);
    ck_assert_uint_gt(used_of_this(), 0);

    ck_assert_int_eq(pipe(ends), 0);
    ck_code(weft_dump(ends[1]), 1);
    n = read(ends[0], line, sizeof(line) - 1);
    ck_assert_int_gt(n, 0);
    line[n] = '\0';
    ck_assert_msg(strstr(line, " of 65536 bytes") != NULL, "%s", line);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("overflow");
    TCase *tc = tcase_create("overflow");

    tcase_add_loop_test(tc, an_overflow_leaves_its_neighbours_intact,
                        WEFT_GUARD_AUTO, WEFT_GUARD_MPROTECT + 1);
    tcase_add_loop_test(
        tc, an_overflow_names_the_fiber_its_stack_and_who_spawned_it, 0, 3);
    tcase_add_test(tc, an_overflow_of_a_fiber_without_a_name_is_told_too);
    tcase_add_test(tc, a_handler_without_siginfo_has_its_say_too);
    tcase_add_test(tc, a_fault_elsewhere_is_no_overflow);
    tcase_add_test(tc, the_handler_of_before_is_back_after_a_run);
    tcase_add_test(tc, handlers_that_pass_on_make_no_ring);
    tcase_add_test(tc, a_handler_that_is_taken_away_again_leaves_no_ring);
    tcase_add_test(tc, what_is_sent_is_no_fault);
    tcase_add_test(tc, an_alternate_stack_of_the_programs_stays);
    tcase_add_loop_test(
        tc, an_overflow_without_a_guard_stops_the_program_at_the_next_park,
        0, 2);
    tcase_add_test(tc, a_dump_tells_how_much_of_its_stack_a_fiber_has_used);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
