#!/usr/bin/env bash
# Run by ctest: the load generator of the benches counts right. It passes each
# echo server that answers, finds each thing a broken one does wrong, and the
# server on raw epoll makes no more system calls than a rival may.
# Usage: load.sh SOURCE_DIR BUILD_DIR
# Alone
set -euo pipefail
export LC_ALL=C
build_dir=$(cd "$2" && pwd)
load=$build_dir/bench/load/weft-load
servers=$build_dir/bench/servers

if [ ! -x "$load" ] || [ ! -x "$servers/echo-epoll" ]; then
    echo "skipped: the benches were not built"
    exit 77
fi

tmp=$(mktemp -d)
pid=
port=
failed=0

# Only what was started here.
stop() {
    if [ -n "$pid" ]; then
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
        pid=
    fi
}
trap 'stop; rm -rf "$tmp"' EXIT

# start <server>: sets pid and port
start() {
    local words
    : >"$tmp/server"
    "$servers/$1" >"$tmp/server" &
    pid=$!
    for _ in $(seq 500); do
        if grep -q '^listening ' "$tmp/server"; then
            read -r -a words <"$tmp/server"
            port=${words[1]}
            return
        fi
        sleep 0.02
    done
    echo "$1 does not listen"
    exit 1
}

# number <key> <file>: of the line of JSON
number() {
    sed -n "s/.*\"$1\": \\([0-9]*\\).*/\\1/p" "$2"
}

wrong() {
    echo "wrong: $*"
    cat "$tmp/out" "$tmp/err" 2>/dev/null || true
    failed=1
}

# ask <argument>...: runs the generator; its exit status in $status
ask() {
    status=0
    timeout 120 "$load" --port "$port" "$@" >"$tmp/out" 2>"$tmp/err" ||
        status=$?
}

# ---- servers that are right ------------------------------------------------

# passes <answers> <argument>...
passes() {
    local answers=$1
    shift
    ask "$@"
    [ "$status" = 0 ] || wrong "$* left with $status"
    [ "$(number answered "$tmp/out")" = "$answers" ] ||
        wrong "$*: not $answers answers"
    asked=$((asked + answers))
}

for server in echo-epoll echo-pthread echo-weft; do
    [ -x "$servers/$server" ] || continue
    start "$server"
    asked=0
    passes 5000 --connections 16 --requests 5000 --warm 0
    passes 5000 --connections 64 --requests 5000 --warm 0 --threads 3
    passes 5000 --connections 64 --requests 5000 --warm 0 --burst 50
    passes 900 --mode hold --connections 300 --requests 3 --warm 0
    passes 300 --mode connect --connections 16 --requests 300 --warm 0
    stop
    [ "$(number requests "$tmp/server")" = "$asked" ] ||
        wrong "$server answered $(number requests "$tmp/server"), not $asked"
    [ "$(number connections "$tmp/server")" = $((16 + 64 + 64 + 300 + 300)) ] ||
        wrong "$server: not so many connections"

    # More than a buffer: part sends, part reads.
    start "$server"
    asked=0
    passes 500 --connections 4 --requests 500 --size 65536
    stop
    echo "ok: $server"
done

# ---- servers that are not --------------------------------------------------

# found <what is broken> <counter>...
found() {
    local how=$1 counter sum=0
    shift
    BROKEN=$how start echo-broken
    ask --connections 8 --requests 3000 --timeout 0.5
    stop
    for counter in "$@"; do
        sum=$((sum + $(number "$counter" "$tmp/out")))
    done
    if [ "$status" = 1 ] && [ "$sum" -gt 0 ]; then
        echo "ok: $how: $(cat "$tmp/err")"
    else
        wrong "$how was not found: $status"
    fi
}

found byte wrong
found old wrong
found long wrong
found short unanswered
found drop unanswered
found close errors

BROKEN="split" start echo-broken
asked=0
passes 3000 --connections 8 --requests 3000
stop
echo "ok: an answer byte by byte"

# Nobody listens there now.
ask --connections 8 --requests 100 --mode connect
if [ "$status" = 1 ] && [ "$(number refused "$tmp/out")" -gt 0 ]; then
    echo "ok: refused: $(cat "$tmp/err")"
else
    wrong "a connection that is refused was not counted"
fi

# ---- system calls of the server on raw epoll -------------------------------

# Counted in the steady state, between the two words of --wait, by the server's
# own count and by strace; in $own and $traced_calls, which is empty where there
# is no strace.
requests=20000
calls_of_epoll() {
    local traced="" word
    rm -f "$tmp/strace"
    start echo-epoll
    coproc "$load" --port "$port" --connections 256 --burst 50 \
        --requests $requests --wait
    # shellcheck disable=SC2153  # the name is coproc's
    local to=${COPROC[1]} from=${COPROC[0]} client=$COPROC_PID
    read -r word <&"$from"
    if command -v strace >/dev/null &&
        grep -q '^TracerPid:.0' /proc/self/status; then
        strace -c -f -p "$pid" -o "$tmp/strace" 2>"$tmp/attach" &
        traced=$!
        for _ in $(seq 500); do
            grep -q attached "$tmp/attach" && break
            kill -0 "$traced" 2>/dev/null || break
            sleep 0.02
        done
    fi
    echo >&"$to"
    read -r word <&"$from"
    if [ -n "$traced" ]; then
        kill -INT "$traced" 2>/dev/null || true
        wait "$traced" || true
    fi
    exec {to}>&-
    wait "$client" || wrong "a request was not answered: $word"
    stop

    # Opening and closing took four a connection.
    own=$(number system_calls "$tmp/server")
    [ "${own:-0}" -gt 0 ] || wrong "the server on raw epoll counts nothing"
    own=$((${own:-0} - 4 * 256))
    traced_calls=$(awk '$NF == "total" { print $4 }' "$tmp/strace" \
        2>/dev/null || true)
}

# few_enough <calls> <requests>: 2.05 each
few_enough() {
    [ $((${1:-0} * 100)) -le $(($2 * 205)) ]
}

calls_of_epoll
few_enough "$own" $((requests + 256)) ||
    wrong "$own system calls of its own count for $((requests + 256)) requests"
[ -z "$traced_calls" ] || few_enough "$traced_calls" $requests ||
    wrong "$traced_calls system calls for $requests requests"
echo "system calls for $((requests + 256)) requests, by its own count: $own"
echo "for $requests requests, by strace: ${traced_calls:-skipped, there is none}"

exit $failed
