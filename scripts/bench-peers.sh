#!/usr/bin/env bash
# Run it before comparing weft with its rivals (bench.sh --peers does so): it
# installs Debian's tokio and Go 1.23 where they are missing and builds
# peer-tokio and peer-go in build/peers.
# Usage: bench-peers.sh [--build-only] [--without-jemalloc]
#
#   --build-only        installs nothing
#   --without-jemalloc  peer-tokio uses libc's malloc, beside a weft that was
#                       built with WEFT_JEMALLOC=OFF
#
# As root or with a sudo that does not ask. A rival that cannot be had is
# named, with the reason, and is no failure: the benches do without it. Once
# all is installed no network is used.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
# shellcheck disable=SC1091  # not every run of shellcheck follows sources
. scripts/lib.sh

out=$PWD/build/peers
go=/usr/lib/go-1.23/bin/go

# gcc links what rustc compiles. cargo looks at every dependency a crate of
# Debian's names, and futures-lite is one of async-lock's.
tokio_packages=(
    gcc libc6-dev cargo rustc
    librust-tokio-dev librust-async-channel-dev
    librust-async-lock-dev librust-futures-lite-dev
)
go_package=golang-1.23-go

build_only=
without_jemalloc=
for option in "$@"; do
    case $option in
    --build-only) build_only=1 ;;
    --without-jemalloc) without_jemalloc=1 ;;
    *) die "unknown option '$option': --build-only or --without-jemalloc" ;;
    esac
done
[ -n "$without_jemalloc" ] || tokio_packages+=(libjemalloc-dev)

# ---- what is installed and what can be -------------------------------------

# Why the last of these functions answered false.
reason=

is_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null |
        head -n 1)" = installed ]
}

# is_known <package>: apt could install it.
is_known() {
    local policy

    policy=$(apt-cache policy "$1" 2>/dev/null)
    [[ $policy =~ Candidate:\ [^\(] ]]
}

apt_get() {
    : >"$out/apt.log"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 \
        "$@" </dev/null >>"$out/apt.log" 2>&1
}

apt_said() {
    grep -E -m 1 '^(E|W|Err)[:0-9]' "$out/apt.log" || echo "see $out/apt.log"
}

# may_install: false with the reason if nothing may be installed.
may_install() {
    if [ -n "$build_only" ]; then
        reason="--build-only"
    elif ! command -v apt-get >/dev/null; then
        reason="no apt-get here"
    elif [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; then
        reason="installing needs root, or sudo without a password"
    else
        return 0
    fi
    return 1
}

# ensure <package>...: true when all are installed, by now if they were not.
ensure() {
    local package missing=()

    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! may_install; then
        reason="not installed (${missing[*]}): $reason"
        return 1
    fi

    # An old list names versions that the archive no longer has.
    step "installing ${missing[*]}"
    apt_get update || say "    apt-get update: $(apt_said)"
    for package in "${missing[@]}"; do
        if ! is_known "$package"; then
            reason="no package $package in the archive"
            return 1
        fi
    done
    if ! apt_get install -y --no-install-recommends "${missing[@]}"; then
        reason="installing ${missing[*]}: $(apt_said)"
        return 1
    fi
}

# ---- Go 1.23, from bookworm's backports ------------------------------------

# backports_entry: this machine's own entry for bookworm, made into one for its
# backports, so that they come from the same mirror, held to the same key. Of
# the two formats of apt, deb822 keeps all it says but the suite; of the other
# the URI and the key are all that matters.
backports_entry() {
    local file

    for file in /etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] || continue
        awk 'BEGIN { RS = "" }
            {
                entry = "\n" $0 "\n"
                gsub(/\n#[^\n]*/, "", entry)
            }
            entry ~ /\nTypes:([^\n]*[ \t])?deb[ \t\n]/ &&
            entry ~ /\nSuites:([^\n]*[ \t])?bookworm[ \t\n]/ &&
            entry !~ /\nEnabled:[ \t]*no/ {
                sub(/\nTypes:[^\n]*/, "\nTypes: deb", entry)
                sub(/\nSuites:[^\n]*/, "\nSuites: bookworm-backports", entry)
                sub(/\nComponents:[^\n]*/, "\nComponents: main", entry)
                printf "%s", substr(entry, 2)
                found = 1
                exit
            }
            END { exit !found }' "$file" && return
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -r "$file" ] || continue
        awk '$1 == "deb" {
                options = ""
                if (match($0, /\[[^]]*\]/)) {
                    options = substr($0, RSTART + 1, RLENGTH - 2)
                    $0 = substr($0, 1, RSTART - 1) substr($0, RSTART + RLENGTH)
                }
                if ($3 != "bookworm")
                    next
                print "Types: deb"
                print "URIs: " $2
                print "Suites: bookworm-backports"
                print "Components: main"
                n = split(options, option, " ")
                for (i = 1; i <= n; i++)
                    if (sub(/^signed-by=/, "", option[i])) {
                        gsub(/,/, " ", option[i])
                        print "Signed-By: " option[i]
                    }
                found = 1
                exit
            }
            END { exit !found }' "$file" && return
    done
    return 1
}

