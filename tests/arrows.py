#!/usr/bin/env python3
"""Who includes whom. usage: arrows.py SOURCE_ROOT [BUILD_ROOT]

Knowledge flows one way (docs/architecture.md). Every #include line under src/ and include/ must be an arrow of ARROWS,
headers with one home must be at home, and the library must not reach for what only the program may use.
"""
import os
import re
import sys

source = os.path.abspath(sys.argv[1])

# part: the parts it may include besides itself. "public" is include/convoy.
ENGINE = {
    "public": set(),
    "base": {"public"},
    "ops": {"base", "public"},
    "net": {"ops", "base", "public"},
    "kernels": {"base", "public"},
    "native": {"kernels", "ops", "base", "public"},
    "reference": {"ops", "base", "public"},
    "onednn": {"public"},
    "program": {"native", "reference", "ops", "base", "public"},
    "api": {"net", "program", "ops", "base", "public"},
}
PROGRAM = {
    "data": {"public"},
    "models": {"schedule", "public"},
    "train": {"schedule", "public"},
    "report": {"public"},
    "cli": {"train", "schedule", "report", "models", "data", "probe", "public"},
    "schedule": set(),  # schedules and samplers are data: models say them, the loop follows them
    "probe": {"public"},
}
ARROWS = {**ENGINE, **PROGRAM}

# Trainer, predictor and operators are the public API over net and program; the compiler beside them knows no nets.
API = {f"src/program/{name}" for name in ("model.h", "batch.c", "op.c", "params.c", "predictor.c", "trainer.c")}
PREFIXES = [
    ("include/convoy/", "public"), ("src/backends/native/kernels/", "kernels"), ("src/backends/native/", "native"),
    ("src/backends/reference/", "reference"), ("src/backends/onednn/", "onednn"),
    ("bench/probe.h", "probe"), ("src/train/schedule.", "schedule"), ("src/train/sampling.", "schedule"),
] + [(f"src/{name}/", name) for name in ("base", "ops", "net", "program", *PROGRAM)]

# <header>: where it may be included.
HOMES = [
    (r"[a-z]*intrin\.h", r"src/backends/native/kernels/vec_\w+\.h"),
    (r"xmmintrin\.h", r"src/base/floats\.h"),  # MXCSR
    (r"cpuid\.h", r"src/base/cpu\.c"),
    (r"omp\.h", r"src/(base/(team|runtime)\.c|backends/onednn/threads\.c)"),  # oneDNN takes its number of threads from the caller
    (r"Random123/.*", r"src/(base/random\.h|train/sampling\.c)"),  # the shuffle is not the library's
    (r"(oneapi/)?dnnl.*", r"src/backends/onednn/.*"),
]
# What a kernel may use: nothing that allocates, prints or has state.
KERNEL_HEADERS = {"assert.h", "float.h", "limits.h", "math.h", "stdbool.h", "stddef.h", "stdint.h", "string.h"}
LIBC = KERNEL_HEADERS | {
    "ctype.h", "errno.h", "fcntl.h", "fnmatch.h", "inttypes.h", "pthread.h", "sched.h", "stdarg.h", "stdatomic.h", "stdio.h", "stdlib.h",
    "sys/mman.h", "sys/stat.h", "sys/types.h", "sys/syscall.h", "time.h", "unistd.h", "linux/futex.h", "dirent.h", "signal.h", "dlfcn.h", "link.h",
}

errors = []


def part_of(path):
    if path in API:
        return "api"
    return next((name for prefix, name in PREFIXES if path.startswith(prefix)), None)


def resolve(path, name):
    for root in (os.path.dirname(path), "src", "include", "."):
        candidate = os.path.normpath(os.path.join(root, name))
        if os.path.exists(os.path.join(source, candidate)):
            return candidate
    return None


def check_angle(where, path, part, name):
    homes = [home for header, home in HOMES if re.fullmatch(header, name)]
    if homes:
        if not any(re.fullmatch(home, path) for home in homes):
            errors.append(f"{where}: <{name}> is included outside its home, {' or '.join(homes)}")
    elif part == "kernels" and name not in KERNEL_HEADERS:
        errors.append(f"{where}: a kernel may not use <{name}>")
    elif part in ENGINE and name not in LIBC:
        errors.append(f"{where}: libconvoy may not use <{name}>")


def check_file(path):
    part = part_of(path)
    if part is None:
        errors.append(f"{path}: belongs to no part of the design")
        return 0
    arrows = 0
    with open(os.path.join(source, path), encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            where = f"{path}:{number}"
            if re.match(r"\s*#\s*pragma\s+omp\b", line) or "_Pragma(\"omp" in line:
                if path not in ("src/base/team.c", "src/base/runtime.c"):
                    errors.append(f"{where}: OpenMP has one home, src/base/team.c and runtime.c")
            found = re.match(r'\s*#\s*include\s*([<"])([^">]+)[">]', line)
            if not found:
                continue
            arrows += 1
            angle, name = found.group(1) == "<", found.group(2)
            if angle and not name.startswith("convoy/"):
                check_angle(where, path, part, name)
                continue
            target = resolve(path, name)
            if target is None:
                errors.append(f"{where}: {name} was not found")
                continue
            other = part_of(target)
            if other != part and other not in ARROWS[part]:
                errors.append(f"{where}: {part} must not know {other} ({name})")
    return arrows


files = sorted(
    os.path.relpath(os.path.join(directory, name), source)
    for top in ("src", "include")
    for directory, _, names in os.walk(os.path.join(source, top))
    for name in names
    if name.endswith((".c", ".h"))
)
count = sum(check_file(path) for path in files)
if not files or not count:
    errors.append(f"{source}: no sources found")
for error in errors:
    print(error)
print(f"arrows: {len(files)} files, {count} includes, {len(errors)} errors")
sys.exit(bool(errors))
