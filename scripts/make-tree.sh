#!/usr/bin/env bash
# Run it for an input of known content: run.sh does where a system has too few
# files of its own. Usage: make-tree.sh SEED MIB DIR
#
# DIR (made, or emptied of an earlier tree) gets about MIB mebibytes in files of
# 1 KiB to 8 MiB, most of them small; the same SEED and MIB give the same bytes
# everywhere. One file in eight is hard to compress, the rest reads like text.
set -euo pipefail
# shellcheck source=scripts/lib.sh disable=SC1091
. "$(dirname "$0")/lib.sh"

[ $# -eq 3 ] || die "usage: make-tree.sh SEED MIB DIR"
seed=$1 mib=$2 dir=$3
[[ $seed =~ ^[0-9]{1,9}$ ]] || die "SEED is a number of up to 9 digits"
[[ $mib =~ ^[0-9]{1,5}$ && $mib -gt 0 ]] || die "MIB is a number from 1"

# Another version of this script makes another tree.
stamp="weft tree seed=$seed mib=$mib maker=$(cksum <"$0")"
if [ -e "$dir" ]; then
    [ -f "$dir/.tree" ] || die "$dir is there and was not made by this script"
    if [ "$(cat "$dir/.tree")" = "$stamp" ]; then
        say "    $dir is there already"
        exit 0
    fi
    rm -rf "$dir"
fi
mkdir -p "$dir"
echo unfinished >"$dir/.tree"
for d in $(seq -w 0 63); do
    mkdir -p "$dir/d$d/sub"
done

# The generator is Park and Miller's: its products stay below 2^53, where a
# number in awk is exact, so every awk makes the same tree.
LC_ALL=C awk -v seed="$seed" -v mib="$mib" -v dir="$dir" '
    function random(n) {
        state = state * 16807 % 2147483647
        return int(state / 2147483647 * n)
    }
    BEGIN {
        state = seed * 2 + 1
        letters = "abcdefghijklmnopqrstuvwxyz"
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" letters "+/"

        for (w = 0; w < 4096; w++) {
            word = ""
            for (n = 2 + random(8); n > 0; n--)
                word = word substr(letters, 1 + random(26), 1)
            words[w] = word
        }
        # Text in which a few words are common, in lines; 4 MiB.
        half = 2 * 1024 * 1024
        pool = 4 * 1024 * 1024
        while (made < pool) {
            line = ""
            while (length(line) < 65) {
                w = random(4096)
                line = line words[random(4) ? w % 256 : w] " "
            }
            block = block line "\n"
            made += length(line) + 1
            if (length(block) > 32768) {
                text = text block
                block = ""
            }
        }
        text = text block
        for (made = 0; made < 1024 * 1024; made += 64) {
            line = ""
            for (n = 0; n < 64; n++)
                line = line substr(digits, 1 + random(64), 1)
            block2 = block2 line
            if (length(block2) > 32768) {
                noise = noise block2
                block2 = ""
            }
        }
        noise = noise block2

        for (left = mib * 1024 * 1024; left > 0; left -= size) {
            kind = random(1000)
            if (kind < 900)
                size = 1024 + random(64 * 1024)
            else if (kind < 995)
                size = 65536 + random(256 * 1024)
            else
                size = 1048576 + random(7 * 1024 * 1024)
            if (size > left)
                size = left

            name = sprintf("%s/d%02d/%sf%06d.txt", dir, random(64),
                           random(2) ? "sub/" : "", ++count)
            noisy = random(8) == 0
            for (rest = size; rest > 0; rest -= piece) {
                if (noisy) {
                    piece = rest < 524288 ? rest : 524288
                    printf "%s", substr(noise, 1 + random(524288), piece) > name
                } else {
                    piece = rest < half ? rest : half
                    printf "%s", substr(text, 1 + random(half), piece) > name
                }
            }
            close(name)
        }
    }'
echo "$stamp" >"$dir/.tree"
say "    $(find "$dir" -type f -name '*.txt' | wc -l) files," \
    "$(du -sm --apparent-size "$dir" | cut -f1) MiB in $dir"
