#!/usr/bin/env python3
"""The program from outside: exit codes and messages, runs and their files, resuming, signals, lost output.
Usage: cli_test.py SOURCE_DIR BUILD_DIR [NAME... | K/N, every Nth from the Kth on]. Standard library only. Data are synthetic and small."""
import gzip
import hashlib
import json
import math
import os
import pathlib
import re
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib

from outside import BUILD, CONVOY, ENV, HAS_BENCH, HAS_THREADS, SOURCE, run_tests

DATA = ['--data', 'synthetic:seed=3,train=1000,test=200']
SMALL = DATA + ['--batch', '64']


def run(*args, env=None, code=None, **kw):
    """Runs convoy; checks the exit code if one is given."""
    r = subprocess.run([CONVOY, *map(str, args)], capture_output='stdout' not in kw, text=True, env={**ENV, **(env or {})},
                       timeout=120, **kw)
    if code is not None and r.returncode != code:
        raise AssertionError(f'convoy {" ".join(map(str, args))}: expected exit {code}, found {r.returncode}\n{r.stdout}{r.stderr}')
    return r


def fails(code, pattern, *args, **kw):
    """Fails with the code, one matching sentence on stderr, nothing on stdout, and nothing new on disk."""
    before = sorted(os.listdir('.'))
    r = run(*args, code=code, **kw)
    assert re.search(pattern, r.stderr), f'convoy {args}: expected /{pattern}/, found {r.stderr!r}'
    assert r.stdout == '', f'convoy {args}: expected nothing on stdout, found {r.stdout!r}'
    assert before == sorted(os.listdir('.')), f'convoy {args}: left {set(os.listdir(".")) - set(before)}'


def notes(r):
    """What the program says of itself, beside the lines of the epochs."""
    return [line for line in r.stderr.splitlines() if line.startswith('convoy')]


def tensors(path):
    """{name: bytes} and the metadata of a safetensors file."""
    raw = pathlib.Path(path).read_bytes()
    n = struct.unpack('<Q', raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    meta = header.pop('__metadata__')
    return {k: raw[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]] for k, v in header.items()}, meta


