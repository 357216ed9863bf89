"""Pictures of an entropy-constrained training: curves, centroids, predicted bits; and the trade-off over alpha."""

import matplotlib
import numpy as np

from common import app
from common.publishing import curves
from common.runs import metrics

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (the backend first: no display is needed)

BLUE, RED, GREY = "#1f5f8b", "#c8553d", "#8a8a8a"


def draw(run: app.Run, labelled, rows: list[dict], counted) -> None:
    """Writes the pictures of a finished training to `run.plots`.

    Args:
      run: with its metrics.csv.
      labelled: the hard network.
      rows: of train.predicted_bits.
      counted: sizes.Sizes of it.
    """
    if run.is_main:
        draw_curves(run, metrics.read(run.metrics.path)[1])
        draw_centroids(run, labelled)
        draw_bits(run, rows)


def draw_curves(run: app.Run, rows: list[dict[str, str]]) -> None:
    """Accuracy of soft and hard network above, size by three counts below, over steps."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(6, 5), sharex=True, layout="constrained")
    for name, label, colour in (
        ("relaxed_accuracy", "soft (training images)", GREY),
        ("hard_accuracy", "hard (images kept apart)", RED),
    ):
        done, values = curves.series(rows, name)
        above.plot(done, 100 * (1 - values), color=colour, marker=".", label=label)
    curves.set_log(above)
    above.set_ylabel("error (%)")
    above.legend(fontsize=8)
    for name, label, colour in (
        ("relaxed_bits", "bits in the loss", GREY),
        ("entropy_bits", "entropy of hard labels", BLUE),
        ("stream_bits", "true streams", RED),
    ):
        done, values = curves.series(rows, name)
        below.plot(done, values / 8000, color=colour, marker=".", label=label)
    curves.set_log(below)
    below.set_ylabel("weights (kB)")
    below.set_xlabel("step")
    below.legend(fontsize=8)
    run.plot("training", figure, "Error and size during entropy-constrained training; the streams are really coded.")
    plt.close(figure)


def draw_centroids(run: app.Run, labelled) -> None:
    """How many weights take each centroid, layer by layer."""
    count = len(labelled.labels)
    columns = min(4, count)
    height = -(-count // columns)
    figure, axes = plt.subplots(
        height, columns, figsize=(2.7 * columns, 2.2 * height), squeeze=False, layout="constrained"
    )
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
    run.plot("centroids", figure, "Weights at each centroid (grey: zero), and how many of a layer are not zero.")
    plt.close(figure)


def draw_bits(run: app.Run, rows: list[dict]) -> None:
    """Predicted over true bits of each layer."""
    figure, axis = plt.subplots(figsize=(1.6 + 0.9 * max(len(rows), 3), 3.2), layout="constrained")
    place = np.arange(len(rows))
    for shift, (name, label, colour) in enumerate(
        (("entropy", "zero-order entropy", GREY), ("static", "static rate", BLUE), ("exact", "exact rate", RED))
    ):
        ratio = [row[name] / row["codeword"] if row["codeword"] else 1.0 for row in rows]
        axis.plot(place + 0.12 * (shift - 1), ratio, "o", color=colour, label=label)
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set_xticks(place, [f"{row['layer']}\n{row['codeword'] // 8:,} B" for row in rows], fontsize=7)
    axis.set_ylabel("predicted / true bits")
    axis.legend(fontsize=8)
    run.plot("bits", figure, "Bits of each layer's labels by three predictions, over those of its codeword.")
    plt.close(figure)


def trade_off(curve: list[dict], chosen: dict[str, list[dict]], title: str) -> plt.Figure:
    """Returns sizes and accuracies on images kept apart, a colour a method; chosen files are filled.

    Args:
      curve: rows with method, seed, bytes, validation_accuracy.
      chosen: method -> rows that the tables show.
      title: of the picture.
    """
    styles = {
        "ect": ("ECT over alpha", RED, "o"),
        "ste": ("straight-through", "#7a4fa3", "s"),
        "magnitude": ("magnitude pruning + DC-v2", BLUE, "^"),
        "lloyd": ("weighted Lloyd", "#3f8f5b", "v"),
        "uniform": ("uniform (DC-v2)", GREY, "."),
    }
    figure, axis = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for method, (label, colour, marker) in styles.items():
        rows = [row for row in curve if row["method"] == method]
        for index, seed in enumerate(sorted({row["seed"] for row in rows})):
            points = sorted(
                (row["bytes"] / 1000, 100 * row["validation_accuracy"]) for row in rows if row["seed"] == seed
            )
            line = "-" if method in ("ect", "ste") else "none"
            axis.plot(
                *zip(*points, strict=True), linestyle=line, marker=marker, color=colour, markerfacecolor="none",
                alpha=0.7, linewidth=0.8, label=None if index else label,
            )  # fmt: skip
        best = chosen.get(method, [])
        axis.plot(
            [row["bytes"] / 1000 for row in best], [100 * row["validation_accuracy"] for row in best], marker,
            color=colour, markersize=8,
        )  # fmt: skip
    reference = 100 * np.mean([row["float_validation_accuracy"] for row in curve])
    axis.axhline(reference, color="black", linewidth=0.8)
    axis.set_ylim(reference - 2.5, reference + 0.5)
    curves.set_log(axis, "x")
    axis.set(
        xlabel="file (kB)", ylabel="accuracy, images kept apart (%)", title=f"{title}: line = float, filled = chosen"
    )
    axis.legend(fontsize=8)
    return figure
