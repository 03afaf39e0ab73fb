/* What the ordinary library says to a simulation: it has none. */
#ifndef WEFT_SIM

#include <weft/sim.h>

#include <errno.h>

int weft_sim_run(const weft_sim_t *sim, int (*entry)(void *), void *arg)
{
    (void)sim, (void)entry, (void)arg;
    return -ENOSYS;
}

int weft_explore(const weft_sim_t *sim, unsigned runs, int (*entry)(void *),
                 void *arg)
{
    (void)sim, (void)runs, (void)entry, (void)arg;
    return -ENOSYS;
}

#else

/* A translation unit is never empty. */
typedef int weft__sim_is_not_absent;

#endif
