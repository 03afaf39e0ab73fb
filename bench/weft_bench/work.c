#include "bench/weft_bench/work.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t timeval_ns(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

static uint64_t cpu_ns(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return timeval_ns(use.ru_utime) + timeval_ns(use.ru_stime);
}

void work_begin(struct work *w)
{
    w->began_cpu_ns = cpu_ns();
    w->began_ns = now_ns();
}

void work_end(struct work *w)
{
    w->ns = now_ns() - w->began_ns;
    w->cpu_ns = cpu_ns() - w->began_cpu_ns;
}

int work_wrong(struct work *w, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(w->why, sizeof(w->why), format, args);
    va_end(args);
    return WORK_WRONG;
}

int work_stopped(struct work *w, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(w->why, sizeof(w->why), format, args);
    va_end(args);
    return WORK_STOPPED;
}

uint64_t status_kib(const char *name)
{
    FILE *status = fopen("/proc/self/status", "re");
    size_t length = strlen(name);
    uint64_t kib = 0;
    char line[128];

    if (status == NULL)
        return 0;
    while (fgets(line, sizeof(line), status) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            kib = strtoull(line + length + 1, NULL, 10);
            break;
        }
    }
    fclose(status);
    return kib;
}
