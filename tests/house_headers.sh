#!/usr/bin/env bash
# Run by ctest: each public header compiles alone, as C11 and as C++17, with
# both compilers and no warning; and so does a use of each macro.
# Usage: house_headers.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
source_dir=$(cd "$1" && pwd)

for tool in gcc g++ clang clang++; do
    if ! command -v "$tool" >/dev/null; then
        echo "skipped: no $tool"
        exit 77
    fi
done

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
warnings=(-Wall -Wextra -Wpedantic -Werror)
failed=0
count=0

# alone <header> <compiler> <suffix> <standard>
alone() {
    # Twice, for the include guard; the file may not be empty in ISO C.
    printf '#include <%s>\n#include <%s>\nextern int not_empty;\n' \
        "$1" "$1" >"$tmp/alone.$3"
    count=$((count + 1))
    if ! "$2" "-std=$4" "${warnings[@]}" -I"$source_dir/include" \
        -fsyntax-only "$tmp/alone.$3"; then
        echo "<$1> with $2 -std=$4"
        failed=1
    fi
}

cd "$source_dir/include"
while IFS= read -r header; do
    header=${header#./}
    alone "$header" gcc c c11
    alone "$header" clang c c11
    alone "$header" g++ cc c++17
    alone "$header" clang++ cc c++17
done < <(find . -name '*.h' | sort)
[ "$count" -gt 0 ] || failed=1

# Each macro that stands for a value, in the place where it is meant to stand.
cat >"$tmp/macros.c" <<'END'
#include <weft/sim.h>
#include <weft/weft.h>

void use(weft_chan_t *ch, weft_fiber_t fiber);

void use(weft_chan_t *ch, weft_fiber_t fiber)
{
    static weft_mutex_t mutex = WEFT_MUTEX_INIT;
    static weft_cond_t cond = WEFT_COND_INIT;
    static weft_sem_t sem = WEFT_SEM_INIT(3);
    static weft_waitgroup_t group = WEFT_WAITGROUP_INIT;
    weft_config_t config = WEFT_CONFIG_INIT;
    weft_attr_t attr = WEFT_ATTR_INIT;
    weft_listen_t listen = WEFT_LISTEN_INIT;
    weft_serve_t serve = WEFT_SERVE_INIT;
    weft_sim_t sim = WEFT_SIM_INIT;
    weft_time_t times[] = { WEFT_NS(1), WEFT_US(2), WEFT_MS(3), WEFT_SEC(4),
                            WEFT_MIN(5), WEFT_NOW, WEFT_FOREVER };
    int value = 0;
    void *result = 0;
    weft_case_t cases[] = { WEFT_RECV(ch, &value), WEFT_SEND(ch, &value),
                            WEFT_JOIN(fiber, &result), WEFT_AFTER(times[0]),
                            WEFT_READABLE(0), WEFT_WRITABLE(1) };

    (void)mutex, (void)cond, (void)sem, (void)group, (void)config, (void)attr;
    (void)listen, (void)serve, (void)sim, (void)times, (void)cases;
}
END
cp "$tmp/macros.c" "$tmp/macros.cc"
for compiler in gcc:c:c11 clang:c:c11 g++:cc:c++17 clang++:cc:c++17; do
    IFS=: read -r tool suffix standard <<<"$compiler"
    count=$((count + 1))
    if ! "$tool" "-std=$standard" "${warnings[@]}" -I"$source_dir/include" \
        -fsyntax-only "$tmp/macros.$suffix"; then
        echo "the macros with $tool -std=$standard"
        failed=1
    fi
done
echo "$count compilations"
exit $failed
