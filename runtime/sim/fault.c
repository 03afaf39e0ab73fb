/*
 * Faults to order, and the table that does nothing else. In the passthrough
 * the threads are real, so the counters are atomic.
 */
#include "runtime/sim/sim.h"

#include "runtime/sim/world.h"
#include "sched/fatal.h"

#define FAULT_KINDS ((unsigned)WEFT__FAULT_FD + 1)

static struct fault {
    unsigned nth;
    int code; /* 0: no order */
    unsigned calls;
} fault[FAULT_KINDS];

void weft__sim_fault(enum weft__seam_fault kind, unsigned nth, int code)
{
    WEFT__CHECK((unsigned)kind < FAULT_KINDS && code <= 0,
                "a fault that is none");
    fault[kind].nth = nth;
    __atomic_store_n(&fault[kind].calls, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&fault[kind].code, code, __ATOMIC_RELEASE);
}

unsigned weft__sim_fault_calls(enum weft__seam_fault kind)
{
    return __atomic_load_n(&fault[kind].calls, __ATOMIC_RELAXED);
}

int weft__fault_happens(enum weft__seam_fault kind)
{
    struct fault *f = &fault[kind];
    unsigned call = __atomic_add_fetch(&f->calls, 1, __ATOMIC_RELAXED);
    int code = __atomic_load_n(&f->code, __ATOMIC_ACQUIRE);

    return code != 0 && (f->nth == 0 || f->nth == call) ? code : 0;
}

/* Where the table has no entry sched/seam.c, sched/os.c and
 * sched/os_thread.c make the plain call. */
static const struct weft__seam passthrough = { .fault = weft__fault_happens };

void weft__sim_passthrough(bool on)
{
    WEFT__CHECK(!weft__world.active, "no passthrough inside a simulation");
    weft__seam = on ? &passthrough : NULL;
}
