/* The hook in weft_run(): a simulation around the caller. */
#include <errno.h>
#include <stdlib.h>

#include "runtime/sim/run.h"
#include "runtime/sim/world.h"
#include "sched/fatal.h"

bool weft__sim_active(void)
{
    return weft__world.active;
}

bool weft__sim_wanted(void)
{
    return !weft__world.active && secure_getenv("WEFT_SEED") != NULL;
}

unsigned weft__sim_workers(void)
{
    return weft__world.set.workers;
}

void weft__sim_has_workers(unsigned n)
{
    if (weft__world.active)
        weft__world.set.workers = n;
}

int weft__sim_enter(const weft_sim_t *sim)
{
    weft_sim_t set;
    int status = weft__run_settings(sim, &set);

    if (status >= 0)
        status = weft__run_begin(&set);
    if (status < 0)
        return status;
    weft__vthread_adopt();
    weft__run_start(1);
    return 0;
}

void weft__sim_leave(void)
{
    WEFT__CHECK(weft__world.active && weft__world.current == 0,
                "the thread that entered a simulation leaves it");
    weft__buffer_drain(weft__current());
    weft__run_result(WEFT__SIM_SOUND, NULL);
    weft__run_end();
}
