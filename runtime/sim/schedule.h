/*
 * Schedules: the choices of a run, kept and as text.
 *
 *     0x12,1x3,f0,1,t,d2
 *
 * Thread 0 moves twelve times, thread 1 three times, the oldest store of
 * thread 0 reaches memory, thread 1 moves once, time passes to the earliest
 * timeout, the network does the second of the things it may do. Only choices are listed: where there was one way on, nothing was
 * chosen.
 */
#ifndef WEFT_RUNTIME_SIM_SCHEDULE_H
#define WEFT_RUNTIME_SIM_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

struct weft__schedule {
    uint8_t *choice; /* room for every choice a run may make */
    size_t room;
    size_t n;
    uint64_t hash;
};

/* An empty schedule for up to `most` choices; its memory is kept from run to
 * run, and shared with child processes. Returns 0 or -ENOMEM. */
int weft__schedule_begin(struct weft__schedule *s, uint64_t most);

static inline void weft__schedule_add(struct weft__schedule *s, unsigned c)
{
    s->choice[s->n++] = (uint8_t)c;
    s->hash = (s->hash ^ c) * 0x100000001b3u; /* FNV-1a */
}

/* As text, cut to fit, with a final zero. Returns the length of the whole.
 * Calls nothing, so a signal handler may. */
size_t weft__schedule_text(const struct weft__schedule *s, char *text,
                           size_t size);

/* One item of a text: *text moves behind it; *choice and *times are what it
 * says. Returns 1, 0 at the end, or -EINVAL. */
int weft__schedule_parse(const char **text, unsigned *choice,
                         uint64_t *times);

#endif
