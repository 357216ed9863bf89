"""Neural MCMC: samples of q proposed to a Metropolis chain, whose stationary law is p; and how correlated a series is.

A proposal does not depend on the state, so that the chain needs only the log-weights: a scan over numbers, then one
gather. Its spectral gap is exactly 1 / max r. Nicoli et al., arXiv:1903.11048; windows: U. Wolff, hep-lat/0306017.
A chain that is stuck or too short does not know its error, and says so by the status of each result (`reliability`).
"""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import AnyArray, Array, Bool, Count, Float64, Int32, Integer, RandomKey, Real
from ..scalars import positive, real
from . import reliability, stream
from .arguments import Samples
from .reliability import LARGEST_SHARE, Status

WINDOW = 6.0  # sums of autocorrelations end at so many of their own times
ADVICE = "run longer chains, or several"
LENGTH = 100  # steps of a series for each integrated time (1/2 at least)
CLEARLY = 3.0  # errors of the time, by which a series must be anticorrelated to make the error of its mean smaller
DISAGREEMENT = 4.5  # deviations of a normal number by which halves and chains differ by chance once in 300,000

Series = Real[AnyArray, " n"] | Real[AnyArray, "chains n"] | Sequence
Moves = Bool[AnyArray, " n"] | Bool[AnyArray, "chains n"] | Sequence


class CorrelationTime(NamedTuple):
    """How correlated a series is. Attributes: time: 1/2 + sum rho(t) in steps, infinite where nothing moves; window:
    lag at which the sum ends; status."""

    time: float
    window: int
    status: Status


class ChainEstimate(NamedTuple):
    """A mean over a chain. Attributes: mean; error: of one standard deviation, infinite where it cannot be known, and
    that of independent steps where a short series only looks anticorrelated; time: integrated autocorrelation time in
    steps; status."""

    mean: float
    error: float
    time: float
    status: Status


def nmcmc(
    key: RandomKey, log_w: Samples, start: Count | Integer[AnyArray, ""] = 0
) -> tuple[Int32[Array, " n"], Bool[Array, " n"]]:
    """Returns (index int32 [n], accepted bool [n]) of the chain that is offered samples 0, 1, ..., n-1 in order.

    After step t the state is sample index[t]; it was sample t that was offered, accepted with probability
    min(1, exp(log_w[t] - log_w[state])). Observables of the chain are observable[index]; `chain_estimate` makes
    estimates of them, after `burn_in`. From a sample of weight zero the chain goes to the first of any other.
    For many chains: `jax.vmap(nmcmc)(keys, log_w)` of keys [chains] and log_w [chains, n]; they are float32 there, so
    take their maximum off where they are large; and unchecked, so look at the status of their estimates.

    Args:
      key: from jax.random.key.
      log_w: -beta E - ln q of samples of q, [n], finite or -inf (a weight of zero).
      start: sample that the chain begins at; offering it to itself is accepted, unless its weight is zero.

    Raises:
      ValueError: no samples, another shape, a start outside, log-weights of nan or +inf (all as far as known).

    Warns:
      UserWarning: one sample holds more than a tenth of all weight: the chain is stuck there for long.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> index, accepted = autoregressive.nmcmc(jax.random.key(0), np.zeros(1000))
      >>> int(accepted.sum())  # of equal weights every sample is accepted
      1000
    """
    if np.ndim(log_w) != 1 or not np.shape(log_w)[0]:
        raise ValueError(f"log_w of shape {list(np.shape(log_w))}: expected [n] with n of at least 1; vmap over chains")
    n = np.shape(log_w)[0]
    whole = isinstance(start, jax.core.Tracer) or (np.ndim(start) == 0 and np.asarray(start).dtype.kind in "iu")
    if not whole or (not isinstance(start, jax.core.Tracer) and not 0 <= int(start) < n):
        raise ValueError(f"start={start!r}: expected a sample's number, 0 to {n - 1}")
    if not isinstance(log_w, jax.core.Tracer):
        log_w = _shifted(np.asarray(log_w, np.float64))
    return _chain(key, jnp.asarray(log_w, jnp.result_type(float)), jnp.asarray(start, jnp.int32))


