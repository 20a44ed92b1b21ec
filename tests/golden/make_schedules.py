#!/usr/bin/env python3
"""Makes tests/golden/torch_schedules.txt: the rates of PyTorch's schedulers, step by step.

    python3 -m venv venv && venv/bin/pip install torch numpy && venv/bin/python tests/golden/make_schedules.py

A line: the schedule's text, "lr" or "momentum", steps an epoch, what the optimiser has, and what the steps of 8 epochs have, in 17
digits.
"""
import pathlib
import torch
from torch.optim import lr_scheduler as S

STEPS, EPOCHS = 5, 8
T = STEPS * EPOCHS


def values(make, lr, by_epoch, what):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.95)
    scheduler, out = make(optimizer), []
    for step in range(T):
        out.append(optimizer.param_groups[0][what])
        optimizer.step()
        if (not by_epoch or (step + 1) % STEPS == 0) and step + 1 < T:
            scheduler.step()
    return out


cases = [
    ('constant', 0.1, True, lambda o: S.ConstantLR(o, factor=1.0)),
    ('step:every=3,factor=0.5', 0.1, True, lambda o: S.StepLR(o, 3, 0.5)),
    ('milestones:epochs=2/3/7,factor=0.2', 0.3, True, lambda o: S.MultiStepLR(o, [2, 3, 7], 0.2)),
    ('exponential:factor=0.9', 1.0, True, lambda o: S.ExponentialLR(o, 0.9)),
    ('exponential:factor=0.5,every_steps=7', 1.0, False, lambda o: S.LambdaLR(o, lambda s: 0.5 ** (s / 7))),
    ('staircase:every=7,factor=0.9', 1e-3, False, lambda o: S.StepLR(o, 7, 0.9)),
    ('cosine:over=8', 0.1, False, lambda o: S.CosineAnnealingLR(o, T)),
    ('cosine:over=8,floor=0.01', 0.1, False, lambda o: S.CosineAnnealingLR(o, T, 0.01)),
    ('cosine:over=8,floor=0.01,by_epoch', 0.1, True, lambda o: S.CosineAnnealingLR(o, EPOCHS, 0.01)),
    ('one_cycle:over=8', 0.5, False, lambda o: S.OneCycleLR(o, 0.5, total_steps=T)),
    ('one_cycle:over=8,start=10,end=100,peak=0.45,linear', 0.5, False,
     lambda o: S.OneCycleLR(o, 0.5, total_steps=T, div_factor=10, final_div_factor=100, pct_start=0.45, anneal_strategy='linear')),
    # a warm-up multiplies: PyTorch's starts at 1/W and ends after W - 1 steps
    ('constant:warmup_steps=8', 0.1, False, lambda o: S.LinearLR(o, 1 / 8, 1, 7)),
    ('cosine:over=8,warmup_epochs=2', 0.1, False,
     lambda o: S.ChainedScheduler([S.LinearLR(o, 1 / 10, 1, 9), S.CosineAnnealingLR(o, T)])),
]
with open(pathlib.Path(__file__).parent / 'torch_schedules.txt', 'w') as out:
    for text, lr, by_epoch, make in cases:
        for what in ['lr'] + ['momentum'] * text.startswith('one_cycle'): # the others' stays
            base = lr if what == 'lr' else 0.95
            out.write(f'{text} {what} {STEPS} {base!r} ' + ' '.join(f'{x:.17g}' for x in values(make, lr, by_epoch, what)) + '\n')
