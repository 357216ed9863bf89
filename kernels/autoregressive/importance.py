"""Estimates from weighted samples, asymptotically unbiased, for ln Z and what follows from it too, with errors.

Of samples s ~ q with log_w = -beta E(s) - ln q(s): ln Z = ln mean w, <O> = mean of r O with r = w / mean w. A smooth
function h of ln Z and means has influence g = dh/dlnZ (r - 1) + sum_k dh/dm_k r (O_k - m_k) and error
sqrt(mean g^2 / n), given beside that of a blocked jackknife. Nicoli et al., arXiv:1903.11048 and PRE 101, 023304.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..array_types import Float64
from . import pareto, reliability, stream
from .arguments import Samples
from .reliability import Evidence, Status

SAME = 1e-15  # relative variance of weights that are equal but for rounding
UNJUDGED = Status(reliability.DOUBTFUL, ("errors by formula, not judged",))
ADVICE = "draw more samples, train longer or widen the network"


class Estimates(NamedTuple):
    """Estimates of a number of quantities by name, and of ln Z.

    Attributes:
      mean: name to estimate.
      err: name to standard error, by the influence function (delta method).
      bias: name to the leading bias of `mean`, by the same; not subtracted. nan where only the jackknife gives it: of
        derived quantities that are not linear.
      ess: effective samples as a share of n, 1 / mean r^2, in (0, 1]. It cannot see what q never visits.
      ln_z, ln_z_err, ln_z_bias: of ln Z; the error is at least 1/n, which weights that are all equal leave.
      jackknife: name to the estimate with the jackknife's bias taken off; "ln_z" too.
      jackknife_err: name to the jackknife's standard error; "ln_z" too.
      jackknife_bias: name to the jackknife's estimate of the bias; "ln_z" too.
      raw_ln_z: mean log_w, a lower bound of ln Z: what training maximises.
      largest_share: of all weight in the heaviest sample.
      n: number of samples, those of weight zero included.
      k_hat: shape of the tail of the weights (`pareto.k_hat`); nan where none can be fitted.
      zeros: number of samples of weight zero, whose states are forbidden.
      status: whether to trust all this, and why not, see `reliability`. Errors of what is not usable are infinite.
      statuses: name to status of each quantity, and of "ln_z": that of all, or worse where its samples never vary.
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
    k_hat: float
    zeros: int
    status: Status
    statuses: dict[str, Status]


@dataclasses.dataclass(frozen=True)
class Derived:
    """A quantity that follows from ln Z and means.

    Attributes:
      value: (ln_z, means [K]) to the quantity, in float64.
      gradient: (ln_z, means) to (dh/dlnZ, dh/dm [K]); None takes central differences of `value`.
      linear: whether it is linear in both; its leading bias then follows from theirs.
      elementwise: whether `value` also takes ln_z [blocks] and means [K, blocks], which makes the jackknife fast.
    """

    value: Callable
    gradient: Callable | None = None
    linear: bool = False
    elementwise: bool = False


