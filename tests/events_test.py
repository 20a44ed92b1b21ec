#!/usr/bin/env python3
"""TensorBoard's files from outside, by a decoder of their own: checksums, numbers against metrics.jsonl, histograms against the
checkpoint, pictures that are some, runs that go on. Usage: events_test.py SOURCE_DIR BUILD_DIR [NAME...]."""
import collections
import json
import os
import pathlib
import re
import struct
import sys

from cli_test import SMALL, fails, run, tensors
from outside import CONVOY, run_tests
from visualise_test import floats

HAS_PNG = b'libcairo' in pathlib.Path(CONVOY).read_bytes()


def crc_step(crc):
    for _ in range(8):
        crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc


STEPS = [crc_step(byte) for byte in range(256)]


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ STEPS[(crc ^ byte) & 255]
    return crc ^ 0xffffffff


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff


def records(path):
    raw, at = pathlib.Path(path).read_bytes(), 0
    while at < len(raw):
        length, check = struct.unpack_from('<QI', raw, at)
        assert check == masked(raw[at:at + 8]), f'{path}: the length at {at} is damaged'
        data = raw[at + 12:at + 12 + length]
        assert struct.unpack_from('<I', raw, at + 12 + length)[0] == masked(data), f'{path}: {at}'
        yield data
        at += 16 + length
    assert at == len(raw)


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def fields(data):
    """A message: {number: [value, ...]}."""
    found, at = collections.defaultdict(list), 0
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            size, form = {1: (8, '<d'), 5: (4, '<f')}[kind]
            value, at = struct.unpack_from(form, data, at)[0], at + size
        found[tag >> 3].append(value)
    assert at == len(data)
    return found


def events(path):
    """{tag: [(step, kind, value), ...]} of a file."""
    first, *rest = map(fields, records(path))
    assert first[3] == [b'brain.Event:2'] and 2 not in first, first
    found, last = collections.defaultdict(list), first[1][0]
    for event in rest:
        assert event[1][0] >= last - 1
        value, = map(fields, fields(event[5][0])[1])
        kind, = [k for k in (2, 4, 5) if k in value]
        found[value[1][0].decode()].append((event[2][0], kind, value[kind][0]))
    return found


def lines(directory, kind, key):
    found = {}
    for line in map(json.loads, open(f'{directory}/metrics.jsonl')):
        if line['type'] == kind and key in line:
            found[line['step']] = line[key]
    return list(found.items())


def scalars(found, tag):
    assert all(kind == 2 for _, kind, _ in found[tag]), tag
    return [(step, value) for step, _, value in found[tag]]


def same(got, want, what):
    assert [s for s, _ in got] == [s for s, _ in want], (what, got, want)
    assert all(abs(g - w) <= 1e-6 * abs(w) + 1e-9 for (_, g), (_, w) in zip(got, want)), (what, got, want)


def train(*args):
    run('train', *args, '-q', '--tensorboard', 'tb', code=0)
    return sorted(pathlib.Path('tb').iterdir(), key=lambda p: (p.stat().st_mtime_ns, p.name))


def test_checksum():
    """A published value (RFC 3720, B.4): the decoder's own sum is right."""
    assert crc32c(b'123456789') == 0xe3069283 and crc32c(bytes(32)) == 0x8a9136aa


def test_numbers():
    path, = train(*SMALL, '-e', 2, '-o', 'r')
    assert re.fullmatch(r'events\.out\.tfevents\.\d+\..+\.\d+', path.name)
    found = events(path)
    for key, tag in (('train_loss', 'loss/train'), ('batch_loss', 'loss/batch'), ('train_acc', 'accuracy/train'), ('lr', 'optimizer/learning rate')):
        same(scalars(found, tag), lines('r', 'step', key), tag)
    for key, tag in (('test_loss', 'loss/test'), ('test_acc', 'accuracy/test'), ('step_seconds', 'speed/step seconds')):
        same(scalars(found, tag), lines('r', 'epoch', key), tag)
    rates = scalars(found, 'speed/examples per second')
    seconds = [0] + [s for _, s in lines('r', 'epoch', 'step_seconds')]
    same(rates, [(s, 1000 / (b - a)) for (s, _), a, b in zip(rates, seconds, seconds[1:])], 'rate')
    assert len(rates) == 2


