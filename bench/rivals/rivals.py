#!/usr/bin/env python3
"""Convoy against PyTorch, TensorFlow and JAX: the same nets (convoy's own model files), batches and threads, taking turns.

    rivals.py install torch tensorflow jax      # into virtual environments of their own, from PyPI
    rivals.py run --rivals torch-eager,torch-compile,tensorflow,jax --batch 256,64,16 --threads 2,1 --json rivals.json

A rival is a process that stays, warmed up, and measures when it is told to; convoy is `convoy bench step`, a new process every
turn. Every round has all contestants in random order. The time of a step is the book's: from when the batch is there until loss
and accuracy are known, update included; convoy's also holds gathering and scaling the images. The JSON is Google Benchmark's:
`convoy bench --results rivals.json --html report.html` shows it."""
import argparse
import datetime
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGES = {'torch': ['torch', 'numpy'], 'tensorflow': ['tensorflow-cpu', 'numpy'], 'jax': ['jax', 'numpy']}
SCRIPTS = {'torch-eager': ('torch', 'torch_rival.py', ['eager']), 'torch-compile': ('torch', 'torch_rival.py', ['compile']),
           'tensorflow': ('tensorflow', 'tensorflow_rival.py', []), 'jax': ('jax', 'jax_rival.py', [])}


def install(args):
    for name in args.what:
        directory = args.venvs / name
        print(f'{directory}: {" ".join(PACKAGES[name])}', flush=True)
        venv.create(directory, with_pip=True)
        subprocess.run([directory / 'bin' / 'pip', 'install', '--quiet', *PACKAGES[name]], check=True)


def model_file(name):
    path = pathlib.Path(name) if '/' in name or name.endswith('.json') else ROOT / 'src' / 'models' / f'{name}.json'
    if not path.exists():
        sys.exit(f'rivals.py: there is no model {name}: {path} was not found')
    return path


class Rival:
    def __init__(self, name, args, model, batch, threads):
        framework, script, options = SCRIPTS[name]
        python = args.venvs / framework / 'bin' / 'python'
        if not python.exists():
            sys.exit(f'rivals.py: {python} was not found; first: {sys.argv[0]} install {framework}')
        env = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
        self.name, self.log = name, tempfile.TemporaryFile('w+')
        self.process = subprocess.Popen([python, HERE / script, model, str(batch), str(threads), *options], env=env, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)
        self.version = self.answer()['version']

    def answer(self):
        for line in self.process.stdout:
            if line.startswith('{'):
                return json.loads(line)
        self.log.seek(0)
        sys.exit(f'rivals.py: {self.name} ended with {self.process.wait()}:\n{self.log.read()[-3000:]}')

    def turn(self, seconds):
        """Seconds of one step."""
        self.process.stdin.write(f'{seconds}\n')
        self.process.stdin.flush()
        result = self.answer()
        return result['seconds'] / result['steps']

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Convoy:
    def __init__(self, who, args, model, batch, threads):
        self.name, self.context, self.runs = who, None, []
        self.command = [args.convoy, 'bench', 'step', '--models', model, '--batch', str(batch), '--threads', str(threads),
                        '--backends', who, '--repetitions', '1']
        self.version = subprocess.run([args.convoy, '--version'], capture_output=True, text=True, check=True).stdout.strip()

    def turn(self, seconds):
        with tempfile.NamedTemporaryFile('r', suffix='.json') as out:
            r = subprocess.run([*self.command, '--min-time', str(seconds), '--json', out.name], capture_output=True, text=True)
            if r.returncode:
                sys.exit(f'rivals.py: convoy ended with {r.returncode}:\n{r.stderr[-3000:]}')
            result = json.load(out)
        self.context = result['context']
        run = next(x for x in result['benchmarks'] if x['run_type'] == 'iteration')
        self.runs.append(run)
        return run['real_time'] * {'ns': 1e-9, 'us': 1e-6, 'ms': 1e-3, 's': 1}[run['time_unit']]

    def close(self):
        pass


def case(args, model, batch, threads, results):
    """All contestants on one model, batch and number of threads: their seconds a step, round by round."""
    contestants = [Convoy(who, args, model, batch, threads) for who in args.backends.split(',')]
    try:
        for name in args.rivals.split(','):
            print(f'   starting {name}', file=sys.stderr, flush=True)
            contestants.append(Rival(name, args, model, batch, threads))
        seconds = {c.name: [] for c in contestants}
        for _ in range(args.rounds):
            for c in random.sample(contestants, len(contestants)):
                seconds[c.name].append(c.turn(args.seconds))
    finally:
        for c in contestants:
            c.close()
    results['context'] = next(c.context for c in contestants if c.context)
    group = f'step/{model.stem}/batch:{batch}/threads:{threads}'
    ours = statistics.median(seconds[contestants[0].name])
    print(f'\n{group}, {args.rounds} rounds\n{"":24} {"examples/s":>12} {"lowest":>10} {"highest":>10} {"time of a step":>15}  '
          f'{contestants[0].name} is')
    for c in contestants:
        times = seconds[c.name]
        median = statistics.median(times)
        print(f'{c.name:24} {batch / median:12.0f} {batch / max(times):10.0f} {batch / min(times):10.0f} {median * 1e3:12.3f} ms  '
              f'{median / ours:6.2f} times as fast   {c.version}', flush=True)
        for i, t in enumerate(times):
            name = f'{group}/{c.name}/real_time'
            run = {'name': name, 'family_index': 0, 'per_family_instance_index': 0, 'run_name': name, 'run_type': 'iteration',
                   'repetitions': len(times), 'repetition_index': i, 'threads': 1, 'iterations': 1, 'real_time': t * 1e3,
                   'cpu_time': t * 1e3, 'time_unit': 'ms', 'examples/s': batch / t, 'label': c.version}
            for key, value in (c.runs[i].items() if isinstance(c, Convoy) else ()):
                if key in ('GFLOP/s', '% of peak', 'peak GFLOP/s') or key.startswith('phase '):
                    run[key] = value
            results['benchmarks'].append(run)


def run(args):
    for name in args.rivals.split(','):
        if name not in SCRIPTS:
            sys.exit(f'rivals.py: there is no rival {name}; there are: {", ".join(SCRIPTS)}')
    results = {'context': {}, 'benchmarks': []}
    for model in args.models.split(','):
        for batch in args.batch.split(','):
            for threads in args.threads.split(','):
                case(args, model_file(model), int(batch), int(threads), results)
    results['context']['date'] = datetime.datetime.now().astimezone().isoformat(timespec='seconds')
    results['context']['executable'] = 'rivals.py'
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + '\n')


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
