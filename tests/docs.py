#!/usr/bin/env python3
"""What is written, held against what is there: prose of at most 120 characters a line, links that lead somewhere (to a
heading, too), no page that none leads to, every page of docs/ in its index, README's figures in docs/benchmarks.md, code
quoted from examples/ in that file, every build option in docs/building.md and every test in docs/testing.md. Pictures
are whole, and dark on dark screens.

  docs.py SOURCE_ROOT …"""
import fnmatch, os, pathlib, re, sys, xml.etree.ElementTree

ROOT = pathlib.Path(sys.argv[1])
PAGES = [*sorted(ROOT.glob('*.md'), key=lambda p: p.name != 'README.md'), *sorted((ROOT / 'docs').rglob('*.md')),
         *sorted((ROOT / 'examples').glob('*.md'))]
LONGEST = 120
complaints = []


def without_code(text):
    return re.sub(r'^```.*?^```', lambda m: '\n' * m[0].count('\n'), text, flags=re.S | re.M)


def length_of_lines(page, text):
    """Tables, code and lines that are one long word (a link) may be longer."""
    for number, line in enumerate(without_code(text).split('\n'), 1):
        if len(line) > LONGEST and not line.startswith(('|', '    ')) and ' ' in line.strip()[:LONGEST]:
            complaints.append(f'{page.relative_to(ROOT)}:{number}: {len(line)} characters, expected at most {LONGEST}')


def links_of(page, text):
    for target, anchor in re.findall(r'\]\(([^)#]*)(?:#([^)]*))?\)', without_code(text)):
        if '://' not in target:
            yield target + ('#' + anchor if anchor else ''), (page.parent / target).resolve() if target else page, anchor


def anchors(text):
    """Of headings, as GitHub makes them: words without punctuation, in small letters, with hyphens between."""
    for heading in re.findall(r'^#+ (.*)', without_code(text), re.M):
        plain = re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', heading)
        yield re.sub(r'[^\w -]', '', plain).strip().lower().replace(' ', '-')


def links(texts):
    reached, todo = set(), [PAGES[0].resolve()]
    while todo:
        page = todo.pop()
        if page in reached:
            continue
        reached.add(page)
        for target, path, anchor in links_of(page, texts.get(page, '')):
            if not path.exists() or anchor and anchor not in anchors(texts.get(path, '')):
                complaints.append(f'{page.relative_to(ROOT.resolve())}: {target} is not there')
            todo += sorted(path.glob('*.md')) if path.is_dir() else [path]
    for page in texts:
        if page not in reached:
            complaints.append(f'{page.relative_to(ROOT.resolve())}: no page leads to it')


def index(texts):
    """docs/README.md names every page beside it."""
    page = (ROOT / 'docs/README.md').resolve()
    named = {path for _, path, _ in links_of(page, texts[page])}
    for other in sorted(page.parent.glob('*.md')):
        if other != page and other not in named:
            complaints.append(f'docs/README.md: {other.name} is not in the index')


def quotations(page, text):
    """A block of C that begins with the comment examples/FILE stands in that file."""
    for name, code in re.findall(r'^```c\n/\* (examples/\S+) \*/\n(.*?)^```', text, re.S | re.M):
        if code not in (ROOT / name).read_text():
            complaints.append(f'{page.relative_to(ROOT)}: this is not in {name}:\n{code}')


def figures():
    """In README's tables, and in its lines of examples/sec."""
    there = re.sub(r'(?<=\d) (?=\d{3}\b)', '', (ROOT / 'docs/benchmarks.md').read_text())
    for line in (ROOT / 'README.md').read_text().split('\n'):
        if not line.startswith('|') and 'examples/sec' not in line:
            continue
        for figure in re.findall(r'(?<![\d.])\d[\d ]*\d{3}(?:\.\d+)?\b(?!\d)|\b\d+(?: %| ×)', line):
            plain = figure.replace(' ', '')
            rounded = [plain] if plain in there.replace(' ', '') else \
                [n for n in re.findall(r'\d+(?:\.\d+)?', there) if agrees(plain, n)]
            if not rounded:
                complaints.append(f'README.md: {figure} is not in docs/benchmarks.md')


def agrees(plain, figure):
    """Whether `plain` is `figure` rounded to what its trailing zeros, or its lack of a decimal point, say."""
    number = plain.rstrip('%×')
    unit = 10 ** (len(number) - len(number.rstrip('0'))) if '.' not in number else 0.1
    return abs(float(number) - float(figure)) <= unit / 2


def named(what, names, page):
    text = (ROOT / page).read_text()
    patterns = re.findall(r'[\w.*/-]+', text)
    for name in names:
        if not any(fnmatch.fnmatch(name, p) or p.endswith('/' + name) for p in patterns):
            complaints.append(f'{page}: {what} {name} is not named')


def pictures():
    for path in sorted((ROOT / 'docs/pictures').glob('*.svg')):
        xml.etree.ElementTree.parse(path)
        if '@media (prefers-color-scheme: dark)' not in path.read_text():
            complaints.append(f'{path.relative_to(ROOT)}: white on dark screens')


def main():
    texts = {page.resolve(): page.read_text() for page in PAGES}
    for page in PAGES:
        length_of_lines(page, page.read_text())
        quotations(page, page.read_text())
    links(texts)
    index(texts)
    figures()
    pictures()
    named('the build option', re.findall(r"^option\('(\w+)'", (ROOT / 'meson_options.txt').read_text(), re.M), 'docs/building.md')
    tests = [p.name for p in (ROOT / 'tests').iterdir() if p.suffix in ('.c', '.py') and p.name != 'recorder.c']
    named('the test', sorted(tests), 'docs/testing.md')
    print('\n'.join(complaints) or f'{len(PAGES)} pages are in order')
    return bool(complaints)


if __name__ == '__main__':
    sys.exit(main())
