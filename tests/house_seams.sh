#!/usr/bin/env bash
# Run by ctest: atomics, threads, clocks, memory and the kernel are reached
# through the seams only, so that the simulation sees every step.
# Usage: house_seams.sh SOURCE_DIR BUILD_DIR [--self-check]
set -euo pipefail
source_dir=$1
mode=${3:-check}
# shellcheck source=scripts/lib.sh disable=SC1091
. "$source_dir/scripts/lib.sh"

# The files that are the seam, and the two libraries built upon them.
seams='^(sched/(atomic|seam)\.[ch]|sched/os(_thread)?\.[ch]|netpoll/os(_io|_io_sim|_signal|_signal_sim)?\.[ch]|netpoll/net_sim\.[ch]|netpoll/poller\.c|runtime/(sim|hook)/.*)$'

# What is called, not what is a member called so: p->poll(...) is ours.
call='(^|[^A-Za-z0-9_.>])'
rules=(
    "an atomic: spell it through sched/atomic.h"
    '\b(_Atomic|atomic_[a-z0-9_]+|__atomic_[a-z0-9_]+|__sync_[a-z0-9_]+|memory_order_[a-z_]+)\b|<stdatomic\.h>'
    "a system call: it belongs into sched/os or netpoll/os"
    '\b(SYS_[a-z0-9_]+|__NR_[a-z0-9_]+|FUTEX_[A-Z_]+)\b|'"$call"'syscall *\('
    "a clock: ask sched/os"
    "$call"'(clock_gettime|clock_nanosleep|nanosleep|usleep|gettimeofday|time|timer_create|timerfd_[a-z]+) *\('
    "a thread, or who it is: ask sched/os"
    "$call"'(pthread_(?!atfork\b|once\b)[a-z_]+|thrd_[a-z]+|clone3?|gettid|sched_yield|sched_getcpu) *\('
    "memory of the kernel: ask sched/os"
    "$call"'(mmap|mmap64|munmap|mremap|mprotect|madvise|membarrier) *\('
    "waiting on descriptors: it belongs into netpoll/os or netpoll/poller.c"
    "$call"'((epoll_[a-z0-9_]+|eventfd(_[a-z]+)?|ppoll|pselect) *\(|poll *\([^,]+,)'
    "a thread-local: there is one, self, in sched/os"
    '\b(_Thread_local|__thread|thread_local)\b'
)

# naked <tree>: one line per breach
naked() {
    (
        cd "$1"
        find sched netpoll runtime -name '*.[ch]' -type f 2>/dev/null |
            sort | { grep -vE "$seams" || true; } |
            while IFS= read -r file; do
                code_of "$file" >"$tmp/code"
                for ((i = 0; i < ${#rules[@]}; i += 2)); do
                    grep -nP "${rules[i + 1]}" "$tmp/code" |
                        sed "s|^|$file:|; s|\$|    (${rules[i]})|" || true
                done
            done
    )
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

if [ "$mode" != --self-check ]; then
    found=$(naked "$source_dir")
    if [ -n "$found" ]; then
        printf '%s\n' "$found"
        exit 1
    fi
    exit 0
fi

failed=0
try() {
    local want=$1 file=$2 line=$3 found got
    rm -rf "$tmp/tree"
    mkdir -p "$tmp/tree/sched" "$tmp/tree/netpoll" "$tmp/tree/runtime/sim"
    printf '%s\n' "$line" >"$tmp/tree/$file"
    found=$(naked "$tmp/tree")
    got=clean
    [ -z "$found" ] || got=naked
    if [ "$got" = "$want" ]; then
        echo "ok: $want: $file: $line"
    else
        echo "wrong, wanted $want: $file: $line"
        failed=1
    fi
}
for file in sched/a.c sched/a.h netpoll/a.c runtime/a.c; do
    try naked $file 'atomic_store(&x, 1);'
    try naked $file '__atomic_thread_fence(__ATOMIC_SEQ_CST);'
    try naked $file '    x = __sync_fetch_and_add(&y, 1);'
    try naked $file 'static _Atomic int x;'
    try naked $file '#include <stdatomic.h>'
    try naked $file 'syscall(SYS_futex, &x, FUTEX_WAIT, 0, NULL);'
    try naked $file 'if (clock_gettime(CLOCK_MONOTONIC, &ts))'
    try naked $file 'pthread_create(&t, NULL, fn, arg);'
    try naked $file 'return pthread_self();'
    try naked $file 'p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, -1, 0);'
    try naked $file 'epoll_ctl(fd, EPOLL_CTL_MOD, fd, &ev);'
    try naked $file 'n = poll(&p, 1, 0);'
    try naked $file 'static _Thread_local int x;'
    try naked $file 'static __thread int x;'
    try naked $file 'x = "a string"; /* and */ atomic_load(&y); // prose'
    try clean $file '/* a futex waits; see atomic_store(), __thread */'
    try clean $file 'x(); // clock_gettime() would do'
    try clean $file 'log("pthread_create() failed");'
    try clean $file 'weft__os_clock_gettime(); hooks->poll(x, y);'
    try clean $file 'static void poll(struct weft__worker *w)'
    try clean $file 'pthread_atfork(NULL, NULL, forked);'
done
for file in sched/atomic.h sched/os.h sched/os.c sched/os_thread.c \
    netpoll/os.c netpoll/poller.c runtime/sim/a.c; do
    try clean $file '__atomic_store_n(&x, 1, 0); epoll_wait(); mmap();'
done
exit $failed
