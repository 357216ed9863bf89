"""Whole networks as bytes: a pytree of arrays to one file image and back.

DeepCABAC (arXiv:1907.11900) for every tensor that is quantised or holds integers, each in a codeword of its own, coded
in parallel on CPU threads; small ones share a codeword; everything else is stored as it is. The format is in
container.py.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from . import container
from .constants import MAX_ABS_LEVEL
from .container import CABAC_STREAM, CODEBOOK, INTEGERS, RAW, RAW_STREAM, TRELLIS, UNIFORM, ZERO, Entry, Stream
from .quantize import qp_to_step, quantize_rdo, quantize_trellis, quantize_uniform
from .tensor import Options, encode_levels, matrix_shape, plan
from .tree import Codebook, Empty, Quantized, flatten, path_name

SHARED_SIZE = 2048  # tensors below this many values share a stream: a codeword's header costs about 60 bins

StepRule = float | Mapping[str, float | None] | Callable[[str, np.ndarray], float | None]


def compress(
    tree,
    *,
    step: StepRule | None = None,
    small_step: float | None = None,
    qp: int | None = None,
    small_qp: int | None = None,
    quantizer: str | None = None,
    rate_weight: float = 0.0,
    importance=None,
    n_unary: int = 11,
    scan: int = 0,
    axes: str = "auto",
    jobs: int | None = None,
) -> bytes:
    """The bytes of a file that holds the tree. The same input gives the same bytes, whatever the number of jobs.

    Args:
      tree: arrays (NumPy, JAX, or anything `numpy.asarray` takes), scalars, `Quantized` and `Codebook` tensors in
        nested dicts, lists, tuples and other registered pytrees (the last come back as dicts).
      step: quantisation step of the weights, in their unit. A number applies to float tensors of two or more axes; a
        mapping from names ("fc1/kernel") or a function of (name, array) gives any float tensor its step, and None or
        no entry means lossless. By default nothing is quantised.
      small_step: where `step` is a number, the step of float tensors of fewer axes (biases, statistics); None:
        lossless.
      qp, small_qp: the same as NNC quantisation parameters (`qp_to_step`), instead of the steps.
      quantizer: "uniform" (nearest level), "rdo" (`quantize_rdo`) or "trellis" (`quantize_trellis`, for tensors with a
        stream of their own; `step` is then that of its grid, half the distance of the levels of one state). By default
        "rdo" where rate_weight > 0, else "uniform".
      rate_weight: price of a bit in squared steps for the rate-distortion decision (see `quantize_rdo`); 0: nearest
        neighbour.
      importance: weights of the squared errors, a tree of arrays with the names of the tensors they belong to.
      n_unary, scan: coder options, see `encode_tensor`.
      axes: "auto" codes each tensor as stored or with its last axis first, whichever is shorter; "keep" as stored.
      jobs: threads; by default one a core.

    Raises:
      TypeError: a leaf is no array, or of a dtype that the format cannot hold.
      ValueError: a tensor cannot be quantised (its name is in the message), or an option makes no sense.
    """
    if axes not in ("auto", "keep"):
        raise ValueError(f"axes={axes!r} is neither 'auto' nor 'keep'")
    if not 0 <= rate_weight < math.inf:
        raise ValueError(f"rate_weight={rate_weight} must be a finite number >= 0")
    if quantizer not in (None, "uniform", "rdo", "trellis"):
        raise ValueError(f"quantizer={quantizer!r} is none of 'uniform', 'rdo', 'trellis'")
    if quantizer == "uniform" and rate_weight > 0:
        raise ValueError(f"quantizer='uniform' knows no rate_weight={rate_weight}: take 'rdo' or 'trellis'")
    quantizer = quantizer or ("rdo" if rate_weight > 0 else "uniform")
    Options(n_unary, False, scan, 0, 1, 1)  # refuses unknown ones, whether or not a tensor will use them
    leaves = [(path, path_name(path), leaf) for path, leaf in flatten(tree)]
    names = {name for _, name, _ in leaves}
    if len(names) < len(leaves):
        every = [name for _, name, _ in leaves]
        raise ValueError(f"two tensors are both called {next(n for n in every if every.count(n) > 1)!r}: rename one")
    rule = _step_rule(step, small_step, qp, small_qp, names)
    weights = {} if importance is None else _named(importance, names, "importance")
    settings = _Settings(quantizer, float(rate_weight), n_unary, scan, axes)
    items = [_item(path, name, leaf, rule, weights.get(name)) for path, name, leaf in leaves]

    alone = [
        item for item in items if item.entry.coding in (INTEGERS, UNIFORM, CODEBOOK) and item.entry.size >= SHARED_SIZE
    ]
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        # Large ones first, so that no thread starts on the largest when the others are done.
        futures = {id(i): pool.submit(_encode_alone, i, settings) for i in sorted(alone, key=lambda i: -i.entry.size)}
        coded = {key: future.result() for key, future in futures.items()}

    streams: list[Stream] = []
    for item in alone:
        stream = coded[id(item)]
        if stream is not None:
            item.entry.stream = len(streams)
            streams.append(stream)
    _encode_shared([item for item in items if item.entry.stream < 0], settings, streams)
    return container.write([item.entry for item in items], streams)


@dataclasses.dataclass(frozen=True)
class _Settings:
    quantizer: str
    rate_weight: float
    n_unary: int
    scan: int
    axes: str


@dataclasses.dataclass
class _Item:
    """A tensor on its way into the file: its entry, and the array that is still to be quantised or coded."""

    entry: Entry
    array: np.ndarray | None = None  # weights for UNIFORM (unless `quantized`), integers, or the values of a raw tensor
    quantized: bool = False
    importance: np.ndarray | None = None


def _item(path, name, leaf, rule, importance) -> _Item:
    if isinstance(leaf, Empty):
        return _Item(Entry(path, None, empty=leaf.kind))
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
        return _Item(Entry(path, dtype, q.shape, UNIFORM, float(leaf.step)), q, True)
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
    if kind in "iub" and array.size and max(-int(array.min()), int(array.max())) <= MAX_ABS_LEVEL:
        entry.coding = INTEGERS
    elif kind == "f" or array.dtype.name.startswith(("bfloat", "float8")):
        step = rule(name, array)
        if step is not None and array.size:
            entry.coding, entry.step = UNIFORM, float(step)
    if importance is not None:
        importance = np.asarray(importance)
        if importance.shape != array.shape:
            raise ValueError(f"tensor {name!r}: importance has shape {importance.shape}, the weights {array.shape}")
    return _Item(entry, array, importance=importance)


def _codebook_item(path, name, leaf: Codebook) -> _Item:
    labels, values = np.asarray(leaf.labels), np.ascontiguousarray(leaf.values)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    container.dtype_code(values.dtype)
    if values.dtype.kind in "iubc" or values.ndim != 1 or not values.size:
        raise TypeError(f"tensor {name!r}: Codebook.values must be floats [number of values], not {values.dtype} "
                        f"{list(values.shape)}")  # fmt: skip
    if labels.dtype.kind not in "iub":
        raise TypeError(f"tensor {name!r}: Codebook.labels holds {labels.dtype}, not integers")
    if not np.isfinite(values).all():
        raise ValueError(f"tensor {name!r}: Codebook.values holds NaN or infinity")
    zero = int(leaf.zero)
    if not 0 <= zero < values.size:
        raise ValueError(f"tensor {name!r}: Codebook.zero={zero} is no place among {values.size} values")
    if labels.size and not (-zero <= int(labels.min()) and int(labels.max()) < values.size - zero):
        raise ValueError(
            f"tensor {name!r}: labels from {labels.min()} to {labels.max()} leave the codebook, which has values for "
            f"{-zero} to {values.size - zero - 1}"
        )
    return _Item(Entry(path, values.dtype, labels.shape, CODEBOOK, values=values, zero=zero), labels, True)


def _levels(item: _Item, settings, order, quantizer: str) -> np.ndarray:
    """Integers of a tensor in its coding order of axes."""
    array = item.array if order is None else np.ascontiguousarray(item.array.transpose(order))
    if item.entry.coding == INTEGERS or item.quantized:
        return array
    try:
        if quantizer == "uniform":
            return quantize_uniform(array, item.entry.step)
        weight = item.importance
        if weight is not None and order is not None:
            weight = weight.transpose(order)
        quantize = quantize_trellis if quantizer == "trellis" else quantize_rdo
        options = {"importance": weight, "n_unary": settings.n_unary, "scan": settings.scan}
        return quantize(array, item.entry.step, settings.rate_weight, **options)
    except ValueError as error:
        raise ValueError(f"tensor {item.entry.name!r}: {error}") from None


def _encode_alone(item: _Item, settings) -> Stream | None:
    """The tensor's own stream; None where it needs none (all zero) or goes raw with the others. Completes the entry."""
    entry, orders = item.entry, [None]
    if settings.axes == "auto" and len(entry.shape) > 1 and 1 < entry.shape[-1] < entry.size:
        orders.append((len(entry.shape) - 1, *range(len(entry.shape) - 1)))
    best = None
    # The order of axes is judged on nearest-neighbour levels; the rate-distortion decision then follows that order.
    nearest = _levels(item, settings, None, "uniform")
    for order in orders:
        codeword = _plan(nearest if order is None else nearest.transpose(order), settings)
        if best is None or codeword.bits < best.bits:
            best, entry.axes = codeword, order
    if settings.quantizer != "uniform" and entry.coding == UNIFORM and not item.quantized:
        entry.coding = TRELLIS if settings.quantizer == "trellis" else UNIFORM
        best = _plan(_levels(item, settings, entry.axes, settings.quantizer), settings, entry.coding == TRELLIS)
    if not best.levels.any() and _zero_means_zero(entry):
        entry.coding, entry.axes = ZERO, None
        return None
    data = encode_levels(best.levels, best.options, best.presets)
    if entry.coding == INTEGERS and len(data) >= entry.nbytes:
        entry.coding, entry.axes = RAW, None
        return None
    return Stream(CABAC_STREAM, data, settings.n_unary, settings.scan, best.options.profile, best.options.dq)


