#!/usr/bin/env python3
"""Makes tests/golden/torch_pools.txt: what PyTorch's pooling computes for a few hundred small random geometries, in double.

    python3 -m venv venv && venv/bin/pip install torch numpy && venv/bin/python tests/golden/make_torch_pools.py

A pool is a line "kind h w kh kw sh sw ph pw ceil exclude_pad oh ow", then its results in scan order and the gradient of its input;
"oh ow" is "0 0" where PyTorch refuses, and nothing follows. Input and output gradient are not stored: see value() here
and in golden_pools.c. Whole numbers, so that maxima tie.
"""
import pathlib
import random

import torch
import torch.nn.functional as F


def value(i, of, n):
    return (i * 7919 + of * 104729) % n - n // 2


def draw(r):
    h, w = r.randint(1, 7), r.randint(1, 7)
    kh, kw = r.randint(1, 5), r.randint(1, 5)
    return (r.choice(["max", "avg"]), h, w, kh, kw, r.randint(1, 4), r.randint(1, 4), r.randint(0, kh // 2), r.randint(0, kw // 2),
            r.randint(0, 1), r.randint(0, 1))


def pool(x, kind, kh, kw, sh, sw, ph, pw, ceil, exclude):
    if kind == "max":
        return F.max_pool2d(x, (kh, kw), (sh, sw), (ph, pw), ceil_mode=bool(ceil))
    return F.avg_pool2d(x, (kh, kw), (sh, sw), (ph, pw), bool(ceil), not exclude)


def main():
    r = random.Random(9)
    cases = [("max", 2, 2, 3, 3, 2, 2, 0, 0, 1, 0), ("avg", 2, 2, 3, 3, 2, 2, 0, 0, 1, 0)] + [draw(r) for _ in range(400)]
    lines = ["# PyTorch %s" % torch.__version__]
    for n, (kind, h, w, *rest) in enumerate(cases):
        x = torch.tensor([float(value(i, n, 11)) for i in range(h * w)], dtype=torch.float64).reshape(1, 1, h, w)
        x.requires_grad_()
        head = " ".join(str(v) for v in (kind, h, w, *rest))
        try:
            y = pool(x, kind, *rest)
        except RuntimeError:
            lines.append(head + " 0 0")
            continue
        dy = torch.tensor([float(value(i, n, 9)) for i in range(y.numel())], dtype=torch.float64).reshape(y.shape)
        y.backward(dy)
        lines.append("%s %d %d" % (head, y.shape[2], y.shape[3]))
        for t in (y, x.grad):
            lines.append(" ".join("%.9g" % v for v in t.flatten().tolist()))
    (pathlib.Path(__file__).parent / "torch_pools.txt").write_text("\n".join(lines) + "\n")


main()
