/*
 * A model of parking (sched/park.h, park_commit() in sched/switch.c) for spin;
 * tests/spin.sh runs it.
 *
 * One record. Its fiber waits twice and ends; the record is recycled, and the
 * next fiber in it waits once: so generations 1 and 2 are of life 0, and 3 is
 * of life 1. Each wait is for a value in an object of its own, which its user
 * frees as soon as a wake-up for that value lets him go.
 *
 *     Fiber    looks under the lock, opens the wait, parks or takes it back
 *     Hook     what the worker runs next: commits the wait, one for each;
 *              it may be late, with the fiber already in its next wait
 *     Waker    brings the values: claims under the lock, readies without it
 *     Cancel   cancels life 0, at any moment
 *
 * Which waits are no cancellation points, and which value never comes (where
 * the cancel will do), is open: all cases are searched.
 *
 * What is shown: the fiber is never queued twice nor run before it is saved;
 * it always comes back; each wait ends once and tells the cause of who won; no
 * one touches an object that was freed, or the frame of a wait that is over;
 * a cancel is never missed, never taken by a wait that is no cancellation
 * point, and never reaches the record's next life.
 *
 * A compare-and-swap loop is one step here: it ends in a swap that succeeds or
 * on a value that it has loaded, and what it tried before has left no trace.
 *
 * What is not shown: anything but sequential consistency. Each step here is
 * seen by all at once; that a store may be late is the simulation's to try,
 * which has store buffers (tests/sim_park.c).
 */

/* The wake word, as in sched/park.h. */
#define FREE 0
#define RUNNING 1
#define OPEN 2
#define PARKED 3
#define DONE 4
#define NEW 5
#define CLAIMED 6
#define CLAIMED_PARKED 7
#define NO_CANCEL 16
#define CAUSE_ONE 32
#define GEN_ONE 128

#define STATE(w) ((w) & 15)
#define CAUSE(w) (((w) / CAUSE_ONE) & 3)
#define GEN(w) ((w) / GEN_ONE)
#define WORD(gen, cause, state) \
    ((gen) * GEN_ONE + (cause) * CAUSE_ONE + (state))
#define WITH_STATE(w, state) ((w) - STATE(w) + (state))

/* Causes. NONE is for the books below: no one has ended the wait. */
#define OK 0
#define CANCEL 1
#define NONE 3

/* The life word: the flag, and the version. */
#define LIFE_CANCEL 1
#define LIFE_ONE 2
#define VERSION(l) ((l) / LIFE_ONE)

#define WAITS 3
#define LAST_OF_LIFE_0 2

short wake = WORD(0, OK, RUNNING);
byte life = 0;

/* The run queue's and the worker's side of the fiber. */
bool queued;
bool running = true;
bool note[WAITS + 1]; /* the note to the hook of this wait */

/* Object i is the one of wait i. */
bool locked[WAITS + 1];
bool freed[WAITS + 1];
bool value[WAITS + 1];
bool linked[WAITS + 1]; /* the waiter is on the object's list */
bool frame[WAITS + 1];  /* the waiter's frame is alive */

/* The case. */
bool shielded[WAITS + 1]; /* no cancellation point */
bool comes[WAITS + 1];    /* the value will come */

/* The books: who won the wait. */
byte ended[WAITS + 1] = NONE;

/* --- The object's lock --------------------------------------------------- */

inline lock(o)
{
    assert(!freed[o]);
    !locked[o];
    locked[o] = true
}

/* One exchange, the last touch: sched/wordlock.h. */
inline unlock(o)
{
    assert(!freed[o]);
    locked[o] = false
}

/* --- sched/park.c -------------------------------------------------------- */

inline queue()
{
    assert(!queued);
    assert(!running); /* its registers are saved */
    queued = true
}

inline claim(gen, cause, won)
{
    atomic {
        if
        :: GEN(wake) == gen && STATE(wake) == PARKED ->
            wake = WORD(gen, cause, DONE);
            won = true
        :: GEN(wake) == gen && STATE(wake) == OPEN ->
            wake = WORD(gen, cause, CLAIMED);
            won = true
        :: else -> won = false
        fi;
        if
        :: won ->
            assert(ended[gen] == NONE);
            ended[gen] = cause
        :: else
        fi
    }
}

/* Let it go, if it was `won`. */
inline ready(won)
{
    if
    :: won ->
        won = false;
        /* weft__release() */
        atomic {
            if
            :: STATE(wake) == DONE -> won = true
            :: STATE(wake) == CLAIMED_PARKED ->
                wake = WITH_STATE(wake, DONE);
                won = true
            :: else -> /* it will queue itself */
                assert(STATE(wake) == CLAIMED);
                wake = WITH_STATE(wake, DONE)
            fi
        }
        atomic {
            if
            :: won -> won = false; queue()
            :: else
            fi
        }
    :: else
    fi
}

