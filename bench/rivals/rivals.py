#!/usr/bin/env python3
"""Convoy against PyTorch, TensorFlow and JAX: the same nets (convoy's own model files), batches and threads, taking turns.

    rivals.py install torch tensorflow jax      # into virtual environments of their own, from PyPI
    rivals.py run --rivals torch-eager,torch-compile,tensorflow,jax --batch 256,64,16 --threads 2,1 --json rivals.json

A model is read by `convoy info MODEL --json`, blocks and --input included. A rival is a process that stays, warmed up, and
measures when it is told to; convoy is `convoy bench step`, a new process every turn. Every round has all contestants in random
order. A rival that ends, or that has compiled and warmed up for longer than --limit, is told of and left out; what there is
so far is in the JSON after every round. The time of a step is the book's: from when the batch is there until loss
and accuracy are known, update included; convoy's also holds gathering and scaling the images. The JSON is Google Benchmark's:
`convoy bench --results rivals.json --html report.html` shows it."""
import argparse
import datetime
import json
import math
import os
import pathlib
import random
import select
import statistics
import subprocess
import sys
import tempfile
import time
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGES = {'torch': ['torch', 'numpy'], 'tensorflow': ['tensorflow-cpu', 'numpy'], 'jax': ['jax', 'numpy']}
SCRIPTS = {'torch-eager': ('torch', 'torch_rival.py', ['eager']), 'torch-compile': ('torch', 'torch_rival.py', ['compile']),
           'torch-channels-last': ('torch', 'torch_rival.py', ['eager', 'channels_last']),
           'torch-compile-channels-last': ('torch', 'torch_rival.py', ['compile', 'channels_last']),
           'tensorflow': ('tensorflow', 'tensorflow_rival.py', []), 'jax': ('jax', 'jax_rival.py', [])}


def install(args):
    for name in args.what:
        directory = args.venvs / name
        print(f'{directory}: {" ".join(PACKAGES[name])}', flush=True)
        venv.create(directory, with_pip=True)
        subprocess.run([directory / 'bin' / 'pip', 'install', '--quiet', *PACKAGES[name]], check=True)


def read_model(args, name):
    """The model as convoy reads it, with the options that change it."""
    r = subprocess.run([args.convoy, 'info', name, '--json', *args.change], capture_output=True, text=True)
    if r.returncode:
        sys.exit(f'rivals.py: {args.convoy} info {name}: {r.stderr.strip()}')
    return json.loads(r.stdout)['model']


class Gone(Exception):
    """A rival that is of no more use, and why."""


