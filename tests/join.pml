/*
 * A model of joining (sched/join.h) for spin; tests/spin.sh runs it. Parking
 * itself is tests/park.pml; here its steps are what they do.
 *
 * One child, which ends at any moment. Two fibers would join it. Joiner 0 may
 * be cancelled, before, during or after; so joiner 1 may come when the other
 * has left again. It waits once more after its join, for something that no one
 * here may end; and that wait has the generation of joiner 0's join. The
 * child's queue entry (the hint) may be out, and is dropped at any moment.
 *
 *     Joiner   weft__join(), with weft__park_revoke() where it comes too late
 *     Hook     what the worker runs next: commits a wait
 *     Ender    weft__join_end()
 *     Cancel   weft__cancel() of joiner 0
 *     Hint     weft__life_drop_hint()
 *
 * What is shown: joiners always return; at most one gets the result, and one
 * does if no one was cancelled; then the record is recycled, exactly once;
 * no one touches a record that is recycled; a consumer that uses a plain store
 * is alone; a joiner is cancelled only if someone did so; and the ender ends
 * no other wait than that of its joiner.
 *
 * A compare-and-swap loop is one step here: it ends in a swap that succeeds or
 * on a value that it has loaded, and what it tried before has left no trace.
 *
 * What is not shown: anything but sequential consistency. Each step here is
 * seen by all at once; that a store may be late is the simulation's to try,
 * which has store buffers (tests/sim_spawn.c).
 */

/* The wake words, in parts; each step takes all of one. */
#define RUNNING 1
#define OPEN 2
#define PARKED 3
#define DONE 4
#define CLAIMED 6
#define CLAIMED_PARKED 7

/* Causes. */
#define OK 0
#define CANCEL 1
#define SELF 2

/* The child's life word. Its joiner is bit JOINER_ONE. */
#define HINT 2
#define ENDED 8
#define JOINED 16
#define REAPED 32
#define CONSUMED 64
#define JOINER_ONE 128
#define VERSION_ONE 256
#define VERSION(l) ((l) / VERSION_ONE)
#define JOINER(l) (((l) / JOINER_ONE) & 1)
#define TAKEN (ENDED | JOINED | CONSUMED)

/* life_after() */
#define AFTER(l) \
    ((VERSION(l) + 1) * VERSION_ONE + ((l) & HINT) + \
     (((l) & HINT) -> CONSUMED : 0))

#define JOINERS 2

byte state[JOINERS] = RUNNING;
byte gen[JOINERS];
byte cause[JOINERS];
bool flag[JOINERS]; /* cancelled */
bool queued[JOINERS];
bool running[JOINERS] = true;

short life;
byte joiner_gen;
bool result;  /* is stored */
bool given;   /* the record is recycled */

/* The books. */
bool joining[JOINERS]; /* the open wait is a join */
byte got;              /* how many have the result */

#define TOUCH assert(!given) /* a field of the child's record */

inline give()
{
    assert(!given);
    assert(VERSION(life) == 1 && !(life & HINT));
    given = true;
    joiner_gen = 0
}

/* --- sched/park.c -------------------------------------------------------- */

inline open_wait(j)
{
    atomic {
        gen[j] = gen[j] + 1;
        state[j] = OPEN
    }
}

inline claim(j, g, why, won)
{
    atomic {
        if
        :: gen[j] == g && (state[j] == PARKED || state[j] == OPEN) ->
            assert(joining[j] || why == CANCEL);
            state[j] = (state[j] == PARKED -> DONE : CLAIMED);
            cause[j] = why;
            won = true
        :: else -> won = false
        fi
    }
}

/* Let it go, and run it: the queue, or a switch straight to it. */
inline ready(j)
{
    atomic {
        assert(state[j] == DONE || state[j] == CLAIMED ||
               state[j] == CLAIMED_PARKED);
        if
        :: state[j] != CLAIMED ->
            assert(!queued[j] && !running[j]);
            queued[j] = true
        :: else
        fi;
        state[j] = DONE
    }
}

/* `child`: the commit is a join's, and looks at the child. */
inline park(j, child, why)
{
    atomic {
        running[j] = false;
        run Hook(j, child)
    }
    atomic {
        queued[j];
        queued[j] = false;
        running[j] = true
    }
    atomic {
        assert(state[j] == DONE);
        state[j] = RUNNING;
        why = cause[j];
        cause[j] = OK
    }
}

/* Take the open wait back. Who has claimed it may not have let go: park. */
inline revoke(j, why)
{
    atomic {
        if
        :: state[j] == OPEN -> state[j] = RUNNING
        :: else
        fi
    }
    if
    :: state[j] != RUNNING -> park(j, false, why)
    :: else
    fi
}

proctype Hook(byte j; bool child)
{
    byte g;
    bool won;

    atomic {
        if
        :: state[j] == DONE ->
            assert(!queued[j] && !running[j]);
            queued[j] = true;
            goto over
        :: state[j] == CLAIMED -> state[j] = CLAIMED_PARKED; goto over
        :: else -> assert(state[j] == OPEN); state[j] = PARKED; g = gen[j]
        fi
    }
    if
    :: flag[j] ->
        claim(j, g, CANCEL, won);
        if
        :: won -> ready(j)
        :: else
        fi
    :: else
    fi;
    /* weft__join_commit() */
    if
    :: child && VERSION(life) == 0 && (life & ENDED) ->
        claim(j, g, SELF, won);
        if
        :: won -> ready(j)
        :: else
        fi
    :: else
    fi;
over:
    atomic { j = 0; child = false; g = 0; won = false } /* fewer states */
}

