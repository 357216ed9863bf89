"""Estimates from weighted samples, asymptotically unbiased, for ln Z and what follows from it too, with errors.

Of samples s ~ q with log_w = -beta E(s) - ln q(s): ln Z = ln mean w, <O> = mean of r O with r = w / mean w. A smooth
function h of ln Z and means has influence g = dh/dlnZ (r - 1) + sum_k dh/dm_k r (O_k - m_k) and error
sqrt(mean g^2 / n), given beside that of a blocked jackknife. Nicoli et al., arXiv:1903.11048 and PRE 101, 023304.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from . import stream
from .stream import init, merge, update

__all__ = [
    "SPINS", "Derived", "Estimates", "finalise", "importance", "init", "merge", "reverse_ln_z", "spin_derived",
    "spin_numbers", "thermodynamics", "update", "window",
]  # fmt: skip

LARGEST_SHARE = 0.1  # of all weight in one sample, beyond which errors are not to be trusted
SPINS = ("energy", "energy_squared", "abs_m", "m_squared", "m_fourth")


class Estimates(NamedTuple):
    """Estimates of a number of quantities by name, and of ln Z.

    Attributes:
      mean: name to estimate.
      err: name to standard error, by the influence function (delta method).
      bias: name to the leading bias of `mean`, by the same; not subtracted. nan where only the jackknife gives it: of
        derived quantities that are not linear.
      ess: effective samples as a share of n, 1 / mean r^2, in (0, 1]. It cannot see what q never visits.
      ln_z, ln_z_err, ln_z_bias: of ln Z.
      jackknife: name to the estimate with the jackknife's bias taken off; "ln_z" too.
      jackknife_err: name to the jackknife's standard error; "ln_z" too.
      jackknife_bias: name to the jackknife's estimate of the bias; "ln_z" too.
      raw_ln_z: mean log_w, a lower bound of ln Z: what training maximises.
      largest_share: of all weight in the heaviest sample; above 0.1 a warning was given.
      n: number of samples.
    """

    mean: dict[str, float]
    err: dict[str, float]
    bias: dict[str, float]
    ess: float
    ln_z: float
    ln_z_err: float
    ln_z_bias: float
    jackknife: dict[str, float]
    jackknife_err: dict[str, float]
    jackknife_bias: dict[str, float]
    raw_ln_z: float
    largest_share: float
    n: int


@dataclasses.dataclass(frozen=True)
class Derived:
    """A quantity that follows from ln Z and means.

    Attributes:
      value: (ln_z, means [K]) to the quantity, in float64; also with a leading axis of blocks on both.
      gradient: (ln_z, means) to (dh/dlnZ, dh/dm [K]); None takes central differences of `value`.
      linear: whether it is linear in both; its leading bias then follows from theirs.
    """

    value: Callable
    gradient: Callable | None = None
    linear: bool = False


def importance(log_w, observables: Mapping[str, np.ndarray], derived: Mapping[str, Derived] | None = None) -> Estimates:
    """Returns self-normalised estimates of all observables and of ln Z, with errors by two methods.

    Args:
      log_w: log-weights [n] of samples of q: -beta E - ln q, in nats.
      observables: name to values [n].
      derived: name to what follows from them; means come in the order of `observables`.

    Raises:
      ValueError: fewer than 2 samples, log-weights or observables that are not finite, or of other shapes.

    Warns:
      UserWarning: one sample holds more than a tenth of all weight.
    """
    log_w = stream.checked_log_weights(log_w, 2)
    values = {name: np.asarray(value, np.float64) for name, value in observables.items()}
    for name, value in values.items():
        if value.shape != log_w.shape:
            raise ValueError(f"observable {name!r} has shape {list(value.shape)}: expected [{len(log_w)}] as log_w")
        if not np.isfinite(value).all():
            raise ValueError(f"observable {name!r} holds values that are not finite")
    numbers = np.array(list(values.values())).reshape(len(values), len(log_w))
    origin = numbers.mean(axis=1)
    return finalise(update(init(len(values), origin), log_w, numbers), tuple(values), derived)


def finalise(state: stream.State, names: Sequence[str] = (), derived: Mapping[str, Derived] | None = None) -> Estimates:
    """Returns the estimates of a stream: what `importance` gives for all of its samples at once.

    Args:
      state: of at least 2 samples.
      names: of its numbers, in order.
      derived: name to what follows from them.

    Raises:
      ValueError: fewer than 2 samples, another number of names.
    """
    n = int(state.n)
    if n < 2:
        raise ValueError(f"n={n} samples: errors need at least 2")
    if len(names) != len(state.origin):
        raise ValueError(f"names={list(names)}: expected {len(state.origin)}, one for each number of the stream")
    derived = dict(derived or {})
    total = state.first.sum(axis=0)
    mean_w, centred = total[0] / n, total[1:] / total[0]
    second = state.second / n / mean_w**2  # mean of r^2 p p^T
    ln_z = float(state.shift + np.log(mean_w))
    spread = second[0, 0] - 1  # mean r^2 - 1
    share = float(1 / total[0])
    if share > LARGEST_SHARE:
        warnings.warn(
            f"one of {n} samples holds {share:.0%} of all weight: errors are not to be trusted; "
            "draw more samples or train longer",
            stacklevel=2,
        )
    means = centred + state.origin
    quantities = {name: _plain(k) for k, name in enumerate(names)} | derived
    blocks = _Blocks(state)
    ln_z_bias, means_bias = -spread / (2 * n), -(second[0, 1:] - second[0, 0] * centred) / n
    mean, err, bias, jack, jack_err, jack_bias = ({} for _ in range(6))
    for name, quantity in quantities.items():
        with np.errstate(divide="ignore", invalid="ignore"):  # nan where there is none: Binder's ratio if M is always 0
            mean[name] = float(quantity.value(ln_z, means))
            to_ln_z, to_means = (quantity.gradient or _differences(quantity.value))(ln_z, means)
            to_means = np.asarray(to_means, np.float64)
            # g = r (c + b . O) - a with O from the origin and c = a - b . m.
            form = np.concatenate([[to_ln_z - to_means @ centred], to_means])
            err[name] = _root(form @ second @ form - to_ln_z**2, n)
        bias[name] = float(to_ln_z * ln_z_bias + to_means @ means_bias) if quantity.linear else math.nan
        jack[name], jack_err[name], jack_bias[name] = blocks.jackknife(quantity.value, mean[name])
    jack["ln_z"], jack_err["ln_z"], jack_bias["ln_z"] = blocks.jackknife(lambda ln_z, _: ln_z, ln_z)
    return Estimates(
        mean, err, bias, float(1 / second[0, 0]), ln_z, _root(spread, n), float(ln_z_bias), jack, jack_err,
        jack_bias, float(state.log_sum / n), share, n,
    )  # fmt: skip


class _Blocks:
    """Estimates with one block of samples left out, for each."""

    def __init__(self, state: stream.State):
        used = state.count > 0
        left = _sums_without_each(state.first[used])
        remaining = int(state.n) - state.count[used]
        with np.errstate(divide="ignore", invalid="ignore"):
            self.ln_z = state.shift + np.log(left[:, 0] / remaining)
            self.means = left[:, 1:] / left[:, :1] + state.origin
        self.number = len(left)

    def jackknife(self, value: Callable, whole: float) -> tuple[float, float, float]:
        """Returns (estimate without bias, standard error, bias)."""
        with np.errstate(all="ignore"):
            each = np.array([value(ln_z, means) for ln_z, means in zip(self.ln_z, self.means, strict=True)])
        bias = (self.number - 1) * (each.mean() - whole)
        error = math.sqrt((self.number - 1) * np.mean(np.square(each - each.mean())))
        return float(whole - bias), error, float(bias)


def _sums_without_each(values: np.ndarray) -> np.ndarray:
    """Returns the sum of all other rows for each row, which a row that holds nearly everything does not cancel."""
    nothing = np.zeros((1, values.shape[1]))
    before = np.cumsum(np.concatenate([nothing, values[:-1]]), axis=0)
    after = np.cumsum(np.concatenate([nothing, values[:0:-1]]), axis=0)[::-1]
    return before + after


def _root(variance: float, n: int) -> float:
    return math.sqrt(max(float(variance), 0.0) / n)


def _plain(k: int) -> Derived:
    def gradient(ln_z, means):
        row = np.zeros(len(means))
        row[k] = 1
        return 0.0, row

    return Derived(lambda ln_z, means: means[k], gradient, linear=True)


def _differences(value: Callable) -> Callable:
    """Returns the gradient of a smooth function by central differences."""

    def gradient(ln_z, means):
        point = np.concatenate([[ln_z], means])
        slopes = []
        for k in range(len(point)):
            step = np.zeros(len(point))
            step[k] = 1e-5 * max(abs(point[k]), 1e-3)
            up, down = point + step, point - step
            slopes.append((value(up[0], up[1:]) - value(down[0], down[1:])) / (2 * step[k]))
        return slopes[0], slopes[1:]

    return gradient


def spin_numbers(energy, magnetisation) -> np.ndarray:
    """Returns the numbers [5, n] of a stream that `spin_derived` needs, in the order of SPINS.

    Args:
      energy: E [n] of the system (not of a site).
      magnetisation: sum of spins [n].
    """
    energy, m = np.asarray(energy, np.float64), np.asarray(magnetisation, np.float64)
    return np.stack([energy, np.square(energy), np.abs(m), np.square(m), m**4])


def spin_derived(beta: float, sites: int) -> dict[str, Derived]:
    """Returns what thermodynamics asks for, per site, and Binder's ratio.

    Names: free_energy (nowhere defined at beta = 0, nan), u, entropy, c_v, abs_m_site, m_squared_site, chi, binder.
    k_B = 1, nats; chi = beta (<M^2> - <|M|>^2)/N; binder = 1 - <M^4>/(3 <M^2>^2).

    Args:
      beta: inverse temperature; sites: N. The numbers are those of `spin_numbers`.
    """

    def of(value, *gradient):
        """The gradient's parts, in ln Z and the means, are numbers where the value is linear."""

        def slopes(ln_z, m):
            parts = [part(ln_z, m) if callable(part) else part for part in gradient]
            return parts[0], np.array([*parts[1:], *[0.0] * (6 - len(parts))])

        return Derived(value, slopes, linear=not any(map(callable, gradient)))

    N, b = sites, beta
    inverse = math.nan if beta == 0 else 1 / beta
    return {
        "free_energy": of(lambda z, m: -z * inverse / N, -inverse / N),
        "u": of(lambda z, m: m[0] / N, 0.0, 1 / N),
        "entropy": of(lambda z, m: (b * m[0] + z) / N, 1 / N, b / N),
        "c_v": of(lambda z, m: b * b * (m[1] - m[0] ** 2) / N, 0.0, lambda z, m: -2 * b * b * m[0] / N, b * b / N),
        "abs_m_site": of(lambda z, m: m[2] / N, 0.0, 0.0, 0.0, 1 / N),
        "m_squared_site": of(lambda z, m: m[3] / N**2, 0.0, 0.0, 0.0, 0.0, 1 / N**2),
        "chi": of(lambda z, m: b * (m[3] - m[2] ** 2) / N, 0.0, 0.0, 0.0, lambda z, m: -2 * b * m[2] / N, b / N),
        "binder": of(
            lambda z, m: 1 - m[4] / (3 * m[3] ** 2), 0.0, 0.0, 0.0, 0.0, lambda z, m: 2 * m[4] / (3 * m[3] ** 3),
            lambda z, m: -1 / (3 * m[3] ** 2),
        ),
    }  # fmt: skip


