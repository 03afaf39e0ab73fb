/*
 * Code that blocks its OS thread. nanosleep(2) and getpwnam_r(3), which may
 * ask a server on the network, know nothing of fibers. weft_blocking() runs
 * them on a thread that exists for this, and the calling fiber waits; the
 * ticking fiber shows that the workers run on meanwhile. With one worker
 * (WEFT_WORKERS=1) a plain call would have stopped it.
 */
#include <pwd.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <weft.h>

static atomic_bool over;

static void *tick(void *arg)
{
    unsigned long *ticks = arg;

    while (!atomic_load(&over)) {
        (*ticks)++;
        weft_yield();
    }
    return NULL;
}

/* Runs in the lane: an ordinary OS thread with an ordinary stack. */
static void *sleep_a_little(void *arg)
{
    const struct timespec time = { .tv_nsec = 50 * 1000 * 1000 };

    (void)arg;
    nanosleep(&time, NULL);
    return NULL;
}

struct lookup {
    const char *name;
    struct passwd entry;
    char strings[4096];
};

/* The answer lies in what `arg` points to; the result says if there is one. */
static void *look_up(void *arg)
{
    struct lookup *lookup = arg;
    struct passwd *found = NULL;

    getpwnam_r(lookup->name, &lookup->entry, lookup->strings,
               sizeof(lookup->strings), &found);
    return found;
}

static int entry(void *arg)
{
    struct lookup lookup = { .name = "root" };
    unsigned long ticks = 0;
    weft_fiber_t ticker;
    void *found = NULL;
    int status = weft_spawn(&ticker, tick, &ticks);

    (void)arg;
    if (status != 0)
        return status;
    status = weft_blocking(sleep_a_little, NULL, NULL);
    if (status == 0)
        status = weft_blocking(look_up, &lookup, &found);
    atomic_store(&over, true);
    weft_join(ticker, NULL);
    if (status != 0)
        return status;

    printf("slept in the lane; the ticker %s meanwhile\n",
           ticks > 100 ? "ran" : "stood still");
    if (found != NULL)
        printf("%s has the user id %u\n", lookup.name,
               (unsigned)lookup.entry.pw_uid);
    else
        printf("there is no %s\n", lookup.name);
    return 0;
}

int main(void)
{
    int result = 0;
    int status = weft_run(NULL, entry, NULL, &result);

    if (status == 0)
        status = result;
    if (status != 0)
        fprintf(stderr, "blocking: %s\n", weft_strerror(status));
    return status == 0 ? 0 : 1;
}
