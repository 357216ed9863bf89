"""How heavy the tail of importance weights is: the shape k of a generalized Pareto law of the largest of them.

Weights whose tail has shape k have finite moments of order below 1/k: beyond 1/2 the error of a mean has no variance to
be estimated from, beyond 1 there is no mean. What is seen before that many samples is decided by the sample size, too.
The fit is the quasi-Bayesian mean of J. Zhang and M. A. Stephens, Technometrics 51, 316 (2009); length of the tail,
prior and threshold are those of A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry, JMLR 25 (72), 2024.
"""

import math

import numpy as np

from ..array_types import Count, Float64
from ..scalars import whole
from .arguments import Samples

SHORTEST_TAIL = 5  # weights, below which no shape is fitted
PRIOR_SHAPE, PRIOR_WEIGHTS = 0.5, 10  # of the shape, which counts as so many weights of the tail
LARGEST_SHAPE = 0.7  # beyond which no affordable number of samples gives the errors that are stated


def tail_length(n: Count) -> int:
    """Returns how many of n weights make the tail: a fifth, at most 3 sqrt(n)."""
    return math.ceil(min(n / 5, 3 * math.sqrt(n)))


def largest_shape(n: Count) -> float:
    """Returns the shape up to which a mean of n weights and its error are to be trusted: min(1 - 1/log10 n, 0.7)."""
    return min(1 - 1 / math.log10(n), LARGEST_SHAPE) if n > 1 else -math.inf


def k_hat(log_w: Samples, n: Count | None = None) -> float:
    """Returns the shape of the tail of n weights, of which at least the largest are given.

    Args:
      log_w: log-weights [m]; -inf is a weight of zero. All of them, or (with n) those of the tail and the next one.
      n: how many weights there are in all; m by default. A tail longer than m - 1 is cut there.

    Returns:
      k; nan where fewer than 5 weights of the tail exceed the one before it, as with few samples, or with weights that
      are bounded and reach their bound; infinite where most of the tail vanishes beside the largest weight.

    Raises:
      ValueError: another shape, more weights than n, nan or an infinite weight.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> autoregressive.k_hat(np.random.default_rng(0).normal(size=1000)) < 0.7  # log-weights with a light tail
      True
    """
    log_w = np.asarray(log_w, np.float64)
    n = None if n is None else whole("n", n, 1, why=", how many weights there are in all, or None")
    n = log_w.size if n is None else n
    if log_w.ndim != 1 or len(log_w) > n:
        raise ValueError(f"log_w of shape {list(log_w.shape)}: expected [m] with m of at most n={n}")
    if not log_w.sum() < math.inf:
        raise ValueError("log_w holds nan or inf: a shape is that of finite log-weights and of -inf, a weight of zero")
    length = min(tail_length(n), len(log_w) - 1)
    if length < SHORTEST_TAIL:
        return math.nan
    largest = np.sort(np.partition(log_w, len(log_w) - length - 1)[-length - 1 :])
    tail = largest[largest > largest[0]]  # without what is tied with the threshold
    if len(tail) < SHORTEST_TAIL:
        return math.nan
    return shape_of_exceedances(np.exp(tail - tail[-1]) - np.exp(largest[0] - tail[-1]))


def shape_of_exceedances(x: Float64[np.ndarray, " m"]) -> float:
    """Returns the shape k of a generalized Pareto law from exceedances over a threshold, ascending, the last positive.

    The likelihood in theta = -k / sigma alone, with k the mean of ln(1 - theta x), is averaged over a grid that
    follows the data's own scale; k is then shrunk towards 1/2 with the weight of ten exceedances.
    """
    m = len(x)
    quartile = x[math.floor(m / 4 + 0.5) - 1]
    if quartile <= 0:
        return math.inf
    points = 30 + math.isqrt(m)
    theta = 1 / x[-1] + (1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))) / (3 * quartile)
    shapes = np.log(1 - theta[:, None] * x).mean(axis=1)  # log1p costs several times as much, and nothing is lost
    with np.errstate(divide="ignore", invalid="ignore"):
        log_likelihood = m * (np.log(-theta / shapes) - shapes - 1)
    log_likelihood = np.where(np.isnan(log_likelihood), -np.inf, log_likelihood)
    posterior = np.exp(log_likelihood - log_likelihood.max())
    best = posterior @ theta / posterior.sum()
    shape = np.log1p(-best * x).mean()
    return float((m * shape + PRIOR_WEIGHTS * PRIOR_SHAPE) / (m + PRIOR_WEIGHTS))
