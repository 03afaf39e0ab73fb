#!/usr/bin/env bash
# Run it through `test.sh --defects [NAME]...`, to see that each test fails when
# what it guards is broken: a test that cannot fail proves nothing.
#
# A defect is tests/defects/NAME.patch. Before the diff stand the lines
#
#     Test: <regex of ctest names>      the tests of which one must fail
#     Build: <release|asan|tsan|sim>    where
#     Why: <one line>                   what is broken
#     Repeat: <n>                       optional: up to n runs until it fails
#
# Each build has a copy of the tree in build/defects/. The tests are green there
# before the first defect; then each is applied, built, tested, taken back.
#
#   test-defects.sh --fit BUILD_DIR   only: does each apply, and do the tests
#                                     it names exist? Counts on descriptor 3
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh disable=SC1091
. scripts/lib.sh

header() {
    sed -n -e '/^\(diff\|---\) /q' -e "s/^$2: *//p" "$1" | head -n 1
}

# The cmake arguments of a build. Optimised as the release is, but file by file:
# each defect compiles its own file again, and not a whole group.
arguments_of() {
    case $1 in
    release | sim) echo gcc -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O2 ;;
    asan) echo "gcc -DWEFT_SANITIZE=address -DWEFT_DEBUG=ON" ;;
    tsan) echo "clang -DWEFT_SANITIZE=thread" ;;
    *) return 1 ;;
    esac
}

# tests_of <build dir> <regex>: their names
tests_of() {
    ctest --test-dir "$1" -N -R "$2" |
        sed -nE 's/^ *Test +#[0-9]+: ([^ ]+).*/\1/p'
}

# listed <patch>: a row of docs/testing.md has it beside the test it turns red
listed() {
    awk -v name="$(basename "$1" .patch)" -v regex="$(header "$1" Test)" '
        BEGIN {
            sub(/^[\^(]*/, "", regex)
            match(regex, /^[a-z0-9_]+/)
            test = substr(regex, 1, RLENGTH)
            sub(/_$/, "", test)
        }
        /^\|/ {
            n = split($0, part, "`")
            here = beside = 0
            for (i = 2; i <= n; i += 2) {
                glob = part[i]
                gsub(/\*/, ".*", glob)
                here = here || name ~ "^" glob "$"
                sub(/\.sh$/, "", part[i])
                beside = beside || index(part[i], test) == 1
            }
            found = found || (here && beside)
        }
        END { exit !found }' docs/testing.md
}

# problem <patch> <dir it applies to> [<build dir>]: why it is no good, or ""
problem() {
    local patch=$1 tree=$2 dir=${3:-} field
    for field in Test Build Why; do
        if [ -z "$(header "$patch" $field)" ]; then
            echo "has no line $field:"
            return
        fi
    done
    if ! arguments_of "$(header "$patch" Build)" >/dev/null; then
        echo "wants an unknown build"
    elif ! patch -d "$tree" -p1 -F0 -f -s --dry-run <"$patch" >/dev/null; then
        echo "does not apply any more"
    elif [ -n "$dir" ] &&
        [ -z "$(tests_of "$dir" "$(header "$patch" Test)")" ]; then
        echo "names no test: $(header "$patch" Test)"
    elif [ -n "$dir" ] && ! listed "$patch"; then
        echo "is in no row of docs/testing.md with its test"
    fi
}

shopt -s nullglob
passed=0 failed=0

if [ "${1:-}" = --fit ]; then
    for patch in tests/defects/*.patch; do
        why=$(problem "$patch" . "$2")
        if [ -n "$why" ]; then
            say "    $patch $why"
            failed=$((failed + 1))
        else
            passed=$((passed + 1))
        fi
    done
    say "    $passed defects fit, $failed do not"
    echo "$passed $failed" >&3
    exit 0
fi

patches=()
if [ $# -gt 0 ]; then
    for name in "$@"; do
        name=${name##*/}
        patch=tests/defects/${name%.patch}.patch
        [ -f "$patch" ] || die "there is no $patch"
        patches+=("$patch")
    done
else
    patches=(tests/defects/*.patch)
fi
[ ${#patches[@]} -gt 0 ] || die "there are no defects in tests/defects"

rows=()
# row <patch> <result> <seconds>
row() {
    local line
    line=$(printf '%-34s %-8s %-12s %7s  %s' "$(basename "$1" .patch)" \
        "$(header "$1" Build)" "$2" "$3" "$(header "$1" Why)")
    rows+=("$line")
    say "    $line"
    case $2 in
    red) passed=$((passed + 1)) ;;
    *) failed=$((failed + 1)) ;;
    esac
}

# targets_of <build dir> <regex>: a script's are the libraries, and what it
# names in a line "# Wants: <targets>"
targets_of() {
    local name
    tests_of "$1" "$2" | sed 's/\..*//' | while read -r name; do
        if [ -f "tests/$name.sh" ]; then
            printf '%s\n' weft weft_static
            sed -n 's/^# Wants: //p' "tests/$name.sh" | tr ' ' '\n'
        else
            echo "$name"
        fi
    done | sort -u
}

