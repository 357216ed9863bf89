"""DeepLIFT's rescale rule in float64, layer by layer, written from its equations (arXiv:1704.02685).

A rule takes the multiplier of an output and the values of its inputs at x and at the baseline x0; a row is a sample.
"""

import numpy as np


def dense(m, w):
    """y = x w: the multiplier of x."""
    return m @ w.T


def rescale(m, f, derivative, x, x0):
    """y = f(x) entry by entry: the slope of the secant, the derivative at x where x hardly differs."""
    step = x - x0
    small = np.abs(step) < 1e-7
    return m * np.where(small, derivative(x), (f(x) - f(x0)) / np.where(small, 1.0, step))


def largest(m, x, x0):
    """y = max over the last axis of x [..., n]: c - y0 to the largest at x, y - c to the largest at x0, c = max(y, y0).

    Written for sets without ties.
    """
    y, y0 = x.max(-1), x0.max(-1)
    c = np.maximum(y, y0)
    share = np.zeros_like(x)
    np.put_along_axis(share, x.argmax(-1)[..., None], (c - y0)[..., None], -1)
    other = np.zeros_like(x)
    np.put_along_axis(other, x0.argmax(-1)[..., None], (y - c)[..., None], -1)
    share = share + other
    step = x - x0
    return m[..., None] * share / np.where(step == 0, 1.0, step)


def product(m, a, a0, b, b0):
    """y = a b: multipliers of a and of b, at the midpoint of the other."""
    return m * (b + b0) / 2, m * (a + a0) / 2


def softmax(m, x, x0):
    """y = exp(x - s) along the last axis, with s the logarithm of the sum of exponentials.

    With L the secants of exp, L (differences of x - s) sum to the differences of y, to zero: s is their mean by L.
    """
    log_y, log_y0 = (z - np.log(np.exp(z).sum(-1, keepdims=True)) for z in (x, x0))
    mean = rescale(1.0, np.exp, np.exp, log_y, log_y0)
    of_shift = -(m * mean).sum(-1, keepdims=True)
    return m * mean + of_shift * mean / mean.sum(-1, keepdims=True)


def softmax_of_quotient(m, x, x0):
    """y = exp(x) / sum(exp(x)) along the last axis, as a product of exponentials and one over their sum."""
    e, e0 = np.exp(x), np.exp(x0)
    s, s0 = e.sum(-1, keepdims=True), e0.sum(-1, keepdims=True)
    of_e, of_r = product(m, e, e0, 1 / s, 1 / s0)
    of_s = rescale(of_r.sum(-1, keepdims=True), lambda s: 1 / s, lambda s: -1 / s**2, s, s0)
    return rescale(of_e + of_s, np.exp, np.exp, x, x0)
