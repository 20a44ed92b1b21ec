#!/usr/bin/env python3
"""The version stands in include/convoy/version.h and nowhere else: what was built says the same, NEWS.md begins with it, and no other
file of the sources repeats it. Headings of NEWS.md and output that was measured (docs/bench*.md) are history and may.

usage: versions.py SOURCE_ROOT BUILD_ROOT"""
import pathlib
import re
import subprocess
import sys

import places

source, build = map(pathlib.Path, sys.argv[1:3])
header = (source / "include/convoy/version.h").read_text()
number = {name: re.search(rf"#define CVY_{name} (\d+)\n", header)[1]
          for name in ("VERSION_MAJOR", "VERSION_MINOR", "VERSION_PATCH", "SOVERSION")}
version = ".".join(number[f"VERSION_{part}"] for part in ("MAJOR", "MINOR", "PATCH"))
soname = f"libconvoy.so.{number['SOVERSION']}"
wrong = []


def expect(what, found, expected):
    if found != expected:
        wrong.append(f"{what} is {found}, expected {expected}, as include/convoy/version.h has it")


def output(*command):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout


def built():
    library = build / f"src/libconvoy.so.{version}"
    if not library.exists():
        wrong.append(f"{library.name} was not built")
        return
    expect("the soname", re.search(r"soname: \[(.*)\]", output("readelf", "-d", library))[1], soname)
    nodes = {line.split("@@")[1] for line in output("nm", "-D", "--defined-only", library).splitlines() if "@@" in line}
    expect("the symbols' version", ", ".join(nodes), f"CVY_{number['SOVERSION']}")
    expect("`convoy --version`", output(build / "src/convoy", "--version").split()[1], version)
    pc = next(build.rglob("convoy.pc")).read_text()
    expect("convoy.pc's version", re.search(r"Version: (\S+)", pc)[1], version)


def written():
    expect("NEWS.md's first heading", re.search(r"^## (\S+)", (source / "NEWS.md").read_text(), re.M)[1], version)
    for path in places.sources(source):
        place = path.relative_to(source)
        if place.match("docs/bench*.md"):
            continue
        if place in (pathlib.Path("NEWS.md"), pathlib.Path("include/convoy/version.h")) or "golden" in place.parts:
            continue
        if path.stat().st_size > 1 << 20:
            continue
        text = path.read_bytes()
        for repeated in (rf"(?<![\d.]){re.escape(version)}(?![\d.]*\d)", rf"{re.escape(soname)}\b", r"\bCVY_\d+(\.\d+)* *\{"):
            for found in re.finditer(repeated.encode(), text):
                line = text.count(b"\n", 0, found.start()) + 1
                wrong.append(f"{place}:{line}: {found[0].decode()} repeats include/convoy/version.h")


built()
written()
print(*wrong, sep="\n", end="\n" if wrong else "")
sys.exit(bool(wrong))
