"""The order in which the checks of a code are updated, as arrays of places: what the decoder in XLA scans over.

A layer is a set of checks of which no two touch the same bit, so that they are updated together. Layered, a row of
circulants is one; of a code without structure, a check belongs to the layer after the last one that touches one of its
bits, which gives the numbers of one check after another. Flooding, all checks of one degree are a layer.
"""

import functools
from typing import NamedTuple

import numpy as np

from .codes import Code, edges

# Places that another loop costs in compiling and starting, in choosing how many layers of different size share one.
_LOOP = 0.04


class Segment(NamedTuple):
    """Layers of one shape, filled up.

    Attributes:
      places: int32 [layers, degree, checks], the bit of each edge; from n on where there is none, each number once.
      rows: int32 [layers, checks], the row of each check, for scales that differ by row.
    """

    places: np.ndarray
    rows: np.ndarray


@functools.lru_cache(maxsize=32)
def segments(code: Code, is_layered: bool) -> tuple[Segment, ...]:
    """The layers of a code, in order."""
    check, bit = edges(code)
    starts = np.searchsorted(check, np.arange(code.checks + 1))
    layers = _layers(code, bit, starts) if is_layered else _by_degree(starts)
    filler = iter(range(code.n, np.iinfo(np.int32).max))
    return tuple(_segment(layers[a:b], bit, starts, code, filler) for a, b in _spans(layers, starts))


def _layers(code: Code, bit: np.ndarray, starts: np.ndarray) -> list[np.ndarray]:
    """Numbers of the checks of each layer."""
    if code.lifting > 1:
        return list(np.arange(code.checks).reshape(-1, code.lifting))
    last = np.full(code.n, -1)  # layer that touched a bit last
    level = np.zeros(code.checks, np.int64)
    for number in range(code.checks):
        own = bit[starts[number] : starts[number + 1]]
        level[number] = last[own].max() + 1
        last[own] = level[number]
    order = np.argsort(level, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(level[order])) + 1)


def _by_degree(starts: np.ndarray) -> list[np.ndarray]:
    degree = np.diff(starts)
    return [np.flatnonzero(degree == one) for one in np.unique(degree)]


def _spans(layers: list[np.ndarray], starts: np.ndarray) -> list[tuple[int, int]]:
    """Runs of layers that are filled up to one shape, so that filling and loops together cost least."""
    widths = np.array([len(checks) for checks in layers])
    degrees = np.array([(starts[checks + 1] - starts[checks]).max() for checks in layers])
    loop = _LOOP * float(widths @ degrees)
    cost, before = np.full(len(layers) + 1, np.inf), np.zeros(len(layers) + 1, np.int64)
    cost[0] = 0.0
    for end in range(1, len(layers) + 1):
        width = np.maximum.accumulate(widths[end - 1 :: -1])[:end]
        degree = np.maximum.accumulate(degrees[end - 1 :: -1])[:end]
        total = cost[end - 1 :: -1][:end] + loop + np.arange(1, end + 1) * width * degree
        best = int(np.argmin(total))
        cost[end], before[end] = total[best], end - 1 - best
    spans, end = [], len(layers)
    while end:
        spans.append((int(before[end]), end))
        end = int(before[end])
    return spans[::-1]


def _segment(layers: list[np.ndarray], bit: np.ndarray, starts: np.ndarray, code: Code, filler) -> Segment:
    width = max(map(len, layers))
    degree = max(int((starts[checks + 1] - starts[checks]).max()) for checks in layers)
    places = np.full((len(layers), degree, width), -1)
    rows = np.zeros((len(layers), width), np.int32)
    for layer, checks in enumerate(layers):
        rows[layer, : len(checks)] = checks // code.lifting
        for number, check in enumerate(checks):
            own = bit[starts[check] : starts[check + 1]]
            places[layer, : len(own), number] = own
    empty = places < 0
    places[empty] = [next(filler) for _ in range(int(empty.sum()))]
    return Segment(places.astype(np.int32), rows)
