"""Pictures of the alpha study: distances over queries, their paired ratios to alpha = 2, and all norms at the end."""

from typing import Any

import numpy as np

from common.publishing import curves
from common.publishing.curves import plt

SKIPPED = 20  # first queries: the search for a start, the same for every law
RATIO_RANGE = (0.5, 2.0)


def title(row: dict) -> str:
    """A law in a legend."""
    names = {"coordinatewise": "", "isotropic": "isotropic, ", "radius": "radius, ", "length": "length, "}
    return f"{names[row['noise']]}alpha {row['alpha']:g}"


def draw(result: dict) -> Any:
    """Returns the figure of a published study; the caller closes it."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    laws, grid = result["laws"], np.asarray(result["grid"], float)
    alphas = sorted({row["alpha"] for row in laws if row["noise"] == "coordinatewise"})
    colours = dict(zip(alphas, plt.colormaps["viridis"](np.linspace(0, 0.9, len(alphas))), strict=True))
    shown = grid >= SKIPPED
    for row in sorted(laws, key=lambda row: (row["noise"], row["alpha"])):
        is_plain = row["noise"] == "coordinatewise"
        colour = colours[row["alpha"]] if is_plain else "#c8553d" if row["noise"] == "isotropic" else "#888888"
        style = {"color": colour, "linestyle": "-" if is_plain else "--", "linewidth": 1.4}
        left.plot(grid[shown], np.asarray(row["median_l2"], float)[shown], label=title(row), **style)
        if "ratio" in row:
            ratio = {name: np.asarray(values, float)[shown] for name, values in row["ratio"].items()}
            middle.plot(grid[shown], ratio["median"], label=title(row), **style)
            middle.fill_between(grid[shown], ratio["low"], ratio["high"], color=colour, alpha=0.12, linewidth=0)
    middle.axhline(1, color="#444444", linewidth=0.8)
    low, high = middle.get_ylim()
    middle.set_ylim(max(low, RATIO_RANGE[0]), min(high, RATIO_RANGE[1]))
    left.set(xlabel="queries", ylabel="median L2 distance")
    middle.set(xlabel="queries", ylabel="L2 distance / that of alpha = 2, same images")
    for axis in (left, middle):
        axis.set_xscale("log")
        axis.grid(alpha=0.2)
    curves.set_log(left)
    left.legend(fontsize=7)
    _draw_norms(right, laws)
    return figure


def _draw_norms(axis, laws: list[dict]) -> None:
    """Ratios to alpha = 2 at the end, by norm, over alpha."""
    rows = sorted((row for row in laws if "ratio_by_norm" in row), key=lambda row: (row["noise"], row["alpha"]))
    places = np.arange(len(rows))
    for name, text, marker in (("l2", "L2", "o"), ("l1", "L1", "s"), ("linf", "Linf", "^")):
        axis.plot(places, [float(row["ratio_by_norm"][name]) for row in rows], marker, label=text)
    spans = [(float(row["comparison"]["low"]), float(row["comparison"]["high"])) for row in rows]
    for place, (low, high) in zip(places, spans, strict=True):
        axis.plot([place, place], [low, high], color="#444444", linewidth=1, zorder=0)
    axis.axhline(1, color="#444444", linewidth=0.8)
    axis.set_xticks(places, [title(row) for row in rows], rotation=30, ha="right", fontsize=7)
    axis.set_xlim(-0.5, len(rows) - 0.5)
    axis.set_ylabel("final distance / that of alpha = 2")
    axis.legend(fontsize=7)
