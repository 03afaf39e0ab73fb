#!/usr/bin/env bash
# Run it first: it installs what is missing, builds, and does weft's main jobs: a
# pipeline that walks, reads, hashes, compresses and indexes files, once on
# weft's fibers and once on a pool of pthreads; and an HTTP server under load,
# once on fibers and once with a thread per connection (run-server.sh).
# Usage: run.sh [DIR]...
#
# Without a DIR the input is what this system has installed below /usr/include
# and /usr/share, about 300 MiB of it, or a tree made for it where that is too
# little. Both programs take turns; both have to write the same index, and
# sha256sum has to agree with it. The last lines say how long they took.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh disable=SC1091
. scripts/lib.sh

rounds=5
least_files=2000
enough_mib=280
most_mib=340

scripts/install-deps.sh build run
one_at_a_time
build_release

# ---- the input -------------------------------------------------------------

# size_of <dir>: "files bytes"
size_of() {
    find "$1" -type f -printf '%s\n' 2>/dev/null |
        awk '{ n++; s += $1 } END { printf "%d %.0f\n", n, s }'
}

inputs=()
files=0 bytes=0
# take <dir>: unless it would be too much
take() {
    local f b
    read -r f b < <(size_of "$1")
    [ $((bytes + b)) -le $((most_mib << 20)) ] || return 0
    inputs+=("$1")
    files=$((files + f))
    bytes=$((bytes + b))
}

step "choosing the input"
if [ $# -gt 0 ]; then
    most_mib=$((1 << 30))
    for dir in "$@"; do
        [ -d "$dir" ] || die "$dir is no directory"
        take "$dir"
    done
else
    for dir in /usr/include /usr/share/doc /usr/share/*; do
        [ $bytes -lt $((enough_mib << 20)) ] || break
        if [ -d "$dir" ] && [ ! -L "$dir" ] &&
            [[ " ${inputs[*]} " != *" $dir "* ]]; then
            take "$dir"
        fi
    done
    if [ $files -lt $least_files ]; then
        say "    this system has only $files files to read; making some"
        inputs=() files=0 bytes=0
        scripts/make-tree.sh 1 300 build/tree
        take build/tree
    fi
fi
shown=${inputs[*]:0:3}
[ ${#inputs[@]} -le 3 ] || shown+=" and $((${#inputs[@]} - 3)) more"
say "    $files files, $((bytes >> 20)) MiB: $shown"

# Both shall find the files in memory.
find "${inputs[@]}" -type f -print0 2>/dev/null |
    xargs -0 -r cat >/dev/null 2>&1 || true

# ---- the rounds ------------------------------------------------------------

out=$(mktemp -d "$(roomy_tmp)/weft-run.XXXXXX")
trap 'rm -rf "$out"' EXIT
say "    outputs go below $out"
TIMEFORMAT='%R %U %S'

# once <twin> <round>: runs it; a line "round twin wall user system" to the log
once() {
    local program=build/release/examples/pipeline/pipeline-$1 status=0
    [ -x "$program" ] || die "there is no $program"
    rm -rf "${out:?}/$1"
    mkdir "$out/$1"
    step "round $2 of $rounds: pipeline-$1"
    {
        time "$program" --out "$out/$1" "${inputs[@]}" 2>&3 || status=$?
    } 3>&2 2>"$out/time"
    # 1: complete, but for files which it named.
    [ $status -le 1 ] || die "pipeline-$1 exited with $status"
    echo "$2 $1 $(tail -n 1 "$out/time")" >>"$out/times"
}

for ((round = 1; round <= rounds; round++)); do
    if ((round % 2)); then
        once weft $round
        once pthread $round
    else
        once pthread $round
        once weft $round
    fi
    cmp "$out/weft/INDEX.sha256" "$out/pthread/INDEX.sha256" ||
        die "the two indexes differ"
done

# ---- the proof -------------------------------------------------------------

step "checking the index against the files"
sha256sum --check --quiet "$out/weft/INDEX.sha256" ||
    die "the index is wrong"
say "    $(wc -l <"$out/weft/INDEX.sha256") lines, the same from both;" \
    "sha256sum agrees"
step "checking the compressed files"
diff -rq "$out/weft" "$out/pthread" || die "the outputs differ"
find "$out/weft" -type f -name '*.zst' -print0 | xargs -0 -r zstd -tqq ||
    die "zstd does not read what was written"
say "    $(find "$out/weft" -name '*.zst' | wc -l) outputs, the same from" \
    "both; zstd reads them"

awk -v bytes="$bytes" '
    function median(twin,   i, j, t, n, v) {
        n = count[twin]
        for (i = 1; i <= n; i++)
            v[i] = wall[twin, i]
        for (i = 1; i <= n; i++)
            for (j = i + 1; j <= n; j++)
                if (v[j] < v[i]) {
                    t = v[i]
                    v[i] = v[j]
                    v[j] = t
                }
        return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    }
    BEGIN {
        printf "\n%-6s %-8s %8s %8s %9s\n", "round", "twin", "wall s",
            "CPU s", "MiB/s"
    }
    {
        wall[$2, ++count[$2]] = $3
        printf "%-6s %-8s %8.2f %8.2f %9.1f\n", $1, $2, $3, $4 + $5,
            bytes / 1048576 / $3
    }
    END {
        w = median("weft")
        p = median("pthread")
        printf "\nmedian: weft %.2f s, pthread %.2f s; ", w, p
        printf "weft has %.2f times the throughput of pthreads\n", p / w
    }' "$out/times"

step "the server"
scripts/run-server.sh build/release
