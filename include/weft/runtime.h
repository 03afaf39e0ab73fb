/*
 * The runtime
 *
 * weft runs fibers on a few OS threads, its workers. weft_run() starts them,
 * runs one function as the first fiber, and stops them when it returns:
 *
 *     static int serve(void *arg) { ... return 0; }
 *
 *     int main(void)
 *     {
 *         int result;
 *         int status = weft_run(NULL, serve, NULL, &result);
 *         return status == 0 ? result : 1;
 *     }
 *
 * One runtime a process at a time; it may be started again after it ended.
 */
#ifndef WEFT_RUNTIME_H
#define WEFT_RUNTIME_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <weft/api.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

/* When a program whose fibers are all asleep for ever is told so. */
enum {
    /* Declared unless a thread that is not weft's has ever called in, for more
     * than weft_stats(), weft_dump() or weft_audit(). */
    WEFT_DEADLOCK_AUTO = 0,
    WEFT_DEADLOCK_ALWAYS = 1,
    WEFT_DEADLOCK_NEVER = 2
};

/* How stack guards are made. */
enum {
    /* MADV_GUARD_INSTALL where the kernel has it (6.13), else mprotect. */
    WEFT_GUARD_AUTO = 0,
    WEFT_GUARD_MPROTECT = 1,
    /* No guard page; a canary is checked at each park instead. */
    WEFT_GUARD_CANARY = 2
};

/*
 * How a runtime is set up. A zero means the default; every field has an
 * environment variable that wins over the program. A variable that cannot be
 * parsed stops the start with a message that names it.
 */
typedef struct weft_config {
    size_t size;              /* sizeof(weft_config_t): set by the macro */
    unsigned workers;         /* WEFT_WORKERS; default: the affinity mask,
                                 cut to the cgroup's CPU quota; 1 to 256 */
    size_t stack_size;        /* WEFT_STACK_SIZE, bytes with the guard; 64 KiB;
                                 16 KiB to 1 GiB, made a power of two */
    weft_time_t stop_timeout; /* WEFT_STOP_TIMEOUT, ns; 5 s. In the variable
                                 a unit may follow: 200ms, 5s */
    int deadlock;             /* WEFT_DEADLOCK: auto, always, never */
    unsigned lane_threads;    /* WEFT_LANE_THREADS: most OS threads that
                                 weft_blocking() uses at once; 64; 1 to 4096 */
    int guard;                /* WEFT_GUARD: auto, mprotect, canary */
    unsigned file_threads;    /* WEFT_FILE_THREADS: the same for regular
                                 files; 64; 1 to 4096 */
    unsigned fd_threads;      /* WEFT_FD_THREADS: the same for descriptors in
                                 blocking mode; 64; 1 to 4096 */
    unsigned resolve_threads; /* WEFT_RESOLVE_THREADS: the same for
                                 weft_getaddrinfo(); 16; 1 to 4096 */
} weft_config_t;

#define WEFT_CONFIG_INIT { sizeof(weft_config_t), 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/*
 * Start a runtime, run `entry(arg)` as its first fiber, and stop.
 *
 * When entry returns, what still lives is cancelled (its waits return
 * -ECANCELED, unless behind a shield) and awaited for `stop_timeout`; then what
 * is left is listed on the log. Fibers that were cancelled may start helpers to
 * clean up, which are cancelled from birth. The calling thread becomes the
 * monitor meanwhile: it is no worker and keeps its signal mask. What the start cannot get (threads,
 * memory, descriptors) is its return code: entry is not called then, and
 * nothing stays behind.
 *
 * Blocks:   the calling thread, until all fibers have ended or the
 *           stop_timeout is over.
 * Returns:  0        entry ran and everything ended; *result is its value
 *           -EINVAL  entry is NULL, or a field or a variable has no sense
 *           -EBUSY   a runtime already runs; or (entry ran) something did
 *                    not end in time, and starts answer so until it has
 *           -EPERM   called from a fiber, from a lane job, or in a forked
 *                    child
 *           -ENOSYS  WEFT_SEED is set, and this is not libweft-sim
 *           -ENOMEM, -EAGAIN, -EMFILE, -ENFILE   what the start could not get
 * Memory:   `config` is read before the call goes on; NULL means defaults.
 *           `result` may be NULL.
 */
WEFT_API int weft_run(const weft_config_t *config, int (*entry)(void *),
                      void *arg, int *result);

/*
 * How many workers run; 0 while no runtime does.
 *
 * Blocks:   never. From anywhere.
 */
WEFT_API unsigned weft_workers(void);

