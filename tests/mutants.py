#!/usr/bin/env python3
"""Plants small bugs in src/ and tells which of them no test notices.

  tests/mutants.py                     100 bugs anywhere in src/
  tests/mutants.py --since REVISION    in the lines that differ from REVISION, all of them up to --count
  tests/mutants.py --files src/data/*.c --count 40 --seed 7
  tests/mutants.py --files src/report/*.c --tests report_test bench_test.py     only these: quicker, and a lower bound

A bug is one of these, in one line: another comparison, another operator, a bound moved by one, another constant, a
condition turned round or made always true or false, a statement left out. A copy of the tree is built with each of them
in turn (ccache helps), and the tests that execute the line run, the short ones first, until one fails; a leak is a
failure, too (LeakSanitizer). Which test executes which line a build with counters says, once; --map keeps that for the
next time. A bug that does not compile, or that makes the same object file as without it, is not counted. Ends with the share that was noticed, and writes the
survivors, each as a line to look at: a test is missing there, or the line is not needed, or the two are the same for
every input. What this CPU cannot run is left alone.

An hour for a hundred on two cores, so it is no part of CI. Exit status: 1 if less than --at-least were noticed."""
import argparse, hashlib, json, os, pathlib, random, re, shutil, subprocess, sys, tempfile, time

PATTERNS = [  # name, what it looks for, what it puts in its place
    ('comparison', r'(?<![<>=!+\-*/|&^])<(?![<=])', '<='), ('comparison', r'<=', '<'),
    ('comparison', r'(?<![->])>(?![>=])', '>='), ('comparison', r'(?<!>)>=', '>'),
    ('comparison', r'==', '!='), ('comparison', r'!=', '=='),
    ('operator', r'(?<=[\w\])]) \+ (?=[\w(])', ' - '), ('operator', r'(?<=[\w\])]) - (?=[\w(])', ' + '),
    ('operator', r'(?<=[\w\])]) / (?=[\w(])', ' * '), ('operator', r'(?<=[\w\])]) % (?=[\w(])', ' / '),
    ('operator', r'(?<=[\w\])]) \* (?=[\w(])', ' + '), ('operator', r'\+= ', '-= '), ('operator', r'-= ', '+= '),
    ('operator', r'&&', '||'), ('operator', r'\|\|', '&&'), ('operator', r'\+\+', '--'),
    ('constant', r'(?<![\w.\[])0(?![\w.])', '1'), ('constant', r'(?<![\w.\[])1(?![\w.])', '0'),
    ('constant', r'(?<![\w.])([2-9]|[1-9]\d+)(?![\w.])', lambda m: str(int(m[0]) + 1)),
    ('constant', r'\btrue\b', 'false'), ('constant', r'\bfalse\b', 'true'),
    ('bound', r'(?<=< )([a-z]\w*)(?=[;)])', r'\1 - 1'), ('bound', r'(?<== )0(?=; \w+ <)', '1'),
    ('condition', r'\bif \(', 'if (!'), ('condition', r'\bif \((?=.*\)\s*\S)', 'if (1 || '),
    ('condition', r'\bif \((?=.*\)\s*\S)', 'if (0 && '), ('condition', r'return !', 'return '),
]
STATEMENT = re.compile(r'^\s+(?!return|case|default|break|else|if|for|while|do|goto|static|const|struct|enum|union|typedef)'
                       r'[a-z_(*][^=;{}]*(?:[-+*/|&]?=[^=;{}][^;{}]*|\([^;{}]*\)|\+\+|--);\s*(?:/\*.*\*/)?$')


def negated(line, at):
    """`if (a || b)` turned round needs brackets around all of the condition: where it ends, in this line; None: not here."""
    depth = 0
    for i in range(at, len(line)):
        depth += {'(': 1, ')': -1}.get(line[i], 0)
        if depth == 0 and line[i] == ')':
            return i
    return None


def bare(line):
    """The line with strings, characters and comments blanked, the same length."""
    blank = lambda m: ' ' * len(m[0])
    return re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])+\'|/\*.*?(?:\*/|$)|//.*$', blank, line)


def bugs_of(line):
    code = bare(line)
    if code.lstrip().startswith(('#', '*')) or not code.strip():
        return
    for kind, pattern, new in PATTERNS:
        for m in re.finditer(pattern, code):
            if kind == 'constant' and re.search(r'\bchar \**\w+\[$', code[:m.start()]):  # a larger buffer is no bug
                continue
            put = m.expand(new) if isinstance(new, str) and '\\' in new else new(m) if callable(new) else new
            if kind == 'condition' and put.startswith('if'):
                end = negated(code, m.end() - 1)
                if end is None:
                    continue
                inside = line[m.end():end]
                put = put + '(' + inside + ')'
                yield kind, line[:m.start()] + put + line[end:]
            else:
                yield kind, line[:m.start()] + put + line[m.end():]
    if STATEMENT.match(code):
        yield 'statement', re.match(r'\s*', line)[0] + ';'


