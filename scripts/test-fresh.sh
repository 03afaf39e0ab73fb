#!/usr/bin/env bash
# Run it through `test.sh --fresh`, to see that both commands of the README work
# on an empty Debian 12: a chroot made by debootstrap with git and nothing else,
# a clone of HEAD in it, run.sh and test.sh as root. Arguments go to test.sh.
#
# Then run.sh once more without a network. The mirror, the proxies and the
# certificates are this machine's. Needs root, about 4 GiB below ${TMPDIR:-/tmp}
# and as long as both commands and their downloads take.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh disable=SC1091
. scripts/lib.sh

scripts/install-deps.sh fresh
[ "$(id -u)" -eq 0 ] || exec sudo -n --preserve-env bash "$0" "$@"
git rev-parse -q --verify HEAD >/dev/null || die "nothing is committed yet"
[ -z "$(git status --porcelain)" ] ||
    say "what is not committed is not in the clone"

# ---- this machine's own Debian 12 entries ----------------------------------

# shellcheck disable=SC2016  # apt's variables, not the shell's
sources=$(apt-get indextargets --format \
    '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk '$2 ~ /^bookworm(-updates|-security)?$/ && !seen[$0]++')
mirror=$(awk '$2 == "bookworm" { print $1; exit }' <<<"$sources")
[ -n "$mirror" ] || die "this machine's apt sources have no bookworm entry"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/weft-fresh.XXXXXX")
# The mounts live in a namespace of their own and go with it; should one have
# leaked, nothing below the tree is removed.
clean_up() {
    if grep -q " $tmp/" /proc/mounts; then
        say "still mounted, left there: $tmp"
    else
        rm -rf --one-file-system "$tmp"
    fi
}
trap clean_up EXIT
root=$tmp/root

started=$(now_ms)
step "debootstrap of bookworm from $mirror"
chmod 755 "$tmp"
quietly "$tmp/debootstrap.log" debootstrap --variant=minbase \
    --include=git,ca-certificates bookworm "$root" "$mirror"
say "    in $(seconds_since "$started") s"

awk '{ print "deb", $1, $2, $3 }' <<<"$sources" >"$root/etc/apt/sources.list"
# Only how the network is reached; nothing else of apt's configuration.
apt-config dump |
    grep -E '^Acquire::(https?|ftp)::?(.*)(Proxy|CaInfo|CaPath|Verify-Peer)' \
        >"$root/etc/apt/apt.conf.d/99host" || true
cp -L /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
if [ -d /usr/local/share/ca-certificates ]; then
    cp -rL /usr/local/share/ca-certificates "$root/usr/local/share/"
fi
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" 2>/dev/null ||
    true

git bundle create -q "$root/root/weft.bundle" HEAD

# ---- inside ----------------------------------------------------------------

# inside <command line>: as root in the chroot, in a clean environment
cat >"$tmp/inside" <<'END'
#!/usr/bin/env bash
set -euo pipefail
root=$1
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
variables=(HOME=/root LANG=C.UTF-8
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
for name in http_proxy https_proxy no_proxy \
    HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || variables+=("$name=${!name}")
done
exec chroot "$root" /usr/bin/env -i "${variables[@]}" bash -c "cd /root; $2"
END
inside() {
    unshare --mount --propagation private bash "$tmp/inside" "$root" "$1"
}

passed=0 failed=0
# try <what> <command>...
try() {
    local what=$1 t
    shift
    t=$(now_ms)
    printf '\n==> %s\n' "$what"
    if "$@"; then
        passed=$((passed + 1))
        say "==> $what: done in $(seconds_since "$t") s"
    else
        failed=$((failed + 1))
        say "==> $what: FAILED after $(seconds_since "$t") s"
    fi
}
# Loopback is up, as it is anywhere; there is nothing else.
offline() {
    # shellcheck disable=SC2016  # the inner shell's arguments
    unshare --net --mount --propagation private bash -c \
        'ip link set lo up && exec bash "$@"' bash \
        "$tmp/inside" "$root" "cd weft && scripts/run.sh"
}
tested() {
    local status=0
    inside "cd weft && scripts/test.sh $*" | tee "$tmp/test.log" || status=1
    return $status
}

inside "git clone -q weft.bundle weft"
try "run.sh on a fresh machine" inside "cd weft && scripts/run.sh"
try "test.sh on a fresh machine" tested "$@"
try "run.sh again, without a network" offline

last=$(tail -n 1 "$tmp/test.log")
skipped=0
if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
    passed=$((passed + BASH_REMATCH[1]))
    failed=$((failed + BASH_REMATCH[2]))
    skipped=${BASH_REMATCH[3]}
fi
printf '\nin %s s\n' "$(seconds_since "$started")"
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
