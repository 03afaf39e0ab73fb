#include "tests/sim_support.h"

#include <string.h>

#include "runtime/sim/sim.h"

static struct weft__seam seam;

static void no_fence(int order)
{
    (void)order;
    seam.point("no fence");
}

static void weak_store(volatile void *p, uint64_t value, unsigned size,
                       int order)
{
    (void)order;
    weft__sim_seam.store(p, value, size, __ATOMIC_RELEASE);
}

static void no_membarrier(void)
{
    seam.fence(__ATOMIC_SEQ_CST);
}

static bool torn_cas(volatile void *p, void *seen, uint64_t next,
                     unsigned size, int order)
{
    uint64_t found = seam.load(p, size, order);

    if (memcmp(&found, seen, size) != 0) {
        memcpy(seen, &found, size);
        return false;
    }
    seam.store(p, next, size, __ATOMIC_SEQ_CST);
    return true;
}

static uint64_t torn_rmw(volatile void *p, enum weft__seam_op op,
                         uint64_t value, unsigned size, int order)
{
    uint64_t old = seam.load(p, size, order);
    uint64_t new = value;

    if (op == WEFT__SEAM_ADD)
        new = old + value;
    else if (op == WEFT__SEAM_SUB)
        new = old - value;
    else if (op == WEFT__SEAM_OR)
        new = old | value;
    else if (op == WEFT__SEAM_AND)
        new = old & value;
    seam.store(p, new, size, __ATOMIC_SEQ_CST);
    return old;
}

static void lost_wake(volatile uint32_t *word, int count)
{
    (void)word, (void)count;
    seam.point("lost wake");
}

void sim_plant(enum sim_defect defect)
{
    seam = weft__sim_seam;
    switch (defect) {
    case SIM_NO_FENCE:
        seam.fence = no_fence;
        seam.store = weak_store;
        break;
    case SIM_NO_MEMBARRIER:
        seam.membarrier = no_membarrier;
        break;
    case SIM_TORN_CAS:
        seam.cas = torn_cas;
        break;
    case SIM_TORN_RMW:
        seam.rmw = torn_rmw;
        break;
    case SIM_LOST_WAKES:
        seam.futex_wake = lost_wake;
        break;
    }
    weft__sim_plant(&seam);
}
