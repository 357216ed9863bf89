"""The neural MCMC chain over a stream of samples, in bounded memory: state in and out, chunk by chunk.

The current state stands before each chunk as sample 0 of `nmcmc`. Means of consecutive steps are kept in bins, which
double in length when they are full; the first steps are kept one by one, for correlations and plots.
"""

import math
import warnings
from typing import NamedTuple

import numpy as np

from ..array_types import Bool, Float64, RandomKey, Real
from . import markov_chain, reliability
from .markov_chain import ChainEstimate
from .stream import Count, Number

__all__ = [
    "Chain",
    "ChainMeans",
    "init",
    "means",
    "update",
]

HEAD = 1 << 15  # first steps, kept one by one
BINS = 4096
BURN_IN = 0.01  # of the steps, at least
NUMBERS = 3  # energy, |M| and M^2 of a step


class Chain(NamedTuple):
    """The chain so far, from its first sample of positive weight on.

    Attributes:
      log_w, current: of the state: log-weight, and the numbers [3].
      accepted, steps: moves, and steps in all.
      bin_size, bins: steps a bin, and sums over each [3, BINS].
      squares: sums of squares over all steps [3].
      head: the first steps [3, HEAD].
      stay, longest, first: length of the present stay, of the longest and of the first, in steps.
      before: samples before the chain began.
    """

    log_w: Number
    current: Float64[np.ndarray, " 3"]
    accepted: Count
    steps: Count
    bin_size: Count
    bins: Float64[np.ndarray, "3 BINS"]
    squares: Float64[np.ndarray, " 3"]
    head: Float64[np.ndarray, "3 HEAD"]
    stay: Count
    longest: Count
    first: Count
    before: Count


class ChainMeans(NamedTuple):
    """What the chain says. Attributes: estimates of its numbers; time: of |M|, in steps; acceptance; status of its
    moves; burn_in: steps that were left out."""

    estimates: tuple[ChainEstimate, ...]
    time: float
    acceptance: float
    status: reliability.Status
    burn_in: int


def init() -> Chain:
    """Returns the chain before any sample."""
    zero = np.int64(0)
    return Chain(
        np.float64(-np.inf), np.zeros(NUMBERS), zero, zero, np.int64(1), np.zeros((NUMBERS, BINS)), np.zeros(NUMBERS),
        np.zeros((NUMBERS, HEAD)), zero, zero, zero, zero,
    )  # fmt: skip


