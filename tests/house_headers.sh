#!/usr/bin/env bash
# Run by ctest: each public header compiles alone, as C11 and as C++17, with
# both compilers and no warning.
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
echo "$count compilations"
exit $failed
