"""A large tensor on its way into a file: a codeword of its own, its axes in the cheaper order."""

import math
from typing import NamedTuple

import numpy as np

from ..steps import error_beside, sum_of_squares
from . import choices
from .config import Config
from .items import Item
from .layout import INTEGERS, RAW, TRELLIS, ZERO, Entry, Stream, last_first
from .streams import codeword, decide, follows_a_path, in_order, with_name, zero_means_zero

MANY = 1 << 14  # weights of which luck is sqrt(2 / n), a hundredth of the error
TRIES = 4  # of smaller steps


def encode_alone(item: Item, config: Config) -> Stream | None:
    """The tensor's own stream; None where it needs none (all zero) or goes raw with the others. Completes the entry."""
    entry = item.entry
    dq = config.quantizer == "trellis" and not item.is_integers
    if item.path is not None and (orders := _legal_orders(item, config, has_orders(item, config))):
        return _along_its_path(item, orders, config)
    entry.axes, saved = item.order or order_of(item, config)
    if tries_orders(item, config):
        levels = _no_less_exact(item, saved, config)
    else:
        array = in_order(item.array, entry.axes)
        levels = array if item.is_integers else decide(item, array, config)
    item.levels = _put_back(levels, entry.axes)
    if not levels.any() and zero_means_zero(entry):
        entry.coding, entry.axes = ZERO, None
        return None
    entry.coding = TRELLIS if dq else entry.coding
    stream = codeword(levels, config, config.scan, dq)
    if entry.coding == INTEGERS and len(stream.data) >= entry.nbytes:
        entry.coding, entry.axes = RAW, None
        return None
    return stream


def has_orders(item: Item, config: Config) -> bool:
    """Whether an order of axes is to be chosen."""
    shape = item.entry.shape
    return config.axes == "auto" and len(shape) > 1 and 1 < shape[-1] < item.entry.size


def order_of(item: Item, config: Config) -> tuple[tuple[int, ...] | None, float]:
    """The order of axes for a tensor, and the bits a value that it saves, see `choices.axis_order`."""
    if not has_orders(item, config):
        return None, 0.0
    step = None if item.is_integers else item.entry.step * (2 if config.quantizer == "trellis" else 1)
    return with_name(item, choices.axis_order, item.array, step, config.flags, config.scan)


def tries_orders(item: Item, config: Config) -> bool:
    """Whether levels are decided several times, so that the order of axes of the entry loses no precision."""
    is_nearest = config.quantizer == "trellis" and config.rate_weight == 0 and item.importance is None
    return is_nearest and not item.is_integers and item.entry.axes is not None


def _put_back(levels: np.ndarray, order) -> np.ndarray:
    return levels if order is None else levels.transpose(np.argsort(order))


class _Decision(NamedTuple):
    """Levels with their axes in an order, the step that fits them, and the squared error of both."""

    levels: np.ndarray
    axes: tuple[int, ...] | None
    step: float
    error: float


def _no_less_exact(item: Item, saved: float, config: Config) -> np.ndarray:
    """Levels of the trellis without rate, in the order of axes that `entry` has or as stored; completes the entry.

    Where the path through the stored order happened to meet the weights better, the other order gets a step so much
    smaller that its error is no larger, unless that costs more bits than it saves. Of many weights luck is a small part
    of the error: a step smaller by more than that stands for the comparison.

    Args:
      saved: bits a value that the order of the entry saves.
    """
    entry, size = item.entry, item.array.size
    axes, step, smallest = entry.axes, entry.step, entry.step * 2.0**-saved
    if config.fit_steps and size >= MANY:
        entry.step = step * (1 - 2 / math.sqrt(size))
        return decide(item, in_order(item.array, axes), config)
    squares = sum_of_squares(item.array)
    moved, stored = (_decision(item, order, step, squares, config) for order in (axes, None))
    for _ in range(TRIES):
        if moved.error <= stored.error:
            return _settle(entry, moved)
        # The error of n weights is known from the step to about sqrt(2 / n) of it: half of that for luck, and a little.
        step = step * math.sqrt(max(stored.error, 0.0) / moved.error) * (1 - max(1 / math.sqrt(size), 5e-4))
        if not config.fit_steps or step <= smallest:
            break
        moved = _decision(item, axes, step, squares, config)
    is_worth_it = not config.fit_steps and moved.error > 0
    is_worth_it = is_worth_it and math.log2(moved.error / max(stored.error, 1e-300)) / 2 <= saved
    return _settle(entry, moved if is_worth_it else stored)


def _decision(item: Item, axes, step: float, squares: float, config: Config) -> _Decision:
    """What a step gives in an order of axes; squares: the sum of the squared weights."""
    item.entry.axes, item.entry.step = axes, step
    array = in_order(item.array, axes)
    levels = decide(item, array, config)
    return _Decision(levels, axes, item.entry.step, squares + error_beside(array, levels, item.entry.step))


def _settle(entry: Entry, decision: _Decision) -> np.ndarray:
    entry.axes, entry.step = decision.axes, decision.step
    return decision.levels


def _legal_orders(item: Item, config: Config, has_orders: bool) -> list:
    """The orders of axes in which the grid integers of an item follow a path through the trellis."""
    orders = [last_first(len(item.entry.shape)), None] if has_orders else [None]
    return [order for order in orders if follows_a_path(in_order(item.array, order), config.scan)]


def _along_its_path(item: Item, orders: list, config: Config) -> Stream | None:
    """The stream of grid integers in the shortest of some orders; completes the entry."""
    entry, item.levels = item.entry, item.array
    if not item.array.any():
        entry.coding = ZERO
        return None
    streams = [codeword(in_order(item.array, order), config, config.scan, True) for order in orders]
    best = min(range(len(orders)), key=lambda place: len(streams[place].data))
    entry.coding, entry.axes = TRELLIS, orders[best]
    return streams[best]
