"""What tests of the program from outside share: where it is, the environment it is called in, pages, and running functions named
test_… each in a directory of its own. No test itself."""
import html.parser
import os
import pathlib
import shutil
import sys
import tempfile
import time
import traceback

SOURCE, BUILD = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
CONVOY = str(BUILD / 'src' / 'convoy')
HAS_BENCH = (BUILD / 'bench' / 'convoy-bench').exists()  # where Google Benchmark is
HAS_THREADS = any(name in pathlib.Path(CONVOY).read_bytes() for name in (b'GOMP_parallel', b'__kmpc_fork_call'))
ENV = {k: v for k, v in os.environ.items() if not k.startswith(('CVY_', 'XDG_'))}
ENV.update(CVY_THREADS='2' if HAS_THREADS else '1', OMP_WAIT_POLICY='passive', LC_ALL='C')


class Elements(html.parser.HTMLParser):
    """Names the first element of a page that is not closed where it should be."""
    EMPTY = {'meta', 'br', 'input', 'link', 'hr', 'img', 'col'}

    def __init__(self):
        super().__init__()
        self.open, self.wrong = [], None

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.wrong and (not self.open or self.open.pop() != tag):
            self.wrong = f'</{tag}> at line %d, column %d' % self.getpos()


def unbalanced(page):
    """The first element of HTML or SVG that is not closed where it should be; None if all are."""
    elements = Elements()
    elements.feed(page)
    elements.close()
    return elements.wrong or (f'<{elements.open[-1]}>' if elements.open else None)


def run_tests(functions, kind):
    """Those that the command line names, or all, or of all every Nth from the Kth on (K/N); whether one failed. functions: a
    module's globals()."""
    tests = {k[5:]: v for k, v in functions.items() if k.startswith('test_')}
    names, failed = sys.argv[3:] or list(tests), 0
    if len(names) == 1 and '/' in names[0]:
        first, step = map(int, names[0].split('/'))
        names = list(tests)[first - 1::step]
    for name in names:
        directory = tempfile.mkdtemp(prefix=f'convoy-{kind}-')
        os.chdir(directory)
        start = time.monotonic()
        try:
            tests[name]()
            print(f'ok   {name} ({time.monotonic() - start:.1f} s)', flush=True)
        except Exception: # report and go on with the next
            failed += 1
            print(f'FAIL {name}', flush=True)
            traceback.print_exc(file=sys.stdout)
        os.chdir('/')
        shutil.rmtree(directory)
    print(f'{len(names) - failed} passed, {failed} failed')
    return failed != 0
