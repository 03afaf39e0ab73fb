#!/usr/bin/env bash
# Run by ctest: the pipeline example and its pthread twin do the same, and what
# they promise, also when files cannot be read, the disk is full or someone
# presses Ctrl-C.
# Usage: pipeline.sh SOURCE_DIR BUILD_DIR
#
# Each case_ function is one check, run for each twin in a shell and an empty
# folder ($work) of its own. It fails where a command fails; one that returns 77
# was skipped, and its last line says why.

# shellcheck disable=SC2317  # the cases are called by name
set -euo pipefail
export LC_ALL=C
build_dir=$(cd "$2" && pwd)

twins=(weft pthread)
for twin in "${twins[@]}"; do
    if [ ! -x "$build_dir/examples/pipeline/pipeline-$twin" ]; then
        echo "skipped: pipeline-$twin was not built"
        exit 77
    fi
done
if ! command -v zstd >/dev/null; then
    echo "skipped: no zstd to decompress with"
    exit 77
fi

tmp=$(mktemp -d)
mounts=()
clean_up() {
    local mount
    for mount in "${mounts[@]}"; do
        umount "$mount" || true
    done
    chmod -R u+rwX "$tmp" || true
    rm -rf "$tmp"
}
trap clean_up EXIT
# Another user shall be able to run the programs, and to read what he may.
chmod 755 "$tmp"
cp "$build_dir"/examples/pipeline/pipeline-{weft,pthread} "$tmp"

# shellcheck source=tests/support_pipeline.sh
. "$1/tests/support_pipeline.sh"

tree=$tmp/tree
make_tree "$tree"

# reference <root>...: the index as find, sort and sha256sum make it
reference() {
    find "$@" -type f -print0 | sort -z | xargs -0 -r sha256sum
}
reference "$tree" >"$tmp/reference"
files=$(find "$tree" -type f -printf x | wc -c)

# ---- helpers of the cases --------------------------------------------------

# gives <code> <command>...: it exits with this code and with no other
gives() {
    local want=$1 got=0
    shift
    "$@" || got=$?
    [ "$got" -eq "$want" ] || {
        echo "exit code $got, not $want: $*"
        return 1
    }
}

# says <text> <file>
says() {
    grep -aqF -- "$1" "$2" || {
        echo "no '$1' in:"
        cat "$2"
        return 1
    }
}

no_index() {
    [ ! -e "$1/INDEX.sha256" ] && [ ! -e "$1/INDEX.sha256.part" ]
}

# outputs_whole <dir>: every output there is decompresses to its end
outputs_whole() {
    find "$1" -type f -name '*.zst' -print0 | xargs -0 -r zstd -tqq --
}

# output_hash <out> <path>: of what the output of `path` decompresses to
output_hash() {
    zstd -dcqq -- "$1$2.zst" | sha256sum | cut -d' ' -f1
}

# field <name> <json>: a number
field() {
    sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$2"
}

# until_true <command>...: for at most 60 s
until_true() {
    local i
    for ((i = 0; i < 1200; i++)); do
        ! "$@" || return 0
        sleep 0.05
    done
    echo "waited in vain for: $*"
    return 1
}

gone() {
    ! kill -0 "$1" 2>/dev/null
}

ends_within_a_minute() {
    until_true gone "$1" || {
        kill -KILL "$1"
        return 1
    }
}

has_output() {
    find "$1" -name '*.zst' -print -quit 2>/dev/null | grep -q .
}

# as_user <command>...: as someone whom permissions stop
as_user() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
    else
        "$@"
    fi
}

# ---- it works --------------------------------------------------------------

