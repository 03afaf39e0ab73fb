#!/usr/bin/env bash
# Run by ctest: C++ exceptions on fibers (cxx.cpp), against the static and the
# shared library, at each worker count.
# Usage: cxx.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
source_dir=$(cd "$1" && pwd)
build_dir=$(cd "$2" && pwd)
read -ra uv < <(pkg-config --cflags --libs libuv)

case ${CC:-cc} in
*clang*) cxx=clang++ ;;
*) cxx=g++ ;;
esac
command -v "$cxx" >/dev/null || {
    echo "there is no $cxx here"
    exit 77
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
flags=(-std=c++17 -O2 -g -Wall -Wextra -Wpedantic -Werror
    "-I$source_dir/include" "$source_dir/tests/cxx.cpp")
"$cxx" "${flags[@]}" -o "$tmp/static" "$build_dir/libweft.a" "${uv[@]}" -pthread
"$cxx" "${flags[@]}" -o "$tmp/shared" "-L$build_dir" -lweft \
    "-Wl,-rpath,$build_dir" -pthread

for program in static shared; do
    for workers in 1 2 4 8; do
        echo "$cxx, $program, $workers workers:"
        WEFT_WORKERS=$workers timeout 60 "$tmp/$program"
    done
done
