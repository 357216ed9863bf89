"""Modulation, LLRs and the covariance of fading in float64 NumPy, by enumeration; slow.

Source: 3GPP TS 38.211, section 5.1, the formulas as they stand there; Bayes' rule over all 2^order symbols; 3GPP
TR 38.901, section 7.7.2.
"""

import numpy as np


def symbol(b, order: int) -> complex:
    """The symbol of bits b[0], ..., b[order - 1]."""
    s = [1 - 2 * int(bit) for bit in b]
    if order == 1:
        return complex(s[0])
    if order == 2:
        return (s[0] + 1j * s[1]) / np.sqrt(2)
    if order == 4:
        return (s[0] * (2 - s[2]) + 1j * s[1] * (2 - s[3])) / np.sqrt(10)
    if order == 6:
        return (s[0] * (4 - s[2] * (2 - s[4])) + 1j * s[1] * (4 - s[3] * (2 - s[5]))) / np.sqrt(42)
    real = s[0] * (8 - s[2] * (4 - s[4] * (2 - s[6])))
    imaginary = s[1] * (8 - s[3] * (4 - s[5] * (2 - s[7])))
    return (real + 1j * imaginary) / np.sqrt(170)


def labels(order: int) -> np.ndarray:
    """All labels [2^order, order]."""
    return np.array([[number >> (order - 1 - k) & 1 for k in range(order)] for number in range(2**order)])


def constellation(order: int) -> np.ndarray:
    """The symbols of all labels [2^order]."""
    return np.array([symbol(label, order) for label in labels(order)])


def modulate(bits, order: int) -> np.ndarray:
    """Symbols of bits [e]."""
    return np.array([symbol(bits[i : i + order], order) for i in range(0, len(bits), order)])


def llr(y, h, n0, order: int, method: str = "exact") -> np.ndarray:
    """LLRs [symbols * order] of y [symbols]: ln of sums, or of the largest terms, of exp(-|y - h s|^2 / n0)."""
    y, h, n0 = np.broadcast_arrays(np.asarray(y, complex), np.asarray(h, complex), np.asarray(n0, float))
    reduced = np.logaddexp.reduce if method == "exact" else np.max
    points, label = constellation(order), labels(order)
    values = []
    for received, gain, noise in zip(y, h, n0, strict=True):
        metric = -(np.abs(received - gain * points) ** 2) / noise
        values += [reduced(metric[label[:, k] == 0]) - reduced(metric[label[:, k] == 1]) for k in range(order)]
    return np.array(values)


def covariance(profile, delay_spread: float, frequencies) -> np.ndarray:
    """E[H(f) H*(g)], entry by entry."""
    powers = np.array(profile.powers)
    powers[0] += profile.line_of_sight
    taps = list(zip(powers, profile.delays, strict=True))
    return np.array(
        [
            [sum(p * np.exp(-2j * np.pi * (f - g) * d * delay_spread) for p, d in taps) for g in frequencies]
            for f in frequencies
        ]
    )
