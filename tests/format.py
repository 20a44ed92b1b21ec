#!/usr/bin/env python3
"""The C and C++ of the project is formatted as .clang-format says, and no line is longer than 100 columns.
Usage: format.py SOURCE_DIR [--fix]. Another version of clang-format than 14 writes some lines differently, so that
only 14 is asked; without it the lengths alone are checked."""
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(sys.argv[1])
FILES = sorted(f for d in ('src', 'include', 'bench', 'tests', 'examples') for e in ('c', 'h', 'cc')
               for f in (ROOT / d).rglob(f'*.{e}'))


def formatter():
    for name in ('clang-format-14', 'clang-format'):
        if shutil.which(name):
            version = subprocess.run([name, '--version'], capture_output=True, text=True, check=True).stdout
            if 'version 14.' in version:
                return name
    return None


def main():
    tool, wrong = formatter(), 0
    if tool and '--fix' in sys.argv:
        subprocess.run([tool, '-i', *FILES], check=True)
    for file in FILES:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if len(line) > 100:
                print(f'{file.relative_to(ROOT)}:{number}: {len(line)} columns, at most 100')
                wrong += 1
    if tool:
        r = subprocess.run([tool, '--dry-run', '-Werror', *FILES], capture_output=True, text=True)
        if r.returncode:
            names = sorted({line.split(':')[0] for line in r.stderr.splitlines() if ': error:' in line})
            print('not as .clang-format says (tests/format.py . --fix):', *names, sep='\n  ')
            wrong += len(names)
    assert FILES
    if wrong:
        return 1
    if not tool:
        print('left out: the format of the sources: clang-format 14 is not here (package clang-format of Debian 12)')
    return 0


if __name__ == '__main__':
    sys.exit(main())
