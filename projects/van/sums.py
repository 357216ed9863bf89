"""Sums over any number of samples of a network, in bounded memory: for weights, for plain means, for the Markov chain.

`Gathered` is a pytree of NumPy arrays, so that a checkpoint holds it and a killed run goes on to the same numbers.
Forbidden states, of infinite energy, have weights of zero; plain means are those of the other samples.
"""

import math
import warnings
from typing import NamedTuple

import jax
import numpy as np

from kernels.autoregressive import log_weights, markov_chain, reliability, stream
from kernels.autoregressive.markov_chain import ChainEstimate
from kernels.autoregressive.thermodynamics import spin_numbers

KEPT = 1 << 15  # first samples and first steps of the chain that are kept for plots and correlations
BINS = 4096  # means of consecutive steps of the chain; they double in length when they are full
RAW = ("log_w", "log_q", "energy", "abs_m", "m_squared")
BURN_IN = 0.01  # of the steps of the chain, at least


class Chain(NamedTuple):
    """The neural MCMC so far, from its first sample of positive weight on: the current sample, accepted moves, steps,
    means of (energy, |M|, M^2) in bins, the length of the present stay, of the longest and of the first, and how many
    samples came before it began."""

    log_w: np.ndarray
    current: np.ndarray
    accepted: np.ndarray
    steps: np.ndarray
    bin_size: np.ndarray
    bins: np.ndarray
    squares: np.ndarray
    kept: np.ndarray
    stay: np.ndarray
    longest: np.ndarray
    first: np.ndarray
    before: np.ndarray


class Gathered(NamedTuple):
    """Sums over the samples so far. Attributes: weighted, raw: streams; chain; kept: log_q, E, M of the first."""

    weighted: stream.State
    raw: stream.State
    chain: Chain
    kept: np.ndarray


class ChainMeans(NamedTuple):
    """What the chain says. Attributes: estimates of energy, |M| and M^2; time: of |M|, in steps; acceptance; status of
    its moves; burn_in: steps that were left out."""

    estimates: tuple[ChainEstimate, ...]
    time: float
    acceptance: float
    status: reliability.Status
    burn_in: int


def empty(origin: np.ndarray) -> Gathered:
    """Returns sums over nothing; `origin` [5] is roughly where the numbers of a sample lie (SPINS)."""
    zero, none = np.float64(0), np.int64(0)
    chain = Chain(
        np.float64(-np.inf), np.zeros(3), none, none, np.int64(1), np.zeros((3, BINS)), np.zeros(3),
        np.zeros((3, KEPT)), none, none, none, none,
    )  # fmt: skip
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
    log_w = log_weights(log_q, energy, beta)
    allowed = ~np.isneginf(log_w)
    numbers = spin_numbers(np.where(allowed, energy, 0.0), m)
    raw = np.stack([np.where(allowed, log_w, -np.inf), log_q, energy, np.abs(m), np.square(m)])
    before = int(gathered.raw.n)
    return Gathered(
        stream.update(gathered.weighted, log_w, numbers),
        stream.update(gathered.raw, np.where(allowed, 0.0, -np.inf), raw),
        _advance(gathered.chain, key, log_w, numbers[[0, 2, 3]]),
        _keep(gathered.kept, before, np.stack([log_q, energy, m])),
    )


def _keep(kept: np.ndarray, before: int, values: np.ndarray) -> np.ndarray:
    room = max(min(KEPT - before, values.shape[1]), 0)
    kept = kept.copy()
    kept[:, before : before + room] = values[:, :room]
    return kept


