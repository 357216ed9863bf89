"""Steps of a grid: the standard's parameters, integers back to weights, and the step that suits given integers best.

Uniform reconstruction is w = step * q, in float64 and rounded once to the dtype of the weights.
"""

from typing import SupportsIndex

import ml_dtypes
import numpy as np

from ..array_types import ArrayLike, DTypeLike, Float, Integer
from ..scalars import whole
from .checks import checked_importance, checked_step, checked_weights
from .core.constants import MAX_ABS_LEVEL

QP_RANGE = -1000, 999
PIECE = 1 << 16  # values at a time: no float64 copy of a large tensor is made


def qp_to_step(qp: SupportsIndex, density: int = 2) -> float:
    """Quantisation step of an NNC quantisation parameter: (K + qp mod K) * 2^(floor(qp / K) - log2 K), K = 2^density.

    With density 2, every 4 of qp double the step: qp 0 is 1.0, qp -32 is 2^-8.

    Raises:
      ValueError: qp is no integer from -1000 to 999, density none from 0 to 16.

    Example:
      >>> from havel.kernels import entropy_coding
      >>> [entropy_coding.qp_to_step(qp) for qp in (0, 4, -32)]
      [1.0, 2.0, 0.00390625]
    """
    qp, density = whole("qp", qp, *QP_RANGE), whole("density", density, 0, 16)
    steps = 1 << density
    return float(steps + qp % steps) * 2.0 ** (qp // steps - density)


def dequantize(q: ArrayLike, step: float, dtype: DTypeLike = np.float32) -> Float[np.ndarray, "*shape"]:
    """step * q, computed in float64 and rounded once to `dtype`; the shape of q.

    Raises:
      ValueError: step is no finite number > 0; or a product is beyond what `dtype` holds.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> entropy_coding.dequantize(np.array([0, 1, -2]), 0.5).tolist()
      [0.0, 0.5, -1.0]
    """
    q, step = np.asarray(q), checked_step(step)
    check_reach(q, step, dtype)
    out = np.empty(q.shape, dtype)
    flat_q, flat_out = np.ascontiguousarray(q).reshape(-1), out.reshape(-1)
    for start in range(0, q.size, PIECE):
        piece = slice(start, start + PIECE)
        flat_out[piece] = (flat_q[piece] * np.float64(step)).astype(dtype)
    return out


def check_reach(q: np.ndarray, step: float, dtype: DTypeLike) -> None:
    """Raises ValueError where step * q is beyond what a dtype holds: it would come back as infinity."""
    dtype = np.dtype(dtype)
    if not q.size or q.dtype.kind not in "iub" or dtype.kind in "iubc":
        return
    largest = float(ml_dtypes.finfo(dtype).max)
    if step * MAX_ABS_LEVEL < largest:
        return  # of every step but the largest, without a look at the levels
    level = max(-int(q.min()), int(q.max()))
    with np.errstate(over="ignore"):
        reached = np.float64(level * step).astype(dtype)
    if not np.isfinite(reached):
        raise ValueError(
            f"step={step:g} times the level {level} is beyond {dtype}, which ends at {largest:.6g}: take a smaller "
            "step, or a wider dtype"
        )


def fitted_step(w: ArrayLike, q: ArrayLike, step: float, *, importance: ArrayLike | None = None) -> float:
    """The step at which levels reconstruct weights with the least squared error, sum F w q / sum F q^2.

    Args:
      w: real weights of any shape.
      q: their levels, which were decided with `step`.
      step: returned where the levels say nothing (all zero) or the best step is not positive.
      importance: F, of the shape of w; 1 everywhere by default.

    Raises:
      ValueError: as `quantize_rdo`; TypeError: q holds no integers.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> round(entropy_coding.fitted_step(np.array([0.9, -1.9]), np.array([1, -2]), 1.0), 3)
      0.94
    """
    q = np.asarray(q)
    if q.dtype.kind not in "iub":
        raise TypeError(f"levels must be integers, not {q.dtype}")
    if q.size and max(-int(q.min()), int(q.max())) > MAX_ABS_LEVEL:
        raise ValueError(f"a level is beyond the legal range |q| <= {MAX_ABS_LEVEL}")
    if q.shape != np.shape(w):
        raise ValueError(f"the levels have shape {q.shape}, the weights {np.shape(w)}")
    w, step = checked_weights(w, step, -1)  # the levels are there: any step will do
    importance = checked_importance(w, 0.0, importance)
    product, square = _sums(w, q, importance)
    best = product / square if square > 0 else 0.0
    return best if 0 < best < np.inf else float(step)


def error_beside(w: Float[np.ndarray, "*shape"], q: Integer[np.ndarray, "*shape"], step: float) -> float:
    """Squared error of levels less the sum of the squared weights, which is the same in every order."""
    product, square = _sums(w, q, None)
    return step * (step * square - 2 * product)


def sum_of_squares(w: Float[np.ndarray, "*shape"]) -> float:
    """Sum of squares of weights of any shape and float dtype, in float64."""
    flat = real(w).reshape(-1)
    return sum(float(np.square(flat[i : i + PIECE], dtype=np.float64).sum()) for i in range(0, flat.size, PIECE))


def real(w: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Weights as a C-ordered float32 or float64 array, unchanged in value."""
    return np.require(w, np.float64 if w.dtype.itemsize == 8 else np.float32, ("C", "A"))


def _sums(w: np.ndarray, q: np.ndarray, importance: np.ndarray | None) -> list[float]:
    """sum F w q and sum F q^2."""
    from .core import fitting

    sums = np.empty(2)
    weights = np.ones(1) if importance is None else np.require(importance, None, ("C", "A")).reshape(-1)
    fitting.sums(real(w).reshape(-1), np.require(q, np.int32, ("C", "A")).reshape(-1), weights, sums)
    return sums.tolist()
