#!/usr/bin/env bash
# Run by ctest: what the release library shows and what it leans on.
# Usage: house_symbols.sh SOURCE_DIR BUILD_DIR [--self-check]
#
# It exports weft_<noun>_<verb> and nothing else, needs libuv and libc and
# nothing else, holds no trace of the simulation (so the seams are the plain
# operation), and no stack of a program that loads it becomes executable.
set -euo pipefail
build_dir=$(cd "$2" && pwd)
mode=${3:-check}

complaint() {
    printf '%s: %s\n' "${library##*/}" "$*"
}

# complaints <shared library> <its soname>: one line per breach
complaints() {
    local library=$1 soname=$2 line
    local weak='^(_ITM_(de)?registerTMCloneTable|__gmon_start__|__cxa_finalize|__cxa_get_globals|__tsan_.*|__asan_.*)(@.*)?$'

    nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' |
        sed 's/@.*//' | grep -vE '^weft_[a-z][a-z0-9_]*$' |
        while IFS= read -r line; do
            complaint "exports $line"
        done || true

    nm -D --undefined-only "$library" | while read -r type name; do
        case $type in
        w | v) grep -qE "$weak" <<<"$name" ||
            complaint "leans weakly on $name" ;;
        *) [[ $name == *@GLIBC_* || $name == uv_* ]] ||
            complaint "leans on $name" ;;
        esac
    done

    readelf -dW "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
        grep -vE '^(libuv\.so\.1|libc\.so\.6|ld-linux.*\.so\.[0-9]+)$' |
        while IFS= read -r line; do
            complaint "needs $line"
        done || true

    readelf -dW "$library" | grep -q "SONAME.*\[$soname\]" ||
        complaint "is not called $soname"
    if readelf -dW "$library" | grep -q TEXTREL; then
        complaint "is relocated in its text"
    fi
    if readelf -lW "$library" | grep -q 'GNU_STACK.*E'; then
        complaint "wants an executable stack (a .S without .note.GNU-stack?)"
    fi
    no_simulation "$library"
}

# no_simulation <library or archive>
no_simulation() {
    local library=$1
    nm "$library" 2>/dev/null | awk '{ print $NF }' |
        grep -E '^weft_?_(sim_|seam)[a-z_]*' | grep -vE '^weft_(sim_run|explore)$' |
        sort -u | while IFS= read -r line; do
            complaint "knows of the simulation: $line"
        done || true
}

if [ "$mode" != --self-check ]; then
    if [ ! -e "$build_dir/libweft.so" ]; then
        echo "no libweft.so in $build_dir"
        exit 1
    fi
    found=$(complaints "$build_dir/libweft.so" libweft.so.0
        no_simulation "$build_dir/libweft.a")
    if [ -n "$found" ]; then
        printf '%s\n' "$found"
        exit 1
    fi
    exit 0
fi

# Small libraries, each with one thing wrong.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
cc=${CC:-cc}
echo 'int other(void); int other(void) { return 1; }' >other.c
$cc -shared -fPIC -Wl,-soname,libjemalloc.so.2 other.c -o libother.so

failed=0
# try <wanted words, or nothing> <code> <link flag>...
try() {
    local want=$1 code=$2 found
    shift 2
    printf '%s\n' "$code" >planted.c
    $cc -shared -fPIC -Wl,-soname,libweft.so.0 planted.c -o libplanted.so "$@"
    found=$(complaints "$tmp/libplanted.so" libweft.so.0)
    if { [ -z "$want" ] && [ -z "$found" ]; } ||
        { [ -n "$want" ] && grep -qF -- "$want" <<<"$found"; }; then
        echo "ok: ${want:-clean}: $code $*"
    else
        echo "wrong, wanted '${want:-clean}', got '$found': $code $*"
        failed=1
    fi
}
good='int weft_good(void); int weft_good(void) { return 0; }'
try '' "$good"
try 'exports leak' "$good int leak;"
try 'exports weft__inner' "$good void weft__inner(void) {}"
try 'leans on other' "$good int other(void);
    int weft_b(void) { return other(); }" -L. -lother
try 'needs libjemalloc.so.2' "$good int other(void);
    int weft_b(void) { return other(); }" -L. -lother
try 'leans on __atomic_load' "$good struct big { char c[40]; } weft_big;
    void weft_c(struct big *to) { __atomic_load(&weft_big, to, 5); }"
try 'leans weakly on odd' "$good int odd(void) __attribute__((weak));
    int weft_d(void) { return odd ? odd() : 0; }"
try 'knows of the simulation: weft__sim_step' "$good
    __attribute__((visibility(\"hidden\"))) int weft__sim_step;"
try 'knows of the simulation: weft__seam' "$good
    static int weft__seam; int weft_e(void); int weft_e(void)
    { return weft__seam++; }"
try 'executable stack' "$good" -Wl,-z,execstack
try 'is not called' "$good" -Wl,-soname,libweft.so.9
exit $failed