def _shifted(log_w: np.ndarray) -> np.ndarray:
    """Returns checked log-weights with their maximum at 0: float32 then resolves what matters."""
    stream.check_values(log_w)
    if np.isneginf(highest := log_w.max()):
        return log_w
    log_w = log_w - highest
    if 1 < len(log_w) and (share := 1 / np.exp(log_w).sum()) > LARGEST_SHARE:
        warnings.warn(
            f"max r / n = {share:.2f}: one sample holds the chain for long, and its errors are too small; "
            "draw more samples or train longer",
            stacklevel=3,
        )
    return log_w


@jax.jit
def _chain(key, log_w, start):
    # A state of weight w gives way to the first offer after it whose w' - ln u is above w: from a weight of zero to any
    # other, and never between two of zero.
    offers = log_w + jax.random.exponential(key, log_w.shape, log_w.dtype)
    return jax.lax.platform_dependent(log_w, offers, start, cpu=_chain_by_steps, default=_chain_by_jumps)


def _chain_by_steps(log_w, offers, start):
    def step(state, offered):
        index, current = state
        number, new, offer = offered
        accepted = offer > current
        index = jnp.where(accepted, number, index)
        return (index, jnp.where(accepted, new, current)), (index, accepted)

    numbers = jnp.arange(log_w.shape[0], dtype=jnp.int32)
    _, steps = jax.lax.scan(step, (start, log_w[start]), (numbers, log_w, offers), unroll=8)
    return steps


def _chain_by_jumps(log_w, offers, start):
    """The same chain in 2 log2 n parallel passes, for devices on which n steps one after another take long.

    Where a state would go is known for all states at once: the first higher offer, by binary descent over maxima of
    blocks. Which states the chain visits follows by doubling the jumps.
    """
    n = log_w.shape[0]
    levels = n.bit_length()
    nowhere = n + 1
    current = jnp.concatenate([log_w[start][None], log_w])  # node 0 is the start, node i + 1 offer i
    maxima = [jnp.concatenate([jnp.full(1, jnp.inf, offers.dtype), offers])]  # of 2^k offers from node i on
    for k in range(levels - 1):
        shifted = jnp.concatenate([maxima[k][1 << k :], jnp.full(1 << k, -jnp.inf, offers.dtype)])
        maxima.append(jnp.maximum(maxima[k], shifted))
    goal = jnp.arange(1, n + 2)
    for k in reversed(range(levels)):
        highest = maxima[k].at[goal].get(mode="fill", fill_value=-jnp.inf)
        goal = jnp.where(highest > current, goal, jnp.minimum(goal + (1 << k), nowhere))
    jump = jnp.concatenate([goal, jnp.full(1, nowhere)])
    visited = jnp.zeros(n + 2, bool).at[0].set(True)
    for _ in range(levels):
        visited = visited.at[jnp.where(visited, jump, nowhere)].set(True)
        jump = jump[jump]
    accepted = visited[1 : n + 1]
    numbers = jnp.where(accepted, jnp.arange(n, dtype=jnp.int32), -1)
    latest = jax.lax.cummax(numbers)
    return jnp.where(latest < 0, start, latest).astype(jnp.int32), accepted


def integrated_time(x: Series, window: float = WINDOW) -> CorrelationTime:
    """Returns the integrated autocorrelation time 1/2 + sum rho(t) of a series, in steps: 1/2 when independent.

    The sum ends at the smallest W of at least `window` times the sum (or 1/2, if that is more). The error of a mean is
    then sqrt(2 time Var / n). Of a short series the time comes out too small: 4 instead of 9.5 of 100 steps with
    rho(t) = 0.9^t. Below 100 times (of all chains together) it is therefore doubtful, and not usable where the series
    ends before the window does. A series that does not move is stuck for all that it tells: its time is infinite.

    Args:
      x: [n], or [chains, n]: autocovariances are averaged over chains, about their common mean.
      window: 6 by default; where the series is too short for it, the whole series is summed.

    Raises:
      ValueError: fewer than 2 steps, another shape, values that are not finite, a window that is not positive.

    Warns:
      UserWarning: the status is not "trusted".

    Example:
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> x = np.random.default_rng(0).normal(size=10_000)
      >>> round(autoregressive.integrated_time(x).time, 1)  # independent
      0.5
    """
    result = _correlation_time(_series(x), window)
    reliability.warn(result.status, ADVICE)
    return result


