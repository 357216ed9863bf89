"""Pictures of a training (curves, sparsity) and of a compression (rate, bits, weights, other coders)."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from common import app
from common.publishing import curves
from common.publishing.curves import plt
from kernels.entropy_coding import Summary
from projects.deepcabac import other_coders
from projects.deepcabac.candidates import Candidate, Candidates
from projects.deepcabac.layer_steps import is_weight

BLUE, RED, GREY = "#1f5f8b", "#c8553d", "#9aa5ad"
STARS = (RED, "#7a4fa3", "#3f7d4e")  # points of a search
MOST_BARS, MOST_HISTOGRAMS = 24, 12  # layers in one picture; the others are left out, and the caption says so


@contextlib.contextmanager
def picture(run: app.Run, name: str, caption: str, *grid: int, **options) -> Iterator[np.ndarray | plt.Axes]:
    """Yields the axes of a figure, which becomes `plots/NAME.png` with its caption."""
    figure, axes = plt.subplots(*grid, layout="constrained", **options)
    yield axes
    run.plot(name, figure, caption)
    plt.close(figure)


def draw_training(run: app.Run, rows: Sequence[Mapping[str, str]], layers: Sequence[str]) -> None:
    """Leaves the pictures of a finished training.

    Args:
      run: of it.
      rows: of its metrics.
      layers: their names.
    """
    caption = "Training loss (with noise, if any) and validation error of the pruned network."
    with picture(run, "training", caption, figsize=(6, 3.4)) as axis:
        axis.plot(*curves.series(rows, "cross_entropy"), color=BLUE, linewidth=1)
        axis.set_xlabel("step")
        curves.set_log(axis)
        axis.set_ylabel("training cross entropy (nats)", color=BLUE)
        errors = axis.twinx()
        steps, accuracies = curves.series(rows, "validation_accuracy")
        errors.plot(steps, 100 * (1 - accuracies), color=RED, marker=".", linewidth=1)
        errors.set_ylim(0)
        errors.set_ylabel("validation error (%)", color=RED)
    with picture(run, "sparsity", "Nonzero weights of each layer during the training.", figsize=(6, 3.4)) as axis:
        colours = plt.colormaps["viridis"](np.linspace(0, 0.9, len(layers)))
        for name, colour in zip(layers, colours, strict=True):
            steps, shares = curves.series(rows, f"nonzero/{name}")
            axis.plot(steps, 100 * np.maximum(shares, 1e-5), color=colour, label=name)
        axis.set(xlabel="step", ylabel="nonzero weights (%)")
        curves.set_log(axis)
        axis.legend(fontsize=7, ncols=1 + len(layers) // 7)


def draw_weights(run: app.Run, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> None:
    """Nonzero weights of each layer before compression (bars) and the values they became (lines)."""
    finite = {
        name: array.astype(np.float64)
        for name, array in before.items()
        if is_weight(array) and array.size and np.isfinite(array.astype(np.float64)).all()
    }
    largest = sorted(finite, key=lambda name: -finite[name].size)[:MOST_HISTOGRAMS]
    layers = {name: array for name, array in finite.items() if name in largest}
    if not layers:
        return
    caption = "Weights that are not zero, before (grey, in 61 bins) and after (red: how many take each value)."
    caption += f" The {MOST_HISTOGRAMS} largest layers." if len(layers) < len(finite) else ""
    columns = min(4, len(layers))
    grid = (-(-len(layers) // columns), columns)
    size = (2.7 * columns, 2.2 * grid[0])
    with picture(run, "weights_before_after", caption, *grid, figsize=size, squeeze=False) as axes:
        for axis in axes.flat[len(layers) :]:
            axis.set_axis_off()
        for axis, (name, array) in zip(axes.flat, layers.items(), strict=False):
            old, new = (values[values != 0] for values in (array, after[name].astype(np.float64)))
            limit = max(np.abs(old).max(initial=0), np.abs(new).max(initial=0)) or 1.0
            bins = np.linspace(-limit, limit, 62)
            axis.hist(old, bins=bins, color=GREY, label="before")
            values, counts = np.unique(new, return_counts=True)
            if len(values) <= 200:
                axis.vlines(values, 0.5, counts, color=RED, linewidth=1, label="after")
            else:
                axis.hist(new, bins=bins, histtype="step", color=RED, label="after")
            axis.set_yscale("log")
            axis.tick_params(labelsize=7)
            axis.set_title(f"{name.removesuffix('/kernel')}\n{old.size:,} \u2192 {new.size:,} nonzero", fontsize=8)
            _tidy(axis)
        axes.flat[0].figure.supxlabel("weight", fontsize=9)
        axes.flat[0].figure.supylabel("how many", fontsize=9)
        axes.flat[0].legend(fontsize=7, frameon=False)


def draw_bits(run: app.Run, summary: Summary) -> None:
    """Bits a weight and bytes of each tensor with two or more axes, in the order of the network."""
    weights = [tensor for tensor in summary.tensors if len(tensor.shape) > 1 and tensor.size]
    if not weights:
        return
    caption = "Bits a weight (left), size and share of zeros (right) of each tensor. "
    if len(weights) > MOST_BARS:
        largest = sorted(weights, key=lambda tensor: -tensor.stored_bytes)[:MOST_BARS]
        weights = sorted(largest, key=summary.tensors.index)
        caption += f"The {MOST_BARS} tensors with the most bytes. "
    caption += "Small tensors (biases, statistics) are not shown."
    size = (7.6, 0.9 + 0.24 * max(len(weights), 3))
    kilobytes = [tensor.stored_bytes / 1000 for tensor in weights]
    zeros = [f"{100 * tensor.sparsity:.0f} %" for tensor in weights]
    with picture(run, "bits", caption, 1, 2, figsize=size, sharey=True) as (left, right):
        names = [tensor.name.removesuffix("/kernel") for tensor in weights]
        _bars(left, names, [tensor.bits_per_weight for tensor in weights], BLUE)
        left.set_xlabel("bits a weight")
        _bars(right, names, kilobytes, RED, zeros)
        right.set(xlabel="kB in the file (zeros in %)", xlim=(0, 1.22 * max(kilobytes) or 1))


def _bars(axis, names: Sequence[str], values: Sequence[float], colours, texts: Sequence[str] = ()) -> None:
    """Horizontal bars from top to bottom, a text behind each."""
    rows = range(len(names))
    axis.barh(rows, values, color=colours, height=0.7)
    axis.set(yticks=list(rows), ylim=(len(names) - 0.4, -0.6))
    axis.set_yticklabels(names, fontsize=8)
    for row, (value, text) in enumerate(zip(values, texts, strict=False)):
        axis.annotate(text, (value, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    _tidy(axis)


def draw_rate_accuracy(run: app.Run, candidates: Candidates, best: Candidate, original_bytes: int, caption: str):
    """Every evaluated candidate, the front, the network as it came, and the best candidate."""
    with picture(run, "rate_accuracy", caption, figsize=(6.2, 3.8)) as axis:
        rate_accuracy(axis, candidates, {"chosen": best}, original_bytes)


def rate_accuracy(axis, candidates: Candidates, points: Mapping[str, Candidate], original_bytes: int) -> None:
    """Draws the candidates of a search into `axis`, each of `points` (name -> candidate) as a star."""
    reference = 100 * candidates.reference_accuracy

    def coordinates(items: Sequence[Candidate]) -> tuple[list[float], list[float]]:
        sizes = [100 * item.bytes / original_bytes for item in items]
        return sizes, [100 * candidates.accuracy(item) for item in items]

    sizes, levels = coordinates(candidates.evaluated())
    lowest = max(reference - 2.2, min(levels))
    axis.axhline(reference, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axis.annotate(
        f"uncompressed, {reference:.2f} %", (0, reference), xycoords=("axes fraction", "data"), xytext=(4, 4),
        textcoords="offset points", color="#5f6a72", fontsize=8,
    )  # fmt: skip
    axis.scatter(sizes, levels, s=10, color=GREY, linewidths=0, label="candidates")
    axis.plot(*coordinates(candidates.pareto()), color=BLUE, linewidth=1.4, marker=".", markersize=5, label="front")
    for (name, item), colour in zip(points.items(), STARS, strict=False):
        (size,), (level,) = coordinates([item])
        text = f"{name}: {item.bytes:,} B, {size:.3g} %, accuracy {level:.2f} %"
        axis.scatter([size], [level], s=75, color=colour, marker="*", zorder=3, label=text)
    visible = [size for size, level in zip(sizes, levels, strict=True) if level >= lowest]
    curves.set_log(axis, "x")
    axis.xaxis.get_major_locator().set_params(subs=(1, 1.5, 2, 3, 4, 5, 7))
    axis.set(
        xlim=(min(visible) / 1.15, max(visible) * 1.15), xlabel="file size (% of float32, log scale)",
        ylim=(lowest - 0.1, reference + 0.35), ylabel="accuracy on images kept apart (%)",
    )  # fmt: skip
    axis.legend(fontsize=8, loc="lower right", frameon=False)
    _tidy(axis)


def draw_coders(run: app.Run, coders: other_coders.Sizes) -> None:
    """Bytes of every coder on the same integers, ours marked; float32 is named, not drawn."""
    caption = "The same integers by several coders; the whole file has names and check sums too."
    with picture(run, "baselines", caption, figsize=(6.2, 3.4)) as axis:
        coder_bars(axis, coders)


def coder_bars(axis, coders: other_coders.Sizes) -> None:
    """Draws the bytes of every coder into `axis`, the smallest first."""
    float32 = coders.bytes[other_coders.FLOAT32]
    sizes = {name: size for name, size in coders.bytes.items() if size is not None and name != other_coders.FLOAT32}
    sizes = dict(sorted(sizes.items(), key=lambda item: item[1]))
    colours = [
        RED if name.startswith("ours") else GREY if name == other_coders.ENTROPY else BLUE for name in sizes
    ]  # fmt: skip
    scale, unit = (1e6, "MB") if max(sizes.values()) >= 1e6 else (1e3, "kB")
    values = [size / scale for size in sizes.values()]
    texts = [f"{size:,} B, {100 * size / float32:.3g} %" for size in sizes.values()]
    _bars(axis, list(sizes), values, colours, texts)
    axis.set(xlim=(0, 1.45 * max(values)), xlabel=f"size ({unit}; per cent of {float32:,} B as float32)")


class Drawing(NamedTuple):
    """What the picture of a published result shows.

    Attributes:
      candidates: of its search.
      points: name -> candidate.
      original_bytes: of the network before.
      coders: sizes of the first point.
    """

    candidates: Candidates
    points: Mapping[str, Candidate]
    original_bytes: int
    coders: other_coders.Sizes


def draw_result(run: app.Run, name: str, title: str, drawing: Drawing) -> None:
    """Leaves the picture of a published result: rate and accuracy on the left, other coders on the right."""
    caption = f"Rate and accuracy of {title}; the same integers by other coders."
    with picture(run, name, caption, 1, 2, figsize=(11.4, 3.9)) as (left, right):
        rate_accuracy(left, drawing.candidates, drawing.points, drawing.original_bytes)
        coder_bars(right, drawing.coders)
        left.figure.suptitle(title, fontsize=11)


def _tidy(axis) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", color="#000000", alpha=0.08, linewidth=0.6)
    axis.set_axisbelow(True)
