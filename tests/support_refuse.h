/*
 * A kernel that refuses: what a full table, a quota, a broken disk or a route
 * that is missing would say, from a filter on system calls (seccomp(2)).
 */
#ifndef TESTS_SUPPORT_REFUSE_H
#define TESTS_SUPPORT_REFUSE_H

#include <seccomp.h>
#include <sys/resource.h>

enum { ANY = -1 };

/* From now on SCMP_SYS(call) fails with `code`, a positive errno, in every
 * thread and for the rest of the process; `argument` n has to be `fd`, unless
 * n is ANY. */
void refuse(int call, int code, int argument, int fd);

/* No more memory until memory_back(), not for the C library either. From one
 * fiber that does not switch meanwhile. */
struct memory {
    struct rlimit limit;
    void **taken;
};
void memory_gone(struct memory *m);
void memory_back(struct memory *m);

#endif