case_index_and_outputs() {
    local path

    gives 0 "$program" --workers "$workers" --out "$work/out" "$tree"
    cmp "$tmp/reference" "$work/out/INDEX.sha256"
    sha256sum --check --quiet "$work/out/INDEX.sha256"
    # The first run is compared with the sources, all others with the first.
    if [ -d "$tmp/first" ]; then
        diff -r "$tmp/first" "$work/out"
        return
    fi
    # Its directory a.zst moves the output of `a` one further, twice.
    mv "$work/out$tree/twice/a.zst.zst.zst" "$work/a"
    while IFS= read -r -d '' path; do
        if [ "$path" = "$tree/twice/a" ]; then
            zstd -dcqq "$work/a" | cmp - "$path"
        else
            zstd -dcqq -- "$work/out$path.zst" | cmp - "$path"
        fi
    done < <(find "$tree" -type f -print0)
    mv "$work/a" "$work/out$tree/twice/a.zst.zst.zst"
    [ "$(find "$work/out" -type f | wc -l)" -ge "$files" ]
    cp -r "$work/out" "$tmp/first"
}

case_summary() {
    gives 0 "$program" --out "$work/out" --summary-json "$work/json" "$tree" \
        >"$work/stdout" 2>"$work/stderr"
    says "$files files" "$work/stdout"
    says "5 symbolic links, 1 special files" "$work/stdout"
    # No terminal, no progress.
    [ ! -s "$work/stderr" ]
    [ "$(field files "$work/json")" -eq "$files" ]
    [ "$(field errors "$work/json")" -eq 0 ]
    [ "$(field bytes "$work/json")" -eq \
        "$(find "$tree" -type f -printf '%s\n' | awk '{ s += $1 } END { print s }')" ]
    [ "$(field out_bytes "$work/json")" -eq \
        "$(find "$work/out" -name '*.zst' -type f -printf '%s\n' |
            awk '{ s += $1 } END { print s }')" ]
    [ "$(field wall_ns "$work/json")" -gt 0 ]
    [ "$(field cpu_ns "$work/json")" -gt 0 ]
}

case_quiet() {
    gives 0 "$program" --quiet --out "$work/out" "$tree" &>"$work/said"
    [ ! -s "$work/said" ]
}

case_progress_on_a_terminal() {
    if ! command -v script >/dev/null; then
        echo "no script(1) to make a terminal with"
        return 77
    fi
    # script hands it to a shell; none of these paths needs quotes.
    script -qec "$program --no-write $tree" /dev/null </dev/null >"$work/said"
    says $'\r[' "$work/said"
    script -qec "$program --no-write --quiet $tree" /dev/null </dev/null \
        >"$work/said"
    [ ! -s "$work/said" ]
}

case_no_write() {
    cd "$work"
    gives 0 "$program" --no-write --summary-json json "$tree" >stdout
    [ "$(field files json)" -eq "$files" ]
    # The first run of all wrote what this one only counted.
    [ "$(field out_bytes json)" -eq \
        "$(find "$tmp/first" -name '*.zst' -type f -printf '%s\n' |
            awk '{ s += $1 } END { print s }')" ]
    [ "$(find . -type f | sort | tr '\n' ' ')" = "./json ./stdout " ]
    gives 0 "$program" --no-write --quiet --out out "$tree"
    cmp "$tmp/reference" out/INDEX.sha256
    [ "$(find out -type f)" = out/INDEX.sha256 ]
}

case_two_roots() {
    gives 0 "$program" --quiet --out "$work/out" "$tree/odd" "$tree/small"
    reference "$tree/odd" "$tree/small" | cmp - "$work/out/INDEX.sha256"
    diff -r "$tmp/first$tree/odd" "$work/out$tree/odd"
    diff -r "$tmp/first$tree/small" "$work/out$tree/small"
}

# Twice the same, one inside the other: each file is there once.
case_roots_that_overlap() {
    gives 0 "$program" --quiet --out "$work/out" "$tree/small/1" \
        "$tree/small" "$tree/small/" "$tree/small/../small/2" \
        "$tree/small/0/0/file0"
    reference "$tree/small" | cmp - "$work/out/INDEX.sha256"
}

case_root_is_a_link_or_a_file() {
    ln -s "$tree/odd" "$work/dir"
    ln -s "$tree/big/text" "$work/file"
    gives 0 "$program" --quiet --out "$work/out" "$work/dir" "$work/file" \
        "$tree/empty"
    reference "$tree/odd" "$tree/big/text" "$tree/empty" | sort -k2 >"$work/a"
    sort -k2 "$work/out/INDEX.sha256" | cmp "$work/a" -
}

