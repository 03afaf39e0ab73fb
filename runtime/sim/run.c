/* Runs: their settings, their beginning and their end. */
#include "runtime/sim/run.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include <weft/runtime.h>

#include "runtime/sim/memory.h"
#include "runtime/sim/thread.h"
#include "runtime/sim/world.h"
#include "sched/fatal.h"

enum {
    RUN_SEED = 1,
    RUN_STEPS = 1000000,
    RUN_WORKERS = 2,
    RUN_BUFFER = 2,
    RUN_WORKERS_MOST = WEFT__SIM_THREADS / 2 /* leaves room for lanes */
};
#define RUN_STEPS_MOST (UINT64_C(1) << 40)

/* Where the virtual clock begins: an hour after its machine was started. */
#define RUN_START (INT64_C(3600) * 1000000000)

const struct weft__seam weft__sim_seam = {
    .load = weft__sim_load,
    .store = weft__sim_store,
    .rmw = weft__sim_rmw,
    .cas = weft__sim_cas,
    .fence = weft__sim_fence,
    .membarrier = weft__sim_membarrier,
    .thread_create = weft__sim_thread_create,
    .thread_join = weft__sim_thread_join,
    .futex_wait = weft__sim_futex_wait,
    .futex_wake = weft__sim_futex_wake,
    .pause = weft__sim_pause,
    .self = weft__sim_self,
    .set_self = weft__sim_set_self,
    .now = weft__sim_now,
    .point = weft__sim_point,
    .fault = weft__fault_happens,
    .draw = weft__sim_draw,
};

/* --- Settings ------------------------------------------------------------ */

/* WEFT_SEED, which wins over the program. Returns 1, 0 if it is not set, or
 * -EINVAL. */
static int env_seed(uint64_t *seed)
{
    const char *text = secure_getenv("WEFT_SEED");
    char *end;

    if (text == NULL)
        return 0;
    errno = 0;
    *seed = strtoull(text, &end, 0);
    if (errno != 0 || end == text || *end != '\0' || *text < '0' ||
        *text > '9') {
        weft__log(WEFT_LOG_ERROR, "WEFT_SEED is '%s'; it is a number", text);
        return -EINVAL;
    }
    return 1;
}

int weft__run_settings(const weft_sim_t *sim, weft_sim_t *set)
{
    static const weft_sim_t defaults = WEFT_SIM_INIT;
    uint64_t seed;
    int status;

    if (sim == NULL)
        sim = &defaults;
    if (sim->size != sizeof(*sim))
        return -EINVAL;
    *set = *sim;
    status = env_seed(&seed);
    if (status < 0)
        return status;
    if (status > 0)
        set->seed = seed;
    else if (set->seed == 0)
        set->seed = RUN_SEED;
    if (set->steps == 0)
        set->steps = RUN_STEPS;
    if (set->workers == 0)
        set->workers = RUN_WORKERS;
    if (set->buffer == 0)
        set->buffer = RUN_BUFFER;
    else if (set->buffer == UINT_MAX)
        set->buffer = 0;
    if (set->steps > RUN_STEPS_MOST || set->workers > RUN_WORKERS_MOST ||
        set->buffer > WEFT__BUFFER_MOST)
        return -EINVAL;
    return status; /* 1: the seed is the environment's */
}

/* --- Beginning and end --------------------------------------------------- */

/* Two OS threads may try at the same time. */
static bool run_busy;

int weft__run_begin(const weft_sim_t *set)
{
    struct weft__world *w = &weft__world;
    int status;

    if (__atomic_exchange_n(&run_busy, true, __ATOMIC_ACQUIRE))
        return -EBUSY;

    w->chooser = set->replay != NULL ? &weft__chooser_replay
                                     : &weft__chooser_random;
    status = w->chooser->begin(set);
    if (status == 0)
        status = weft__schedule_begin(&w->schedule, set->steps + 1);
    if (status != 0) {
        __atomic_store_n(&run_busy, false, __ATOMIC_RELEASE);
        return status;
    }

    w->set = *set;
    w->os_thread = pthread_self();
    for (unsigned i = 0; i < w->threads; i++)
        w->thread[i].state = VTHREAD_FREE;
    w->threads = 0;
    w->current = 0;
    w->runnable = w->dirty = w->paused = w->awaited = 0;
    w->now = RUN_START;
    w->earliest = INT64_MAX;
    w->tickets = 0;
    w->steps = 0;
    w->hosted = false;
    w->misfit = false;
    w->result = (struct weft__sim_result){ .seed = set->seed };
    w->active = true;
    return 0;
}

static const struct weft__seam *run_seam = &weft__sim_seam;

void weft__sim_plant(const struct weft__seam *seam)
{
    run_seam = seam != NULL ? seam : &weft__sim_seam;
}

void weft__run_start(uint64_t awaited)
{
    struct weft__world *w = &weft__world;

    w->awaited = awaited;
    w->thread[0].started = true;
    weft__report_catch();
    weft__seam = run_seam;
}

void weft__run_end(void)
{
    if (weft__seam != NULL)
        weft__report_release();
    weft__seam = NULL;
    weft__world.active = false;
    __atomic_store_n(&run_busy, false, __ATOMIC_RELEASE);
}

void weft__run_hosted(uint64_t awaited)
{
    struct weft__world *w = &weft__world;

    w->hosted = true;
    weft__run_start(awaited);
    weft__coro_switch(&w->host, &w->thread[0].coro);
    weft__run_end();
}

void weft__run_result(enum weft__sim_verdict verdict, const char *what)
{
    struct weft__world *w = &weft__world;

    w->result.verdict = verdict;
    w->result.what = what;
    w->result.steps = w->steps;
    w->result.choices = w->schedule.n;
    w->result.hash = w->schedule.hash;
}

_Noreturn void weft__run_over(enum weft__sim_verdict verdict,
                              const char *what)
{
    struct weft__world *w = &weft__world;

    weft__run_result(verdict, what);
    if (verdict != WEFT__SIM_SOUND)
        weft__report_failure();
    if (!w->hosted) {
        weft__run_end();
        abort();
    }
    weft__coro_switch(&weft__current()->coro, &w->host);
    abort(); /* no one comes back to a run that is over */
}

_Noreturn void weft__sim_fail(const char *what)
{
    WEFT__CHECK(weft__world.active, what);
    weft__run_over(WEFT__SIM_WRONG, what);
}

void weft__run_found(const char *what)
{
    weft__world.result.verdict = WEFT__SIM_WRONG;
    weft__world.result.what = what;
    weft__report_failure();
}

int weft__run_code(enum weft__sim_verdict verdict)
{
    static const int code[] = {
        [WEFT__SIM_SOUND] = 0,         [WEFT__SIM_DEADLOCK] = -EDEADLK,
        [WEFT__SIM_HUNG] = -ETIMEDOUT, [WEFT__SIM_MISFIT] = -EINVAL,
        [WEFT__SIM_WRONG] = -EPROTO,
    };

    return code[verdict];
}

const struct weft__sim_result *weft__sim_last(void)
{
    return &weft__world.result;
}

size_t weft__sim_schedule(char *text, size_t size)
{
    return weft__schedule_text(&weft__world.schedule, text, size);
}
