#!/bin/sh
# Convoy's two commands for a fresh machine, and the longer check that CI runs after them.
#
#   ./bootstrap.sh train [OPTIONS]   install what is missing, build, train lenet-bn on Fashion-MNIST (options go to `convoy train`)
#   ./bootstrap.sh test              install what is missing, build, run the test suite (5 to 10 minutes on 2 cores); says at
#                                    the end what it left out, and why
#   ./bootstrap.sh check [PART]      the suite on every instruction set and several thread counts (tables), under sanitizers, by clang,
#                                    by analysers, in a debug build, on oneDNN 2 and 3 (onednn), every benchmark once (bench); all of them without PART (about 25 to 30 minutes)
#   ./bootstrap.sh coverage          which lines and branches of src/ the whole suite executes (about 15 minutes)
#   ./bootstrap.sh build             install what is missing and build
#
# Packages come from the distribution (apt); root is asked for only when something is missing. Can be run again at any time.
# Environment: BUILD_DIR (default: build).
set -eu
cd "$(dirname "$0")"
build=${BUILD_DIR:-build}

say() { printf '== %s\n' "$*"; }
die() { printf 'bootstrap.sh: %s\n' "$*" >&2; exit 1; }

base_packages="gcc g++ libc6-dev meson ninja-build pkg-config python3 git binutils libcmocka-dev libjansson-dev libmd-dev zlib1g-dev librandom123-dev libcairo2-dev libpng-dev libjpeg-dev"
data_packages="dataset-fashion-mnist"
clang_packages="clang libomp-dev"
analysis_packages="clang-tidy"
bench_packages="libbenchmark-dev chromium"
onednn_packages="libdnnl-dev python3-venv"
test_packages="make cmake clang-format doxygen abigail-tools"

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

compile() { # directory, targets …; all without
    ninja -C "$@" >"$1/compile.log" 2>&1 || { cat "$1/compile.log" >&2; die "the build in $1 failed"; }
}

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
    left_out "$dir"
}

# What tests left out because something is missing here they say in a line of its own, "left out: WHAT: WHY". The long check
# leaves out nothing.
left_out() { # build directory
    lines=$(sed -n 's/^left out: /  /p' "$1/meson-logs/testlog.txt" | sort -u)
    [ -n "$lines" ] || return 0
    [ -z "${complete:-}" ] || die "this check leaves out nothing, but these were:
$lines"
    say "left out:"
    printf '%s\n' "$lines"
}

