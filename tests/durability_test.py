#!/usr/bin/env python3
"""What `convoy train` really asks of the system when it saves, recorded under it (recorder.c): flushes of files and
directories, order, modes, umask; and what it does when such a call fails. Usage: durability_test.py SOURCE_DIR BUILD_DIR."""
import errno
import json
import os
import pathlib
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(sys.argv[2]).resolve()
CONVOY, RECORDER = str(BUILD / 'src' / 'convoy'), str(BUILD / 'tests' / 'librecorder.so')
TRAIN = ['train', 'lenet', '--data', 'synthetic:seed=3,train=200,test=50', '--batch', '64', '--lr', '0.1']
ENV = {k: v for k, v in os.environ.items() if not k.startswith(('CVY_', 'CVYI_', 'XDG_'))}
ENV.update(CVY_THREADS='1', OMP_WAIT_POLICY='passive', LC_ALL='C')


class Call:
    def __init__(self, line):
        self.line = line
        self.name, result, error, rest = line.split(' ', 3)
        self.result, self.errno = int(result), int(error)
        self.args = rest.split('\t') if self.name == 'rename' else rest.split(' ')
        self.path = self.args[-1]

    def __repr__(self):
        return self.line


def train(*args, code=0, fail=None, umask=None, expect=None):
    """Runs it over the recorder: the calls, and standard error."""
    record = os.path.abspath('record')
    pathlib.Path(record).write_text('')
    env = {**ENV, 'LD_PRELOAD': RECORDER, 'CVYI_RECORD': record, **({'CVYI_FAIL': fail} if fail else {})}
    r = subprocess.run([CONVOY, *args], env=env, capture_output=True, text=True, timeout=120,
                       preexec_fn=None if umask is None else lambda: os.umask(umask))
    assert r.returncode == code, (args, fail, r)
    assert expect is None or re.search(expect, r.stderr), (args, fail, expect, r.stderr)
    return [Call(line) for line in pathlib.Path(record).read_text().splitlines()], r.stderr


def position(run):
    raw = pathlib.Path(run, 'checkpoint.safetensors').read_bytes()
    header = json.loads(raw[8:8 + struct.unpack('<Q', raw[:8])[0]])
    return json.loads(header['__metadata__']['convoy.position'])


def check_replaced(calls, run, umask):
    """Every file that is renamed into the run was written beside it, flushed and closed before; its directory after."""
    renames = [i for i, c in enumerate(calls) if c.name == 'rename']
    for i in renames:
        source, target = calls[i].args
        assert os.path.dirname(source) == os.path.dirname(target) and source.startswith(target + '.tmp-'), calls[i]
        made = max(k for k in range(i) if calls[k].name == 'mkostemp' and calls[k].path == source)
        assert int(calls[made].args[0]) & os.O_CLOEXEC
        fd = calls[made].result
        own = [c for c in calls[made + 1:i] if c.name in ('write', 'fsync', 'fchmod', 'close', 'ftruncate') and c.args[0] == str(fd)]
        names = [c.name for c in own]
        assert names[0] == 'fchmod' and int(own[0].args[1], 8) == 0o666 & ~umask, own
        assert re.fullmatch('fchmod( write)+ fsync close', ' '.join(names)), own
        assert all(c.result >= 0 for c in own)
        # The name is not safe before the directory is: nothing else is written meanwhile.
        after = calls[i + 1:i + 4]
        assert [c.name for c in after] == ['open', 'fsync', 'close'], after
        directory = os.path.abspath(os.path.dirname(target) or '.')
        assert int(after[0].args[0]) & os.O_DIRECTORY and after[0].path == directory == after[1].path, after
    return [calls[i].args[1] for i in renames]


def check_metrics(calls, run):
    """A checkpoint tells the length of metrics.jsonl: those bytes are on the disk before the checkpoint is."""
    path, written, safe, saves = os.path.abspath(f'{run}/metrics.jsonl'), 0, 0, 0
    for c in calls:
        if c.path == path and c.name == 'open':
            assert int(c.args[0]) & os.O_APPEND and int(c.args[0]) & os.O_CLOEXEC and c.args[1] == '666', c
        if c.path == path and c.name == 'write':
            written += c.result
        if c.path == path and c.name in ('fsync', 'fdatasync'):
            assert c.result == 0
            safe = written
        if c.name == 'rename' and c.args[1].endswith('checkpoint.safetensors'):
            saves += 1
            assert safe == written, c
    assert written == os.path.getsize(path) > 0
    return saves


