/*
 * One measured run, from the inside
 *
 *     weft-bench --child weft|pthread|pool CASE --workers N --ops N [--procs P]
 *
 * Every run is a process of its own, so that weft, the threads and the
 * programs in other languages are measured in one way, and none inherits the
 * warm caches or the peak memory of another. It prints one line:
 *
 *     RESULT yield workers=1 ops=10000000 ns=119000000 rss_kib=9000 cpu_ns=...
 *
 * or a reason: STOPPED when the work cannot be done this way, WRONG when it was
 * not done right.
 */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

/* argv[0] is the way. Returns the process's exit status: 0 also for STOPPED,
 * 1 when the result was wrong, 2 when the arguments are. */
int child_main(int argc, char **argv);

#endif
