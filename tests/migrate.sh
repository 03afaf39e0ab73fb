#!/usr/bin/env bash
# Run by ctest: fibers that move between workers (migrate.c), with program and
# library built at each level of optimisation by gcc and clang, and by gcc with
# optimisation at link time, where the library's calls are inlined into the
# program. What compilers keep of a thread must not outlive a switch.
# Usage: migrate.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
source_dir=$(cd "$1" && pwd)
read -ra uv < <(pkg-config --cflags --libs libuv)
export WEFT_WORKERS=4

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# build <name> <compiler> <level> [<cmake option>...]: library and program
build() {
    local dir=$tmp/$1 compiler=$2 level=$3 lto=()
    shift 3
    case "$*" in
    *WEFT_LTO=ON*) lto=(-flto=auto) ;;
    esac
    cmake -S "$source_dir" -B "$dir" -G Ninja "-DCMAKE_C_COMPILER=$compiler" \
        "-DCMAKE_C_FLAGS_RELEASE=$level -g" -DWEFT_BUILD_TESTS=OFF \
        -DWEFT_BUILD_BENCH=OFF -DWEFT_BUILD_EXAMPLES=OFF "$@"
    cmake --build "$dir" --target weft_static
    "$compiler" -std=gnu11 -Wall -Wextra "$level" -g "${lto[@]}" \
        "-I$source_dir/include" "$source_dir/tests/migrate.c" \
        -o "$dir/migrate" "$dir/libweft.a" "${uv[@]}" -pthread
}

names=()
for compiler in gcc clang; do
    command -v "$compiler" >/dev/null || {
        echo "$compiler: not here, skipped"
        continue
    }
    for level in O0 O1 O2 O3; do
        names+=("$compiler-$level")
        [ "$compiler" = clang ] || names+=("$compiler-$level-lto")
    done
done
[ ${#names[@]} -gt 0 ] || exit 77

# Two at a time: ctest runs other tests beside this one.
failed=0
run_one() {
    local name=$1 compiler=${1%%-*} level options=()
    level=${name#*-}
    level=-${level%-lto}
    case $name in
    *-lto) options=(-DWEFT_LTO=ON) ;;
    esac
    if ! build "$name" "$compiler" "$level" "${options[@]}" >"$tmp/$name.log" 2>&1; then
        tail -n 30 "$tmp/$name.log"
        echo "$name: not built"
        return 1
    fi
    if ! timeout 60 "$tmp/$name/migrate" >"$tmp/$name.out" 2>&1; then
        cat "$tmp/$name.out"
        echo "$name: wrong"
        return 1
    fi
    echo "$name: $(cat "$tmp/$name.out")"
}
for ((i = 0; i < ${#names[@]}; i += 2)); do
    pids=()
    for name in "${names[@]:i:2}"; do
        run_one "$name" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || failed=$((failed + 1))
    done
    [ "$failed" -eq 0 ] || exit 1
done
