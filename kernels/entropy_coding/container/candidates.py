"""Several files of one tree, for a search over steps and prices: their decisions may be made beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...threads import checked_jobs
from .. import quantize
from ..checks import checked_weights
from .compression import prepared, written
from .config import Config
from .items import SHARED_SIZE, Item
from .large import order_of, tries_orders
from .layout import UNIFORM
from .streams import in_order, with_name


def compress_many(
    tree: Any,
    candidates: Sequence[Mapping[str, Any]],
    *,
    implementation: str | None = None,
    jobs: int | None = None,
    check: bool = False,
) -> list[bytes]:
    """The files of a tree at several settings: `[compress(tree, **options) for options in candidates]`, to the byte.

    Args:
      tree: as for `compress`.
      candidates: options of `compress` for each file, without jobs and check.
      implementation: None or "compiled" decides one tensor of one file after another, as `compress`; "xla" those of
        2048 weights and more, of one shape, of all files in one program, on JAX's default device (`quantize_rdo`).
      jobs, check: as for `compress`.

    Raises:
      ValueError, TypeError, RuntimeError: as `compress`.

    Example:
      >>> import numpy as np
      >>> from havel.kernels import entropy_coding
      >>> tree = {"w": np.random.default_rng(0).laplace(size=(50, 50)).astype(np.float32)}
      >>> fine, coarse = entropy_coding.compress_many(tree, [{"step": 0.1}, {"step": 0.2, "rate_weight": 0.1}])
      >>> fine == entropy_coding.compress(tree, step=0.1), len(fine) > len(coarse)
      (True, True)
    """
    if implementation not in (None, "compiled", "xla"):
        raise ValueError(f"implementation={implementation!r} is neither 'compiled' nor 'xla'")
    jobs = checked_jobs(jobs)
    files = [prepared(tree, **options) for options in candidates]
    if implementation == "xla":
        _decide_beside_each_other(files)
    return [written(items, config, jobs, check) for items, config in files]


class _Request(NamedTuple):
    """A tensor that waits for its levels: its item, weights and importance with their axes in order, its price."""

    item: Item
    weights: np.ndarray
    importance: np.ndarray | None
    rate_weight: float


def _decide_beside_each_other(files: list[tuple[list[Item], Config]]) -> None:
    """Gives large tensors their levels; those of equal options and shape come from one program."""
    requests: dict[tuple, list[_Request]] = {}
    copies: dict[tuple, np.ndarray] = {}  # one copy of a tensor in an order of axes, for all files
    for items, config in files:
        is_decision = config.quantizer == "trellis" or (config.quantizer == "rdo" and config.rate_weight > 0)
        for item in items if is_decision else []:
            if item.entry.coding != UNIFORM or item.is_integers or item.entry.size < SHARED_SIZE:
                continue
            item.order = order_of(item, config)
            item.entry.axes = axes = item.order[0]
            if tries_orders(item, config):
                continue
            weights = _copy_in_order(copies, item.array, axes)
            importance = item.importance
            if importance is not None:
                importance = _copy_in_order(copies, importance, axes)
            key = config.quantizer, config.flags, config.scan
            requests.setdefault(key, []).append(_Request(item, weights, importance, config.rate_weight))
    for (quantizer, n_unary, scan), group in requests.items():
        _decide(quantizer, group, {"n_unary": n_unary, "scan": scan})


def _copy_in_order(copies: dict[tuple, np.ndarray], array: np.ndarray, axes) -> np.ndarray:
    key = id(array), axes  # items hold the arrays: no other gets the number
    if key not in copies:
        copies[key] = in_order(array, axes)
    return copies[key]


def _decide(quantizer: str, requests: list[_Request], coder: dict) -> None:
    for request in requests:  # here the tensor still has its name
        margin = 2 if quantizer == "trellis" else 0
        with_name(request.item, checked_weights, request.weights, request.item.entry.step, margin)
    items, weights, importance, rates = (list(values) for values in zip(*requests, strict=True))
    steps = [item.entry.step for item in items]
    decide = quantize.quantize_trellis if quantizer == "trellis" else quantize.quantize_rdo
    levels = decide(weights, steps, rates, importance=importance, implementation="xla", **coder)
    for item, of_item in zip(items, levels, strict=True):
        item.decision = of_item
