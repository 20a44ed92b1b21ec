#!/usr/bin/env python3
"""Installs into a temporary directory and builds every file of examples/ against it, as a user would: with the Makefile, shared and
static, and with CMake. Runs what comes out, on several threads and instruction sets, on bad settings, and under sanitizers
(GCC's), and compares the output with the one that examples/README.md shows. Likewise what README.md and convoy.h show of the
library in a few lines.

usage: examples_test.py SOURCE_ROOT BUILD_ROOT
"""
import gzip
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


class Example:
    """A program as README.md shows it: `$ ./NAME ARGUMENT…` and the output."""

    def __init__(self, name, arguments, output):
        self.name, self.arguments = name, arguments.split()
        self.output = re.sub("^    ", "", output, flags=re.M)

    def can_run(self, data):
        """With files as arguments only where the directory `data` has them."""
        return all((data / a).exists() for a in self.arguments if not a.isdigit())


def examples_of(readme):
    return [Example(*found) for found in re.findall(r"^    \$ \./(\w+)(.*)\n((?:    .*\n)+)", readme, re.M)]


def unpack_data(data):
    """Fashion-MNIST's files, if this machine has them."""
    data.mkdir()
    found = subprocess.run([build / "src/convoy", "data", "path", "fashion-mnist"], capture_output=True, text=True)
    for packed in pathlib.Path(found.stdout.strip()).glob("train-*.gz") if found.returncode == 0 else ():
        (data / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))


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

    def output(self, where, example, status=0, **settings):
        command = [where / example.name, *example.arguments]
        return run(command, status, env=dict(os.environ, **settings), cwd=self.root / "data")


def as_shown(consumer, where, examples, **settings):
    for e in examples:
        text = consumer.output(where, e, **settings).stdout
        expect(text == e.output, f"{where / e.name} {settings} printed\n{text}but examples/README.md shows\n{e.output}")


def bad_setting(consumer, where, examples, **settings):
    """A context that cannot be made is told and cleaned up like everything else."""
    for e in examples:
        told = consumer.output(where, e, status=1, CVY_ISA="sse9", **settings)
        expect(told.stderr.startswith(e.name + ": ") and "sse9" in told.stderr, f"{e.name}: CVY_ISA=sse9 is told {told.stderr!r}")
        expect(not told.stdout, f"{e.name}: CVY_ISA=sse9 prints {told.stdout!r}")


def check_files(names, files, examples):
    """Nothing lies in examples/ that is not built, shown and named."""
    expect(names and files == BUILD_FILES | {n + s for n, s in names.items()}, f"examples/ has files that nothing here builds: {sorted(files)}")
    shown = sorted(e.name for e in examples)
    expect(shown == sorted(names), f"examples/README.md shows outputs of {shown}, there are {sorted(names)}")
    for page in BUILD_FILES:
        text = (source / "examples" / page).read_text(encoding="utf-8")
        missing = [n for n in names if not re.search(rf"\b{n}\b", text)]
        expect(not missing, f"examples/{page} does not name {missing}")


def by_make(consumer, examples):
    where = consumer.make("shared")
    quick = [e for e in examples if not e.arguments]
    as_shown(consumer, where, examples, **consumer.shared)
    as_shown(consumer, where, examples, CVY_THREADS="1", **consumer.shared)
    as_shown(consumer, where, quick, CVY_THREADS="3", CVY_ISA="scalar", **consumer.shared)
    bad_setting(consumer, where, examples, **consumer.shared)
    as_shown(consumer, consumer.make("static", "STATIC=yes"), quick)
    consumer.make("later", f"CXXFLAGS={STRICT} -std=c++20")


def few_lines():
    """The examples that README.md and convoy.h show, as programs."""
    block = re.search(r"```c\n#include <convoy/convoy.h>\n(.*?)```", (source / "README.md").read_text(encoding="utf-8"), re.S)
    comment = re.search(r"((?: \*     .*\n)+)", (source / "include/convoy/convoy.h").read_text(encoding="utf-8"))
    yield "readme", block.group(1)
    yield "header", re.sub(r"^ \*     ", "", comment.group(1), flags=re.M)


def build_few_lines(consumer, where, flags):
    frame = """#include <convoy/convoy.h>
#include <stdio.h>
static uint8_t pixels[256 * 28 * 28], labels[256];
static int left = 3;
static bool next_batch(cvy_batch *b) { (void)b; return left-- > 0; }
int main(void)
{
    cvy_batch %s = { .images = pixels, .dtype = CVY_U8, .labels8 = labels, .n = 256 };
    (void)next_batch(&%s);
    %s
    return bad != CVY_OK;
}
"""
    pkg_config = run(["pkg-config", "--cflags", "--libs", "convoy"], env=consumer.env).stdout.split()
    for name, lines in few_lines():
        given = "batch" if name == "header" else "other"
        (where / f"{name}.c").write_text(frame % (given, given, lines), encoding="utf-8")
        run([*CC.split(), *STRICT.split(), *flags.split(), where / f"{name}.c", "-o", where / name, *pkg_config])


def told_in_few_lines(consumer, where):
    """They print nothing, but what is wrong in one sentence, and leak nothing."""
    for name, _ in few_lines():
        run([where / name], env=dict(os.environ, **consumer.shared))
        for setting, word in ({"CVY_ISA": "sse9"}, "sse9"), ({"CVY_BACKEND": "nothing"}, "nothing"), ({"CVY_THREADS": "0"}, "CVY_THREADS"):
            told = run([where / name], status=1, env=dict(os.environ, **consumer.shared, **setting))
            text = told.stdout + told.stderr
            expect(word in text and text.count("\n") == 1, f"{name}: {setting} is told {text!r}")


def under_sanitizers(consumer, examples):
    flags = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
    where = consumer.make("sanitized", f"CFLAGS={flags}", f"CXXFLAGS={flags}")
    as_shown(consumer, where, examples, **consumer.shared)
    bad_setting(consumer, where, examples, **consumer.shared)
    build_few_lines(consumer, where, flags)
    told_in_few_lines(consumer, where)


def main():
    files = {p.name for p in (source / "examples").iterdir()}
    names = {pathlib.Path(f).stem: pathlib.Path(f).suffix for f in files if f.endswith((".c", ".cc"))}
    examples = examples_of((source / "examples/README.md").read_text(encoding="utf-8"))
    check_files(names, files, examples)

    with tempfile.TemporaryDirectory() as root:
        consumer = Consumer(pathlib.Path(root))
        data = consumer.root / "data"
        unpack_data(data)
        ready = [e for e in examples if e.can_run(data)]
        for e in examples:
            if e not in ready:
                print(f"left out: {e.name} of examples/ is built but not run: no Fashion-MNIST (apt-get install dataset-fashion-mnist)")
        built = []
        if shutil.which("make"):
            by_make(consumer, ready)
            built.append("make, shared and static")
            if "clang" not in run(CC.split() + ["--version"]).stdout:
                under_sanitizers(consumer, ready)
                built.append("under sanitizers")
        else:
            print("left out: the Makefile of examples/: no make (apt-get install make)")
        if shutil.which("cmake") and shutil.which("make"):
            as_shown(consumer, consumer.cmake("cmake"), ready)  # CMake writes the library's place into the program
            built.append("CMake")
        else:
            print("left out: the CMake project of examples/: no cmake (apt-get install cmake make)")
    print(f"{', '.join(sorted(names))}: {'; '.join(built) or 'nothing built'}")


main()
