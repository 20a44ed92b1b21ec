#!/usr/bin/env python3
"""What people see: the progress line on terminals of several widths (a pseudo terminal and a small emulator of one), the
lines in pipes and logs. usage: terminal_test.py SOURCE_DIR BUILD_DIR [NAME...]. Standard library only."""
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios

import outside
from outside import CONVOY, run_tests

ENV = {k: v for k, v in outside.ENV.items() if k not in ('COLUMNS', 'NO_COLOR')}
ENV['TERM'] = 'xterm'
SMALL = ['--data', 'synthetic:seed=3,train=3000,test=600', '--batch', '32']


class Terminal:
    """Rows of text as a terminal of so many columns shows them. Knows what convoy may send, and nothing else."""

    def __init__(self, columns):
        self.columns, self.rows, self.row, self.column, self.refreshes = columns, [''], 0, 0, 0

    def resize(self, columns):
        """Most terminals wrap what has become too long, and the cursor goes along."""
        rows, at = [], 0
        for i, row in enumerate(self.rows):
            if i == self.row:
                at = len(rows) + min(self.column, len(row)) // columns
            rows += [row[k:k + columns] for k in range(0, len(row), columns)] or ['']
        self.rows, self.row, self.column, self.columns = rows, min(at, len(rows) - 1), self.column % columns, columns

    def feed(self, text):
        for part in re.findall(r'\033\[[0-9;?]*[A-Za-z]|[^\033]|\033', text):
            if part == '\r':
                self.column = 0
            elif part == '\n':
                self.row += 1
                if self.row == len(self.rows):
                    self.rows.append('')
            elif part == '\033[J':
                self.refreshes += 1
                self.rows[self.row] = self.rows[self.row][:self.column]
                del self.rows[self.row + 1:]
            elif re.fullmatch(r'\033\[\d+A', part):
                self.row = max(0, self.row - int(part[2:-1]))
            else:
                assert part.isprintable(), f'convoy sent {part!r}'
                if self.column == self.columns:
                    self.feed('\r\n')
                self.rows[self.row] = self.rows[self.row][:self.column].ljust(self.column) + part + \
                    self.rows[self.row][self.column + 1:]
                self.column += 1

    def text(self):
        return '\n'.join(self.rows).rstrip('\n')


def on_terminal(*args, columns, env=None, resize=None, both=True, keys=None):
    """Runs convoy on a terminal: (exit code, Terminal). resize: (after so many refreshes, columns); keys: the same, bytes."""
    master, slave = pty.openpty()
    terminal = Terminal(columns)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 50, columns or 0, 0, 0))
    terminal.columns = columns or 80
    process = subprocess.Popen([CONVOY, *map(str, args)], stdin=slave, stdout=slave if both else subprocess.DEVNULL, stderr=slave,
                               env={**ENV, **(env or {})}, start_new_session=True,
                               preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0))
    os.close(slave)
    while True:
        try:
            terminal.feed(os.read(master, 1 << 16).decode())
        except OSError: # the last process has closed its end
            break
        if keys and terminal.refreshes >= keys[0]:
            os.write(master, keys[1])
            keys = None
        if resize and terminal.refreshes >= resize[0]: # while nobody writes
            process.send_signal(signal.SIGSTOP)
            while select.select([master], [], [], 0.05)[0]:
                terminal.feed(os.read(master, 1 << 16).decode())
            terminal.resize(resize[1])
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack('HHHH', 50, resize[1], 0, 0))
            process.send_signal(signal.SIGCONT)
            resize = None
    os.close(master)
    assert resize is None, f'there were only {terminal.refreshes} refreshes'
    return process.wait(), terminal


EPOCH = re.compile(r'epoch +(\d+)/(\d+)  loss \d+\.\d{3}  train acc [01]\.\d{3}  test acc (?:[01]\.\d{3}|-    ) +\S+ [kM]? ?ex/s +\S+(?: s)?')


def check_screen(terminal, epochs):
    rows = terminal.text().split('\n')
    seen = [EPOCH.fullmatch(row) for row in rows if row.startswith('epoch')]
    assert all(seen) and [int(m[1]) for m in seen] == list(range(1, epochs + 1)), terminal.text()
    assert not [row for row in rows if '[#' in row or '[.' in row or 'ETA' in row], terminal.text()
    return rows


# ------------------------------------------------------------------------------------------------------- the tests

def test_progress_fits():
    """At every width: one line that is rewritten, no row left behind, then a line for every epoch."""
    for columns in (80, 120, 200):
        code, terminal = on_terminal('train', 'lenet', *SMALL, '--epochs', 3, '--out', f'r{columns}', columns=columns)
        assert code == 0 and terminal.refreshes >= 3, (code, terminal.refreshes)
        rows = check_screen(terminal, 3)
        start = rows.index('training on cpu')
        assert rows[start + 1].startswith('epoch 1/3') and rows[start + 4].startswith('loss '), terminal.text()