class Rival:
    def __init__(self, name, args, model, batch, threads):
        framework, script, options = SCRIPTS[name]
        python = args.venvs / framework / 'bin' / 'python'
        if not python.exists():
            sys.exit(f'rivals.py: {python} was not found; first: {sys.argv[0]} install {framework}')
        env = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
        self.name, self.log, self.rest, self.version = name, tempfile.TemporaryFile('w+'), b'', ''
        self.file = tempfile.NamedTemporaryFile('w', suffix='.json')
        self.file.write(json.dumps(model))
        self.file.flush()
        self.process = subprocess.Popen([python, HERE / script, self.file.name, str(batch), str(threads), *options], env=env,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)

    def start(self, limit):
        self.version = self.answer(limit)['version']

    def line(self, until):
        """The next line of its output; None: it has ended."""
        while b'\n' not in self.rest:
            if not select.select([self.process.stdout], [], [], max(0, until - time.monotonic()))[0]:
                return None
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                return None
            self.rest += more
        line, self.rest = self.rest.split(b'\n', 1)
        return line

    def answer(self, limit):
        until = time.monotonic() + limit
        while (line := self.line(until)) is not None:
            if line.startswith(b'{'):
                return json.loads(line)
        if time.monotonic() >= until:
            raise Gone(f'no answer within {limit:g} s')
        self.log.seek(0)
        raise Gone(f'it ended with {self.process.wait()}:\n{self.log.read()[-3000:]}')

    def turn(self, seconds, limit):
        """Seconds of one step."""
        try:
            self.process.stdin.write(f'{seconds}\n'.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # why, answer() says
        result = self.answer(seconds + limit)
        return result['seconds'] / result['steps']

    def close(self):
        self.process.kill()
        self.process.wait()
        for f in self.process.stdin, self.process.stdout, self.log, self.file:
            try:
                f.close()
            except BrokenPipeError:
                pass


class Convoy:
    def __init__(self, who, args, model, batch, threads):
        self.name, self.context, self.runs = who, None, []
        self.command = [args.convoy, 'bench', 'step', '--models', model, *args.change, '--batch', str(batch), '--threads',
                        str(threads), '--backends', who, '--repetitions', '1']
        self.version = subprocess.run([args.convoy, '--version'], capture_output=True, text=True, check=True).stdout.strip()

    def turn(self, seconds, limit):
        with tempfile.NamedTemporaryFile('r', suffix='.json') as out:
            try:
                r = subprocess.run([*self.command, '--min-time', str(seconds), '--json', out.name], capture_output=True, text=True,
                                   timeout=20 * seconds + limit)
            except subprocess.TimeoutExpired as e:
                raise Gone(f'no answer within {e.timeout:g} s') from e
            if r.returncode:
                raise Gone(f'convoy ended with {r.returncode}:\n{r.stderr[-3000:]}')
            result = json.load(out)
        self.context = result['context']
        run = next((x for x in result['benchmarks'] if x['run_type'] == 'iteration' and 'real_time' in x), None)
        if not run or run.get('error_occurred'):
            raise Gone(f'it cannot: {(run or {}).get("error_message", "no result")}')
        self.runs.append(run)
        return run['real_time'] * {'ns': 1e-9, 'us': 1e-6, 'ms': 1e-3, 's': 1}[run['time_unit']]

    def close(self):
        pass


def entries(group, c, batch, times):
    """The contestant's turns as Google Benchmark has them."""
    for i, t in enumerate(times):
        name = f'{group}/{c.name}/real_time'
        entry = {'name': name, 'family_index': 0, 'per_family_instance_index': 0, 'run_name': name, 'run_type': 'iteration',
                 'repetitions': len(times), 'repetition_index': i, 'threads': 1, 'iterations': 1, 'real_time': t * 1e3,
                 'cpu_time': t * 1e3, 'time_unit': 'ms', 'examples/s': batch / t, 'label': c.version}
        for key, value in (c.runs[i].items() if isinstance(c, Convoy) else ()):
            if key in ('GFLOP/s', '% of peak', 'peak GFLOP/s') or key.startswith('phase '):
                entry[key] = value
        yield entry


def write_json(args, results, more):
    if args.json:
        all_of_it = {'context': {**results['context'], 'executable': 'rivals.py',
                                 'date': datetime.datetime.now().astimezone().isoformat(timespec='seconds')},
                     'benchmarks': results['benchmarks'] + more}
        pathlib.Path(args.json).write_text(json.dumps(all_of_it, indent=1) + '\n')


def print_table(group, contestants, batch, seconds, args):
    ours = statistics.median(seconds[contestants[0].name]) if seconds[contestants[0].name] else math.nan
    print(f'\n{group}, {args.rounds} rounds\n{"":28} {"examples/s":>10} {"lowest":>10} {"highest":>10} {"time of a step":>15}  '
          f'{contestants[0].name} is')
    for c in contestants:
        times = seconds[c.name]
        if not times:
            continue
        median = statistics.median(times)
        print(f'{c.name:28} {batch / median:10.4g} {batch / max(times):10.4g} {batch / min(times):10.4g} {median * 1e3:12.3f} ms  '
              f'{median / ours:6.2f} times as fast   {c.version}', flush=True)


def case(args, name, batch, threads, results):
    """All contestants on one model, batch and number of threads: their seconds a step, round by round."""
    model = read_model(args, name)
    size = ':' + 'x'.join(map(str, model['input'])) if args.input else ''
    group = f'step/{model["name"]}{size}/batch:{batch}/threads:{threads}'
    contestants = [Convoy(who, args, name, batch, threads) for who in args.backends.split(',')]
    seconds, gone = {c.name: [] for c in contestants}, set()

    def leave(c, why):
        print(f'   {c.name} is left out: {why}', file=sys.stderr, flush=True)
        gone.add(c.name)
        c.close()

    try:
        for who in args.rivals.split(','):
            print(f'   starting {who}', file=sys.stderr, flush=True)
            c = Rival(who, args, model, batch, threads)
            contestants.append(c)
            seconds[who] = []
            try:
                c.start(args.limit)
            except Gone as why:
                leave(c, why)
        for _ in range(args.rounds):
            for c in random.sample(contestants, len(contestants)):
                try:
                    if c.name not in gone:
                        seconds[c.name].append(c.turn(args.seconds, args.limit))
                except Gone as why:
                    leave(c, why)
            results['context'] = next((c.context for c in contestants if isinstance(c, Convoy) and c.context), results['context'])
            write_json(args, results, [e for c in contestants for e in entries(group, c, batch, seconds[c.name])])
    finally:
        for c in contestants:
            if c.name not in gone:
                c.close()
    results['benchmarks'] += [e for c in contestants for e in entries(group, c, batch, seconds[c.name])]
    print_table(group, contestants, batch, seconds, args)


def run(args):
    for name in args.rivals.split(','):
        if name not in SCRIPTS:
            sys.exit(f'rivals.py: there is no rival {name}; there are: {", ".join(SCRIPTS)}')
    args.change = [x for option in ('input', 'classes') if getattr(args, option) for x in (f'--{option}', getattr(args, option))]
    results = {'context': {}, 'benchmarks': []}
    for model in args.models.split(','):
        for batch in args.batch.split(','):
            for threads in args.threads.split(','):
                case(args, model, int(batch), int(threads), results)
    write_json(args, results, [])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--venvs', type=pathlib.Path, default=pathlib.Path(os.environ.get('XDG_CACHE_HOME', pathlib.Path.home() / '.cache')) / 'convoy' / 'rivals',
                   help='where the virtual environments are, one for each framework (default: %(default)s)')
    commands = p.add_subparsers(dest='command', required=True)
    q = commands.add_parser('install', help='make the virtual environments')
    q.add_argument('what', nargs='+', choices=sorted(PACKAGES))
    q.set_defaults(do=install)
    q = commands.add_parser('run', help='measure, and print the table')
    q.add_argument('--rivals', default='torch-eager,torch-compile', help=f'of {", ".join(SCRIPTS)} (default: %(default)s)')
    q.add_argument('--backends', default='native', help="convoy's contestants, as for convoy bench (default: %(default)s)")
    q.add_argument('--models', default='lenet-bn', help='built-in models or paths (default: %(default)s)')
    q.add_argument('--input', help="CxHxW, images of another size than the models' own")
    q.add_argument('--classes', help="as many classes, in the place of the models' own")
    q.add_argument('--limit', type=float, default=600, metavar='SECONDS',
                   help='a rival that compiles, warms up or answers for longer is left out (default: %(default)s)')
    q.add_argument('--batch', default='256', help='(default: %(default)s)')
    q.add_argument('--threads', default=str(len(os.sched_getaffinity(0))), help='(default: %(default)s)')
    q.add_argument('--rounds', type=int, default=7, help='turns of each contestant (default: %(default)s)')
    q.add_argument('--seconds', type=float, default=1, help='of steps in a turn (default: %(default)s)')
    q.add_argument('--convoy', default=str(ROOT / 'build' / 'src' / 'convoy'), help='the program (default: %(default)s)')
    q.add_argument('--json', help="all of it in Google Benchmark's JSON")
    q.set_defaults(do=run)
    args = p.parse_args()
    args.do(args)


if __name__ == '__main__':
    main()
