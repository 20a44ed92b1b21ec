"""TensorFlow, the whole step in one function compiled by XLA. usage: tensorflow_rival.py MODEL.json BATCH THREADS"""
import os
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '-1')

import tensorflow as tf

from model import Model, batches, serve


class Net:
    def __init__(self, model):
        self.model, self.w, self.b, self.mean, self.var = model, {}, {}, {}, {}
        for i, layer in enumerate(model.layers):
            c = layer.shape[0]
            if layer.type in ('conv2d', 'linear'):
                bound = layer.fan_in ** -0.5
                shape = (*layer.kernel, layer.in_shape[0] // layer.groups, c) if layer.type == 'conv2d' else (layer.fan_in, c)
                self.w[i] = tf.Variable(tf.random.uniform(shape, -bound, bound, seed=i))
                if layer.bias:
                    self.b[i] = tf.Variable(tf.zeros(c))
            elif layer.type == 'batch_norm':
                self.w[i], self.b[i] = tf.Variable(tf.ones(c)), tf.Variable(tf.zeros(c))
                self.mean[i], self.var[i] = tf.Variable(tf.zeros(c), trainable=False), tf.Variable(tf.ones(c), trainable=False)
        self.params = [*self.w.values(), *self.b.values()]

    def compute(self, i, layer, inputs):
        x, o = inputs[0], layer.options
        if layer.type in ('conv2d', 'pool2d'):
            t, l, b, r = layer.pad
            if layer.type == 'pool2d':
                fill = float('-inf') if o['kind'] == 'max' else 0.
                x = tf.pad(x, [[0, 0], [t, b], [l, r], [0, 0]], constant_values=fill) if any(layer.pad) else x
                return (tf.nn.max_pool2d if o['kind'] == 'max' else tf.nn.avg_pool2d)(x, layer.kernel, layer.stride, 'VALID')
            y = tf.nn.conv2d(x, self.w[i], layer.stride, [[0, 0], [t, b], [l, r], [0, 0]], dilations=layer.dilation)
            return y + self.b[i] if i in self.b else y
        if layer.type == 'linear':
            y = tf.reshape(x, [x.shape[0], -1]) @ self.w[i]
            return y + self.b[i] if i in self.b else y
        if layer.type == 'batch_norm':
            mean, var = tf.nn.moments(x, list(range(len(x.shape) - 1)))
            momentum = o.get('momentum', 0.1)
            self.mean[i].assign_add(momentum * (mean - self.mean[i]))
            self.var[i].assign_add(momentum * (var - self.var[i]))
            return tf.nn.batch_normalization(x, mean, var, self.b[i], self.w[i], o.get('eps', 1e-5))
        if layer.type == 'pad_channels':
            return tf.pad(x, [[0, 0]] * (len(x.shape) - 1) + [[o['before'], o['after']]])
        return {'sigmoid': tf.sigmoid, 'tanh': tf.tanh, 'relu': tf.nn.relu, 'relu6': tf.nn.relu6, 'add': lambda v: v + inputs[1],
                'concat': lambda v: tf.concat(inputs, -1), 'flatten': lambda v: tf.reshape(v, [v.shape[0], -1]),
                'dropout': lambda v: tf.nn.dropout(v, o['p']) if layer.type == 'dropout' else v,
                'global_avg_pool': lambda v: tf.reduce_mean(v, [1, 2], keepdims=True)}[layer.type](x)


def main():
    model, batch, threads = Model(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    data = [(tf.constant(x), tf.constant(y)) for x, y in batches(model, batch, True)]
    net = Net(model)
    momenta = [tf.Variable(tf.zeros_like(p), trainable=False) for p in net.params] if model.momentum else None

    @tf.function(jit_compile=True)
    def update(x, y):
        with tf.GradientTape() as tape:
            out = model.run(x, net.compute)
            out = tf.reshape(out, [out.shape[0], -1])
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, out))
        for i, (p, g) in enumerate(zip(net.params, tape.gradient(loss, net.params))):
            if model.weight_decay:
                g = g + model.weight_decay * p
            if momenta:
                momenta[i].assign(model.momentum * momenta[i] + g)
                g = momenta[i]
            p.assign_sub(model.lr * g)
        return loss, tf.reduce_sum(tf.cast(tf.argmax(out, 1) == y, tf.float32))

    def step(x, y):
        loss, correct = update(x, y)
        return float(loss), float(correct)

    serve(f'TensorFlow {tf.__version__}', data, step)


main()
