"""Patterns in float64 from explicit patches, written from the formulas (Kindermans et al., arXiv:1705.05598)."""

import itertools

import numpy as np


def pattern(x, w, mask):
    """A [inputs, units] of samples x [n, inputs], weights w [inputs, units] and a mask [n, units]."""
    y = x @ w
    result = np.zeros_like(w)
    for j in range(w.shape[1]):
        m = mask[:, j].astype(float)
        if not m.sum():
            continue
        mean_x = (m[:, None] * x).sum(0) / m.sum()
        mean_xy = (m[:, None] * x * y[:, j : j + 1]).sum(0) / m.sum()
        covariance = mean_xy - mean_x * y[:, j].mean()
        scale = w[:, j] @ covariance
        result[:, j] = covariance / (scale or 1.0)
    return result


def patches(x, window, *, stride=1, padding=0, dilation=1):
    """x [n, height, width, channels] to [n, out height, out width, *window, channels], zeros around."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    sides = [(n - (k - 1) * dilation - 1) // stride + 1 for n, k in zip(x.shape[1:3], window, strict=True)]
    result = np.zeros((len(x), *sides, *window, x.shape[-1]))
    for place in itertools.product(*map(range, sides)):
        for tap in itertools.product(*map(range, window)):
            row, column = (p * stride + t * dilation for p, t in zip(place, tap, strict=True))
            result[(slice(None), *place, *tap)] = x[:, row, column]
    return result


def convolution_pattern(x, kernel, bias, kind, *, stride=1, padding=0, dilation=1, groups=1):
    """A like the kernel [*window, channels / groups, units]."""
    *window, inputs, units = kernel.shape
    result = np.zeros_like(kernel)
    for g in range(groups):
        channels, own = slice(g * inputs, (g + 1) * inputs), slice(g * units // groups, (g + 1) * units // groups)
        rows = patches(x[..., channels], window, stride=stride, padding=padding, dilation=dilation)
        rows, w = rows.reshape(-1, int(np.prod(window)) * inputs), kernel[..., own].reshape(-1, units // groups)
        z = rows @ w + bias[own]
        mask = {"linear": np.ones_like(z, bool), "relu.negative": z <= 0}.get(kind, z > 0)
        result[..., own] = pattern(rows, w, mask).reshape(*window, inputs, -1)
    return result