/* Counters of one worker, or of all of them together. */
typedef struct weft_worker_stats {
    uint64_t spawned;   /* fibers spawned by code on this worker */
    uint64_t ended;     /* fibers that ended on it */
    uint64_t switches;  /* switches from one fiber to another */
    uint64_t parks;     /* waits that gave the worker away */
    uint64_t yields;
    uint64_t steals;    /* rounds over other workers that brought work */
    uint64_t stolen;    /* fibers these rounds brought */
    uint64_t wakes;     /* sleeping workers woken by this one */
    uint64_t sleeps;    /* times this worker went to sleep */
    uint64_t polls;     /* passes of its loop */
    uint64_t overflows; /* times its queue was full */
} weft_worker_stats_t;

/* A lane: OS threads for one kind of code that blocks. */
typedef struct weft_lane_stats {
    uint64_t threads; /* OS threads it has now */
    uint64_t queued;  /* jobs that wait for one */
    uint64_t running;
    uint64_t begun;   /* jobs that have begun since the start */
    weft_time_t age;  /* ns the oldest queued job has waited */
} weft_lane_stats_t;

typedef struct weft_stats {
    size_t size;                /* set by the caller: sizeof(weft_stats_t) */
    unsigned workers;
    uint64_t live;              /* fibers that have not ended */
    weft_worker_stats_t total;
    uint64_t records;           /* fiber records made so far (recycled) */
    uint64_t stacks;            /* stack slots in use or kept warm */
    uint64_t stack_bytes;       /* address space taken for stacks */
    uint64_t stacks_unguarded;  /* slots that got a canary for a guard */
    uint64_t lane_threads;      /* OS threads of the blocking lane now */
    uint64_t lane_queued;       /* its jobs that wait for a thread */
    uint64_t lane_running;
    weft_time_t lane_age;       /* ns the oldest queued job has waited */
    weft_lane_stats_t file_lane;    /* regular files */
    weft_lane_stats_t fd_lane;      /* descriptors in blocking mode */
    weft_lane_stats_t resolve_lane; /* weft_getaddrinfo() */
    uint64_t timers;            /* entries in the timer heaps now: at most one
                                   a fiber, some of waits that are over */
    uint64_t timers_armed;      /* waits that had to put one there, or
                                   to bring it forward */
    uint64_t timers_expired;    /* waits that their deadline ended */
    uint64_t descriptors;       /* that a loop watches now */
} weft_stats_t;

/*
 * Counters since the start, read without stopping anyone: each is exact for
 * a moment, all together are not. Zero while no runtime runs.
 *
 * Blocks:   never. From anywhere.
 * Returns:  0
 *           -EINVAL  out is NULL, or its size is none that weft knows
 * Memory:   `out` is the caller's; set its size first.
 */
WEFT_API int weft_stats(weft_stats_t *out);

/*
 * The counters of worker `index` (0 to weft_workers() - 1).
 *
 * Blocks:   never. From anywhere.
 * Returns:  0
 *           -EINVAL  out is NULL, or there is no such worker
 */
WEFT_API int weft_stats_worker(unsigned index, weft_worker_stats_t *out);

/*
 * Write every fiber that has not ended to a descriptor, a line each: id,
 * name, state, what it waits for, since when and with what deadline, where it
 * was spawned.
 *
 * Blocks:   the calling thread, while the descriptor does not take the text;
 *           and a weft_close() of it until the line under way is written. From
 *           anywhere.
 * Returns:  how many fibers were listed
 *           -EPERM  no runtime runs
 *           -EBADF  no such descriptor, or it was closed meanwhile
 *           -EIO, -ENOSPC, -EPIPE ...  what write(2) said
 */
WEFT_API int weft_dump(int fd);

/*
 * Check the runtime's invariants and write a line for each that is broken.
 * Exact only while nothing else runs: what something in motion could upset is
 * looked at again before it counts, and how many fibers there are is not judged
 * while they come and go all the time.
 *
 * Blocks:   the calling thread, shortly. From anywhere.
 * Returns:  how many invariants are broken; 0 is what you want
 *           -EPERM  no runtime runs
 * Memory:   `out` may be NULL: count only.
 */
WEFT_API int weft_audit(FILE *out);

/* The version of the library that runs, "0.1.0". From anywhere. */
WEFT_API const char *weft_version(void);

/* The levels a log line comes with. */
enum { WEFT_LOG_ERROR = 0, WEFT_LOG_WARNING = 1, WEFT_LOG_INFO = 2 };

/*
 * Send weft's own messages to `fn` in place of stderr; NULL brings stderr
 * back. The list of who waits when the whole program is asleep, and the last
 * words of an abort, go to stderr whatever `fn` is. `line` has no newline and is fn's only during the call. fn may run
 * on any thread, several at once, and must not call weft.
 *
 * Blocks:   never. From anywhere, also before a start.
 */
WEFT_API void weft_set_log(void (*fn)(int level, const char *line, void *arg),
                           void *arg);

WEFT_END_DECLS

#endif
