#!/usr/bin/env python3
"""Makes tests/golden/torch_nets_*.txt: what PyTorch computes for torchvision's resnet18, resnet50, densenet121 and
mobilenet_v2 in double, on sixteen images of 3x40x32 and ten classes, and the names and sizes of all that they hold.

    python3 -m venv venv && venv/bin/pip install torch torchvision && venv/bin/python tests/golden/make_torch_nets.py [NET...]

Weights, images and labels come from a hash of the tensor's name and the element's index, as in make_torch.py. A line a
tensor: its name, its size in the net for 1000 classes and here, and sums over its elements, each times a number of
[-1, 1) from a hash of its index: of the gradient of the first step (a parameter; and the root of its sum of squares)
and of how far the tensor has moved behind the last (and theirs).

Gammas, betas and biases are 1/2 + u/8 and the rate is 1e-4. With gammas around 1 and betas around 0 half of all ReLUs
are closed, so that of millions rounding opens or closes some, and each step doubles what that makes: of resnet50 the
second loss of the same net in float is off by 2e-3, mobilenet_v2's by 6e-4, as much as a step changes. With betas above
gammas few are near 0, and all losses agree to 4e-7. The head of each file says how far float is from double.
"""
import pathlib
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision

HERE = pathlib.Path(__file__).parent
IMAGES, SHAPE, CLASSES, STEPS, LR, MOMENTUM, SEED = 16, (3, 40, 32), 10, 3, 1e-4, 0.9, 11
NETS = {'resnet18': torchvision.models.resnet18, 'resnet50': torchvision.models.resnet50,
        'densenet121': torchvision.models.densenet121, 'mobilenet-v2': torchvision.models.mobilenet_v2}
DROPOUT_NODE = {'mobilenet-v2': 151}  # the node of the net, which numbers its masks
U64 = np.uint64


def hash64(name, n):
    h = 0xCBF29CE484222325
    for c in name.encode():
        h = (h ^ c) * 0x100000001B3 & (1 << 64) - 1
    with np.errstate(over='ignore'):
        z = U64(h) + np.arange(1, n + 1, dtype=U64) * U64(0x9E3779B97F4A7C15)
        z = (z ^ z >> U64(30)) * U64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> U64(27)) * U64(0x94D049BB133111EB)
    return z ^ z >> U64(31)


def signed(name, n):
    """24 bits in [-1, 1)"""
    return torch.from_numpy(((hash64(name, n) >> U64(40)).astype(np.float64) - (1 << 23)) / (1 << 23))


def start(name, shape):
    n, bound = shape.numel(), 1.0
    if len(shape) == 1:
        return 0.5 + signed(name, n) / 8
    while bound * bound * (n // shape[0]) > 4:  # the largest power of two whose square is at most 4 / fan_in
        bound /= 2
    return (signed(name, n) * bound).reshape(shape)


def philox4x64(counter, key, rounds=10):
    """Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3"""
    c, k, mask = list(counter), list(key), (1 << 64) - 1
    for _ in range(rounds):
        a, b = c[0] * 0xD2E7470EE14C6C93, c[2] * 0xCA5A826395121157
        c = [b >> 64 ^ c[1] ^ k[0], b & mask, a >> 64 ^ c[3] ^ k[1], a & mask]
        k = [k[0] + 0x9E3779B97F4A7C15 & mask, k[1] + 0xBB67AE8584CAA73B & mask]
    return c


class Dropout(nn.Module):
    """Convoy's masks: of element e in images 8m ... 8m + 7 the eight halves of one block of numbers (base/random.h)."""

    def __init__(self, p, node):
        super().__init__()
        self.p, self.key, self.step = p, [SEED, 2 << 32 | node], 0

    def forward(self, x):
        keep = np.zeros(x.shape)
        for m in range(x.shape[0] // 8):
            for e in range(x.shape[1]):
                r = philox4x64([e, m, self.step, 0], self.key)
                for i in range(8):
                    keep[8 * m + i, e] = (r[i // 2] >> 32 * (i % 2) & 0xFFFFFFFF) >= int(self.p * 2**32)
        self.step += 1
        return x * torch.from_numpy(keep).to(x.dtype) / (1 - self.p)


def train(name, dtype):
    """The losses, and of every tensor of the net: gradient of the first step or None, how far it has moved."""
    net = NETS[name](num_classes=CLASSES).to(dtype)
    if name in DROPOUT_NODE:
        net.classifier[0] = Dropout(net.classifier[0].p, DROPOUT_NODE[name])
    for k, p in net.named_parameters():
        p.data = start(k, p.shape).to(dtype)
    first = {k: v.clone() for k, v in net.state_dict().items()}
    images = [signed(f'images{b}', IMAGES * 3 * SHAPE[1] * SHAPE[2]).reshape(IMAGES, *SHAPE).to(dtype) for b in range(2)]
    labels = [torch.from_numpy((hash64(f'labels{b}', IMAGES) % U64(CLASSES)).astype(np.int64)) for b in range(2)]
    optimizer = torch.optim.SGD(net.parameters(), LR, MOMENTUM)
    losses, gradients = [], {}
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images[step % 2]), labels[step % 2])
        loss.backward()
        losses.append(loss.item())
        if not gradients:
            gradients = {k: p.grad.clone() for k, p in net.named_parameters()}
        optimizer.step()
    moved = [(k, gradients[k], p.detach() - first[k]) for k, p in net.named_parameters()]
    return losses, moved + [(k, None, b - first[k]) for k, b in net.named_buffers() if b.dim()]


def sums(x):
    """The weighted sum, and the root of the sum of squares."""
    x = x.flatten().double()
    return (x * signed('checksum', x.numel())).sum().item(), x.square().sum().sqrt().item()


def apart(double, single):
    """The largest distance of a tensor in float, as golden_nets.c measures it: of weighted sums and norms over norms."""
    return max((abs(a - b) / max(sums(x)[1], 1e-4) for x, y in zip(double, single) if x is not None
                for a, b in zip(sums(x), sums(y))), default=0)


def write(name):
    losses, double = train(name, torch.float64)
    losses32, single = train(name, torch.float32)
    whole = {k: v.numel() for k, v in NETS[name]().state_dict().items()}
    gradient = apart([t[1] for t in double], [t[1] for t in single])
    moved = apart([t[2] for t in double], [t[2] for t in single])
    loss = ' '.join(f'{abs(a - b) / a:.1e}' for a, b in zip(losses, losses32))
    head = [f'# {name}: torchvision {torchvision.__version__}, PyTorch {torch.__version__}, double; made by make_torch_nets.py',
            f'# the same in float differs by: losses {loss}, gradients {gradient:.1e}, moves {moved:.1e}']
    lines = [f'losses {len(losses)} ' + ' '.join(f'{v:.13g}' for v in losses)]
    for k, g, m in double:
        numbers = (list(sums(g)) if g is not None else []) + list(sums(m))
        lines.append(f'{k} {whole[k]} {m.numel()} ' + ' '.join(f'{x:.12g}' for x in numbers))
    (HERE / f'torch_nets_{name}.txt').write_text('\n'.join(head + lines) + '\n')
    print('\n'.join(head + lines[:1]), flush=True)


for each in sys.argv[1:] or NETS:
    write(each)
