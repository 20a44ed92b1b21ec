#!/usr/bin/env python3
"""`convoy compare --backends` from outside. usage: contest_test.py SOURCE_ROOT BUILD_ROOT"""
import json
import os
import re
import subprocess
import sys
import tempfile

from outside import unbalanced

build = sys.argv[2]
convoy = os.path.join(build, "src", "convoy")
errors = []


def check(what, good):
    if not good:
        errors.append(what)


def run(*args):
    return subprocess.run([convoy, "compare", *args], capture_output=True, text=True, timeout=300)


def contest(model, backends, folder):
    path, page = os.path.join(folder, "c.json"), os.path.join(folder, "c.html")
    r = run(model, "--backends", backends, "--batch", "16", "--check-batch", "4", "--steps", "3", "--json", path, "--html", page)
    check(f"{backends}: exit code {r.returncode}: {r.stderr}", r.returncode == 0)
    if r.returncode:
        return
    names = backends.split(",")
    with open(path, encoding="utf-8") as f:
        c = json.load(f)
    check("the sides", [s["name"] for s in c["backends"]] == names)
    check("the losses differ", max(s["loss"] for s in c["backends"]) - min(s["loss"] for s in c["backends"]) < 1e-4)
    check("no loss near ln 10", all(1.5 < s["loss"] < 4 for s in c["backends"]))
    check("no row of a convolution's data gradient", any("conv2.dx" in row["name"] and row["part"] == "backward" for row in c["rows"]))
    check("no FLOPs", sum(row["flops"] for row in c["rows"]) > 0)
    for name in names:
        cells = [(row, b) for row in c["rows"] for b in row["backends"] if b["backend"] == name]
        check(f"{name}: shares sum to {sum(b['share'] for _, b in cells)}", abs(sum(b["share"] for _, b in cells) - 1) < 1e-6)
        check(f"{name}: three samples of every row", all(len(b["samples"]) == 3 for _, b in cells))
        compared = [(row["name"], b["distance"]) for row, b in cells if "distance" in b]
        check(f"{name}: {len(compared)} rows have distances", (len(compared) > 20) == (name != "reference"))
        for row, d in compared:
            check(f"{name} {row}: differs by {d['max_abs']} at {d['at']}", d["max_abs"] is not None and d["max_abs"] < 1e-2)
        check(f"{name} equals the reference everywhere", name == "reference" or any(d["max_abs"] > 0 for _, d in compared))
    with open(page, encoding="utf-8") as f:
        text = f.read()
    check("a row comes once", len({(row["part"], row["name"]) for row in c["rows"]}) == len(c["rows"]))
    check(f"the page's elements are closed: {unbalanced(text)}", not unbalanced(text))
    check("the page names the rows", "conv2.dx" in text and text.rstrip().endswith("</html>"))
    check("the page begins with the verdict", 0 < text.find("<h2>Verdict</h2>") < text.find("the whole step") < text.find("conv2.dx"))
    lines = r.stdout.splitlines()
    for i, name in enumerate(names[1:]):
        check(f"the verdict on {name} comes first", lines[2 * i].startswith(f"{name} against {names[0]}: too few steps") and "times as long" in lines[2 * i + 1])
        check(f"the verdict on {name} comes once", r.stdout.count(f"{name} against {names[0]}: ") == 1)
    check("the whole step is a row", "-- the whole step" in r.stdout)
    check(f"a line is {max(map(len, lines))} columns wide: {max(lines, key=len)}", max(map(len, lines)) <= 100)
    said = [re.split(r": |, ", " ".join(part.split())) for part in re.findall(r"^(?:direct|transformed): .*(?:\n  .*)*", r.stdout, re.M)]
    check(f"what computed the convolutions: {said}", ["transformed", "conv2", "conv2.dx", "conv2.dw"] in said)
    check("the page does not tell why", text.count("transformed; direct would cost") >= 3)
    check("no verdicts in JSON", [v["against"] for v in c["verdicts"]] == names[1:])


def refused(code, says, *args):
    r = run(*args)
    check(f"{args}: exit code {r.returncode}, expected {code}", r.returncode == code)
    check(f"{args}: '{r.stderr}' does not say '{says}'", says in r.stderr)


def told(backends):
    """Enough steps for a verdict."""
    r = run("lenet-bn", "--backends", backends, "--batch", "4", "--check-batch", "2", "--steps", "15")
    first, step, rows = r.stdout.splitlines()[:3]
    check(f"no verdict: {first}", re.fullmatch("reference against native: (slower|faster|no difference beyond the noise|too few steps to be sure)", first))
    check(f"no interval: {step}", re.fullmatch(r"    a step takes [0-9.]+ times as long \(95 % interval [0-9.]+ - [0-9.]+\)", step))
    check(f"no count: {rows}", re.fullmatch(r"    of \d+ rows slower: \d+, faster: \d+, no difference beyond the noise: \d+", rows))


def checked_images(folder):
    """What is compared with the reference: as many images as take it 4 GFLOP, and no more than there are."""
    model, path = os.path.join(folder, "wide.json"), os.path.join(folder, "wide-contest.json")
    with open(model, "w", encoding="utf-8") as f:
        json.dump({"name": "wide", "input": [3, 32, 32], "layers": [
            {"type": "conv2d", "name": "a", "out_channels": 32, "kernel": 3, "pad": 1},
            {"type": "conv2d", "name": "b", "out_channels": 256, "kernel": 5, "pad": 2},
            {"type": "flatten"}, {"type": "linear", "name": "fc", "out_features": 10}]}, f)
    a, b, fc = 2 * 32 * 3 * 9 * 32 * 32, 2 * 256 * 32 * 25 * 32 * 32, 2 * 10 * 256 * 32 * 32
    fit = int(4e9 / (2 * a + 3 * (b + fc)))  # the first wants no gradient of its input
    for args, want in ((("wide.json", "--batch", "8"), fit), (("lenet-bn", "--batch", "5"), 5),
                       (("lenet-bn", "--batch", "4", "--check-batch", "9"), 4)):
        r = subprocess.run([convoy, "compare", *args, "--backends", "native", "--steps", "1", "--json", path],
                           capture_output=True, text=True, timeout=300, cwd=folder)
        with open(path, encoding="utf-8") as f:
            got = json.load(f)["check_batch"]
        check(f"{args}: {got} images checked, expected {want}: {r.stderr}", got == want)
        os.remove(path)


with tempfile.TemporaryDirectory() as folder:
    checked_images(folder)
    told("native,reference")
    contest("lenet-bn", "native,native:unfused,reference", folder)
    if os.path.exists(os.path.join(build, "src", "convoy-onednn.so")):
        contest("lenet-bn", "native,onednn", folder)
    refused(1, "neither")
    refused(1, "is missing", "lenet-bn", "--steps", "3")
    refused(1, "expected one model", "a", "b", "--backends", "native")
    refused(1, "there twice", "--backends", "native,native")
    refused(1, "expected BACKEND or BACKEND:unfused", "--backends", "native:fast")
    refused(1, 'unknown backend "nowhere"', "--backends", "nowhere")
    refused(3, "cannot write", "--backends", "reference", "--batch", "2", "--steps", "1", "--json", os.path.join(folder, "no", "such.json"))
for error in errors:
    print(error)
print(f"contest: {len(errors)} errors")
sys.exit(bool(errors))
