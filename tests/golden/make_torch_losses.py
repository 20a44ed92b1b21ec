#!/usr/bin/env python3
"""Makes tests/golden/torch_losses.txt: what PyTorch's losses and their gradients are, in double.

    python3 -m venv venv && venv/bin/pip install torch numpy && venv/bin/python tests/golden/make_torch_losses.py

A case is a line "kind n c h w smoothing margin weighted soft ignored", then the mean loss and its gradient in scan order. Outputs,
labels, weights and targets are not stored: see value(), and losses_test.c. "ignored" is 1 where label 1 is ignore_index, 2 where it is
-100, which every third row has.
"""
import pathlib

import torch
import torch.nn.functional as F

CASES = [(kind, n, c, h, w, smoothing, margin, temperature, weighted, soft, ignored)
         for kind in ('cross_entropy', 'mse', 'bce', 'hinge')
         for n, c, h, w in ((1, 2, 1, 1), (19, 5, 1, 1), (17, 3, 3, 2))
         for smoothing, margin, temperature, weighted, soft, ignored in (
             (0, 0, 0, 0, 0, 0), (0.2, 0, 0, 0, 0, 0), (0, 0, 0, 1, 0, 0), (0, 0, 0, 0, 1, 0), (0.1, 0, 0, 0, 1, 0), (0, 0, 0, 0, 0, 1),
             (0, 0, 0, 1, 0, 2), (0, 0.5, 0, 0, 0, 0), (0, 2, 0, 1, 0, 1), (0, 0, 2.5, 0, 0, 0), (0, 0, 0.5, 1, 0, 1), (0.1, 0, 4, 0, 1, 0),
             (0.2, 0, 0, 1, 0, 0), (0.3, 0, 2, 1, 0, 2))
         if (kind == 'cross_entropy' or not temperature) and (kind == 'hinge' or not margin) and (kind != 'hinge' or not (smoothing or soft)) and (n > 1 or not ignored)]


def value(i, n):
    return (i * 7919 + 5) % n


def label(i, c, ignored):
    return -100 if ignored == 2 and i % 3 == 2 else value(i, 23) % c


def loss(x, y, t, kind, smoothing, margin, temperature, weighted, ignored):
    """x, t: [rows][classes], y: [rows]. Sums as PyTorch's, row by row, then the weighted mean of those that take part."""
    classes = x.shape[1]
    weights = torch.tensor([k % 3 + 0.5 for k in range(classes)], dtype=torch.float64) if weighted else torch.ones(classes, dtype=torch.float64)
    skip = {0: -12345, 1: 1, 2: -100}[ignored]
    x = x / (temperature or 1)
    if t is not None and kind == 'cross_entropy':
        return F.cross_entropy(x, t, label_smoothing=smoothing)
    if kind == 'cross_entropy':
        return F.cross_entropy(x, y, weight=weights, ignore_index=skip, label_smoothing=smoothing)
    keep = y != skip
    w = weights[y.clamp(min=0)] * keep
    if kind == 'hinge':
        rows = F.multi_margin_loss(x, y.clamp(min=0), margin=margin or 1, reduction='none') * classes
    else:
        q = F.one_hot(y.clamp(min=0), classes).double() if t is None else t
        q = (1 - smoothing) * q + smoothing / classes
        rows = (F.mse_loss(x, q, reduction='none') if kind == 'mse' else
                F.binary_cross_entropy_with_logits(x, q, reduction='none')).mean(dim=1)
    return (rows * w).sum() / w.sum()


def main():
    lines = [f'# PyTorch {torch.__version__}']
    for kind, n, c, h, w, smoothing, margin, temperature, weighted, soft, ignored in CASES:
        size = n * c * h * w
        x = torch.tensor([value(i, 31) / 4 - 3.75 for i in range(size)], dtype=torch.float64).reshape(n, c, h, w).requires_grad_()
        y = torch.tensor([label(i, c, ignored) for i in range(n * h * w)])
        t = torch.tensor([value(i, 7) / 8 for i in range(size)], dtype=torch.float64).reshape(n, c, h, w) if soft else None
        rows = x.permute(0, 2, 3, 1).reshape(-1, c)
        mean = loss(rows, y, t.permute(0, 2, 3, 1).reshape(-1, c) if soft else None, kind, smoothing, margin, temperature, weighted, ignored)
        mean.backward()
        lines.append(f'{kind} {n} {c} {h} {w} {smoothing} {margin} {temperature} {weighted} {soft} {ignored}')
        lines.append(' '.join(f'{v:.10g}' for v in [mean.item(), *x.grad.flatten().tolist()]))
    (pathlib.Path(__file__).parent / 'torch_losses.txt').write_text('\n'.join(lines) + '\n')


main()
