#!/usr/bin/env python3
"""Two analysers over src and bench, no finding left open: clang-tidy with .clang-tidy, and GCC's -fanalyzer.
Usage: analysis.py SOURCE_ROOT BUILD_ROOT [FILE...]. Reads the build's compile_commands.json; a file that is compiled for several
instruction sets is looked at once. Prints what they found; exit status 1 if that is anything. A minute or two on two cores."""
import concurrent.futures
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

source, build = map(os.path.abspath, sys.argv[1:3])
only = [os.path.abspath(f) for f in sys.argv[3:]]
TIDY = shutil.which('clang-tidy') or shutil.which('clang-tidy-14')
GCC = shutil.which('gcc')
# Not asked of GCC: leaks, which LeakSanitizer sees in every test, and what may be NULL or not set, which the sweeps of failing
# allocations and valgrind see: GCC 12 does not follow a status from the function that returned it to the pointer that it is about,
# and of its 44 findings of these kinds none that was read is so. What is left: double and late frees, files and descriptors
# lost, handlers of signals, setjmp, shifts, va_list, deallocators that do not match.
NOT_ASKED = ['malloc-leak', 'null-argument', 'null-dereference', 'possible-null-argument', 'possible-null-dereference',
             'use-of-uninitialized-value']

commands = {}
for entry in json.load(open(os.path.join(build, 'compile_commands.json'), encoding='utf-8')):
    file = os.path.normpath(os.path.join(entry['directory'], entry['file']))
    if re.match(re.escape(source) + r'/(src|bench)/.*\.c$', file) and file not in commands and (not only or file in only):
        commands[file] = entry
if not commands:
    sys.exit('analysis.py: no file of src or bench in compile_commands.json')


def tidy(file):
    r = subprocess.run([TIDY, '-p', build, '--quiet', file], capture_output=True, text=True)
    return [line for line in r.stdout.splitlines() if re.search(r': (error|warning): ', line)]


def analyse(file):
    words = shlex.split(commands[file]['command'])
    while not re.search(r'(^|/)(cc|gcc|clang)$', words[0]):  # ccache
        words.pop(0)
    keep = [w for w in words[1:] if re.match(r'-(I|D|std|f(openmp|no-math|no-trapping|fp-contract)|m|pthread)', w)]
    r = subprocess.run([GCC, *keep, '-O1', '-fanalyzer', *(f'-Wno-analyzer-{kind}' for kind in NOT_ASKED),
                        '-fdiagnostics-plain-output', '-c', file, '-o', os.devnull], capture_output=True, text=True, cwd=commands[file]['directory'])
    return [line for line in r.stderr.splitlines() if 'Wanalyzer' in line or ': error: ' in line]


work = [(f, file) for file in sorted(commands) for f in ([tidy] if TIDY else []) + ([analyse] if GCC else [])]
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    found = sorted({line for lines in pool.map(lambda w: w[0](w[1]), work) for line in lines})
print(*found, sep='\n', end='\n' if found else '')
for name, tool in (('clang-tidy', TIDY), ("GCC's -fanalyzer", GCC)):
    if not tool:
        print(f'left out: {name}: it is not installed')
print(f'analysis: {len(commands)} files, {len(found)} findings')
sys.exit(bool(found))
