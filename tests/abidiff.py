#!/usr/bin/env python3
"""What the library offers to programs in binary does not change unnoticed: abidiff (Debian's abigail-tools) compares a copy of it
that was built with a description of its types with tests/golden/libconvoy.abi. The soname is part of that. The contract of
backends (cvy_plan_*, cvy_run_fail) is left out: it has a number of its own (abi.py).

usage: abidiff.py SOURCE_ROOT BUILD_ROOT
       abidiff.py SOURCE_ROOT --write: writes tests/golden/libconvoy.abi anew, from the public headers; docs/abi.md says when"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

source = pathlib.Path(sys.argv[1])
golden = source / "tests/golden/libconvoy.abi"
headers = source / "include/convoy"
BACKENDS = "[suppress_function]\nname_regexp = ^cvy_(plan_[a-z_]+|run_[a-z]+|move_blank)$\n"


def run(*command, status=(0,)):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode not in status:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def stubs():
    """Every public function, doing nothing: their types, and no others, are in what is written down."""
    code = "#include <convoy/convoy.h>\n"
    for name in ("types", "context", "net", "train", "op"):
        text = re.sub(r"/\*.*?\*/", "", (headers / f"{name}.h").read_text(), flags=re.S)
        for found in re.finditer(r"CVY_API\s+(?:CVY_NODISCARD\s+)?([^;{]*\))\s*;", text):
            result = re.match(r"(.*?[\s*])cvy_\w+\(", " ".join(found[1].split()))[1].strip()
            body = "" if result == "void" else f"static {result.replace('const ', '')} nothing; return nothing;"
            code += f"{found[1]} {{ {body} }}\n"
    return code


def write(to):
    soversion = re.search(r"#define CVY_SOVERSION (\d+)", (headers / "version.h").read_text())[1]
    with tempfile.TemporaryDirectory() as root:
        root = pathlib.Path(root)
        (root / "stubs.c").write_text(stubs())
        (root / "map").write_text((source / "src/libconvoy.map.in").read_text().replace("@soversion@", soversion))
        run("cc", "-gdwarf-4", "-w", "-shared", "-fPIC", "-I", headers.parent, root / "stubs.c", "-o", root / "libconvoy.so",
            f"-Wl,-soname,libconvoy.so.{soversion}", f"-Wl,--version-script={root / 'map'}")
        run("abidw", "--headers-dir", headers, "--drop-private-types", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs",
            "--no-elf-needed", "--no-architecture", "--no-parameter-names", "--out-file", to, root / "libconvoy.so")
    to.write_text(to.read_text().replace(f"{root}/", ""))  # the place of the unit's source, which no option leaves out


def differences(library):
    """What abidiff has to say, and whether programs are certain to break."""
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as left_out:
        left_out.write(BACKENDS)
        left_out.flush()
        command = ["abidiff", "--suppressions", left_out.name, "--no-architecture", golden, library]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode & 3:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout, done.returncode & 8, done.returncode


def main():
    if not shutil.which("abidiff"):
        print("left out: the comparison with tests/golden/libconvoy.abi: abidiff is not here (package abigail-tools)")
        return 0
    if "--write" in sys.argv:
        with tempfile.TemporaryDirectory() as root:
            new = pathlib.Path(root) / "libconvoy.abi"
            write(new)
            said, breaks, _ = differences(new) if golden.exists() else ("", 0, 0)
            same = "SONAME changed" not in said
            released = re.search(r"^## [\d.]+ \((?!not released)", (source / "NEWS.md").read_text(), re.M)
            print(said, end="")
            if breaks and same and released:
                sys.exit("this breaks programs: raise CVY_SOVERSION (docs/abi.md), then write again")
            shutil.copy(new, golden)
        return 0
    library = pathlib.Path(sys.argv[2]) / "tests/libdescribed.so"
    said, breaks, status = differences(library)
    if status:
        print(said + ("Programs that are there will break. " if breaks else "") +
              "See docs/abi.md for what must be raised, then run tests/abidiff.py . --write")
    dynamic = run("readelf", "-d", pathlib.Path(sys.argv[2]) / "src/libconvoy.so")
    expected = re.search(r"soname='([^']*)'", golden.read_text())[1]
    if f"[{expected}]" not in dynamic:
        print(f"libconvoy.so's soname is not {expected}, as in {golden.name}")
        status = 1
    return bool(status)


sys.exit(main())
