"""From a network and a rule of a few numbers to a file's bytes, and back to compare (arXiv:1907.11900)."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from common import weight_files
from kernels import entropy_coding
from kernels.entropy_coding import layer_steps
from kernels.entropy_coding.layer_steps import is_float, is_weight, largest_magnitude, relative_precision
from projects.deepcabac.network import Network

LARGEST_LEVEL = (1 << 31) - 16
REACH = 4  # steps that a level may be from its weight: the trellis looks two beyond the nearest
STEP_FACTOR = 4  # at most so far is a step that was fitted to its levels from the step of the rule


@dataclasses.dataclass(frozen=True)
class Rule:
    """How floats become integers.

    Attributes:
      step: of tensors with two or more axes, in their unit; a factor on the layers' own steps where there are such.
      rate_weight: price of a bit in squared steps; 0 rounds to the nearest level.
      small_step: step of biases, scales and statistics in their unit; None: see the next.
      small_relative_step: the same in units of each tensor's root mean square; None (and no small_step): lossless.
    """

    step: float
    rate_weight: float = 0.0
    small_step: float | None = None
    small_relative_step: float | None = None


def encode(network: Network, rule: Rule | None, check: bool = False) -> bytes:
    """Returns the file's bytes; rule None: everything to the bit.

    Args:
      network: what to compress.
      rule: how.
      check: decode the file again and compare every level with what was to be written (RuntimeError).

    Raises:
      ValueError: a tensor cannot be quantised with its step; the message names it.
    """
    return encode_many(network, [rule], check)[0]


def encode_many(network: Network, rules: Sequence[Rule | None], check: bool = False) -> list[bytes]:
    """Returns the bytes of the file of each rule, see `encode`; their decisions may be made beside each other."""
    candidates = [_options(network, rule) for rule in rules]
    return entropy_coding.compress_many(
        network.tree, candidates, implementation=network.implementation, jobs=network.jobs, check=check
    )


def _options(network: Network, rule: Rule | None) -> dict:
    """Options of `entropy_coding.compress`."""
    if rule is None:
        return {"scan": network.scan}
    steps = tensor_steps(network, rule)
    options = {"scan": network.scan, "step": steps, "quantizer": network.quantizer, "rate_weight": rule.rate_weight}
    if network.importance and has_decisions(network, rule):
        options["importance"] = weight_files.nest(
            layer_steps.scaled_importance(network.flat, network.importance, steps)
        )
    return options


def has_decisions(network: Network, rule: Rule) -> bool:
    """Whether levels follow from bits or a trellis, and not from the nearest level alone."""
    return rule.rate_weight > 0 or network.quantizer in ("rdo", "trellis")


def tensor_steps(network: Network, rule: Rule) -> dict[str, float]:
    """Returns name -> step of every tensor that is quantised; `unquantized` says why others are not."""
    steps = rule_steps(network, rule)
    exact = unquantized(network, steps)
    return {name: step for name, step in steps.items() if name not in exact}


def rule_steps(network: Network, rule: Rule) -> dict[str, float]:
    """Returns name -> step of every tensor that the rule covers."""
    steps = {}
    for name, array in network.flat.items():
        if name in network.exact:
            continue
        if is_weight(array) or name in network.layer_steps:
            steps[name] = rule.step * network.layer_steps.get(name, 1.0)
        elif is_float(array) and rule.small_step is not None:
            steps[name] = rule.small_step
        elif is_float(array) and rule.small_relative_step is not None and array.any():
            steps[name] = rule.small_relative_step * layer_steps.root_mean_square(array)
    return steps


def unquantized(network: Network, steps: Mapping[str, float]) -> dict[str, str]:
    """Returns name -> why a tensor that has a step is stored to the bit all the same.

    It holds an infinity (of a mask, say), for which there is no level, or a value that no legal level reaches in such
    steps, which are finer there than what its dtype tells apart.
    """
    tensors, reasons = network.flat, {}
    for name, step in steps.items():
        largest = largest_magnitude(tensors[name])
        if math.isinf(largest):
            reasons[name] = "it holds an infinity"
        elif not (math.isfinite(step) and step > 0):
            continue  # the coder names it
        elif largest / step > LARGEST_LEVEL and step < largest * relative_precision(tensors[name].dtype):
            reasons[name] = f"its largest value, {largest:.6g}, is beyond all levels of step {step:.3g}"
    return reasons


def verify(network: Network, rule: Rule | None, data: bytes) -> dict:
    """Decodes a file again and compares it with what went in; returns the decoded tree.

    Names, shapes and dtypes must be the same and lossless tensors equal to the bit. Every other value must be one that
    its weight may have become: its nearest level, or where bits or the trellis decide one within REACH steps or zero.

    Raises:
      ValueError: names the first tensor that differs.
    """
    leaves = flatten_quantized(entropy_coding.decompress(data, quantized=True, **network.limits))
    tensors, values = network.flat, {}
    steps = tensor_steps(network, rule) if rule else {}
    if tensors.keys() != leaves.keys():
        raise ValueError(f"the file decodes to other tensors: {sorted(tensors.keys() ^ leaves.keys())[:4]}")
    for name, array in tensors.items():
        leaf = leaves[name]
        is_levels = isinstance(leaf, entropy_coding.Quantized)
        value = values[name] = entropy_coding.dequantize(leaf.q, leaf.step, leaf.dtype) if is_levels else leaf
        if value.shape != array.shape or value.dtype != array.dtype:
            raise ValueError(
                f"{name!r} decodes to {value.dtype} {list(value.shape)}, not {array.dtype} {list(array.shape)}"
            )
        if name not in steps:
            is_same = value.tobytes() == np.ascontiguousarray(array).tobytes()
        elif has_decisions(network, rule):
            is_same = _is_near(array, value, leaf.step if is_levels else steps[name], steps[name])
        else:
            levels = leaf.q if is_levels else np.zeros(array.shape, np.int32)  # all-zero tensors come back as arrays
            is_same = np.array_equal(levels, entropy_coding.quantize_uniform(array, steps[name]))
            is_same = is_same and (not is_levels or leaf.step == steps[name])
        if not is_same:
            raise ValueError(f"{name!r} does not decode to what was written; no file is left behind")
    return weight_files.nest(values)


def _is_near(array: np.ndarray, value: np.ndarray, step: float, rule_step: float) -> bool:
    """Whether values are zero or within a few steps of their weights, in a step that is about that of the rule."""
    if not rule_step / STEP_FACTOR <= step <= rule_step * STEP_FACTOR:
        return False
    weight, value = array.astype(np.float64), value.astype(np.float64)
    reach = REACH * max(step, rule_step) + max(1e-3, relative_precision(array.dtype)) * np.abs(weight)
    return bool(np.all((value == 0) | (np.abs(weight - value) <= reach)))


def flatten_quantized(tree: Mapping, prefix: str = "") -> dict:
    """Returns name -> leaf of what `decompress(quantized=True)` gives."""
    flat = {}
    for key, node in tree.items():
        flat |= flatten_quantized(node, f"{prefix}{key}/") if isinstance(node, Mapping) else {f"{prefix}{key}": node}
    return flat
