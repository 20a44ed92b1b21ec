#!/usr/bin/env python3
"""The expectations of tests/optimizers_test.c: what Adam and AdamW make of one linear layer, by the published formulas, in
decimal numbers of fifty digits. Prints, for each case, the weights and biases after steps 1, 2 and 7, then m and v."""
from decimal import Decimal, getcontext

getcontext().prec = 50
CASES = [  # kind, lr, beta1, beta2, eps, weight decay, epsilon hat, decay of all
    ('adam', '0.1', '0.9', '0.999', '1e-8', '0', False, False),
    ('adam', '0.1', '0.9', '0.999', '0.01', '0', False, False),
    ('adam', '0.1', '0.9', '0.999', '0.01', '0', True, False),
    ('adam', '0.05', '0.8', '0.99', '0.001', '0.25', False, True),
    ('adamw', '0.05', '0.8', '0.99', '0.001', '0.25', False, False),
    ('adam', '0.1', '0', '0.5', '1e-8', '0', False, False),
]
X, LABEL = Decimal('0.5'), 1


def line(name, numbers):
    print(f'  {name}', *(f'{float(x):.12g}' for x in numbers))


def gradients(w, b):
    e = [(wk * X + bk).exp() for wk, bk in zip(w, b)]
    d = [ek / sum(e) - (k == LABEL) for k, ek in enumerate(e)]
    return [dk * X for dk in d] + d


def train(kind, lr, beta1, beta2, eps, decay, hat, decay_all):
    lr, beta1, beta2, eps, decay = map(Decimal, (lr, beta1, beta2, eps, decay))
    p = [Decimal(x) for x in ('0.5', '-0.25', '0.125', '0.125', '0', '-0.5')]  # w, then b
    m, v = [Decimal(0)] * 6, [Decimal(0)] * 6
    for t in range(1, 8):
        correct1, correct2 = 1 - beta1 ** t, 1 - beta2 ** t
        for i, g in enumerate(gradients(p[:3], p[3:])):
            rate = decay if i < 3 or decay_all else Decimal(0)
            g += rate * p[i] if kind == 'adam' else 0
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g * g
            if hat:
                step = lr * correct2.sqrt() / correct1 * m[i] / (v[i].sqrt() + eps)
            else:
                step = lr / correct1 * m[i] / ((v[i] / correct2).sqrt() + eps)
            p[i] -= step + (lr * rate * p[i] if kind == 'adamw' else 0)
        if t in (1, 2, 7):
            line(f'step {t}', p)
    line('m', m)
    line('v', v)


for case in CASES:
    print(*case)
    train(*case)