case_relative_root() {
    cd "$tree/small"
    gives 0 "$program" --quiet --out "$work/out" . ../odd
    reference "$tree/small" "$tree/odd" | sort >"$work/a"
    sort "$work/out/INDEX.sha256" | cmp "$work/a" -
}

case_empty_tree() {
    mkdir "$work/in"
    gives 0 "$program" --quiet --out "$work/out" "$work/in"
    [ -f "$work/out/INDEX.sha256" ] && [ ! -s "$work/out/INDEX.sha256" ]
}

# A second run sees the outputs of the first in its input, and leaves them.
case_output_inside_the_input() {
    cp -r "$tree/odd" "$work/in"
    gives 0 "$program" --quiet --out "$work/in/out" "$work/in"
    cp "$work/in/out/INDEX.sha256" "$work/before"
    gives 0 "$program" --quiet --out "$work/in/out" "$work/in"
    cmp "$work/before" "$work/in/out/INDEX.sha256"
    [ "$(grep -c '' "$work/before")" -eq ${#odd_names[@]} ]
}

case_input_inside_the_output_is_refused() {
    mkdir -p "$work/out/in"
    gives 2 "$program" --out "$work/out" "$work/out/in" 2>"$work/stderr"
    says "lies in the output directory" "$work/stderr"
}

# What stands where an output goes is replaced, not written through.
case_outputs_are_replaced() {
    mkdir -p "$work/in" "$work/out$work/in"
    echo new >"$work/in/f"
    echo precious >"$work/precious"
    ln -s "$work/precious" "$work/out$work/in/f.zst"
    ln "$work/precious" "$work/out$work/in/g.zst"
    echo new >"$work/in/g"
    gives 0 "$program" --quiet --out "$work/out" "$work/in"
    [ "$(cat "$work/precious")" = precious ]
    [ "$(zstd -dcqq "$work/out$work/in/f.zst")" = new ]
    [ "$(zstd -dcqq "$work/out$work/in/g.zst")" = new ]
}

# A quarter of a gigabyte, read faster than it is compressed, goes through a
# few chunks.
case_memory_is_bounded() {
    local i
    for ((i = 0; i < 64; i++)); do
        cat "$tree/big/text"
    done >"$work/huge"
    # A sanitizer would keep what was freed.
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=8
    gives 0 "$program" --quiet --no-write --workers 2 --level 9 \
        --summary-json "$work/json" "$work/huge" "$tree"
    [ "$(field bytes "$work/json")" -gt 268435456 ]
    echo "peak: $(field peak_kib "$work/json") KiB"
    [ "$(field peak_kib "$work/json")" -lt 163840 ]
}

case_bad_usage() {
    cd "$work"
    {
        gives 2 "$program"
        gives 2 "$program" --workers 0 "$tree"
        gives 2 "$program" --workers 2x "$tree"
        gives 2 "$program" --level 99 "$tree"
        gives 2 "$program" --nonsense "$tree"
        gives 2 "$program" --out /dev/null/x "$tree"
        gives 2 "$program" --out "$tree/empty" "$tree"
    } 2>said
    gives 0 "$program" --help >help
    says "usage: pipeline-$twin [--workers N]" help
    [ "$(ls)" = $'help\nsaid' ]
}

# ---- it fails well ---------------------------------------------------------

# A file and a directory that we may not read, and an input that is not there:
# listed, counted, and the index has all the rest.
case_unreadable_files() {
    local out=$work/out

    mkdir -p "$work/in/locked" "$out"
    cp -r "$tree/small" "$work/in"
    echo secret >"$work/in/secret"
    echo secret >"$work/in/locked/secret"
    reference "$work/in/small" >"$work/rest"
    chmod 755 "$work"
    chmod 777 "$out"
    chmod 000 "$work/in/secret" "$work/in/locked"
    gives 1 as_user "$program" --out "$out" "$work/in" "$work/nowhere" \
        >"$work/stdout" 2>"$work/stderr"
    says "$work/in/secret: cannot open: Permission denied" "$work/stderr"
    says "$work/in/locked: cannot open: Permission denied" "$work/stderr"
    says "$work/nowhere: cannot open: No such file" "$work/stderr"
    [ "$(wc -l <"$work/stderr")" -eq 3 ]
    says "3 not read" "$work/stdout"
    cmp "$work/rest" "$out/INDEX.sha256"
    sed 's/^pipeline-[a-z]*//' "$work/stderr" | sed "s|$work||" \
        >"$tmp/unreadable.$twin"
}

case_name_too_long_for_its_output() {
    local name
    name=$(printf '%0253d' 7)
    mkdir "$work/in"
    echo short >"$work/in/short"
    echo long >"$work/in/$name"
    gives 1 "$program" --out "$work/out" "$work/in" >"$work/stdout" \
        2>"$work/stderr"
    says "$name: cannot write the output: File name too long" "$work/stderr"
    reference "$work/in/short" | cmp - "$work/out/INDEX.sha256"
}

# changing <how>: a file that another process changes all the while it is read
changing() {
    local how=$1 file=$work/file hash pid i

    truncate -s 256M "$file"
    text 1000000 3 | dd of="$file" conv=notrunc status=none
    (
        for ((i = 0; i < 2000; i++)); do
            case $how in
            grow) printf more >>"$file" ;;
            shrink) truncate -s -64K "$file" ;;
            overwrite)
                printf '%s' "$i" |
                    dd of="$file" conv=notrunc seek=$((i * 64)) status=none
                ;;
            esac
            sleep 0.005
        done
    ) &
    pid=$!
    trap 'kill "$pid"' EXIT
    gives 1 "$program" --out "$work/out" "$file" "$tree/empty" \
        >"$work/stdout" 2>"$work/stderr"
    kill "$pid"
    trap - EXIT
    says "$file: changed while read" "$work/stderr"
    says "1 changed while read" "$work/stdout"
    # What was read is what was hashed and what was compressed.
    hash=$(output_hash "$work/out" "$file")
    says "$hash  $file" "$work/out/INDEX.sha256"
    [ "$(wc -l <"$work/out/INDEX.sha256")" -eq 2 ]
}

