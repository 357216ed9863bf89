"""From a network and a few numbers to a file's bytes: steps for every tensor, importances, and checks of the result.

DC-v2 (arXiv:1907.11900) takes one step for all weights; DC-v1 takes a step for each layer from the posterior standard
deviations sigma of its weights, and weighs squared errors by 1 / sigma^2.
"""

import dataclasses
import math
from collections.abc import Mapping

import ml_dtypes
import numpy as np

from common import weight_files
from kernels import entropy_coding

REACH = 4  # steps that a level may be from its weight: the trellis looks two beyond the nearest
OTHER_STEP = 4  # times the step asked for, or a part of it: the range of fitted steps
LARGEST_INTERVALS = 1024  # range / min sigma of DC-v1: a sigma near zero must not ask for millions of levels
SIGMA_RANGE = 1e-3  # sigma below this share of its median counts as that


@dataclasses.dataclass(frozen=True)
class Rule:
    """How floats become integers.

    Attributes:
      step: of tensors with two or more axes, in their unit; a factor on the layers' own steps where those are given.
      rate_weight: price of a bit in squared steps; 0 rounds to the nearest level.
      small_step: step of biases, scales and statistics in their unit; None: see the next.
      small_relative_step: the same in units of each tensor's root mean square; None (and no small_step): lossless.
    """

    step: float
    rate_weight: float = 0.0
    small_step: float | None = None
    small_relative_step: float | None = None


@dataclasses.dataclass(frozen=True)
class Network:
    """What is to be compressed.

    Attributes:
      tree: nested dict of arrays.
      layer_steps: name -> step of that tensor when `Rule.step` is 1, of any float tensor; empty: one step for all.
      importance: name -> weights of the squared errors, in the unit of the weights; empty: 1.
      scan, jobs, quantizer: options of the coder.
      exact: names of tensors that are stored to the bit, whatever they hold.
    """

    tree: dict
    layer_steps: Mapping[str, float] = dataclasses.field(default_factory=dict)
    importance: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    scan: int = 0
    jobs: int | None = None
    quantizer: str | None = None
    exact: frozenset[str] = frozenset()

    @property
    def most_bytes(self) -> int:
        """More than its file decodes to, with integers for every weight: the limit for a decoder."""
        leaves = weight_files.flatten(self.tree).values()
        return sum(max(leaf.nbytes, 4 * leaf.size) + TREE_BYTES for leaf in leaves) + TREE_BYTES


TREE_BYTES = 1 << 16  # of the place of a tensor in a tree, at most


def is_float(array: np.ndarray) -> bool:
    """Whether a tensor holds floating-point numbers, bfloat16 included."""
    return array.dtype.kind == "f" or array.dtype.name.startswith(("bfloat", "float8"))


def is_weight(array: np.ndarray) -> bool:
    """Whether a tensor gets the step of the weights: floats, two axes or more."""
    return is_float(array) and array.ndim > 1


def steps(network: Network, rule: Rule) -> dict[str, float]:
    """Returns name -> step of every tensor that is quantised; `unquantised` says why others are not."""
    by_name = rule_steps(network, rule)
    exact = unquantised(network, by_name)
    return {name: step for name, step in by_name.items() if name not in exact}


def unquantised(network: Network, by_name: Mapping[str, float]) -> dict[str, str]:
    """Returns name -> why a tensor that has a step is stored to the bit all the same.

    It holds an infinity (of a mask, say), for which there is no level, or a value that no legal level reaches in such
    steps, which are finer there than what its dtype tells apart.
    """
    flat, found = weight_files.flatten(network.tree), {}
    for name, step in by_name.items():
        if not flat[name].size:
            continue
        largest = _largest(flat[name])
        if math.isinf(largest):
            found[name] = "it holds an infinity"
        elif (
            math.isfinite(step)
            and step > 0
            and largest / step > LARGEST_LEVEL
            and step < largest * _epsilon(flat[name].dtype)
        ):
            found[name] = f"its largest value, {largest:.6g}, is beyond all levels of step {step:.3g}"
    return found


