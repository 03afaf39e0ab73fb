#!/usr/bin/env bash
# Run by ctest: TSan, ASan and valgrind see mistakes on fibers because weft
# tells them of its stacks and switches. Each mistake of prove_sanitizers.c is
# reported; and no longer so when the line that tells of it is taken out of a
# copy of the library. What is no mistake is not reported.
# Usage: prove_sanitizers.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
source_dir=$(cd "$1" && pwd)
read -ra uv < <(pkg-config --cflags --libs libuv)
export WEFT_WORKERS=1
unset WEFT_STACK_SIZE WEFT_GUARD

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
wrong=0

for tool in clang gcc valgrind cmake ninja; do
    command -v "$tool" >/dev/null || {
        echo "there is no $tool here"
        exit 77
    }
done

# build <name> <compiler> <sanitizer> [<file> <sed expression>]
#
# A library from a copy of the source, and the program with it. With an
# expression the copy is changed by it; one that changes nothing is an error.
build() {
    local name=$1 compiler=$2 sanitizer=$3 tree=$tmp/$1
    local flags=(-std=c11 -g -O1)
    mkdir "$tree"
    cp -r "$source_dir"/{CMakeLists.txt,cmake,include,sched,netpoll,runtime} "$tree"
    if [ $# -gt 3 ]; then
        cp "$tree/$4" "$tree/before"
        sed -i "$5" "$tree/$4"
        if cmp -s "$tree/$4" "$tree/before"; then
            echo "$name: \"$5\" finds nothing in $4"
            return 1
        fi
    fi
    cmake -S "$tree" -B "$tree/build" -G Ninja -DWEFT_BUILD_TESTS=OFF \
        -DWEFT_BUILD_BENCH=OFF -DWEFT_BUILD_EXAMPLES=OFF -DWEFT_JEMALLOC=OFF \
        "-DCMAKE_C_COMPILER=$compiler" "-DWEFT_SANITIZE=$sanitizer"
    cmake --build "$tree/build" --target weft_static
    case $sanitizer in
    thread) flags+=(-fsanitize=thread) ;;
    address) flags+=("-fsanitize=address,undefined") ;;
    esac
    "$compiler" "${flags[@]}" "-I$source_dir/include" \
        "$source_dir/tests/prove_sanitizers.c" -o "$tree/program" \
        "$tree/build/libweft.a" "${uv[@]}" -pthread
}

# start <name> ...: builds in the background; finish waits for all
builds=()
start() {
    build "$@" >"$tmp/$1.log" 2>&1 &
    builds+=("$!:$1")
}
finish() {
    local entry
    for entry in "${builds[@]}"; do
        if ! wait "${entry%%:*}"; then
            tail -n 30 "$tmp/${entry#*:}.log"
            echo "${entry#*:} was not built"
            exit 1
        fi
    done
    builds=()
}

# expect <yes|no> <text> <build> <mistake> <command to run it>...
expect() {
    local want=$1 text=$2 name=$3 mistake=$4 got=no status=0
    shift 4
    timeout 60 "$@" "$tmp/$name/program" "$mistake" >"$tmp/out" 2>&1 ||
        status=$?
    # It has to have run, to its end if it makes no mistake.
    case $status:$want:$mistake in
    2:* | 12[4-7]:* | [1-9]*:no:clean | [1-9]*:no:no_race) got="exit $status" ;;
    esac
    ! grep -q "$text" "$tmp/out" || got=yes
    printf '%-10s %-15s reported: %s\n' "$name" "$mistake" "$got"
    if [ "$got" != "$want" ]; then
        tail -n 30 "$tmp/out"
        echo "    and that is wrong"
        wrong=$((wrong + 1))
    fi
}

start tsan clang thread
start tsan_mute clang thread sched/switch.c \
    's/__tsan_switch_to_fiber_no_sync/0/'
start asan gcc address
start asan_mute gcc address sched/sanitizer.h \
    's/ASAN_POISON_MEMORY_REGION(p, size);/(void)p, (void)size;/'
start valgrind gcc ""
start valgrind_mute gcc "" sched/sanitizer.h \
    's/VALGRIND_MAKE_MEM_UNDEFINED(p, size);/(void)p, (void)size;/'
start valgrind_blind gcc "" sched/sanitizer.h \
    's/VALGRIND_MAKE_MEM_[A-Z]*(p, size);/(void)p, (void)size;/; s/(void)VALGRIND_STACK_REGISTER(low, high);/(void)low, (void)high;/'
finish

race='WARNING: ThreadSanitizer: data race'
expect yes "$race" tsan race
expect no ThreadSanitizer tsan no_race
expect no ThreadSanitizer tsan clean
# A switch that is told with the order it brings: the fibers of one worker run
# one after the other, and that is all that TSan sees.
expect no "$race" tsan_mute race

dead='AddressSanitizer: use-after-poison'
expect yes "$dead" asan dead_stack
expect no AddressSanitizer asan clean
expect no "$dead" asan_mute dead_stack

memcheck=(valgrind -q)
undefined='Conditional jump or move depends on uninitialised'
expect yes "$undefined" valgrind undefined_read "${memcheck[@]}"
expect yes 'Invalid read' valgrind dead_stack "${memcheck[@]}"
expect no 'Invalid\|uninitialised' valgrind clean "${memcheck[@]}"
expect no "$undefined" valgrind_mute undefined_read "${memcheck[@]}"
# Stacks that valgrind does not know of are one to it: what is alive on the
# stack beside the running one counts as left.
expect yes 'Invalid\|uninitialised' valgrind_blind clean "${memcheck[@]}"

[ "$wrong" -eq 0 ]
