#!/usr/bin/env bash
# Run by ctest: weft-bench says of a rival that is wrong, or says nothing, or
# dies, that the row has FAILED, and leaves with 1; one that says what stops it
# leaves the row without a ratio.
# Usage: bench.sh SOURCE_DIR BUILD_DIR
# Wants: weft-bench
set -euo pipefail
export LC_ALL=C
build_dir=$(cd "$2" && pwd)
bench=$build_dir/bench/weft-bench

if [ ! -x "$bench" ]; then
    echo "skipped: the benches were not built"
    exit 77
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

# row <exit code> <regex> <what the rival is> <its commands>: what the table says
# of weft beside it
row() {
    local status=0
    printf '#!/bin/sh\n%s\n' "$4" >"$tmp/peer-go"
    chmod +x "$tmp/peer-go"
    "$bench" --quick --no-pin --only '^chan_rt w2' --peers "$tmp" \
        >"$tmp/out" 2>&1 || status=$?
    if [ "$status" -eq "$1" ] &&
        grep -E '^chan_rt .* go ' "$tmp/out" | grep -qE "$2"; then
        passed=$((passed + 1))
        echo "ok      a rival that $3"
    else
        failed=$((failed + 1))
        echo "FAILED  a rival that $3: exit code $status"
        cat "$tmp/out"
    fi
}

result='RESULT chan_rt workers=2 ops=1000 ns=1000000000 rss_kib=4096'
row 0 ' 0\.000 .* ok$' 'is slow' "echo '$result'"
row 1 ' - .* FAILED$' 'is wrong' "echo 'WRONG it cannot count'"
row 1 ' - .* FAILED$' 'is wrong once in a while' \
    "n=\$(cat '$tmp/n' 2>/dev/null || echo 0); echo \$((n + 1)) >'$tmp/n'
     if [ \$n = 1 ]; then echo 'WRONG for once'; else echo '$result'; fi"
row 1 ' - .* FAILED$' 'says nothing' ':'
row 1 ' - .* FAILED$' 'dies' "echo '$result'; kill -SEGV \$\$"
row 0 ' - .* <= 0\.50 *$' 'is stopped' "echo 'STOPPED too many'"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
