"""Tensors on their way into a file: what each is stored as, its integers, and the streams that carry them.

Large tensors have a codeword of their own, coded in parallel by the caller; small ones share some (small.py). What is
chosen for each on the way stands in choices.py.
"""

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping

import ml_dtypes
import numpy as np

from . import choices, layout
from .constants import MAX_ABS_LEVEL
from .layout import (
    CABAC_STREAM,
    CODEBOOK,
    INTEGERS,
    RAW,
    RAW_STREAM,
    TRELLIS,
    UNIFORM,
    ZERO,
    Entry,
    Stream,
    last_first,
)  # fmt: skip
from .quantize import (
    checked_importance,
    error_beside,
    fitted_step,
    quantize_rdo,
    quantize_trellis,
    quantize_uniform,
    sum_of_squares,
)
from .tensor import checked_levels, encode_levels, plan
from .tree import Codebook, Empty, Quantized

SHARED_SIZE = 2048  # tensors below this many values share a stream: a codeword's header costs about 60 bins
MANY = 1 << 14  # weights of which luck is sqrt(2 / n), a hundredth of the error
TRIES = 4  # of smaller steps
_DEFAULT_UNARY = 11  # flags that decisions reckon with where the number is chosen afterwards


@dataclasses.dataclass(frozen=True)
class Settings:
    """What `compress` was asked for, the same for all tensors."""

    quantizer: str
    rate_weight: float
    n_unary: int | None  # None: what suits the levels of a codeword
    scan: int
    axes: str
    fit_steps: bool
    jobs: int  # threads inside a tensor

    @property
    def flags(self) -> int:
        """Unary flags that decisions and estimates reckon with."""
        return self.n_unary or _DEFAULT_UNARY


@dataclasses.dataclass(frozen=True)
class Steps:
    """(name, array) -> step of a float tensor, None for lossless; `named` holds the steps that were given by name."""

    find: Callable[[str, np.ndarray], float | None]
    named: Mapping[str, float | None] | None = None


@dataclasses.dataclass
class Item:
    """A tensor on its way into the file: its entry, and the array that is still to be quantised or coded."""

    entry: Entry
    array: np.ndarray | None = None  # weights for UNIFORM (unless `quantized`), integers, or the values of a raw tensor
    quantized: bool = False
    importance: np.ndarray | None = None
    path: int | None = None  # of `Quantized`
    levels: np.ndarray | None = None  # as they were coded, in the shape of the tensor


def make_item(path, name, leaf, rule: Steps, importance) -> Item:
    """The item of a leaf of the tree; importance: of the leaf, or None."""
    if isinstance(leaf, Empty):
        return Item(Entry(path, None, empty=leaf.kind))
    if isinstance(leaf, (Quantized, Codebook)) and rule.named is not None and rule.named.get(name) is not None:
        raise ValueError(f"tensor {name!r} is quantised already: leave it out of step")
    if isinstance(leaf, Quantized):
        dtype = np.dtype(leaf.dtype)
        layout.dtype_code(dtype)
        if not (math.isfinite(leaf.step) and leaf.step > 0):
            raise ValueError(f"tensor {name!r}: step={leaf.step} must be a finite number > 0")
        if dtype.kind in "iubc":
            raise TypeError(f"tensor {name!r}: Quantized.dtype={dtype} is no real floating-point dtype")
        q = np.asarray(leaf.q)
        if q.dtype.kind not in "iub":
            raise TypeError(f"tensor {name!r}: Quantized.q holds {q.dtype}, not integers")
        if q.size and max(-int(q.min()), int(q.max())) > MAX_ABS_LEVEL:
            raise ValueError(
                f"tensor {name!r}: Quantized.q holds a value beyond the legal range |q| <= {MAX_ABS_LEVEL}"
            )
        return Item(Entry(path, dtype, q.shape, UNIFORM, float(leaf.step)), q, True, path=leaf.path)
    if isinstance(leaf, Codebook):
        return _codebook_item(path, name, leaf)
    try:
        array = np.asarray(leaf)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        layout.dtype_code(array.dtype)
    except TypeError as error:
        raise TypeError(f"tensor {name!r}: {error}") from None
    entry = Entry(path, array.dtype, array.shape)
    kind = array.dtype.kind
    if kind in "iub" and rule.named is not None and rule.named.get(name) is not None:
        raise ValueError(f"tensor {name!r} holds {array.dtype}, which no step quantises: leave it out of step")
    if kind in "iub" and array.size and max(-int(array.min()), int(array.max())) <= MAX_ABS_LEVEL:
        entry.coding = INTEGERS
    elif kind == "f" or array.dtype.name.startswith(("bfloat", "float8")):
        step = _one_step(name, rule.find(name, array))
        if step is not None and array.size and not (rule.named is None and _must_stay(array, step)):
            entry.coding, entry.step = UNIFORM, step
    if importance is not None:
        try:
            importance = checked_importance(array, 0.0, importance)
        except ValueError as error:
            raise ValueError(f"tensor {name!r}: {error}") from None
    return Item(entry, array, importance=importance)


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