def write_tensors(path, values, meta):
    """A sealed file as convoy writes it, of what tensors() gave: the values one after the other, as F32 vectors."""
    header, at = {'__metadata__': {**meta, 'convoy.sha256': '0' * 64}} if meta else {}, 0
    for name, raw in values.items():
        header[name] = {'dtype': 'F32', 'shape': SHAPES[name], 'data_offsets': [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    whole = struct.pack('<Q', len(text)) + text + b''.join(values.values())
    digest = hashlib.sha256(whole).hexdigest().encode()
    pathlib.Path(path).write_bytes(whole.replace(b'"convoy.sha256": "' + b'0' * 64, b'"convoy.sha256": "' + digest, 1))


def write_foreign(path, values):
    """A file without metadata."""
    write_tensors(path, values, None)


SHAPES = {}


def read_tensors(path):
    """tensors(), whose shapes write_tensors() then knows."""
    raw = pathlib.Path(path).read_bytes()
    header = json.loads(raw[8:8 + struct.unpack('<Q', raw[:8])[0]])
    SHAPES.update({k: v['shape'] for k, v in header.items() if k != '__metadata__'})
    return tensors(path)


def write_idx(directory, train=200, test=60, classes=3, size=28, packed=False):
    """IDX files of images that anybody can tell apart, in a new directory."""
    os.makedirs(directory, exist_ok=True)
    for prefix, n in (('train', train), ('t10k', test)):
        labels = bytes((i * 7 + i // 5) % classes for i in range(n))
        pixels = b''.join(bytes((60 * label + (i + j) % 50) % 256 for j in range(size * size)) for i, label in enumerate(labels))
        for name, raw in ((f'{prefix}-images-idx3-ubyte', struct.pack('>4B3I', 0, 0, 8, 3, n, size, size) + pixels),
                          (f'{prefix}-labels-idx1-ubyte', struct.pack('>4BI', 0, 0, 8, 1, n) + labels)):
            pathlib.Path(directory, name + '.gz' * packed).write_bytes(gzip.compress(raw) if packed else raw)


def metrics(path, timing=False):
    lines = [json.loads(line) for line in pathlib.Path(path, 'metrics.jsonl').read_text().splitlines()]
    if not timing:
        for line in lines:
            line.pop('step_seconds', None), line.pop('wall_seconds', None)
    return lines


def same_run(a, b):
    """All that does not depend on time is equal: tensors bit for bit, metrics, position."""
    ta, ma = tensors(f'{a}/checkpoint.safetensors')
    tb, mb = tensors(f'{b}/checkpoint.safetensors')
    assert ta == tb, 'tensors differ: ' + ', '.join(k for k in ta if ta[k] != tb.get(k))
    assert metrics(a) == metrics(b), 'metrics differ'
    pa, pb = json.loads(ma['convoy.position']), json.loads(mb['convoy.position'])
    for p in (pa, pb):
        for key in ('step_seconds', 'wall_seconds', 'metrics_bytes'):
            p.pop(key)
    assert pa == pb, (pa, pb)


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f'waited {seconds} s for {what}'
        time.sleep(0.002)


# ------------------------------------------------------------------------------------------------------- the tests

def test_help():
    r = run(code=0)
    assert 'Commands:' in r.stdout and r.stderr == ''
    assert run('--help', code=0).stdout == run('help', code=0).stdout == r.stdout
    assert re.match(r'convoy \d+\.\d+\.\d+ ', run('--version', code=0).stdout)
    man = run('help', '--man', code=0).stdout
    for command in ('train', 'eval', 'predict', 'info', 'data', 'help'):
        text = run(command, '--help', code=0).stdout
        assert f'Usage: convoy {command}' in text
        assert text == run('help', command, code=0).stdout
        assert f'.SS convoy {command}' in man
        for option in re.findall(r'--([a-z-]+)', text.replace('-\n', '-')):
            assert option in ('help', 'usage', 'version') or '\\-\\-' + option.replace('-', '\\-') in man, option


def test_help_fits_and_is_true():
    """No line is longer than 79 columns, and every example is understood as far as its options go."""
    commands = re.findall(r'^  (\w+) +\S', re.search(r'Commands:\n(.*?)\n\n', run('help', code=0).stdout, re.S)[1], re.M)
    assert len(commands) == 15 and 'help' in commands, commands
    pages = [run('help', code=0).stdout] + [run('help', c, code=0).stdout for c in commands]
    for text in pages:
        assert max(map(len, text.splitlines())) < 80, text
        assert not re.search(r'\n\s*\n\s*\n| \n', text), text
        examples = re.findall(r'^  (convoy [^|\n]+?)(?:   .*| \|.*)?$', text[text.index('Examples:'):], re.M)
        assert len(examples) > 1, text
        for example in examples:
            if example.startswith('convoy bench') and not HAS_BENCH:
                continue
            r = run(*shlex.split(example.replace('~', '/home'))[1:], '--help', code=0)
            assert r.stdout.startswith('Usage: ') and r.stderr == '', (example, r)
    assert 'Examples:' in run('help', 'train', code=0).stdout and '\n.br\n  convoy train' in run('help', '--man', code=0).stdout


def test_usage_errors():
    fails(1, "unknown command 'trian'; did you mean train\\?", 'trian')
    fails(1, "unknown command 'xyzzy'", 'xyzzy')
    fails(1, "unknown command 'trai'; did you mean train", 'help', 'trai')
    fails(1, 'unknown option --epoch-s; did you mean --epochs', 'train', '--epoch-s=3')
    fails(1, 'unknown option --bacth; did you mean --batch', 'train', '--bacth', '3')
    fails(1, 'unknown option --xyzzyxyzzy\n', 'train', '--xyzzyxyzzy')
    fails(1, '--epochs: expected N, found nothing', 'train', '--epochs')
    for bad in ('0', '-1', '10abc', '1e3', ' 5', '0x10', '99999999999999999999', '1,5'):
        fails(1, '--epochs: expected an integer from 1 to', 'train', f'--epochs={bad}')
    for bad in ('nan', 'inf', '1e400', '0x1p3', '1,5', '1.0x', '-0.1'):
        fails(1, '--lr: expected a number', 'train', f'--lr={bad}')
    fails(1, '--momentum: expected a number from 0 to below 1', 'train', '--momentum=1')
    fails(1, '--pool: expected one of max, avg', 'train', '--pool=min')
    fails(1, '--bn-var: expected one of', 'train', '--bn-var=x')
    fails(2, 'api=v2: the model has no such entry', 'train', '--api=v2')
    fails(1, '--isa: expected', 'train', '--isa=mmx')
    fails(1, '--threads: expected an integer from 1 to 1024', 'train', '--threads=0')
    fails(1, "expected one model, found 'lenet' too", 'train', 'lenet-bn', 'lenet')
    fails(1, '--resume needs the run', 'train', '--resume')
    fails(1, 'keeps its settings: leave out --lr', 'train', '--resume=x', '--lr=1')
    fails(1, 'keeps its model', 'train', '--resume=x', 'lenet')
    fails(1, 'two directories', 'train', '--resume=x', '--out=y')
    fails(1, '--nesterov needs --momentum', 'train', '--nesterov', *SMALL)
    fails(1, 'expected a run', 'eval')
    fails(1, 'expected a run', 'predict', 'x')
    fails(1, 'expected list, path or verify', 'data')
    fails(1, "found 'lst'; did you mean list", 'data', 'lst')
    fails(1, 'the name of a data set', 'data', 'path')
    fails(1, '.', 'train', *SMALL, env={'CVY_ISA': 'mmx'})
    fails(1, '.', 'train', *SMALL, env={'CVY_THREADS': 'many'})
    fails(1, "CVY_ALGORITHM is 'fft', expected one of auto, direct, panels, depthwise, transformed", 'train', *SMALL, env={'CVY_ALGORITHM': 'fft'})
    fails(1, "--algorithm: expected one of auto, direct, panels, depthwise, transformed, found 'fft'", 'train', *SMALL, '--algorithm', 'fft')
    fails(1, '.', 'train', *SMALL, '--backend=nonsense')


def test_long_options():
    """A name may be shortened as long as it is one option's; every mistake ends in the program's own line, never argp's."""
    fails(1, 'ambiguous option --l; expected one of --lr-factor, --lr, --l1, --l2, --loss, --label-smoothing\n', 'train', '--l=3')
    fails(1, "--quiet: expected no value, found '3'\n", 'train', '--quiet=3')
    fails(1, "--quiet: expected no value, found ''\n", 'train', '--qui=')
    fails(1, "--help: expected no value, found 'x'\n", 'train', '--help=x')
    fails(1, 'unknown option --\n', 'train', '--=3')
    fails(1, 'unknown option --program-name\n', 'train', '--program-name=x')
    fails(1, "--pool: expected one of max, avg, found 'x'", 'train', '--poo=x')
    fails(1, 'ambiguous option --p; expected one of --pool, --patience, --population, --probe\n', 'train', '--p=x')  # argp has a --program-name
    run('train', '--da', DATA[1], '--batch=64', '--epoc', 1, '--th', 1, '--q', '--ou=abbreviated', 'lenet', code=0)
    assert json.loads(pathlib.Path('abbreviated/config.json').read_text())['batch'] == 64
    for command in ('train', 'eval', 'predict', 'compare', 'info', 'data', 'help') + (('bench',) if HAS_BENCH else ()):
        takes = dict(re.findall(r'^ {2,6}(?:-., +)?--([a-z][a-z0-9-]*)(=|\[=|)', run(command, '--help', code=0).stdout, re.M))
        options, flags = set(takes), {o for o in takes if not takes[o]}
        assert flags >= {'help', 'usage', 'version'}, command
        for name in {o[:n] for o in flags for n in range(len(o) + 1)} - (options - flags):
            meant = [o for o in options if o.startswith(name)]
            assert len(meant) > 1 or meant[0] in flags
            r = run(command, f'--{name}=3', code=1)
            assert re.fullmatch(rf"convoy {command}: (--[a-z-]+: expected no value, found '3'"
                                rf"|(ambiguous|unknown) option --[a-z-]*(; .*)?|--[a-z-]+: expected .*)\n"
                                rf"Try 'convoy {command} --help'\.\n", r.stderr), (command, name, r)


def test_empty_values():
    """An empty value is a shell variable that was never set: an error for every option that there is."""
    for command in ('train', 'eval', 'predict', 'compare', 'info', 'data') + (('bench',) if HAS_BENCH else ()):
        text = re.sub(r'-\n +', '-', run(command, '--help', code=0).stdout)
        for letter in set(re.findall(r'-([a-z]), --[a-z-]+=', text)):
            fails(1, f'-{letter}: expected [A-Zx:=,.\[\]]+, found nothing', command, f'-{letter}', '')
        for option in set(re.findall(r'--([a-z][a-z-]*)\[?=', text)):
            fails(1, f'--{option}: expected (no|[A-Zx:=,.\[\]]+), found nothing', command, f'--{option}=')
            if f'--{option}[=' not in text:
                fails(1, f'--{option}: expected [A-Zx:=,.\[\]]+, found nothing', command, f'--{option}', '')
        fails(1, 'an argument is empty', command, '')
    # The names of backends match whole, in an option and in the environment.
    for names in ('native,r', 'native,', ',native', 'n', 'nativ', 'native,,reference', 'reference,refer', ':unfused'):
        fails(1, r'--backends|backend', 'compare', 'lenet', '--backends', names)
        if ':' not in names:
            fails(1, 'backend', 'train', *SMALL, '--backend', names)
            fails(1, 'backend', 'train', *SMALL, env={'CVY_BACKEND': names})
    fails(1, 'backend', 'train', *SMALL, env={'CVY_BACKEND': ''})


def test_suggestions():
    """What people type instead, and what they are told; nothing where nothing is near."""
    run('train', 'lenet', *SMALL, '--epochs', 1, '--out', 'run', code=0)
    for words, code, meant in (
            ('train --data MNIST', 2, r'did you mean mnist\?'), ('train --data fashion_mnist', 2, r'did you mean fashion-mnist\?'),
            ('train --data cifar-10', 2, r'did you mean cifar10\?'), ('train --data fmnist', 2, r'did you mean fashion-mnist\?'),
            ('train --data CIFAR', 2, r'did you mean cifar10\?'), ('train --data synthetix', 2, r'did you mean synthetic\?'),
            ('data path MNIST', 2, r'did you mean mnist\?'), ('data verify Cifar-10', 2, r'did you mean cifar10\?'),
            ('data download', 1, 'nothing is ever downloaded'), ('data lits', 1, r'did you mean list\?'),
            ('train LeNet-BN', 2, r'did you mean lenet-bn\?'), ('train vgg11', 2, r'did you mean vgg11-bn\?'),
            ('info ResNet_20', 2, r'did you mean resnet20\?'), ('compare lenet_bn --backends native', 2, r'did you mean lenet-bn\?'),
            ('train mnist', 2, 'it is a data set: --data=mnist'), ('train Fashion_MNIST', 2, r'did you mean --data=fashion-mnist\?'),
            ('train run', 2, 'it is a run: --resume=run goes on with it'), ('train ./run', 3, 'it is a run: --resume=./run'),
            ('train run/checkpoint.safetensors', 2, 'holds weights: see `convoy eval`'),
            ('train --batch-size 3', 1, r'did you mean --batch\?'), ('train --learning-rate 3', 1, r'did you mean --lr\?'),
            ('eval --weights x', 1, "the file's name stands alone"), ('train lenet --weights x', 1, r'did you mean --resume?'),
            ('train --learning_rate=3', 1, r'did you mean --lr\?'), ('train --ecpohs=3', 1, r'did you mean --epochs\?'),
            ('train --model lenet', 1, "the model's name stands alone"),
            ('train --scheduler cosine', 1, r'did you mean --schedule\?'), ('train --warmup 3', 1, 'a schedule has it: --schedule=constant:warmup_epochs=N'),
            ('train --val-split 0.1', 1, r'did you mean --validation\?'), ('train --early-stopping', 1, r'did you mean --patience\?'),
            ('train --weightdecay 1', 1, r'did you mean --weight-decay\?'), ('train --output x', 1, r'did you mean --out\?'),
            ('compare --output x', 1, r'did you mean --json\?'), ('train --gpu', 1, 'computed on the CPU'),
            ('eval run --cuda', 1, 'computed on the CPU'), ('train --optimizer SGD', 1, r'did you mean sgd\?'), ('train --optimizer adm', 1, r'did you mean adam\?'),
            ('train --adam', 1, r'did you mean --optimizer=NAME\?'), ('train --betas 0.9', 1, r'did you mean --beta1 and --beta2\?'),
            ('train --optimizer adam --beta1 1', 1, 'expected a number from 0 to below 1'), ('train --beta1 0.9', 1, '--beta1: sgd has no such setting'),
            ('train --optimizer adam --rho 0.9', 1, '--rho: adam has no such setting'),
            ('train --optimiser sgd', 1, r'did you mean --optimizer\?'),
            ('train -epochs 3', 1, r'unknown option -epochs; did you mean --epochs\?'), ('train --pool=Max', 1, r'did you mean max\?'),
            ('version', 1, r'did you mean convoy --version\?'), ('models', 1, r'did you mean info\?'), ('Train', 1, r'did you mean train\?'),
            ('fit', 1, r'did you mean train\?'), ('resume', 1, 'convoy train --resume=RUN'), ('help fit', 1, r'did you mean train\?'),
            ('lenet-bn', 1, 'convoy train lenet-bn'),
            ('--threads 2 train lenet', 1, '^convoy: options stand behind the command: convoy train --threads 2 lenet$'),
            ('--threads 2', 1, 'expected a command'), ('train --data=~/x', 1, r"--data: '~/x': the shell expands ~ only"),
            ('train --out ~/x', 1, r"--out: '~/x': .*HOME"), ('eval ~/x', 1, r"'~/x': the shell expands ~ only")):
        fails(code, meant, *words.split())
    for words in ('train --xyzzyxyzzy', 'eval run --batch-size 3', 'train -y', 'xyzzy', 'train --data ./nowhere', 'train --data cifar:run', 'train xyzzy', 'data xyzzy',
                  'train --data=qwertz'):
        r = run(*words.split())
        assert r.returncode in (1, 2) and 'did you mean' not in r.stderr, r
    assert run('--xyzzy', code=1).stderr.splitlines()[0] == "convoy: expected a command, found the option '--xyzzy'"
    for name in ('mnist', 'fashion-mnist', 'kmnist', 'cifar10'):
        fails(2, f"it is a data set: --data={name}$", 'train', name)
    assert 'api' not in run('train', '--gpu').stderr
    os.mkdir('~') # a file of that name can still be meant
    fails(2, 'holds neither', 'train', '--data', '~')


def test_short_options():
    run('train', '-qd', DATA[1], '-b64', '-e', 2, '-t', 1, '-l0.5', '-s', 9, '-o', 'r', code=0)
    config = json.loads(pathlib.Path('r/config.json').read_text())
    assert (config['batch'], config['epochs'], config['lr'], config['seed'], config['data']) == (64, 2, 0.5, '9', DATA[1]), config
    assert json.loads(pathlib.Path('r/env.json').read_text())['threads'] == 1
    run('train', '-r', 'r', '-e3', code=0)
    run('train', '--resume', 'r', '-e4', code=0)
    run('train', '--resume', '--out', 'r', '-e5', code=0)
    assert 'all 5 epochs are trained already' in run('train', '-rr', code=0).stderr
    run('eval', 'r', '-t', 1, '-d', DATA[1], code=0)
    assert len(run('predict', 'r', 0, '-k1', code=0).stdout.split(',')) == 1
    assert 'at batch 32: ' in run('info', 'lenet', '-b32', '--phases', code=0).stdout
    for words in ('-h', '-?', '--help'):
        assert run('train', words, code=0).stdout.startswith('Usage: convoy train')
    assert run('train', '--version', code=0).stdout == run('--version', code=0).stdout


def test_algorithm_of_a_layer_and_of_all():
    def kernels(path, *words):
        """What computes conv1 and conv2, by phase."""
        lines = run('info', path, '-b16', '--phases', *words, code=0).stdout.splitlines()
        return {m[1]: m[2] for m in (re.search(r'^ *\d+  (conv\d(?:\.d[xw])?) .*  (\w+(?:, as asked|; .*)?)$', line) for line in lines) if m}
    conv = {'type': 'conv2d', 'out_channels': 64, 'kernel': 3, 'pad': 1}
    layers = [conv | {'name': 'conv1'}, conv | {'name': 'conv2', 'algorithm': 'direct'}, {'type': 'linear', 'name': 'fc', 'out_features': 2}]
    pathlib.Path('algorithm.json').write_text(json.dumps({'name': 'algorithm', 'input': [64, 16, 16], 'layers': layers}))
    found = kernels('algorithm.json')
    assert set(found) == {'conv1', 'conv1.dw', 'conv2', 'conv2.dx', 'conv2.dw'}, found
    dearer = r'; {} would cost [1-9]\.\d\d times as much'.format
    for name, text in found.items():
        expected = 'transformed' + dearer('direct') + (dearer('panels') if name == 'conv1' else '')
        assert re.fullmatch('direct, as asked' if name.startswith('conv2') else expected, text), (name, text)
    for option in '--algorithm', '--conv':
        assert set(kernels('algorithm.json', option, 'transformed').values()) == {'transformed, as asked'}
        assert set(kernels('algorithm.json', option, 'direct').values()) == {'direct, as asked'}


def test_outputs_are_looked_at_first():
    """Files that cannot be written are told before anything is measured, or even read."""
    os.mkdir('d')
    for option in ('--json', '--html'):
        for path, why in (('d', 'Is a directory'), ('missing/x', "there is no directory 'missing'"), ('x/', 'found a directory')):
            fails(3, f'{path}: cannot write: .*{why}', 'compare', 'lenet', '--backends', 'native', f'{option}={path}')
    fails(3, "there is no directory 'missing'", 'compare', 'a.json', 'b.json', '--json', 'missing/x')


def test_bad_models():
    fails(2, "unknown model 'lenet-bm'.*did you mean lenet-bn", 'train', 'lenet-bm', *SMALL)
    fails(3, 'missing.json: cannot open: No such file', 'train', 'missing.json', *SMALL)
    os.mkdir('directory.json')
    fails(3, 'found a directory', 'train', 'directory.json', *SMALL)
    good = json.loads((SOURCE / 'src/models/lenet-bn.json').read_text())

    def bad(pattern, change=None, text=None):
        model = json.loads(json.dumps(good))
        if change:
            change(model)
        pathlib.Path('bad.json').write_text(text if text is not None else json.dumps(model))
        fails(2, pattern, 'train', 'bad.json', *SMALL)

    bad('bad.json: line 3, column', text='{"name":\n"x",\n}')
    bad('bad.json: line 1', text='')
    bad('layer 0 \\(\'conv1\'\\): "kernel": expected .* found "5"', lambda m: m['layers'][0].update(kernel='5'))
    bad('layer 0 \\(conv2d conv1\\)', lambda m: m['layers'][0].update(kernel=29))
    bad('unknown key "layer"', lambda m: m.update(layer=1))
    bad("the model's input is 3x28x28, the images of", lambda m: m.update(input=[3, 28, 28]))
    bad('tells 11 classes apart', lambda m: m['layers'][-1].update(out_features=11))
    bad('last layer must give', lambda m: m['layers'].pop() and [m['layers'].pop() for _ in range(8)])
    fails(2, 'changes nothing', 'train', 'lenet', '--bn-var=biased', *SMALL)
    fails(2, 'no such entry in "apis"', 'train', 'resnet20', '--api=v1')
    fails(2, 'at least two images', 'train', '--data', 'synthetic:train=65,test=10', '--batch', '64')
    # statistics that are frozen need no second image
    layers = [{'type': 'linear', 'name': 'f1', 'out_features': 8}, {'type': 'batch_norm', 'name': 'bn1'}, {'type': 'linear', 'name': 'fc', 'out_features': 10}]
    for frozen in False, True:
        layers[1]['frozen'] = frozen
        pathlib.Path('bn.json').write_text(json.dumps({'name': 'bn', 'input': [1, 28, 28], 'layers': layers}))
        for images, batch in (65, 64), (5, 1):
            args = ['train', 'bn.json', '--data', f'synthetic:train={images},test=10', '--batch', str(batch), '--epochs', '1']
            if frozen:
                run(*args, code=0)
            else:
                fails(2, 'at least two images|more than one value', *args)
    # a name that begins another's; and of long vectors the first sixteen
    layers = [{'type': 'linear', 'name': 'b', 'out_features': 17}, {'type': 'batch_norm', 'name': 'b1'},
              {'type': 'linear', 'name': 'fc', 'out_features': 10}]
    pathlib.Path('bn.json').write_text(json.dumps({'name': 'bn', 'input': [1, 28, 28], 'layers': layers}))
    fails(2, 'batch norm b1 needs at least two images in a batch, but 65 images in batches of 64 leave one alone',
          'train', 'bn.json', '--data', 'synthetic:train=65,test=10', '--batch', '64')
    r = run('train', 'bn.json', *SMALL, '--epochs', '1', '--out', 'bn', code=0)
    for what in 'gamma', 'beta':
        assert re.search(rf'^{what} of b1: \[(-?\d\.\d{{4}}, ){{15}}-?\d\.\d{{4}}, \.\.\.\]$', r.stdout, re.M), r.stdout


def test_bad_data():
    nowhere = {'XDG_DATA_DIRS': os.getcwd(), 'CVY_DATA_DIR': os.getcwd(), 'HOME': os.getcwd()}
    fails(2, '.', 'train', '--data', 'nonsense-set', env=nowhere)
    fails(2, 'mnist', 'train', '--data', 'mnist', env=nowhere)
    fails(2, '.', 'train', '--data', 'synthetic:bogus=1')
    os.mkdir('empty')
    fails(2, '.', 'train', '--data', './empty')
    os.mkdir('broken')
    for name in ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte', 't10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte'):
        pathlib.Path('broken', name).write_bytes(b'\0\0\x08\x03\0\0')
    fails(2, 'idx', 'train', '--data', './broken')
    fails(2, 'unknown data set .minst.; did you mean mnist', 'data', 'path', 'minst')
    assert 'fashion-mnist' in run('data', 'list', code=0).stdout


def test_own_data():
    """A user's own files are called what they are, and a run is resumed with the very same images only."""
    write_idx('mnist')
    train = ['train', 'lenet-bn', '--batch', '50']
    r = run(*train, '--epochs', 1, '--data', 'mnist/.', '--out', 'r', code=0)
    assert r.stdout.startswith(f'data: idx:mnist/. (not known) 200 train / 60 test\n') and notes(r) == [], r
    r = run(*train, '--epochs', 1, '--data', 'mnist', '--out', 'named', code=0, env={'CVY_DATA_DIR': os.getcwd()})
    assert r.stdout.startswith(f'data: idx:{os.getcwd()}/mnist (not known) 200 train / 60 test\n'), r
    assert notes(r) == [f'convoy: note: {os.getcwd()}/mnist: these are not the published files of mnist'], r
    assert re.match(r'0: class \d [01]\.\d+, .*  \(is class 0\)\n', run('predict', 'r', '0', code=0).stdout)
    assert 'test acc' in run('eval', 'r', code=0).stdout
    fails(2, 'mnist: the content is none of the published sets', 'data', 'verify', './mnist')
    # More classes than outputs; another size.
    write_idx('many', classes=11)
    fails(2, r'tells 10 classes apart, idx:many has labels up to 10', *train, '--data', 'many')
    write_idx('large', size=29)
    fails(2, r"the model's input is 1x28x28, the images of idx:large are 1x29x29", *train, '--data', 'large')
    # Packed or not, moved or not: the same data. One pixel or one label more or less: not.
    write_idx('packed', packed=True)
    run('train', '--resume=r', '--data', 'packed', '--epochs', 2, code=0)
    for name in sorted(os.listdir('mnist')):
        raw = bytearray(pathlib.Path('mnist', name).read_bytes())
        raw[-1] ^= 1
        pathlib.Path('mnist', name).write_bytes(raw)
        fails(2, 'not the images and labels that the run', 'train', '--resume=r', '--data', 'mnist/.', '--epochs', 3)
        raw[-1] ^= 1
        pathlib.Path('mnist', name).write_bytes(raw)
    run('train', '--resume=r', '--data', 'mnist/.', '--epochs', 3, code=0)
    # The test images to train on.
    for name in os.listdir('mnist'):
        if name.startswith('t10k'):
            shutil.copy(f'mnist/{name}', f'mnist/train{name[4:]}')
    assert 'note: mnist/.: the training images are the test images' in run(*train, '--data', 'mnist/.', '--epochs', 1, code=0).stderr
    # A run of an older convoy remembers the labels only.
    values, meta = read_tensors('r/checkpoint.safetensors')
    config = json.loads(meta['convoy.config'])
    del config['data_sha256']
    write_tensors('r/checkpoint.safetensors', values, {**meta, 'convoy.config': json.dumps(config)})
    write_idx('mnist')
    r = run('train', '--resume=r', '--data', 'mnist/.', '--epochs', 4, code=0)
    assert 'begun by an older convoy, which kept a hash of the labels only' in r.stderr, r
    assert notes(run('train', '--resume=r', '--data', 'mnist/.', '--epochs', 5, code=0)) == []
    # A name that JSON cannot hold.
    os.rename(b'mnist', b'\xe9')
    r = subprocess.run([os.fsencode(CONVOY), b'train', b'--data', b'\xe9', b'--out', b'new'], capture_output=True, env=ENV)
    assert r.returncode == 1 and b'is not UTF-8' in r.stderr and not os.path.exists('new'), r
    r = subprocess.run([os.fsencode(CONVOY), b'eval', b'r', b'--data', b'\xe9'], capture_output=True, env=ENV)
    assert r.returncode == 0, r
    r = subprocess.run([os.fsencode(CONVOY), b'train', b'--data', b'\xe9/d'], capture_output=True, env=ENV)
    assert r.returncode == 2 and b'nor a directory' in r.stderr, r


def test_train():
    r = run('train', 'lenet-bn', *SMALL, '--epochs', 2, '--out', 'a/b/run', code=0)
    lines = r.stdout.splitlines()
    assert 'training on cpu' in lines and 'synthetic' in lines[0]
    assert re.fullmatch(r'loss \d\.\d{3}, train acc [01]\.\d{3}, test acc [01]\.\d{3}', lines[3]), lines
    assert re.fullmatch(r'\d+\.\d examples/sec on cpu', lines[4]), lines
    assert 'wall clock' in lines[5]
    for line, what in zip(lines[6:8], ('gamma', 'beta')):
        assert re.fullmatch(what + r' of bn1: \[(-?\d+\.\d{4}, ){5}-?\d+\.\d{4}\]', line), line
    assert lines[8] == 'run: a/b/run'
    assert sorted(os.listdir('a/b/run')) == ['checkpoint.safetensors', 'config.json', 'env.json', 'metrics.jsonl', 'model.json']
    config = json.loads(pathlib.Path('a/b/run/config.json').read_text())
    assert config['batch'] == 64 and config['lr'] == 1.0 and config['model'] == 'lenet-bn'
    json.loads(pathlib.Path('a/b/run/env.json').read_text())
    assert json.loads(pathlib.Path('a/b/run/model.json').read_text())['name'] == 'lenet-bn'
    m = metrics('a/b/run', timing=True)
    assert [line['epoch'] for line in m if line['type'] == 'epoch'] == [1, 2]
    assert len([line for line in m if line['type'] == 'step']) == 12 # 16 batches: every third, and the last
    names, meta = tensors('a/b/run/checkpoint.safetensors')
    for name in ('conv1.weight', 'conv1.bias', 'bn1.weight', 'bn1.running_mean', 'bn1.running_var', 'fc3.bias'):
        assert name in names
    assert len(names['conv1.weight']) == 6 * 25 * 4 and meta['convoy.format'] == '1'
    fails(1, 'holds a run already', 'train', *SMALL, '--out', 'a/b/run')
    # The same seed gives the same bits, another one does not; the threads do not matter.
    run('train', *SMALL, '--epochs', 2, '--out', 'again', '--threads', 1, code=0)
    same_run('a/b/run', 'again')
    run('train', *SMALL, '--epochs', 2, '--out', 'other', '--seed', 2, code=0)
    assert tensors('other/checkpoint.safetensors')[0] != names
    # The model a run wrote can be trained again.
    run('train', 'a/b/run/model.json', *SMALL, '--epochs', 2, '--out', 'copy', code=0)
    same_run('a/b/run', 'copy')
    # Without --out: a new directory below runs/.
    where = run('train', *SMALL, '--epochs', 1, code=0).stdout.splitlines()[-1]
    assert re.fullmatch(r'run: runs/\d{8}-\d{6}-lenet-bn(-\d+)?', where), where


def test_options_reach_the_run():
    r = run('train', 'lenet', *SMALL, '--epochs', 2, '--lr', '0.05', '--momentum', '0.9', '--nesterov', '--weight-decay', '1e-3',
            '--pool', 'max', '--eval-every', 2, '--out', 'r', code=0)
    assert 'gamma' not in r.stdout
    config = json.loads(pathlib.Path('r/config.json').read_text())
    assert (config['lr'], config['momentum'], config['nesterov'], config['weight_decay'], config['eval_every']) == \
        (0.05, 0.9, True, 0.001, 2)
    assert pathlib.Path('r/model.json').read_text().count('"max"') == 2
    assert any(k.startswith('optimizer.momentum.') for k in tensors('r/checkpoint.safetensors')[0])
    assert ['test_acc' in line for line in metrics('r') if line['type'] == 'epoch'] == [False, True]
    run('train', *SMALL, '--epochs', 1, '--api', 'v1', '--bn-var', 'unbiased', '--out', 'v1', code=0)
    config = json.loads(pathlib.Path('v1/config.json').read_text())
    assert (config['lr'], config['eval_batch'], config['batch_means']) == (0.1, 128, True)
    assert 'biased' in pathlib.Path('v1/model.json').read_text()
    assert f'acc {metrics("v1")[-1]["test_acc"]:.4f}' in run('eval', 'v1', code=0).stdout


def test_batch_means():
    """Losses and accuracies as d2l's newer text has them: a last batch of 100 counts as much as those of 300."""
    told = {}
    for name, more in {'images': [], 'batches': ['--batch-means']}.items():
        run('train', 'lenet', *DATA, '--batch', 300, '--eval-batch', 150, '--epochs', 1, *more, '--out', name, code=0)
        told[name] = metrics(name)
        assert f'loss {told[name][-1]["test_loss"]:.4f}' in run('eval', name, code=0).stdout
    (images, batches), losses = told.values(), [line['batch_loss'] for line in told['images'] if line['type'] == 'step']
    assert losses == [line['batch_loss'] for line in batches if line['type'] == 'step'] and len(losses) == 4
    assert abs(batches[-1]['train_loss'] - sum(losses) / 4) < 1e-7
    assert abs(images[-1]['train_loss'] - (sum(losses[:3]) * 3 + losses[3]) / 10) < 1e-7
    assert images[-1]['test_loss'] != batches[-1]['test_loss'] and images[-1]['train_acc'] == batches[-1]['train_acc']


def test_resume():
    common = ['lenet', *SMALL, '--lr', '0.1', '--momentum', '0.9']
    run('train', *common, '--epochs', 4, '--out', 'whole', code=0)
    # At an epoch's end: fewer epochs first, then more.
    run('train', *common, '--epochs', 2, '--out', 'parts', code=0)
    run('train', '--resume=parts', '--epochs', 4, code=0)
    same_run('whole', 'parts')
    # A finished run resumed prints the same result again and changes nothing.
    before = pathlib.Path('parts/checkpoint.safetensors').read_bytes()
    r = run('train', '--resume', '--out', 'parts', code=0)
    assert re.search(r'^loss .*, test acc ', r.stdout, re.M)
    assert pathlib.Path('parts/checkpoint.safetensors').read_bytes() == before
    fails(2, '4 epochs are trained already', 'train', '--resume=parts', '--epochs', 3)
    fails(2, 'not the images', 'train', '--resume=parts', '--epochs', 5, '--data', 'synthetic:seed=4,train=1000,test=200')
    # In the middle of an epoch, killed without warning: with lines of metrics that the checkpoint does not know.
    p = subprocess.Popen([CONVOY, 'train', *common, '--epochs', '4', '--out', 'killed', '--save-every', '3'], env=ENV,
                         stdout=subprocess.DEVNULL)
    wait_for(lambda: pathlib.Path('killed/checkpoint.safetensors').exists() or p.poll() is not None, 'a checkpoint')
    p.kill()
    p.wait()
    with open('killed/metrics.jsonl', 'a') as f:
        f.write('{"type":"step","half a li')
    run('train', '--resume=killed', '--save-every', 0, code=0)
    same_run('whole', 'killed')


def test_cs231n():
    """The nets of cs231n, on CIFAR's shapes: parts of the sets, accuracies as its solver reports them, variants; a mean image of all that may be
    trained on."""
    data = ['--data', 'synthetic:train=400,test=60']
    for name, args in {'cs231n-c1': [], 'cs231n-c7': ['--train-images', 100], 'cs231n-c8': ['--train-images', 60], 'cs231n-c9': []}.items():
        model = json.loads((pathlib.Path(SOURCE) / 'src/models' / f'{name}.json').read_text())
        for api in [None, *model.get('apis', [])]:
            out = f'{name}-{api}'
            r = run('train', name, *data, '--epochs', 1, '--validation', 50, '--train-images', 100, '--test-images', 30, *args,
                    *(['--api', api] if api else []), '--out', out, code=0)
            used = args[1] if args else 100
            assert f') {used} train / 50 validation / 30 test\n' in r.stdout, r.stdout
            line = [line for line in metrics(out) if line['type'] == 'epoch'][-1]
            assert re.search(rf'train acc {line["train_acc"]:.3f} \({line["eval_train_acc"]:.3f}\)', r.stderr), r.stderr
            assert line['step'] == used // model['defaults']['batch'] + (used % model['defaults']['batch'] > 0)
            config = json.loads(pathlib.Path(out, 'config.json').read_text())
            assert (config['train_limit'], config['test_limit'], config['sampling'], config['keep_running']) == (used, 30, 'replacement', True)
            assert config['report_penalty'] == (name == 'cs231n-c8')
            values, _ = tensors(f'{out}/checkpoint.safetensors')
            mean = struct.unpack('<3072f', values['input.mean'])
            assert ('bn1.weight' in values, 'ln1.weight' in values) == (name == 'cs231n-c1' and api is None, api == 'layer-norm')
            assert max(mean) > 1  # of bytes
        if name != 'cs231n-c1':
            continue
        run('train', '--resume', out, '--epochs', 2, code=0)
        run('train', name, *data, '--epochs', 2, '--validation', 50, '--train-images', 100, '--test-images', 30, *args,
            *(['--api', api] if api else []), '--out', f'{name}-whole', code=0)
        a, b = metrics(out), metrics(f'{name}-whole')
        assert a[-2]['type'] == b[-2]['type'] == 'epoch' and a[-2].keys() == b[-2].keys()
    fails(1, '--train-images: expected at most the 950 there are, found 951', 'train', *SMALL, '--validation', 50, '--train-images', 951)
    fails(1, '--keep-running is of --keep-best', 'train', *SMALL, '--keep-running')


def test_population():
    """Running statistics made at the end, of many batches; the accuracy that is told is theirs. Images that are evaluated at once."""
    common = ['lenet-bn', *SMALL, '--lr', 0.5, '--epochs', 2]
    run('train', *common, '--out', 'plain', code=0)
    r = run('train', *common, '--population', 20, '--eval-batch', 50, '--out', 'means', code=0)
    plain, means = (tensors(f'{name}/checkpoint.safetensors')[0] for name in ('plain', 'means'))
    assert plain.keys() == means.keys()
    assert all((plain[name] == means[name]) == ('running' not in name) for name in plain)
    last = metrics('means')[-1]
    assert (last['type'], last['population']) == ('end', 20) and f'test acc {last["test_acc"]:.3f}' in r.stdout
    assert f'acc {last["test_acc"]:.4f}' in run('eval', 'means', code=0).stdout
    config = json.loads(pathlib.Path('means/config.json').read_text())
    assert (config['population'], config['eval_batch']) == (20, 50)
    run('train', '--resume=means', code=0)
    assert tensors('means/checkpoint.safetensors')[0] == means
    fails(1, '--eval-batch: expected an integer from 1', 'train', '--eval-batch=0')
    # batch norms that are evaluated by their own batch: how large it is matters, and eval knows it of the run
    model = json.loads(pathlib.Path('plain/model.json').read_text())
    for layer in model['layers']:
        if layer['type'] == 'batch_norm':
            layer.update(batch_statistics=True, running_var_offset=1e-6)
    pathlib.Path('own.json').write_text(json.dumps(model))
    told = []
    for n in (200, 8):
        run('train', 'own.json', *common[1:], '--eval-batch', n, '--out', f'own{n}', code=0)
        told.append(metrics(f'own{n}')[-1]['test_loss'])
        assert f'test loss {told[-1]:.4f}' in run('eval', f'own{n}', code=0).stdout
    assert told[0] != told[1]


def test_executed():
    """yann's models as its text has them, and as its program computes."""
    small = ['--data', 'synthetic:train=300,test=100', '--validation', 100, '--batch', 50, '--epochs', 1]
    for name in ('yann-lenet5', 'yann-bn-before', 'yann-bn-after'):
        run('train', name, *small, '--as-documented', '--out', f'{name}-d', code=0)
        run('train', name, *small, '--as-executed', '--eval-batch', 100, '--out', f'{name}-e', code=0)
        files = [(json.loads(pathlib.Path(f'{name}-{x}/config.json').read_text()), json.loads(pathlib.Path(f'{name}-{x}/model.json').read_text())) for x in 'de']
        (dc, dm), (ec, em) = files
        assert (dc['max_norm'], ec['max_norm']) == (0, 15**.5) and (dc['patience'], ec['patience']) == (2, 0)
        assert ec['l1'] == ec['l2'] == 0 and 'only_down' in ec['schedule'] and 'only_down' not in dc['schedule']
        assert (dm['layers'] == em['layers']) == (name == 'yann-lenet5')
        values = [tensors(f'{name}-{x}/checkpoint.safetensors')[0] for x in 'de']
        assert {k: len(v) for k, v in values[0].items()} == {k: len(v) for k, v in values[1].items()}
        assert f'{json.loads(pathlib.Path(f"{name}-e/metrics.jsonl").read_text().splitlines()[-1])["test_acc"]:.4f}' in run('eval', f'{name}-e', code=0).stdout
    fails(2, 'batch_statistics needs more than one value per channel', 'predict', 'yann-bn-before-e', 0)
    names = [layer['type'] for layer in em['layers']]
    assert names.index('batch_norm') > names.index('maxout')
    fails(2, 'no such entry in "apis"', 'train', 'lenet', '--as-executed', *SMALL)
    fails(1, 'one of --api and --as-executed, found both', 'train', 'lenet', '--api=v1', '--as-executed')
    run('train', 'yann-lenet5', *small, '--api=executed', '--seed', 1, '--out', 'same', code=0)
    assert tensors('same/checkpoint.safetensors')[0] == tensors('yann-lenet5-e/checkpoint.safetensors')[0]
    # the net of the published run: as executed, but for its layers
    run('train', 'yann-lenet5', *small, '--api=maxout', '--out', 'maxout', code=0)
    configs = [json.loads(pathlib.Path(f'{name}/config.json').read_text()) for name in ('maxout', 'same')]
    assert not {k for k in configs[0] if configs[0][k] != configs[1][k]} - {'api', 'model'}, configs
    values = tensors('maxout/checkpoint.safetensors')[0]
    assert [len(values[f'{name}.weight']) // 4 for name in ('conv_2', 'dot_product_1')] == [50 * 10 * 9, 1250 * 1800]


def test_penalties():
    """What weights cost, told or not, and norms of weights, of all linear layers and by pattern; in a run's files, and in what is resumed."""
    common = ['lenet', *DATA, '--batch', 1000, '--epochs', 1]
    losses = {}
    for name, more in {'plain': [], 'l1': ['--l1', 0.01], 'told': ['--l1', 0.01, '--report-penalty'],
                       'l2': ['--l2', 0.01, '--report-penalty'], 'half': ['--weight-decay', 0.02, '--report-penalty']}.items():
        run('train', *common, *more, '--out', name, code=0)
        losses[name] = metrics(name)[-1]['train_loss']
    assert losses['plain'] == losses['l1'] < losses['told'] and abs(losses['l2'] - losses['half']) < 1e-6 and losses['l2'] > losses['plain'] + 0.1, losses
    weights = [tensors(f'{name}/checkpoint.safetensors')[0]['fc1.weight'] for name in losses]
    assert weights[0] != weights[1] == weights[2] != weights[3]
    args = ['lenet', *SMALL, '--lr', 0.5, '--max-norm', 0.7, '--max-norm-of', 'conv1.weight=0.5', '--max-norm-of', 'fc3.*=0', '--report-penalty',
            '--l2', 1e-4]
    run('train', *args, '--epochs', 2, '--out', 'normed', code=0)
    config = json.loads(pathlib.Path('normed/config.json').read_text())
    assert (config['max_norm'], config['report_penalty'], config['l2'], config['l1']) == (0.7, True, 1e-4, 0)
    assert config['params'] == [{'match': 'conv1.weight', 'max_norm': 0.5}, {'match': 'fc3.*', 'max_norm': 0}]
    values, _ = read_tensors('normed/checkpoint.safetensors')
    for name, most in (('conv1.weight', 0.5), ('conv2.weight', 9), ('fc1.weight', 0.7), ('fc3.weight', 9)):
        n = SHAPES[name][0]
        numbers = struct.unpack(f'<{len(values[name]) // 4}f', values[name])
        rows = [sum(x * x for x in numbers[i * len(numbers) // n:(i + 1) * len(numbers) // n])**.5 for i in range(n)]
        assert max(rows) < most + 1e-5 and (most < 9 or max(rows) > 0.7), (name, max(rows))
    run('train', *args, '--epochs', 1, '--out', 'parts', code=0)
    run('train', '--resume=parts', '--epochs', 2, code=0)
    same_run('normed', 'parts')
    fails(1, '--l1: expected a number from 0 to', 'train', '--l1=-1')
    fails(1, '--max-norm-of: expected PATTERN=X', 'train', '--max-norm-of', 'fc1')
    fails(1, "no parameter's name matches 'nothing'", 'train', *SMALL, '--max-norm-of', 'nothing=1')


def test_steps():
    """A run of so many steps, wherever they end in an epoch; evaluated in between on some of the test images."""
    common = ['lenet', *SMALL, '--lr', '0.1', '--momentum', '0.9']
    r = run('train', *common, '--steps', 40, '--eval-steps', 15, '--eval-images', 30, '--out', 'whole', code=0)
    assert re.search(r'^step  1/40  loss \d\.\d+  test loss \d\.\d+  test acc \d\.\d+$', r.stderr, re.M), r.stderr
    assert r.stderr.count('\nstep ') + r.stderr.startswith('step ') == 3 and 'epoch 3/3' in r.stderr, r.stderr
    lines = metrics('whole')
    between = [line for line in lines if line['type'] == 'step' and 'test_acc' in line]
    assert [line['step'] for line in between] == [1, 16, 31]
    assert all(abs(line['test_acc'] * 30 - round(line['test_acc'] * 30)) < 1e-6 for line in between)
    assert [line['epoch'] for line in lines if line['type'] == 'epoch'] == [1, 2, 2.5]
    assert lines[-1]['step'] == 40 and f'test acc {lines[-1]["test_acc"]:.3f}' in r.stdout
    config = json.loads(pathlib.Path('whole/config.json').read_text())
    assert (config['steps'], config['eval_steps'], config['eval_images']) == (40, 15, 30)
    run('train', *common, '--steps', 21, '--eval-steps', 15, '--eval-images', 30, '--out', 'parts', code=0)
    run('train', '--resume=parts', '--steps', 40, code=0)
    assert tensors('whole/checkpoint.safetensors')[0] == tensors('parts/checkpoint.safetensors')[0]
    assert [line for line in metrics('parts') if line['step'] != 21] == [line for line in lines if line['step'] != 21]
    assert 'all 40 steps are trained already; --steps=80 would go on' in run('train', '--resume=parts', code=0).stderr
    fails(2, '40 steps are trained already, more than --steps=39', 'train', '--resume=parts', '--steps', 39)
    run('train', '--resume=parts', '--epochs', 3, '--eval-steps', 0, code=0)
    assert metrics('parts')[-1]['epoch'] == 3
    fails(1, 'one of --epochs and --steps, found both', 'train', *common, '--steps', 9, '--epochs', 1)
    # a model's steps, and epochs instead of them
    model = json.loads(pathlib.Path('whole/model.json').read_text())
    model['defaults'].update(steps=5, batch=64)
    pathlib.Path('both.json').write_text(json.dumps(model))
    fails(2, 'both.json: defaults: "epochs" and "steps": expected one of them', 'train', 'both.json', *DATA)
    del model['defaults']['epochs']
    pathlib.Path('steps.json').write_text(json.dumps(model))
    assert '5 steps' in run('info', 'steps.json', code=0).stdout
    run('train', 'steps.json', *DATA, '--out', 'five', code=0)
    assert metrics('five')[-1]['step'] == 5
    run('train', 'steps.json', *DATA, '--epochs', 1, '--out', 'one', code=0)
    assert metrics('one')[-1]['step'] == 16


def test_optimizers():
    """Adam and AdamW by option and by model file: what a run says of them, and resuming in the middle of an epoch."""
    common = ['lenet', *SMALL, '--optimizer', 'adamw', '--lr', '0.002', '--beta1', '0', '--epochs']
    run('train', *common, 2, '--out', 'whole', code=0)
    config = json.loads(pathlib.Path('whole/config.json').read_text())
    assert {k: config[k] for k in ('optimizer', 'lr', 'beta1', 'beta2', 'eps', 'epsilon_hat', 'weight_decay', 'decay_all')} == \
        {'optimizer': 'adamw', 'lr': 0.002, 'beta1': 0, 'beta2': 0.999, 'eps': 1e-8, 'epsilon_hat': False, 'weight_decay': 0.01,
         'decay_all': False} and 'rho' not in config, config
    names = tensors('whole/checkpoint.safetensors')[0]
    assert {k.rsplit('.', 2)[0] for k in names if k.startswith('optimizer.')} == {'optimizer.exp_avg', 'optimizer.exp_avg_sq'}
    run('train', *common, 1, '--out', 'parts', code=0)
    run('train', '--resume=parts', '--epochs', 2, code=0)
    same_run('whole', 'parts')
    fails(1, 'keeps its settings: leave out --optimizer', 'train', '--resume=parts', '--optimizer', 'sgd')
    run('eval', 'whole', *SMALL[:2], code=0)
    model = json.loads((SOURCE / 'src/models/lenet.json').read_text())
    model['defaults'] = {'optimizer': 'adam', 'epsilon_hat': True, 'batch': 64}
    pathlib.Path('adam.json').write_text(json.dumps(model))
    assert 'adam: lr 0.001, beta1 0.9, beta2 0.999, eps 1e-08,' in ' '.join(run('info', 'adam.json', code=0).stdout.split())
    run('train', 'adam.json', *SMALL, '--epochs', 1, '--out', 'a', code=0)
    run('train', 'lenet', *SMALL, '--optimizer=adam', '--epsilon-hat', '--epochs', 1, '--out', 'b', code=0)
    assert tensors('a/checkpoint.safetensors')[0].keys() == tensors('b/checkpoint.safetensors')[0].keys()
    model['defaults']['rho'] = 0.9
    pathlib.Path('adam.json').write_text(json.dumps(model))
    fails(2, 'unknown key "rho"', 'train', 'adam.json', *SMALL)
    run('train', 'lenet', *SMALL, '--optimizer=rmsprop', '--momentum=0.9', '--nesterov', '--eps-inside', '--epochs', 1, '--out', 'c', code=0)
    config = json.loads(pathlib.Path('c/config.json').read_text())
    assert (config['rho'], config['momentum'], config['nesterov'], config['eps_inside']) == (0.9, 0.9, True, True), config
    names = tensors('c/checkpoint.safetensors')[0]
    assert {k.rsplit('.', 2)[0] for k in names if k.startswith('optimizer.')} == {'optimizer.square_avg', 'optimizer.momentum'}


def test_first_weights():
    """How weights start, by option and by model file: what a run starts from, and that it is written down."""
    common = [*SMALL, '--epochs', 1, '--lr', 0]
    run('train', 'lenet', *common, '--init', 'constant:0.125', '--init-biases', 'zero', '--out', 'a', code=0)
    assert json.loads(pathlib.Path('a/config.json').read_text())['init'] == {'weights': 'constant', 'weights_value': 0.125, 'biases': 'zero', 'biases_value': 0}
    weights = tensors('a/checkpoint.safetensors')[0]
    model = json.loads((SOURCE / 'src/models/lenet.json').read_text())
    model['defaults']['init'] = {'weights': 'constant', 'weights_value': 0.125, 'biases': 'zero'}
    pathlib.Path('constant.json').write_text(json.dumps(model))
    run('train', 'constant.json', *common, '--out', 'b', code=0)
    assert tensors('b/checkpoint.safetensors')[0] == weights
    assert set(struct.unpack('<25f', weights['conv1.weight'][:100])) == {0.125}
    for kind in ('orthogonal', 'truncated_normal:0.02', 'normal:0.1', 'kaiming_normal'):
        run('train', 'lenet', *common, '--init', kind, '--out', kind.split(':')[0], code=0)
    run('train', '--resume=orthogonal', '--epochs', 2, code=0)
    fails(1, 'keeps its settings: leave out --init', 'train', '--resume=orthogonal', '--init', 'zero')
    fails(1, "--init: expected one of xavier_uniform.*found 'xavier'", 'train', 'lenet', *common, '--init', 'xavier')
    fails(1, '--init: expected a number', 'train', 'lenet', *common, '--init', 'normal:x')
    fails(1, 'of weights, zero, has no value', 'train', 'lenet', *common, '--init', 'zero:1')
    fails(1, 'biases are no matrix', 'train', 'lenet', *common, '--init-biases', 'orthogonal')
    run('train', 'lenet', *common, '--init', 'zero', '--init-of', 'fc*.weight=normal:0.01', '--init-of', 'fc2.weight=constant:3', '--out', 'some', code=0)
    weights = tensors('some/checkpoint.safetensors')[0]
    assert not any(weights['conv1.weight']) and set(struct.unpack('<25f', weights['fc2.weight'][:100])) == {3}
    assert 0 < max(map(abs, struct.unpack('<25f', weights['fc1.weight'][:100]))) < 0.05
    assert {'match': 'fc2.weight', 'init': 'constant', 'init_value': 3} in json.loads(pathlib.Path('some/config.json').read_text())['params']
    run('train', '--resume=some', '--epochs', 2, code=0)
    fails(1, 'keeps its settings: leave out --init-of', 'train', '--resume=some', '--init-of', 'fc1.weight=zero')
    fails(1, r"--init-of: expected PATTERN=KIND\[:X\], found 'fc1.weight'", 'train', 'lenet', *common, '--init-of', 'fc1.weight')
    fails(1, "--init-of: expected one of xavier_uniform.*found 'he'", 'train', 'lenet', *common, '--init-of', 'fc1.weight=he')


def test_info_json():
    """What programs read of a model: rivals.py does."""
    all = json.loads(run('info', 'resnet20-b', '--json', '-b', 32, '--input', '3x24x40', '--classes', 7, code=0).stdout)
    assert all['model']['input'] == [3, 24, 40] and all['model']['layers'][-1]['out_features'] == 7
    assert all['layers'][0] == {'name': 'input', 'type': 'input', 'inputs': [], 'output': [3, 24, 40], 'parameters': 0, 'flops_forward': 0,
                                'flops_backward': 0}, all['layers'][0]
    names, last = {x['name']: x for x in all['layers']}, all['layers'][-1]
    assert len(all['layers']) == len(all['model']['layers']) + 1 and len(names) == len(all['layers'])
    assert last['output'] == [7, 1, 1] and last['parameters'] == 64 * 7 + 7 and last['flops_forward'] == 2 * 64 * 7
    assert names['conv1']['inputs'] == ['input'] and names['conv1']['flops_forward'] == 2 * 27 * 16 * 24 * 40
    assert all['total']['parameters'] == sum(x['parameters'] for x in all['layers']) == 272474 - 3 * 65
    assert all['total']['parameters'] == sum(math.prod(x['shape']) for x in all['weights'])
    assert {'name': 'fc.weight', 'shape': [7, 64]} in all['weights'] and {'name': 'bn1.running_var', 'shape': [16]} in all['running']
    assert [m['batch'] for m in all['memory']] == [32, 16, 1] or [m['batch'] for m in all['memory']] == [32, 16, 2], all['memory']
    for m in all['memory']:
        assert m['total'] == m['activations'] + m['parameters'] + m['scratch'] > 0
    blocks = json.loads(run('info', 'resnet18', '--json', code=0).stdout)
    assert 'blocks' not in blocks['model'] and any(x['name'] == 'layer1.0.conv1' for x in blocks['model']['layers'] if 'name' in x)
    fails(1, '--json, --memory-limit, --input and --classes are for a model', 'info', '--json')
    fails(1, '--json has all layers and no phases: leave out --phases', 'info', 'lenet', '--json', '--phases')
    fails(1, '--json has all layers and no phases: leave out --layers', 'info', 'lenet', '--json', '--layers')


def test_other_sizes():
    """--input and --classes: what a run then is, and where they cannot be."""
    text = run('info', 'resnet18', '--input', '3x32x32', '--classes', 10, code=0).stdout
    assert 'input 3x32x32' in ' '.join(text.split()) and '11181642' in text, text
    pathlib.Path('plain.json').write_text(json.dumps({'name': 'plain', 'input': [4, 1, 1], 'layers': [{'type': 'relu'}]}))
    run('train', 'lenet', *SMALL, '--input', '1x28x28', '--classes', 10, '-e', 1, '-o', 'sized', code=0)
    assert json.loads(pathlib.Path('sized/model.json').read_text())['input'] == [1, 28, 28]
    fails(1, 'keeps its settings: leave out --input', 'train', '--resume=sized', '--input', '1x28x28')
    fails(1, 'keeps its settings: leave out --classes', 'train', '--resume=sized', '--classes', 10)
    fails(2, r'(?s)images of .* are 1x28x28 \(`convoy train --input` makes it another\)', 'train', 'lenet', *SMALL, '--input', '1x32x32', '-o', 'x')
    fails(2, r'has 10 \(see `convoy train --classes`\)', 'train', 'lenet', *SMALL, '--classes', 12, '-o', 'x')
    fails(2, 'the model normalizes images of 3 channels', 'info', 'resnet18', '--input', '1x32x32')
    fails(2, "expected \"linear\" as the type of the model's last layer", 'info', 'plain.json', '--classes', 3)
    for wrong in '3x32', '3x32x32x', '0x1x1', 'x', '3x1x70000', '-1x1x1', '3,32,32':
        fails(1, f"--input: expected CxHxW, each from 1 to 65536, found '{wrong}'", 'info', 'lenet', f'--input={wrong}')
    fails(1, '--classes: expected an integer from 2 to', 'compare', 'lenet', '--backends', 'native', '--classes', 1)
    fails(1, 'these options are for --backends', 'compare', 'a.json', 'b.json', '--input', '1x28x28')
    run('compare', 'lenet', '--backends', 'native', '--input', '1x20x20', '--classes', 4, '--steps', 1, '-b', 4, code=0)


def test_losses():
    """Hinge, squares and the rest by option and by model file: resuming in the middle of an epoch, and an evaluation by the same loss."""
    common = ['lenet', *SMALL, '--loss', 'hinge', '--margin', '0.5', '--ignore-index', '3', '--class-weights', '1,1,2,1,1,0.5,1,1,0,1', '--epochs']
    run('train', *common, 2, '--out', 'whole', code=0)
    config = json.loads(pathlib.Path('whole/config.json').read_text())
    assert {k: config.get(k) for k in ('loss', 'margin', 'ignore_index', 'class_weights', 'label_smoothing')} == \
        {'loss': 'hinge', 'margin': 0.5, 'ignore_index': 3, 'class_weights': [1, 1, 2, 1, 1, 0.5, 1, 1, 0, 1], 'label_smoothing': 0}, config
    run('train', *common, 1, '--out', 'parts', code=0)
    run('train', '--resume=parts', '--epochs', 2, code=0)
    same_run('whole', 'parts')
    fails(1, 'keeps its settings: leave out --loss', 'train', '--resume=parts', '--loss', 'mse')
    last = json.loads(pathlib.Path('whole/metrics.jsonl').read_text().splitlines()[-1])
    loss, acc, right, counted = re.match(r'test loss ([\d.]+), test acc ([\d.]+) \((\d+) of (\d+)', run('eval', 'whole', *SMALL[:2], code=0).stdout).groups()
    assert abs(float(loss) - last['test_loss']) < 1e-4 and abs(float(acc) - last['test_acc']) < 1e-4
    assert 0 < int(right) < int(counted) < 256, 'labels 3 and 8 take no part'
    model = json.loads((SOURCE / 'src/models/lenet.json').read_text())
    model['defaults'] = {'loss': 'bce', 'label_smoothing': 0.1, 'batch': 64, 'lr': 0.5, 'class_weights': [1] * 9 + [2]}
    pathlib.Path('bce.json').write_text(json.dumps(model))
    assert 'loss bce' in ' '.join(run('info', 'bce.json', code=0).stdout.split())
    run('train', 'bce.json', *SMALL, '--epochs', 1, '--out', 'a', code=0)
    run('train', 'lenet', *SMALL, '--loss=bce', '--label-smoothing=0.1', '--lr=0.5', '--batch=64', '--class-weights=1,1,1,1,1,1,1,1,1,2',
        '--epochs', 1, '--out', 'b', code=0)
    assert [json.loads(line)['train_loss'] for line in pathlib.Path('a/metrics.jsonl').read_text().splitlines()] == \
        [json.loads(line)['train_loss'] for line in pathlib.Path('b/metrics.jsonl').read_text().splitlines()]
    model['defaults'] = {'temperature': 2, 'batch': 64, 'lr': 0.5}
    pathlib.Path('warm.json').write_text(json.dumps(model))
    run('train', 'warm.json', *SMALL, '--epochs', 2, '--out', 'warm', code=0)
    run('train', 'lenet', *SMALL, '--lr=0.5', '--batch=64', '--temperature=2', '--epochs', 1, '--out', 'hot', code=0)
    run('train', '--resume=hot', '--epochs', 2, code=0)
    lines = [[json.loads(line) for line in pathlib.Path(run, 'metrics.jsonl').read_text().splitlines()] for run in ('warm', 'hot')]
    for name in ('train_loss', 'test_loss'):
        assert [line.get(name) for line in lines[0]] == [line.get(name) for line in lines[1]], name
    assert run('predict', 'warm', '0', code=0).stdout == run('predict', 'hot', '0', code=0).stdout
    fails(1, 'the loss mse has no temperature', 'train', 'lenet', *SMALL, '--loss=mse', '--temperature=2')
    fails(1, '--temperature: expected a number', 'train', 'lenet', *SMALL, '--temperature=0')
    fails(2, '3 class weights for a model of 10 classes', 'train', 'lenet', *SMALL, '--class-weights=1,2,3')
    for wrong in ('1,-1', '1,,2', 'x', '1,2,'):
        fails(1, '--class-weights: expected numbers, 0 or more', 'train', 'lenet', *SMALL, f'--class-weights={wrong}')
    fails(1, '--label-smoothing: expected a number from 0 to below 1', 'train', 'lenet', *SMALL, '--label-smoothing=1')
    fails(1, '--margin: expected a number above 0 and at most', 'train', 'lenet', *SMALL, '--margin=0')
    fails(1, 'the loss cross_entropy has no margin', 'train', 'lenet', *SMALL, '--margin=1')


def test_clip_norm():
    """By option and by model file: the run says it, it has an effect, and a resumed run has the same one."""
    common = ['lenet', *SMALL, '--epochs']
    run('train', *common, 2, '--clip-norm', 0.05, '--out', 'clip_whole', code=0)
    assert json.loads(pathlib.Path('clip_whole/config.json').read_text())['clip_norm'] == 0.05
    run('train', *common, 1, '--clip-norm', 0.05, '--out', 'clip_parts', code=0)
    run('train', '--resume=clip_parts', '--epochs', 2, code=0)
    same_run('clip_whole', 'clip_parts')
    run('train', *common, 2, '--out', 'unclipped', code=0)
    assert json.loads(pathlib.Path('unclipped/config.json').read_text())['clip_norm'] == 0
    model = json.loads((SOURCE / 'src/models/lenet.json').read_text())
    model['defaults']['clip_norm'] = 0.05
    pathlib.Path('clip.json').write_text(json.dumps(model))
    run('train', 'clip.json', *SMALL, '--epochs', 2, '--out', 'by_model', code=0)
    run('train', 'clip.json', *SMALL, '--epochs', 2, '--clip-norm', 0, '--out', 'by_model_off', code=0)
    a, b, c, d = (tensors(f'{r}/checkpoint.safetensors')[0] for r in ('clip_whole', 'by_model', 'unclipped', 'by_model_off'))
    assert a == b and c == d and a.keys() == c.keys() and a != c
    fails(1, 'keeps its settings: leave out --clip-norm', 'train', '--resume=clip_parts', '--clip-norm', 1)
    fails(1, 'clip-norm', 'train', *SMALL, '--clip-norm', -1)


def test_augmentation():
    """By option and by model file: the run says it, it has an effect on training, none on evaluation, and a resumed run the same one."""
    how = ['--crop', 2, '--flip', '--cutout', 5]
    common = ['lenet', *SMALL, '--epochs']
    run('train', *common, 2, *how, '--out', 'aug_whole', code=0)
    config = json.loads(pathlib.Path('aug_whole/config.json').read_text())
    assert (config['crop'], config['flip'], config['cutout']) == (2, True, 5), config
    run('train', *common, 1, *how, '--out', 'aug_parts', code=0)
    run('train', '--resume=aug_parts', '--epochs', 2, code=0)
    same_run('aug_whole', 'aug_parts')
    model = json.loads((SOURCE / 'src/models/lenet.json').read_text())
    model['defaults'].update(crop=2, flip=True, cutout=5)
    pathlib.Path('aug.json').write_text(json.dumps(model))
    run('train', 'aug.json', *SMALL, '--epochs', 2, '--out', 'aug_model', code=0)
    run('train', *common, 2, '--out', 'no_aug', code=0)
    config = json.loads(pathlib.Path('no_aug/config.json').read_text())
    assert (config['crop'], config['flip'], config['cutout']) == (0, False, 0), config
    a, b, c = (tensors(f'{r}/checkpoint.safetensors')[0] for r in ('aug_whole', 'aug_model', 'no_aug'))
    assert a == b and a.keys() == c.keys() and a != c
    run('train', 'aug.json', *SMALL, '--epochs', 2, '--crop', 0, '--flip=no', '--cutout', 0, '--out', 'aug_off', code=0)
    assert tensors('aug_off/checkpoint.safetensors')[0] == c
    fails(1, 'flip', 'train', *SMALL, '--flip=maybe')
    said = json.loads(pathlib.Path('aug_whole/metrics.jsonl').read_text().splitlines()[-1])['test_acc']
    assert f'acc {said:.3f}' in run('eval', 'aug_whole', *SMALL[:2], code=0).stdout
    fails(1, 'keeps its settings: leave out --flip', 'train', '--resume=aug_parts', '--flip')
    fails(1, 'expected a crop of less than 28', 'train', *SMALL, '--crop', 28)
    fails(1, 'expected at most 28', 'train', *SMALL, '--cutout', 29)
    fails(1, '--crop', 'train', *SMALL, '--crop', -1)


def test_npy():
    """A set of arrays, as a directory and as an archive, in either order of channels: trained, resumed, evaluated."""
    def array(kind, shape, data):
        head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + '\n'
        return b'\x93NUMPY\1\0' + struct.pack('<H', len(head)) + head.encode() + data
    count, side = {'train': 70, 'test': 20}, 9
    pixels = {s: bytes((i * i + i // 7) % 251 for i in range(n * 2 * side * side)) for s, n in count.items()}
    arrays = {f'{a}_{s}.npy': array('|u1', (n, 2, side, side), pixels[s]) if a == 'x' else
              array('<i4', (n,), struct.pack(f'<{n}i', *(i % 3 for i in range(n)))) for s, n in count.items() for a in 'xy'}
    last = {s: bytes(p[(i * 2 + c) * side * side + k] for i in range(count[s]) for k in range(side * side) for c in range(2)) for s, p in pixels.items()}
    pathlib.Path('arrays').mkdir()
    for name, data in arrays.items():
        pathlib.Path('arrays', name).write_bytes(data)
    for name, method, nhwc in ('first.npz', zipfile.ZIP_DEFLATED, False), ('last.npz', zipfile.ZIP_STORED, True):
        with zipfile.ZipFile(name, 'w', method) as archive:
            for member, data in arrays.items():
                s = member[2:-4]
                archive.writestr(member, array('|u1', (count[s], side, side, 2), last[s]) if nhwc and member[0] == 'x' else data)
    model = {'name': 'own', 'input': [2, side, side], 'layers': [{'type': 'conv2d', 'name': 'c', 'out_channels': 4, 'kernel': 3},
                                                                 {'type': 'batch_norm', 'name': 'b'}, {'type': 'linear', 'name': 'f', 'out_features': 3}]}
    pathlib.Path('own.json').write_text(json.dumps(model))
    weights = []
    for i, data in enumerate(('arrays', 'first.npz', 'nhwc:last.npz')):
        run('train', 'own.json', '-d', data, '-b', 16, '-e', 2, '--out', f'own_{i}', code=0)
        weights.append(tensors(f'own_{i}/checkpoint.safetensors')[0])
        assert f'acc {json.loads(pathlib.Path(f"own_{i}/metrics.jsonl").read_text().splitlines()[-1])["test_acc"]:.3f}' in run('eval', f'own_{i}', '-d', data, code=0).stdout
    assert weights[0] == weights[1] == weights[2]
    run('train', 'own.json', '-d', 'nhwc:last.npz', '-b', 16, '-e', 1, '--out', 'own_parts', code=0)
    run('train', '--resume=own_parts', '-e', 2, code=0)  # its config says how the channels lie
    same_run('own_2', 'own_parts')
    fails(2, "own.json: the model's input is 2x9x9, the images of npy:.*last.npz are 9x9x2", 'train', 'own.json', '-d', 'last.npz')
    pathlib.Path('arrays/y_test.npy').write_bytes(arrays['y_train.npy'])
    fails(2, 'arrays/y_test.npy: 70 labels for 20 images', 'train', 'own.json', '-d', 'arrays')


def test_threshold():
    """A model of images of two values: train, eval and predict see the same ones, other than without."""
    model = json.loads((SOURCE / 'src/models/lenet-bn.json').read_text())
    for name, normalize in ('two', {'threshold': 0.5}), ('many', None), ('two_scaled', {'threshold': 0.5, 'mean': [0.5], 'std': [0.5]}):
        if normalize:
            model['normalize'] = normalize
        else:
            model.pop('normalize', None)
        pathlib.Path(f'{name}.json').write_text(json.dumps(model))
        run('train', f'{name}.json', *SMALL, '--epochs', 1, '--out', f'run_{name}', code=0)
        said = json.loads(pathlib.Path(f'run_{name}/metrics.jsonl').read_text().splitlines()[-1])['test_acc']
        assert f'acc {said:.3f}' in run('eval', f'run_{name}', *SMALL[:2], code=0).stdout
    a, b, c = (tensors(f'run_{n}/checkpoint.safetensors')[0] for n in ('two', 'many', 'two_scaled'))
    assert a != b and a != c and b != c
    for name, same in ('two', True), ('many', False):  # pictures, too: one of two greys is as good as one of two values
        said = []
        for low, high in (0, 255), (100, 130):
            pixels = bytes(high if (i // 28 + i) % 5 < 2 else low for i in range(784))
            pathlib.Path('two.pgm').write_bytes(b'P5 28 28 255\n' + pixels)
            said.append(run('predict', f'run_{name}', 'two.pgm', *SMALL[:2], code=0).stdout)
        assert (said[0] == said[1]) == same, said
    for wrong in 0, 1.5, '0.5', None:
        model['normalize'] = {'threshold': wrong}
        pathlib.Path('wrong.json').write_text(json.dumps(model))
        fails(2, 'normalize: "threshold": expected a number above 0 and at most 1', 'train', 'wrong.json', *SMALL)


def test_infer():
    """A folded net is the net, to rounding: on the test images, and as a run's directory or a file."""
    own = {'name': 'own', 'input': [1, 28, 28], 'normalize': {'mean_image': True}, 'defaults': {'batch': 50, 'lr': 0.1, 'epochs': 2},
           'layers': [{'type': 'conv2d', 'name': 'a', 'out_channels': 4, 'kernel': 5, 'stride': 2, 'bias': False},
                      {'type': 'batch_norm', 'name': 'an', 'eps': 0.01, 'gamma': False}, {'type': 'relu', 'name': 'r'},
                      {'type': 'conv2d', 'name': 'b', 'out_channels': 4, 'kernel': 3, 'pad': 1, 'groups': 2},
                      {'type': 'batch_norm', 'name': 'bn', 'beta': False}, {'type': 'add', 'inputs': ['bn', 'r']},
                      {'type': 'batch_norm', 'name': 'stays'}, {'type': 'relu'},
                      {'type': 'linear', 'name': 'f', 'out_features': 10}, {'type': 'batch_norm', 'name': 'fn', 'affine': False}]}
    pathlib.Path('fold.json').write_text(json.dumps(own))
    for model, folded in ('lenet-bn', 4), ('fold.json', 3):
        run('train', model, *SMALL, '--epochs', 2, '--out', 'plain_run', code=0)
        r = run('infer', 'plain_run', '--fuse', '--output', 'folded_run', '--json', 'infer.json', '--times', 2, code=0)
        told = json.loads(pathlib.Path('infer.json').read_text())
        assert sum('into' in n for n in told['batch_norms']) == folded and len(told['batch_norms']) == 4, told
        assert 0 < told['difference'] < 2e-6 * max(1, told['largest_output']), told
        assert told['images'] == told['equal_predictions'] == 200 and told['accuracy'][0] == told['accuracy'][1], told
        assert len(r.stdout.splitlines()) == 4 + 2 + 2 + 1 + 1 and max(map(len, r.stdout.splitlines())) <= 80, r.stdout
        acc = run('eval', 'plain_run', code=0).stdout.splitlines()[0]
        assert run('eval', 'folded_run', code=0).stdout.splitlines()[0] == acc
        kept = tensors('folded_run/checkpoint.safetensors')[0]
        assert not [name for name in kept if 'running' in name and not name.startswith('stays')], list(kept)
        run('infer', 'plain_run', '--fuse', '--output', 'folded.safetensors', '--times', 1, '--batch', 7, code=0)
        assert tensors('folded.safetensors')[0] == kept
        run('infer', 'plain_run', '--fuse', '--output', 'folded_run', '--times', 1, code=3)
        shutil.rmtree('plain_run')
        shutil.rmtree('folded_run')
    fails(1, 'expected --fuse', 'infer', 'folded.safetensors')
    fails(1, "expected a run's directory", 'infer', '--fuse')


def png(width, height, pixel):
    """A PNG of 8-bit RGB; pixel(x, y) gives three numbers."""
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    rows = b''.join(b'\0' + bytes(v % 256 for x in range(width) for v in pixel(x, y)) for y in range(height))
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>2I5B', width, height, 8, 2, 0, 0, 0)) +
            chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))


def test_picture_folders():
    """A folder of pictures: trained on, resumed, evaluated; pictures of any size are told by the classes' names."""
    model = {'name': 'own', 'input': [3, 6, 5], 'defaults': {'batch': 10, 'lr': 0.1, 'epochs': 8},
             'layers': [{'type': 'flatten'}, {'type': 'linear', 'name': 'fc', 'out_features': 2}]}
    pathlib.Path('pictures.json').write_text(json.dumps(model))
    for name in 'blue', 'red':
        os.makedirs(f'pictures/{name}')
        for i in range(20):
            pixel = lambda x, y: (200 + i if name == 'red' else x, y + i, 20 if name == 'red' else 190 + i)
            pathlib.Path(f'pictures/{name}/{i}.png').write_bytes(png(5 + i % 3, 6, pixel))
    if 'built without' in run('train', 'pictures.json', '-d', 'folder:size=6x5:pictures', '--out', 'pic_whole').stderr:
        print('left out: pictures: built without libpng')
        return
    run('train', 'pictures.json', '-d', 'folder:size=6x5:pictures', '--epochs', 4, '--out', 'pic_parts', code=0)
    run('train', '--resume=pic_parts', '--epochs', 8, code=0)
    same_run('pic_whole', 'pic_parts')
    assert 'test acc 1.0000 (8 of 8)' in run('eval', 'pic_whole', code=0).stdout
    pathlib.Path('photo.png').write_bytes(png(40, 60, lambda x, y: (210, 5, 20)))
    assert run('predict', 'pic_whole', 'photo.png', '-d', 'folder:size=6x5:pictures', code=0).stdout.startswith('photo.png: red 0.')
    r = run('train', 'pictures.json', '-d', 'folder:size=6x5:pictures', '--epochs', 1, '--out', 'pic_one', code=0)
    assert r.stdout.startswith('data: folder:') and '32 train / 8 test' in r.stdout, r.stdout
    model.update(input=[1, 6, 5], normalize={'grayscale': True, 'zero_mean': True})
    pathlib.Path('grey.json').write_text(json.dumps(model))
    run('train', 'grey.json', '-d', 'folder:size=6x5:pictures', '--out', 'grey', code=0)
    run('train', 'grey.json', '-d', 'folder:size=6x5,channels=1:pictures', '--out', 'grey_files', code=0)
    assert tensors('grey/checkpoint.safetensors')[0] == tensors('grey_files/checkpoint.safetensors')[0]
    run('predict', 'grey', 'photo.png', code=0)
    fails(2, r'pictures/blue/1.png: 6 rows of 6 pixels, the pictures before have 6 of 5: folder:size=6x5:DIR', 'train', 'pictures.json',
          '-d', 'pictures')
    fails(2, "the model's input is 3x6x5, the images of folder:.* are 1x6x5", 'train', 'pictures.json', '-d', 'folder:size=6x5,channels=1:pictures')


def test_mean_image():
    """The mean image is that of the images that are trained on; eval, predict and --resume take it from the run."""
    write_idx('centre')
    images = pathlib.Path('centre/train-images-idx3-ubyte').read_bytes()[16:]
    data = ['--data', 'centre', '--batch', 50]
    model = json.loads((SOURCE / 'src/models/lenet-bn.json').read_text())
    model['normalize'] = {'mean_image': True, 'scale': 1}
    pathlib.Path('centred.json').write_text(json.dumps(model))
    common = ['train', 'centred.json', *data, '--validation', 0.25, '--epochs']
    run(*common, 2, '--out', 'centred', code=0)
    run(*common, 1, '--out', 'halfway', code=0)
    run('train', '--resume=halfway', '--epochs', 2, code=0)
    kept, _ = tensors('centred/checkpoint.safetensors')
    assert kept == tensors('halfway/checkpoint.safetensors')[0]
    means = [sum(images[i * 784 + p] for i in range(150)) / 150 for p in range(784)]
    assert kept['input.mean'] == struct.pack('<784f', *means)
    said = json.loads(pathlib.Path('centred/metrics.jsonl').read_text().splitlines()[-1])['test_acc']
    assert f'acc {said:.3f}' in run('eval', 'centred', code=0).stdout
    run('predict', 'centred', '0', code=0)
    del model['normalize']
    pathlib.Path('plain.json').write_text(json.dumps(model))
    fails(2, "the file has a tensor 'input.mean', the model has none", 'eval', 'centred', '--model', 'plain.json')
    run('train', 'plain.json', *data, '--epochs', 1, '--out', 'plain', code=0)
    fails(2, "the model needs a tensor 'input.mean', the file has none", 'eval', 'plain', '--model', 'centred.json')


def test_zca():
    """The whitening is that of the images that are trained on, is not trained, and is kept: eval, predict, infer and --resume take it
    from the run, and go on bit for bit."""
    write_idx('white')
    model = json.loads((SOURCE / 'src/models/lenet-bn.json').read_text())
    model['normalize'] = {'zca': 0.1}
    pathlib.Path('white.json').write_text(json.dumps(model))
    common = ['train', 'white.json', '--data', 'white', '--batch', 50, '--validation', 0.25, '--epochs']
    run(*common, 2, '--threads', 1, '--out', 'white2', code=0)
    run(*common, 1, '--out', 'white1', code=0)
    began = tensors('white1/checkpoint.safetensors')[0]
    run('train', '--resume=white1', '--epochs', 2, code=0)
    kept, _ = tensors('white2/checkpoint.safetensors')
    assert kept == tensors('white1/checkpoint.safetensors')[0]
    matrix = struct.unpack('<614656f', kept['zca.weight'])
    assert kept['zca.weight'] == began['zca.weight'] and kept['conv1.weight'] != began['conv1.weight'] and 'input.mean' in kept
    assert all(matrix[784 * i + j] == matrix[784 * j + i] for i in range(0, 784, 9) for j in range(i))
    said = json.loads(pathlib.Path('white2/metrics.jsonl').read_text().splitlines()[-1])['test_acc']
    assert f'acc {said:.3f}' in run('eval', 'white2', code=0).stdout
    run('predict', 'white2', '0', code=0)
    run('infer', 'white2', '--fuse', '--times', 1, '--output', 'white.safetensors', code=0)
    assert tensors('white.safetensors')[0]['zca.weight'] == kept['zca.weight']
    run('visualise', 'white2', '-o', 'white_pictures', code=0)


def test_memory_limit():
    """A run within a limit is the same run; one that is resumed may have another; too little is told, with what is enough."""
    common = ['lenet-bn', *SMALL, '--epochs']
    run('train', *common, 2, '--out', 'free', code=0)
    fails(4, 'the memory limit is 1 bytes, and the net needs', 'train', *common, 2, '--memory-limit', 1, '--out', 'tight')
    said = run('train', *common, 2, '--memory-limit', 1, '--out', 'tight', code=4).stderr
    least = int(re.search(r'needs (\d+) in batches', said)[1])
    run('train', *common, 1, '--memory-limit', least, '--out', 'tight', code=0)
    assert json.loads(pathlib.Path('tight/config.json').read_text())['memory_limit'] == least
    fails(4, f'the memory limit is {least - 1} bytes, and the net needs {least}', 'train', '--resume=tight', '--epochs', 2,
          '--memory-limit', least - 1)
    run('train', '--resume=tight', '--epochs', 2, '--memory-limit', '1.5G', code=0)
    assert json.loads(pathlib.Path('tight/config.json').read_text())['memory_limit'] == 3 << 29
    same_run('free', 'tight')
    model = json.loads((SOURCE / 'src/models/lenet-bn.json').read_text())
    model['defaults']['memory_limit'] = 1
    pathlib.Path('tight.json').write_text(json.dumps(model))
    fails(4, 'the memory limit is 1 bytes', 'train', 'tight.json', *SMALL, '--epochs', 1, '--out', 'tight_model')
    assert 'the memory limit is 1 bytes' in run('info', 'tight.json', code=4).stderr
    text = run('info', 'resnet50', '-b', 16, '--memory-limit', '1.4G', code=0).stdout
    assert re.search(r'recomputed for gradients: .*\brelu', text, re.S) and re.search(r'That moves [\d.]+ [MG]iB a step, [\d.]+ %', text), text
    assert 'Buffers are packed.' in text
    assert 'recomputed for' not in run('info', 'resnet50', '-b', 16, '--memory-limit', '16G', code=0).stdout
    for bad in ('', '-1', '1X', '1GB', 'G', 'nan', '1e9', '0x10', '99999999T'):
        fails(1, 'memory-limit', 'info', 'lenet', f'--memory-limit={bad}')
    fails(1, 'for a model, which is missing', 'info', '--memory-limit', '1G')


def test_accumulate():
    """By option and by model file; a run that is stopped between two updates goes on with the sum."""
    common = ['lenet', *SMALL, '--epochs']
    run('train', *common, 3, '--accumulate', 3, '--out', 'sum_whole', code=0)
    assert json.loads(pathlib.Path('sum_whole/config.json').read_text())['accumulate'] == 3
    run('train', *common, 1, '--accumulate', 3, '--out', 'sum_parts', code=0)
    values, meta = tensors('sum_parts/checkpoint.safetensors')
    assert json.loads(meta['convoy.position'])['steps'] % 3, meta['convoy.position']
    assert any(k.startswith('accumulated.') and any(v) for k, v in values.items())
    run('train', '--resume=sum_parts', '--epochs', 3, code=0)
    same_run('sum_whole', 'sum_parts')
    run('eval', 'sum_parts', *SMALL[:2], code=0)
    model = json.loads((SOURCE / 'src/models/lenet.json').read_text())
    model['defaults']['accumulate'] = 3
    pathlib.Path('sum.json').write_text(json.dumps(model))
    run('train', 'sum.json', *SMALL, '--epochs', 3, '--out', 'sum_model', code=0)
    assert tensors('sum_whole/checkpoint.safetensors')[0] == tensors('sum_model/checkpoint.safetensors')[0]
    run('train', *common, 1, '--out', 'no_sum', code=0)
    assert json.loads(pathlib.Path('no_sum/config.json').read_text())['accumulate'] == 1
    assert not any(k.startswith('accumulated.') for k in tensors('no_sum/checkpoint.safetensors')[0])
    # A round that the run's end cuts off changes no weights: so here none has.
    weights = []
    for epochs in (1, 2):
        run('train', *common, epochs, '--accumulate', 1000, '--out', f'sum_{epochs}', code=0)
        weights.append({k: v for k, v in tensors(f'sum_{epochs}/checkpoint.safetensors')[0].items() if 'accumulated.' not in k})
    assert weights[0] and weights[0] == weights[1] != {k: v for k, v in values.items() if 'accumulated.' not in k}
    fails(1, 'keeps its settings: leave out --accumulate', 'train', '--resume=sum_parts', '--accumulate', 1)
    fails(1, 'accumulate', 'train', *SMALL, '--accumulate', 0)


def test_settings_of_parameters():
    """By option and by model file; what is frozen stays to the bit, and a run that is stopped goes on with the same settings."""
    options = ['--freeze', 'conv*', '--lr-factor', '*.bias=0.5', '--decay-factor', '*.bias=0', '--lr-factor', 'fc1.*=0.25']
    common = ['lenet', *SMALL, '--momentum', 0.9, '--weight-decay', 0.001, '--epochs']
    run('train', *common, 2, *options, '--out', 'set_whole', code=0)
    want = [{'match': 'conv*', 'frozen': True}, {'match': '*.bias', 'lr_factor': 0.5}, {'match': '*.bias', 'decay_factor': 0},
            {'match': 'fc1.*', 'lr_factor': 0.25}]
    assert json.loads(pathlib.Path('set_whole/config.json').read_text())['params'] == want
    run('train', *common, 1, *options, '--out', 'set_parts', code=0)
    early = tensors('set_parts/checkpoint.safetensors')[0]
    run('train', '--resume=set_parts', '--epochs', 2, code=0)
    same_run('set_whole', 'set_parts')
    late, plain = tensors('set_whole/checkpoint.safetensors')[0], None
    run('train', *common, 2, '--out', 'set_none', code=0)
    plain = tensors('set_none/checkpoint.safetensors')[0]
    assert 'params' not in json.loads(pathlib.Path('set_none/config.json').read_text())
    for name in ('conv1.weight', 'conv1.bias', 'conv2.weight', 'conv2.bias'):
        assert early[name] == late[name] != plain[name], name
        assert not any(k != name and k.endswith('.' + name) for k in late), name  # nor has it a state
    assert early['fc1.weight'] != late['fc1.weight'] != plain['fc1.weight']
    run('eval', 'set_parts', *SMALL[:2], code=0)
    model = json.loads((SOURCE / 'src/models/lenet.json').read_text())
    model['defaults'].update(params=want, momentum=0.9, weight_decay=0.001)
    pathlib.Path('set.json').write_text(json.dumps(model))
    run('train', 'set.json', *SMALL, '--epochs', 2, '--out', 'set_model', code=0)
    assert tensors('set_model/checkpoint.safetensors')[0] == late
    fails(1, 'keeps its settings: leave out --freeze', 'train', '--resume=set_parts', '--freeze', 'fc*')
    fails(1, r"no parameter's name matches 'none\*'; there are conv1.weight", 'train', 'lenet', *SMALL, '--freeze', 'none*')
    fails(1, r"--lr-factor: expected PATTERN=X, found 'conv\*'", 'train', *SMALL, '--lr-factor', 'conv*')
    fails(1, 'expected more than 0, found .*--freeze', 'train', *SMALL, '--lr-factor', 'conv*=0')
    fails(1, 'decay-factor', 'train', *SMALL, '--decay-factor', 'conv*=-1')
    fails(1, 'expected PATTERN, found nothing', 'train', *SMALL, '--freeze', '')
    fails(1, 'more than 32 patterns', 'train', *SMALL, *['--freeze', 'conv*'] * 33)
    model['defaults']['params'] = [{'match': 'conv*', 'frozen': 1}]
    pathlib.Path('bad.json').write_text(json.dumps(model))
    fails(2, '"params": expected an array of at most 32', 'train', 'bad.json', *SMALL)


def test_resume_of_an_older_run():
    """A run of the convoy before optimizers had names (its config has no "optimizer", its momentum lies where it lay) goes on as
    one that was never stopped. Of the bias in front of the batch norm it kept the rounding errors of a gradient that is 0."""
    shutil.copytree(SOURCE / 'tests/golden/run_before_optimizers', 'old')
    data = ['--data', 'synthetic:seed=3,train=100,test=40']
    assert 'optimizer' not in json.loads(tensors('old/checkpoint.safetensors')[1]['convoy.config'])
    run('train', '--resume=old', '--epochs', 2, code=0)
    run('train', 'old/model.json', *data, '--epochs', 2, '--out', 'new', code=0)
    old, new = (read_tensors(f'{d}/checkpoint.safetensors') for d in ('old', 'new'))
    assert old[0].keys() == new[0].keys() and 'optimizer.momentum.c.weight' in old[0], old[0].keys()
    assert json.loads(old[1]['convoy.config'])['optimizer'] == 'sgd'
    for name, data in tensors('new/checkpoint.safetensors')[0].items():
        a, b = (struct.unpack(f'<{len(d) // 4}f', d) for d in (tensors('old/checkpoint.safetensors')[0][name], data))
        if name == 'optimizer.momentum.c.bias':
            assert not any(b) and all(abs(x) <= 1e-6 for x in a), (a, b)
            continue
        assert all(abs(x - y) <= 1e-4 * max(map(abs, b)) for x, y in zip(a, b)), (name, a, b)


def test_real_reasons():
    """Names that are no UTF-8 are names; what may not be looked at is not told to be absent."""
    def call(*args):
        return subprocess.run([os.fsencode(CONVOY), *(a if isinstance(a, bytes) else str(a).encode() for a in args)],
                              capture_output=True, env=ENV, timeout=120)

    shutil.copy(SOURCE / 'src/models/lenet.json', b'\xe9.json')
    assert call('train', b'./\xe9.json', *SMALL, '--epochs', 1, '--out', b'\xe9r').returncode == 0
    assert call('train', b'--resume=\xe9r', '--epochs', 2).returncode == 0
    assert call('eval', b'\xe9r').returncode == 0
    pathlib.Path(os.fsdecode(b'\xe9x.json')).write_text(
        '{"context":{},"benchmarks":[{"name":"x","run_type":"iteration","real_time":1,"time_unit":"ns"}]}')
    r = call('compare', b'\xe9x.json', b'\xe9x.json', '--json', 'd.json')
    assert r.returncode == 0 and json.loads(pathlib.Path('d.json').read_text())['old'] == '?x.json', r
    for args in (('train', b'\xe9.jsn', *SMALL), ('train', b'--resume=\xe9'), ('eval', b'\xe9'), ('predict', b'\xe9r', b'\xe9'),
                 ('compare', b'\xe9', b'\xe9'), ('data', 'verify', b'\xe9'), ('info', b'\xe9'), ('train', b'\xff/\xe9.json')):
        r = call(*args)
        assert r.returncode in (1, 2, 3) and b'memory' not in r.stderr, (args, r)
    if may_read_everything():
        print('left out: what permissions forbid: this user may do everything')
        return
    os.mkdir('closed')
    shutil.copy('d.json', 'closed')
    os.chmod('closed', 0)
    inside = 'closed/x'
    for args in (('train', inside + '.json', *SMALL), ('train', f'--resume={inside}'), ('train', *SMALL, '--out', inside),
                 ('train', '--data', inside), ('train', '--data', 'closed'), ('eval', inside), ('data', 'verify', inside),
                 ('compare', 'closed/d.json', 'closed/d.json'), ('info', inside + '.json')):
        r = run(*args)
        assert r.returncode == 3 and 'Permission denied' in r.stderr, (args, r)
    r = run('info', '--backend', 'other', env={'CVY_BACKEND_PATH': os.path.abspath('closed')})
    assert r.returncode == 1 and 'closed: Permission denied' in r.stderr, r
    os.chmod('closed', 0o700)


def test_killed_at_the_beginning():
    """However early a run is killed, it can be gone on with, or begun again."""
    whole = ['lenet', '--data', 'synthetic:seed=3,train=300,test=100', '--batch', '64', '--epochs', '2', '--lr', '0.1']
    run('train', *whole, '--out', 'whole', code=0)
    resumed = 0
    for delay in range(0, 100, 8):
        p = subprocess.Popen([CONVOY, 'train', *whole, '--out', 'r'], env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists('r/config.json') or p.poll() is not None, 'the directory')
        time.sleep(delay / 1000)
        p.kill()
        p.wait()
        if os.path.exists('r/checkpoint.safetensors'):
            resumed += 1
            run('train', '--resume=r', code=0)
        else:
            fails(2, 'before its first checkpoint.*start it again with --out=r', 'train', '--resume=r')
            run('train', *whole, '--out', 'r', code=0)
        same_run('whole', 'r')
        shutil.rmtree('r')
    assert resumed
    # Nothing but what is written before the first checkpoint; and metrics that nobody can go on with are not overwritten.
    run('train', *whole, '--out', 'r', code=0)
    os.remove('r/checkpoint.safetensors')
    fails(1, 'metrics.jsonl of a run whose checkpoint is gone', 'train', *whole, '--out', 'r')
    open('r/metrics.jsonl', 'w').close()
    run('train', *whole, '--out', 'r', code=0)
    same_run('whole', 'r')


def test_resume_from_a_checkpoint():
    """--resume takes the checkpoint's path as well, as eval does."""
    run('train', *SMALL, '--epochs', 1, '--out', 'a/r', code=0)
    run('train', *SMALL, '--epochs', 2, '--out', 'whole', code=0)
    run('train', '--resume=a/r/checkpoint.safetensors', '--epochs', 2, code=0)
    same_run('whole', 'a/r')
    os.chdir('a/r')
    assert 'run: .\n' in run('train', '--resume=checkpoint.safetensors', code=0).stdout
    shutil.copy('checkpoint.safetensors', 'other.safetensors')
    fails(1, "expected a run's directory or its checkpoint", 'train', '--resume=other.safetensors')
    fails(3, 'No such file', 'train', '--resume=missing')
    os.mkdir('empty')
    fails(3, 'empty: expected a run: there is no checkpoint.safetensors in it', 'train', '--resume=empty')
    assert os.listdir('empty') == []


def test_resume_of_strange_settings():
    """The settings of a run are in its checkpoint; each is looked at before anything is trained by it."""
    run('train', 'lenet', *SMALL, '--epochs', 1, '--out', 'r', code=0)
    values, meta = read_tensors('r/checkpoint.safetensors')
    good = json.loads(meta['convoy.config'])

    def changed(text):
        write_tensors('r/checkpoint.safetensors', values, {**{k: v for k, v in meta.items() if k != 'convoy.config'},
                                                           **({'convoy.config': text} if text is not None else {})})

    # an older convoy's had two keys for one kind of schedule
    older = [{'schedule': None, 'lr_drop_epochs': value} for value in (list(range(1, 18)), 1, [0], [3, 3], [(1 << 20) + 1], [1.5])]
    for bad in (None, '', '[]', '{"epochs": 1, "epochs": 2}', *(json.dumps({k: v for k, v in {**good, **change}.items() if v is not None})
                                                                for change in (
            {'epochs': 0}, {'epochs': '1'}, {'batch': 0}, {'batch': (1 << 20) + 1}, {'eval_every': 0}, {'save_every': -1},
            {'data_sha256': 'f' * 65}, {'data_labels_sha256': 'f' * 63}, {'data': 'd' * 5000}, {'schedule': 'cosinus'}, {'schedule': 1},
            {'lr_drop_epochs': [1]}, *({**drops, 'lr_drop_factor': 0.1} for drops in older),
            {'sampling': 'random'}, {'sampling': 1}, {'sampling_buffer': 0}, {'seed': ''}, {'seed': '-1'}, {'seed': '1x'}, {'seed': ' 1'}, {'seed': ':'}, {'seed': str(1 << 64)}, {'lr': -1}, {'lr': '1'}, {'momentum': -0.5}, {'momentum': 1}, {'weight_decay': -1}, {'nesterov': 1}, {'optimizer': 'sdg'}, {'optimizer': 1},
            {'label_smoothing': -0.5}, {'label_smoothing': 1}, {'schedule': None, 'lr_drop_factor': -1}, {'clip_norm': -1}, {'clip_norm': '1'}, {'accumulate': 0}, {'accumulate': 0.5}, {'memory_limit': -1}, {'memory_limit': '1G'}, {'crop': -1}, {'crop': True}, {'flip': 1}, {'cutout': 0.5}))):
        changed(bad)
        fails(2, '^convoy: r/checkpoint.safetensors: it was not written by convoy train: it cannot be resumed\n$', 'train', '--resume=r')
    del good['schedule']
    changed(json.dumps({**good, 'lr_drop_epochs': [1], 'lr_drop_factor': 0.5}))
    run('train', '--resume=r', '--epochs', 2, code=0)
    assert json.loads(pathlib.Path('r/config.json').read_text())['schedule'] == 'milestones:epochs=1,factor=0.5'
    rates = [line['lr'] for line in metrics('r') if line['type'] == 'epoch']
    assert rates[1] == rates[0] / 2, rates
    r = run('train', '--resume=r', code=0)
    assert 'all 2 epochs are trained already; --epochs=4 would go on\n' == r.stderr, r
    assert run('train', '--resume=r', '-q', code=0).stderr == ''
    fails(3, '/dev/null', 'train', '--resume=/dev/null')
    # The epochs at which the rate drops are settings, too.
    model = json.loads((SOURCE / 'src/models/lenet.json').read_text())
    model['defaults'].update(lr_drop_epochs=[1, 2], lr_drop_factor=0.5)
    pathlib.Path('drops.json').write_text(json.dumps(model))
    run('train', 'drops.json', *SMALL, '--epochs', 3, '--out', 'whole', code=0)
    run('train', 'drops.json', *SMALL, '--epochs', 1, '--out', 'parts', code=0)
    run('train', '--resume=parts', '--epochs', 3, code=0)
    same_run('whole', 'parts')


def test_schedules():
    """--schedule: the rate of every step, the end that is the training's own, and what is said of mistakes."""
    run('train', 'lenet', *SMALL, '--epochs', 4, '--lr', 0.5, '--schedule=cosine:floor=0.1,warmup_steps=3', '--out', 'c', code=0)
    assert json.loads(pathlib.Path('c/config.json').read_text())['schedule'] == 'cosine:floor=0.1,over=4,warmup_steps=3'
    lines = metrics('c')
    steps = lines[-1]['step'] # logged now and then, and at the ends of epochs
    for line in lines:
        s = line['step'] - 1
        want = (0.1 + 0.4 * (1 + math.cos(math.pi * s / steps)) / 2) * min(1, (s + 1) / 3)
        assert abs(line['lr'] - want) < 1e-8, (line, want)
    # What the run began with holds: a longer one stays at the floor.
    run('train', '--resume=c', '--epochs', 5, code=0)
    assert metrics('c')[-1]['lr'] == 0.1
    # over the model's own
    model = json.loads((SOURCE / 'src/models/lenet.json').read_text())
    model['defaults'].update(schedule='exponential')
    pathlib.Path('own.json').write_text(json.dumps(model))
    run('train', 'own.json', *SMALL, '--epochs', 2, '--schedule=step:every=1', '--lr', 0.5,
        '--out', 's', code=0)
    assert [line['lr'] for line in metrics('s') if line['type'] == 'epoch'] == [0.5, 0.05]
    run('train', 'lenet', *SMALL, '--epochs', 3, '--schedule=constant:momentum_to=0.9,momentum_epochs=2', '--momentum', 0.5, '--out', 'm', code=0)
    assert [line['momentum'] for line in metrics('m') if line['type'] == 'epoch'] == [0.5, 0.7, 0.9]
    fails(1, 'needs a momentum to start from: use --momentum', 'train', 'lenet', *SMALL, '--schedule=constant:momentum_to=0.9,momentum_epochs=2')
    fails(1, 'keeps its settings: leave out --schedule', 'train', '--resume=s', '--schedule=step')
    fails(1, '^convoy train: --schedule: expected one of constant, .*, found .cosin.; did you mean cosine', 'train', '--schedule=cosin')
    fails(1, 'cosine has the settings floor, .*found .flor.; did you mean floor', 'train', '--schedule=cosine:flor=1')
    fails(1, 'every: expected a whole number from 1 to 1073741824, found .0.', 'train', '--schedule=step:every=0')
    text = run('train', '--help', code=0).stdout
    assert all(f' {kind}' in text for kind in ('constant', 'step', 'milestones', 'exponential', 'staircase', 'cosine', 'one_cycle', 'eras'))


def test_sampling():
    """--sampling: each kind trains otherwise, is kept in the run and goes on bit for bit; a buffer of one is the fixed order."""
    ends = set()
    for kind in (['fixed'], ['shuffled'], ['replacement'], ['buffered'], ['buffered', '--sampling-buffer', 100],
                 ['buffered', '--sampling-buffer', 1]):
        name = kind[0] + str(kind[-1])
        run('train', 'lenet', *SMALL, '--epochs', 2, '--sampling', *kind, '--out', name, code=0)
        assert json.loads(pathlib.Path(name, 'config.json').read_text())['sampling'] == kind[0]
        run('train', 'lenet', *SMALL, '--epochs', 1, '--sampling', *kind, '--out', name + '2', code=0)
        run('train', '--resume', name + '2', '--epochs', 2, code=0)
        same_run(name, name + '2')
        ends.add(read_tensors(f'{name}/checkpoint.safetensors')[0]['conv1.bias'].tobytes()
                 if hasattr(read_tensors(f'{name}/checkpoint.safetensors')[0]['conv1.bias'], 'tobytes')
                 else str(read_tensors(f'{name}/checkpoint.safetensors')[0]['conv1.bias']))
    assert len(ends) == 5, len(ends) # two of them are the data set's order
    fails(1, "expected one of shuffled, fixed, buffered, replacement, found 'bufered'; did you mean buffered", 'train', '--sampling=bufered')
    fails(1, 'expected .* from 1 to', 'train', '--sampling-buffer=0')
    fails(1, '--sampling-buffer is of --sampling=buffered, but it is shuffled', 'train', '--sampling-buffer=5')
    fails(1, 'keeps its settings: leave out --sampling', 'train', '--resume=fixedfixed', '--sampling=fixed')


def test_validation():
    """The last training images validate: they are told, not trained on, and the best epoch's parameters end the run."""
    r = run('train', 'lenet', *SMALL, '--epochs', 5, '--validation', 0.3, '--keep-best', '--out', 'v', code=0)
    assert ' 700 train / 300 validation / 200 test\n' in r.stdout, r.stdout
    lines = [line for line in metrics('v') if line['type'] == 'epoch']
    acc = [line['valid_acc'] for line in lines]
    best = acc.index(max(acc)) + 1
    assert len(acc) == 5 and lines[-1]['best_epoch'] == best and all(0 < line['valid_loss'] < 10 for line in lines)
    assert [float(x) for x in re.findall(r'  val acc ([\d.]+)  test acc', r.stderr)] == [round(x, 3) for x in acc], r.stderr
    assert f'validation acc {acc[-1]:.3f}, best {max(acc):.3f} after epoch {best}, whose parameters these are\n' in r.stdout, r.stdout
    end = metrics('v')[-1]
    assert end['type'] == 'end' and end['epoch'] == best and f"test acc {end['test_acc']:.4f}" in run('eval', 'v', code=0).stdout
    run('predict', 'v', '0', code=0)
    values, _ = read_tensors('v/checkpoint.safetensors')
    assert any(name.startswith('best.') for name in values)
    # 300 images or three tenths of them, and resumed
    run('train', 'lenet', *SMALL, '--epochs', 5, '--validation', 300, '--keep-best', '--out', 'n', code=0)
    same_run('v', 'n')
    r = run('train', '--resume=v', code=0)
    assert 'all 5 epochs are trained already' in r.stderr and metrics('v')[-1] == end


def test_validation_settings():
    """Patience, recovery, and what is said of settings that cannot be."""
    r = run('train', 'lenet', *SMALL, '--epochs', 30, '--lr', 0, '--validation', 100, '--patience', 2, '--out', 'p', code=0)
    assert 'stopped after epoch 3: none of the last 2 had a better validation accuracy\n' in r.stderr, r.stderr
    assert 'stopped after epoch 3' in run('train', '--resume=p', code=0).stderr
    for options, sentence in ((['--patience', 3], '--patience needs images to validate with: use --validation'),
                              (['--keep-best'], '--keep-best needs images'),
                              (['--schedule=eras:rates=1/2,epochs=1/1,from_best'], "the schedule's from_best needs images"),
                              (['--validation', 1.5], 'expected a number of images, or a share below 1, found 1.5'),
                              (['--validation', 1000], '1000 of 1000 training images leave none to train on'),
                              (['--validation', 1e-6], '1e-06 of 1000 training images are none')):
        fails(1, re.escape(sentence), 'train', 'lenet', *SMALL, *options)
    fails(1, 'keeps its settings: leave out --validation', 'train', '--resume=p', '--validation', 1)
    text = (SOURCE / 'src/models/lenet.json').read_text().replace('"sigmoid"', '"relu"')
    pathlib.Path('relu.json').write_text(text)
    r = run('train', './relu.json', *SMALL, '--epochs', 1, '--lr', '1e20', '--recover', 100, '--out', 'r', code=0)
    times = r.stderr.count('epoch 1: not finite; again from the parameters of epoch 0, at a tenth of the rate\n')
    lines = metrics('r')
    assert 0 < times == sum(line['type'] == 'recovery' for line in lines)
    assert abs(lines[-1]['lr'] / 1e20 / 0.1 ** times - 1) < 1e-7, (lines[-1], times)


def test_run_directories():
    """Where no directory is named; names as long as the system takes; what a run says of its environment."""
    pathlib.Path('runs').write_text('')
    fails(3, '^convoy: runs: .*(File exists|Not a directory)', 'train', *SMALL)
    os.remove('runs')
    if not may_read_everything():
        os.mkdir('runs', 0o555)
        fails(3, '^convoy: runs/[0-9-]+-lenet-bn: .*Permission denied', 'train', *SMALL)
    r = run('train', *SMALL, '--out', './' * 2040 + 'r', code=3)
    assert re.search(r'^convoy: (\./){30}\.\.\.: the path is too long\n$', r.stderr), r
    run('train', *SMALL, '--epochs', 1, '--out', 'env', code=0, env={
        'GOMP_SPINCOUNT': '5', 'KMP_BLOCKTIME': '0', 'OMP_NOTHING': '\udcff', 'OMPNO': '1'})
    variables = json.loads(pathlib.Path('env/env.json').read_text())['variables']
    assert variables['GOMP_SPINCOUNT'] == '5' and variables['KMP_BLOCKTIME'] == '0' and variables['OMP_NOTHING'] is None, variables
    assert variables['CVY_THREADS'] == ENV['CVY_THREADS'] and 'OMPNO' not in variables and 'PATH' not in variables, variables


def test_one_process_in_a_directory():
    """Two processes never share a run: neither two resumes nor two that begin; a lock ends with its process."""
    long = ['lenet', '--data', 'synthetic:seed=3,train=2000,test=100', '--batch', '32', '--epochs', '200']
    first = subprocess.Popen([CONVOY, 'train', *long, '--out', 'r'], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: os.path.exists('r/checkpoint.safetensors'), 'the first checkpoint')
    busy = rf'r is in use: process {first.pid} on {re.escape(os.uname().nodename)} trains there'
    fails(3, busy, 'train', *long, '--out', 'r')
    fails(3, busy, 'train', '--resume=r')
    fails(3, busy, 'train', '--resume=r/checkpoint.safetensors')
    run('eval', 'r', code=0)
    first.kill()
    first.communicate()
    assert os.path.exists('r/lock')
    again = [subprocess.Popen([CONVOY, 'train', '--resume=r'], env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
             for _ in range(2)]
    wait_for(lambda: any(p.poll() is not None for p in again), 'one to give up')
    loser, winner = again if again[0].poll() is not None else again[::-1]
    assert loser.returncode == 3 and f'process {winner.pid} on' in loser.stderr.read(), loser
    size = os.path.getsize('r/metrics.jsonl')
    wait_for(lambda: os.path.getsize('r/metrics.jsonl') != size, 'a step')
    winner.send_signal(signal.SIGINT)
    winner.communicate()
    assert winner.returncode == 130 and not os.path.exists('r/lock')
    # Many that begin in one new directory at once: exactly one does.
    short = [CONVOY, 'train', *long[:3], '--batch', '32', '--epochs', '20', '--out', 'new']
    many = [subprocess.Popen(short, env={**ENV, 'CVY_THREADS': '1'}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for _ in range(5)]
    errors = [p.communicate()[1] for p in many]
    codes = sorted(p.returncode for p in many)
    assert codes[0] == 0 and all(code in (1, 3) for code in codes[1:]), (codes, errors)
    assert [line['epoch'] for line in metrics('new') if line['type'] == 'epoch'] == list(range(1, 21))


def test_rates():
    """The printed rates are the run's images by the seconds that its metrics tell, over all its processes."""
    def check(r, run, images):
        last = [line for line in metrics(run, timing=True) if line['type'] == 'epoch'][-1]
        rate = float(re.search(r'^([\d.]+) examples/sec on cpu$', r.stdout, re.M)[1])
        assert abs(rate - images / last['step_seconds']) <= 0.06 + 1e-6 * rate, (rate, last)
        wall, seconds = re.search(r'^([\d.]+) examples/sec by the wall clock \(([\d.]+) s', r.stdout, re.M).groups()
        assert last['step_seconds'] < last['wall_seconds'] <= float(seconds) + 0.06, (seconds, last)
        position = json.loads(tensors(f'{run}/checkpoint.safetensors')[1]['convoy.position'])
        assert position['examples'] == images and abs(position['step_seconds'] - last['step_seconds']) < 1e-6
        assert abs(float(wall) * float(seconds) - images) <= 0.051 * (float(wall) + float(seconds)) + 0.01, (wall, seconds)
        return last['step_seconds'], last['wall_seconds']

    first = check(run('train', *SMALL, '--epochs', 2, '--out', 'r', code=0), 'r', 2000)
    then = check(run('train', '--resume=r', '--epochs', 3, code=0), 'r', 3000)
    assert then[0] > first[0] and then[1] > first[1]


def test_split():
    """--split train and --split test are the images of those names: the files exchanged, so are the answers."""
    write_idx('a', train=150, test=70)
    os.mkdir('b')
    for name in os.listdir('a'):
        other = name.replace('train', '@').replace('t10k', 'train').replace('@', 't10k')
        shutil.copy(f'a/{name}', f'b/{other}')
    run('train', '--batch', '30', '--epochs', 2, '--data', './a', '--out', 'r', code=0)
    answers = {}
    for data in ('a', 'b'):
        for split in ('train', 'test'):
            text = run('eval', 'r', '--data', f'./{data}', '--split', split, code=0).stdout.splitlines()[0]
            found = re.fullmatch(rf'{split} loss ([\d.]+), {split} acc ([\d.]+) \((\d+) of (\d+)\)', text)
            assert found, text
            assert abs(float(found[2]) - int(found[3]) / int(found[4])) < 6e-5
            answers[data, split] = found.groups()
    assert answers['a', 'train'] == answers['b', 'test'] and answers['a', 'test'] == answers['b', 'train'], answers
    assert answers['a', 'train'][3] == '150' and answers['a', 'test'][3] == '70'
    assert run('eval', 'r', '--data', './a', code=0).stdout.startswith('test loss ' + answers['a', 'test'][0])
    assert abs(metrics('r')[-1]['test_acc'] - float(answers['a', 'test'][1])) < 6e-5


def test_second_signal():
    """The second one does not wait for the step to end, and saves nothing."""
    p = subprocess.Popen([CONVOY, 'train', 'vgg11-bn', '--data', 'synthetic:train=512,test=10', '--batch', '256', '--threads', '1',
                          '--out', 'r'], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: os.path.exists('r/checkpoint.safetensors'), 'the first checkpoint')
    time.sleep(0.2) # into the first step, which takes seconds
    p.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert p.poll() is None
    p.send_signal(signal.SIGTERM)
    _, err = p.communicate(timeout=60)
    assert p.returncode == 143 and 'saved' not in err, (p.returncode, err)
    assert json.loads(tensors('r/checkpoint.safetensors')[1]['convoy.position'])['steps'] == 0
    assert not [name for name in os.listdir('r') if '.tmp-' in name]


def test_signals():
    # Long enough (a second) that it is not over before the signal comes; a build with counters is forty times slower.
    common = ['lenet-bn', '--data', 'synthetic:seed=3,train=6000,test=200', '--batch', '64', '--epochs']
    begin = time.time()
    run('train', *common, '1', '--out', 'one', code=0)
    common.append(str(max(2, min(15, round(3 / (time.time() - begin))))))
    run('train', *common, '--out', 'whole', code=0)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        out = f'stopped{code}'
        p = subprocess.Popen([CONVOY, 'train', *common, '--out', out], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
        wait_for(lambda: pathlib.Path(out, 'metrics.jsonl').exists() and pathlib.Path(out, 'metrics.jsonl').stat().st_size > 0,
                 'the first step')
        p.send_signal(number)
        _, err = p.communicate(timeout=60)
        assert p.returncode == code, (p.returncode, err)
        assert f'go on with: convoy train --resume={out}' in err, err
        assert tensors(f'{out}/checkpoint.safetensors')
        run('train', f'--resume={out}', code=0)
        same_run('whole', out)
    # One that the parent ignores (nohup) stays ignored: the next ends it.
    p = subprocess.Popen([CONVOY, 'train', *common, '--out', 'nohup'], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_for(lambda: pathlib.Path('nohup', 'metrics.jsonl').exists() and pathlib.Path('nohup', 'metrics.jsonl').stat().st_size > 0,
             'the first step')
    p.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    assert p.poll() is None
    p.send_signal(signal.SIGTERM)
    _, err = p.communicate(timeout=60)
    assert p.returncode == 143, (p.returncode, err)


def test_not_finite():
    text = (SOURCE / 'src/models/lenet.json').read_text().replace('"sigmoid"', '"relu"') # sigmoids only saturate
    pathlib.Path('relu.json').write_text(text)
    r = run('train', 'relu.json', *SMALL, '--lr', '1e20', '--out', 'nan', code=5)
    assert re.search(r'epoch \d+, batch \d+: .*only the first weights are saved', r.stderr), r.stderr
    assert 'loss' not in r.stdout
    assert json.loads(tensors('nan/checkpoint.safetensors')[1]['convoy.position'])['steps'] == 0
    # What was good before stays: an epoch at a rate of 0, then one that explodes.
    model = json.loads(text)
    model['defaults'].update(lr_drop_epochs=[1], lr_drop_factor=1e25)
    pathlib.Path('later.json').write_text(json.dumps(model))
    r = run('train', 'later.json', *SMALL, '--lr', '1e-5', '--out', 'later', code=5)
    assert re.search(r'epoch 2, batch \d+: .*the last good checkpoint is kept', r.stderr), r.stderr
    assert run('eval', 'later', code=0).stdout.startswith('test loss 2.3')


def test_eval_predict():
    run('train', *SMALL, '--epochs', 2, '--out', 'r', code=0)
    acc = metrics('r')[-1]['test_acc']
    r = run('eval', 'r', code=0)
    assert f'test acc {acc:.4f}' in r.stdout, (r.stdout, acc)
    assert run('eval', 'r/checkpoint.safetensors', '--split', 'train', code=0).stdout.startswith('train loss')
    r = run('predict', 'r', '0', '1', '--top', 2, code=0)
    assert len(r.stdout.splitlines()) == 2 and r.stdout.startswith('0: ')
    pathlib.Path('x.pgm').write_bytes(b'P5\n# a comment\n28 28\n255\n' + bytes(784))
    assert run('predict', 'r', 'x.pgm', code=0).stdout.startswith('x.pgm: ')
    fails(2, 'test images 0 to 199', 'predict', 'r', '200')
    for text in (b'P5 28 27 255\n' + bytes(756), b'P5 28 28 254\n' + bytes(784), b'P5 28 28 255\n' + bytes(783), b'', b'P4'):
        pathlib.Path('bad.pgm').write_bytes(text)
        fails(2, 'bad.pgm: ', 'predict', 'r', 'bad.pgm')
    fails(3, 'No such file', 'predict', 'r', 'missing.pgm')
    fails(3, 'No such file', 'eval', 'missing')
    fails(2, 'needs a tensor|expected F32', 'eval', 'r', '--model', 'lenet')
    raw = pathlib.Path('r/checkpoint.safetensors').read_bytes()
    pathlib.Path('cut.safetensors').write_bytes(raw[:-1])
    fails(2, 'cut.safetensors: ', 'eval', 'cut.safetensors')
    pathlib.Path('flip.safetensors').write_bytes(raw[:-9] + bytes([raw[-9] ^ 4]) + raw[-8:])
    fails(2, 'corrupt', 'eval', 'flip.safetensors')
    fails(2, 'corrupt', 'train', '--resume', '--out', 'flipped') if make_run('flipped', raw) else None
    # Weights from elsewhere: no metadata, PyTorch's counter among them.
    values, _ = tensors('r/checkpoint.safetensors')
    n = struct.unpack('<Q', raw[:8])[0]
    header = {k: v for k, v in json.loads(raw[8:8 + n]).items() if k != '__metadata__'}
    end = len(raw) - 8 - n
    header['bn1.num_batches_tracked'] = {'dtype': 'I64', 'shape': [], 'data_offsets': [end, end + 8]}
    text = json.dumps(header).encode()
    pathlib.Path('foreign.safetensors').write_bytes(struct.pack('<Q', len(text)) + text + raw[8 + n:] + bytes(8))
    fails(1, 'use --model', 'eval', 'foreign.safetensors')
    assert f'test acc {acc:.4f}' in run('eval', 'foreign.safetensors', '--model', 'lenet-bn', *DATA, code=0).stdout


def test_pictures():
    """What a picture is that cannot be taken, and that colours end where they belong."""
    run('train', *SMALL, '--epochs', 1, '--out', 'r', code=0)
    for text, found in (
            (b'', 'found an empty file'), (b'P', 'found something else'), (b'P7\n28 28\n', 'found something else'), (b'\x89PNG\r\n', 'neither a PNG nor a JPEG|without'),
            (b'\xff\xd8\xff\xe0', 'not a good JPEG|without'), (b'GIF89a', 'found a GIF'), (b'P2 28 28 255 0', r'found a PGM in text \(P2\)'),
            (b'P5 1000001 28 255\n', 'the image has 1 of 28 and -1'), (b'P5 28', 'the image has 1 of -1 and 28'),
            (b'P5 28 # never ends', 'the image has 1 of -1 and 28'), (b'P5 x 28 255\n', 'the image has 1 of -1 and -1'),
            (b'P6 28 28 255\n' + bytes(3 * 784), 'the image has 3 of 28 and 28.*x.pgm'), (b'P5 28 27 255\n', 'the image has 1 of 27 and 28'),
            (b'P5 27 28 255\n', 'the image has 1 of 28 and 27'), (b'P5 28 28 65535\n', 'expected 255 as the largest value, found 65535'),
            (b'P5 28 28 255', 'expected 784 bytes of pixels, found 0'), (b'P5 28 28 255\n' + bytes(785), 'expected 784 bytes of pixels, found 785')):
        pathlib.Path('bad.pgm').write_bytes(text)
        fails(2, f'^convoy: bad.pgm: .*{found}', 'predict', 'r', 'bad.pgm')
    layers = [{'type': 'flatten'}, {'type': 'linear', 'name': 'fc', 'out_features': 10}]
    pathlib.Path('rgb.json').write_text(json.dumps({'name': 'rgb', 'input': [3, 32, 32], 'data': 'cifar10', 'layers': layers}))
    run('train', 'rgb.json', *SMALL, '--epochs', 1, '--out', 'rgb', code=0)
    pathlib.Path('grey.pgm').write_bytes(b'P5 32 32 255\n' + bytes(1024))
    fails(2, 'the model takes 3 channels of 32 rows and 32 columns, the image has 1 of 32 and 32.*x.ppm', 'predict', 'rgb', 'grey.pgm')
    # Weights of the green plane alone: class k has k times its sum.
    values, _ = read_tensors('rgb/checkpoint.safetensors')
    weights = [float(k) * (1024 <= i < 2048) for k in range(10) for i in range(3072)]
    write_foreign('green.safetensors', {'fc.weight': struct.pack('<30720f', *weights), 'fc.bias': bytes(40)})
    for plane, best in (0, None), (1, 9), (2, None):
        pathlib.Path('x.ppm').write_bytes(b'P6 32 32 255\n' + bytes(255 * (i % 3 == plane) for i in range(3072)))
        line = run('predict', 'green.safetensors', '--model', 'rgb.json', 'x.ppm', '--top', 12, code=0).stdout
        shares = dict(re.findall(r'class (\d) ([\d.]+)', line))
        assert len(shares) == 10 and (shares['9'] == '1.000' if best else set(shares.values()) == {'0.100'}), line
    pathlib.Path('none.json').write_text(json.dumps({'name': 'none', 'input': [3, 32, 32], 'layers': layers}))
    fails(1, 'model none names no data set|none.json names no data set: use --data', 'predict', 'green.safetensors', '--model', 'none.json', '0')


def test_info_of_little():
    """What `info` says of a file that says nothing, and what is for a model only."""
    for option in '--layers', '--phases', '-b32':
        fails(1, '--batch, --layers, --phases, --json, --memory-limit, --input and --classes are for a model, which is missing: convoy info MODEL', 'info', option)
    fails(1, "expected one model, found 'vgg11-bn' too", 'info', 'lenet', 'vgg11-bn')
    pathlib.Path('m.json').write_text(json.dumps({'name': 'm', 'input': [1, 4, 4], 'layers': [
        {'type': 'flatten'}, {'type': 'linear', 'name': 'fc', 'out_features': 3}]}))
    text = run('info', 'm.json', code=0).stdout
    assert text.startswith('m: (no description)\n') and '(none)' in text and 'fc' in text, text
    text = run('info', env={'GOMP_SPINCOUNT': '5', 'KMP_BLOCKTIME': '1', 'OMP_DYNAMIC': 'false', 'OTHER': '3'}, code=0).stdout
    assert all(word in text for word in ('GOMP_SPINCOUNT=5', 'KMP_BLOCKTIME=1', 'OMP_DYNAMIC=false')) and 'OTHER' not in text, text


def test_words_too_many():
    """Calls of compare, data and help with a word too few or too many, and the options that only they have."""
    pathlib.Path('a.json').write_text('{"context": {}, "benchmarks": [{"name": "x", "real_time": 1}, {"name": "x", "real_time": 1.01}]}')
    for words, code, message in (
            ('compare a.json a.json b.json', 1, "expected two result files, found 'b.json' too"), ('compare a.json', 1, 'expected two result files or --backends, found one file'),
            ('compare', 1, 'expected two result files or --backends, found neither'),
            ('compare lenet --backends native --fail-if slowdown>5%', 1, '--fail-if is for two result files'),
            ('compare lenet --backends native --isa mmx', 1, "--isa: expected scalar, avx2, avx512 or auto, found 'mmx'"),
            ('compare a.json a.json --noise=x', 1, '--noise: expected a number from 0 to 1000'), ('compare a.json missing.json', 3, 'missing.json: cannot read: No such file'),
            ('compare a.json a.json,missing.json', 3, 'missing.json: cannot read: No such file'),
            ('data path mnist mnist', 1, "too many arguments: 'mnist'"), ('data list mnist', 1, 'list takes no argument'),
            ('data path synthetic', 2, 'synthetic: it lies nowhere: it is made when it is needed'), ('help train eval', 1, "expected at most one command, found 'eval' too")):
        fails(code, message, *words.split())
    text = run('compare', 'a.json', 'a.json', '--noise', 7, code=0).stdout
    assert '7 % are allowed for that (--noise)' in ' '.join(text.split()), text
    os.rename('a.json', 'a,b.json') # a name with a comma is one file
    assert run('compare', 'a,b.json', 'a,b.json', code=0).stdout.count('a,b.json') == 2
    text = run('compare', 'lenet', '--backends', 'native', '--batch=16', '--steps=1', '--threads', 1, '--isa', 'scalar', '--strict', code=0).stdout
    assert ' 1 threads, scalar' in text or '1 thread, scalar' in text, text
    write_idx('own')
    fails(2, './own: the content is none of the published sets', 'data', 'verify', './own')
    assert run('-V', code=0).stdout == run('--version', code=0).stdout and run('-h', code=0).stdout == run('-?', code=0).stdout


def test_opening():
    """Runs and models that do not fit what they are opened for."""
    fails(3, 'lenet: cannot open: No such file or directory; it is a model: `convoy train lenet` makes a run of it', 'eval', 'lenet')
    run('train', *SMALL, '--epochs', 1, code=0)
    newest = 'runs/' + os.listdir('runs')[0]
    os.mkdir('runs/0')
    fails(3, f'missing: cannot open: No such file or directory; the newest run here is {newest}\n', 'eval', 'missing')
    fails(3, 'path is too long', 'eval', './' * 2040 + 'runs')
    values, meta = read_tensors(f'{newest}/checkpoint.safetensors')
    write_tensors('strange.safetensors', values, {**meta, 'convoy.model': '{}'})
    fails(2, 'strange.safetensors: "name" is missing', 'eval', 'strange.safetensors')
    flat = [{'type': 'flatten'}, {'type': 'linear', 'name': 'fc', 'out_features': 10}]
    for shape, layers, message in (
            ([1, 28, 28], [{'type': 'tanh'}], 'at least 2 classes, found 1x28x28'), ([1, 1, 8], [{'type': 'tanh'}], 'found 1x1x8'),
            ([1, 28, 28], [{**flat[1], 'out_features': 1}], 'found 1x1x1'),
            ([1, 27, 28], flat, "the model's input is 1x27x28, the images of .* are 1x28x28"),
            ([1, 28, 27], flat, "the model's input is 1x28x27, the images of .* are 1x28x28")):
        pathlib.Path('m.json').write_text(json.dumps({'name': 'm', 'input': shape, 'layers': layers}))
        fails(2, message, 'train', 'm.json', *SMALL)
    fails(2, 'found 1x28x27|needs a tensor', 'eval', newest, '--model', 'm.json')
    pathlib.Path('m.json').write_text(json.dumps({'name': 'm', 'input': [1, 28, 28], 'layers': [{'type': 'tanh'}]}))
    fails(2, 'at least 2 classes, found 1x28x28', 'eval', newest, '--model', 'm.json')
    # The engine's options; words behind -- are no options.
    lines = {run('eval', '--isa=scalar', '--no-fusion', '--', newest, code=0).stdout, run('eval', newest, code=0).stdout}
    assert len({text.splitlines()[0] for text in lines}) == 1, lines
    fails(3, '^convoy: -: cannot open', 'eval', '-')
    fails(3, '^convoy: --help: cannot open', 'eval', '--', '--help')
    fails(1, 'expected no value', 'train', '--quiet=3')
    fails(1, '-e: expected N, found nothing', 'train', '-e')
    fails(1, 'unknown option --' + 'x' * 60 + '\n', 'train', '--' + 'x' * 80)
    if HAS_THREADS:
        r = run('eval', newest, '--threads', 2, env={'OMP_THREAD_LIMIT': '1'}, code=0)
        assert 'threads: 1 instead of 2: OMP_THREAD_LIMIT is lower\n' in r.stderr, r
    pathlib.Path('a.json').write_text('{"context": {}, "benchmarks": [{"name": "x", "real_time": 1}]}')
    r = run('compare', 'a.json', 'a.json', '--json', '/dev/full', code=3)
    assert r.stderr == 'convoy: /dev/full: cannot write: No space left on device\n', r


def test_weights_of_pytorch():
    """Names as wrappers save them; and a file of torch.save, which gets a sentence."""
    run('train', *SMALL, '--epochs', 1, '--out', 'r', code=0)
    right = run('eval', 'r', code=0).stdout.splitlines()[0]
    values, _ = read_tensors('r/checkpoint.safetensors')
    values = {k: v for k, v in values.items() if not k.startswith('optimizer.')}

    def save(rename):
        SHAPES.update({rename(k): SHAPES[k] for k in values})
        write_foreign('w.safetensors', {rename(k): v for k, v in values.items()})
        return run('eval', 'w.safetensors', '--model', 'lenet-bn', *DATA)

    assert notes(save(lambda k: k)) == []
    for prefix in ('module.', '_orig_mod.', '_orig_mod.module.', 'module._orig_mod.'):
        r = save(lambda k: prefix + k)
        assert r.returncode == 0 and r.stdout.splitlines()[0] == right and 'taken without' in r.stderr, (prefix, r)
    r = save(lambda k: k.replace('conv2.', 'conv2._orig_mod.'))
    assert r.returncode == 0 and r.stdout.splitlines()[0] == right and 'taken without' in r.stderr, r
    for prefix in ('modul.', 'module', 'x.module.'):
        r = save(lambda k: prefix + k)
        assert r.returncode == 2 and 'needs a tensor' in r.stderr, (prefix, r)
    # One with a wrapper and one without: which is meant?
    both = {**values, 'module.fc3.bias': values['fc3.bias']}
    SHAPES['module.fc3.bias'] = SHAPES['fc3.bias']
    write_foreign('w.safetensors', both)
    fails(2, "the file has a tensor 'module.fc3.bias', the model has none", 'eval', 'w.safetensors', '--model', 'lenet-bn', *DATA)
    for raw in (b'PK\x03\x04' + bytes(30), b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'):
        pathlib.Path('w.pth').write_bytes(raw)
        fails(2, r'w.pth: expected a safetensors file, found one of torch.save.*python3 -c .* w.pth weights.safetensors', 'eval', 'w.pth')


def make_run(path, raw):
    """A run whose checkpoint has one wrong bit."""
    os.mkdir(path)
    pathlib.Path(path, 'checkpoint.safetensors').write_bytes(raw[:-9] + bytes([raw[-9] ^ 4]) + raw[-8:])
    return True


def test_info():
    text = run('info', code=0).stdout
    for word in ('cpu', 'isa', 'threads', 'backends', 'models', 'data'):
        assert re.search('^' + word, text, re.M), text
    lists = text[text.index('\nmodels '):]
    models = lists[len('\nmodels '):lists.index('\ndata ')].split()
    assert max(map(len, lists.splitlines())) < 80 and len(models) >= 11, text
    for model in models:
        assert max(map(len, run('info', model, code=0).stdout.splitlines())) < 80, model
    modules = {'CVY_BACKEND_PATH': str(BUILD / 'tests' / 'modules')}  # one that can be opened, and four that cannot
    available = re.compile(r'^backends +reference chosen; available: (native,reference\b.*)$', re.M)
    assert 'adder' not in available.search(run('info', '--backend=reference', code=0).stdout)[1].split(',')
    names = available.search(run('info', '--backend=reference', code=0, env=modules).stdout)[1].split(',')
    assert 'adder' in names and not {'alien', 'broken', 'liar', 'old'} & set(names) and len(names) == len(set(names)), names
    for model, parameters, screen in (('lenet', 61706, 28), ('lenet-bn', 44878, 32), ('resnet20', 269722, 40), ('vgg11-bn', 9231114, 26)):
        text = run('info', model, code=0).stdout
        assert re.search(rf'^total of one image +{parameters} ', text, re.M), text
        lines = text.splitlines()
        assert len(lines) <= screen and max(map(len, lines)) < 80 and not [x for x in lines if x != x.rstrip()], text
        assert 'memory' in text and 'stage ' not in text and ' 0 ' not in text, text
        phases = run('info', model, '--phases', '-b', 16, code=0).stdout
        assert re.search(r'^stage +phase +backend', phases, re.M) and len(phases.splitlines()) > 2 * len(lines), phases
    text = run('info', 'resnet20', code=0).stdout # figures for people, and the same of several layers in a row
    assert re.search(r'^layer1.0.conv2 \+ bn2 \+ add \+ relu2 +16x32x32 +2.34 k +4.72 M +9.44 M$', text, re.M), text
    each = run('info', 'resnet20', '--layers', code=0).stdout
    assert re.search(r'^layer1.0.conv2 +conv2d +16x32x32 +2.30 k +4.72 M +9.44 M$', each, re.M), each
    assert re.search(r'^layer1.0.bn2 +batch_norm +16x32x32 +32$', each, re.M) and len(each.splitlines()) > 73, each
    # Sixteen images side by side: one takes as much memory, seventeen as much as thirty-two.
    def memory(batch):
        text = run('info', 'resnet20', '-b', batch, code=0).stdout
        return re.search(r'^total +(\S+ \S+)', text[text.index('memory'):], re.M)[1], text
    assert memory(1)[0] == memory(16)[0] != memory(17)[0] == memory(32)[0]
    columns = re.findall(r'^activations and their gradients +(\S+ MiB) +(\S+ MiB) +(\S+ MiB)$', memory(17)[1], re.M)
    assert columns and columns[0][0] != columns[0][1] == columns[0][2] and 'below 16 a smaller batch saves nothing' in memory(17)[1]
    assert 'saves nothing' not in run('info', 'lenet', '--backend=reference', code=0).stdout


def test_modules_beside_the_program():
    """They are found from any directory, also where the program was found in PATH."""
    os.mkdir('bin')
    shutil.copy(CONVOY, 'bin')
    shutil.copy(BUILD / 'tests' / 'modules' / 'convoy-adder.so', 'bin')
    for program, path in (('convoy', os.path.abspath('bin')), (os.path.abspath('bin/convoy'), ''), ('bin/convoy', '')):
        r = subprocess.run([program, 'info', '--backend=adder,native'], capture_output=True, text=True,
                           env={**ENV, 'PATH': path}, timeout=120)
        assert r.returncode == 0 and 'backends  adder,native chosen' in r.stdout, (program, r)


def test_lost_output():
    with open('/dev/full', 'w') as full:
        for args in (['info'], ['--help'], ['help', '--man'], ['train', '--help']):
            r = subprocess.run([CONVOY, *args], stdout=full, stderr=subprocess.PIPE, text=True, env=ENV)
            assert r.returncode == 3 and 'standard output' in r.stderr, (args, r)
        r = subprocess.run([CONVOY, 'train', *SMALL, '--epochs', '1', '--out', 'full'], stdout=full, stderr=subprocess.PIPE,
                           text=True, env=ENV)
        assert r.returncode == 3 and tensors('full/checkpoint.safetensors')
    r = subprocess.run(f'exec "{CONVOY}" train {" ".join(SMALL)} --epochs 1 --out closed >&- 2>&- <&-', shell=True, env=ENV)
    assert r.returncode == 3 and tensors('closed/checkpoint.safetensors')
    assert len(metrics('closed')) == 7
    # `| head`: a reader that goes away is no reason for a word, nor for ending a run.
    p = subprocess.Popen([CONVOY, 'train', '-q', *SMALL, '--epochs', '2', '--out', 'pipe'], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env=ENV)
    p.stdout.close()
    assert p.stderr.read() == ''
    for args in (['help'], ['help', '--man'], ['info'], ['info', 'resnet20'], ['train', '--help'], ['data', 'list'], ['--version'],
                 ['eval', 'full'], ['predict', 'full', '0'], ['compare', 'lenet', '--backends', 'native', '--batch=16', '--steps=1']):
        reader, writer = os.pipe()
        os.close(reader)
        q = subprocess.run([CONVOY, *args], stdout=writer, stderr=subprocess.PIPE, text=True, env=ENV)
        os.close(writer)
        assert q.returncode == 3 and q.stderr == '', (args, q)
    assert p.wait() == 3 and len([x for x in metrics('pipe') if x['type'] == 'epoch']) == 2


def test_no_room():
    # ulimit -f counts KiB in bash: the checkpoint has 180.
    r = subprocess.run(['bash', '-c', f'ulimit -f 100; exec "{CONVOY}" train {" ".join(SMALL)} --epochs 1 --out r'],
                       capture_output=True, text=True, env=ENV)
    assert r.returncode == 3 and 'r/checkpoint.safetensors: cannot write: File too large' in r.stderr, r
    assert not [x for x in os.listdir('r') if 'tmp' in x]
    pathlib.Path('file').write_text('')
    fails(3, 'file: cannot create the directory', 'train', *SMALL, '--out', 'file')
    fails(3, 'cannot create the directory', 'train', *SMALL, '--out', 'file/run')
    if not may_read_everything():
        os.mkdir('locked', 0o555)
        fails(3, 'Permission denied', 'train', *SMALL, '--out', 'locked/run')


def test_full_disk():
    """A file system of one MiB that only a process of its own can see."""
    inside = os.environ.get('CVYI_TEST_DISK')
    if not inside:
        os.mkdir('disk')
        own = ['unshare', '-Urm']
        if not shutil.which('unshare') or subprocess.run([*own, 'mount', '-t', 'tmpfs', 'none', 'disk'], capture_output=True).returncode:
            print('left out: a full disk: this system lets nobody mount a file system of his own')
            return
        r = subprocess.run([*own, sys.executable, __file__, SOURCE, BUILD, 'full_disk'], capture_output=True, text=True,
                           env={**os.environ, 'CVYI_TEST_DISK': os.path.abspath('disk')})
        assert r.returncode == 0, r.stdout + r.stderr
        return
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', inside], check=True)
    disk = pathlib.Path(inside)
    run('train', *SMALL, '--epochs', 1, '--out', disk / 'run', code=0)
    run('train', *SMALL, '--epochs', 2, '--out', 'whole', code=0)
    saved, files = (disk / 'run/checkpoint.safetensors').read_bytes(), sorted(os.listdir(disk / 'run'))
    for left in range(0, len(saved), 20 << 10):
        with open(disk / 'ballast', 'wb', buffering=0) as ballast:
            ballast.write(bytes(max(0, os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - left)))
        r = run('train', f'--resume={disk}/run', '--epochs', 2, code=3)
        assert re.search(r'^convoy: \S+: cannot write: No space left on device$', r.stderr, re.M), (left, r)
        assert (disk / 'run/checkpoint.safetensors').read_bytes() == saved and sorted(os.listdir(disk / 'run')) == files
        if left == 0:
            r = run('train', *SMALL, '--epochs', 1, '--out', disk / 'new', code=3)
            assert re.search(r'^convoy: .*: No space left on device$', r.stderr, re.M), r
        run('eval', disk / 'run', code=0)
        os.remove(disk / 'ballast')
    run('train', f'--resume={disk}/run', '--epochs', 2, code=0)
    same_run('whole', disk / 'run')


def test_no_memory():
    if re.search(b'__[al]san_init', pathlib.Path(CONVOY).read_bytes()):
        print('no_memory is skipped: the sanitizer itself needs more')
        return
    pathlib.Path('huge.json').write_text('{"layers": [' + '[],' * 5000000 + '[]]}')
    most = 384 << 20
    fails(4, r'^convoy: out of memory\n$', 'train', 'huge.json', *SMALL,
          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most)))
    fails(4, r'^convoy: model lenet: .*\(`convoy info MODEL --batch N` tells what a smaller batch takes\)\n$', 'train', 'lenet', *DATA,
          '--batch', 1 << 20, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 * most, 4 * most)))


def test_short_of_memory():
    """What the program itself asks memory for, in commands that read runs, fails somewhere and from there on: it says so, with
    its status, and leaves no file that is not whole."""
    if re.search(b'__[al]san_init', pathlib.Path(CONVOY).read_bytes()):
        print('short_of_memory is skipped: the sanitizer has a malloc of its own')
        return
    run('train', 'lenet-bn', *SMALL, '--epochs', 1, '--out', 'short', code=0)
    library = pathlib.Path(BUILD) / 'tests/libshort_of_memory.so'
    made = ('out', 'out.safetensors', 'out.svg', 'out.png', 'out.html')

    def remove():
        for p in made:
            shutil.rmtree(p, ignore_errors=True) if os.path.isdir(p) else pathlib.Path(p).unlink(missing_ok=True)

    def written():
        """The files of what was made, by name: what they hold."""
        files = [q for p in made for q in (pathlib.Path(p).rglob('*') if os.path.isdir(p) else [pathlib.Path(p)])]
        return {str(q): q.read_bytes() for q in files if q.is_file()}

    for words in (['infer', 'short', '--fuse', '--times', '1', '--output', 'out.safetensors'],
                  ['infer', 'short', '--fuse', '--times', '1', '--output', 'out', '--json', 'out.json'],
                  ['visualise', 'short', '--out', 'out', '--samples', '1', '--confusion', 'test'],
                  ['visualise', 'short', '--out', 'out', '--samples', '1', '--confusion', 'test', '--layout', 'yann'],
                  *(['plot', 'short', '--out', f'out.{kind}'] for kind in ('svg', 'png', 'html')),
                  ['eval', 'short'], ['predict', 'short', '0'], ['norm', 'bn', *DATA], ['info', 'lenet']):
        remove()
        env = {**ENV, 'LD_PRELOAD': str(library), 'CVYI_COUNT': 'count', 'CVY_THREADS': '1'}
        r = subprocess.run([CONVOY, *words], env=env, capture_output=True, text=True)
        assert r.returncode == 0, (words, r)
        said, whole = r.stdout, written()
        n = int(pathlib.Path('count').read_text())
        assert n > 50, (words, n)
        for k in sorted({1 + (n - 1) * i // 12 for i in range(12)} | {n - 1}):
            remove()
            r = subprocess.run([CONVOY, *words], env={**env, 'CVYI_FAIL_AT': str(k)}, capture_output=True, text=True)
            told = r.returncode == 4 and re.fullmatch(r'convoy: .*out of memory.*\n', r.stderr)
            assert told or (r.returncode == 0 and r.stdout == said and not r.stderr), (words, k, n, r)
            left = written()
            assert all(whole.get(p) == left[p] for p in left), (words, k, n, sorted(left))
            # a directory of weights has its model, too
            assert words[0] != 'infer' or not left or left == whole, (words, k, n, sorted(left))


def test_folded_nets_are_whole():
    """Where a file of a folded net cannot be written, there is no directory that looks like a run."""
    run('train', 'lenet-bn', *SMALL, '--epochs', 1, '--out', 'whole', code=0)
    words = [CONVOY, 'infer', 'whole', '--fuse', '--times', '1', '--output', 'folded']
    for fail in ('rename:28:model.json', 'write:28:folded/', 'rename:28:checkpoint.safetensors'):
        env = {**ENV, 'LD_PRELOAD': str(pathlib.Path(BUILD) / 'tests/librecorder.so'), 'CVYI_FAIL': fail}
        r = subprocess.run(words, env=env, capture_output=True, text=True)
        assert r.returncode and 'No space left' in r.stderr and not os.path.exists('folded'), (fail, r)
    assert subprocess.run(words, env=ENV, capture_output=True).returncode == 0
    run('eval', 'folded', code=0)


def may_read_everything():
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o500)
        return os.access(directory, os.W_OK)


def main():
    if may_read_everything() and shutil.which('setpriv') and 'CVYI_TEST_USER' not in os.environ:
        # The superuser without the right to pass over permissions is a user like others.
        os.execvpe('setpriv', ['setpriv', '--bounding-set=-dac_override,-dac_read_search', '--inh-caps=-all', sys.executable,
                               *sys.argv], {**os.environ, 'CVYI_TEST_USER': 'usual'})
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): # a shell's background job ignores some, and hands that on
        signal.signal(number, signal.SIG_DFL)
    return run_tests(globals(), 'cli')


if __name__ == '__main__':
    sys.exit(main())
