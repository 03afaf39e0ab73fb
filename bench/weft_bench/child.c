#include "bench/weft_bench/child.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/weft.h>

#include "bench/weft_bench/work.h"

static const struct bench_case *const cases[] = {
    &case_switch,     &case_yield,           &case_spawn_join,
    &case_spawn_many, &case_spawn_many_join, &case_fib,
    &case_skynet,     &case_chan_rt,         &case_chan_buf,
    &case_mutex,      &case_parked,          &case_idle,
    &case_checkpoint, &case_ready_compute,   &case_sleepers,
    &case_asleep,     &case_asleep_fds,
};

enum { COLD_OPS = 1000 };

struct run {
    const struct bench_case *what;
    int (*fn)(struct work *w);
    struct work *work;
};

static int child_usage(const char *problem)
{
    fprintf(stderr,
            "weft-bench --child: %s\n"
            "usage: weft-bench --child weft|pthread|pool CASE --workers N"
            " --ops N [--procs P]\n",
            problem);
    return 2;
}

/* A little of the work first, in the same runtime and on the same threads: what
 * is measured is the steady state. So little that it leaves no mark, where the
 * first touch or the peak of memory is the question. */
static uint64_t child_warm_ops(const struct run *run)
{
    uint64_t ops = run->work->ops / 10;

    if (run->what->less > 0)
        return run->work->ops - run->what->less;
    if (run->what->cold && ops > COLD_OPS)
        ops = COLD_OPS;
    return ops > 0 ? ops : 1;
}

static int child_twice(const struct run *run)
{
    struct work *w = run->work;
    struct work warm = *w;
    int status;

    warm.ops = child_warm_ops(run);
    status = run->fn(&warm);
    if (status != WORK_DONE) {
        memcpy(w->why, warm.why, sizeof(w->why));
        return status;
    }
    return run->fn(w);
}

static int child_entry(void *arg)
{
    return child_twice(arg);
}

static int child_weft(const struct run *run)
{
    weft_config_t config = WEFT_CONFIG_INIT;
    int status = WORK_WRONG;
    int code;

    config.workers = run->work->workers;
    code = weft_run(&config, child_entry, (void *)run, &status);
    if (code != 0)
        return work_wrong(run->work, "weft_run: %s", weft_strerror(code));
    return status;
}

static const struct bench_case *child_case(const char *name)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (strcmp(cases[i]->name, name) == 0)
            return cases[i];
    return NULL;
}

static void child_print(const struct run *run)
{
    const struct work *w = run->work;

    printf("RESULT %s workers=%u ops=%" PRIu64 " ns=%" PRIu64
           " rss_kib=%" PRIu64,
           run->what->name, w->workers, w->ops, w->ns, status_kib("VmHWM"));
    if (w->bytes_each != 0)
        printf(" bytes_each=%" PRIu64, w->bytes_each);
    if (w->worst_ns != 0)
        printf(" p50_ns=%" PRIu64 " p99_ns=%" PRIu64 " worst_ns=%" PRIu64,
               w->p50_ns, w->p99_ns, w->worst_ns);
    printf(" cpu_ns=%" PRIu64 "\n", w->cpu_ns);
}

int child_main(int argc, char **argv)
{
    struct work w = { .workers = 1, .ops = 0, .procs = 1 };
    struct run run = { .work = &w };
    bool on_weft;
    int status;

    if (argc < 2)
        return child_usage("a way and a case are missing");
    run.what = child_case(argv[1]);
    if (run.what == NULL)
        return child_usage("no such case");

    for (int i = 2; i < argc; i += 2) {
        uint64_t value = i + 1 < argc ? strtoull(argv[i + 1], NULL, 10) : 0;

        if (value == 0)
            return child_usage("an option wants a number above 0");
        if (strcmp(argv[i], "--workers") == 0)
            w.workers = (unsigned)value;
        else if (strcmp(argv[i], "--ops") == 0)
            w.ops = value;
        else if (strcmp(argv[i], "--procs") == 0)
            w.procs = (unsigned)value;
        else
            return child_usage("no such option");
    }
    if (w.ops <= run.what->less)
        return child_usage("--ops is missing or too small");

    on_weft = strcmp(argv[0], "weft") == 0;
    if (on_weft)
        run.fn = run.what->weft;
    else if (strcmp(argv[0], "pthread") == 0)
        run.fn = run.what->pthread;
    else if (strcmp(argv[0], "pool") == 0)
        run.fn = run.what->pool;
    if (run.fn == NULL)
        return child_usage("this case is not done that way");

    status = on_weft ? child_weft(&run) : child_twice(&run);
    if (status == WORK_DONE)
        child_print(&run);
    else if (status == WORK_STOPPED)
        printf("STOPPED %s\n", w.why);
    else
        printf("WRONG %s\n", w.why);
    return status == WORK_DONE || status == WORK_STOPPED ? 0 : 1;
}
