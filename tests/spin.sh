#!/usr/bin/env bash
# Run by ctest: the models of parking and joining hold in each of their states.
# Usage: spin.sh SOURCE_DIR BUILD_DIR [--self-check]
#
# With --self-check a defect is planted into a copy of a model, one at a time,
# and spin has to find each.
set -euo pipefail
export LC_ALL=C
source_dir=$(cd "$1" && pwd)
mode=${3:-check}
cc=${CC:-cc}

if ! command -v spin >/dev/null; then
    echo "skipped: no spin"
    exit 77
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

# search <model>: go through all states; what was found is in ./log. Every loop
# of the models counts something up, so none can go round for ever, and one that
# does not come to its end is stuck where spin sees it. Memory in MiB.
search() {
    rm -f pan pan.* ./*.trail
    spin "-P$cc -E -x c" -a "$1" >log 2>&1 &&
        "$cc" -O1 -w -DSAFETY -DCOLLAPSE -DMEMLIM=700 -o pan pan.c >>log 2>&1 &&
        ./pan -m10000 -w22 >>log 2>&1
}

# holds: is ./log that of a search that was complete and found nothing?
holds() {
    grep -q 'errors: 0$' log &&
        ! grep -qE 'Search not completed|search depth too small|^pan:1' log
}

# breaks: is it that of one that found an error?
breaks() {
    grep -qE '^pan:1: (assertion violated|invalid end state)' log
}

if [ "$mode" != --self-check ]; then
    failed=0
    for model in park join; do
        cp "$source_dir/tests/$model.pml" .
        if search "$model.pml" && holds; then
            echo "ok: $model: $(awk '/states, stored/ { print $1 }' log) states"
        else
            echo "wrong: $model.pml"
            cat log
            if [ -f "$model.pml.trail" ]; then
                spin "-P$cc -E -x c" -t -p -g "$model.pml"
            fi
            failed=1
        fi
    done
    exit $failed
fi

failed=0
# plant <model> <what> <sed script>
plant() {
    local model=$1 what=$2
    sed "$3" "$source_dir/tests/$model.pml" >planted.pml
    if cmp -s planted.pml "$source_dir/tests/$model.pml"; then
        echo "wrong, nothing planted: $model: $what"
        failed=1
        return
    fi
    search planted.pml || true
    if breaks; then
        echo "ok: found: $model: $what"
    else
        echo "wrong, not found: $model: $what"
        cat log
        failed=1
    fi
}

plant park 'a claim goes from OPEN straight to DONE' \
    's/WORD(gen, cause, CLAIMED)/WORD(gen, cause, DONE)/'
plant park 'a claim does not look at the generation' \
    's/GEN(wake) == gen && //'
plant park 'the commit writes PARKED over CLAIMED' \
    's/WITH_STATE(wake, CLAIMED_PARKED)/WITH_STATE(wake, PARKED)/'
plant park 'the commit queues one that is CLAIMED' \
    's/\(:: STATE(found) == CLAIMED ->\) .*/\1 found = DONE/'
plant park 'the commit does not queue one that is DONE' \
    's/:: STATE(found) == DONE -> atomic { queue() }/:: STATE(found) == DONE/'
plant park 'the commit does not look at the cancel flag' \
    's/&& (life & LIFE_CANCEL) ->/\&\& false ->/'
plant park 'the commit cancels what is no cancellation point' \
    's/!(found & NO_CANCEL) && //'
plant park 'the canceller ends what is no cancellation point' \
    's/ && !(seen & NO_CANCEL) ->/ ->/'
plant park 'the canceller does not look at the version again' \
    's/:: VERSION(life) != 0 -> goto over/:: false/'
plant park 'the canceller looks at the wake word before it sets the flag' \
    's/VERSION(life) == 0 -> life = life | LIFE_CANCEL/VERSION(life) == 0/
     s/:: VERSION(life) != 0 -> goto over/&\
       :: atomic { VERSION(life) == 0 -> life = life | LIFE_CANCEL }/'
plant park 'the waker readies before it drops the lock' \
    's/^ *atomic { unlock(o) }/ready(won); &/'
plant park 'the waker queues one that has not parked' \
    's/assert(STATE(wake) == CLAIMED);/won = true;/'
plant park 'the waker does not queue one that has parked' \
    '/:: STATE(wake) == CLAIMED_PARKED ->/,/won = /s/won = true/skip/'
plant park 'the loser unlinks itself without the lock' \
    's/cause != OK -> lock(w);/cause != OK ->/
     s/atomic { unlock(w); frame/atomic { frame/'
plant park 'a wait that is CLAIMED is taken back as if it were DONE' \
    '/^inline revoke/,/^}/s/^        :: else$/& ->\
             cause = OK; wake = WORD(w, OK, RUNNING)/'

plant join 'the ender looks at the generation only before it sets ENDED' \
    's/atomic { TOUCH; g = joiner_gen }/skip/
     s/result = true;/& atomic { TOUCH; g = joiner_gen }/'
plant join 'the ender claims by a generation from before ENDED' \
    's/atomic { TOUCH; g = joiner_gen }/if :: g == 0 -> & :: else fi/
     s/result = true;/& atomic { TOUCH; g = joiner_gen }/'
plant join 'the ender does not meet the joiner in REAPED' \
    's/:: else -> reap(0)/:: else/'
plant join 'the ender and the joiner both recycle' \
    's/:: seen & REAPED -> consume()/:: true -> consume()/'
plant join 'a joiner that was not woken by the ender recycles at once' \
    '/got++ }$/{n;s/reap(JOINED)/consume()/;}'
plant join 'the commit does not look at the child' \
    's/:: child && /:: false \&\& /'
# shellcheck disable=SC2016 # the $ is sed's
plant join 'a joiner leaves its generation behind' \
    '/proctype Joiner/,$s/TOUCH; joiner_gen = 0/TOUCH/'
plant join 'a joiner registers after the end' \
    's/#define TAKEN (ENDED | /#define TAKEN (/'
plant join 'a wait that is CLAIMED is taken back as if it were DONE' \
    '/^inline revoke/,/^}/s/:: state\[j\] == OPEN ->/:: true ->/'
plant join 'a record is given back while its hint is out' \
    's/:: !(life & HINT) -> give()/:: true -> give()/'
plant join 'the hint is dropped without a look who has consumed' \
    's/:: seen & CONSUMED -> atomic { give() }/:: seen \& CONSUMED/'
exit $failed
