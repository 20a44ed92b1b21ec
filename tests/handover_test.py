#!/usr/bin/env python3
"""Training with lists of backends from outside: a net whose ops are cut between them learns what it learns on one.
usage: handover_test.py SOURCE_ROOT BUILD_ROOT"""
import json
import os
import re
import subprocess
import sys
import tempfile

build = sys.argv[2]
convoy = os.path.join(build, "src", "convoy")
errors = []

# A module that has no dropout leaves it to the next one, which must not take its layout for plain.
drop = {"name": "drop", "input": [1, 28, 28], "defaults": {"batch": 50, "lr": 0.1, "epochs": 1}, "layers": [
    {"type": "conv2d", "name": "c", "out_channels": 16, "kernel": 3, "pad": 1}, {"type": "relu"}, {"type": "dropout", "p": 0.1},
    {"type": "pool2d", "kind": "max", "kernel": 4}, {"type": "linear", "name": "fc", "out_features": 10}]}


def loss(folder, model, backends):
    path = os.pathsep.join([os.path.join(build, "tests", "modules"), os.path.join(build, "src")])
    r = subprocess.run([convoy, "train", model, "--data", "synthetic:train=1000,test=200", "--backend", backends,
                        "--out", os.path.join(folder, backends.replace(",", "-"))], capture_output=True, text=True, timeout=100,
                       env=dict(os.environ, CVY_BACKEND_PATH=path))
    found = re.search(r"^loss ([0-9.]+)", r.stdout, re.M)
    if not found:
        errors.append(f"{backends}: exit code {r.returncode}, {r.stderr}")
        return None
    return float(found.group(1))


with tempfile.TemporaryDirectory() as folder:
    model = os.path.join(folder, "drop.json")
    with open(model, "w", encoding="utf-8") as f:
        json.dump(drop, f)
    lists = ["native", "reference", "mosaic,reference", "reference,mosaic", "mosaic,native"]
    if os.path.exists(os.path.join(build, "src", "convoy-onednn.so")):
        lists += ["onednn,reference", "onednn,mosaic,reference", "onednn,native"]
    for backends in lists:
        value = loss(folder, model, backends)
        if value is not None and abs(value - 2.234) > 0.0011:
            errors.append(f"{backends}: loss {value}, expected 2.234")

print("\n".join(errors))
sys.exit(1 if errors else 0)
