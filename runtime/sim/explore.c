/*
 * Exploring: one run for each of many seeds
 *
 * Each run is made in a child process. So all begin alike: in one process a
 * run would find what those before it left behind, in the program's own
 * variables and in the runtime's pools, and its seed would replay only after
 * the same ones again. And a run that fails half way leaves nothing behind.
 *
 * What a child finds reaches its parent through shared memory: the answer,
 * the result, and the schedule. A child that dies takes its parent with it, by
 * the same signal, or with the same exit code.
 */
#include "runtime/sim/explore.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/sim/world.h"

/* What the child tells. */
struct told {
    bool done;
    int answer;
    struct weft__sim_result result;
    size_t choices;
    uint64_t hash;
};

static _Noreturn void child(struct told *told, const weft_sim_t *set,
                            weft__once once, void *arg)
{
    told->answer = once(set, arg);
    told->result = *weft__sim_last();
    told->choices = weft__world.schedule.n;
    told->hash = weft__world.schedule.hash;
    told->done = true;
    fflush(NULL);
    _exit(EXIT_SUCCESS);
}

/* The child has died without a word: so do we. */
static _Noreturn void follow(int status)
{
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

/* *died: how, if it did so before it had an answer; else 0. */
static int run_apart(struct told *told, const weft_sim_t *set,
                     weft__once once, void *arg, int *died)
{
    int status;
    pid_t pid;

    *died = 0;
    told->done = false;
    fflush(NULL); /* or the child writes it too */
    pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        child(told, set, once, arg);
    while (waitpid(pid, &status, 0) < 0) {
        if (errno == EINTR)
            continue;
        /* Somebody else has waited for it: how it died he knows. */
        status = EXIT_FAILURE << 8;
        break;
    }
    if (!told->done) {
        *died = status;
        return -EPROTO;
    }
    weft__world.result = told->result;
    weft__world.schedule.n = told->choices;
    weft__world.schedule.hash = told->hash;
    return told->answer;
}

static int explore(weft_sim_t set, unsigned runs, weft__once once, void *arg,
                   void (*each)(int answer, void *arg), void *each_arg,
                   int *died)
{
    struct told *told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;

    *died = 0;
    if (told == MAP_FAILED)
        return -ENOMEM;
    /* Made here, the room for a schedule is the children's too. */
    status = weft__schedule_begin(&weft__world.schedule, set.steps + 1);
    for (unsigned i = 0; status >= 0 && i < runs; i++, set.seed++) {
        status = run_apart(told, &set, once, arg, died);
        if (status >= 0 && each != NULL)
            each(status, each_arg);
    }
    munmap(told, sizeof(*told));
    return status < 0 ? status : (int)runs;
}

int weft__explore_apart(weft_sim_t set, unsigned runs, weft__once once,
                        void *arg, void (*each)(int answer, void *arg),
                        void *each_arg)
{
    int died;
    int status = explore(set, runs, once, arg, each, each_arg, &died);

    if (died != 0)
        follow(died);
    return status;
}

int weft__explore_named(weft_sim_t set, weft__once once, void *arg,
                        void (*each)(int answer, void *arg), void *each_arg)
{
    int died, again;
    int status = explore(set, 1, once, arg, each, each_arg, &died);

    if (status >= 0)
        return status;
    again = once(&set, arg);
    if (died != 0)
        follow(died);
    return again < 0 ? again : status;
}
