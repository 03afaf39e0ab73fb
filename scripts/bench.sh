#!/usr/bin/env bash
# Run it to see what weft costs beside pthreads, and beside other languages'
# green threads with --peers. Usage: bench.sh [--peers] [weft-bench option]...
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

peers=
if [ "${1:-}" = --peers ]; then
    peers=1
    shift
fi
scripts/install-deps.sh build
one_at_a_time
build_release
if [ -n "$peers" ]; then
    bash scripts/bench-peers.sh
fi
program=build/release/bench/weft-bench
[ -x "$program" ] || die "there is no $program"
exec "$program" "$@"