def changed_lines(revision):
    """{file: line numbers} that differ from the revision."""
    lines, file = {}, None
    for text in subprocess.run(['git', 'diff', '-U0', revision, '--', 'src'], capture_output=True, text=True,
                               check=True).stdout.splitlines():
        if text.startswith('+++ '):
            file = text[6:]
        m = re.match(r'@@ -\S+ \+(\d+)(?:,(\d+))? @@', text)
        if m:
            lines.setdefault(file, set()).update(range(int(m[1]), int(m[1]) + int(m[2] or 1)))
    return lines


def candidates(files, only):
    found = []
    for file in files:
        text = pathlib.Path(file).read_text().splitlines()
        inside = False  # of a comment of several lines
        for number, line in enumerate(text, 1):
            was = inside
            if '/*' in line and '*/' not in line[line.rindex('/*'):]:
                inside = True
            elif '*/' in line:
                inside = False
            if was or (only is not None and number not in only.get(file, ())):
                continue
            found += [(file, number, kind, new) for kind, new in bugs_of(line) if new != line]
    return found


def objects(build):
    """A digest of what was compiled from src/, to tell bugs that change nothing."""
    digest = hashlib.sha256()
    for path in sorted((build / 'src').rglob('*.o')):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def end_all(tree):
    """What a test that was ended left behind in sessions of its own, of programs under the tree."""
    for exe in pathlib.Path('/proc').glob('[0-9]*/exe'):
        try:
            if os.readlink(exe).startswith(str(tree)):
                os.kill(int(exe.parent.name), 9)
        except OSError:  # not ours, or over
            pass