def thermodynamics(log_q, energy, magnetisation, beta: float, sites: int) -> Estimates:
    """Returns the quantities of `spin_derived` and of SPINS from samples of q.

    Args:
      log_q, energy, magnetisation: ln q, E and sum of spins of each sample [n].
      beta: inverse temperature, which need not be the one that q was trained at.
      sites: number of spins.

    Raises:
      ValueError: as `importance`; arrays of different lengths, a beta that is not finite, sites below 1.
    """
    if not (np.ndim(beta) == 0 and np.isfinite(beta)):
        raise ValueError(f"beta={beta!r}: expected one finite inverse temperature")
    if sites < 1:
        raise ValueError(f"sites={sites}: expected at least one spin")
    shapes = {"log_q": np.shape(log_q), "energy": np.shape(energy), "magnetisation": np.shape(magnetisation)}
    if len(set(shapes.values())) > 1 or len(shapes["log_q"]) != 1:
        found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(f"arrays of shapes {found}: expected [n] each, a number a sample")
    log_w = -beta * np.asarray(energy, np.float64) - np.asarray(log_q, np.float64)
    numbers = spin_numbers(energy, magnetisation)
    return importance(log_w, dict(zip(SPINS, numbers, strict=True)), spin_derived(beta, sites))


def window(log_q, energy, magnetisation, betas: Sequence[float], sites: int) -> list[Estimates]:
    """Returns `thermodynamics` at each of several beta from the same samples; `ess` tells how far they reach."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the edges of a window are meant to be seen: look at ess
        return [thermodynamics(log_q, energy, magnetisation, float(beta), sites) for beta in betas]


def reverse_ln_z(log_w, time: float = 0.5) -> tuple[float, float]:
    """Returns (ln Z, error) from samples of p itself, such as of `ising.swendsen_wang`: -ln mean exp(-log_w).

    Where q misses a part of what p visits, this sees it and the forward estimate does not: one lost half of a
    symmetric law leaves a gap of ln 2 between them.

    Args:
      log_w: -beta E - ln q [n] at samples of p.
      time: their integrated autocorrelation time, 1/2 when they are independent.

    Raises:
      ValueError: as `importance`; a time below 1/2.
    """
    log_w = stream.checked_log_weights(log_w, 2)
    if not time >= 0.5:
        raise ValueError(f"time={time}: an integrated autocorrelation time is at least 1/2")
    lowest = log_w.min()
    inverse = np.exp(lowest - log_w)
    relative = inverse / inverse.mean()
    error = math.sqrt(2 * time * np.mean(np.square(relative - 1)) / len(log_w))
    return float(lowest - np.log(inverse.mean())), error
