#!/usr/bin/env bash
# Run it to see what weft costs beside pthreads, and with --peers beside the
# green threads of other languages, which it installs and builds.
# Usage: bench.sh [--peers] [weft-bench option]...    (bench/README.md)
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh disable=SC1091
. scripts/lib.sh

peers=
if [ "${1:-}" = --peers ]; then
    peers=1
    shift
fi
scripts/install-deps.sh build bench
one_at_a_time
build_release
rivals=()
if [ -n "$peers" ]; then
    bash scripts/bench-peers.sh
    rivals=(--peers build/peers)
fi
program=build/release/bench/weft-bench
[ -x "$program" ] || die "there is no $program"
TMPDIR=$(roomy_tmp)
export TMPDIR
exec "$program" "${rivals[@]}" "$@"
