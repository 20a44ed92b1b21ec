"""PyTorch. usage: torch_rival.py MODEL.json BATCH THREADS eager|compile

eager is what the book runs. compile puts the whole step into one graph, forward, loss, gradients, update and accuracy: its
fastest form; where this PyTorch cannot trace gradients inside a graph, the network alone is compiled, and the version says so."""
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
        if layer.type in ('sigmoid', 'tanh', 'relu'):
            return getattr(torch, layer.type)(x)
        if layer.type == 'add':
            return x + inputs[1]
        if layer.type == 'concat':
            return torch.cat(inputs, 1)
        if layer.type == 'pad_channels':
            return F.pad(x, (0, 0, 0, 0, layer.options['before'], layer.options['after']))
        if layer.type == 'global_avg_pool':
            return x.mean((2, 3), keepdim=True)
        if layer.type == 'flatten' or layer.type == 'linear':
            x = x.flatten(1)
        return self.made[i](x)

    def forward(self, x):
        return self.model.run(x, self.compute)


def mark_flat(model):
    """Behind flatten or linear, values are [n][c]."""
    for layer in model.layers:
        before = model.layers[layer.inputs[0]] if layer.inputs[0] >= 0 else None
        layer.flat = layer.type in ('flatten', 'linear') or (before is not None and before.flat)


def main():
    model, batch, threads, form = Model(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    torch.manual_seed(1)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    mark_flat(model)
    net = Net(model)
    net.train()
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches(model, batch, False)]
    version = f'PyTorch {torch.__version__}'
    params = list(net.parameters())
    momenta = [torch.zeros_like(p) for p in params] if model.momentum else None

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
            for i, (p, g) in enumerate(zip(params, gradients)):
                if model.weight_decay:
                    g = g + model.weight_decay * p
                if momenta:
                    momenta[i].mul_(model.momentum).add_(g)
                    g = momenta[i]
                p.sub_(model.lr * g)
        return loss.detach(), (out.detach().argmax(1) == y).sum()

    optimizer = torch.optim.SGD(params, model.lr, model.momentum, weight_decay=model.weight_decay)
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
