"""Tensors on their way into a file: what each is stored as, its integers, and the streams that carry them.

Large tensors have a codeword of their own, coded in parallel by the caller; small ones share one. The order of axes of
a tensor is the one in which its nearest levels would cost less.
"""

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping

import numpy as np

from . import container
from .constants import COST_UNIT, MAX_ABS_LEVEL
from .container import CABAC_STREAM, CODEBOOK, INTEGERS, RAW, RAW_STREAM, TRELLIS, UNIFORM, ZERO, Entry, Stream
from .quantize import (
    checked_importance,
    checked_weights,
    fitted_step,
    quantize_rdo,
    quantize_trellis,
    quantize_uniform,
)
from .tensor import Options, encode_levels, matrix_shape, plan, sample, skip_bits, skipped_rows
from .tree import Codebook, Empty, Quantized

SHARED_SIZE = 2048  # tensors below this many values share a stream: a codeword's header costs about 60 bins
_ENOUGH = 1 << 17  # values that show which order of axes is the cheaper


@dataclasses.dataclass(frozen=True)
class Settings:
    """What `compress` was asked for, the same for all tensors."""

    quantizer: str
    rate_weight: float
    n_unary: int
    scan: int
    axes: str
    fit_steps: bool
    jobs: int  # threads inside a tensor


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


def make_item(path, name, leaf, rule: Steps, importance) -> Item:
    """The item of a leaf of the tree; importance: of the leaf, or None."""
    if isinstance(leaf, Empty):
        return Item(Entry(path, None, empty=leaf.kind))
    if isinstance(leaf, (Quantized, Codebook)) and rule.named is not None and rule.named.get(name) is not None:
        raise ValueError(f"tensor {name!r} is quantised already: leave it out of step")
    if isinstance(leaf, Quantized):
        dtype = np.dtype(leaf.dtype)
        container.dtype_code(dtype)
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
        return Item(Entry(path, dtype, q.shape, UNIFORM, float(leaf.step)), q, True)
    if isinstance(leaf, Codebook):
        return _codebook_item(path, name, leaf)
    try:
        array = np.asarray(leaf)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        container.dtype_code(array.dtype)
    except TypeError as error:
        raise TypeError(f"tensor {name!r}: {error}") from None
    entry = Entry(path, array.dtype, array.shape)
    kind = array.dtype.kind
    if kind in "iub" and rule.named is not None and rule.named.get(name) is not None:
        raise ValueError(f"tensor {name!r} holds {array.dtype}, which no step quantises: leave it out of step")
    if kind in "iub" and array.size and max(-int(array.min()), int(array.max())) <= MAX_ABS_LEVEL:
        entry.coding = INTEGERS
    elif kind == "f" or array.dtype.name.startswith(("bfloat", "float8")):
        step = rule.find(name, array)
        if step is not None and array.size:
            entry.coding, entry.step = UNIFORM, float(step)
    if importance is not None:
        try:
            importance = checked_importance(array, 0.0, importance)
        except ValueError as error:
            raise ValueError(f"tensor {name!r}: {error}") from None
    return Item(entry, array, importance=importance)


def _codebook_item(path, name, leaf: Codebook) -> Item:
    labels, values = np.asarray(leaf.labels), np.asarray(leaf.values)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    container.dtype_code(values.dtype)
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
    if settings.axes == "auto" and len(entry.shape) > 1 and 1 < entry.shape[-1] < entry.size:
        entry.axes = _better_order(item, settings)
    array = _in_order(item.array, entry.axes)
    levels = array if _is_integers(item) else _decided(item, array, settings)
    dq = settings.quantizer == "trellis" and not _is_integers(item)
    if not levels.any() and _zero_means_zero(entry):
        entry.coding, entry.axes = ZERO, None
        return None
    entry.coding = TRELLIS if dq else entry.coding
    stream = _codeword(levels, settings, dq)
    if entry.coding == INTEGERS and len(stream.data) >= entry.nbytes:
        entry.coding, entry.axes = RAW, None
        return None
    return stream


def encode_small(items: list[Item], settings: Settings) -> list[Stream]:
    """Small tensors end to end: codewords for the quantised and for the integers. Completes the entries, whose streams
    are numbered from 0."""
    small = [item for item in items if item.entry.coding in (UNIFORM, CODEBOOK)]
    streams: list[Stream] = []
    if settings.quantizer == "trellis":
        _share_trellis([item for item in small if not item.quantized], settings, streams)
        small = [item for item in small if item.quantized]
    for item in small:
        item.array = item.array if item.quantized else _decided(item, item.array, settings)
    _share_levels(small, settings, streams)
    _share_levels([item for item in items if item.entry.coding == INTEGERS], settings, streams)
    return streams


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


