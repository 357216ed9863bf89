"""The file of a network of hard labels, and every other way to count its bits.

Kernels become codebooks (labels as signed ranks, and the values of the ranks), biases and norms integers on a grid,
running statistics part of their norm. What the file holds is what is evaluated.
"""

from collections.abc import Callable, Mapping

import numpy as np

from common import weight_files
from common.models import batch_norm
from common.step_search import is_enough
from kernels import entropy_coding, soft_entropy
from kernels.entropy_coding import Codebook, Quantized
from projects.entropy_training.hardening import Labelled

FLOAT_BITS = 32
SMALL_STEPS = (2.0, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)  # of biases and norms, in root mean squares
EPSILON = 1e-5  # of common.models.layers.BatchNorm
DEAD_VARIANCE = 1e-8  # a channel that varies less is constant: all its weights are 0


def kernel_leaves(labelled: Labelled) -> dict[str, Codebook]:
    """Returns path -> codebook of every kernel."""
    return {
        f"{name}/kernel": Codebook(*soft_entropy.labels_to_levels(labels, labelled.centroids[name]))
        for name, labels in labelled.labels.items()
    }


def rest_leaves(rest: Mapping[str, np.ndarray], relative_step: float | None) -> dict[str, object]:
    """Returns path -> leaf of biases and norms: one value where they are constant, else on a grid or as floats.

    Args:
      rest: path -> array, float32.
      relative_step: of the grid, in units of the root mean square of each; None keeps floats, and running statistics.
    """
    leaves: dict[str, object] = {}
    if relative_step is not None:
        folded = batch_norm.fold_statistics(weight_files.nest(rest), EPSILON, 1 - EPSILON, DEAD_VARIANCE)
        rest = weight_files.flatten(folded)
    for path, values in rest.items():
        if np.ptp(values) == 0:
            leaves[path] = Codebook(np.zeros(values.shape, np.int32), values.reshape(-1)[:1].astype(np.float32), 0)
        elif relative_step is None:
            leaves[path] = values
        else:
            step = relative_step * float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
            leaves[path] = Quantized(entropy_coding.quantize_uniform(values, step), step)
    return leaves


def write(labelled: Labelled, accuracy: Callable[[dict], float], tolerance: float) -> tuple[bytes, dict, float | None]:
    """Returns (file, decoded weights, relative step): the coarsest biases and norms that lose at most `tolerance`.

    Args:
      labelled: the network.
      accuracy: of decoded weights, on images kept apart.
      tolerance: share of them that may be lost against exact biases and norms.
    """
    exact = encode(labelled, None)
    least = accuracy(exact[1]) - tolerance
    for step in SMALL_STEPS:
        data, decoded = encode(labelled, step)
        if is_enough(accuracy(decoded), least):
            return data, decoded, step
    return *exact, None


def encode(labelled: Labelled, relative_step: float | None) -> tuple[bytes, dict]:
    """Returns (file, decoded weights), see `rest_leaves`.

    Raises:
      RuntimeError: the file does not decode to the labels and centroids that went in.
    """
    kernels = kernel_leaves(labelled)
    data, decoded = round_trip(kernels | rest_leaves(labelled.rest, relative_step))
    flat = weight_files.flatten(decoded)
    for path, leaf in kernels.items():
        if not np.array_equal(flat[path], leaf.weights()):
            raise RuntimeError(f"{path} does not decode to the weights that were coded")
    return data, decoded


def round_trip(leaves: Mapping[str, object]) -> tuple[bytes, dict]:
    """Returns (file, decoded weights) of path -> leaf as the coder takes it."""
    data = entropy_coding.compress(weight_files.nest(leaves))
    return data, entropy_coding.decompress(data)


def label_streams(labelled: Labelled) -> dict[str, int]:
    """Returns layer name -> bytes of its labels in a file that holds nothing else."""
    empty = len(entropy_coding.compress({}))
    codebooks = {path.removesuffix("/kernel"): codebook for path, codebook in kernel_leaves(labelled).items()}
    return {name: len(entropy_coding.compress({name: book.labels})) - empty for name, book in codebooks.items()}


def measure(labelled: Labelled, data: bytes) -> dict[str, float]:
    """Returns how many values there are, and their size in bits by five counts.

    Everything is counted: grids, tables, and 32 bits for every value without a label. entropy: n H of each layer's
    labels. huffman: canonical code words, and 8 bits of length a symbol. cabac: the streams of the labels in our
    container. csr: gaps between nonzero weights in words of the best width, filled up where a gap is wider, and an
    index a nonzero weight. file: the whole file, in which biases and norms are coded too.
    """
    excluded = sum(values.size for values in labelled.rest.values())
    bits = dict.fromkeys(("entropy", "huffman", "cabac", "csr"), float(FLOAT_BITS * excluded))
    streams = label_streams(labelled)
    for name, labels in labelled.labels.items():
        counts = np.bincount(labels.reshape(-1), minlength=len(labelled.centroids[name]))
        used = int(np.count_nonzero(counts))
        grid = FLOAT_BITS * used
        bits["entropy"] += soft_entropy.empirical_bits(labels, len(counts)) + grid
        bits["huffman"] += float(counts @ soft_entropy.huffman_lengths(counts)) + grid + 8 * used
        bits["cabac"] += 8 * streams[name] + grid
        bits["csr"] += soft_entropy.gap_bits(labels != len(counts) // 2, used - 1) + grid
    values = excluded + sum(labels.size for labels in labelled.labels.values())
    return {"values": values, **bits, "file": 8.0 * len(data)}


def layer_bits(labelled: Labelled) -> list[dict]:
    """Returns a row a layer: its bits by the entropy, by the rate estimates of the coder, and in its true codeword."""
    rows = []
    for name, labels in labelled.labels.items():
        levels, values = soft_entropy.labels_to_levels(labels, labelled.centroids[name])
        rows.append({
            "layer": name,
            "weights": int(labels.size),
            "nonzero": int(np.count_nonzero(levels)),
            "centroids": len(values),
            "entropy": soft_entropy.empirical_bits(labels),
            "static": float(entropy_coding.rate_static(levels)),
            "exact": float(entropy_coding.rate_exact(levels, presets=True)),
            "codeword": 8 * entropy_coding.stream_length(levels),
        })  # fmt: skip
    return rows
