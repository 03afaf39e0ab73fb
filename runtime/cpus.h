/*
 * How many processors this process may really use.
 *
 * The affinity mask says on which it may run, and the quota of its control
 * groups how much of them it gets: a container limited to 1.5 of 64 runs
 * badly with 64 workers. Files are read below `root`: "" is the system, a
 * test gives a folder with a proc/self and a sys/fs/cgroup of its own.
 */
#ifndef WEFT_RUNTIME_CPUS_H
#define WEFT_RUNTIME_CPUS_H

/* The smaller of the two, 1 at least. */
unsigned weft__cpus(const char *root);

/* The quota alone, rounded up to whole processors; UINT_MAX: none is set. */
unsigned weft__cpus_quota(const char *root);

#endif
