#!/usr/bin/env bash
# Run by ctest: the small servers of examples/ (echo, proxy, chat, download)
# answer as their comments say, whatever the number of workers.
# Usage: servers.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
source_dir=$(cd "$1" && pwd)
build_dir=$(cd "$2" && pwd)

if [ ! -x "$build_dir/examples/echo" ]; then
    echo "skipped: the examples were not built"
    exit 77
fi
exec python3 "$source_dir/tests/servers.py" "$build_dir"
