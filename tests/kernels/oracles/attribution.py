"""Relevance propagation in float64 with explicit matrices, written from the table of the rules (arXiv:2106.13200).

An affine operation is z = A x + b with A [outputs, inputs], a sample a row of x. Nothing here is fast.
"""

import itertools

import numpy as np


def stabilize(z, epsilon=1e-6, clip=False, norm_scale=False):
    """z away from zero, zero itself upwards."""
    sign = np.where(z >= 0, 1.0, -1.0)
    if norm_scale:
        epsilon = epsilon * np.sqrt((z**2).mean(1, keepdims=True))
    return sign * np.maximum(np.abs(z), epsilon) if clip else z + sign * epsilon


def pos(a):
    return np.maximum(a, 0.0)


def neg(a):
    return np.minimum(a, 0.0)


def epsilon(a, b, x, r, st=stabilize):
    return x * ((r / st(x @ a.T + b)) @ a)


def zplus(a, b, x, r, st=stabilize):
    s = r / st(pos(x) @ pos(a).T + neg(x) @ neg(a).T + pos(b))
    return pos(x) * (s @ pos(a)) + neg(x) * (s @ neg(a))


def alpha_beta(a, b, x, r, alpha=2.0, beta=1.0, st=stabilize):
    s = r / st(pos(x) @ neg(a).T + neg(x) @ pos(a).T + neg(b))
    return alpha * zplus(a, b, x, r, st) - beta * (pos(x) * (s @ neg(a)) + neg(x) * (s @ pos(a)))


def gamma(a, b, x, r, gamma=0.25, st=stabilize):
    z, total = x @ a.T + b, 0.0
    for mask, first, second in ((z > 0, pos, neg), (z < 0, neg, pos)):
        up, down, shift = a + gamma * first(a), a + gamma * second(a), b + gamma * first(b)
        s = mask * r / st(pos(x) @ up.T + neg(x) @ down.T + shift)
        total = total + pos(x) * (s @ up) + neg(x) * (s @ down)
    return total


def zbox(a, b, x, r, low, high, st=stabilize):
    low, high = np.broadcast_to(low, x.shape), np.broadcast_to(high, x.shape)
    s = r / st(x @ a.T - low @ pos(a).T - high @ neg(a).T)
    return x * (s @ a) - low * (s @ pos(a)) - high * (s @ neg(a))


def wsquare(a, b, x, r, st=stabilize):
    return (r / st(np.ones_like(x) @ (a**2).T + b**2)) @ a**2


def flat(a, b, x, r, pattern, st=stabilize):
    """`pattern` [outputs, inputs]: 1 where an output sees an input, even with weight zero."""
    return (r / st(np.ones_like(x) @ pattern.T)) @ pattern


def norm(a, x, r, st=stabilize):
    return epsilon(a, 0.0, x, r, st)


def convolution_matrix(kernel, size, *, stride=1, padding=None, dilation=1, groups=1, spread=1):
    """A of a convolution from [*size, in] to [*output size, out], both in C order; entry by entry from the definition.

    Args:
        kernel: [*window, in / groups, out].
        size: pixels of the input; padding: pairs of pixels; spread: distance of the input's pixels (transposed ones).
    """
    rank = kernel.ndim - 2
    window, per_group, outputs = kernel.shape[:rank], kernel.shape[-2], kernel.shape[-1]
    padding = padding or [(0, 0)] * rank
    wide = [(n - 1) * spread + 1 + low + high for n, (low, high) in zip(size, padding, strict=True)]
    output = [(n - (k - 1) * dilation - 1) // stride + 1 for n, k in zip(wide, window, strict=True)]
    matrix = np.zeros((*output, outputs, *size, per_group * groups))
    for place in itertools.product(*map(range, output)):
        for tap in itertools.product(*map(range, window)):
            at = [p * stride + t * dilation - low for p, t, (low, _) in zip(place, tap, padding, strict=True)]
            if any(i < 0 or i % spread or i // spread >= n for i, n in zip(at, size, strict=True)):
                continue
            pixel = tuple(i // spread for i in at)
            for out in range(outputs):
                group = out // (outputs // groups)
                channels = slice(group * per_group, (group + 1) * per_group)
                matrix[(*place, out, *pixel, channels)] += kernel[(*tap, slice(None), out)]
    return matrix.reshape(int(np.prod(output)) * outputs, -1), tuple(output)
