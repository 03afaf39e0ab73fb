/*
 * Reports of runs that went wrong, on stderr: what happened, who stands
 * where, the schedule, and how to see it again.
 *
 * Where a thread stands only it can tell: backtrace(3) looks at the stack it
 * runs on. So for a dump each thread is switched to once more, says where it
 * is, and switches back.
 */
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/sim/world.h"
#include "sched/os.h"

/* A schedule longer than this is cut: the seed replays as well. */
enum { REPORT_SCHEDULE = 4000, REPORT_FRAMES = 32 };

static bool report_quiet;

void weft__sim_quiet(bool quiet)
{
    report_quiet = quiet;
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    char line[300] = "weft-sim: ";
    int prefix = 10;
    va_list values;
    int n;

    va_start(values, format);
    n = vsnprintf(line + prefix, sizeof(line) - 11, format, values);
    va_end(values);
    if (n < 0)
        return;
    if (n > (int)sizeof(line) - 12)
        n = (int)sizeof(line) - 12;
    line[prefix + n] = '\n';
    weft__os_say(line, (size_t)(prefix + n + 1));
}

/* --- The dump of all threads --------------------------------------------- */

static void backtrace_here(void)
{
    void *frame[REPORT_FRAMES];
    int n = backtrace(frame, REPORT_FRAMES);

    /* The first is this function. */
    if (n > 1)
        backtrace_symbols_fd(frame + 1, n - 1, STDERR_FILENO);
}

static unsigned report_back; /* who makes the dump */

void weft__report_backtrace(void)
{
    struct weft__vthread *me = weft__current();

    backtrace_here();
    weft__world.current = report_back;
    weft__coro_switch(&me->coro, &weft__world.thread[report_back].coro);
}

static void report_thread(struct weft__vthread *t)
{
    static const char *const state[] = { "", "can move", "sleeps on a futex",
                                         "joins", "has ended" };
    struct weft__vthread *me = weft__current();

    if (t->state == VTHREAD_SLEEPING)
        say("thread %u %s at %p%s", t->index, state[t->state],
            (void *)(uintptr_t)t->word,
            t->deadline == INT64_MAX ? "" : ", with a timeout");
    else if (t->state == VTHREAD_JOINING)
        say("thread %u %s thread %u", t->index, state[t->state], t->joins);
    else
        say("thread %u %s (%s)", t->index, state[t->state], t->what);

    if (t == me) {
        backtrace_here();
    } else if (t->started && t->state != VTHREAD_ENDED) {
        weft__world.current = t->index;
        weft__coro_switch(&me->coro, &t->coro);
    }
}

static void report_threads(void)
{
    struct weft__world *w = &weft__world;

    report_back = w->current;
    w->dumping = true;
    for (unsigned i = 0; i < w->threads; i++)
        if (w->thread[i].state != VTHREAD_FREE)
            report_thread(&w->thread[i]);
    w->dumping = false;
}

/* --- The schedule, and how to see it again ------------------------------- */

static void report_replay(void)
{
    static char text[REPORT_SCHEDULE + 1];
    struct weft__world *w = &weft__world;
    size_t n = weft__schedule_text(&w->schedule, text, sizeof(text));

    weft__os_say("weft-sim: schedule: ", 20);
    weft__os_say(text, n < sizeof(text) ? n : sizeof(text) - 1);
    weft__os_say("\n", 1);
    if (n >= sizeof(text))
        say("(the first %d of its %zu characters)", REPORT_SCHEDULE, n);
    if (w->set.replay != NULL)
        say("this was a replay");
    else if (secure_getenv("WEFT_WORKERS") != NULL)
        say("again: WEFT_SEED=%llu WEFT_WORKERS=%u %s",
            (unsigned long long)w->set.seed, w->set.workers,
            program_invocation_name);
    else
        say("again: WEFT_SEED=%llu %s", (unsigned long long)w->set.seed,
            program_invocation_name);
}

void weft__report_failure(void)
{
    const struct weft__world *w = &weft__world;

    if (report_quiet)
        return;
    say("seed %llu: %s (step %llu, %lld ns, %u workers, buffer %u)",
        (unsigned long long)w->set.seed, w->result.what,
        (unsigned long long)w->steps, (long long)w->now, w->set.workers,
        w->set.buffer);
    if (w->result.verdict == WEFT__SIM_DEADLOCK ||
        w->result.verdict == WEFT__SIM_HUNG)
        report_threads();
    else if (w->active)
        backtrace_here();
    report_replay();
}

/* --- When the program dies ----------------------------------------------- */

static const int dying[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
enum { DYING = sizeof(dying) / sizeof(dying[0]) };
static struct sigaction before[DYING];

static void report_dying(int number)
{
    const struct weft__world *w = &weft__world;

    weft__report_release();
    say("seed %llu: the program died of signal %d in thread %u (%s, step "
        "%llu)",
        (unsigned long long)w->set.seed, number, w->current,
        w->thread[w->current].what, (unsigned long long)w->steps);
    report_replay();
    /* A fault happens again when we return, under the handler from before.
     * abort() raises again too, but resets the handler first. */
    if (number == SIGABRT)
        raise(number);
}

void weft__report_catch(void)
{
    struct sigaction action = { .sa_flags = SA_ONSTACK };

    action.sa_handler = report_dying;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < DYING; i++)
        sigaction(dying[i], &action, &before[i]);
}

void weft__report_release(void)
{
    for (int i = 0; i < DYING; i++)
        sigaction(dying[i], &before[i], NULL);
}