def importance(
    log_w: Samples,
    observables: Mapping[str, Samples],
    derived: Mapping[str, Derived] | None = None,
    *,
    log_q: Samples | None = None,
    evidence: Evidence | None = None,
) -> Estimates:
    """Returns self-normalised estimates of all observables and of ln Z, with errors by two methods and a status.

    Args:
      log_w: log-weights [n] of samples of q: -beta E - ln q, in nats (`log_weights`); -inf is a weight of zero.
      observables: name to values [n]; where the weight is zero they do not count and need not be finite.
      derived: name to what follows from them; means come in the order of `observables`.
      log_q: ln q of the samples [n], which tells of how many states q makes use; None leaves that open.
      evidence: what else is known, such as an exact ln Z or samples of p; None for nothing.

    Raises:
      ValueError: fewer than 2 samples, log-weights of nan or +inf, observables that are not finite, other shapes.

    Warns:
      UserWarning: the status is not "trusted".

    Example:
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> log_w = np.random.default_rng(0).normal(0, 0.1, 1000)
      >>> estimates = autoregressive.importance(log_w, {"x": np.arange(1000.0) % 2})
      >>> round(estimates.mean["x"], 2), round(estimates.ess, 2), estimates.status.level
      (0.5, 0.99, 'trusted')
    """
    log_w = stream.checked_log_weights(log_w, 2)
    values = {name: np.asarray(value, np.float64) for name, value in observables.items()}
    if log_q is not None:
        evidence = dataclasses.replace(evidence or Evidence(), entropy=entropy_of(log_q, log_w.shape))
    for name, value in values.items():
        if value.shape != log_w.shape:
            raise ValueError(f"observable {name!r} has shape {list(value.shape)}: expected [{len(log_w)}] as log_w")
    numbers = np.array(list(values.values())).reshape(len(values), len(log_w))
    if not np.isfinite(numbers.sum()):
        numbers = np.where(np.isneginf(log_w), 0.0, numbers)
        for name, row in zip(values, numbers, strict=True):
            if not np.isfinite(row).all():
                raise ValueError(f"observable {name!r} holds values that are not finite")
    origin = numbers.mean(axis=1)
    state = stream.update(stream.init(len(values), origin), log_w, numbers)
    return finalise(state, tuple(values), derived, evidence, stacklevel=4)


def entropy_of(log_q: Samples, shape: tuple[int, ...]) -> float:
    """Returns -mean ln q in nats; raises a ValueError for another shape, or where ln q is not finite."""
    log_q = np.asarray(log_q, np.float64)
    if log_q.shape != shape or not np.isfinite(log_q).all():
        raise ValueError(f"log_q of shape {list(log_q.shape)}: expected {list(shape)} finite numbers, as log_w")
    return float(-log_q.mean())


def finalise(
    state: stream.State,
    names: Sequence[str] = (),
    derived: Mapping[str, Derived] | None = None,
    evidence: Evidence | None = None,
    *,
    stacklevel: int = 3,
) -> Estimates:
    """Returns the estimates of a stream: what `importance` gives for all of its samples at once.

    Args:
      state: of at least 2 samples.
      names: of its numbers, in order.
      derived: name to what follows from them.
      evidence: what is known beside the weights; None for nothing.
      stacklevel: of the warning.

    Raises:
      ValueError: fewer than 2 samples, another number of names.

    Warns:
      UserWarning: the status is not "trusted".

    Example:
      >>> import numpy as np
      >>> from havel.kernels import autoregressive
      >>> stream = autoregressive.stream
      >>> log_w = np.random.default_rng(0).normal(0, 0.1, 1000)
      >>> state = stream.update(stream.init(1), log_w, np.arange(1000.0)[None] % 2)
      >>> round(autoregressive.finalise(state, ["x"]).mean["x"], 2)
      0.5
    """
    n = int(state.n)
    raw = by_formula(state, names, derived)
    constant = raw.zeros == 0 and 1 / raw.ess - 1 <= SAME * n
    weights = reliability.Weights(
        n, n - raw.zeros, n * raw.ess, raw.largest_share, raw.k_hat, constant, lambda: stream.distinct(state)
    )
    values = {name: (raw.mean[name], raw.err[name]) for name in raw.mean} | {"ln_z": (raw.ln_z, raw.ln_z_err)}
    status = reliability.of_weights(weights, values, evidence)
    reliability.warn(status, ADVICE, stacklevel)
    return _judged(
        raw, status, _least_errors(raw, names, derived), _certain(raw, names, derived), _alike(raw, names, derived)
    )


def _least_errors(raw: Estimates, names: Sequence[str], derived: Mapping[str, Derived] | None) -> dict[str, float]:
    """Returns name to the error that 1/n of ln Z leaves in each quantity, where the formula gives less.

    Of n samples none may lie where q has less than 1/n: equal weights, with a formula's error of 0 or of the rounding
    of ln q, know ln Z no better.
    """
    if not raw.ln_z_err < 1 / raw.n:
        return {}
    means = np.array([raw.mean[name] for name in names])
    slopes = {
        name: (quantity.gradient or _differences(quantity.value))(raw.ln_z, means)[0]
        for name, quantity in (derived or {}).items()
    }
    return {name: abs(float(slope)) / raw.n for name, slope in slopes.items()} | {"ln_z": 1 / raw.n}


