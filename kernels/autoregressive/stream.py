"""Sums over weighted samples that can be kept while samples come and go: bounded memory, any order, any machine.

A state holds what every estimate, its error and its status need: for weights w = exp(log_w) and a few numbers p of each
sample (1 first), sum w p in blocks, for the jackknife, and sum w^2 p p^T; the largest weights, for the shape of their
tail; and the first samples. Weights are relative to the largest seen, so that nothing overflows. States are NumPy
float64 in plain tuples: easy to store, and merged over chunks or devices.

A log-weight of -inf is a weight of zero: the state is forbidden, as by an infinite energy. The sample counts, and its
numbers, which may be infinite or nan, do not.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..array_types import AnyArray, Float64, Int64, Real, Scalar
from ..scalars import whole
from .arguments import Samples, check_beta

__all__ = [
    "State",
    "distinct",
    "init",
    "log_weights",
    "merge",
    "update",
]

BLOCKS = 64  # of the jackknife: its errors are then known to 9 %
TAIL = 3001  # largest weights: the whole tail that k-hat looks at, up to a million samples
FIRST = 64  # samples, whose variety tells a law from a single state

Count = np.int64 | Int64[np.ndarray, ""]
Number = np.float64 | Float64[np.ndarray, ""]


class State(NamedTuple):
    """Sums over n samples.

    Attributes:
      n: number of samples.
      count: samples in each block [blocks]; sample i belongs to block i mod blocks.
      shift: the largest log-weight (-inf before the first); every sum is divided by exp(shift) once for each w in it.
      first: sum of w p in each block [blocks, K].
      second: sum of w^2 p p^T [K, K].
      log_sum: sum of log_w.
      origin: [K-1] subtracted from the numbers first, so that variances do not cancel.
      zeros: number of samples with a weight of zero.
      tail: the largest log-weights [at most TAIL], in no order.
      samples: log_w and numbers of the first samples [at most FIRST, K].
    """

    n: Count
    count: Int64[np.ndarray, " blocks"]  # type: ignore[assignment]  # a tuple has a method of this name
    shift: Number
    first: Float64[np.ndarray, "blocks K"]
    second: Float64[np.ndarray, "K K"]
    log_sum: Number
    origin: Float64[np.ndarray, " K-1"]
    zeros: Count
    tail: Float64[np.ndarray, " TAIL"]
    samples: Float64[np.ndarray, "FIRST K"]


def init(numbers: int, origin: Real[np.ndarray, " numbers"] | Sequence | None = None, blocks: int = BLOCKS) -> State:
    """Returns the state before any sample.

    Args:
      numbers: how many numbers a sample has, beside its weight.
      origin: [numbers] roughly where they lie; 0 by default. States merge if they have the same.
      blocks: of the jackknife, at least 2.

    Raises:
      ValueError: fewer than 2 blocks, an origin of another length.
    """
    numbers, blocks = whole("numbers", numbers, 0), whole("blocks", blocks, 2, why=": so many a jackknife needs")
    origin = np.zeros(numbers) if origin is None else np.asarray(origin, np.float64)
    if origin.shape != (numbers,) or not np.isfinite(origin).all():
        raise ValueError(f"origin of shape {list(origin.shape)}: expected {numbers} finite numbers")
    size = numbers + 1
    return State(
        np.int64(0), np.zeros(blocks, np.int64), np.float64(-np.inf), np.zeros((blocks, size)), np.zeros((size, size)),
        np.float64(0), origin, np.int64(0), np.full(TAIL, -np.inf), np.full((FIRST, size), np.nan),
    )  # fmt: skip


def update(state: State, log_w: Samples, numbers: Real[AnyArray, "numbers n"] | Sequence) -> State:
    """Returns the state with more samples.

    Args:
      state: from `init`, `update` or `merge`.
      log_w: log-weights [n], finite or -inf.
      numbers: [numbers, n], finite where the weight is not zero.

    Raises:
      ValueError: shapes that do not fit, log-weights of nan or +inf, numbers that are not finite.
    """
    log_w, numbers = checked_log_weights(log_w, 0), np.asarray(numbers, np.float64)
    n, size = len(log_w), len(state.origin) + 1
    if numbers.shape != (size - 1, n):
        raise ValueError(f"numbers of shape {list(numbers.shape)}: expected [{size - 1}, {n}], a row a number")
    if not n:
        return state
    log_sum = log_w.sum()
    zeros = 0
    if log_sum == -np.inf:
        numbers, zeros = without_zeros(log_w, numbers, log_sum)
    shift = np.maximum(state.shift, log_w.max())
    blocks = len(state.count)
    turn = int(state.n) % blocks  # the block of the chunk's first sample
    rounds, last = divmod(turn + n, blocks)
    points = np.empty((size, n))
    points[0] = 1
    np.subtract(numbers, state.origin[:, None], out=points[1:])
    weighted = np.zeros((size, (rounds + (last > 0)) * blocks))  # filled up to whole rounds over the blocks
    with np.errstate(invalid="ignore"):  # what is not finite is found below
        if shift > -np.inf:
            np.multiply(points, np.exp(log_w - shift), out=weighted[:, turn : turn + n])
        square = weighted @ weighted.T
    if not math.isfinite(square.sum()):  # cheaper than a look at all numbers, and misses none: 0 x inf is nan
        without_zeros(log_w, numbers, log_sum)
    count = state.count + rounds
    count[:last] += 1
    count[:turn] -= 1
    scale = _scale(state.shift, shift)
    return State(
        state.n + n,
        count,
        shift,
        state.first * scale + weighted.reshape(size, -1, blocks).sum(axis=1).T,
        state.second * scale**2 + square,
        state.log_sum + log_sum,
        state.origin,
        state.zeros + zeros,
        _largest(state.tail, int(state.n), log_w),
        _filled(state.samples, int(state.n), log_w, numbers),
    )


def without_zeros(
    log_w: Float64[np.ndarray, " n"], numbers: Float64[np.ndarray, "numbers n"], log_sum: float | None = None
) -> tuple[Float64[np.ndarray, "numbers n"], int]:
    """Returns numbers that are 0 where the weight is, and how many weights are; raises unless the rest is finite."""
    zeros = 0
    if (log_w.sum() if log_sum is None else log_sum) == -np.inf:
        forbidden = np.isneginf(log_w)
        numbers, zeros = np.where(forbidden, 0.0, numbers), int(forbidden.sum())
    if not np.isfinite(numbers.sum()) and not np.isfinite(numbers).all():  # a finite sum is the fast way
        raise ValueError("numbers hold values that are not finite: look at the observables")
    return numbers, zeros


def _largest(tail: np.ndarray, before: int, log_w: np.ndarray) -> np.ndarray:
    """Returns the largest log-weights of `before` samples, those of `tail`, and of more; at its end while they fit."""
    size, n = len(tail), len(log_w)
    if before + n <= size:
        tail = tail.copy()
        tail[size - before - n : size - before] = log_w
        return tail
    if before > size:  # a partition has left the lowest in front
        log_w = log_w[log_w > tail[0]]
        if not len(log_w):
            return tail
    both = np.concatenate([tail[max(size - before, 0) :], log_w])
    return np.partition(both, len(both) - size)[len(both) - size :]


def _filled(samples: np.ndarray, before: int, log_w: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Returns the first samples with more of them, as far as there is room."""
    room = min(len(samples) - before, len(log_w))
    if room <= 0:
        return samples
    samples = samples.copy()
    samples[before : before + room, 0] = log_w[:room]
    samples[before : before + room, 1:] = numbers[:, :room].T
    return samples


