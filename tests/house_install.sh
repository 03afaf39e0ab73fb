#!/usr/bin/env bash
# Run by ctest: what is installed can be built against, from a place that was
# not known at configure time, with pkg-config and with find_package.
# Usage: house_install.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
build_dir=$(cd "$2" && pwd)
cc=${CC:-cc}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cmake --install "$build_dir" --prefix "$tmp/first" >"$tmp/log" || {
    cat "$tmp/log"
    exit 1
}
mv "$tmp/first" "$tmp/prefix"

cat >"$tmp/consumer.c" <<'END'
#include <stdio.h>
#include <weft/weft.h>

static int entry(void *arg)
{
    return printf("%s, weft %s\n", (const char *)arg, weft_version()) < 0;
}

int main(int argc, char **argv)
{
    int failed = 1;
    (void)argc;
    return weft_run(NULL, entry, argv[0], &failed) != 0 || failed;
}
END

pc_dir=$(dirname "$(find "$tmp/prefix" -name weft.pc)")
lib_dir=$(dirname "$pc_dir")
export PKG_CONFIG_PATH="$pc_dir"
sims=()
[ ! -e "$pc_dir/weft-sim.pc" ] || sims=(weft-sim)

for module in weft "${sims[@]}"; do
    echo "pkg-config $module, shared:"
    read -ra flags < <(pkg-config --cflags --libs "$module")
    "$cc" -std=c11 "$tmp/consumer.c" -o "$tmp/shared" "${flags[@]}"
    LD_LIBRARY_PATH=$lib_dir "$tmp/shared"

    echo "pkg-config $module, static:"
    read -ra flags < <(pkg-config --static --cflags --libs "$module")
    flags=("${flags[@]/#-l$module/-l:lib$module.a}")
    "$cc" -std=c11 "$tmp/consumer.c" -o "$tmp/static" "${flags[@]}"
    "$tmp/static"
    if readelf -d "$tmp/static" | grep -q 'NEEDED.*libweft'; then
        echo "the static program loads libweft"
        exit 1
    fi
done

mkdir "$tmp/project"
cat >"$tmp/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.18)
project(consumer LANGUAGES C)
find_package(weft 0.1 REQUIRED)
foreach(library IN ITEMS weft static sim sim_static)
    if(TARGET weft::${library})
        add_executable(with_${library} ../consumer.c)
        target_link_libraries(with_${library} PRIVATE weft::${library})
    endif()
endforeach()
END
if ! {
    cmake -S "$tmp/project" -B "$tmp/project/build" -G Ninja \
        -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$tmp/prefix" &&
        cmake --build "$tmp/project/build"
} >"$tmp/log" 2>&1; then
    cat "$tmp/log"
    exit 1
fi
wanted=(with_weft with_static)
[ ${#sims[@]} -eq 0 ] || wanted+=(with_sim with_sim_static)
for program in "${wanted[@]}"; do
    echo "find_package, $program:"
    "$tmp/project/build/$program"
done
