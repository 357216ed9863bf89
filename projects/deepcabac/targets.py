"""Steps that meet a demand: the best quality within a number of bytes, the smallest file of a signal-to-noise ratio."""

import dataclasses
import math
from collections.abc import Callable

from common import step_search, weight_files
from kernels.entropy_coding import layer_steps
from kernels.entropy_coding.layer_steps import is_weight, largest_magnitude
from projects.deepcabac import quantization
from projects.deepcabac.network import Network
from projects.deepcabac.quantization import Rule

ROUNDS = 24  # halvings: the step is then known to a millionth of an octave of its range
NEAR_BYTES, NEAR_DECIBELS = 1e-4, 1e-3  # a file this near to its target is near enough (the first as a share)
LARGEST_LEVEL = 1 << 22  # of the finest step that is tried


def fit_bytes(network: Network, rule: Rule, target: int, log: Callable[[str], None]) -> Rule | None:
    """Returns the rule with the smallest step whose file takes at most `target` bytes; None where lossless fits.

    Args:
      network: what to compress.
      rule: its other settings; `step` is replaced.
      target: bytes, of the whole file.
      log: called with a line for each step tried.

    Raises:
      ValueError: even the coarsest step takes more; the message has the smallest size reached.
    """
    lossless = len(quantization.encode(network, None))
    if lossless <= target:
        return None
    finest, coarsest = _step_range(network)

    def size_of(step: float) -> int:
        return len(quantization.encode(network, dataclasses.replace(rule, step=step)))

    if (smallest := size_of(coarsest)) > target:
        raise ValueError(
            f"--target_bytes={target} cannot be reached: with every weight at zero the file takes "
            f"{min(smallest, lossless)} bytes (names, shapes, and tensors with fewer than two axes: "
            "--small_relative_step makes those coarser)"
        )

    def room(step: float) -> float:
        size = size_of(step)
        log(f"step {step:.6g}: {size} bytes")
        return target - size

    return dataclasses.replace(rule, step=_halve(coarsest, finest, room, target * NEAR_BYTES))


def reach_snr(network: Network, rule: Rule, target: float, log: Callable[[str], None]) -> Rule:
    """Returns the rule with the largest step whose weights (two or more axes) have `target` dB or more.

    Raises:
      ValueError: the finest step has less; the message has the ratio reached.
    """
    finest, coarsest = _step_range(network)

    def excess(step: float) -> float:
        data = quantization.encode(network, dataclasses.replace(rule, step=step))
        ratio = layer_steps.weight_snr(network.flat, weight_files.flatten(network.decode(data)))
        log(f"step {step:.6g}: {ratio:.3f} dB, {len(data)} bytes")
        return ratio - target

    if (finest_excess := excess(finest)) < 0:
        reached = target + finest_excess
        raise ValueError(f"--target_snr={target} dB cannot be reached: the finest step tried gives {reached:.2f} dB")
    return dataclasses.replace(rule, step=_halve(finest, coarsest, excess, NEAR_DECIBELS))


def _halve(passing: float, failing: float, excess: Callable[[float], float], near: float) -> float:
    """`step_search.bisect` over the logarithm of the step."""
    octave = step_search.bisect(math.log2(passing), math.log2(failing), lambda o: excess(2.0**o), ROUNDS, near)
    return passing if octave == math.log2(passing) else 2.0**octave


def _step_range(network: Network) -> tuple[float, float]:
    """The finest step that is tried, and one at which every weight becomes zero."""
    largest = 0.0
    for name, array in network.flat.items():
        if is_weight(array) and name not in network.exact:
            size = largest_magnitude(array)
            if math.isnan(size):
                raise ValueError(f"tensor {name!r} holds NaN: a network that was trained has none")
            if math.isfinite(size):  # others are stored to the bit
                largest = max(largest, size / network.layer_steps.get(name, 1.0))
    if not largest > 0:
        raise ValueError("every weight is zero or infinite: a target needs weights that can be quantised")
    return largest / LARGEST_LEVEL, 4 * largest
