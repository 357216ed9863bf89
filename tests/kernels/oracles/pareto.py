"""The shape of a tail of weights in plain float64, from the formulas of Zhang and Stephens (2009) and Vehtari et al.

Their notation: b in place of theta, k of the opposite sign; here the sign is that of Vehtari et al. (2024).
"""

import math

import numpy as np


def k_hat(log_w) -> float:
    """k of log-weights [n], by sums over one grid point and one exceedance at a time."""
    ordered = sorted(float(value) for value in log_w)
    n = len(ordered)
    length = math.ceil(min(0.2 * n, 3 * math.sqrt(n)))
    cutoff, highest = ordered[n - length - 1], ordered[-1]
    x = [math.exp(value - highest) - math.exp(cutoff - highest) for value in ordered[n - length :] if value > cutoff]
    m = len(x)
    grid = 30 + int(math.sqrt(m))
    first_quartile = x[int(m / 4 + 0.5) - 1]
    b = [1 / x[-1] + (1 - math.sqrt(grid / (j - 0.5))) / (3 * first_quartile) for j in range(1, grid + 1)]
    profile = []
    for value in b:
        k = sum(math.log1p(-value * each) for each in x) / m
        profile.append(m * (math.log(-value / k) - k - 1))
    weights = [1 / sum(math.exp(min(other - own, 700)) for other in profile) for own in profile]
    best = sum(w * value for w, value in zip(weights, b, strict=True)) / sum(weights)
    k = sum(math.log1p(-best * each) for each in x) / m
    return float((m * k + 10 * 0.5) / (m + 10)) if np.isfinite(k) else k
