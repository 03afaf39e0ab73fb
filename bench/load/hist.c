#include "bench/load/hist.h"

/* Values below 32 have a bucket each; above, the five bits after the highest
 * one choose among the 32 of its power of two. */
static unsigned hist_index(uint64_t value)
{
    unsigned shift;

    if (value >> HIST_BITS == 0)
        return (unsigned)value;
    shift = 63 - (unsigned)__builtin_clzll(value) - HIST_BITS;
    return ((shift + 1) << HIST_BITS) +
           (unsigned)(value >> shift & ((1u << HIST_BITS) - 1));
}

/* The greatest value of a bucket. */
static uint64_t hist_value(unsigned index)
{
    uint64_t base = index & ((1u << HIST_BITS) - 1);
    unsigned power = index >> HIST_BITS;

    if (power == 0)
        return base;
    return ((base + (1u << HIST_BITS) + 1) << (power - 1)) - 1;
}

void hist_add(struct hist *h, uint64_t value)
{
    h->count++;
    h->buckets[hist_index(value)]++;
    if (value > h->worst)
        h->worst = value;
}

void hist_merge(struct hist *into, const struct hist *from)
{
    into->count += from->count;
    if (from->worst > into->worst)
        into->worst = from->worst;
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}

uint64_t hist_share(const struct hist *h, double share)
{
    uint64_t wanted = (uint64_t)((double)h->count * share + 0.5);
    uint64_t seen = 0;

    if (h->count == 0)
        return 0;
    if (wanted == 0)
        wanted = 1;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= wanted)
            return hist_value(i) < h->worst ? hist_value(i) : h->worst;
    }
    return h->worst;
}