/* --- sched/fiber.c ------------------------------------------------------- */

/* weft__life_consume(), by the only one left but for the hint. */
inline consume()
{
    seen = life;
    if
    :: !(seen & HINT) ->
        atomic {
            assert(life == seen);
            life = AFTER(seen)
        }
        atomic { give() }
    :: else ->
        atomic {
            assert(VERSION(life) == 0 && (life & ENDED));
            life = AFTER(life);
            seen = life
        }
        if
        :: !(seen & HINT) -> atomic { give() }
        :: else
        fi
    fi
}

/* weft__life_reap(), or of the joiner, who drops JOINED, weft__life_reap_joined();
 * and consume if it is the second. */
inline reap(drop)
{
    atomic {
        TOUCH;
        assert(VERSION(life) == 0);
        seen = life;
        life = (life | REAPED) & ~drop
    }
    if
    :: seen & REAPED -> consume()
    :: else
    fi
}

/* weft__life_drop_hint() */
proctype Hint()
{
    short seen;

    atomic {
        seen = life;
        life = life & ~(HINT | CONSUMED)
    }
    if
    :: seen & CONSUMED -> atomic { give() }
    :: else
    fi;
    seen = 0 /* fewer states */
}

/* --- sched/join.c -------------------------------------------------------- */

/* weft__join_end() */
proctype Ender()
{
    short seen;
    byte g;
    byte j;
    bool won;

    result = true;
    atomic {
        seen = life;
        life = life | ENDED
    }
    if
    :: seen & JOINED ->
        j = JOINER(seen);
        atomic { TOUCH; g = joiner_gen }
        if
        :: g != 0 -> claim(j, g, OK, won)
        :: else
        fi;
        if
        :: won -> ready(j)
        :: else -> reap(0)
        fi
    :: else
    fi;
    atomic { seen = 0; g = 0; j = 0; won = false } /* fewer states */
}

/* weft__join_try(): `seen` tells the answer. */
inline join_try()
{
    atomic {
        seen = life;
        if
        :: VERSION(seen) == 0 && !(seen & (REAPED | JOINED)) &&
           (seen & ENDED) ->
            TOUCH;
            assert(result);
            got++;
            life = AFTER(life);
            if
            :: !(life & HINT) -> give()
            :: else
            fi;
            goto out
        :: VERSION(seen) != 0 || (seen & (REAPED | JOINED)) -> goto out
        :: else
        fi
    }
}

proctype Joiner(byte j)
{
    short seen;
    byte why;

again:
    join_try();
    joining[j] = true;
    open_wait(j);
    atomic {
        if
        :: VERSION(life) == 0 && !(life & TAKEN) ->
            life = life | JOINED | (j * JOINER_ONE);
            goto joined
        :: else
        fi
    }
    revoke(j, why);
    joining[j] = false;
    goto again;

joined:
    atomic { TOUCH; joiner_gen = gen[j] }
    park(j, true, why);
    joining[j] = false;
    if
    :: why == OK ->
        atomic { TOUCH; assert(result); got++ }
        consume();
        goto out
    :: else
    fi;

    /* join_leave() */
    atomic { TOUCH; joiner_gen = 0 }
    atomic {
        if
        :: !(life & ENDED) ->
            life = life & ~(JOINED | JOINER_ONE);
            assert(why == CANCEL && flag[j]);
            goto out
        :: else
        fi
    }
    atomic { TOUCH; assert(result); got++ }
    reap(JOINED);

out:
    atomic { seen = 0; why = 0 } /* fewer states */
    /* Another wait, which it takes back itself. */
    if
    :: j == 1 ->
        open_wait(j);
        atomic { assert(state[j] == OPEN); state[j] = RUNNING }
    :: else
    fi
}

/* weft__cancel() */
proctype Cancel(byte j)
{
    byte g;
    bool won;

    flag[j] = true;
    atomic {
        if
        :: state[j] == OPEN || state[j] == PARKED -> g = gen[j]
        :: else -> goto over
        fi
    }
    claim(j, g, CANCEL, won);
    if
    :: won -> ready(j)
    :: else
    fi;
over:
    atomic { g = 0; won = false } /* fewer states */
}

init
{
    atomic {
        if
        :: life = 0
        :: life = HINT
        fi;
        /* A later wait of the one has the generation of the other's join. */
        gen[0] = 1;
        run Joiner(0);
        run Joiner(1);
        run Ender();
        if
        :: life & HINT -> run Hint()
        :: else
        fi;
        if
        :: run Cancel(0)
        :: skip
        fi
    }
    /* All have returned. */
    atomic {
        _nr_pr == 1;
        assert(got == 1 || (got == 0 && flag[0]));
        assert(given == (got == 1));
        assert(given || life == ENDED)
    }
}
