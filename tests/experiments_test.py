#!/usr/bin/env python3
"""Experiments from outside: tables, files, what is said at the end, resuming, failures of runs.
Usage: experiments_test.py SOURCE_DIR BUILD_DIR [NAME...]. Standard library only. Data are synthetic and small."""
import csv
import html
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from outside import CONVOY, ENV, run_tests, unbalanced

CIFAR = ['--data', 'synthetic:seed=3,train=1200,test=100']  # cs231n's experiments want 1 000 images
DATA = ['--data', 'synthetic:seed=3,train=600,test=100']
LR = ['sweep', 'lr', 'lenet', 'lenet-bn', *DATA, '--epochs', '2', '--values', '0.5,1e9']


def run(*args, code=0, **kw):
    r = subprocess.run([CONVOY, *map(str, args)], capture_output=True, text=True, env=ENV, timeout=180, **kw)
    assert r.returncode == code, f'convoy {" ".join(map(str, args))}: expected exit {code}, found {r.returncode}\n{r.stdout}{r.stderr}'
    return r


def fails(code, pattern, *args):
    """One matching sentence on stderr, nothing on stdout, nothing new on disk."""
    before = sorted(os.listdir('.'))
    r = run(*args, code=code)
    assert re.search(pattern, r.stderr), f'convoy {args}: expected /{pattern}/, found {r.stderr!r}'
    assert r.stdout == '' and before == sorted(os.listdir('.')), (r.stdout, os.listdir('.'))


def weights(path):
    """All bytes of a checkpoint's tensors: behind the header, which has times."""
    raw = pathlib.Path(path, 'checkpoint.safetensors').read_bytes()
    return raw[8 + int.from_bytes(raw[:8], 'little'):]


def check_files(out, rows, columns):
    """experiment.json and .csv are whole and say the same; the runs are there. The JSON."""
    found = json.loads(pathlib.Path(out, 'experiment.json').read_text())
    with open(pathlib.Path(out, 'experiment.csv'), newline='') as f:
        table = list(csv.DictReader(f))
    assert len(found['rows']) == len(table) == rows, (len(found['rows']), len(table), rows)
    for row, line in zip(found['rows'], table):
        assert row['finished'] and pathlib.Path(out, row['run'], 'checkpoint.safetensors').exists()
        assert line['group'] == row['group'] and line['value'] == row['value'] and line['run'] == row['run']
        for key in columns:
            assert (row[key] is None) == (line[key] == ''), (key, row, line)
            assert row[key] is None or float(line[key]) == row[key], (key, row, line)
    return found


def check_pictures(out, names):
    """Each is an image; the page has all of them and ends."""
    for name in names:
        assert unbalanced(pathlib.Path(out, name + '.svg').read_text()) is None, name
        png = pathlib.Path(out, name + '.png')
        assert not png.exists() or png.read_bytes().startswith(b'\x89PNG\r\n'), name
    page = pathlib.Path(out, 'experiment.html').read_text()
    assert unbalanced(page) is None and page.count('<svg') >= len(names), (unbalanced(page), page.count('<svg'))
    assert sorted(p.stem for p in pathlib.Path(out).glob('*.svg')) == sorted(names), list(pathlib.Path(out).glob('*.svg'))


def measured(out, row):
    """The lines of a run's metrics.jsonl."""
    return [json.loads(line) for line in pathlib.Path(out, row['run'], 'metrics.jsonl').read_text().splitlines()]


def check_numbers(out, values, least):
    """What runs measured is what the page's curves are drawn from."""
    page = pathlib.Path(out, 'experiment.html').read_text()
    assert len(values) >= least, len(values)
    for value in values:
        assert f'<td data-v="{value:.9g}">' in page, value


# ------------------------------------------------------------------------------------------------------- the tests

def test_help():
    for command, names in (('sweep', ['lr', 'init']), ('ablate', ['placement', 'bias', 'affine', 'lite', 'dropout', 'batch'])):
        text = run(command, '--help').stdout
        assert f'Usage: convoy {command}' in text and '--quick' in text
        for name in names:
            assert name in text, (command, name)
        fails(1, 'expected one of ' + ', '.join(names), command)


