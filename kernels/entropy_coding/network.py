"""Whole networks as bytes: a pytree of arrays to one file image and back.

DeepCABAC (arXiv:1907.11900) for every tensor that is quantised or holds integers, each in a codeword of its own, coded
in parallel on CPU threads; small ones share a codeword; everything else is stored as it is. The format is in
container.py.
"""

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from . import container
from .coding import SHARED_SIZE, Item, Settings, Steps, encode_alone, make_item, store_raw
from .layout import CODEBOOK, INTEGERS, UNIFORM, ZERO, Stream
from .quantize import checked_jobs, qp_to_step
from .reading import decoded_leaves
from .small import encode_small
from .tensor import Options
from .tree import Codebook, Empty, Quantized, flatten, path_name

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
    fit_steps: bool | None = None,
    n_unary: int | None = None,
    scan: int = 0,
    axes: str = "auto",
    jobs: int | None = None,
    check: bool = False,
) -> bytes:
    """The bytes of a file that holds the tree. The same input gives the same bytes, whatever the number of jobs.

    Args:
      tree: arrays (NumPy, JAX, or anything `numpy.asarray` takes), scalars, `Quantized` and `Codebook` tensors in
        nested dicts, lists, tuples and other registered pytrees (the last come back as dicts).
      step: quantisation step of the weights, in their unit. A number applies to float tensors of two or more axes; a
        mapping from names ("fc1/kernel") or a function of (name, array) gives any float tensor its step, and None or
        no entry means lossless. By default nothing is quantised. Masks (two values at most, one of them infinite)
        and tensors with a value too large for such steps (which are finer there than their dtype) are stored as they
        are, unless a mapping names them.
      small_step: where `step` is a number, the step of float tensors of fewer axes (biases, statistics); None:
        lossless.
      qp, small_qp: the same as NNC quantisation parameters (`qp_to_step`), instead of the steps.
      quantizer: "uniform" (nearest level), "rdo" (`quantize_rdo`) or "trellis" (`quantize_trellis`; `step` is
        then that of its grid, half the distance of the levels of one state). By default "rdo" where rate_weight > 0,
        else "uniform".
      rate_weight: price of a bit in squared steps for the rate-distortion decision (see `quantize_rdo`); 0: nearest
        neighbour.
      importance: weights of the squared errors, a tree of arrays with the names of the tensors they belong to. They
        count with a rate_weight, for the trellis and for fitted steps.
      fit_steps: store the step that suits the levels best (`fitted_step`) instead of the one they were decided with.
        It costs nothing and lowers the squared error. By default wherever the quantizer is not "uniform".
      n_unary, scan: coder options, see `encode_tensor`; without n_unary each codeword gets the number that suits it.
      axes: "auto" codes each tensor as stored or with its last axis first, whichever is shorter; "keep" as stored.
      jobs: threads; by default one a core.
      check: decode the file again and compare it with what was to be written, level by level.

    Raises:
      RuntimeError: that comparison failed; the tensor is named.
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
    Options(
        11 if n_unary is None else n_unary, False, scan, 0, 1, 1
    )  # refuses unknown ones, whatever tensors there are
    leaves = [(path, path_name(path), leaf) for path, leaf in flatten(tree)]
    names = {name for _, name, _ in leaves}
    if len(names) < len(leaves):
        every = [name for _, name, _ in leaves]
        twice = next(name for name in every if every.count(name) > 1)
        raise ValueError(f"two tensors are both called {twice!r}: rename one")
    fit = quantizer != "uniform" if fit_steps is None else fit_steps
    if importance is not None and not (rate_weight or quantizer == "trellis" or fit):
        raise ValueError(
            f"importance changes nothing where quantizer={quantizer!r} takes the nearest level: give a rate_weight, "
            "quantizer='trellis' or fit_steps=True"
        )
    jobs = checked_jobs(jobs)
    rule = _step_rule(step, small_step, qp, small_qp, names)
    weights = {} if importance is None else _named(importance, names, "importance")
    items = [make_item(path, name, leaf, rule, weights.get(name)) for path, name, leaf in leaves]

    coded = [item for item in items if item.entry.coding in (INTEGERS, UNIFORM, CODEBOOK)]
    alone = [item for item in coded if item.entry.size >= SHARED_SIZE]
    small = [item for item in coded if item.entry.size < SHARED_SIZE]
    inner = max(1, jobs // max(len(alone), 1))
    settings = Settings(quantizer, float(rate_weight), n_unary, scan, axes, fit, inner)
    with ThreadPoolExecutor(jobs) as pool:
        # What takes long first, so that no thread starts on it when the others are done.
        together = pool.submit(encode_small, small, settings)
        futures = {id(i): pool.submit(encode_alone, i, settings) for i in sorted(alone, key=lambda i: -i.entry.size)}
        found = [(item, futures[id(item)].result()) for item in alone]

    streams: list[Stream] = []
    for item, stream in found:
        if stream is not None:
            item.entry.stream = len(streams)
            streams.append(stream)
    for item in small:
        if item.entry.stream >= 0:
            item.entry.stream += len(streams)
    streams += together.result()
    streams += store_raw(items, len(streams))
    data = container.write([item.entry for item in items], streams)
    if check:
        _check(data, items, jobs)
    return data


def _check(data: bytes, items: list[Item], jobs: int) -> None:
    """Raises RuntimeError unless a file decodes to the items that it was made of."""
    leaves = decoded_leaves(data, jobs)
    for item, leaf in zip(items, leaves, strict=True):
        entry = item.entry
        if entry.empty is not None:
            same = leaf == Empty(entry.empty)
        elif isinstance(leaf, Quantized):
            same = leaf.step == entry.step and leaf.dtype == entry.dtype and np.array_equal(leaf.q, item.levels)
        elif isinstance(leaf, Codebook):
            same = np.array_equal(leaf.labels, item.levels) and leaf.values.tobytes() == entry.values.tobytes()
        elif entry.coding == ZERO:
            same = not leaf.any() and leaf.shape == entry.shape and leaf.dtype == entry.dtype
            same = same and (item.levels is None or not item.levels.any())
        else:
            same = leaf.dtype == entry.dtype and leaf.shape == entry.shape and leaf.tobytes() == item.array.tobytes()
        if not same:
            raise RuntimeError(f"tensor {entry.name!r} does not decode to what was to be written: no file was made")


def _step_rule(step, small_step, qp, small_qp, names) -> Steps:
    for value, other, label in ((step, qp, "step"), (small_step, small_qp, "small_step")):
        if value is not None and other is not None:
            raise ValueError(f"give {label} or {label.replace('step', 'qp')}, not both")
    step = qp_to_step(qp) if qp is not None else step
    small_step = qp_to_step(small_qp) if small_qp is not None else small_step
    step, small_step = (float(x) if getattr(x, "ndim", None) == 0 else x for x in (step, small_step))
    for value, label in ((step, "step"), (small_step, "small_step")):
        if isinstance(value, (str, bytes)) or getattr(value, "ndim", 0):
            expected = "a number, a mapping from names or a function" if label == "step" else "a number"
            raise ValueError(f"{label}={value!r:.100}; expected {expected}")
    for value, label in ((step, "step"), (small_step, "small_step")):
        if isinstance(value, (int, float, np.number)) and not 0 < value < math.inf:
            raise ValueError(f"{label}={value} must be a finite number > 0")
    if step is None or isinstance(step, (int, float, np.number)):
        return Steps(lambda name, array: step if array.ndim > 1 else small_step)
    if small_step is not None:
        raise ValueError("small_step belongs to a step that is a number; a mapping or function covers all tensors")
    if callable(step):
        return Steps(step)
    named = _named(step, names, "step")
    return Steps(lambda name, array: named.get(name), named)


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
