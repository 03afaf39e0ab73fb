#include "tests/sim_support.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netpoll/offload.h"
#include "netpoll/poller.h"
#include "netpoll/signal.h"
#include "sched/sched.h"
#include "tests/sim.h"

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

/* --- Whole runtimes ------------------------------------------------------ */

static int poll_open(void **poller)
{
    return weft__poller_open((struct weft__poller **)poller);
}

static void poll_close(void *poller)
{
    weft__poller_close(poller);
}

static int poll_pass(void *poller)
{
    return weft__poller_pass(poller);
}

static void poll_sleep(void *poller, int64_t until)
{
    weft__poller_sleep(poller, until);
}

static void poll_wake(void *poller)
{
    weft__poller_wake(poller);
}

static struct {
    struct weft__sched_config config;
    int (*entry)(void *);
    void *arg;
    int status;
    int answer;
    struct sim_met *met;
} run;

/* The caller of weft_run(): virtual thread 0. weft__sched_run() and not
 * weft_run(), which has no say about the size of the ring. */
static void caller(void *arg)
{
    (void)arg;
    for (int i = 0; i < WEFT__LANES; i++)
        weft__lane_open(&weft__lanes[i], SIM_LANES);
    run.status = weft__sched_run(&run.config, run.entry, run.arg, &run.answer);
    for (int i = 0; i < WEFT__LANES; i++)
        weft__lane_close(&weft__lanes[i]);
    weft__signal_close();
}

static int answered(void *arg)
{
    (void)arg;
    if (weft__sim_last()->longest > WEFT_SEC(1)) {
        fprintf(stderr, "all slept for %lld ns\n",
                (long long)weft__sim_last()->longest);
        return -ETIME;
    }
    return run.status != 0 ? run.status : run.answer;
}

static void log_fails(int level, const char *line, void *arg)
{
    (void)level, (void)arg;
    fprintf(stderr, "log: %s\n", line);
    weft__sim_fail("the runtime had something to log");
}

static void add_up(int answer, void *arg)
{
    (void)arg;
    run.met->runs++;
    run.met->steps += weft__sim_last()->steps;
    for (int bit = 0; bit < 16; bit++)
        run.met->times[bit] += answer >> bit & 1;
}

static unsigned scale(void)
{
    const char *text = getenv("SIM_SCALE");
    int n = text != NULL ? atoi(text) : 1;

    return n > 0 ? (unsigned)n : 1;
}

int sim_runs(const char *name, unsigned workers, uint32_t ring, unsigned runs,
             int (*entry)(void *), void *arg, struct sim_met *met)
{
    static struct sim_met unused;
    void (*const fns[])(void *) = { caller };
    weft_sim_t sim = WEFT_SIM_INIT;
    double start = sim_seconds();
    int status;

    sim.workers = workers;
    memset(&run, 0, sizeof(run));
    run.config = (struct weft__sched_config){
        .workers = workers,
        .stack_class = (unsigned)weft__stack_class(64 * 1024),
        .ring = ring,
        .stop_timeout = WEFT_SEC(5),
        .poll = { poll_open, poll_close, poll_pass, poll_sleep, poll_wake },
    };
    run.entry = entry;
    run.arg = arg;
    run.met = met != NULL ? met : &unused;
    memset(run.met, 0, sizeof(*run.met));

    weft_set_log(log_fails, NULL);
    status = weft__sim_search_apart(&sim, runs * scale(), fns, 1, NULL,
                                    answered, add_up, NULL);
    weft_set_log(NULL, NULL);
    sim_print(name, (int)run.met->runs, sim_seconds() - start);
    /* One seed says nothing of how often things happen; and what comes behind
     * this exploration shall be tried, too. */
    if (getenv("WEFT_SEED") != NULL) {
        run.met->runs = runs;
        for (int bit = 0; bit < 16; bit++)
            run.met->times[bit] = runs;
    }
    return status < 0 ? status : (int)runs;
}

bool sim_finds(enum sim_defect defect, unsigned workers, uint32_t ring,
               unsigned runs, int (*entry)(void *), void *arg)
{
    int status;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        int nowhere = open("/dev/null", O_WRONLY);

        dup2(nowhere, STDOUT_FILENO);
        dup2(nowhere, STDERR_FILENO);
        sim_plant(defect);
        status = sim_runs("planted", workers, ring, runs, entry, arg, NULL);
        _exit(status < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid &&
           (WIFSIGNALED(status) || WEXITSTATUS(status) != EXIT_SUCCESS);
}

int sim_did(void)
{
    weft_worker_stats_t s;

    weft__sched_counters(UINT_MAX, &s);
    return (s.stolen ? SIM_STOLE : 0) | (s.overflows ? SIM_OVERFLOWED : 0) |
           (s.sleeps ? SIM_SLEPT : 0) | (s.wakes ? SIM_WOKE : 0);
}
