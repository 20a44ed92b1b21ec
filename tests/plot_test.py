#!/usr/bin/env python3
"""`convoy plot` from outside: points of curves against metrics.jsonl, medians and bands against runs, experiments, the three formats,
and what is said where something is missing. Usage: plot_test.py SOURCE_DIR BUILD_DIR [NAME...]."""
import html
import json
import os
import pathlib
import random
import re
import statistics
import sys
import xml.etree.ElementTree

from cli_test import SMALL, fails, run
from outside import CONVOY, run_tests, unbalanced
from visualise_test import page, png

HAS_PNG = b'libcairo' in pathlib.Path(CONVOY).read_bytes()
COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#4d4d4d', '#b0a000']
BLUE, RED, GREEN, PURPLE = COLOURS[:4]


class Figure:
    """An SVG's curves by colour, in the units of its axes: linear, or of powers of ten."""
    def __init__(self, path):
        text = pathlib.Path(path).read_text(encoding='utf-8')
        root = xml.etree.ElementTree.fromstring(text)
        assert not re.search(r'href|url\(|<script', text)
        self.parts = [(e.tag.split('}')[1], e.attrib, e.text) for e in root.iter()]
        self.texts = [t for tag, _, t in self.parts if tag == 'text']

    def places(self, axis, panel=(0, 1e9)):
        """(number, place) of an axis' numbers."""
        anchor = {'x': 'middle', 'y': 'end'}[axis]
        for tag, a, text in self.parts:
            if tag == 'text' and a['text-anchor'] == anchor and re.fullmatch(r'[\d.]+', text or '') and panel[0] <= float(a['x']) < panel[1]:
                yield float(text), float(a[axis]) - (4 if axis == 'y' else 0)

    def scale(self, axis, log, panel):
        (v0, p0), *_, (v1, p1) = sorted(self.places(axis, panel))
        if log:
            return lambda p: v0 * (v1 / v0) ** ((p - p0) / (p1 - p0))
        return lambda p: v0 + (v1 - v0) * (p - p0) / (p1 - p0)

    def points(self, colour, tag='polyline', log_x=False, log_y=False, panel=(0, 1e9)):
        x, y = self.scale('x', log_x, panel), self.scale('y', log_y, panel)
        for name, a, _ in self.parts:
            if name == tag and colour in (a.get('stroke'), a.get('fill')):
                points = [tuple(map(float, p.split(','))) for p in a['points'].split()]
                if panel[0] <= points[0][0] < panel[1]:
                    return [(x(px), y(py)) for px, py in points]
        return []


def near(got, want, what, share=0.01):
    assert len(got) == len(want), f'{what}: {len(got)} points, not {len(want)}: {got}'
    largest = [max(abs(p[i]) for p in want) for i in (0, 1)]
    for g, w in zip(got, want):
        assert all(abs(a - b) <= share * m for a, b, m in zip(g, w, largest)), f'{what}: {g}, not {w}'


def lines(directory, kind, key, x='epoch'):
    found = {}
    for line in map(json.loads, open(f'{directory}/metrics.jsonl')):
        if line['type'] == kind and key in line:
            found[line['step']] = (line[x], line[key])
    return list(found.values())


def train(name, *more, seed=1):
    run('train', *SMALL, '-e', 3, '-q', '-o', name, '-s', seed, *more, code=0)