def test_wrong_use():
    fails(1, r"expected one of lr, init, found 'lrs'; did you mean lr\?", 'sweep', 'lrs')
    fails(1, 'ablate bias has no --values', 'ablate', 'bias', '--values', '1')
    fails(1, 'ablate bias takes no model', 'ablate', 'bias', 'lenet')
    fails(1, r'--values: expected a number from', 'sweep', 'lr', '--values', '0.1,x')
    fails(1, r'--values: 1 is there twice', 'sweep', 'lr', '--values', '1,0.1,1')
    fails(1, r'--values: expected whole numbers', 'ablate', 'batch', '--values', '2.5')
    fails(2, "unknown model 'lenett'|lenett", 'sweep', 'lr', 'lenett', *DATA)
    fails(2, 'nowhere', 'sweep', 'lr', '--data', 'nowhere', '-o', 'x')
    pathlib.Path('file').write_text('')
    fails(3, 'file', *LR, '--out', 'file/x')


def test_sweep():
    r = run(*LR, '--out', 'x')
    lines = r.stdout.splitlines()
    assert lines[0].split() == ['lr', 'model', 'loss', 'train', 'acc', 'test', 'acc'], lines[0]
    assert re.match(r'0\.5 +lenet +\d\.\d{3} +0\.\d{3} +0\.\d{3}', lines[1]), lines[1]
    assert re.match(r' +lenet-bn +\d\.\d{3} +0\.\d{3} +0\.\d{3}$', lines[2]), lines[2]
    assert re.match(r'1e\+09 +lenet .*(not finite in epoch 1|learns nothing)$', lines[3]), lines[3]
    assert 'lenet-bn trains up to a rate of ' in ' '.join(lines) and lines[-1] == 'experiment: x', lines
    assert all(len(line) < 80 for line in lines), lines
    found = check_files('x', 4, ['train_loss', 'train_acc', 'test_acc', 'parameters'])
    assert found['found'] in ' '.join(lines) and found['rows'][2]['fails'] and not found['rows'][1]['fails']
    assert [row['x'] for row in found['rows']] == [0.5, 0.5, 1e9, 1e9]
    check_pictures('x', ['train_loss', 'train_acc', 'test_acc'])
    last = json.loads(pathlib.Path('x/lenet-bn-0.5-s1/metrics.jsonl').read_text().splitlines()[-1])
    assert abs(last['train_loss'] - found['rows'][1]['train_loss']) < 1e-6, (last, found['rows'][1])
    # all is over: the same again, and nothing is trained
    before = {p: p.stat().st_mtime_ns for p in pathlib.Path('x').glob('*/*')}
    assert run(*LR, '--out', 'x').stdout == r.stdout
    assert before == {p: p.stat().st_mtime_ns for p in pathlib.Path('x').glob('*/*')}
    # an experiment that grows trains what is new
    more = run(*LR, '--out', 'x', '--seeds', 2).stdout
    assert ' ± ' in more and len(json.loads(pathlib.Path('x/experiment.json').read_text())['rows']) == 8
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    # the pictures' curves are those of `convoy plot`, losses like 1e9's left out
    for key in ('train_loss', 'test_acc'):
        run('plot', 'x', '-y', key, '-o', 'again.svg', code=0)
        own, again = ('\n'.join(line for line in pathlib.Path(file).read_text().splitlines() if not re.match('<(text|title)', line))
                      for file in (f'x/{key}.svg', 'again.svg'))
        number = r'-?\d+\.\d+'  # a tenth of a pixel is what nine digits in experiment.json may move
        assert re.sub(number, '', own) == re.sub(number, '', again), f'{own}\n{again}'
        pairs = list(zip(re.findall(number, own), re.findall(number, again)))
        assert len(pairs) > 20 and all(abs(float(a) - float(b)) < 0.11 for a, b in pairs), pairs
    chance = found['rows'][0]['chance']
    assert abs(chance - math.log(10)) < 1e-6 and 'medians of 2 seeds' in pathlib.Path('x/train_loss.svg').read_text(), chance
    # another one does not
    fails(1, r'run with other settings \(its model\)', *LR, '--epochs', 3, '--out', 'x')
    fails(1, r'run with other settings \(its data\)', *LR, '--data', 'synthetic:seed=4,train=600,test=100', '--out', 'x')


