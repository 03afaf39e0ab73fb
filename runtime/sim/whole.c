/* weft_sim_run() and weft_explore(): a whole runtime in a simulation. */
#include <errno.h>
#include <limits.h>

#include <weft/fiber.h>
#include <weft/runtime.h>

#include "runtime/sim/explore.h"
#include "runtime/sim/run.h"
#include "runtime/sim/world.h"
#include "sched/worker.h"

/* What virtual thread 0, the caller of weft_run(), is to do. */
struct whole {
    int (*entry)(void *);
    void *arg;
    int status;
    int result;
};

static void *whole_main(void *arg)
{
    struct whole *whole = arg;
    weft_config_t config = WEFT_CONFIG_INIT;

    config.workers = weft__sim_workers();
    whole->status = weft_run(&config, whole->entry, whole->arg,
                             &whole->result);
    return NULL;
}

static int whole_run(const weft_sim_t *set, void *arg)
{
    struct whole whole = *(struct whole *)arg;
    int status = weft__run_begin(set);

    if (status != 0)
        return status;
    status = weft__vthread_new(whole_main, &whole);
    if (status < 0) {
        weft__run_end();
        return status;
    }
    weft__run_hosted(1);

    status = weft__run_code(weft__sim_last()->verdict);
    if (status != 0)
        return status;
    status = whole.status != 0 ? whole.status : whole.result;
    if (status < 0)
        weft__run_found(whole.status != 0 ? "weft_run() failed"
                                          : "the entry's answer is negative");
    return status;
}

static int whole_settings(const weft_sim_t *sim, weft_sim_t *set,
                          int (*entry)(void *))
{
    if (entry == NULL || sim == NULL)
        return -EINVAL;
    if (weft__sim_active() || weft_self() != 0)
        return -EPERM;
    /* A runtime stands: one that runs, or one that was left. */
    if (weft__sched.count != 0)
        return -EBUSY;
    return weft__run_settings(sim, set);
}

int weft_sim_run(const weft_sim_t *sim, int (*entry)(void *), void *arg)
{
    struct whole whole = { entry, arg, 0, 0 };
    weft_sim_t set;
    int status = whole_settings(sim, &set, entry);

    return status < 0 ? status : whole_run(&set, &whole);
}

int weft__sim_explore(const weft_sim_t *sim, unsigned runs,
                      int (*entry)(void *), void *arg,
                      void (*each)(int answer, void *arg), void *each_arg)
{
    struct whole whole = { entry, arg, 0, 0 };
    weft_sim_t set;
    int status = whole_settings(sim, &set, entry);

    if (status < 0)
        return status;
    if (runs > INT_MAX)
        return -EINVAL;
    if (status == 1 || set.replay != NULL)
        return weft__explore_named(set, whole_run, &whole, each, each_arg);
    return weft__explore_apart(set, runs, whole_run, &whole, each, each_arg);
}

int weft_explore(const weft_sim_t *sim, unsigned runs, int (*entry)(void *),
                 void *arg)
{
    return weft__sim_explore(sim, runs, entry, arg, NULL, NULL);
}