def test_one_run():
    """The book's picture: three curves, each point where it was measured."""
    train('r')
    r = run('plot', 'r', code=0)
    assert r.stdout == 'picture: r/curves.svg\n', r.stdout
    f = Figure('r/curves.svg')
    near(f.points(BLUE), lines('r', 'step', 'train_loss'), 'loss')
    near(f.points(PURPLE), lines('r', 'step', 'train_acc'), 'train acc')
    near(f.points(GREEN), lines('r', 'epoch', 'test_acc'), 'test acc')
    last = {k: lines('r', 'epoch', k)[-1][1] for k in ('train_loss', 'train_acc', 'test_acc')}
    assert 'loss %(train_loss).3f, train acc %(train_acc).3f, test acc %(test_acc).3f after 3 epochs' % last in f.texts, f.texts
    for word in ('train loss', 'train acc', 'test acc', 'epoch'):
        assert word in f.texts, word
    run('plot', 'r', '-o', 's.svg', '-x', 'step', '-y', 'loss', '--log-y', '--title', '<T> & "t"', code=0)
    f = Figure('s.svg')
    near(f.points(BLUE, log_y=True), lines('r', 'step', 'train_loss', 'step'), 'loss over steps')
    assert '<T> & "t"' in f.texts and 'step' in f.texts and 'loss' in f.texts
    run('plot', 'r', '-o', 'e.svg', '-x', 'examples', '-y', 'batch_loss', '--log-x', code=0)
    near(Figure('e.svg').points(BLUE, log_x=True), lines('r', 'step', 'batch_loss', 'examples'), 'over examples', 0.02)
    run('plot', 'r', '-o', 'x.svg', '-x', 'examples', '-y', 'test_acc', code=0)  # an epoch's line does not say how many
    examples = {line['step']: line['examples'] for line in map(json.loads, open('r/metrics.jsonl')) if 'examples' in line}
    near(Figure('x.svg').points(GREEN), [(examples[step], v) for step, v in lines('r', 'epoch', 'test_acc', 'step')], 'epochs over examples')
    run('plot', 'r/metrics.jsonl', '-o', 'm.svg', '-x', 'seconds', code=0)
    near(Figure('m.svg').points(GREEN), lines('r', 'epoch', 'test_acc', 'wall_seconds'), 'over seconds')


def test_several_runs():
    """Seeds of one configuration are a median in a band; another configuration is another curve."""
    for seed in 1, 2, 3:
        train(f'a-seed{seed}', seed=seed)
    train('b', '-l', 0.01)
    run('plot', 'a-seed1', 'a-seed2', 'a-seed3', 'b', '-o', 'all.svg', code=0)
    f = Figure('all.svg')
    assert 'a (3 runs)' in f.texts and 'b' in f.texts and 'medians, bands from the least to the largest' in f.texts, f.texts
    losses = [lines(f'a-seed{s}', 'step', 'train_loss') for s in (1, 2, 3)]
    left, right = (0, 540), (540, 1e9)
    near(f.points(BLUE, panel=left), [(p[0][0], statistics.median(v for _, v in p)) for p in zip(*losses)], 'median')
    near(f.points(RED, panel=left), lines('b', 'step', 'train_loss'), 'the other')
    low, high = [[(p[0][0], g(v for _, v in p)) for p in zip(*losses)] for g in (min, max)]
    near(f.points(BLUE, 'polygon', panel=left), high + low[::-1], 'band')
    near(f.points(RED, panel=right), lines('b', 'epoch', 'test_acc'), 'accuracy')
    run('plot', 'same=a-seed1', 'same=b', '-o', 'same.svg', '-y', 'test_acc', code=0)
    both = zip(lines('a-seed1', 'epoch', 'test_acc'), lines('b', 'epoch', 'test_acc'))
    near(Figure('same.svg').points(GREEN), [(p[0], (p[1] + q[1]) / 2) for p, q in both], 'one name')
    run('plot', 'x=a-seed1', 'y=a-seed2', '-o', 'two.svg', '-y', 'lr', code=0)
    assert {'x', 'y'} <= set(Figure('two.svg').texts)


def write_run(name, text):
    os.mkdir(name)
    pathlib.Path(name, 'metrics.jsonl').write_text(text)


def test_percentiles():
    write_run('p', ''.join(json.dumps({'type': 'step', 'step': s, 'epoch': s / 4, 'z_p15': s - 1, 'z_p50': s, 'z_p85': s + 2, 'z_p60': 0})
                           + '\n' for s in range(1, 6)))
    run('plot', 'p', '-y', 'z', '-x', 'step', '-o', 'p.svg', code=0)
    f = Figure('p.svg')
    near(f.points(BLUE), [(s, s) for s in range(1, 6)], 'median')
    near(f.points(BLUE, 'polygon'), [(s, s + 2) for s in range(1, 6)] + [(s, s - 1) for s in range(5, 0, -1)], 'band')


