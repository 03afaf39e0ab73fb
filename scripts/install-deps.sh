#!/usr/bin/env bash
# Run it to install what weft needs on a fresh Debian 12; run.sh, bench.sh and
# test.sh do so themselves. Usage: install-deps.sh [build|run|bench|test|fresh]...
#
# As root or with a sudo that does not ask. Packages that are there already are
# left alone, and apt is not started (nor the network used) if all are.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh disable=SC1091
. scripts/lib.sh

# To build weft, its examples and benches, and to run the pipeline. node-llhttp
# has the C files of an HTTP parser (cmake/llhttp.cmake).
build_packages=(
    cmake ninja-build gcc libc6-dev pkg-config
    libuv1-dev
    libjemalloc-dev
    libssl-dev libzstd-dev zstd
    node-llhttp
)
# To test it too: the second compiler, the sanitizers, valgrind. g++ is for the
# public headers and exceptions, llvm names the lines in reports of clang's
# sanitizers, spin goes through the models, python3 through the log of codes; it
# also asks the HTTP servers, as do curl, wrk and ab (of apache2-utils).
# libseccomp is for a kernel that refuses.
test_packages=(
    check g++ clang libclang-rt-14-dev llvm valgrind patch spin python3
    curl wrk apache2-utils strace libseccomp-dev
)
# To run the server under load.
run_packages=(wrk)
# To measure it: the same, and who counts system calls.
bench_packages=(wrk linux-perf)
# For test.sh --fresh.
fresh_packages=(debootstrap iproute2)

wanted=()
for group in "${@:-build}"; do
    case $group in
    build) wanted+=("${build_packages[@]}") ;;
    test) wanted+=("${build_packages[@]}" "${test_packages[@]}") ;;
    run) wanted+=("${run_packages[@]}") ;;
    bench) wanted+=("${bench_packages[@]}") ;;
    fresh) wanted+=("${fresh_packages[@]}") ;;
    *) die "unknown group '$group': build, run, bench, test or fresh" ;;
    esac
done

is_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null |
        head -n 1)" = installed ]
}

missing=()
for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null ||
    die "no apt-get here; please install: ${missing[*]}"
step "installing ${missing[*]}"
apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Acquire::Retries=3)
as_root "${apt[@]}" update
as_root "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
for package in "${missing[@]}"; do
    is_installed "$package" || die "$package did not install"
done
