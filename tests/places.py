#!/usr/bin/env python3
"""No file of the sources names a place of the machine that made it. usage: places.py SOURCE_ROOT [BUILD_ROOT]

What a program wrote into tests/golden has no absolute path at all: the same command gives the same file everywhere, and
a difference is one that means something. No other file has one into a home directory or into these trees.
"""
import pathlib
import re
import sys

DIRECTORIES = ["src", "include", "bench", "examples", "docs", "tests", ".github"]
LEFT_OUT = {"__pycache__"}
ANY = re.compile(r"(?<![\w.)\]/<])/[\w.+-]+/[\w.+-][\w./+-]*", re.ASCII)
HOME = re.compile(r"(?<![\w.)\]])/(?:(?:home|Users)/\w|root/)[\w./+-]*", re.ASCII)
# What each of these has, so that a rule that sees nothing is seen.
KNOWN = [
    (ANY, "<abi-instr path='/tmp/x1/stubs.c' language='LANG_C11'>", "/tmp/x1/stubs.c"),
    (ANY, "comp-dir-path='/home/me/convoy/build'", "/home/me/convoy/build"),
    (ANY, '{"data": "/usr/share/datasets/mnist"}', "/usr/share/datasets/mnist"),
    (ANY, "path='stubs.c' 1/2/3 [oc][ic]/4/5 a/b/c // </a/b> http://host/a/b", None),
    (HOME, "open(/root/x)", "/root/x"),
    (HOME, "`/home/me/x`", "/home/me/x"),
    (HOME, "$HOME/x ~/x a/home/me /home", None),
]


def generated(path):
    """Whether a program wrote it: neither a script nor a header."""
    return path.parts[:2] == ("tests", "golden") and path.suffix not in (".py", ".h")


def sources(source):
    """The files of the sources: directories by name, since others in the checkout are somebody's builds."""
    files = [p for d in DIRECTORIES for p in sorted((source / d).rglob("*")) if p.is_file()] + [
        p for p in sorted(source.iterdir()) if p.is_file() and p.name != ".git"]
    return [p for p in files if not LEFT_OUT & set(p.relative_to(source).parts)]


def main():
    source = pathlib.Path(sys.argv[1]).resolve()
    trees = [pathlib.Path(word).resolve() for word in sys.argv[1:3]]
    trees = [f"{tree}/" for tree in trees if len(tree.parts) > 3]  # "/src/" may stand in any text
    wrong = [f"the lint itself finds {found and found[0]}, not {place}, in: {text}" for rule, text, place in KNOWN
             for found in [rule.search(text)] if (found and found[0]) != place]
    files = sources(source)
    n = 0
    for file in files:
        path = file.relative_to(source)
        n += generated(path)
        for number, line in enumerate(file.read_bytes().decode("latin-1").split("\n"), 1):
            found = (ANY if generated(path) else HOME).search(line)
            place = found[0] if found else next((t for t in trees if t in line), None)
            if place and path != pathlib.Path("tests/places.py"):
                wrong.append(f"{path}:{number}: a place of one machine: {place[:120]}")
    if n < 10:
        wrong.append(f"{n} files were generated, expected those of tests/golden")
    print("\n".join(wrong[:50]) or f"{len(files)} files, {n} of them generated")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