def experiment(rows, axis='lr'):
    keys = ('group', 'value', 'x', 'seed', 'test_acc', 'train_loss')
    rows = [dict(zip(keys, row), run='r', finished=True, valid_acc=None) for row in rows]
    rows.append({'group': 'more', 'value': '9', 'x': 9, 'seed': 1, 'finished': False, 'test_acc': 1})
    return json.dumps({'command': 'sweep', 'experiment': 'lr', 'axis': axis, 'about': 'how large', 'seeds': 2, 'rows': rows})


def damaged(text, r):
    """The text with a few bytes, numbers or words put out of place."""
    for _ in range(r.randint(1, 3)):
        kind, at = r.randrange(4), r.randrange(len(text))
        if kind == 0:
            text = text[:at] + r.choice(text) + text[at + r.randrange(2):]
        elif kind == 1:
            tokens = list(re.finditer(r'-?\d+(\.\d+)?|"[^"]*"|true|null', text))
            old = r.choice(tokens)
            new = r.choice(['1e308', '-1e-320', '1e999', 'null', 'true', '{}', '[]', '""', '"nan"', '"' + 'x' * 300 + '"', '"<&\\u0001"', '-0', '7'])
            text = text[:old.start()] + new + text[old.end():]
        elif kind == 2:
            text = text[:at] if r.random() < 0.2 else text
        else:
            end = r.randrange(at, min(len(text), at + 200))
            text = text[:end] + text[at:end] + text[end:]
    return text


def test_damaged_experiments():
    """Any bytes are a picture or one sentence."""
    r = random.Random(5)
    text = experiment([(g, f'{x:g}', x, s, 0.5 + 0.02 * s, 1.0 / s) for g in ('a', 'b') for x in (0.1, 1, 10) for s in (1, 2)])
    codes = []
    for k in range(150):
        pathlib.Path('x.json').write_text(damaged(text, r))
        done = run('plot', 'x.json', '-y', r.choice(['acc', 'loss', 'loss,test_acc']), '-o', f'{k}.svg', code=None)
        codes.append(done.returncode)
        if done.returncode == 0:
            assert unbalanced(pathlib.Path(f'{k}.svg').read_text(encoding='utf-8')) is None, k
        else:
            assert done.returncode == 2 and done.stderr.startswith('convoy: ') and done.stderr.count('\n') == 1, (k, done.stderr)
    assert codes.count(0) > 20 and codes.count(2) > 20, codes
    pathlib.Path('x.json').write_text(text.replace('"experiment": "lr"', '"experiment": "../lr"'))
    fails(2, 'x.json: expected what convoy sweep or convoy ablate writes', 'plot', 'x.json')


def test_experiments():
    os.mkdir('e')
    rates = [0.01, 0.1, 1, 10]
    pathlib.Path('e/experiment.json').write_text(experiment(
        [(g, f'{x:g}', x, s, 0.5 + 0.1 * k + 0.02 * s - (g == 'lenet') * 0.3, None if x == 10 and g == 'lenet' else 1.0 / (k + s))
         for g in ('lenet-bn', 'lenet') for k, x in enumerate(rates) for s in (1, 2)]))
    r = run('plot', 'e', code=0)
    assert r.stdout == 'picture: e/lr.svg\n'
    f = Figure('e/lr.svg')
    assert {'lenet-bn', 'lenet', 'learning rate', 'test acc', 'How large', 'medians of 2 seeds, bands from the least to the largest'} <= set(f.texts)
    near(f.points(BLUE, log_x=True), [(x, 0.53 + 0.1 * k) for k, x in enumerate(rates)], 'first')
    near(f.points(RED, log_x=True), [(x, 0.23 + 0.1 * k) for k, x in enumerate(rates)], 'second')
    run('plot', 'e/experiment.json', '-y', 'loss,test_acc', '-o', 'two.svg', code=0)
    near(Figure('two.svg').points(RED, log_x=True, panel=(0, 540)), [(x, (1 / (k + 1) + 1 / (k + 2)) / 2) for k, x in enumerate(rates[:3])],
         'a rate that has none')
    fails(1, "--x is for runs", 'plot', 'e', '-x', 'step')
    fails(2, "none of the experiment's finished runs has 'nope'", 'plot', 'e', '-y', 'nope')
    pathlib.Path('bad.json').write_text('{"a": 1}')
    fails(2, 'bad.json: expected what convoy sweep or convoy ablate writes', 'plot', 'bad.json')
    pathlib.Path('worse.json').write_text('{"a": 1')
    fails(2, 'worse.json: line 1: ', 'plot', 'worse.json')