def _series(x: Series) -> Float64[np.ndarray, "chains n"]:
    """Returns a checked series as float64 [chains, n]."""
    x = np.atleast_2d(np.asarray(x, np.float64))
    if x.ndim != 2 or x.shape[1] < 2:
        raise ValueError(f"x of shape {list(np.shape(x))}: expected [n] or [chains, n] with n of at least 2")
    if not np.isfinite(x).all():
        raise ValueError("x holds values that are not finite")
    return x


def autocorrelation(x: Series, lags: int | None = None) -> Float64[np.ndarray, " lags"]:
    """Returns rho(t) of a series for t = 0 to `lags`, or as far as there are steps; 1 and zeros of a constant.

    Args:
      x: [n], or [chains, n]: autocovariances are averaged over chains, about their common mean.
      lags: None for all n - 1.

    Raises:
      ValueError: fewer than 2 steps, another shape, values that are not finite.
    """
    x = _series(x)
    covariance = _autocovariance(x)[: None if lags is None else lags + 1]
    return np.eye(1, len(covariance))[0] if _is_constant(x, covariance) else covariance / covariance[0]


def _autocovariance(x: np.ndarray) -> np.ndarray:
    """Returns the autocovariance [n] of a series [chains, n] about its mean."""
    n = x.shape[1]
    spectrum = np.fft.rfft(x - x.mean(), 2 ** math.ceil(math.log2(2 * n)), axis=1)
    return np.fft.irfft(np.mean(np.square(np.abs(spectrum)), axis=0))[:n] / (n - np.arange(n))


def _is_constant(x: np.ndarray, covariance: np.ndarray) -> bool:
    """Returns whether a series has no variance but rounding."""
    return bool(covariance[0] <= 1e-30 * max(float(np.square(x).max()), 1e-300))


def _correlation_time(x: np.ndarray, window: float = WINDOW) -> CorrelationTime:
    real("window", window, f"a positive number of correlation times, such as {WINDOW}", positive)
    chains, n = x.shape
    covariance = _autocovariance(x)
    if _is_constant(x, covariance):
        stuck = "all steps have the same value: stuck, or without any variance to estimate an error from"
        return CorrelationTime(math.inf, 0, Status(reliability.NOT_USABLE, (stuck,)))
    times = np.cumsum(covariance / covariance[0]) - 0.5
    enough = np.flatnonzero(np.arange(n) >= window * np.maximum(times, 0.5))
    if not len(enough):
        short = f"{n} steps are too few for their correlation: the time is a guess"
        return CorrelationTime(float(max(times.max(), 0.5)), n - 1, Status(reliability.NOT_USABLE, (short,)))
    time = float(max(times[enough[0]], 1e-3))
    return CorrelationTime(time, int(enough[0]), _of_length(chains * n, time))


def _of_length(steps: int, time: float) -> Status:
    """Returns the status of a series of so many steps: doubtful below LENGTH integrated times."""
    if steps >= LENGTH * max(time, 0.5):
        return Status()
    few = f"{steps} steps are too few to know their integrated time" if time <= 0.5 else (
        f"{steps} steps are {steps / time:.0f} of their integrated time of {time:.1f}: too few to know it"
    )  # fmt: skip
    return Status(reliability.DOUBTFUL, (few,))


def _time_of_error(time: float, window: int, steps: int) -> float:
    """Returns the time that an error is made of: 1/2, as of independent steps, where less than that may be chance.

    Autocorrelations about a series' own mean come out negative, so that the time of 20 independent steps is near 0 and
    an error made of it next to nothing. That of a time of 1/2 is sqrt((2 window + 1) / 2 steps) (Madras and Sokal,
    J. Stat. Phys. 50, 109 (1988)).
    """
    return time if time + CLEARLY * math.sqrt((2 * window + 1) / (2 * steps)) < 0.5 else max(time, 0.5)