def test_narrow():
    """Rows of 20 columns: the head and the epochs wrap, the progress does not."""
    for columns in (20, 40):
        code, terminal = on_terminal('train', 'lenet', *SMALL, '--epochs', 2, '--out', f'r{columns}', columns=columns, both=False)
        assert code == 0 and terminal.refreshes >= 2
        text = ''.join(row.ljust(columns) for row in terminal.rows).rstrip()
        assert len(re.findall(r'epoch \d/2', text)) == 2 and 'ETA' not in text, terminal.text()


def test_resize():
    for before, after in ((120, 80), (120, 40), (60, 120)):
        out = f'r{before}-{after}'
        code, terminal = on_terminal('train', 'lenet', *SMALL, '--epochs', 4, '--out', out, columns=before, resize=(3, after),
                                     both=False)
        text = terminal.text()
        assert code == 0 and 'ETA' not in text and '[#' not in text and 'batch' not in text, text


def test_interrupt():
    """Ctrl-C, which the terminal echoes, leaves nothing of the line, either."""
    for columns in (60, 80):
        code, terminal = on_terminal('train', 'lenet', *SMALL, '--epochs', 1000, '--out', f'r{columns}', columns=columns,
                                     keys=(5, b'\x03'), both=False)
        text = terminal.text()
        assert code == 130 and 'convoy: interrupted in epoch' in text and '^' not in text and 'ETA' not in text, (code, text)


def test_width_from_variable():
    """A serial line knows no width: COLUMNS says it, or it is 80."""
    for env, most in (({}, 80), ({'COLUMNS': '40'}, 40), ({'COLUMNS': 'x'}, 80)):
        out = 'r' + env.get('COLUMNS', '')
        master, slave = pty.openpty()
        process = subprocess.Popen([CONVOY, 'train', 'lenet', *SMALL, '--epochs', '1', '--out', out], stdout=subprocess.DEVNULL,
                                   stderr=slave, env={**ENV, **env})
        os.close(slave)
        got = b''
        while True:
            try:
                got += os.read(master, 1 << 16)
            except OSError:
                break
        os.close(master)
        assert process.wait() == 0
        lines = [line for line in re.split(r'\r|\033\[J|\n', got.decode()) if 'batch' in line]
        assert lines and max(map(len, lines)) < most and max(map(len, lines)) > most // 2, (env, lines)


def test_no_line_where_it_cannot_be():
    for env in ({'TERM': 'dumb'}, {'TERM': ''}):
        out = 'r' + env['TERM']
        code, terminal = on_terminal('train', 'lenet', *SMALL, '--epochs', 2, '--out', out, columns=80, env=env)
        assert code == 0 and terminal.refreshes == 0
        check_screen(terminal, 2)


def test_no_colours():
    """There are none, whatever NO_COLOR says: the emulator knows no such sequence."""
    code, terminal = on_terminal('train', 'lenet', *SMALL, '--epochs', 1, '--out', 'r', columns=80, env={'NO_COLOR': '1'})
    assert code == 0
    for args in (['info'], ['info', 'lenet-bn'], ['help'], ['train', '--help'], ['train', 'nothing'], ['data', 'list']):
        on_terminal(*args, columns=80)


def test_pipe():
    """Standard output has the book's lines only; standard error a line an epoch, when the epoch is over."""
    r = subprocess.run([CONVOY, 'train', 'lenet', *SMALL, '--epochs', '3', '--eval-every', '2', '--out', 'r'], capture_output=True,
                       text=True, env=ENV)
    assert r.returncode == 0 and 'epoch' not in r.stdout
    lines = r.stderr.splitlines()
    assert len(lines) == 3 and all(EPOCH.fullmatch(line) for line in lines), r.stderr
    epochs = [json.loads(line) for line in pathlib.Path('r/metrics.jsonl').read_text().splitlines()]
    epochs = [line for line in epochs if line['type'] == 'epoch']
    for line, m in zip(lines, epochs):
        acc = f'{m["test_acc"]:.3f}' if 'test_acc' in m else '-'
        assert f'loss {m["train_loss"]:.3f}  train acc {m["train_acc"]:.3f}  test acc {acc} ' in line, (line, m)
    assert '-' in lines[0].split('test acc ')[1][:1] and '-' not in lines[1]
    # d2l's rate: all examples by the time inside steps; within what three digits say.
    rate = re.search(r' (\S+) (k?) ?ex/s', lines[0])
    assert abs(float(rate[1]) * (1000 if rate[2] else 1) / (3000 / epochs[0]['step_seconds']) - 1) < 0.01, (lines[0], epochs[0])
    r = subprocess.run([CONVOY, 'train', '-q', 'lenet', *SMALL, '--epochs', '2', '--out', 'q'], capture_output=True, text=True, env=ENV)
    assert r.returncode == 0 and r.stderr == '' and 'loss' in r.stdout
    # Not silent until its end: the first epoch is there while the run goes on.
    p = subprocess.Popen([CONVOY, 'train', 'lenet', *SMALL, '--epochs', '1000', '--out', 'long'], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env=ENV)
    assert EPOCH.fullmatch(p.stderr.readline().rstrip('\n')) and p.poll() is None
    p.terminate()
    out, err = p.communicate(timeout=60)
    assert p.returncode == 143 and 'training on cpu' in out, (out, err)


def main():
    return run_tests(globals(), 'terminal')


sys.exit(main())
