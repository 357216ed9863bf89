"""The doors of the room: what weights, importances and numbers of threads must be before anything is computed."""

import numpy as np

from .. import scalars
from ..array_types import ArrayLike, Float, Float64
from ..scalars import not_negative, positive, real
from .core.constants import MAX_ABS_LEVEL


def checked_step(step, name: str = "step") -> float:
    """A quantisation step as a float, or an error that says what is wrong."""
    return real(name, step, "a finite number > 0, in the unit of the weights", positive)


def checked_rate_weight(rate_weight) -> float:
    """The price of a bit as a float, or an error that says what is wrong."""
    return real("rate_weight", rate_weight, "a finite number >= 0, squared steps a bit", not_negative)


def checked_weights(w: ArrayLike, step: float, margin: int = 0) -> tuple[Float[np.ndarray, "*shape"], float]:
    """Weights as an array in the machine's byte order and the step as a float, or an error that says what is wrong;
    `margin` levels beyond the nearest one must be legal, too (-1: no level is to be made)."""
    w = np.asarray(w)
    w = w.astype(w.dtype.newbyteorder("="), copy=False)
    if w.dtype.kind not in "fV" and w.dtype.name not in ("bfloat16",):
        raise ValueError(f"weights must be floating point, not {w.dtype}; integers need no quantiser")
    if w.dtype.itemsize > 8:
        raise ValueError(f"weights of dtype {w.dtype} are wider than the float64 that quantisers compute in: cast them")
    step = checked_step(step)
    if w.size:
        with np.errstate(invalid="ignore"):  # bfloat16 warns of what is said below
            largest = float(max(w.max(), -w.min()))
        if not np.isfinite(largest):
            bad = int(np.count_nonzero(~np.isfinite(w.astype(np.float32))))
            raise ValueError(
                f"the weights hold {bad} NaN or infinite values of {w.size}, which no level stands for: mend them, or "
                "leave the tensor without a step, as which `compress` stores it to the bit"
            )
        if margin >= 0 and largest / step > MAX_ABS_LEVEL - margin:
            raise ValueError(
                f"step={step} is too small for a largest weight of {largest}: the smallest legal step is "
                f"{largest / MAX_ABS_LEVEL * (1 + 1e-5):.6g}"
            )
    return w, step


def checked_importance(
    w: Float[np.ndarray, "*shape"], rate_weight: float, importance: ArrayLike | None
) -> Float64[np.ndarray, "*shape"] | None:
    """Importance as float64, or None; ValueError for one of another shape or with values that make no sense."""
    checked_rate_weight(rate_weight)
    if importance is not None:
        importance = np.asarray(importance, np.float64)
        if importance.shape != w.shape:
            raise ValueError(f"importance has shape {importance.shape}, the weights {w.shape}")
        if not (np.isfinite(importance).all() and (importance >= 0).all()):
            raise ValueError("importance holds NaN, infinity or a negative value")
    return importance


def is_traced(values) -> bool:
    """Whether any array among values, lists and tuples of them is being traced; JAX is not imported to see it."""
    if isinstance(values, list | tuple):
        return any(is_traced(one) for one in values)
    return scalars.is_traced(values)
