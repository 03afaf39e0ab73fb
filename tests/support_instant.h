/*
 * A call that waits, and what ends it otherwise, both at one instant: either
 * the effect happened and the call says so, or it did not and nothing is lost.
 */
#ifndef TESTS_SUPPORT_INSTANT_H
#define TESTS_SUPPORT_INSTANT_H

#include "tests/support_net.h"

enum { CANCEL, DEADLINE, WAYS };

struct attempt {
    long (*call)(const struct attempt *a, weft_time_t deadline);
    int fd;
    const void *where; /* for who connects */
    weft_time_t deadline;
    long answer;
    long then; /* the next call that would wait: tells of a late cancel */
};
/* Its fiber; the argument is the attempt. */
void *attempt_main(void *attempt);
void attempt_check(const struct attempt *a, int way);

/* How long after the help the other way comes, in ns, for each way to begin;
 * below 0 it comes first. It moves to where either end is as likely. */
enum { BEGINNINGS = 3 };
struct aim {
    int64_t patience[BEGINNINGS];
    unsigned won, lost;
    uint32_t seed;
};

/* One wait, ended by what `help` does or by the other way. */
void meet(struct attempt *a, int way, int round,
          void (*help)(struct attempt *a), struct aim *aim);
/* Both ends were seen, given the rounds to take aim. */
void aim_check(const struct aim *aim);

#endif
