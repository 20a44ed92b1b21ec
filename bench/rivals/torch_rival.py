"""PyTorch. usage: torch_rival.py MODEL.json BATCH THREADS eager|compile [channels_last]

eager is what the book runs. compile puts the whole step into one graph, forward, loss, gradients, update and accuracy: its
fastest form, of large images with channels_last; where this PyTorch cannot trace gradients inside a graph, the network alone is compiled, and the version says so."""
import sys

import torch
import torch.nn.functional as F

from model import Model, batches, serve


class Net(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        made = []
        for layer in model.layers:
            o = layer.options
            if layer.type == 'conv2d':
                same = layer.pad[:2] == layer.pad[2:]
                conv = torch.nn.Conv2d(layer.in_shape[0], layer.shape[0], layer.kernel, layer.stride, layer.pad[:2] if same else 0,
                                       layer.dilation, layer.groups, layer.bias)
                t, l, b, r = layer.pad
                made.append(conv if same else torch.nn.Sequential(torch.nn.ZeroPad2d((l, r, t, b)), conv))
            elif layer.type == 'linear':
                made.append(torch.nn.Linear(layer.fan_in, layer.shape[0], layer.bias))
            elif layer.type == 'batch_norm':
                c, h, w = layer.shape
                bn = torch.nn.BatchNorm1d if h * w == 1 and layer.flat else torch.nn.BatchNorm2d
                made.append(bn(c, o.get('eps', 1e-5), o.get('momentum', 0.1)))
            elif layer.type == 'pool2d':
                pool = torch.nn.MaxPool2d if o['kind'] == 'max' else torch.nn.AvgPool2d
                made.append(pool(layer.kernel, layer.stride, layer.pad[:2]))
            elif layer.type == 'dropout':
                made.append(torch.nn.Dropout(o['p']))
            else:
                made.append(torch.nn.Identity())
        self.made = torch.nn.ModuleList(made)

    def compute(self, i, layer, inputs):
        x = inputs[0]
        if layer.type == 'relu6':
            return F.relu6(x)
        if layer.type in ('sigmoid', 'tanh', 'relu'):
            return getattr(torch, layer.type)(x)
        if layer.type == 'add':
            return x + inputs[1]
        if layer.type == 'concat':
            return torch.cat(inputs, 1)
        if layer.type == 'pad_channels':
            return F.pad(x, (0, 0, 0, 0, layer.options['before'], layer.options['after']))
        if layer.type == 'maxout':  # of channels side by side
            return x.unflatten(1, (-1, layer.options['size'])).amax(2)
        if layer.type == 'global_avg_pool':
            return x.mean((2, 3), keepdim=True)
        if layer.type == 'flatten' or layer.type == 'linear':
            x = x.flatten(1)
        return self.made[i](x)

    def forward(self, x):
        return self.model.run(x, self.compute)


def eager_optimizer(model, params):
    """PyTorch's own, in its fastest form. Keras' Nesterov over rmsprop it has not: rmsprop with momentum costs the same."""
    o, decay = model.options, model.weight_decay
    if model.optimizer in ('adam', 'adamw'):
        kind = torch.optim.Adam if model.optimizer == 'adam' else torch.optim.AdamW
        return kind(params, model.lr, (o.get('beta1', 0.9), o.get('beta2', 0.999)), o.get('eps', 1e-8), decay, fused=True)
    if model.optimizer == 'rmsprop':
        return torch.optim.RMSprop(params, model.lr, o.get('rho', 0.99), o.get('eps', 1e-8), decay, model.momentum)
    if model.optimizer != 'sgd':
        sys.exit(f'torch_rival.py: {model.optimizer} is not here; there are adam, adamw, rmsprop and sgd')
    return torch.optim.SGD(params, model.lr, model.momentum, weight_decay=decay)


class Update:
    """The same as plain operations on tensors, for a graph of the whole step."""

    def __init__(self, model, params):
        self.model, self.params = model, params
        self.momenta = [torch.zeros_like(p) for p in params] if model.momentum or 'adam' in model.optimizer else None
        self.squares = [torch.zeros_like(p) for p in params] if model.optimizer != 'sgd' else None
        self.powers = torch.ones(2)  # beta1 and beta2 to the number of steps

    def __call__(self, gradients):
        model, o = self.model, self.model.options
        if 'adam' in model.optimizer:
            betas = o.get('beta1', 0.9), o.get('beta2', 0.999)
            self.powers.mul_(torch.tensor(betas))
            first, second = 1 - self.powers[0], 1 - self.powers[1]
        for i, (p, g) in enumerate(zip(self.params, gradients)):
            if model.weight_decay:
                g = g + model.weight_decay * p
            if 'adam' in model.optimizer:
                self.momenta[i].lerp_(g, 1 - betas[0])
                self.squares[i].mul_(betas[1]).addcmul_(g, g, value=1 - betas[1])
                p.sub_(model.lr / first * self.momenta[i] / ((self.squares[i] / second).sqrt() + o.get('eps', 1e-8)))
                continue
            if model.optimizer == 'rmsprop':
                rho = o.get('rho', 0.99)
                self.squares[i].mul_(rho).addcmul_(g, g, value=1 - rho)
                g = g / (self.squares[i].sqrt() + o.get('eps', 1e-8))
            if self.momenta:
                self.momenta[i].mul_(model.momentum).add_(g)
                g = self.momenta[i]
            p.sub_(model.lr * g)


def mark_flat(model):
    """Behind flatten or linear, values are [n][c]."""
    for layer in model.layers:
        before = model.layers[layer.inputs[0]] if layer.inputs[0] >= 0 else None
        layer.flat = layer.type in ('flatten', 'linear') or (before is not None and before.flat)


def main():
    model, batch, threads, form = Model(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    last = 'channels_last' in sys.argv[5:]
    torch.manual_seed(1)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    mark_flat(model)
    net = Net(model)
    net.train()
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches(model, batch, False)]
    version = f'PyTorch {torch.__version__}'
    if last:
        net = net.to(memory_format=torch.channels_last)
        data = [(x.contiguous(memory_format=torch.channels_last), y) for x, y in data]
        version += ', channels_last'
    params = list(net.parameters())
    optimizer, update = eager_optimizer(model, params), Update(model, params)

    def eager(x, y):
        optimizer.zero_grad()
        out = net(x)
        loss = F.cross_entropy(out, y)
        loss.backward()
        optimizer.step()
        return float(loss), float((out.detach().argmax(1) == y).sum())

    def whole(x, y):
        out = net(x)
        loss = F.cross_entropy(out, y)
        gradients = torch.autograd.grad(loss, params)
        with torch.no_grad():
            update(gradients)
        return loss.detach(), (out.detach().argmax(1) == y).sum()

    if form == 'eager':
        step = eager
    elif hasattr(torch._dynamo.config, 'trace_autograd_ops'):
        torch._dynamo.config.trace_autograd_ops = True
        compiled = torch.compile(whole, fullgraph=True)
        version += ', whole step compiled'

        def step(x, y):
            loss, correct = compiled(x, y)
            return float(loss), float(correct)
    else:
        net = torch.compile(net, fullgraph=True)
        version += ', network compiled'
        step = eager
    serve(version, data, step)


main()
