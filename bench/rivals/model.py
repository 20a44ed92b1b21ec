"""What the rivals share: reading convoy's model files, random batches, and the loop that measures when it is told to."""
import json
import math
import sys
import time


def pair(value):
    return [value, value] if isinstance(value, int) else list(value)


class Layer:
    """One layer: type, options, numbers of the layers it reads (-1: the image), and its output's shape (c, h, w)."""

    def __init__(self, options, inputs, shape):
        self.options, self.inputs, self.in_shape = options, inputs, shape
        self.type = options['type']
        c, h, w = shape
        if self.type == 'conv2d':
            self.kernel, self.stride = pair(options['kernel']), pair(options.get('stride', 1))
            self.dilation, self.groups = pair(options.get('dilation', 1)), options.get('groups', 1)
            pad = pair(options.get('pad', 0))
            self.pad = pad if len(pad) == 4 else [pad[0], pad[1], pad[0], pad[1]]  # top, left, bottom, right
            self.shape = (options['out_channels'], *self.out(h, w))
        elif self.type == 'pool2d':
            self.kernel = pair(options['kernel'])
            self.stride, self.dilation = pair(options.get('stride', self.kernel)), [1, 1]
            pad = pair(options.get('pad', 0))
            self.pad = pad if len(pad) == 4 else [pad[0], pad[1], pad[0], pad[1]]
            self.shape = (c, *self.out(h, w))
        elif self.type == 'linear':
            self.shape = (options['out_features'], 1, 1)
        elif self.type == 'flatten':
            self.shape = (c * h * w, 1, 1)
        elif self.type == 'global_avg_pool':
            self.shape = (c, 1, 1)
        elif self.type == 'maxout':
            self.shape = (c // options['size'], h, w)
        elif self.type == 'pad_channels':
            self.shape = (options['before'] + c + options['after'], h, w)
        else:
            self.shape = shape

    def out(self, h, w):
        size = []
        for i, n in enumerate((h, w)):
            extent = (self.kernel[i] - 1) * self.dilation[i] + 1
            size.append((n + self.pad[i] + self.pad[i + 2] - extent) // self.stride[i] + 1)
        return size

    @property
    def bias(self):
        return self.options.get('bias', True)

    @property
    def fan_in(self):
        c, h, w = self.in_shape
        return c * h * w if self.type == 'linear' else c // self.groups * math.prod(self.kernel)


class Model:
    KNOWN = {'conv2d', 'linear', 'batch_norm', 'sigmoid', 'tanh', 'relu', 'relu6', 'pool2d', 'global_avg_pool', 'flatten', 'dropout',
             'add', 'concat', 'pad_channels', 'maxout'}

    def __init__(self, path):
        with open(path, encoding='utf-8') as f:
            text = json.load(f)
        self.name, self.input = text['name'], tuple(text['input'])
        defaults = text.get('defaults', {})
        self.momentum, self.weight_decay = defaults.get('momentum', 0), defaults.get('weight_decay', 0)
        self.optimizer, self.options = defaults.get('optimizer', 'sgd'), defaults
        self.lr, self.layers = 0.01, []
        names = {'input': -1}
        for i, options in enumerate(text['layers']):
            if options['type'] not in self.KNOWN:
                sys.exit(f'{path}: layer {i}: rivals do not have {options["type"]}')
            read = options.get('inputs') or [options['input']] if 'inputs' in options or 'input' in options else None
            inputs = [names[n] for n in read] if read else [i - 1]
            shapes = [self.layers[k].shape if k >= 0 else self.input for k in inputs]
            layer = Layer(options, inputs, shapes[0])
            if layer.type == 'concat':
                layer.shape = (sum(s[0] for s in shapes), *shapes[0][1:])
            self.layers.append(layer)
            if 'name' in options:
                names[options['name']] = i
        self.classes = self.layers[-1].shape[0]

    def run(self, x, compute):
        """The graph: compute(i, layer, inputs) for every layer in order."""
        values = []
        for i, layer in enumerate(self.layers):
            values.append(compute(i, layer, [values[k] if k >= 0 else x for k in layer.inputs]))
        return values[-1]


def batches(model, batch, channels_last, n=16):
    """Random images as floats in [0, 1], fetched beforehand: the book's timer starts when a batch is there."""
    import numpy
    rng = numpy.random.default_rng(1)
    for _ in range(n):
        x = rng.integers(0, 256, (batch, *model.input), dtype='uint8').astype('float32') / 255
        yield numpy.ascontiguousarray(x.transpose(0, 2, 3, 1)) if channels_last else x, rng.integers(0, model.classes, batch)


def serve(version, data, step):
    """Warms up, says so, and then measures for as many seconds as each line on standard input says. A step returns its loss and
    how many were right, as Python numbers: as in the book, that is part of the time."""
    for _ in range(3):
        for x, y in data[:2]:
            loss, _ = step(x, y)
    if not math.isfinite(loss):
        sys.exit(f'the loss is {loss}')
    print(json.dumps({'version': version}), flush=True)
    for line in sys.stdin:
        spent, steps = 0.0, 0
        while spent < float(line):
            x, y = data[steps % len(data)]
            begin = time.perf_counter()
            step(x, y)
            spent += time.perf_counter() - begin
            steps += 1
        print(json.dumps({'seconds': spent, 'steps': steps}), flush=True)