def _zero_means_zero(entry) -> bool:
    """Whether a tensor of zero levels may be stored as zeros: not if its codebook gives them another value."""
    return entry.coding != CODEBOOK or not entry.values[entry.zero].tobytes().strip(b"\0")


@dataclasses.dataclass
class _Codeword:
    levels: np.ndarray  # int32 [height, width] of the options
    options: Options
    presets: np.ndarray
    bits: float


def _plan(levels: np.ndarray, settings, dq: bool = False) -> _Codeword:
    """A codeword not yet written: row skip where a row is all zero, presets, and the bits it will take."""
    height, width = matrix_shape(levels.shape)
    matrix = np.ascontiguousarray(levels, np.int32).reshape(height, width)
    skip = height > 1 and width > 1 and not matrix.any(axis=1).all() and not (dq and settings.scan)
    options = Options(settings.n_unary, dq, settings.scan, int(skip), height, width)
    matrix = matrix.reshape(options.height, options.width)
    return _Codeword(matrix, options, *plan(matrix, options))


def _encode_shared(items, settings, streams: list[Stream]) -> None:
    """Small tensors end to end: one codeword for the quantised, one for the integers, one stream of raw bytes."""
    for codings in ((UNIFORM, CODEBOOK), (INTEGERS,)):
        members = []
        for item in items:
            if item.entry.coding in codings:
                levels = _levels(item, settings, None, "rdo" if settings.rate_weight > 0 else "uniform")
                if levels.any() or not _zero_means_zero(item.entry):
                    members.append((item, levels.reshape(-1)))
                else:
                    item.entry.coding = ZERO
        if members:
            together = _plan(np.concatenate([levels for _, levels in members], dtype=np.int32)[None], settings)
            for item, _ in members:
                item.entry.stream = len(streams)
            data = encode_levels(together.levels, together.options, together.presets)
            streams.append(Stream(CABAC_STREAM, data, settings.n_unary))
    raw = []
    for item in items:
        if item.entry.coding == RAW and item.entry.empty is None:
            data = item.array.tobytes()
            if data.count(0) == len(data):  # of the bytes: a negative zero is kept
                item.entry.coding = ZERO
            else:
                item.entry.stream = len(streams)
                raw.append(data)
    if raw:
        streams.append(Stream(RAW_STREAM, b"".join(raw)))


