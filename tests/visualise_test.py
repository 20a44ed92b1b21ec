#!/usr/bin/env python3
"""Pictures of trained nets, from outside: pixels against the weights of the file, counts against the predictions, a page that needs
nothing but itself, and what is said where something is missing. Usage: visualise_test.py SOURCE_DIR BUILD_DIR [NAME...]."""
import collections
import json
import os
import pathlib
import re
import shutil
import struct
import sys
import zlib

from cli_test import DATA, SHAPES, SMALL, fails, may_read_everything, metrics, notes, read_tensors, run, tensors, write_foreign, write_tensors
from outside import CONVOY, run_tests, unbalanced

NO_PICTURES = 'cairo'


def png(path):
    """Rows of (r, g, b, a) of a PNG of 8 bits."""
    raw = pathlib.Path(path).read_bytes()
    assert raw[:8] == b'\x89PNG\r\n\x1a\n', path
    at, data = 8, b''
    while at < len(raw):
        length, kind = struct.unpack('>I4s', raw[at:at + 8])
        body = raw[at + 8:at + 8 + length]
        assert struct.unpack('>I', raw[at + 8 + length:at + 12 + length])[0] == zlib.crc32(kind + body), path
        if kind == b'IHDR':
            width, height, bits, colour = struct.unpack('>IIBB', body[:10])
            assert bits == 8 and colour in (2, 6)
        data += body if kind == b'IDAT' else b''
        at += 12 + length
    pixel = {2: 3, 6: 4}[colour]
    lines, rows, last = zlib.decompress(data), [], bytes(width * pixel)
    for y in range(height):
        kind, line = lines[y * (width * pixel + 1)], bytearray(lines[y * (width * pixel + 1) + 1:(y + 1) * (width * pixel + 1)])
        for i in range(len(line)) if kind else ():
            left, up = line[i - pixel] if i >= pixel else 0, last[i]
            if kind < 4:
                line[i] = (line[i] + (0, left, up, (left + up) // 2)[kind]) & 255
                continue
            corner = last[i - pixel] if i >= pixel else 0
            guess = left + up - corner
            line[i] = (line[i] + min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]) & 255
        rows.append([tuple(line[x:x + pixel]) + (255,) * (4 - pixel) for x in range(0, len(line), pixel)])
        last = line
    return rows


def floats(raw):
    return struct.unpack(f'<{len(raw) // 4}f', raw)


def page(path):
    """A page that is whole and needs no other file."""
    text = pathlib.Path(path).read_text(encoding='utf-8')
    assert not unbalanced(text), unbalanced(text)
    assert not re.search(r'(?:src|href)="(?!data:)', text), 'the page needs another file'
    assert not re.search(r'url\(|@import|https?://(?!www\.w3\.org/2000/svg")', text), 'the page needs the network'
    return text


def cells(path):
    """{(true, predicted): count} of a matrix, and its title's numbers."""
    text = pathlib.Path(path).read_text(encoding='utf-8')
    assert not unbalanced(text)
    right, all_ = map(int, re.search(r'Accuracy: (\d+)/(\d+) = ', text).groups())
    found = re.findall(r'data-tip="(.+?), predicted (.+?)\n(\d+) of (\d+), ', text)
    return {(a, b): int(n) for a, b, n, _ in found}, right, all_


def boxes_as_pixels(stem):
    """What the SVG says of its boxes is what the PNG shows, two pixels for one: the last box over a place, near its upper edge,
    where nothing is written."""
    text, rows = pathlib.Path(stem + '.svg').read_text(encoding='utf-8'), png(stem + '.png')
    width, height = (round(2 * float(n)) for n in re.search(r'width="([\d.]+)" height="([\d.]+)"', text).groups())
    assert (len(rows[0]), len(rows)) == (width, height), stem
    boxes = re.findall(r'<rect [^>]*fill="#(\w+)" fill-opacity="([\d.]+)"[^>]* x="([\d.]+)" y="([\d.]+)"\s+width="([\d.]+)"', text)
    assert len(boxes) > 6, stem
    for fill, alpha, x, y, wide in boxes[1:]:
        got = rows[round(2 * float(y)) + 6][round(2 * float(x) + float(wide))]
        wanted = [round(255 + float(alpha) * (v - 255)) for v in bytes.fromhex(fill)]
        assert all(abs(a - b) <= 1 for a, b in zip(got, wanted)), (stem, x, y, got, wanted)


def possible():
    if b'cairo_surface_write_to_png_stream' in pathlib.Path(CONVOY).read_bytes():
        return True
    print('left out: pictures: built without cairo')
    run('train', *SMALL, '--epochs', 1, '--out', 'refused', code=0)
    fails(1, 'built without cairo', 'visualise', 'refused')
    return False


# ------------------------------------------------------------------------------------------------------- the tests

def test_pictures():
    if not possible():
        return
    run('train', *SMALL, '--epochs', 1, '--out', 'r', '--validation', 100, code=0)
    r = run('visualise', 'r', '--scale', 3, '--samples', 2, code=0)
    assert r.stdout == 'r/pictures/index.html\n' and r.stderr == '', (r.stdout, r.stderr)
    files = sorted(str(p.relative_to('r/pictures')) for p in pathlib.Path('r/pictures').rglob('*') if p.is_file())
    assert [f for f in files if 'activations' not in f] == [
        *(f'confusion/{split}.{kind}' for split in ('test', 'train', 'validation') for kind in ('png', 'svg')), 'filters/conv1.png',
        'filters/conv2.png', 'filters/fc1.png', 'filters/fc2.png', 'filters/fc3.png', 'graph.png', 'graph.svg', 'index.html'], files
    assert 'activations/image_1/01-conv1.png' in files and 'activations/image_1/00-input.png' in files
    text = page('r/pictures/index.html')
    assert text.count('<details class="card sample"') == 2 and 'synthetic, after 1 epoch<' in text
    # what it is taken for is not one number with its share; that a sample opens can be seen; white pixels are not on white
    assert len(re.findall(r'<span class="\w*"><b>[^<]+</b>: [\d.]+&nbsp;%</span>', text)) == 6, re.findall('<summary>.*', text)
    assert '.sample > summary::before { content:' in text and re.search(r'figure img \{[^}]*background: #', text)
    # What the batch norms learned: four strips each, and every number.
    values, _ = tensors('r/checkpoint.safetensors')
    assert text.count('<svg class="bars"') == 4 * 4
    for name in ('bn1.weight', 'bn1.bias', 'bn1.running_mean', 'bn1.running_var'):
        for value in floats(values[name]):
            assert f'>{value:#.4g}</td>' in text, (name, value)
    graph = pathlib.Path('r/pictures/graph.svg').read_text(encoding='utf-8')
    assert not unbalanced(graph) and graph.count('rx="7"') == 6 and '>16×8×8<' in graph and '>2416<' in graph
    boxes_as_pixels('r/pictures/graph')
    # Six filters of 5 x 5 in three columns, one pixel between, each from its least to its largest weight, three times as large.
    rows, weights = png('r/pictures/filters/conv1.png'), floats(values['conv1.weight'])
    assert (len(rows), len(rows[0])) == (3 * 11, 3 * 17)
    for y in range(33):
        for x in range(51):
            (i, v), (j, u) = divmod(y // 3, 6), divmod(x // 3, 6)
            if v == 5 or u == 5:
                assert rows[y][x] == (0, 0, 0, 0), (x, y)
                continue
            tile = weights[25 * (3 * i + j):][:25]
            level = 255 * (tile[5 * v + u] - min(tile)) / (max(tile) - min(tile))
            assert all(abs(c - level) <= 0.51 for c in rows[y][x][:3]) and rows[y][x][3] == 255, (x, y, rows[y][x], level)
    # The first choice of images depends on the seed alone.
    run('visualise', 'r', '--samples', 2, '--confusion', 'none', '--out', 'again', code=0)
    run('visualise', 'r', '--samples', 2, '--confusion', 'none', '--out', 'other', '--seed', 2, code=0)
    first, again, other = (pathlib.Path(d, 'activations/image_0/00-input.png').read_bytes() for d in ('again', 'again', 'other'))
    assert first == again != other
    assert not os.path.exists('again/confusion')
    assert len(png('again/filters/fc3.png')[0]) == 84 * (512 // 84)


def test_maps():
    """What a layer gives is what its formula gives: a net whose maps are known."""
    if not possible():
        return
    layers = [{'type': 'conv2d', 'name': 'c', 'out_channels': 2, 'kernel': 1, 'bias': False}, {'type': 'flatten'},
              {'type': 'linear', 'name': 'fc', 'out_features': 10}]
    pathlib.Path('m.json').write_text(json.dumps({'name': 'm', 'input': [1, 28, 28], 'data': 'fashion-mnist', 'layers': layers}))
    run('train', 'm.json', *SMALL, '--epochs', 1, '--out', 'r', code=0)
    values, _ = read_tensors('r/checkpoint.safetensors')
    values['c.weight'] = struct.pack('<2f', 1, 0)  # the image, and nothing
    write_foreign('w.safetensors', values)
    run('visualise', 'w.safetensors', '--model', 'm.json', *DATA, '--out', 'p', '--samples', 1, '--scale', 1, code=0)
    image, both = png('p/activations/image_0/00-input.png'), png('p/activations/image_0/01-c.png')
    assert (len(both), len(both[0])) == (28, 57)
    least = min(both[y][x][0] for y in range(28) for x in range(28))
    for y in range(28):
        for x in range(28):  # maps of a layer share a range, from the nothing to the largest pixel; the image has its own
            assert abs(both[y][x][0] - (least + (255 - least) * image[y][x][0] / 255)) <= 1.5
            assert both[y][x + 29] == (0, 0, 0, 255)


def test_skips():
    """Edges that pass layers over are drawn around them: resnet20 has nine of them, two from a shortcut of its own."""
    if not possible():
        return
    run('train', 'resnet20', '--data', 'synthetic:train=64,test=32', '--batch', 32, '--epochs', 1, '--out', 'r', code=0)
    run('visualise', 'r', '--samples', 1, '--confusion', 'none', code=0)
    graph = pathlib.Path('r/pictures/graph.svg').read_text(encoding='utf-8')
    assert graph.count('stroke-width="1.75"') == 9 and graph.count('rx="7"') == 1 + 19 + 9 + 2 + 1, graph.count('rx="7"')
    page('r/pictures/index.html')


def test_confusion():
    """The counts are those of the predictions."""
    if not possible():
        return
    run('train', *SMALL, '--epochs', 2, '--out', 'r', code=0)
    run('visualise', 'r', '--confusion', 'test', '--samples', 0, code=0)
    counts, right, all_ = cells('r/pictures/confusion/test.svg')
    boxes_as_pixels('r/pictures/confusion/test')
    assert sorted(os.listdir('r/pictures/confusion')) == ['test.png', 'test.svg'] and not os.path.exists('r/pictures/activations')
    said = run('predict', 'r', '--top', 1, *range(200), code=0).stdout
    expected = collections.Counter((true, word) for word, true in re.findall(r'^\d+: (.+) [\d.]+  \(is (.+)\)$', said, re.M))
    expected = collections.Counter({(a.replace('class ', ''), b.replace('class ', '')): n for (a, b), n in expected.items()})
    assert sum(expected.values()) == all_ == 200
    assert counts == expected, (counts, expected)
    assert right == sum(n for (a, b), n in counts.items() if a == b)
    assert f'({right} of {all_}' in run('eval', 'r', code=0).stdout
    assert f'{100 * right / all_:.2f} %' in page('r/pictures/index.html')


def test_epochs():
    """Weights that are kept between epochs are those of the epochs, whether a run was interrupted or not."""
    more = [*SMALL, '--momentum', 0.9, '--lr', 0.1, '--snapshot-every', 2, '--quiet']
    run('train', *more, '--epochs', 2, '--out', 'short', code=0)
    run('train', *more, '--epochs', 4, '--out', 'r', code=0)
    assert sorted(os.listdir('r/params')) == [f'epoch_{e}.safetensors' for e in (0, 2, 4)]
    for run_, epoch in (('short', 2), ('r', 4)):
        values, meta = tensors(f'{run_}/params/epoch_{epoch}.safetensors')
        whole, _ = tensors(f'{run_}/checkpoint.safetensors')
        assert values == {k: v for k, v in whole.items() if not k.startswith('optimizer.')} and len(whole) > len(values)
        assert json.loads(meta['convoy.position'])['epoch'] == epoch
    assert tensors('r/params/epoch_2.safetensors')[0] == tensors('short/params/epoch_2.safetensors')[0]
    run('train', '--resume=short', '--epochs', 5, '--snapshot-every', 1, code=0)
    assert sorted(os.listdir('short/params')) == [f'epoch_{e}.safetensors' for e in (0, 2, 3, 4, 5)]
    assert tensors('r/params/epoch_4.safetensors')[0] == tensors('short/params/epoch_4.safetensors')[0]
    run('train', *SMALL, '--epochs', 1, '--out', 'none', '--quiet', code=0)
    assert not os.path.exists('none/params')
    if not possible():
        return
    few = ['--samples', 1, '--confusion', 'test']
    assert run('visualise', 'r', '--epoch', 2, *few, code=0).stdout == 'r/pictures/epoch_2/index.html\n'
    run('visualise', 'short/params/epoch_2.safetensors', '--out', 'p', *few, code=0)
    for file in ('index.html', 'filters/conv1.png', 'confusion/test.svg'):
        assert pathlib.Path('p', file).read_bytes() == pathlib.Path('r/pictures/epoch_2', file).read_bytes(), file
    assert 'after 2 epochs' in page('p/index.html')
    run('visualise', 'r', '--epoch', 'all', *few, code=0)
    assert sorted(os.listdir('r/pictures')) == ['epoch_0', 'epoch_2', 'epoch_4']
    # All that was kept, on the page of the run.
    run('visualise', 'r', *few, '--out', 'whole', code=0)
    text = page('whole/index.html')
    assert re.findall(r'<b>(\d+)</b>epochs', text[text.index('conv1, epoch by epoch'):]) == ['0', '2', '4'] and 'epoch by epoch' not in page('p/index.html')
    values, meta = read_tensors('r/params/epoch_2.safetensors')
    SHAPES['conv1.weight'] = [6]
    write_tensors('r/params/epoch_3.safetensors', {**values, 'conv1.weight': values['conv1.bias']}, meta)
    fails(2, "epoch_3.safetensors: its tensor 'conv1.weight' is not that of the run", 'visualise', 'r', *few, '--out', 'broken')
    os.remove('r/params/epoch_3.safetensors')
    fails(1, 'r has not kept the weights after 3 epochs, but after 0, 2, 4', 'visualise', 'r', '--epoch', 3)
    fails(1, 'none has kept the weights of no epoch: convoy train --snapshot-every=1', 'visualise', 'none', '--epoch', 'all')
    fails(1, '--epoch: expected an integer', 'visualise', 'r', '--epoch', 'last')


def test_yann():
    """Directories, names and tiles of yann's visualizer, text files of its resultor."""
    if not possible():
        return
    run('train', *SMALL, '--epochs', 3, '--out', 'r', '--validation', 100, '--momentum', 0.5, '--snapshot-every', 3, '--quiet', code=0)
    fails(1, '--rgb-filters is of --layout=yann', 'visualise', 'r', '--rgb-filters')
    run('visualise', 'r', '--layout', 'yann', '--samples', 32, code=0)
    run('visualise', 'r', '--layout', 'yann', '--samples', 2, '--epoch', 'all', '--rgb-filters', '--out', 'all', code=0)
    files = {str(p.relative_to('r/yann')) for p in pathlib.Path('r/yann').rglob('*') if p.is_file()}
    seen, wrote = 'visualizer', 'resultor'
    filters, activities = f'{seen}/filters/epoch_3', f'{seen}/activities/epoch_3'
    for name in (f'{seen}/data/image_0.png', f'{filters}/layer_conv2/image_5.png', f'{filters}/layer_fc1/straight/image_0.png',
                 f'{filters}/layer_fc1/transposed/image_0.png', f'{activities}/layer_bn2/image_15.png',
                 f'{activities}/layer_fc3/transposed/image_0.png', f'{seen}/computational_graphs/static/net.svg',
                 f'{seen}/computational_graphs/dynamic/net.html', f'{wrote}/confusion/epoch_3/valid_confusion.svg',
                 f'{wrote}/confusion/epoch_3/train_confusion.svg', f'{wrote}/confusion/epoch_3/test_confusion.svg',
                 f'{wrote}/params/epoch_3.safetensors', *(f'{wrote}/{t}.txt' for t in (
                     'costs', 'learning_rate', 'momentum', 'errors', 'results'))):
        assert name in files, (name, sorted(files))
    page(f'r/yann/{seen}/computational_graphs/dynamic/net.html')
    assert sorted(os.listdir(f'all/{seen}/filters')) == ['epoch_0', 'epoch_3']
    # 32 samples in five columns and so seven rows: none is left out.
    rows = png(f'r/yann/{seen}/data/image_0.png')
    assert (len(rows), len(rows[0])) == (7 * 30 - 2, 5 * 30 - 2)
    assert rows[6 * 30 + 14][30 + 14][3] == 255 and rows[6 * 30 + 14][60 + 14] == (0, 0, 0, 0)
    # Channel 5 of all sixteen filters, each tile with a range of its own.
    values, _ = tensors('r/checkpoint.safetensors')
    weights, rows = floats(values['conv2.weight']), png(f'r/yann/{filters}/layer_conv2/image_5.png')
    assert (len(rows), len(rows[0])) == (4 * 7 - 2, 4 * 7 - 2)
    for k in range(16):
        tile = weights[(k * 6 + 5) * 25:][:25]
        for i, w in enumerate(tile):
            level = 255 * (w - min(tile)) / (max(tile) - min(tile))
            assert abs(rows[k // 4 * 7 + i // 5][k % 4 * 7 + i % 5][0] - level) <= 0.51
    # Three channels in colour, each with its own range.
    rows = png(f'all/{seen}/filters/epoch_3/layer_conv2/image_1.png')
    for colour in range(3):
        tile = weights[(7 * 6 + 3 + colour) * 25:][:25]
        level = 255 * (tile[12] - min(tile)) / (max(tile) - min(tile))
        assert abs(rows[7 + 2][3 * 7 + 2][colour] - level) <= 0.51
    assert len(os.listdir(f'all/{seen}/filters/epoch_3/layer_conv2')) == 2
    # fc3 has ten outputs and 84 inputs; yann's weights are [in][out]: 84 tiles of 3 x 3, and ten of 9 x 9.
    weights = floats(values['fc3.weight'])
    rows = png(f'r/yann/{filters}/layer_fc3/straight/image_0.png')
    assert (len(rows), len(rows[0])) == (10 * 5 - 2, 9 * 5 - 2)
    tile = [weights[out * 84 + 11] for out in range(9)]
    assert abs(rows[5 + 1][2 * 5 + 2][0] - 255 * (tile[5] - min(tile)) / (max(tile) - min(tile))) <= 0.51
    rows = png(f'r/yann/{filters}/layer_fc3/transposed/image_0.png')
    assert (len(rows), len(rows[0])) == (4 * 11 - 2, 3 * 11 - 2)
    tile = weights[4 * 84:][:81]
    assert abs(rows[11 + 8][11 + 7][0] - 255 * (tile[79] - min(tile)) / (max(tile) - min(tile))) <= 0.51
    # A line an epoch.
    epochs = [line for line in metrics('r') if line['type'] == 'epoch']
    text = {t: pathlib.Path('r/yann', wrote, f'{t}.txt').read_text() for t in ('costs', 'learning_rate', 'momentum', 'errors', 'results')}
    assert [float(x) for x in text['costs'].split()] == [e['train_loss'] for e in epochs]
    assert [float(x) for x in text['learning_rate'].split()] == [e['lr'] for e in epochs]
    assert text['momentum'] == '0.5\n' * 3
    assert all(abs(float(x) - 100 * (1 - e['valid_acc'])) < 1e-3 for x, e in zip(text['errors'].split(), epochs))
    assert f'epoch 2: cost {epochs[1]["train_loss"]:.6g}, training accuracy' in text['results'] and 'testing accuracy' in text['results']
    assert pathlib.Path('r/yann', wrote, 'params/epoch_3.safetensors').read_bytes() == pathlib.Path('r/checkpoint.safetensors').read_bytes()
    with open('r/metrics.jsonl', 'a') as f:
        f.write('{"type": \n')
    n = len(pathlib.Path('r/metrics.jsonl').read_text().splitlines())
    r = run('visualise', 'r', '--layout', 'yann', '--samples', 0, '--confusion', 'none', '--out', 'bad', code=2)
    assert f'metrics.jsonl: line {n} is not what convoy train writes' in r.stderr and not os.path.exists(f'bad/{wrote}/costs.txt')


def test_without_data():
    """What needs no images is drawn, and the rest is said."""
    if not possible():
        return
    run('train', *SMALL, '--epochs', 1, '--out', 'r', code=0)
    values, _ = read_tensors('r/checkpoint.safetensors')
    write_foreign('w.safetensors', values)
    r = run('visualise', 'w.safetensors', '--model', 'lenet-bn', '--out', 'p', env={'CVY_DATA_DIR': '/nowhere', 'XDG_DATA_DIRS': '/nowhere'})
    if 'there are neither activations nor a confusion matrix' in r.stderr:  # Fashion-MNIST may lie elsewhere, too
        assert r.returncode == 0 and r.stdout == 'p/index.html\n'
        assert sorted(os.listdir('p')) == ['filters', 'graph.png', 'graph.svg', 'index.html'] and 'neither activations' in page('p/index.html')
    fails(2, 'neither a known set', 'visualise', 'w.safetensors', '--model', 'lenet-bn', '--out', 'q', '--data', 'nowhere')


def test_refusals():
    if not possible():
        return
    run('train', *SMALL, '--epochs', 1, '--out', 'r', code=0)
    fails(3, 'missing: cannot open: No such file', 'visualise', 'missing')
    fails(1, 'expected a run.s directory or a .safetensors file', 'visualise')
    fails(1, "expected one run or file, found 'r' too", 'visualise', 'r', 'r')
    fails(1, 'say with --out where', 'visualise', 'r/checkpoint.safetensors')
    fails(1, '--scale: expected an integer from 1 to 64', 'visualise', 'r', '--scale', 0)
    fails(1, "--confusion: expected one of all, test, train, validation, none, found 'tests'; did you mean test?", 'visualise', 'r',
          '--confusion', 'tests')
    fails(1, 'the run has no validation images', 'visualise', 'r', '--confusion', 'validation')
    fails(1, "unknown command 'visualize'; did you mean visualise?", 'visualize', 'r')
    shutil.rmtree('r/pictures', ignore_errors=True)
    pathlib.Path('file').write_text('')
    fails(3, 'file', 'visualise', 'r', '--out', 'file/below')
    if not may_read_everything():
        fails(3, 'unreadable', 'visualise', 'r', '--out', 'unreadable/below')
    # A net without filters: nothing but what there is.
    layers = [{'type': 'pool2d', 'kind': 'avg', 'kernel': [28, 28]}, {'type': 'concat', 'inputs': ['p'] * 10}]
    layers[0]['name'] = 'p'
    pathlib.Path('none.json').write_text(json.dumps({'name': 'none', 'input': [1, 28, 28], 'data': 'fashion-mnist', 'layers': layers}))
    write_foreign('none.safetensors', {})
    r = run('visualise', 'none.safetensors', '--model', 'none.json', *DATA, '--out', 'none', code=0)
    assert 'filters' not in os.listdir('none') and '<h2>Filters' not in page('none/index.html') and notes(r) == []


if __name__ == '__main__':
    sys.exit(run_tests(globals(), 'visualise'))
