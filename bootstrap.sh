#!/bin/sh
# Convoy's two commands for a fresh machine, and the longer check that CI runs after them.
#
#   ./bootstrap.sh train [OPTIONS]   install what is missing, build, train lenet-bn on Fashion-MNIST (options go to `convoy train`)
#   ./bootstrap.sh test              install what is missing, build, run the test suite (under 5 minutes on 2 cores)
#   ./bootstrap.sh check [PART]      every instruction set and several thread counts (tables), sanitizers, clang, debug; all without PART
#   ./bootstrap.sh build             install what is missing and build
#
# Packages come from the distribution (apt); root is asked for only when something is missing. Can be run again at any time.
# Environment: BUILD_DIR (default: build).
set -eu
cd "$(dirname "$0")"
build=${BUILD_DIR:-build}

say() { printf '== %s\n' "$*"; }
die() { printf 'bootstrap.sh: %s\n' "$*" >&2; exit 1; }

base_packages="gcc g++ libc6-dev meson ninja-build pkg-config python3 git binutils libcmocka-dev libjansson-dev libmd-dev zlib1g-dev librandom123-dev"
data_packages="dataset-fashion-mnist"
check_packages="clang libomp-dev llvm"

missing() { # which of the named packages are not installed
    for p in "$@"; do
        dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$p"
    done
}

need() { # make sure that packages are there
    if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
        for tool in meson ninja pkg-config python3 cc; do
            command -v $tool >/dev/null 2>&1 || die "this is not a Debian-like system and '$tool' was not found. Install what these Debian packages hold, then run again: $*"
        done
        return
    fi
    want=$(missing "$@")
    [ -n "$want" ] || return 0
    say "installing:" $want
    root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "these packages are missing and there is no sudo; as root run: apt-get install $want"
        root=sudo
    fi
    # A fresh image has no package lists, an old one has stale ones: look once more before giving up.
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $want >/dev/null 2>&1 && return
    $root apt-get update -qq || true
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $want >/dev/null ||
        die "apt-get could not install: $want"
}

configure() { # directory, meson options …
    dir=$1
    shift
    if [ -f "$dir/build.ninja" ]; then
        meson configure "$dir" "$@" >/dev/null
    else
        meson setup "$dir" "$@" >"$dir.log" 2>&1 || { cat "$dir.log" >&2; die "meson setup failed"; }
        mv "$dir.log" "$dir/meson-setup.log"
    fi
}

compile() { ninja -C "$1" ${2:-} >"$1/compile.log" 2>&1 || { cat "$1/compile.log" >&2; die "the build in $1 failed"; }; }

build_release() {
    need $base_packages "$@"
    say "building in $build"
    configure "$build" --buildtype=release
    compile "$build"
}

suite() { # name, environment…, -- directory, meson test arguments…
    say "$1"
    shift
    vars=
    while [ "$1" != -- ]; do vars="$vars $1"; shift; done
    shift
    dir=$1
    shift
    env $vars meson test -C "$dir" --no-rebuild --print-errorlogs --num-processes 2 "$@" || die "tests failed"
}

case ${1:-} in
train)
    shift
    build_release $data_packages
    exec "$build/src/convoy" train "$@"
    ;;
build) build_release ;;
test)
    build_release $data_packages
    suite "tests (GCC, release)" -- "$build"
    ;;
check)
    part=${2:-all}
    build_release $data_packages
    if [ "$part" = all ] || [ "$part" = tables ]; then
        for isa in scalar avx2 pair; do
            suite "library tests on the $isa table" CVY_ISA=$isa -- "$build" --suite isa
        done
        for threads in 1 3 8; do
            suite "library tests with $threads threads" CVY_THREADS=$threads -- "$build" --suite isa
        done
    fi
    if [ "$part" = all ] || [ "$part" = sanitizers ]; then
        say "building: GCC, address and undefined-behaviour sanitizers"
        configure "$build-asan" --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false
        compile "$build-asan"
        suite "tests under sanitizers (GCC)" UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 -- "$build-asan" --suite quick --suite sanitize -t 4
    fi
    if [ "$part" = all ] || [ "$part" = clang ]; then
        need $check_packages
        say "building: Clang, release"
        export CC=clang CXX=clang++
        configure "$build-clang" --buildtype=release
        unset CC CXX
        compile "$build-clang"
        suite "tests (Clang, release)" -- "$build-clang" --suite quick --suite isa
    fi
    if [ "$part" = all ] || [ "$part" = debug ]; then
        say "building: GCC, debug, no OpenMP"
        configure "$build-debug" --buildtype=debug -Dopenmp=disabled
        compile "$build-debug"
        suite "tests (GCC, debug, no OpenMP)" -- "$build-debug" --suite quick -t 4
    fi
    say "check $part passed"
    ;;
*)
    sed -n '2,10s/^# \{0,1\}//p' "$0"
    [ "${1:-help}" = help ] || exit 1
    ;;
esac
