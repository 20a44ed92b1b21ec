#!/usr/bin/env python3
"""The table of `./bootstrap.sh coverage`: lines and branches executed, by directory and for the files that miss most.

  tests/coverage.py coverage.json [FILE…]    with files: the lines and branches of each that nothing executes

Reads gcovr's JSON, whose branches of calls that cannot fail are left out already. A source that is compiled several times (a
template of kernels) counts a line as executed if any of its objects executed it. The AVX-512 header is left out where the CPU
has no such instructions; assertions are compiled out."""
import collections, json, sys


def counted(file):
    """({line: executed}, {(line, number of its branch): taken})"""
    lines, branches = {}, {}
    for line in file['lines']:
        if line.get('gcovr/noncode') or line.get('gcovr/excluded'):
            continue
        number = line['line_number']
        lines[number] = lines.get(number, False) or line['count'] > 0
        for k, branch in enumerate(line['branches']):
            branches[number, k] = branches.get((number, k), False) or branch['count'] > 0
    return lines, branches


def share(done, all_):
    return f'{100 * done / all_:5.1f} %' if all_ else '      -'


def main():
    with open(sys.argv[1]) as f:
        files = {file['file']: counted(file) for file in json.load(f)['files']}
    with open('/proc/cpuinfo') as f:
        if 'avx512dq' not in f.read():
            files.pop('src/backends/native/kernels/vec_avx512.h', None)
            print('This CPU has no AVX-512: vec_avx512.h is not counted.')
    for name in sys.argv[2:]:
        lines, branches = files[name]
        print(f'{name}: lines', *sorted(n for n, hit in lines.items() if not hit))
        print(f'{name}: branches in lines', *sorted({n for (n, _), hit in branches.items() if not hit and lines[n]}))
    if sys.argv[2:]:
        return
    rows = collections.defaultdict(lambda: [0, 0, 0, 0])
    for name, (lines, branches) in files.items():
        add = sum(lines.values()), len(lines), sum(branches.values()), len(branches)
        for key in (name.rsplit('/', 1)[0], 'all'):
            rows[key] = [a + b for a, b in zip(rows[key], add)]
    print(f'{"":32}  lines       branches')
    for key in sorted(rows, key=lambda k: (k == 'all', k)):
        hit, n, taken, m = rows[key]
        print(f'{key:32}{share(hit, n)} of {n:5}  {share(taken, m)} of {m:5}')
    worst = sorted(files, key=lambda f: sum(not b for b in files[f][1].values()), reverse=True)[:12]
    print('most branches that nothing takes:')
    for name in worst:
        print(f'  {sum(not b for b in files[name][1].values()):4}  {name}')


if __name__ == '__main__':
    main()
