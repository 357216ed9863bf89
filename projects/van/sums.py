"""Sums over any number of samples of a network, in bounded memory: for weights, for plain means, for the Markov chain.

`Gathered` is a pytree of NumPy arrays, so that a checkpoint holds it and a killed run goes on to the same numbers.
"""

import warnings
from typing import NamedTuple

import jax
import numpy as np

from kernels.autoregressive import markov_chain, stream
from kernels.autoregressive.importance import spin_numbers

KEPT = 1 << 15  # first samples and first steps of the chain that are kept for plots and correlations
BINS = 4096  # means of consecutive steps of the chain; they double in length when they are full
RAW = ("log_w", "log_q", "energy", "abs_m", "m_squared")


class Chain(NamedTuple):
    """The neural MCMC so far: the current sample, accepted moves, and means of (energy, |M|, M^2) in bins."""

    log_w: np.ndarray
    current: np.ndarray
    accepted: np.ndarray
    steps: np.ndarray
    bin_size: np.ndarray
    bins: np.ndarray
    squares: np.ndarray
    kept: np.ndarray


class Gathered(NamedTuple):
    """Sums over the samples so far. Attributes: weighted, raw: streams; chain; kept: log_q, E, M of the first."""

    weighted: stream.State
    raw: stream.State
    chain: Chain
    kept: np.ndarray


def empty(origin: np.ndarray) -> Gathered:
    """Returns sums over nothing; `origin` [5] is roughly where the numbers of a sample lie (SPINS)."""
    zero = np.float64(0)
    chain = Chain(
        zero, np.zeros(3), np.int64(0), np.int64(0), np.int64(1), np.zeros((3, BINS)), np.zeros(3), np.zeros((3, KEPT))
    )
    raw = np.array([zero, zero, origin[0], origin[2], origin[3]])
    return Gathered(stream.init(5, origin), stream.init(len(RAW), raw), chain, np.zeros((3, KEPT)))


def add(gathered: Gathered, key: jax.Array, log_q, energy, magnetisation, beta: float) -> Gathered:
    """Returns the sums with one more chunk of samples, which are offered to the chain, too.

    Args:
      key: of the chain, another for each chunk.
      log_q, energy, magnetisation: [n] of the samples.
      beta: inverse temperature of the estimates.
    """
    log_q, energy, m = (np.asarray(x, np.float64) for x in (log_q, energy, magnetisation))
    log_w = -beta * energy - log_q
    numbers = spin_numbers(energy, m)
    raw = np.stack([log_w, log_q, energy, np.abs(m), np.square(m)])
    before = int(gathered.raw.n)
    return Gathered(
        stream.update(gathered.weighted, log_w, numbers),
        stream.update(gathered.raw, np.zeros_like(log_w), raw),
        _advance(gathered.chain, key, log_w, np.stack([energy, np.abs(m), np.square(m)])),
        _keep(gathered.kept, before, np.stack([log_q, energy, m])),
    )


def _keep(kept: np.ndarray, before: int, values: np.ndarray) -> np.ndarray:
    room = max(min(KEPT - before, values.shape[1]), 0)
    kept = kept.copy()
    kept[:, before : before + room] = values[:, :room]
    return kept


def _advance(chain: Chain, key, log_w: np.ndarray, values: np.ndarray) -> Chain:
    """Offers a chunk to the chain, whose state stands before it as sample 0."""
    begins = int(chain.steps) == 0
    offered = log_w if begins else np.concatenate([[chain.log_w], log_w])
    values = values if begins else np.concatenate([chain.current[:, None], values], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of one chunk; the whole is judged at the end
        index, accepted = (np.asarray(part) for part in markov_chain.nmcmc(key, offered))
    index, accepted = (index, accepted) if begins else (index[1:], accepted[1:])
    series = values[:, index]
    chain = chain._replace(
        log_w=np.float64(offered[index[-1]]),
        current=series[:, -1],
        accepted=chain.accepted + int(accepted.sum()),
        squares=chain.squares + np.square(series).sum(axis=1),
        kept=_keep(chain.kept, int(chain.steps), series),
    )
    return _fill_bins(chain, series)


def _fill_bins(chain: Chain, series: np.ndarray) -> Chain:
    """Adds steps to the bins, which hold sums; when all are full, pairs become one."""
    bins, size, steps = chain.bins.copy(), int(chain.bin_size), int(chain.steps)
    while series.shape[1]:
        room = size * BINS - steps
        if room == 0:
            bins = np.concatenate([bins[:, 0::2] + bins[:, 1::2], np.zeros((3, BINS // 2))], axis=1)
            size *= 2
            continue
        part, series = series[:, :room], series[:, room:]
        place = (steps + np.arange(part.shape[1])) // size
        bins += np.stack([np.bincount(place, row, BINS) for row in part])
        steps += part.shape[1]
    return chain._replace(bins=bins, bin_size=np.int64(size), steps=np.int64(steps))


def chain_means(chain: Chain) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns means [3] of energy, |M|, M^2, their errors, and the integrated time of |M| in steps.

    Errors are sqrt(2 time Var / n) with times of the first steps kept or, where the series is longer and that gives
    more, from means over bins.
    """
    steps, size = int(chain.steps), int(chain.bin_size)
    kept = chain.kept[:, : min(steps, KEPT)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        times = np.array([markov_chain.integrated_time(row) for row in kept])
    means = chain.bins.sum(axis=1) / steps
    variances = np.maximum(chain.squares / steps - means**2, 0)
    errors = np.sqrt(2 * times * variances / steps)
    full = steps // size
    if size > 1:
        binned = chain.bins[:, :full] / size
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            of_bins = np.array([markov_chain.integrated_time(row) for row in binned])
        errors = np.maximum(errors, np.sqrt(2 * of_bins * binned.var(axis=1) / full))
    return means, errors, float(times[1])
