#!/usr/bin/env bash
# Run it through run.sh: the HTTP server of examples/http on weft's fibers and
# on a thread per connection, under wrk, in turns. Both have to answer every
# request; the table says how many a second, what one costs the server, and how
# long the slowest of a hundred took. Everything stays on the loopback.
# Usage: run-server.sh BUILD_DIR
set -euo pipefail
build=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh disable=SC1091
. scripts/lib.sh

rounds=3
seconds=2
sizes=(64 1000)

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill -KILL "$server" 2>/dev/null; rm -rf "$work"' EXIT

# finish <twin>: it ends when it is told to, well, and with no one broken off
finish() {
    kill -TERM "$server"
    for ((i = 0; i < 3000; i++)); do
        kill -0 "$server" 2>/dev/null || break
        sleep 0.01
    done
    ! kill -0 "$server" 2>/dev/null || die "httpd-$1 does not end"
    wait "$server" || die "httpd-$1 ended badly: $(cat "$work/errors")"
    server=
    [ "$(figure cut)" = 0 ] || die "httpd-$1 broke off $(figure cut) clients"
}

# start <twin>: sets server and port
start() {
    : >"$work/said"
    "$build/examples/http/httpd-$1" -p 0 -c 4000 >"$work/said" \
        2>"$work/errors" 9>&- &
    server=$!
    port=
    for ((i = 0; i < 1000; i++)); do
        port=$(sed -n 's/^listening \([0-9]*\)$/\1/p' "$work/said")
        [ -z "$port" ] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.01
    done
    cat "$work/errors" >&2
    die "httpd-$1 does not listen"
}

# figure <name>: of the server's last line
figure() {
    sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p" "$work/said" | tail -n 1
}

# in_us <time of wrk>: "1.23ms" as microseconds
in_us() {
    awk -v t="$1" 'BEGIN {
        f = t ~ /us$/ ? 1 : t ~ /ms$/ ? 1000 : t ~ /m$/ ? 6e7 : 1e6
        printf "%.0f", t * f
    }'
}

# once <twin> <connections> <round>: a line to the log
once() {
    local rate p99
    step "round $3 of $rounds: httpd-$1, $2 connections"
    start "$1"
    wrk -t 1 -c "$2" -d "${seconds}s" --latency \
        "http://127.0.0.1:$port/plaintext" >"$work/wrk" 9>&- ||
        die "wrk failed"
    finish "$1"
    if grep -E 'Non-2xx|Socket errors' "$work/wrk"; then
        die "httpd-$1 did not answer every request"
    fi
    rate=$(awk '/^Requests\/sec:/ { print $2 }' "$work/wrk")
    p99=$(in_us "$(awk '$1 == "99%" { print $2 }' "$work/wrk")")
    echo "$2 $1 $rate $(figure requests)" \
        "$(($(figure user_us) + $(figure system_us))) $p99" >>"$work/times"
}

for ((round = 1; round <= rounds; round++)); do
    for size in "${sizes[@]}"; do
        if ((round % 2)); then
            once weft "$size" $round
            once pthread "$size" $round
        else
            once pthread "$size" $round
            once weft "$size" $round
        fi
    done
done

awk '
    function median(what, key,   i, j, t, n, v) {
        n = count[key]
        for (i = 1; i <= n; i++)
            v[i] = value[what, key, i]
        for (i = 1; i <= n; i++)
            for (j = i + 1; j <= n; j++)
                if (v[j] < v[i]) {
                    t = v[i]
                    v[i] = v[j]
                    v[j] = t
                }
        return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    }
    {
        key = $1 " " $2
        if (!($1 in seen)) {
            seen[$1] = 1
            order[++sizes] = $1
        }
        n = ++count[key]
        value["rate", key, n] = $3
        value["cpu", key, n] = $5 / $4
        value["p99", key, n] = $6 / 1000
    }
    function line(size, twin,   key) {
        key = size " " twin
        printf "%-12s %-8s %12.0f %16.2f %10.2f\n", size, twin,
            median("rate", key), median("cpu", key), median("p99", key)
    }
    END {
        printf "\n%-12s %-8s %12s %16s %10s\n", "connections", "server",
            "requests/s", "CPU us/request", "p99 ms"
        for (i = 1; i <= sizes; i++) {
            line(order[i], "weft")
            line(order[i], "pthread")
        }
        printf "\nmedians of %d rounds; ", count[order[1] " weft"]
        for (i = 1; i <= sizes; i++) {
            w = median("rate", order[i] " weft")
            p = median("rate", order[i] " pthread")
            printf("%s%d connections: weft has %.2f times the throughput",
                   (i > 1 ? "; " : ""), order[i], w / p)
        }
        printf "\n"
    }' "$work/times"
