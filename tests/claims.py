#!/usr/bin/env python3
"""Trains cs231n's experiments over several seeds and holds what they are there to show.

usage: claims.py BUILD_ROOT [SEEDS [DIRECTORY]]      (exit code 1 where a claim does not hold; a quarter of an hour)

Needs CIFAR-10. DIRECTORY keeps the runs, and one that was interrupted goes on there. A claim is a comparison of means over
the seeds, of numbers that are far apart where it is true: what it prints stands in docs/experiments.md.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile

FIRST = 20  # seeds of the first step, which takes no time

wrong = []


def claim(name, good, text):
    print(f"| {name} | {text} | {'holds' if good else '**fails**'} |", flush=True)
    if not good:
        wrong.append(name)


def convoy(*arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"convoy {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stdout}{done.stderr}")


def experiment(*name):
    """Rows by group and value, each a dictionary of the seeds' means."""
    out = f"{root}/{'-'.join(name)}"
    convoy(*name, "--seeds", seeds, "--out", out, "--quiet")
    rows = {}
    for row in json.load(open(f"{out}/experiment.json"))["rows"]:
        rows.setdefault((row["group"], row["value"]), []).append(row)
    return {k: {m: statistics.mean(r[m] for r in v) for m in ("train_acc", "best_valid_acc")} for k, v in rows.items()}


def train(name, *arguments, n=None):
    """The epochs of each seed: lists of what metrics.jsonl says."""
    runs = []
    for seed in range(1, (n or seeds) + 1):
        out = f"{root}/{name}-s{seed}"
        if not os.path.exists(f"{out}/checkpoint.safetensors"):
            convoy("train", *arguments, "--seed", seed, "--out", out, "--quiet")
        runs.append([line for line in map(json.loads, open(f"{out}/metrics.jsonl")) if line["type"] == "epoch"])
    return runs


def mean(runs, key, epoch=-1):
    return statistics.mean(run[epoch][key] for run in runs)


def init():
    """C2: at how many of the 20 scales of first weights a net has 3/4 of the best accuracy of all."""
    rows = experiment("sweep", "init")
    enough = 0.75 * max(r["best_valid_acc"] for r in rows.values())
    norm, none = (sum(r["best_valid_acc"] >= enough for k, r in rows.items() if k[0] == group) for group in ("batch norm", "none"))
    claim("C2: batch norm flat, baseline narrow", norm >= 10 and none <= norm / 3,
          f"good at {norm} of 20 scales with batch norm (10 or more), {none} without (a third of that at most)")


def batch():
    """C3, C4: what the training accuracy gains from batches of 50 in the place of 5."""
    rows = experiment("ablate", "batch")
    at = {norm: [rows[norm, size]["train_acc"] for size in ("5", "10", "50")] for norm in ("batch norm", "layer norm", "none")}
    norm, layer = (at[k][2] - at[k][0] for k in ("batch norm", "layer norm"))
    claim("C3: larger batches are better with batch norm", at["batch norm"] == sorted(at["batch norm"]) and norm > 0.2,
          "batches of 5, 10, 50: train acc " + ", ".join(f"{x:.3f}" for x in at["batch norm"]) + " (rising, 0.2 or more in all)")
    claim("C3: at 5 batch norm is behind the baseline", at["batch norm"][0] < at["none"][0] - 0.1,
          f"{at['batch norm'][0]:.3f} with, {at['none'][0]:.3f} without (0.1 or more apart)")
    claim("C4: layer norm depends on it much less", abs(layer) < norm / 2,
          f"layer norm gains {layer:.3f}, batch norm {norm:.3f} (less than half of it)")


def nets():
    norm, none = train("c1", "cs231n-c1"), train("c1-plain", "cs231n-c1", "--api=plain")
    last, ahead = mean(none, "eval_train_acc"), mean(norm, "eval_train_acc", 4) - mean(none, "eval_train_acc", 4)
    first = next((e + 1 for e in range(len(norm[0])) if mean(norm, "eval_train_acc", e) >= last), len(norm[0]) + 1)
    claim("C1: batch norm converges faster", first <= 7 and ahead > 0.08,
          f"{ahead:.3f} ahead in train acc after 5 epochs (0.08 or more); the baseline's {last:.3f} of epoch 10 is reached in "
          f"epoch {first} (7 at most)")
    runs = train("c7", "cs231n-c7")
    claim("C7: 100 images are overfitted", mean(runs, "eval_train_acc") > 0.95 and 0.12 < mean(runs, "valid_acc") < 0.35,
          f"train acc {mean(runs, 'eval_train_acc'):.3f} (above 0.95), validation {mean(runs, 'valid_acc'):.3f} (0.12 to 0.35)")
    runs = train("c8", "cs231n-c8")
    claim("C8: one epoch, more than 40 %", mean(runs, "eval_train_acc") > 0.4, f"train acc {mean(runs, 'eval_train_acc'):.3f} (above 0.4)")
    drop, none = train("c9", "cs231n-c9"), train("c9-none", "cs231n-c9", "--api=no-dropout")
    gap = [mean(runs, "eval_train_acc") - mean(runs, "valid_acc") for runs in (drop, none)]
    claim("C9: dropout regularizes", gap[0] < gap[1] and mean(drop, "valid_acc") > mean(none, "valid_acc") - 0.01,
          f"train less validation acc {gap[0]:.3f} with dropout, {gap[1]:.3f} without; validation {mean(drop, 'valid_acc'):.3f} and "
          f"{mean(none, 'valid_acc'):.3f}")


def first_losses():
    """Of one batch of 50: which images it has, and the weights, are a matter of seeds and of the order of the files."""
    for name, arguments, published in (("C1", ["cs231n-c1", "--api=plain"], 2.302332), ("C7", ["cs231n-c7"], 2.414060)):
        losses = [run[-1]["train_loss"] for run in train(f"{name}-first", *arguments, "--steps", 1, n=FIRST)]
        middle, deviation = statistics.mean(losses), statistics.stdev(losses)
        claim(f"{name}: the first loss", abs(published - middle) < 3 * deviation,
              f"{middle:.4f} ± {deviation:.4f} over {FIRST} seeds, published {published} (3 standard deviations at most)")


def main():
    print("| claim | found (asked for) | |\n|---|---|---|")
    first_losses()
    nets()
    batch()
    init()
    print("\n".join(f"fails: {name}" for name in wrong) or "all claims hold")
    sys.exit(bool(wrong))


if len(sys.argv) not in (2, 3, 4):
    sys.exit(__doc__)
program, seeds = os.path.abspath(sys.argv[1]) + "/src/convoy", int(sys.argv[2]) if len(sys.argv) > 2 else 5
with tempfile.TemporaryDirectory() as scratch:
    root = sys.argv[3] if len(sys.argv) > 3 else scratch
    os.makedirs(root, exist_ok=True)
    main()