case_file_grows_while_read() {
    changing grow
}

case_file_shrinks_while_read() {
    changing shrink
}

case_file_is_overwritten_while_read() {
    changing overwrite
}

# stopped_by_full_disk <out> <message> <input>...: no index, not even the one of
# an earlier run, and nothing half written.
stopped_by_full_disk() {
    local out=$1 message=$2
    shift 2
    gives 0 "$program" --quiet --out "$out" "$tree/empty"
    [ -e "$out/INDEX.sha256" ]
    gives 2 "$program" --quiet --out "$out" "$@" 2>"$work/stderr"
    says "stopped: cannot write $out/" "$work/stderr"
    says "$message; there is no index" "$work/stderr"
    no_index "$out"
    outputs_whole "$out"
}

# small_disk <size>: at $work/disk
small_disk() {
    if [ "$(id -u)" -ne 0 ]; then
        echo "mounting a small file system needs root"
        return 77
    fi
    mkdir "$work/disk"
    if ! mount -t tmpfs -o "size=$1" weft-test "$work/disk" 2>/dev/null; then
        echo "cannot mount a tmpfs here"
        return 77
    fi
    # This shell's own list and its own end.
    mounts=("$work/disk")
    trap 'umount "$work/disk"' EXIT
}

case_full_disk() {
    small_disk 512k || return $?
    stopped_by_full_disk "$work/disk" "No space left on device" "$tree"
}

case_full_disk_in_a_stream() {
    small_disk 512k || return $?
    head -c 3000000 /dev/urandom >"$work/noise"
    stopped_by_full_disk "$work/disk" "No space left on device" "$work/noise"
    # The stream's file is gone, so the disk is as good as empty.
    [ "$(find "$work/disk" -type f | wc -l)" -eq 1 ]
}

case_full_disk_at_the_index() {
    small_disk 8k || return $?
    gives 2 "$program" --quiet --no-write --out "$work/disk" "$tree" \
        2>"$work/stderr"
    says "cannot write $work/disk/INDEX.sha256: No space left" "$work/stderr"
    no_index "$work/disk"
}

