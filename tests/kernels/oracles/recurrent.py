"""LRP of an LSTM in plain NumPy, written from the formulas: gates get nothing, signals take all.

After Arras, Montavon, Müller and Samek (EMNLP-WASSA 2017). float64, one sample, loops over steps.
"""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def linear(x, weight, bias, z, relevance, units, epsilon, bias_factor):
    """Relevance of x from that of z = x W + b (+ what else there is in z); `units` are all that z hangs on."""
    sign = np.where(z >= 0, 1.0, -1.0)
    numerator = weight * x[:, None] + bias_factor * (bias + epsilon * sign)[None] / units
    return (numerator / (z + epsilon * sign)[None] * relevance[None]).sum(1)


def lstm(params, x, target, epsilon=1e-3, bias_factor=0.0, h0=None, c0=None):
    """Returns (y, relevance of x, of h0, of c0): a cell with gates i, g, f, o, then a dense layer without a bias."""
    wx, wh, b, out = (np.asarray(params[name], np.float64) for name in ("wx", "wh", "b", "out"))
    steps, width = len(x), wh.shape[0]
    h, c = np.zeros((steps + 1, width)), np.zeros((steps + 1, width))
    h[-1], c[-1] = (0 if start is None else start for start in (h0, c0))  # before the first step
    z, signal = np.zeros((steps, 4 * width)), np.zeros((steps, width))
    for t in range(steps):
        z[t] = x[t] @ wx + h[t - 1] @ wh + b
        i, g, f, _ = np.split(z[t], 4)
        signal[t] = sigmoid(i) * np.tanh(g)
        c[t] = sigmoid(f) * c[t - 1] + signal[t]
        h[t] = sigmoid(z[t][3 * width :]) * np.tanh(c[t])
    y = h[steps - 1] @ out
    of_h, of_c = np.zeros((steps + 1, width)), np.zeros((steps + 1, width))
    of_x, no_bias = np.zeros_like(x), np.zeros(width)
    of_y = np.where(np.arange(len(y)) == target, y, 0.0)
    of_h[steps - 1] = linear(h[steps - 1], out, np.zeros(len(y)), y, of_y, width, epsilon, bias_factor)
    identity, units = np.eye(width), 2 * width
    kind = slice(width, 2 * width)
    for t in reversed(range(steps)):
        of_c[t] += of_h[t]
        kept = sigmoid(z[t][2 * width : 3 * width]) * c[t - 1]
        of_c[t - 1] = linear(kept, identity, no_bias, c[t], of_c[t], units, epsilon, bias_factor)
        of_g = linear(signal[t], identity, no_bias, c[t], of_c[t], units, epsilon, bias_factor)
        lower = x.shape[1] + width
        of_x[t] = linear(x[t], wx[:, kind], b[kind], z[t][kind], of_g, lower, epsilon, bias_factor)
        of_h[t - 1] = linear(h[t - 1], wh[:, kind], b[kind], z[t][kind], of_g, lower, epsilon, bias_factor)
    return y, of_x, of_h[-1], of_c[-1]
