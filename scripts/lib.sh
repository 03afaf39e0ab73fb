# shellcheck shell=bash
# Read by the other scripts, never run: what they share. They are bash with
# `set -euo pipefail`; what builds wants to stand at the top of the tree.

# Numbers with a point, names sorted by their bytes, on every machine.
export LC_ALL=C

# ---- what is said ----------------------------------------------------------

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# step <what>: a line before something that takes time
step() {
    printf '==> %s\n' "$*"
}

now_ms() {
    date +%s%3N
}

# seconds_since <now_ms of then>: "12.3"
seconds_since() {
    local ms=$(($(now_ms) - $1))
    printf '%d.%d' $((ms / 1000)) $((ms % 1000 / 100))
}

# ---- the machine -----------------------------------------------------------

jobs_here() {
    nproc
}

# as_root <command>...: runs it as root, or says why it cannot. Never asks.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        die "this needs root, or sudo without a password: $*"
    fi
}

# roomy_tmp: a folder for many short-lived files. In memory where there is room:
# ext4 does not reuse an inode for some seconds after it was freed, and searches
# past those each time, so a second round there takes five times the system time
# of the first.
roomy_tmp() {
    local free=0
    if [ -w /dev/shm ]; then
        free=$(df -k --output=avail /dev/shm | tail -n 1)
    fi
    if [ "$free" -gt $((1 << 20)) ]; then
        echo /dev/shm
    else
        echo "${TMPDIR:-/tmp}"
    fi
}

# one_at_a_time: a second script on this tree waits here until the first is
# done, since both build in build/. The lock goes with the process.
one_at_a_time() {
    mkdir -p build
    exec 9>build/.lock
    if ! flock -n 9; then
        step "another script works in build/; waiting for it"
        flock 9
    fi
}

# ---- building --------------------------------------------------------------

# quietly <log> <command>...: the output goes to the log; the end of it is shown
# if the command fails. Descriptor 9, the lock, is not inherited.
quietly() {
    local log=$1
    shift
    if ! "$@" >>"$log" 2>&1 9>&-; then
        printf -- '---- the last lines of %s:\n' "$log" >&2
        tail -n 60 "$log" >&2
        return 1
    fi
}

# configure <dir> <cmake argument>...: its log is <dir>.log
configure() {
    local dir=$1
    shift
    mkdir -p "$dir"
    : >"$dir.log"
    quietly "$dir.log" cmake -S . -B "$dir" -G Ninja "$@"
}

# build <dir> [<target>...]
build() {
    local dir=$1
    shift
    if [ $# -gt 0 ]; then
        quietly "$dir.log" cmake --build "$dir" -j "$(jobs_here)" --target "$@"
    else
        quietly "$dir.log" cmake --build "$dir" -j "$(jobs_here)"
    fi
}

# build_release: what run.sh and bench.sh measure, in build/release
build_release() {
    local t
    t=$(now_ms)
    step "building (release, in build/release)"
    configure build/release -DCMAKE_BUILD_TYPE=Release -DWEFT_BUILD_TESTS=OFF
    build build/release
    say "    built in $(seconds_since "$t") s"
}

# ---- reading sources -------------------------------------------------------

# code_of <file>: the file with comments and the insides of strings blanked,
# line by line, so that a search finds code and not prose.
code_of() {
    LC_ALL=C awk '
        {
            out = ""
            n = length($0)
            for (i = 1; i <= n; i++) {
                c = substr($0, i, 1)
                two = substr($0, i, 2)
                if (comment) {
                    if (two == "*/") {
                        comment = 0
                        i++
                    }
                } else if (quote != "") {
                    if (c == "\\")
                        i++
                    else if (c == quote) {
                        quote = ""
                        out = out c
                    }
                } else if (two == "/*") {
                    comment = 1
                    i++
                    out = out " "
                } else if (two == "//") {
                    break
                } else {
                    if (c == "\"" || c == "\047")
                        quote = c
                    out = out c
                }
            }
            quote = ""
            print out
        }' "$1"
}
