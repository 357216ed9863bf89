"""What `compress` chooses where nobody asked: the order of axes, the number of unary flags, who shares a codeword.

All are judged by estimates: the rate recursion on a sample for the order of axes; for the rest, histograms of
magnitudes that charge every context the entropy of its bins (as `rate_static` does) and a little for learning them.
"""

import numpy as np

from ...array_types import Float64, Int32
from ..codeword import Options, make_options, matrix_shape, skip_bits, skipped_rows
from ..core.constants import COST_UNIT, MAX_UNARY
from ..quantize import quantize_uniform

_ENOUGH = 1 << 17  # values that show which order of axes is the cheaper
_SPREAD = 1 << 15  # and that show how magnitudes are spread
_WORTH = 0.99  # an order of axes must save so much: less is chance
_EXACT_BITS = 9
_EXACT = 1 << _EXACT_BITS  # magnitudes below it are told apart, the others by their number of bits
_BINS = _EXACT + 32 - _EXACT_BITS
_LEARNING = 8.0  # bits that a context costs until it knows its bins
_WAVERING = 0.003  # bits that every bin costs because the estimators never come to rest
_CODEWORD = 120.0  # bits that one more codeword costs: its place in the file, its preset flags, its end


def coded_matrix(
    levels: np.ndarray, n_unary: int, scan: int, dq: bool = False
) -> tuple[Int32[np.ndarray, "rows columns"], Options]:
    """Levels in the matrix of their options, with row skip where a row is all zero."""
    height, width = matrix_shape(levels.shape)
    matrix = np.require(levels, np.int32, ("C", "A")).reshape(height, width)
    skip = height > 1 and width > 1 and not matrix.any(axis=1).all() and not (dq and scan)
    options = make_options((height, width), n_unary, dq, scan, int(skip))
    return matrix.reshape(options.height, options.width), options


def axis_order(array: np.ndarray, step: float | None, n_unary: int, scan: int) -> tuple[tuple[int, ...] | None, float]:
    """The last axis first, where that saves bits worth having, None for the order as stored; and the bits a value
    that it saves.

    step: at which weights get their nearest levels; None for an array of integers.
    """
    last_first = (array.ndim - 1, *range(array.ndim - 1))
    moved, stored = (_price(one, step, n_unary, scan) for one in (array.transpose(last_first), array))
    return (last_first, stored - moved) if moved < _WORTH * stored else (None, 0.0)


def _price(array: np.ndarray, step: float | None, n_unary: int, scan: int) -> float:
    """Bits a value of a tensor in an order of axes: nearest levels, rated on all of it or on rows of a large one."""
    from ..core import rate

    if len(array) < 64 and array.flags.c_contiguous:  # few rows would be a poor sample
        array = array.reshape(-1, array.shape[-1])
    row = array.size // len(array)
    if array.size > 2 * _ENOUGH and row <= _ENOUGH:
        array = array[np.linspace(0, len(array) - 1, -(-_ENOUGH // row)).astype(np.int64)]
    levels = array if step is None else quantize_uniform(array, step)
    matrix, options = coded_matrix(levels, n_unary, scan)
    skipped = skipped_rows(matrix, options)
    bits = rate.cost(matrix, n_unary, False, options.block, skipped, options.no_presets()) * COST_UNIT
    return (bits + skip_bits(skipped)) / array.size


def magnitudes(levels: np.ndarray, dq: bool = False) -> Float64[np.ndarray, " bins"]:
    """How many levels have each magnitude, the large ones by their number of bits.

    dq: grid integers of the trellis, whose levels are about half as large.
    """
    flat = levels.reshape(-1)
    every = 1 + flat.size // _SPREAD
    size = np.abs(flat[::every].astype(np.int64))
    size = (size + 1) >> 1 if dq else size
    counts = np.bincount(np.minimum(size, _EXACT), minlength=_BINS)
    large = size[size >= _EXACT]
    counts[_EXACT] = 0
    if large.size:
        counts += np.bincount(_EXACT + _bits(large) - _EXACT_BITS - 1, minlength=_BINS)
    return counts * float(every)


def unary_flags(counts: Float64[np.ndarray, " bins"]) -> tuple[int, float]:
    """The number of unary flags that suits magnitudes, and the bits of all of them with it."""
    at_least = np.cumsum(counts[::-1])[::-1]
    flags = _entropy(at_least[1 : MAX_UNARY + 2], at_least[: MAX_UNARY + 1])  # of significance, then of each flag
    prefixes = np.bincount(
        _PLACES.reshape(-1), np.where(_BEYOND, counts, 0).reshape(-1), minlength=MAX_UNARY * _LENGTHS
    )
    prefixes = prefixes.reshape(MAX_UNARY, _LENGTHS)
    at_least_long = np.cumsum(prefixes[:, ::-1], axis=1)[:, ::-1]
    remainders = np.sum(_entropy(at_least_long - prefixes, at_least_long), axis=1) + prefixes @ np.arange(_LENGTHS)
    total = at_least[1] + flags[0] + np.cumsum(flags[1:]) + remainders
    best = int(np.argmin(total))
    return best + 1, float(total[best])


def _bits(numbers: np.ndarray) -> np.ndarray:
    """How many bits positive integers have."""
    return np.frexp(numbers.astype(np.float64))[1]


_LENGTHS = 33  # of the prefix of a remainder, from 0
_SIZES, _FLAGS = np.arange(_BINS), np.arange(1, MAX_UNARY + 1)[:, None]
_BEYOND = _SIZES > _FLAGS  # [flags, bins]: what leaves a remainder, and below the place of its prefix's length
_PLACES = np.where(_SIZES < _EXACT, _bits(np.maximum(_SIZES - _FLAGS, 1)) - 1, _SIZES - _EXACT + _EXACT_BITS)
_PLACES = _PLACES + (_FLAGS - 1) * _LENGTHS


def _entropy(ones: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Bits of each context's bins at their overall frequency, and what adapting to them costs."""
    bits = np.where(total > 0, _LEARNING + _WAVERING * total, 0)
    for part in (ones, total - ones):
        bits -= np.where(part > 0, part * np.log2(np.maximum(part, 0.5) / np.maximum(total, 0.5)), 0)
    return bits


def share(histograms: list[np.ndarray]) -> list[list[int]]:
    """Which of many small tensors best share a codeword: lists of their places, each in order.

    Tensors of like magnitudes are put together, then neighbouring groups as long as that saves bits.
    """
    size = np.concatenate([np.arange(_EXACT), 1.5 * 2.0 ** np.arange(_EXACT_BITS, 32)])
    groups: dict[int, list[int]] = {}
    for place, counts in enumerate(histograms):
        mean = float(counts @ size) / max(float(counts.sum()), 1.0)
        groups.setdefault(int(np.frexp(mean)[1]), []).append(place)
    parts = [(places, np.sum([histograms[place] for place in places], axis=0)) for _, places in sorted(groups.items())]
    bits = [unary_flags(counts)[1] for _, counts in parts]
    while len(parts) > 1:
        unions = [unary_flags(a[1] + b[1])[1] for a, b in zip(parts, parts[1:], strict=False)]
        gains = [bits[i] + bits[i + 1] + _CODEWORD - unions[i] for i in range(len(unions))]
        i = int(np.argmax(gains))
        if gains[i] < 0:
            break
        parts[i : i + 2] = [(sorted(parts[i][0] + parts[i + 1][0]), parts[i][1] + parts[i + 1][1])]
        bits[i : i + 2] = [unions[i]]
    return sorted(places for places, _ in parts)
