#!/usr/bin/env python3
"""Writes a C file that holds text files as a table of {name, text, size}, ended by a NULL name; a name is the file's, without suffix.

usage: embed.py OUTPUT.c HEADER "TYPE TABLE" FILE...
"""
import pathlib
import sys

output, header, table, *files = sys.argv[1:]
lines = [f'/* Made by embed.py from {", ".join(pathlib.Path(f).name for f in files)}; do not edit. */', f'#include "{header}"', '']
rows = []
for number, file in enumerate(files):
    path = pathlib.Path(file)
    data = path.read_bytes()
    body = ','.join(str(byte - 256 * (byte > 127)) for byte in data)  # a char has a sign here
    lines.append(f'static const char text{number}[] = {{{body},0}};')
    rows.append(f'    {{"{path.stem}", text{number}, {len(data)}}},')
lines += ['', f'const {table}[] = {{', *rows, '    {0, 0, 0}', '};', '']
pathlib.Path(output).write_text('\n'.join(lines))