LARGEST_LEVEL = (1 << 31) - 16


def _largest(array: np.ndarray) -> float:
    """The largest magnitude of a tensor of floats; NaN where it holds one."""
    return float(np.maximum(array.max(), -array.min()))


def _epsilon(dtype) -> float:
    return float(ml_dtypes.finfo(dtype).eps)


def rule_steps(network: Network, rule: Rule) -> dict[str, float]:
    """Returns name -> step of every tensor that the rule covers."""
    found = {}
    for name, array in weight_files.flatten(network.tree).items():
        if name in network.exact:
            continue
        if is_weight(array) or name in network.layer_steps:
            found[name] = rule.step * network.layer_steps.get(name, 1.0)
        elif is_float(array) and rule.small_step is not None:
            found[name] = rule.small_step
        elif is_float(array) and rule.small_relative_step is not None and array.any():
            found[name] = rule.small_relative_step * _root_mean_square(array)
    return found


def encode(network: Network, rule: Rule | None, check: bool = False) -> bytes:
    """Returns the file's bytes; rule None: everything to the bit.

    Args:
      check: decode the file again and compare every level with what was to be written (RuntimeError).

    Raises:
      ValueError: a tensor cannot be quantised with its step; the message names it.
    """
    options = {"scan": network.scan, "jobs": network.jobs, "check": check}
    if rule is None:
        return entropy_coding.compress(network.tree, **options)
    by_name = steps(network, rule)
    if network.importance and (rule.rate_weight or network.quantizer in ("rdo", "trellis")):
        options["importance"] = weight_files.nest(scaled_importance(network, by_name))
    options |= {"quantizer": network.quantizer, "rate_weight": rule.rate_weight}
    return entropy_coding.compress(network.tree, step=by_name, **options)