def _certain(raw: Estimates, names: Sequence[str], derived: Mapping[str, Derived] | None) -> set[str]:
    """Returns the names of what follows from no sample, such as a specific heat at infinite temperature, beta^2 Var E.

    Elsewhere an error of 0 is that of samples that are all alike; here it is true.
    """
    means = np.array([raw.mean[name] for name in names])
    shifts = (0.0, 1.0, -2.0)
    points = [(raw.ln_z + a, means + b * np.maximum(np.abs(means), 1.0)) for a in shifts for b in shifts]
    with np.errstate(all="ignore"):
        return {
            name
            for name, quantity in (derived or {}).items()
            if raw.err[name] == 0 and all(quantity.value(*point) == raw.mean[name] for point in points)
        }


def _alike(raw: Estimates, names: Sequence[str], derived: Mapping[str, Derived] | None) -> set[str]:
    """Returns the names of what is the same in all samples: no error by either method but that of rounding."""
    means = np.array([raw.mean[name] for name in names])
    quantities = {name: _plain(k) for k, name in enumerate(names)} | dict(derived or {})
    alike = set()
    with np.errstate(all="ignore"):
        for name, quantity in quantities.items():
            to_ln_z, to_means = (quantity.gradient or _differences(quantity.value))(raw.ln_z, means)
            terms = np.append(np.asarray(to_means, np.float64) * means, to_ln_z * raw.ln_z)
            scale = float(np.abs(terms).sum())
            rounding = raw.err[name] <= 1e-7 * scale and raw.jackknife_err[name] <= 1e-12 * scale
            if raw.err[name] == 0 or rounding:
                alike.add(name)
    return alike


def by_formula(
    state: stream.State, names: Sequence[str] = (), derived: Mapping[str, Derived] | None = None
) -> Estimates:
    """Returns estimates with the errors of the formulas, whether they can be trusted or not: their status says so.

    Args, Raises: as of `finalise`, which judges them.
    """
    if state.n < 2:
        raise ValueError(f"n={state.n} samples: errors need at least 2")
    if len(names) != len(state.origin):
        raise ValueError(f"names={list(names)}: expected {len(state.origin)}, one for each number of the stream")
    quantities = {name: _plain(k) for k, name in enumerate(names)} | dict(derived or {})
    return _nothing(state, quantities) if state.shift == -np.inf else _estimates(state, quantities)


def _estimates(state: stream.State, quantities: Mapping[str, Derived]) -> Estimates:
    """Returns estimates and errors of samples that do not all weigh nothing."""
    n = int(state.n)
    total = state.first.sum(axis=0)
    mean_w, centred = total[0] / n, total[1:] / total[0]
    second = state.second / n / mean_w**2  # mean of r^2 p p^T
    ln_z = float(state.shift + np.log(mean_w))
    spread = second[0, 0] - 1  # mean r^2 - 1
    means = centred + state.origin
    ln_z_bias, means_bias = -spread / (2 * n), -(second[0, 1:] - second[0, 0] * centred) / n
    mean, err, bias = {}, {}, {}
    with np.errstate(divide="ignore", invalid="ignore"):  # nan where there is none: Binder's ratio if M is always 0
        for name, quantity in quantities.items():
            mean[name] = float(quantity.value(ln_z, means))
            to_ln_z, to_means = (quantity.gradient or _differences(quantity.value))(ln_z, means)
            to_means = np.asarray(to_means, np.float64)
            # g = r (c + b . O) - a with O from the origin and c = a - b . m.
            form = np.concatenate([[to_ln_z - to_means @ centred], to_means])
            err[name] = _root(form @ second @ form - to_ln_z**2, n)
            bias[name] = float(to_ln_z * ln_z_bias + to_means @ means_bias) if quantity.linear else math.nan
    corrected, jack_err, jack_bias = _jackknife(state, quantities, mean | {"ln_z": ln_z})
    return Estimates(
        mean, err, bias, float(1 / second[0, 0]), ln_z, _root(spread, n), float(ln_z_bias),
        corrected, jack_err, jack_bias, float(state.log_sum / n), float(1 / total[0]), n,
        pareto.k_hat(_tail(state), n), int(state.zeros), UNJUDGED, {},
    )  # fmt: skip


