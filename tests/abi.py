#!/usr/bin/env python3
"""The contract of backends cannot change under its number: what backend.h and types.h declare, comments and spacing left out, is held
against the sum that tests/golden/backend_abi has for CVY_BACKEND_ABI, and docs/abi.md against the number.
Usage: abi.py SOURCE_ROOT [--write]: writes the sum down; refused while the number is the one that another sum stands for."""
import hashlib
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
recorded = root / 'tests/golden/backend_abi'


def declared(name):
    text = (root / 'include/convoy' / name).read_text(encoding='utf-8')
    text = re.sub(r'/\*.*?\*/|//[^\n]*', ' ', text, flags=re.S)
    return ' '.join(re.sub(r'#define CVY_BACKEND_ABI \d+', '', text).split())


number = re.search(r'#define CVY_BACKEND_ABI (\d+)', (root / 'include/convoy/backend.h').read_text(encoding='utf-8'))[1]
found = hashlib.sha256('\n'.join(map(declared, ('backend.h', 'types.h'))).encode()).hexdigest()
old_number, old = recorded.read_text().split() if recorded.exists() else ('0', '')
wrong = []
if found != old and number == old_number:
    wrong.append(f'backend.h or types.h declares something else than version {number} of the contract: raise CVY_BACKEND_ABI, '
                 'then run tests/abi.py . --write')
elif '--write' in sys.argv:
    recorded.write_text(f'{number}\n{found}\n')
elif found != old or number != old_number:
    wrong.append(f'CVY_BACKEND_ABI is {number}, tests/golden/backend_abi is of {old_number}: run tests/abi.py . --write')
if not re.search(rf'`CVY_BACKEND_ABI`, an integer, now {number} \|', (root / 'docs/abi.md').read_text(encoding='utf-8')):
    wrong.append(f'docs/abi.md does not say that CVY_BACKEND_ABI is now {number}')
print(*wrong, sep='\n', end='\n' if wrong else '')
sys.exit(bool(wrong))