def test_sequence():
    for umask in (0o022, 0o027, 0o077):
        run = f'runs{umask:o}/deep/r'
        calls, _ = train(*TRAIN, '--epochs', '2', '--save-every', '3', '--out', run, umask=umask)
        names = [os.path.basename(n) for n in check_replaced(calls, run, umask)]
        # Before the first step, after steps 3 and 6, after each epoch of four steps.
        assert sorted(names[:3]) == ['config.json', 'env.json', 'model.json'] and names[3:] == ['checkpoint.safetensors'] * 5, names
        assert check_metrics(calls, run) == 5
        for name in os.listdir(run):
            assert stat.S_IMODE(os.stat(f'{run}/{name}').st_mode) == 0o666 & ~umask, name
        assert stat.S_IMODE(os.stat(run).st_mode) == 0o777 & ~umask
        # Asking for the umask means setting it: it is put back at once, every time.
        asked = [(c.result, int(c.args[0], 8)) for c in calls if c.name == 'umask']
        assert asked and len(asked) % 2 == 0
        assert all(a == (umask, 0) and b == (0, umask) for a, b in zip(asked[::2], asked[1::2])), asked
        # A new directory's name lies in its parent, which is flushed after it.
        for i, c in enumerate(calls):
            if c.name == 'mkdir' and c.result == 0:
                assert int(c.args[0], 8) == 0o777
                parent = os.path.abspath(os.path.dirname(c.path) or '.')
                assert any(d.name == 'fsync' and d.path == parent for d in calls[i + 1:i + 4]), calls[i:i + 4]
        assert [os.path.basename(c.path) for c in calls if c.name == 'mkdir' and c.result == 0] == [f'runs{umask:o}', 'deep', 'r']
        # Every descriptor that is opened to write is closed, and none is inherited by children.
        opened = [c for c in calls if c.name == 'open' and c.result >= 0 and c.path.startswith(os.getcwd())]
        assert all(int(c.args[0]) & os.O_CLOEXEC for c in opened)
        closed = [c for c in calls if c.name == 'close' and c.path.startswith(os.getcwd())]
        assert len(closed) >= len(opened) and all(c.result == 0 for c in closed)
        # One lock, taken before anything is replaced and removed at the end.
        locks = [i for i, c in enumerate(calls) if c.name == 'lock']
        assert len(locks) == 1 and locks[0] < min(i for i, c in enumerate(calls) if c.name == 'rename')
        assert [c.name for c in calls if f'{run}/lock' in c.line][-2:] == ['unlink', 'close']
    # Without --out: the directory below runs/ is as safe.
    calls, _ = train(*TRAIN, '--epochs', '1')
    made = [i for i, c in enumerate(calls) if c.name == 'mkdir' and c.result == 0]
    assert len(made) == 2
    for i in made:
        parent = os.path.abspath(os.path.dirname(calls[i].path) or '.')
        assert any(d.name == 'fsync' and d.path == parent for d in calls[i + 1:i + 4]), calls[i:i + 4]


def test_what_file_systems_lack():
    """No modes, no fsync, no locks: no reason to fail."""
    for fail in (f'fchmod:{errno.EPERM}', f'fchmod:{errno.ENOSYS}', f'fsync:{errno.EINVAL}', f'fsync:{errno.EOPNOTSUPP}',
                 f'fsync:{errno.ENOSYS}', f'lock:{errno.ENOLCK}', f'lock:{errno.EINVAL}', f'lock:{errno.EOPNOTSUPP}'):
        calls, err = train(*TRAIN, '--epochs', '1', '--out', 'r', fail=fail)
        assert any(c.name == fail.split(':')[0] and c.errno == int(fail.split(':')[1]) for c in calls), fail
        assert ('has no locks: see to it that no other' in err) == fail.startswith('lock'), (fail, err)
        assert position('r')['steps'] == 4
        assert sorted(os.listdir('r')) == ['checkpoint.safetensors', 'config.json', 'env.json', 'metrics.jsonl', 'model.json']
        shutil.rmtree('r')


