/*
 * The random chooser
 *
 * The simplest one takes each way with the same probability at each step. It
 * is good where two threads meet within a few steps. But to let one thread
 * make thirty steps between two of another's it needs luck of 2^-30, and a
 * store that stays in its buffer meanwhile is as rare. So the seed decides
 * first, for the whole run, how things are:
 *
 *     stay    how likely the thread that moved last goes on
 *     drain   how eagerly buffers drain
 *     time    how often time jumps
 *     away    how often a thread loses its core, for 64 to 4096 steps, as
 *             one does that the kernel takes off it while it holds a lock
 *     odd     how often the world does what it need not: short reads, late
 *             events
 *
 * A quarter of the runs is plain uniform. docs/simulation.md has the figures.
 */
#include "runtime/sim/chooser.h"

#include <stddef.h>

/* Probabilities a step: stay, drain and odd in 1/256, time and away in
 * 1/4096. */
static const uint16_t random_stay[] = { 0, 64, 192, 248 };
static const uint16_t random_drain[] = { 32, 8, 2, 1 };
static const uint16_t random_time[] = { 0, 1, 8, 64 };
static const uint16_t random_away[] = { 0, 4, 32, 128 };
static const uint16_t random_odd[] = { 0, 16, 64, 160 };

static struct {
    uint64_t state;
    unsigned stay, drain, time, away, odd;
    uint64_t gone;      /* who lost its core: one bit or none */
    unsigned gone_left; /* for so many steps more */
} self;

/* splitmix64 (Steele, Lea, Flood): one addition of state, so any seed does. */
static uint64_t random_next(void)
{
    uint64_t z = self.state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int random_begin(const weft_sim_t *sim)
{
    uint64_t r;

    self.state = sim->seed;
    r = random_next();
    self.stay = random_stay[r & 3];
    self.drain = random_drain[r >> 2 & 3];
    self.time = random_time[r >> 4 & 3];
    self.away = random_away[r >> 6 & 3];
    self.odd = random_odd[r >> 8 & 3];
    self.gone = 0;
    self.gone_left = 0;
    return 0;
}

/* The nth bit that is set in a mask. */
static unsigned nth(uint64_t mask, uint32_t n)
{
    while (n-- > 0)
        mask &= mask - 1;
    return (unsigned)__builtin_ctzll(mask);
}

static unsigned count(uint64_t mask)
{
    return (unsigned)__builtin_popcountll(mask);
}

/* One of n, from 32 random bits. */
static uint32_t one_of(uint64_t r, unsigned n)
{
    return (uint32_t)((r >> 32) * n >> 32);
}

static void leave_core(const struct weft__options *o)
{
    uint64_t r = random_next();

    self.gone = UINT64_C(1) << nth(o->threads, one_of(r, count(o->threads)));
    self.gone_left = 64u << (r & 7) % 7;
}

/* Those that may move: no one who waits for another, and not the one without
 * a core, as long as someone is left. */
static uint64_t movable(const struct weft__options *o)
{
    if (self.gone_left > 0) {
        self.gone_left--;
        if (o->threads & ~o->paused & ~self.gone)
            return o->threads & ~o->paused & ~self.gone;
        if (o->threads & ~self.gone)
            return o->threads & ~self.gone;
        self.gone_left = 0;
    }
    return o->threads & ~o->paused ? o->threads & ~o->paused : o->threads;
}

static unsigned random_pick(const struct weft__options *o)
{
    uint64_t r = random_next();
    uint64_t threads;

    if (o->time && ((r & 0xfff) < self.time || !(o->threads | o->flushes)))
        return WEFT__CHOOSE_TIME;
    if ((r >> 12 & 0xfff) < self.away && self.gone_left == 0 && o->threads)
        leave_core(o);
    threads = movable(o);

    if (self.stay == 0) {
        unsigned n = count(threads);
        uint32_t i = one_of(r, n + count(o->flushes));

        return i < n ? nth(threads, i)
                     : WEFT__CHOOSE_FLUSH + nth(o->flushes, i - n);
    }

    if (o->flushes && ((r >> 24 & 0xff) < self.drain || !threads))
        return WEFT__CHOOSE_FLUSH +
               nth(o->flushes, one_of(r, count(o->flushes)));
    if ((threads >> o->current & 1) && (r & 0xff) < self.stay)
        return o->current;
    return nth(threads, one_of(r, count(threads)));
}

static unsigned random_draw(unsigned n)
{
    uint64_t r = random_next();

    return WEFT__CHOOSE_DRAW + ((r & 0xff) < self.odd ? one_of(r, n) : 0);
}

const struct weft__chooser weft__chooser_random = { random_begin, random_pick,
                                                    random_draw };