def distinct(state: State) -> int:
    """Returns how many of the first samples differ for certain: in the log-weight or in a number, beyond rounding."""
    samples = state.samples[: min(int(state.n), len(state.samples))]
    log_w = samples[:, 0]
    mantissa, exponent = np.frexp(samples[:, 1:])
    marks = np.ldexp(np.round(mantissa * 2**16), exponent) * np.sqrt(2 + np.arange(mantissa.shape[1]))
    return len(np.unique(np.round(np.where(np.isneginf(log_w), 0.0, log_w), 4) + marks.sum(axis=1)))


def merge(a: State, b: State) -> State:
    """Returns the state of all samples of two: that of one stream, in which those of b follow those of a.

    Raises:
      ValueError: they have different origins or numbers of blocks.
    """
    if a.first.shape != b.first.shape or not np.array_equal(a.origin, b.origin):
        raise ValueError("states merge if they began with the same numbers, origin and blocks")
    shift = np.maximum(a.shift, b.shift)
    of_a, of_b = _scale(a.shift, shift), _scale(b.shift, shift)
    turn = int(a.n) % len(a.count)  # sample i of b is sample a.n + i now, and goes to that one's block
    count, first = np.roll(b.count, turn), np.roll(b.first, turn, axis=0)
    head = b.samples[: min(int(b.n), len(b.samples))]
    return State(
        a.n + b.n, a.count + count, shift, a.first * of_a + first * of_b, a.second * of_a**2 + b.second * of_b**2,
        a.log_sum + b.log_sum, a.origin, a.zeros + b.zeros,
        _largest(a.tail, int(a.n), b.tail[max(len(b.tail) - int(b.n), 0) :]),
        _filled(a.samples, int(a.n), head[:, 0], head[:, 1:].T),
    )  # fmt: skip


