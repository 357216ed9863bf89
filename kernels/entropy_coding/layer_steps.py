"""A step for each layer: from the posterior deviations of its weights (DC-v1), or from how much they matter.

DC-v1 (arXiv:1907.11900) also weighs squared errors by 1 / sigma^2; DC-v2 has one step for all and needs nothing of
this. Everything here goes from and to name -> array or number; a result is what `compress` takes as step, importance.
"""

import math
from collections.abc import Mapping

import ml_dtypes
import numpy as np

__all__ = [
    "dc_v1",
    "equal_price",
    "inverse_variance",
    "scaled_importance",
    "weight_snr",
]

LARGEST_INTERVALS = 1024  # range / min sigma of DC-v1: a sigma near zero must not ask for millions of levels
SIGMA_RANGE = 1e-3  # sigma below this share of its median counts as that


def is_float(array: np.ndarray) -> bool:
    """Whether a tensor holds floating-point numbers, bfloat16 included."""
    return array.dtype.kind == "f" or array.dtype.name.startswith(("bfloat", "float8"))


def is_weight(array: np.ndarray) -> bool:
    """Whether a tensor gets the step of the weights: floats, two axes or more."""
    return is_float(array) and array.ndim > 1


def largest_magnitude(array: np.ndarray) -> float:
    """Returns the largest magnitude of a tensor of floats: 0 for an empty one, NaN where it holds one."""
    return float(np.maximum(array.max(), -array.min())) if array.size else 0.0


def relative_precision(dtype: np.dtype) -> float:
    """Returns the distance of 1 to the next number of a dtype of floats."""
    return float(ml_dtypes.finfo(dtype).eps)


def root_mean_square(array: np.ndarray) -> float:
    """Returns the root mean square in float64; infinite with an infinity."""
    return float(np.sqrt(np.mean(np.square(array.astype(np.float64)))))


def dc_v1(
    weights: Mapping[str, np.ndarray], sigma: Mapping[str, np.ndarray], extra_intervals: int = 0
) -> dict[str, float]:
    """Returns name -> Delta = 2 max(|w| + sigma / 2) / (ceil(range / min sigma) + S) of every tensor with a sigma.

    Maximum, range and minimum are over the weights that are not zero. Pruned networks bear coarser steps: multiples of
    the paper's Delta at S = 0.

    Args:
      weights: name -> tensor.
      sigma: name -> posterior standard deviations.
      extra_intervals: S.

    Source: arXiv:1907.11900, DC-v1, with the 2019 code's sigma / 2.
    """
    steps = {}
    for name, values in sigma.items():
        is_nonzero = weights[name] != 0
        if is_nonzero.any():
            w, s = np.asarray(weights[name], np.float64)[is_nonzero], bounded_sigma(values)[is_nonzero]
            spread = max(float(w.max()) - float(w.min()), float(np.abs(w).max()))
            intervals = min(math.ceil(spread / float(s.min())), LARGEST_INTERVALS)
            steps[name] = 2 * float((np.abs(w) + s / 2).max()) / (intervals + extra_intervals)
    return steps


def inverse_variance(sigma: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns 1 / sigma^2 by name; sigma far below its median is bounded (see SIGMA_RANGE)."""
    return {name: 1 / bounded_sigma(values) ** 2 for name, values in sigma.items()}


def bounded_sigma(sigma: np.ndarray) -> np.ndarray:
    """Returns float64 sigma, not below SIGMA_RANGE of its median.

    Raises:
      ValueError: a value is negative or not finite, or the median is 0.
    """
    sigma = np.asarray(sigma, np.float64)
    median = float(np.median(sigma)) if sigma.size else 1.0
    if not np.isfinite(sigma).all() or sigma.min(initial=0) < 0 or median <= 0:
        raise ValueError(
            f"standard deviations must be finite, not negative, and mostly above 0; the median is {median}"
        )
    return np.maximum(sigma, SIGMA_RANGE * median)


def equal_price(weights: Mapping[str, np.ndarray], importance: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns name -> step at which every tensor pays the same rate for the same loss: mean importance ^ -1/2.

    At high rate a step costs size * step^2 / 12 * importance of loss and -size * log2(step) bits, so that step^2 times
    the mean importance is the same for all tensors. Scaled so that the weights' steps are, in the geometric mean, their
    root mean squares. All-zero tensors get none.

    Args:
      weights: name -> tensor.
      importance: name -> loss of a unit error in each value, such as the diagonal of the Fisher information.
    """
    steps, logs = {}, []
    for name, values in importance.items():
        array = weights[name]
        if is_float(array) and array.any():
            mean = float(np.mean(values, dtype=np.float64))
            if not (math.isfinite(mean) and mean > 0):
                raise ValueError(f"the importances of {name!r} have mean {mean}; expected a finite number > 0")
            steps[name] = mean**-0.5
            if array.ndim > 1:
                logs.append(math.log(root_mean_square(array) / steps[name]))
    scale = math.exp(sum(logs) / len(logs)) if logs else 1.0
    return {name: step * scale for name, step in steps.items()}


def scaled_importance(
    weights: Mapping[str, np.ndarray], importance: Mapping[str, np.ndarray], steps: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Returns importances for errors in steps, with mean 1 over the weights that are not zero.

    The mean makes the price of a bit mean the same whatever unit the importances have.

    Args:
      weights: name -> tensor.
      importance: name -> weights of the squared errors, in the unit of the weights.
      steps: name -> step; tensors without one are left out.
    """
    scaled = {name: values * steps[name] ** 2 for name, values in importance.items() if name in steps}
    total = sum(float(values[weights[name] != 0].sum()) for name, values in scaled.items())
    count = sum(int(np.count_nonzero(weights[name])) for name in scaled)
    mean = total / count if count else 0.0
    if not (math.isfinite(mean) and mean > 0):
        raise ValueError(f"the mean importance of the nonzero weights is {mean}; expected a finite number > 0")
    return {name: values / mean for name, values in scaled.items()}


def weight_snr(weights: Mapping[str, np.ndarray], decoded: Mapping[str, np.ndarray]) -> float:
    """Signal-to-noise ratio of the tensors with two or more axes, in dB; infinite when they are equal."""
    signal = noise = 0.0
    for name, array in weights.items():
        if is_weight(array) and math.isfinite(largest_magnitude(array)):  # a mask is stored to the bit
            wide = array.astype(np.float64)
            signal += float(np.vdot(wide, wide))
            noise += float(((wide - decoded[name].astype(np.float64)) ** 2).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
