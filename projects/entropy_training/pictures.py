"""Pictures of an entropy-constrained training: curves, centroids, predicted bits; and the trade-off over alpha."""

import numpy as np

from common import app
from common.publishing import curves
from common.publishing.curves import plt
from common.runs import metrics
from projects.entropy_training.hardening import Labelled

BLUE, RED, GREY = "#1f5f8b", "#c8553d", "#8a8a8a"
ACCURACIES = {
    "train_accuracy": ("soft (training images)", GREY),
    "hard_accuracy": ("hard (images kept apart)", RED),
}
SIZES = {
    "relaxed_bits": ("bits in the loss", GREY),
    "entropy_bits": ("entropy of hard labels", BLUE),
    "stream_bits": ("true streams", RED),
}
PREDICTIONS = {"entropy": ("zero-order entropy", GREY), "static": ("static rate", BLUE), "exact": ("exact rate", RED)}
METHODS = {
    "ect": ("ECT over alpha", RED, "o"),
    "ste": ("straight-through", "#7a4fa3", "s"),
    "magnitude": ("magnitude pruning + DC-v2", BLUE, "^"),
    "lloyd": ("weighted Lloyd", "#3f8f5b", "v"),
    "uniform": ("uniform (DC-v2)", GREY, "."),
}


def draw(run: app.Run, labelled: Labelled, rows: list[dict]) -> None:
    """Writes the pictures of a finished training to `run.plots`.

    Args:
      run: with its metrics.csv.
      labelled: the hard network.
      rows: of coding.layer_bits.
    """
    counts = metrics.read(run.metrics.path)[1]
    streams = "Error and size during entropy-constrained training; the streams are really coded."
    centroids = "Weights at each centroid (grey: zero), and how many of a layer are not zero."
    bits = "Bits of each layer's labels by three predictions, over those of its codeword."
    run.plot("training", draw_curves(counts), streams)
    run.plot("centroids", draw_centroids(labelled), centroids)
    run.plot("bits", draw_bits(rows), bits)
    plt.close("all")


def draw_curves(rows: list[dict[str, str]]) -> plt.Figure:
    """Returns errors of soft and hard network above, size by three counts below, over steps of metrics.csv."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(6, 5), sharex=True, layout="constrained")
    for name, (label, colour) in ACCURACIES.items():
        steps, values = curves.series(rows, name)
        above.plot(steps, 100 * (1 - values), color=colour, marker=".", label=label)
    for name, (label, colour) in SIZES.items():
        steps, values = curves.series(rows, name)
        below.plot(steps, values / 8000, color=colour, marker=".", label=label)
    for axis, label in ((above, "error (%)"), (below, "weights (kB)")):
        curves.set_log(axis)
        axis.set_ylabel(label)
        axis.legend(fontsize=8)
    below.set_xlabel("step")
    return figure


def draw_centroids(labelled: Labelled) -> plt.Figure:
    """Returns how many weights take each centroid, layer by layer."""
    count = len(labelled.labels)
    columns = min(4, count)
    height = -(-count // columns)
    size = (2.7 * columns, 2.2 * height)
    figure, axes = plt.subplots(height, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    for axis, (name, labels) in zip(axes.flat, labelled.labels.items(), strict=False):
        grid = labelled.centroids[name]
        counts = np.bincount(labels.reshape(-1), minlength=len(grid))
        used = counts > 0
        colours = [GREY if value == 0 else BLUE for value in grid[used]]
        width = 0.5 * np.min(np.diff(np.sort(grid[used]))) if used.sum() > 1 else 0.1
        axis.bar(grid[used], counts[used], width=max(width, 0.01 * np.ptp(grid)), color=colours)
        axis.set_yscale("log")
        axis.set_title(f"{name}: {counts[grid != 0].sum():,} of {labels.size:,}", fontsize=8)
        axis.tick_params(labelsize=7)
    return figure


def draw_bits(rows: list[dict]) -> plt.Figure:
    """Returns predicted over true bits of each layer."""
    figure, axis = plt.subplots(figsize=(1.6 + 0.9 * max(len(rows), 3), 3.2), layout="constrained")
    places = np.arange(len(rows))
    for shift, (name, (label, colour)) in enumerate(PREDICTIONS.items()):
        ratios = [row[name] / row["codeword"] if row["codeword"] else 1.0 for row in rows]
        axis.plot(places + 0.12 * (shift - 1), ratios, "o", color=colour, label=label)
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set_xticks(places, [f"{row['layer']}\n{row['codeword'] // 8:,} B" for row in rows], fontsize=7)
    axis.set_ylabel("predicted / true bits")
    axis.legend(fontsize=8)
    return figure


def draw_trade_off(result: dict, title: str) -> plt.Figure:
    """Returns sizes and accuracies on images kept apart, a colour a method; files of the tables are filled.

    Args:
      result: with "curve", rows of all files, and "methods", those of the tables.
      title: of the picture.
    """
    figure, axis = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for method, (label, colour, marker) in METHODS.items():
        rows = [row for row in result["curve"] if row["method"] == method]
        style = {"marker": marker, "color": colour}
        for seed in sorted({row["seed"] for row in rows}):
            points = sorted(point_of(row) for row in rows if row["seed"] == seed)
            line = "-" if method in ("ect", "ste") else "none"
            axis.plot(
                *zip(*points, strict=True), linestyle=line, markerfacecolor="none", alpha=0.7, linewidth=0.8, **style
            )
        if method in result["methods"]:
            points = [point_of(row) for row in result["methods"][method]["seeds"]]
            axis.plot(*zip(*points, strict=True), linestyle="none", markersize=8, label=label, **style)
    reference = 100 * np.mean([row["float_validation_accuracy"] for row in result["curve"] if row["method"] in METHODS])
    axis.axhline(reference, color="black", linewidth=0.8)
    axis.set_ylim(reference - 2.5, reference + 0.5)
    curves.set_log(axis, "x")
    axis.set(xlabel="file (kB)", ylabel="accuracy, images kept apart (%)")
    axis.set_title(f"{title}: line = float, filled = in the tables")
    axis.legend(fontsize=8)
    return figure


def point_of(row: dict) -> tuple[float, float]:
    """Returns (kB, accuracy in %) of a file."""
    return row["bytes"] / 1000, 100 * row["validation_accuracy"]