def _share_trellis(items, settings, streams) -> None:
    """One codeword of dependent quantisation for small tensors, each with its own step."""
    for item in items:
        if not item.array.any():
            item.entry.coding = ZERO
    items = [item for item in items if item.entry.coding != ZERO]
    if not items:
        return
    scaled = []
    for item in items:
        _checked(item, lambda item=item: checked_weights(item.array, item.entry.step, 2))
        scaled.append(item.array.reshape(-1).astype(np.float64) / item.entry.step)
    weights = None
    if any(item.importance is not None for item in items):
        weights = np.concatenate(
            [np.ones(item.entry.size) if item.importance is None else item.importance.reshape(-1) for item in items]
        )
    levels = quantize_trellis(
        np.concatenate(scaled), 1.0, settings.rate_weight, importance=weights, n_unary=settings.n_unary
    )
    at = 0
    for item in items:
        item.entry.coding, item.entry.stream = TRELLIS, len(streams)
        own = levels[at : at + item.entry.size]
        _fit(item, item.array.reshape(-1), own, settings, None if weights is None else weights[at : at + own.size])
        at += item.entry.size
    streams.append(_codeword(levels[None], dataclasses.replace(settings, scan=0), True))


def _share_levels(items, settings, streams) -> None:
    """One codeword for the integers of small tensors; those that are all zero need none."""
    members = []
    for item in items:
        if item.array.any() or not _zero_means_zero(item.entry):
            item.entry.stream = len(streams)
            members.append(item)
        else:
            item.entry.coding = ZERO
    if members:
        together = np.concatenate([item.array.reshape(-1) for item in members], dtype=np.int32)
        streams.append(_codeword(together[None], dataclasses.replace(settings, scan=0)))


def _is_integers(item: Item) -> bool:
    return item.quantized or item.entry.coding == INTEGERS


def _in_order(array: np.ndarray, order) -> np.ndarray:
    return array if order is None else np.ascontiguousarray(array.transpose(order))


def _checked(item: Item, quantize) -> np.ndarray:
    try:
        return quantize()
    except ValueError as error:
        raise ValueError(f"tensor {item.entry.name!r}: {error}") from None


def _decided(item: Item, array: np.ndarray, settings: Settings) -> np.ndarray:
    """Levels of a tensor of its own whose axes are in coding order."""
    weight = None if item.importance is None else _in_order(item.importance, item.entry.axes)
    if settings.quantizer == "uniform" or (settings.quantizer == "rdo" and settings.rate_weight == 0):
        levels = _checked(item, lambda: quantize_uniform(array, item.entry.step))
        _fit(item, array, levels, settings, weight)
        return levels
    quantize = quantize_trellis if settings.quantizer == "trellis" else quantize_rdo
    options = {"importance": weight, "n_unary": settings.n_unary, "scan": settings.scan, "jobs": settings.jobs}
    levels = _checked(item, lambda: quantize(array, item.entry.step, settings.rate_weight, **options))
    _fit(item, array, levels, settings, weight)
    return levels


def _fit(item: Item, array, levels, settings, weight=None) -> None:
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


def _better_order(item: Item, settings: Settings) -> tuple[int, ...] | None:
    """The last axis first, where nearest levels cost less in that order; None for the order as stored."""
    last_first = (item.array.ndim - 1, *range(item.array.ndim - 1))
    moved, stored = (_price(item, array, settings) for array in (item.array.transpose(last_first), item.array))
    return last_first if moved < stored else None


def _price(item: Item, array: np.ndarray, settings: Settings) -> float:
    """Bits a value of a tensor in an order of axes: nearest levels, rated on all of it or on rows of a large one."""
    from . import rate_core

    if len(array) < 64 and array.flags.c_contiguous:  # few rows would be a poor sample
        array = array.reshape(-1, array.shape[-1])
    row = array.size // len(array)
    if array.size > 2 * _ENOUGH and row <= _ENOUGH:
        array = array[np.linspace(0, len(array) - 1, -(-_ENOUGH // row)).astype(np.int64)]
    step = item.entry.step * (2 if settings.quantizer == "trellis" else 1)
    levels = array if _is_integers(item) else _checked(item, lambda: quantize_uniform(array, step))
    matrix, options = _matrix(levels, settings)
    skipped = skipped_rows(matrix, options)
    bits = rate_core.cost(matrix, settings.n_unary, False, options.block, skipped, options.no_presets()) * COST_UNIT
    return (bits + skip_bits(skipped)) / array.size


def _matrix(levels: np.ndarray, settings, dq: bool = False) -> tuple[np.ndarray, Options]:
    """Levels as int32 [height, width] of the options, with row skip where a row is all zero."""
    height, width = matrix_shape(levels.shape)
    matrix = np.require(levels, np.int32, "CA").reshape(height, width)
    skip = height > 1 and width > 1 and not matrix.any(axis=1).all() and not (dq and settings.scan)
    options = Options(settings.n_unary, dq, settings.scan, int(skip), height, width)
    return matrix.reshape(options.height, options.width), options


def _codeword(levels: np.ndarray, settings, dq: bool = False) -> Stream:
    matrix, options = _matrix(levels, settings, dq)
    # A sample of a very large tensor shows which presets suit it.
    data = encode_levels(matrix, options, plan(sample(matrix, options), options))
    return Stream(CABAC_STREAM, data, settings.n_unary, settings.scan, options.profile, dq)


def _zero_means_zero(entry) -> bool:
    """Whether a tensor of zero levels may be stored as zeros: not if its codebook gives them another value."""
    return entry.coding != CODEBOOK or not entry.values[entry.zero].tobytes().strip(b"\0")
