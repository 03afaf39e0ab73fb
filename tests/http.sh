#!/usr/bin/env bash
# Run by ctest: raw clients (http_raw.py) talk to the HTTP server of the examples
# and to its pthread twin, which have to answer alike.
# Usage: http.sh SOURCE_DIR BUILD_DIR
#
# Wants: httpd-weft httpd-pthread
set -euo pipefail
source_dir=$(cd "$1" && pwd)
build_dir=$(cd "$2" && pwd)

if ! command -v python3 >/dev/null; then
    echo "skipped: no python3 here"
    exit 77
fi
for twin in weft pthread; do
    if [ ! -x "$build_dir/examples/http/httpd-$twin" ]; then
        echo "skipped: httpd-$twin was not built"
        exit 77
    fi
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0 skipped=0
for twin in weft pthread; do
    echo "==> $twin"
    # One sum in the end, not one for each.
    python3 "$source_dir/tests/http_raw.py" \
        "$build_dir/examples/http/httpd-$twin" | tee "$log" |
        sed '/^[0-9]* passed, /d' || true
    read -r p f s < <(sed -nE \
        's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' \
        "$log") || { p=0 f=1 s=0; }
    passed=$((passed + p))
    failed=$((failed + f))
    skipped=$((skipped + s))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