def test_words():
    """Words have no order: points, whose names are whole and inside the picture; turned where they have no room."""
    long = [f'{a}, {b}, {c}' for a in ('activation', 'norm') for b in ('pool', 'dropout', 'nothing') for c in ('norm', 'activation', 'maxout')]
    for words, turned in ((['none', 'dropout', 'both'], False), (long, True)):
        pathlib.Path('words.json').write_text(experiment([('net', w, i, s, 0.05 * i + 0.01 * s, 1) for i, w in enumerate(words) for s in (1, 2)],
                                                         'layers'))
        run('plot', 'words.json', '-o', 'words.svg', code=0)
        f = Figure('words.svg')
        assert {'layers', 'medians of 2 seeds, lines from the least to the largest', *words} <= set(f.texts), f.texts
        of = [(tag, a) for tag, a, _ in f.parts if BLUE in (a.get('stroke'), a.get('fill'))]
        assert [tag for tag, _ in of].count('circle') == len(words) + 1, of  # and the label's
        assert all(tag == 'circle' or (tag == 'line' and a['x1'] == a['x2']) for tag, a in of), of
        width, height = map(float, f.parts[0][1]['viewBox'].split()[2:])
        for tag, a, text in f.parts:
            if tag != 'text' or text not in words:
                continue
            assert ('rotate(-45' in a.get('transform', '')) == turned, (text, a)
            reach = len(text) * 12 * (0.4 if turned else 0.3)  # of DejaVu Sans' letters at 45 degrees, or to both sides
            assert float(a['x']) - reach > 0 and float(a['y']) + (reach if turned else 0) < height, (text, a, width, height)


def test_left_out():
    """What has no place is said, its label is not put where it would be read as a value, and its x has a place."""
    rows = [(g, f'{x:g}', x, 1, 0.1, 9.0 if g == 'lenet' or x == 10 else 1.0 / x) for g in ('lenet-bn', 'lenet') for x in (1, 2, 10)]
    pathlib.Path('e.json').write_text(experiment(rows).replace('"run": "r"', '"chance": 2, "run": "r"'))
    run('plot', 'e.json', '-y', 'loss,acc', '-o', 'e.svg', code=0)
    f = Figure('e.svg')
    assert 'losses above 3 are left out' in f.texts, f.texts
    assert [float(a['x']) > 540 for tag, a, text in f.parts if tag == 'text' and text == 'lenet'] == [True]
    assert '10' in [text for tag, a, text in f.parts if tag == 'text' and float(a['x']) < 540], f.texts
    labels = [(a['fill'] if tag == 'circle' else a['stroke'], float(a.get('x1', a.get('cx'))) > 540) for tag, a, text in f.parts
              if (tag == 'line' and a['stroke'] in (BLUE, RED)) or (tag == 'circle' and a['fill'] in (BLUE, RED))]
    assert {c for c, right in labels if not right} == {BLUE} and {c for c, right in labels if right} == {BLUE, RED}, labels
    # of seeds the median counts, also if one of them is not shown; a band ends there
    rows = [('net', f'{x:g}', x, s, 0.1, {(1, 3): 9.0, (2, 2): 8.0, (2, 3): 9.0}.get((x, s), 1.0 + s / 10)) for x in (0, 1, 2) for s in (1, 2, 3)]
    pathlib.Path('s.json').write_text(experiment(rows).replace('"run": "r"', '"chance": 2, "run": "r"'))
    run('plot', 's.json', '-y', 'train_loss', '-o', 's.svg', code=0)
    f = Figure('s.svg')
    near(f.points(BLUE, 'polygon'), [(0, 1.3), (1, 3), (1, 1.1), (0, 1.1)], 'a band that is cut')
    drawn = [(float(a['x1']), float(a['x2'])) for tag, a, _ in f.parts if tag == 'line' and a['stroke'] == BLUE and a['y1'] == a['y2']]
    assert len(drawn) == 2, drawn  # from 0 to 1, and the label's
    assert any(t.startswith('medians of 3 seeds') and t.endswith('; losses above 3 are left out') for t in f.texts if t), f.texts
    write_run('last', '{"type":"epoch","step":1,"epoch":1,"train_loss":2.9e20,"test_acc":0.5}\n'
              '{"type":"epoch","step":2,"epoch":2,"train_loss":null,"train_acc":0.25}\n')
    run('plot', 'last', code=0)
    assert 'loss not finite, train acc 0.250, test acc 0.500 (epoch 1) after 2 epochs' in Figure('last/curves.svg').texts
    write_run('large', '{"type":"epoch","step":1,"epoch":1,"train_loss":2.9520183e20,"test_acc":0.5}\n')
    run('plot', 'large', code=0)
    assert 'loss 2.952e+20, test acc 0.500 after 1 epoch' in Figure('large/curves.svg').texts


