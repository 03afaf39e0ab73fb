/* Scenarios of bare virtual threads: no runtime, no fibers. */
#include <errno.h>
#include <limits.h>

#include "runtime/sim/explore.h"
#include "runtime/sim/run.h"
#include "runtime/sim/world.h"

struct bare {
    void (*fn)(void *);
    void *arg;
};

static void *bare_main(void *arg)
{
    struct bare *bare = arg;

    bare->fn(bare->arg);
    return NULL;
}

struct scenario {
    void (*const *fns)(void *);
    unsigned n;
    void *arg;
    int (*check)(void *);
};

static int scenario_run(const weft_sim_t *set, void *arg)
{
    const struct scenario *s = arg;
    struct bare bare[WEFT__SIM_THREADS];
    int status = weft__run_begin(set);

    if (status != 0)
        return status;
    for (unsigned i = 0; i < s->n; i++) {
        bare[i] = (struct bare){ s->fns[i], s->arg };
        status = weft__vthread_new(bare_main, &bare[i]);
        if (status < 0) {
            weft__run_end();
            return status;
        }
    }
    weft__run_hosted(UINT64_MAX >> (WEFT__SIM_THREADS - s->n));

    status = weft__run_code(weft__sim_last()->verdict);
    if (status == 0 && s->check != NULL) {
        status = s->check(s->arg);
        if (status < 0)
            weft__run_found("the check after the run failed");
    }
    return status;
}

static int scenario_settings(const weft_sim_t *sim, weft_sim_t *set,
                             const struct scenario *s, unsigned runs)
{
    if (s->fns == NULL || s->n == 0 || s->n > WEFT__SIM_THREADS ||
        runs > INT_MAX)
        return -EINVAL;
    return weft__run_settings(sim, set);
}

int weft__sim_threads(const weft_sim_t *sim, void (*const fns[])(void *),
                      unsigned n, void *arg, int (*check)(void *))
{
    struct scenario s = { fns, n, arg, check };
    weft_sim_t set;
    int status = scenario_settings(sim, &set, &s, 1);

    return status < 0 ? status : scenario_run(&set, &s);
}

int weft__sim_search(const weft_sim_t *sim, unsigned runs,
                     void (*const fns[])(void *), unsigned n, void *arg,
                     void (*prepare)(void *), int (*check)(void *))
{
    struct scenario s = { fns, n, arg, check };
    weft_sim_t set;
    int status = scenario_settings(sim, &set, &s, runs);

    if (status < 0)
        return status;
    if (status == 1)
        runs = 1; /* the seed of the environment and no other */
    for (unsigned i = 0; i < runs; i++, set.seed++) {
        if (prepare != NULL)
            prepare(arg);
        status = scenario_run(&set, &s);
        if (status < 0)
            return status;
    }
    return (int)runs;
}

int weft__sim_search_apart(const weft_sim_t *sim, unsigned runs,
                           void (*const fns[])(void *), unsigned n, void *arg,
                           int (*check)(void *),
                           void (*each)(int answer, void *arg), void *each_arg)
{
    struct scenario s = { fns, n, arg, check };
    weft_sim_t set;
    int status = scenario_settings(sim, &set, &s, runs);

    if (status < 0)
        return status;
    if (status != 1)
        return weft__explore_apart(set, runs, scenario_run, &s, each,
                                   each_arg);
    return weft__explore_named(set, scenario_run, &s, NULL, NULL);
}