def _advance(chain: Chain, key, log_w: np.ndarray, values: np.ndarray) -> Chain:
    """Offers a chunk to the chain, whose state stands before it as sample 0; it begins with a weight above zero."""
    begins = int(chain.steps) == 0
    if begins:
        first = int(np.argmax(log_w > -np.inf)) if (log_w > -np.inf).any() else len(log_w)
        chain = chain._replace(before=chain.before + first)
        if first == len(log_w):
            return chain
        log_w, values = log_w[first:], values[:, first:]
    offered = log_w if begins else np.concatenate([[chain.log_w], log_w])
    values = values if begins else np.concatenate([chain.current[:, None], values], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of one chunk; the whole is judged by `chain_means`
        index, accepted = (np.asarray(part) for part in markov_chain.nmcmc(key, offered))
    index, accepted = (index, accepted) if begins else (index[1:], accepted[1:])
    series = values[:, index]
    chain = _count_stays(chain, accepted)._replace(
        log_w=np.float64(offered[index[-1]]),
        current=series[:, -1],
        accepted=chain.accepted + int(accepted.sum()),
        squares=chain.squares + np.square(series).sum(axis=1),
        kept=_keep(chain.kept, int(chain.steps), series),
    )
    return _fill_bins(chain, series)


def _count_stays(chain: Chain, accepted: np.ndarray) -> Chain:
    """Returns the chain with the lengths of its stays, in steps, after more of them."""
    moves = np.flatnonzero(accepted if int(chain.steps) else accepted[1:]) + (int(chain.steps) == 0)
    moved = int(chain.accepted) > 1  # the first sample accepts itself
    if not len(moves):
        stay = int(chain.stay) + len(accepted)
        first = chain.first if moved else stay
        return chain._replace(stay=np.int64(stay), longest=np.maximum(chain.longest, stay), first=np.int64(first))
    stays = np.diff(np.concatenate([[-int(chain.stay)], moves]))
    first = chain.first if moved else stays[0]
    return chain._replace(
        stay=np.int64(len(accepted) - moves[-1]), longest=np.maximum(chain.longest, stays.max()), first=np.int64(first)
    )


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


def chain_means(chain: Chain, samples: int) -> ChainMeans:
    """Returns the chain's estimates, each with its status, without the first stay and 1 % of the steps at least.

    Errors are sqrt(2 time Var / n) with times of the first steps kept or, where the series is longer and that gives
    more, from means over bins.

    Args:
      chain: of at least 2 steps, or it is not usable.
      samples: that were offered in all.
    """
    steps, size = int(chain.steps), int(chain.bin_size)
    moves = markov_chain.of_moves([int(chain.longest)], steps) if steps > 1 else None
    acceptance = int(chain.accepted) / samples
    left_out = max(int(chain.first), math.ceil(BURN_IN * steps))
    begin = -(-left_out // size)  # in whole bins
    full = steps // size
    if moves is None or moves.level == reliability.NOT_USABLE or full - begin < 2:
        reason = moves.reasons if moves is not None and moves.reasons else (f"{steps} steps make no chain",)
        status = reliability.Status(reliability.NOT_USABLE, reason)
        means = chain.bins.sum(axis=1) / steps if steps else np.full(3, math.nan)
        none = tuple(ChainEstimate(float(mean), math.inf, math.inf, status) for mean in means)
        return ChainMeans(none, math.inf, acceptance, status, left_out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # statuses go on with the numbers
        estimates = tuple(_mean(chain, row, begin, full) for row in range(len(chain.bins)))
    return ChainMeans(estimates, estimates[1].time, acceptance, moves, begin * size + int(chain.before))


def _mean(chain: Chain, row: int, begin: int, full: int) -> ChainEstimate:
    """Returns the estimate of one number from bins `begin` to `full`, and from the first steps where they are more."""
    steps, size = int(chain.steps), int(chain.bin_size)
    used = steps - begin * size
    binned = markov_chain.chain_estimate(chain.bins[row, begin:full] / size)
    mean = float(chain.bins[row, begin:].sum() / used)
    if size == 1:
        return binned._replace(mean=mean)
    first = markov_chain.chain_estimate(chain.kept[row, min(begin * size, KEPT // 2) : min(steps, KEPT)])
    variance = max(chain.squares[row] / steps - (chain.bins[row].sum() / steps) ** 2, 0.0)
    # Autocorrelations of a chain of independent proposals are not negative: a time below 1/2 is chance.
    error = math.sqrt(2 * max(first.time, 0.5) * variance / used) if math.isfinite(first.time) else math.inf
    # The first steps tell the time; where they are not all, the bins tell whether the others are enough.
    status = binned.status if used > KEPT else first.status
    if math.isfinite(binned.error):
        error = max(error, binned.error)
    if status.level == reliability.NOT_USABLE:
        error = math.inf
    return ChainEstimate(mean, error, first.time, status)