def test_colours():
    """Keys that have no colour of their own take none that another one has."""
    write_run('c', ''.join(json.dumps({'type': 'step', 'step': s, 'epoch': s / 4, 'train_loss': s, 'a': s + 1, 'train_acc': 0.5, 'b': s + 2}) + '\n'
                           for s in range(1, 6)))
    rows = [(g, f'{x:g}', x, 1, 0.1 * (k + x), 1.0) for x in (1, 2) for k, g in enumerate(['layer norm', 'none', 'batch norm'])]
    pathlib.Path('e.json').write_text(experiment(rows))
    run('plot', 'e.json', '-o', 'e.svg', code=0)
    drawn = [a['stroke'] for tag, a, _ in Figure('e.svg').parts if tag == 'line' and a['stroke'] in COLOURS][:3]
    assert drawn == [GREEN, RED, BLUE], drawn  # of batch norm and none always those
    run('plot', 'c', '-y', 'train_loss,a,train_acc,b', '-o', 'c.svg', code=0)
    drawn = [(a['stroke'], a['stroke-dasharray']) for tag, a, _ in Figure('c.svg').parts if tag == 'polyline']
    assert [colour for colour, _ in drawn] == [BLUE, RED, PURPLE, GREEN], drawn


def test_long_titles():
    """A title has as many lines as it needs, of whole words, and the picture is the higher."""
    write_run('t', '{"type":"step","step":1,"epoch":0.1,"train_loss":2}\n')
    high = {}
    for n in 1, 40:
        run('plot', 't', '-y', 'loss', '--title', 'ünbreakable words ' * n, '-o', 't.svg', code=0)
        f = Figure('t.svg')
        title = [text for tag, a, text in f.parts if tag == 'text' and a['font-size'] == '18']
        assert ' '.join(title).split() == ['ünbreakable', 'words'] * n, title
        assert all(len(line) * 18 * 0.5 < 860 for line in title), title
        high[n] = float(f.parts[0][1]['viewBox'].split()[3]) - 20 * len(title)
    assert abs(high[1] - high[40]) < 40 and len(title) > 5, (high, title)


