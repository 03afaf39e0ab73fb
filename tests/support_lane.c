#include "tests/support_lane.h"

#include <dirent.h>

#include "sched/park.h"
#include "sched/sched.h"

bool expire(weft_fiber_t id)
{
    uint64_t life;
    struct weft__fiber *f = weft__fiber_find(id, &life);
    uint64_t wake = f ? weft__load(&f->wake, ACQUIRE) : 0;
    uint64_t state = wake & WEFT__WAKE_STATE_MASK;

    if ((state != WEFT__WAKE_OPEN && state != WEFT__WAKE_PARKED) ||
        wake & WEFT__WAKE_NO_CANCEL)
        return false;
    return weft__wake(f, wake & WEFT__WAKE_GEN_MASK, WEFT__CAUSE_TIMEOUT);
}

void wait_for_jobs(enum weft__lane_kind kind, uint64_t running,
                   uint64_t queued)
{
    struct weft__lane_stats s;

    for (;;) {
        weft__lane_stats(&weft__lanes[kind], &s);
        if (s.running == running && s.queued == queued)
            return;
        weft_yield();
    }
}

uint64_t jobs_begun(enum weft__lane_kind kind)
{
    struct weft__lane_stats s;

    weft__lane_stats(&weft__lanes[kind], &s);
    return s.begun;
}

struct weft__fiber *self(void)
{
    return weft__fiber_self();
}

unsigned threads_named(const char *wanted)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    unsigned n = 0;

    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir))) {
        char path[300], name[32] = "";
        FILE *file;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
                 entry->d_name);
        file = fopen(path, "r");
        if (!file)
            continue;
        if (fgets(name, sizeof(name), file)) {
            name[strcspn(name, "\n")] = '\0';
            n += !strcmp(name, wanted);
        }
        fclose(file);
    }
    closedir(dir);
    return n;
}
