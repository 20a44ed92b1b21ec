#!/usr/bin/env python3
"""Benchmarks from outside: every one runs for one iteration, its JSON has Google Benchmark's layout, the report opens in
a browser without script errors, mistakes get one sentence. Usage: bench_test.py SOURCE_DIR BUILD_DIR [NAME...]. Measures nothing.
The browser is Chromium; without it those checks are left out, unless CVY_TEST_BROWSER=required."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from outside import CONVOY, ENV, run_tests, unbalanced

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
SYNTHETIC = ['--data', 'synthetic:seed=1,train=600,test=100', '--epochs', '1']


def run(*args, code=0):
    r = subprocess.run([CONVOY, *map(str, args)], capture_output=True, text=True, env=ENV, timeout=900)
    assert r.returncode == code, (f'convoy {" ".join(map(str, args))}: expected exit {code}, found {r.returncode}\n'
                                  f'{r.stdout[-3000:]}{r.stderr[-3000:]}')
    return r


def fails(code, pattern, *args):
    r = run(*args, code=code)
    lines = [line for line in r.stderr.splitlines() if line.startswith('convoy')]
    assert len(lines) == 1 and re.search(pattern, lines[0]), \
        f'convoy {args}: expected one sentence /{pattern}/, found {r.stderr!r}'


def check_layout(root):
    """Google Benchmark's JSON: what its tools read. Returns the records that are runs."""
    context = root['context']
    for key, kind in {'date': str, 'host_name': str, 'executable': str, 'num_cpus': int, 'mhz_per_cpu': int,
                      'caches': list, 'load_avg': list, 'library_build_type': str}.items():
        assert isinstance(context[key], kind), f'context.{key}'
    for key in ('cpu', 'affinity', 'governor', 'compiler', 'flags', 'convoy', 'commit', 'isa', 'threads', 'peak_gflops_all',
                'core_round_trip_ns'):
        assert isinstance(context[key], str) and context[key], f'context.{key}'
    runs = []
    for run in root['benchmarks']:
        for key, kind in {'name': str, 'family_index': int, 'per_family_instance_index': int, 'run_name': str,
                          'run_type': str, 'repetitions': int, 'threads': int}.items():
            assert isinstance(run[key], kind), f'{run["name"]}: {key}'
        assert run['run_type'] in ('iteration', 'aggregate')
        assert not run.get('error_occurred'), f'{run["name"]}: {run.get("error_message")}'
        for key in ('real_time', 'cpu_time', 'iterations'):
            assert isinstance(run[key], (int, float)) and run[key] >= 0, f'{run["name"]}: {key}'
        assert run['time_unit'] in ('ns', 'us', 'ms', 's')
        if run['run_type'] == 'iteration':
            assert isinstance(run['repetition_index'], int)
            runs.append(run)
        else:
            assert isinstance(run['aggregate_name'], str) and run['aggregate_unit'] in ('time', 'percentage')
    return runs


def measured(*args):
    run('bench', *args, '--once', '--json', 'out.json')
    return check_layout(json.loads(pathlib.Path('out.json').read_text()))


def browse(page, *options):
    """The page's DOM after its scripts have run, and what they complained of."""
    with tempfile.TemporaryDirectory() as profile:
        r = subprocess.run([CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
                            '--no-first-run', f'--user-data-dir={profile}', '--enable-logging=stderr',
                            '--virtual-time-budget=2000', *options, '--dump-dom', pathlib.Path(page).resolve().as_uri()], capture_output=True, text=True, timeout=120)
    return r.stdout, [line for line in r.stderr.splitlines() if 'CONSOLE' in line]


# ------------------------------------------------------------------------------------------------------------- tests

def test_every_benchmark():
    runs = measured('peak', 'kernels', 'step', 'scaling', 'forum', '--batch', '16', *SYNTHETIC)
    for benchmark in ('peak', 'kernels', 'step', 'scaling', 'forum'):
        assert any(r['name'].startswith(benchmark + '/') for r in runs), benchmark
    step = next(r for r in runs if r['name'].startswith('step/'))
    assert step['% of peak'] > 0 and step['examples/s'] > 0 and step['peak GFLOP/s'] > 0, step
    # 1.517 MFLOP an example: three products of every layer, the first layer's data gradient left out.
    flop = step['GFLOP/s'] * 1e9 / step['examples/s']
    assert abs(flop - 1517040) < 1, flop
    assert any(k.startswith('phase 000 ') for k in step)
    assert any('/round trip/' in r['name'] for r in runs)
    for kernel in ('mac', 'wgrad', 'outer', 'bn_stats', 'act sigmoid', 'act_bwd relu_x', 'pool_max', 'ingest_u8',
                   'loss cross_entropy', 'loss hinge', 'step sgd', 'step adam', 'fold'):
        assert any(r['name'].startswith(f'kernels/{kernel}/') for r in runs), kernel


