#!/usr/bin/env python3
"""Operands of program ops have names, those of the list in include/convoy/backend.h: nobody in src/ or in the tests' modules
counts them (op->in[2]), or reads an input by the name of an output.

usage: operands.py SOURCE_ROOT
"""
import pathlib
import re
import sys

source = pathlib.Path(sys.argv[1])
header = (source / "include/convoy/backend.h").read_text(encoding="utf-8")
listed = re.search(r"#define CVY_OPS\(OP, IN, OUT\)(.*?)\n/\* clang-format on", header, re.S)[1]
INS = {f"CVY_{kind}_{name}" for kind, name in re.findall(r"\bIN\((\w+), (\w+),", listed)}
OUTS = {f"CVY_{kind}_{name}" for kind, name in re.findall(r"\bOUT\((\w+), (\w+),", listed)}
COUNTED = re.compile(r"(?:->|\.)(?:in|out)\[\d+\]")
NAMED = re.compile(r"(?:->|\.)(in|out)\[([^][]*)\]")
# a net's node has a member of that name, too
OTHERS = re.compile(r"\bnode\b|\bnode\[")

wrong, looked = [], 0
for path in sorted([*(source / "src").rglob("*.[ch]"), *(source / "tests/modules").glob("*.c")]):
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        at = f"{path.relative_to(source)}:{number}"
        if COUNTED.search(line) and not OTHERS.search(line):
            wrong.append(f"{at}: an operand is counted, not named: {line.strip()}")
        for side, place in NAMED.findall(line):
            names = set(re.findall(r"\bCVY_[A-Z0-9_]+", place)) & (INS | OUTS)
            looked += len(names)
            if names - (INS if side == "in" else OUTS):
                wrong.append(f"{at}: {', '.join(sorted(names))} is no {side}put: {line.strip()}")
if len(INS) < 40 or looked < 150:
    wrong.append(f"only {len(INS)} inputs are listed and {looked} places use a name: the patterns are out of date")
print(*wrong, sep="\n", end="\n" if wrong else "")
print(f"{len(INS)} inputs, {len(OUTS)} outputs; {looked} places name one")
sys.exit(bool(wrong))
