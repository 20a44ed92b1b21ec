"""JAX. usage: jax_rival.py MODEL.json BATCH THREADS   (its threads are the CPUs that the process may use)"""
import os
import sys

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[3])])
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import functools

import jax
import jax.numpy as jnp
from jax import lax

from model import Model, batches, serve


def initial(model):
    key, params, state = jax.random.PRNGKey(1), {}, {}
    for i, layer in enumerate(model.layers):
        c = layer.shape[0]
        if layer.type in ('conv2d', 'linear'):
            key, k = jax.random.split(key)
            bound = layer.fan_in ** -0.5
            shape = (*layer.kernel, layer.in_shape[0] // layer.groups, c) if layer.type == 'conv2d' else (layer.fan_in, c)
            params[f'{i}w'] = jax.random.uniform(k, shape, jnp.float32, -bound, bound)
            if layer.bias:
                params[f'{i}b'] = jnp.zeros(c)
        elif layer.type == 'batch_norm':
            params[f'{i}w'], params[f'{i}b'] = jnp.ones(c), jnp.zeros(c)
            state[f'{i}m'], state[f'{i}v'] = jnp.zeros(c), jnp.ones(c)
    return params, state


def forward(model, params, state, x, key):
    new = {}

    def compute(i, layer, inputs):
        x, o = inputs[0], layer.options
        if layer.type == 'conv2d':
            t, l, b, r = layer.pad
            y = lax.conv_general_dilated(x, params[f'{i}w'], layer.stride, ((t, b), (l, r)), rhs_dilation=layer.dilation,
                                         dimension_numbers=('NHWC', 'HWIO', 'NHWC'), feature_group_count=layer.groups)
            return y + params[f'{i}b'] if layer.bias else y
        if layer.type == 'linear':
            y = x.reshape(x.shape[0], -1) @ params[f'{i}w']
            return y + params[f'{i}b'] if layer.bias else y
        if layer.type == 'batch_norm':
            axes, momentum = tuple(range(x.ndim - 1)), o.get('momentum', 0.1)
            mean = x.mean(axes)
            var = ((x - mean) ** 2).mean(axes)
            new[f'{i}m'] = (1 - momentum) * state[f'{i}m'] + momentum * mean
            new[f'{i}v'] = (1 - momentum) * state[f'{i}v'] + momentum * var
            return (x - mean) * (params[f'{i}w'] * lax.rsqrt(var + o.get('eps', 1e-5))) + params[f'{i}b']
        if layer.type == 'pool2d':
            t, l, b, r = layer.pad
            window, stride, pad = (1, *layer.kernel, 1), (1, *layer.stride, 1), ((0, 0), (t, b), (l, r), (0, 0))
            if o['kind'] == 'max':
                return lax.reduce_window(x, -jnp.inf, lax.max, window, stride, pad)
            return lax.reduce_window(x, 0., lax.add, window, stride, pad) / (layer.kernel[0] * layer.kernel[1])
        if layer.type == 'dropout':
            keep = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - o['p'], x.shape)
            return jnp.where(keep, x / (1 - o['p']), 0)
        if layer.type == 'pad_channels':
            return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(o['before'], o['after'])])
        return {'sigmoid': jax.nn.sigmoid, 'tanh': jnp.tanh, 'relu': jax.nn.relu, 'relu6': jax.nn.relu6, 'add': lambda v: v + inputs[1],
                'concat': lambda v: jnp.concatenate(inputs, -1), 'flatten': lambda v: v.reshape(v.shape[0], -1),
                'global_avg_pool': lambda v: v.mean((1, 2), keepdims=True)}[layer.type](x)

    return model.run(x, compute), new


def main():
    model, batch = Model(sys.argv[1]), int(sys.argv[2])
    data = [(jnp.asarray(x), jnp.asarray(y)) for x, y in batches(model, batch, True)]
    params, state = initial(model)
    momenta = jax.tree.map(jnp.zeros_like, params)

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(params, state, momenta, x, y, n):
        def loss_of(p):
            out, new = forward(model, p, state, x, jax.random.PRNGKey(n))
            out = out.reshape(out.shape[0], -1)
            loss = -jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], 1).mean()
            return loss, (new, (out.argmax(1) == y).sum())
        (loss, (new, correct)), g = jax.value_and_grad(loss_of, has_aux=True)(params)
        g = jax.tree.map(lambda d, p: d + model.weight_decay * p, g, params)
        momenta = jax.tree.map(lambda m, d: model.momentum * m + d, momenta, g)
        return jax.tree.map(lambda p, m: p - model.lr * m, params, momenta), new, momenta, loss, correct

    n = 0

    def step(x, y):
        nonlocal params, state, momenta, n
        n += 1
        params, state, momenta, loss, correct = update(params, state, momenta, x, y, n)
        return float(loss), float(correct)

    serve(f'JAX {jax.__version__}', data, step)


main()