def test_formats():
    train('r')
    run('plot', 'r', '-o', 'r.html', code=0)
    text = page('r.html')
    loss = lines('r', 'step', 'train_loss')[0]
    assert re.search(r'<td data-v="%.9g">[^<]*</td><td data-v="%.9g">' % loss, text), 'the numbers are not there'
    assert text.count('<svg class="wide"') == text.count('<svg class="narrow"') == 1
    assert re.search(r'data-tip="epoch 3\ntrain loss: [\d.]+\ntrain acc: [\d.]+\ntest acc: [\d.]+"', text)
    run('plot', 'one=r', 'two=r', '-o', 'both.html', '--title', "it's <both>", code=0)  # of two panels the table says which
    shown = re.search(r'Made by <code>(.*?)</code>', page('both.html')).group(1)
    assert html.unescape(shown) == "convoy plot one=r two=r -o both.html --title 'it'\\''s <both>'", shown
    heads = re.search(r'<thead><tr>(.*?)</tr>', page('both.html')).group(1)
    assert re.findall('<th>(.*?)</th>', heads) == ['epoch', *(f'{y} · {name}' for y in ('train loss', 'test acc') for name in ('one', 'two'))], heads
    if HAS_PNG:
        run('plot', 'r', '-o', 'r.png', code=0)
        rows = png('r.png')
        assert (len(rows[0]), len(rows)) == (1720, 1000)
        seen = {pixel[:3] for row in rows for pixel in row}
        for colour in BLUE, PURPLE, GREEN, '#ffffff':
            assert tuple(bytes.fromhex(colour[1:])) in seen, colour
    else:
        fails(1, 'built without cairo', 'plot', 'r', '-o', 'r.png')


def test_odd_runs():
    """Nothing yet, one point, values that are none."""
    write_run('empty', '')
    fails(2, 'empty: nothing was measured there yet', 'plot', 'empty')
    write_run('one', '{"type":"step","step":1,"epoch":0.1,"train_loss":2}\n{"type":"st')
    run('plot', 'one', '-y', 'loss', code=0)
    assert [a for tag, a, _ in Figure('one/curves.svg').parts if tag == 'circle' and a['fill'] == BLUE]
    write_run('gaps', '{"type":"step","step":0,"epoch":0,"train_loss":-1}\n{"type":"step","step":1,"epoch":1,"train_loss":null}\n'
              '{"type":"step","step":2,"epoch":2,"train_loss":1}\n')
    r = run('plot', 'gaps', '-y', 'train_loss', '--log-y', code=0)
    assert '1 points are not positive and have no place' in r.stderr, r.stderr
    write_run('bad', '{"type":"step","step":1}\nnothing\n')
    fails(2, 'bad/metrics.jsonl: line 2: expected a JSON object', 'plot', 'bad')


def test_refusals():
    train('r')
    fails(3, 'nowhere/metrics.jsonl: cannot open: No such file', 'plot', 'nowhere')
    fails(1, "expected loss, acc or a key of metrics.jsonl, which has step, .*test_acc; found 'nope'", 'plot', 'r', '-y', 'nope')
    fails(1, '--y: expected 1 to 8 words with commas between', 'plot', 'r', '-y', 'loss,,acc')
    fails(1, '--y: expected 1 to 2 words', 'plot', 'a=r', 'b=r', '-o', 'x.svg', '-y', 'loss,acc,lr')
    fails(1, 'expected --out FILE, where the picture goes', 'plot', 'a=r', 'b=r')
    fails(1, "--out: expected a name that ends in .svg, .png or .html, found 'x.pdf'", 'plot', 'r', '-o', 'x.pdf')
    fails(1, "--x: expected one of epoch, step, examples, seconds, found 'epochs'; did you mean epoch?", 'plot', 'r', '-x', 'epochs')
    fails(1, "expected directories of runs, or an experiment's", 'plot')
    fails(3, "no/such/x.svg: cannot write: there is no directory 'no/such'", 'plot', 'r', '-o', 'no/such/x.svg')
    fails(1, 'expected at most 64 runs', 'plot', *['r'] * 65)
    fails(1, "unknown command 'curves'; did you mean plot?", 'curves')
    fails(1, '--title: expected UTF-8', 'plot', 'r', '--title', os.fsdecode(b'\xff'))


if __name__ == '__main__':
    sys.exit(run_tests(globals(), 'plot'))