def test_phases():
    """Every phase has its floor, kinds share the same times and floors among them, and the table says the same."""
    out = run('bench', 'step', '--phases', '--once', '--models', 'resnet20', '--batch', '16', '--threads', '2', '--json', 'out.json').stdout
    [step] = check_layout(json.loads(pathlib.Path('out.json').read_text()))
    of = lambda head: {k[len(head):]: v for k, v in step.items() if k.startswith(head)}
    phases, floors, times, kinds = of('phase '), of('floor '), of('group time '), of('group floor ')
    assert phases.keys() == floors.keys() and times.keys() == kinds.keys() and len(phases) > 200, step
    near = lambda a, b: abs(a - b) < 1e-6 * b
    assert near(step['phases us'], sum(phases.values())) and near(step['phases us'], sum(times.values())), step
    assert near(step['phases floor us'], sum(floors.values())) and near(step['phases floor us'], sum(kinds.values())), step
    assert max(step['phases multiply us'], step['phases traffic us']) <= step['phases floor us'] * (1 + 1e-9), step
    # 16 x 40.55 M multiply-adds forward and twice that backward, but for the first layer's data gradient.
    flop = step['GFLOP/s'] * 16 / step['examples/s'] * 1e9
    assert 0.5 < step['phases multiply us'] / (flop / step['peak GFLOP/s'] * 2e-3) < 3, step  # updates count, the peak moves
    # Nine convolutions of one kind have equal floors, one with half the outputs of a stride of 2 has half.
    one, half = (next(v for k, v in floors.items() if k.endswith(name)) for name in (' layer1.0.conv1', ' layer2.0.conv1'))
    assert one > half > 0, floors
    for kind in ('conv2d 3x3', 'conv2d 3x3 stride 2', 'conv2d.dx 3x3', 'conv2d.dw 3x3', 'linear', 'linear.dw', 'update', 'loss', 'pool2d.dx'):
        assert any(kind in k.split(' + ') for k in kinds), (kind, kinds)
    rows = out.split('largest gap first')[1].split('\n\n')[0].splitlines()[1:]
    gaps = [float(row.split()[-2]) for row in rows]
    assert len(rows) == len(kinds) and gaps == sorted(gaps, reverse=True), rows
    assert all(len(line) <= 100 for line in out.splitlines()), out
    assert re.search(r'^all phases: [\d.]+ us; their floors: [\d.]+ us, [\d.]+ times; multiplications alone: [\d.]+ us$', out, re.M), out


def test_backward():
    """The two forms and the operator agree, each to its rounding."""
    runs = measured('backward', '--threads', '1')
    for place in ('100x500', '256x6x24x24', '256x16x8x8', '64x64x32x32'):
        for name, most in (('double/staged', 0), ('double/closed', 1e-12), ('float/staged', 1e-4), ('float/closed', 1e-4),
                           ('float/native threads:1', 1e-4)):
            [r] = [r for r in runs if r['name'].startswith(f'backward/{place}/{name}')]
            assert r['GB/s'] > 0 and r['max difference'] <= most, r


def test_conv_and_train():
    """Another benchmark's cases, with what they say where the command does not."""
    runs = measured('conv', '--shapes', 'cs231n', '--batch', '2', '--threads', '1')
    names = [r['name'].split('/') for r in runs]  # ops/cs231n/conv/batch:2/PASS/threads:1/WHO/...
    assert {n[4] for n in names} == {'forward', 'data', 'weights'} and all(n[2] == 'conv' for n in names), names
    assert {'native', 'reference'} <= {n[6] for n in names} and all(r['GFLOP/s'] > 0 for r in runs), names
    names = run('bench', 'train', '--list', '--threads', '1').stdout.split()
    models = run('info').stdout
    assert {'step/lenet-bn/batch:256/threads:1/native', 'step/yann-bn-before/batch:500/threads:1/native:scalar',
            'step/tfbook/batch:500/threads:1/native'} <= set(names), names
    assert all(n.split('/')[1] in models for n in names), models
    assert run('bench', 'train', '--list', '--models', 'lenet', '--backends', 'native', '-t', '1').stdout.split() == [
        'step/lenet/batch:256/threads:1/native']
    # What conv leaves out it leaves out of its own cases alone.
    listed = run('bench', 'backward', 'conv', '--shapes', 'cs231n', '--list').stdout
    alone = run('bench', 'backward', '--list').stdout.split()
    assert alone and set(alone) < set(listed.split()) and '/pool' not in listed, listed


