"""Whole networks as bytes: a pytree of arrays to one file image.

DeepCABAC (arXiv:1907.11900) for every tensor that is quantised or holds integers, each in a codeword of its own, coded
in parallel on CPU threads; small ones share a codeword; everything else is stored as it is. The format is in file.py.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any, SupportsIndex

import numpy as np

from ...array_types import Scalar
from ...threads import checked_jobs
from . import file
from .config import Config, StepRule, checked_config, checked_names, checked_steps
from .items import SHARED_SIZE, Item, make_item
from .large import encode_alone
from .layout import CODEBOOK, INTEGERS, RAW, RAW_STREAM, UNIFORM, ZERO, Stream
from .reading import decoded_leaves
from .small import encode_small
from .tree import Codebook, Empty, Quantized, flatten, path_name


def compress(
    tree: Any,
    *,
    step: StepRule | None = None,
    small_step: Scalar | None = None,
    qp: SupportsIndex | None = None,
    small_qp: SupportsIndex | None = None,
    quantizer: str | None = None,
    rate_weight: Scalar = 0.0,
    importance: Any = None,
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

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> w = np.random.default_rng(0).laplace(0, 0.05, (64, 64)).astype(np.float32)
      >>> data = entropy_coding.compress({"fc": {"kernel": w}}, step=0.05)
      >>> len(data) < w.nbytes / 10
      True
    """
    jobs = checked_jobs(jobs)
    items, config = prepared(
        tree, step=step, small_step=small_step, qp=qp, small_qp=small_qp, quantizer=quantizer, rate_weight=rate_weight,
        importance=importance, fit_steps=fit_steps, n_unary=n_unary, scan=scan, axes=axes,
    )  # fmt: skip
    return written(items, config, jobs, check)


def prepared(
    tree, *, step=None, small_step=None, qp=None, small_qp=None, quantizer=None, rate_weight=0.0, importance=None,
    fit_steps=None, n_unary=None, scan=0, axes="auto",
) -> tuple[list[Item], Config]:  # fmt: skip
    """What is to be coded and how, for options of `compress`."""
    config = checked_config(quantizer, rate_weight, importance is not None, fit_steps, n_unary, scan, axes)
    leaves = [(path, path_name(path), leaf) for path, leaf in flatten(tree)]
    names = [name for _, name, _ in leaves]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two tensors are both called {twice!r}: rename one")
    steps = checked_steps(step, small_step, qp, small_qp, names)
    weights = {} if importance is None else checked_names(importance, names, "importance")
    return [make_item(path, name, leaf, steps, weights.get(name)) for path, name, leaf in leaves], config


def written(items: list[Item], config: Config, jobs: int, check: bool) -> bytes:
    """The bytes of a file of items; check: decode them again."""
    streams = _encode(items, config, jobs)
    data = file.write([item.entry for item in items], streams)
    if check:
        _check(data, items, jobs)
    return data


def _encode(items: list[Item], config: Config, jobs: int) -> list[Stream]:
    """The streams of all items, on threads; completes their entries."""
    coded = [item for item in items if item.entry.coding in (INTEGERS, UNIFORM, CODEBOOK)]
    large = [item for item in coded if item.entry.size >= SHARED_SIZE]
    small = [item for item in coded if item.entry.size < SHARED_SIZE]
    config = dataclasses.replace(config, jobs=max(1, jobs // max(len(large), 1)))
    with ThreadPoolExecutor(jobs) as pool:
        # What takes long first, so that no thread starts on it when the others are done.
        shared = pool.submit(encode_small, small, config)
        futures = {id(i): pool.submit(encode_alone, i, config) for i in sorted(large, key=lambda i: -i.entry.size)}
        own = [futures[id(item)].result() for item in large]
    streams: list[Stream] = []
    for item, stream in zip(large, own, strict=True):
        if stream is not None:
            item.entry.stream = len(streams)
            streams.append(stream)
    for item in small:
        if item.entry.stream >= 0:
            item.entry.stream += len(streams)
    streams += shared.result()
    return streams + _store_raw(items, len(streams))


def _store_raw(items: list[Item], index: int) -> list[Stream]:
    """The bytes of tensors that are stored as they are, in one stream of that index; none where there are none."""
    raw = []
    for item in items:
        if item.entry.coding == RAW and item.entry.empty is None:
            data = item.array.tobytes()
            if data.count(0) == len(data):  # of the bytes: a negative zero is no zero
                item.entry.coding = ZERO
            else:
                item.entry.stream = index
                raw.append(data)
    return [Stream(RAW_STREAM, b"".join(raw))] if raw else []


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
            same = (
                np.array_equal(leaf.labels, item.levels) and np.asarray(leaf.values).tobytes() == entry.values.tobytes()
            )
        elif entry.coding == ZERO:
            same = not leaf.any() and leaf.shape == entry.shape and leaf.dtype == entry.dtype
            same = same and not item.levels.any()
        else:
            same = leaf.dtype == entry.dtype and leaf.shape == entry.shape and leaf.tobytes() == item.array.tobytes()
        if not same:
            raise RuntimeError(f"tensor {entry.name!r} does not decode to what was to be written: no file was made")
