#include "tests/support_deadlock.h"

#include <sys/mman.h>
#include <unistd.h>

#include "sched/os.h"
#include "sched/worker.h"
#include "tests/support.h"

static int said = -1;

void listen_to_stderr(void)
{
    said = memfd_create("stderr", MFD_CLOEXEC);
    ck_assert_int_ge(said, 0);
    ck_assert_int_ge(dup2(said, STDERR_FILENO), 0);
}

int times_said(const char *words)
{
    static char text[1 << 20];
    ssize_t n = pread(said, text, sizeof(text) - 1, 0);
    int times = 0;

    ck_assert_int_ge(n, 0);
    text[n] = '\0';
    for (char *at = text; (at = strstr(at, words)); at++)
        times++;
    return times;
}

static bool all_asleep(void)
{
    return weft__load(&weft__sched.idle, SEQ_CST) == weft__sched.count;
}

void watch_them_sleep(void)
{
    while (!all_asleep())
        weft__os_thread_yield();
    for (int i = 0; i < 20; i++)
        usleep(1000);
}
