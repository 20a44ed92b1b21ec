#!/usr/bin/env python3
"""How statements and functions read. usage: dialect.py SOURCE_ROOT [BUILD_ROOT] [--counts]

CONTRIBUTING.md says it in words; of each .c, .h and .cc file, macros' bodies included:
  - no conditional expression in an arm of another one: an if, or a small function, says which case is meant;
  - no statements joined by a comma; declarations, the heads of `for` and `(void)a, (void)b;` may have one;
  - no function with more than eight parameters, apart from EXCEPTED;
  - no function of more lines than MOST_LINES says, braces included, of tests without their tables of cases.
--counts prints how many there are instead, and of functions with more than six parameters, in each directory.
"""
import os
import re
import sys

MOST_PARAMETERS = 8
MOST_LINES = {"src": 60, "include": 60, "bench": 60, "examples": 60, "tests": 80}
DIRECTORIES = list(MOST_LINES)
# Functions that may have more parameters than that: their file, their name, why.
EXCEPTED = [
    (r"src/backends/native/kernels/\w+_tmpl\.c", r"\w+",
     "inlined with constants for most of them; what a struct held would be read from memory again after each store"),
]

TOKEN = re.compile(r"[A-Za-z_]\w*|\.?\d[\w.]*|\.\.\.|->|\+\+|--|<<=|>>=|<<|>>|##|[-+*/%&|^=!<>]=|&&|\|\||\S")
TYPE_WORDS = {"const", "static", "unsigned", "signed", "struct", "enum", "union", "int", "char", "long", "short",
              "float", "double", "void", "bool", "size_t", "register", "volatile", "extern", "typedef",
              "_Thread_local", "auto", "_Alignas", "alignas", "_Static_assert", "static_assert", "using", "template"}
CONTROL = {"if", "for", "while", "switch", "else", "do", "case", "default", "return", "sizeof"}
NAME = re.compile(r"[A-Za-z_]\w*$")


def bare(text):
    """The text without comments and what stands in quotes, line by line where it was."""
    def blank(match):
        found = match.group(0)
        lines = "\n" * found.count("\n")
        return '""' + lines if found[0] in "\"'" else " " + lines
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def chunks(text):
    """The tokens of a file's code without its directives, then the body of each #define: (line, text)."""
    code, macros, line_number = [], [], 0
    lines = iter(bare(text).split("\n"))
    for line in lines:
        line_number += 1
        if not line.lstrip().startswith("#"):
            code += [(line_number, t) for t in TOKEN.findall(line)]
            continue
        body = []
        while True:
            continued = line.rstrip().endswith("\\")
            body += [(line_number, t) for t in TOKEN.findall(line.rstrip().rstrip("\\"))]
            if not continued:
                break
            line = next(lines, "")
            line_number += 1
        define = re.match(r"\s*#\s*define\s+\w+(\(?)", line if len(body) < 3 else " ".join(t for _, t in body[:3]) + (
            "(" if len(body) > 3 and body[3][1] == "(" else ""))
        if len(body) < 3 or body[1][1] != "define" or define is None:
            continue
        skip = 3
        if len(body) > 3 and body[3][1] == "(":
            while skip < len(body) and body[skip][1] != ")":
                skip += 1
            skip += 1
        macros.append(body[skip:])
    yield code
    yield from macros


def balanced(tokens, start):
    """The index behind the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(tokens)):
        depth += (tokens[i] in "([{") - (tokens[i] in ")]}")
        if depth == 0:
            return i + 1
    return len(tokens)


def declares(tokens):
    """Whether a statement (its brackets emptied) that has a comma is a declaration."""
    while tokens:
        if tokens[0] in ("if", "for", "while", "switch") or (
                tokens[0].isupper() and tokens[1:2] == ["("] and ")" in tokens and tokens[balanced(tokens, 1):] and
                NAME.match(tokens[balanced(tokens, 1)])):
            tokens = tokens[balanced(tokens, 1):]
        elif tokens[0] in ("else", "do"):
            tokens = tokens[1:]
        elif tokens[0] in ("case", "default") or tokens[1:2] == [":"] and tokens[2:3] != [":"]:
            tokens = tokens[tokens.index(":") + 1:] if ":" in tokens else []
        else:
            break
    if not tokens:
        return True
    if tokens[0] in TYPE_WORDS or tokens[:2] == ["std", ":"]:
        return True
    rest = tokens[1:]
    while rest and rest[0] in ("*", "const", "restrict", "&"):
        rest = rest[1:]
    return bool(NAME.match(tokens[0]) and tokens[0] not in CONTROL and rest and NAME.match(rest[0]))


def function_head(statement):
    """(name, number of parameters) where the tokens before a `{` are a function's head, otherwise None."""
    if not statement or statement[0] in CONTROL or "=" in statement or statement[-1] != ")":
        return None
    open_at, depth = len(statement) - 1, 0
    while open_at >= 0:
        depth += (statement[open_at] in ")]}") - (statement[open_at] in "([{")
        if depth == 0:
            break
        open_at -= 1
    name = "".join(statement[max(open_at - 1, 0):open_at])
    if name == ")":  # NAME(x)(…)
        name = "".join(statement[max(open_at - 4, 0):open_at])
    if open_at < 2 or not re.search(r"\w", name):
        return None
    parameters, depth = 1, 0
    for token in statement[open_at + 1:-1]:
        depth += (token in "([{") - (token in ")]}")
        parameters += token == "," and depth == 0
    return name, parameters


