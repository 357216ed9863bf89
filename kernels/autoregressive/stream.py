"""Sums over weighted samples that can be kept while samples come and go: bounded memory, any order, any machine.

A state holds what every estimate and its error need: for weights w = exp(log_w) and a few numbers p of each sample
(1 first), sum w p in blocks, for the jackknife, and sum w^2 p p^T. Weights are relative to the largest seen, so that
nothing overflows. States are NumPy float64 in plain tuples: easy to store, and merged over chunks or devices.
"""

from typing import NamedTuple

import numpy as np

BLOCKS = 64  # of the jackknife: its errors are then known to 9 %


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
    """

    n: np.ndarray
    count: np.ndarray
    shift: np.ndarray
    first: np.ndarray
    second: np.ndarray
    log_sum: np.ndarray
    origin: np.ndarray


def init(numbers: int, origin=None, blocks: int = BLOCKS) -> State:
    """Returns the state before any sample.

    Args:
      numbers: how many numbers a sample has, beside its weight.
      origin: [numbers] roughly where they lie; 0 by default. States merge if they have the same.
      blocks: of the jackknife, at least 2.

    Raises:
      ValueError: fewer than 2 blocks, an origin of another length.
    """
    if blocks < 2:
        raise ValueError(f"blocks={blocks}: a jackknife needs at least 2")
    origin = np.zeros(numbers) if origin is None else np.asarray(origin, np.float64)
    if origin.shape != (numbers,) or not np.isfinite(origin).all():
        raise ValueError(f"origin of shape {list(origin.shape)}: expected {numbers} finite numbers")
    size = numbers + 1
    return State(
        np.int64(0), np.zeros(blocks, np.int64), np.float64(-np.inf), np.zeros((blocks, size)), np.zeros((size, size)),
        np.float64(0), origin,
    )  # fmt: skip


def update(state: State, log_w, numbers) -> State:
    """Returns the state with more samples.

    Args:
      state: from `init`, `update` or `merge`.
      log_w: log-weights [n], finite.
      numbers: [numbers, n].

    Raises:
      ValueError: shapes that do not fit, or values that are not finite.
    """
    log_w, numbers = checked_log_weights(log_w, 0), np.asarray(numbers, np.float64)
    if numbers.shape != (len(state.origin), len(log_w)):
        raise ValueError(
            f"numbers of shape {list(numbers.shape)}: expected [{len(state.origin)}, {len(log_w)}], a row a number"
        )
    if not np.isfinite(numbers).all():
        raise ValueError("numbers hold values that are not finite: look at the observables")
    if not len(log_w):
        return state
    shift = np.maximum(state.shift, log_w.max())
    weights = np.exp(log_w - shift)
    points = np.concatenate([np.ones((1, len(log_w))), numbers - state.origin[:, None]])
    weighted = weights * points
    blocks = len(state.count)
    place = (state.n + np.arange(len(log_w))) % blocks
    first = np.stack([np.bincount(place, row, blocks) for row in weighted], axis=1)
    scale = _scale(state.shift, shift)
    return State(
        state.n + len(log_w),
        state.count + np.bincount(place, minlength=blocks),
        shift,
        state.first * scale + first,
        state.second * scale**2 + weighted @ weighted.T,
        state.log_sum + log_w.sum(),
        state.origin,
    )


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
    return State(
        a.n + b.n, a.count + count, shift, a.first * of_a + first * of_b, a.second * of_a**2 + b.second * of_b**2,
        a.log_sum + b.log_sum, a.origin,
    )  # fmt: skip


def _scale(old, new) -> float:
    return 0.0 if old == -np.inf else float(np.exp(old - new))


def checked_log_weights(log_w, least: int) -> np.ndarray:
    """Returns log-weights as float64 [n].

    Raises:
      ValueError: another shape, fewer than `least`, or a value that is not finite.
    """
    log_w = np.asarray(log_w, np.float64)
    if log_w.ndim != 1:
        raise ValueError(f"log_w of shape {list(log_w.shape)}: expected [n]")
    if len(log_w) < least:
        raise ValueError(f"log_w has n={len(log_w)} samples: expected at least {least}")
    if not np.isfinite(log_w).all():
        where = int(np.flatnonzero(~np.isfinite(log_w))[0])
        raise ValueError(f"log_w[{where}]={log_w[where]}: log-weights must be finite; look at energies and ln q")
    return log_w
