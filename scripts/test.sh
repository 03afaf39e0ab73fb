#!/usr/bin/env bash
# Run it before you commit; CI runs it too. It installs what is missing (see
# install-deps.sh), builds in build/test/ and tests, a stage after another.
#
#   scripts/test.sh             what CI runs
#   scripts/test.sh --quick     gcc, release, 2 workers
#   scripts/test.sh --all       compilers x contexts x sanitizers x workers
#   scripts/test.sh --defects [NAME]...   each planted defect turns its test red
#   scripts/test.sh --fresh     run.sh and test.sh on an empty Debian 12
#   scripts/test.sh instants    10^6 rounds at the instant of success, by name
#
# Names of stages instead of an option run those. The last line is
# "N passed, N failed, N skipped"; a test is a case of Check, or a script.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh disable=SC1091
. scripts/lib.sh

# The least number of tests a stage runs: fewer means that some got lost, and
# fails it. A stage that is not listed by default runs by name or in --all.
declare -A least=(
    [quick]=1200
    [release]=5250
    [clang]=1250
    [asan]=2600
    [tsan]=2600
    [ucontext]=680
    [onecpu]=1080
    [sim]=215
    [codes]=1
    [prove]=1
    [defects]=290
    [matrix]=30000
    [instants]=150
)
least_schedules=50000
default_stages=(
    release clang asan tsan ucontext onecpu sim codes prove defects
)

# ---- counting --------------------------------------------------------------

all_passed=0 all_failed=0 all_skipped=0
passed=0 failed=0 skipped=0

