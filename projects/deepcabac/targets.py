"""Steps that meet a demand: the best quality within a number of bytes, the smallest file of a signal-to-noise ratio."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

from common import weight_files
from kernels import entropy_coding
from projects.deepcabac import quantization
from projects.deepcabac.quantization import Network, Rule

ROUNDS = 24  # halvings: the step is then known to a millionth of an octave of its range
CLOSE = 1e-4  # a file this near to its target is near enough
LARGEST_LEVEL = 1 << 22  # of the finest step that is tried


class Encoded(NamedTuple):
    """A file's bytes and the rule that made them (None: everything lossless)."""

    data: bytes
    rule: Rule | None


def fit_bytes(network: Network, rule: Rule, target: int, shown: Callable[[str], None]) -> Encoded:
    """Returns the file with the smallest step that takes at most `target` bytes; lossless where that fits.

    Args:
      network: what to compress.
      rule: its other settings; `step` is replaced.
      target: bytes, of the whole file.
      shown: called with a line for each step tried.

    Raises:
      ValueError: even the coarsest step takes more; the message has the smallest size reached.
    """
    lossless = quantization.encode(network, None)
    if len(lossless) <= target:
        return Encoded(lossless, None)
    finest, coarsest = _step_range(network)
    best = _encode(network, rule, coarsest)
    if len(best.data) > target:
        smallest = min(len(best.data), len(lossless))
        raise ValueError(
            f"--target_bytes={target} cannot be reached: with every weight at zero the file takes {smallest} bytes "
            "(names, shapes, and tensors with fewer than two axes: --small_relative_step makes those coarser)"
        )
    low, high = math.log2(finest), math.log2(coarsest)
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        tried = _encode(network, rule, 2.0**middle)
        fits = len(tried.data) <= target
        shown(f"step {2.0**middle:.6g}: {len(tried.data)} bytes")
        best, low, high = (tried, low, middle) if fits else (best, middle, high)
        if fits and target - len(tried.data) <= target * CLOSE:
            break
    return best


def reach_snr(network: Network, rule: Rule, target: float, shown: Callable[[str], None]) -> Encoded:
    """Returns the file with the largest step whose weights (two or more axes) have `target` dB or more.

    Raises:
      ValueError: the finest step has less; the message has the ratio reached.
    """
    finest, coarsest = _step_range(network)

    def ratio(tried: Encoded) -> float:
        options = {"max_output_bytes": network.most_bytes, "jobs": network.jobs}
        decoded = entropy_coding.decompress(tried.data, **options)
        return quantization.weight_snr(network.tree, decoded)

    best = _encode(network, rule, finest)
    if (reached := ratio(best)) < target:
        raise ValueError(f"--target_snr={target} dB cannot be reached: the finest step tried gives {reached:.2f} dB")
    low, high = math.log2(finest), math.log2(coarsest)
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        tried = _encode(network, rule, 2.0**middle)
        reached = ratio(tried)
        shown(f"step {2.0**middle:.6g}: {reached:.3f} dB, {len(tried.data)} bytes")
        best, low, high = (tried, middle, high) if reached >= target else (best, low, middle)
        if 0 <= reached - target < 1e-3:
            break
    return best


def _encode(network: Network, rule: Rule, step: float) -> Encoded:
    chosen = dataclasses.replace(rule, step=step)
    return Encoded(quantization.encode(network, chosen), chosen)


def _step_range(network: Network) -> tuple[float, float]:
    """The finest step that is tried, and one at which every weight becomes zero."""
    largest = 0.0
    for name, array in weight_files.flatten(network.tree).items():
        if quantization.is_weight(array) and array.size and name not in network.exact:
            size = float(abs(array).max())
            if math.isnan(size):
                raise ValueError(f"tensor {name!r} holds NaN: a network that was trained has none")
            if math.isfinite(size):  # others are stored to the bit
                largest = max(largest, size / network.layer_steps.get(name, 1.0))
    if not largest > 0:
        raise ValueError("every weight is zero or infinite: a target needs weights that can be quantised")
    return largest / LARGEST_LEVEL, 4 * largest