running=
trap '[ -z "$running" ] || kill -TERM -- "-$running"' EXIT

# all_green <tap file> <ctest argument>...: or some case is red; the others of
# its program are not waited for, since many would hang in the same way, each
# until its time is up. Check writes a line into that file as each case ends.
all_green() {
    local tap=$1 status=0
    shift
    rm -f "$tap"
    CK_TAP_LOG_FILE_NAME=$PWD/$tap setsid ctest "$@" 9>&- &
    running=$!
    while [ $status -eq 0 ] && kill -0 "$running" 2>/dev/null; do
        if grep -s '^not ok' "$tap"; then
            kill -TERM -- "-$running"
            status=1
        else
            sleep 0.1
        fi
    done
    wait "$running" || status=1
    running=
    return $status
}

# plant <patch> <tree> <build dir>: sets `result` to red, green, or why neither.
# In this shell, whose trap stops what it has started.
plant() {
    local patch=$1 tree=$2 dir=$3 log test repeat targets
    log=$dir/$(basename "$patch" .patch).log
    test=$(header "$patch" Test)
    repeat=$(header "$patch" Repeat)
    mapfile -t targets < <(targets_of "$dir" "$test")

    patch -d "$tree" -p1 -F0 -f -s <"$patch"
    if ! cmake --build "$dir" -j "$(jobs_here)" --target "${targets[@]}" \
        >"$log" 2>&1 9>&-; then
        result="no build"
    elif all_green "$dir/tap" --test-dir "$dir" -R "$test" --stop-on-failure \
        --output-on-failure --repeat "until-fail:${repeat:-1}" \
        >>"$log" 2>&1; then
        result=green
    else
        result=red
    fi
    patch -d "$tree" -p1 -F0 -f -s -R <"$patch"
}

for flavour in release asan tsan sim; do
    mine=()
    names=()
    for patch in "${patches[@]}"; do
        if [ "$(header "$patch" Build)" = "$flavour" ]; then
            mine+=("$patch")
            names+=("$(header "$patch" Test)")
        fi
    done
    [ ${#mine[@]} -gt 0 ] || continue

    # Touched, so that nothing built from a defect of an earlier run is reused.
    step "preparing the $flavour build for ${#mine[@]} defects"
    tree=build/defects/$flavour/tree
    dir=build/defects/$flavour/build
    rm -rf "$tree"
    mkdir -p "$tree"
    tar -cf - --exclude=./build --exclude=./.git . | tar -xmf - -C "$tree"
    read -ra arguments < <(arguments_of "$flavour")
    : >"$dir.log"
    quietly "$dir.log" cmake -S "$tree" -B "$dir" -G Ninja \
        "-DCMAKE_C_COMPILER=${arguments[0]}" "${arguments[@]:1}" \
        -DWEFT_BUILD_BENCH=OFF -DWEFT_TEST_SECONDS=20

    # A patch that is no good is reported and left out.
    good=()
    names=()
    for patch in "${mine[@]}"; do
        why=$(problem "$patch" "$tree" "$dir")
        if [ -n "$why" ]; then
            say "    $patch $why"
            row "$patch" "unfit" -
        else
            good+=("$patch")
            names+=("$(header "$patch" Test)")
        fi
    done
    [ ${#good[@]} -gt 0 ] || continue

    regex=$(printf '|%s' "${names[@]}")
    regex=${regex:1}
    mapfile -t targets < <(targets_of "$dir" "$regex")
    quietly "$dir.log" cmake --build "$dir" -j "$(jobs_here)" \
        --target "${targets[@]}"
    step "the same tests without a defect"
    if ! ctest --test-dir "$dir" -R "$regex" -j "$(jobs_here)" \
        --output-on-failure >"$dir.green.log" 2>&1 9>&-; then
        tail -n 40 "$dir.green.log"
        say "    red without a defect: what follows would prove nothing"
        failed=$((failed + 1))
        continue
    fi

    for patch in "${good[@]}"; do
        t=$(now_ms)
        plant "$patch" "$tree" "$dir"
        row "$patch" "$result" "$(seconds_since "$t")"
    done
done

printf '\n%-34s %-8s %-12s %7s  %s\n' defect build result seconds \
    'what is broken'
printf '%s\n' "${rows[@]}" | sort
printf '\n'
say "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