# Every table, and each with another number of threads, on the release build: tables and threads do not know of each other. (The
# kernel checks and equal_bits compare all tables and several thread counts by themselves.)
check_tables() {
    for run in "scalar 1" "avx2 3" "pair 8"; do
        suite "library tests on the ${run% *} table with ${run#* } threads" CVY_ISA=${run% *} CVY_THREADS=${run#* } -- "$build" --suite isa
    done
}
# The other builds are slower or are about code, not numbers: ten steps or four instead of twenty, and half of the random cases.
# Lints look at what a plain optimized build made. Sanitized code takes long to compile, by -O1 three quarters of what it takes by
# -O2, and pair's kernels are the AVX-512 table's once more; -g1 is what traces show, functions and lines. A debug build's tests
# read no debug information at all.
# Where oneDNN is loaded, LeakSanitizer has to leave out thread-local memory: it dies of a bad address there.
check_sanitizers() {
    need libdnnl-dev
    say "building: GCC, address and undefined-behaviour sanitizers"
    configure "$build-asan" --buildtype=debugoptimized -Doptimization=1 -Dc_args=-g1 -Db_sanitize=address,undefined -Dpair=false -Dbench=disabled -Donednn=enabled
    compile "$build-asan"
    export CVYI_TEST_STEPS=4 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 ASAN_OPTIONS=allocator_may_return_null=1
    suite "tests under sanitizers (GCC)" LSAN_OPTIONS=print_suppressions=0:suppressions=$PWD/tests/lsan.supp -- "$build-asan" --no-suite lint --no-suite once --no-suite module -t 6
    suite "modules under sanitizers (GCC)" LSAN_OPTIONS=use_tls=0:suppressions=$PWD/tests/lsan.supp -- "$build-asan" --suite module --no-suite once -t 6
    unset CVYI_TEST_STEPS UBSAN_OPTIONS ASAN_OPTIONS
    # All that tests do with the program, which LeakSanitizer does not slow down: the release build's, linked anew.
    configure "$build" -Dleaks=true
    compile "$build" src/convoy
    leaks=none
    (suite "the program's leaks (GCC)" -- "$build" -t 3 cli_test_1 cli_test_2 contest_test.py durability_test.py) || leaks=found
    configure "$build" -Dleaks=false
    compile "$build" src/convoy
    [ $leaks = none ] || die "the program leaks"
}
check_clang() {
    need $clang_packages libdnnl-dev
    say "building: Clang, release, oneDNN linked in"
    (export CC=clang CXX=clang++; configure "$build-clang" --buildtype=release -Donednn=enabled -Donednn_builtin=true)
    compile "$build-clang"
    suite "tests (Clang, release)" CVYI_TEST_STEPS=10 -- "$build-clang" --no-suite once --no-suite source -t 2
    suite "the same bits (Clang, release)" CVYI_TEST_STEPS=10 -- "$build-clang" -t 2 equal_bits golden_torch
}
check_debug() {
    say "building: GCC, debug, no OpenMP"
    configure "$build-debug" --buildtype=debug -Doptimization=1 -Ddebug=false -Dopenmp=disabled -Dbench=disabled # unoptimized kernels take minutes, and find no more
    compile "$build-debug"
    suite "tests (GCC, debug, no OpenMP)" CVYI_TEST_STEPS=10 -- "$build-debug" --no-suite lint --no-suite once -t 6
}
# oneDNN 3.2 from PyPI in an environment of its own, then the distribution's (2.6 in Debian 12), which the build is left with.
check_onednn() {
    need $onednn_packages
    oneapi=$PWD/$build-oneapi
    [ -x "$oneapi/bin/pip" ] || python3 -m venv "$oneapi"
    "$oneapi/bin/pip" install --quiet --disable-pip-version-check onednn-devel-cpu-gomp==2023.2.0 || die "pip could not install oneDNN 3.2"
    for prefix in "$oneapi" ""; do
        say "building: the module on oneDNN $([ "$prefix" ] && echo 3.2 from PyPI || echo of the distribution)"
        configure "$build" -Donednn_prefix="$prefix"
        compile "$build"
        suite "modules, operators and nets on oneDNN" -- "$build" module_test op_parity chain_test special_values
        "$build/src/convoy" compare lenet-bn --backends native,onednn,reference --batch 64 --steps 3 --json "$build/compare.json" \
            --html "$build/compare.html" >"$build/compare.txt" || die "compare failed"
        python3 -m json.tool "$build/compare.json" >/dev/null || die "compare wrote JSON that is none"
    done
}
# Every benchmark for one iteration, its JSON, and the report in a browser.
# No finding of the analysers is left open, nor is one told to look away in the source: .clang-tidy says what is asked.
check_analysis() {
    need $analysis_packages
    python3 tests/analysis.py . "$build" || die "the analysers found something"
}
check_bench() {
    need $bench_packages
    configure "$build" -Dbench=enabled
    compile "$build"
    suite "benchmarks" CVY_TEST_BROWSER=required -- "$build" --suite bench
}
# Which lines and branches of src/ the suite executes, by directory, and each file's in build-coverage/coverage.html. (Kernels are
# built without inlining then: a copy whose arguments are constants has branches that cannot be taken.) Branches
# that are there for what cannot happen are marked in the source, GCOVR_EXCL_BR_LINE, with the reason.
coverage() {
    need $onednn_packages $bench_packages gcovr
    say "building with counters"
    configure "$build-coverage" --buildtype=debug -Db_ndebug=true -Db_coverage=true -Dc_args=-fprofile-update=atomic -Dpair=false -Donednn=enabled -Dbench=enabled
    compile "$build-coverage"
    find "$build-coverage" -name '*.gcda' -delete
    export CVYI_TEST_STEPS=10
    suite "tests, counted" -- "$build-coverage" --no-suite lint -t 6
    suite "benchmarks, counted" -- "$build-coverage" --suite bench -t 6
    gcovr --root . --filter src/ --object-directory "$build-coverage" --exclude-throw-branches \
        --json "$build-coverage/coverage.json" --html-details "$build-coverage/coverage.html" "$build-coverage" >"$build-coverage/gcovr.log" 2>&1 ||
        { cat "$build-coverage/gcovr.log" >&2; die "gcovr failed"; }
    python3 tests/coverage.py "$build-coverage/coverage.json"
}

case ${1:-} in
train)
    shift
    build_release $data_packages
    exec "$build/src/convoy" train "$@"
    ;;
build) build_release ;;
coverage) coverage ;;
test)
    build_release $data_packages $test_packages
    suite "tests (GCC, release)" -- "$build"
    [ -x "$build/bench/convoy-bench" ] ||
        say "left out: the benchmarks, for want of Google Benchmark (apt-get install $bench_packages; ./bootstrap.sh check bench)"
    say "not in this command: other instruction sets and numbers of threads, sanitizers, Clang, a debug build: ./bootstrap.sh check"
    ;;
check)
    parts="analysis tables bench onednn sanitizers clang debug"
    case " $parts all " in *" ${2:-all} "*) ;; *) die "check has no part '$2'; there are: $parts" ;; esac
    [ "${2:-all}" = all ] || parts=$2
    complete=yes
    need $onednn_packages $clang_packages $bench_packages $test_packages $analysis_packages
    build_release $data_packages
    configure "$build" -Donednn=enabled -Donednn_prefix= -Dbench=enabled
    compile "$build"
    for part in $parts; do
        begin=$(date +%s)
        check_$part
        say "check $part passed in $(($(date +%s) - begin)) s"
    done
    ;;
*)
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    [ "${1:-help}" = help ] || exit 1
    ;;
esac
