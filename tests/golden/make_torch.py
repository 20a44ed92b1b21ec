#!/usr/bin/env python3
"""Makes tests/golden/torch_*.txt: what PyTorch computes for six nets and eleven trainings, in double.

    python3 -m venv venv && venv/bin/pip install torch numpy && venv/bin/python tests/golden/make_torch.py

Weights, images and labels are not stored: both sides compute them from a hash of the tensor's name and the element's
index (see golden_torch.c). Per tensor a line: name, count, three checksums (sum, sum of squares, sum weighted by
a hash of the index) and 16 samples evenly spread. Its head says how far the same net in float is from this, the largest
difference over the tensor's root mean square (at least 0.01): the measure and the yardstick of the C test's tolerances.
"""
import fnmatch
import pathlib
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

MASK = (1 << 64) - 1
HERE = pathlib.Path(__file__).parent
SAMPLES = 16
MIX = 3  # the purpose of a mixture's numbers, base/random.h


def hash64(name, i):
    h = 0xCBF29CE484222325
    for c in name.encode():
        h = (h ^ c) * 0x100000001B3 & MASK
    z = h + (i + 1) * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def signed(name, i):
    """24 bits in [-1, 1)"""
    return ((hash64(name, i) >> 40) - (1 << 23)) / (1 << 23)


def values(name, shape):
    n = torch.Size(shape).numel()
    u = torch.tensor([signed(name, i) for i in range(n)], dtype=torch.float64).reshape(shape)
    if len(shape) > 1:  # the largest power of two whose square is at most 4 / fan_in
        fan_in, bound = n // shape[0], 1.0
        while bound * bound * fan_in > 4:
            bound /= 2
        return u * bound
    if "bn" in name and name.endswith("weight"):
        return 1 + u / 2
    return u / 4


