#!/usr/bin/env python3
"""The library in other people's processes: loaded and unloaded again and again, beside OpenMP runtimes of the host's own,
through forks, and where the system lets the process start only a few threads. usage: process_test.py SOURCE BUILD
"""
import os
import resource
import subprocess
import sys

from outside import HAS_THREADS

here = os.path.join(os.path.abspath(sys.argv[2]), "tests", "process")
ENV = {name: value for name, value in os.environ.items() if not name.startswith(("CVY_", "OMP_", "GOMP_", "KMP_"))}
ENV["OMP_WAIT_POLICY"] = "passive"
USER = 54321  # one that runs nothing else: the limit on processes is by user, and root has none
failures = []
skipped = []
hashes = set()


def run(what, command, env=None, limit=None):
    """Runs a program that prints a hash of what it trained; its words, and its standard error."""

    def restrict():
        if limit is not None:
            os.setgroups([])
            os.setgid(USER)
            os.setuid(USER)
            resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))

    done = subprocess.run([os.path.join(here, command[0])] + command[1:], env=dict(ENV, **(env or {})), text=True,
                          capture_output=True, timeout=120, preexec_fn=restrict)
    words = done.stdout.split()
    print(f"{what}: exit {done.returncode} {done.stdout.strip()}")
    if done.returncode or not words:
        failures.append(f"{what}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return ["", "0"], done.stderr
    hashes.add(words[0])
    return words, done.stderr


def unloading():
    for kind in ("shared", "static"):
        run(f"unloaded 21 times, a plugin with the library {kind}", ["host", os.path.join(here, f"use-{kind}.so"), "5"])


def llvm_library():
    """LLVM's runtime, as the helper was linked to it."""
    helper = os.path.join(here, "libhelper.so")
    if not os.path.exists(helper):
        return None
    lines = subprocess.run(["ldd", helper], capture_output=True, text=True, check=True).stdout.splitlines()
    return next((line.split()[2] for line in lines if "libomp.so" in line), None)


def runtimes():
    run("forks, no OpenMP of the host's", ["guest"])
    if not HAS_THREADS:  # then the library has no runtime that another could be beside
        return
    run("forks, the host's OpenMP is ours", ["guest-openmp"])
    libomp = llvm_library()
    if not libomp:
        skipped.append("a second OpenMP runtime: LLVM's was not found (Debian: libomp5) when this was configured")
        return
    run("forks, LLVM's OpenMP behind the library", ["guest-helper-behind"])
    run("forks, LLVM's OpenMP before the library", ["guest-helper-before"])
    run("forks, LLVM's OpenMP preloaded", ["guest"], env={"LD_PRELOAD": libomp})
    run("forks, LLVM's OpenMP preloaded into a program with GCC's", ["guest-openmp"], env={"LD_PRELOAD": libomp})
    run("unloaded, LLVM's OpenMP opened before", ["host", os.path.join(here, "use-shared.so"), "2", libomp])


def few_threads():
    if os.getuid() != 0:
        skipped.append("limits on threads: only root can become a user who runs nothing else")
        return
    if subprocess.run(["test", "-x", os.path.join(here, "guest")], preexec_fn=lambda: os.setuid(USER), check=False).returncode:
        skipped.append("limits on threads: another user may not run what is in the build directory")
        return
    for program, limits in (("guest", (1, 2, 3, 6, 7, 8, 9)), ("guest-openmp", (6, 7, 8, 9))):  # has three of its own
        for limit in limits:
            what = f"at most {limit} threads and processes, 8 asked for, {program}"
            words, log = run(what, [program, "8"], limit=limit)
            if int(words[1]) != min(limit, 8):
                failures.append(f"{what}: {words[1]} threads")
            if limit < 8 and f"threads: {limit} instead of 8" not in log:
                failures.append(f"{what}: nothing was said\n{log}")


def with_openmp():
    symbols = subprocess.run(["nm", "-D", "--undefined-only", os.path.join(here, "..", "..", "src", "libconvoy.so")],
                             capture_output=True, text=True, check=True).stdout
    return "GOMP_parallel" in symbols  # LLVM's runtime gives up by itself where threads are refused


unloading()
with open(os.path.join(here, "guest"), "rb") as f:
    sanitized = b"__asan_init" in f.read()
if sanitized:  # its locks do not survive a fork of threads, its preloading and leaks are no business of ours
    print("forks and limits on threads are tried in builds without AddressSanitizer")
else:
    runtimes()
    if with_openmp():
        few_threads()
if len(hashes) > 1:
    failures.append(f"not the same bits everywhere: {sorted(hashes)}")
for line in skipped:
    print("left out:", line)
for line in failures:
    print("FAILED", line)
print(f"process: {len(failures)} failures")
sys.exit(bool(failures))
