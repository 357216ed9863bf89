"""Levels of tensors and the streams that carry them: what large and small tensors have in common."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import quantize
from ..codeword import checked_levels, choose_presets, encode_levels
from ..steps import fitted_step
from . import choices
from .config import DEFAULT_UNARY, Config
from .items import Item
from .layout import CABAC_STREAM, CODEBOOK, Entry, Stream


def in_order(array: np.ndarray, order) -> np.ndarray:
    """An array with its axes in an order, None for the one it has."""
    return array if order is None else np.ascontiguousarray(array.transpose(order))


def with_name(item: Item, function: Callable, *arguments, **options) -> Any:
    """What a function of an item returns; its ValueError with the tensor's name."""
    try:
        return function(*arguments, **options)
    except ValueError as error:
        raise ValueError(f"tensor {item.entry.name!r}: {error}") from None


def decide(item: Item, array: np.ndarray, config: Config) -> np.ndarray:
    """Levels of a tensor whose axes are in coding order; its entry gets the step that fits them."""
    entry = item.entry
    importance = None if item.importance is None else in_order(item.importance, entry.axes)
    if item.decision is not None:
        levels = item.decision
    elif config.quantizer == "uniform" or (config.quantizer == "rdo" and config.rate_weight == 0):
        levels = with_name(item, quantize.quantize_uniform, array, entry.step)
    else:
        quantizer = quantize.quantize_trellis if config.quantizer == "trellis" else quantize.quantize_rdo
        options = {"importance": importance, "n_unary": config.flags, "scan": config.scan, "jobs": config.jobs}
        levels = with_name(item, quantizer, array, entry.step, config.rate_weight, **options)
    fit(item, array, levels, config, importance)
    return levels


def fit(item: Item, array: np.ndarray, levels: np.ndarray, config: Config, importance=None) -> None:
    """Gives the entry the step that fits its levels, where that is asked for and its dtype can hold the largest one."""
    entry = item.entry
    largest = max(int(levels.max(initial=0)), -int(levels.min(initial=0)))

    def holds(step):
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.isfinite(np.float64(largest * step).astype(entry.dtype)))

    if config.fit_steps and holds(fitted := fitted_step(array, levels, entry.step, importance=importance)):
        entry.step = fitted
    elif not holds(entry.step):
        raise ValueError(
            f"tensor {entry.name!r}: its largest level, {largest}, times the step {entry.step} is more than "
            f"{entry.dtype} holds: take a smaller step"
        )


def codeword(levels: np.ndarray, config: Config, scan: int, dq: bool = False) -> Stream:
    """The stream of a tensor's levels."""
    n_unary = config.n_unary or choices.unary_flags(choices.magnitudes(levels, dq))[0]
    matrix, options = choices.coded_matrix(levels, n_unary, scan, dq)
    data = encode_levels(matrix, options, choose_presets(matrix, options, sampled=True))
    return Stream(CABAC_STREAM, data, options.n_unary, scan, options.profile, dq)


def follows_a_path(levels: np.ndarray, scan: int) -> bool:
    """Whether the trellis of dependent quantisation allows integers of any shape in their order."""
    try:
        checked_levels(levels, DEFAULT_UNARY, True, scan, 0)
    except ValueError:
        return False
    return True


def zero_means_zero(entry: Entry) -> bool:
    """Whether a tensor of zero levels may be stored as zeros: not if its codebook gives them another value."""
    return entry.coding != CODEBOOK or not entry.values[entry.zero].tobytes().strip(b"\0")