def test_names_of_runs():
    """Each value has a directory of its own, also where only a sign tells two apart."""
    run('sweep', 'lr', 'lenet', *DATA, '--epochs', 1, '--values', '1e9,1e-9', '--out', 'x')
    found = check_files('x', 2, ['train_loss'])
    assert [row['run'] for row in found['rows']] == ['lenet-1e+09-s1', 'lenet-1e-09-s1'], found['rows']


def test_interrupted():
    command = ['sweep', 'lr', 'lenet', '--data', 'synthetic:train=2000,test=50', '--epochs', '12', '--values', '0.1,0.2,0.3']
    run(*command, '--out', 'whole')
    for jobs, number in ((1, signal.SIGINT), (2, signal.SIGTERM)):
        out = f'part{jobs}'
        p = subprocess.Popen([CONVOY, *command, '--out', out, '--jobs', str(jobs)], env=ENV, text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        end = time.monotonic() + 60
        metrics = pathlib.Path(out, 'lenet-0.1-s1/metrics.jsonl')
        while not (metrics.exists() and '"epoch"' in metrics.read_text()) and time.monotonic() < end:
            time.sleep(0.002)
        p.send_signal(number)
        _, err = p.communicate(timeout=60)
        assert p.returncode == 128 + number, (p.returncode, err)
        assert re.search(rf'interrupted: [012] of 3 runs are over; the same command with --out={out} goes on', err), err
        assert not pathlib.Path(out, 'lenet-0.1-s1/lock').exists(), 'a run goes on'
        run(*command, '--out', out)
        for value in ('0.1', '0.2', '0.3'):
            assert weights(f'{out}/lenet-{value}-s1') == weights(f'whole/lenet-{value}-s1'), value
        a, b = (json.loads(pathlib.Path(o, 'experiment.json').read_text()) for o in (out, 'whole'))
        for row in a['rows'] + b['rows']:
            row.pop('step_seconds')
        assert a == b


def test_killed():
    """Whoever kills the parent has no runs left behind."""
    p = subprocess.Popen([CONVOY, 'sweep', 'lr', 'lenet', '--data', 'synthetic:train=2000,test=50', '--epochs', '500', '--values',
                          '0.1', '--out', 'x'], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lock = pathlib.Path('x/lenet-0.1-s1/lock')
    end = time.monotonic() + 60
    while not pathlib.Path('x/lenet-0.1-s1/metrics.jsonl').exists() and time.monotonic() < end:
        time.sleep(0.002)
    p.kill()
    p.communicate()
    while lock.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not lock.exists(), 'the run trains on'


def test_run_that_fails():
    os.makedirs('x/lenet-0.2-s1')
    pathlib.Path('x/lenet-0.2-s1/checkpoint.safetensors').write_text('no checkpoint')
    command = ['sweep', 'lr', 'lenet', *DATA, '--epochs', '1', '--values', '0.1,0.2,0.3', '--out', 'x']
    r = run(*command, code=1)
    assert re.search(r'x/lenet-0.2-s1: .*holds a run already', r.stderr) and '3 of 3 runs are over' in r.stderr, r.stderr
    assert re.search(r'^0.2 .*not run$', r.stdout, re.M) and re.search(r'^0.3 +lenet +\d', r.stdout, re.M), r.stdout
    os.remove('x/lenet-0.2-s1/checkpoint.safetensors')
    assert 'not run' not in run(*command).stdout
    check_files('x', 3, ['train_loss'])


def test_bias():
    r = run('ablate', 'bias', *DATA, '--epochs', 1, '--out', 'x')
    rows = check_files('x', 3, ['train_loss'])['rows']
    assert [row['parameters'] for row in rows] == [44878, 44878, 44652]
    assert abs(rows[0]['train_loss'] - rows[1]['train_loss']) < 1e-4, rows
    assert '226 parameters fewer' in ' '.join(r.stdout.split())


def test_affine():
    run('ablate', 'affine', *DATA, '--epochs', 1, '--out', 'x')
    rows = check_files('x', 5, ['train_loss'])['rows']
    assert [row['parameters'] for row in rows] == [44878, 44652, 44652, 44426, 44878]
    assert len({row['train_loss'] for row in rows}) == 5
    check_pictures('x', ['curves'])


def test_lite():
    said = ' '.join(run('ablate', 'lite', *DATA, '--epochs', 1, '--out', 'x').stdout.split())
    rows = check_files('x', 4, ['train_loss'])['rows']
    assert len({row['train_loss'] for row in rows}) == 4
    for row, what in zip(rows[1:3], ('mean', 'variance')):
        fails = not row['train_loss'] < math.log(10)
        assert re.search(f'the {what} alone gains ' + ('nothing, and learns nothing' if fails else r'-?[0-9]+ % \(0'), said), said
    assert [row['parameters'] for row in rows] == [44878, 44878, 44878, 44426]
    # a second seed: medians in bands, and what is left out is told
    run('ablate', 'lite', *DATA, '--epochs', 2, '--seeds', 2, '--out', 'y')
    rows = check_files('y', 8, ['train_loss'])['rows']
    first = [measured('y', row) for row in rows[:2]]
    said = [[line['test_acc'] for line in lines if line['type'] == 'epoch'] for lines in first]
    check_numbers('y', [(a + b) / 2 for a, b in zip(*said)], 2)
    picture = pathlib.Path('y/curves.svg').read_text()
    assert picture.count('<polygon') >= 4 and 'medians of 2 seeds, bands from the least to the largest' in picture
    losses = [line['train_loss'] for row in rows for line in measured('y', row) if line['type'] == 'epoch']
    assert (max(losses) > 1.5 * math.log(10)) == ('losses above 3.45 are left out' in picture), max(losses)


def test_placement():
    run('ablate', 'placement', *DATA, '--epochs', 1, '--out', 'x')
    rows = check_files('x', 21, ['train_loss'])['rows']
    assert len({row['train_loss'] for row in rows}) == 21
    check_pictures('x', ['curves-1', 'curves-2', 'curves-3', 'curves-4'])
    said = [line[key] for row in rows for line in measured('x', row) if line['type'] == 'epoch' for key in ('train_loss', 'test_acc')]
    check_numbers('x', [value for value in said if value < 3], 21)  # a larger loss would hide all others
    order = json.loads(pathlib.Path('x/lenet-bn-activation-pool-norm-s1/model.json').read_text())['layers']
    assert [layer['type'] for layer in order[:4]] == ['conv2d', 'sigmoid', 'pool2d', 'batch_norm']
    some = json.loads(pathlib.Path('x/lenet-bn-1-3-s1/model.json').read_text())['layers']
    assert [layer['name'] for layer in some if layer['type'] == 'batch_norm'] == ['bn1', 'bn3']


def test_dropout():
    run('ablate', 'dropout', *CIFAR, '--epochs', 1, '--out', 'x')
    rows = check_files('x', 7, ['train_loss', 'variance_shift'])['rows']
    assert [row['variance_shift'] is not None for row in rows] == [False, False, True, True, True, False, False], rows
    # dropout adds variance in training, a quarter of the square at p = 1/2, which inference does not have
    assert rows[4]['variance_shift'] < 0.95 * rows[3]['variance_shift'], rows
    layers = json.loads(pathlib.Path('x/lenet-bn-activation-dropout-norm-s1/model.json').read_text())['layers']
    at = [layer['type'] for layer in layers].index('linear')
    assert [layer['type'] for layer in layers[at:at + 4]] == ['linear', 'sigmoid', 'dropout', 'batch_norm']


def test_batch():
    run('ablate', 'batch', *CIFAR, '--epochs', 2, '--values', '4,12', '--out', 'x')
    rows = check_files('x', 8, ['train_loss', 'best_train_acc', 'best_valid_acc'])['rows']
    assert {row['group'] for row in rows} == {'none', 'batch norm', 'layer norm', 'group norm'}


def test_init():
    run('sweep', 'init', *CIFAR, '--epochs', 2, '--values', '0.001,0.1', '--out', 'x')
    rows = check_files('x', 4, ['best_train_acc', 'best_valid_acc', 'last_100_losses'])['rows']
    fails(1, '--train-images: expected at most the 588 there are, found 1000', 'sweep', 'init', *DATA, '--out', 'y')
    model = json.loads(pathlib.Path('x', rows[0]['run'], 'model.json').read_text())
    assert model['defaults']['init']['weights_value'] == 0.001
    assert sum(layer['type'] == 'linear' for layer in model['layers']) == 8


def test_saturate():
    fails(1, 'saturate takes no model', 'saturate', 'lenet')
    fails(1, 'saturate has no --values', 'saturate', '--values', '1')
    r = run('saturate', *DATA, '--epochs', 2, '--quick', '--out', 'x')
    rows = check_files('x', 6, ['train_loss', 'p15', 'p50', 'p85', 'p50_moved'])['rows']
    for row in rows:
        assert row['p15'] <= row['p50'] <= row['p85'] and row['p50_moved'] >= 0, row
    assert 'moves over' in ' '.join(r.stdout.split())
    check_pictures('x', [f'{name}-{k}' for name in ('accuracy', 'percentiles') for k in (1, 2, 3)])
    said = [line['probe'][key] for row in rows for line in measured('x', row) if 'probe' in line for key in ('p15', 'p50', 'p85')]
    check_numbers('x', said, 6 * 3)
    # two nets are compared: one range of what the unit is given, by its name
    picture = pathlib.Path('x/percentiles-1.svg').read_text()
    texts = re.findall(r'<text [^>]* x="([\d.]+)"[^>]*text-anchor="(\w+)"[^>]*>([^<]*)', html.unescape(picture).replace('\n', ' '))
    numbers = [[text for x, anchor, text in texts if anchor == 'end' and re.match(r'[−\d]', text) and (float(x) > 550) == right]
               for right in (False, True)]
    assert numbers[0] == numbers[1] and len(numbers[0]) > 2, numbers
    words = [text for _, _, text in texts]
    assert {'15th percentile', 'median', '85th percentile', "batch norm: the unit's input", "none: the unit's input"} <= set(words), words


def test_norm():
    fails(1, 'expected one of bn, ln, gn, in', 'norm')
    fails(1, r"expected one of bn, .*, found 'batch_norm'; did you mean bn\?", 'norm', 'batch_norm')
    fails(1, '--set: expected KEY=VALUE', 'norm', 'bn', '--set', 'eps')
    fails(2, 'eps', 'norm', 'bn', *DATA, '--set', 'eps=-1')
    fails(2, '"epsilon"|epsilon', 'norm', 'bn', *DATA, '--set', 'epsilon=1')
    fails(1, '--batch: expected at most 600', 'norm', 'bn', *DATA, '--batch', '601')
    found = {}
    for kind in ('bn', 'ln', 'gn', 'in', 'dbn', 'iternorm', 'pit'):
        r = run('norm', kind, *DATA, '--batch', 100, '--channels', 8, '--json', f'{kind}.json')
        found[kind] = json.loads(pathlib.Path(f'{kind}.json').read_text())
        assert found[kind]['found'] in ' '.join(r.stdout.split()) and all(len(line) < 80 for line in r.stdout.splitlines())
        assert found[kind]['before'] == found['bn']['before']
    bn, ln, gn, inn = (found[kind]['behind'] for kind in ('bn', 'ln', 'gn', 'in'))
    assert bn['channel_mean_largest'] < 1e-5 and 0.99 < bn['channel_variance_least'] <= bn['channel_variance_most'] < 1.001
    assert ln['image_mean_largest'] < 1e-5 and 0.99 < ln['image_variance_least'] and ln['channel_mean_largest'] > 0.01
    assert gn['image_mean_largest'] < 1e-5 and inn['image_mean_largest'] < 1e-5 and inn['channel_mean_largest'] < 1e-5
    pit, dbn = found['pit']['behind'], found['dbn']['behind']
    assert pit['ks_uniform'] < bn['ks_uniform'] and 0 < pit['channel_variance_least'] < 0.25, pit
    assert dbn['correlation_largest'] < 0.3 * bn['correlation_largest'] and dbn['covariance_from_identity'] < 0.5, dbn
    # pit's forms: ranks are uniform but for equal ones, their normal scores are normal, and neither is the other
    forms = {}
    for words in ((), ('form=empirical',), ('normal=true',), ('form=empirical', 'normal=true', 'quantiles=16')):
        run('norm', 'pit', *DATA, '--batch', 100, '--channels', 8, *(w for word in words for w in ('--set', word)), '--json', 'pit.json')
        forms[words] = json.loads(pathlib.Path('pit.json').read_text())['behind']
    by_phi, by_rank, scores, rank_scores = forms.values()
    assert by_phi == pit and by_rank['ks_uniform'] < 1e-3 < by_phi['ks_uniform'] and by_rank['ks_normal'] > 0.4, forms
    assert abs(by_rank['channel_variance_most'] - 1 / 12) < 1e-4, by_rank
    assert rank_scores['ks_normal'] < 1e-3 < scores['ks_normal'] and rank_scores['channel_variance_least'] > 0.999, forms
    fails(2, '"form": expected one of "parametric" "empirical", found "exact"', 'norm', 'pit', *DATA, '--set', 'form=exact')
    fails(2, '"quantiles": expected an integer from 2', 'norm', 'pit', *DATA, '--set', 'form=empirical', '--set', 'quantiles=1')
    # an affine map of the same channel changes no correlation
    before = found['bn']['before']
    assert abs(bn['correlation_largest'] - before['correlation_largest']) < 1e-3
    # with an eps far above every variance: nearly nothing is left
    run('norm', 'bn', *DATA, '--batch', 100, '--set', 'eps=1e6', '--json', 'eps.json')
    assert json.loads(pathlib.Path('eps.json').read_text())['behind']['channel_variance_most'] < 1e-3


def test_probe():
    """train --probe: percentiles at each evaluation, the same after a stop; of a unit, a channel, a layer."""
    small = [*DATA, '--batch', '50', '--seed', '4']
    fails(1, r"--probe: lenet-bn has no layer 'bn9'; did you mean bn\d", 'train', *small, '--probe', 'bn9', '-o', 'x')
    fails(1, r"--probe: expected a unit of bn3 from 0 to 119, found '120'", 'train', *small, '--probe', 'bn3:120', '-o', 'x')
    fails(1, r"found '1x'", 'train', *small, '--probe', 'bn3:1x', '-o', 'x')

    def probes(out):
        lines = [json.loads(line) for line in pathlib.Path(out, 'metrics.jsonl').read_text().splitlines()]
        assert all(('test_acc' in line) == ('probe' in line) for line in lines), lines
        return [line['probe'] for line in lines if 'probe' in line]
    run('train', *small, '--probe', 'bn3:7', '--epochs', 3, '--eval-steps', 5, '-o', 'whole')
    whole = probes('whole')
    assert len(whole) == 3 * 12 // 5 + 1 + 3, len(whole)
    for p in whole:
        assert p['layer'] == 'bn3:7' and p['p15'] < p['p50'] < p['p85'] and p['variance'] > 0 and p['p15'] < p['mean'] < p['p85'], p
    run('train', *small, '--probe', 'bn3:7', '--epochs', 1, '--eval-steps', 5, '-o', 'part')
    run('train', '--resume', 'part', '--epochs', 3)
    assert probes('part') == whole
    for layer in ('conv1:2', 'conv1', 'fc2'):
        run('train', *small, '--probe', layer, '--epochs', 1, '-o', layer.replace(':', '-'))
        assert len(probes(layer.replace(':', '-'))) == 1
    # a channel of a map is not the whole map, nor its first value
    assert probes('conv1')[0]['variance'] != probes('conv1-2')[0]['variance']


if __name__ == '__main__':
    sys.exit(run_tests(globals(), 'experiments'))