def _codebook_item(path, name, leaf: Codebook) -> Item:
    labels, values = np.asarray(leaf.labels), np.asarray(leaf.values)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    layout.dtype_code(values.dtype)
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


def encode_alone(item: Item, settings: Settings) -> Stream | None:
    """The tensor's own stream; None where it needs none (all zero) or goes raw with the others. Completes the entry."""
    entry = item.entry
    dq = settings.quantizer == "trellis" and not _is_integers(item)
    saved, has_orders = 0.0, settings.axes == "auto" and len(entry.shape) > 1 and 1 < entry.shape[-1] < entry.size
    if item.path is not None and (orders := _legal_orders(item, settings, has_orders)):
        return _along_its_path(item, orders, settings)
    if has_orders:
        step = None if _is_integers(item) else entry.step * (2 if dq else 1)
        entry.axes, saved = checked(item, lambda: choices.axis_order(item.array, step, settings.flags, settings.scan))
    if dq and entry.axes is not None and settings.rate_weight == 0 and item.importance is None:
        levels = _no_less_exact(item, saved, settings)
    else:
        array = _in_order(item.array, entry.axes)
        levels = array if _is_integers(item) else decided(item, array, settings)
    item.levels = _put_back(levels, entry.axes)
    if not levels.any() and zero_means_zero(entry):
        entry.coding, entry.axes = ZERO, None
        return None
    entry.coding = TRELLIS if dq else entry.coding
    stream = codeword(levels, settings, dq)
    if entry.coding == INTEGERS and len(stream.data) >= entry.nbytes:
        entry.coding, entry.axes = RAW, None
        return None
    return stream


def store_raw(items: list[Item], index: int) -> list[Stream]:
    """The bytes of tensors that are stored as they are, in one stream of that index; none where there are none."""
    raw = []
    for item in items:
        if item.entry.coding == RAW and item.entry.empty is None:
            data = item.array.tobytes()
            if data.count(0) == len(data):  # of the bytes: a negative zero is kept
                item.entry.coding = ZERO
            else:
                item.entry.stream = index
                raw.append(data)
    return [Stream(RAW_STREAM, b"".join(raw))] if raw else []


def _is_integers(item: Item) -> bool:
    return item.quantized or item.entry.coding == INTEGERS


def _in_order(array: np.ndarray, order) -> np.ndarray:
    return array if order is None else np.ascontiguousarray(array.transpose(order))


def _put_back(levels: np.ndarray, order) -> np.ndarray:
    return levels if order is None else levels.transpose(np.argsort(order))


def checked(item: Item, quantize):
    """What quantize() returns; its ValueError with the tensor's name."""
    try:
        return quantize()
    except ValueError as error:
        raise ValueError(f"tensor {item.entry.name!r}: {error}") from None


def decided(item: Item, array: np.ndarray, settings: Settings) -> np.ndarray:
    """Levels of a tensor of its own whose axes are in coding order."""
    weight = None if item.importance is None else _in_order(item.importance, item.entry.axes)
    if settings.quantizer == "uniform" or (settings.quantizer == "rdo" and settings.rate_weight == 0):
        levels = checked(item, lambda: quantize_uniform(array, item.entry.step))
        fit(item, array, levels, settings, weight)
        return levels
    quantize = quantize_trellis if settings.quantizer == "trellis" else quantize_rdo
    options = {"importance": weight, "n_unary": settings.flags, "scan": settings.scan, "jobs": settings.jobs}
    levels = checked(item, lambda: quantize(array, item.entry.step, settings.rate_weight, **options))
    fit(item, array, levels, settings, weight)
    return levels


