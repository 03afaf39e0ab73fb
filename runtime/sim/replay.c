/*
 * The replay chooser: the choices of a printed schedule. A choice that is
 * none of the options is a misfit: the program, or its settings, are not
 * those of the run that printed it. Behind the end of the text, as in one cut
 * by hand, the thread that moved last goes on while it can, and then the next.
 */
#include "runtime/sim/chooser.h"

#include <errno.h>

#include "runtime/sim/schedule.h"

static struct {
    const char *text; /* what follows */
    unsigned choice;  /* this one, */
    uint64_t times;   /* so many times more */
} self;

static int replay_begin(const weft_sim_t *sim)
{
    const char *text = sim->replay;
    int status;

    do
        status = weft__schedule_parse(&text, &self.choice, &self.times);
    while (status > 0);

    self.text = sim->replay;
    self.times = 0;
    return status;
}

static unsigned replay_rest(const struct weft__options *o)
{
    uint64_t threads = o->threads & ~o->paused;
    uint64_t above = threads & ~(UINT64_C(1) << o->current) &
                     (UINT64_MAX << o->current);

    if (threads >> o->current & 1)
        return o->current;
    /* Round, so that two who wait in loops do not take turns for ever. */
    if (above)
        return (unsigned)__builtin_ctzll(above);
    if (threads)
        return (unsigned)__builtin_ctzll(threads);
    if (o->flushes)
        return WEFT__CHOOSE_FLUSH + (unsigned)__builtin_ctzll(o->flushes);
    return o->threads ? o->current : WEFT__CHOOSE_TIME;
}

/* On to the next choice: false behind the end. */
static bool replay_next(void)
{
    if (self.times == 0 &&
        weft__schedule_parse(&self.text, &self.choice, &self.times) <= 0) {
        self.times = 0;
        return false;
    }
    self.times--;
    return true;
}

static unsigned replay_pick(const struct weft__options *o)
{
    if (!replay_next())
        return replay_rest(o);
    return weft__options_have(o, self.choice) ? self.choice
                                              : WEFT__CHOOSE_NONE;
}

/* Behind the end the world does nothing out of the ordinary. */
static unsigned replay_draw(unsigned n)
{
    if (!replay_next())
        return WEFT__CHOOSE_DRAW;
    return self.choice >= WEFT__CHOOSE_DRAW &&
                   self.choice < WEFT__CHOOSE_DRAW + n
               ? self.choice
               : WEFT__CHOOSE_NONE;
}

const struct weft__chooser weft__chooser_replay = { replay_begin, replay_pick,
                                                    replay_draw };
