"""What `compress` is asked for: options that all tensors share, and the step of each."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...array_types import Scalar
from ...scalars import is_number, positive, real, whole
from ..checks import checked_rate_weight
from ..codeword import make_options
from ..steps import QP_RANGE, qp_to_step
from .tree import named_leaves

StepRule = Scalar | Mapping[str, Any] | Callable[[str, np.ndarray], Scalar | None]
QUANTIZERS = ("uniform", "rdo", "trellis")
DEFAULT_UNARY = 11  # flags that decisions reckon with where the number is chosen afterwards


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of `compress` that are the same for all tensors."""

    quantizer: str
    rate_weight: float
    n_unary: int | None  # None: what suits the levels of a codeword
    scan: int
    axes: str
    fit_steps: bool
    jobs: int = 1  # threads inside a tensor

    @property
    def flags(self) -> int:
        """Unary flags that decisions and estimates reckon with."""
        return self.n_unary or DEFAULT_UNARY


@dataclasses.dataclass(frozen=True)
class Steps:
    """The step of each float tensor. Attributes: of, (name, array) -> step, None for lossless; by_name, the steps of a
    mapping, None for other rules."""

    of: Callable[[str, np.ndarray], Any]
    by_name: Mapping[str, float | None] | None = None

    def names(self, name: str) -> bool:
        """Whether a mapping gives just this tensor a step."""
        return self.by_name is not None and self.by_name.get(name) is not None


def checked_config(
    quantizer: str | None, rate_weight: Scalar, has_importance: bool, fit_steps: bool | None,
    n_unary: int | None, scan: int, axes: str,
) -> Config:  # fmt: skip
    """The options of `compress`, defaults filled in; ValueError for those that make no sense."""
    if axes not in ("auto", "keep"):
        raise ValueError(f"axes={axes!r} is neither 'auto' nor 'keep'")
    rate_weight = checked_rate_weight(rate_weight)
    if quantizer not in (None, *QUANTIZERS):
        raise ValueError(f"quantizer={quantizer!r} is none of {', '.join(map(repr, QUANTIZERS))}")
    if quantizer == "uniform" and rate_weight > 0:
        raise ValueError(f"quantizer='uniform' knows no rate_weight={rate_weight}: take 'rdo' or 'trellis'")
    quantizer = quantizer or ("rdo" if rate_weight > 0 else "uniform")
    make_options((), DEFAULT_UNARY if n_unary is None else n_unary, False, scan)  # refuses what does not exist
    fit_steps = quantizer != "uniform" if fit_steps is None else fit_steps
    if has_importance and not (rate_weight or quantizer == "trellis" or fit_steps):
        raise ValueError(
            f"importance changes nothing where quantizer={quantizer!r} takes the nearest level: give a rate_weight, "
            "quantizer='trellis' or fit_steps=True"
        )
    return Config(quantizer, rate_weight, n_unary, scan, axes, fit_steps)


def checked_steps(step: StepRule | None, small_step, qp, small_qp, names) -> Steps:
    """The rule of steps, from steps or quantisation parameters; names: of all tensors."""
    step = _either(step, qp, "step", "a number, a mapping from names or a function")
    small_step = _either(small_step, small_qp, "small_step", "a number")
    if step is None or is_number(step):
        return Steps(lambda name, array: step if array.ndim > 1 else small_step)
    if small_step is not None:
        raise ValueError("small_step belongs to a step that is a number; a mapping or function covers all tensors")
    if callable(step):
        return Steps(step)
    by_name = checked_names(step, names, "step")
    return Steps(lambda name, array: by_name.get(name), by_name)


def _either(step, qp, label: str, expected: str):
    """The step, or that of the parameter beside it; a number is one that a quantiser can take."""
    if step is not None and qp is not None:
        raise ValueError(f"give {label} or {label.replace('step', 'qp')}, not both")
    step = qp_to_step(whole(label.replace("step", "qp"), qp, *QP_RANGE)) if qp is not None else step
    step = float(step) if getattr(step, "ndim", None) == 0 else step
    if isinstance(step, str | bytes) or getattr(step, "ndim", None):
        raise ValueError(f"{label}={step!r:.100}; expected {expected}")
    if step is None or (label == "step" and (isinstance(step, Mapping) or callable(step))):
        return step
    return real(label, step, f"a finite number > 0, or {expected.removeprefix('a number, ')}", positive)


def checked_names(tree, names, what: str) -> dict:
    """{name: leaf} of a mapping or tree whose names must all be names of tensors."""
    if isinstance(tree, Mapping) and any(isinstance(x, int | float | np.number) or x is None for x in tree.values()):
        leaves = dict(tree)
    else:
        leaves = named_leaves(tree)
    unknown = sorted(set(leaves) - set(names))
    if unknown:
        raise ValueError(
            f"{what} names {unknown[0]!r}, which is no tensor of the tree (tensors: {', '.join(sorted(names)[:5])}...)"
        )
    return leaves