def _nothing(state: stream.State, quantities: Mapping[str, Derived]) -> Estimates:
    """Returns what samples say that are forbidden all of them: ln Z = -inf, no means."""
    nan = dict.fromkeys(quantities, math.nan)
    of_all = nan | {"ln_z": math.nan}
    return Estimates(
        nan, nan.copy(), nan.copy(), math.nan, -math.inf, math.nan, math.nan, of_all, of_all.copy(), of_all.copy(),
        -math.inf, math.nan, int(state.n), math.nan, int(state.zeros), UNJUDGED, {},
    )  # fmt: skip


def _tail(state: stream.State) -> Float64[np.ndarray, " tail"]:
    """Returns the largest log-weights, without what only fills up the array."""
    return state.tail[max(len(state.tail) - int(state.n), 0) :]


def _judged(
    raw: Estimates, status: Status, least: Mapping[str, float], certain: set[str], alike: set[str]
) -> Estimates:
    """Returns estimates with their status, errors of at least `least`, and infinite ones where they cannot be known.

    Args:
      certain: names of what no sample tells, of error 0 whatever the weights are; alike: of what all samples agree on.
    """
    err, jack_err = dict(raw.err), dict(raw.jackknife_err)
    ln_z_err = max(raw.ln_z_err, least.get("ln_z", 0.0))
    for name, error in least.items():
        jack_err[name] = max(jack_err[name], error)
        if name in err:
            err[name] = max(err[name], error)
    statuses = {"ln_z": status}
    same = Status(reliability.DOUBTFUL, ("it is the same in all samples: its error is not known",))
    unusable = status.level == reliability.NOT_USABLE
    for name in err:
        if name in certain:
            statuses[name] = Status()
            continue
        unknown = name in alike and least.get(name, 0.0) == 0
        statuses[name] = reliability.worst(status, same) if unknown else status
        if unknown or unusable:
            err[name] = jack_err[name] = math.inf
    if unusable:
        ln_z_err = jack_err["ln_z"] = math.inf
    return raw._replace(err=err, jackknife_err=jack_err, ln_z_err=ln_z_err, status=status, statuses=statuses)


def _jackknife(state: stream.State, quantities: Mapping[str, Derived], whole: Mapping[str, float]) -> tuple:
    """Returns (estimates without bias, standard errors, biases) by name, those of ln Z too, leaving out block by block.

    Args:
      whole: name to the estimate from all samples.
    """
    is_full = state.count > 0
    others, remaining = _sums_without_each(state.first[is_full]), int(state.n) - state.count[is_full]
    with np.errstate(all="ignore"):
        ln_z = state.shift + np.log(others[:, 0] / remaining)
        means = (others[:, 1:] / others[:, :1] + state.origin).T
        rows = [
            quantity.value(ln_z, means)
            if quantity.elementwise
            else [quantity.value(*point) for point in zip(ln_z, means.T, strict=True)]
            for quantity in quantities.values()
        ]
        each = np.array([*rows, ln_z])
        centre = np.array([whole[name] for name in (*quantities, "ln_z")])
        blocks = len(others)
        mean = each.mean(axis=1)
        biases = (blocks - 1) * (mean - centre)
        errors = np.sqrt((blocks - 1) * np.mean(np.square(each - mean[:, None]), axis=1))
    return tuple(
        dict(zip((*quantities, "ln_z"), values.tolist(), strict=True)) for values in (centre - biases, errors, biases)
    )


def _sums_without_each(values: Float64[np.ndarray, "blocks K"]) -> Float64[np.ndarray, "blocks K"]:
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

    return Derived(lambda ln_z, means: means[k], gradient, linear=True, elementwise=True)


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
