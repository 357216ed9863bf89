"""Pictures of the comparison at equal effort: ratios to the Gaussian attack over queries, with their intervals."""

from typing import Any

import numpy as np

from common.publishing.curves import plt

SKIPPED = 100  # first queries: the search for a start and the bisection, the same for every arm
PANELS = (
    ("paired", "l2", "L2, paired"),
    ("of_medians", "squared_l2_per_pixel", "squared L2 per pixel, of medians"),
    ("paired", "l1", "L1, paired"),
    ("paired", "linf", "Linf, paired"),
)
COLOURS = {1.0: "#c8553d", 1.5: "#e9a03b", 2.0: "#444444"}
DASHES = {"length": "-", "coordinatewise": "--", "radius": ":"}


def style(row: dict) -> dict:
    """How the line of an arm is drawn."""
    if row["has_short_steps"]:
        return {"color": "#2a6f97", "linestyle": DASHES[row["noise"]]}
    return {"color": COLOURS[float(row["alpha"])], "linestyle": DASHES[row["noise"]]}


def draw(result: dict) -> Any:
    """Returns the figure of a published study; the caller closes it."""
    figure, axes = plt.subplots(2, 2, figsize=(12, 8), layout="constrained", sharex=True)
    grid = np.asarray(result["grid"], float)
    shown = grid >= SKIPPED
    for axis, (kind, norm, title) in zip(axes.flat, PANELS, strict=True):
        for row in result["arms"]:
            if kind not in row:
                continue
            entries = {name: np.asarray(values, float)[shown] for name, values in row[kind][norm].items()}
            axis.plot(grid[shown], entries["ratio"], label=row["title"], linewidth=1.6, **style(row))
            axis.fill_between(
                grid[shown], entries["low"], entries["high"], color=style(row)["color"], alpha=0.1, linewidth=0
            )
        axis.axhline(1, color="#444444", linewidth=0.8)
        axis.set(xscale="log", title=title, ylabel="ratio to alpha = 2; below 1 is nearer")
        axis.grid(alpha=0.2)
    for axis in axes[1]:
        axis.set_xlabel("queries")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    seeds = len(result["arms"][0]["seeds"])
    figure.suptitle(
        f"{result['title']}: {result['images']} images, {seeds} seeds, 95 % intervals over images", fontsize=10
    )
    return figure