/* weft__switch_away() */
inline switch_away(w)
{
    atomic {
        running = false;
        note[w] = true
    }
    atomic {
        queued;
        queued = false;
        running = true
    }
}

/* park_over() */
inline park_over(w, cause)
{
    atomic {
        assert(GEN(wake) == w && STATE(wake) == DONE);
        cause = CAUSE(wake);
        wake = WORD(w, OK, RUNNING);
        assert(cause == ended[w]);
        assert(cause != CANCEL || (!shielded[w] && w <= LAST_OF_LIFE_0))
    }
}

inline park(w, cause)
{
    switch_away(w);
    park_over(w, cause)
}

/* Take the open wait back. Who has claimed it may not have let go: park. */
inline revoke(w, cause)
{
    atomic {
        if
        :: STATE(wake) == OPEN ->
            wake = WORD(w, OK, RUNNING);
            cause = NONE
        :: else
        fi
    }
    if
    :: STATE(wake) != RUNNING -> park(w, cause)
    :: else
    fi
}

/* --- Those who take part ------------------------------------------------- */

proctype Fiber()
{
    byte w = 1;
    byte cause;

    do
    :: w > WAITS -> break
    :: else ->
        atomic {
            lock(w);
            if
            :: value[w] -> goto found
            :: else
            fi;
            frame[w] = true;
            linked[w] = true
        }
        wake = WORD(w, OK, OPEN) + (shielded[w] -> NO_CANCEL : 0);
        atomic { unlock(w) }
        if
        :: skip -> park(w, cause)
        :: w <= LAST_OF_LIFE_0 -> revoke(w, cause)
        fi;
        if
        :: atomic { cause == OK -> frame[w] = false; freed[w] = true }
        :: atomic { cause != OK -> lock(w); linked[w] = false }
            atomic { unlock(w); frame[w] = false }
        fi;
        goto left;
found:
        atomic { unlock(w) }
        freed[w] = true;
left:
        cause = NONE;
        /* The end of life 0, and the spawn of life 1. */
        if
        :: w == LAST_OF_LIFE_0 ->
            wake = WORD(w, OK, FREE);
            life = (VERSION(life) + 1) * LIFE_ONE;
            wake = WORD(w, OK, NEW);
            wake = WORD(w, OK, RUNNING)
        :: else
        fi;
        w++
    od
}

/* park_commit() */
proctype Hook(byte w)
{
    byte found;
    bool won;

end:
    note[w];
    atomic {
        found = wake % GEN_ONE;
        if
        :: STATE(found) == DONE
        :: STATE(found) == CLAIMED -> wake = WITH_STATE(wake, CLAIMED_PARKED)
        :: STATE(found) == OPEN -> wake = WITH_STATE(wake, PARKED)
        :: else -> assert(false)
        fi
    }
    if
    :: STATE(found) == DONE -> atomic { queue() }
    :: STATE(found) == OPEN ->
        if
        :: !(found & NO_CANCEL) && (life & LIFE_CANCEL) ->
            claim(w, CANCEL, won);
            ready(won)
        :: else
        fi
    :: else
    fi;
    found = 0 /* fewer states to tell apart */
}

proctype Waker()
{
    byte o = 1;
    bool won;

    do
    :: o > WAITS -> break
    :: else ->
        if
        :: comes[o] ->
            atomic {
                lock(o);
                if
                :: linked[o]
                :: else -> value[o] = true; goto drop
                fi
            }
            assert(frame[o]); /* the generation is read */
            claim(o, OK, won);
            /* The value is copied; or he is on his way out, and it stays. */
            atomic {
                if
                :: won -> assert(frame[o]); linked[o] = false
                :: else -> value[o] = true
                fi
            }
drop:
            atomic { unlock(o) }
            ready(won)
        :: else
        fi;
        o++
    od
}

/* weft__cancel(), of life 0 */
proctype Cancel()
{
    byte seen;
    byte gen;
    bool won;

    atomic {
        if
        :: VERSION(life) == 0 -> life = life | LIFE_CANCEL
        :: else -> goto over
        fi
    }
    atomic {
        seen = wake % GEN_ONE;
        gen = GEN(wake)
    }
    if
    :: VERSION(life) != 0 -> goto over
    :: else
    fi;
    if
    :: (STATE(seen) == OPEN || STATE(seen) == PARKED) && !(seen & NO_CANCEL) ->
        claim(gen, CANCEL, won);
        ready(won)
    :: else
    fi;
over:
    atomic { seen = 0; gen = 0 } /* fewer states to tell apart */
}

init
{
    byte w = 1;

    atomic {
        /* Where the value may stay away the cancel has to end the wait. */
        do
        :: w <= LAST_OF_LIFE_0 ->
            if
            :: shielded[w] = true; comes[w] = true
            :: comes[w] = true
            :: skip
            fi;
            run Hook(w);
            w++
        :: else -> break
        od;
        comes[WAITS] = true;
        run Hook(WAITS);
        run Fiber();
        run Waker();
        run Cancel()
    }
}
