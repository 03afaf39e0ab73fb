#!/usr/bin/env bash
# Sourced by pipeline.sh: the tree that the pipeline is given, the same in each
# run, with what gives trouble in names, sizes and links.

# text <bytes> <seed>: the same text for the same arguments
text() {
    awk -v n="$1" -v seed="$2" 'BEGIN {
        state = seed * 2 + 1
        while (made < n) {
            state = state * 16807 % 2147483647
            word = sprintf("%s%d ", state % 3 ? "warp" : "weft", state % 997)
            if (state % 11 == 0)
                word = word "\n"
            word = substr(word, 1, n - made)
            printf "%s", word
            made += length(word)
        }
    }'
}

# The names that give trouble: blanks, what sha256sum escapes, bytes that are
# no UTF-8, what a terminal would obey, and the longest that leaves room for
# .zst.
odd_names=('a b' '-dash' '*' $'new\nline' 'back\slash' $'car\rriage'
    $'\xff\xfe' $'tab\t' $'esc\e[31m' '"quoted"' $'\\n' "$(printf '%0251d' 7)")

make_tree() {
    local tree=$1 i dir name deep
    mkdir -p "$tree"/{small,odd,big,links,twice}
    for ((i = 0; i < 240; i++)); do
        dir=$tree/small/$((i % 7))/$((i % 3))
        mkdir -p "$dir"
        text $((i * i)) $i >"$dir/file$i"
    done
    deep=$tree/deep
    for ((i = 0; i < 50; i++)); do
        deep+=/level$i
    done
    mkdir -p "$deep"
    echo bottom >"$deep/bottom"
    for name in "${odd_names[@]}"; do
        printf 'I am %q\n' "$name" >"$tree/odd/$name"
    done
    # Around the size of a chunk, and far above it.
    text 4194304 1 >"$tree/big/text"
    for i in 1048575 1048576 1048577 2097152 3145729; do
        head -c "$i" "$tree/big/text" >"$tree/big/$i"
    done
    truncate -s 9000000 "$tree/big/hole"
    : >"$tree/empty"
    # A file's output may not stand where a directory's outputs go.
    mkdir "$tree/twice/a.zst" "$tree/twice/a.zst.zst"
    echo file >"$tree/twice/a"
    echo inside >"$tree/twice/a.zst/b"
    echo inside >"$tree/twice/a.zst.zst/b"
    # None of these is followed or read: five links, one FIFO.
    ln -s . "$tree/links/loop"
    ln -s .. "$tree/links/up"
    ln -s b "$tree/links/a"
    ln -s a "$tree/links/b"
    ln -s ../big/text "$tree/links/text"
    mkfifo "$tree/links/fifo"
}