def run(command, limit, **more):
    """True, False, or None for too long: the exit, with everything that it started ended."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **more) as p:
        try:
            return p.wait(limit) == 0
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, 9)
            return None


def tests_of(build):
    """The tests to run, by name, as meson describes them; lints look at sources and would notice too much."""
    described = subprocess.run(['meson', 'introspect', str(build), '--tests'], capture_output=True, text=True, check=True)
    return {t['name']: t for t in json.loads(described.stdout)
            if not any(s.endswith((':lint', ':bench')) for s in t['suite'])}


def executed_lines(build, prefix):
    """{file: its executable lines} and {file: those that one test executed}, from the counters it left under prefix."""
    known, hit = {}, {}
    inside = pathlib.Path(str(prefix) + str(build))
    for note in build.rglob('*.gcno'):  # gcov wants the two side by side
        if (inside / note.relative_to(build)).with_suffix('.gcda').exists():
            shutil.copy2(note, inside / note.relative_to(build))
    counters = [str(f) for f in inside.rglob('*.gcda') if f.with_suffix('.gcno').exists()]
    if not counters:
        return known, hit
    gcov = subprocess.run(['gcov', '--json-format', '--stdout', *counters], capture_output=True, text=True, check=True, cwd=build)
    for text in gcov.stdout.splitlines():
        if not text.startswith('{'):
            continue
        for file in json.loads(text)['files']:
            if 'src/' not in file['file'] or file['file'].startswith('/usr/'):
                continue
            name = file['file'][file['file'].index('src/'):]
            for line in file['lines']:
                known.setdefault(name, set()).add(line['line_number'])
                if line['count']:
                    hit.setdefault(name, set()).add(line['line_number'])
    return known, hit


def mapped(tree, root):
    """{'seconds': {test: s}, 'known': {file: lines}, 'hit': {file: {line: [tests]}}}"""
    build = root / 'counted'
    print('building with counters, to see which test executes what', flush=True)
    subprocess.run(['meson', 'setup', str(build), str(tree), '--buildtype=debug', '-Doptimization=1', '-Db_coverage=true',
                    '-Dc_args=-fprofile-update=atomic'], check=True, stdout=subprocess.DEVNULL)
    if not run(['ninja', '-C', str(build)], 3600):
        sys.exit('the build with counters failed')
    found = {'seconds': {}, 'known': {}, 'hit': {}}
    for name in tests_of(build):
        prefix, begin = root / 'counters', time.time()
        env = dict(os.environ, CVYI_TEST_STEPS='10', GCOV_PREFIX=str(prefix))
        if not run(['meson', 'test', '-C', str(build), '--no-rebuild', '-t', '6', '--suite', 'full', '--suite', 'quick', name], 1800, env=env):
            print(f'with counters, {name} fails', flush=True)
        found['seconds'][name] = time.time() - begin
        known, hit = executed_lines(build, prefix)
        for file, lines in known.items():
            found['known'][file] = sorted(lines.union(found['known'].get(file, ())))
        for file, lines in hit.items():
            for line in lines:
                found['hit'].setdefault(file, {}).setdefault(str(line), []).append(name)
        shutil.rmtree(prefix, ignore_errors=True)
        print(f'  {name}: {found["seconds"][name]:.0f} s', flush=True)
    shutil.rmtree(build)
    return found


def run_tests(build, limit, names):
    """The first of the named tests that fails is enough: False."""
    env = dict(os.environ, CVYI_TEST_STEPS='10')
    test = ['meson', 'test', '-C', str(build), '--no-rebuild', '--num-processes', '2', '-t', '2', '--maxfail', '1', *names]
    return not names or bool(run(test, limit, env=env))


def noticed(build, limit, tests, seconds):
    """By which tests, the short or the long ones; None: all pass."""
    long = [t for t in tests if seconds.get(t, 0) >= 5]
    for name, these in (('short', [t for t in tests if t not in long]), ('long', long)):
        if not run_tests(build, limit, these):
            return name
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--since', metavar='REVISION')
    parser.add_argument('--files', nargs='+', metavar='FILE')
    parser.add_argument('--tests', nargs='+', metavar='TEST')
    parser.add_argument('--count', type=int, default=100, metavar='N')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--at-least', type=float, default=85, metavar='PERCENT')
    parser.add_argument('--limit', type=float, default=600, metavar='SECONDS', help='for one run of the suite')
    parser.add_argument('--map', metavar='FILE', help='which test executes which line; made if it is not there')
    parser.add_argument('--list', action='store_true', help='only print the bugs that would be planted')
    args = parser.parse_args()
    os.chdir(pathlib.Path(__file__).resolve().parent.parent)
    tracked = subprocess.run(['git', 'ls-files'], capture_output=True, text=True, check=True).stdout.splitlines()
    files = args.files or [f for f in tracked if f.startswith('src/') and f.endswith(('.c', '.h'))]
    if not args.files and 'avx512f' not in pathlib.Path('/proc/cpuinfo').read_text():
        files.remove('src/backends/native/kernels/vec_avx512.h')  # nothing here executes it
    found = candidates(files, changed_lines(args.since) if args.since else None)
    random.Random(args.seed).shuffle(found)
    # One a line first, so that long lines do not take all.
    seen, first, rest = set(), [], []
    for bug in found:
        (rest if bug[:2] in seen else first).append(bug)
        seen.add(bug[:2])
    found = first + rest
    if args.list:
        for file, number, kind, new in found[:args.count]:
            print(f'{file}:{number}: {kind}: {new.strip()}')
        return 0
    root = pathlib.Path(tempfile.mkdtemp(prefix='convoy-mutants-'))
    tree, build = root / 'tree', root / 'build'
    for f in tracked:
        (tree / f).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(f, tree / f)
    lines_of = {'seconds': {}, 'known': {}, 'hit': {}}
    if args.map and os.path.exists(args.map):
        lines_of = json.loads(pathlib.Path(args.map).read_text())
    elif not args.tests:
        lines_of = mapped(tree, root)
        if args.map:
            pathlib.Path(args.map).write_text(json.dumps(lines_of))
    print(f'building a copy in {root}', flush=True)
    subprocess.run(['meson', 'setup', str(build), str(tree), '--buildtype=release', '-Dleaks=true'], check=True, stdout=subprocess.DEVNULL)
    compile_ = ['ninja', '-C', str(build)]
    if not run(compile_, 3600):
        sys.exit('the build without a bug failed')
    every = args.tests or list(tests_of(build))
    if not run_tests(build, args.limit, every):
        sys.exit('the suite does not pass without a bug')
    clean, planted, caught, survivors, begin = objects(build), 0, 0, [], time.time()
    for file, number, kind, new in found:
        if planted == args.count:
            break
        path = tree / file
        text = path.read_text()
        lines = text.splitlines(keepends=True)
        old = lines[number - 1].rstrip('\n')
        lines[number - 1] = new + '\n'
        path.write_text(''.join(lines))
        how = 'does not compile'
        if run(compile_, 600):
            tests = every
            if not args.tests and number in lines_of['known'].get(file, ()):  # what is no statement concerns all
                tests = [t for t in every if t in lines_of['hit'].get(file, {}).get(str(number), ())]
            how = 'same code' if objects(build) == clean else noticed(build, args.limit, tests, lines_of['seconds']) or 'SURVIVED'
        path.write_text(text)
        end_all(root)
        if how in ('does not compile', 'same code'):
            continue
        planted += 1
        caught += how != 'SURVIVED'
        print(f'{planted:4} {how:9} {file}:{number}: {kind}: {new.strip()}', flush=True)
        if how == 'SURVIVED':
            survivors.append(f'{file}:{number}: {kind}\n    - {old.strip()}\n    + {new.strip()}')
    shutil.rmtree(root)
    share = 100 * caught / planted if planted else 100
    print('\n'.join(['', *survivors]))
    print(f'\n{caught} of {planted} bugs noticed, {share:.0f} %, in {(time.time() - begin) / 60:.0f} minutes')
    return share < args.at_least


if __name__ == '__main__':
    sys.exit(main())
