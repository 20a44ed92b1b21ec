#!/usr/bin/env python3
"""The expectations of tests/optimizers_test.c: what each optimiser but SGD makes of one linear layer, by the published formulas, in
decimal numbers of fifty digits. Prints, for each case, the weights and biases after steps 1, 2 and 7, then its states."""
from decimal import Decimal, getcontext

getcontext().prec = 50
CASES = [  # kind, lr, beta1, beta2, eps, weight decay, epsilon hat, decay of all; momentum, Nesterov, rho, eps inside, l1, l2
    ('adam', '0.1', '0.9', '0.999', '1e-8', '0', False, False),
    ('adam', '0.1', '0.9', '0.999', '0.01', '0', False, False),
    ('adam', '0.1', '0.9', '0.999', '0.01', '0', True, False),
    ('adam', '0.05', '0.8', '0.99', '0.001', '0.25', False, True),
    ('adamw', '0.05', '0.8', '0.99', '0.001', '0.25', False, False),
    ('adam', '0.1', '0', '0.5', '1e-8', '0', False, False),
    ('adam', '0.1', '0.9', '0.999', '0.01', '0.25', False, False, '0.5', True),
    ('adamw', '0.05', '0.8', '0.99', '0.001', '0.25', False, False, '0.75', False),
    ('rmsprop', '0.05', '0', '0', '0.01', '0', False, False, '0', False, '0.9', False),
    ('rmsprop', '0.05', '0', '0', '0.01', '0.25', False, True, '0.75', True, '0.5', True),
    ('adagrad', '0.1', '0', '0', '0.01', '0', False, False, '0', False, '0', False),
    ('adagrad', '0.1', '0', '0', '0.01', '0.25', False, False, '0.5', False, '0', True),
    ('adadelta', '1', '0', '0', '0.01', '0', False, False, '0', False, '0.95', False),
    ('adadelta', '0.5', '0', '0', '0.001', '0.25', False, False, '0.5', True, '0.8', False),
    ('adamw', '0.05', '0.8', '0.99', '0.001', '0.25', False, False, '0', False, '0', False, '0.125', '0.25'),
    ('rmsprop', '0.05', '0', '0', '0.01', '0.25', False, True, '0.5', False, '0.9', False, '0.125', '0.0625'),
]
X, LABEL = Decimal('0.5'), 1


def line(name, numbers):
    print(f'  {name}', *(f'{float(x):.12g}' for x in numbers))


def gradients(w, b):
    e = [(wk * X + bk).exp() for wk, bk in zip(w, b)]
    d = [ek / sum(e) - (k == LABEL) for k, ek in enumerate(e)]
    return [dk * X for dk in d] + d


def train(kind, lr, beta1, beta2, eps, decay, hat, decay_all, momentum='0', nesterov=False, rho='0', inside=False, l1='0', l2='0'):
    lr, beta1, beta2, eps, decay, momentum, rho, l1, l2 = map(Decimal, (lr, beta1, beta2, eps, decay, momentum, rho, l1, l2))
    p = [Decimal(x) for x in ('0.5', '-0.25', '0.125', '0.125', '0', '-0.5')]  # w, then b
    m, v, moved = [Decimal(0)] * 6, [Decimal(0)] * 6, [Decimal(0)] * 6
    for t in range(1, 8):
        for i, g in enumerate(gradients(p[:3], p[3:])):
            rate = decay if i < 3 or decay_all else Decimal(0)
            g += rate * p[i] if kind != 'adamw' else 0
            if i < 3 or decay_all:
                g += l1 * ((p[i] > 0) - (p[i] < 0)) + 2 * l2 * p[i]
            if kind.startswith('adam'):
                correct1, correct2 = 1 - beta1 ** t, 1 - beta2 ** t
                m[i] = beta1 * m[i] + (1 - beta1) * g
                v[i] = beta2 * v[i] + (1 - beta2) * g * g
                if hat:
                    step = lr * correct2.sqrt() / correct1 * m[i] / (v[i].sqrt() + eps)
                else:
                    step = lr / correct1 * m[i] / ((v[i] / correct2).sqrt() + eps)
            else:
                m[i] = m[i] + g * g if kind == 'adagrad' else rho * m[i] + (1 - rho) * g * g
                step = lr * g / ((m[i] + eps).sqrt() if inside else m[i].sqrt() + eps)
                if kind == 'adadelta':
                    u = (v[i] + eps).sqrt() / (m[i] + eps).sqrt() * g
                    v[i] = rho * v[i] + (1 - rho) * u * u
                    step = lr * u
            if momentum:
                moved[i] = momentum * moved[i] + step
                step = step + momentum * moved[i] if nesterov else moved[i]
            p[i] -= step + (lr * rate * p[i] if kind == 'adamw' else 0)
        if t in (1, 2, 7):
            line(f'step {t}', p)
    for name, state in (('m', m), ('v', v), ('moved', moved)):
        if any(state):
            line(name, state)


for case in CASES:
    print(*case)
    train(*case)