def test_sizes():
    runs = measured('sizes', '--batch', '2', '--filter', 'on_[0-9]+_x|convolution_64_->|->_100')
    assert len(runs) > 50 and all(r['name'].startswith('sizes/') and r['GFLOP/s'] > 0 for r in runs)
    # Every walk ends with what is uneven in it, or with nothing; sizes that the filter leaves out are no neighbours.
    r = run('bench', 'sizes', '--filter', 'connected_100_->_(960|992|1024|1056|1088)/data', '--repetitions', '1', '--min-time', '0.001')
    assert len(re.findall(r'^fully_connected_', r.stdout, re.M)) == 5, r
    for line in re.findall(r'^uneven: .*', r.stdout, re.M):
        assert re.fullmatch(r'uneven: fully connected 100 -> N, data, native: \d+ takes [\d.]+ times as long an element as its '
                            r'neighbours', line), line


def test_every_shape_file():
    for shapes in ('lenet', 'resnet18', 'resnet20', 'vgg11', 'resnet50', 'mobilenet-v2', 'densenet121', 'cs231n', 'tfbook', 'yann'):
        some = ['--filter', 'conv|bn-.*@56|add|pool|fc'] if shapes in ('densenet121', 'mobilenet-v2') else []
        runs = measured('ops', '--shapes', shapes, '--batch', '2', *some)
        assert len(runs) > ({'cs231n': 4, 'tfbook': 22, 'yann': 18}.get(shapes, 20)) and all(r['GFLOP/s'] > 0 and r['GB/s'] > 0 for r in runs), shapes


def test_contestants():
    runs = measured('ops', 'step', '--backends', 'native,native:unfused,native:scalar,reference', '--prb',
                    '--conv mb16ic2ih8oc3kh3n"small"', '--batch', '16', '--pass', 'forward,data')
    names = {r['name'] for r in runs if r['name'].startswith('ops/')}
    for who in ('native', 'native:unfused', 'native:scalar', 'reference'):
        assert f'ops/prb/small/batch:16/forward/threads:2/{who}/process_time/real_time' in names, names
    assert not any('/weights/' in n for n in names)


def test_who_does_what_another_lacks():
    """onednn+native: what oneDNN has no dropout for runs; by itself it says so. Without the module both are refused by name."""
    pathlib.Path('drop.json').write_text(json.dumps({'name': 'drop', 'input': [1, 6, 6], 'layers': [
        {'type': 'conv2d', 'name': 'c', 'out_channels': 4, 'kernel': 3}, {'type': 'flatten'}, {'type': 'dropout', 'p': 0.2},
        {'type': 'linear', 'name': 'fc', 'out_features': 3}]}))
    step = ['bench', 'step', '--models', 'drop.json', '-b', '16', '-t', '1', '--once', '--backends']
    if 'onednn' not in run('info').stdout:
        fails(1, '--backends: .*onednn', *step, 'onednn+native')
    else:
        r = run(*step, 'onednn+native', '--json', 'both.json')
        [both] = [b for b in json.loads(pathlib.Path('both.json').read_text())['benchmarks'] if b['run_type'] == 'iteration']
        assert both['label'].startswith('onednn,native ') and not both.get('error_occurred'), r.stdout
        r = subprocess.run([CONVOY, *step, 'onednn'], capture_output=True, text=True, env=ENV, timeout=60)
        assert 'is not supported by onednn, and strict is set' in r.stdout + r.stderr, r.stdout + r.stderr
    fails(1, r"--backends: .*nobody", *step, 'native+nobody')