class Frame:
    def __init__(self, kind, conditional):
        self.kind = kind  # block, list, paren
        self.outer = conditional  # the bracket stands in an arm
        self.arm = False  # a `?` was seen in the expression that goes on
        self.statement = []
        self.full = []
        self.commas = []
        self.condition = self.alone = False
        self.function = None  # its name, where this is a body
        self.begins = 0
        self.listed = 0  # lines of the lists in it


def look(tokens):
    """Yields (line, what, detail) of a chunk; of lines: (name, all lines, those that are no lists')."""
    stack = [Frame("block", False)]
    before = previous = ""
    for line, token in tokens:
        top = stack[-1]
        if token == "?":
            if top.arm or top.outer:
                yield line, "conditional", ""
            top.arm = True
        if token in "([{":
            kind, head = "paren", None
            if token == "{":
                words = top.statement
                value = previous != "(" and ("=" in words or "return" in words or top.kind != "block")  # ({ … })
                kind = "list" if value or "enum" in words and "(" not in words else "block"
                if kind == "block" and top.kind == "block":
                    head = function_head(top.full)
                    if head:
                        yield line, "parameters", head
            frame = Frame(kind, top.arm or top.outer)
            frame.condition = token == "(" and previous in ("if", "while", "switch")
            # a bracket that is no call's; one behind a comma may be a list that a macro is given
            frame.alone = token == "(" and before != "__attribute__" and (
                previous == "return" or not re.match(r'[\w)\]",]', previous))
            frame.begins = line
            frame.function = head[0] if kind == "block" and head else None
            for each in stack:
                each.full.append(token)
            top.statement.append(token)
            stack.append(frame)
        elif token in ")]}":
            ended = stack.pop() if len(stack) > 1 else Frame("block", False)  # opened by another macro
            top = stack[-1]
            top.listed += line - ended.begins if ended.kind == "list" else ended.listed
            if ended.function:
                lines = line - ended.begins + 1
                yield ended.begins, "lines", (ended.function, lines, lines - ended.listed)
            for each in stack:
                each.full.append(token)
            top.statement.append(token)
            if token == "}" and ended.kind == "block":
                words = top.statement
                if not words or words[0] not in ("struct", "union", "typedef", "static", "const", "do"):
                    top.statement, top.full, top.commas, top.arm = [], [], [], False
                elif "(" in words and words[0] != "do":
                    top.statement, top.full, top.commas, top.arm = [], [], [], False
        elif token == ";" or token == ",":
            if token == ",":
                if top.kind == "block":
                    top.commas.append(line)
                if top.condition or top.alone:
                    yield line, "comma", ""
                top.statement.append(token)
                for each in stack:
                    each.full.append(token)
                top.arm = False
            else:
                if top.kind == "block" and top.commas and not declares(top.statement):
                    if not unused(top.statement):
                        for at in top.commas:
                            yield at, "comma", ""
                top.statement, top.full, top.commas, top.arm = [], [], [], False
        else:
            top.statement.append(token)
            for each in stack:
                each.full.append(token)
        before, previous = previous, token


def unused(statement):
    """Whether a statement is (void)a, (void)b."""
    text = " ".join(statement)
    return all(re.match(r"\s*\( \) \w+\s*$", part) for part in text.split(","))


def files(root):
    for directory in DIRECTORIES:
        for at, _, names in sorted(os.walk(os.path.join(root, directory))):
            if os.path.relpath(at, root).startswith(os.path.join("tests", "golden")):
                continue  # headers as they were
            for name in sorted(names):
                if name.endswith((".c", ".h", ".cc")):
                    yield os.path.relpath(os.path.join(at, name), root)