def test_histograms():
    path, = train(*SMALL, '-e', 2, '-o', 'r')
    found = events(path)
    last = max(step for step, _ in lines('r', 'epoch', 'test_acc'))
    seen = 0
    for name, raw in tensors('r/checkpoint.safetensors')[0].items():
        if name.startswith('optimizer.'):
            continue
        values = floats(raw)
        steps = [step for step, kind, _ in found[name.replace('.', '/')] if kind == 5]
        assert steps == [0, last // 2, last], (name, steps)
        h = fields(found[name.replace('.', '/')][-1][2])
        limits, counts = (struct.unpack(f'<{len(h[k][0]) // 8}d', h[k][0]) for k in (6, 7))
        assert h[1] == [min(values)] and h[2] == [max(values)] and h[3] == [len(values)], name
        assert abs(h[4][0] - sum(values)) < 1e-4 and abs(h[5][0] - sum(v * v for v in values)) < 1e-3 * h[5][0] + 1e-6, name
        assert len(limits) == len(counts) and sum(counts) == len(values) and limits[-1] == max(values)
        assert list(limits) == sorted(limits)
        for k in range(len(limits)):
            below = sum(v <= limits[k] + 1e-7 for v in values)
            assert abs(below - sum(counts[:k + 1])) <= max(2, 0.02 * len(values)), (name, k, below, counts)
        seen += 1
    assert seen > 10


def test_pictures():
    path, = train(*SMALL, '-e', 1, '-o', 'r')
    found = events(path)
    pictures = {tag: v for tag, v in found.items() if v[0][1] == 4}
    assert set(pictures) == ({'images/test', 'net/graph', 'confusion/test', 'filters/conv1'} if HAS_PNG else set()), set(pictures)
    for tag, values in pictures.items():
        image = fields(values[-1][2])
        height, width, channels, png = (image[k][0] for k in (1, 2, 3, 4))
        assert png[:8] == b'\x89PNG\r\n\x1a\n' and struct.unpack('>II', png[16:24]) == (width, height), tag
        drawn = tag in ('net/graph', 'confusion/test')
        assert channels == (3 if drawn else 4) == {2: 3, 6: 4}[png[25]] and 100 < width < (1200 if drawn else 600), (tag, width)
        assert len(values) == 1, tag


def test_going_on():
    """A run that is resumed begins a file, whose steps go on; together they have every line once."""
    train(*SMALL, '-e', 1, '-o', 'r')
    _, second = train('--resume=r', '-e', 2)
    files = sorted(pathlib.Path('tb').iterdir(), key=lambda p: p != second)
    assert len(files) == 2
    parts = [scalars(events(f), 'loss/train') for f in reversed(files)]
    assert max(s for s, _ in parts[0]) < min(s for s, _ in parts[1])
    same(parts[0] + parts[1], lines('r', 'step', 'train_loss'), 'both')


def test_refusals():
    pathlib.Path('file').write_text('')
    r = run('train', *SMALL, '-e', 1, '-q', '-o', 'r', '--tensorboard', 'file', code=3)
    assert 'file' in r.stderr and not r.stdout.startswith('loss'), r.stderr
    if os.path.exists('/dev/full') and os.getuid() == 0:
        return  # root writes everywhere
    os.mkdir('closed', 0o500)
    fails(3, 'closed.*cannot write', 'train', *SMALL, '-e', 1, '-q', '-o', 'r2', '--tensorboard', 'closed')


if __name__ == '__main__':
    sys.exit(run_tests(globals(), 'events'))
