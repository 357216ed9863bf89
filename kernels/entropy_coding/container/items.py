"""The leaves of a tree on their way into a file: what each is stored as, and the array that is still to be coded."""

import dataclasses
import math
import operator

import ml_dtypes
import numpy as np

from ...host_arrays import on_host
from ..checks import checked_importance, checked_step
from ..core.constants import MAX_ABS_LEVEL
from ..steps import check_reach
from .config import Steps
from .layout import CODEBOOK, INTEGERS, UNIFORM, Entry, dtype_code
from .tree import Codebook, Empty, Quantized

SHARED_SIZE = 2048  # tensors below this many values share a stream: a codeword's header costs about 60 bins


@dataclasses.dataclass
class Item:
    """A tensor on its way into the file: its entry, and the array that is still to be quantised or coded."""

    entry: Entry
    array: np.ndarray  # weights for UNIFORM (unless `quantized`), integers, or the values of a raw tensor
    quantized: bool = False
    importance: np.ndarray | None = None
    path: int | None = None  # of `Quantized`
    levels: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))  # as coded, in the tensor's shape
    order: tuple | None = None  # of axes, and the bits a value that it saves, where they were chosen beforehand
    decision: np.ndarray | None = None  # levels with their axes in that order, where they were decided beforehand

    @property
    def is_integers(self) -> bool:
        """Whether there is nothing to quantise."""
        return self.quantized or self.entry.coding == INTEGERS


def make_item(path: tuple, name: str, leaf, steps: Steps, importance=None) -> Item:
    """The item of a leaf of the tree; importance: of the leaf, or None."""
    if isinstance(leaf, Empty):
        return Item(Entry(path, empty=leaf.kind), np.empty(0))
    if isinstance(leaf, Quantized | Codebook) and steps.names(name):
        raise ValueError(f"tensor {name!r} is quantised already: leave it out of step")
    if isinstance(leaf, Quantized):
        return _quantized_item(path, name, leaf)
    if isinstance(leaf, Codebook):
        return _codebook_item(path, name, leaf)
    return _array_item(path, name, leaf, steps, importance)


def _quantized_item(path, name, leaf: Quantized) -> Item:
    dtype = np.dtype(leaf.dtype)
    dtype_code(dtype)
    try:
        step = checked_step(leaf.step)
    except ValueError as error:
        raise ValueError(f"tensor {name!r}: {error}") from None
    if dtype.kind in "iubc":
        raise TypeError(f"tensor {name!r}: Quantized.dtype={dtype} is no real floating-point dtype")
    q = np.asarray(leaf.q)
    if q.dtype.kind not in "iub":
        raise TypeError(f"tensor {name!r}: Quantized.q holds {q.dtype}, not integers")
    if not _is_legal(q):
        raise ValueError(f"tensor {name!r}: Quantized.q holds a value beyond the legal range |q| <= {MAX_ABS_LEVEL}")
    try:
        check_reach(q, step, dtype)
    except ValueError as error:
        raise ValueError(f"tensor {name!r}: {error}") from None
    return Item(Entry(path, dtype, q.shape, UNIFORM, step), q, True, path=leaf.path)


def _codebook_item(path, name, leaf: Codebook) -> Item:
    labels, values = np.asarray(leaf.labels), np.asarray(leaf.values)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    dtype_code(values.dtype)
    if values.dtype.kind in "iubc" or values.ndim != 1 or not values.size:
        raise TypeError(f"tensor {name!r}: Codebook.values must be floats [number of values], not {values.dtype} "
                        f"{list(values.shape)}")  # fmt: skip
    if labels.dtype.kind not in "iub":
        raise TypeError(f"tensor {name!r}: Codebook.labels holds {labels.dtype}, not integers")
    if not np.isfinite(values).all():
        raise ValueError(f"tensor {name!r}: Codebook.values holds NaN or infinity")
    values, zero = np.ascontiguousarray(values), operator.index(leaf.zero)
    if not 0 <= zero < values.size:
        raise ValueError(f"tensor {name!r}: Codebook.zero={zero} is no place among {values.size} values")
    if labels.size and not (-zero <= int(labels.min()) and int(labels.max()) < values.size - zero):
        raise ValueError(
            f"tensor {name!r}: labels from {labels.min()} to {labels.max()} leave the codebook, which has values for "
            f"{-zero} to {values.size - zero - 1}"
        )
    return Item(Entry(path, values.dtype, labels.shape, CODEBOOK, values=values, zero=zero), labels, True)


def _array_item(path, name, leaf, steps: Steps, importance) -> Item:
    if str(getattr(leaf, "dtype", "")).startswith("key<"):  # said without importing JAX
        raise TypeError(
            f"tensor {name!r} is a random key, no weights: leave it out; of a Flax module take "
            "nnx.state(module, nnx.Param)"
        )
    try:
        array = on_host(f"tensor {name!r}", leaf)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        dtype_code(array.dtype)
    except TypeError as error:
        raise TypeError(f"tensor {name!r}: {error}") from None
    entry, kind = Entry(path, array.dtype, array.shape), array.dtype.kind
    if kind in "iub" and steps.names(name):
        raise ValueError(f"tensor {name!r} holds {array.dtype}, which no step quantises: leave it out of step")
    if kind in "iub" and array.size and _is_legal(array):
        entry.coding = INTEGERS
    elif kind == "f" or array.dtype.name.startswith(("bfloat", "float8")):
        step = _one_step(name, steps.of(name, array))
        if step is not None and array.size and not (steps.by_name is None and _must_stay(array, step)):
            entry.coding, entry.step = UNIFORM, step
    if importance is not None:
        try:
            importance = checked_importance(array, 0.0, importance)
        except ValueError as error:
            raise ValueError(f"tensor {name!r}: {error}") from None
    return Item(entry, array, importance=importance)


def _is_legal(q: np.ndarray) -> bool:
    return not q.size or max(-int(q.min()), int(q.max())) <= MAX_ABS_LEVEL


def _one_step(name: str, step) -> float | None:
    if step is None:
        return None
    try:
        if np.ndim(step) == 0:
            return float(step)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"tensor {name!r}: its step is {step!r}; expected one number")


def _must_stay(array: np.ndarray, step: float) -> bool:
    """Whether a tensor is stored as it is though a step for all tensors covers it, too.

    It is a mask (two values at most, one of them infinite), or holds a value that no legal level reaches in such steps,
    which are then finer than what its dtype tells apart there.
    """
    if not (math.isfinite(step) and step > 0):
        return False  # said where it is quantised
    with np.errstate(invalid="ignore"):
        largest = float(np.maximum(array.max(), -array.min()))
    if math.isinf(largest):
        return len(np.unique(array.astype(np.float64))) <= 2
    return largest / step > MAX_ABS_LEVEL - 2 and step < largest * float(ml_dtypes.finfo(array.dtype).eps)
