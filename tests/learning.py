#!/usr/bin/env python3
"""Trains the book's nets over several seeds and holds loss and train accuracy against its published runs.

usage: learning.py BUILD_ROOT [SEEDS]      (minutes; prints the table of docs/benchmarks.md, exit code 1 outside the bands)

The bands are mean and standard deviation over the published runs of each experiment. Every run must lie within four
standard deviations, and the mean of the seeds within three of its own, which are smaller by sqrt(seeds). Test accuracy is reported only: at these learning rates
it jumps from epoch to epoch, in the book's runs as well (standard deviation 0.03 to 0.07).
"""
import re
import statistics
import subprocess
import sys
import tempfile

EXPERIMENTS = [  # what, arguments, published runs, loss and train accuracy as (mean, standard deviation)
    ("lenet-bn, max-pool", ["lenet-bn", "--pool=max"], 39, (0.2486, 0.0041), (0.9085, 0.0016)),
    ("lenet-bn, avg-pool", ["lenet-bn", "--pool=avg"], 85, (0.2673, 0.0046), (0.9012, 0.0019)),
    ("lenet, avg-pool", ["lenet"], 181, (0.4687, 0.0101), (0.8239, 0.0048)),
]


def train(program, arguments, seed):
    with tempfile.TemporaryDirectory() as out:
        command = [program, "train", *arguments, f"--seed={seed}", f"--out={out}/run", "--eval-every=10"]
        done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"^loss ([\d.]+), train acc ([\d.]+), test acc ([\d.]+)$", done.stdout, re.M)
    if done.returncode or not found:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return tuple(float(x) for x in found.groups())


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    program, seeds = sys.argv[1] + "/src/convoy", int(sys.argv[2]) if len(sys.argv) == 3 else 5
    outside = []
    print("| net | seed | loss | train acc | test acc |\n|---|---|---|---|---|")
    for what, arguments, n, *bands in EXPERIMENTS:
        runs = []
        for seed in range(1, seeds + 1):
            runs.append(train(program, arguments, seed))
            print(f"| {what} | {seed} | " + " | ".join(f"{x:.3f}" for x in runs[-1]) + " |", flush=True)
        means = [statistics.mean(x) for x in zip(*runs)]
        print(f"| {what} | **mean** | " + " | ".join(f"**{x:.4f}**" for x in means) + " |")
        print(f"| | published, {n} runs | " + " | ".join(f"{m} ± {sd}" for m, sd in bands) + " | |", flush=True)
        for i, (name, (mean, sd)) in enumerate(zip(("loss", "train acc"), bands)):
            if abs(means[i] - mean) > 3 * sd / seeds**0.5:
                outside.append(f"{what}: mean {name} {means[i]:.4f}, published {mean} ± {sd}")
            outside += [f"{what}, seed {seed}: {name} {run[i]:.3f}, published {mean} ± {sd}"
                        for seed, run in enumerate(runs, 1) if abs(run[i] - mean) > 4 * sd]
    print("\n".join(outside) or "all inside the published bands")
    sys.exit(1 if outside else 0)


main()
