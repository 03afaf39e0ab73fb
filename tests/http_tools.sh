#!/usr/bin/env bash
# Run by ctest: the HTTP server of the examples and its pthread twin, asked by
# curl, wrk and ab. What they have counted and what the server has counted have
# to agree.
# Usage: http_tools.sh SOURCE_DIR BUILD_DIR
#
# Wants: httpd-weft httpd-pthread
#
# Each case_ function is one check, run for each twin in a shell and an empty
# folder ($work) of its own, against a server of its own. One that returns 77 was
# skipped, and its last line says why.

# shellcheck disable=SC2317  # the cases are called by name
set -euo pipefail
export LC_ALL=C
build_dir=$(cd "$2" && pwd)

twins=()
for twin in weft pthread; do
    if [ -x "$build_dir/examples/http/httpd-$twin" ]; then
        twins+=("$twin")
    fi
done
if [ ${#twins[@]} -eq 0 ]; then
    echo "skipped: the servers were not built"
    exit 77
fi

tmp=$(mktemp -d)
server=
clean_up() {
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
    rm -rf "$tmp"
}
trap clean_up EXIT

mkdir -p "$tmp/root/dir"
echo '<p>index</p>' >"$tmp/root/index.html"
head -c 3000000 /dev/urandom >"$tmp/root/dir/big file"
head -c 1000 /dev/urandom >"$tmp/root/small"
head -c 100000 /dev/urandom >"$tmp/root/blocks"

# ---- helpers of the cases --------------------------------------------------

# start: sets $server and $url
start() {
    local i port=
    : >"$work/out"
    "$program" -r "$tmp/root" >"$work/out" 2>"$work/err" &
    server=$!
    for ((i = 0; i < 600; i++)); do
        port=$(sed -n 's/^listening //p' "$work/out")
        [ -z "$port" ] || break
        sleep 0.05
    done
    [ -n "$port" ] || { echo "it does not listen"; return 1; }
    url=http://127.0.0.1:$port
}

# stop: it ends well, and has said nothing but what it counted
stop() {
    local pid=$server
    kill -TERM "$pid"
    server=
    wait "$pid" || { echo "exit code $?"; return 1; }
    [ ! -s "$work/err" ] || { cat "$work/err"; return 1; }
}

# counted <name>: from its last line
counted() {
    sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$work/out"
}

# is <what> <found> <expected>
is() {
    [ "$2" = "$3" ] || { echo "$1: $2 instead of $3"; return 1; }
}

needs() {
    command -v "$1" >/dev/null || { echo "no $1 here"; return 77; }
}

descriptors() {
    find "/proc/$server/fd" -mindepth 1 | wc -l
}

# as_many_descriptors_as <n>: again, once the last connection is closed
as_many_descriptors_as() {
    local i
    for ((i = 0; i < 600; i++)); do
        [ "$(descriptors)" -gt "$1" ] || return 0
        sleep 0.05
    done
    echo "$(descriptors) descriptors, and there were $1"
    return 1
}

# ---- the cases -------------------------------------------------------------

case_curl() {
    needs curl || return
    local n
    start
    n=$(descriptors)
    curl -sSf "$url/" | cmp - "$tmp/root/index.html"
    curl -sSf "$url/dir/big%20file" | cmp - "$tmp/root/dir/big file"
    curl -sSf --data-binary "@$tmp/root/small" "$url/echo" |
        cmp - "$tmp/root/small"
    head -c 1000000 "$tmp/root/dir/big file" >"$work/body"
    # curl asks before it sends so much; and again, in chunks.
    curl -sSf -H 'Expect: 100-continue' --data-binary "@$work/body" \
        "$url/echo" | cmp - "$work/body"
    curl -sSf -H 'Transfer-Encoding: chunked' --data-binary "@$work/body" \
        "$url/echo" | cmp - "$work/body"
    is "PUT" "$(curl -sS -o /dev/null -w '%{http_code}' \
        -T "$tmp/root/small" "$url/small")" 405
    is "HEAD" "$(curl -sSI "$url/small" | tr -d '\r' |
        sed -n 's/^Content-Length: //p')" 1000
    # Ten files over one connection.
    is "connections" "$(curl -sSf -o /dev/null -w '%{num_connects}\n' \
        "$url/small?[1-10]" | awk '{ n += $1 } END { print n }')" 1
    as_many_descriptors_as "$n"
    stop
    is "requests" "$(counted requests)" 17
    is "connections" "$(counted connections)" 8
}

# What wrk had under way at its end the server has counted and wrk has not.
wrk_at() {
    needs wrk || return
    local connections=$1 path=$2 n asked
    start
    n=$(descriptors)
    wrk -t 2 -c "$connections" -d 2 "$url$path" >"$work/wrk"
    if grep -E 'Socket errors|Non-2xx' "$work/wrk"; then
        cat "$work/wrk"
        return 1
    fi
    as_many_descriptors_as "$n"
    stop
    asked=$(sed -nE 's/ *([0-9]+) requests in .*/\1/p' "$work/wrk")
    [ "$asked" -gt 0 ] || { cat "$work/wrk"; return 1; }
    if [ "$(counted requests)" -lt "$asked" ] ||
        [ "$(counted requests)" -gt $((asked + connections)) ]; then
        echo "wrk: $asked, the server: $(counted requests)"
        return 1
    fi
}

case_wrk_64() {
    wrk_at 64 /plaintext
}

case_wrk_1000() {
    wrk_at 1000 /plaintext
}

case_wrk_files() {
    wrk_at 64 /blocks
}

# ab speaks HTTP/1.0; it may open a connection that it does not use.
ab_at() {
    needs ab || return
    local path=$1 n
    shift
    start
    n=$(descriptors)
    ab -q -n 5000 -c 50 "$@" "$url/$path" >"$work/ab" 2>&1 ||
        { cat "$work/ab"; return 1; }
    is "complete" "$(awk '/^Complete requests/ { print $3 }' "$work/ab")" 5000
    is "failed" "$(awk '/^Failed requests/ { print $3 }' "$work/ab")" 0
    if grep 'Non-2xx' "$work/ab"; then
        return 1
    fi
    as_many_descriptors_as "$n"
    stop
    is "requests" "$(counted requests)" 5000
}

case_ab_closing() {
    ab_at plaintext
}

case_ab_keeping() {
    ab_at small -k
    grep -q '^Keep-Alive requests: *5000$' "$work/ab"
}

case_ab_posting() {
    ab_at echo -k -p "$tmp/root/small"
}

case_bad_options() {
    local options
    for options in '-p 65536' '-p x' '--body -1' '--idle 0' '--idle nan' \
        '--none' 'x' '-w 0' '--uri 8193'; do
        # shellcheck disable=SC2086
        "$program" $options >"$work/out" 2>"$work/err" && return 1
        is "exit code for $options" $? 2
        [ -s "$work/err" ]
    done
    "$program" -r "$tmp/none" >"$work/out" 2>"$work/err" && return 1
    is "exit code without a root" $? 1
    "$program" --help | grep -q 'usage:'
}

# A second server on the port of the first.
case_port_taken() {
    start
    "$program" -p "${url##*:}" >"$work/second" 2>&1 && return 1
    is "exit code" $? 1
    stop
}

# ---- running them ----------------------------------------------------------

passed=0 failed=0 skipped=0

# count <name> <status> <log>
count() {
    case $2 in
    0) passed=$((passed + 1)) ;;
    77)
        skipped=$((skipped + 1))
        echo "    $1: skipped: $(tail -n 1 "$3")"
        ;;
    *)
        failed=$((failed + 1))
        echo "    $1: FAILED"
        sed 's/^/        /' "$3"
        ;;
    esac
}

for twin in "${twins[@]}"; do
    program=$build_dir/examples/http/httpd-$twin
    for name in curl wrk_64 wrk_1000 wrk_files ab_closing ab_keeping \
        ab_posting bad_options port_taken; do
        work=$tmp/$twin-$name
        mkdir "$work"
        # Not in a condition, where `set -e` would be ignored inside.
        set +e
        (
            set -e
            trap clean_up_server EXIT
            clean_up_server() {
                [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
            }
            "case_$name"
        ) >"$work/log" 2>&1
        status=$?
        set -e
        count "$twin, $name" $status "$work/log"
    done
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
