#!/usr/bin/env python3
"""Trains the book's nets over several seeds and holds loss and accuracy against its published runs.

usage: learning.py BUILD_ROOT [SEEDS] [--longer]   (minutes; prints the table of docs/benchmarks.md, exit code 1 outside the bands)

The bands are mean and standard deviation over the published runs of each experiment; --longer takes those of 20 epochs, and
the nets of the book's newer text. Of that no numbers are published, so the bands are of our own seeds 1 to 5: they tell when
something changes. Every run must lie within four standard deviations, and the mean of the seeds within three of its own,
which are smaller by sqrt(seeds). Test accuracy at the older text's rates is reported only: it jumps from epoch to epoch, in
the book's runs as well (standard deviation 0.03 to 0.07).
"""
import json
import statistics
import subprocess
import sys
import tempfile

EXPERIMENTS = [  # what, arguments, whose runs, bands: (mean, standard deviation) of a key of metrics.jsonl
    ("lenet-bn, max-pool", ["lenet-bn", "--pool=max"], "published, 39 runs",
     {"train_loss": (0.2486, 0.0041), "train_acc": (0.9085, 0.0016)}),
    ("lenet-bn, avg-pool", ["lenet-bn", "--pool=avg"], "published, 85 runs",
     {"train_loss": (0.2673, 0.0046), "train_acc": (0.9012, 0.0019)}),
    ("lenet, avg-pool", ["lenet"], "published, 181 runs",
     {"train_loss": (0.4687, 0.0101), "train_acc": (0.8239, 0.0048)}),
]
LONGER = [
    ("lenet-bn, avg-pool, rate 0.5, 20 epochs", ["lenet-bn", "--pool=avg", "--lr=0.5", "--epochs=20"], "published, 12 runs",
     {"train_loss": (0.2188, 0.0025), "train_acc": (0.9193, 0.0010)}),
    ("the same, running variance unbiased", ["lenet-bn", "--pool=avg", "--lr=0.5", "--epochs=20", "--bn-var=unbiased"],
     "published, 12 runs", {"train_loss": (0.2183, 0.0050), "train_acc": (0.9198, 0.0020)}),
    ("lenet-bn --api=v1", ["lenet-bn", "--api=v1"], "seeds 1 to 5",
     {"train_loss": (0.3036, 0.0053), "train_acc": (0.8917, 0.0016), "test_loss": (0.3551, 0.0182), "test_acc": (0.8715, 0.0105)}),
]


def train(program, arguments, seed, shown):
    with tempfile.TemporaryDirectory() as out:
        command = [program, "train", *arguments, f"--seed={seed}", f"--out={out}/run", "--eval-every=100"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        with open(f"{out}/run/metrics.jsonl") as lines:
            last = [json.loads(line) for line in lines][-1]
    return {key: last[key] for key in shown}


def main():
    longer = "--longer" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--longer"]
    if len(arguments) not in (1, 2):
        sys.exit(__doc__)
    program, seeds = arguments[0] + "/src/convoy", int(arguments[1]) if len(arguments) == 2 else 5
    outside, shown = [], ["train_loss", "train_acc", *(["test_loss"] if longer else []), "test_acc"]
    print("| net | seed | " + " | ".join(key.replace("train_loss", "loss").replace("_", " ") for key in shown) + " |")
    print("|---" * (2 + len(shown)) + "|")
    for what, options, whose, bands in LONGER if longer else EXPERIMENTS:
        runs = []
        for seed in range(1, seeds + 1):
            runs.append(train(program, options, seed, shown))
            print(f"| {what} | {seed} | " + " | ".join(f"{x:.3f}" for x in runs[-1].values()) + " |", flush=True)
        means = {key: statistics.mean(run[key] for run in runs) for key in shown}
        print(f"| {what} | **mean** | " + " | ".join(f"**{x:.4f}**" for x in means.values()) + " |")
        print(f"| | {whose} | " + " | ".join("{} ± {}".format(*bands[key]) if key in bands else "" for key in shown) + " |", flush=True)
        for key, (mean, sd) in bands.items():
            if abs(means[key] - mean) > 3 * sd / seeds**0.5:
                outside.append(f"{what}: mean {key} {means[key]:.4f}, expected {mean} ± {sd}")
            outside += [f"{what}, seed {seed}: {key} {run[key]:.4f}, expected {mean} ± {sd}"
                        for seed, run in enumerate(runs, 1) if abs(run[key] - mean) > 4 * sd]
    print("\n".join(outside) or "all inside the bands")
    sys.exit(1 if outside else 0)


main()
