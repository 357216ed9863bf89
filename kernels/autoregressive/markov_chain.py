"""Neural MCMC: samples of q proposed to a Metropolis chain, whose stationary law is p; and how correlated a series is.

A proposal does not depend on the state, so that the chain needs only the log-weights: a scan over numbers, then one
gather. Its spectral gap is exactly 1 / max r. Nicoli et al., arXiv:1903.11048; windows after U. Wolff, hep-lat/0306017.
"""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from .importance import LARGEST_SHARE

WINDOW = 6.0  # sums of autocorrelations end at so many of their own times


def nmcmc(key: jax.Array, log_w, start: int | jax.Array = 0) -> tuple[jax.Array, jax.Array]:
    """Returns (index int32 [n], accepted bool [n]) of the chain that is offered samples 0, 1, ..., n-1 in order.

    After step t the state is sample index[t]; it was sample t that was offered, accepted with probability
    min(1, exp(log_w[t] - log_w[state])). Observables of the chain are observable[index].
    For many chains: `jax.vmap(nmcmc)(keys, log_w)` of keys [chains] and log_w [chains, n]; they are float32 there, so
    take their maximum off where they are large.

    Args:
      key: from jax.random.key.
      log_w: -beta E - ln q of samples of q, [n], finite.
      start: sample that the chain begins at; offering it to itself is accepted.

    Raises:
      ValueError: no samples, another shape, a start outside, or log-weights that are not finite (all as far as known).

    Warns:
      UserWarning: one sample holds more than a tenth of all weight: the chain is stuck there for long.
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
    if not np.isfinite(log_w).all():
        where = int(np.flatnonzero(~np.isfinite(log_w))[0])
        raise ValueError(f"log_w[{where}]={log_w[where]}: log-weights must be finite; look at energies and ln q")
    log_w = log_w - log_w.max()
    if 1 < len(log_w) and (share := 1 / np.exp(log_w).sum()) > LARGEST_SHARE:
        warnings.warn(
            f"max r / n = {share:.2f}: one sample holds the chain for long, and its errors are too small; "
            "draw more samples or train longer",
            stacklevel=3,
        )
    return log_w


@jax.jit
def _chain(key, log_w, start):
    thresholds = -jax.random.exponential(key, log_w.shape, log_w.dtype)  # ln of uniform numbers, never -inf

    def step(state, offered):
        index, current = state
        number, new, threshold = offered
        accepted = threshold < new - current
        index = jnp.where(accepted, number, index)
        return (index, jnp.where(accepted, new, current)), (index, accepted)

    numbers = jnp.arange(log_w.shape[0], dtype=jnp.int32)
    _, found = jax.lax.scan(step, (start, log_w[start]), (numbers, log_w, thresholds), unroll=8)
    return found


def integrated_time(x, window: float = WINDOW) -> float:
    """Returns the integrated autocorrelation time 1/2 + sum rho(t) of a series, in steps: 1/2 when independent.

    The sum ends at the smallest W of at least `window` times the sum (or 1/2, if that is more). The error of a mean is
    then sqrt(2 time Var / n). A series that does not change has 1/2.

    Args:
      x: [n], or [chains, n]: autocovariances are averaged over chains, about their common mean.
      window: 6 by default; where the series is too short for it, the whole series is summed and a warning given.

    Raises:
      ValueError: fewer than 2 steps, another shape, values that are not finite, a window that is not positive.

    Warns:
      UserWarning: the series is shorter than the window needs.
    """
    x = np.atleast_2d(np.asarray(x, np.float64))
    if x.ndim != 2 or x.shape[1] < 2:
        raise ValueError(f"x of shape {list(np.shape(x))}: expected [n] or [chains, n] with n of at least 2")
    if not np.isfinite(x).all():
        raise ValueError("x holds values that are not finite")
    if not window > 0:
        raise ValueError(f"window={window}: expected a positive number of correlation times, such as {WINDOW}")
    n = x.shape[1]
    centred = x - x.mean()
    spectrum = np.fft.rfft(centred, 2 ** math.ceil(math.log2(2 * n)), axis=1)
    covariance = np.fft.irfft(np.mean(np.square(np.abs(spectrum)), axis=0))[:n] / (n - np.arange(n))
    if covariance[0] <= 1e-30 * max(float(np.square(x).max()), 1e-300):
        return 0.5
    times = np.cumsum(covariance / covariance[0]) - 0.5
    enough = np.flatnonzero(np.arange(n) >= window * np.maximum(times, 0.5))
    if not len(enough):
        warnings.warn(f"{n} steps are too few for their correlation: the time is a guess", stacklevel=2)
        return float(max(times.max(), 0.5))
    return float(max(times[enough[0]], 1e-3))


def chain_estimate(x) -> tuple[float, float, float]:
    """Returns (mean, standard error, integrated autocorrelation time) of a stationary series [n] or [chains, n]."""
    x = np.asarray(x, np.float64)
    time = integrated_time(x)
    return float(x.mean()), float(math.sqrt(2 * time * x.var() / x.size)), time


def burn_in(accepted) -> int:
    """Returns how many steps of a chain to leave out: up to the first move that was accepted, and 1 % at least.

    Args:
      accepted: bool [n] of `nmcmc`; `observable[index[burn_in(accepted):]]` is what is left.
    """
    accepted = np.asarray(accepted)
    moves = np.flatnonzero(accepted[1:])
    first = int(moves[0]) + 1 if len(moves) else len(accepted)
    return min(max(first, math.ceil(len(accepted) / 100)), max(len(accepted) - 2, 0))
