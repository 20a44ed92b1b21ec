#!/usr/bin/env python3
"""Writes a C file that holds the built-in models: embed.py OUTPUT.c FILE.json... (the name is the file's)."""
import pathlib
import sys

output, *files = sys.argv[1:]
lines = ['/* Made by embed.py from the JSON files beside it; do not edit. */', '#include "models/builtin.h"', '']
table = []
for number, file in enumerate(files):
    path = pathlib.Path(file)
    data = path.read_bytes()
    body = ','.join(str(byte) for byte in data)
    lines.append(f'static const char text{number}[] = {{{body},0}};')
    table.append(f'    {{"{path.stem}", text{number}, {len(data)}}},')
lines += ['', 'const struct model_builtin model_builtins[] = {', *table, '    {0, 0, 0}', '};', '']
pathlib.Path(output).write_text('\n'.join(lines))
