"""Pictures of an entropy-constrained training: curves, centroids, predicted bits; and the trade-off over alpha."""

import numpy as np

from common import app
from common.publishing import curves
from common.publishing.curves import BLUE, GREEN, GREY, PURPLE, RED
from common.runs import metrics
from projects.entropy_training.hardening import Labelled

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
    "ste": ("straight-through", PURPLE, "s"),
    "magnitude": ("magnitude pruning + DC-v2", BLUE, "^"),
    "lloyd": ("weighted Lloyd", GREEN, "v"),
    "uniform": ("uniform (DC-v2)", GREY, "."),
}


def draw(run: app.Run, labelled: Labelled, rows: list[dict]) -> None:
    """Writes the pictures of a finished training to `run.plots`.

    Args:
      run: with its metrics.csv.
      labelled: the hard network.
      rows: of coding.layer_bits.
    """
    draw_curves(run, metrics.read(run.metrics.path)[1])
    draw_centroids(run, labelled)
    draw_bits(run, rows)


def draw_curves(run: app.Run, rows: list[dict[str, str]]) -> None:
    """Errors of soft and hard network above, size by three counts below, over steps of metrics.csv."""
    caption = "Error and size during entropy-constrained training; the streams are really coded."
    with curves.picture(run, "training", caption, 2, 1, figsize=(6, 5), sharex=True) as (above, below):
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


def draw_centroids(run: app.Run, labelled: Labelled) -> None:
    """How many weights take each centroid, layer by layer."""
    caption = "Weights at each centroid (grey: zero), and how many of a layer are not zero."
    layers = {name: (labelled.centroids[name], labels) for name, labels in labelled.labels.items()}
    titles = [f"{name}: {np.sum(grid[q] != 0):,} of {q.size:,}" for name, (grid, q) in layers.items()]
    with curves.panels(run, "centroids", caption, titles) as axes:
        for axis, (grid, labels) in zip(axes, layers.values(), strict=True):
            counts = np.bincount(labels.reshape(-1), minlength=len(grid))
            is_taken = counts > 0
            colours = [GREY if value == 0 else BLUE for value in grid[is_taken]]
            width = 0.5 * np.min(np.diff(np.sort(grid[is_taken]))) if is_taken.sum() > 1 else 0.1
            axis.bar(grid[is_taken], counts[is_taken], width=max(width, 0.01 * np.ptp(grid)), color=colours)
            axis.set_yscale("log")


def draw_bits(run: app.Run, rows: list[dict]) -> None:
    """Predicted over true bits of each layer."""
    caption = "Bits of each layer's labels by three predictions, over those of its codeword."
    with curves.picture(run, "bits", caption, figsize=(1.6 + 0.9 * max(len(rows), 3), 3.2)) as axis:
        places = np.arange(len(rows))
        for shift, (name, (label, colour)) in enumerate(PREDICTIONS.items()):
            ratios = [row[name] / row["codeword"] if row["codeword"] else 1.0 for row in rows]
            axis.plot(places + 0.12 * (shift - 1), ratios, "o", color=colour, label=label)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_xticks(places, [f"{row['layer']}\n{row['codeword'] // 8:,} B" for row in rows], fontsize=7)
        axis.set_ylabel("predicted / true bits")
        axis.legend(fontsize=8)


def draw_trade_off(axis, result: dict, title: str) -> None:
    """Draws sizes and accuracies on images kept apart, a colour a method; files of the tables are filled.

    Args:
      axis: to draw into.
      result: with "curve", rows of all files, and "methods", those of the tables.
      title: of the picture.
    """
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


def point_of(row: dict) -> tuple[float, float]:
    """Returns (kB, accuracy in %) of a file."""
    return row["bytes"] / 1000, 100 * row["validation_accuracy"]
