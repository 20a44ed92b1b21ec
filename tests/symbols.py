#!/usr/bin/env python3
"""What the libraries export, import and contain. usage: symbols.py SOURCE_ROOT BUILD_ROOT

* libconvoy.so exports cvy_* and nothing else, and every function that the public headers declare.
* it imports nothing that prints, exits, or changes the process.
* each ISA's kernel objects export const tables only; baseline objects contain no AVX instruction.
"""
import glob
import os
import re
import subprocess
import sys

source, build = sys.argv[1:3]
errors = []


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


library = os.path.join(build, "src", "libconvoy.so")
if os.path.exists(library):
    exported = {line.split()[-1].split("@")[0] for line in run("nm", "-D", "--defined-only", library).splitlines()}
    exported.discard("CVY_0.1")
    errors += [f"libconvoy.so exports {name}" for name in exported if not name.startswith("cvy_")]
    declared = set()
    for header in glob.glob(os.path.join(source, "include", "convoy", "*.h")):
        with open(header, encoding="utf-8") as f:
            declared |= set(re.findall(r"CVY_API[^;{]*?\b(cvy_\w+)\(", f.read()))
    errors += [f"{name} is declared but not exported" for name in declared - exported]
    errors += [f"{name} is exported but not declared" for name in exported - declared if name.startswith("cvy_")]
    forbidden = set("exit abort _exit quick_exit printf puts putchar perror vprintf fprintf vfprintf fwrite signal sigaction setenv putenv "
                    "unsetenv srand rand random system longjmp strtok setlocale fesetround fesetenv".split())
    imported = {line.split()[-1].split("@")[0] for line in run("nm", "-D", "--undefined-only", library).splitlines()}
    sanitized = any(name.startswith("__asan") for name in imported)
    errors += [f"libconvoy.so imports {name}" for name in imported & forbidden if not sanitized]

tables = re.compile(r"cvyi_(mac|wgrad|rows|lanes|loss|update)_(scalar|avx2|avx512|pair)$")
for obj in glob.glob(os.path.join(build, "src", "**", "*.o"), recursive=True):
    isa = re.search(r"/libk_(\w+?)\.a\.p/", obj)
    if isa:
        for line in run("nm", "--defined-only", "--extern-only", obj).splitlines():
            kind, name = line.split()[-2:]
            if not tables.match(name) or kind not in "RDV":
                errors.append(f"{obj}: exports {kind} {name}; an ISA object exports its const table only")
    elif "/libconvoy." in obj and "backends_onednn" not in obj:  # a module linked in asks the CPU by itself
        if re.search(r"%[yz]mm\d", run("objdump", "-d", "--no-show-raw-insn", obj)):
            errors.append(f"{obj}: baseline code uses wide registers")
for error in sorted(errors):
    print(error)
print(f"symbols: {len(errors)} errors")
sys.exit(bool(errors))
