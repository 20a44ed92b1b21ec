#!/usr/bin/env python3
"""Public structs grow without changing their size (docs/abi.md): each ends in `reserved`, and a program that was compiled against
older headers runs on the library as it is. Older headers are those of tests/golden/headers (the first version with this rule),
and today's, with the last member of every struct given back to `reserved`. older_program.c must compile against them, find all
structs and enumerators as they are now, print the same as when it is compiled against today's, and see no byte written beside a struct.

usage: growth.py SOURCE_ROOT BUILD_ROOT; growth.py SOURCE_ROOT --freeze: today's headers become tests/golden/headers, which is
right only when their version is released, or before the first release."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

source = pathlib.Path(sys.argv[1])
PUBLIC = ("version", "types", "context", "net", "train", "op", "convoy")  # the contract of backends has a number of its own
FOR_EVER = {"cvy_shape"}
STRUCT = re.compile(r"(typedef struct \w+ \{\n)((?:(?!\n\}).)*?\n)\} (\w+);", re.S)
RESERVED = re.compile(r"\n? *uint64_t reserved\[(\d+)\];\n$")


def bare(text):
    """Without comments and the lines that they leave empty."""
    return re.sub(r"\n\s*\n+", "\n", re.sub(r" *(/\*.*?\*/|//[^\n]*)", "", text, flags=re.S)).lstrip()


def current():
    return {name: bare((source / f"include/convoy/{name}.h").read_text()) for name in PUBLIC}


def structs(headers):
    return {m[3]: m[2] for text in headers.values() for m in STRUCT.finditer(text)}


def members(body):
    """The declarators of each statement of a struct's members, but `reserved`."""
    statements = [s for s in re.split(r"(?<=;)", RESERVED.sub("\n", body)) if s.strip()]
    return [re.split(r",(?![^(\[]*[)\]])", s.rstrip().rstrip(";")) for s in statements]


def places(headers):
    """All that programs were compiled with: sizes, offsets, and the numbers of enumerators (not how many there are)."""
    expressions = [f"sizeof({name})" for name in structs(headers)]
    for name, body in structs(headers).items():
        for declarators in members(body):
            for d in declarators:
                function = re.search(r"\(\*(\w+)\)", d)
                member = function[1] if function else re.findall(r"\w+", d.split("[")[0])[-1]
                expressions.append(f"offsetof({name}, {member})")
    for text in headers.values():
        for body in re.findall(r"\benum \w+ \{(.*?)\}", text, re.S):
            expressions += [e for e in re.findall(r"\b(CVY_\w+)\s*(?:=[^,]*)?(?:,|$)", body.strip()) if not re.search(r"(KIND|INIT)S$", e)]
    return expressions


def without_last(body):
    """A struct's members without the last one before `reserved`."""
    statements = members(body)
    statements[-1] = statements[-1][:-1]
    return "".join(",".join(s) + ";" for s in statements if s).lstrip("\n") + "\n"


def shrunk(headers, words):
    """Each struct has that many reserved words, and one member less."""
    def struct(m):
        return f"{m[1]}{without_last(m[2])}    uint64_t reserved[{words[m[3]]}];\n}} {m[3]};" if m[3] in words else m[0]
    return {name: STRUCT.sub(struct, text) for name, text in headers.items()}


def run(command, **more):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Program:
    """A program's way against some headers."""

    def __init__(self, where, headers, library):
        self.where, self.library = where, library
        (where / "convoy").mkdir(parents=True)
        for name, text in headers.items():
            (where / f"convoy/{name}.h").write_text(text)

    def output(self, code):
        compiler = os.environ.get("CC", "cc").split()
        run([*compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", self.where, code, "-o", self.where / "program",
             self.library, f"-Wl,-rpath,{self.library.parent.resolve()}"])
        return run([self.where / "program"])

    def numbers(self, expressions):
        code = self.where / "numbers.c"
        code.write_text('#include <convoy/convoy.h>\n#include <stdio.h>\nint main(void)\n{\n' + "".join(
            f'    printf("%lld\\n", (long long){e});\n' for e in expressions) + "    return 0;\n}\n")
        return dict(zip(expressions, map(int, self.output(code).split())))

    def sizes(self, names):
        return {e[7:-1]: size for e, size in self.numbers([f"sizeof({name})" for name in names]).items()}


def main():
    headers = current()
    golden = source / "tests/golden/headers"
    if "--freeze" in sys.argv:
        shutil.rmtree(golden, ignore_errors=True)
        golden.mkdir()
        for name, text in headers.items():
            (golden / f"{name}.h").write_text(text)
        return
    library = pathlib.Path(sys.argv[2]) / "src/libconvoy.so"
    words = {name: int(RESERVED.search(body)[1]) for name, body in structs(headers).items() if RESERVED.search(body)}
    rigid = structs(headers).keys() - words.keys() - FOR_EVER
    if rigid:
        sys.exit(f"these public structs cannot grow; they must end in `uint64_t reserved[N];`: {', '.join(sorted(rigid))}")
    assert len(words) > 20, words
    frozen = {p.stem: p.read_text() for p in golden.glob("*.h")}
    with tempfile.TemporaryDirectory() as root:
        root = pathlib.Path(root)
        today = Program(root / "today", headers, library)
        sizes, said = today.sizes(words), today.output(source / "tests/older_program.c")
        given_back, nested = words, 4
        for level in range(nested):  # what a struct lacks may be lacking in one that it contains
            found = Program(root / f"smaller{level}", shrunk(headers, given_back), library).sizes(words)
            given_back = {name: given_back[name] + (sizes[name] - found[name]) // 8 for name in words}
        assert sum(given_back.values()) > sum(words.values())
        older = {"tests/golden/headers": frozen, "today's headers, each struct with one member less": shrunk(headers, given_back)}
        for number, (what, old_headers) in enumerate(older.items()):
            program = Program(root / str(number), old_headers, library)
            then = program.numbers(places(old_headers))
            assert len(then) > 150, then
            now = today.numbers(list(then))
            for what_it_is in (e for e in then if then[e] != now[e]):
                sys.exit(f"{what_it_is} is {now[what_it_is]}, but {then[what_it_is]} with {what}")
            if program.output(source / "tests/older_program.c") != said:
                sys.exit(f"older_program.c does not print the same with {what}")
    print(f"{len(words)} structs can grow; programs with {len(older)} older versions of the headers run")


main()
