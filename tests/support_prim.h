/*
 * What the tests of the primitives share: other contexts than a fiber's.
 */
#ifndef TESTS_SUPPORT_PRIM_H
#define TESTS_SUPPORT_PRIM_H

#include <pthread.h>

#include "sched/atomic.h"
#include "tests/support.h"

/* For loops: ck_assert notes each success, which costs a system call. */
#define must(cond)                                                          \
    do {                                                                    \
        if (!(cond))                                                        \
            ck_abort_msg("%s does not hold", #cond);                        \
    } while (0)

/* The same for a code. */
#define must_code(call, expected)                                           \
    do {                                                                    \
        long long code_ = (long long)(call);                                \
        if (code_ != (long long)(expected))                                 \
            ck_abort_msg("%s is %s (%lld), and should be %s", #call,        \
                         weft_err_name((int)code_), code_, #expected);      \
    } while (0)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Fewer rounds where each costs ten times as much. */
#define ROUNDS(n) (SANITIZED ? (n) / 5 : (n))
/* Of those that aim at one instant: so many, or WEFT_TEST_ROUNDS. */
unsigned instants(unsigned n);

/* Run fn(arg) on a thread that is not weft's, or on one of the blocking lane,
 * and wait for its end. The thread's wait blocks the calling worker. */
void on_thread(void (*fn)(void *), void *arg);
void on_lane(void (*fn)(void *), void *arg);

/* The same thread, running beside the caller, who yields while it waits. */
struct foreign {
    void (*fn)(void *);
    void *arg;
    pthread_t thread;
    weft__au32 over;
};
void foreign_start(struct foreign *t, void (*fn)(void *), void *arg);
void foreign_join(struct foreign *t);

/* Yield until *word is `value` or more. From a fiber or a thread. */
void wait_for(weft__au32 *word, uint32_t value);
/* Yield until every worker is asleep but the caller's: from a thread, until
 * all are. */
void wait_until_all_idle(void);

/* A small generator, so that a failure can be had again. */
uint32_t next_random(uint32_t *state);

#endif