def test_failures():
    """A call that fails ends the run with its reason; what was there before is untouched and nothing is left lying about."""
    train(*TRAIN, '--epochs', '1', '--out', 'good')
    saved = pathlib.Path('good/checkpoint.safetensors').read_bytes()
    for call, number, part, says in (
            ('write', errno.ENOSPC, 'checkpoint.safetensors.tmp', r'checkpoint\.safetensors: cannot write: No space'),
            ('fsync', errno.EIO, 'checkpoint.safetensors.tmp', r'checkpoint\.safetensors: cannot write \(fsync\): Input/output'),
            ('close', errno.EIO, 'checkpoint.safetensors.tmp', r'checkpoint\.safetensors: cannot write \(close\): Input/output'),
            ('close', errno.EDQUOT, 'checkpoint.safetensors.tmp', r'checkpoint\.safetensors: cannot write \(close\): Disk quota'),
            ('rename', errno.EIO, 'checkpoint.safetensors', r'checkpoint\.safetensors: cannot rename .*: Input/output'),
            ('mkostemp', errno.ENOSPC, 'checkpoint.safetensors', r'cannot create a temporary file beside it: No space'),
            ('write', errno.EIO, 'metrics.jsonl', r'metrics\.jsonl: cannot write: Input/output'),
            ('fsync', errno.EIO, 'metrics.jsonl', r'metrics\.jsonl: cannot write: Input/output'),
            ('open', errno.EACCES, 'metrics.jsonl', r'metrics\.jsonl: cannot open for appending: Permission'),
            ('open', errno.EROFS, '/lock', r'r/lock: cannot open: Read-only'),
            ('write', errno.ENOSPC, 'config.json.tmp', r'config\.json: cannot write: No space'),
            ('fsync', errno.EIO, 'model.json.tmp', r'model\.json: cannot write \(fsync\)')):
        shutil.copytree('good', 'r')
        before = sorted(os.listdir('r'))
        calls, _ = train('train', '--resume=r', '--epochs', '2', code=3, fail=f'{call}:{number}:{part}', expect=says)
        assert pathlib.Path('r/checkpoint.safetensors').read_bytes() == saved, (call, part)
        assert sorted(os.listdir('r')) == before, (call, part, os.listdir('r'))
        tried = [c for c in calls if c.name == call and c.errno == number and part in c.line]
        assert call == 'fsync' or len(tried) == 1, tried # a failed flush is never tried again: the kernel may have dropped the pages
        if call == 'fsync':
            assert len([c for c in calls if c.name in ('fsync', 'fdatasync') and c.errno == number]) == 1, tried
        train('train', '--resume=r', '--epochs', '2')
        shutil.rmtree('r')
    # The directory's own flush: the new file is there, but that it stays is not known.
    calls, _ = train(*TRAIN, '--epochs', '1', '--out', 'd', code=3, fail=f'fsync:{errno.EIO}:/d', expect='config.json: cannot (write|fsync)')
    # A directory that cannot be made, or whose name cannot be made safe.
    train(*TRAIN, '--epochs', '1', '--out', 'x/y', code=3, fail=f'mkdir:{errno.EDQUOT}:x/y', expect='x/y: cannot create the directory: Disk quota')
    train(*TRAIN, '--epochs', '1', '--out', 'z/y', code=3, fail=f'fsync:{errno.EIO}:/z', expect='z/y: cannot create the directory: Input/output')


def main():
    if b'__asan_init' in pathlib.Path(CONVOY).read_bytes():
        print('skipped: the sanitizer will not have another library before its own')
        return
    for name, test in list(globals().items()):
        if not name.startswith('test_'):
            continue
        directory = tempfile.mkdtemp(prefix='convoy-durability-')
        os.chdir(directory)
        os.umask(0o022)
        test()
        os.chdir('/')
        shutil.rmtree(directory)
        print(f'ok   {name[5:]}', flush=True)


main()
