#!/usr/bin/env bash
# Run by ctest: includes point one way, and libuv is entered at one place.
# Usage: house_includes.sh SOURCE_DIR BUILD_DIR [--self-check]
#
#     runtime/ -> netpoll/ -> sched/ -> include/
#
# Ours are spelled from the root ("sched/park.h"). Only netpoll/poller.c
# includes uv.h; examples include what a user would.
set -euo pipefail
source_dir=$1
mode=${3:-check}

# broken_includes <tree>: one line per include that breaks a rule
broken_includes() {
    (
        cd "$1"
        # shellcheck disable=SC2016  # the program is awk's
        find include sched netpoll runtime examples -name '*.[chS]' -type f \
            2>/dev/null | sort | LC_ALL=C xargs -r awk '
            function layer(path) {
                if (path ~ /^runtime\//) return 4
                if (path ~ /^netpoll\//) return 3
                if (path ~ /^sched\//) return 2
                if (path ~ /^(include\/|weft\/|weft\.h$)/) return 1
                return 0
            }
            function complain(why) {
                printf "%s:%d: %s: %s\n", FILENAME, FNR, $0, why
            }
            /^[ \t]*#[ \t]*include[ \t]*[<"]/ {
                quoted = $0 ~ /include[ \t]*"/
                path = $0
                sub(/^[^<"]*[<"]/, "", path)
                sub(/[>"].*$/, "", path)
                from = layer(FILENAME)
                to = layer(path)

                if (path ~ /(^|\/)\.\.?\//)
                    complain("spell it from the root")
                else if (from == 0) {
                    if (to > 1)
                        complain("an example uses the public headers only")
                } else if (to > from)
                    complain("runtime -> netpoll -> sched -> include")
                else if (quoted && to == 0)
                    complain("spell it from the root")

                if (path ~ /^uv(\/|\.h)/ && from > 0 &&
                    FILENAME != "netpoll/poller.c")
                    complain("only netpoll/poller.c enters libuv")
            }'
    )
}

if [ "$mode" != --self-check ]; then
    found=$(broken_includes "$source_dir")
    if [ -n "$found" ]; then
        printf '%s\n' "$found"
        exit 1
    fi
    exit 0
fi

# The check is worth what it finds: each line is planted alone in an empty
# tree, and must be found or left alone as it says.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=0
try() {
    local want=$1 file=$2 line=$3 found got
    rm -rf "$tmp/tree"
    mkdir -p "$tmp/tree/include/weft" "$tmp/tree/sched" "$tmp/tree/netpoll" \
        "$tmp/tree/runtime/sim" "$tmp/tree/examples"
    printf '%s\n' "$line" >"$tmp/tree/$file"
    found=$(broken_includes "$tmp/tree")
    got=clean
    [ -z "$found" ] || got=broken
    if [ "$got" = "$want" ]; then
        echo "ok: $want: $file: $line"
    else
        echo "wrong, wanted $want: $file: $line"
        failed=1
    fi
}
try broken sched/a.c '#include "netpoll/poller.h"'
try broken sched/a.c '#include "runtime/runtime.h"'
try broken sched/a.c '#  include <runtime/runtime.h>'
try broken netpoll/a.c '#include "runtime/sim/sim.h"'
try broken include/weft/a.h '#include "sched/fiber.h"'
try broken include/weft/a.h '#include <netpoll/poller.h>'
try broken sched/a.c '#include "park.h"'
try broken sched/a.c '#include "../netpoll/poller.h"'
try broken sched/a.c '#include <uv.h>'
try broken netpoll/wait.c '#include <uv.h>'
try broken runtime/a.c '#include <uv/unix.h>'
try broken examples/a.c '#include "sched/fiber.h"'
try clean netpoll/poller.c '#include <uv.h>'
try clean runtime/a.c '#include "netpoll/poller.h"'
try clean runtime/a.c '#include "sched/park.h"'
try clean netpoll/a.c '#include "sched/park.h"'
try clean sched/a.c '#include <weft/fiber.h>'
try clean sched/a.c '#include <sys/mman.h>'
try clean examples/a.c '#include <weft/weft.h>'
try clean sched/a.c ' * as in #include "runtime/runtime.h"'
exit $failed
