"""Pictures of a compression: rate against accuracy, bits by layer, weights before and after, other coders."""

import math
from collections.abc import Mapping

import matplotlib
import numpy as np

from common import app, weight_files
from kernels import entropy_coding
from kernels.entropy_coding import Summary
from projects.deepcabac import baselines, quantization
from projects.deepcabac.search import Candidate, Search

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (the backend first: no display is needed)

BLUE, RED, GREY = "#1f5f8b", "#c8553d", "#9aa5ad"
STARS = (RED, "#7a4fa3", "#3f7d4e")  # chosen points
MOST_LAYERS = 24  # bars or histograms in one picture; the rest is summed up or left out, and the caption says so


def draw_rate_accuracy(run: app.Run, search: Search, chosen: Candidate, original_bytes: int, caption: str):
    """Every evaluated candidate, the front, the network as it came, and the chosen point."""
    figure, axis = plt.subplots(figsize=(6.2, 3.8), layout="constrained")
    rate_accuracy(axis, search, {"chosen": chosen}, original_bytes)
    run.plot("rate_accuracy", figure, caption)
    plt.close(figure)


def rate_accuracy(axis, search: Search, chosen: Mapping[str, Candidate], original_bytes: int):
    """Draws the candidates of a search into `axis`, each of `chosen` (name -> candidate) as a star."""
    reference = 100 * search.reference_accuracy
    tried, front = search.evaluated(), search.pareto()

    def share(items):
        return [100 * item.bytes / original_bytes for item in items]

    def accuracies(items):
        return [100 * search.accuracy(item) for item in items]

    lowest = max(reference - 2.2, min(accuracies(tried)))
    axis.axhline(reference, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axis.annotate(
        f"uncompressed, {reference:.2f} %", (0, reference), xycoords=("axes fraction", "data"), xytext=(4, 4),
        textcoords="offset points", color="#5f6a72", fontsize=8,
    )  # fmt: skip
    axis.scatter(share(tried), accuracies(tried), s=10, color=GREY, linewidths=0, label="candidates")
    axis.plot(share(front), accuracies(front), color=BLUE, linewidth=1.4, marker=".", markersize=5, label="front")
    for (name, item), colour in zip(chosen.items(), STARS, strict=False):
        size, level = share([item])[0], accuracies([item])[0]
        text = f"{name}: {item.bytes:,} B, {size:.3g} %, accuracy {level:.2f} %"
        axis.scatter([size], [level], s=75, color=colour, marker="*", zorder=3, label=text)
    visible = [value for value, level in zip(share(tried), accuracies(tried), strict=True) if level >= lowest]
    axis.set(
        xscale="log", xlim=(min(visible) / 1.15, max(visible) * 1.15), xlabel="file size (% of float32, log scale)",
        ylim=(lowest - 0.1, reference + 0.35), ylabel="accuracy on images kept apart (%)",
    )  # fmt: skip
    _plain_ticks(axis)
    axis.legend(fontsize=8, loc="lower right", frameon=False)
    _tidy(axis)


def draw_bits(run: app.Run, summary: Summary):
    """Bits a weight and bytes of each tensor with two or more axes, in the order of the network."""
    weights = [tensor for tensor in summary.tensors if len(tensor.shape) > 1 and tensor.size]
    if not weights:
        return
    caption = "Small tensors (biases, statistics) are not shown."
    if len(weights) > MOST_LAYERS:
        weights = sorted(sorted(weights, key=lambda t: -t.stored_bytes)[:MOST_LAYERS], key=summary.tensors.index)
        caption = f"The {MOST_LAYERS} tensors with the most bytes. " + caption
    names = [tensor.name.removesuffix("/kernel") for tensor in weights]
    figure, axes = plt.subplots(
        1, 2, figsize=(7.6, 0.9 + 0.24 * max(len(weights), 3)), sharey=True, layout="constrained"
    )
    rows = range(len(weights))
    axes[0].barh(rows, [tensor.bits_per_weight for tensor in weights], color=BLUE, height=0.7)
    axes[0].set(xlabel="bits a weight", yticks=list(rows), ylim=(len(weights) - 0.4, -0.6))
    axes[0].set_yticklabels(names, fontsize=8)
    sizes = [tensor.stored_bytes / 1000 for tensor in weights]
    axes[1].barh(rows, sizes, color=RED, height=0.7)
    axes[1].set(xlabel="kB in the file (zeros in %)", xlim=(0, 1.22 * max(sizes) if max(sizes) else 1))
    for row, tensor, size in zip(rows, weights, sizes, strict=True):
        axes[1].annotate(
            f"{100 * tensor.sparsity:.0f} %",
            (size, row),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    for axis in axes:
        _tidy(axis)
    run.plot("bits", figure, f"Bits a weight (left), size and share of zeros (right) of each tensor. {caption}")
    plt.close(figure)


def draw_predictions(run: app.Run, quantized: Mapping, summary: Summary):
    """What the rate estimates say of each tensor with a stream of its own, over what it takes in the file."""
    leaves = quantization.flatten_quantized(quantized)
    rows = []
    for tensor in summary.tensors:
        leaf = leaves[tensor.name]
        if tensor.coder is None or not isinstance(leaf, entropy_coding.Quantized):
            continue
        levels = leaf.q if tensor.axes is None else leaf.q.transpose(tensor.axes)
        true = 8 * tensor.stored_bytes
        exact = entropy_coding.rate_exact(levels, presets=True, **tensor.coder)
        # The static estimate knows nothing of trellis states and rows that are skipped.
        plain = not (tensor.coder["dq"] or tensor.coder["profile"] or tensor.coder["scan"])
        rows.append(
            (tensor.name, tensor.size, true, exact, float(entropy_coding.rate_static(levels)) if plain else None)
        )
    if not rows:
        return
    run.table(
        "predictions", ["tensor", "values", "bits in the file", "rate_exact", "rate_static"], rows,
        "Predicted and true bits",
        "Tensors with a stream of their own; its header, 9 bytes and 3 bits a preset, is not predicted.",
    )  # fmt: skip
    figure, axis = plt.subplots(figsize=(6.2, 3.4), layout="constrained")
    axis.axhline(0, color=GREY, linewidth=1)
    for name, column, colour, marker in (("rate_exact", 3, BLUE, "o"), ("rate_static", 4, RED, "^")):
        known = [row for row in rows if row[column] is not None]
        off = [100 * (row[column] / row[2] - 1) for row in known]
        axis.scatter([row[2] / 8 for row in known], off, s=22, color=colour, marker=marker, label=name)
    axis.set(xscale="log", xlabel="bytes in the file", ylabel="predicted bits, off by (%)")
    axis.legend(fontsize=8, frameon=False)
    _tidy(axis)
    run.plot("predictions", figure, "Predicted bits of each tensor against those in the file.")
    plt.close(figure)


def draw_histograms(run: app.Run, before: Mapping, after: Mapping):
    """Nonzero weights of each layer before compression (bars) and the values they became (lines)."""
    old, new = weight_files.flatten(before), weight_files.flatten(after)
    names = [
        name
        for name, array in old.items()
        if quantization.is_weight(array) and array.size and np.isfinite(array.astype(np.float64)).all()
    ]
    most, caption = 12, ""
    if len(names) > most:
        names = sorted(sorted(names, key=lambda name: -old[name].size)[:most], key=list(old).index)
        caption = f" The {most} largest layers."
    if not names:
        return
    columns = min(4, len(names))
    rows = math.ceil(len(names) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.7 * columns, 2.2 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        array, decoded = old[name].astype(np.float64), new[name].astype(np.float64)
        kept, left = array[array != 0], decoded[decoded != 0]
        limit = max(np.abs(kept).max(initial=0), np.abs(left).max(initial=0)) or 1.0
        axis.hist(kept, bins=np.linspace(-limit, limit, 62), color=GREY, label="before")
        values, counts = np.unique(left, return_counts=True)
        if len(values) <= 200:
            axis.vlines(values, 0.5, counts, color=RED, linewidth=1, label="after")
        else:
            axis.hist(left, bins=np.linspace(-limit, limit, 62), histtype="step", color=RED, label="after")
        axis.set_yscale("log")
        axis.set_title(f"{name.removesuffix('/kernel')}\n{kept.size:,} \u2192 {left.size:,} nonzero", fontsize=8)
        axis.tick_params(labelsize=7)
        _tidy(axis)
    figure.supxlabel("weight", fontsize=9)
    figure.supylabel("how many", fontsize=9)
    axes.flat[0].legend(fontsize=7, frameon=False)
    text = "Weights that are not zero, before (grey, in 61 bins) and after (red: how many take each value)."
    run.plot("weights_before_after", figure, text + caption)
    plt.close(figure)


def draw_baselines(run: app.Run, table: baselines.Table):
    """Bytes of every coder on the same integers, ours marked; float32 is named, not drawn."""
    figure, axis = plt.subplots(figsize=(6.2, 3.4), layout="constrained")
    coder_bars(axis, table)
    run.plot("baselines", figure, "The same integers by several coders; the whole file has names and check sums too.")
    plt.close(figure)


def coder_bars(axis, table: baselines.Table):
    """Draws the bytes of every coder into `axis`, the smallest first."""
    sizes = {name: size for name, size in table.sizes.items() if size is not None and name != baselines.FLOAT32}
    names = sorted(sizes, key=lambda name: sizes[name])
    colours = [RED if name.startswith("ours") else GREY if name == baselines.ENTROPY else BLUE for name in names]
    scale, unit = (1e6, "MB") if max(sizes.values()) >= 1e6 else (1e3, "kB")
    rows = range(len(names))
    axis.barh(rows, [sizes[name] / scale for name in names], color=colours, height=0.68)
    for row, name in zip(rows, names, strict=True):
        text = f"{sizes[name]:,} B, {100 * sizes[name] / table.sizes[baselines.FLOAT32]:.3g} %"
        axis.annotate(
            text, (sizes[name] / scale, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axis.set(yticks=list(rows), xlim=(0, 1.45 * max(sizes.values()) / scale), ylim=(len(names) - 0.4, -0.6))
    axis.set_yticklabels(names, fontsize=8)
    axis.set_xlabel(f"size ({unit}; per cent of {table.sizes[baselines.FLOAT32]:,} B as float32)")
    _tidy(axis)


def result_picture(
    search: Search, chosen: Mapping[str, Candidate], original_bytes: int, table: baselines.Table, title: str
):
    """Returns the figure of a published result: rate and accuracy on the left, other coders on the right."""
    figure, axes = plt.subplots(1, 2, figsize=(11.4, 3.9), layout="constrained", width_ratios=(1, 1))
    rate_accuracy(axes[0], search, chosen, original_bytes)
    coder_bars(axes[1], table)
    figure.suptitle(title, fontsize=11)
    return figure


def _tidy(axis) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", color="#000000", alpha=0.08, linewidth=0.6)
    axis.set_axisbelow(True)


def _plain_ticks(axis) -> None:
    """Two or three plain numbers a decade on a logarithmic axis."""
    axis.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
    axis.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