# What each of these has, so that a rule that sees nothing is seen.
KNOWN = [
    ("int f(int a) { return a ? 1 : a > 2 ? 3 : 4; }", ["conditional"]),
    ("int f(int a) { return a ? g(a > 2 ? 3 : 4) : 1; }", ["conditional"]),
    ("int f(int a) { int b = (a ? 1 : 2) ? 3 : 4, c = a ? 5 : 6; return h(a ? b : c, a ? c : b); }", []),
    ("#define M(a) do { (a) ? f() : (a) > 1 ? g() : h(); } while (0)", ["conditional"]),
    ("void f(int a) { if (a) a = 1, g(a); }", ["comma"]),
    ("int f(int a) { for (;;) return g(a), 1; }", ["comma"]),
    ("void f(void) { while (g(), h()) {} }", ["comma"]),
    ("#define M(a, b) { a, b },\n#define N(a) { (a) = 1, g(a); }", ["comma"]),
    ("void f(int a) { (void)a, (void)f; for (int i = 0, j = 1; i < j; i++, j--) g(i, j); }", []),
    ("struct s { int a, *b; }; enum e { A, B }; static const struct s t[] = { { 1, 0 }, { 2, 0 } };", []),
    ("void f(void) { struct s a = { 1, 0 }, *b = &a; unsigned c, d; *b = (struct s){ 2, 0 }; uint8_t x, y; }", []),
    ("static bool f(int a, int b, int c, int d, int e, int g, int h, void (*i)(int, int)) { return a; }", []),
    ("static bool f(int a, int b, int c, int d, int e, int g, int h, int i, int j) { return a; }", ["parameters"]),
    ("#define M(a) __extension__({ if (a) f(), g(); h(); })", ["comma"]),
    ("#define M(a) (f(), g(a))", ["comma"]),
    ("int f(int a) { return (g(), a); }", ["comma"]),
    ("void f(int (*g)(int, int), int a[2]) { (*g)(1, 2); a[0] = (g)(1, 2); h((int[]){ 1, 2 }); }", []),
    ("struct s {" + 60 * "int a;\n" + "};\nvoid f(void) {" + 59 * "\n" + "}", []),
    ("void f(void) {" + 60 * "\n" + "}", ["lines"]),
    ("void f(void) { const int a[] = {" + 60 * "1,\n" + "}; }", ["lines"]),
]
KNOWN_TESTS = [
    ("void f(void) { const int a[] = {" + 80 * "1,\n" + "}; }", []),
    ("void f(void) { const int a[] = {" + 80 * "1,\n" + "};" + 79 * "\n" + "}", []),
    ("void f(void) { const int a[] = {" + 80 * "1,\n" + "};" + 80 * "\n" + "}", ["lines"]),
]


def limit(path):
    return MOST_LINES[path.split(os.sep)[0]]


def too_much(path, what, detail):
    """Whether a thing of the file is more than it may be."""
    if what == "parameters":
        return detail[1] > MOST_PARAMETERS
    if what == "lines":
        return detail[2 if path.startswith("tests") else 1] > limit(path)
    return True


def seen(code, path):
    return [what for tokens in chunks(code) for _, what, detail in look(tokens) if too_much(path, what, detail)]


def main():
    root = os.path.abspath(sys.argv[1])
    found, wide = [], []
    for path in files(root):
        with open(os.path.join(root, path), encoding="utf-8") as f:
            text = f.read()
        for tokens in chunks(text):
            for line, what, detail in look(tokens):
                if what == "parameters" and detail[1] > 6:
                    wide.append((path, line, detail))
                if too_much(path, what, detail):
                    found.append((path, line, what, detail))
    if "--counts" in sys.argv:
        table = {}
        for path, _, what, _ in found:
            row = table.setdefault(os.path.dirname(path), {})
            row[what] = row.get(what, 0) + 1
        for path, _, _ in wide:
            row = table.setdefault(os.path.dirname(path), {})
            row["wide"] = row.get("wide", 0) + 1
        keys = ["conditional", "comma", "lines", "wide", "parameters"]
        print(f"{'directory':32}" + "".join(
            f"{k:>13}" for k in ["nested ?:", "commas", "long", "> 6 params", "> 8 params"]))
        for at in sorted(table):
            print(f"{at:32}" + "".join(f"{table[at].get(k, 0):13}" for k in keys))
        print(f"{'all':32}" + "".join(f"{sum(r.get(k, 0) for r in table.values()):13}" for k in keys))
        if "-v" in sys.argv:
            for path, line, what, detail in found:
                print(f"{path}:{line}: {what} {detail}")
            for path, line, detail in wide:
                print(f"{path}:{line}: wide {detail}")
        return 0
    says = {"conditional": "a conditional expression in an arm of another", "comma": "statements joined by a comma"}
    errors = [f"the lint itself finds {seen(code, 'src/a.c')}, not {has}, in: {code}" for code, has in KNOWN if seen(code, "src/a.c") != has]
    errors += [f"the lint itself finds {seen(code, 'tests/a.c')}, not {has}, in a test: {code}"
               for code, has in KNOWN_TESTS if seen(code, "tests/a.c") != has]
    for path, line, what, detail in found:
        if what == "parameters" and any(re.fullmatch(p, path) and re.fullmatch(n, detail[0]) for p, n, _ in EXCEPTED):
            continue
        text = says.get(what)
        if what == "parameters":
            text = f"{detail[0]} has {detail[1]} parameters, more than {MOST_PARAMETERS}"
        if what == "lines":
            text = f"{detail[0]} has {detail[1]} lines, {detail[2]} without lists, more than {limit(path)}"
        errors.append(f"{path}:{line}: {text}")
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