def chain_estimate(x: Series, accepted: Moves | None = None) -> ChainEstimate:
    """Returns mean, standard error, integrated time and status of a series that is taken to be stationary.

    Args:
      x: [n] or [chains, n], burn-in left out.
      accepted: bool of the same shape, whether a move was accepted at each step; None leaves that open.

    Raises:
      ValueError: as `integrated_time`; `accepted` of another shape.

    Warns:
      UserWarning: the status is not "trusted": too short, stuck, chains or halves that do not agree.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> x = np.random.default_rng(0).normal(size=10_000)
      >>> estimate = autoregressive.chain_estimate(x)
      >>> estimate.status.level, round(estimate.time, 1)
      ('trusted', 0.5)
    """
    x = _series(x)
    time, window, status = _correlation_time(x)
    error = math.inf
    if math.isfinite(time):
        error = math.sqrt(2 * _time_of_error(time, window, x.size) * x.var() / x.size)
    findings = [status]
    if math.isfinite(error):
        error, of_groups = _of_groups(x, error)
        findings.append(of_groups)
    if accepted is not None:
        accepted = np.atleast_2d(np.asarray(accepted, bool))
        if accepted.shape != x.shape:
            raise ValueError(f"accepted of shape {list(accepted.shape)}: expected {list(x.shape)}, as x")
        findings.append(of_moves([longest_stay(row) for row in accepted], x.shape[1]))
    status = reliability.worst(*findings)
    if status.level == reliability.NOT_USABLE:
        error = math.inf
    reliability.warn(status, ADVICE)
    return ChainEstimate(float(x.mean()), error, time, status)


def _of_groups(x: np.ndarray, error: float) -> tuple[float, Status]:
    """Returns (error, status) by the means of the halves of all chains: more than chance between them is told."""
    findings = []
    still = int((np.ptp(x, axis=1) == 0).sum())
    if still:
        findings.append(f"{still} of {len(x)} chains do not move")
    half = x.shape[1] // 2
    means = np.concatenate([x[:, :half].mean(axis=1), x[:, -half:].mean(axis=1)])
    freedom = len(means) - 1
    between = means.var(ddof=1) / len(means)
    # Wilson and Hilferty: the cube root of a chi-square is nearly normal.
    far = ((between / error**2) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    if far > DISAGREEMENT:
        findings.append("its halves differ by more than chance" if len(x) == 1 else "chains or their halves disagree")
        error = max(error, math.sqrt(between))
    return error, Status(reliability.DOUBTFUL, tuple(findings)) if findings else Status()


def longest_stay(accepted: Bool[np.ndarray, " n"]) -> int:
    """Returns the longest run of steps without a move of one chain, from its flags [n]."""
    edges = np.flatnonzero(np.concatenate([[True], accepted, [True]]))
    return int(np.diff(edges).max()) - 1


def of_moves(stays: list[int], steps: int) -> Status:
    """Returns what the longest stays of chains of so many steps say: one that never moves knows nothing."""
    stuck = sum(stay >= steps - 1 for stay in stays)
    if stuck == len(stays):
        return Status(reliability.NOT_USABLE, (f"no move was accepted in {steps} steps",))
    if stuck:
        return Status(reliability.DOUBTFUL, (f"{stuck} of {len(stays)} chains accepted no move",))
    if max(stays) > LARGEST_SHARE * steps:
        return Status(reliability.DOUBTFUL, (f"one state held the chain for {max(stays)} of {steps} steps",))
    return Status()


def burn_in(accepted: Bool[AnyArray, " n"] | Sequence) -> int:
    """Returns how many steps of a chain to leave out: up to the first move that was accepted, and 1 % at least.

    Args:
      accepted: bool [n] of `nmcmc`; `observable[index[burn_in(accepted):]]` is what is left.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> autoregressive.burn_in(np.array([False, False, True, True]))
      2
    """
    accepted = np.asarray(accepted)
    moves = np.flatnonzero(accepted[1:])
    first = int(moves[0]) + 1 if len(moves) else len(accepted)
    return min(max(first, math.ceil(len(accepted) / 100)), max(len(accepted) - 2, 0))