def test_problems_in_and_out():
    pathlib.Path('log').write_text('onednn_verbose,exec,cpu,convolution,jit:avx2,forward_training,src_f32::blocked:abcd:f0,,'
                                   'alg:convolution_direct,mb2_ic1oc6_ih28oh24kh5sh1dh0ph0_iw28ow24kw5sw1dw0pw0,0.4\n'
                                   'onednn_verbose,exec,cpu,reorder,jit:uni,undef,src_f32::blocked:abcd:f0,,,256x6x24x24,0.1\n')
    r = run('bench', 'ops', '--from-verbose', 'log', '--list')
    assert len(r.stdout.splitlines()) == 1 and '1 lines are of primitives' in r.stderr, r.stdout + r.stderr
    pathlib.Path('shapes.txt').write_text('--conv ic3ih8oc4kh3n"a" ic3ih8oc4kh1n"b"\n')
    r = run('bench', 'ops', '--shapes', 'shapes.txt', '--list', '--filter', '-data')
    assert [line.split('/')[2] for line in r.stdout.splitlines()] == ['a', 'a', 'b', 'b'], r.stdout


def test_mistakes():
    fails(1, r"no case's name matches 'nothing'", 'bench', 'step', '--filter', 'nothing')
    fails(1, r"is not a regular expression", 'bench', 'step', '--filter', '(')
    fails(1, r"no benchmark 'stepp'.*did you mean step", 'bench', 'stepp')
    for option in ('--json', '-o', '--csv', '--html'):
        fails(3, "missing/x: cannot write: there is no directory 'missing'", 'bench', '--once', option, 'missing/x')
    reader, writer = os.pipe() # `| head`: no word about it, and nobody measures for nobody
    os.close(reader)
    r = subprocess.run([CONVOY, 'bench', 'peak'], stdout=writer, stderr=subprocess.PIPE, text=True, env=ENV, timeout=60)
    os.close(writer)
    assert r.returncode and r.stderr == '', r
    text = run('help', 'bench').stdout
    assert max(map(len, text.splitlines())) < 80 and '\nExamples:\n  convoy bench' in text, text
    fails(1, r"unknown option --reps", 'bench', '--reps=3')
    fails(1, r"--backends: .*nobody", 'bench', 'step', '--backends', 'nobody')
    fails(1, r"'native:sse'.*found 'sse'", 'bench', 'step', '--backends', 'native:sse')
    fails(1, r"--isa: expected scalar, avx2 or avx512, found 'sse'", 'bench', 'peak', '--isa', 'sse')
    fails(1, r"--threads: expected an integer", 'bench', 'step', '--threads', '1,x')
    fails(1, r"--prb: line 1, column 6: expected a number behind 'ic', found 'ih8oc4kh1'", 'bench', 'ops',
          '--prb', 'mb2icih8oc4kh1')
    fails(1, r"no shape file 'lanet'.*; did you mean lenet", 'bench', 'ops', '--shapes', 'lanet')
    fails(3, r"\./none: cannot read: No such file", 'bench', 'ops', '--shapes', './none')
    pathlib.Path('bad').write_text('--conv ic3ih8oc4kh1\n--conv ic3ih8\n')
    fails(2, r"\./bad: line 2, column 8: expected oc", 'bench', 'ops', '--shapes', './bad')
    fails(2, r"bad: holds no problem that can be run", 'bench', 'ops', '--from-verbose', 'bad')
    fails(2, r"unknown model 'lenett'|there is no.*lenett|lenett", 'bench', 'step', '--models', 'lenett')
    fails(1, r"--results needs --html", 'bench', '--results', 'bad')
    fails(2, r"bad: line 1, column 1: this is not JSON", 'bench', '--results', 'bad', '--html', 'x.html')
    fails(3, r"/nonexistent/x.json: cannot write", 'bench', 'peak', '--once', '--json', '/nonexistent/x.json')
    fails(3, r"/nonexistent/x.html: cannot write", 'bench', 'peak', '--once', '--html', '/nonexistent/x.html')
    fails(3, r"/: cannot write: Is a directory", 'bench', 'peak', '--once', '--html', '/')
    assert not pathlib.Path('x.html').exists()


def result(name, times):
    runs = [{'name': name, 'run_name': name, 'run_type': 'iteration', 'real_time': t, 'cpu_time': t, 'time_unit': 'ms'}
            for t in times]
    return json.dumps({'context': {'cpu': 'x'}, 'benchmarks': runs})