def scaled_importance(network: Network, by_name: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Returns importances for errors in steps, with mean 1 over the weights that are not zero.

    The mean makes `rate_weight` mean the same whatever unit the importances have.
    """
    flat = weight_files.flatten(network.tree)
    scaled = {name: values * by_name[name] ** 2 for name, values in network.importance.items() if name in by_name}
    total = sum(float(values[flat[name] != 0].sum()) for name, values in scaled.items())
    count = sum(int(np.count_nonzero(flat[name])) for name in scaled)
    mean = total / count if count else 0.0
    if not (math.isfinite(mean) and mean > 0):
        raise ValueError(f"the mean importance of the nonzero weights is {mean}; expected a finite number > 0")
    return {name: values / mean for name, values in scaled.items()}


def importance_from_sigma(sigma: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns 1 / sigma^2 by name; sigma far below its median is bounded (see SIGMA_RANGE)."""
    return {name: 1 / bounded_sigma(values) ** 2 for name, values in sigma.items()}


def bounded_sigma(sigma: np.ndarray) -> np.ndarray:
    """Returns float64 sigma, not below SIGMA_RANGE of its median.

    Raises:
      ValueError: a value is negative or not finite, or the median is 0.
    """
    sigma = np.asarray(sigma, np.float64)
    median = float(np.median(sigma)) if sigma.size else 1.0
    if not np.isfinite(sigma).all() or sigma.min(initial=0) < 0 or median <= 0:
        raise ValueError(
            f"standard deviations must be finite, not negative, and mostly above 0; the median is {median}"
        )
    return np.maximum(sigma, SIGMA_RANGE * median)


def dc_v1_steps(tree: Mapping, sigma: Mapping[str, np.ndarray], extra_intervals: int = 0) -> dict[str, float]:
    """Returns name -> Delta = 2 max(|w| + sigma / 2) / (ceil(range / min sigma) + S) of every tensor with a sigma.

    Maximum, range and minimum are over the weights that are not zero. A `Rule.step` of 1 is the paper's Delta at S = 0;
    larger factors give the coarser steps that pruned networks bear.

    Args:
      tree: the weights.
      sigma: name -> posterior standard deviations.
      extra_intervals: S.

    Source: arXiv:1907.11900, DC-v1, with the 2019 code's sigma / 2.
    """
    flat, found = weight_files.flatten(tree), {}
    for name, values in sigma.items():
        kept = flat[name] != 0
        if kept.any():
            w, s = np.asarray(flat[name], np.float64)[kept], bounded_sigma(values)[kept]
            spread = max(float(w.max()) - float(w.min()), float(np.abs(w).max()))
            intervals = min(math.ceil(spread / float(s.min())), LARGEST_INTERVALS)
            found[name] = 2 * float((np.abs(w) + s / 2).max()) / (intervals + extra_intervals)
    return found


def equal_price_steps(tree: Mapping, importance: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns name -> step at which every tensor pays the same rate for the same loss: mean importance ^ -1/2.

    At high rate a step costs size * step^2 / 12 * importance of loss and -size * log2(step) bits, so that step^2 times
    the mean importance is the same for all tensors. Scaled so that the weights' steps are, in the geometric mean, their
    root mean squares. All-zero tensors get none.

    Args:
      tree: the weights.
      importance: name -> loss of a unit error in each value, such as the diagonal of the Fisher information.
    """
    flat = weight_files.flatten(tree)
    found, logs = {}, []
    for name, values in importance.items():
        mean = float(np.mean(values, dtype=np.float64)) if values.size else 0.0
        if is_float(flat[name]) and flat[name].any():
            if not (math.isfinite(mean) and mean > 0):
                raise ValueError(f"the importances of {name!r} have mean {mean}; expected a finite number > 0")
            found[name] = mean**-0.5
            if flat[name].ndim > 1:
                logs.append(math.log(_root_mean_square(flat[name]) / found[name]))
    scale = math.exp(sum(logs) / len(logs)) if logs else 1.0
    return {name: step * scale for name, step in found.items()}


def check_names(tree: Mapping, values: Mapping[str, np.ndarray], what: str) -> None:
    """Raises ValueError unless every name of `values` is a weight of the tree, of the same shape."""
    flat = weight_files.flatten(tree)
    for name, array in values.items():
        if name not in flat:
            raise ValueError(
                f"{what} holds {name!r}, which is no tensor of the checkpoint ({', '.join(list(flat)[:4])} ...)"
            )
        if np.shape(array) != flat[name].shape:
            raise ValueError(
                f"{what}: {name!r} has shape {list(np.shape(array))}, in the checkpoint it is {list(flat[name].shape)}"
            )


def fold_batch_norm(tree: Mapping, epsilon: float) -> dict:
    """Returns a tree of the same function in evaluation mode whose running means and variances are all zero.

    Normalisation by (0, epsilon) then leaves y = x scale' / sqrt(epsilon) + bias', so that only two vectors a layer
    need bits: scale' = scale sqrt(epsilon / (var + epsilon)), bias' = bias - mean scale / sqrt(var + epsilon).

    Args:
      tree: with `scale`, `bias`, `mean` and `var` side by side for each batch normalisation.
      epsilon: the one that the network adds to its variances.
    """
    folded = {}
    for name, node in tree.items():
        if isinstance(node, Mapping) and set(node) == {"scale", "bias", "mean", "var"}:
            wide = {key: np.asarray(value, np.float64) for key, value in node.items()}
            gain = wide["scale"] / np.sqrt(wide["var"] + epsilon)
            zero = np.zeros_like(node["mean"])
            scale = (gain * math.sqrt(epsilon)).astype(node["scale"].dtype)
            bias = (wide["bias"] - wide["mean"] * gain).astype(node["bias"].dtype)
            folded[name] = {"scale": scale, "bias": bias, "mean": zero, "var": zero.astype(node["var"].dtype)}
        else:
            folded[name] = fold_batch_norm(node, epsilon) if isinstance(node, Mapping) else node
    return folded


def weight_snr(tree: Mapping, decoded: Mapping) -> float:
    """Signal-to-noise ratio of the tensors with two or more axes, in dB; infinite when they are equal."""
    before, after = weight_files.flatten(tree), weight_files.flatten(decoded)
    signal = noise = 0.0
    for name, array in before.items():
        if is_weight(array) and math.isfinite(_largest(array) if array.size else 0.0):  # a mask is stored to the bit
            wide = array.astype(np.float64)
            signal += float(np.vdot(wide, wide))
            noise += float(((wide - after[name].astype(np.float64)) ** 2).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def verify(network: Network, rule: Rule | None, data: bytes) -> dict:
    """Decodes a file again and compares it with what went in; returns the decoded tree.

    Names, shapes and dtypes must be the same and lossless tensors equal to the bit. Every other value must be one that
    its weight may have become: its nearest level, or where bits or the trellis decide one within REACH steps or zero.

    Raises:
      ValueError: names the first tensor that differs.
    """
    decoded = entropy_coding.decompress(data, quantized=True, max_output_bytes=network.most_bytes, jobs=network.jobs)
    before, after = weight_files.flatten(network.tree), flatten_quantized(decoded)
    by_name = steps(network, rule) if rule else {}
    is_decided = rule is not None and (rule.rate_weight > 0 or network.quantizer in ("rdo", "trellis"))
    if before.keys() != after.keys():
        raise ValueError(f"the file decodes to other tensors: {sorted(before.keys() ^ after.keys())[:4]}")
    flat = {}
    for name, array in before.items():
        found = after[name]
        is_levels = isinstance(found, entropy_coding.Quantized)
        flat[name] = entropy_coding.dequantize(found.q, found.step, found.dtype) if is_levels else found
        if flat[name].shape != array.shape or flat[name].dtype != array.dtype:
            raise ValueError(
                f"{name!r} decodes to {flat[name].dtype} {list(flat[name].shape)}, "
                f"not {array.dtype} {list(array.shape)}"
            )
        if name not in by_name:
            same = flat[name].tobytes() == np.ascontiguousarray(array).tobytes()
        elif not is_decided:
            levels = found.q if is_levels else np.zeros(array.shape, np.int32)  # all-zero tensors come back as arrays
            same = np.array_equal(levels, entropy_coding.quantize_uniform(array, by_name[name]))
            same = same and (not is_levels or found.step == by_name[name])
        else:
            same = _is_near(array, flat[name], found.step if is_levels else by_name[name], by_name[name])
        if not same:
            raise ValueError(f"{name!r} does not decode to what was written; no file is left behind")
    return weight_files.nest(flat)


def _is_near(array: np.ndarray, value: np.ndarray, step: float, asked: float) -> bool:
    """Whether values are zero or within a few steps of their weights, in a step that is about the one asked for."""
    if not asked / OTHER_STEP <= step <= asked * OTHER_STEP:
        return False
    weight, value = array.astype(np.float64), value.astype(np.float64)
    reach = REACH * max(step, asked) + max(1e-3, _epsilon(array.dtype)) * np.abs(weight)
    return bool(np.all((value == 0) | (np.abs(weight - value) <= reach)))


def flatten_quantized(tree: Mapping, prefix: str = "") -> dict:
    """Returns name -> leaf of what `decompress(quantized=True)` gives."""
    flat = {}
    for key, node in tree.items():
        flat |= flatten_quantized(node, f"{prefix}{key}/") if isinstance(node, Mapping) else {f"{prefix}{key}": node}
    return flat


def _root_mean_square(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array.astype(np.float64)))))  # infinite with an infinity: see unquantised