def update(chain: Chain, key: RandomKey, log_w: Real[np.ndarray, " n"], values: Real[np.ndarray, "3 n"]) -> Chain:
    """Returns the chain after it was offered a chunk of samples; it begins with the first weight above zero.

    Args:
      chain: from `init` or `update`.
      key: another for each chunk.
      log_w: log-weights [n], -inf where the weight is zero.
      values: (energy, |M|, M^2) of each sample [3, n].
    """
    begins = int(chain.steps) == 0
    if begins:
        first = int(np.argmax(log_w > -np.inf)) if (log_w > -np.inf).any() else len(log_w)
        chain = chain._replace(before=chain.before + first)
        if first == len(log_w):
            return chain
        log_w, values = log_w[first:], values[:, first:]
    offers = log_w if begins else np.concatenate([[chain.log_w], log_w])
    values = values if begins else np.concatenate([chain.current[:, None], values], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of one chunk; the whole is judged by `means`
        index, accepted = (np.asarray(part) for part in markov_chain.nmcmc(key, offers))
    index, accepted = (index, accepted) if begins else (index[1:], accepted[1:])
    series = values[:, index]
    chain = _count_stays(chain, accepted)._replace(
        log_w=np.float64(offers[index[-1]]),
        current=series[:, -1],
        accepted=chain.accepted + int(accepted.sum()),
        squares=chain.squares + np.square(series).sum(axis=1),
        head=fill_head(chain.head, int(chain.steps), series),
    )
    return _fill_bins(chain, series)


def fill_head(
    head: Float64[np.ndarray, "K HEAD"], before: int, values: Real[np.ndarray, "K n"]
) -> Float64[np.ndarray, "K HEAD"]:
    """Returns the first columns [K, HEAD] of a series with more of them, [K, n] after `before`, while there is room."""
    room = max(min(head.shape[1] - before, values.shape[1]), 0)
    head = head.copy()
    head[:, before : before + room] = values[:, :room]
    return head


def _count_stays(chain: Chain, accepted: Bool[np.ndarray, " steps"]) -> Chain:
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


def _fill_bins(chain: Chain, series: Real[np.ndarray, "3 steps"]) -> Chain:
    """Adds steps to the bins, which hold sums; when all are full, pairs become one."""
    bins, size, steps = chain.bins.copy(), int(chain.bin_size), int(chain.steps)
    while series.shape[1]:
        room = size * BINS - steps
        if room == 0:
            bins = np.concatenate([bins[:, 0::2] + bins[:, 1::2], np.zeros((NUMBERS, BINS // 2))], axis=1)
            size *= 2
            continue
        part, series = series[:, :room], series[:, room:]
        place = (steps + np.arange(part.shape[1])) // size
        bins += np.stack([np.bincount(place, row, BINS) for row in part])
        steps += part.shape[1]
    return chain._replace(bins=bins, bin_size=np.int64(size), steps=np.int64(steps))


def means(chain: Chain) -> ChainMeans:
    """Returns the chain's estimates, each with its status, without the first stay and 1 % of the steps at least.

    Errors are sqrt(2 time Var / n) with times of the first steps or, where the series is longer and that gives more,
    from means over bins. A chain of fewer than 2 steps is not usable.
    """
    steps, size = int(chain.steps), int(chain.bin_size)
    moves = markov_chain.of_moves([int(chain.longest)], steps) if steps > 1 else None
    acceptance = int(chain.accepted) / (steps + int(chain.before))
    burn_in = max(int(chain.first), math.ceil(BURN_IN * steps))
    begin = -(-burn_in // size)  # in whole bins
    full = steps // size
    if moves is None or moves.level == reliability.NOT_USABLE or full - begin < 2:
        reasons = moves.reasons if moves is not None and moves.reasons else (f"{steps} steps make no chain",)
        status = reliability.Status(reliability.NOT_USABLE, reasons)
        averages = chain.bins.sum(axis=1) / steps if steps else np.full(NUMBERS, math.nan)
        estimates = tuple(ChainEstimate(float(mean), math.inf, math.inf, status) for mean in averages)
        return ChainMeans(estimates, math.inf, acceptance, status, burn_in)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # statuses go on with the numbers
        estimates = tuple(_mean(chain, row, begin, full) for row in range(NUMBERS))
    return ChainMeans(estimates, estimates[1].time, acceptance, moves, begin * size + int(chain.before))


def _mean(chain: Chain, row: int, begin: int, full: int) -> ChainEstimate:
    """Returns the estimate of one number from bins `begin` to `full`, and from the first steps where they are more."""
    steps, size = int(chain.steps), int(chain.bin_size)
    tail_steps = steps - begin * size
    of_bins = markov_chain.chain_estimate(chain.bins[row, begin:full] / size)
    mean = float(chain.bins[row, begin:].sum() / tail_steps)
    if size == 1:
        return of_bins._replace(mean=mean)
    of_head = markov_chain.chain_estimate(chain.head[row, min(begin * size, HEAD // 2) : min(steps, HEAD)])
    variance = max(chain.squares[row] / steps - (chain.bins[row].sum() / steps) ** 2, 0.0)
    # Autocorrelations of a chain of independent proposals are not negative: a time below 1/2 is chance.
    error = math.sqrt(2 * max(of_head.time, 0.5) * variance / tail_steps) if math.isfinite(of_head.time) else math.inf
    # The first steps tell the time; where they are not all, the bins tell whether the others are enough.
    status = of_bins.status if tail_steps > HEAD else of_head.status
    if math.isfinite(of_bins.error):
        error = max(error, of_bins.error)
    if status.level == reliability.NOT_USABLE:
        error = math.inf
    return ChainEstimate(mean, error, of_head.time, status)
