#!/usr/bin/env python3
"""What docs/tutorial.md and docs/faq.md show behind `$ convoy …` is what the program prints: every command that takes less than
a second and does not depend on the machine. On a page `…` stands for any number of lines.

usage: pages_test.py SOURCE_ROOT BUILD_ROOT [TEST]
"""
import json
import pathlib
import pickle
import re
import shlex
import subprocess
import sys

from outside import CONVOY, ENV, SOURCE, run_tests

TUTORIAL, FAQ = SOURCE / 'docs/tutorial.md', SOURCE / 'docs/faq.md'
QUICK = re.compile(r'convoy (info \S+\.json|train .*(synthetic:|-batches-py).*)$')
MACHINE = re.compile(r'^(parameters: gradients, packed copies|scratch of the threads|total) {3,}.*$', re.M)  # its vectors' length


def shown(page):
    """The quick commands of a page, with what it shows of their output."""
    for block in re.findall(r'(?:^    .*\n|^\n(?=    ))+', page.read_text(), re.M):
        lines = re.sub('^    ', '', block, flags=re.M)
        for command, output in re.findall(r'^\$ (.*)\n((?:(?!\$ ).*\n)*)', lines, re.M):
            if QUICK.match(command):
                yield command, output.strip('\n') + '\n'


def json_of_tutorial():
    return json.loads(re.search(r'^```json\n(\{.*?)^```', TUTORIAL.read_text(), re.S | re.M)[1])


def as_shown(page, least):
    commands = list(shown(page))
    assert len(commands) >= least, f'{page.name}: only {len(commands)} commands were found'
    for command, want in commands:
        r = subprocess.run([CONVOY, *shlex.split(command)[1:]], capture_output=True, text=True, env=ENV)
        got = r.stdout + r.stderr
        pattern = '(?:.*\n)*'.join(map(re.escape, MACHINE.sub('…', want).split('…\n')))
        assert re.fullmatch(pattern, got), f'{page.name}: {command} prints\n{got}and not\n{want}'


def test_tutorial():
    model = json_of_tutorial()
    pathlib.Path('tiny.json').write_text(json.dumps(model))
    model['layers'][4]['out_chanels'] = model['layers'][4].pop('out_channels')
    pathlib.Path('bad.json').write_text(json.dumps(model))
    model = json_of_tutorial()
    model['layers'][0]['kernel'] = 31
    del model['layers'][0]['pad']
    pathlib.Path('bad2.json').write_text(json.dumps(model))
    as_shown(TUTORIAL, 3)


def test_shortcut():
    """The layers that the tutorial shows in the end, in place of those that it says."""
    layers = re.search(r'^```json\n(    \{.*?),\n```', TUTORIAL.read_text(), re.S | re.M)[1]
    model = json_of_tutorial()
    model['layers'][3:7] = json.loads(f'[{layers}]')
    pathlib.Path('skip.json').write_text(json.dumps(model))
    subprocess.run([CONVOY, 'info', 'skip.json'], check=True, capture_output=True, env=ENV)


def test_faq():
    pathlib.Path('tiny.json').write_text(json.dumps(json_of_tutorial()))
    batches = pathlib.Path('cifar-10-batches-py')
    batches.mkdir()
    for name in [f'data_batch_{i}' for i in range(1, 6)] + ['test_batch']:
        (batches / name).write_bytes(pickle.dumps({b'labels': [], b'data': b''}))
    as_shown(FAQ, 3)


if __name__ == '__main__':
    sys.exit(run_tests(globals(), 'pages'))
