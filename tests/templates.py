#!/usr/bin/env python3
"""The HTML of the reports stands in src/report/report.html alone. usage: templates.py SOURCE_ROOT BUILD_ROOT

  - no tag and no entity in a string of src/report/*.c, but for those by which template.c escapes;
  - every call that writes a piece names it, its places and its values by literals, and all holes of that part of the
    piece have a value, all values a hole;
  - what is written of a piece somewhere is all of it, part after part, and every piece is written;
  - no name is there twice, and what a piece opens it closes.
"""
import re
import sys

from outside import SOURCE, unbalanced

REPORT = SOURCE / "src" / "report"
TEXT = r'"(?:\\.|[^"\\\n])*"'
CALL = re.compile(r"\btemplate_(put|part)\(")


def pieces_of(template):
    """(name, text) of each; a piece ends where the next comment begins."""
    return re.findall(r"<!-- piece: (\S+) (?:(?!-->).)*-->(.*?)(?=<!-- |\Z)", template, re.S)


def parts_of(text):
    """The holes of each part of a piece by (place before, place behind); None: its beginning, its end."""
    parts, before, at = {}, None, 0
    for place in [*re.finditer(r"\{=([^}]*)\}", text), None]:
        end = place.start() if place else len(text)
        behind = place[1] if place else None
        parts[before, behind] = set(re.findall(r"\{([^=}][^}]*)\}", text[at:end]))
        before, at = behind, place.end() if place else end
    return parts


def split(code, start):
    """The arguments of a call or list whose bracket stands before `start`, and where it ends."""
    arguments, depth, at, begin = [], 0, start, start
    while depth >= 0:
        text = re.match(TEXT + r"|'(?:\\.|[^'\\])+'", code[at:])
        if text:
            at += text.end()
            continue
        depth += (code[at] in "([{") - (code[at] in ")]}")
        if depth < 0 or code[at] == "," and depth == 0:
            arguments.append(" ".join(code[begin:at].split()))
            begin = at + 1
        at += 1
    return arguments, at


def literal(argument):
    """The text of one literal; None for NULL; False for anything else."""
    if argument == "NULL":
        return None
    return argument[1:-1] if re.fullmatch(TEXT, argument) else False


def check_call(kind, arguments, pieces, written):
    """What is wrong with a call, if anything."""
    piece = literal(arguments[1])
    ends = tuple(literal(a) for a in arguments[2:4]) if kind == "part" else (None, None)
    if not piece or False in ends:
        return "its piece and places are no literals"
    if piece not in pieces:
        return f'no piece "{piece}"'
    if ends not in pieces[piece]:
        return f'"{piece}" has no part from {ends[0]} to {ends[1]}'
    written.add((piece, ends))
    values, names = arguments[-1], set()
    if values != "NULL":
        if not values.startswith("VALUES("):
            return "its values are no VALUES(...)"
        names = [literal(a) for a in split(values, len("VALUES("))[0][::2]]
        if not all(names) or len(set(names)) != len(names):
            return "a value has no name, or that of another"
    holes = pieces[piece][ends]
    missing, idle = sorted(holes - set(names)), sorted(set(names) - holes)
    if missing or idle:
        return f'"{piece}": holes without a value {missing}, values without a hole {idle}'
    return None


def look(template, sources):
    """Everything that is wrong; sources: code by file name."""
    errors, written = [], set()
    found = pieces_of(template)
    pieces = {name: parts_of(text) for name, text in found}
    names = [name for name, _ in found]
    errors += [f"report.html: the piece {name} is there twice" for name in pieces if names.count(name) > 1]
    for name, text in found:
        if unbalanced(text):
            errors.append(f"report.html: {name}: not closed where it should be: {unbalanced(text)}")
        if len(parts_of(text)) != len(re.findall(r"\{=", text)) + 1:
            errors.append(f"report.html: {name}: a place is there twice")
    for file, code in sources.items():
        code = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), code, flags=re.S)
        for text in re.finditer(TEXT, code):
            if re.search(r"</?[A-Za-z!]|/>|&(#\d+|\w+);", text[0]) and file != "template.c":
                errors.append(f"{file}:{code[:text.start()].count(chr(10)) + 1}: HTML in {text[0]}")
        for call in CALL.finditer(code) if file != "template.c" else ():
            wrong = check_call(call[1], split(code, call.end())[0], pieces, written)
            if wrong:
                errors.append(f"{file}:{code[:call.start()].count(chr(10)) + 1}: {wrong}")
    errors += [f"report.html: {name}: nobody writes it from {part[0]} to {part[1]}"
               for name, parts in pieces.items() for part in parts if (name, part) not in written]
    return errors


# Of each mistake one, so that a rule that sees nothing is seen.
PAGE = "<!-- head -->\n<!-- piece: a - for readers -->\n<b>{x}{=in}{y}</b>\n<!-- piece: c -->\n{x}"
GOOD = ('template_part(f, "a", NULL, "in", VALUES("x", g(1, "b, c"))); '
        'template_part(f, "a", "in", NULL, VALUES("y", "")); ')
KNOWN = [
    (PAGE, GOOD + 'template_put(f, "c", VALUES("x", v));', []),
    (PAGE, GOOD, ["nobody writes"]),
    (PAGE, GOOD + 'template_put(f, "c", NULL);', ["without a value ['x']"]),
    (PAGE, GOOD + 'template_put(f, "c", VALUES("x", v, "y", v));', ["without a hole ['y']"]),
    (PAGE, GOOD + 'template_put(f, "c", VALUES("x", v, "x", v));', ["that of another"]),
    (PAGE, GOOD + 'template_put(f, "c", VALUES("x", v)); template_put(f, "d", NULL);', ['no piece "d"']),
    (PAGE, GOOD + 'template_put(f, "c", VALUES("x", v)); template_put(f, "a", NULL);', ['"a" has no part']),
    (PAGE, GOOD + 'template_put(f, "c", VALUES("x", v)); template_put(f, n, NULL);', ["no literals"]),
    (PAGE, GOOD + 'template_put(f, "c", VALUES("x", v)); fputs("<td>", f);', ["HTML in"]),
    (PAGE, GOOD + 'template_put(f, "c", VALUES("x", v)); puts("a < b && c"); /* "<td>" */', []),
    (PAGE + "<i>", GOOD + 'template_put(f, "c", VALUES("x", v));', ["not closed"]),
    (PAGE + "\n<!-- piece: c -->\n{x}", GOOD + 'template_put(f, "c", VALUES("x", v));', ["there twice"]),
]


def main():
    errors = []
    for template, code, wanted in KNOWN:
        found = look(template, {"x.c": code})
        if len(found) != len(wanted) or not all(w in f for w, f in zip(wanted, found)):
            errors.append(f"the lint itself finds {found}, not {wanted}, in: {code}")
    template = (REPORT / "report.html").read_text(encoding="utf-8")
    errors += look(template, {f.name: f.read_text(encoding="utf-8") for f in sorted(REPORT.glob("*.c"))})
    for error in errors:
        print(error)
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
