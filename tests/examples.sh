#!/usr/bin/env bash
# Run by ctest: the small programs of examples/ print what their comments say,
# whatever the number of workers.
# Usage: examples.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
build_dir=$(cd "$2" && pwd)

if [ ! -x "$build_dir/examples/hello" ]; then
    echo "skipped: the examples were not built"
    exit 77
fi

passed=0 failed=0

# prints <program> <text>: exactly that, nothing on stderr, exit code 0
prints() {
    local workers got status
    for workers in 1 2 4 8; do
        status=0
        got=$(WEFT_WORKERS=$workers timeout 60 \
            "$build_dir/examples/$1" 2>&1 </dev/null) || status=$?
        if [ "$status" -eq 0 ] && [ "$got" = "$2" ]; then
            passed=$((passed + 1))
            echo "ok      $1, $workers workers"
        else
            failed=$((failed + 1))
            echo "FAILED  $1, $workers workers: exit code $status, and it said"
            printf '%s\n' "$got" | sed 's/^/        /'
        fi
    done
}

prints hello 'Hello from a fiber, world!'
prints pingpong 'the ball went round 100000 times
the other player has left'
prints fanout '50 producers, 20 consumers: 50000 jobs, sum 1249975000'
prints blocking 'slept in the lane; the ticker ran meanwhile
root has the user id 0'

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
