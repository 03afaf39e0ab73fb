/*
 * The log of codes: a line "<name> <call>" for each call whose code a test
 * asserted, appended to the file that CK_CODE_LOG names. scripts/check-codes.py
 * holds it against the "Returns:" of the headers. A count is logged as 0: its
 * value could be taken for an errno.
 */
#ifndef TESTS_CODELOG_H
#define TESTS_CODELOG_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <weft/error.h>

/* One write a line, appended: cases run in processes of their own. */
static inline void codelog(const char *call, long long code)
{
    const char *path = getenv("CK_CODE_LOG");
    char line[300];
    int fd, n;

    if (!path)
        return;
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return;
    n = snprintf(line, sizeof(line), "%s %.250s\n",
                 code < 0 ? weft_err_name((int)code) : "0", call);
    if (n > 0 && write(fd, line, (size_t)n) < 0)
        perror(path);
    close(fd);
}

#endif
