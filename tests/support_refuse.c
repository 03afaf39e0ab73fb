#include "tests/support_refuse.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/support.h"

void refuse(int call, int code, int argument, int fd)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    unsigned what = SCMP_ACT_ERRNO((unsigned)code);
    int status = -ENOMEM;

    if (filter) {
        /* Threads that run already are told, too. */
        status = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
        if (status == 0 && argument == ANY)
            status = seccomp_rule_add(filter, what, call, 0);
        else if (status == 0)
            status = seccomp_rule_add(
                filter, what, call, 1,
                SCMP_CMP((unsigned)argument, SCMP_CMP_EQ,
                         (scmp_datum_t)fd, 0));
        if (status == 0)
            status = seccomp_load(filter);
        seccomp_release(filter);
    }
    if (status != 0)
        ck_abort_msg("no filter for system calls: %s",
                     weft_err_name(status));
}

void memory_gone(struct memory *m)
{
    struct rlimit none;

    ck_assert_int_eq(getrlimit(RLIMIT_DATA, &m->limit), 0);
    none = m->limit;
    none.rlim_cur = 4096; /* 0 would be no limit, for valgrind */
    ck_assert_int_eq(setrlimit(RLIMIT_DATA, &none), 0);
    m->taken = NULL;
    for (size_t size = 1 << 20; size >= sizeof(void *);) {
        void **block = malloc(size);

        if (!block) {
            size /= 2;
            continue;
        }
        *block = m->taken;
        m->taken = block;
    }
}

void memory_back(struct memory *m)
{
    while (m->taken) {
        void **block = m->taken;

        m->taken = *block;
        free(block);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_DATA, &m->limit), 0);
}
