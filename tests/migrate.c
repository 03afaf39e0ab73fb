/*
 * Fibers that move between OS threads, for migrate.sh, which builds this and
 * the library at each level of optimisation: what a compiler keeps of one
 * thread must not outlive a switch.
 *
 * It runs until fibers have moved often enough, and says how often. What it
 * asks for: weft's calls are right after each move, in loops that a compiler
 * likes to hoist things out of; and errno and thread-locals are right when
 * asked for by a function that is not inlined, as the README says.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <weft/weft.h>

enum { FIBERS = 8, MOVES = 2000, ROUNDS = 16 };

static int moves;
static int wrong;

#define EXPECT(cond)                                                        \
    do {                                                                    \
        if (!(cond) &&                                                      \
            __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED) < 10)           \
            fprintf(stderr, "migrate.c:%d: %s\n", __LINE__, #cond);         \
    } while (0)

/* Each thread's own, by way of functions that are calls for certain. */
static __thread pid_t own_tid;
static __thread int own_number;

static __attribute__((noinline)) pid_t thread_now(void)
{
    __asm__ volatile("" : : : "memory");
    if (own_tid == 0)
        own_tid = (pid_t)syscall(SYS_gettid);
    return own_tid;
}

static __attribute__((noinline)) void set_number(int n)
{
    __asm__ volatile("" : : : "memory");
    own_number = n;
}

static __attribute__((noinline)) int number_now(void)
{
    __asm__ volatile("" : : : "memory");
    return own_number;
}

static __attribute__((noinline)) int errno_now(void)
{
    __asm__ volatile("" : : : "memory");
    return errno;
}

/* A system call that fails: this thread's errno is EBADF from here on. */
static void fail(void)
{
    (void)syscall(SYS_close, -1);
}

static bool enough(void)
{
    return __atomic_load_n(&moves, __ATOMIC_RELAXED) >= MOVES;
}

static void count_move(pid_t *last)
{
    pid_t now = thread_now();

    if (now != *last)
        __atomic_fetch_add(&moves, 1, __ATOMIC_RELAXED);
    *last = now;
}

/* To a lane and back: whichever worker is free takes the fiber up. */
static void *nothing(void *arg)
{
    return arg;
}

static void go_elsewhere(pid_t *last)
{
    void *result = NULL;

    EXPECT(weft_blocking(nothing, &result, &result) == 0);
    EXPECT(result == &result);
    count_move(last);
}

/* Work, so that others have something to steal. */
static void compute(void)
{
    volatile unsigned x = 1;

    for (int i = 0; i < 2000; i++)
        x = x * 3 + 1;
}

static void check_thread(void)
{
    pid_t tid = (pid_t)syscall(SYS_gettid);

    EXPECT(thread_now() == tid);
    fail();
    EXPECT(errno_now() == EBADF);
    set_number(tid);
    EXPECT(number_now() == tid);
}

/* weft_self() and friends in a loop with yields. */
static void *asks_itself(void *arg)
{
    weft_fiber_t me = weft_self();
    size_t left = weft_stack_left();
    pid_t last = thread_now();

    while (!enough()) {
        for (int i = 0; i < ROUNDS; i++) {
            weft_yield();
            EXPECT(weft_self() == me);
            EXPECT(weft_stack_left() == left);
            compute();
            EXPECT(weft_checkpoint() == 0);
            EXPECT(weft_self() == me);
        }
        check_thread();
        go_elsewhere(&last);
    }
    return arg;
}

/* A mutex knows its owner, wherever it was locked. */
static weft_mutex_t mutexes[4];

static void *locks(void *arg)
{
    weft_mutex_t *mutex = &mutexes[(uintptr_t)arg % 4];
    pid_t last = thread_now();

    while (!enough()) {
        EXPECT(weft_mutex_lock(mutex) == 0);
        EXPECT(weft_mutex_lock(mutex) == -EDEADLK);
        weft_yield();
        go_elsewhere(&last);
        EXPECT(weft_mutex_lock(mutex) == -EDEADLK);
        EXPECT(weft_mutex_unlock(mutex) == 0);
        EXPECT(weft_mutex_unlock(mutex) == -EPERM);
        weft_yield();
    }
    return arg;
}

/* Parks, and is woken from another worker. */
static weft_chan_t *ring[FIBERS];

static void *passes_on(void *arg)
{
    uintptr_t me = (uintptr_t)arg;
    weft_fiber_t self = weft_self();
    pid_t last = thread_now();
    int value;

    while (weft_chan_recv(ring[me], &value) == 0) {
        EXPECT(weft_self() == self);
        value++;
        compute();
        check_thread();
        count_move(&last);
        if (weft_chan_send(ring[(me + 1) % FIBERS], &value) != 0)
            break;
        EXPECT(weft_self() == self);
    }
    return arg;
}

/* Spawns and joins, and so is taken up where its child has ended. */
static void *child(void *arg)
{
    compute();
    weft_yield();
    return arg;
}

static void *spawns(void *arg)
{
    weft_fiber_t self = weft_self(), f;
    pid_t last = thread_now();
    void *result;

    while (!enough()) {
        for (int i = 0; i < ROUNDS; i++) {
            result = NULL;
            EXPECT(weft_spawn(&f, child, &f) == 0);
            EXPECT(weft_join(f, &result) == 0);
            EXPECT(result == &f);
            EXPECT(weft_self() == self);
            EXPECT(weft_join(self, NULL) == -EDEADLK);
        }
        go_elsewhere(&last);
    }
    return arg;
}

static int entry(void *arg)
{
    static void *(*const kinds[])(void *) = { asks_itself, locks, spawns };
    weft_fiber_t f[3][FIBERS], ringers[FIBERS];
    int value = 0;

    (void)arg;
    for (uintptr_t i = 0; i < FIBERS; i++)
        EXPECT(weft_chan_create(&ring[i], sizeof(int), 1) == 0);
    for (uintptr_t i = 0; i < FIBERS; i++) {
        EXPECT(weft_spawn(&ringers[i], passes_on, (void *)i) == 0);
        for (int k = 0; k < 3; k++)
            EXPECT(weft_spawn(&f[k][i], kinds[k], (void *)i) == 0);
    }
    for (int i = 0; i < 4; i++)
        EXPECT(weft_chan_send(ring[i * (FIBERS / 4)], &value) == 0);

    for (int i = 0; i < FIBERS; i++)
        for (int k = 0; k < 3; k++)
            EXPECT(weft_join(f[k][i], NULL) == 0);
    for (int i = 0; i < FIBERS; i++)
        EXPECT(weft_chan_close(ring[i]) == 0);
    for (int i = 0; i < FIBERS; i++)
        EXPECT(weft_join(ringers[i], NULL) == 0);
    for (int i = 0; i < FIBERS; i++)
        weft_chan_unref(ring[i]);
    return 0;
}

int main(void)
{
    int status = weft_run(NULL, entry, NULL, NULL);

    printf("moves=%d wrong=%d\n", moves, wrong);
    return status == 0 && wrong == 0 && moves >= MOVES ? EXIT_SUCCESS
                                                       : EXIT_FAILURE;
}
