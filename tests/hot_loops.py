#!/usr/bin/env python3
"""The innermost loops of the multiply kernels must keep their accumulators in registers.

usage: hot_loops.py SOURCE_ROOT BUILD_ROOT

Disassembles the avx2 and avx512 objects of mac, wgrad and depthwise; an innermost loop (a backward jump with no other inside) with eight or
more fused multiply-adds is hot, and no vector instruction in it may touch the stack. Fails too if it finds no hot loop.
Not those of winograd: a tile of 36 registers waits on the stack.
"""
import glob
import os
import re
import subprocess
import sys

build = sys.argv[2]
LINE = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
errors, hot = [], 0
objects = [o for isa in ("avx2", "avx512") for kind in ("mac", "wgrad", "depthwise")
           for o in glob.glob(os.path.join(build, "src", "**", f"libk_{isa}.a.p", f"*{kind}_tmpl.c.o"), recursive=True)]
if "-O0" in open(os.path.join(build, "compile_commands.json"), encoding="utf-8").read().split('"file"')[0]:
    objects = []
for obj in objects:
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", obj], check=True, capture_output=True, text=True).stdout
    function, code = "", []
    for row in text.splitlines() + ["0 <end>:"]:
        start = re.match(r"^[0-9a-f]+ <(.+)>:$", row)
        if start or row == "0 <end>:":
            loops = []
            for i, (address, op, args) in enumerate(code):
                target = re.match(r"([0-9a-f]+) <", args)
                if op.startswith("j") and target and int(target[1], 16) <= address:
                    first = next((k for k, c in enumerate(code) if c[0] >= int(target[1], 16)), i)
                    loops.append((first, i))
            for first, last in loops:
                if any(a >= first and b <= last and (a, b) != (first, last) for a, b in loops):
                    continue
                body = code[first:last + 1]
                if sum("fmadd" in op for _, op, _ in body) < 8:
                    continue
                hot += 1
                for address, op, args in body:
                    if op.startswith("v") and "(%rsp" in args:
                        errors.append(f"{os.path.basename(obj)}: {function}: {address:x}: {op} {args}")
            function, code = (start[1], []) if start else ("", [])
            continue
        match = LINE.match(row)
        if match:
            code.append((int(match[1], 16), match[2], match[3]))
for error in errors:
    print(error)
print(f"hot_loops: {hot} hot loops, {len(errors)} errors")
sys.exit(bool(errors) or (bool(objects) and hot == 0))
