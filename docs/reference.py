#!/usr/bin/env python3
"""Doxygen's view of a header of include/convoy: the same text, with our plain comments as documentation comments. Doxygen calls it
for every header (INPUT_FILTER of Doxyfile.in) and reads what it prints.

usage: reference.py HEADER

* A comment on lines of its own belongs to what follows, one behind code to what stands before it.
* Below a comment may stand several declarations without an empty line between: the others refer to the first.
* The first comment of a file is the file's; that of convoy.h is the first page.
* Lines that are set in further than their comment are formulas, tables and code: they stay as they are.
"""
import re
import sys

COMMENT = re.compile(r"/\*(.*?)\*/", re.S)
HEADERS = "\n\nThe headers: types.h, context.h, net.h, train.h, op.h; for backends backend.h."
NO_TEXT = re.compile(r"\s*(-{20,}|clang-format o)")  # the name of a part; said to a tool


def escaped(text):
    """Text without meaning to Doxygen."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\@#%])", r"\\\1", text)
    return text.replace(" .. ", " … ").replace(" al. ", " al.&nbsp;")  # these end no sentence


def lines_of(body):
    """The lines of a comment without the stars in front, each with whether it is set in."""
    first, *rest = body.split("\n")
    yield first.strip(), False
    for line in rest:
        star = re.match(r"\s*\*( ?)(.*)", line)
        text = star[2] if star else line.strip()
        yield text.rstrip(), text.startswith(" ")


def documentation(body, opening, closing=""):
    """Text in one line a paragraph: a line of its own that begins with a minus would be a list's."""
    out, before = opening, None
    for text, set_in in lines_of(body):
        kind = "set in" if set_in else "text" if text else "empty"
        if kind != before and before == "set in":
            out += "\n@endverbatim"
        if kind != before and kind == "set in":
            out += "\n@verbatim"
        out += " " if kind == "text" and before in ("text", None) else "\n"
        out += text if set_in else escaped(text)
        before = kind
    return out + ("\n@endverbatim" if before == "set in" else "") + closing + " */"


def followers(code):
    """A declaration right below one that has a comment refers to it: often it is meant, too."""
    for paragraph in re.split(r"(\n[ \t]*\n)", code):
        out, first = [], ""  # "?": the next one is it
        for part in re.split(r"^(?=/\*\* |CVY_API )", paragraph, flags=re.M):
            name = re.search(r"\b(cvy_\w+)\(", part)
            if part.startswith("/** "):
                first = "?"
            elif part.startswith("CVY_API ") and name:
                if first not in ("", "?"):
                    out.append(f"/** In the header it stands below {first}(). */\n")
                first = name[1] if first == "?" else first
            else:
                first = ""
            out.append(part)
        yield "".join(out)


def converted(text, name):
    out, at = "", 0
    for number, comment in enumerate(COMMENT.finditer(text)):
        before = text[text.rfind("\n", 0, comment.start()) + 1:comment.start()]
        out += text[at:comment.start()]
        at = comment.end()
        if NO_TEXT.match(comment[1]):
            continue
        if number == 0:
            first = name == "convoy.h"
            page = "@mainpage Convoy's C interface\n" if first else f"@file {name}\n"
            out += documentation(comment[1], "/** " + page, HEADERS if first else "")
        elif before.strip():
            out += documentation(comment[1], "/**<")
        else:
            out += documentation(comment[1], "/**")
    return "".join(followers(out + text[at:]))


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        print(converted(f.read(), sys.argv[1].rsplit("/", 1)[-1]), end="")


if __name__ == "__main__":
    main()
