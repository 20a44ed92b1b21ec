#!/usr/bin/env python3
"""Installs into a temporary directory and builds every file of examples/ against it, as a user would: with the Makefile, shared and
static, and with CMake. Runs what comes out, on several threads and instruction sets, on bad settings, and under sanitizers
(GCC's), and compares the output with the one that examples/README.md shows.

usage: examples_test.py SOURCE_ROOT BUILD_ROOT
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

source, build = map(pathlib.Path, sys.argv[1:3])
CC, CXX = os.environ.get("CC", "cc"), os.environ.get("CXX", "c++")
STRICT = "-O1 -Wall -Wextra -Wpedantic -Werror"
BUILD_FILES = {"Makefile", "CMakeLists.txt", "README.md"}


def run(command, status=0, **more):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    if done.returncode != status:
        sys.exit(f"{command}: exit {done.returncode}, expected {status}\n{done.stdout}{done.stderr}")
    return done


def expect(right, what):
    if not right:
        sys.exit(what)


def shown_outputs(text):
    """What README.md shows behind `$ ./NAME`."""
    return dict(re.findall(r"^    \$ \./(\w+)\n((?:    .*\n)+)", text, re.M))


class Consumer:
    """A copy of examples/ beside an installed copy of the library."""

    def __init__(self, root):
        self.root = root
        run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", root])
        pc = next(root.rglob("convoy.pc"))
        self.libdir = pc.parent.parent
        self.env = dict(os.environ, PKG_CONFIG_PATH=str(pc.parent), PKG_CONFIG_SYSROOT_DIR=str(root))
        self.shared = {"LD_LIBRARY_PATH": str(self.libdir)}

    def copy(self, name):
        return pathlib.Path(shutil.copytree(source / "examples", self.root / name))

    def make(self, name, *settings):
        where = self.copy(name)
        run(["make", "-C", where, f"CC={CC}", f"CXX={CXX}", f"CFLAGS={STRICT}", f"CXXFLAGS={STRICT}", *settings], env=self.env)
        return where

    def cmake(self, name):
        where = self.copy(name)
        env = dict(self.env, CC=CC, CXX=CXX, CFLAGS=STRICT, CXXFLAGS=STRICT)
        run(["cmake", "-S", where, "-B", where / "out"], env=env)
        run(["cmake", "--build", where / "out"], env=env)
        return where / "out"

    def output(self, exe, status=0, **settings):
        return run([exe], status, env=dict(os.environ, **settings))


def as_shown(consumer, where, names, shown, **settings):
    for name in names:
        text = consumer.output(where / name, **settings).stdout
        want = re.sub("^    ", "", shown[name], flags=re.M)
        expect(text == want, f"{where / name} {settings} printed\n{text}but examples/README.md shows\n{want}")


def bad_setting(consumer, where, names, **settings):
    """A context that cannot be made is told and cleaned up like everything else."""
    for name in names:
        told = consumer.output(where / name, status=1, CVY_ISA="sse9", **settings)
        expect(told.stderr.startswith(name + ": ") and "sse9" in told.stderr, f"{name}: CVY_ISA=sse9 is told {told.stderr!r}")
        expect(not told.stdout, f"{name}: CVY_ISA=sse9 prints {told.stdout!r}")


def main():
    files = {p.name for p in (source / "examples").iterdir()}
    programs = {p for p in files if p.endswith((".c", ".cc"))}
    names = sorted(p.rsplit(".", 1)[0] for p in programs)
    expect(programs and files == programs | BUILD_FILES, f"examples/ has files that nothing here builds: {sorted(files)}")
    readme = (source / "examples/README.md").read_text(encoding="utf-8")
    shown = shown_outputs(readme)
    expect(sorted(shown) == names, f"examples/README.md shows outputs of {sorted(shown)}, there are {names}")
    for page in BUILD_FILES:
        text = (source / "examples" / page).read_text(encoding="utf-8")
        missing = [n for n in names if not re.search(rf"\b{n}\b", text)]
        expect(not missing, f"examples/{page} does not name {missing}")

    with tempfile.TemporaryDirectory() as root:
        consumer = Consumer(pathlib.Path(root))
        built = []
        if shutil.which("make"):
            where = consumer.make("shared")
            for settings in ({}, {"CVY_THREADS": "1"}, {"CVY_THREADS": "3", "CVY_ISA": "scalar"}):
                as_shown(consumer, where, names, shown, **consumer.shared, **settings)
            bad_setting(consumer, where, names, **consumer.shared)
            as_shown(consumer, consumer.make("static", "STATIC=yes"), names, shown)
            consumer.make("later", f"CXXFLAGS={STRICT} -std=c++20")
            built.append("make, shared and static")
            if "clang" not in run(CC.split() + ["--version"]).stdout:
                flags = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
                where = consumer.make("sanitized", f"CFLAGS={flags}", f"CXXFLAGS={flags}")
                as_shown(consumer, where, names, shown, **consumer.shared)
                bad_setting(consumer, where, names, **consumer.shared)
                built.append("under sanitizers")
        else:
            print("left out: the Makefile of examples/: no make (apt-get install make)")
        if shutil.which("cmake") and shutil.which("make"):
            as_shown(consumer, consumer.cmake("cmake"), names, shown)  # CMake writes the library's place into the program
            built.append("CMake")
        else:
            print("left out: the CMake project of examples/: no cmake (apt-get install cmake make)")
    print(f"{', '.join(names)}: {'; '.join(built) or 'nothing built'}")


main()