case_limit_on_the_size_of_files() {
    head -c 3000000 /dev/urandom >"$work/noise"
    ulimit -f 1024
    stopped_by_full_disk "$work/out" "File too large" "$work/noise" "$tree/odd"
}

# interrupted <signal> <exit code>: half way through slow work
interrupted() {
    local pid code=0 i

    mkdir -p "$work/in"
    cp -r "$tree/small" "$work/in"
    for i in 1 2 3 4; do
        text 12000000 "$i" >"$work/in/text$i"
    done
    "$program" --level 19 --out "$work/out" --summary-json "$work/json" \
        "$work/in" >"$work/stdout" 2>"$work/stderr" &
    pid=$!
    until_true has_output "$work/out"
    kill -s "$1" "$pid"
    ends_within_a_minute "$pid"
    wait "$pid" || code=$?
    echo "exit code $code"
    [ "$code" -eq "$2" ]
    says "interrupted (SIG$1) after" "$work/stderr"
    says "there is no index" "$work/stderr"
    [ "$(field exit "$work/json")" -eq "$code" ]
    no_index "$work/out"
    outputs_whole "$work/out"
}

case_sigint_half_way() {
    interrupted INT 130
}

case_sigterm_half_way() {
    interrupted TERM 143
}

# It stops, and then cannot end, since no one reads its summary.
case_second_sigint_kills() {
    local pid code=0

    text 30000000 1 >"$work/text"
    mkfifo "$work/json"
    "$program" --level 19 --out "$work/out" --summary-json "$work/json" \
        "$work/text" "$tree/small" >"$work/stdout" 2>"$work/stderr" &
    pid=$!
    until_true has_output "$work/out"
    kill -INT "$pid"
    until_true says "interrupted (SIGINT)" "$work/stderr" >/dev/null
    until_true grep -q " MB/s" "$work/stdout"
    sleep 0.2
    if gone "$pid"; then
        echo "it ended without a second signal"
        return 1
    fi
    kill -INT "$pid"
    ends_within_a_minute "$pid"
    wait "$pid" || code=$?
    [ "$code" -eq 130 ]
}

# ---- the run ---------------------------------------------------------------

passed=0 failed=0 skipped=0

# check <case> [<what is said besides>]
check() {
    local name status=0 log=$tmp/log
    name="$twin: ${1//_/ }${2:+, $2}"
    work=$tmp/work
    mkdir "$work"
    # Not as the condition of an `if`, where set -e would not hold.
    set +e
    (
        set -e
        "case_$1"
    ) >"$log" 2>&1 </dev/null
    status=$?
    set -e
    case $status in
    0)
        passed=$((passed + 1))
        echo "ok      $name"
        ;;
    77)
        skipped=$((skipped + 1))
        echo "skipped $name: $(tail -n 1 "$log")"
        ;;
    *)
        failed=$((failed + 1))
        echo "FAILED  $name"
        tail -n 20 "$log" | sed 's/^/        /'
        ;;
    esac
    chmod -R u+rwX "$work"
    rm -rf "$work"
}

cases=(summary quiet progress_on_a_terminal no_write two_roots
    roots_that_overlap root_is_a_link_or_a_file relative_root empty_tree
    output_inside_the_input input_inside_the_output_is_refused
    outputs_are_replaced memory_is_bounded bad_usage
    unreadable_files name_too_long_for_its_output file_grows_while_read
    file_shrinks_while_read file_is_overwritten_while_read
    full_disk full_disk_in_a_stream full_disk_at_the_index
    limit_on_the_size_of_files sigint_half_way sigterm_half_way
    second_sigint_kills)

case_twins_complain_alike() {
    cmp "$tmp/unreadable.weft" "$tmp/unreadable.pthread"
}

for twin in "${twins[@]}"; do
    program=$tmp/pipeline-$twin
    for workers in 1 2 4 8; do
        check index_and_outputs "$workers workers"
    done
    for name in "${cases[@]}"; do
        check "$name"
    done
done
twin=both
check twins_complain_alike

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
