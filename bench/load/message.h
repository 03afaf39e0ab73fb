/*
 * What is sent: bytes that follow from the connection's number and the
 * request's, so that they need not be kept for comparing.
 */
#ifndef BENCH_MESSAGE_H
#define BENCH_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Fills `size` bytes, rounded up to words of eight. */
static inline void message_fill(unsigned char *to, size_t size, uint64_t conn,
                                uint64_t request)
{
    uint64_t x = (conn << 40) ^ request;

    for (size_t i = 0; i < size; i += sizeof(x)) {
        uint64_t word;

        /* splitmix64: each word looks like nothing before it. */
        x += 0x9e3779b97f4a7c15u;
        word = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
        word ^= word >> 31;
        memcpy(to + i, &word, sizeof(word));
    }
}

#endif