def _no_less_exact(item: Item, saved: float, settings) -> np.ndarray:
    """Levels of the trellis without rate, in the order of axes that `entry` has or as stored; completes the entry.

    Where the path through the stored order happened to meet the weights better, the other order gets a step so much
    smaller that its error is no larger, unless that costs more bits than it saves. Of many weights luck is a small part
    of the error: a step smaller by more than that stands for the comparison.

    saved: bits a value that the order of the entry saves.
    """
    entry, axes, step = item.entry, item.entry.axes, item.entry.step
    first = step
    array = _in_order(item.array, axes)
    if settings.fit_steps and array.size >= MANY:
        entry.step = step * (1 - 2 / math.sqrt(array.size))
        return decided(item, array, settings)
    moved = decided(item, array, settings)
    entry_step = entry.step
    entry.axes, entry.step = None, step
    stored = decided(item, item.array, settings)
    squares = sum_of_squares(item.array)
    bound = squares + error_beside(item.array, stored, entry.step)
    error, stored_step = squares + error_beside(array, moved, entry_step), entry.step
    entry.axes = axes
    for _ in range(TRIES):
        if error <= bound:
            entry.step = entry_step
            return moved
        # The error of n weights is known from the step to about sqrt(2 / n) of it: half of that for luck, and a little.
        smaller = step * math.sqrt(max(bound, 0.0) / error) * (1 - max(1 / math.sqrt(array.size), 5e-4))
        if not settings.fit_steps or smaller <= first * 2.0**-saved:
            break
        entry.step = step = smaller
        moved = decided(item, array, settings)
        entry_step, error = entry.step, squares + error_beside(array, moved, entry.step)
    if not settings.fit_steps and error > 0 and math.log2(error / max(bound, 1e-300)) / 2 <= saved:
        entry.step = entry_step
        return moved
    entry.axes, entry.step = None, stored_step
    return stored


def _legal_orders(item: Item, settings, has_orders: bool) -> list:
    """The orders of axes in which the grid integers of an item follow a path through the trellis."""
    orders = [last_first(len(item.entry.shape)), None] if has_orders else [None]
    return [order for order in orders if follows_a_path(_in_order(item.array, order), settings.scan)]


def follows_a_path(levels: np.ndarray, scan: int) -> bool:
    """Whether the trellis of dependent quantisation allows integers of any shape in their order."""
    try:
        checked_levels(levels, _DEFAULT_UNARY, True, scan, 0)
    except ValueError:
        return False
    return True


def _along_its_path(item: Item, orders: list, settings) -> Stream | None:
    """The stream of grid integers in the shortest of some orders; completes the entry."""
    entry, item.levels = item.entry, item.array
    if not item.array.any():
        entry.coding = ZERO
        return None
    streams = [codeword(_in_order(item.array, order), settings, True) for order in orders]
    best = min(range(len(orders)), key=lambda place: len(streams[place].data))
    entry.coding, entry.axes = TRELLIS, orders[best]
    return streams[best]


def fit(item: Item, array, levels, settings, weight=None) -> None:
    """Gives the entry the step that fits its levels, where that is asked for and its dtype can hold the largest one."""
    entry = item.entry
    largest = max(int(levels.max(initial=0)), -int(levels.min(initial=0)))

    def holds(step):
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.isfinite(np.float64(largest * step).astype(entry.dtype)))

    if settings.fit_steps and holds(fitted := fitted_step(array, levels, entry.step, importance=weight)):
        entry.step = fitted
    elif not holds(entry.step):
        raise ValueError(
            f"tensor {entry.name!r}: its largest level, {largest}, times the step {entry.step} is more than "
            f"{entry.dtype} holds: take a smaller step"
        )


def codeword(levels: np.ndarray, settings, dq: bool = False) -> Stream:
    """The stream of a tensor's levels."""
    n_unary = settings.n_unary or choices.unary_flags(choices.magnitudes(levels, dq))[0]
    matrix, options = choices.coded_matrix(levels, n_unary, settings.scan, dq)
    data = encode_levels(matrix, options, plan(matrix, options, sampled=True))
    return Stream(CABAC_STREAM, data, n_unary, settings.scan, options.profile, dq)


def zero_means_zero(entry) -> bool:
    """Whether a tensor of zero levels may be stored as zeros: not if its codebook gives them another value."""
    return entry.coding != CODEBOOK or not entry.values[entry.zero].tobytes().strip(b"\0")