def _step_rule(step, small_step, qp, small_qp, names) -> Callable[[str, np.ndarray], float | None]:
    for value, other, label in ((step, qp, "step"), (small_step, small_qp, "small_step")):
        if value is not None and other is not None:
            raise ValueError(f"give {label} or {label.replace('step', 'qp')}, not both")
    step = qp_to_step(qp) if qp is not None else step
    small_step = qp_to_step(small_qp) if small_qp is not None else small_step
    for value, label in ((step, "step"), (small_step, "small_step")):
        if isinstance(value, (int, float, np.number)) and not 0 < value < math.inf:
            raise ValueError(f"{label}={value} must be a finite number > 0")
    if step is None or isinstance(step, (int, float, np.number)):
        return lambda name, array: step if array.ndim > 1 else small_step
    if small_step is not None:
        raise ValueError("small_step belongs to a step that is a number; a mapping or function covers all tensors")
    if callable(step):
        return step
    named = _named(step, names, "step")
    return lambda name, array: named.get(name)


def _named(tree, names, what: str) -> dict:
    """{name: leaf} of a mapping or tree whose names must all be names of tensors."""
    if isinstance(tree, Mapping) and any(
        isinstance(value, (int, float, np.number)) or value is None for value in tree.values()
    ):
        found = dict(tree)
    else:
        found = {path_name(path): leaf for path, leaf in flatten(tree) if not isinstance(leaf, Empty)}
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise ValueError(
            f"{what} names {unknown[0]!r}, which is no tensor of the tree (tensors: {', '.join(sorted(names)[:5])}...)"
        )
    return found
