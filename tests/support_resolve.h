/*
 * What the tests of names share: a name server, played by functions of ours,
 * and a fiber that asks.
 */
#ifndef TESTS_SUPPORT_RESOLVE_H
#define TESTS_SUPPORT_RESOLVE_H

#include <netdb.h>

#include "tests/support_lane.h"

/* It knows one address for every name, 192.0.2.7, and keeps whoever asks for
 * "silent" waiting until the gate is open. What it has done so far; `changed`
 * if what it was asked changed meanwhile. */
extern weft__au32 gate, asked, answered, released, changed;
/* What it says instead: an EAI_ code, and errno with it. */
extern int say, say_errno;

/* From here on it is asked. While no runtime runs. */
void begin(void);
void open_gate(void);
/* Until so many answers that came too late have been released. */
void wait_for_released(uint32_t n);

/* A fiber that asks. */
struct question {
    char node[16];
    char service[8];
    struct addrinfo hints;
    weft_time_t until; /* 0: none */
    weft_time_t back;
    int status;
};
void *resolve(void *question);
struct question question(const char *node);

#endif
