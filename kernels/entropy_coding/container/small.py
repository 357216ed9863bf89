"""Small tensors on their way into a file: they share a codeword, or a few where their magnitudes differ."""

import numpy as np

from ..checks import checked_weights
from ..quantize import quantize_trellis, quantize_uniform
from . import choices
from .config import Config
from .items import Item
from .layout import CODEBOOK, INTEGERS, TRELLIS, UNIFORM, ZERO, Stream
from .streams import codeword, decide, fit, follows_a_path, with_name, zero_means_zero


def encode_small(items: list[Item], config: Config) -> list[Stream]:
    """Small tensors end to end: codewords for the quantised and for the integers. Completes the entries, whose streams
    are numbered from 0."""
    small = [item for item in items if item.entry.coding in (UNIFORM, CODEBOOK)]
    streams: list[Stream] = []
    small = _share_paths(small, config, streams)
    if config.quantizer == "trellis":
        weights = [item for item in small if not item.quantized]
        nearest = [with_name(item, quantize_uniform, item.array, item.entry.step) for item in weights]
        for places in choices.share([choices.magnitudes(levels, True) for levels in nearest]):
            _share_trellis([weights[place] for place in places], config, streams)
        small = [item for item in small if item.quantized]
    for item in small:
        item.levels = item.array if item.quantized else decide(item, item.array, config)
    integers = [item for item in items if item.entry.coding == INTEGERS]
    for item in integers:
        item.levels = item.array
    for kind in (small, integers):
        for places in choices.share([choices.magnitudes(item.levels) for item in kind]):
            _share_levels([kind[place] for place in places], config, streams)
    return streams


def _share_paths(items: list[Item], config: Config, streams: list[Stream]) -> list[Item]:
    """Codewords for grid integers that follow a path of the trellis together; returns the other items."""
    paths: dict[int, list[Item]] = {}
    for item in items:
        if item.path is not None:
            paths.setdefault(item.path, []).append(item)
    on_a_path = set()
    for members in paths.values():
        levels = np.concatenate([item.array.reshape(-1) for item in members]).astype(np.int32)
        if not follows_a_path(levels[None], 0):
            continue  # tensors are missing, or were changed
        for item in members:
            item.levels = item.array
            item.entry.coding, item.entry.stream = TRELLIS, len(streams)
        on_a_path |= {id(item) for item in members}
        streams.append(codeword(levels[None], config, 0, True))
    return [item for item in items if id(item) not in on_a_path]


def _share_trellis(items: list[Item], config: Config, streams: list[Stream]) -> None:
    """One codeword of dependent quantisation for small tensors, each with its own step."""
    for item in items:
        if not item.array.any():
            item.entry.coding = ZERO
    items = [item for item in items if item.entry.coding != ZERO]
    if not items:
        return
    scaled = []
    for item in items:
        with_name(item, checked_weights, item.array, item.entry.step, 2)
        scaled.append(item.array.reshape(-1).astype(np.float64) / item.entry.step)
    weights = None
    if any(item.importance is not None for item in items):
        weights = np.concatenate(
            [np.ones(item.entry.size) if item.importance is None else item.importance.reshape(-1) for item in items]
        )
    if config.rate_weight == 0 and weights is None:
        levels, step = _no_worse_together(scaled, [item.entry.step for item in items])
    else:
        step, together = 1.0, np.concatenate(scaled)
        levels = quantize_trellis(together, step, config.rate_weight, importance=weights, n_unary=config.flags)
    at = 0
    for item in items:
        item.entry.coding, item.entry.stream, item.entry.step = TRELLIS, len(streams), step * item.entry.step
        own = levels[at : at + item.entry.size]
        item.levels = own.reshape(item.entry.shape)
        fit(item, item.array.reshape(-1), own, config, None if weights is None else weights[at : at + own.size])
        at += item.entry.size
    streams.append(codeword(levels[None], config, 0, True))


def _no_worse_together(scaled: list[np.ndarray], steps: list[float]) -> tuple[np.ndarray, float]:
    """Levels of tensors, in their steps, and the factor of the steps at which their squared error is no larger than
    that of a trellis for each: what a state of the trellis brings along from the tensor before is chance.

    Where every factor misses that, the best of them."""
    scales = np.repeat(np.square(steps), [one.size for one in scaled])
    together = np.concatenate(scaled)

    def error(levels, step):
        return float(np.sum(scales * (together - step * levels) ** 2))

    alone = error(np.concatenate([quantize_trellis(one, 1.0) for one in scaled]), 1.0)
    trials = []
    for step in (1.0, 0.99, 0.98, 0.96, 0.93, 0.88, 0.8):
        levels = quantize_trellis(together, step)
        trials.append((error(levels, step), levels, step))
        if trials[-1][0] <= alone:
            break
    return min(trials, key=lambda one: one[0])[1:]


def _share_levels(items: list[Item], config: Config, streams: list[Stream]) -> None:
    """One codeword for the integers of small tensors; those that are all zero need none."""
    members = []
    for item in items:
        if item.levels.any() or not zero_means_zero(item.entry):
            item.entry.stream = len(streams)
            members.append(item)
        else:
            item.entry.coding = ZERO
    if members:
        together = np.concatenate([item.levels.reshape(-1) for item in members], dtype=np.int32)
        streams.append(codeword(together[None], config, 0))