# add_backports: apt takes nothing from backports by itself, so the entry may
# stay; one that does not help is taken out again.
add_backports() {
    local file=/etc/apt/sources.list.d/weft-backports.sources
    local entry

    if ! entry=$(backports_entry); then
        reason="no $go_package here, and no apt entry for bookworm either"
        return 1
    fi
    step "adding bookworm-backports ($file)"
    printf '%s\n' "# Go 1.23, for weft's scripts/bench-peers.sh" "$entry" |
        as_root tee "$file" >/dev/null

    # This entry alone: another that cannot be reached is no concern here.
    apt_get update -o Dir::Etc::SourceList="$file" \
        -o Dir::Etc::SourceParts=- -o APT::Get::List-Cleanup=0 || true
    is_known "$go_package" && return
    as_root rm -f "$file"
    reason="no $go_package in bookworm-backports: $(apt_said)"
    return 1
}

ensure_go() {
    if ! is_installed "$go_package" && may_install &&
        ! is_known "$go_package"; then
        add_backports || return 1
    fi
    ensure "$go_package"
}

# ---- building --------------------------------------------------------------

# Debian's compiler and crates: no rustup, no crates.io, and none of the
# caller's settings.
build_tokio() {
    local options=(--release --offline)

    [ -z "$without_jemalloc" ] || options+=(--no-default-features)
    step "building peer-tokio ($(/usr/bin/rustc --version); its crates take" \
        "a minute the first time)"
    : >"$out/tokio.log"
    (
        cd bench/peers/tokio
        quietly "$out/tokio.log" env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS \
            -u CARGO_BUILD_TARGET -u RUSTC_WRAPPER RUSTC=/usr/bin/rustc \
            CARGO_HOME="$out/cargo" CARGO_TARGET_DIR="$out/tokio" \
            /usr/bin/cargo build "${options[@]}"
    )
    install -m 755 "$out/tokio/release/peer-tokio" "$out/peer-tokio"
}

# This Go and no other: it would fetch a newer one if a module asked for it.
build_go() {
    step "building peer-go ($("$go" version))"
    : >"$out/go.log"
    (
        cd bench/peers/go
        quietly "$out/go.log" env -u GOFLAGS -u GOROOT -u GOAMD64 GOENV=off \
            GOTOOLCHAIN=local GOPROXY=off GOWORK=off CGO_ENABLED=0 \
            GOCACHE="$out/go" GOPATH="$out/gopath" \
            "$go" build -trimpath -buildvcs=false -o "$out/peer-go" .
    )
}

mkdir -p "$out"
skipped=()

# skip <peer>: an old program would stand for a rival that is not there.
skip() {
    rm -f "$out/$1"
    skipped+=("skipped: $1: $reason")
}

if ensure "${tokio_packages[@]}"; then
    build_tokio
else
    skip peer-tokio
fi
if ensure_go; then
    build_go
else
    skip peer-go
fi
for peer in peer-tokio peer-go; do
    [ ! -x "$out/$peer" ] || say "ready: build/peers/$peer"
done
[ ${#skipped[@]} -eq 0 ] || say "$(printf '%s\n' "${skipped[@]}")"