def test_comparing():
    pathlib.Path('old.json').write_text(result('a', [10, 11, 10.5, 10.2, 10.8]))
    pathlib.Path('new.json').write_text(result('a', [20, 21, 20.5, 20.2, 20.8]))
    pathlib.Path('else.json').write_text(result('b', [1]))
    r = run('compare', 'old.json', 'new.json')
    assert r.stdout.startswith('slower: 1.953 times as long (95 % interval '), r.stdout
    assert re.search(r'^a +10\.5 ms +20\.5 ms +1\.953 +1\.\d+ - +2\.\d+  slower$', r.stdout, re.M), r.stdout
    run('compare', 'old.json,old.json,old.json', 'new.json,old.json,new.json')
    run('compare', 'old.json', 'old.json', '--fail-if', 'slowdown>5%')
    run('compare', 'new.json', 'old.json', '--fail-if', 'slowdown>5%')
    fails(6, r'1 of 1 benchmarks meet the condition', 'compare', 'old.json', 'new.json', '--fail-if', 'slowdown>5%',
          '--json', 'diff.json')
    assert abs(json.loads(pathlib.Path('diff.json').read_text())['differences'][0]['ratio'] - 1.9532) < 1e-3
    fails(2, r'no benchmark in common', 'compare', 'old.json', 'else.json')
    fails(3, r'none\.json: cannot read: No such file', 'compare', 'old.json', 'none.json')
    pathlib.Path('text.json').write_text('hello')
    fails(2, r'text\.json: line 1, column 5: this is not JSON', 'compare', 'old.json', 'text.json')
    fails(1, r"--fail-if: expected a condition like", 'compare', 'old.json', 'new.json', '--fail-if', 'slower')


def test_report():
    run('bench', 'peak', 'step', 'scaling', 'ops', '--batch', '16,32', '--backends', 'native,native:unfused',
        '--once', '--json', 'a.json', '--html', 'a.html')
    pathlib.Path('b.json').write_text(result('step/lenet-bn/batch:16/threads:2/</script><b onclick="x">rival\'s', [3, 4]))
    run('bench', '--results', 'a.json', '--results', 'b.json', '--html', 'report.html')
    for page in ('a.html', 'report.html'):
        text = pathlib.Path(page).read_text()
        assert not re.search(r'https?:|src=|@import|url\(', text), f'{page}: loads something'
        assert not unbalanced(text), f'{page}: {unbalanced(text)} is not closed where it should be'
    if not CHROMIUM:
        assert os.environ.get('CVY_TEST_BROWSER') != 'required', 'Chromium was not found'
        print('   (no Chromium: the report was not opened)')
        return
    pathlib.Path('broken.html').write_text('<!doctype html><script>nonsense()</script>')
    assert browse('broken.html')[1], 'a script error was not noticed: this test would find nothing'
    for options in ((), ('--window-size=390,844',), ('--blink-settings=preferredColorScheme=0',)):
        dom, complaints = browse('report.html', *options)
        assert not complaints, complaints
        for part in ('Training steps', 'Scaling', "Where a step's time goes", 'Roofline', 'Operators', 'The machine'):
            assert f'<h2>{part}</h2>' in dom, part
        assert dom.count('<svg') >= 4 and '<line ' in dom and '<circle ' in dom and dom.rstrip().endswith('</html>')
        assert '<b onclick' not in dom
    # So does the page of `convoy compare --backends`, with the same script.
    run('compare', 'lenet-bn', '--backends', 'native,reference', '--batch', '16', '--check-batch', '4', '--steps', '3', '--html', 'contest.html')
    for options in ((), ('--window-size=390,844',)):
        dom, complaints = browse('contest.html', *options)
        assert not complaints and '<h2>Verdict</h2>' in dom and dom.rstrip().endswith('</html>'), complaints
    # The script works: a click sorts the table and changes the theme.
    probe = ("<script>document.getElementById('theme').click();"
             "var t=document.querySelector('table.sortable');t.querySelectorAll('th')[2].click();"
             "var v=[].map.call(t.tBodies[0].rows,function(r){return Number(r.cells[2].dataset.v)});"
             "document.title='sorted='+v.every(function(x,i){return !i||v[i-1]>=x})"
             "+' theme='+document.documentElement.dataset.theme;</script>")
    pathlib.Path('probe.html').write_text(pathlib.Path('report.html').read_text().replace('</body>', probe + '</body>'))
    dom, complaints = browse('probe.html')
    assert not complaints and re.search(r'<title>sorted=true theme=(dark|light)</title>', dom), (complaints, dom[:300])


if __name__ == '__main__':
    sys.exit(run_tests(globals(), 'bench'))
