#!/usr/bin/env python3
"""The reference that Doxygen makes of include/convoy (docs/reference.py, docs/Doxyfile.in): every function, struct, field,
enumerator and macro is in it, and every sentence of a comment; Doxygen has nothing to complain about.

usage: reference_test.py SOURCE_ROOT [BUILD_ROOT]
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as tree

source = pathlib.Path(sys.argv[1])
HEADERS = sorted((source / "include/convoy").glob("*.h"))


def made(where):
    """All that Doxygen made: its XML's text, and the names of what it describes."""
    settings = (source / "docs/Doxyfile.in").read_text()
    for key, value in (("SOURCE", source), ("OUTPUT", where), ("VERSION", "test")):
        settings = settings.replace(f"@{key}@", str(value))
    settings += "\nGENERATE_HTML = NO\nGENERATE_XML = YES\n"
    done = subprocess.run(["doxygen", "-"], input=settings, capture_output=True, text=True)
    if done.returncode or done.stderr:
        sys.exit(f"doxygen: exit {done.returncode}\n{done.stderr}")
    text, names = "", set()
    for page in (where / "xml").glob("*.xml"):
        root = tree.parse(page).getroot()
        for description in (*root.iter("briefdescription"), *root.iter("detaileddescription")):
            text += " ".join(description.itertext()) + "\n"
        names |= {name.text for tag in ("name", "compoundname") for name in root.iter(tag)}
    return text, names


def words(text):
    """Without spaces, since markup divides words and lines are broken elsewhere."""
    return re.sub(r"\s+", "", text)


def comments(header):
    for body in re.findall(r"/\*(.*?)\*/", header.read_text(), re.S):
        if not re.match(r"\s*(-{20,}|clang-format o)", body):
            yield re.sub(r"^\s*\*", "", body, flags=re.M).replace(" .. ", " … ")


def sentences(comment):
    """What can be looked for: between the ends of sentences and the borders of what is set in."""
    parts = re.split(r"(?<=[.:;])\s+|\n(?=\s)|\n\n", comment)
    return [p for p in map(words, parts) if p]


def declared(text):
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    yield from re.findall(r"CVY_API[^;{]*?\b(cvy_\w+)\(", code)
    yield from re.findall(r"struct (cvy_\w+) \{", code)
    yield from re.findall(r"#define (CVY_\w+) ", code)
    for enumerators in re.findall(r"enum \w* ?\{([^}]*)\}", code):
        yield from re.findall(r"\b(CVY_\w+)", enumerators)


def main():
    if not shutil.which("doxygen"):
        print("left out: the reference of the C interface: no doxygen (apt-get install doxygen)")
        return 0
    with tempfile.TemporaryDirectory() as where:
        text, names = made(pathlib.Path(where))
    text, missing, n = words(text), [], 0
    for header in HEADERS:
        missing += [f"{header.name}: {name} is not in the reference" for name in declared(header.read_text()) if name not in names]
        for comment in comments(header):
            for sentence in sentences(comment):
                n += 1
                if sentence not in text:
                    missing.append(f"{header.name}: not in the reference: {sentence}")
    print("\n".join(missing) or f"{n} sentences of {len(HEADERS)} headers are in the reference")
    return bool(missing) or n < 100


if __name__ == "__main__":
    sys.exit(main())