class LeNetBN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 5), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 16, 5), nn.BatchNorm2d(16)
        self.fc1, self.bn3 = nn.Linear(256, 120), nn.BatchNorm1d(120)
        self.fc2, self.bn4 = nn.Linear(120, 84), nn.BatchNorm1d(84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(torch.sigmoid(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(torch.sigmoid(self.bn2(self.conv2(x))), 2)
        x = torch.sigmoid(self.bn3(self.fc1(x.flatten(1))))
        return self.fc3(torch.sigmoid(self.bn4(self.fc2(x))))


class Block(nn.Module):
    """He et al. 2015, CIFAR form, shortcut option A: subsampled, zero channels on both sides."""

    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.i, self.o, self.stride = i, o, stride

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        half = (self.o - self.i) // 2
        return F.relu(y + F.pad(x, (0, 0, 0, 0, half, half)))


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        widths = [16, 16, 32, 64]
        for k in 1, 2, 3:
            blocks = [Block(widths[k - 1], widths[k], 1 if k == 1 else 2)]
            blocks += [Block(widths[k], widths[k], 1) for _ in range(2)]
            setattr(self, f"layer{k}", nn.Sequential(*blocks))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def philox4x64(counter, key, rounds=10):
    """Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3"""
    c, k = list(counter), list(key)
    for _ in range(rounds):
        a, b = c[0] * 0xD2E7470EE14C6C93, c[2] * 0xCA5A826395121157
        c = [b >> 64 ^ c[1] ^ k[0], b & MASK, a >> 64 ^ c[3] ^ k[1], a & MASK]
        k = [k[0] + 0x9E3779B97F4A7C15 & MASK, k[1] + 0xBB67AE8584CAA73B & MASK]
    return c


def dropout(x, p, seed, step, stream):
    """Convoy's masks: of element e in images 8m … 8m + 7 the eight 32-bit halves of one block of numbers (base/random.h)."""
    n, size = x.shape[0], x[0].numel()
    keep = torch.zeros(n, size, dtype=x.dtype)
    for m in range((n + 7) // 8):
        for e in range(size):
            r = philox4x64([e, m, step, 0], [seed, 2 << 32 | stream])
            for i in range(min(8, n - 8 * m)):
                keep[8 * m + i, e] = float((r[i // 2] >> 32 * (i % 2) & 0xFFFFFFFF) >= int(p * 2**32))
    return x * keep.reshape(x.shape) / (1 - p)


class Motley(nn.Module):
    """Options that the other two do not use; every layer of it once."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8, eps=1e-3, momentum=0.2)
        self.conv2 = nn.Conv2d(8, 8, (3, 1), padding=(2, 0), dilation=(2, 1), groups=4, bias=False)
        self.bn2 = nn.BatchNorm2d(8, affine=False)
        self.conv3 = nn.Conv2d(8, 6, 1)
        self.fc1, self.fc2 = nn.Linear(14 * 25, 24), nn.Linear(24, 10)
        self.step = 0

    def forward(self, x):
        x = (x - torch.tensor([0.1, -0.2, 0.3], dtype=x.dtype).reshape(3, 1, 1)) / \
            torch.tensor([0.5, 0.75, 1.25], dtype=x.dtype).reshape(3, 1, 1)
        x = F.max_pool2d(F.leaky_relu(self.bn1(self.conv1(x)), 0.1), 3, 2, 1)
        y = F.elu(self.bn2(self.conv2(x))) + x
        x = torch.cat([y, torch.tanh(self.conv3(x))], 1)
        x = F.avg_pool2d(x, 2, 1, 1, count_include_pad=False)
        if self.training:
            x = dropout(x, 0.3, 11, self.step, 13)
            self.step += 1
        return self.fc2(F.softplus(self.fc1(x.flatten(1))))


class Gates(nn.Module):
    """The activations that the others do not use; one that is not monotone before a maximum."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.conv2 = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)
        self.conv3, self.bn3, self.conv4 = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
        self.conv5, self.prelu = nn.Conv2d(8, 8, 1), nn.PReLU(8)
        self.fc1, self.fc2 = nn.Linear(128, 24), nn.Linear(24, 10)

    def forward(self, x):
        x = F.max_pool2d(F.gelu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = x + F.silu(self.conv2(x))
        x = x + F.hardswish(self.bn3(self.conv3(x)))
        x = F.relu6(x + F.mish(self.conv4(x)))
        x = F.hardtanh(x + self.prelu(self.conv5(x)), -0.75, 0.75)
        return self.fc2(F.gelu(self.fc1(x.flatten(1)), approximate="tanh"))


class Norms(nn.Module):
    """Group, instance and layer norm, the last over maps and over features."""

    def __init__(self):
        super().__init__()
        self.conv1, self.gn1, self.conv2 = nn.Conv2d(3, 12, 3, 2, 1), nn.GroupNorm(3, 12), nn.Conv2d(12, 8, 3, padding=1)
        self.in2, self.conv3, self.ln3 = nn.InstanceNorm2d(8), nn.Conv2d(8, 6, 3, padding=1), nn.LayerNorm([6, 7, 8])
        self.fc1, self.ln4, self.fc2 = nn.Linear(336, 24), nn.LayerNorm(24), nn.Linear(24, 10)

    def forward(self, x):
        x = F.softplus(self.gn1(self.conv1(x)))
        x = torch.tanh(self.in2(self.conv2(x)))
        x = F.softplus(self.ln3(self.conv3(x)))
        return self.fc2(torch.tanh(self.ln4(self.fc1(x.flatten(1)))))


class LiteNorm(nn.Module):
    """Batch norm by the mean (Salimans & Kingma 2016) or by the variance about it alone; running statistics likewise."""

    def __init__(self, c, by, eps=1e-5):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))
        self.by, self.eps, start = by, eps, {"mean": torch.zeros, "var": torch.ones}[by]
        self.register_buffer(f"running_{by}", start(c))

    def forward(self, x):
        dims = [d for d in range(x.dim()) if d != 1]
        running = getattr(self, f"running_{self.by}")
        per_channel = [1, -1] + [1] * (x.dim() - 2)
        if self.training:
            now = x.mean(dims) if self.by == "mean" else x.var(dims, unbiased=False)
            m = x.numel() // x.shape[1]
            with torch.no_grad():
                running.mul_(0.9).add_(0.1 * now * (m / (m - 1) if self.by == "var" else 1))
        else:
            now = running
        now = now.reshape(per_channel)
        x = x - now if self.by == "mean" else x / (now + self.eps).sqrt()
        return x * self.weight.reshape(per_channel) + self.bias.reshape(per_channel)


class Lite(nn.Module):
    """Batch norms by one statistic alone, of maps and of features, with what is fused around them."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 12, 3, 2, 1), LiteNorm(12, "mean")
        self.conv2, self.bn2 = nn.Conv2d(12, 8, 3, padding=1), LiteNorm(8, "var", eps=1e-3)
        self.fc1, self.bn3 = nn.Linear(8 * 4 * 4, 24), LiteNorm(24, "var")
        self.fc2, self.bn4, self.fc3 = nn.Linear(24, 24), LiteNorm(24, "mean"), nn.Linear(24, 10)

    def forward(self, x):
        x = F.softplus(self.bn1(self.conv1(x)))
        x = F.max_pool2d(torch.tanh(self.bn2(self.conv2(x))), 2, ceil_mode=True)
        x = torch.tanh(self.bn3(self.fc1(x.flatten(1))))
        return self.fc3(torch.tanh(self.bn4(self.fc2(x))))


class Whitening(nn.Module):
    """DBN (Huang et al. 2018; steps 0: ZCA) and IterNorm (2019) by autograd. Shared: groups are samples, as the authors' ports."""

    def __init__(self, c, channels, steps=0, eps=1e-5, shared=False):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))
        self.n, self.steps, self.eps, self.shared = channels, steps, eps, shared
        matrices = 1 if shared else c // channels
        self.register_buffer("running_mean", torch.zeros(matrices * channels))
        self.register_buffer("running_matrix", torch.eye(channels).repeat(matrices, 1, 1))

    def whiten(self, s):
        eye = torch.eye(self.n, dtype=s.dtype)
        if not self.steps:
            values, u = torch.linalg.eigh(s)
            return u @ torch.diag_embed(values.rsqrt()) @ u.transpose(1, 2)
        trace = s.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
        p = eye.expand_as(s)
        for _ in range(self.steps):
            p = 1.5 * p - 0.5 * p @ p @ p @ (s / trace)
        return p / trace.sqrt()

    def forward(self, x):
        n, c = x.shape[:2]
        groups, matrices = c // self.n, self.running_matrix.shape[0]
        z = x.reshape(n, matrices, groups // matrices, self.n, -1)  # image, matrix, fold, channel, pixel
        z = z.permute(1, 3, 0, 2, 4)
        shape = z.shape
        z = z.reshape(matrices, self.n, -1)
        if self.training:
            mean = z.mean(2, keepdim=True)
            d = z - mean
            matrix = self.whiten(d @ d.transpose(1, 2) / z.shape[2] + self.eps * torch.eye(self.n, dtype=x.dtype))
            with torch.no_grad():
                self.running_mean.mul_(0.9).add_(0.1 * mean.flatten())
                self.running_matrix.mul_(0.9).add_(0.1 * matrix)
        else:
            mean, matrix = self.running_mean.reshape(matrices, self.n, 1), self.running_matrix
        y = (matrix @ (z - mean)).reshape(shape).permute(2, 0, 3, 1, 4).reshape(x.shape)
        per_channel = [1, -1] + [1] * (x.dim() - 2)
        return y * self.weight.reshape(per_channel) + self.bias.reshape(per_channel)


class Whitened(nn.Module):
    """Whitening of both kinds, of maps and of features, a matrix a group and a shared one."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 12, 3, 2, 1), Whitening(12, 4, eps=1e-3)
        self.conv2, self.bn2 = nn.Conv2d(12, 8, 3, padding=1), Whitening(8, 8, steps=5, eps=1e-3)
        self.conv3, self.bn3 = nn.Conv2d(8, 6, 3, padding=1), Whitening(6, 3, steps=3, eps=1e-3, shared=True)
        self.fc1, self.bn4, self.fc2 = nn.Linear(336, 24), Whitening(24, 6, eps=1e-2, shared=True), nn.Linear(24, 10)

    def forward(self, x):
        x = F.softplus(self.bn1(self.conv1(x)))
        x = torch.tanh(self.bn2(self.conv2(x)))
        x = F.softplus(self.bn3(self.conv3(x)))
        return self.fc2(torch.tanh(self.bn4(self.fc1(x.flatten(1)))))


class Rank(nn.Module):
    """Ranks in the batch; the gradient is that of the normal distribution function, or of the identity (straight through)."""

    def __init__(self, c, k, normal=False):
        super().__init__()
        self.level, self.normal = (torch.arange(k, dtype=torch.float64) + 0.5) / k, normal
        self.register_buffer("running_quantiles", torch.special.ndtri(self.level).float().repeat(c, 1)[:, None])  # as weights start, in float

    def forward(self, x):
        z = x.transpose(0, 1).reshape(x.shape[1], -1)
        v, m = z.detach().numpy(), z.shape[1]
        if self.training:
            less = (v[:, None] < v[:, :, None]).sum(2)
            equal = (v[:, None] == v[:, :, None]).sum(2)
            u = (less + equal / 2) / m
            q = np.quantile(v, self.level.numpy(), axis=1, method="hazen").T
            self.running_quantiles.mul_(0.9).add_(0.1 * torch.tensor(q)[:, None])
        else:
            u = np.stack([np.interp(row, q.numpy(), self.level.numpy()) for row, q in zip(v, self.running_quantiles[:, 0])])
        u = torch.tensor(u, dtype=x.dtype)
        through = z if self.normal else torch.special.ndtr(z)
        z = through + ((torch.special.ndtri(u) if self.normal else u) - through).detach()
        return z.reshape(x.transpose(0, 1).shape).transpose(0, 1)


class Ranked(nn.Module):
    """Ranks of maps and of features, even and normal, with more quantiles than there are values and with fewer."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.rank1 = nn.Conv2d(3, 6, 5, 3), nn.BatchNorm2d(6, affine=False), Rank(6, 128)
        self.conv2, self.bn2, self.rank2 = nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8, affine=False), Rank(8, 5, normal=True)
        self.fc1, self.bn3, self.rank3 = nn.Linear(16, 12), nn.BatchNorm1d(12, affine=False), Rank(12, 60)
        self.fc2 = nn.Linear(12, 10)

    def forward(self, x):
        x = self.rank1(self.bn1(self.conv1(x)))
        x = self.rank2(self.bn2(self.conv2(x)))
        return self.fc2(self.rank3(self.bn3(self.fc1(x.flatten(1)))))


class Bias(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return x + self.bias.reshape(1, -1, 1, 1)


def mixed(x, size, training, seed, step, stream):
    """Convoy's mixedout: the share of the maximum is drawn for each image, output channel and pixel (base/random.h)."""
    n, c, h, w = x.shape
    x = x.reshape(n, c // size, size, h, w)
    share = torch.full((n, c // size * h * w), 0.5, dtype=x.dtype)
    for m in range((n + 7) // 8 if training else 0):
        for e in range(share.shape[1]):
            r = philox4x64([e, m, step, 0], [seed, MIX << 32 | stream])
            for i in range(min(8, n - 8 * m)):
                share[8 * m + i, e] = (r[i // 2] >> 32 * (i % 2) & 0xFFFFFFFF) // 256 / 2**24
    share = share.reshape(n, c // size, h, w)
    return share * x.max(2).values + (1 - share) * x.mean(2)


class Decoder(nn.Module):
    """Maps that become larger, means that are subtracted, and channels that are joined, in every way."""

    def __init__(self):
        super().__init__()
        self.conv1, self.shift = nn.Conv2d(3, 12, 3, 2, 1), Bias(6)
        self.up1 = nn.ConvTranspose2d(6, 8, 3, 2, 1, output_padding=(1, 0), groups=2)
        self.up2 = nn.ConvTranspose2d(4, 4, (2, 3), bias=False, dilation=(2, 1))
        self.fc1, self.step = nn.Linear(2 * 5 * 9, 10), 0

    def forward(self, x):
        x = self.conv1(x - x.mean((1, 2, 3), keepdim=True))
        x = x.reshape(x.shape[0], 6, 2, 7, 8).max(2).values  # maxout
        x = torch.tanh(self.shift(F.max_pool2d(x, 2)))
        x = F.softplus(self.up1(x))
        x = x.reshape(x.shape[0], 4, 2, 6, 7).mean(2)  # meanout
        x = self.up2(x - x.mean())
        y = F.interpolate(x, scale_factor=2, mode="nearest")
        x = y * torch.sigmoid(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        x = F.interpolate(x, size=(5, 9), mode="bilinear", align_corners=True)
        x = mixed(x, 2, self.training, 11, self.step, 17)
        self.step += self.training
        return self.fc1(x.flatten(1))


STATES = {"momentum": "momentum_buffer", "m": "exp_avg", "v": "exp_avg_sq",
          "square_avg": "square_avg", "acc_delta": "acc_delta", "sum": "sum"}


def optimizer_of(net, lr, momentum, weight_decay, nesterov, adam, betas, rho, eps, lr_factor, decay_factor):
    """A group a parameter. Weight decay is for weights of two dimensions and more; factors are {pattern: factor}."""
    def factor(factors, name):
        return ([f for pattern, f in (factors or {}).items() if fnmatch.fnmatchcase(name, pattern)] or [1.0])[-1]

    groups = [{"params": [p], "lr": lr * factor(lr_factor, k),
               "weight_decay": weight_decay * factor(decay_factor, k) if p.dim() > 1 else 0.0}
              for k, p in net.named_parameters() if p.requires_grad]
    if not adam:
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov)
    more = {"betas": betas} if betas else {"momentum": momentum} if adam == "RMSprop" else {}
    if rho is not None:
        more["alpha" if adam == "RMSprop" else "rho"] = rho
    return getattr(torch.optim, adam)(groups, lr=lr, eps=eps, **more)


def train(make, dtype, n, shape, lr, momentum=0.0, n2=None, weight_decay=0.0, nesterov=False, smoothing=0.0, adam=None,
          betas=None, rho=None, eps=None, frozen=(), lr_factor=None, decay_factor=None, clip=0.0, temperature=1.0):
    """Returns [(what, tensor)] in the order of the file."""
    torch.manual_seed(0)
    net = make().to(dtype)
    for name, p in net.named_parameters():
        p.data = values(name, p.shape).to(dtype)
    size = torch.Size(shape).numel()
    count = [n, n2 or n]
    images = [torch.tensor([signed(f"images{b}", i) for i in range(count[b] * size)], dtype=torch.float64)
              .reshape(count[b], *shape).to(dtype) for b in range(2)]
    labels = [torch.tensor([hash64(f"labels{b}", i) % 10 for i in range(count[b])]) for b in range(2)]
    for name, p in net.named_parameters():
        p.requires_grad = not any(fnmatch.fnmatchcase(name, pattern) for pattern in frozen)
    trained = [(k, p) for k, p in net.named_parameters() if p.requires_grad]
    optimizer = optimizer_of(net, lr, momentum, weight_decay, nesterov, adam, betas, rho, eps, lr_factor,
                             decay_factor)
    states = {None: ["momentum"] if nesterov else [], "RMSprop": ["square_avg"], "Adagrad": ["sum"],
              "Adadelta": ["square_avg", "acc_delta"]}.get(adam, ["m", "v"])
    out, losses, norms = [], [], []

    def eval_logits(what):
        net.eval()
        with torch.no_grad():
            out.append((what, net(images[0])))
        net.train()

    eval_logits("logits.0")
    for step in range(1, 11):
        b = (step - 1) % 2
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images[b]) / temperature, labels[b], label_smoothing=smoothing)
        loss.backward()
        losses.append(loss.detach())
        if clip:
            norms.append(nn.utils.clip_grad_norm_([p for _, p in trained], clip).detach())
        if step == 1:
            out += [(f"gradient.1.{k}", p.grad.clone()) for k, p in trained]
        optimizer.step()
        if step in (1, 10):
            out += [(f"weight.{step}.{k}", p.detach().clone()) for k, p in net.named_parameters()]
            out += [(f"running.{step}.{k}", p.clone()) for k, p in net.named_buffers() if p.dim()]
            out += [(f"{state}.{step}.{k}", optimizer.state[p][STATES[state]].clone()) for state in states
                    for k, p in trained]
            eval_logits(f"logits.{step}")
    return [("losses", torch.stack(losses))] + ([("norms", torch.stack(norms))] if clip else []) + out


def write(name, make, **kwargs):
    double, single = train(make, torch.float64, **kwargs), train(make, torch.float32, **kwargs)
    lines, worst = [], {}
    for (what, d), (_, s) in zip(double, single):
        x = d.flatten()
        n = x.numel()
        w = torch.tensor([signed("checksum", i) for i in range(n)], dtype=torch.float64)
        samples = [x[i * n // min(n, SAMPLES)].item() for i in range(min(n, SAMPLES))]
        numbers = [x.sum().item(), (x * x).sum().item(), (x * w).sum().item(), *samples]
        lines.append(" ".join([what, str(n)] + [f"{v:.13g}" for v in numbers]))
        group = ".".join(what.split(".")[:2])
        rms = (x * x).mean().sqrt().item()
        error = (d - s).abs().max().item() / max(rms, 0.01)
        worst[group] = max(worst.get(group, 0), error)
    head = [f"# {name}: PyTorch {torch.__version__}, double; made by make_torch.py. {kwargs}",
            "# the same in float differs by: " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items())]
    (HERE / f"torch_{name}.txt").write_text("\n".join(head + lines) + "\n")
    print("\n".join(head))


torch.set_num_threads(2)
write("lenet-bn", LeNetBN, n=32, shape=(1, 28, 28), lr=0.1, momentum=0.0)
write("resnet20", ResNet20, n=16, shape=(3, 32, 32), lr=0.001, momentum=0.9)
write("motley", Motley, n=32, n2=13, shape=(3, 13, 15), lr=0.02, momentum=0.9, weight_decay=0.01, nesterov=True,
      smoothing=0.1)
write("gates", Gates, n=32, n2=13, shape=(3, 13, 15), lr=0.02, momentum=0.9, weight_decay=0.01)
write("adam", Gates, n=32, n2=13, shape=(3, 13, 15), lr=0.003, weight_decay=0.02, adam="Adam", betas=(0.8, 0.95), eps=1e-3)
write("settings", Gates, n=32, n2=13, shape=(3, 13, 15), lr=0.01, weight_decay=0.1, adam="AdamW", betas=(0.9, 0.99), eps=1e-3,
      frozen=["conv1.*", "bn1.*", "conv4.bias"], lr_factor={"*.bias": 0.25, "fc*": 3.0},
      decay_factor={"conv*": 2.0, "fc2.*": 0.0}, clip=0.5)
write("rmsprop", Gates, n=32, n2=13, shape=(3, 13, 15), lr=0.002, momentum=0.5, weight_decay=0.02, adam="RMSprop", rho=0.9,
      eps=1e-3)
write("adagrad", Gates, n=32, n2=13, shape=(3, 13, 15), lr=0.01, weight_decay=0.02, adam="Adagrad", eps=1e-3)
write("adadelta", Gates, n=32, n2=13, shape=(3, 13, 15), lr=0.5, weight_decay=0.02, adam="Adadelta", rho=0.9, eps=1e-4)
write("norms", Norms, n=32, n2=13, shape=(3, 13, 15), lr=0.02, momentum=0.9)
write("lite", Lite, n=32, n2=13, shape=(3, 13, 15), lr=0.02, momentum=0.9)
write("whitened", Whitened, n=32, n2=13, shape=(3, 13, 15), lr=0.02, momentum=0.9)
write("ranked", Ranked, n=32, n2=13, shape=(3, 13, 15), lr=0.02, momentum=0.9)
write("decoder", Decoder, n=32, n2=13, shape=(3, 13, 15), lr=0.1, momentum=0.9, temperature=2.0)
