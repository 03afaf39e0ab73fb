#!/usr/bin/env bash
# Run by ctest: raw clients (http_raw.py) talk to the HTTP server of the examples
# and to its pthread twin, which have to answer alike.
# Usage: http.sh SOURCE_DIR BUILD_DIR
#
# Wants: httpd-weft httpd-pthread
# Sanitized too: what clients may do to the server finds what they should not.
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
for server in weft:1 weft:4 pthread:; do
    export WEFT_WORKERS=${server#*:}
    [ -n "$WEFT_WORKERS" ] || unset WEFT_WORKERS
    echo "==> ${server%:}"
    # One sum in the end, not one for each.
    python3 "$source_dir/tests/http_raw.py" \
        "$build_dir/examples/http/httpd-${server%:*}" | tee "$log" |
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