def _scale(old, new) -> float:
    return 0.0 if old == -np.inf else float(np.exp(old - new))


def checked_log_weights(log_w: Samples, least: int) -> Float64[np.ndarray, " n"]:
    """Returns log-weights as float64 [n]; -inf, a weight of zero, is one.

    Raises:
      ValueError: another shape, fewer than `least`, nan or +inf.
    """
    log_w = np.asarray(log_w, np.float64)
    if log_w.ndim != 1:
        raise ValueError(f"log_w of shape {list(log_w.shape)}: expected [n]")
    if len(log_w) < least:
        raise ValueError(f"log_w has n={len(log_w)} samples: expected at least {least}")
    check_values(log_w)
    return log_w


def check_values(log_w: Float64[np.ndarray, " n"]) -> None:
    """Raises a ValueError that names the first log-weight which is nan or +inf."""
    if np.isfinite(log_w.sum()):  # the fast way
        return
    wrong = np.flatnonzero(np.isnan(log_w) | np.isposinf(log_w))
    if not len(wrong):
        return
    where = int(wrong[0])
    raise ValueError(
        f"log_w[{where}]={log_w[where]}: log-weights are finite, or -inf for a weight of 0; look at energies and ln q"
    )


def log_weights(
    log_q: Scalar | Real[AnyArray, "*shape"] | Sequence,
    energy: Scalar | Real[AnyArray, "*shape"] | Sequence,
    beta: Scalar,
) -> Float64[np.ndarray, "*shape"]:
    """Returns -beta E - ln q [n] in float64; an infinite energy forbids a state at any temperature: -inf.

    Args:
      log_q: ln q of the samples [n].
      energy: E [n], finite or +inf.
      beta: inverse temperature.

    Raises:
      ValueError: an energy or ln q of nan or of the wrong infinity, named; two shapes that only broadcasting joins.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> autoregressive.log_weights(np.log([0.5, 0.5]), [0.0, np.inf], beta=1.0).round(3).tolist()
      [0.693, -inf]
    """
    check_beta(beta)
    log_q, energy = np.asarray(log_q, np.float64), np.asarray(energy, np.float64)
    if log_q.shape != energy.shape:
        shapes = f"log_q of shape {list(log_q.shape)} and energy of shape {list(energy.shape)}"
        raise ValueError(f"{shapes}: expected one number a sample in both; reshape one of them")
    for name, values in (("energy", energy), ("log_q", -log_q)):
        if (wrong := np.isnan(values) | np.isneginf(values)).any():
            where = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            value = values[where] if name == "energy" else -values[where]
            place = ",".join(map(str, where))
            raise ValueError(f"{name}[{place}]={value}: expected finite numbers or, of forbidden states, E = +inf")
    forbidden = np.isposinf(energy)
    return np.where(forbidden, -np.inf, -float(beta) * np.where(forbidden, 0.0, energy) - log_q)