# count_junit <file>: "passed failed skipped" of a ctest run. What prints Check's
# summary, or the last line of this script, counts with its cases; what dies
# counts as failed.
count_junit() {
    awk '
        function finish() {
            if (status == "run")
                pass += checks ? checks : 1
            else if (status == "fail") {
                bad = bad_cases > 0 ? bad_cases : 1
                fail += bad
                pass += checks > bad ? checks - bad : 0
            } else if (status != "")
                skip++
            status = ""
        }
        /<testcase / {
            finish()
            checks = bad_cases = 0
            status = $0
            sub(/.*status="/, "", status)
            sub(/".*/, "", status)
        }
        /^[ \t]*(<system-out>)?[0-9]+%: Checks: / {
            line = $0
            gsub(/[^0-9 ]/, "", line)
            sub(/^ +/, "", line)
            split(line, n, / +/)
            checks += n[2]
            bad_cases += n[3] + n[4]
        }
        /^[ \t]*(<system-out>)?[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ {
            line = $0
            gsub(/[^0-9 ]/, "", line)
            sub(/^ +/, "", line)
            split(line, n, / +/)
            checks += n[1] + n[2]
            bad_cases += n[2]
            skip += n[3]
        }
        END {
            finish()
            printf "%d %d %d\n", pass, fail, skip
        }' "$1"
}

# run_tests <dir> <ctest argument>...: adds to the counts, shows what failed
run_tests() {
    local dir=$1 junit p f s status=0
    shift
    junit=$PWD/$dir/junit.xml
    rm -f "$junit"
    ctest --test-dir "$dir" -j "$(jobs_here)" --no-tests=error \
        --output-on-failure --output-junit "$junit" \
        --test-output-size-passed 8000000 --test-output-size-failed 8000000 \
        "$@" 2>&1 9>&- | show_tests "$dir/ctest.log" || status=1
    if [ ! -f "$junit" ]; then
        failed=$((failed + 1))
        return 1
    fi
    read -r p f s < <(count_junit "$junit")
    passed=$((passed + p))
    failed=$((failed + f))
    skipped=$((skipped + s))
    return $status
}

# show_tests <log>: of ctest's output, a line per test and what failed said
show_tests() {
    tee "$1" | sed -u -E \
        -e '/^Internal ctest|^ +Start +[0-9]+:|^Test project|^$/d' \
        -e '/tests passed|^Label Time Summary|^The following tests/,$d'
}

# ---- building --------------------------------------------------------------

# flavour <name> <cmake argument>...: configures build/test/<name>
flavour() {
    local name=$1
    shift
    step "configuring $name"
    configure "build/test/$name" -DWEFT_WERROR=ON "$@"
}

# made <name> [<target>...]
made() {
    local t
    t=$(now_ms)
    step "building $1"
    build "build/test/$1" "${@:2}" || return 1
    say "    built in $(seconds_since "$t") s"
}

# programs_of <name> <ctest argument>...: the targets of these tests
programs_of() {
    local dir=build/test/$1
    shift
    ctest --test-dir "$dir" -N "$@" |
        sed -nE 's/^ *Test +#[0-9]+: ([^. ]+).*/\1/p' | sort -u
}

# none <what>: this tree has nothing for the stage
none() {
    say "    skipped: there are no $1"
    skipped=$((skipped + 1))
}

# Where tests log what calls returned: see check-codes.py.
codes_log=$PWD/build/test/release/codes

libraries_only=(-DWEFT_BUILD_BENCH=OFF -DWEFT_BUILD_EXAMPLES=OFF)

# ---- the stages ------------------------------------------------------------

stage_release() {
    flavour release -DCMAKE_C_COMPILER=gcc || return 1
    made release || return 1
    rm -f "$codes_log"
    CK_CODE_LOG=$codes_log run_tests build/test/release \
        -L 'unit|stress|script'
}

stage_quick() {
    flavour release -DCMAKE_C_COMPILER=gcc || return 1
    made release || return 1
    run_tests build/test/release -L 'unit|stress' -LE '^w(1|4|8)$' || return 1
    run_tests build/test/release -L script -R '^(house_|examples)'
}

# The other compiler: no warning anywhere, and the tests that are no stress.
stage_clang() {
    flavour clang -DCMAKE_C_COMPILER=clang -DWEFT_TEST_WORKERS=2 || return 1
    made clang || return 1
    run_tests build/test/clang -L unit
}

# With the debug checks too: what one misses the other may see.
stage_asan() {
    flavour asan -DCMAKE_C_COMPILER=gcc -DWEFT_SANITIZE=address \
        -DWEFT_DEBUG=ON '-DWEFT_TEST_WORKERS=2;4' \
        -DWEFT_BUILD_BENCH=OFF || return 1
    made asan || return 1
    run_tests build/test/asan -L 'unit|stress|script'
}

stage_tsan() {
    flavour tsan -DCMAKE_C_COMPILER=clang -DWEFT_SANITIZE=thread \
        '-DWEFT_TEST_WORKERS=2;4' -DWEFT_BUILD_BENCH=OFF || return 1
    made tsan || return 1
    run_tests build/test/tsan -L 'unit|stress|script'
}

# some_tests <name> <regex>: builds and runs only the tests of that name
some_tests() {
    local programs
    mapfile -t programs < <(programs_of "$1" -L 'unit|stress' -R "$2")
    if [ ${#programs[@]} -eq 0 ]; then
        say "    no test is called $2"
        return 1
    fi
    made "$1" "${programs[@]}" || return 1
    run_tests "build/test/$1" -L 'unit|stress' -R "$2"
}

# What ends a call at the instant of its success, as often as it takes to meet
# each gap: some hours.
stage_instants() {
    flavour instants -DCMAKE_C_COMPILER=gcc -DWEFT_TEST_WORKERS=2 \
        -DWEFT_TEST_SECONDS=30000 "${libraries_only[@]}" || return 1
    made instants || return 1
    local others='io_instant|connect_instant|resolve_late|signal_kept'
    others+='|blocking_fd_end'
    WEFT_TEST_ROUNDS=1000000 run_tests build/test/instants \
        -R "^(stress_cancel|test_($others)[.]w2)\$"
}
stage_ucontext() {
    flavour ucontext -DCMAKE_C_COMPILER=gcc -DWEFT_CONTEXT=ucontext \
        "${libraries_only[@]}" || return 1
    some_tests ucontext 'context|stack|park|chan'
}

# Four workers on one CPU: whoever is preempted half way is not helped by luck.
stage_onecpu() {
    local cpu
    cpu=$(taskset -cp "$BASHPID" | sed 's/.*: *\([0-9]*\).*/\1/')
    flavour release -DCMAKE_C_COMPILER=gcc || return 1
    made release || return 1
    taskset -cp "$cpu" "$BASHPID" >/dev/null
    run_tests build/test/release -L '^w4$' -LE stress
}

stage_sim() {
    compgen -G 'tests/sim_*.c' >/dev/null || { none 'tests/sim_*.c'; return; }
    flavour release -DCMAKE_C_COMPILER=gcc || return 1
    made release || return 1
    CK_CODE_LOG=$codes_log run_tests build/test/release -L sim || return 1
    local n
    n=$(grep -oE 'sim/.* schedules=[0-9]+' build/test/release/junit.xml |
        awk -F= '{ n += $2 } END { print n + 0 }')
    say "    $n schedules"
    if [ "$n" -lt $least_schedules ]; then
        say "    there were to be at least $least_schedules"
        failed=$((failed + 1))
        return 1
    fi
}

# What the tests of the two stages above saw returned is what the headers say
# is returned, and all of it.
stage_codes() {
    [ -f "$codes_log" ] || { none 'codes: run release and sim first'; return; }
    if python3 scripts/check-codes.py "$codes_log" include/weft; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        return 1
    fi
}

stage_prove() {
    compgen -G 'tests/prove_*.sh' >/dev/null ||
        { none 'tests/prove_*.sh'; return; }
    flavour release -DCMAKE_C_COMPILER=gcc || return 1
    made release || return 1
    run_tests build/test/release -L prove
}

# Here only that each planted defect still fits the sources; --defects plants.
stage_defects() {
    local p f
    compgen -G 'tests/defects/*.patch' >/dev/null ||
        { none 'tests/defects/*.patch'; return; }
    flavour release -DCMAKE_C_COMPILER=gcc || return 1
    read -r p f < <(bash scripts/test-defects.sh --fit build/test/release \
        3>&1 >&2 9>&-)
    [ -n "$p" ] || return 1
    passed=$((passed + p))
    failed=$((failed + f))
}

# Each context with each sanitizer and all worker counts; with the compiler and
# the debug checks so that each pair of settings occurs, here or in the stages
# above. gcc's TSan knows no more than clang's.
matrix=(
    # context  sanitizer  compiler  debug
    'asm       -          clang     ON'
    'asm       address    clang     OFF'
    'asm       thread     clang     ON'
    'ucontext  -          gcc       ON'
    'ucontext  address    gcc       ON'
    'ucontext  thread     clang     OFF'
)

stage_matrix() {
    local row context sanitize compiler debug status=0
    for row in "${matrix[@]}"; do
        read -r context sanitize compiler debug <<<"$row"
        flavour "all-$context-$sanitize" "-DCMAKE_C_COMPILER=$compiler" \
            "-DWEFT_CONTEXT=$context" "-DWEFT_SANITIZE=${sanitize#-}" \
            "-DWEFT_DEBUG=$debug" "${libraries_only[@]}" &&
            made "all-$context-$sanitize" &&
            run_tests "build/test/all-$context-$sanitize" \
                -L 'unit|stress|sim' || status=1
    done
    return $status
}

# run_stage <name>
run_stage() {
    local name=$1 t ok=1
    t=$(now_ms)
    passed=0 failed=0 skipped=0
    printf '\n==> stage %s\n' "$name"
    # In a subshell of its own, since onecpu changes its affinity; the counts
    # come back through a file.
    echo "0 0 0" >build/test/counts
    if (
        status=0
        "stage_$name" || status=1
        echo "$passed $failed $skipped" >build/test/counts
        exit $status
    ); then
        ok=0
    fi
    read -r passed failed skipped <build/test/counts
    if [ $ok -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
    fi
    if [ $((passed + failed)) -lt "${least[$name]}" ]; then
        say "    only $((passed + failed)) tests ran;" \
            "there were to be at least ${least[$name]}"
        failed=$((failed + 1))
    fi
    say "==> stage $name: $passed passed, $failed failed, $skipped skipped" \
        "in $(seconds_since "$t") s"
    all_passed=$((all_passed + passed))
    all_failed=$((all_failed + failed))
    all_skipped=$((all_skipped + skipped))
    summary+=("$(printf '%-10s %8d %8d %8d %9s s' "$name" "$passed" "$failed" \
        "$skipped" "$(seconds_since "$t")")")
}

# ---- what was asked for ----------------------------------------------------

stages=()
case ${1:-} in
--quick) stages=(quick) ;;
--all) stages=("${default_stages[@]}" matrix) ;;
--defects)
    shift
    scripts/install-deps.sh test
    one_at_a_time
    exec bash scripts/test-defects.sh "$@"
    ;;
--fresh)
    shift
    exec bash scripts/test-fresh.sh "$@"
    ;;
'') stages=("${default_stages[@]}") ;;
*)
    for name in "$@"; do
        [ -n "${least[$name]:-}" ] || die "no stage '$name': ${!least[*]}"
        stages+=("$name")
    done
    ;;
esac

# What the caller set for programs of weft is not meant for the tests.
for name in "${!WEFT_@}"; do
    unset "$name"
done

scripts/install-deps.sh test
one_at_a_time
mkdir -p build/test
summary=()
started=$(now_ms)
for name in "${stages[@]}"; do
    run_stage "$name"
done

printf '\n%-10s %8s %8s %8s %11s\n' stage passed failed skipped time
printf '%s\n' "${summary[@]}"
printf 'in %s s\n\n' "$(seconds_since "$started")"
say "$all_passed passed, $all_failed failed, $all_skipped skipped"
[ "$all_failed" -eq 0 ]
